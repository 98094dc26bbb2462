"""The loader that training has, unaugmented, and how many pixels of each class are in the masks it gives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from osler.config import Config
from osler.data.batches import Gather, TrainBatches
from osler.data.load import Data
from osler.data.samples import IGNORED
from osler.imaging.preparation import Preparation

__all__ = ["DRAWN", "drawn_pixels", "masks_alone", "plain_batches", "prepared_planes"]

DRAWN = 512
"""Masks from which shares of pixels are told."""


def _no_pixels(rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    raise AssertionError("which samples are drawn is told without a pixel")


def plain_batches(config: Config, data: Data, gather: Gather = _no_pixels, channels: int | None = None) -> TrainBatches:
    """The loader of a resolved configuration without its augmentation; with masks where `channels` are given."""
    return TrainBatches(
        gather,
        data.rows["train"],
        data.targets("train"),
        config.training.batch_size,
        config.training.seed,
        draw_weights=data.draw_weights,
        accumulate=config.training.accumulate,
        channels=channels,
        patches=None if channels is None else config.data.patches,
    )


def prepared_planes(config: Config, data: Data, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """(n, K, size, size) masks of these source rows as training sees them, read anew."""
    masks, preparation = data.source.masks, Preparation(config.preparation)
    assert masks is not None, "a segmentation has masks"
    return np.stack([preparation.apply_mask(masks.read(int(row)), data.source.exclusive) for row in rows])


def masks_alone(config: Config, data: Data) -> TrainBatches:
    """The loader over masks alone, before anything is prepared: images are blank, and no image is decoded."""
    size, channels = config.preparation.size, config.preparation.channels
    assert size != "auto", "the size is resolved"
    assert channels != "auto", "the channels are resolved"

    def gather(rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        blank = np.zeros((len(rows), channels, size, size), np.uint8)
        return np.concatenate([blank, prepared_planes(config, data, rows)], axis=1)

    return plain_batches(config, data, gather, channels)


def drawn_pixels(batches: TrainBatches, most: int = DRAWN) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels of the masks of the first batches: whole images or patches, as they are drawn.

    Args:
        batches: with masks.
        most: masks after which no further batch is drawn.

    Returns:
        (n, K) foreground pixels, and (n, K) known pixels, of each mask.
    """
    foreground, known = [], []
    for batch in batches.epoch(0):
        assert batch.masks is not None, "masks were gathered"
        planes = batch.masks.numpy()
        foreground.append((planes == 1).sum(axis=(2, 3)))
        known.append((planes != IGNORED).sum(axis=(2, 3)))
        if sum(len(part) for part in known) >= most:
            break
    return np.concatenate(foreground), np.concatenate(known)
