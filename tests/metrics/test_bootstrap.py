"""The bootstrap against scikit-learn with the same weights, and its standard errors against known ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sk

from osler.metrics.bootstrap import bootstrap_figures, bootstrap_ranking, rank_rows, resample
from osler.metrics.ranking import cluster_codes, delong, rank

Floats = NDArray[np.float64]


def drawn(size: int, classes: int, levels: float, seed: int = 0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    targets = (rng.random((size, classes)) < np.linspace(0.1, 0.6, classes)).astype(float)
    targets[rng.random(targets.shape) < 0.1] = np.nan
    return targets, np.round((rng.normal(size=targets.shape) + np.nan_to_num(targets)) * levels) / levels


@pytest.mark.parametrize("levels", [1.0, 1e6])
@pytest.mark.parametrize("grouped", [False, True])
def test_each_resample_is_scikit_learn_with_its_weights(levels: float, grouped: bool) -> None:
    targets, scores = drawn(120, 3, levels)
    patients = np.random.default_rng(1).integers(0, 50, 120) if grouped else None
    codes = np.arange(120) if patients is None else cluster_codes(patients)
    areas, averages = bootstrap_ranking(targets, scores, patients, bootstraps=20, seed=7)
    weights = np.concatenate(list(resample(int(codes.max()) + 1, 20, seed=7)), axis=1)[codes]
    for k in range(3):
        known = ~np.isnan(targets[:, k])
        y, s = targets[known, k], scores[known, k]
        for r in range(20):
            w = weights[known, r]
            assert areas[r, k] == pytest.approx(sk.roc_auc_score(y, s, sample_weight=w), abs=1e-12)
            assert averages[r, k] == pytest.approx(sk.average_precision_score(y, s, sample_weight=w), abs=1e-12)


@pytest.mark.parametrize("clusters", [1, 7, 3000])
def test_resamples_draw_all_patients_evenly_and_as_many_as_there_are(clusters: int) -> None:
    weights = np.concatenate(list(resample(clusters, 700, seed=3)), axis=1)
    assert weights.shape == (clusters, 700)
    assert (weights.sum(axis=0) == clusters).all()
    assert weights.mean() == 1.0
    if clusters > 1:
        assert weights.var() == pytest.approx(1 - 1 / clusters, rel=0.05)


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    targets, scores = drawn(80, 2, 1e6)
    first = bootstrap_ranking(targets, scores, bootstraps=30, seed=1)[0]
    np.testing.assert_array_equal(first, bootstrap_ranking(targets, scores, bootstraps=30, seed=1)[0])
    assert not np.array_equal(first, bootstrap_ranking(targets, scores, bootstraps=30, seed=2)[0])


def test_its_spread_is_delongs_by_sample_and_obuchowskis_by_patient() -> None:
    rng = np.random.default_rng(2)
    patients = np.repeat(np.arange(150), 4)
    ill = (rng.random(150) < 0.4)[patients].astype(float)
    scores = ill + rng.normal(size=150)[patients] + 0.3 * rng.normal(size=600)
    alone = bootstrap_ranking(ill[:, None], scores[:, None], bootstraps=2000)[0].std()
    assert alone == pytest.approx(math.sqrt(rank(ill, scores).auc_variance), rel=0.08)
    together = bootstrap_ranking(ill[:, None], scores[:, None], patients, bootstraps=2000)[0].std()
    assert together == pytest.approx(math.sqrt(delong(ill, scores[:, None], patients).covariance[0, 0]), rel=0.08)
    assert together > 1.7 * alone


def test_a_resample_without_a_label_is_nan() -> None:
    areas, averages = bootstrap_ranking([[1.0], [0.0]], [[0.9], [0.1]], bootstraps=50)
    assert np.isnan(areas).any()
    assert np.array_equal(np.isnan(areas), np.isnan(averages))
    assert np.nanmin(areas) == 1.0


def test_classes_that_cannot_be_scored_and_empty_sets() -> None:
    targets, scores = drawn(50, 2, 1e6)
    targets[:, 1] = 0
    areas, _ = bootstrap_ranking(targets, scores, bootstraps=10)
    assert np.isfinite(areas[:, 0]).all()
    assert np.isnan(areas[:, 1]).all()
    assert bootstrap_ranking(np.empty((0, 2)), np.empty((0, 2)), bootstraps=5)[0].shape == (5, 2)


def test_counts_are_summed_under_the_same_resamples() -> None:
    targets, scores = drawn(60, 1, 1e6)
    rows = np.random.default_rng(0).integers(0, 5, (60, 4))
    columns = [rank_rows(targets[:, 0], scores[:, 0], np.arange(60), 60)]
    areas, _, sums = bootstrap_figures(columns, rows, 40, seed=9)
    weights = np.concatenate(list(resample(60, 40, seed=9)), axis=1)
    np.testing.assert_array_equal(sums, weights.T @ rows)
    np.testing.assert_array_equal(areas, bootstrap_ranking(targets, scores, bootstraps=40, seed=9)[0])
