"""Overlays: masks drawn over their image, in colours that colour-blind readers can tell apart."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["COLOURS", "colour_of", "overlay"]

COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2")
"""Of the classes in turn: Okabe and Ito (2008), those that stand out on gray and on red tissue first."""
LARGEST = 2048
"""The longer side of an overlay in pixels, at most; it is for the eye, the masks are for measuring."""
FILL = 0.25
"""How much of the colour lies over the image inside a mask; its outline is drawn in the colour alone."""


def colour_of(k: int) -> str:
    """The colour of a class as "#rrggbb"; after the seventh they begin anew."""
    return COLOURS[k % len(COLOURS)]


def overlay(picture: NDArray[np.uint8], planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image with its masks, filled lightly and outlined just outside, so that what is called can still be seen.

    Args:
        picture: (H, W) gray or (H, W, 3) RGB.
        planes: (K, H, W) of 0 and 1.

    Returns:
        (h, w, 3) RGB, at most `LARGEST` pixels a side.

    >>> overlay(np.zeros((4, 5), np.uint8), np.zeros((1, 4, 5), np.uint8)).shape
    (4, 5, 3)
    """
    height, width = picture.shape[:2]
    factor = min(1.0, LARGEST / max(height, width))
    if factor < 1:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        # A mask's smallest parts are kept: any share of a pixel is shown as one.
        shares = [cv2.resize(plane.astype(np.float32), size, interpolation=cv2.INTER_AREA) for plane in planes]
        planes = (np.stack(shares) > 0).astype(np.uint8)
    canvas = np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture.copy()
    radius = max(1, round(max(canvas.shape) / 600))
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    for k, plane in enumerate(planes):
        colour = np.array(_red_green_blue(colour_of(k)), np.float32)
        inside = plane == 1
        canvas[inside] = np.rint((1 - FILL) * canvas[inside] + FILL * colour).astype(np.uint8)
        canvas[(cv2.dilate(plane, around) == 1) & ~inside] = colour.astype(np.uint8)
    return canvas


def _red_green_blue(colour: str) -> tuple[int, ...]:
    """The three bytes of "#rrggbb".

    >>> _red_green_blue("#0a00ff")
    (10, 0, 255)
    """
    return tuple(bytes.fromhex(colour[1:]))
