"""The search against looking at every pair, and what bounds it among look-alikes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from osler.audit import search
from osler.audit.align import aligned_correlation
from osler.audit.codes import Codes, encode
from osler.audit.search import NEIGHBOURS, alike_pairs


def every_pair(codes: Codes, thumbs: np.ndarray, least: float) -> set[tuple[int, int, int]]:
    first, second = np.triu_indices(len(thumbs), 1)
    away = codes.places[first] - codes.places[second]
    words = np.bitwise_count(codes.bits[first] ^ codes.bits[second])
    bits, reach = words.sum(axis=1, dtype=np.int64), codes.reach
    near = (np.abs(away[:, 0]) <= reach.first) & (words[:, 0] <= reach.bits) & (bits <= reach.all_bits)
    near &= np.square(away).sum(axis=1) <= reach.square
    first, second, bits = first[near], second[near], bits[near]
    alike = aligned_correlation(thumbs[first], thumbs[second]) >= least
    return set(zip(first[alike].tolist(), second[alike].tolist(), bits[alike].tolist(), strict=True))


def small_images(n: int) -> np.ndarray:
    draws = np.random.default_rng(1)
    images = gaussian_filter(draws.normal(size=(n // 2, 24, 24)), (0, 2, 2))
    moved = np.array([shift(image, draws.uniform(-0.5, 0.5, 2), order=1, mode="nearest") for image in images])
    return np.clip(128 + 40 * np.concatenate([images, 1.1 * moved]) / images.std(), 0, 255).astype(np.uint8)[
        draws.permutation(2 * (n // 2))
    ]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("columns", [7, 4096])
def test_it_finds_what_looking_at_every_pair_finds(workers: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_COLUMNS", columns)
    thumbs = small_images(700)
    codes = encode(thumbs)
    pairs = alike_pairs(codes, thumbs, 0.9, workers)
    found = list(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.distance.tolist(), strict=True))
    assert len(found) == len(set(found))
    assert set(found) == every_pair(codes, thumbs, 0.9)
    assert len(found) >= 300
    assert (pairs.alike >= 0.9).all()


def test_among_look_alikes_an_image_has_few_neighbours_and_they_are_the_nearest() -> None:
    draws = np.random.default_rng(0)
    one = gaussian_filter(draws.normal(size=(24, 24)), 2)
    thumbs = np.clip(128 + 60 * one / one.std() + draws.normal(0, 0.7, (1000, 24, 24)), 0, 255).astype(np.uint8)
    codes = encode(thumbs)
    pairs = alike_pairs(codes, thumbs, 0.9)
    order = np.argsort(codes.places[:, 0], kind="stable")
    place = np.argsort(order)
    earlier = np.minimum(place[pairs.first], place[pairs.second])
    assert np.bincount(earlier).max() == NEIGHBOURS
    assert np.bincount(earlier)[: 1000 - NEIGHBOURS].min() >= 1
    row = order[0]
    mine = (pairs.first == row) | (pairs.second == row)
    away = np.bitwise_count(codes.bits ^ codes.bits[row]).sum(axis=1)
    near = np.abs(codes.places[:, 0] - codes.places[row, 0]) <= codes.reach.first
    assert pairs.distance[mine].max() <= np.sort(away[near])[NEIGHBOURS]
