"""Pictures of pixel values: how often each value occurs, group against group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.report.ink import BLUE, GREEN, INK, ORANGE, PURPLE, SOFT, panels, png_bytes, svg_uri

__all__ = ["ToneGroup", "TonePanel", "tone_picture"]

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, INK)
STYLES = ("-", "--", ":")
COLUMNS = 2
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
            inner = max(float(group.shares[1:-1].max()) for group in one.groups)
            for number, group in enumerate(one.groups):
                bins = len(group.shares)
                axes.step(
                    (np.arange(bins) + 0.5) * 255 / bins, 100 * group.shares, where="mid",
                    label=f"{group.name} ({group.images:,})",
                    color=COLOURS[number % len(COLOURS)], linestyle=STYLES[number // len(COLOURS) % len(STYLES)], linewidth=1.4,
                )  # fmt: skip
            axes.set(title=one.title, xlim=(0, 255), xticks=(0, 64, 128, 192, 255), xlabel="pixel value", ylabel="% of pixels")
            axes.set_ylim(0, 100 * (1 + ENDS) * inner if inner > 0 else None)
            axes.legend(fontsize=7.5, ncols=1 + (len(one.groups) > 8), labelcolor=SOFT)
        for axes in all_axes[len(contents) :]:
            axes.set_visible(False)
        return svg_uri(figure), png_bytes(figure)
