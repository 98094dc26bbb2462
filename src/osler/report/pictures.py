"""Pictures: what a classifier's figures look like, each a data URI of an SVG for `osler.report.page.Picture`.

Every function draws what it is given and computes nothing: curves, intervals and operating points come from
`osler.metrics`. Each takes one class or several; several are drawn as small panels with the same axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osler.report.ink import BLUE, INK, MARGIN, ORANGE, PAPER, SKY, SOFT, grid, panel, svg_uri

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Bins",
    "Curve",
    "ForestRow",
    "Mark",
    "ThresholdCurves",
    "confusion_picture",
    "forest_picture",
    "precision_recall_picture",
    "reliability_picture",
    "roc_picture",
    "threshold_picture",
]

Array = NDArray[np.floating[Any]]

SIDES = {1: 3.7, 2: 2.7, 3: 2.5, 4: 2.0, 5: 1.68}
"""Inches of a panel's side by the number of panels in a row."""
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
ERROR_BAR: dict[str, Any] = {"color": ORANGE, "linewidth": 1.4, "solid_capstyle": "butt"}


@dataclass(frozen=True)
class Mark:
    """An operating point in a plane of two rates, with the interval of each.

    Attributes:
        x, y: the point; NaN where undefined.
        x_span, y_span: lower and upper ends.
        label: "threshold 0.31".
    """

    x: float
    y: float
    x_span: tuple[float, float]
    y_span: tuple[float, float]
    label: str


@dataclass(frozen=True)
class Curve:
    """One class's curve in the unit square.

    Attributes:
        name: the class.
        x, y: (P,) points in order; empty where the class cannot be scored.
        detail: the figure and its interval, or why there is none.
        mark: the chosen operating point.
        floor: what no model at all reaches: for precision and recall the prevalence.
    """

    name: str
    x: Array
    y: Array
    detail: str
    mark: Mark | None = None
    floor: float | None = None


@dataclass(frozen=True)
class Bins:
    """One class's reliability curve.

    Attributes:
        name: the class.
        predicted: (B,) mean predicted probability of each bin.
        observed, low, high: (B,) share of positives and its interval.
        histogram: (H,) samples whose probability falls in each of H equal parts of 0 to 1.
        detail: the calibration error and its interval.
    """

    name: str
    predicted: Array
    observed: Array
    low: Array
    high: Array
    histogram: Array
    detail: str


@dataclass(frozen=True)
class ThresholdCurves:
    """One class's sensitivity and specificity at every threshold.

    Attributes:
        name: the class.
        thresholds: (T,) rising, 0 to 1.
        sensitivity, specificity: (T,).
        sensitivity_span, specificity_span: (2, T) lower and upper ends.
        chosen: the threshold in use; None where there is none.
        detail: the same in words.
    """

    name: str
    thresholds: Array
    sensitivity: Array
    specificity: Array
    sensitivity_span: Array
    specificity_span: Array
    chosen: float | None
    detail: str = ""


@dataclass(frozen=True)
class ForestRow:
    """One line of a forest plot; `value` is NaN where the class cannot be scored. A summary row is drawn as a diamond."""

    name: str
    value: float
    low: float
    high: float
    note: str = ""
    summary: bool = False


def roc_picture(curves: Sequence[Curve]) -> str:
    """ROC curves with the diagonal of chance and the chosen operating point. `x` is 1 − specificity, `y` sensitivity."""

    def draw(axes: Axes, curve: Curve) -> None:
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        _draw_curve(axes, curve)

    return _unit_squares(curves, draw, "1 − specificity", "sensitivity")


def precision_recall_picture(curves: Sequence[Curve]) -> str:
    """Precision against recall, with the prevalence (`floor`), which a random order reaches, drawn across."""

    def draw(axes: Axes, curve: Curve) -> None:
        if curve.floor is not None:
            axes.axhline(curve.floor, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        _draw_curve(axes, curve)

    return _unit_squares(curves, draw, "recall (sensitivity)", "precision")


def reliability_picture(bins: Sequence[Bins]) -> str:
    """Observed share of positives against predicted probability, with intervals, and where the predictions lie below."""

    def draw(axes: Axes, one: Bins) -> None:
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        if len(one.predicted):
            width = 1 / len(one.histogram)
            centres = (np.arange(len(one.histogram)) + 0.5) * width
            axes.bar(centres, 0.16 * one.histogram / one.histogram.max(), width=0.9 * width, color=SKY, zorder=1)
            axes.vlines(one.predicted, one.low, one.high, color=BLUE, linewidth=1.4, zorder=2)
            axes.plot(one.predicted, one.observed, color=BLUE, linewidth=1.2, marker="o", markersize=4, zorder=3)

    return _unit_squares(bins, draw, "predicted probability", "observed share")


def threshold_picture(curves: Sequence[ThresholdCurves]) -> str:
    """Sensitivity and specificity at every threshold, with their intervals, and the threshold in use."""

    def draw(axes: Axes, one: ThresholdCurves) -> None:
        pairs = (
            ("sensitivity", one.sensitivity, one.sensitivity_span, ORANGE, "-"),
            ("specificity", one.specificity, one.specificity_span, BLUE, "--"),
        )
        for name, values, span, colour, style in pairs:
            axes.fill_between(one.thresholds, span[0], span[1], color=colour, alpha=0.18, linewidth=0)
            axes.plot(one.thresholds, values, color=colour, linestyle=style, label=name)
        if one.chosen is not None:
            axes.axvline(one.chosen, color=INK, linewidth=1, linestyle=(0, (2, 2)))
        if len(curves) == 1:
            axes.legend(loc="center right")

    return _unit_squares(curves, draw, "threshold", "rate")


def confusion_picture(counts: NDArray[np.integer[Any]], names: Sequence[str]) -> str:
    """A confusion matrix: rows are the reference standard, columns the predictions; shade and percentage are of the row.

    Args:
        counts: (K, K) samples.
        names: K class names.
    """
    from matplotlib.patches import Rectangle

    size = len(names)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(0.85 * size, 3.4, 9.0))
    with panel(side + 1.0, side) as (figure, axes):
        for row in range(size):
            for column in range(size):
                box = Rectangle((column, row), 1, 1, facecolor=BLUE, alpha=0.04 + 0.46 * shares[row, column], edgecolor="none")
                axes.add_patch(box)
                text = f"{counts[row, column]:,}\n{shares[row, column]:.0%}"
                weight = "bold" if row == column else "normal"
                axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=INK, fontweight=weight)
        axes.set(xlim=(0, size), ylim=(size, 0), xticks=np.arange(size) + 0.5, yticks=np.arange(size) + 0.5, aspect="equal")
        axes.set_xticklabels([_short(name) for name in names])
        if size > 4:
            axes.tick_params(axis="x", labelrotation=35)
            for label in axes.get_xticklabels():
                label.set_horizontalalignment("right")
        axes.set_yticklabels([_short(name) for name in names])
        axes.set(xlabel="predicted", ylabel="reference standard")
        axes.grid(False)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        return svg_uri(figure)


