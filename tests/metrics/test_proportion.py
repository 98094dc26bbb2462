"""Wilson's interval and the effective number of samples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from osler.metrics.proportion import effective_size, normal_quantile, student_quantile, wilson


@pytest.mark.parametrize(("found", "size"), [(0, 1), (1, 1), (0, 20), (20, 20), (7, 20), (390, 624)])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_wilson_is_scipys(found: int, size: int, level: float) -> None:
    expected = stats.binomtest(found, size).proportion_ci(level, method="wilson")
    low, high = wilson(found, size, level)
    assert float(low) == pytest.approx(expected.low, abs=1e-12)
    assert float(high) == pytest.approx(expected.high, abs=1e-12)
    assert float(low) < float(high)


def test_wilson_of_nothing_is_everything() -> None:
    low, high = wilson([0, 3], [0, 4])
    assert (low[0], high[0]) == (0.0, 1.0)
    assert 0 < low[1] < 0.75 < high[1] < 1


def test_quantiles() -> None:
    assert normal_quantile(0.9) == pytest.approx(stats.norm.ppf(0.95))
    assert student_quantile(0.9, 3) == pytest.approx(stats.t.ppf(0.95, 3))
    assert student_quantile(0.95, 0) == float("inf")


def test_alike_samples_count_once_and_strangers_each() -> None:
    rng = np.random.default_rng(0)
    by_patient = (rng.random(2000) < 0.3).astype(float)
    fours = np.full(2000, 4.0)
    assert effective_size(4 * by_patient, fours) == pytest.approx(2000, rel=0.01)
    strangers = rng.binomial(4, 0.3, 2000).astype(float)
    assert effective_size(strangers, fours) == pytest.approx(8000, rel=0.08)
    assert effective_size(strangers, fours) <= 8000


def test_where_all_agree_a_patient_counts_once() -> None:
    assert effective_size(np.array([3.0, 3.0]), np.array([3.0, 3.0])) == pytest.approx(2)
    assert effective_size(np.zeros(3), np.array([1.0, 1.0, 8.0])) == pytest.approx(100 / 66)
    assert effective_size(np.array([0.0, 1.0]), np.array([0.0, 1.0])) == 1
    assert effective_size(np.empty(0), np.empty(0)) == 0
