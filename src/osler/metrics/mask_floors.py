"""Floors of mask losses: the best loss, and the scores, that one constant probability a class reaches on given masks.

As `osler.metrics.floors` for labels. What a constant costs follows from each image's share of foreground and its known pixels
alone, but for a loss of the boundary, which has no floor. A pooled overlap depends on which images share a batch: the floor is
then the mean over batches as they stand, or over many random batches, drawn from a fixed seed.

The sum of a pixel term and an overlap term is not convex in the constant, so it is minimised over a grid of logits, then
within ever smaller steps around the best of the grid; with a softmax over several classes, over some hundred places, then
downhill from the best of them. The numbers are drawn from a fixed seed: the same masks have the same floor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.metrics.floors import LOGIT_LIMIT, Floor, log_sigmoid, times
from osler.metrics.mask_loss import MaskCounts, MaskLossSpec

__all__ = ["MASK_TWINS", "MaskFloor", "mask_constant_loss", "mask_floor", "overlap_floors"]

Floats = NDArray[np.float64]

PIXEL_PARTS = ("bce", "focal")
# How many random batches stand for all of them: the loss of a constant in one batch differs from the mean by less than 0.3, so
# that the error is about 0.3 / sqrt(512), or 0.01, at the very worst, and the same in every epoch.
RANDOM_BATCHES = 512
# Beyond 20 only overlaps without any pixel term can still fall; at 60 a batch of 10⁹ pixels holds 10⁻¹⁷ of foreground.
GRID = np.concatenate([[-60.0, -40.0], np.arange(-20.0, 20.01, 0.25), [40.0, 60.0]])
ZOOM = np.linspace(-1.0, 1.0, 21)
ZOOMS = 8
# Of the joint search: places tried at each distance from a centre, the distances, and how many of the best are followed.
PLACES = 60
SPREADS = np.array([0.5, 2.0, 8.0, 20.0])
DESCENTS = 4
# Numbers held at once while the grid is gone through.
CELLS = 2_000_000


@dataclass(frozen=True)
class MaskFloor(Floor):
    """The best constant prediction under a loss of masks.

    As `Floor`, but for `logits`, which say where the output should start: the best constant of the loss's pixel terms alone,
    or of plain cross-entropy where it has none. An overlap is often least at a probability of 1 (pooled), or at 0 (by case,
    where images without foreground are many), and no gradient leads away from there.

    Attributes:
        probabilities: (K,) the constant that reaches the floor.
        loss_at_start: mean loss at `logits`.
        loss_at_empty: mean loss where every mask is predicted empty, p = 0; infinite where a pixel term has no bound.
        loss_at_full: likewise for p = 1; where classes exclude each other, for every pixel called the commonest class.
    """

    loss_at_start: float = float("nan")
    loss_at_empty: float = float("nan")
    loss_at_full: float = float("nan")


@dataclass(frozen=True)
class _Masks:
    """What the twins need of the masks.

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
class _Constants:
    """G constant predictions as logarithms: `log_p` (G, K), and `rest` of what is not the class: (G, K), or (G, 1) joint."""

    log_p: Floats
    rest: Floats


Twin = Callable[[MaskLossSpec, _Masks, _Constants], Floats]


def mask_floor(spec: MaskLossSpec, counts: MaskCounts) -> MaskFloor:
    """The best constant prediction under this loss for masks with these counts.

    Args:
        spec: the loss with its parameters resolved.
        counts: of the masks on which the loss is taken: as drawn where patches favour the foreground.

    Returns:
        The floor; NaN, with a `reason`, for a loss with a boundary term.

    >>> counts = MaskCounts(True, np.array([[0.2], [0.2]]), np.array([1e6, 1e6]))
    >>> found = mask_floor(MaskLossSpec("dice", {"dice": 1.0}), counts)
    >>> round(found.loss, 3), round(1 - 2 * 0.2 / 1.2, 3), found.probabilities.round(6).tolist(), found.logits.round(3).tolist()
    (0.667, 0.667, [1.0], [-1.386])
    """
    masks = _masks(spec, counts)
    start = _start(spec, masks)
    if not spec.parts.keys() <= MASK_TWINS.keys() or not len(masks.weights):
        reason = "a boundary loss depends on the shapes of the masks, not on their shares" if len(masks.weights) else None
        nan = float("nan")
        return MaskFloor(nan, start, _probabilities(start, masks.joint), nan, None, reason)
    best = _best(spec, masks)
    of_classes = _costs(spec, masks, best[None])[0]
    return MaskFloor(
        loss=float(of_classes.mean()),
        logits=start,
        probabilities=_probabilities(best, masks.joint),
        loss_at_half=_loss(spec, masks, np.zeros_like(best)),
        per_class=None if masks.joint else of_classes,
        loss_at_start=_loss(spec, masks, start),
        loss_at_empty=_loss(spec, masks, np.full_like(best, -np.inf)),
        loss_at_full=_loss(spec, masks, _full(masks)),
    )


