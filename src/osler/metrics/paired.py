"""Paired differences: two ways to train, measured on the same patients, once or with several seeds.

A figure is kept with what each patient moves it by (its influence; Efron and Stein 1981). For an AUC these are DeLong's
components, summed by patient as Obuchowski (1997) does; for a mean the distances from it; for a balanced accuracy those of its
two rates. The difference of two figures then has the differences of influences, whose squares add up to its variance, however
strongly the two agree on each patient.

With several seeds the patients are the same and the trainings differ. The variance of the mean difference is that over patients,
of influences averaged over seeds, plus that between seeds; the quantile is Student's, of Satterthwaite's degrees of freedom.
Both parts hold what patients and seeds have in common, so that the interval is a little too wide rather than too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.metrics.intervals import FEWEST, Interval, undefined
from osler.metrics.proportion import student_quantile, wilson
from osler.metrics.ranking import placements

__all__ = [
    "Influence",
    "PairedDifference",
    "auc_influence",
    "f1_influence",
    "mean_influence",
    "paired_difference",
    "rates_influence",
]

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]

# Below this a variance is rounding.
NOTHING = 1e-15
POWER_QUANTILE = 0.8416
"""Standard errors beyond the interval's half-width at which four experiments of five succeed."""


@dataclass(frozen=True)
class Influence:
    """A figure in [0, 1], or a skill, and what each patient moves it by.

    Attributes:
        value: NaN where undefined.
        moves: (P,) of each patient, scaled so that their squares add up to the figure's variance without bias.
        fewest: patients of the rarer kind: with a positive, or without one; of a mean all.
        reason: why the figure is undefined.
    """

    value: float
    moves: Floats
    fewest: int
    reason: str | None = None


@dataclass(frozen=True)
class PairedDifference:
    """First figure less second, on the same patients.

    Attributes:
        value: NaN where undefined.
        low, high: its interval.
        p: two-sided p value that the difference is 0; NaN where undefined.
        level: of the interval.
        n_patients: patients measured.
        fewest: patients of the rarer kind.
        seeds: pairs of trainings.
        error: its standard error; NaN where undefined.
        reason: why it is undefined, or what limits it.
    """

    value: float
    low: float
    high: float
    p: float
    level: float
    n_patients: int
    fewest: int
    seeds: int
    error: float
    reason: str | None = None

    @property
    def interval(self) -> Interval:
        """The same as an interval, for tables."""
        if not math.isfinite(self.value):
            return undefined(self.n_patients, self.reason or "undefined")
        method = "paired, by patient" + (f" and over {self.seeds} seeds" if self.seeds > 1 else "")
        return Interval(self.value, self.low, self.high, self.n_patients, method, self.n_patients, self.reason)

    def needs(self, worth: float) -> int:
        """About how many patients of the rarer kind would show a difference of this size in four of five experiments.

        Args:
            worth: above 0, in the figure's unit.
        """
        if not (math.isfinite(self.error) and self.error > 0):
            return FEWEST
        steps = student_quantile(self.level, 1e6) + POWER_QUANTILE
        return max(FEWEST, math.ceil(self.fewest * (steps * self.error / worth) ** 2))


def auc_influence(targets: ArrayLike, scores: ArrayLike, codes: Codes) -> Influence:
    """Mean AUC over the classes that have both labels, with DeLong's components by patient.

    Args:
        targets: (N, K) in {0, 1, NaN}.
        scores: (N, K).
        codes: (N,) patient numbers 0 ... P - 1.

    >>> auc_influence([[0], [0], [1], [1]], [[0.1], [0.4], [0.35], [0.8]], np.arange(4)).value
    0.75
    """
    labels, values = np.asarray(targets, dtype=np.float64), np.asarray(scores)
    parts = [_class_auc(labels[:, k], values[:, k], codes) for k in range(labels.shape[1])]
    return _mean_of(parts, codes, "no class has both labels")


