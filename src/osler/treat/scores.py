"""What arms are compared by: which figure a fault harms, and the figure with each patient's influence on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from osler.metrics.cases import CaseTable
from osler.metrics.decision import decide
from osler.metrics.overlap import OVERLAPS
from osler.metrics.paired import Influence, auc_influence, f1_influence, mean_influence, rates_influence
from osler.metrics.ranking import cluster_codes
from osler.metrics.weights import Kind
from osler.runs.mask_predictions import MaskPredictions
from osler.runs.predictions import Predictions

__all__ = ["MEASURES", "AnyPredictions", "MeasureName", "measure_for", "measured", "part", "score"]

AnyPredictions = Predictions | MaskPredictions
MeasureName = Literal["auc", "balanced_accuracy_half", "balanced_accuracy", "f1", "brier_skill", "dice"]


@dataclass(frozen=True)
class Measure:
    """A figure to compare by.

    Attributes:
        label: as a person reads it.
        worth: the smallest difference that a proof must be able to see, else more patients are asked for.
        floor: of a constant prediction, which stands for an arm that left no model.
    """

    label: str
    worth: float
    floor: float


MEASURES: dict[str, Measure] = {
    "auc": Measure("AUC", 0.1, 0.5),
    "balanced_accuracy_half": Measure("balanced accuracy at 0.5", 0.1, 0.5),
    "balanced_accuracy": Measure("balanced accuracy at the threshold", 0.1, 0.5),
    "f1": Measure("F1 at the threshold", 0.1, 0.0),
    "brier_skill": Measure("Brier skill", 0.1, 0.0),
    "dice": Measure("Dice by case", 0.1, 0.0),
}

# Faults of the weight of positives leave the ranking nearly as it is, and harm what is called at 0.5.
OF_WEIGHTS = (
    "pos_weight_inverted", "pos_weight_too_large", "pos_weight_order", "double_correction", "focal_alpha_low",
    "focal_alpha_high", "weight_not_in_force",
)  # fmt: skip
OF_PROBABILITIES = ("overconfidence",)


def measure_for(fault: str, task: str) -> MeasureName:
    """The figure that a fault harms, and its cure must mend.

    >>> measure_for("learning_rate_too_high", "binary"), measure_for("pos_weight_inverted", "binary")
    ('auc', 'balanced_accuracy_half')
    """
    if task == "segmentation":
        return "dice"
    if fault in OF_WEIGHTS and task != "multiclass":
        return "balanced_accuracy_half"
    return "brier_skill" if fault in OF_PROBABILITIES else "auc"


def score(name: str, predictions: AnyPredictions, task: str, thresholds: Mapping[str, float | None] | None = None) -> Influence:
    """A figure of these predictions; their patients are numbered by the order of their sorted names.

    Args:
        name: of `MEASURES`.
        predictions: of N samples.
        task: their kind.
        thresholds: class to threshold, for figures at the threshold; a class without one is called at 0.5.
    """
    codes = cluster_codes(predictions.ids if predictions.patients is None else predictions.patients)
    if isinstance(predictions, MaskPredictions):
        return mean_influence(_dice(predictions), codes)
    targets, probabilities = predictions.targets, predictions.probabilities
    if name == "auc":
        return auc_influence(targets, probabilities, codes)
    if name == "brier_skill":
        return _brier_skill(targets, probabilities, codes)
    limits = [0.5] * targets.shape[1]
    if name != "balanced_accuracy_half" and thresholds:
        known = [0.5 if value is None or np.isnan(value) else value for value in thresholds.values()]
        limits = known if len(known) == targets.shape[1] else limits
    called = decide(probabilities, limits, cast(Kind, task))
    return (f1_influence if name == "f1" else rates_influence)(targets, called, codes)


def measured(name: str, predictions: AnyPredictions, task: str) -> float:
    """The figure alone."""
    return score(name, predictions, task).value


def part(predictions: AnyPredictions, rows: NDArray[np.intp]) -> AnyPredictions:
    """The predictions of these samples, in this order, without their metadata."""
    ids = predictions.ids[rows]
    patients = None if predictions.patients is None else predictions.patients[rows]
    if isinstance(predictions, MaskPredictions):
        table = CaseTable.from_arrays(predictions.table).take(rows).arrays()
        return MaskPredictions(ids, predictions.classes, table, patients)
    values = (predictions.targets[rows], predictions.logits[rows], predictions.probabilities[rows])
    return Predictions(ids, *values, patients)


def _brier_skill(targets: NDArray[np.float32], probabilities: NDArray[np.float32], codes: NDArray[np.intp]) -> Influence:
    """Share of the constant prediction's squared error that is spared; 0 is that of the prevalence, and below 0 worse."""
    share = np.nanmean(targets, axis=0)
    floor = float(np.mean(share * (1 - share)))
    if not floor > 0:
        return mean_influence(np.full(len(targets), np.nan), codes)
    errors = (probabilities.astype(np.float64) - targets) ** 2
    return mean_influence(1.0 - np.nanmean(errors, axis=1) / floor, codes)


def _dice(predictions: MaskPredictions) -> NDArray[np.float64]:
    """(N,) Dice of each case, mean over the classes that it has; NaN where it has none."""
    counts = CaseTable.from_arrays(predictions.table).at_thresholds
    filled = counts.foreground > 0
    dice = np.where(filled, OVERLAPS["dice"](counts.counts), np.nan)
    known = filled.sum(axis=1)
    sums = np.where(filled, dice, 0.0).sum(axis=1)
    return np.asarray(np.divide(sums, known, out=np.full(len(sums), np.nan), where=known > 0))
