"""Figures with their sampling error: what is measured, how sure it is, and by which method.

Where a patient has one sample: DeLong on the logit scale for AUC, Wilson for rates. Where patients have several, samples of
one patient say less than as many strangers, and the methods sum over patients first. An AUC of 0 or 1, or one from fewer than
five positives or negatives, gets the widest interval that any distribution could need, never one of zero width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.metrics.proportion import effective_size, student_quantile, wilson
from osler.metrics.ranking import cluster_codes, delong, rank

__all__ = [
    "FEWEST",
    "ROUNDING",
    "Codes",
    "Interval",
    "auc_interval",
    "f1_interval",
    "hanley_mcneil_se",
    "logit_interval",
    "mean_interval",
    "mover_interval",
    "no_ranking",
    "patients_of",
    "rate_interval",
    "standard_error",
    "undefined",
]

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]

# With fewer positives (or negatives) than this, no variance is estimated from them.
FEWEST = 5
# Ends this close differ by rounding only.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Interval:
    """A figure and the interval around it.

    Attributes:
        value: the figure; NaN where undefined.
        low: lower end; NaN where undefined.
        high: upper end; NaN where undefined.
        n: samples that the figure is taken over: for a sensitivity the positives, for an AUC all with a known label.
        method: how the interval was made.
        n_patients: patients among them, where some have several samples.
        reason: why the figure is undefined, or what limits it.
    """

    value: float
    low: float
    high: float
    n: int
    method: str
    n_patients: int | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry of `evaluation.json`: NaN as None, and no key without content.

        >>> undefined(0, "no positives").to_json()
        {'value': None, 'low': None, 'high': None, 'n': 0, 'method': 'none', 'reason': 'no positives'}
        """
        ends = {name: _number(getattr(self, name)) for name in ("value", "low", "high")}
        entry: dict[str, Any] = {**ends, "n": self.n, "method": self.method}
        if self.n_patients is not None:
            entry["n_patients"] = self.n_patients
        if self.reason is not None:
            entry["reason"] = self.reason
        return entry


def undefined(n: int, reason: str, n_patients: int | None = None) -> Interval:
    """A figure that does not exist, and why."""
    return Interval(math.nan, math.nan, math.nan, n, "none", n_patients, reason)


def patients_of(patients: ArrayLike | None) -> Codes | None:
    """(N,) patient numbers, or None where no patient has a second sample: then samples are independent.

    >>> patients_of(["a", "b", "c"]) is None
    True
    """
    if patients is None:
        return None
    codes = cluster_codes(patients)
    return codes if len(codes) and int(codes.max()) + 1 < len(codes) else None


def rate_interval(success: NDArray[np.bool_], among: NDArray[np.bool_], codes: Codes | None, level: float = 0.95) -> Interval:
    """Share of successes among some of the samples, with Wilson's interval.

    With several samples a patient, Wilson's interval of the effective number of samples (`effective_size`).

    Args:
        success: (N,) counted only within `among`.
        among: (N,) the samples that the rate is taken over.
        codes: (N,) patient numbers, or None.
        level: of the interval.
    """
    size, found = int(among.sum()), int((success & among).sum())
    patients = None if codes is None else len(np.unique(codes[among]))
    if size == 0:
        return undefined(0, "no sample to take it over", patients)
    if codes is None or patients == size:
        low, high = wilson(found, size, level)
        return Interval(found / size, float(low), float(high), size, "Wilson", patients)
    groups = int(codes.max()) + 1
    totals, sums = np.bincount(codes[among], minlength=groups), np.bincount(codes[among & success], minlength=groups)
    effective = effective_size(sums, totals, level)
    low, high = wilson(found / size * effective, effective, level)
    return Interval(found / size, float(low), float(high), size, "Wilson, clustered by patient", patients)