def mask_constant_loss(spec: MaskLossSpec, counts: MaskCounts, logits: ArrayLike) -> float:
    """Mean loss of a model that gives these (K,) logits for every pixel; NaN where no pixel is known, or for a boundary term.

    >>> counts = MaskCounts(True, np.array([[0.5]]), np.array([100.0]))
    >>> round(mask_constant_loss(MaskLossSpec("bce", {"bce": 1.0}), counts, [0.0]), 4)
    0.6931
    """
    masks = _masks(spec, counts)
    if not spec.parts.keys() <= MASK_TWINS.keys() or not len(masks.weights):
        return float("nan")
    return _loss(spec, masks, np.asarray(logits, dtype=np.float64))


def overlap_floors(counts: MaskCounts) -> dict[str, dict[str, Floats]]:
    """Dice and IoU of predictions that look at no image, by name of the prediction and of the score.

    Returns:
        "all_foreground" and "all_empty", each with (K,) of `dice` and `iou` of all images at once and `dice_per_case` and
        `iou_per_case`, their means over the images that have the class; NaN where no image has it.

    >>> counts = MaskCounts(True, np.array([[0.2], [0.0]]), np.array([100.0, 100.0]))
    >>> full = overlap_floors(counts)["all_foreground"]
    >>> {name: round(float(value[0]), 3) for name, value in full.items()}
    {'dice': 0.182, 'iou': 0.1, 'dice_per_case': 0.333, 'iou_per_case': 0.2}
    """
    shares = np.where(counts.known[:, None] > 0, counts.shares, np.nan)
    pooled = counts.labels.prevalence
    pooled = np.where(pooled > 0, pooled, np.nan)
    each = np.where(shares > 0, shares, np.nan)
    full = {
        "dice": 2 * pooled / (1 + pooled),
        "iou": pooled,
        "dice_per_case": _mean_of_known(2 * each / (1 + each)),
        "iou_per_case": _mean_of_known(each),
    }
    return {"all_foreground": full, "all_empty": {name: 0.0 * values for name, values in full.items()}}


def _mean_of_known(values: Floats) -> Floats:
    known = ~np.isnan(values)
    number = known.sum(axis=0)
    means = np.full(number.shape, np.nan)
    np.divide(np.where(known, values, 0.0).sum(axis=0), number, out=means, where=number > 0)
    return means


# --- what a constant costs ----------------------------------------------------------------------------------------------------


def _cross_entropy(spec: MaskLossSpec, masks: _Masks, constants: _Constants) -> Floats:
    weights = masks.shares if spec.pos_weight is None else masks.shares * spec.pos_weight
    found = times(np.broadcast_to(weights, constants.log_p.shape), -constants.log_p)
    if masks.joint:
        return np.asarray(found.sum(1, keepdims=True) + times(_free(masks, constants), -constants.rest))
    return np.asarray(found + times(np.broadcast_to(1 - masks.shares, constants.log_p.shape), -constants.rest))


def _focal(spec: MaskLossSpec, masks: _Masks, constants: _Constants) -> Floats:
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


def _free(masks: _Masks, constants: _Constants) -> Floats:
    """(G, 1) mean share of the background."""
    return np.full((len(constants.log_p), 1), max(1 - float(masks.shares.sum()), 0.0))


def _overlap(index: Callable[[MaskLossSpec, Floats, Floats, Floats], Floats]) -> Twin:
    def cost(spec: MaskLossSpec, masks: _Masks, constants: _Constants) -> Floats:
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