def forest_picture(rows: Sequence[ForestRow], label: str, floor: float | None = None) -> str:
    """One figure of many classes with their intervals, from top to bottom as given; `floor` is drawn as a line.

    A class that cannot be scored keeps its line, so that nobody takes it for forgotten.
    """
    ends = [end for row in rows for end in (row.low, row.high) if np.isfinite(end)]
    left = min([*ends, 1.0 if floor is None else floor])
    with panel(6.6, 0.9 + 0.28 * len(rows)) as (figure, axes):
        if floor is not None:
            axes.axvline(floor, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        for position, row in enumerate(rows):
            if np.isnan(row.value):
                axes.text(max(left, 0), position, "not scored", color=SOFT, va="center", fontsize=8.5, fontstyle="italic")
            else:
                colour, marker = (INK, "D") if row.summary else (BLUE, "o")
                axes.plot([row.low, row.high], [position, position], color=colour, linewidth=1.8)
                axes.plot([row.value], [position], markersize=6, linestyle="none", marker=marker, color=colour)
            axes.text(1.015, position, row.note, transform=axes.get_yaxis_transform(), va="center", color=SOFT, fontsize=8.5)
        axes.set_yticks(range(len(rows)), [_short(row.name, 28) for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(max(0.0, left - 0.03), 1.005)
        axes.set_xlabel(label)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        return svg_uri(figure)


# --- shared by all ----------------------------------------------------------------------------------------------------------


def _unit_squares(items: Sequence[Any], draw: Callable[[Axes, Any], None], x_label: str, y_label: str) -> str:
    """One large unit square, or a grid of small ones named after their class; each with its figure written above it."""
    count = len(items)
    columns = min(count, 5)
    ticks = TICKS[:: 1 if count == 1 else 2]
    with grid(count, columns, SIDES[columns], (0.2, 0.3 if count == 1 else 0.62)) as (figure, all_axes):
        for number, (axes, item) in enumerate(zip(all_axes, items, strict=True)):
            draw(axes, item)
            axes.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.03), xticks=ticks, yticks=ticks)
            if number % columns:
                axes.set_yticklabels([])
            if number + columns < count:
                axes.set_xticklabels([])
            _write_above(axes, _short(item.name) if count > 1 else "", item.detail)
        width, height = figure.get_size_inches()
        figure.text(0.5 * (1 + MARGIN / width), 0.06 / height, x_label, ha="center", va="bottom", color=SOFT)
        figure.text(0.03 / width, 0.5 * (1 + MARGIN / height), y_label, ha="left", va="center", color=SOFT, rotation=90)
        return svg_uri(figure)


def _write_above(axes: Axes, name: str, detail: str) -> None:
    """The class's name and its figure, over the axes, where no curve can cross them."""
    if detail:
        axes.annotate(detail, (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points", color=SOFT, fontsize=8.5)
    if name:
        place = (0, 17 if detail else 5)
        axes.annotate(name, (0, 1), place, xycoords="axes fraction", textcoords="offset points", color=INK, fontweight="bold")


def _draw_curve(axes: Axes, curve: Curve) -> None:
    axes.plot(curve.x, curve.y, color=BLUE, clip_on=False)
    mark = curve.mark
    if mark is None or not np.isfinite([mark.x, mark.y]).all():
        return
    axes.plot(mark.x_span, (mark.y, mark.y), **ERROR_BAR)
    axes.plot((mark.x, mark.x), mark.y_span, **ERROR_BAR)
    axes.plot([mark.x], [mark.y], marker="o", markersize=6, color=ORANGE, markeredgecolor=PAPER, zorder=5)
    if mark.label:
        # Towards the middle, where there is room.
        side, aligned = (-9, "right") if mark.x > 0.55 else (9, "left")
        place: dict[str, Any] = {"textcoords": "offset points", "ha": aligned, "va": "top", "color": ORANGE, "fontsize": 8.5}
        axes.annotate(mark.label, (mark.x, mark.y), (side, -9), **place)


def _short(name: str, length: int = 20) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