def _class_auc(labels: Floats, scores: NDArray[Any], codes: Codes) -> Influence | None:
    known = ~np.isnan(labels)
    positive = labels[known] == 1
    if not positive.any() or positive.all():
        return None
    components = placements(positive, scores[known])
    value = float(components[positive].mean())
    if math.isnan(value):
        return None
    return _of_groups([positive, ~positive], components - value, codes[known], int(codes.max()) + 1, value)


def rates_influence(targets: ArrayLike, called: ArrayLike, codes: Codes) -> Influence:
    """Mean balanced accuracy, (sensitivity + specificity) / 2, over the classes that have both labels.

    Args:
        targets: (N, K) in {0, 1, NaN}.
        called: (N, K) booleans.
        codes: (N,) patient numbers.

    >>> rates_influence([[0], [0], [1], [1]], [[False], [True], [True], [True]], np.arange(4)).value
    0.75
    """
    labels, calls = np.asarray(targets, dtype=np.float64), np.asarray(called, dtype=bool)
    parts = [_class_rates(labels[:, k], calls[:, k], codes) for k in range(labels.shape[1])]
    return _mean_of(parts, codes, "no class has both labels")


def _class_rates(labels: Floats, calls: NDArray[np.bool_], codes: Codes) -> Influence | None:
    ones, zeros = labels == 1, labels == 0
    if not ones.any() or not zeros.any():
        return None
    right = np.where(ones, calls, ~calls).astype(np.float64)
    rates = right[ones].mean(), right[zeros].mean()
    centred = 0.5 * (right - np.where(ones, *rates))
    return _of_groups([ones, zeros], centred, codes, int(codes.max()) + 1, float(sum(rates)) / 2)


def f1_influence(targets: ArrayLike, called: ArrayLike, codes: Codes) -> Influence:
    """Mean F1 over the classes that have positives, by the delta method of a ratio.

    Args:
        targets: (N, K) in {0, 1, NaN}.
        called: (N, K) booleans.
        codes: (N,) patient numbers.

    >>> f1_influence([[0], [0], [1], [1]], [[False], [True], [True], [True]], np.arange(4)).value
    0.8
    """
    labels, calls = np.asarray(targets, dtype=np.float64), np.asarray(called, dtype=bool)
    parts = [_class_f1(labels[:, k], calls[:, k], codes) for k in range(labels.shape[1])]
    return _mean_of(parts, codes, "no class has positives")


def _class_f1(labels: Floats, calls: NDArray[np.bool_], codes: Codes) -> Influence | None:
    ones, clusters = labels == 1, int(codes.max()) + 1
    if not ones.any():
        return None
    calls = calls & ~np.isnan(labels)
    true, either = 2.0 * (ones & calls), ones.astype(np.float64) + calls
    value = float(true.sum() / either.sum())
    patients = len(np.unique(codes))
    unbiased = math.sqrt(patients / (patients - 1)) if patients > 1 else 1.0
    moves = unbiased * np.bincount(codes, true - value * either, clusters) / either.sum()
    return Influence(value, moves, len(np.unique(codes[ones])))


def mean_influence(values: ArrayLike, codes: Codes) -> Influence:
    """The mean of one value a sample; NaN values are left out.

    Args:
        values: (N,).
        codes: (N,) patient numbers.

    >>> mean_influence([0.0, 1.0, float("nan")], np.arange(3)).value
    0.5
    """
    numbers = np.asarray(values, dtype=np.float64)
    known = np.isfinite(numbers)
    if not known.any():
        return Influence(math.nan, np.zeros(int(codes.max(initial=-1)) + 1), 0, "no sample has a value")
    value = float(numbers[known].mean())
    return _of_groups([known], np.where(known, numbers - value, 0.0), codes, int(codes.max()) + 1, value)


def _of_groups(groups: Sequence[NDArray[np.bool_]], centred: Floats, codes: Codes, clusters: int, value: float) -> Influence:
    """The influence of a sum of means, one of each group of samples."""
    moves, sizes = np.zeros(clusters), []
    for group in groups:
        patients = len(np.unique(codes[group]))
        unbiased = math.sqrt(patients / (patients - 1)) if patients > 1 else 1.0
        moves += unbiased * np.bincount(codes[group], centred[group], clusters) / group.sum()
        sizes.append(patients)
    return Influence(value, moves, min(sizes))


