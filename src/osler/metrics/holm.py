"""Holm's correction: several questions asked of the same samples, and the chance that any answer is a false alarm."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["holm", "holm_levels"]


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """(M,) p values adjusted after Holm (1979): reject where no larger than alpha, and any false alarm is as rare as alpha.

    Args:
        p_values: (M,); a question that was planned and not asked counts as 1. NaN counts as 1.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.nan_to_num(np.asarray(p_values, dtype=np.float64), nan=1.0)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def holm_levels(p_values: ArrayLike, level: float = 0.95) -> NDArray[np.float64]:
    """(M,) levels of the intervals that belong to Holm's steps: the smallest p value has the widest interval.

    An interval at its level leaves out 0 exactly where its own p value passes its own step; Holm rejects where those of all
    smaller p values do too.

    Args:
        p_values: (M,), as for `holm`.
        level: that all intervals together would have.

    >>> holm_levels([0.2, 0.001], 0.95).tolist()
    [0.95, 0.975]
    """
    values = np.nan_to_num(np.asarray(p_values, dtype=np.float64), nan=1.0)
    steps = np.empty(len(values))
    steps[np.argsort(values, kind="stable")] = np.arange(len(values), 0, -1)
    return np.asarray(1.0 - (1.0 - level) / steps)
