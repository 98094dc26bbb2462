"""Pixels: images as they lie in the file, as they are prepared, and as training receives them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.config import Config
from osler.data.augment import Augmenter
from osler.data.batches import Batch, TrainBatches
from osler.data.cache import PackedCache, cache_folder, open_cache
from osler.data.load import Data
from osler.errors import DataError
from osler.imaging.depth import Levels
from osler.imaging.preparation import Preparation
from osler.imaging.read import RawImage
from osler.look.choice import Chosen

__all__ = ["Ready", "Shown", "as_file", "augmented", "first_batch", "prepared", "ready"]

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Ready:
    """Images that can be shown.

    Attributes:
        data: without what cannot be read.
        cache: holds the chosen images.
        chosen: without what cannot be read.
        unreadable: why, of each image that cannot be read.
    """

    data: Data
    cache: PackedCache
    chosen: Chosen
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class Shown:
    """An image on its way into the model.

    Attributes:
        image: (C, H, W).
        masks: (K, H, W), or None where there are none.
        row: of the source.
    """

    image: Pixels
    masks: Pixels | None
    row: int


def ready(config: Config, data: Data, chosen: Chosen) -> Ready:
    """Prepares the chosen images, into the cache that training uses; the rest of the set is not touched.

    Raises:
        DataError: none of what was chosen of train can be read.
    """
    assert config.data.workers != "auto", "the configuration is resolved"
    cache = open_cache(data.source, Preparation(config.preparation), cache_folder(config.data.cache))
    cache.ensure(chosen.rows, config.data.workers)
    bad = {row: cache.unreadable[row] for row in chosen.rows.tolist() if row in cache.unreadable}
    if not bad:
        return Ready(data, cache, chosen, ())
    left = chosen.without(set(bad))
    if not (left.splits == "train").any():
        shown = "\n".join(f"  {why}" for why in list(bad.values())[:5])
        raise DataError(f"data: none of the {len(bad)} images that were to be shown can be read:\n{shown}")
    return Ready(data.without(set(bad)), cache, left, tuple(bad.values()))


def as_file(raw: RawImage) -> tuple[Pixels, str]:
    """(C, H, W) the stored pixels as a plain viewer shows them, and in words what they are.

    What is not 8 bit is stretched from its least value to its greatest; nothing is turned round.

    >>> image, said = as_file(RawImage(np.array([[100, 300]], np.uint16), 0, 65535))
    >>> image.tolist(), said
    ([[[0, 255]]], '2 × 1, uint16 100–300')
    """
    pixels = raw.pixels
    low, high = float(np.nanmin(pixels)), float(np.nanmax(pixels))
    said = f"{pixels.shape[1]} × {pixels.shape[0]}"
    if pixels.dtype != np.uint8:
        said += f", {pixels.dtype} {low:g}–{high:g}"
        spread = np.rint((pixels.astype(np.float64) - low) * (255 / max(high - low, 1e-12)))
        pixels = np.clip(np.nan_to_num(spread, nan=0.0), 0, 255).astype(np.uint8)
    said += ", inverted" if raw.inverted else ""
    return np.asarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1), dtype=np.uint8), said


def prepared(ready: Ready, row: int) -> Shown:
    """A prepared image with its masks."""
    cache = ready.cache
    return Shown(cache.pictures([row])[0], None if ready.data.source.masks is None else cache.masks([row])[0], row)


def augmented(config: Config, ready: Ready, rows: NDArray[np.intp], epochs: int) -> list[list[Shown]]:
    """What training could receive of each of these samples: for each, one draw an epoch, by the loader itself."""
    rows = np.unique(rows)
    pair = np.resize(rows, max(2, len(rows)))  # a batch has at least two samples
    patches = config.data.patches
    size = len(pair) * (1 if patches is None else patches.per_image)
    batches = _batches(config, ready, pair, size)
    found: list[list[Shown]] = [[] for _ in rows]
    for epoch in range(epochs):
        batch = _first(batches, epoch)
        for place, row in enumerate(rows):
            found[place].append(_of_batch(batch, int(np.flatnonzero(batch.rows == row)[0])))
    return found


def first_batch(config: Config, ready: Ready) -> list[Shown]:
    """The batch that training begins with, to the pixel.

    Raises:
        DataError: one of its images cannot be read.
    """
    batches = _batches(
        config,
        ready,
        ready.data.rows["train"],
        config.training.batch_size,
        ready.data.draw_weights,
        config.training.accumulate,
    )
    batch = _first(batches, 0)
    return [_of_batch(batch, place) for place in range(len(batch))]


def _batches(
    config: Config,
    ready: Ready,
    rows: NDArray[np.intp],
    size: int,
    weights: NDArray[np.float64] | None = None,
    accumulate: int = 1,
) -> TrainBatches:
    """The loader that training has, over these rows; images are prepared as they are asked for."""

    def gather(asked: NDArray[np.intp]) -> Levels:
        ready.cache.ensure(asked)
        return ready.cache.gather(asked)

    source, seed = ready.data.source, config.training.seed
    return TrainBatches(
        gather,
        rows,
        source.targets[rows],
        size,
        seed,
        draw_weights=weights,
        augmenter=Augmenter(config.augmentation, seed),
        accumulate=accumulate,
        channels=None if source.masks is None else ready.cache.channels,
        patches=config.data.patches,
    )


def _first(batches: TrainBatches, epoch: int) -> Batch:
    return next(batches.epoch(epoch))


def _of_batch(batch: Batch, place: int) -> Shown:
    image = batch.images[place].round().clamp(0, 255).byte().numpy()
    return Shown(image, None if batch.masks is None else batch.masks[place].numpy(), int(batch.rows[place]))
