"""The figures of a segmenter's evaluation: from mask predictions to the object that `evaluation.json` holds. Numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from osler.config import EvaluationConfig
from osler.errors import RequestError, RunError
from osler.evaluate.mask_summary import mask_summary
from osler.evaluate.outcome import Figures, Outcome
from osler.evaluate.subgroups import groupings
from osler.metrics.cases import CaseTable
from osler.metrics.mask_figures import summarise_masks
from osler.metrics.overlap import OVERLAPS, probability_at
from osler.runs.card import Card
from osler.runs.mask_predictions import MaskPredictions

__all__ = ["MaskEvaluation", "MaskSplit", "evaluate_masks"]


@dataclass(frozen=True)
class MaskSplit:
    """One split, evaluated.

    Attributes:
        predictions: of its N cases.
        table: what was measured of them.
        figures: its entry in `evaluation.json`.
    """

    predictions: MaskPredictions
    table: CaseTable
    figures: Figures

    def scores(self, name: str, k: int) -> NDArray[np.float64]:
        """(N,) an overlap score of each case at the threshold; NaN where the case has no foreground of the class."""
        counts = self.table.at_thresholds
        filled = counts.foreground[:, k] > 0
        return np.where(filled, OVERLAPS[name](counts.counts[:, k]), np.nan)


@dataclass(frozen=True)
class MaskEvaluation(Outcome[MaskSplit]):
    """What was found about a segmenter; thresholds are those that lesions and distances were measured at."""

    def summary(self) -> str:
        """A few lines for a terminal."""
        return mask_summary(self.data())


def evaluate_masks(
    folder: Path,
    card: Card,
    config: EvaluationConfig,
    predictions: Mapping[str, MaskPredictions],
    *,
    checkpoint: str = "best",
    source: str | None = None,
    looks: Mapping[str, int] | None = None,
) -> MaskEvaluation:
    """Figures of all splits at the thresholds that they were predicted with, which were chosen on val.

    Args:
        folder: the run, for the record.
        card: of the model that predicted.
        config: how figures are given.
        predictions: split name to predictions.
        checkpoint: which weights predicted.
        source: other data than the run's own.
        looks: how often each held-out split has been looked at.

    Raises:
        RequestError: a subgroup column that the cases do not have, or nothing to evaluate.
        RunError: predictions of other classes than the card's, or of splits at different thresholds.
    """
    if not predictions:
        raise RequestError(f"{folder}: there are no predictions to evaluate.")
    tables = {split: CaseTable.from_arrays(one.table) for split, one in predictions.items()}
    _check(folder, card, predictions, tables)
    limits = probability_at(next(iter(tables.values())).thresholds)
    splits = {
        split: MaskSplit(one, tables[split], _figures(card, config, one, tables[split])) for split, one in predictions.items()
    }
    thresholds = dict(zip(card.classes, limits.tolist(), strict=True))
    return MaskEvaluation(folder, checkpoint, source, card, config, thresholds, card.threshold_rule, splits, dict(looks or {}))


def _check(folder: Path, card: Card, predictions: Mapping[str, MaskPredictions], tables: Mapping[str, CaseTable]) -> None:
    for split, one in predictions.items():
        if one.classes != card.classes:
            raise RunError(
                f"{folder}: the predictions of {split} are of {', '.join(one.classes)}, the card's classes are "
                f"{', '.join(card.classes)}. Predict again: `osler evaluate {folder} --checkpoint last`."
            )
        if not len(one):
            raise RunError(f"{folder}: the predictions of {split} hold no case.")
    if len({table.thresholds.tobytes() for table in tables.values()}) > 1:
        raise RunError(
            f"{folder}: the splits were measured at different thresholds, and their figures cannot be set side by side. "
            f"`osler resume {folder}` writes them again."
        )


def _figures(card: Card, config: EvaluationConfig, predictions: MaskPredictions, table: CaseTable) -> Figures:
    """The contract's object of a split, and of the groups in it."""

    def of(rows: NDArray[np.intp]) -> Figures:
        patients = None if predictions.patients is None else predictions.patients[rows]
        part = table if len(rows) == len(table) else table.take(rows)
        return summarise_masks(part, card.classes, predictions.ids[rows], patients, config.level, config.bootstrap)

    figures = of(np.arange(len(table)))
    figures["subgroups"] = {
        one.column: {name: _without_list(of(np.flatnonzero(one.names == name))) for name in one.order}
        for one in groupings(predictions.metadata, config.subgroups)
    }
    return figures


def _without_list(figures: Figures) -> Figures:
    """The same without each unit's own figures, which stand with the whole split."""
    return {name: value for name, value in figures.items() if name != "per_unit"}
