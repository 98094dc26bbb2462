"""Balance of masks: how many pixels each class has, in whole images and in the patches that training cuts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.balance.draws import train_batches
from osler.balance.odds import Odds, odds_of_counts
from osler.config import Config, LossConfig
from osler.data.batches import TrainBatches
from osler.data.load import Data
from osler.data.samples import IGNORED
from osler.imaging.preparation import Preparation
from osler.metrics.mask_loss import MaskCounts, resolve_mask_loss
from osler.metrics.weights import LabelCounts

__all__ = ["MaskBalance", "mask_balance", "mask_batches", "mask_odds"]

Floats = NDArray[np.float64]
MASKS_READ = 256
PATCHES_CUT = 512


@dataclass(frozen=True)
class MaskBalance:
    """Pixels of some prepared masks of train.

    Attributes:
        classes: K names.
        images: masks read.
        shares: (K,) of their known pixels that are foreground.
        median: (K,) median over the images that have the class of its share; NaN where none has it.
        counts: the masks as the loss counts them.
        patches: patches cut by the loader; 0 where training is on whole images.
        drawn_shares: (K,) of the known pixels that training sees that are foreground: as the sampler draws and patches are cut.
        patches_with: (K,) share of the patches that hold a pixel of the class; NaN without patches.
        any_foreground: share of the patches that hold any class; NaN without patches.
    """

    classes: tuple[str, ...]
    images: int
    shares: Floats
    median: Floats
    counts: MaskCounts
    patches: int
    drawn_shares: Floats
    patches_with: Floats
    any_foreground: float


def mask_batches(config: Config, data: Data) -> TrainBatches:
    """The loader that training has, over masks alone: images are blank, and no image is decoded."""
    size, channels = config.preparation.size, config.preparation.channels
    assert size != "auto", "the configuration is resolved"
    assert channels != "auto", "the configuration is resolved"

    def gather(rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        blank = np.zeros((len(rows), channels, size, size), np.uint8)
        return np.concatenate([blank, _prepared(config, data, rows)], axis=1)

    return train_batches(config, data, gather, channels)


def _prepared(config: Config, data: Data, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """(n, K, size, size) masks of these source rows as training sees them."""
    masks, preparation = data.source.masks, Preparation(config.preparation)
    assert masks is not None, "a segmentation has masks"
    return np.stack([preparation.apply_mask(masks.read(int(row)), data.source.exclusive) for row in rows])


def mask_balance(config: Config, data: Data, batches: TrainBatches) -> MaskBalance:
    """Reads masks spread over train, and cuts patches as training will.

    Args:
        config: resolved.
        data: of a segmentation.
        batches: of `mask_batches`.
    """
    rows = data.rows["train"]
    some = rows[np.unique(np.linspace(0, len(rows) - 1, MASKS_READ).astype(int))]
    planes = _prepared(config, data, some)
    known = (planes != IGNORED).sum(axis=(2, 3)).astype(np.float64)
    each = np.divide((planes == 1).sum(axis=(2, 3)), known, out=np.full(known.shape, np.nan), where=known > 0)
    held = np.where(each > 0, each, np.nan)
    counts = MaskCounts(data.source.exclusive, each, known.max(axis=1), config.training.batch_size)
    cut, drawn_shares, patches_with, any_foreground = _patches(config, data, batches)
    if not cut:
        drawn_shares = _whole(counts, data.draw_weights, np.searchsorted(rows, some))
    return MaskBalance(
        classes=data.source.classes,
        images=len(some),
        shares=counts.labels.positives / np.maximum(counts.labels.known, 1),
        median=np.array([np.nanmedian(column) if np.isfinite(column).any() else np.nan for column in held.T]),
        counts=counts,
        patches=cut,
        drawn_shares=drawn_shares,
        patches_with=patches_with,
        any_foreground=any_foreground,
    )


def _whole(counts: MaskCounts, weights: Floats | None, places: NDArray[np.intp]) -> Floats:
    """(K,) foreground share of whole images as they are drawn; `places` are those of the images read, in train."""
    chances = np.ones(len(places)) if weights is None else weights[places]
    pixels = chances * counts.known
    return np.asarray(np.nansum(counts.shares * pixels[:, None], axis=0) / max(float(pixels.sum()), 1e-300))


def _patches(config: Config, data: Data, batches: TrainBatches) -> tuple[int, Floats, Floats, float]:
    """Patches cut, foreground share of their pixels, share of them with each class, and with any."""
    undefined = np.full(len(data.source.classes), np.nan)
    if config.data.patches is None:
        return 0, undefined, undefined, float("nan")
    pieces: list[NDArray[np.uint8]] = []
    for batch in batches.epoch(0):
        assert batch.masks is not None, "masks were gathered"
        pieces.append(batch.masks.numpy())
        if sum(len(piece) for piece in pieces) >= PATCHES_CUT:
            break
    planes = np.concatenate(pieces)
    foreground, known = planes == 1, planes != IGNORED
    present = foreground.any(axis=(2, 3))
    shares = foreground.sum(axis=(0, 2, 3)) / np.maximum(known.sum(axis=(0, 2, 3)), 1)
    return len(planes), shares, present.mean(axis=0), float(present.any(axis=1).mean())


def mask_odds(loss: LossConfig, found: MaskBalance) -> Odds:
    """Odds of a pixel of each class: in the images, in the patches, and as the loss's pixel terms weigh them.

    Raises:
        ConfigError: the loss does not fit the masks.
    """
    stage = loss.schedule[0].type if loss.schedule else None
    spec = resolve_mask_loss(loss, found.counts, stage)
    key = "pos_weight" if "bce" in spec.parts or "focal" not in spec.parts else "alpha"
    weights = spec.pos_weight if key == "pos_weight" else spec.alpha
    factors = np.ones(len(found.classes)) if weights is None else weights
    if key == "alpha" and weights is not None:
        factors = weights / np.maximum(1 - weights, 1e-12)
    classes = odds_of_counts(found.classes, _labels(found.shares), _labels(found.drawn_shares), factors)
    return Odds(classes, 1.0, spec.type, key, getattr(loss, key) == "auto", unit="pixels")


def _labels(shares: Floats) -> LabelCounts:
    return LabelCounts("multilabel", shares, 1 - shares)
