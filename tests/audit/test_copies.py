"""Copies: planted ones are found, different films are not joined, and no set makes the search run away."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from osler.audit.copies import Copy, confirm_on, find_copies, groups
from osler.audit.hashes import SIDE, Hashes, hash_image, stack

Image = NDArray[np.uint8]


def hashes_of(images: Any) -> Hashes:
    return stack([hash_image(images[row]) for row in range(len(images))])


def copies_of(images: Any, workers: int = 1) -> list[Copy]:
    return find_copies(hashes_of(images), confirm_on(lambda row: images[row]), workers=workers)


def pairs(copies: list[Copy], kind: str) -> set[tuple[int, int]]:
    return {(copy.first, copy.second) for copy in copies if copy.kind == kind}


def picture(seed: int, side: int = 160) -> Image:
    noise = np.random.default_rng(seed).normal(size=(side, side)).astype(np.float32)
    layers = sum(cv2.GaussianBlur(noise, (0, 0), blur) * blur for blur in (1.5, 4, 12))
    return np.clip(128 + 40 * layers / layers.std(), 0, 255).astype(np.uint8)


def changed(image: Image) -> list[Image]:
    return [
        np.asarray(cv2.resize(image, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)),
        np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 0)),
        image[8:, :-8],
        np.clip(image * 1.1 + 15.0, 0, 255).astype(np.uint8),
    ]


@pytest.mark.parametrize("workers", [1, 3])
def test_every_way_to_save_an_image_again(workers: int) -> None:
    plain = [picture(seed) for seed in range(40)]
    images = plain + [copy for image in plain[:10] for copy in changed(image)]
    found = copies_of(images, workers)
    wanted = [(row, *range(40 + 4 * row, 44 + 4 * row)) for row in range(10)]
    assert groups(found) == wanted
    assert {copy.kind for copy in found} == {"near"}
    assert all(0.8 <= copy.correlation <= 1 and 0 <= copy.distance < 128 for copy in found)
    assert len(found) == 40, "as many pairs as images that could be dropped"


def test_the_same_pixels_are_paired_with_the_first() -> None:
    one, other = picture(0), picture(1)
    found = copies_of([one, other, one.copy(), one.copy(), picture(2), other.copy()])
    assert found == [Copy(0, 2, "exact", 0, 1.0), Copy(0, 3, "exact", 0, 1.0), Copy(1, 5, "exact", 0, 1.0)]


def test_exact_and_near_copies_of_one_image_are_one_group() -> None:
    one = picture(0)
    images = [picture(9), one, one[4:, 4:], one.copy(), one[4:, 4:].copy(), picture(8)]
    found = copies_of(images)
    assert pairs(found, "exact") == {(1, 3), (2, 4)}
    assert pairs(found, "near") == {(1, 2)}
    assert groups(found) == [(1, 2, 3, 4)]


def test_blank_images_have_no_copies() -> None:
    flat = [np.full((50, 50), value, np.uint8) for value in (0, 0, 255, 255)]
    assert copies_of(flat) == []
    assert groups(copies_of([*flat, picture(0), picture(0)])) == [(4, 5)]


def test_unreadable_images_have_no_copies() -> None:
    hashes = hashes_of([picture(0), picture(0), picture(0)])
    hashes.blank[1] = True
    assert pairs(find_copies(hashes), "exact") == {(0, 2)}


@pytest.mark.parametrize("images", [[], [picture(0)], [picture(0), picture(1)], [picture(0), np.zeros((1, 1), np.uint8)]])
def test_where_there_is_nothing_to_find(images: list[Image]) -> None:
    assert copies_of(images) == []
    assert groups([]) == []


def test_two_images_are_enough() -> None:
    for copy in changed(picture(0)):
        assert groups(copies_of([picture(0), copy])) == [(0, 1)]


def test_without_a_look_at_the_pixels_only_sure_pairs_are_given() -> None:
    plain = [picture(seed) for seed in range(60)]
    found = find_copies(hashes_of([*plain, plain[3][8:, 8:]]))
    assert pairs(found, "near") == {(3, 60)}
    assert np.isnan(found[0].correlation)


def test_what_the_pixels_say_decides() -> None:
    hashes = hashes_of([picture(0), *changed(picture(0))])
    assert find_copies(hashes, lambda first, second: 0.79) == []
    assert find_copies(hashes, lambda first, second: float("nan")) == []
    assert len(find_copies(hashes, lambda first, second: 0.79, correlation=0.7)) == 4


def drawn(n: int, noise: float) -> Hashes:
    """Hashes of n images that differ from one by noise."""
    draws = np.random.default_rng(0)
    one = cv2.GaussianBlur(draws.normal(size=(SIDE, SIDE)).astype(np.float32), (0, 0), 2)
    thumbs = np.clip(128 + 60 * one / one.std() + draws.normal(0, noise, (n, SIDE, SIDE)), 0, 255).astype(np.uint8)
    return Hashes(draws.integers(0, 1 << 63, (n, 2), dtype=np.uint64), thumbs, np.zeros(n, bool))


def test_fifty_thousand_equal_images_end_in_seconds() -> None:
    one = drawn(1, 0)
    n = 50_000
    hashes = Hashes(np.repeat(one.digests, n, axis=0), np.repeat(one.thumbs, n, axis=0), np.zeros(n, bool))
    start = time.process_time()
    found = find_copies(hashes)
    assert time.process_time() - start < 5
    assert len(found) == n - 1
    assert groups(found) == [tuple(range(n))]


def test_many_nearly_equal_images_are_looked_at_once_each() -> None:
    asked: Counter[int] = Counter()

    def confirm(first: int, second: int) -> float:
        asked.update((first, second))
        return 1.0

    hashes = drawn(2000, 0.7)
    found = find_copies(hashes, confirm)
    assert groups(found) == [tuple(range(2000))]
    assert len(found) == 1999
    assert asked.total() / 2 < 1.2 * 1999


def test_look_alikes_are_given_up_after_some_tries() -> None:
    asked: Counter[int] = Counter()

    def confirm(first: int, second: int) -> float:
        asked.update((first, second))
        return 0.0

    assert find_copies(drawn(2000, 0.7), confirm) == []
    assert asked.total() / 2 <= 2000 * 8


# --- real sets -----------------------------------------------------------------------------------------------------------------


def test_pneumoniamnist_holds_the_copies_that_it_is_known_for(real_sets: Path) -> None:
    """18 images twice within train, 3 within test, 8 in train and in val, none in train and in test."""
    with np.load(real_sets / "pneumoniamnist.npz") as file:
        parts = {name: file[f"{name}_images"] for name in ("train", "val", "test")}
    split = np.repeat(list(parts), [len(part) for part in parts.values()])
    images = np.concatenate(list(parts.values()))
    found = copies_of(images, 2)
    exact = [{*split[list(rows)]} for rows in groups(copy for copy in found if copy.kind == "exact")]
    inside = Counter(name for rows in groups(c for c in found if c.kind == "exact") for name in _twice(split[list(rows)]))
    assert inside == {"train": 18, "test": 3}
    assert sum(names == {"train", "val"} for names in exact) == 8
    assert sum({"train", "test"} <= names or {"val", "test"} <= names for names in exact) == 0
    assert len(pairs(found, "near")) <= 5, "at 28 pixels films look alike; of 17 million pairs hardly one is taken for a copy"


def _twice(names: NDArray[np.str_]) -> list[str]:
    return [name for name, times in Counter(names.tolist()).items() for _ in range(times - 1)]


def test_no_two_patients_of_nih_are_copies_and_planted_ones_are_found(real_sets: Path) -> None:
    files = sorted((real_sets / "nih_cxr14" / "images").iterdir())
    films = [np.asarray(cv2.imread(str(file), cv2.IMREAD_REDUCED_GRAYSCALE_2)) for file in files]
    assert len(copies_of(films, 2)) <= 1
    chosen = list(range(0, len(films), 25))
    planted = [copy for row in chosen for copy in changed(films[row])]
    found = groups(copies_of([*films, *planted], 2))
    wanted = {(row, len(films) + 4 * place + way) for place, row in enumerate(chosen) for way in range(4)}
    together = {(rows[0], row) for rows in found for row in rows[1:]}
    assert len(wanted & together) >= 0.95 * len(wanted)
    assert len(together - wanted) <= 1
