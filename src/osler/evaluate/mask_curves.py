"""What the plots of a page on masks show: Dice by case and by threshold, and lesions by size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from osler.evaluate.masks import MaskEvaluation, MaskSplit
from osler.evaluate.wording import count, figure_text, number
from osler.metrics.lesions import LEAST, lesion_dice
from osler.metrics.overlap import OVERLAPS, counts_at_all, probability_at
from osler.metrics.proportion import wilson
from osler.report.mask_pictures import CaseScores, DiceCurve, LesionSizes

__all__ = ["case_scores", "dice_curves", "lesion_sizes"]

PER_STEP = 12
"""Lesions that a step of the share found is taken from, at least."""
MOST_STEPS = 6


def case_scores(evaluation: MaskEvaluation, split: str) -> list[CaseScores]:
    """Dice of each case with foreground, a class after the other."""
    found = evaluation.splits[split]
    return [
        CaseScores(name, found.scores("dice", k), f"mean {figure_text(found.figures['classes'][name]['dice_case'], 2)}")
        for k, name in enumerate(evaluation.card.classes)
    ]


def dice_curves(evaluation: MaskEvaluation, names: list[str]) -> list[DiceCurve]:
    """Pooled Dice of these splits at every threshold."""
    thresholds = probability_at(np.arange(256))
    curves = []
    for k, name in enumerate(evaluation.card.classes):
        values = {split: OVERLAPS["dice"](counts_at_all(evaluation.splits[split].table.pooled[k])) for split in names}
        entry = evaluation.splits[names[-1]].figures["classes"][name]
        detail = f"{number(entry['dice']['value'])} at {number(entry['threshold'])}"
        curves.append(DiceCurve(name, thresholds, values, entry["threshold"], detail))
    return curves


def lesion_sizes(evaluation: MaskEvaluation, split: str) -> list[LesionSizes]:
    """Every lesion's size, its Dice, and the share found by size, a class after the other."""
    found = evaluation.splits[split]
    return [_sizes_of(evaluation, found, k, name) for k, name in enumerate(evaluation.card.classes)]


def _sizes_of(evaluation: MaskEvaluation, found: MaskSplit, k: int, name: str) -> LesionSizes:
    table = found.table
    assert table.lesions is not None, "asked for only where lesions were measured"
    lesions = table.lesions[table.lesions[:, 1] == k]
    areas = np.prod(table.spacing.astype(np.float64), axis=1)
    known = bool(np.isfinite(areas).all())
    sizes = lesions[:, 2] * (areas[lesions[:, 0]] if known else 1.0)
    hit = lesions[:, 3] >= LEAST
    edges, shares = _by_size(sizes, hit, evaluation.config.level)
    entry = found.figures["classes"][name]["lesion_sensitivity"]
    detail = f"{figure_text(entry, 2)} of {count(len(lesions), 'lesion')} found" if len(lesions) else ""
    unit = "mm²" if known else "pixels"
    return LesionSizes(name, sizes, lesion_dice(lesions[:, 2:]), hit, unit, edges, shares, detail)


def _by_size(sizes: NDArray[np.float64], hit: NDArray[np.bool_], level: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges (B + 1,) between parts of about as many lesions, and (3, B) share found in each with Wilson's ends."""
    steps = min(MOST_STEPS, len(sizes) // PER_STEP)
    if steps < 2:
        return np.empty(0), np.empty((3, 0))
    edges = np.unique(np.quantile(sizes, np.linspace(0, 1, steps + 1)))
    if len(edges) < 3:
        return np.empty(0), np.empty((3, 0))
    places = np.clip(np.searchsorted(edges, sizes, side="right") - 1, 0, len(edges) - 2)
    total = np.bincount(places, minlength=len(edges) - 1)
    successes = np.bincount(places[hit], minlength=len(edges) - 1)
    low, high = wilson(successes, total, level)
    return edges, np.stack([successes / np.maximum(total, 1), low, high])