def _masks(spec: MaskLossSpec, counts: MaskCounts) -> _Masks:
    seen = counts.known > 0
    shares = np.where(seen[:, None], np.nan_to_num(counts.shares), 0.0)
    pixels, known, weights = shares * counts.known[:, None], counts.known.astype(np.float64), seen.astype(np.float64)
    batches = _batches(len(known), counts) if spec.pooled else np.arange(len(known))[:, None]
    # Row -1 is an image of no pixels: it fills the last batch.
    pixels, known, weights = (np.concatenate([values, np.zeros_like(values[:1])]) for values in (pixels, known, weights))
    in_mean = weights[batches].sum(axis=1)
    some = in_mean > 0
    return _Masks(
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
        row[:images] = random.permutation(images) if epochs > 1 else np.arange(images)
    return order.reshape(-1, size)


def _constants(logits: Floats, joint: bool) -> _Constants:
    """Of (G, K) logits, infinite ones among them."""
    if not joint:
        return _Constants(log_sigmoid(logits), log_sigmoid(-logits))
    every = np.concatenate([np.zeros_like(logits[:, :1]), logits], axis=1)
    logarithms = _log_softmax(every)
    return _Constants(logarithms[:, 1:], logarithms[:, :1])


def _log_softmax(logits: Floats) -> Floats:
    top = logits.max(axis=1, keepdims=True)
    # An infinite logit leaves nothing to the others.
    shifted = np.where(np.isinf(top), np.where(logits == top, 0.0, -np.inf), logits - np.where(np.isinf(top), 0.0, top))
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _probabilities(logits: Floats, joint: bool) -> Floats:
    return np.asarray(np.exp(_constants(logits[None], joint).log_p[0]))


def _share_logits(masks: _Masks) -> Floats:
    """(K,) logits of the mean share of foreground, the best constant of cross-entropy; infinite where it is 0 or 1."""
    rest = max(1 - float(masks.shares.sum()), 0.0) if masks.joint else 1 - masks.shares
    with np.errstate(divide="ignore"):
        logits = np.log(masks.shares) - np.log(rest)
    return np.asarray(logits if len(masks.weights) else np.zeros_like(masks.shares))


def _full(masks: _Masks) -> Floats:
    logits = np.full_like(masks.shares, np.inf)
    if masks.joint:
        logits[np.arange(len(logits)) != np.argmax(masks.shares)] = -np.inf
    return logits


def _costs(spec: MaskLossSpec, masks: _Masks, logits: Floats) -> Floats:
    """(G, K) by class, or (G, 1) joint, whose mean over the last axis is the loss."""
    step = max(1, CELLS // max(1, masks.true.size))
    found = []
    for start in range(0, len(logits), step):
        constants = _constants(logits[start : start + step], masks.joint)
        parts = [weight * MASK_TWINS[name](spec, masks, constants) for name, weight in spec.parts.items()]
        # A part by class and one of all classes are added as means.
        found.append(np.sum([part.mean(1, keepdims=True) if masks.joint else part for part in parts], axis=0))
    return np.concatenate(found)


def _loss(spec: MaskLossSpec, masks: _Masks, logits: Floats) -> float:
    return float(_costs(spec, masks, logits[None]).mean())


# --- the least ----------------------------------------------------------------------------------------------------------------


def _start(spec: MaskLossSpec, masks: _Masks) -> Floats:
    """(K,) logits within the limits: the best constant of the pixel terms."""
    if not len(masks.weights):
        return np.zeros_like(masks.shares)
    pixel_terms = {name: weight for name, weight in spec.parts.items() if name in PIXEL_PARTS}
    best = _best(replace(spec, parts=pixel_terms), masks) if pixel_terms else _share_logits(masks)
    return np.clip(best, -LOGIT_LIMIT, LOGIT_LIMIT)


def _best(spec: MaskLossSpec, masks: _Masks) -> Floats:
    """(K,) logits of the best constant."""
    if masks.joint:
        return _best_joint(spec, masks)
    return _least(lambda logits: _costs(spec, masks, logits), np.repeat(GRID[:, None], len(masks.shares), axis=1))


def _best_joint(spec: MaskLossSpec, masks: _Masks) -> Floats:
    """(K,) logits under one softmax: the best of many places, followed downhill."""
    from scipy.optimize import minimize  # half a second that a diagnosis can spare

    classes = len(masks.shares)
    usual = np.clip(_share_logits(masks), -LOGIT_LIMIT, LOGIT_LIMIT)
    alone = np.where(np.eye(classes) > 0, LOGIT_LIMIT, usual)
    spread = np.random.default_rng(0).normal(size=(PLACES, 1, classes)) * SPREADS[:, None]
    around = [centre + spread.reshape(-1, classes) for centre in (usual, np.zeros(classes))]
    places = np.concatenate([usual[None], np.full((1, classes), GRID[0]), alone, *around])
    places = places[np.argsort(_costs(spec, masks, places).mean(axis=1), kind="stable")[:DESCENTS]]

    def slope(logits: Floats) -> tuple[float, Floats]:
        return _slope(spec, masks, logits)

    limits = [(float(GRID[0]), float(GRID[-1]))] * classes
    ends = [np.asarray(minimize(slope, place, jac=True, method="L-BFGS-B", bounds=limits).x) for place in places]
    return min([*places, *ends], key=lambda logits: _loss(spec, masks, logits))


def _slope(spec: MaskLossSpec, masks: _Masks, logits: Floats) -> tuple[float, Floats]:
    """The loss of (K,) logits and its derivatives (K,), by central differences."""
    step = 1e-4 * np.eye(len(logits))
    around = _costs(spec, masks, np.concatenate([logits[None], logits + step, logits - step])).mean(axis=1)
    above, below = np.split(around[1:], 2)
    return float(around[0]), (above - below) / 2e-4


def _least(cost: Callable[[Floats], Floats], grid: Floats) -> Floats:
    """(K,) where each column of a cost (G, K) of logits (G, K) is least: on the grid, then ever nearer to its best."""
    best = np.argmin(cost(grid), axis=0)
    columns = np.arange(grid.shape[1])
    centre: Floats = grid[best, columns]
    near = np.clip(best, 1, len(grid) - 2)
    step = np.maximum(grid[near + 1, columns] - grid[near, columns], grid[near, columns] - grid[near - 1, columns])
    for _ in range(ZOOMS):
        tried = np.clip(centre + ZOOM[:, None] * step, GRID[0], GRID[-1])
        centre = tried[np.argmin(cost(tried), axis=0), columns]
        step = step / 10
    return centre
