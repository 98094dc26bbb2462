"""How deep prepared images are, and the two ways to read them: 0 to 255 for a network, bytes for the eye.

Whatever the depth, a network receives 0 to 255, so that normalisation, augmentation and pretrained weights stay as they are:
65535 / 257 is 255, and 16 bits are 257 steps where bytes have one.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["STEPS", "TOPS", "Depth", "Fed", "Levels", "for_eye", "for_network"]

Depth = Literal["uint8", "uint16"]
Levels = NDArray[np.uint8 | np.uint16]
"""Prepared pixels as they are kept, from 0 to the greatest value of their type."""
Fed = NDArray[np.uint8 | np.float32]
"""Prepared pixels as a network receives them, 0 to 255: bytes, or floats between them."""

TOPS: dict[Depth, int] = {"uint8": 255, "uint16": 65535}
STEPS = 257
"""Of 16 bits in one of 8."""


def for_network(images: Levels) -> Fed:
    """Prepared images on the scale of 0 to 255: bytes as they are, 16 bits as floats.

    >>> for_network(np.array([0, 257, 65535], np.uint16)).tolist()
    [0.0, 1.0, 255.0]
    """
    if images.dtype == np.uint8:
        return images.astype(np.uint8, copy=False)
    return np.divide(images, np.float32(STEPS), dtype=np.float32)


def for_eye(images: Levels | Fed) -> NDArray[np.uint8]:
    """Prepared images as bytes, rounded, for pictures and histograms.

    >>> for_eye(np.array([0, 128, 129, 65535], np.uint16)).tolist(), for_eye(np.array([0.4, 254.6], np.float32)).tolist()
    ([0, 0, 1, 255], [0, 255])
    """
    if images.dtype == np.uint8:
        return images.astype(np.uint8, copy=False)
    if images.dtype == np.uint16:
        # The quotient of 65535 + 128 is still 255; the sum needs more than 16 bits.
        return ((images.astype(np.uint32) + STEPS // 2) // STEPS).astype(np.uint8)
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)
