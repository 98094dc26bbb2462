"""The figures of masks with their sampling error, as `evaluation.json` holds them.

A patient is drawn as a whole, or a case where patients are unknown. From fewer than five with anything to say no interval is
made, and each one's own figures stand in its place: an interval from so few would be too narrow or say nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.files import strict_json
from osler.metrics.bootstrap import resample
from osler.metrics.cases import CaseTable
from osler.metrics.intervals import FEWEST, ROUNDING, Interval, logit_interval, rate_interval, undefined
from osler.metrics.lesions import LEAST
from osler.metrics.mask_sums import (
    CASE_FIGURES,
    PIXEL_FIGURES,
    ClassMasks,
    Units,
    class_masks,
    share_of,
    unit_values,
    units_of,
)
from osler.metrics.mask_vitals import UNDEFINED, UNMEASURED
from osler.metrics.overlap import OVERLAPS, binning_errors, probability_at
from osler.metrics.proportion import student_quantile, wilson

__all__ = ["MASK_FIGURES", "MOST_LISTED", "summarise_masks"]

Floats = NDArray[np.float64]
Figures = dict[str, Any]

MASK_FIGURES = (*PIXEL_FIGURES, *CASE_FIGURES)
"""Every figure that has an interval."""
MOST_LISTED = 12
"""Patients, or cases, up to which each one's own figures are listed."""
AMOUNTS = ("false_positives_per_image", "hd95")
"""Figures that may exceed 1."""
SHARES = ("lesion_sensitivity", "false_alarms", "empty_predictions")
"""Figures that are a share of things that are, or are not."""
CASE_REASONS = {
    **{f"{name}_case": "no case with foreground" for name in OVERLAPS},
    "precision_case": "no case with foreground both true and predicted",
    **{name: UNDEFINED[name] for name in ("lesion_sensitivity", "false_positives_per_image", "hd95", "surface_dice")},
    "false_alarms": "no case without foreground",
    "empty_predictions": "no case with a known pixel",
}


def summarise_masks(
    table: CaseTable,
    classes: Sequence[str],
    ids: ArrayLike,
    patients: ArrayLike | None = None,
    level: float = 0.95,
    bootstrap: int = 1000,
    seed: int = 0,
) -> Figures:
    """The figures of a split as `evaluation.json` holds them, strict JSON: call it on a part for a subgroup.

    Args:
        table: of N cases.
        classes: K names.
        ids: (N,) of the cases.
        patients: (N,) or None where they are unknown and cases are taken as independent.
        level: of the intervals.
        bootstrap: resamples.
        seed: of the resamples.

    Returns:
        n, patients, unit (what was drawn), overall (pixels of all classes), macro (with classes_scored, those that have a
        Dice), classes, not_scored, and `per_unit` where units are few.
    """
    units = units_of(ids, patients)
    assert len(units.codes) == len(table), f"{len(units.codes)} ids for {len(table)} cases"
    sampling = Sampling(units, level)
    views = [class_masks(table, k, units) for k in range(len(classes))]
    drawn = _draw(views, len(units.names), bootstrap, seed)
    intervals = {
        name: _class_intervals(view, drawn, k, sampling) for k, (name, view) in enumerate(zip(classes, views, strict=True))
    }
    reasons = {name: found["dice"].reason for name, found in intervals.items() if math.isnan(found["dice"].value)}
    figures: Figures = {
        "n": len(table),
        "patients": sampling.patients,
        "unit": units.word,
        "overall": _entries(_overall_intervals(views, sampling, bootstrap, seed)),
        "macro": {"classes_scored": len(classes) - len(reasons), **_entries(_macro_intervals(intervals, drawn, sampling))},
        "classes": {name: {**_facts(table, k, views[k]), **_entries(intervals[name])} for k, name in enumerate(classes)},
        "not_scored": reasons,
    }
    if len(units.names) <= MOST_LISTED:
        figures["per_unit"] = _per_unit(views, classes, units)
    return dict(strict_json(figures))


