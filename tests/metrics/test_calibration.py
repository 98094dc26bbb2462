"""Brier, reliability bins, and an ECE that is near 0 for a calibrated model of a small set."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as sk

from osler.metrics.calibration import Bins, _mean_deviation, brier, ece, gaps_of, make_bins, reliability_curve
from osler.metrics.ranking import rank

Floats = NDArray[np.float64]


def calibrated(rng: np.random.Generator, size: int, share: float = 0.2) -> tuple[Floats, Floats]:
    p = rng.beta(4 * share, 4 * (1 - share), size)
    return (rng.random(size) < p).astype(float), p


def test_brier_is_scikit_learns_over_the_known() -> None:
    y, p = calibrated(np.random.default_rng(0), 400)
    assert brier(y, p) == pytest.approx(sk.brier_score_loss(y, p))
    assert brier(np.append(y, np.nan), np.append(p, 0.7)) == pytest.approx(brier(y, p))
    assert math.isnan(brier([np.nan], [0.5]))


def test_bins_hold_equally_many_and_all_samples() -> None:
    y, p = calibrated(np.random.default_rng(1), 1500)
    bins = make_bins(rank(y, p))
    assert bins.counts.tolist() == [100.0] * 15
    assert bins.positives.sum() == y.sum()
    assert bins.predicted.sum() == pytest.approx(p.sum())
    order = np.argsort(p)
    np.testing.assert_allclose(bins.predicted, p[order].reshape(15, 100).sum(1))
    np.testing.assert_allclose(bins.positives, y[order].reshape(15, 100).sum(1))


def test_equal_probabilities_share_a_bin_and_small_sets_have_few() -> None:
    assert make_bins(rank([0, 1] * 50, [0.5] * 100)).counts.tolist() == [100.0]
    assert len(make_bins(rank(*calibrated(np.random.default_rng(2), 35))).counts) == 3
    assert make_bins(rank([1.0], [0.2])).counts.tolist() == [1.0]
    coarse = make_bins(rank([0.0, 1.0] * 60, np.repeat([0.1, 0.2, 0.9], 40)))
    assert coarse.counts.tolist() == [40.0, 40.0, 40.0]
    assert len(make_bins(rank([np.nan], [0.2])).counts) == 0


def test_the_reliability_curve_has_scikit_learns_shares_and_wilsons_intervals() -> None:
    y, p = calibrated(np.random.default_rng(3), 2000)
    curve = reliability_curve(y, p, bins=10)
    from sklearn.calibration import calibration_curve

    observed, predicted = calibration_curve(y, p, n_bins=10, strategy="quantile")
    np.testing.assert_allclose(curve.predicted, predicted, atol=2e-3)
    np.testing.assert_allclose(curve.observed, observed, atol=0.01)
    expected = stats.binomtest(int(curve.observed[4] * curve.counts[4]), int(curve.counts[4])).proportion_ci(method="wilson")
    assert curve.low[4] == pytest.approx(expected.low)
    assert curve.high[4] == pytest.approx(expected.high)


@pytest.mark.parametrize(("size", "share"), [(10, 0.3), (100, 0.01), (1000, 1e-4), (50, 0.999), (7, 0.5)])
def test_the_mean_deviation_is_the_binomials(size: int, share: float) -> None:
    k = np.arange(size + 1)
    expected = (stats.binom.pmf(k, size, share) * np.abs(k - size * share)).sum() / size
    assert float(_mean_deviation(np.array([size]), np.array([share]))[0]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("size", "share"), [(100, 0.2), (400, 0.2), (400, 0.02), (3000, 0.2)])
def test_noise_is_not_called_miscalibration(size: int, share: float) -> None:
    rng = np.random.default_rng(4)
    plain, corrected, covered = [], [], 0
    for _ in range(150):
        y, p = calibrated(rng, size, share)
        gaps = gaps_of(make_bins(rank(y, p)))
        plain.append(gaps.plugin)
        corrected.append(gaps.ece())
        covered += gaps.ends(0.95)[0] < 1e-9
    assert np.mean(corrected) < 0.55 * np.mean(plain)
    assert covered / 150 >= 0.93


@pytest.mark.parametrize("size", [100, 1000])
def test_real_miscalibration_stays(size: int) -> None:
    rng = np.random.default_rng(5)
    found, covered = [], 0
    p = rng.random(200_000)
    truth = float(np.abs(p**2 - p).mean())
    for _ in range(200):
        p = rng.random(size)
        gaps = gaps_of(make_bins(rank(rng.random(size) < p**2, p)))
        found.append(gaps.ece())
        low, high = gaps.ends(0.95)
        covered += low <= truth <= high
    assert np.mean(found) == pytest.approx(truth, abs=0.012)
    assert covered / 200 >= 0.93


def test_extremes_stay_finite() -> None:
    assert ece([1.0] * 50, [1.0] * 50) == 0
    assert ece([1.0] * 50, [0.0] * 50) == pytest.approx(1.0)
    assert ece([0.0], [0.0]) == 0
    assert math.isnan(ece([np.nan], [0.3]))
    assert math.isnan(ece([0.0, 1.0], [0.3, math.nan]))
    low, high = gaps_of(Bins(np.array([40.0]), np.array([0.0]), np.array([0.0]))).ends(0.95)
    assert low == 0
    assert 0 < high < 0.2
