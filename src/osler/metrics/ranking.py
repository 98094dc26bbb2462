"""Ranking figures: AUC, AP, their curves, DeLong's variance and paired test.

Everything here follows from one sort of the scores of each class: positives and negatives are sorted apart, and how many
negatives lie under each positive says the rest. `Ranked` holds that sort, so figures can share it.

Targets are in {0, 1, NaN}; NaN is unknown and left out. A figure that needs both labels is NaN where one is absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.metrics.proportion import normal_quantile, wilson

__all__ = [
    "Delong",
    "DelongTest",
    "PrCurve",
    "Ranked",
    "RocCurve",
    "auc",
    "aucs",
    "aucs_with_variances",
    "average_precision",
    "cluster_codes",
    "delong",
    "delong_test",
    "pr_curve",
    "rank",
    "roc_curve",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ranked:
    """The scores of one class, sorted.

    Attributes:
        positives: (n1,) scores of the positive samples, rising.
        negatives: (n0,) scores of the negative samples, rising.
    """

    positives: NDArray[np.floating[Any]]
    negatives: NDArray[np.floating[Any]]

    @cached_property
    def below(self) -> NDArray[np.intp]:
        """(n1,) negatives that score lower than each positive."""
        return np.searchsorted(self.negatives, self.positives, side="left")

    @cached_property
    def upto(self) -> NDArray[np.intp]:
        """(n1,) negatives that score no higher than each positive."""
        return np.searchsorted(self.negatives, self.positives, side="right")

    @cached_property
    def group_starts(self) -> NDArray[np.intp]:
        """(G,) index of the first of each run of equal positives."""
        first = np.ones(len(self.positives), dtype=bool)
        np.not_equal(self.positives[1:], self.positives[:-1], out=first[1:])
        return np.flatnonzero(first)

    @cached_property
    def everything(self) -> NDArray[np.floating[Any]]:
        """(n1 + n0,) all scores, rising."""
        # A stable sort merges two sorted runs in linear time.
        return np.sort(np.concatenate([self.negatives, self.positives]), kind="stable")

    @property
    def scored(self) -> bool:
        """Whether both labels occur and no score is NaN (NaN sorts last)."""
        parts = (self.positives, self.negatives)
        return all(len(part) > 0 and not np.isnan(part[-1]) for part in parts)

    @cached_property
    def auc(self) -> float:
        """Share of pairs of a positive and a negative in the right order, ties counted half; NaN where undefined."""
        if not self.scored:
            return float("nan")
        pairs = len(self.positives) * len(self.negatives)
        return float(int(self.below.sum()) + int(self.upto.sum())) / 2 / pairs

    @cached_property
    def average_precision(self) -> float:
        """Mean precision over the steps of recall; NaN where undefined."""
        if not self.scored:
            return float("nan")
        starts = self.group_starts
        true = len(self.positives) - starts
        false = len(self.negatives) - self.below[starts]
        steps = np.diff(starts, append=len(self.positives))
        return float((steps * (true / (true + false))).sum() / len(self.positives))

    @cached_property
    def placements(self) -> tuple[Floats, Floats]:
        """DeLong's structural components, in sorted order.

        (n1,): for each positive, the share of negatives under it. (n0,): for each negative, the share of positives above.
        """
        n1, n0 = len(self.positives), len(self.negatives)
        of_positives = (self.below + self.upto) / (2.0 * n0)
        # Positive i is no higher than negative j exactly when below[i] <= j, and lower exactly when upto[i] <= j.
        not_above = np.bincount(self.below, minlength=n0 + 1)[:n0] + np.bincount(self.upto, minlength=n0 + 1)[:n0]
        return of_positives, 1.0 - np.cumsum(not_above) / (2.0 * n1)

    @cached_property
    def variance_parts(self) -> tuple[float, float]:
        """What positives and negatives add to DeLong's variance; NaN where undefined or where a label has a single sample."""
        if not self.scored or min(len(self.positives), len(self.negatives)) < 2:
            return float("nan"), float("nan")
        of_positives, of_negatives = self.placements
        return float(of_positives.var(ddof=1) / len(of_positives)), float(of_negatives.var(ddof=1) / len(of_negatives))

    @property
    def auc_variance(self) -> float:
        """DeLong's variance of the AUC; NaN where undefined or where a label has a single sample."""
        return sum(self.variance_parts)


def rank(targets: ArrayLike, scores: ArrayLike) -> Ranked:
    """Sorts the scores of one class.

    Args:
        targets: (N,) in {0, 1, NaN}.
        scores: (N,) higher for positive; logits, probabilities or any other.
    """
    labels, values = np.asarray(targets), np.asarray(scores)
    assert labels.shape == values.shape, f"{labels.shape} targets for {values.shape} scores"
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    return Ranked(np.sort(values[labels == 1]), np.sort(values[labels == 0]))


