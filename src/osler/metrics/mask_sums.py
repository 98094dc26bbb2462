"""Sums from which every figure of masks follows: by patient, or by case where patients are unknown.

Overlap and ranking of pixels are functions of summed histograms of levels; means over cases, lesions and alarms of a
summed numerator and denominator. A resample of patients is then a weighing of these sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.metrics.cases import CaseTable
from osler.metrics.lesions import LEAST
from osler.metrics.overlap import OVERLAPS, pixel_ap, pixel_auc
from osler.metrics.ranking import cluster_codes

__all__ = ["CASE_FIGURES", "PIXEL_FIGURES", "ClassMasks", "Units", "class_masks", "share_of", "unit_values", "units_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Units:
    """What is drawn together: patients, or cases where patients are unknown.

    Attributes:
        codes: (N,) number of each case's unit.
        names: (U,) of the units.
        word: "patient" or "case".
    """

    codes: NDArray[np.intp]
    names: NDArray[np.str_]
    word: str

    def sums(self, values: NDArray[Any]) -> Floats:
        """(U, ...) sums over the cases of each unit."""
        found = np.zeros((len(self.names), *values.shape[1:]))
        np.add.at(found, self.codes, values)
        return found


def units_of(ids: ArrayLike, patients: ArrayLike | None) -> Units:
    """The units of N cases.

    >>> units_of(["a", "b", "c"], ["q", "p", "q"]).codes.tolist()
    [1, 0, 1]
    """
    names = np.asarray(ids if patients is None else patients, dtype=np.str_)
    codes = np.arange(len(names)) if patients is None else cluster_codes(names)
    return Units(codes, names if patients is None else np.unique(names), "case" if patients is None else "patient")


def _of_counts(score: Callable[[NDArray[Any]], Floats]) -> Callable[[NDArray[Any], NDArray[Any]], Floats]:
    return lambda pixels, counts: score(counts)


PIXEL_FIGURES: dict[str, Callable[[NDArray[Any], NDArray[Any]], Floats]] = {
    **{name: _of_counts(score) for name, score in OVERLAPS.items()},
    "auc": lambda pixels, counts: pixel_auc(pixels),
    "ap": lambda pixels, counts: pixel_ap(pixels),
}
"""Figure → of pooled histograms (..., 2, 256) and of pooled counts (..., 4) at the threshold."""

CASE_FIGURES = (
    *(f"{name}_case" for name in OVERLAPS),
    "lesion_sensitivity",
    "false_positives_per_image",
    "hd95",
    "surface_dice",
    "false_alarms",
    "empty_predictions",
)
"""Figures that are a sum over a count: means over the cases with foreground of each case's own score; lesions found; false
alarms an image; distances; the share of cases without foreground in which some is predicted; of all cases with none predicted."""


@dataclass(frozen=True)
class ClassMasks:
    """One class as its figures see it.

    Attributes:
        level: threshold.
        pixels: (U, 2, 256) histograms of each unit.
        counts: (U, 4) pixels of each unit at the threshold.
        ratios: (U, F, 2) numerator and denominator of each of `CASE_FIGURES`; NaN where not measured.
        cases: with a known pixel.
        filled: (U,) whether the unit has foreground.
    """

    level: int
    pixels: Floats
    counts: Floats
    ratios: Floats
    cases: int
    filled: NDArray[np.bool_]


def class_masks(table: CaseTable, k: int, units: Units) -> ClassMasks:
    """The sums of one class at the table's threshold."""
    return ClassMasks(
        level=int(table.thresholds[k]),
        pixels=units.sums(table.histograms[:, k]),
        counts=units.sums(table.at_thresholds.counts[:, k]),
        ratios=units.sums(_ratios(table, k)),
        cases=int((table.at_thresholds.known[:, k] > 0).sum()),
        filled=units.sums(table.at_thresholds.foreground[:, k]) > 0,
    )


def _ratios(table: CaseTable, k: int) -> Floats:
    """(N, F, 2) what each case adds to the numerator and denominator of `CASE_FIGURES`."""
    counts = table.at_thresholds
    known, filled, called = counts.known[:, k] > 0, counts.foreground[:, k] > 0, counts.called[:, k] > 0
    parts: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {
        f"{name}_case": _where_known(score(counts.counts[:, k]), filled) for name, score in OVERLAPS.items()
    }
    parts["false_alarms"] = known & ~filled & called, known & ~filled
    parts["empty_predictions"] = known & ~called, known
    if table.lesions is not None and table.calls is not None:
        size = len(table)
        lesions, calls = table.lesions[table.lesions[:, 1] == k], table.calls[table.calls[:, 1] == k]
        found, false = lesions[:, 3] >= LEAST, calls[:, 3] < LEAST
        parts["lesion_sensitivity"] = _per_case(lesions[found, 0], size), _per_case(lesions[:, 0], size)
        parts["false_positives_per_image"] = _per_case(calls[false, 0], size), known
    if table.hd95 is not None and table.surface_dice is not None:
        parts["hd95"] = _where_known(table.hd95[:, k], table.in_unit)
        parts["surface_dice"] = _where_known(table.surface_dice[:, k], table.in_unit)
    nothing = np.full(len(table), np.nan), np.full(len(table), np.nan)
    return np.stack([np.stack(parts.get(name, nothing), axis=-1) for name in CASE_FIGURES], axis=1).astype(np.float64)


def _where_known(values: NDArray[Any], asked: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    known = asked & np.isfinite(values)
    return np.where(known, values, 0.0), known


def _per_case(rows: NDArray[np.int64], size: int) -> NDArray[np.intp]:
    return np.bincount(rows, minlength=size)


def share_of(ratios: Floats) -> Floats:
    """(...) of (..., 2); NaN where the denominator is 0 or unknown."""
    found = np.full(ratios.shape[:-1], np.nan)
    np.divide(ratios[..., 0], ratios[..., 1], out=found, where=ratios[..., 1] > 0)
    return found


def unit_values(view: ClassMasks) -> dict[str, Floats]:
    """(U,) every figure of each unit alone."""
    values = {name: figure(view.pixels, view.counts) for name, figure in PIXEL_FIGURES.items()}
    return values | dict(zip(CASE_FIGURES, share_of(view.ratios).T, strict=True))
