"""Every figure of one class with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.metrics.calibration import Bins, Gaps, bin_edges, gaps_of, joined, make_bins
from osler.metrics.decision import SCORES
from osler.metrics.intervals import (
    FEWEST,
    ROUNDING,
    Codes,
    Interval,
    auc_interval,
    f1_interval,
    logit_interval,
    mean_interval,
    mover_interval,
    no_ranking,
    rate_interval,
    undefined,
)
from osler.metrics.proportion import student_quantile, wilson
from osler.metrics.ranking import Ranked, cluster_codes, placements, rank

__all__ = ["CLASS_FIGURES", "INFLUENCES", "RATES", "ClassView", "calibration_gaps", "class_intervals", "percentile_ends"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassView:
    """One class as its figures see it: the samples whose label is known.

    Attributes:
        rows: (n,) their row numbers in the split.
        labels: (n,) True for positive.
        values: (n,) probabilities.
        called: (n,) True where called positive; None where the class has no threshold.
        codes: (n,) patient numbers, or None where no patient has two samples.
        level: of the intervals.
        averages: (R,) AP of each resample, NaN where undefined.
        tables: (R, 2, 2) confusion counts of each resample.
    """

    rows: NDArray[np.intp]
    labels: NDArray[np.bool_]
    values: NDArray[np.floating[Any]]
    called: NDArray[np.bool_] | None
    codes: Codes | None
    level: float
    averages: Floats
    tables: Floats

    @cached_property
    def ranked(self) -> Ranked:
        """The scores, sorted."""
        return rank(self.labels, self.values)

    @property
    def patients(self) -> int | None:
        """Patients with a known label, or None where samples are independent."""
        return None if self.codes is None else len(np.unique(self.codes))

    @cached_property
    def table(self) -> NDArray[np.int64]:
        """(2, 2) counts [[tn, fp], [fn, tp]]."""
        counts = np.bincount(2 * self.labels + self.calls, minlength=4)
        return counts.reshape(2, 2).astype(np.int64)

    @property
    def calls(self) -> NDArray[np.bool_]:
        """`called`, where there is a threshold."""
        assert self.called is not None, "a class without a threshold calls nothing"
        return self.called

    @cached_property
    def bins(self) -> tuple[Bins, NDArray[np.intp]]:
        """Calibration bins, and (n,) the bin of each sample."""
        return make_bins(self.ranked), np.searchsorted(bin_edges(self.ranked), self.values, side="right")


def class_intervals(view: ClassView) -> dict[str, Interval]:
    """Every figure of `CLASS_FIGURES` for one class; those of a decision are undefined where there is no threshold."""
    return {name: figure(view) for name, figure in CLASS_FIGURES.items()}


def _auc_influence(view: ClassView) -> Floats:
    shares = placements(view.labels, view.values) - view.ranked.auc
    return np.asarray(shares / np.where(view.labels, view.labels.sum(), (~view.labels).sum()))


def _brier_influence(view: ClassView) -> Floats:
    squares = (view.labels - view.values.astype(np.float64)) ** 2
    return np.asarray((squares - squares.mean()) / len(squares))


INFLUENCES: dict[str, Callable[[ClassView], Floats]] = {
    "auc": _auc_influence,
    "brier": _brier_influence,
}
"""Figure that is smooth in the samples → (n,) how much each sample moves it, where it is defined.

