"""AUC, AP, curves and DeLong against scikit-learn and against the quadratic definition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sk

from osler.metrics.ranking import (
    auc,
    aucs,
    aucs_with_variances,
    average_precision,
    cluster_codes,
    delong,
    delong_test,
    pr_curve,
    rank,
    roc_curve,
)

Floats = NDArray[np.float64]


def drawn(size: int, share: float, levels: int | None, seed: int = 0, dtype: Any = np.float64) -> tuple[Floats, NDArray[Any]]:
    """Labels and scores; with `levels`, scores are so coarse that most are tied."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(size) < share).astype(float)
    labels[:2] = [0, 1]
    scores = rng.normal(size=size) + labels
    return labels, (scores if levels is None else np.round(scores * levels) / levels).astype(dtype)


def kernel(labels: Floats, scores: Floats) -> Floats:
    """(n1, n0) 1 where the positive scores higher, 1/2 where equal."""
    pairs = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    return np.asarray((np.sign(pairs) + 1) / 2)


def quadratic_variance(labels: Floats, scores: Floats) -> float:
    """DeLong's variance from all pairs."""
    psi = kernel(labels, scores)
    return float(psi.mean(1).var(ddof=1) / psi.shape[0] + psi.mean(0).var(ddof=1) / psi.shape[1])


GRID = [(2, 0.5), (3, 0.5), (30, 0.3), (500, 0.02), (500, 0.5), (500, 0.97)]


@pytest.mark.parametrize(("size", "share"), GRID)
@pytest.mark.parametrize("levels", [None, 1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_auc_and_ap_are_those_of_scikit_learn(size: int, share: float, levels: int | None, dtype: Any) -> None:
    for seed in range(5):
        labels, scores = drawn(size, share, levels, seed, dtype)
        assert auc(labels, scores) == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
        assert average_precision(labels, scores) == pytest.approx(sk.average_precision_score(labels, scores), abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, math.nan]), st.integers(-3, 3)), min_size=1, max_size=40))
def test_any_labels_and_ties(cells: list[tuple[float, int]]) -> None:
    labels, scores = np.array([label for label, _ in cells]), np.array([score for _, score in cells])
    known = ~np.isnan(labels)
    if len(set(labels[known])) < 2:
        assert math.isnan(auc(labels, scores))
        assert math.isnan(average_precision(labels, scores))
        return
    assert auc(labels, scores) == pytest.approx(kernel(labels, scores).mean(), abs=1e-12)
    expected = sk.average_precision_score(labels[known], scores[known])
    assert average_precision(labels, scores) == pytest.approx(expected, abs=1e-12)
    if min((labels == 1).sum(), (labels == 0).sum()) > 1:
        assert rank(labels, scores).auc_variance == pytest.approx(quadratic_variance(labels, scores), abs=1e-10)


@pytest.mark.parametrize(("size", "share"), GRID[1:])
@pytest.mark.parametrize("levels", [None, 2])
def test_the_variance_is_the_quadratic_formula(size: int, share: float, levels: int | None) -> None:
    labels, scores = drawn(size, share, levels, seed=3)
    if min(labels.sum(), (1 - labels).sum()) < 2:
        assert math.isnan(rank(labels, scores).auc_variance)
    else:
        assert rank(labels, scores).auc_variance == pytest.approx(quadratic_variance(labels, scores), abs=1e-10)


def test_columns_are_scored_each_with_their_own_unknowns() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((200, 4)) < [0.2, 0.5, 0.1, 0.0]).astype(float)
    targets[rng.random(targets.shape) < 0.2] = np.nan
    scores = rng.normal(size=targets.shape) + np.nan_to_num(targets)
    areas, variances = aucs_with_variances(targets, scores)
    np.testing.assert_array_equal(areas, aucs(targets, scores))
    for k in range(3):
        known = ~np.isnan(targets[:, k])
        assert areas[k] == pytest.approx(sk.roc_auc_score(targets[known, k], scores[known, k]), abs=1e-12)
        assert variances[k] == pytest.approx(quadratic_variance(targets[:, k], scores[:, k]), abs=1e-10)
    assert math.isnan(areas[3])
    assert math.isnan(variances[3])


def test_nothing_to_rank_is_nan() -> None:
    for labels in ([1.0], [0.0], [1.0, 1.0], [math.nan, 0.0], []):
        scores = np.linspace(0, 1, len(labels))
        assert math.isnan(auc(labels, scores))
        assert math.isnan(average_precision(labels, scores))
        assert len(roc_curve(labels, scores).thresholds) == len(pr_curve(labels, scores).thresholds) == 0


def test_a_score_of_nan_makes_the_figure_nan_unless_its_label_is_unknown() -> None:
    assert math.isnan(auc([0, 1, 1], [0.1, 0.2, math.nan]))
    assert math.isnan(auc([0, 0, 1], [0.1, math.nan, 0.2]))
    assert auc([0, math.nan, 1], [0.1, math.nan, 0.2]) == 1.0


def test_infinite_scores_are_ranked() -> None:
    assert auc([0, 1, 0, 1], [-math.inf, math.inf, 0.0, 0.0]) == pytest.approx(0.875)


