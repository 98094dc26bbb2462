"""The sampler `balanced`: how often each training sample is drawn, and what is seen then.

A draw is with replacement. What counts as a class to be balanced:

* binary: the positives and the negatives, half the draws each;
* multiclass: each class, 1 / K of the draws;
* multilabel: each label, and the samples without any finding as one class more. A sample with findings weighs the mean of
  the inverse frequencies of its labels. The samples without a finding share 1 / (K + 1) of all draws between them, K being
  the labels that occur. That share is set outright, not left to follow from a weight: a fixed weight of 0.01 for them beside
  inverse counts of 0.00007 to 0.006 once made 98 % of all draws "no finding", which no figure over the labels alone shows.

A sample of which nothing is known is never drawn: it adds nothing to the loss. In a multilabel row, what is unknown counts
as no finding in so far as the rest is known to be negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.data.samples import TaskKind
from osler.errors import DataError
from osler.metrics.weights import LabelCounts

__all__ = ["DrawShare", "describe_draw", "draw_weights", "expected_counts"]

Floats = NDArray[np.float64]
NO_FINDING = "(no finding)"


@dataclass(frozen=True)
class DrawShare:
    """How much of what is drawn has a label.

    Attributes:
        natural: share of the samples that have it.
        drawn: expected share of the draws that have it.
    """

    natural: float
    drawn: float


def draw_weights(targets: ArrayLike, task: TaskKind) -> Floats:
    """Probability of each sample in a balanced draw.

    Args:
        targets: (N, K) in {0, 1, NaN}.
        task: binary, multiclass or multilabel.

    Returns:
        (N,) float64, summing to 1; 0 for a sample of which nothing is known.

    Raises:
        DataError: no label is known.

    >>> draw_weights([[1], [0], [0], [0]], "binary").round(3).tolist()
    [0.5, 0.167, 0.167, 0.167]
    """
    values = _matrix(targets)
    if task == "multilabel":
        weights = _multilabel_weights(values)
    else:
        classes = np.hstack([values == 0, values == 1]) if task == "binary" else values == 1
        weights = classes.astype(np.float64) @ _inverse(classes.sum(axis=0))
    total = float(weights.sum())
    if not total > 0:
        raise DataError("data.sampler: balanced needs known labels, and no training sample has one")
    probabilities: Floats = weights / total
    return probabilities


def _multilabel_weights(values: Floats) -> Floats:
    has = values == 1
    inverse = _inverse(has.sum(axis=0))
    findings = has.sum(axis=1)
    weights: Floats = np.divide(has @ inverse, findings, out=np.zeros(len(values)), where=findings > 0)
    free = np.where(findings == 0, (values == 0).mean(axis=1), 0.0)
    if free.any() and weights.any():
        free *= weights.sum() / int((inverse > 0).sum()) / free.sum()
    weights += free
    return weights


def _inverse(counts: NDArray[np.intp]) -> Floats:
    return np.divide(1.0, counts, out=np.zeros(len(counts)), where=counts > 0)


def _matrix(targets: ArrayLike) -> Floats:
    values = np.asarray(targets, dtype=np.float64)
    assert values.ndim == 2, f"targets must be (N, K), not {values.shape}"
    return values


def expected_counts(targets: ArrayLike, weights: ArrayLike, kind: TaskKind) -> LabelCounts:
    """Label counts of N draws, in expectation.

    Args:
        targets: (N, K) in {0, 1, NaN}.
        weights: (N,) chances, up to a factor.
        kind: of the task. Multiclass: a row with any NaN is left out whole.

    >>> counts = expected_counts([[1], [0], [0], [0]], [3, 1, 1, 1], "binary")
    >>> counts.positives.tolist(), counts.negatives.tolist()
    ([2.0], [2.0])
    """
    values, chances = _matrix(targets), np.asarray(weights, dtype=np.float64)
    drawn = len(values) * chances / chances.sum()
    known = ~np.isnan(values)
    if kind == "multiclass":
        known &= known.all(axis=1, keepdims=True)
    return LabelCounts(kind, drawn @ ((values == 1) & known), drawn @ ((values == 0) & known))


def describe_draw(targets: ArrayLike, weights: ArrayLike, classes: Sequence[str]) -> dict[str, DrawShare]:
    """Share of samples, and of draws, that have each label, and that have none: everything that is drawn is counted.

    Args:
        targets: (N, K) in {0, 1, NaN}.
        weights: (N,) chances, up to a factor; all equal for plain sampling.
        classes: K names.

    Returns:
        Class name to shares, and last "(no finding)": no label known to be positive.

    >>> describe_draw([[1], [0], [0], [0]], [3, 1, 1, 1], ["mass"])["mass"]
    DrawShare(natural=0.25, drawn=0.5)
    """
    values, chances = _matrix(targets), np.asarray(weights, dtype=np.float64)
    chances = chances / chances.sum()
    has = values == 1
    columns = {**dict(zip(classes, has.T, strict=True)), NO_FINDING: ~has.any(axis=1)}
    return {name: DrawShare(float(column.mean()), float(chances @ column)) for name, column in columns.items()}
