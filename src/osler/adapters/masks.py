"""Masks of a foreign loop as Osler counts them: planes (B, K, H, W) of logits and of truth.

Targets are planes like the outputs, in {0, 1} with anything else unknown (NaN, 255); or maps of class numbers (B, H, W) beside
outputs (B, 1 + K, H, W) of a softmax whose channel 0 is the background. What channel 0 says is taken off the others: a softmax
beside a background of logit 0 is the same distribution.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from osler.adapters.arrays import Array, is_tensor, namespace, on_host
from osler.adapters.labels import NEAREST
from osler.errors import DataError
from osler.metrics.overlap import HALF, IGNORED, LEVELS, STEP, class_logits, histogram, level_of

__all__ = ["Planes", "count_pixels", "histograms", "planes"]


class Planes(NamedTuple):
    """Masks of a batch.

    Attributes:
        logits: (B, K, H, W); 0 where an output is no number.
        true: (B, K, H, W) whether foreground.
        known: (B, K, H, W) whether the label is known and the output is a number.
        exclusive: a pixel is of one class at most.
    """

    logits: Array
    true: Array
    known: Array
    exclusive: bool


def planes(outputs: Array, targets: Array, probabilities: bool) -> Planes:
    """The planes of a batch, where its arrays lie.

    Raises:
        DataError: the shapes do not fit.

    >>> found = planes(np.zeros((1, 3, 2, 2)), np.array([[[0, 1], [2, 255]]]), False)
    >>> found.logits.shape, found.true[0].sum(axis=(1, 2)).tolist(), int(found.known[0, 0].sum()), found.exclusive
    ((1, 2, 2, 2), [1, 1], 3, True)
    """
    outputs, targets = _like(outputs), _like(targets)
    numbers = outputs.ndim == 4 and targets.ndim in (3, 4) and outputs.shape[1] > 1
    numbers = numbers and (targets.ndim == 3 or (targets.shape[1] == 1 and outputs.shape[1] > 1))
    xp = namespace(outputs)
    if numbers:
        number = targets if targets.ndim == 3 else targets[:, 0]
        classes = outputs.shape[1] - 1
        true = xp.stack([number == k for k in range(1, classes + 1)], 1)
        known = xp.stack([(number >= 0) & (number <= classes)] * classes, 1)
        logs = xp.log(outputs.clip(NEAREST, 1.0)) if probabilities else outputs
        logits = logs[:, 1:] - logs[:, :1]
    else:
        outputs, targets = (value[:, None] if value.ndim == 3 else value for value in (outputs, targets))
        true, known = targets == 1, (targets == 0) | (targets == 1)
        inside = outputs.clip(NEAREST, 1 - NEAREST) if probabilities else outputs
        logits = xp.log(inside) - xp.log1p(-inside) if probabilities else inside
    if logits.ndim != 4 or tuple(logits.shape) != tuple(true.shape):
        raise DataError(
            f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} are no masks of one batch: give planes of one "
            "shape (images, classes, height, width), or outputs with the background as channel 0 and class numbers "
            "(images, height, width)"
        )
    broken = xp.isnan(logits)
    broken = broken.any(1)[:, None] | broken if numbers else broken  # one broken logit breaks the softmax of its pixel
    return Planes(xp.where(broken, xp.zeros_like(logits), logits), true, known & ~broken, numbers)


def _like(value: Array) -> Array:
    """A tensor without a graph, in float32 where it is of half precision; or an array."""
    if not is_tensor(value):
        return np.asarray(value)
    value = value.detach()
    return value.float() if value.is_floating_point() and value.element_size() < 4 else value


def count_pixels(batch: Planes) -> tuple[Array, Array]:
    """Counts (B, K, 4) [tp, fp, fn, tn] at probability 0.5 and summed probabilities (B, K), where the planes lie.

    >>> batch = planes(np.array([[[5.0, 5.0, -5.0]]]), np.array([[[1, 0, 0]]]), False)
    >>> count_pixels(batch)[0].tolist()
    [[[1, 1, 0, 1]]]
    """
    xp = namespace(batch.logits)
    p = _probabilities(batch, xp)
    called, true = (p >= 0.5) & batch.known, batch.true & batch.known
    hits, calls, positives, cells = (plane.sum((2, 3)) for plane in (called & true, called, true, batch.known))
    counts = xp.stack([hits, calls - hits, positives - hits, cells - calls - positives + hits], 2)
    return counts, (p * batch.known).sum((2, 3))


def _probabilities(batch: Planes, xp: Any) -> Array:
    logits = batch.logits.clip(-80.0, 80.0)  # where exp still has a finite float32
    if not batch.exclusive or logits.shape[1] == 1:
        return 1 / (1 + xp.exp(-logits))
    top = xp.amax(logits, 1)[:, None].clip(0.0, None)
    powers = xp.exp(logits - top)
    return powers / (powers.sum(1)[:, None] + xp.exp(-top))


def histograms(batch: Planes) -> Array:
    """(B, K, 2, 256) known pixels of each image and class by truth and level of the logit.

    On the host by `metrics.overlap`; elsewhere where the planes lie, so that only the counts ever move.
    """
    if is_tensor(batch.logits) and batch.logits.device.type != "cpu":
        return histograms_on_device(batch)
    logits, true, known = (on_host(value) for value in batch[:3])
    levels = level_of(class_logits(logits, batch.exclusive))
    truth = np.where(known, true.astype(np.uint8), np.uint8(IGNORED))
    return _of_each(levels, truth)


def _of_each(levels: NDArray[np.uint8], truth: NDArray[np.uint8]) -> NDArray[np.uint32]:
    images, classes = levels.shape[:2]
    found = np.empty((images, classes, 2, LEVELS), np.uint32)
    for b in range(images):
        for k in range(classes):
            found[b, k] = histogram(levels[b, k], truth[b, k])
    return found


def histograms_on_device(batch: Planes) -> Array:
    """The same in torch."""
    xp = namespace(batch.logits)
    logits = batch.logits
    images, classes = logits.shape[:2]
    if batch.exclusive and classes > 1:
        others = [xp.cat([logits[:, :k], logits[:, k + 1 :], xp.zeros_like(logits[:, :1])], 1) for k in range(classes)]
        logits = xp.stack([logits[:, k] - xp.logsumexp(rest, 1) for k, rest in enumerate(others)], 1)
    levels = (logits * (1 / STEP)).floor().clip(-HALF, LEVELS - 1 - HALF).long() + HALF
    planes_before = xp.arange(images * classes, device=logits.device).reshape(images, classes, 1, 1)
    size = images * classes * 2 * LEVELS
    places = xp.where(batch.known, (planes_before * 2 + batch.true.long()) * LEVELS + levels, size)
    counts = xp.bincount(places.flatten(), minlength=size + 1)[:size]
    return counts.reshape(images, classes, 2, LEVELS)
