"""Epoch by epoch: a table of the figures that matter, and a line on each epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from osler.doctor.case import Case
from osler.doctor.findings import Diagnosis, figure, joined

__all__ = ["COLUMNS", "EpochTable", "epoch_lines", "epoch_table"]

# Series → heading, in the order of the table; those that a run lacks are left out.
COLUMNS = {
    "train.loss": "train loss", "val.loss": "val loss", "train.accuracy": "train acc", "val.accuracy": "val acc",
    "train.auc": "train AUC", "val.auc": "val AUC", "train.dice": "train Dice", "val.dice": "val Dice", "val.iou": "val IoU",
    "val.precision": "precision", "val.recall": "recall", "val.f1": "F1", "learning_rate": "LR",
}  # fmt: skip
# Longer runs show their first and last epochs, those at which a finding shows, and some between.
MOST_ROWS = 30


@dataclass(frozen=True)
class EpochTable:
    """The table's headings and rows; `rows[i][0]` is the epoch, NaN where a figure was not logged."""

    headings: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]
    left_out: int


def _shown_rows(case: Case, marked: set[float]) -> list[int]:
    count = len(case.chart)
    if count <= MOST_ROWS:
        return list(range(count))
    ends = [*range(5), *range(count - 5, count)]
    marks = [row for row, epoch in enumerate(case.chart.epochs.tolist()) if epoch in marked][: MOST_ROWS // 2]
    between = np.linspace(5, count - 6, MOST_ROWS - 10 - len(marks)).astype(int).tolist()
    return sorted({*ends, *marks, *between})


def epoch_table(case: Case, diagnosis: Diagnosis) -> EpochTable:
    """The figures by epoch, at most MOST_ROWS epochs of them."""
    names = [name for name in COLUMNS if case.chart.has(name)]
    rows = _shown_rows(case, _marked(diagnosis))
    columns = [case.chart.epochs, *(case.chart.values(name) for name in names)]
    cells = tuple(tuple(float(column[row]) for column in columns) for row in rows)
    return EpochTable(("epoch", *(COLUMNS[name] for name in names)), cells, len(case.chart) - len(rows))


def _marked(diagnosis: Diagnosis) -> set[float]:
    every = [each for finding in diagnosis.findings for each in (finding, *finding.symptoms)]
    return {epoch for each in every for epoch in each.signs.epochs}


def epoch_lines(case: Case, diagnosis: Diagnosis) -> tuple[str, ...]:
    """What each of the table's epochs says, in a line."""
    sides, (low, high) = case.sides("val"), case.auc_ends("val")
    skill = case.skill("val")
    at = {epoch: _names_at(diagnosis, epoch) for epoch in _marked(diagnosis)}
    lines = []
    for row in _shown_rows(case, set(at)):
        parts = [
            *_loss_words(case, row, float(skill[row])),
            *_call_words(case, row, float(sides[row])),
            *_auc_words(case, row, low, high),
        ]
        epoch = float(case.chart.epochs[row])
        if at.get(epoch):
            parts.append(f"here shows: {joined(at[epoch])}")
        lines.append(f"Epoch {figure(epoch)}: {'; '.join(parts) if parts else 'nothing of note'}.")
    return tuple(lines)


def _names_at(diagnosis: Diagnosis, epoch: float) -> list[str]:
    every = [each for finding in diagnosis.findings for each in (finding, *finding.symptoms)]
    return [each.name.lower() for each in every if epoch in each.signs.epochs]


def _loss_words(case: Case, row: int, skill: float) -> list[str]:
    loss, least = float(case.chart.values("val.loss")[row]), case.floor("val")
    if not math.isfinite(loss):
        return []
    if not math.isfinite(skill):
        return []
    if abs(skill) < 0.02:
        return [f"validation loss {figure(loss)} is a constant's ({figure(least)}): no skill"]
    return [
        f"skill {figure(skill)} against the floor {figure(least)}"
        if skill > 0
        else f"validation loss {figure(loss)} is worse than a constant's, {figure(least)}"
    ]


def _call_words(case: Case, row: int, side: float) -> list[str]:
    if side not in (1.0, -1.0):
        return []
    share = labels.single if (labels := case.labels("val")) is not None else math.nan
    words = "every validation sample is called positive" if side > 0 else "no validation sample is called positive"
    if math.isfinite(share):
        words += (
            f", so F1 {figure(2 * share / (1 + share))} and accuracy {figure(share)} follow from the prevalence"
            if side > 0
            else f", so accuracy {figure(1 - share)} follows from the prevalence"
        )
    return [words]


def _auc_words(case: Case, row: int, low: np.ndarray, high: np.ndarray) -> list[str]:
    auc = float(case.chart.values("val.auc")[row])
    if not math.isfinite(auc):
        return []
    if math.isnan(low[row]):
        return [f"AUC {figure(auc)}, without a number of samples to judge it by"]
    interval = f"[{figure(float(low[row]))}, {figure(float(high[row]))}]"
    return [f"AUC {figure(auc)} {interval}" + (", no different from a coin" if low[row] <= 0.5 <= high[row] else "")]
