"""Figures of masks against MONAI's, and where the two define them differently, the exact relation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from osler.metrics.cases import Case, CaseTable, measure_case
from osler.metrics.lesions import LEAST, components, match_lesions
from osler.metrics.mask_figures import summarise_masks
from osler.metrics.overlap import IGNORED, OVERLAPS, counts_at
from osler.metrics.surface import TOLERANCE, surface_figures

torch = pytest.importorskip("torch")
monai = pytest.importorskip("monai.metrics", reason="MONAI, an oracle of these figures, is not installed")

LEVEL = 128
SPACINGS = [None, (1.0, 1.0), (0.7, 0.7), (0.5, 2.0), (3.0, 0.4)]
Planes = NDArray[np.bool_]

# MONAI warns of every empty mask, which is what is tested here, and of an argument that it passes to itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore:the (prediction|ground truth) of class:UserWarning"),
    pytest.mark.filterwarnings("ignore:monai.* has been deprecated:FutureWarning"),
]


def scene(seed: int, cases: int = 5, classes: int = 3, size: tuple[int, int] = (33, 40)) -> tuple[Planes, Planes]:
    """(N, K, H, W) true and called blobs that overlap in part; a plane in four of either is empty, and some touch the edge."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(2, cases, classes, *size)), (0, 0, 0, 3, 3))
    truth, called = field[0] > 0.08, (0.7 * field[0] + 0.5 * field[1]) > 0.06
    truth &= (rng.random((cases, classes)) > 0.25)[:, :, None, None]
    called &= (rng.random((cases, classes)) > 0.25)[:, :, None, None]
    called[0], truth[1], called[2], truth[2] = False, False, False, False
    return truth, called


def tensor(planes: NDArray[Any]) -> Any:
    return torch.from_numpy(np.ascontiguousarray(planes, dtype=np.float32))


def measured(truth: NDArray[Any], called: Planes, spacing: tuple[float, float] | None = None) -> list[Case]:
    levels = np.where(called, 200, 40).astype(np.uint8)
    limits = [LEVEL] * truth.shape[1]
    return [measure_case(one, np.uint8(true), limits, spacing) for one, true in zip(levels, truth, strict=True)]


def counts(cases: list[Case]) -> NDArray[np.int64]:
    """(N, K, 4) true positives, false positives, false negatives, true negatives."""
    return np.stack([counts_at(case.histograms, LEVEL) for case in cases])


# --- pixels -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_dice_and_iou_case_by_case(seed: int) -> None:
    truth, called = scene(seed)
    ours = counts(measured(truth, called))
    pair = tensor(called), tensor(truth)
    np.testing.assert_allclose(OVERLAPS["dice"](ours), monai.compute_dice(*pair), rtol=1e-6)
    np.testing.assert_allclose(OVERLAPS["iou"](ours), monai.compute_iou(*pair), rtol=1e-6)
    assert np.isnan(OVERLAPS["dice"](ours)[1]).all(), "both leave cases without foreground undefined"


def summarised(truth: Planes, called: Planes, figure: str) -> NDArray[np.float64]:
    """(K,) a figure of each class as an evaluation states it; NaN for null."""
    table = CaseTable.of(measured(truth, called), [LEVEL] * truth.shape[1])
    found = summarise_masks(table, list("abc"), [str(number) for number in range(len(truth))], bootstrap=100)
    return np.array([found["classes"][name][figure]["value"] for name in "abc"], dtype=np.float64)


