"""What a constant prediction costs under each loss of masks: the numpy twins of `osler.losses.masks`.

What a constant costs follows from each image's share of foreground and its known pixels alone, but for a loss of the boundary,
which has no twin. A pooled overlap depends on which images share a batch: the loss is then the mean over batches as they stand,
or over many random batches, drawn from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.metrics.floors import log_sigmoid, times
from osler.metrics.mask_loss import MaskCounts, MaskLossSpec

__all__ = ["MASK_TWINS", "Constants", "MaskSums", "constants_of", "costs_of", "loss_of", "mask_constant_loss", "mask_sums"]

Floats = NDArray[np.float64]

# How many random batches stand for all of them: the loss of a constant in one batch differs from the mean by less than 0.3, so
# that the error is about 0.3 / sqrt(512), or 0.01, at the very worst, and the same in every epoch.
RANDOM_BATCHES = 512
# Numbers held at once while the grid is gone through.
CELLS = 2_000_000


@dataclass(frozen=True)
class MaskSums:
    """Masks as the twins see them.

    Attributes:
        shares: (K,) mean share of foreground, of images with known pixels.
        true: (M, K) foreground pixels of each group of images that an overlap is taken over.
        known: (M,) known pixels of each group.
        weights: (M,) images in the mean that each group stands for.
        joint: a softmax over several classes and the background.
    """

    shares: Floats
    true: Floats
    known: Floats
    weights: Floats
    joint: bool


@dataclass(frozen=True)
class Constants:
    """G constant predictions as logarithms: `log_p` (G, K), and `rest` of what is not the class: (G, K), or (G, 1) joint."""

    log_p: Floats
    rest: Floats


Twin = Callable[[MaskLossSpec, MaskSums, Constants], Floats]


def mask_constant_loss(spec: MaskLossSpec, counts: MaskCounts, logits: ArrayLike) -> float:
    """Mean loss of a model that gives these (K,) logits for every pixel; NaN where no pixel is known, or for a boundary term.

    >>> counts = MaskCounts(True, np.array([[0.5]]), np.array([100.0]))
    >>> round(mask_constant_loss(MaskLossSpec("bce", {"bce": 1.0}), counts, [0.0]), 4)
    0.6931
    """
    masks = mask_sums(spec, counts)
    if not spec.parts.keys() <= MASK_TWINS.keys() or not len(masks.weights):
        return float("nan")
    return loss_of(spec, masks, np.asarray(logits, dtype=np.float64))


# --- what a constant costs ----------------------------------------------------------------------------------------------------


def _cross_entropy(spec: MaskLossSpec, masks: MaskSums, constants: Constants) -> Floats:
    weights = masks.shares if spec.pos_weight is None else masks.shares * spec.pos_weight
    found = times(np.broadcast_to(weights, constants.log_p.shape), -constants.log_p)
    if masks.joint:
        return np.asarray(found.sum(1, keepdims=True) + times(_free(masks, constants), -constants.rest))
    return np.asarray(found + times(np.broadcast_to(1 - masks.shares, constants.log_p.shape), -constants.rest))


def _focal(spec: MaskLossSpec, masks: MaskSums, constants: Constants) -> Floats:
    alpha = np.ones_like(masks.shares) if spec.alpha is None else spec.alpha
    shares = np.broadcast_to(alpha * masks.shares, constants.log_p.shape)
    if masks.joint:
        rest = 1.0 if spec.alpha is None else 1 - float(spec.alpha.mean())
        own = times(shares, _muted(constants.log_p, _log_rest(constants.log_p), spec.gamma)).sum(1, keepdims=True)
        free = times(rest * _free(masks, constants), _muted(constants.rest, _log_rest(constants.rest), spec.gamma))
        return np.asarray(own + free)
    beside = np.broadcast_to((1.0 if spec.alpha is None else 1 - alpha) * (1 - masks.shares), shares.shape)
    positive = times(shares, _muted(constants.log_p, constants.rest, spec.gamma))
    return np.asarray(positive + times(beside, _muted(constants.rest, constants.log_p, spec.gamma)))


def _muted(log_own: Floats, log_other: Floats, gamma: float) -> Floats:
    """(1 - p)^gamma · -log p, by the logarithms of both; 0 at p = 1."""
    return times(np.exp(gamma * log_other) if gamma else np.ones_like(log_other), -log_own)


def _log_rest(log_p: Floats) -> Floats:
    """log(1 - p)."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(-np.expm1(log_p)))


def _free(masks: MaskSums, constants: Constants) -> Floats:
    """(G, 1) mean share of the background."""
    return np.full((len(constants.log_p), 1), max(1 - float(masks.shares.sum()), 0.0))


def _overlap(index: Callable[[MaskLossSpec, Floats, Floats, Floats], Floats]) -> Twin:
    def cost(spec: MaskLossSpec, masks: MaskSums, constants: Constants) -> Floats:
        p = np.exp(constants.log_p)[:, None, :]
        found = index(spec, p * masks.true, p * masks.known[:, None], masks.true[None])
        return np.asarray(np.average(found, axis=1, weights=masks.weights))

    return cost


