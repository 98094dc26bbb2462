"""Images and patients that stand in more than one split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from osler.config import PreparationConfig
from osler.data.cache import PackedCache, open_cache
from osler.data.samples import Samples
from osler.data.shared import shared_between_splits, shared_images
from osler.imaging.preparation import Preparation
from osler.imaging.read import ImageInfo, RawImage

SIDE = 16


@dataclass(frozen=True)
class Arrays:
    """Images in memory, each of an identity of its own, whatever its pixels."""

    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, row: int) -> RawImage:
        return RawImage(self.pixels[row], 0.0, 255.0)

    def probe(self, row: int) -> ImageInfo:
        return ImageInfo(SIDE, SIDE, 1, 8, "array", "gray")

    def identity(self, row: int) -> str:
        return str(row)

    def take(self, rows: NDArray[np.intp]) -> Arrays:
        return Arrays(self.pixels[rows])


def prepared(pixels: NDArray[np.uint8], folder: Path) -> PackedCache:
    ids = np.array([f"image-{row}" for row in range(len(pixels))])
    samples = Samples(ids, np.zeros((len(pixels), 1), np.float32), ("finding",), "binary", Arrays(pixels))
    cache = open_cache(samples, Preparation(PreparationConfig(size=SIDE, channels=1)), folder)
    cache.ensure(np.arange(len(pixels)))
    return cache


@pytest.fixture
def films() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (12, SIDE, SIDE)).astype(np.uint8)


TRAIN, VAL = np.arange(8), np.arange(8, 12)


def test_copies_are_found_pixel_for_pixel(films: NDArray[np.uint8], tmp_path: Path) -> None:
    films[9], films[11] = films[2], films[2]
    films[10] = films[3]
    films[10, 0, 0] ^= 1  # nearly
    cache = prepared(films, tmp_path)
    assert shared_images(cache, VAL, TRAIN).tolist() == [9, 11]
    assert shared_images(cache, TRAIN, VAL).tolist() == [2]


def test_images_of_one_value_are_no_copies(films: NDArray[np.uint8], tmp_path: Path) -> None:
    films[[0, 1, 8, 9]] = 0
    films[10] = films[4]
    assert shared_images(prepared(films, tmp_path), VAL, TRAIN).tolist() == [10]


def test_equal_checksums_are_not_enough(films: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = prepared(films, tmp_path)
    monkeypatch.setattr(PackedCache, "checksums", lambda self, rows: np.zeros(len(rows), np.uint32))
    assert shared_images(cache, VAL, TRAIN).tolist() == []


def test_nothing_is_read_where_no_checksum_is_shared(
    films: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = prepared(films, tmp_path)
    monkeypatch.setattr(PackedCache, "gather", lambda self, rows: pytest.fail("pixels were read"))
    assert shared_images(cache, VAL, TRAIN).tolist() == []


def test_facts_count_what_train_shares_with_the_rest(films: NDArray[np.uint8], tmp_path: Path) -> None:
    films[8], films[11] = films[0], films[1]
    cache = prepared(films, tmp_path)
    splits = {"train": TRAIN, "val": VAL[:2], "test": VAL[2:]}
    assert shared_between_splits(cache, splits, None) == {"split.duplicates_shared": 2}
    patients = np.array([0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 2, 5])
    assert shared_between_splits(cache, splits, patients) == {"split.duplicates_shared": 2, "split.patients_shared": 2}
    assert shared_between_splits(cache, {"train": TRAIN}, None) == {"split.duplicates_shared": 0}
