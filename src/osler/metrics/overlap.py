"""Overlap of masks: pixel scores at one threshold and at all, from counts and from histograms of logit levels.

A pixel's logit is kept as one of 256 levels of 0.1 over [-12.8, 12.8); level 128 begins at logit 0, probability 0.5. Two
histograms a case and class, of background and of foreground pixels, then hold all that pooled scores need: a resample of
patients is a sum of histograms. Undefined scores are NaN: where there is no foreground, no overlap can be had.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.config import SensitivityTarget
from osler.errors import DataError
from osler.metrics.decision import ThresholdRule

__all__ = [
    "HALF",
    "IGNORED",
    "LEVELS",
    "OVERLAPS",
    "STEP",
    "binning_errors",
    "choose_level",
    "class_logits",
    "counts_at",
    "counts_at_all",
    "edge",
    "histogram",
    "level_at",
    "level_of",
    "level_probabilities",
    "one_class",
    "pixel_ap",
    "pixel_auc",
    "probability_at",
]

Floats = NDArray[np.float64]
Levels = NDArray[np.uint8]

LEVELS = 256
STEP = 0.1
HALF = 128
"""The level that begins at logit 0: the first that p = 0.5 calls foreground."""
IGNORED = 255
"""Of a mask: the pixel is unknown."""


# --- levels -----------------------------------------------------------------------------------------------------------------


def level_of(logits: ArrayLike) -> Levels:
    """The level of each logit; what lies beyond the ends is counted in the first or last.

    Raises:
        DataError: a logit is NaN.

    >>> level_of([-99.0, -0.01, 0.0, 0.3, 99.0]).tolist()
    [0, 127, 128, 131, 255]
    """
    values = np.asarray(logits)
    steps = values * np.asarray(1 / STEP, dtype=values.dtype)
    if np.isnan(steps.max(initial=-np.inf)):
        raise DataError(
            f"masks: {int(np.isnan(values).sum()):,} of {values.size:,} logits are NaN. The model has diverged or was fed a "
            "broken image: look at the run's loss, and use an earlier checkpoint."
        )
    np.floor(steps, out=steps)
    np.clip(steps, -HALF, LEVELS - 1 - HALF, out=steps)
    steps += HALF
    return np.asarray(steps, dtype=np.uint8)


def one_class(called: NDArray[np.bool_], scores: NDArray[Any]) -> NDArray[np.bool_]:
    """Of the exclusive classes called at a pixel, the one with the highest score; with thresholds under 0.5 several may be.

    Args:
        called: (K, ...) where each class reaches its threshold.
        scores: (K, ...) finite; logits or levels.

    >>> one_class(np.array([[True, True], [True, False]]), np.array([[1, 2], [3, 4]])).tolist()
    [[False, True], [True, False]]
    """
    if len(called) == 1 or not (called.sum(axis=0) > 1).any():
        return called
    best = np.where(called, scores.astype(np.float64), -np.inf).argmax(axis=0)
    return np.asarray(called & (best == np.arange(len(called)).reshape(-1, *(1,) * best.ndim)))


def edge(level: ArrayLike) -> Floats:
    """The lowest logit of a level; level 0 has none, and -12.8 stands for it.

    >>> edge([127, 128]).tolist()
    [-0.1, 0.0]
    """
    return np.asarray((np.asarray(level, dtype=np.float64) - HALF) * STEP)


def probability_at(level: ArrayLike) -> Floats:
    """The lowest probability of a level: a mask of `levels >= level` is one of probabilities at or above this.

    >>> probability_at([128, 150]).round(3).tolist()
    [0.5, 0.9]
    """
    return _sigmoid(edge(level))


def level_at(probability: float) -> int:
    """The level whose edge is nearest to a probability: off by 0.05 of a logit at most, 0.0125 of probability.

    >>> level_at(0.5), level_at(0.9), level_at(0.0), level_at(1.0)
    (128, 150, 0, 255)
    """
    if not 0 < probability < 1:
        return 0 if probability <= 0 else LEVELS - 1
    logit = math.log(probability) - math.log1p(-probability)
    return int(np.clip(round(logit / STEP) + HALF, 0, LEVELS - 1))


def level_probabilities() -> Floats:
    """(256,) the probability in the middle of each level, at most 0.0125 from that of any logit in it.

    >>> level_probabilities()[[0, 128]].round(6).tolist()
    [3e-06, 0.512497]
    """
    return _sigmoid(edge(np.arange(LEVELS) + 0.5))


def class_logits(logits: NDArray[np.floating[Any]], exclusive: bool) -> NDArray[np.floating[Any]]:
    """The logit of each class's probability, log(p / (1 - p)), from what a network gives.

    Args:
        logits: (K, H, W) or (B, K, H, W).
        exclusive: a pixel has one class at most: probabilities are the softmax beside a background of logit 0. Else, and for
            one class, the logits are what is asked for already.

    >>> z = np.log(np.array([2.0, 5.0])).reshape(2, 1, 1)
    >>> np.exp(class_logits(z, exclusive=True)).round(3).ravel().tolist()  # 2 : 1 + 5, and 5 : 1 + 2
    [0.333, 1.667]
    """
    classes = logits.shape[-3]
    if not exclusive or classes == 1:
        return logits
    found = np.empty_like(logits)
    for k in range(classes):
        others = np.delete(logits, k, axis=-3)
        top = np.maximum(others.max(axis=-3), 0)
        rest = np.exp(others - top[..., None, :, :]).sum(axis=-3) + np.exp(-top)
        found[..., k, :, :] = logits[..., k, :, :] - top - np.log(rest)
    return found


def histogram(levels: Levels, truth: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """(2, 256) known pixels by what is true, background or foreground, and by level.

    Args:
        levels: (H, W).
        truth: (H, W) in {0, 1, IGNORED}.

    >>> histogram(np.array([[3, 3, 7]], np.uint8), np.array([[0, 1, 255]], np.uint8)).sum(axis=1).tolist()
    [1, 1]
    """
    assert levels.shape == truth.shape, f"levels {levels.shape}, truth {truth.shape}"
    known = truth.ravel() != IGNORED
    places = truth.ravel().astype(np.uint16) * LEVELS + levels.ravel()
    if not known.all():
        places = places[known]
    counts = np.bincount(places, minlength=2 * LEVELS)
    assert len(counts) == 2 * LEVELS, "a mask has the values 0, 1 and IGNORED alone"
    return counts.reshape(2, LEVELS).astype(np.uint32)


# --- scores at a threshold --------------------------------------------------------------------------------------------------


def counts_at(histograms: NDArray[Any], level: ArrayLike) -> NDArray[Any]:
    """(..., 4) true positives, false positives, false negatives and true negatives of `levels >= level`.

    Args:
        histograms: (..., 2, 256).
        level: a level, or (K,) where the histograms are (..., K, 2, 256).

    >>> counts_at(np.eye(2, 256, 10, dtype=int), 11).tolist()  # background at level 10, foreground at 11
    [1, 0, 0, 1]
    """
    called = np.arange(LEVELS) >= np.asarray(level)[..., None]
    above = np.where(called[..., None, :], histograms, 0).sum(axis=-1, dtype=_sum_type(histograms))
    total = histograms.sum(axis=-1, dtype=_sum_type(histograms))
    return np.stack([above[..., 1], above[..., 0], (total - above)[..., 1], (total - above)[..., 0]], axis=-1)


def counts_at_all(histograms: NDArray[Any]) -> NDArray[Any]:
    """(..., 256, 4) the same for each of the 256 levels as the threshold.

    Args:
        histograms: (..., 2, 256).
    """
    sums = np.cumsum(histograms, axis=-1, dtype=_sum_type(histograms))
    total = sums[..., -1:]
    below = sums - histograms
    above = total - below
    return np.stack([above[..., 1, :], above[..., 0, :], below[..., 1, :], below[..., 0, :]], axis=-1)


def _sum_type(counts: NDArray[Any]) -> type[Any]:
    return np.float64 if counts.dtype.kind == "f" else np.int64


def _share(part: NDArray[Any], whole: NDArray[Any], asked: NDArray[np.bool_] | None = None) -> Floats:
    """part / whole; NaN where whole is 0, or where it is not asked for."""
    found = np.full(np.shape(part), np.nan)
    where = whole > 0 if asked is None else (whole > 0) & asked
    np.divide(part, whole, out=found, where=where)
    return found


def _dice(counts: NDArray[Any]) -> Floats:
    true, false, missed, _ = np.moveaxis(counts, -1, 0)
    return _share(2 * true, 2 * true + false + missed, true + missed > 0)


def _iou(counts: NDArray[Any]) -> Floats:
    true, false, missed, _ = np.moveaxis(counts, -1, 0)
    return _share(true, true + false + missed, true + missed > 0)


OVERLAPS: dict[str, Callable[[NDArray[Any]], Floats]] = {
    "dice": _dice,
    "iou": _iou,
    "precision": lambda counts: _share(counts[..., 0], counts[..., 0] + counts[..., 1]),
    "recall": lambda counts: _share(counts[..., 0], counts[..., 0] + counts[..., 2]),
    "accuracy": lambda counts: _share(counts[..., 0] + counts[..., 3], counts.sum(axis=-1)),
}
"""Score → of (..., 4) counts [tp, fp, fn, tn]; NaN where undefined. Dice, which is the pixels' F1, and IoU need foreground:
without any, every false alarm would be 0 and silence 1."""


def choose_level(rule: ThresholdRule, histograms: NDArray[Any]) -> int | None:
    """The threshold that a rule picks on pooled pixels; None where foreground or background is absent.

    Among equals, the one nearest to p = 0.5.

    Args:
        rule: "f1", the largest pooled Dice; "youden", the largest recall + specificity; a probability; or a
            `SensitivityTarget`, the largest threshold that reaches it.
        histograms: (2, 256) pooled, of the validation set.

    >>> pixels = np.zeros((2, 256)); pixels[0, 100] = 90; pixels[1, 140] = 10
    >>> choose_level("f1", pixels), choose_level(0.5, pixels), choose_level("f1", np.zeros((2, 256)))
    (128, 128, None)
    """
    if isinstance(rule, (int, float)):
        return level_at(float(rule))
    background, foreground = histograms.sum(axis=-1)
    if not background or not foreground:
        return None
    counts = counts_at_all(histograms)
    recall = OVERLAPS["recall"](counts)
    if isinstance(rule, SensitivityTarget):
        return int(np.flatnonzero(recall >= rule.sensitivity).max())
    values = OVERLAPS["dice"](counts) if rule == "f1" else recall + counts[:, 3] / background
    best = np.flatnonzero(values >= values.max())
    return int(best[np.abs(best - HALF).argmin()])


# --- scores over all thresholds ---------------------------------------------------------------------------------------------


def pixel_auc(histograms: NDArray[Any]) -> Floats:
    """(...) area under the ROC curve of pixels; pixels of one level are tied. NaN without foreground or background.

    Args:
        histograms: (..., 2, 256).
    """
    background, foreground = (np.asarray(histograms[..., part, :], dtype=np.float64) for part in (0, 1))
    below = np.cumsum(background, axis=-1) - background
    pairs = (foreground * (below + background / 2)).sum(axis=-1)
    return _share(pairs, foreground.sum(axis=-1) * background.sum(axis=-1))


def pixel_ap(histograms: NDArray[Any]) -> Floats:
    """(...) average precision of pixels, a level a step of the curve. NaN without foreground or background.

    Args:
        histograms: (..., 2, 256).
    """
    above = np.cumsum(np.asarray(histograms, dtype=np.float64)[..., ::-1], axis=-1)[..., ::-1]
    called = above.sum(axis=-2)
    precision = np.divide(above[..., 1, :], called, out=np.zeros(called.shape), where=called > 0)
    steps = (histograms[..., 1, :] * precision).sum(axis=-1)
    return _share(steps, above[..., 1, 0], above[..., 0, 0] > 0)


def binning_errors(histograms: NDArray[Any]) -> tuple[float, float]:
    """How far the AUC and the AP of the unbinned logits can be from those of the levels, at most; NaN where undefined.

    AUC: half of the pairs that are tied. AP: from the best to the worst order of the pixels within each level, whose sums
    of (T + j) / (C + j) have a closed form in the digamma function.

    Args:
        histograms: (2, 256).
    """
    from scipy.special import digamma

    background, foreground = np.asarray(histograms, dtype=np.float64)
    positives, negatives = foreground.sum(), background.sum()
    if not positives or not negatives:
        return math.nan, math.nan
    tied = float((foreground * background).sum() / (2 * positives * negatives))
    true = np.cumsum(foreground[::-1])[::-1] - foreground
    false = np.cumsum(background[::-1])[::-1] - background

    def ordered(others: Floats) -> float:
        """AP where this many background pixels lie above the foreground of each level."""
        called = true + others
        loss = others * (digamma(called + foreground + 1) - digamma(called + 1))
        return float((foreground - loss).sum() / positives)

    value = float(pixel_ap(histograms))
    return tied, max(ordered(false) - value, value - ordered(false + background), 0.0)


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logits)))
