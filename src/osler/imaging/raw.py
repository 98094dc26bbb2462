"""What reading an image gives: pixels with a stated range, or, without decoding, what the header says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_PIXELS", "ImageInfo", "Pixels", "RawImage"]

Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]

MAX_PIXELS = 2**26
"""The most pixels of an image that is decoded, 8192 × 8192: a small file can claim any size, and memory is not endless."""


@dataclass(frozen=True)
class RawImage:
    """Pixels as a file holds them, upright.

    Attributes:
        pixels: (H, W) gray or (H, W, 3) RGB; uint8, uint16 or float32.
        low: the smallest value that the pixel type, or whoever made the image, allows; NaN where nothing is stated.
        high: the largest such value; NaN where nothing is stated.
        notes: what was adapted while reading, one sentence each, such as "the alpha channel was dropped".
    """

    pixels: Pixels
    low: float
    high: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageInfo:
    """What a header says about an image.

    Attributes:
        width: pixels, after the orientation is applied.
        height: pixels, after the orientation is applied.
        channels: 1 gray, 3 colour; alpha is not counted.
        bits: of one channel: 1, 2, 4, 8, 16 or 32; of a palette image, those of its colours: 8.
        format: "png", "jpeg" or "tiff"; a source without files names itself, such as "array".
        mode: "gray", "rgb" or "palette"; with "+alpha" where there is an alpha channel.
    """

    width: int
    height: int
    channels: int
    bits: int
    format: str
    mode: str
