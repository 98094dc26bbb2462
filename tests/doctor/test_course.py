"""Courses of a curve against their plain definitions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from osler.doctor.course import MANY_STEPS, climbs, longest_constant, median, worst_spike


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


def curve_of(up: int, down: int) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum([1.0] * up + [-1.0] * down)])


@pytest.mark.parametrize("count", [MANY_STEPS, MANY_STEPS + 1, 1001])
def test_climbs_is_a_binomial_test_of_many_steps_too(count: int) -> None:
    """The share of steps up from which it climbs is that of the exact test, within a step or two."""
    least = next(up for up in range(count + 1) if climbs(curve_of(up, count - up)))
    assert binom.sf(least + 1, count, 0.5) < 0.01
    assert binom.sf(least - 3, count, 0.5) > 0.01


def test_climbs_of_a_long_course_asks_no_sum_of_binomials() -> None:
    assert climbs(np.arange(200_000.0))
    assert not climbs(np.sin(np.arange(200_000.0)))