def _facts(table: CaseTable, k: int, view: ClassMasks) -> Figures:
    """What is known of a class besides figures with intervals."""
    counts, pixels = table.at_thresholds, view.pixels.sum(axis=0)
    true, false, missed, rest = (int(value) for value in view.counts.sum(axis=0))
    known, filled = counts.known[:, k] > 0, counts.foreground[:, k] > 0
    empty, total = known & ~filled, max(true + false + missed + rest, 1)
    auc_error, ap_error = binning_errors(pixels)
    facts: Figures = {
        "positives": true + missed,
        "threshold": float(probability_at(view.level)),
        "confusion": [[rest, false], [missed, true]],
        "foreground": {"true": (true + missed) / total, "predicted": (true + false) / total},
        "cases": {
            "n": int(known.sum()),
            "with_foreground": int(filled.sum()),
            "missed_altogether": int((filled & (counts.called[:, k] == 0)).sum()),
            "empty": int(empty.sum()),
            "empty_with_false_alarm": int((empty & (counts.called[:, k] > 0)).sum()),
            "false_positive_pixels_in_empty": int(counts.called[empty, k].sum()),
        },
        "binning": {"auc_error": auc_error, "ap_error": ap_error},
    }
    if table.lesions is not None and table.calls is not None:
        lesions, calls = table.lesions[table.lesions[:, 1] == k], table.calls[table.calls[:, 1] == k]
        found, false_calls = int((lesions[:, 3] >= LEAST).sum()), int((calls[:, 3] < LEAST).sum())
        facts["lesions"] = {
            "n": len(lesions),
            "found": found,
            "calls": len(calls),
            "false_calls": false_calls,
            "least_pixels": LEAST,
        }
    if table.hd95 is not None:
        facts["distances"] = {"unit": table.distances_unit, "tolerance": table.tolerance, "cases": int(table.in_unit.sum())}
    return facts


def _per_unit(views: Sequence[ClassMasks], classes: Sequence[str], units: Units) -> Figures:
    """Each patient's (or case's) own figures, by class; null where undefined."""
    values = [unit_values(view) for view in views]
    return {
        str(unit): {
            "cases": int((units.codes == number).sum()),
            "classes": {name: {figure: values[k][figure][number] for figure in MASK_FIGURES} for k, name in enumerate(classes)},
        }
        for number, unit in enumerate(units.names)
    }


def _entries(figures: Mapping[str, Interval]) -> Figures:
    return {name: figure.to_json() for name, figure in figures.items()}


# --- intervals --------------------------------------------------------------------------------------------------------------


Drawn = Mapping[str, Floats]
"""Every figure of every class in each resample: name → (R, K)."""


def _draw(views: Sequence[ClassMasks], units: int, bootstraps: int, seed: int) -> Drawn:
    figures = {name: np.full((bootstraps, len(views)), np.nan) for name in MASK_FIGURES}
    start = 0
    for block in resample(units, bootstraps, seed) if units else ():
        weights = block.T.astype(np.float64)
        part = slice(start, start + len(weights))
        for k, view in enumerate(views):
            pixels = (weights @ view.pixels.reshape(units, -1)).reshape(-1, *view.pixels.shape[1:])
            counts = weights @ view.counts
            ratios = (weights @ view.ratios.reshape(units, -1)).reshape(-1, *view.ratios.shape[1:])
            for name, figure in PIXEL_FIGURES.items():
                figures[name][part, k] = figure(pixels, counts)
            for column, name in enumerate(CASE_FIGURES):
                figures[name][part, k] = share_of(ratios[:, column])
        start = part.stop
    return figures


@dataclass(frozen=True)
class Sampling:
    """How an interval is made.

    Attributes:
        units: what was drawn.
        level: of the interval.
    """

    units: Units
    level: float

    @property
    def patients(self) -> int | None:
        """How many, where they are known."""
        return len(self.units.names) if self.units.word == "patient" else None

    def interval(self, name: str, value: float, draws: Floats, telling: int, n: int) -> Interval:
        """A figure with the bootstrap's error and Student's quantile: on the logit scale within (0, 1).

        At 0 and 1, and where all resamples agree, Wilson's interval of the units; of an amount of 0, Poisson's bound.

        Args:
            name: of the figure.
            value: of all units; finite.
            draws: (R,) of the resamples.
            telling: units that have anything to say about it.
            n: cases that it is taken over.
        """
        known = draws[np.isfinite(draws)]
        error = float(known.std(ddof=1)) if len(known) > 1 else 0.0
        if telling < FEWEST:
            return self.without_interval(value, n, telling)
        # A resample's variance is that of the units around their own mean, which is closer to them than the truth is.
        reach = student_quantile(self.level, telling - 1) * error * math.sqrt(telling / (telling - 1))
        method = f"bootstrap by {self.units.word}"
        if name in AMOUNTS:
            low, high = max(0.0, value - reach), value + reach
            if value == 0 and name == "false_positives_per_image":
                high, method = -math.log((1 - self.level) / 2) / telling, f"Poisson, by {self.units.word}"
            elif reach < ROUNDING:
                low, high, method = math.nan, math.nan, "none"
        elif not 0 < value < 1 or error < ROUNDING:
            low, high = (float(end) for end in wilson(value * telling, telling, self.level))
            method = f"Wilson, of the {self.units.word}s"
        else:
            low, high = logit_interval(value, reach)
            method += ", logit"
        reason = "all cases are alike: no spread to take an interval from" if math.isnan(low) else None
        return Interval(value, low, high, n, method, self.patients, reason)

    def without_interval(self, value: float, n: int, telling: int) -> Interval:
        """A figure of so few units that their spread says nothing."""
        word = self.units.word if telling == 1 else f"{self.units.word}s"
        reason = f"{telling} {word} to take an interval from, fewer than {FEWEST}: see each one's own"
        return Interval(value, math.nan, math.nan, n, "none", self.patients, reason)

    def share(self, found: Floats, among: Floats, n: int) -> Interval:
        """Wilson's interval of a share, clustered by unit; `found` of `among` (U,) in each."""
        telling = int((among > 0).sum())
        if telling < FEWEST:
            return self.without_interval(float(found.sum() / among.sum()), n, telling)
        counts = np.stack([found, among - found], axis=1).round().astype(np.intp)
        codes = np.repeat(np.arange(len(among)), counts.sum(axis=1))
        success = np.repeat(np.tile([True, False], len(among)), counts.ravel())
        got = rate_interval(success, np.ones_like(success), codes, self.level)
        method = got.method.replace("patient", self.units.word)
        return replace(got, method=method, n=n, n_patients=self.patients)


