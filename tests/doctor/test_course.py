"""Courses of a curve against their plain definitions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from osler.doctor.course import longest_constant, median, worst_spike


def longest_by_hand(values: NDArray[np.float64]) -> tuple[int, int]:
    best = (0, 0)
    for start in range(len(values)):
        length = 1
        while start + length < len(values) and values[start + length] == values[start]:
            length += 1
        if np.isfinite(values[start]) and length > best[1]:
            best = start, length
    return best


@pytest.mark.parametrize("seed", range(20))
def test_the_longest_stretch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.choice([0.1, 0.2, np.nan, np.inf], size=rng.integers(0, 40), p=[0.4, 0.4, 0.1, 0.1])
    assert longest_constant(values) == longest_by_hand(values)


@pytest.mark.parametrize("seed", range(5))
def test_the_worst_spike(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=50)
    heights = [values[k] - median(np.r_[values[k - 2 : k], values[k + 1 : k + 3]]) for k in range(2, 48)]
    assert worst_spike(values) == max(heights)
    assert np.isnan(worst_spike(values[:6]))