def f1_interval(labels: NDArray[np.bool_], called: NDArray[np.bool_], codes: Codes | None, level: float = 0.95) -> Interval:
    """F1, with the interval of the Jaccard index J, a plain share, carried over by F1 = 2 J / (1 + J).

    Lam, Gopal and Qian (2023), arXiv 2309.14621, "Wilson indirect".

    Args:
        labels: (N,) known labels.
        called: (N,) calls.
        codes: (N,) patient numbers, or None.
        level: of the interval.
    """
    share = rate_interval(labels & called, labels | called, codes, level)
    if not math.isfinite(share.value):
        return replace(share, reason="no positives, and none called")
    value, low, high = (2 * j / (1 + j) for j in (share.value, share.low, share.high))
    return replace(share, value=value, low=low, high=high, method=f"{share.method}, of the Jaccard index")


def mover_interval(
    value: float, function: Callable[[float, float], float], first: Interval, second: Interval, correlation: float = 0.0
) -> tuple[float, float]:
    """Interval of a function that rises with two rates, from the rates' own (MOVER, Zou and Donner 2008; square and add).

    Each end is reached by moving one rate at a time to its end and adding the squares of what that changes.

    Args:
        value: of the function at the rates themselves.
        function: of the two rates.
        first: interval of the first rate.
        second: interval of the second.
        correlation: of the two rates' errors; 0 where they are of different patients.
    """
    ends = []
    for sign, a, b in ((-1, first.low, second.low), (1, first.high, second.high)):
        moves = abs(function(a, second.value) - value), abs(function(first.value, b) - value)
        squares = moves[0] ** 2 + moves[1] ** 2 + 2 * correlation * moves[0] * moves[1]
        ends.append(value + sign * math.sqrt(max(squares, 0.0)))
    return ends[0], ends[1]


def mean_interval(values: Floats, codes: Codes | None, level: float = 0.95) -> Interval:
    """Mean of figures in [0, 1], with Student's interval, by patient where codes are given; not below 0 nor above 1.

    Figures that are all alike show no spread; they get Wilson's interval, since none in [0, 1] spread more than a share.

    Args:
        values: (N,) one a sample, finite.
        codes: (N,) patient numbers, or None.
        level: of the interval.
    """
    size = len(values)
    clusters = size if codes is None else len(np.unique(codes))
    patients = None if codes is None else clusters
    if size == 0:
        return undefined(0, "no known label", patients)
    value = float(values.mean())
    if clusters < 2:
        return Interval(value, 0.0, 1.0, size, "whole range", patients, "a single sample or patient has no spread")
    half = student_quantile(level, clusters - 1) * standard_error((values - value) / size, codes)
    if half < ROUNDING:
        low, high = (float(end) for end in wilson(value * clusters, clusters, level))
        return Interval(value, low, high, size, "Wilson of the largest variance", patients)
    method = "Student" if codes is None else "Student, clustered by patient"
    return Interval(value, max(0.0, value - half), min(1.0, value + half), size, method, patients)


def standard_error(influence: Floats, codes: Codes | None) -> float:
    """Root of the sum of squares of what each sample, or each patient, adds to a figure; NaN for a single one.

    Args:
        influence: (N,) how much each sample moves the figure; their sum is 0.
        codes: (N,) patient numbers, or None.

    >>> round(standard_error(np.array([0.5, -0.5]) / 2, None), 4)
    0.5
    """
    sums = influence if codes is None else np.bincount(codes, influence)
    clusters = len(sums) if codes is None else len(np.unique(codes))
    return math.sqrt(float((sums**2).sum()) * clusters / (clusters - 1)) if clusters > 1 else math.nan