@pytest.mark.parametrize("seed", range(3))
def test_pooled_figures_are_those_of_all_cases_laid_side_by_side(seed: int) -> None:
    truth, called = scene(seed)
    pair = [tensor(planes.transpose(1, 0, 2, 3).reshape(1, 3, -1, planes.shape[-1])) for planes in (called, truth)]
    for name, value in (("dice", monai.compute_dice(*pair)), ("iou", monai.compute_iou(*pair))):
        np.testing.assert_allclose(summarised(truth, called, name), value[0], rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_means_over_cases_leave_out_those_without_foreground(seed: int) -> None:
    truth, called = scene(seed)
    metric = monai.DiceMetric(reduction="mean_batch", get_not_nans=True)
    metric(tensor(called), tensor(truth))
    means, cases = (values.numpy() for values in metric.aggregate())
    assert (cases == truth.any((2, 3)).sum(0)).all()
    # The mean over no case at all is 0 in MONAI, and nothing in Osler.
    np.testing.assert_allclose(summarised(truth, called, "dice_case"), np.where(cases > 0, means, np.nan), rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_confusion_and_what_follows_from_it(seed: int) -> None:
    truth, called = scene(seed)
    ours = counts(measured(truth, called))
    theirs = monai.get_confusion_matrix(tensor(called), tensor(truth))
    assert (ours[..., [0, 1, 3, 2]] == theirs.numpy()).all(), "MONAI's order is tp, fp, tn, fn"
    for name, of_monai in (("precision", "precision"), ("recall", "sensitivity"), ("accuracy", "accuracy")):
        np.testing.assert_allclose(OVERLAPS[name](ours), monai.compute_confusion_matrix_metric(of_monai, theirs), rtol=1e-6)
    # F1 and the threat score of a case without foreground are 0 in MONAI as soon as a pixel is called; here they are undefined.
    for name, of_monai in (("dice", "f1 score"), ("iou", "threat score")):
        value = monai.compute_confusion_matrix_metric(of_monai, theirs).numpy()
        empty = ~truth.any((2, 3))
        assert set(value[empty & called.any((2, 3))]) == {0.0}
        np.testing.assert_allclose(OVERLAPS[name](ours), np.where(empty, np.nan, value), rtol=1e-6)


def test_ignored_pixels_are_as_if_they_were_cut_off() -> None:
    truth, called = scene(4)
    partly = truth.astype(np.uint8)
    partly[..., 25:] = IGNORED
    theirs = monai.get_confusion_matrix(tensor(called[..., :25]), tensor(truth[..., :25]))
    assert (counts(measured(partly, called))[..., [0, 1, 3, 2]] == theirs.numpy()).all()


# --- borders ----------------------------------------------------------------------------------------------------------------


def distances(truth: Planes, called: Planes, spacing: tuple[float, float] | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """MONAI's HD95 and surface Dice (N, K)."""
    pair, classes = (tensor(called), tensor(truth)), truth.shape[1]
    hd95 = monai.compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=spacing)
    share = monai.compute_surface_dice(*pair, class_thresholds=[TOLERANCE] * classes, include_background=True, spacing=spacing)
    return hd95.numpy(), share.numpy()


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(3))
def test_hd95_and_surface_dice(seed: int, spacing: tuple[float, float] | None) -> None:
    truth, called = scene(seed)
    cases = measured(truth, called, spacing)
    hd95, share = distances(truth, called, spacing)
    exist, claimed = truth.any((2, 3)), called.any((2, 3))
    both = exist & claimed
    assert both.any()
    np.testing.assert_allclose(np.stack([case.hd95 for case in cases])[both], hd95[both], rtol=1e-5)
    np.testing.assert_allclose(np.stack([case.surface_dice for case in cases])[exist], share[exist], rtol=1e-6)


def test_of_empty_masks_monai_has_a_surface_dice_where_osler_has_none() -> None:
    truth, called = scene(0)
    cases = measured(truth, called)
    ours, shares = (np.stack([getattr(case, name) for case in cases]) for name in ("hd95", "surface_dice"))
    hd95, share = distances(truth, called, None)
    exist, claimed = truth.any((2, 3)), called.any((2, 3))
    missed, invented, nothing = exist & ~claimed, ~exist & claimed, ~exist & ~claimed
    assert min(missed.sum(), invented.sum(), nothing.sum()) > 0
    # One mask alone: MONAI's largest distance is infinite, its 95th percentile NaN, as Osler's is.
    largest = monai.compute_hausdorff_distance(tensor(called), tensor(truth), include_background=True).numpy()
    assert np.isinf(largest[missed | invented]).all()
    assert all(np.isnan(values[missed | invented]).all() for values in (hd95, ours))
    # A missed mask has a surface Dice of 0 in both; one of which nothing is true, 0 in MONAI, is no case of it in Osler.
    assert set(share[missed]) == set(shares[missed]) == {0.0}
    assert set(share[invented]) == {0.0}
    assert np.isnan(shares[invented]).all()
    assert all(np.isnan(values[nothing]).all() for values in (hd95, share, ours, shares))


def test_the_percentile_is_of_each_direction_and_interpolated() -> None:
    truth, called = np.zeros((2, 12, 40), bool)
    truth[5, 5], called[5, 5:25] = True, True
    # From the 20 called pixels 0, 1, ... 19 away; from the true one 0.
    hd95, _ = distances(truth[None, None], called[None, None], None)
    assert surface_figures(truth, called).hd95 == pytest.approx(float(hd95[0, 0])) == pytest.approx(0.95 * 19)
    assert math.isclose(float(np.quantile([0, *range(20)], 0.95)), 18.0), "of both directions together it would be less"


# --- lesions ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_lesions_found_and_false_alarms(seed: int) -> None:
    """MONAI's FROC takes points: a lesion is found when a point lies in it. Osler's calls are all the points of a component."""
    truth, called = (planes[3, 0] for planes in scene(seed, size=(60, 60)))
    called[2:4, 2:4], truth[:8, :8] = True, False
    lesions, calls = match_lesions(truth, called)
    numbered, components_called = components(truth)[0], components(called)[0]

    def points(mask: Planes) -> tuple[Any, Any, int]:
        rows, columns = np.nonzero(mask)
        return monai.compute_fp_tp_probs(np.ones(len(rows), np.float32), rows, columns, numbered)

    _, hit, targets = points(called)
    assert targets == len(lesions)
    assert ((hit > 0) == (lesions[:, 1] >= LEAST)).all()
    false = [len(points(components_called == number)[0]) == area for number, (area, _) in enumerate(calls, start=1)]
    assert false == (calls[:, 1] < LEAST).tolist()
    assert any(false)
