"""History: figures by epoch, with their floors, the phases of the training and its best epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osler.report.ink import BLUE, GREEN, INK, ORANGE, PURPLE, SOFT, panel, svg_uri

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Series", "history_picture"]

COLOURS = {"train": ORANGE, "val": BLUE}
OTHER_COLOURS = (GREEN, PURPLE, INK)
STYLES = {"train": "--"}


@dataclass(frozen=True)
class Series:
    """One figure by epoch.

    Attributes:
        name: "train" and "val" have colours of their own.
        values: (E,), NaN where undefined.
        errors: (E,) standard errors, drawn as a band of ± 1.96, or None.
        floor: what a constant prediction reaches, drawn across in the same colour.
    """

    name: str
    values: NDArray[np.floating[Any]]
    errors: NDArray[np.floating[Any]] | None = None
    floor: float | None = None


def history_picture(
    epochs: Sequence[int],
    series: Sequence[Series],
    label: str,
    *,
    best: int | None = None,
    phases: Sequence[tuple[int, str]] = (),
    log: bool = False,
) -> str:
    """Curves by epoch.

    Args:
        epochs: E numbers.
        series: the curves.
        label: of the vertical axis.
        best: the epoch whose weights are used.
        phases: first epoch and name of each phase of the training; a single one is not drawn.
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
        if len(series) > 1 or series[0].floor is not None:
            axes.legend(loc="best")
        return svg_uri(figure)


def _draw_series(axes: Axes, epochs: Sequence[int], one: Series, colour: str) -> None:
    marker = "o" if len(epochs) <= 12 else ""
    axes.plot(
        epochs, one.values, color=colour, linestyle=STYLES.get(one.name, "-"), label=one.name, marker=marker, markersize=3.5
    )
    if one.errors is not None:
        axes.fill_between(
            epochs, one.values - 1.96 * one.errors, one.values + 1.96 * one.errors, color=colour, alpha=0.15, linewidth=0
        )
    if one.floor is not None and np.isfinite(one.floor):
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