def auc_interval(targets: ArrayLike, scores: ArrayLike, codes: Codes | None = None, level: float = 0.95) -> Interval:
    """AUC with its interval.

    DeLong's variance on the logit scale, or Obuchowski's (1997) where patients have several samples, with Student's quantile
    of Satterthwaite's degrees of freedom, as Brunner and Munzel (2000) use it for the same statistic: the rarer label decides
    how well the variance is known. From fewer than five patients with either label, and at 0 or 1, the bound of
    `bounded_auc_interval`.

    Args:
        targets: (N,) in {0, 1, NaN}.
        scores: (N,).
        codes: (N,) patient numbers, or None.
        level: of the interval.
    """
    labels = np.asarray(targets)
    known = ~np.isnan(labels)
    labels, values = labels[known], np.asarray(scores)[known]
    codes = None if codes is None else codes[known]
    size, patients = len(labels), None if codes is None else len(np.unique(codes))
    reason = no_ranking(labels, values)
    if reason:
        return undefined(size, reason, patients)
    if codes is None:
        ranked = rank(labels, values)
        value, parts, variance = ranked.auc, ranked.variance_parts, ranked.auc_variance
        sizes = len(ranked.positives), len(ranked.negatives)
    else:
        found = delong(labels, values[:, None], codes)
        value, variance, sizes = float(found.aucs[0]), float(found.covariance[0, 0]), found.clusters
        parts = float(found.parts[0, 0]), float(found.parts[1, 0])
    if min(sizes) < FEWEST or not 0 < value < 1 or not variance > 0:
        return replace(_bounded_auc(value, min(sizes), level), n=size, n_patients=patients)
    half = student_quantile(level, _satterthwaite(parts, sizes))
    low, high = logit_interval(value, half * math.sqrt(variance))
    return Interval(value, low, high, size, "DeLong, logit" if codes is None else "Obuchowski, logit", patients)


def _bounded_auc(value: float, fewest: int, level: float) -> Interval:
    """The interval that the largest variance allows: no two distributions give more than A (1 - A) / min(n1, n0).

    Van Dantzig (1951), Birnbaum and Klose (1957). That is a share's variance, so Wilson's interval holds for it.
    """
    low, high = wilson(value * fewest, fewest, level)
    return Interval(value, float(low), float(high), 0, "Wilson of the largest variance, A (1 - A) / min(n1, n0)")


def hanley_mcneil_se(auc: ArrayLike, positives: ArrayLike, negatives: ArrayLike) -> Floats:
    """Standard error of an AUC from the counts alone (Hanley and McNeil 1982, eq. 1 and 2); NaN where a label is absent.

    For logs that hold a figure and no scores. At 0.5 it is the exact null error's sqrt((n1 + n0 + 1) / (12 n1 n0)).

    >>> float(hanley_mcneil_se(0.5, 20, 380).round(3))
    0.066
    """
    area = np.asarray(auc, dtype=np.float64)
    n1, n0 = np.asarray(positives, dtype=np.float64), np.asarray(negatives, dtype=np.float64)
    both, either = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (n1 - 1) * (both - area**2) + (n0 - 1) * (either - area**2)
    variance = np.full(np.broadcast(area, n1, n0).shape, np.nan)
    np.divide(spread, n1 * n0, out=variance, where=n1 * n0 > 0)
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))


def logit_interval(value: float, half: float) -> tuple[float, float]:
    """Ends of value ± half, taken on the logit scale so that they stay within (0, 1).

    Args:
        value: within (0, 1).
        half: half-width on the scale of `value`.

    >>> [round(end, 3) for end in logit_interval(0.9, 0.05)]
    [0.838, 0.94]
    """
    step = half / (value * (1 - value))
    centre = math.log(value / (1 - value))
    return _sigmoid(centre - step), _sigmoid(centre + step)


def _satterthwaite(parts: tuple[float, float], sizes: tuple[int, int]) -> float:
    """Degrees of freedom of a sum of two variances."""
    below = sum(part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True))
    return sum(parts) ** 2 / below if below > 0 else float(min(sizes) - 1)


def no_ranking(labels: NDArray[Any], values: NDArray[Any]) -> str | None:
    """Why there is no AUC or AP, or None."""
    if not len(labels):
        return "no known label"
    if np.isnan(values).any():
        return "a probability is NaN"
    if not (labels == 1).any():
        return "no positives"
    return None if (labels == 0).any() else "no negatives"


def _sigmoid(x: float) -> float:
    return 0.5 * (1.0 + math.tanh(0.5 * x))


def _number(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None
