"""The figures of masks for each epoch's vitals: quick ones, without intervals, per class and as means over classes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.metrics.cases import CaseTable, PixelCounts
from osler.metrics.lesions import LEAST
from osler.metrics.overlap import OVERLAPS, choose_level, counts_at, pixel_ap, pixel_auc, probability_at

__all__ = ["UNDEFINED", "mask_vitals", "means_of_classes"]

Figures = dict[str, Any]

NO_FOREGROUND = "no foreground in the true masks"
UNDEFINED = {
    "dice": NO_FOREGROUND,
    "iou": NO_FOREGROUND,
    "precision": "no foreground is predicted",
    "recall": NO_FOREGROUND,
    "accuracy": "no known pixel",
    "dice_case.mean": "no case with foreground",
    "empty_cases.false_alarms": "no case without foreground",
    "empty_cases.false_positive_pixels": "no case without foreground",
    "foreground.true": "no known pixel",
    "foreground.predicted": "no known pixel",
    "empty_predictions": "no case with a known pixel",
    "probability.mean": "no known pixel",
    "auc": "needs foreground and background",
    "ap": "needs foreground and background",
    "best_dice": "needs foreground and background",
    "best_dice_threshold": "needs foreground and background",
    "lesion_sensitivity": "no lesion",
    "false_positives_per_image": "no case with a known pixel",
    "hd95": "no case with foreground both true and predicted",
    "surface_dice": "no case with foreground",
}
"""Figure → why it is undefined, where it was measured at all."""
UNMEASURED = "not measured"


def mask_vitals(table: CaseTable | PixelCounts, classes: Sequence[str]) -> Figures:
    """The figures of one split: {"macro": figures, "classes": {name: figures}}, NaN where undefined.

    Of a class: `n` cases, `confusion` [[tn, fp], [fn, tp]] of pixels; pooled over pixels `dice` (which is F1), `iou`,
    `precision`, `recall`, `accuracy`; `dice_case` {mean over cases with foreground, n of them}; `empty_cases` {n,
    false_alarms: share of cases without foreground in which some is predicted, false_positive_pixels: mean of them};
    `foreground` {true, predicted}: shares of pixels; `empty_predictions`: share of cases; `probability` {mean}. From a table
    of cases also `auc`, `ap`, `best_dice`, `best_dice_threshold` of pixels, and what was measured of `lesion_sensitivity`,
    `lesions`, `false_positives_per_image`, `hd95`, `surface_dice` and their `distances_unit`. `reasons` says of each undefined
    figure why. `macro` holds means over the classes where a figure is defined.

    Args:
        table: with a table of cases, at its thresholds.
        classes: K names.
    """
    counts = table.at_thresholds if isinstance(table, CaseTable) else table
    assert counts.counts.shape[1] == len(classes), f"{len(classes)} classes, counts {counts.counts.shape}"
    found: dict[str, Figures] = {}
    for k, name in enumerate(classes):
        figures = _pixel_figures(counts, k)
        if isinstance(table, CaseTable):
            figures |= _ranking_figures(table, k) | _lesion_figures(table, k) | _distance_figures(table, k)
        found[name] = {**figures, "reasons": _reasons(figures)}
    return {"macro": means_of_classes(list(found.values())), "classes": found}


def _pixel_figures(table: PixelCounts, k: int) -> Figures:
    counts = table.counts[:, k]
    pooled, cases = counts.sum(axis=0), table.known[:, k] > 0
    true, false, missed, rest = (int(value) for value in pooled)
    known = true + false + missed + rest
    filled = table.foreground[:, k] > 0
    empty, called = cases & ~filled, table.called[:, k]
    return {
        "n": int(cases.sum()),
        "confusion": [[rest, false], [missed, true]],
        **{name: float(score(pooled)) for name, score in OVERLAPS.items()},
        "dice_case": {"mean": _mean(OVERLAPS["dice"](counts[filled])), "n": int(filled.sum())},
        "empty_cases": {
            "n": int(empty.sum()),
            "false_alarms": _mean(called[empty] > 0),
            "false_positive_pixels": _mean(called[empty]),
        },
        "foreground": {"true": _ratio(true + missed, known), "predicted": _ratio(true + false, known)},
        "empty_predictions": _mean(called[cases] == 0),
        "probability": {"mean": _ratio(float(table.probabilities[:, k].sum()), known)},
    }


def _ranking_figures(table: CaseTable, k: int) -> Figures:
    pixels = table.pooled[k]
    best = choose_level("f1", pixels)
    return {
        "auc": float(pixel_auc(pixels)),
        "ap": float(pixel_ap(pixels)),
        "best_dice": math.nan if best is None else float(OVERLAPS["dice"](counts_at(pixels, best))),
        "best_dice_threshold": math.nan if best is None else float(probability_at(best)),
    }


def _lesion_figures(table: CaseTable, k: int) -> Figures:
    if table.lesions is None or table.calls is None:
        return {"lesion_sensitivity": math.nan, "false_positives_per_image": math.nan}
    lesions, calls = table.lesions[table.lesions[:, 1] == k], table.calls[table.calls[:, 1] == k]
    found = int((lesions[:, 3] >= LEAST).sum())
    cases = int((table.at_thresholds.known[:, k] > 0).sum())
    return {
        "lesions": {"n": len(lesions), "found": found},
        "lesion_sensitivity": _ratio(found, len(lesions)),
        "false_positives_per_image": _ratio(int((calls[:, 3] < LEAST).sum()), cases),
    }


def _distance_figures(table: CaseTable, k: int) -> Figures:
    if table.hd95 is None or table.surface_dice is None:
        return {"hd95": math.nan, "surface_dice": math.nan}
    hd95, shares = table.hd95[table.in_unit, k], table.surface_dice[table.in_unit, k]
    known = np.isfinite(hd95)
    return {
        "hd95": _mean(hd95[known]),
        "hd95_cases": int(known.sum()),
        "surface_dice": _mean(shares[np.isfinite(shares)]),
        "distances_unit": table.distances_unit,
    }


def _reasons(figures: Figures) -> dict[str, str]:
    """Why each undefined figure is undefined, under its dotted name."""
    reasons = {}
    for name, value in _numbers(figures):
        if math.isnan(value):
            unmeasured = (name in ("hd95", "surface_dice") and "hd95_cases" not in figures) or (
                name in ("lesion_sensitivity", "false_positives_per_image") and "lesions" not in figures
            )
            reasons[name] = UNMEASURED if unmeasured else UNDEFINED[name]
    return reasons


def _numbers(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)):
            yield f"{prefix}{name}", float(value)


def means_of_classes(classes: Sequence[Figures]) -> Figures:
    """The mean of each figure over the classes where it is defined, and `classes_scored`, those that have a Dice.

    >>> means_of_classes([{"dice": 0.5, "n": 4}, {"dice": math.nan, "n": 4}])["dice"]
    0.5
    """
    numbers = [dict(_numbers({key: value for key, value in one.items() if key != "reasons"})) for one in classes]
    means: Figures = {"classes_scored": sum(math.isfinite(one.get("dice", math.nan)) for one in numbers)}
    reasons = {}
    for name in UNDEFINED:
        values = [one[name] for one in numbers if name in one]
        if not values:
            continue
        known = [value for value in values if math.isfinite(value)]
        head, _, tail = name.partition(".")
        mean = math.fsum(known) / len(known) if known else math.nan
        if tail:
            means.setdefault(head, {})[tail] = mean
        else:
            means[head] = mean
        if not known:
            reasons[name] = "defined for no class"
    return {**means, "reasons": reasons}


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values, dtype=np.float64)) if len(values) else math.nan


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