def auc(targets: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve of one class; NaN where a label is absent or a score is NaN.

    Args:
        targets: (N,) in {0, 1, NaN}.
        scores: (N,).

    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return rank(targets, scores).auc


def average_precision(targets: ArrayLike, scores: ArrayLike) -> float:
    """Average precision of one class, without interpolation; NaN where a label is absent or a score is NaN.

    Args:
        targets: (N,) in {0, 1, NaN}.
        scores: (N,).

    >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    return rank(targets, scores).average_precision


def aucs(targets: ArrayLike, scores: ArrayLike) -> Floats:
    """(K,) AUC of each class; NaN where a label is absent.

    Args:
        targets: (N, K) in {0, 1, NaN}.
        scores: (N, K).

    >>> aucs([[0, 1], [1, 1]], [[0.2, 0.3], [0.9, 0.1]]).tolist()
    [1.0, nan]
    """
    return np.array([ranked.auc for ranked in _columns(targets, scores)])


def aucs_with_variances(targets: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    """(K,) AUC of each class and (K,) its variance after DeLong, DeLong and Clarke-Pearson (1988).

    The mid-rank form of Sun and Xu (2014) without the ranks: what a sort tells about each positive is also enough to count
    the positives above each negative.

    Args:
        targets: (N, K) in {0, 1, NaN}.
        scores: (N, K).
    """
    columns = _columns(targets, scores)
    return np.array([ranked.auc for ranked in columns]), np.array([ranked.auc_variance for ranked in columns])


@dataclass(frozen=True)
class Delong:
    """AUCs of M scores of the same samples, with their covariance.

    Attributes:
        aucs: (M,).
        covariance: (M, M); NaN where a label has fewer than two samples (or two patients).
        parts: (2, M) what positives and negatives add to each variance; with patients, what both share is left out.
        clusters: patients with a positive and patients with a negative sample; samples where patients were not given.
    """

    aucs: Floats
    covariance: Floats
    parts: Floats
    clusters: tuple[int, int]


def delong(targets: ArrayLike, scores: ArrayLike, patients: ArrayLike | None = None) -> Delong:
    """AUCs and their covariance for several scores of the same samples, by patient where patients are given.

    DeLong et al. (1988); with patients, Obuchowski (1997, Biometrics 53:567): the structural components are summed within
    each patient before they are squared, and a patient may have both positive and negative samples.

    Args:
        targets: (N,) in {0, 1, NaN}.
        scores: (N, M) one column a model.
        patients: (N,) ids of any kind; samples with the same id are one cluster.
    """
    labels, values = np.asarray(targets), np.asarray(scores)
    known = ~np.isnan(labels)
    labels, values = labels[known] == 1, values[known]
    codes = np.arange(len(labels)) if patients is None else cluster_codes(np.asarray(patients)[known])
    clusters = int(codes.max(initial=-1)) + 1
    n1, n0 = int(labels.sum()), int((~labels).sum())
    areas = np.full(values.shape[1], np.nan)
    of_positives, of_negatives = np.zeros((clusters, len(areas))), np.zeros((clusters, len(areas)))
    for column, score in enumerate(values.T):
        components = placements(labels, score)
        areas[column] = components[labels].mean() if n1 and n0 else np.nan
        centred = components - areas[column]
        of_positives[:, column] = np.bincount(codes[labels], centred[labels], clusters) / max(n1, 1)
        of_negatives[:, column] = np.bincount(codes[~labels], centred[~labels], clusters) / max(n0, 1)
    sizes = len(np.unique(codes[labels])), len(np.unique(codes[~labels]))
    first = _unbiased(sizes[0]) * (of_positives.T @ of_positives)
    second = _unbiased(sizes[1]) * (of_negatives.T @ of_negatives)
    cross = _unbiased(clusters) * (of_positives.T @ of_negatives)
    return Delong(areas, first + second + cross + cross.T, np.array([first.diagonal(), second.diagonal()]), sizes)


def placements(positive: NDArray[np.bool_], scores: NDArray[Any]) -> Floats:
    """(N,) for each positive the share of negatives under it, for each negative the share of positives above it.

    Args:
        positive: (N,) labels, all known.
        scores: (N,); where one is NaN, or a label is absent, all components are NaN.
    """
    components = np.full(len(scores), np.nan)
    ones, zeros = np.flatnonzero(positive), np.flatnonzero(~positive)
    ones, zeros = ones[np.argsort(scores[ones])], zeros[np.argsort(scores[zeros])]
    ranked = Ranked(scores[ones], scores[zeros])
    if ranked.scored:
        components[ones], components[zeros] = ranked.placements
    return components


@dataclass(frozen=True)
class DelongTest:
    """The difference of two AUCs of the same samples.

    Attributes:
        difference: first AUC minus second.
        low: lower end of its interval.
        high: upper end.
        z: difference over its standard error; NaN where that is 0.
        p: two-sided p value; 1 where the scores rank all samples alike; NaN where the error is 0 otherwise.
    """

    difference: float
    low: float
    high: float
    z: float
    p: float


def delong_test(
    targets: ArrayLike, first: ArrayLike, second: ArrayLike, patients: ArrayLike | None = None, level: float = 0.95
) -> DelongTest:
    """Paired test and interval of the difference between two AUCs of the same samples (DeLong et al. 1988, eq. 7).

    Where both AUCs are 0 or 1 their variance is 0 and says nothing; the interval then comes from the largest variance that each
    could have, A (1 - A) / min(n1, n0) (Van Dantzig 1951), by Wilson and Newcombe (1998).

    Args:
        targets: (N,) in {0, 1, NaN}.
        first: (N,) scores of one model.
        second: (N,) scores of the other.
        patients: (N,) ids; samples of one patient are taken as one cluster.
        level: of the interval.

    >>> delong_test([0, 0, 1, 1, 0, 1], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]).p
    1.0
    """
    found = delong(targets, np.column_stack([first, second]), patients)
    difference = float(found.aucs[0] - found.aucs[1])
    variance = float(found.covariance[0, 0] + found.covariance[1, 1] - 2 * found.covariance[0, 1])
    if not variance < 1e-15:
        error = variance**0.5
        half = normal_quantile(level) * error
        z = difference / error
        p = 2 * NormalDist().cdf(-abs(z)) if z == z else float("nan")
        return DelongTest(difference, difference - half, difference + half, z, p)
    # Under 1e-15 there is rounding only: the rankings are the same, or both too far apart for their variance to be seen.
    if difference == 0.0:
        return DelongTest(0.0, 0.0, 0.0, float("nan"), 1.0)
    lows, highs = wilson(found.aucs * min(found.clusters), np.full(2, min(found.clusters)), level)
    below = float(np.hypot(found.aucs[0] - lows[0], highs[1] - found.aucs[1]))
    above = float(np.hypot(highs[0] - found.aucs[0], found.aucs[1] - lows[1]))
    return DelongTest(difference, difference - below, difference + above, float("nan"), float("nan"))


@dataclass(frozen=True)
class RocCurve:
    """Points of a ROC curve from (0, 0) to (1, 1), one for each distinct score; empty where undefined.

    Attributes:
        false_positive_rate: (T,) rising.
        true_positive_rate: (T,) rising.
        thresholds: (T,) falling, first infinite; a sample is called positive where its score is no lower.
    """

    false_positive_rate: Floats
    true_positive_rate: Floats
    thresholds: Floats


def roc_curve(targets: ArrayLike, scores: ArrayLike) -> RocCurve:
    """The ROC curve of one class; empty where a label is absent.

    >>> roc_curve([0, 1, 1], [0.2, 0.2, 0.9]).true_positive_rate.tolist()
    [0.0, 0.5, 1.0]
    """
    ranked = rank(targets, scores)
    if not ranked.scored:
        return RocCurve(np.empty(0), np.empty(0), np.empty(0))
    thresholds, true, false = _calls(ranked)
    return RocCurve(
        np.concatenate([[0.0], false / len(ranked.negatives)]),
        np.concatenate([[0.0], true / len(ranked.positives)]),
        np.concatenate([[np.inf], thresholds]),
    )


@dataclass(frozen=True)
class PrCurve:
    """Points of a precision-recall curve, one for each distinct score; empty where undefined.

    Attributes:
        recall: (T,) rising to 1.
        precision: (T,).
        thresholds: (T,) falling.
    """

    recall: Floats
    precision: Floats
    thresholds: Floats


def pr_curve(targets: ArrayLike, scores: ArrayLike) -> PrCurve:
    """The precision-recall curve of one class; empty where a label is absent.

    >>> pr_curve([0, 1, 1], [0.2, 0.2, 0.9]).precision.round(3).tolist()
    [1.0, 0.667]
    """
    ranked = rank(targets, scores)
    if not ranked.scored:
        return PrCurve(np.empty(0), np.empty(0), np.empty(0))
    thresholds, true, false = _calls(ranked)
    return PrCurve(true / len(ranked.positives), true / (true + false), thresholds)


def cluster_codes(patients: ArrayLike) -> NDArray[np.intp]:
    """(N,) numbers 0 ... P-1, equal where the ids are.

    >>> cluster_codes(["b", "a", "b"]).tolist()
    [1, 0, 1]
    """
    return np.unique(np.asarray(patients), return_inverse=True)[1].astype(np.intp)


def _columns(targets: ArrayLike, scores: ArrayLike) -> list[Ranked]:
    labels, values = np.asarray(targets), np.asarray(scores)
    assert labels.ndim == 2, f"targets must be (N, K), not {labels.shape}"
    assert labels.shape == values.shape, f"{labels.shape} targets for {values.shape} scores"
    return [rank(labels[:, column], values[:, column]) for column in range(labels.shape[1])]


def _calls(ranked: Ranked) -> tuple[Floats, NDArray[np.intp], NDArray[np.intp]]:
    """(T,) distinct scores, falling, and the true and false positives when everything from there up is called."""
    thresholds = np.unique(ranked.everything)[::-1].astype(np.float64)
    true = len(ranked.positives) - np.searchsorted(ranked.positives, thresholds, side="left")
    false = len(ranked.negatives) - np.searchsorted(ranked.negatives, thresholds, side="left")
    return thresholds, true, false


def _unbiased(clusters: int) -> float:
    return clusters / (clusters - 1) if clusters > 1 else float("nan")
