"""History: figures by epoch, with their floors, the phases of the training, its best epoch, and flags at what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from osler.report.ink import BLUE, CRITICAL, GREEN, INK, ORANGE, PAPER, PURPLE, SOFT, WARNING, panel, svg_uri

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Flag", "Series", "history_picture"]

COLOURS = {"train": ORANGE, "val": BLUE}
OTHER_COLOURS = (GREEN, PURPLE, INK)
STYLES = {"train": "--"}
# A note is grey, not the page's blue, which is that of a curve.
TONES = {"note": SOFT, "warning": WARNING, "critical": CRITICAL}
# Flags nearer to each other than this share of the axis stand above one another.
FLAG_WIDTH = 0.055
# matplotlib has no ticks for figures beyond this, and a loss that exploded so far is no curve.
LARGEST = 1e100


@dataclass(frozen=True)
class Series:
    """One figure by epoch.

    Attributes:
        name: "train" and "val" have colours of their own.
        values: (E,), NaN where undefined; a gap is left there, and beyond 1e100.
        errors: (E,) standard errors, drawn as a band of ± 1.96, or None.
        floor: what a constant prediction reaches, drawn across in the same colour.
    """

    name: str
    values: NDArray[np.floating[Any]]
    errors: NDArray[np.floating[Any]] | None = None
    floor: float | None = None


@dataclass(frozen=True)
class Flag:
    """A flag at an epoch: a number or a word or two, coloured by how grave it is."""

    epoch: float
    text: str
    tone: Literal["note", "warning", "critical"] = "note"


def history_picture(
    epochs: Sequence[int],
    series: Sequence[Series],
    label: str,
    *,
    best: int | None = None,
    phases: Sequence[tuple[int, str]] = (),
    flags: Sequence[Flag] = (),
    log: bool = False,
) -> str:
    """Curves by epoch.

    Args:
        epochs: E numbers.
        series: the curves.
        label: of the vertical axis.
        best: the epoch whose weights are used.
        phases: first epoch and name of each phase of the training; a single one is not drawn.
        flags: stand above the curves, each with a line down through them.
        log: logarithmic vertical axis.
    """
    from matplotlib.ticker import MaxNLocator

    with panel(4.6, 3.3) as (figure, axes):
        spare = iter(OTHER_COLOURS)
        for one in series:
            _draw_series(axes, epochs, one, COLOURS.get(one.name) or next(spare, INK))
        if log:
            axes.set_yscale("log")
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.03)
        if len(phases) > 1:
            _draw_phases(axes, phases)
        if best is not None:
            axes.axvline(best, color=INK, linewidth=1, linestyle=(0, (2, 2)))
            axes.annotate(
                f"best: epoch {best}",
                (best, 1.0),
                (0, 3),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                color=INK,
                fontsize=8.5,
            )
        _draw_flags(axes, flags, 0 if best is None else 1)
        if len(series) > 1 or series[0].floor is not None:
            axes.legend(loc="best")
        return svg_uri(figure)


def _draw_series(axes: Axes, epochs: Sequence[int], one: Series, colour: str) -> None:
    values = np.where(np.abs(one.values) < LARGEST, one.values, np.nan)
    marker = "o" if len(epochs) <= 12 else ""
    axes.plot(epochs, values, color=colour, linestyle=STYLES.get(one.name, "-"), label=one.name, marker=marker, markersize=3.5)
    if one.errors is not None:
        axes.fill_between(epochs, values - 1.96 * one.errors, values + 1.96 * one.errors, color=colour, alpha=0.15, linewidth=0)
    if one.floor is not None and abs(one.floor) < LARGEST:
        axes.axhline(one.floor, color=colour, linewidth=1, linestyle=(0, (1, 2)), label=f"floor of {one.name}: {one.floor:.3g}")


def _draw_phases(axes: Axes, phases: Sequence[tuple[int, str]]) -> None:
    for number, (first, name) in enumerate(phases):
        if number:
            axes.axvline(first - 0.5, color=SOFT, linewidth=0.8)
        axes.annotate(
            f"{name} ▸",
            (first - 0.5 if number else first, 0.0),
            (3, 4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=SOFT,
            fontsize=8,
        )


def _draw_flags(axes: Axes, flags: Sequence[Flag], first_row: int) -> None:
    """Flags above the axes: side by side where they have one epoch, from `first_row` upwards where they would overlap."""
    left, right = axes.get_xlim()
    width = FLAG_WIDTH * (right - left) or 1.0
    ends: list[float] = []  # right end of the last flags in each row
    for epoch in sorted({flag.epoch for flag in flags}):
        here = [flag for flag in flags if flag.epoch == epoch]
        half = 0.5 * width * len(here)
        row = next((row for row, end in enumerate(ends) if end <= epoch - half), len(ends))
        ends[row : row + 1] = [epoch + half]
        gravest = max((flag.tone for flag in here), key=list(TONES).index)
        axes.axvline(epoch, color=TONES[gravest], linewidth=1, linestyle=(0, (3, 2)), alpha=0.75, zorder=1.5)
        for place, flag in enumerate(here):
            across = 14 * (place - 0.5 * (len(here) - 1))
            _draw_flag(axes, flag, (across, 5 + 14 * (row + first_row)))


def _draw_flag(axes: Axes, flag: Flag, offset: tuple[float, float]) -> None:
    """One flag, `offset` points from the top of the axes at its epoch."""
    axes.annotate(
        flag.text,
        (flag.epoch, 1.0),
        offset,
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="center",
        color=PAPER,
        fontsize=8,
        fontweight="bold",
        bbox={"boxstyle": "round,pad=0.22", "facecolor": TONES[flag.tone], "edgecolor": "none"},
    )
