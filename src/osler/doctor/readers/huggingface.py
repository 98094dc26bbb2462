"""Hugging Face: the log history of `trainer_state.json`, or as printed, with losses brought to the evaluations that follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from osler.doctor.chart import Axis, Chart
from osler.doctor.facts import Facts
from osler.doctor.readers.assemble import charts_of
from osler.doctor.readers.jsonlogs import parse_json, parse_python
from osler.doctor.readers.source import NotThisError, Source
from osler.doctor.readers.table import Column, Table
from osler.errors import DataError

__all__ = ["read_printed_records", "read_trainer_state"]

FACTS_IN_STATE = {
    "num_train_epochs": "training.epochs",
    "train_batch_size": "training.batch_size",
}


# Of the lines of a printed log, so many are dictionaries.
SHARE_OF_RECORDS = 0.2


def read_trainer_state(source: Source) -> list[Chart]:
    """The chart of a trainer's state.

    Raises:
        NotThisError: it is no trainer's state.
        DataError: its log history is empty.
    """
    if b'"log_history"' not in source.data:
        raise NotThisError("no log_history")
    state = parse_json(source)
    if not isinstance(state, dict) or not isinstance(state.get("log_history"), list):
        raise NotThisError("no log_history at its top")
    facts = {fact: state[key] for key, fact in FACTS_IN_STATE.items() if state.get(key)}
    records = [record for record in state["log_history"] if isinstance(record, dict)]
    return _charts(records, source.name, "json.trainer_state", Facts.of(facts, "trainer_state.json", strict=False))


def read_printed_records(source: Source) -> list[Chart]:
    """The chart of a console log in which a trainer prints its records as Python dictionaries.

    Raises:
        NotThisError: it has few such lines.
    """
    lines = [line.strip() for line in source.lines if line.strip()]
    printed = [line for line in lines if line[0] == "{" and line[-1] == "}" and "epoch" in line and "loss" in line]
    if len(printed) < 2 or len(printed) < SHARE_OF_RECORDS * len(lines):
        raise NotThisError("few lines are printed records")
    records = []
    for line in printed:
        try:
            records.append(parse_python(line))
        except (ValueError, RecursionError):
            continue
    return _charts([record for record in records if isinstance(record, dict)], source.name, "console.records", Facts())


def _charts(records: list[dict[str, Any]], name: str, reader: str, facts: Facts) -> list[Chart]:
    # The last record sums the run up; its figures are of no epoch.
    records = [record for record in records if "train_runtime" not in record]
    epochs = np.array([_epoch(record) for record in records], dtype=np.float64)
    if not len(records) or not np.isfinite(epochs).any():
        raise DataError(f"{name}: its log_history holds no epochs. The run may have stopped before its first log.")
    rows, axis, notes = _rows(records, epochs)
    columns: dict[str, tuple[list[int], list[float]]] = {}
    for row, record in enumerate(records):
        for key, value in record.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and key not in ("epoch", "step"):
                columns.setdefault(key, ([], []))[0].append(row)
                columns[key][1].append(float(value))
    built = [
        Column(key, f"log_history {key}", np.array(places, dtype=np.intp), np.array(values))
        for key, (places, values) in columns.items()
    ]
    steps = np.array([float(record.get("step", np.nan) or np.nan) for record in records])
    return charts_of(Table(name, reader, rows, built, steps, axis=axis, facts=facts, notes=notes))


def _epoch(record: Mapping[str, Any]) -> float:
    value = record.get("epoch")
    return float(value) if isinstance(value, (int, float)) else np.nan


def _rows(records: list[dict[str, Any]], epochs: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], Axis, tuple[str, ...]]:
    """The epoch to which each record belongs: that of the next evaluation; without evaluations, the epoch it lies in."""
    known = np.isfinite(epochs)
    evaluated = np.array([any(key.startswith("eval_") for key in record) for record in records]) & known
    marks = np.unique(epochs[evaluated])
    if not len(marks):
        return np.where(known, np.ceil(epochs - 1e-6), np.nan), "epoch", ()
    # Evaluations stand after the losses of the same step; what follows the last one has an epoch of its own.
    place = np.searchsorted(marks, epochs - 1e-9)
    rows = np.where(known, marks[np.minimum(place, len(marks) - 1)], np.nan)
    late = known & (place == len(marks))
    rows[late] = np.ceil(epochs[late] - 1e-6)
    whole = np.allclose(marks, np.round(marks), atol=0.02)
    if whole:
        return np.round(rows), "epoch", ()
    return rows, "evaluation", ("evaluations do not stand at the ends of epochs: each is a row of the chart",)
