"""Means over classes with their intervals: classes of the same patients err together, and the intervals say so."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.metrics.class_figures import CLASS_FIGURES, INFLUENCES, ClassView, calibration_gaps, percentile_ends
from osler.metrics.decision import SCORES
from osler.metrics.intervals import ROUNDING, Codes, Interval, logit_interval, standard_error, undefined
from osler.metrics.proportion import normal_quantile

__all__ = ["ClassSet", "macro_intervals", "mean_of_known"]

Floats = NDArray[np.float64]
Ends = tuple[float, float, str]


@dataclass(frozen=True)
class ClassSet:
    """All classes of a split.

    Attributes:
        names: K names.
        views: K classes.
        figures: K results of `class_intervals`.
        codes: (N,) patient numbers of all samples, or None where no patient has two.
        size: N.
        level: of the intervals.
    """

    names: Sequence[str]
    views: Sequence[ClassView]
    figures: Sequence[dict[str, Interval]]
    codes: Codes | None
    size: int
    level: float

    def parts(self, name: str) -> list[Interval]:
        """The figure of each class where it is defined."""
        return [figures[name] for figures in self.figures if math.isfinite(figures[name].value)]

    def views_of(self, name: str) -> list[ClassView]:
        """The classes where the figure is defined."""
        pairs = zip(self.views, self.figures, strict=True)
        return [view for view, figures in pairs if math.isfinite(figures[name].value)]


def mean_of_known(values: Sequence[float]) -> tuple[float, int]:
    """Mean of the figures that are defined, and how many are; NaN, 0 where none is.

    >>> mean_of_known([0.5, float("nan"), 0.75])
    (0.625, 2)
    """
    known = [value for value in values if math.isfinite(value)]
    return (math.fsum(known) / len(known) if known else math.nan), len(known)


def macro_intervals(classes: ClassSet) -> dict[str, Interval]:
    """Each figure's mean over the classes where it is defined, named where it is not; a single class is its own mean."""
    if len(classes.figures) == 1:
        return dict(classes.figures[0])
    patients = None if classes.codes is None else len(np.unique(classes.codes))
    means = {}
    for name in CLASS_FIGURES:
        value, scored = mean_of_known([figures[name].value for figures in classes.figures])
        if not scored:
            means[name] = undefined(classes.size, "undefined for every class", patients)
            continue
        low, high, method = MACRO_ENDS[name](classes, name, value)
        if not high - low > ROUNDING:
            # Each class's own interval is never empty, and the mean of their ends is too wide rather than too narrow.
            low, high = (float(np.mean([getattr(part, end) for part in classes.parts(name)])) for end in ("low", "high"))
            method = "mean of the classes' intervals"
        means[name] = Interval(value, low, high, classes.size, method, patients, _left_out(classes, name))
    return means


def _left_out(classes: ClassSet, name: str) -> str | None:
    pairs = zip(classes.names, classes.figures, strict=True)
    missing = [label for label, figures in pairs if not math.isfinite(figures[name].value)]
    scored = len(classes.names) - len(missing)
    return f"mean over {scored} of {len(classes.names)} classes; undefined for {', '.join(missing)}" if missing else None


def _joint_error(classes: ClassSet, name: str) -> float:
    """Standard error of the mean over classes: each patient's influences on all of them are added before they are squared."""
    views = classes.views_of(name)
    moves = np.zeros(classes.size)
    for view in views:
        moves[view.rows] += INFLUENCES[name](view) / len(views)
    return standard_error(moves, classes.codes)


def _auc_ends(classes: ClassSet, name: str, value: float) -> Ends:
    """On the logit scale; a class whose variance cannot be estimated adds the half-width of its own interval."""
    parts, step = classes.parts(name), normal_quantile(classes.level)
    unsure = [(part.high - part.low) / (2 * step * len(parts)) for part in parts if part.method.startswith("Wilson")]
    error = math.hypot(_joint_error(classes, name), *unsure)
    if not 0 < value < 1:
        return math.nan, math.nan, ""
    method = "DeLong over classes, logit" if classes.codes is None else "Obuchowski over classes, logit"
    return *logit_interval(value, step * error), method


def _mean_ends(classes: ClassSet, name: str, value: float) -> Ends:
    half = normal_quantile(classes.level) * _joint_error(classes, name)
    method = "influence over classes" if classes.codes is None else "influence over classes, by patient"
    return max(0.0, value - half), min(1.0, value + half), method


def _ece_ends(classes: ClassSet, name: str, value: float) -> Ends:
    low, high = calibration_gaps(classes.views_of(name)).ends(classes.level)
    method = "folded normal over classes" if classes.codes is None else "folded normal over classes, clustered by patient"
    return min(low, value), max(high, value), method


def _ap_ends(classes: ClassSet, name: str, value: float) -> Ends:
    drawn = _mean_of_resamples([view.averages for view in classes.views_of(name)])
    known = drawn[np.isfinite(drawn)]
    if not 0 < value < 1 or len(known) < 2:
        return math.nan, math.nan, ""
    ends = logit_interval(value, normal_quantile(classes.level) * float(known.std(ddof=1)))
    return *ends, _bootstrap_name(classes) + ", logit"


def _score_ends(classes: ClassSet, name: str, value: float) -> Ends:
    drawn = _mean_of_resamples([SCORES[name](view.tables) for view in classes.views_of(name)])
    low, high = percentile_ends(drawn, classes.level)
    return min(low, value), max(high, value), _bootstrap_name(classes)


def _bootstrap_name(classes: ClassSet) -> str:
    return "bootstrap" if classes.codes is None else "bootstrap by patient"


def _mean_of_resamples(replicates: Sequence[Floats]) -> Floats:
    """(R,) mean over the classes that are defined in each resample; NaN where none is."""
    table = np.stack(replicates, axis=1)
    known = np.isfinite(table)
    means = np.full(len(table), np.nan)
    np.divide(np.where(known, table, 0.0).sum(axis=1), known.sum(axis=1), out=means, where=known.any(axis=1))
    return means


MACRO_ENDS: dict[str, Callable[[ClassSet, str, float], Ends]] = {
    "auc": _auc_ends,
    "ap": _ap_ends,
    "brier": _mean_ends,
    "ece": _ece_ends,
    **dict.fromkeys(SCORES, _score_ends),
}