@pytest.mark.parametrize("levels", [None, 1])
def test_curves_pass_through_scikit_learns_points(levels: int | None) -> None:
    labels, scores = drawn(200, 0.3, levels)
    roc = roc_curve(labels, scores)
    false, true, thresholds = sk.roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(roc.false_positive_rate, false, atol=1e-15)
    np.testing.assert_allclose(roc.true_positive_rate, true, atol=1e-15)
    np.testing.assert_allclose(roc.thresholds[1:], thresholds[1:])
    assert np.trapezoid(roc.true_positive_rate, roc.false_positive_rate) == pytest.approx(auc(labels, scores), abs=1e-12)
    curve = pr_curve(labels, scores)
    precision, recall, _ = sk.precision_recall_curve(labels, scores)
    np.testing.assert_allclose(curve.precision, precision[-2::-1], atol=1e-15)
    np.testing.assert_allclose(curve.recall, recall[-2::-1], atol=1e-15)


def test_the_covariance_of_several_models_is_the_quadratic_one() -> None:
    labels, first = drawn(120, 0.3, None, seed=1)
    second = first + np.random.default_rng(2).normal(size=120)
    third = np.round(second)
    scores = np.column_stack([first, second, third])
    found = delong(labels, scores)
    psi = [kernel(labels, column) for column in scores.T]
    of_positives, of_negatives = np.cov([p.mean(1) for p in psi]), np.cov([p.mean(0) for p in psi])
    expected = of_positives / labels.sum() + of_negatives / (1 - labels).sum()
    np.testing.assert_allclose(found.covariance, expected, atol=1e-12)
    np.testing.assert_allclose(found.aucs, [p.mean() for p in psi], atol=1e-12)
    assert found.clusters == (int(labels.sum()), int((1 - labels).sum()))


def obuchowski(labels: Floats, scores: Floats, patients: NDArray[Any]) -> float:
    """Obuchowski (1997), equations as printed, over all pairs."""
    psi = kernel(labels, scores)
    area, m, n = psi.mean(), psi.shape[0], psi.shape[1]
    ids = np.unique(patients)
    x = np.array([(psi.mean(1) - area)[patients[labels == 1] == i].sum() for i in ids])
    y = np.array([(psi.mean(0) - area)[patients[labels == 0] == i].sum() for i in ids])
    i10, i01, both = len(np.unique(patients[labels == 1])), len(np.unique(patients[labels == 0])), len(ids)
    s10 = i10 / ((i10 - 1) * m) * (x**2).sum()
    s01 = i01 / ((i01 - 1) * n) * (y**2).sum()
    s11 = both / (both - 1) * (x * y).sum()
    return float(s10 / m + s01 / n + 2 * s11 / (m * n))


def test_by_patient_it_is_obuchowskis_variance() -> None:
    labels, scores = drawn(150, 0.4, 2, seed=5)
    patients = np.random.default_rng(0).integers(0, 40, 150).astype(str)
    found = delong(labels, scores[:, None], patients)
    assert found.covariance[0, 0] == pytest.approx(obuchowski(labels, scores, patients), abs=1e-12)
    alone = delong(labels, scores[:, None], np.arange(150))
    assert alone.covariance[0, 0] == pytest.approx(rank(labels, scores).auc_variance, abs=1e-14)


def test_copies_of_a_sample_bring_no_certainty() -> None:
    labels, scores = drawn(100, 0.4, None, seed=6)
    once = delong(labels, scores[:, None], np.arange(100)).covariance[0, 0]
    patients = np.tile(np.arange(100), 5)
    five = delong(np.tile(labels, 5), np.tile(scores, 5)[:, None], patients).covariance[0, 0]
    assert five == pytest.approx(once, rel=1e-9)
    assert delong(np.tile(labels, 5), np.tile(scores, 5)[:, None]).covariance[0, 0] < once / 4


def test_unknown_labels_stay_out_of_delong() -> None:
    labels, scores = drawn(80, 0.4, None, seed=7)
    patients = np.arange(80) // 2
    more = delong(np.append(labels, np.nan), np.append(scores, 9.0)[:, None], np.append(patients, 99))
    np.testing.assert_allclose(more.covariance, delong(labels, scores[:, None], patients).covariance)


def test_the_paired_test_on_equal_better_and_undefined_scores() -> None:
    labels, scores = drawn(300, 0.4, None, seed=8)
    same = delong_test(labels, scores, 2 * scores + 1)
    assert (same.difference, same.p) == (0.0, 1.0)
    assert math.isnan(same.z)
    noise = np.random.default_rng(1).normal(size=300)
    worse = delong_test(labels, scores, noise)
    assert worse.p < 1e-3
    assert worse.low > 0
    turned = delong_test(labels, noise, scores)
    assert (turned.difference, turned.low, turned.high) == pytest.approx((-worse.difference, -worse.high, -worse.low))
    assert math.isnan(delong_test([1, 1], [0.1, 0.2], [0.2, 0.1]).p)
    perfect = delong_test([0, 0, 1, 1], [1, 2, 3, 4], [4, 3, 2, 1])
    assert perfect.difference == 1.0
    assert perfect.low < 0.3
    assert math.isnan(perfect.p)


def test_the_paired_test_holds_its_level() -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(400):
        labels = (rng.random(120) < 0.3).astype(float)
        shared = rng.normal(size=120) + labels
        alarms += delong_test(labels, shared + rng.normal(size=120), shared + rng.normal(size=120)).p < 0.05
    assert 0.025 < alarms / 400 < 0.085


def test_cluster_codes_number_ids_of_any_kind() -> None:
    assert cluster_codes(np.array(["p9", "p1", "p9"])).tolist() == [1, 0, 1]
    assert cluster_codes([]).tolist() == []
