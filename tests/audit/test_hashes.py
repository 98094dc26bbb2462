"""Fingerprints: what they take for the same, what they do not, and what becomes of images that cannot be read."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from osler.audit.hashes import SIDE, hash_image, shrink, stack


def picture(seed: int, height: int = 150, width: int = 180) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 9)
    return np.rint(128 + 110 * smooth / np.abs(smooth).max()).astype(np.uint8)


@given(st.integers(0, 149), st.integers(0, 179), st.integers(1, 255))
@settings(max_examples=25, deadline=None)
def test_one_pixel_changes_the_digest(row: int, column: int, by: int) -> None:
    image = picture(0)
    other = image.copy()
    other[row, column] = (int(other[row, column]) + by) % 256
    assert hash_image(other).digest != hash_image(image).digest


def test_shape_and_type_are_part_of_the_digest() -> None:
    image = np.zeros((4, 6), np.uint8)
    images = (image, image.reshape(6, 4), image.view(np.uint16), image.reshape(2, 4, 3), image[:, ::-1] + 1)
    assert len({hash_image(one).digest for one in images}) == len(images)


def test_gray_in_three_channels_is_the_gray_image() -> None:
    image = picture(1)
    three = cv2.merge([image] * 3)
    assert hash_image(three).digest == hash_image(image).digest
    three[-1, -1, 2] ^= 1
    assert hash_image(three).digest != hash_image(image).digest


def test_memory_layout_does_not_matter() -> None:
    image = picture(2)
    assert hash_image(np.asfortranarray(image)).digest == hash_image(image).digest
    assert hash_image(np.dstack([image] * 4)[..., 1:4][..., ::-1]).digest == hash_image(image).digest


@pytest.mark.parametrize("size", [(24, 24), (150, 180), (191, 400), (384, 96), (1000, 760), (1, 1), (3, 2000)])
def test_shrinking_keeps_the_means_of_blocks(size: tuple[int, int]) -> None:
    image = picture(3, *size) if min(size) > 3 else np.full(size, 90, np.uint8)
    block = cv2.resize(image.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    assert np.abs(shrink(image) - block).max() < 0.04 * 255


def test_every_pixel_counts_in_shrinking() -> None:
    """A pattern of single pixels becomes its mean; a step that skips pixels would show it as stripes."""
    stripes = np.tile(np.array([0, 255], np.uint8), (1024, 512))
    assert np.abs(shrink(stripes) - 127.5).max() < 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_small_image_survives_another_way_of_saving(dtype: type) -> None:
    image = picture(4).astype(dtype)
    larger = cv2.resize(image, (360, 300), interpolation=cv2.INTER_LINEAR)
    kept, other = hash_image(image), hash_image(larger)
    assert np.abs(kept.thumb.astype(int) - other.thumb).max() <= 8
    assert not kept.blank
    assert not other.blank


def test_blank_images() -> None:
    noise = np.random.default_rng(0).normal(100, 5, (300, 300)).astype(np.uint8)
    dots = np.zeros((300, 300), np.uint8)
    dots[100:200, 100:200] = 60
    blank = [np.full((9, 9), 7, np.uint8), noise, np.full((9, 9), np.nan, np.float32), np.full((64, 64), 4000, np.uint16)]
    assert [hash_image(image).blank for image in blank] == [True] * 4
    assert not hash_image(dots).blank
    assert not hash_image(dots.astype(np.float32) / 255).blank


def test_nan_is_no_noise() -> None:
    image = picture(5).astype(np.float32)
    image[:20] = np.nan
    zero = np.nan_to_num(image, nan=0.0)
    assert np.array_equal(hash_image(image).thumb, hash_image(zero).thumb)


def test_fingerprints_of_processes_become_arrays() -> None:
    images = [picture(seed, 40, 50) for seed in range(20)] + [np.zeros((30, 30), np.uint8)]
    made = [hash_image(image) for image in images]
    hashes = stack([pickle.loads(pickle.dumps(one)) for one in made])
    assert hashes.digests.shape == (21, 2)
    assert [row.tobytes() for row in hashes.digests] == [one.digest for one in made]
    np.testing.assert_array_equal(hashes.thumbs, [one.thumb for one in made])
    assert hashes.blank.tolist() == [False] * 20 + [True]
    assert not hashes.unreadable


def test_no_images() -> None:
    assert len(stack([])) == 0
