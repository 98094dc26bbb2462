"""Samplers: how often each training sample is drawn, and what is seen then.

A draw is with replacement. What counts as a class:

* binary: the positives and the negatives;
* multiclass: each class;
* multilabel, and the classes that masks hold: each label, and the samples without any finding as one class more.

A class has a weight that falls with its count: 1 / n (`inverse`, `balanced`), 1 / sqrt(n) (`sqrt`), or one over the effective
number of samples, (1 - beta) / (1 - beta^n) (`effective_number`; Cui et al. 2019, eq. 3). A sample weighs the mean, maximum or
sum of the weights of its findings. `balanced` is `inverse` by the mean, but the samples without a finding share 1 / (K + 1) of
all draws between them, K being the labels that occur. That share is set outright, not left to follow from a weight: a stated
weight of 0.01 for them beside inverse counts of 0.00007 to 0.006 once made 98 % of all draws "no finding", which no figure over
the labels alone shows. `osler balance` counts everything that is drawn.

A sample of which nothing is known is never drawn: it adds nothing to the loss. In a multilabel row, what is unknown counts
as no finding in so far as the rest is known to be negative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.data.samples import TaskKind
from osler.errors import ConfigError, DataError, lookup
from osler.metrics.weights import Kind, LabelCounts

__all__ = [
    "NO_FINDING",
    "STRATEGIES",
    "DrawSettings",
    "DrawShare",
    "Reduce",
    "describe_draw",
    "draw_weights",
    "expected_counts",
]

Floats = NDArray[np.float64]
Reduce = Literal["mean", "max", "sum"]
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


@dataclass(frozen=True)
class DrawSettings:
    """What strategies read besides the labels.

    Attributes:
        reduce: how the class weights of a sample's findings become its own; `balanced` takes the mean.
        no_finding: weight of a sample without any finding, beside class weights of the strategy's own size; None: that of a class
            of their count. `balanced` reads none.
        beta: of `effective_number`, from 0 (every sample the same) to below 1 (towards 1 / n).
    """

    reduce: Reduce = "mean"
    no_finding: float | None = None
    beta: float = 0.9999


# --- weights ----------------------------------------------------------------------------------------------------------------

STRATEGIES: dict[str, Callable[[Floats, float], Floats]] = {
    "balanced": lambda counts, _: 1 / counts,
    "inverse": lambda counts, _: 1 / counts,
    "sqrt": lambda counts, _: 1 / np.sqrt(counts),
    "effective_number": lambda counts, beta: (1 - beta) / -np.expm1(counts * np.log(beta)) if beta else np.ones(len(counts)),
}
"""The weight of classes by their counts, all above 0, and beta."""

REDUCTIONS: dict[str, Callable[[Floats, NDArray[np.bool_]], Floats]] = {
    "mean": lambda weights, has: (has @ weights) / np.maximum(has.sum(axis=1), 1),
    "max": lambda weights, has: (has * weights).max(axis=1, initial=0.0),
    "sum": lambda weights, has: has @ weights,
}
"""The weight of each sample by those of its findings; 0 without any."""


def draw_weights(targets: ArrayLike, task: TaskKind, strategy: str = "balanced", settings: DrawSettings | None = None) -> Floats:
    """Probability of each sample in a draw.

    Args:
        targets: (N, K) in {0, 1, NaN}; of masks, whether a class occurs.
        task: binary, multiclass, multilabel or segmentation.
        strategy: a name of `STRATEGIES`.
        settings: what it reads besides; None: as they usually are.

    Returns:
        (N,) float64, summing to 1; 0 for a sample of which nothing is known.

    Raises:
        DataError: no label is known.
        ConfigError: a weight for no finding where every sample has a class.

    >>> draw_weights([[1], [0], [0], [0]], "binary").round(3).tolist()
    [0.5, 0.167, 0.167, 0.167]
    >>> draw_weights([[1], [0], [0], [0]], "binary", "sqrt").round(3).tolist()
    [0.366, 0.211, 0.211, 0.211]
    """
    weigh, settings = lookup(STRATEGIES, strategy, "data.sampler"), settings or DrawSettings()
    values = _matrix(targets)
    has = values == 1
    known = ~np.isnan(values)
    if task == "multiclass":
        if settings.no_finding is not None:
            raise ConfigError("data.no_finding_weight: every sample of a multiclass set has a class; leave it out (null)")
        free = np.zeros(len(values))
    else:
        free = np.where(has.any(axis=1), 0.0, known.mean(axis=1))
    weights = _finding_weights(has, weigh, "mean" if strategy == "balanced" else settings.reduce, settings.beta)
    weights += free * _free_weight(strategy, weigh, free, weights, has, settings)
    total = float(weights.sum())
    if not total > 0:
        raise DataError(f"data.sampler: {strategy} needs known labels, and no training sample has one that may be drawn")
    probabilities: Floats = weights / total
    return probabilities


def _finding_weights(has: NDArray[np.bool_], weigh: Callable[[Floats, float], Floats], reduce: str, beta: float) -> Floats:
    """(N,) weight of each sample by its findings."""
    counts = has.sum(axis=0).astype(np.float64)
    class_weights = np.zeros(len(counts))
    class_weights[counts > 0] = weigh(counts[counts > 0], beta)
    return REDUCTIONS[reduce](class_weights, has)


def _free_weight(
    strategy: str,
    weigh: Callable[[Floats, float], Floats],
    free: Floats,
    weights: Floats,
    has: NDArray[np.bool_],
    settings: DrawSettings,
) -> float:
    """Weight of a sample that is wholly known to have no finding; `free` (N,) is how far each is known so."""
    count = float(free.sum())
    if count == 0 or not weights.any():
        return 1.0
    if strategy == "balanced":
        return float(weights.sum()) / int(has.any(axis=0).sum()) / count
    return float(weigh(np.array([count]), settings.beta)[0]) if settings.no_finding is None else settings.no_finding


def _matrix(targets: ArrayLike) -> Floats:
    values = np.asarray(targets, dtype=np.float64)
    assert values.ndim == 2, f"targets must be (N, K), not {values.shape}"
    return values


# --- what is drawn ----------------------------------------------------------------------------------------------------------


def expected_counts(targets: ArrayLike, weights: ArrayLike, kind: Kind) -> LabelCounts:
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
