"""Proof: what was drawn against what the weights say and against the samples themselves; everything drawn is counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.balance.draws import Draws
from osler.data.balance import NO_FINDING
from osler.data.load import Data
from osler.metrics.proportion import wilson

__all__ = ["ClassDraw", "Proof", "Variation", "prove", "variation"]

Floats = NDArray[np.float64]
SIMULATED = 4000
"""Draws that are simulated to see how far a coefficient of variation strays by chance."""
LEVEL = 0.95


@dataclass(frozen=True)
class Variation:
    """Coefficient of variation over some classes' shares: population SD over mean; 0 is even.

    Attributes:
        over: how many classes.
        natural: of the samples.
        expected: of the draws, by the weights.
        drawn: of the draws that were made.
        low: 95 % of as many draws by the same weights come out at this or more,
        high: and at this or less.
    """

    over: int
    natural: float
    expected: float
    drawn: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassDraw:
    """What was drawn of one class, or of the samples without any.

    Attributes:
        name: the class.
        samples: of train that have it.
        natural: their share.
        expected: share of the draws, by the weights.
        drawn, low, high: share of the draws made, and its 95 % interval.
        far: whether no chance explains the distance of what was drawn from what the weights say.
        times: how often one of its samples is drawn in an epoch, by the weights.
        batches_without: share of the batches made that hold none of it,
        batches_without_expected: by the weights,
        batches_without_natural: and drawn without weights.
    """

    name: str
    samples: int
    natural: float
    expected: float
    drawn: float
    low: float
    high: float
    far: bool
    times: float
    batches_without: float
    batches_without_expected: float
    batches_without_natural: float


@dataclass(frozen=True)
class Proof:
    """What some batches hold.

    Attributes:
        classes: every class; last, where a sample may have none, the samples without any.
        labels: how many of `classes` are classes by their own name.
        variation: over the labels.
        variation_all: over all that is drawn; None where that is the same.
        draws, batches, batch_size: how many; the size is that of a full batch.
        distinct: different samples among the draws.
        repeats: draws of a sample that was drawn before.
        most: draws of the sample that was drawn most often,
        most_id: and its id.
        epoch_share: share of the samples that one epoch sees, by the weights.
        unknown: share of the draws of which no label is known.
    """

    classes: tuple[ClassDraw, ...]
    labels: int
    variation: Variation
    variation_all: Variation | None
    draws: int
    batches: int
    batch_size: int
    distinct: int
    repeats: int
    most: int
    most_id: str
    epoch_share: float
    unknown: float

    @property
    def none(self) -> ClassDraw | None:
        """The samples without any class; None where every sample has one."""
        return self.classes[-1] if len(self.classes) > self.labels else None


def prove(data: Data, draws: Draws) -> Proof:
    """Counts draws of the train split, class by class."""
    names, labels, has = _columns(data)
    weights = data.draw_weights if data.draw_weights is not None else np.ones(draws.size)
    chances = weights / weights.sum()
    size = int(draws.batch_sizes.max())
    classes = _class_draws(names, has, chances, draws, size)
    counted = has[:, :labels] if labels > 1 else has  # one label alone is always even
    seen = np.bincount(draws.samples, minlength=draws.size)
    most = int(seen.argmax())
    unknown = np.asarray(np.isnan(data.targets("train")).all(axis=1), dtype=np.float64)
    return Proof(
        classes=classes,
        labels=labels,
        variation=_variation_of(counted, chances, draws),
        variation_all=_variation_of(has, chances, draws) if has.shape[1] > counted.shape[1] else None,
        draws=len(draws),
        batches=draws.batches,
        batch_size=size,
        distinct=int((seen > 0).sum()),
        repeats=len(draws) - int((seen > 0).sum()),
        most=int(seen[most]),
        most_id=str(data.source.ids[data.rows["train"][most]]),
        epoch_share=float(-np.expm1(draws.size * np.log1p(-np.minimum(chances, 1 - 1e-12))).mean()) if draws.weighted else 1.0,
        unknown=float(unknown[draws.samples].mean()),
    )


def _columns(data: Data) -> tuple[list[str], int, NDArray[np.bool_]]:
    """Names, how many of them are labels, and (n, C) whether a sample is counted under each."""
    has = data.targets("train") == 1
    source = data.source
    if source.task == "multiclass":
        return list(source.classes), len(source.classes), has
    name = source.negative if source.task == "binary" else NO_FINDING
    return [*source.classes, name], len(source.classes), np.column_stack([has, ~has.any(axis=1)])


def _class_draws(names: list[str], has: NDArray[np.bool_], chances: Floats, draws: Draws, size: int) -> tuple[ClassDraw, ...]:
    drawn_rows = has[draws.samples]
    drawn, natural, expected = drawn_rows.mean(axis=0), has.mean(axis=0), chances @ has
    low, high = wilson(drawn * draws.effective, np.full(len(names), draws.effective), LEVEL)
    # One in a thousand proofs of a right loader calls any of its classes far.
    least, largest = wilson(drawn * draws.effective, np.full(len(names), draws.effective), 1 - 0.001 / len(names))
    empty = (np.add.reduceat(drawn_rows.astype(np.int64), draws.starts) == 0).mean(axis=0)
    without = np.array([_without(n, draws.size * draws.each, size) for n in has.sum(axis=0) * draws.each])
    times = np.divide(draws.size * draws.each * expected, has.sum(axis=0), out=np.full(len(names), np.nan), where=has.any(axis=0))
    return tuple(
        ClassDraw(
            name=name,
            samples=int(has[:, k].sum()),
            natural=float(natural[k]),
            expected=float(expected[k]),
            drawn=float(drawn[k]),
            low=float(low[k]),
            high=float(high[k]),
            far=not least[k] - 1e-9 <= expected[k] <= largest[k] + 1e-9,
            times=float(times[k]),
            batches_without=float(empty[k]),
            batches_without_expected=float((1 - expected[k]) ** size) if draws.weighted else float(without[k]),
            batches_without_natural=float(without[k]),
        )
        for k, name in enumerate(names)
    )


def _without(positives: int, total: int, size: int) -> float:
    """The chance that `size` of `total`, drawn without replacement, hold none of the positives.

    >>> _without(1, 4, 2)
    0.5
    """
    taken = np.arange(min(size, total))
    return float(np.prod(np.maximum(total - positives - taken, 0) / (total - taken)))


def variation(shares: Floats) -> Floats:
    """Population SD over mean of the last axis; NaN where nothing is drawn.

    >>> round(float(variation(np.array([0.1, 0.3]))), 3)
    0.5
    """
    mean = shares.mean(axis=-1)
    spread: Floats = np.full(np.shape(mean), np.nan)
    np.divide(shares.std(axis=-1), mean, out=spread, where=mean > 0)
    return spread


def _variation_of(has: NDArray[np.bool_], chances: Floats, draws: Draws) -> Variation:
    """Of these columns, with where as many draws by the same weights would come out."""
    columns = has.astype(np.float64)
    expected = chances @ columns
    covariance = (columns * chances[:, None]).T @ columns - np.outer(expected, expected)
    values, vectors = np.linalg.eigh(covariance / draws.effective)
    noise = np.random.default_rng(0).standard_normal((SIMULATED, len(values))) * np.sqrt(np.maximum(values, 0))
    simulated = variation(np.maximum(expected + noise @ vectors.T, 0))
    tail = (1 - LEVEL) / 2
    return Variation(
        over=has.shape[1],
        natural=float(variation(columns.mean(axis=0))),
        expected=float(variation(expected)),
        drawn=float(variation(columns[draws.samples].mean(axis=0))),
        low=float(np.quantile(simulated, tail)),
        high=float(np.quantile(simulated, 1 - tail)),
    )
