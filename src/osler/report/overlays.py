"""Overlays: what a mask found, missed and called in vain, painted on the image; and sheets of cases with a legend.

The image is shown in gray below the paint, so that a red retina does not pass for a missed lesion. The three colours differ
in hue and in lightness for readers with any kind of colour blindness (a test simulates them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.report.sheet import contact_sheet

__all__ = ["FALSE_ALARM", "FOUND", "LEGEND", "MISSED", "OverlayCase", "overlay", "overlay_sheet", "zoom_box"]

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]

FOUND: Colour = (86, 180, 233)
MISSED: Colour = (213, 94, 0)
FALSE_ALARM: Colour = (240, 228, 66)
LEGEND = ((FOUND, "found"), (MISSED, "missed"), (FALSE_ALARM, "false alarm"))

OPACITY = 0.72
UNKNOWN_SHADE = 0.45
ZOOM_UNDER = 0.6
"""A crop is shown where what matters takes less than this share of the image's side."""
SMALLEST_ZOOM = 48
SIDE = 216


@dataclass(frozen=True)
class OverlayCase:
    """One case and class to be shown.

    Attributes:
        image: (C, H, W) uint8, gray or RGB.
        truth: (H, W) 1 foreground, 0 background, anything else unknown.
        called: (H, W) predicted foreground.
        caption: lines below it; the first is set in bold.
    """

    image: Pixels
    truth: Pixels
    called: NDArray[np.bool_]
    caption: Sequence[str]


def overlay(image: Pixels, truth: Pixels, called: NDArray[np.bool_]) -> Pixels:
    """(3, H, W) the image in gray with found, missed and false foreground painted on it; unknown pixels are darkened.

    Args:
        image: (C, H, W), 1 or 3 channels.
        truth: (H, W) 1 foreground, 0 background, anything else unknown.
        called: (H, W).

    >>> painted = overlay(np.zeros((1, 1, 3), np.uint8), np.array([[1, 1, 0]], np.uint8), np.array([[True, False, True]]))
    >>> (painted[:, 0, 0] / 0.72).round().astype(int).tolist()  # found, on black
    [86, 181, 233]
    """
    weights = np.full(len(image), 1 / len(image)) if len(image) != 3 else np.array([0.299, 0.587, 0.114])
    gray = np.tensordot(weights, image.astype(np.float32), axes=1)
    painted = np.repeat(gray[None], 3, axis=0)
    positive, known = truth == 1, truth <= 1
    painted[:, ~known] *= UNKNOWN_SHADE
    for colour, region in ((FOUND, positive & called), (MISSED, positive & ~called), (FALSE_ALARM, known & ~positive & called)):
        paint = np.array(colour, dtype=np.float32)[:, None]
        painted[:, region] = (1 - OPACITY) * painted[:, region] + OPACITY * paint
    return np.asarray(np.clip(painted.round(), 0, 255), dtype=np.uint8)


def zoom_box(mask: NDArray[np.bool_], margin: float = 0.35) -> tuple[slice, slice] | None:
    """The square around a mask with a margin of its side; None where that is most of the image, or the mask is empty.

    >>> spot = np.zeros((256, 256), bool); spot[100:110, 200:204] = True
    >>> zoom_box(spot)
    (slice(81, 129, None), slice(178, 226, None))
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    longest = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    side = max(SMALLEST_ZOOM, round((1 + 2 * margin) * longest))
    if side >= ZOOM_UNDER * min(mask.shape):
        return None
    starts = []
    for places, size in ((rows, mask.shape[0]), (columns, mask.shape[1])):
        middle = (places[0] + places[-1] + 1) / 2
        starts.append(int(np.clip(round(middle - side / 2), 0, size - side)))
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


def overlay_sheet(cases: Sequence[OverlayCase], *, side: int = SIDE) -> str:
    """Each case as a pair, its image and its overlay, two pairs a row; small findings are zoomed, and framed in the image.

    Returns:
        A data URI of an SVG with its legend.
    """
    images: list[Pixels] = []
    captions: list[Sequence[str]] = []
    for case in cases:
        box = zoom_box((case.truth == 1) | case.called)
        painted = overlay(case.image, case.truth, case.called)
        whole = case.image if box is None else _framed(case.image, box)
        images += [whole, painted if box is None else painted[:, box[0], box[1]]]
        note = "" if box is None else f"{box[0].stop - box[0].start} × {box[1].stop - box[1].start} pixels, framed at left"
        captions += [list(case.caption), ["overlay", note]]
    return contact_sheet(images, captions, columns=4, side=side, legend=LEGEND)


def _framed(image: Pixels, box: tuple[slice, slice]) -> Pixels:
    """(3, H, W) the image in its colours with a white frame around the box, black outside it, seen on any ground."""
    framed = np.repeat(image, 3, axis=0) if len(image) == 1 else image.copy()
    inner = framed[:, box[0], box[1]].copy()
    thickness = max(1, round(max(image.shape[1:]) / 160))
    for grown, shade in ((2 * thickness, 0), (thickness, 255)):
        rows, columns = (slice(max(0, side.start - grown), side.stop + grown) for side in box)
        framed[:, rows, columns] = shade
    framed[:, box[0], box[1]] = inner
    return framed
