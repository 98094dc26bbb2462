"""Pictures of pixel values: how often each value occurs, group against group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.report.ink import BLUE, GREEN, INK, ORANGE, PURPLE, SOFT, panels, svg_and_png

__all__ = ["ToneGroup", "TonePanel", "tone_picture"]

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, INK)
STYLES = ("-", "--")
COLUMNS = 2
MOST_LINES = 6
"""More lines than this cannot be told apart; those that differ most from the mean of all are drawn."""
ENDS = 0.5
"""The first and last bin hold what is saturated and would flatten all else; they are cut off this much above the rest."""


@dataclass(frozen=True)
class ToneGroup:
    """The pixel values of some images.

    Attributes:
        name: of the group.
        images: how many.
        shares: (B,) share of the pixels in each of B equal parts of 0 to 255.
    """

    name: str
    images: int
    shares: NDArray[np.float64]


@dataclass(frozen=True)
class TonePanel:
    """Groups that are compared with one another: splits, classes, sources."""

    title: str
    groups: Sequence[ToneGroup]


def tone_picture(contents: Sequence[TonePanel]) -> tuple[str, bytes]:
    """Histograms, a panel for each way of grouping, a line a group.

    Returns:
        A data URI of an SVG, and the bytes of a PNG.
    """
    rows = -(-len(contents) // COLUMNS)
    columns = min(COLUMNS, len(contents))
    with panels(rows, columns, 5.2 * columns, 3.4 * rows) as (figure, all_axes):
        for axes, one in zip(all_axes, contents, strict=False):
            groups = _most_different(one.groups)
            inner = max(float(group.shares[1:-1].max()) for group in groups)
            for number, group in enumerate(groups):
                bins = len(group.shares)
                axes.step(
                    (np.arange(bins) + 0.5) * 255 / bins, 100 * group.shares, where="mid",
                    label=f"{group.name} ({group.images:,})",
                    color=COLOURS[number % len(COLOURS)], linestyle=STYLES[number // len(COLOURS)], linewidth=1.4,
                )  # fmt: skip
            title = one.title if len(groups) == len(one.groups) else f"{one.title}: the {len(groups)} that differ most"
            axes.set(title=title, xlim=(0, 255), xticks=(0, 64, 128, 192, 255), xlabel="pixel value", ylabel="% of pixels")
            axes.set_ylim(0, 100 * (1 + ENDS) * inner if inner > 0 else None)
            axes.legend(fontsize=7.5, labelcolor=SOFT)
        for axes in all_axes[len(contents) :]:
            axes.set_visible(False)
        return svg_and_png(figure)


def _most_different(groups: Sequence[ToneGroup]) -> Sequence[ToneGroup]:
    """At most `MOST_LINES` groups in their order, those furthest from the mean of all."""
    if len(groups) <= MOST_LINES:
        return groups
    mean = np.mean([group.shares for group in groups], axis=0)
    distance = np.array([np.abs(group.shares - mean).sum() for group in groups])
    return [groups[place] for place in np.sort(np.argsort(-distance, kind="stable")[:MOST_LINES])]
