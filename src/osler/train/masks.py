"""Masks predicted of a split: levels written image by image, thresholds chosen on them, and cases measured from them.

What is in memory at a time is a few images, whatever the split's size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from osler.config import Config
from osler.data.cache import PackedCache
from osler.data.load import Data
from osler.metrics.cases import Case, CaseTable, measure_case
from osler.metrics.overlap import HALF, choose_level, class_logits, level_of
from osler.predict import Session
from osler.predict.tiles import logit_maps
from osler.runs.mask_predictions import LevelMaps, MaskPredictions
from osler.tasks.segmentation import spacing_of
from osler.train.machine import usable_cores

__all__ = ["choose_levels", "measure_levels", "write_levels"]

AT_ONCE = 8
"""Images in memory at a time; fewer where they are large."""
PIXELS_AT_ONCE = 1 << 22


def write_levels(
    session: Session,
    config: Config,
    data: Data,
    split: str,
    numbers: NDArray[np.intp],
    cache: PackedCache,
    maps: LevelMaps,
) -> None:
    """Predicts images of a split, as the section `prediction` says, and keeps the levels of their logits.

    Args:
        session: runs the network.
        config: resolved.
        data: of the split.
        split: its name.
        numbers: which of the split's images, counted from 0.
        cache: their pixels.
        maps: where to.
    """
    rows, settings = data.rows[split], config.prediction
    for part in _parts(numbers, cache):
        logits = logit_maps(session.run, cache.images(rows[part]), settings.tile, settings.overlap, settings.flips)
        for number, image in zip(part.tolist(), logits, strict=True):
            maps.write(number, level_of(class_logits(image, data.source.exclusive)))


def choose_levels(config: Config, data: Data, cache: PackedCache, maps: LevelMaps) -> list[int | None]:
    """The level from which on a pixel of each class is called, by the configured rule on val; None where val cannot say."""
    rule = config.evaluation.threshold
    assert rule != "auto", "the configuration is resolved before a run"
    half = [HALF] * len(data.source.classes)
    pooled = CaseTable.of(list(_cases(data, "val", cache, maps, half, details=False)), half).pooled
    return [choose_level(rule, pixels) for pixels in pooled]


def measure_levels(data: Data, split: str, cache: PackedCache, maps: LevelMaps, levels: Sequence[int]) -> MaskPredictions:
    """Every case of a split measured against its true mask, called from these levels (K,) on."""
    table = CaseTable.of(list(_cases(data, split, cache, maps, levels, details=True)), levels)
    source, rows = data.source, data.rows[split]
    return MaskPredictions(
        ids=source.ids[rows],
        classes=source.classes,
        table=table.arrays(),
        patients=None if source.patients is None else source.patients[rows],
        maps=maps,
        metadata=None if source.metadata is None else source.metadata.iloc[rows].reset_index(drop=True),
    )


def _cases(data: Data, split: str, cache: PackedCache, maps: LevelMaps, levels: Sequence[int], details: bool) -> Iterator[Case]:
    """The cases of a split in order, measured by several threads."""
    rows, spacing, exclusive = data.rows[split], spacing_of(data.source, cache.preparation), data.source.exclusive

    def measure(number: int, truth: NDArray[np.uint8]) -> Case:
        predicted = np.stack([maps.read(number, k) for k in range(len(levels))])
        where = spacing(int(rows[number]))
        return measure_case(predicted, truth, levels, where, exclusive=exclusive, lesions=details, surfaces=details)

    with ThreadPoolExecutor(usable_cores()) as pool:
        for part in _parts(np.arange(len(rows)), cache):
            yield from pool.map(measure, part.tolist(), cache.masks(rows[part]))


def _parts(numbers: NDArray[np.intp], cache: PackedCache) -> Iterator[NDArray[np.intp]]:
    size = max(1, min(AT_ONCE, PIXELS_AT_ONCE // cache.preparation.size**2))
    return (numbers[start : start + size] for start in range(0, len(numbers), size))
