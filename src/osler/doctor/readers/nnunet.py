"""nnU-Net training logs, of its first and second version."""

from __future__ import annotations

import re

import numpy as np

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
BATCH_SIZE = re.compile(r"['\"]?batch_size['\"]?\s*:\s*(\d{1,6})")
DEFAULT_EPOCHS = 1000
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
        if found is None or not np.isfinite(epoch):
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
    return charts_of(Table(source.name, "nnunet", np.array(epochs), built, facts=_facts(text), notes=notes))


def _figures(label: str, text: str) -> list[tuple[str, float]]:
    """The numbers behind the words; several in brackets are one for each class, from 1, since 0 is the background."""
    text = re.sub(r"np\.float\d+\(([^)]*)\)", r"\1", text)
    inside = LIST.search(text)
    if inside:
        values = [float(found) for found in NUMBER.findall(inside[1])]
        return [(label if len(values) == 1 else f"{label} class {index}", value) for index, value in enumerate(values, 1)]
    found = NUMBER.search(text)
    return [(label, float(found[0]))] if found else []


def _facts(text: str) -> Facts:
    """What every nnU-Net training has in common, and the batch size where its plans are printed."""
    values = {
        "task": "segmentation",
        "loss.type": "dice+cross_entropy",
        "training.optimizer": "sgd",
        "training.schedule": "poly",
        "training.epochs": DEFAULT_EPOCHS,
    }
    stated = BATCH_SIZE.search(text[:200_000])
    facts = Facts.of(values, "nnU-Net's defaults", assumed=True)
    return facts.over(Facts.of({"training.batch_size": int(stated[1])}, "the log's plans")) if stated else facts
