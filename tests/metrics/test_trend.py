"""Slopes with honest errors, tiny validation sets by their steps, and weights by what constant predictions cost."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from osler.metrics.trend import (
    _student_quantile,
    prevalence_from_constants,
    smallest_set,
    trend,
    weight_from_probability,
    weight_in_force,
)

# Record A: validation of five epochs; the weight in the file is 2.0.
LOSSES = [1.2599, 1.2604, 1.2593, 1.2599, 1.2599]
RECALLS = [1.0, 0.0, 1.0, 1.0, 1.0]
PREVALENCE = 0.1013


def noise(rng: np.random.Generator, n: int, rho: float) -> np.ndarray:
    """Stationary AR(1) noise of variance 1."""
    values = rng.normal(size=n)
    for row in range(1, n):
        values[row] = rho * values[row - 1] + math.sqrt(1 - rho**2) * values[row]
    return values


def weighted_bce(weight: float, probability: float, prevalence: float) -> float:
    return -(prevalence * weight * math.log(probability) + (1 - prevalence) * math.log(1 - probability))


def test_the_slope_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0, 20, 15))
    values = 0.3 * times + rng.normal(size=15)
    oracle = stats.linregress(times, values)
    found = trend(values, times)
    assert found.slope == pytest.approx(oracle.slope)
    assert found.se >= oracle.stderr * 0.999
    if found.autocorrelation == 0.0:
        assert found.se == pytest.approx(oracle.stderr)


def test_without_autocorrelation_the_error_is_the_usual_one() -> None:
    values = np.tile([0.0, 1.0], 10)  # alternates: its negative correlation is not used to narrow the interval
    oracle = stats.linregress(np.arange(20), values)
    found = trend(values)
    assert found.autocorrelation == 0.0
    assert found.se == pytest.approx(oracle.stderr)
    half = stats.t.ppf(0.975, 18) * oracle.stderr
    assert found.high - found.slope == pytest.approx(half, rel=1e-3)


@pytest.mark.parametrize(
    ("n", "rho", "at_least"), [(8, 0.0, 0.93), (12, 0.4, 0.90), (20, 0.4, 0.90), (50, 0.7, 0.91), (150, 0.7, 0.92)]
)
def test_intervals_cover_correlated_noise(n: int, rho: float, at_least: float) -> None:
    rng = np.random.default_rng(n)
    covered = 0
    for _ in range(300):
        found = trend(noise(rng, n, rho))
        covered += found.low <= 0.0 <= found.high
    # Three standard errors of 300 draws are allowed for.
    assert covered / 300 > at_least - 3 * math.sqrt(at_least * (1 - at_least) / 300)


def test_the_usual_error_would_not_cover_it() -> None:
    """What the autocorrelation is for: least squares alone finds trends in half of these series."""
    rng = np.random.default_rng(1)
    series = [noise(rng, 50, 0.7) for _ in range(200)]
    naive = sum(stats.linregress(np.arange(50), values).pvalue < 0.05 for values in series)
    ours = sum(found.rises or found.falls for found in map(trend, series))
    assert naive > 60
    assert ours < 30


def test_a_real_fall_is_seen() -> None:
    rng = np.random.default_rng(2)
    assert trend(1.0 - 0.02 * np.arange(30) + 0.02 * noise(rng, 30, 0.4)).falls
    assert trend(0.02 * np.arange(30) + 0.02 * noise(rng, 30, 0.4)).rises


def test_missing_figures_are_left_out_and_scale_does_not_matter() -> None:
    values = np.array([0.9, np.nan, 0.71, 0.62, np.nan, 0.41, 0.28])
    found = trend(values)
    assert found.n == 5
    assert found.slope == pytest.approx(stats.linregress(np.flatnonzero(np.isfinite(values)), values[np.isfinite(values)]).slope)
    huge = trend(values * 1e300)
    assert huge.slope == pytest.approx(found.slope * 1e300)
    assert math.isfinite(huge.se)


def test_what_has_no_slope_says_why() -> None:
    assert "at least" in str(trend([0.5, 0.4, np.nan]).reason)
    assert trend([1.0, 2.0, 3.0, 4.0], [5, 5, 5, 5]).reason == "all figures are of the same epoch"
    assert math.isnan(trend([]).slope)
    constant = trend([0.67] * 9)
    assert (constant.slope, constant.low, constant.high) == (0.0, 0.0, 0.0)
    assert not constant.rises
    assert not constant.falls


def test_long_series_use_the_limit() -> None:
    values = noise(np.random.default_rng(3), 401, 0.5)
    long, short = trend(values), trend(values[:400])
    assert long.se == pytest.approx(short.se, rel=0.15)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("freedom", [1.0, 1.5, 2.0, 2.5, 3.0, 7.3, 30.0, 1000.0])
def test_student(level: float, freedom: float) -> None:
    exact = stats.t.ppf((1 + level) / 2, freedom)
    allowed = 0.04 if freedom < 2.0 else 1e-3
    assert exact * (1 - 1e-3) <= _student_quantile(level, freedom) <= exact * (1 + allowed)


# --- tiny validation sets


@pytest.mark.parametrize("n", [7, 16, 48, 90])
@pytest.mark.parametrize("decimals", [4, 9])
def test_the_size_of_a_small_set_is_read_from_its_scores(n: int, decimals: int) -> None:
    rng = np.random.default_rng(n)
    scores = np.round(rng.integers(1, n, 25) / n, decimals)
    found = smallest_set(scores)
    assert found.n > 0
    assert n % found.n == 0
    assert found.n <= n <= found.largest


def test_hundredths_may_be_rounding_unless_the_decimals_are_known() -> None:
    scores = np.random.default_rng(5).integers(50, 99, 20) / 100
    assert smallest_set(scores).n == 0
    assert smallest_set(scores, decimals=4).n == 100


def test_a_multiple_of_what_is_seen_stays_possible() -> None:
    found = smallest_set([0.25, 0.5])
    assert found.reason is not None or found.largest > found.n
    assert smallest_set([0.25, 0.75, 0.5]).largest == 8


def test_scores_of_large_sets_have_no_step() -> None:
    rng = np.random.default_rng(4)
    flagged = sum(smallest_set(np.round(rng.uniform(0.5, 0.9, 12), 4)).n > 0 for _ in range(40))
    assert flagged == 0
    assert smallest_set(rng.uniform(0.5, 0.9, 12)).n == 0


def test_float32_scores_have_their_own_rounding() -> None:
    scores = (np.array([11, 13, 12, 9], dtype=np.float32) / np.float32(16)).astype(np.float64)
    assert smallest_set(scores).n == 16
    thirds = (np.array([1, 2, 4, 5], dtype=np.float32) / np.float32(6)).astype(np.float64)
    assert smallest_set(thirds).n == 6


def test_too_few_scores_tell_nothing() -> None:
    assert "fewer than two" in str(smallest_set([0.5, 0.5, np.nan, 1.0, 0.0]).reason)
    assert smallest_set([]).n == 0


# --- the weight in force


def test_record_a() -> None:
    found = weight_in_force(LOSSES, RECALLS, PREVALENCE)
    assert found.value == pytest.approx(9.07, abs=0.02)
    assert found.low > 8.0 > 2.0
    assert found.low <= (1 - PREVALENCE) / PREVALENCE <= found.high


@pytest.mark.parametrize("weight", [0.5, 1.0, 2.0, 20.0])
@pytest.mark.parametrize("prevalence", [0.02, 0.3])
def test_a_known_weight_is_found(weight: float, prevalence: float) -> None:
    losses = [weighted_bce(weight, probability, prevalence) for probability in (0.5005, 0.4995, 0.501)]
    found = weight_in_force(losses, [1, 0, 1], prevalence)
    assert found.low <= weight <= found.high
    assert found.value == pytest.approx(weight, rel=0.05, abs=0.02)
    direct = weight_from_probability(weighted_bce(weight, 0.23, prevalence), 0.23, 0.0, prevalence)
    assert direct.value == pytest.approx(weight)


@pytest.mark.parametrize(
    ("losses", "rates", "prevalence", "reason"),
    [
        ([1.26, 1.26], [1, 1], 0.1, "all negative"),
        ([1.26, 1.26], [1, 0.3], 0.1, "all negative"),
        ([1.26, 0.9], [1, 0], 0.1, "differs"),
        ([1.26, 1.26], [1, 0], float("nan"), "prevalence"),
        ([1.26, 1.26], [1, 0], 0.0, "prevalence"),
        ([0.2, 0.2], [1, 0], 0.1, "no weighted BCE"),
        ([float("nan"), 1.26], [1, 0], 0.1, "all negative"),
        ([-0.5, -0.5], [1, 0], 0.1, "differs"),
    ],
)
def test_where_it_cannot_be_told_it_abstains(losses: list[float], rates: list[float], prevalence: float, reason: str) -> None:
    found = weight_in_force(losses, rates, prevalence)
    assert math.isnan(found.value)
    assert reason in str(found.reason)


def test_a_mean_probability_helps_only_where_the_prediction_is_constant() -> None:
    assert "not constant" in str(weight_from_probability(1.0, 0.5, 0.8, 0.1).reason)
    assert "not constant" in str(weight_from_probability(1.0, 0.5, float("nan"), 0.1).reason)
    assert "strictly between" in str(weight_from_probability(1.0, 1.0, 0.0, 0.1).reason)
    assert "no weighted BCE" in str(weight_from_probability(0.1, 0.5, 0.0, 0.1).reason)
    spread = weight_from_probability(1.26, 0.5, 0.05, 0.1)
    assert spread.low < spread.value <= spread.high


def test_prevalence_of_the_set_that_was_scored() -> None:
    found = prevalence_from_constants([0.1013, 0.8987, 0.5], [*RECALLS[:2], 0.4], [0.1013, 0.0, 0.3])
    assert [(row, share) for row, share, _ in found] == [(0, 0.1013), (1, pytest.approx(0.1013))]
    assert prevalence_from_constants([0.9, 0.1], [0.0, 1.0], specificity=[1.0, 0.0])[1][:2] == (1, 0.1)
    # Perfect recall alone is no all-positive epoch.
    assert prevalence_from_constants([0.95], [1.0], [0.7]) == []
