"""Outlines: the borders of masks drawn on an image, so that what lies inside stays to be seen."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["COLOURS", "legend_of", "outlined"]

Pixels = NDArray[np.uint8]

COLOURS: tuple[tuple[int, int, int], ...] = (
    (240, 228, 66), (86, 180, 233), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (0, 114, 178),
)  # fmt: skip
"""One a class, RGB, after Okabe and Ito (2008); the first stands out on gray."""
UNKNOWN_SHADE = 0.45


def outlined(image: Pixels, masks: Pixels, side: int) -> Pixels:
    """(3, h, w) the image with the outline of each class's mask; unknown pixels are darkened.

    Both are first brought to a longer side of `side` pixels, so that a line is a line however large the image was.

    Args:
        image: (C, H, W), 1 or 3 channels.
        masks: (K, H, W) 1 foreground, 0 not, anything else unknown.
        side: of the result in pixels.

    >>> masks = np.zeros((1, 8, 8), np.uint8); masks[0, 2:6, 2:6] = 1
    >>> outlined(np.zeros((1, 8, 8), np.uint8), masks, 8)[0].tolist()[2:5]
    [[0, 0, 240, 240, 240, 240, 0, 0], [0, 0, 240, 0, 0, 240, 0, 0], [0, 0, 240, 0, 0, 240, 0, 0]]
    """
    height, width = image.shape[1:]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shown = cv2.resize(
        np.ascontiguousarray(image.transpose(1, 2, 0)), size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    )
    painted = np.repeat(shown[..., None], 3, axis=2) if shown.ndim == 2 else shown.copy()
    planes = [cv2.resize(np.ascontiguousarray(mask), size, interpolation=cv2.INTER_NEAREST) for mask in masks]
    unknown = np.all([plane > 1 for plane in planes], axis=0)
    painted[unknown] = (UNKNOWN_SHADE * painted[unknown]).astype(np.uint8)
    for number, plane in enumerate(planes):
        found, _ = cv2.findContours((plane == 1).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(painted, found, -1, COLOURS[number % len(COLOURS)], max(1, side // 160))
    return np.ascontiguousarray(painted.transpose(2, 0, 1))


def legend_of(classes: Sequence[str]) -> tuple[tuple[tuple[int, int, int], str], ...]:
    """Colours and the classes that they outline."""
    return tuple((COLOURS[number % len(COLOURS)], name) for number, name in enumerate(classes))
