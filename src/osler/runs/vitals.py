"""Vitals: what is measured each epoch, one JSON object a line in `vitals.jsonl` (schema `osler.vitals/1`).

Any framework may write this file; docs/vitals.md lists every field. Undefined figures are null. A line is one epoch, epochs
count from 1 and stand once each, in order:

    {"schema": "osler.vitals/1", "epoch": 1, "step": 120,
     "phase": {"index": 0, "train": "all"}, "warming_up": false,
     "learning_rate": {"start": 1e-3, "end": 9e-4},
     "train": SPLIT, "val": SPLIT,
     "optimization": {"gradient_norm": {"median", "p90", "max", "clipped_share"}, "update_ratio": {"median", "max"},
                      "without_gradient": 0.0, "gradient_cosine": 0.1, "first_loss": {"value", "se"}, "skipped_steps": 0},
     "sampling": {"distinct", "repeated", "batches_without_positives": {"NAME": share}},
     "train_mode_loss": LOOK, "unaugmented": {LOOK, "likeness"},
     "input": {"mean", "sd", "black", "white"},
     "monitor": {"name", "value", "best", "best_epoch", "improved"},
     "seconds": {"data", "step", "evaluation", "epoch"}, "memory": {"peak_mb"}}

LOOK is {"train_mode", "eval_mode", "se", "n", "pixels": {"mean", "sd", "mean_se", "sd_se"}}: some samples, with the network in
either mode. SPLIT is {"n", "loss": {"value", "se", "n"}, "floor", "skill", "skill_reason", "accuracy", "macro": {"auc", "ap",
"f1", "classes_scored"}, "classes": {"NAME": figures of `osler.metrics.summary.class_vitals`}}. `train` is measured on the
samples as drawn and augmented, with dropout on, while the weights move; `val` on the natural split with the weights of the
epoch's end (their moving average where `training.ema` is on).
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from osler.errors import RunError
from osler.files import strict_json, write_text

__all__ = [
    "VITALS_SCHEMA",
    "MetricsTable",
    "append_vitals",
    "flatten",
    "keep_vitals_before",
    "read_vitals",
    "write_metrics_csv",
]

VITALS_SCHEMA = "osler.vitals/1"

Vitals = dict[str, Any]


def append_vitals(path: Path, vitals: Mapping[str, Any]) -> None:
    """Adds one epoch's line and waits until it is on the disk."""
    line = json.dumps(strict_json({"schema": VITALS_SCHEMA, **vitals}), ensure_ascii=False, allow_nan=False)
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}. Free some space, then resume the run.") from error


def read_vitals(path: Path) -> list[Vitals]:
    """All epochs in a vitals file; a last line cut short by a kill is left out.

    Raises:
        RunError: the file is not there, or a line in its middle is damaged.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from error
    epochs: list[Vitals] = []
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise RunError(f"{path}: line {number} is damaged: {error}") from error
        epochs.append(value)
    return epochs


def keep_vitals_before(path: Path, epoch: int) -> list[Vitals]:
    """Drops the epochs from `epoch` on, which a resumed run measures again, and returns those kept."""
    if not path.exists():
        return []
    kept = [vitals for vitals in read_vitals(path) if vitals["epoch"] < epoch]
    write_text(path, "".join(json.dumps(vitals, ensure_ascii=False) + "\n" for vitals in kept))
    return kept


def flatten(vitals: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested figures under dotted names, as a spreadsheet and TensorBoard want them.

    >>> flatten({"val": {"loss": {"value": 0.3}}})
    {'val.loss.value': 0.3}
    """
    flat: dict[str, Any] = {}
    for key, value in vitals.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def write_metrics_csv(path: Path, epochs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Writes all epochs as a table: a column for each figure, empty where it is undefined; returns the columns."""
    rows = [flatten(vitals) for vitals in epochs]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_text(path, _csv([dict(zip(columns, columns, strict=True)), *rows], columns))
    return columns


def _csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writerows({name: "" if value is None else value for name, value in row.items()} for row in rows)
    return text.getvalue()


class MetricsTable:
    """metrics.csv of a run that goes on: an epoch adds its line; only one with a new figure has all lines written again.

    Args:
        path: of the table.
        before: earlier epochs that are gone on from.

    Attributes:
        epochs: all so far.
    """

    def __init__(self, path: Path, before: Iterable[Mapping[str, Any]]) -> None:
        self._path = path
        self.epochs = list(before)
        self._columns: list[str] = []

    def add(self, vitals: Mapping[str, Any]) -> None:
        """Takes an epoch; what a kill may cut short of its line is written again when the run goes on."""
        self.epochs.append(vitals)
        row = flatten(vitals)
        if not row.keys() <= set(self._columns) or not self._path.exists():
            self._columns = write_metrics_csv(self._path, self.epochs)
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_csv([row], self._columns))