The sum of squares by patient is the figure's variance (the infinitesimal jackknife); added over classes first, it gives that
of their mean, with all that classes of the same patients have in common."""


def _auc(view: ClassView) -> Interval:
    return auc_interval(view.labels, view.values, view.codes, view.level)


def _ap(view: ClassView) -> Interval:
    """AP with the bootstrap's standard error on the logit scale.

    From fewer than five positive patients, or at 1, Wilson's interval with the positives as its size (the binomial interval
    of Boyd, Eng and Page 2013).
    """
    reason = no_ranking(view.labels, view.values)
    if reason:
        return undefined(len(view.labels), reason, view.patients)
    value = view.ranked.average_precision
    positives = int(view.labels.sum()) if view.codes is None else len(np.unique(view.codes[view.labels]))
    known = view.averages[np.isfinite(view.averages)]
    error = float(known.std(ddof=1)) if len(known) > 1 else 0.0
    if positives < FEWEST or not 0 < value < 1 or error == 0:
        low, high = (float(end) for end in wilson(value * positives, positives, view.level))
        method = "Wilson, of the positives"
    else:
        low, high = logit_interval(value, student_quantile(view.level, positives - 1) * error)
        method = "bootstrap, logit" if view.codes is None else "bootstrap by patient, logit"
    return Interval(value, low, high, len(view.labels), method, view.patients)


def _brier(view: ClassView) -> Interval:
    return mean_interval((view.values.astype(np.float64) - view.labels) ** 2, view.codes, view.level)


def _ece(view: ClassView) -> Interval:
    """ECE less its bias; see `Gaps`. The interval is of all miscalibrations that explain the distances seen."""
    if not len(view.labels):
        return undefined(0, "no known label", view.patients)
    gaps = calibration_gaps([view])
    low, high = gaps.ends(view.level)
    method = "folded normal" if view.codes is None else "folded normal, clustered by patient"
    return Interval(gaps.ece(), low, high, len(view.labels), method, view.patients)


def calibration_gaps(views: Sequence[ClassView]) -> Gaps:
    """The calibration gaps of the mean over classes, with what samples of a patient and labels of a sample have in common.

    The design effects are ratios of sums of squared residuals: of patient and bin over sample, and of patient over patient
    and bin.
    """
    residuals, owners, cells, start = [], [], [], 0
    for view in views:
        sums, places = view.bins
        shares = sums.positives / sums.counts - sums.predicted / sums.counts
        errors = view.labels - view.values.astype(np.float64) - shares[places]
        residuals.append(errors / len(errors))
        owners.append(view.rows if view.codes is None else view.codes)
        cells.append(places + start)
        start += len(sums.counts)
    joint, owner = np.concatenate(residuals), np.concatenate(owners)
    pairs = cluster_codes(owner * start + np.concatenate(cells))
    squares = [float((part**2).sum()) for part in (joint, np.bincount(pairs, joint), np.bincount(owner, joint))]
    within = max(1.0, squares[1] / squares[0]) if squares[0] > 0 else 1.0
    across = max(1.0, squares[2] / squares[1]) if squares[1] > 0 else 1.0
    return joined([gaps_of(view.bins[0], within) for view in views], across)


@dataclass(frozen=True)
class _Rate:
    """A share of samples: which succeed, among which, and why there may be none."""

    success: Callable[[ClassView], NDArray[np.bool_]]
    among: Callable[[ClassView], NDArray[np.bool_]]
    reason: str

    def __call__(self, view: ClassView) -> Interval:
        if view.called is None:
            return _no_threshold(view)
        found = rate_interval(self.success(view), self.among(view), view.codes, view.level)
        return replace(found, reason=self.reason) if found.n == 0 else found


def _f1(view: ClassView) -> Interval:
    return _no_threshold(view) if view.called is None else f1_interval(view.labels, view.called, view.codes, view.level)


def _balanced_accuracy(view: ClassView) -> Interval:
    """Mean of sensitivity and specificity; each end from the ends of both, with their correlation within patients."""
    if view.called is None:
        return _no_threshold(view)
    first, second = RATES["sensitivity"](view), RATES["specificity"](view)
    value = (first.value + second.value) / 2
    if not math.isfinite(value):
        return undefined(len(view.labels), first.reason or second.reason or "", view.patients)
    low, high = mover_interval(value, lambda a, b: (a + b) / 2, first, second, _rates_correlation(view))
    method = f"square and add, {first.method}"
    return Interval(value, max(0.0, low), min(1.0, high), len(view.labels), method, view.patients)


def _rates_correlation(view: ClassView) -> float:
    """Of the errors of sensitivity and specificity, which the same patients may enter."""
    if view.codes is None:
        return 0.0
    right = np.asarray(view.calls == view.labels)
    sums = []
    for part in (view.labels, ~view.labels):
        residuals = np.where(part, right - right[part].mean(), 0.0)
        sums.append(np.bincount(view.codes, residuals))
    size = math.sqrt(float((sums[0] ** 2).sum() * (sums[1] ** 2).sum()))
    return float(sums[0] @ sums[1]) / size if size > 0 else 0.0


def _mcc(view: ClassView) -> Interval:
    """Percentiles of the bootstrap; where all resamples agree, from the ends of sensitivity and specificity."""
    if view.called is None:
        return _no_threshold(view)
    value = float(SCORES["mcc"](view.table))
    if not math.isfinite(value):
        reason = no_ranking(view.labels, view.values) or "all calls are alike"
        return undefined(len(view.labels), reason, view.patients)
    drawn = SCORES["mcc"](view.tables)
    low, high = percentile_ends(drawn, view.level)
    method = "bootstrap" if view.codes is None else "bootstrap by patient"
    if not high - low > ROUNDING:
        share = float(view.labels.mean())
        ends = mover_interval(
            value,
            lambda sensitivity, specificity: float(SCORES["mcc"](_shares(sensitivity, specificity, share))),
            RATES["sensitivity"](view),
            RATES["specificity"](view),
        )
        low, high, method = max(-1.0, ends[0]), min(1.0, ends[1]), "square and add, Wilson"
    return Interval(value, min(low, value), max(high, value), len(view.labels), method, view.patients)


def percentile_ends(replicates: Floats, level: float) -> tuple[float, float]:
    """Ends of the middle `level` of the replicates that are defined; NaN where none is."""
    known = replicates[np.isfinite(replicates)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _shares(sensitivity: float, specificity: float, prevalence: float) -> Floats:
    """(2, 2) confusion shares at these rates."""
    free, ill = 1 - prevalence, prevalence
    return np.array([[free * specificity, free * (1 - specificity)], [ill * (1 - sensitivity), ill * sensitivity]])


def _no_threshold(view: ClassView) -> Interval:
    reason = "the class has no threshold: where thresholds were chosen it had no positives, or no negatives"
    return undefined(len(view.labels), reason, view.patients)


RATES: dict[str, _Rate] = {
    "accuracy": _Rate(
        lambda view: np.asarray(view.calls == view.labels), lambda view: np.ones_like(view.labels), "no known label"
    ),
    "sensitivity": _Rate(lambda view: view.calls, lambda view: view.labels, "no positives"),
    "specificity": _Rate(lambda view: ~view.calls, lambda view: ~view.labels, "no negatives"),
    "precision": _Rate(lambda view: view.labels, lambda view: view.calls, "nothing was called positive"),
    "npv": _Rate(lambda view: ~view.labels, lambda view: ~view.calls, "nothing was called negative"),
}

CLASS_FIGURES: dict[str, Callable[[ClassView], Interval]] = {
    "auc": _auc,
    "ap": _ap,
    **RATES,
    "balanced_accuracy": _balanced_accuracy,
    "f1": _f1,
    "mcc": _mcc,
    "brier": _brier,
    "ece": _ece,
}
