"""Pictures of a draw: counts, weights and the odds that come of both; and what was drawn against what the weights say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from osler.report.ink import BLUE, GREEN, INK, ORANGE, SKY, SOFT, panel, panels, svg_and_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["DrawnRow", "ImbalanceRow", "drawn_picture", "imbalance_picture"]

LEAST = 1e-5
"""Shares and odds below this are drawn here: a logarithmic axis has no 0."""


@dataclass(frozen=True)
class ImbalanceRow:
    """One class, or the samples without any; NaN where a figure has no meaning.

    Attributes:
        name: the class.
        count: samples that have it.
        loss: weight that the loss gives it against the others; 1 is none.
        times: how often one of its samples is drawn in an epoch.
        natural, drawn, in_force: its odds among the samples, among the draws, and as the loss weighs the draws.
    """

    name: str
    count: float
    loss: float
    times: float
    natural: float
    drawn: float
    in_force: float


@dataclass(frozen=True)
class DrawnRow:
    """How much of what is drawn has a class; shares from 0 to 1.

    Attributes:
        name: the class.
        natural: of the samples.
        expected: of the draws, by the weights.
        drawn, low, high: of the draws that were made, and its interval.
    """

    name: str
    natural: float
    expected: float
    drawn: float
    low: float
    high: float


def imbalance_picture(rows: Sequence[ImbalanceRow], loss: str, fair: float = 1.0) -> tuple[str, bytes]:
    """Four panels: counts; the loss's weights; how often a sample is drawn; and the odds that the two make together.

    Args:
        rows: from top to bottom.
        loss: what the loss's weight is called, such as "pos_weight".
        fair: odds of a class where all count the same, drawn as a line.

    Returns:
        A data URI of an SVG, and the bytes of a PNG.
    """
    height = 2 * (1.0 + 0.24 * max(len(rows), 3))
    with panels(2, 2, 9.6, height) as (figure, (counts, weights, times, odds)):
        _bars(counts, rows, [row.count for row in rows], SKY, "{:,.0f}")
        counts.set_title("Samples")
        _bars(weights, rows, [row.loss for row in rows], ORANGE, "{:.3g}", around=1.0)
        weights.set_title(f"Loss: {loss}")
        _bars(times, rows, [row.times for row in rows], BLUE, "{:.3g}", around=1.0)
        times.set_title("Sampler: draws of one sample in an epoch")
        _odds(odds, rows, fair)
        odds.set_title("Both together: odds")
        for axes in (weights, odds):
            axes.set_yticklabels([])
        return svg_and_png(figure)


def drawn_picture(rows: Sequence[DrawnRow]) -> tuple[str, bytes]:
    """Shares of what was drawn with their intervals, over what the weights say, beside the shares of the samples.

    Returns:
        A data URI of an SVG, and the bytes of a PNG.
    """
    with panel(7.4, 1.2 + 0.27 * max(len(rows), 3)) as (figure, axes):
        for position, row in enumerate(rows):
            axes.plot([_shown(row.low), _shown(row.high)], [position, position], color=BLUE, linewidth=1.6, zorder=3)
        places = range(len(rows))
        dots: dict[str, Any] = {"linestyle": "none", "zorder": 4}
        axes.plot(
            [_shown(row.natural) for row in rows], places, marker="o", markersize=6, color=SOFT, fillstyle="none",
            label="samples (unweighted)", **dots,
        )  # fmt: skip
        axes.plot(
            [_shown(row.expected) for row in rows], places, marker="|", markersize=13, markeredgewidth=2, color=ORANGE,
            label="by the weights", **dots,
        )  # fmt: skip
        axes.plot([_shown(row.drawn) for row in rows], places, marker="o", markersize=4.5, color=BLUE, label="drawn", **dots)
        axes.set_xscale("log")
        least = min(_shown(end) for row in rows for end in (row.natural, row.expected, row.low))
        axes.set_xlim(max(LEAST, 0.6 * least), 1.2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        _name_rows(axes, rows)
        axes.set_xlabel("share")
        figure.legend(loc="outside upper right", ncols=3)
        return svg_and_png(figure)


def _bars(
    axes: Axes, rows: Sequence[ImbalanceRow], values: Sequence[float], colour: str, form: str, around: float | None = None
) -> None:
    """A bar a row on a logarithmic axis with its number; those around 1 begin there."""
    known = [value for value in values if math.isfinite(value) and value > 0]
    start = around or (0.5 * min(known) if known else 0.5)
    low, high = (min([*known, start]), max([*known, start])) if known else (start, start)
    # Room for the numbers beside the bars, on either side.
    spread = max(high / low, 4.0) ** 0.22
    for position, value in enumerate(values):
        if math.isnan(value):
            continue
        shown = value if value > 0 else low / spread
        axes.barh(position, shown - start, left=start, height=0.68, color=colour, zorder=2)
        side = 1 if shown >= start else -1
        axes.annotate(
            form.format(value), (shown, position), (3 * side, 0), textcoords="offset points", va="center",
            ha="left" if side > 0 else "right", color=SOFT, fontsize=8,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(low / spread if around else start, high * spread**1.4)
    if around is not None:
        axes.axvline(around, color=SOFT, linewidth=1, zorder=3)
    _plain_ticks(axes)
    _name_rows(axes, rows)


def _odds(axes: Axes, rows: Sequence[ImbalanceRow], fair: float) -> None:
    """What each correction makes of the odds of a class, from grey over blue to the diamond."""
    for position, row in enumerate(rows):
        if not math.isfinite(row.in_force):
            continue
        steps = [_shown(value) for value in (row.natural, row.drawn, row.in_force)]
        axes.plot(steps, [position] * 3, color=SOFT, linewidth=1, zorder=2)
    markers: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("natural", "samples", {"marker": "o", "color": SOFT, "fillstyle": "none", "markersize": 6}),
        ("drawn", "as drawn", {"marker": "o", "color": BLUE, "markersize": 5}),
        ("in_force", "drawn × loss", {"marker": "D", "color": ORANGE, "markersize": 4.5}),
    )
    for number, (name, label, style) in enumerate(markers):
        values = np.array([getattr(row, name) for row in rows], dtype=float)
        known = np.isfinite(values)
        axes.plot(
            [_shown(value) for value in values[known]], np.flatnonzero(known), linestyle="none", label=label, zorder=3 + number,
            **style,
        )  # fmt: skip
    axes.axvline(fair, color=GREEN, linewidth=1.2, linestyle=(0, (4, 3)), label="all count the same")
    axes.set_xscale("log")
    axes.margins(x=0.12)
    _plain_ticks(axes)
    _name_rows(axes, rows)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4, handletextpad=0.2, columnspacing=0.9)


def _plain_ticks(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _name_rows(axes: Axes, rows: Sequence[ImbalanceRow] | Sequence[DrawnRow]) -> None:
    axes.set_yticks(range(len(rows)), [row.name if len(row.name) <= 24 else f"{row.name[:23]}…" for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)


def _shown(value: float) -> float:
    return max(value, LEAST)
