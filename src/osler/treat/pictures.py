"""Pictures of a treatment: the arms' curves, and the paired differences with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.report.ink import BLUE, GREEN, INK, ORANGE, PURPLE, SOFT, panel, svg_uri

__all__ = ["DifferenceRow", "curves_picture", "differences_picture"]

COLOURS = (BLUE, GREEN, PURPLE, INK)


@dataclass(frozen=True)
class DifferenceRow:
    """One line: a difference, its interval, and what it means."""

    name: str
    value: float
    low: float
    high: float
    note: str
    control: bool = True


def curves_picture(curves: Mapping[str, Sequence[NDArray[np.float64]]], label: str) -> str:
    """The monitored figure by epoch of every group of arms; a thin line a seed, their mean bold.

    Args:
        curves: group to its arms' values by epoch; a group called "rerun" is dashed, and "random" ones are dotted.
        label: of the figure.
    """
    with panel(6.6, 3.4) as (figure, axes):
        spare = iter(COLOURS * 3)
        for name, arms in curves.items():
            known = [values for values in arms if len(values)]
            if not known:
                continue
            control = name == "rerun" or name.startswith("random")
            colour = ORANGE if name == "rerun" else SOFT if control else next(spare)
            style = "--" if name == "rerun" else ":" if control else "-"
            shortest = min(len(values) for values in known)
            mean = np.mean([values[:shortest] for values in known], axis=0)
            for values in known:
                axes.plot(np.arange(1, len(values) + 1), values, color=colour, linewidth=0.8, alpha=0.5, linestyle=style)
            marker = "o" if shortest <= 12 else ""
            axes.plot(
                np.arange(1, shortest + 1),
                mean,
                color=colour,
                linewidth=2,
                linestyle=style,
                label=name,
                marker=marker,
                markersize=3,
            )
        axes.set(xlabel="epoch", ylabel=label)
        axes.locator_params(axis="x", integer=True)
        axes.legend(loc="best")
        return svg_uri(figure)


def differences_picture(rows: Sequence[DifferenceRow], label: str) -> str:
    """Differences with their intervals, from top to bottom as given; 0 is drawn as a line.

    Args:
        rows: those that are no control are grey.
        label: of the horizontal axis.
    """
    with panel(6.8, 1.0 + 0.32 * len(rows)) as (figure, axes):
        axes.axvline(0.0, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        for position, row in enumerate(rows):
            if not np.isfinite(row.value):
                axes.text(0.0, position, "undefined", color=SOFT, va="center", fontsize=8.5, fontstyle="italic")
                continue
            colour = SOFT if not row.control else BLUE if row.low > 0 else ORANGE if row.high < 0 else INK
            axes.plot([row.low, row.high], [position, position], color=colour, linewidth=1.8)
            axes.plot([row.value], [position], markersize=6, linestyle="none", marker="o", color=colour)
            axes.text(1.015, position, row.note, transform=axes.get_yaxis_transform(), va="center", color=SOFT, fontsize=8.5)
        axes.set_yticks(range(len(rows)), [row.name if len(row.name) <= 44 else f"{row.name[:43]}…" for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel(label)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        return svg_uri(figure)
