"""nnU-Net training logs, of its first and second version."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from osler.doctor.chart import Chart
from osler.doctor.facts import Facts
from osler.doctor.readers.assemble import charts_of
from osler.doctor.readers.source import NotThisError, Source
from osler.doctor.readers.table import Column, Table

__all__ = ["read_nnunet"]

MARKS = re.compile(r"(?i)pseudo dice|nnU-?Net|Average global foreground Dice")
EPOCH = re.compile(r"(?i)(?:^|:|\s)epoch:?\s+(\d{1,7})\s*$")
LIST = re.compile(r"\[(.*)\]")
NUMBER = re.compile(r"(?<![\w.])(?:nan|inf|[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?![\w.])", re.IGNORECASE)
# What a line says → the column; the number or list of numbers follows it.
LINES: dict[str, str] = {
    "train_loss": "train_loss", "train loss": "train_loss", "val_loss": "val_loss", "validation loss": "val_loss",
    "current learning rate": "learning_rate", "lr": "learning_rate", "pseudo dice": "val dice",
    "average global foreground dice": "val dice", "epoch time": "epoch time", "this epoch took": "epoch time",
}  # fmt: skip
PATTERN = re.compile(rf"(?i)(?<![\w])({'|'.join(sorted(LINES, key=len, reverse=True))})\s*(?:\([^)]{{0,80}}\))?\s*:?\s+(.*)$")
# "New best EMA pseudo Dice: 0.81": a record of the moving average, no figure of the epoch.
RECORD = re.compile(r"(?i)best|\bEMA\b")
BATCH_SIZE = re.compile(r"['\"]?batch_size['\"]?\s*:\s*(\d{1,6})")
DEFAULT_EPOCHS = 1000
# The learning rate falls as (1 − epoch / planned) to this power.
POLY_POWER = 0.9
# Rates are printed with five digits, so early ones tell little of the plan's length; those of other schedules do not agree.
LEAST_FALL, AGREE, HALF_DIGIT = 0.02, 0.05, 5e-6
ROUND = (1000, 500, 250, 100, 50, 10, 5, 1)
LONGEST_LINE = 20_000


def read_nnunet(source: Source) -> list[Chart]:
    """The chart of a training log of nnU-Net; its pseudo Dice is of patches, one for each class.

    Raises:
        NotThisError: it is no such log, or has no epoch.
    """
    text = source.text
    if not MARKS.search(text[:200_000]) and not MARKS.search(text[-20_000:]):
        raise NotThisError("no words of nnU-Net")
    epoch = np.nan
    epochs: list[float] = []
    columns: dict[str, tuple[list[int], list[float], int]] = {}
    for number, line in enumerate(source.lines, 1):
        if len(line) > LONGEST_LINE:
            continue
        marked = EPOCH.search(line)
        if marked:
            epoch = float(marked[1])
            continue
        found = PATTERN.search(line)
        if found is None or not np.isfinite(epoch) or RECORD.search(line[: found.start()]):
            continue
        figures = _figures(LINES[found[1].lower()], found[2])
        if figures:
            epochs.append(epoch)
        for label, value in figures:
            column = columns.setdefault(label, ([], [], number))
            column[0].append(len(epochs) - 1)
            column[1].append(value)
    if not columns:
        raise NotThisError("words of nnU-Net, and no epochs")
    built = [
        Column(label, f"line {first} on", np.array(rows, dtype=np.intp), np.array(values))
        for label, (rows, values, first) in columns.items()
    ]
    note = "its Dice is nnU-Net's pseudo Dice: of patches pooled over the validation set, higher than that of whole images"
    notes = (note,) if any("dice" in label for label in columns) else ()
    rates = [(epochs[row], value) for row, value in zip(*columns.get("learning_rate", ([], [], 0))[:2], strict=True)]
    facts = _facts(text, _planned(np.array(rates).reshape(-1, 2)))
    return charts_of(Table(source.name, "nnunet", np.array(epochs), built, facts=facts, notes=notes))


def _figures(label: str, text: str) -> list[tuple[str, float]]:
    """The numbers behind the words; several in brackets are one for each class, from 1, since 0 is the background."""
    text = re.sub(r"np\.float\d+\(([^)]*)\)", r"\1", text)
    inside = LIST.search(text)
    if inside:
        values = [float(found) for found in NUMBER.findall(inside[1])]
        return [(label if len(values) == 1 else f"{label} class {index}", value) for index, value in enumerate(values, 1)]
    found = NUMBER.search(text)
    return [(label, float(found[0]))] if found else []


def _planned(rates: NDArray[np.float64]) -> int | None:
    """The epochs planned, which the polynomial schedule betrays; None where its rates do not tell.

    Args:
        rates: (n, 2) epoch, from 0, and learning rate.

    >>> _planned(np.array([[e, round(0.01 * (1 - e / 250) ** 0.9, 5)] for e in range(40)]))
    250
    """
    if len(rates) < 2 or rates[0, 0] != 0 or not rates[0, 1] > 0:
        return None
    left = np.clip(rates[1:, 1] / rates[0, 1], 0.0, 1.0) ** (1.0 / POLY_POWER)
    fallen = left < 1.0 - LEAST_FALL
    lengths = np.sort(rates[1:, 0][fallen] / (1.0 - left[fallen]))
    if not len(lengths) or lengths[-1] - lengths[0] > AGREE * lengths[0] + 1.0:
        return None
    # The later the epoch, the less the rounding of its rate matters; within what that leaves open, a round number was meant.
    epoch, share = float(rates[1:, 0][fallen][-1]), 1.0 - float(left[fallen][-1])
    length = epoch / share
    open_by = max(0.5, length / share * HALF_DIGIT / float(rates[0, 1]) / POLY_POWER)
    return next(whole for unit in ROUND if abs((whole := unit * round(length / unit)) - length) <= open_by and whole > 0)


def _facts(text: str, planned: int | None) -> Facts:
    """What every nnU-Net training has in common, with the epochs that its rates betray, and the batch size of printed plans."""
    values = {
        "task": "segmentation",
        "loss.type": "dice+cross_entropy",
        "training.optimizer": "sgd",
        "training.schedule": "poly",
        "training.epochs": planned or DEFAULT_EPOCHS,
    }
    stated = BATCH_SIZE.search(text[:200_000])
    facts = Facts.of(values, "nnU-Net's defaults", assumed=True)
    return facts.over(Facts.of({"training.batch_size": int(stated[1])}, "the log's plans")) if stated else facts
