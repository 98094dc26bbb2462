"""Pixel scores from levels and counts, against scikit-learn and against the logits that were binned."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from osler.config import SensitivityTarget
from osler.errors import DataError
from osler.metrics import overlap

sklearn_metrics = pytest.importorskip("sklearn.metrics")

EPS = 1e-9


def masks(seed: int, size: int = 64, share: float = 0.1, skill: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) truth and logits whose foreground lies `skill` standard deviations above."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((size, size)) < share).astype(np.uint8)
    return truth, (rng.normal(size=(size, size)) * 1.5 + skill * truth - 1.5).astype(np.float32)


def histogram_of(truth: np.ndarray, logits: np.ndarray) -> np.ndarray:
    return overlap.histogram(overlap.level_of(logits), truth)


# --- levels -----------------------------------------------------------------------------------------------------------------


@given(arrays(np.float32, 20, elements=st.floats(-200, 200, width=32)))
def test_a_level_holds_its_logits(logits: np.ndarray) -> None:
    levels = overlap.level_of(logits)
    inside = np.abs(logits) < 12.8
    low, high = overlap.edge(levels.astype(int)), overlap.edge(levels.astype(int) + 1)
    slack = 1e-5
    assert (logits[inside] >= low[inside] - slack).all()
    assert (logits[inside] < high[inside] + slack).all()
    assert (levels[logits >= 12.8] == 255).all()
    assert (levels[logits < -12.8] == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_half_is_exact(dtype: type) -> None:
    tiny = np.array([-np.finfo(dtype).tiny, 0.0, np.finfo(dtype).tiny], dtype=dtype)
    assert overlap.level_of(tiny).tolist() == [127, 128, 128]
    assert overlap.level_of(np.array([-np.inf, np.inf], dtype=dtype)).tolist() == [0, 255]


def test_a_nan_is_refused_and_counted() -> None:
    with pytest.raises(DataError, match="1 of 3 logits are NaN"):
        overlap.level_of([0.0, np.nan, 1.0])


def test_levels_of_probabilities_are_near() -> None:
    for probability in np.linspace(0.001, 0.999, 301):
        found = float(overlap.probability_at(overlap.level_at(float(probability))))
        assert abs(found - probability) <= 0.0125 + EPS
    middles = overlap.level_probabilities()
    logits = np.linspace(-12.79, 12.79, 999)
    assert np.abs(middles[overlap.level_of(logits)] - 1 / (1 + np.exp(-logits))).max() <= 0.0125 + EPS


def test_class_logits_are_those_of_the_softmax_beside_the_background() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 3, 4, 5)) * 5
    powers = np.exp(np.concatenate([np.zeros((2, 1, 4, 5)), logits], axis=1))
    shares = (powers / powers.sum(axis=1, keepdims=True))[:, 1:]
    found = overlap.class_logits(logits, exclusive=True)
    np.testing.assert_allclose(found, np.log(shares / (1 - shares)), rtol=1e-6)
    assert overlap.class_logits(logits, exclusive=False) is logits
    one = logits[:, :1]
    assert overlap.class_logits(one, exclusive=True) is one


# --- counts -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("level", [1, 90, 128, 140])
def test_scores_at_a_threshold_equal_scikit_learn(seed: int, level: int) -> None:
    truth, logits = masks(seed)
    called = overlap.level_of(logits) >= level
    counts = overlap.counts_at(histogram_of(truth, logits), level)
    flat, calls = truth.ravel(), called.ravel()
    oracles = {
        "dice": sklearn_metrics.f1_score(flat, calls),
        "iou": sklearn_metrics.jaccard_score(flat, calls),
        "precision": sklearn_metrics.precision_score(flat, calls, zero_division=np.nan),
        "recall": sklearn_metrics.recall_score(flat, calls),
        "accuracy": sklearn_metrics.accuracy_score(flat, calls),
    }
    found = {name: float(score(counts)) for name, score in overlap.OVERLAPS.items()}
    assert found == pytest.approx(oracles, abs=1e-12, nan_ok=True)
    assert (overlap.counts_at_all(histogram_of(truth, logits))[level] == counts).all()


def test_unknown_pixels_are_left_out() -> None:
    truth, logits = masks(1)
    ignored = truth.copy()
    ignored[:20] = overlap.IGNORED
    kept = histogram_of(truth[20:], logits[20:])
    assert (histogram_of(ignored, logits) == kept).all()
    assert histogram_of(np.full_like(truth, overlap.IGNORED), logits).sum() == 0


def test_counts_take_a_threshold_for_each_class() -> None:
    tables = np.stack([histogram_of(*masks(seed)) for seed in range(6)]).reshape(3, 2, 2, 256)
    found = overlap.counts_at(tables, np.array([100, 140]))
    for k, level in enumerate((100, 140)):
        assert (found[:, k] == overlap.counts_at(tables[:, k], level)).all()


def test_overlap_is_undefined_without_foreground() -> None:
    nothing, alarm = np.array([0, 0, 0, 9]), np.array([0, 4, 0, 5])
    for name in ("dice", "iou", "recall"):
        assert np.isnan(overlap.OVERLAPS[name](np.stack([nothing, alarm]))).all(), name
    assert np.isnan(overlap.OVERLAPS["precision"](nothing))
    assert overlap.OVERLAPS["precision"](alarm) == 0
    assert overlap.OVERLAPS["dice"](np.array([0, 0, 3, 5])) == 0


# --- ranking ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "skill"), [(0.1, 2.0), (0.01, 3.0), (0.5, 0.0), (0.003, 6.0)])
def test_auc_and_ap_are_within_their_stated_error(share: float, skill: float) -> None:
    truth, logits = masks(7, 256, share, skill)
    pixels = histogram_of(truth, logits)
    auc_error, ap_error = overlap.binning_errors(pixels)
    area = sklearn_metrics.roc_auc_score(truth.ravel(), logits.ravel())
    precision = sklearn_metrics.average_precision_score(truth.ravel(), logits.ravel())
    assert abs(float(overlap.pixel_auc(pixels)) - area) <= auc_error + EPS
    assert abs(float(overlap.pixel_ap(pixels)) - precision) <= ap_error + EPS
    assert abs(float(overlap.pixel_auc(pixels)) - area) < 2e-4
    assert auc_error < 0.02


@pytest.mark.parametrize("seed", range(3))
def test_auc_and_ap_of_levels_equal_scikit_learn(seed: int) -> None:
    truth, logits = masks(seed)
    levels, pixels = overlap.level_of(logits), histogram_of(truth, logits)
    assert float(overlap.pixel_auc(pixels)) == pytest.approx(sklearn_metrics.roc_auc_score(truth.ravel(), levels.ravel()))
    precision = sklearn_metrics.average_precision_score(truth.ravel(), levels.ravel())
    assert float(overlap.pixel_ap(pixels)) == pytest.approx(precision)
    both = np.stack([pixels, pixels[::-1]])
    assert overlap.pixel_auc(both)[0] == overlap.pixel_auc(pixels)


def test_the_bounds_of_ap_are_reached() -> None:
    """One level with one foreground pixel among three: sorted first AP is 1, sorted last 1 / 3."""
    pixels = np.zeros((2, 256))
    pixels[:, 50] = 2, 1
    value = float(overlap.pixel_ap(pixels))
    assert value == pytest.approx(1 / 3)
    assert overlap.binning_errors(pixels)[1] == pytest.approx(2 / 3)


def test_ranking_is_undefined_without_either_label() -> None:
    for part in (0, 1):
        pixels = np.zeros((2, 256))
        pixels[part, 9] = 4
        assert np.isnan(overlap.pixel_auc(pixels))
        assert np.isnan(overlap.pixel_ap(pixels))
        assert np.isnan(overlap.binning_errors(pixels)).all()
        assert overlap.choose_level("f1", pixels) is None


# --- thresholds -------------------------------------------------------------------------------------------------------------


def test_rules_pick_what_a_search_finds() -> None:
    truth, logits = masks(3)
    pixels, levels = histogram_of(truth, logits), overlap.level_of(logits)
    calls = np.arange(256)[:, None] <= levels.ravel()
    lesion = truth.ravel() == 1
    recall, clear = calls[:, lesion].mean(axis=1), 1 - calls[:, ~lesion].mean(axis=1)
    dice = 2 * calls[:, lesion].sum(axis=1) / (calls.sum(axis=1) + lesion.sum())
    best = overlap.choose_level("f1", pixels)
    assert best is not None
    assert dice[best] == pytest.approx(max(dice))
    youden = overlap.choose_level("youden", pixels)
    assert youden is not None
    assert recall[youden] + clear[youden] == pytest.approx(np.add(recall, clear).max())
    reached = overlap.choose_level(SensitivityTarget(sensitivity=0.9), pixels)
    assert reached == max(level for level in range(256) if recall[level] >= 0.9)
    assert overlap.choose_level(0.7, pixels) == overlap.level_at(0.7)
