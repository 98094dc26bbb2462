"""Cases: what is kept of each predicted mask, so that every figure of a split follows without its pixels.

    case = measure_case(levels, truth, thresholds, spacing)    # one image; safe in threads
    table = CaseTable.of(cases, thresholds)                    # a split
    table.counts()                                             # at the thresholds; .counts(other) at any others

While weights move, counts alone are kept (`PixelCounts`): they cost nothing beside the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.metrics.lesions import match_lesions
from osler.metrics.overlap import IGNORED, LEVELS, counts_at, histogram, level_probabilities, one_class
from osler.metrics.surface import TOLERANCE, surface_figures

__all__ = ["Case", "CaseTable", "PixelCounts", "measure_case"]

Counts = NDArray[np.int64]
Distances = NDArray[np.float32]
Planes = NDArray[np.uint8]
Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class Case:
    """One image's masks against the true ones; what is None was not measured.

    Attributes:
        histograms: (K, 2, 256) known pixels by truth and level.
        lesions: (L, 4) class, then `lesions.LESION_COLUMNS`, of every true lesion.
        calls: (M, 3) class, then `lesions.CALL_COLUMNS`, of every predicted component.
        hd95: (K,) in millimetres, or pixels where `spacing` is NaN; NaN where either mask is empty.
        surface_dice: (K,) within `surface.TOLERANCE`; NaN where the true mask is empty.
        spacing: (2,) height and width of a pixel in millimetres, NaN where unknown.
        counts: (K, 4) as `PixelCounts.counts`, of exclusive classes, which may hide one another; of others they follow from the
            histograms.
    """

    histograms: NDArray[np.uint32]
    lesions: Counts | None
    calls: Counts | None
    hd95: Distances | None
    surface_dice: Distances | None
    spacing: Distances
    counts: Counts | None = None


def measure_case(
    levels: Planes,
    truth: Planes,
    thresholds: ArrayLike,
    spacing: Sequence[float] | None = None,
    *,
    exclusive: bool = False,
    lesions: bool = True,
    surfaces: bool = True,
) -> Case:
    """Compares the masks of one image.

    Args:
        levels: (K, H, W) logit levels of each class's probability (`overlap.level_of` of `overlap.class_logits`).
        truth: (K, H, W) in {0, 1, IGNORED}.
        thresholds: (K,) levels; a pixel is called at or above.
        spacing: height and width of a pixel in millimetres, as it lies in these planes; None where unknown.
        exclusive: a pixel is called one class at most: of those that reach their thresholds the most probable, as predicted
            masks are written.
        lesions: match connected components.
        surfaces: measure distances of borders; the dearest part.

    >>> truth = np.zeros((1, 8, 8), np.uint8); truth[0, 2:5, 2:5] = 1
    >>> case = measure_case(np.where(truth == 1, 200, 20).astype(np.uint8), truth, [128])
    >>> case.lesions.tolist(), case.hd95.tolist(), case.surface_dice.tolist()
    ([[0, 9, 9, 9]], [0.0], [1.0])
    """
    limits = np.asarray(thresholds)
    assert levels.shape == truth.shape, f"levels {levels.shape}, truth {truth.shape}"
    assert limits.shape == (len(levels),), f"{limits.shape} thresholds for {len(levels)} classes"
    found, claimed = [np.empty((0, 4), np.int64)], [np.empty((0, 3), np.int64)]
    distances = np.full((2, len(levels)), np.nan, dtype=np.float32)
    calls_of = levels >= limits.reshape(-1, 1, 1)
    calls_of = (one_class(calls_of, levels) if exclusive else calls_of) & (truth != IGNORED)
    for k, (positive, called) in enumerate(zip(truth == 1, calls_of, strict=True)):
        if lesions:
            ones, calls = match_lesions(positive, called)
            found.append(np.insert(ones, 0, k, axis=1))
            claimed.append(np.insert(calls, 0, k, axis=1))
        if surfaces:
            surface = surface_figures(positive, called, spacing or (1.0, 1.0))
            distances[:, k] = surface.hd95, surface.dice
    return Case(
        histograms=np.stack([histogram(plane, true) for plane, true in zip(levels, truth, strict=True)]),
        lesions=np.concatenate(found) if lesions else None,
        calls=np.concatenate(claimed) if lesions else None,
        hd95=distances[0] if surfaces else None,
        surface_dice=distances[1] if surfaces else None,
        spacing=np.array(spacing or (np.nan, np.nan), dtype=np.float32),
        counts=_counts(calls_of, truth) if exclusive and len(levels) > 1 else None,
    )


def _counts(called: NDArray[np.bool_], truth: Planes) -> Counts:
    """(K, 4) pixels, as `PixelCounts.counts`; what is called is known."""
    hits, calls, positives, known = (
        plane.sum(axis=(1, 2)) for plane in (called & (truth == 1), called, truth == 1, truth != IGNORED)
    )
    return np.stack([hits, calls - hits, positives - hits, known - calls - positives + hits], axis=1)


@dataclass(frozen=True)
class PixelCounts:
    """Pixels of N cases at one threshold.

    Attributes:
        counts: (N, K, 4) true positives, false positives, false negatives, true negatives; known pixels only.
        probabilities: (N, K) sum of the predicted probabilities of the known pixels.
    """

    counts: Counts
    probabilities: NDArray[np.float64]

    def __post_init__(self) -> None:
        assert self.counts.shape == (*self.probabilities.shape, 4), f"{self.counts.shape}, {self.probabilities.shape}"

    @property
    def known(self) -> Counts:
        """(N, K) known pixels."""
        return np.asarray(self.counts.sum(axis=2))

    @property
    def foreground(self) -> Counts:
        """(N, K) true foreground pixels."""
        return self.counts[:, :, 0] + self.counts[:, :, 2]

    @property
    def called(self) -> Counts:
        """(N, K) predicted foreground pixels."""
        return self.counts[:, :, 0] + self.counts[:, :, 1]


@dataclass(frozen=True)
class CaseTable:
    """The masks of N cases and K classes against the true ones; what is None was not measured.

    Attributes:
        histograms: (N, K, 2, 256) uint32 known pixels by truth and level.
        thresholds: (K,) uint8 levels at which lesions and distances were measured.
        spacing: (N, 2) height and width of a pixel in millimetres; NaN where unknown, and distances are in pixels.
        lesions: (L, 5) case, class, area, called, touching: see `lesions.LESION_COLUMNS`.
        calls: (M, 4) case, class, area, hit: see `lesions.CALL_COLUMNS`.
        hd95: (N, K); NaN where either mask is empty.
        surface_dice: (N, K); NaN where the true mask is empty.
        tolerance: of surface Dice, in the unit of distances.
        counted: (N, K, 4) at these thresholds, as `PixelCounts.counts`, where exclusive classes hide one another; None: as the
            histograms say.
    """

    histograms: NDArray[np.uint32]
    thresholds: NDArray[np.uint8]
    spacing: Distances
    lesions: Counts | None = None
    calls: Counts | None = None
    hd95: Distances | None = None
    surface_dice: Distances | None = None
    tolerance: float = TOLERANCE
    counted: Counts | None = None

    def __post_init__(self) -> None:
        size, classes = self.histograms.shape[:2]
        assert self.histograms.shape[2:] == (2, LEVELS), f"histograms {self.histograms.shape}"
        assert self.thresholds.shape == (classes,), f"{self.thresholds.shape} thresholds for {classes} classes"
        assert self.spacing.shape == (size, 2), f"spacing {self.spacing.shape} for {size} cases"
        assert (self.lesions is None) == (self.calls is None), "lesions and calls are measured together"
        assert (self.hd95 is None) == (self.surface_dice is None), "distances are measured together"

    def __len__(self) -> int:
        return len(self.histograms)

    @classmethod
    def of(cls, cases: Sequence[Case], thresholds: ArrayLike) -> CaseTable:
        """The table of these cases, in their order; of none, where there are none.

        Args:
            cases: all measured alike.
            thresholds: (K,) as they were measured with.
        """
        limits = np.asarray(thresholds, dtype=np.uint8)
        if not cases:
            return cls(np.zeros((0, len(limits), 2, LEVELS), np.uint32), limits, np.zeros((0, 2), np.float32))
        return cls(
            histograms=np.stack([case.histograms for case in cases]),
            thresholds=limits,
            spacing=np.stack([case.spacing for case in cases]),
            lesions=_numbered([case.lesions for case in cases]),
            calls=_numbered([case.calls for case in cases]),
            hd95=_stacked([case.hd95 for case in cases]),
            surface_dice=_stacked([case.surface_dice for case in cases]),
            counted=_stacked([case.counts for case in cases]),
        )

    @property
    def pooled(self) -> Counts:
        """(K, 2, 256) all cases together."""
        return np.asarray(self.histograms.sum(axis=0, dtype=np.int64))

    @cached_property
    def at_thresholds(self) -> PixelCounts:
        """Counts at the table's own thresholds."""
        plain = self.counts(self.thresholds)
        return plain if self.counted is None else replace(plain, counts=self.counted)

    def counts(self, thresholds: ArrayLike) -> PixelCounts:
        """Counts of each case at these levels (K,), of each class by itself; probabilities are those of the levels' middles."""
        sums = self.histograms.sum(axis=2, dtype=np.int64) @ level_probabilities()
        return PixelCounts(counts_at(self.histograms, thresholds), sums)

    @property
    def distances_unit(self) -> str:
        """ "mm" where the spacing of any case is known, else "pixels"."""
        return "mm" if np.isfinite(self.spacing).all(axis=1).any() else "pixels"

    @property
    def in_unit(self) -> NDArray[np.bool_]:
        """(N,) cases whose distances are in that unit: millimetres and pixels have no mean."""
        known = np.isfinite(self.spacing).all(axis=1)
        return np.asarray(known if known.any() else ~known)

    def take(self, rows: ArrayLike) -> CaseTable:
        """The cases of these rows, in this order; no row twice."""
        wanted = np.asarray(rows, dtype=np.intp)
        places = np.full(len(self), -1, dtype=np.int64)
        places[wanted] = np.arange(len(wanted))
        parts: dict[str, Any] = {}
        for field in ("histograms", "spacing", "hd95", "surface_dice", "counted"):
            value = getattr(self, field)
            parts[field] = None if value is None else value[wanted]
        for field in ("lesions", "calls"):
            value = getattr(self, field)
            parts[field] = None if value is None else _renumbered(value, places)
        return replace(self, **parts)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything measured as plain arrays, by field."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: np.asarray(value) for name, value in values.items() if value is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> CaseTable:
        """The table whose `arrays` these are."""
        values: dict[str, Any] = {**arrays, "tolerance": float(arrays["tolerance"])}
        return cls(**values)


def _stacked(parts: Sequence[NDArray[Number] | None]) -> NDArray[Number] | None:
    known = [part for part in parts if part is not None]
    assert len(known) in (0, len(parts)), "cases of one table are measured alike"
    return np.stack(known) if known else None


def _numbered(parts: Sequence[Counts | None]) -> Counts | None:
    """Rows of all cases, each led by the number of its case."""
    known = [np.insert(part, 0, number, axis=1) for number, part in enumerate(parts) if part is not None]
    assert len(known) in (0, len(parts)), "cases of one table are measured alike"
    return np.concatenate(known) if known else None


def _renumbered(rows: Counts, places: Counts) -> Counts:
    """The rows whose case is kept, under its new number, in the order of cases."""
    kept = rows[places[rows[:, 0]] >= 0]
    kept = np.column_stack([places[kept[:, 0]], kept[:, 1:]])
    return np.asarray(kept[np.argsort(kept[:, 0], kind="stable")])