def _mean_of(parts: Sequence[Influence | None], codes: Codes, reason: str) -> Influence:
    known = [part for part in parts if part is not None]
    if not known:
        return Influence(math.nan, np.zeros(int(codes.max(initial=-1)) + 1), 0, reason)
    moves = np.mean([part.moves for part in known], axis=0)
    fewest = round(float(np.mean([part.fewest for part in known])))
    return Influence(float(np.mean([part.value for part in known])), moves, fewest)


def paired_difference(first: Sequence[Influence], second: Sequence[Influence], level: float = 0.95) -> PairedDifference:
    """First less second over S pairs of trainings, with an interval over patients and, where S > 1, over seeds.

    Args:
        first: S figures of the same patients, one a seed.
        second: S others, of the same patients and, pair by pair, the same seeds.
        level: of the interval.

    >>> ones, others = mean_influence([1.0, 0.5], np.arange(2)), mean_influence([0.5, 0.0], np.arange(2))
    >>> paired_difference([ones], [others]).value
    0.5
    """
    assert len(first) == len(second) > 0, f"{len(first)} figures against {len(second)}"
    sizes = {len(one.moves) for one in (*first, *second)}
    assert len(sizes) == 1, f"the figures are of different patients: {sorted(sizes)}"
    clusters, fewest = sizes.pop(), min(one.fewest for one in (*first, *second))
    about: dict[str, Any] = {"level": level, "n_patients": clusters, "fewest": fewest, "seeds": len(first)}
    reason = next((one.reason for one in (*first, *second) if not math.isfinite(one.value)), None)
    if reason is not None:
        return PairedDifference(math.nan, math.nan, math.nan, math.nan, error=math.nan, reason=reason, **about)
    differences = np.array([one.value - other.value for one, other in zip(first, second, strict=True)])
    moves = np.mean([one.moves - other.moves for one, other in zip(first, second, strict=True)], axis=0)
    parts = [float((moves**2).sum())]
    freedoms = [max(fewest - 1, 1)]
    if len(first) > 1:
        parts.append(float(differences.var(ddof=1)) / len(first))
        freedoms.append(len(first) - 1)
    value, variance = float(differences.mean()), sum(parts)
    if variance < NOTHING:
        return _without_variance(value, first, second, about)
    error = math.sqrt(variance)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in zip(parts, freedoms, strict=True))
    half = student_quantile(level, freedom) * error
    limit = None if fewest >= FEWEST else f"{fewest} patients of the rarer kind: too few for their variance to be known"
    return PairedDifference(
        value, value - half, value + half, _two_sided(value / error, freedom), error=error, reason=limit, **about
    )


def _without_variance(
    value: float, first: Sequence[Influence], second: Sequence[Influence], about: dict[str, Any]
) -> PairedDifference:
    """Where no patient moves the difference: it is 0, or both figures are at their ends and their variance says nothing.

    Then the interval is Newcombe's (1998) of two shares of the rarer kind, and the p value that of a sign test on them.
    """
    if value == 0.0:
        return PairedDifference(0.0, 0.0, 0.0, 1.0, error=0.0, reason="both say the same of every patient", **about)
    one, other = (float(np.clip(np.mean([part.value for part in side]), 0.0, 1.0)) for side in (first, second))
    fewest = max(about["fewest"], 1)
    (low1, low2), (high1, high2) = wilson(np.array([one, other]) * fewest, np.full(2, fewest), about["level"])
    below, above = math.hypot(one - low1, high2 - other), math.hypot(high1 - one, other - low2)
    p = min(1.0, 2 * 0.5**fewest)
    error = max(below, above) / student_quantile(about["level"], 1e6)
    return PairedDifference(value, value - below, value + above, p, error=error, reason="no spread among patients", **about)


def _two_sided(t: float, freedom: float) -> float:
    from scipy.special import stdtr

    return float(2 * stdtr(freedom, -abs(t)))
