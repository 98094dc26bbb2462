"""CLAHE: on bytes OpenCV's; on 16 bits the same curves, rising without steps, whatever the bits of the camera."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from osler.config import ClaheConfig
from osler.imaging.clahe import equalise


def scene(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    """Soft shapes from 0 to 255."""
    grain = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    return np.asarray(cv2.normalize(cv2.GaussianBlur(grain, (0, 0), 4), None, 0, 255, cv2.NORM_MINMAX), np.uint8)


def opencv(image: NDArray[np.uint8], clip_limit: float, tiles: int) -> NDArray[Any]:
    return np.asarray(cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=(tiles, tiles)).apply(image))


def half_a_bin(image: NDArray[np.uint8], clip_limit: float, tiles: int) -> float:
    """How far the middle of a bin can be from its end, where OpenCV reads its curve, in shades of 255; and one for rounding."""
    pixels = -(-image.shape[0] // tiles) * -(-image.shape[1] // tiles)
    highest = max(1, int(clip_limit * pixels / 256)) + pixels / 256 + 1  # the limit, and what it cuts off elsewhere
    return 1 + highest / pixels * 255 / 2


@pytest.mark.parametrize("shape", [(256, 256), (200, 155), (64, 65), (31, 300)])
@pytest.mark.parametrize(("clip_limit", "tiles"), [(2.0, 8), (3.0, 4), (0.5, 1), (8.0, 5)])
def test_curves_of_16_bits_are_those_of_bytes(shape: tuple[int, int], clip_limit: float, tiles: int) -> None:
    image = scene(shape)
    deep = equalise(image.astype(np.uint16) * 257, ClaheConfig(clip_limit=clip_limit, tiles=tiles))
    assert deep.dtype == np.uint16
    assert abs(deep / 257 - opencv(image, clip_limit, tiles)).max() <= half_a_bin(image, clip_limit, tiles)


def test_one_tile_is_the_cumulative_share_of_pixels() -> None:
    """Without clipping and with one tile, the shade is the share of pixels that are darker: an independent computation."""
    image = np.random.default_rng(1).integers(0, 65536, (128, 128)).astype(np.uint16)
    found = equalise(image, ClaheConfig(clip_limit=1000, tiles=1))
    ranks = np.searchsorted(np.sort(image.ravel()), image.ravel()).reshape(image.shape) / image.size
    assert abs(found / 65535 - ranks).max() < 0.004


def test_values_within_one_byte_stay_apart_and_in_order() -> None:
    """A lesion of 12 bits whose contrast is less than one step of bytes."""
    ramp = (np.arange(128 * 128) * 256 // (128 * 128)).astype(np.uint16).reshape(128, 128) + 30000
    assert len(np.unique(equalise((ramp // 257).astype(np.uint8), ClaheConfig(tiles=1)))) <= 2
    found = equalise(ramp, ClaheConfig(tiles=1))
    order = np.argsort(ramp.ravel(), kind="stable")
    assert (np.diff(found.ravel()[order].astype(int)) >= 0).all()
    assert len(np.unique(found)) == 256


def test_how_many_bits_the_camera_had_does_not_matter() -> None:
    """OpenCV's own 16-bit CLAHE fails this: 12 bits leave 15 of its 16 bins empty, and its clip limit is one pixel a bin."""
    fine = np.clip(scene((256, 256)).astype(float) * 257 + np.random.default_rng(2).normal(0, 90, (256, 256)), 0, 65535)
    deep = fine.astype(np.uint16)
    coarse = (deep >> 4) << 4
    ours = abs(equalise(deep, ClaheConfig()).astype(int) - equalise(coarse, ClaheConfig())) / 257
    assert np.median(ours) < 0.5
    clahe = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8))
    theirs = abs(clahe.apply(deep).astype(int) - clahe.apply(coarse)) / 257
    assert np.median(theirs) > 10


def test_colour_keeps_its_hue() -> None:
    image = np.stack([scene((96, 96), seed) for seed in range(3)], axis=-1)
    deep = equalise(image.astype(np.uint16) * 257, ClaheConfig())
    assert deep.shape == image.shape
    before, after = (
        cv2.cvtColor((one / 65535).astype(np.float32), cv2.COLOR_RGB2LAB) for one in (image.astype(float) * 257, deep)
    )
    inside = ((deep > 0) & (deep < 65535)).all(axis=-1)  # what leaves the gamut is clipped
    assert abs(after[..., 1:] - before[..., 1:])[inside].max() < 0.5
    plain = equalise(image, ClaheConfig())
    assert np.median(abs(deep / 257 - plain)) < 4


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    tiles=st.integers(1, 20),
    clip_limit=st.floats(0.01, 100),
    value=st.integers(0, 65535),
)
def test_every_shape_is_equalised_within_the_range_and_in_order(
    shape: tuple[int, int], tiles: int, clip_limit: float, value: int
) -> None:
    config = ClaheConfig(clip_limit=clip_limit, tiles=tiles)
    flat = equalise(np.full(shape, value, np.uint16), config)
    assert flat.shape == shape
    assert flat.dtype == np.uint16
    ramp = np.linspace(0, value, shape[0] * shape[1]).astype(np.uint16).reshape(shape)
    once = equalise(ramp, ClaheConfig(clip_limit=clip_limit, tiles=1))
    assert (np.diff(once.ravel().astype(int)) >= 0).all()
