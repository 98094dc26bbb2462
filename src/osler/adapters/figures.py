"""The figures of a split for the vitals, as Osler's own loop has them; a test holds the two equal.

What is measured is measured by `osler.metrics`; here it is only put together in the form of `osler.runs.vitals`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from osler.metrics.cases import CaseTable, PixelCounts
from osler.metrics.floors import Floor, skill, skill_reason
from osler.metrics.intervals import standard_error
from osler.metrics.mask_loss import MaskCounts
from osler.metrics.mask_vitals import mask_vitals
from osler.metrics.summary import accuracy, class_vitals
from osler.metrics.weights import Kind

__all__ = ["Loss", "label_figures", "loss_figures", "mask_counts", "mask_figures", "mean_loss"]

Floats = NDArray[np.float64]
Figures = dict[str, Any]

UNDEFINED = {
    "auc": "needs a positive and a negative sample",
    "ap": "needs a positive sample",
    "precision": "no sample is called positive",
    "recall": "no positive sample",
    "specificity": "no negative sample",
    "f1": "no sample is positive or called positive",
    "best_f1_threshold": "needs a positive sample",
    "best_f1": "needs a positive sample",
    "prevalence": "no known label",
    "positive_rate": "no known label",
    "ece": "no known label",
}
"""Figure of a class → why it is undefined."""
MACRO = ("auc", "ap", "f1")
NOT_FINITE = "the loss is not finite"
NOT_GIVEN = "no loss was given"


class Loss(NamedTuple):
    """The mean loss of a split in an epoch.

    Attributes:
        value: NaN where it is not known, or not finite.
        error: its standard error; NaN where it cannot be told.
        n: samples it is taken over.
        given: whether there was a loss at all; NaN is then one that is not finite.
    """

    value: float
    error: float
    n: int
    given: bool = True


NO_LOSS = Loss(math.nan, math.nan, 0, given=False)


def mean_loss(values: NDArray[Any], weights: NDArray[Any], n: int) -> Loss:
    """Summed losses over their weights, with the standard error of the ratio (Cochran 1977, eq. 6.13).

    Args:
        values: (U,) summed losses of each sample; or of each batch, which is then the unit that the error knows.
        weights: (U,) what they are divided by; 0 for a unit of which nothing is known.
        n: samples.

    >>> mean_loss(np.array([1.0, 3.0]), np.array([1.0, 1.0]), 2)
    Loss(value=2.0, error=1.0, n=2, given=True)
    """
    some = weights > 0
    values, weights = values[some], weights[some]
    total = float(weights.sum(dtype=np.float64))
    if not total:
        return NO_LOSS
    value = float(values.sum(dtype=np.float64)) / total
    return Loss(value, standard_error((values - value * weights) / total, None), n)


def loss_figures(loss: Loss, floor: Floor | None, no_floor: str) -> Figures:
    """`loss`, `floor`, `skill` and why skill is undefined.

    Args:
        loss: of the split.
        floor: None where the loss has none that is known.
        no_floor: why.
    """
    least = math.nan if floor is None else floor.loss
    reason = skill_reason(loss.value, least if floor is None else floor)
    if not loss.given:
        reason = NOT_GIVEN
    elif floor is None:
        reason = f"there is no floor: {no_floor}"
    found: Figures = {"value": loss.value, "se": loss.error, "n": loss.n}
    if not math.isfinite(loss.value):
        found["value_reason"] = NOT_FINITE if loss.given else NOT_GIVEN
    return {
        "loss": found,
        "floor": least,
        "skill": math.nan if reason else skill(loss.value, least),
        "skill_reason": reason,
    }


def label_figures(targets: Floats, logits: Floats, kind: Kind, classes: Sequence[str]) -> Figures:
    """`accuracy`, `macro` and `classes` of labels.

    Args:
        targets: (N, K) in {0, 1, NaN}.
        logits: (N, K).
        kind: of the task.
        classes: K names.
    """
    found = dict(zip(classes, class_vitals(targets, logits, kind), strict=True))
    for figures in found.values():
        figures["reasons"] = _reasons(figures)
    means = {name: _mean_of_known([figures[name] for figures in found.values()]) for name in MACRO}
    return {
        "accuracy": accuracy(targets, logits, kind),
        "macro": {
            **means,
            "classes_scored": sum(math.isfinite(figures["auc"]) for figures in found.values()),
            "reasons": {name: "defined for no class" for name, value in means.items() if math.isnan(value)},
        },
        "classes": found,
    }


def _reasons(figures: Mapping[str, Any]) -> dict[str, str]:
    missing = [name for name in UNDEFINED if math.isnan(figures[name])]
    if figures["not_finite"]:
        return dict.fromkeys(missing, f"{figures['not_finite']} logits are not finite")
    return {name: UNDEFINED[name] for name in missing}


def _mean_of_known(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def mask_figures(table: CaseTable | PixelCounts, classes: Sequence[str]) -> Figures:
    """`accuracy`, `macro` and `classes` of masks: of a table of cases with the ranking of pixels, of counts without."""
    figures = mask_vitals(table, classes)
    return {"accuracy": figures["macro"]["accuracy"], **figures}


def mask_counts(counts: PixelCounts, exclusive: bool, batch: int, shuffled: bool) -> MaskCounts:
    """What floors need of masks.

    Args:
        counts: of N images.
        exclusive: a pixel is of one class at most.
        batch: images of a batch, over which overlap losses pool.
        shuffled: batches are drawn anew each epoch.
    """
    known = counts.known
    shares = np.full(known.shape, np.nan)
    np.divide(counts.foreground, known, out=shares, where=known > 0)
    return MaskCounts(exclusive, shares, known.max(axis=1).astype(np.float64), batch, shuffled)
