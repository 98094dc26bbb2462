"""What preparing makes of masks: shares, and lesions erased, held against drawings whose answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from osler.config import DataConfig, PreparationConfig
from osler.data import masks as masks_module
from osler.data.cache import PackedCache, open_cache
from osler.data.masks import mask_samples
from osler.data.masks_prepared import prepared_masks
from osler.data.phantom import phantom_samples
from osler.imaging.preparation import Preparation


def cache_of(folder: Path, **preparation: Any) -> PackedCache:
    """Three images of 256 × 256: a speck and a square; a speck; nothing."""
    for row, name in enumerate("abc"):
        mask = np.zeros((256, 256), np.uint8)
        if row < 2:
            mask[10:13, 20:23] = 255
        if row < 1:
            mask[96:160, 64:128] = 255
        for kind, pixels in (("images", np.full((256, 256), row, np.uint8)), ("masks", mask)):
            (folder / "set" / kind).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(folder / "set" / kind / f"{name}.png"), pixels)
    samples = mask_samples(DataConfig(source="masks", path=folder / "set", cache=folder / "cache"))
    cache = open_cache(samples, Preparation(PreparationConfig.model_validate({"channels": 1, **preparation})), folder / "cache")
    cache.ensure(np.arange(3))
    return cache


def test_erased_lesions_are_counted_and_the_size_that_keeps_them_is_named(tmp_path: Path) -> None:
    found = prepared_masks(cache_of(tmp_path, size=32), [0, 1, 2])
    assert (found.lesions, found.erased, found.touched) == (3, 2, 2)
    assert found.shares[:, 0].tolist() == [64 * 64 / 256**2, 0, 0]
    assert found.known.tolist() == [1024] * 3
    assert found.empty == 2
    assert found.shares_of_all.tolist() == [64 * 64 / 256**2 / 3]
    assert found.notes == ("2 of 3 lesions (in 2 images) vanish at 32 pixels; preparation.size: 128 keeps all.",)


def test_nothing_is_erased_where_nothing_shrinks(tmp_path: Path) -> None:
    found = prepared_masks(cache_of(tmp_path, size=256), [0, 1, 2])
    assert (found.lesions, found.erased, found.notes) == (3, 0, ())


def test_padding_is_not_known(tmp_path: Path) -> None:
    cache = cache_of(tmp_path, size=32, fit="pad")
    assert prepared_masks(cache, [0]).known.tolist() == [1024]


def test_masks_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepared_masks(cache_of(tmp_path, size=64), [0, 1, 2])
    reads: list[object] = []
    original = masks_module.read_mask
    monkeypatch.setattr(masks_module, "read_mask", lambda path: reads.append(path) or original(path))
    samples = mask_samples(DataConfig(source="masks", path=tmp_path / "set", cache=tmp_path / "cache"))
    cache = open_cache(samples, Preparation(PreparationConfig(size=64, channels=1)), tmp_path / "cache")
    cache.ensure(np.arange(3))
    again = prepared_masks(cache, [0, 1, 2])
    assert (again.lesions, again.erased) == (first.lesions, first.erased)
    assert reads == []


def test_the_phantoms_lesions_are_counted(tmp_path: Path) -> None:
    phantom = {"samples": 12, "size": 64, "findings": ["nodule"], "prevalence": 0.5, "images_per_patient": 1}
    samples = phantom_samples(DataConfig.model_validate({"task": "segmentation", "phantom": phantom}))
    cache = open_cache(samples, Preparation(PreparationConfig(size=64, channels=1)), tmp_path)
    cache.ensure(np.arange(12))
    found = prepared_masks(cache, np.arange(12))
    assert found.lesions == int(samples.targets.sum()) > 0
    np.testing.assert_array_equal(found.shares[:, 0] > 0, samples.targets[:, 0] == 1)
