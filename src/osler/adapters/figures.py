"""The figures of a split for the vitals, as Osler's own loop has them; a test holds the two equal.

What is measured is measured by `osler.metrics`; here it is only put together in the form of `osler.runs.vitals`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from osler.metrics.cases import CaseTable, PixelCounts
from osler.metrics.floors import Floor, skill, skill_reason
from osler.metrics.intervals import standard_error
from osler.metrics.mask_loss import MaskCounts
from osler.metrics.mask_vitals import mask_vitals

__all__ = ["Loss", "loss_figures", "mask_counts", "mask_figures", "mean_loss"]

Floats = NDArray[np.float64]
Figures = dict[str, Any]

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
    return MaskCounts.of(exclusive, counts.foreground, counts.known, batch, shuffled)
