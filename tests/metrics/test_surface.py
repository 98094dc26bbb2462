"""Distances of borders against brute force over all pairs of border pixels; against MONAI in `test_monai_oracle`."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from osler.metrics.surface import border, border_distances, surface_figures

SPACINGS = [(1.0, 1.0), (0.7, 0.7), (0.5, 2.0), (3.0, 0.4)]


def random_masks(seed: int, size: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    field = [ndimage.gaussian_filter(rng.normal(size=(size, size + 7)), 3) for _ in range(2)]
    return field[0] > 0.08, (0.7 * field[0] + 0.5 * field[1]) > 0.06


def brute(truth: np.ndarray, called: np.ndarray, spacing: tuple[float, float], tolerance: float) -> tuple[float, float]:
    """HD95 and surface Dice from every pair of border pixels."""
    points = []
    for mask in (truth, called):
        inner = ndimage.binary_erosion(mask)  # a cross, and what lies beyond the image is outside
        points.append(np.argwhere(mask & ~inner) * np.array(spacing))
    gaps = np.sqrt(((points[0][:, None] - points[1][None]) ** 2).sum(axis=-1))
    there, back = gaps.min(axis=1), gaps.min(axis=0)
    hd95 = max(np.quantile(there, 0.95), np.quantile(back, 0.95))
    return float(hd95), float(((there <= tolerance).sum() + (back <= tolerance).sum()) / (len(there) + len(back)))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(5))
def test_distances_equal_brute_force(seed: int, spacing: tuple[float, float]) -> None:
    truth, called = random_masks(seed)
    # Away from any distance that a grid has, so that rounding decides nothing.
    tolerance = 1.503
    hd95, share = brute(truth, called, spacing, tolerance)
    found = surface_figures(truth, called, spacing, tolerance)
    assert found.hd95 == pytest.approx(hd95, rel=1e-5)
    assert found.dice == pytest.approx(share, abs=1e-12)


@given(st.integers(0, 10_000), st.sampled_from(SPACINGS))
@settings(max_examples=25, deadline=None)
def test_a_mask_is_at_no_distance_from_itself_and_roles_do_not_matter(seed: int, spacing: tuple[float, float]) -> None:
    truth, called = random_masks(seed, 24)
    if not truth.any() or not called.any():
        return
    same = surface_figures(truth, truth, spacing)
    assert (same.hd95, same.dice) == (0.0, 1.0)
    one, two = surface_figures(truth, called, spacing), surface_figures(called, truth, spacing)
    assert (one.hd95, one.dice) == pytest.approx((two.hd95, two.dice))


def test_border_equals_the_pixels_that_an_erosion_takes() -> None:
    for seed in range(4):
        mask = random_masks(seed)[0]
        assert (border(mask) == (mask & ~ndimage.binary_erosion(mask))).all()
    for shape in ((1, 6), (2, 2), (6, 1)):
        assert border(np.ones(shape, bool)).all()


def test_distances_are_roots_of_whole_numbers_and_the_same_at_every_call() -> None:
    truth, called = random_masks(0, 90)
    first = border_distances(truth, called)
    for found in first:
        assert (found == np.sqrt(np.rint(found.astype(np.float64) ** 2)).astype(np.float32)).all()
    for _ in range(20):
        assert all((again == once).all() for again, once in zip(border_distances(truth, called), first, strict=True))


def test_empty_masks_have_no_distance() -> None:
    nothing, something = np.zeros((6, 6), bool), np.zeros((6, 6), bool)
    something[2, 3] = True
    missed = surface_figures(something, nothing)
    assert math.isnan(missed.hd95)
    assert missed.dice == 0.0, "a lesion that is missed has no border within the tolerance"
    for called in (nothing, something):
        found = surface_figures(nothing, called)
        assert math.isnan(found.hd95)
        assert math.isnan(found.dice)


def test_single_pixels_are_apart_by_their_spacing() -> None:
    truth, called = np.zeros((2, 9, 9), bool)
    truth[1, 1], called[4, 5] = True, True
    assert surface_figures(truth, called).hd95 == pytest.approx(5.0)
    assert surface_figures(truth, called, (2.0, 0.5)).hd95 == pytest.approx(math.hypot(6.0, 2.0))
    there, back = border_distances(truth, called)
    assert there.tolist() == back.tolist() == [5.0]
