"""Balance of masks: how many pixels each class has, in whole images and in the patches that training cuts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.balance.odds import Odds, odds_of_counts
from osler.config import Config, LossConfig
from osler.data.batches import TrainBatches
from osler.data.load import Data
from osler.data.samples import IGNORED
from osler.data.unaugmented import drawn_pixels, prepared_planes
from osler.metrics.mask_loss import MaskCounts, resolve_mask_loss
from osler.metrics.weights import LabelCounts

__all__ = ["MaskBalance", "mask_balance", "mask_odds"]

Floats = NDArray[np.float64]
MASKS_READ = 256


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


def mask_balance(config: Config, data: Data, batches: TrainBatches) -> MaskBalance:
    """Reads masks spread over train, and cuts patches as training will.

    Args:
        config: resolved.
        data: of a segmentation.
        batches: of `masks_alone`.
    """
    rows = data.rows["train"]
    some = rows[np.unique(np.linspace(0, len(rows) - 1, MASKS_READ).astype(int))]
    planes = prepared_planes(config, data, some)
    foreground, known = (planes == 1).sum(axis=(2, 3)), (planes != IGNORED).sum(axis=(2, 3))
    counts = MaskCounts.of(data.source.exclusive, foreground, known, config.training.batch_size)
    held = np.where(foreground > 0, counts.shares, np.nan)
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
    foreground, known = drawn_pixels(batches)
    shares = foreground.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    present = foreground > 0
    return len(foreground), shares, present.mean(axis=0), float(present.any(axis=1).mean())


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
