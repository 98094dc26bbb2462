"""Course: what a single curve does: how much it jitters, where it turns, whether it stands still."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from osler.metrics.trend import trend

__all__ = ["climbs", "flips", "has_gained", "longest_constant", "median", "noise", "tail_mean", "worst_spike"]

Floats = NDArray[np.float64]

MANY_STEPS = 100


def median(values: Floats) -> float:
    """The median of what is finite, NaN of nothing; `np.median` imports numpy.ma, a tenth of what a diagnosis may take.

    >>> median(np.array([3.0, np.nan, 1.0]))
    2.0
    """
    ordered = np.sort(values[np.isfinite(values)])
    return 0.5 * float(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) if len(ordered) else math.nan


def has_gained(values: Floats, epochs: Floats) -> bool:
    """Whether a score has gained much since its first epoch, or a little and steadily.

    >>> has_gained(np.array([0.5, 0.55, 0.62, 0.7]), np.arange(4.0)), has_gained(np.full(4, 0.5), np.arange(4.0))
    (True, False)
    """
    gain = float(values[-max(2, len(values) // 4) :].mean() - values[0])
    return gain > 0.1 or (gain > 0.03 and trend(values, epochs).rises)


def climbs(values: Floats) -> bool:
    """Whether more of a curve's steps go up than a random walk's would, at a level of 1 %.

    A straight line through a smooth bend leaves residuals that look like slow jitter, beside which no slope counts.

    >>> climbs(np.arange(8.0)), climbs(np.array([1.0, 2.0, 1.0, 3.0, 2.0, 4.0, 5.0, 4.0, 6.0]))
    (True, False)
    """
    steps = np.diff(values)
    count, up = len(steps), int((steps > 0).sum())
    if count > MANY_STEPS:
        return 2 * up - count > 2.326 * math.sqrt(count)  # the binomial is normal by then, and its sum long
    as_many = sum(math.comb(count, more) for more in range(up, count + 1))
    return 100 * as_many < 1 << count


def noise(values: Floats) -> float:
    """Standard deviation of a curve's jitter from one epoch to the next, whatever its course; robust against single spikes.

    Second differences cancel a straight line; their standard deviation is √6 times that of independent jitter.

    >>> round(noise(np.arange(10.0)), 6)
    0.0
    """
    known = values[np.isfinite(values)]
    if len(known) < 4:
        return math.nan
    return 1.4826 * median(np.abs(np.diff(known, 2))) / math.sqrt(6.0)


def tail_mean(values: Floats, share: float = 0.2, least: int = 2) -> float:
    """Mean of a curve's last part.

    >>> tail_mean(np.array([9.0, 1.0, 3.0]))
    2.0
    """
    known = values[np.isfinite(values)]
    return float(known[-max(least, round(share * len(known))) :].mean()) if len(known) else math.nan


def longest_constant(values: Floats) -> tuple[int, int]:
    """First row and length of the longest stretch of one and the same figure, among the finite ones.

    >>> longest_constant(np.array([0.1, 0.5, 0.5, 0.5, 0.4]))
    (1, 3)
    """
    if not len(values):
        return 0, 0
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    lengths = np.where(np.isfinite(values[starts]), np.diff(starts, append=len(values)), 0)
    longest = int(np.argmax(lengths))
    return (int(starts[longest]), int(lengths[longest])) if lengths[longest] else (0, 0)


def flips(sides: Floats) -> int:
    """How often one-sided predictions change from all positive to none or back; mixed and unknown epochs between do not count.

    >>> flips(np.array([1.0, -1.0, np.nan, 1.0, 0.0]))
    2
    """
    clear = sides[(sides == 1.0) | (sides == -1.0)]
    return int((np.diff(clear) != 0).sum())


def worst_spike(values: Floats) -> float:
    """How far the point that stands out most lies above the middle of its four neighbours; NaN with fewer than 7 points.

    Args:
        values: (n,) finite.

    >>> worst_spike(np.array([1.0, 1.0, 1.0, 4.0, 1.0, 1.0, 1.0]))
    3.0
    """
    if len(values) < 7:
        return math.nan
    around = np.sort(np.stack([values[:-4], values[1:-3], values[3:-1], values[4:]]), axis=0)
    return float((values[2:-2] - 0.5 * (around[1] + around[2])).max())
