"""Floors of mask losses: the best loss, and the scores, that one constant probability a class reaches on given masks.

As `osler.metrics.floors` for labels; what a constant costs is in `osler.metrics.mask_twins`. A pooled overlap and one by case
have different floors, and a pooled one another for each size of batch.

The sum of a pixel term and an overlap term is not convex in the constant, so it is minimised over a grid of logits, then
within ever smaller steps around the best of the grid; with a softmax over several classes, over some hundred places, then
downhill from the best of them. The numbers are drawn from a fixed seed: the same masks have the same floor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from osler.metrics.floors import LOGIT_LIMIT, Floor
from osler.metrics.mask_loss import MaskCounts, MaskLossSpec
from osler.metrics.mask_twins import MASK_TWINS, MaskSums, constants_of, costs_of, loss_of, mask_sums

__all__ = ["MaskFloor", "mask_floor", "overlap_floors"]

Floats = NDArray[np.float64]

PIXEL_PARTS = ("bce", "focal")
# Beyond 20 only overlaps without any pixel term can still fall; at 60 a batch of 10⁹ pixels holds 10⁻¹⁷ of foreground.
GRID = np.concatenate([[-60.0, -40.0], np.arange(-20.0, 20.01, 0.25), [40.0, 60.0]])
ZOOM = np.linspace(-1.0, 1.0, 21)
ZOOMS = 8
# Of the joint search: places tried at each distance from a centre, the distances, and how many of the best are followed.
PLACES = 60
SPREADS = np.array([0.5, 2.0, 8.0, 20.0])
DESCENTS = 4


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
    masks = mask_sums(spec, counts)
    start = _start(spec, masks)
    if not spec.parts.keys() <= MASK_TWINS.keys() or not len(masks.weights):
        reason = "a boundary loss depends on the shapes of the masks, not on their shares" if len(masks.weights) else None
        nan = float("nan")
        return MaskFloor(nan, start, _probabilities(start, masks.joint), nan, None, reason)
    best = _best(spec, masks)
    of_classes = costs_of(spec, masks, best[None])[0]
    return MaskFloor(
        loss=float(of_classes.mean()),
        logits=start,
        probabilities=_probabilities(best, masks.joint),
        loss_at_half=loss_of(spec, masks, np.zeros_like(best)),
        per_class=None if masks.joint else of_classes,
        loss_at_start=loss_of(spec, masks, start),
        loss_at_empty=loss_of(spec, masks, np.full_like(best, -np.inf)),
        loss_at_full=loss_of(spec, masks, _full(masks)),
    )


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


# --- the least ----------------------------------------------------------------------------------------------------------------


def _start(spec: MaskLossSpec, masks: MaskSums) -> Floats:
    """(K,) logits within the limits: the best constant of the pixel terms."""
    if not len(masks.weights):
        return np.zeros_like(masks.shares)
    pixel_terms = {name: weight for name, weight in spec.parts.items() if name in PIXEL_PARTS}
    best = _best(replace(spec, parts=pixel_terms), masks) if pixel_terms else _share_logits(masks)
    return np.clip(best, -LOGIT_LIMIT, LOGIT_LIMIT)


def _best(spec: MaskLossSpec, masks: MaskSums) -> Floats:
    """(K,) logits of the best constant."""
    if masks.joint:
        return _best_joint(spec, masks)
    return _least(lambda logits: costs_of(spec, masks, logits), np.repeat(GRID[:, None], len(masks.shares), axis=1))


def _best_joint(spec: MaskLossSpec, masks: MaskSums) -> Floats:
    """(K,) logits under one softmax: the best of many places, followed downhill."""
    from scipy.optimize import minimize  # half a second that a diagnosis can spare

    classes = len(masks.shares)
    usual = np.clip(_share_logits(masks), -LOGIT_LIMIT, LOGIT_LIMIT)
    alone = np.where(np.eye(classes) > 0, LOGIT_LIMIT, usual)
    spread = np.random.default_rng(0).normal(size=(PLACES, 1, classes)) * SPREADS[:, None]
    around = [centre + spread.reshape(-1, classes) for centre in (usual, np.zeros(classes))]
    places = np.concatenate([usual[None], np.full((1, classes), GRID[0]), alone, *around])
    places = places[np.argsort(costs_of(spec, masks, places).mean(axis=1), kind="stable")[:DESCENTS]]

    def slope(logits: Floats) -> tuple[float, Floats]:
        return _slope(spec, masks, logits)

    limits = [(float(GRID[0]), float(GRID[-1]))] * classes
    ends = [np.asarray(minimize(slope, place, jac=True, method="L-BFGS-B", bounds=limits).x) for place in places]
    return min([*places, *ends], key=lambda logits: loss_of(spec, masks, logits))


def _slope(spec: MaskLossSpec, masks: MaskSums, logits: Floats) -> tuple[float, Floats]:
    """The loss of (K,) logits and its derivatives (K,), by central differences."""
    step = 1e-4 * np.eye(len(logits))
    around = costs_of(spec, masks, np.concatenate([logits[None], logits + step, logits - step])).mean(axis=1)
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


def _probabilities(logits: Floats, joint: bool) -> Floats:
    return np.asarray(np.exp(constants_of(logits[None], joint).log_p[0]))


def _share_logits(masks: MaskSums) -> Floats:
    """(K,) logits of the mean share of foreground, the best constant of cross-entropy; infinite where it is 0 or 1."""
    rest = max(1 - float(masks.shares.sum()), 0.0) if masks.joint else 1 - masks.shares
    with np.errstate(divide="ignore"):
        tops, bottoms = np.log(masks.shares), np.log(rest)
    return np.subtract(tops, bottoms, out=np.full_like(masks.shares, -np.inf), where=masks.shares > 0)


def _full(masks: MaskSums) -> Floats:
    logits = np.full_like(masks.shares, np.inf)
    if masks.joint:
        logits[np.arange(len(logits)) != np.argmax(masks.shares)] = -np.inf
    return logits