def _smoothed(spec: MaskLossSpec, above: Floats, below: Floats) -> Floats:
    above, below = above + spec.smooth, below + spec.smooth
    return np.divide(above, below, out=np.ones(np.broadcast_shapes(above.shape, below.shape)), where=below > 0)


def _dice(spec: MaskLossSpec, both: Floats, predicted: Floats, true: Floats) -> Floats:
    return 1 - _smoothed(spec, 2 * both, predicted + true)


def _iou(spec: MaskLossSpec, both: Floats, predicted: Floats, true: Floats) -> Floats:
    return 1 - _smoothed(spec, both, predicted + true - both)


def _tversky(spec: MaskLossSpec, both: Floats, predicted: Floats, true: Floats) -> Floats:
    mistakes = spec.tversky_alpha * (predicted - both) + spec.tversky_beta * (true - both)
    return 1 - _smoothed(spec, both, both + mistakes)


def _focal_tversky(spec: MaskLossSpec, both: Floats, predicted: Floats, true: Floats) -> Floats:
    return np.asarray(np.maximum(_tversky(spec, both, predicted, true), 0.0) ** spec.tversky_gamma)


MASK_TWINS: dict[str, Twin] = {
    "bce": _cross_entropy,
    "focal": _focal,
    "dice": _overlap(_dice),
    "iou": _overlap(_iou),
    "tversky": _overlap(_tversky),
    "focal_tversky": _overlap(_focal_tversky),
}
"""Part → what G constants cost: (G, K) by class, or (G, 1) where classes share one softmax; the loss is the mean over classes.
A boundary term has none."""


# --- the masks, and constants, as the twins take them -------------------------------------------------------------------------


def mask_sums(spec: MaskLossSpec, counts: MaskCounts) -> MaskSums:
    seen = counts.known > 0
    shares = np.where(seen[:, None], np.nan_to_num(counts.shares), 0.0)
    pixels, known, weights = shares * counts.known[:, None], counts.known.astype(np.float64), seen.astype(np.float64)
    batches = _batches(len(known), counts) if spec.pooled else np.arange(len(known))[:, None]
    # Row -1 is an image of no pixels: it fills the last batch.
    pixels, known, weights = (np.concatenate([values, np.zeros_like(values[:1])]) for values in (pixels, known, weights))
    in_mean = weights[batches].sum(axis=1)
    some = in_mean > 0
    return MaskSums(
        shares=shares.sum(axis=0) / max(1, int(seen.sum())),
        true=pixels[batches].sum(axis=1)[some],
        known=known[batches].sum(axis=1)[some],
        weights=in_mean[some],
        joint=counts.exclusive and shares.shape[1] > 1,
    )


def _batches(images: int, counts: MaskCounts) -> NDArray[np.intp]:
    """(batches, batch) row numbers, -1 where the last batch of an epoch is not full."""
    size = min(counts.batch or images, images)
    if size == 0:
        return np.zeros((0, 1), dtype=np.intp)
    per_epoch = -(-images // size)
    epochs = -(-RANDOM_BATCHES // per_epoch) if counts.shuffled and per_epoch > 1 and size > 1 else 1
    random = np.random.default_rng(0)
    order = np.full((epochs, per_epoch * size), -1, dtype=np.intp)
    for row in order:
        row[:images] = random.permutation(images) if counts.shuffled else np.arange(images)
    return order.reshape(-1, size)


def constants_of(logits: Floats, joint: bool) -> Constants:
    """Of (G, K) logits, infinite ones among them."""
    if not joint:
        return Constants(log_sigmoid(logits), log_sigmoid(-logits))
    every = np.concatenate([np.zeros_like(logits[:, :1]), logits], axis=1)
    logarithms = _log_softmax(every)
    return Constants(logarithms[:, 1:], logarithms[:, :1])


def _log_softmax(logits: Floats) -> Floats:
    top = logits.max(axis=1, keepdims=True)
    # An infinite logit leaves nothing to the others.
    shifted = np.where(np.isinf(top), np.where(logits == top, 0.0, -np.inf), logits - np.where(np.isinf(top), 0.0, top))
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def costs_of(spec: MaskLossSpec, masks: MaskSums, logits: Floats) -> Floats:
    """(G, K) by class, or (G, 1) joint, whose mean over the last axis is the loss."""
    step = max(1, CELLS // max(1, masks.true.size))
    found = []
    for start in range(0, len(logits), step):
        constants = constants_of(logits[start : start + step], masks.joint)
        parts = [weight * MASK_TWINS[name](spec, masks, constants) for name, weight in spec.parts.items()]
        # A part by class and one of all classes are added as means.
        found.append(np.sum([part.mean(1, keepdims=True) if masks.joint else part for part in parts], axis=0))
    return np.concatenate(found)


def loss_of(spec: MaskLossSpec, masks: MaskSums, logits: Floats) -> float:
    return float(costs_of(spec, masks, logits[None]).mean())