def _class_intervals(view: ClassMasks, drawn: Drawn, k: int, sampling: Sampling) -> dict[str, Interval]:
    """Every figure of one class."""
    pixels, counts, sums = view.pixels.sum(axis=0), view.counts.sum(axis=0), view.ratios.sum(axis=0)
    everyone = view.pixels.sum(axis=(1, 2)) > 0
    found: dict[str, Interval] = {}
    for name, figure in PIXEL_FIGURES.items():
        value = float(figure(pixels, counts))
        telling = int((everyone if name == "accuracy" else view.filled).sum())
        found[name] = (
            undefined(view.cases, UNDEFINED[name], sampling.patients)
            if math.isnan(value)
            else sampling.interval(name, value, drawn[name][:, k], telling, view.cases)
        )
    for column, name in enumerate(CASE_FIGURES):
        part, whole = view.ratios[:, column, 0], view.ratios[:, column, 1]
        if not sums[column, 1] > 0:
            reason = UNMEASURED if np.isnan(sums[column, 1]) else CASE_REASONS[name]
            found[name] = undefined(0, reason, sampling.patients)
        elif name in SHARES:
            found[name] = sampling.share(part, whole, int(sums[column, 1]))
        else:
            value, telling = float(part.sum() / whole.sum()), int((whole > 0).sum())
            found[name] = sampling.interval(name, value, drawn[name][:, k], telling, int(sums[column, 1]))
    return found


def _macro_intervals(classes: Mapping[str, dict[str, Interval]], drawn: Drawn, sampling: Sampling) -> dict[str, Interval]:
    """Each figure's mean over the classes where it is defined; a single class is its own mean."""
    if len(classes) == 1:
        return dict(next(iter(classes.values())))
    means = {}
    for name in MASK_FIGURES:
        parts = [figures[name] for figures in classes.values()]
        scored = [k for k, part in enumerate(parts) if math.isfinite(part.value)]
        n = max((part.n for part in parts), default=0)
        if not scored:
            means[name] = undefined(n, "undefined for every class", sampling.patients)
            continue
        value = math.fsum(parts[k].value for k in scored) / len(scored)
        unsure = next((parts[k] for k in scored if math.isnan(parts[k].low)), None)
        if unsure is not None:
            mean = Interval(value, math.nan, math.nan, n, "none", sampling.patients, unsure.reason)
        else:
            known = np.isfinite(drawn[name][:, scored])
            draws = _mean_of_known(drawn[name][:, scored], known)
            mean = sampling.interval(name, value, draws, len(sampling.units.names), n)
        left_out = [label for k, label in enumerate(classes) if k not in scored]
        note = f"mean over {len(scored)} of {len(parts)} classes; undefined for {', '.join(left_out)}" if left_out else None
        means[name] = replace(mean, reason="; ".join(text for text in (mean.reason, note) if text) or None)
    return means


def _mean_of_known(values: Floats, known: NDArray[np.bool_]) -> Floats:
    """(R,) mean over the classes that are defined in each resample; NaN where none is."""
    means = np.full(len(values), np.nan)
    np.divide(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1), out=means, where=known.any(axis=1))
    return means


def _overall_intervals(views: Sequence[ClassMasks], sampling: Sampling, bootstraps: int, seed: int) -> dict[str, Interval]:
    """Overlap of the pixels of all classes together."""
    counts = np.sum([view.counts for view in views], axis=0)
    units = len(counts)
    sums = [block.T.astype(np.float64) @ counts for block in (resample(units, bootstraps, seed) if units else ())]
    draws = np.concatenate(sums) if sums else np.empty((0, 4))
    telling = int((counts[:, 0] + counts[:, 2] > 0).sum())
    cases = max((view.cases for view in views), default=0)
    found = {}
    for name, score in OVERLAPS.items():
        value = float(score(counts.sum(axis=0)))
        found[name] = (
            undefined(cases, UNDEFINED[name], sampling.patients)
            if math.isnan(value)
            else sampling.interval(name, value, score(draws), units if name == "accuracy" else telling, cases)
        )
    return found
