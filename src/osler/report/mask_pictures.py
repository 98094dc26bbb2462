"""Pictures of masks: Dice by case, Dice by threshold, and what becomes of lesions by their size. They compute nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osler.report.ink import BLUE, INK, MARGIN, ORANGE, SKY, SOFT, grid, panel, svg_uri

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "CaseScores",
    "DiceCurve",
    "LesionSizes",
    "case_scores_picture",
    "dice_by_threshold_picture",
    "lesion_size_picture",
]

Array = NDArray[np.floating[Any]]

SIDES = {1: 3.7, 2: 2.9, 3: 2.4, 4: 2.0}
"""Inches of a panel's side by the number of panels in a row."""
SPLIT_STYLES = {"val": (SKY, "--"), "test": (BLUE, "-"), "data": (BLUE, "-")}


@dataclass(frozen=True)
class CaseScores:
    """The score of each case of one class.

    Attributes:
        name: the class.
        values: (n,) in 0 to 1, of the cases with foreground.
        detail: their mean and its interval, in words.
    """

    name: str
    values: Array
    detail: str


@dataclass(frozen=True)
class DiceCurve:
    """Pooled Dice of one class at every threshold.

    Attributes:
        name: the class.
        thresholds: (T,) rising probabilities.
        values: split to (T,) Dice; all NaN where the split has no foreground.
        chosen: the threshold in use.
        detail: Dice at it, in words.
    """

    name: str
    thresholds: Array
    values: Mapping[str, Array]
    chosen: float
    detail: str


@dataclass(frozen=True)
class LesionSizes:
    """The lesions of one class.

    Attributes:
        name: the class.
        sizes: (L,) areas, above 0.
        dice: (L,) of each with the calls that touch it; 0 where it is missed.
        found: (L,) whether it is.
        unit: of the areas: "pixels" or "mm²".
        edges: (B + 1,) areas that divide the lesions for the shares below; empty where there are too few.
        shares: (3, B) share found between two edges, and its lower and upper end.
        detail: in words.
    """

    name: str
    sizes: Array
    dice: Array
    found: NDArray[np.bool_]
    unit: str
    edges: Array
    shares: Array
    detail: str


def case_scores_picture(classes: Sequence[CaseScores], label: str = "Dice") -> str:
    """A dot a case, a row a class; the bar reaches from quartile to quartile, the diamond is the median."""
    rows = len(classes)
    with panel(7.4, 1.0 + (0.85 if rows == 1 else 0.62) * rows) as (figure, axes):
        for row, one in enumerate(classes):
            known = np.sort(one.values[np.isfinite(one.values)])
            if not len(known):
                axes.text(0.0, row, "no case with foreground", color=SOFT, va="center", fontsize=8.5, fontstyle="italic")
                continue
            axes.plot(known, row + _spread(known), linestyle="none", marker="o", markersize=3.6, color=BLUE, alpha=0.55, zorder=3)
            low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
            axes.plot([low, high], [row + 0.4, row + 0.4], color=INK, linewidth=2.4, zorder=2)
            axes.plot([middle], [row + 0.4], marker="D", markersize=5.5, color=INK, zorder=4)
            axes.text(1.015, row, one.detail, transform=axes.get_yaxis_transform(), va="center", color=SOFT, fontsize=8.5)
        axes.set_yticks(range(rows), [_short(one.name) for one in classes])
        axes.set(xlim=(-0.02, 1.02), ylim=(rows - 0.35, -0.65), xlabel=f"{label} of a case")
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        return svg_uri(figure)


def _spread(rising: Array) -> Array:
    """(n,) small offsets that keep the dots of near values apart: each next of a crowd lies further out, in turns."""
    offsets, crowd = np.zeros(len(rising)), 0
    for number in range(1, len(rising)):
        crowd = crowd + 1 if rising[number] - rising[number - 1] < 0.012 else 0
        offsets[number] = ((crowd + 1) // 2) * 0.07 * (-1) ** crowd
    return np.clip(offsets, -0.28, 0.28)


def dice_by_threshold_picture(curves: Sequence[DiceCurve]) -> str:
    """Pooled Dice at every threshold, on each split, and the threshold in use."""

    def draw(axes: Axes, one: DiceCurve) -> None:
        for split, values in one.values.items():
            colour, style = SPLIT_STYLES.get(split, (INK, "-"))
            axes.plot(one.thresholds, values, color=colour, linestyle=style, label=split)
        axes.axvline(one.chosen, color=INK, linewidth=1, linestyle=(0, (2, 2)))
        axes.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.03), xticks=(0, 0.5, 1), yticks=(0, 0.25, 0.5, 0.75, 1))

    return _panels(curves, draw, "threshold (probability)", "Dice of pooled pixels", legend=len(curves[0].values) > 1)


def lesion_size_picture(classes: Sequence[LesionSizes]) -> str:
    """Dice of each lesion against its size; missed ones are crosses at 0. The steps: the share found, by size."""

    def draw(axes: Axes, one: LesionSizes) -> None:
        if not len(one.sizes):
            axes.text(0.5, 0.5, "no lesion", transform=axes.transAxes, color=SOFT, ha="center", fontstyle="italic")
            return
        alpha = float(np.clip(12 / np.sqrt(len(one.sizes)), 0.2, 0.75))
        if len(one.edges):
            share, low, high = (np.append(part, part[-1]) for part in one.shares)
            axes.fill_between(one.edges, low, high, step="post", color=SKY, alpha=0.35, linewidth=0)
            axes.step(one.edges, share, where="post", color=BLUE, linewidth=1.4, label="share found")
        hit = one.found
        axes.plot(
            one.sizes[hit], one.dice[hit], "o", markersize=3.4, color=BLUE, alpha=alpha, label="found: Dice", markeredgewidth=0
        )
        axes.plot(one.sizes[~hit], one.dice[~hit], "x", markersize=4.5, color=ORANGE, alpha=min(1, alpha + 0.2), label="missed")
        axes.set_xscale("log")
        axes.set(ylim=(-0.05, 1.05), yticks=(0, 0.25, 0.5, 0.75, 1))
        axes.minorticks_off()

    return _panels(classes, draw, f"area of a lesion ({classes[0].unit})", "Dice of the lesion", legend=True)


def _panels(items: Sequence[Any], draw: Any, x_label: str, y_label: str, *, legend: bool = False) -> str:
    """One large square, or a grid of small ones named after their class; each with its figure written above it."""
    columns = min(len(items), 4)
    with grid(len(items), columns, SIDES[columns], (0.5, 0.62)) as (figure, all_axes):
        for axes, item in zip(all_axes, items, strict=True):
            draw(axes, item)
            words: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
            axes.annotate(_short(item.name), (0, 1), (0, 18), color=INK, fontweight="bold", **words)
            axes.annotate(item.detail, (0, 1), (0, 5), color=SOFT, fontsize=8.5, **words)
        width, height = figure.get_size_inches()
        figure.text(0.5 * (1 + MARGIN / width), 0.06 / height, x_label, ha="center", va="bottom", color=SOFT)
        figure.text(0.03 / width, 0.5, y_label, ha="left", va="center", color=SOFT, rotation=90)
        if legend:
            handles = max((axes.get_legend_handles_labels() for axes in all_axes), key=lambda found: len(found[0]))
            figure.legend(*handles, loc="upper right", ncols=1 if columns == 1 else 3)
        return svg_uri(figure)


def _short(name: str, length: int = 22) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
