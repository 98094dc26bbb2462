"""Codes: learned from a set, so that its images lie apart and their copies do not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

from osler.audit.codes import ANYWHERE, WORDS, encode


def alike(n: int, seed: int = 0, shared: float = 3.0) -> NDArray[np.uint8]:
    """Small images of one kind: most of each is common to all."""
    draws = np.random.default_rng(seed)
    own = gaussian_filter(draws.normal(size=(n, 24, 24)), (0, 2, 2))
    common = gaussian_filter(draws.normal(size=(24, 24)), 3)
    images = own / own.std() + shared * common / common.std()
    return np.clip(128 + 25 * images, 0, 255).astype(np.uint8)


def far(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.int64]:
    return np.asarray(np.bitwise_count(one ^ other).sum(axis=-1, dtype=np.int64))


def test_look_alikes_lie_apart_and_their_copies_near() -> None:
    thumbs = alike(400)
    moved = np.array([shift(thumb, (0.6, -0.6), order=1, mode="nearest") for thumb in thumbs[:100]]).astype(np.uint8)
    codes = encode(np.concatenate([thumbs, moved]))
    copies = far(codes.bits[:100], codes.bits[400:])
    others = far(codes.bits[:100], codes.bits[100:200])
    assert np.mean(copies <= codes.reach.all_bits) >= 0.95
    assert np.mean(others <= codes.reach.all_bits) <= 0.05
    assert np.median(others) == pytest.approx(32 * WORDS, abs=10)


def test_reach_is_that_of_copies_that_were_not_learned_from() -> None:
    codes = encode(alike(300))
    assert 0 < codes.reach.bits <= codes.reach.all_bits < 64 * WORDS // 2
    assert codes.reach.square > codes.reach.first**2


@pytest.mark.parametrize("n", [1, 2, 3, 256])
def test_among_few_images_every_pair_is_within_reach(n: int) -> None:
    codes = encode(alike(n, shared=0.5))
    assert codes.reach == ANYWHERE
    assert codes.bits.shape == (n, WORDS)
    assert np.isfinite(codes.places).all()


def test_the_same_images_have_the_same_codes() -> None:
    thumbs = np.repeat(alike(1), 40, axis=0)
    codes = encode(thumbs)
    assert (codes.bits == codes.bits[0]).all()
    again = encode(thumbs)
    np.testing.assert_array_equal(codes.places, again.places)


def test_brightness_and_contrast_do_not_count() -> None:
    thumbs = alike(60) // 2
    codes = encode(np.concatenate([thumbs, thumbs + 60]))
    assert far(codes.bits[:60], codes.bits[60:]).max() <= 2
