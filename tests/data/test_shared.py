"""Images and patients that stand in more than one split."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from osler.data.shared import shared_between_splits, shared_images

TRAIN, VAL = np.arange(8), np.arange(8, 12)


@dataclass
class Held:
    """Prepared images, (N, 1 + K, side, side), in memory; `read` counts those that were looked at."""

    pixels: NDArray[np.uint8]
    alike: bool = False
    channels: int = 1
    read: int = 0

    def checksums(self, rows: NDArray[np.int64]) -> NDArray[np.uint32]:
        return np.array([0 if self.alike else zlib.crc32(self.pixels[row].tobytes()) for row in rows], np.uint32)

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        self.read += len(rows)
        return self.pixels[rows]


@pytest.fixture
def films() -> Held:
    return Held(np.random.default_rng(0).integers(0, 256, (12, 1, 16, 16)).astype(np.uint8))


def test_copies_are_found_pixel_for_pixel(films: Held) -> None:
    films.pixels[[9, 11]] = films.pixels[2]
    films.pixels[10] = films.pixels[3]
    films.pixels[10, 0, 0, 0] ^= 1  # nearly
    assert shared_images(films, VAL, TRAIN).tolist() == [9, 11]
    assert shared_images(films, TRAIN, VAL).tolist() == [2]


def test_images_of_one_value_are_no_copies(films: Held) -> None:
    films.pixels[[0, 1, 8, 9]] = 0
    films.pixels[10] = films.pixels[4]
    assert shared_images(films, VAL, TRAIN).tolist() == [10]


def test_an_empty_slice_is_one_whatever_its_mask(films: Held) -> None:
    """Planes behind the image are its mask."""
    masked = Held(np.concatenate([films.pixels, films.pixels[:, ::-1] // 128], axis=1))
    masked.pixels[[0, 8], 0], masked.pixels[8, 1] = 7, masked.pixels[0, 1]
    masked.pixels[9] = masked.pixels[4]
    assert shared_images(masked, VAL, TRAIN).tolist() == [9]


def test_equal_checksums_are_not_enough(films: Held) -> None:
    films.alike = True
    assert shared_images(films, VAL, TRAIN).tolist() == []
    films.pixels[9] = films.pixels[0]
    assert shared_images(films, VAL, TRAIN).tolist() == [9]


def test_nothing_is_read_where_no_checksum_is_shared(films: Held) -> None:
    assert shared_images(films, VAL, TRAIN).tolist() == []
    assert films.read == 0


def test_facts_count_what_train_shares_with_the_rest(films: Held) -> None:
    films.pixels[[8, 11]] = films.pixels[[0, 1]]
    splits = {"train": TRAIN, "val": VAL[:2], "test": VAL[2:]}
    assert shared_between_splits(films, splits, None) == {"split.duplicates_shared": 2}
    patients = np.array([0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 2, 5])
    assert shared_between_splits(films, splits, patients) == {"split.duplicates_shared": 2, "split.patients_shared": 2}
    assert shared_between_splits(films, {"train": TRAIN}, None) == {"split.duplicates_shared": 0}
