"""One way to change an image's size, for pixels and, plane by plane, for labels: the same geometry for both."""

from __future__ import annotations

from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["scale"]

Kind = TypeVar("Kind", bound=np.uint8 | np.uint16 | np.float32)


def scale(image: NDArray[Kind], width: int, height: int) -> NDArray[Kind]:
    """Averages areas along the sides that shrink, then interpolates linearly along those that grow.

    Args:
        image: (H, W) or (H, W, C).
        width: of the result.
        height: of the result.

    >>> scale(np.array([[0, 1, 1, 1]], np.float32), 2, 1).tolist()
    [[0.5, 1.0]]
    """
    resized: Any = image
    shrunk = (min(width, image.shape[1]), min(height, image.shape[0]))
    if shrunk != image.shape[1::-1]:
        resized = cv2.resize(resized, shrunk, interpolation=cv2.INTER_AREA)
    if shrunk != (width, height):
        resized = cv2.resize(resized, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, image.dtype)
