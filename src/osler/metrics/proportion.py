"""Intervals of a share: Wilson's, also where several samples come from one patient."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["effective_size", "normal_quantile", "student_quantile", "wilson"]

Floats = NDArray[np.float64]


def normal_quantile(level: float) -> float:
    """Half-width in standard errors of a two-sided interval of this level.

    >>> round(normal_quantile(0.95), 4)
    1.96
    """
    return NormalDist().inv_cdf((1 + level) / 2)


def student_quantile(level: float, freedom: float) -> float:
    """The same for Student's t; infinite without a degree of freedom.

    >>> round(student_quantile(0.95, 10), 4)
    2.2281
    """
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2)) if freedom > 0 else float("inf")


def wilson(successes: ArrayLike, total: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """Ends of Wilson's (1927) interval of successes / total; 0 and 1 where total is 0.

    Args:
        successes: any shape; fractions will do, where `total` is an effective size.
        total: of the same shape.
        level: of the interval.

    >>> [round(float(end), 3) for end in wilson(0, 20)]
    [0.0, 0.161]
    """
    found, size = np.asarray(successes, dtype=np.float64), np.asarray(total, dtype=np.float64)
    z2 = normal_quantile(level) ** 2
    share = np.full(size.shape, 0.5)
    np.divide(found, size, out=share, where=size > 0)
    centre = (found + z2 / 2) / (size + z2)
    # share * (1 - share) can be a hair below 0 where an effective size was multiplied and divided.
    spread = np.maximum(share * (1 - share), 0.0) * size + z2 / 4
    half = np.sqrt(z2 * spread) / (size + z2)
    low, high = np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)
    # Exact ends, which rounding leaves at 1e-17 or so.
    return np.asarray(np.where(share == 0, 0.0, low)), np.asarray(np.where(share == 1, 1.0, high))


def effective_size(successes: NDArray[Any], totals: NDArray[Any], level: float = 0.95) -> float:
    """The number of independent samples that say as much as these clusters about the share of successes.

    p (1 - p) over the ratio estimator's variance (Rao and Scott 1992, Biometrics 48:577), no more than there are samples,
    and corrected for few clusters as Korn and Graubard (1998) do. Where all samples agree their variance tells nothing: then
    the samples of a cluster count as one (Kish's size, (Σ n)² / Σ n²).

    Args:
        successes: (P,) of each cluster.
        totals: (P,) samples of each cluster.
        level: of the interval that will be made from it.

    >>> effective_size(np.array([2.0, 0.0, 2.0, 0.0]), np.array([2.0, 2.0, 2.0, 2.0])) < 4
    True
    """
    totals, successes = totals[totals > 0].astype(np.float64), successes[totals > 0].astype(np.float64)
    size, clusters = totals.sum(), len(totals)
    if clusters == 0:
        return 0.0
    kish = float(size**2 / (totals**2).sum())
    share = successes.sum() / size
    residuals = successes - share * totals
    variance = clusters / max(clusters - 1, 1) * float((residuals**2).sum()) / size**2
    if not 0 < share < 1 or variance == 0:
        return kish
    few = (normal_quantile(level) / student_quantile(level, clusters - 1)) ** 2
    return min(float(size), float(share * (1 - share) / variance)) * few
