"""What reading an image gives: pixels with a stated range, or, without decoding, what the header says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from osler.imaging.window import Window

__all__ = ["MAX_PIXELS", "ImageInfo", "Pixels", "RawImage", "SpacingKind"]

SpacingKind = Literal["patient", "calibrated", "detector", "scanned", "unstated"]
"""What a pixel spacing measures. "patient": distances in the patient, as in slices and volumes. "calibrated": a projection
whose magnification was corrected. "detector": a projection as it falls on the detector, where things are magnified.
"scanned": paper or film as a scanner saw it. "unstated": the file does not say which."""

Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]

MAX_PIXELS = 2**26
"""The most pixels of an image that is decoded, 8192 × 8192: a small file can claim any size, and memory is not endless."""


@dataclass(frozen=True)
class RawImage:
    """Pixels as a file holds them, upright.

    Of a DICOM image these are the values after its modality step, such as Hounsfield units; how a viewer would shade them is
    kept beside them in `window` and `inverted`, and computed in `Preparation` only where it is asked for.

    Attributes:
        pixels: (H, W) gray or (H, W, 3) RGB; uint8, uint16 or float32.
        low: the smallest value that the pixel type, or whoever made the image, allows; NaN where nothing is stated.
        high: the largest such value; NaN where nothing is stated.
        notes: what was adapted while reading, one sentence each, such as "the alpha channel was dropped".
        spacing: distance between the centres of rows, and of columns, in mm; None where none is stated.
        spacing_kind: what that distance measures; None where there is none.
        window: what a viewer shows as black and white, for `preparation.range: window`; None where the format has no such thing.
        inverted: low values are meant to be bright (MONOCHROME1): whatever the range, `Preparation` turns 0–255 round last.
    """

    pixels: Pixels
    low: float
    high: float
    notes: tuple[str, ...] = ()
    spacing: tuple[float, float] | None = None
    spacing_kind: SpacingKind | None = None
    window: Window | None = None
    inverted: bool = False


@dataclass(frozen=True)
class ImageInfo:
    """What a header says about an image.

    Attributes:
        width: pixels, after the orientation is applied.
        height: pixels, after the orientation is applied.
        channels: 1 gray, 3 colour; alpha is not counted.
        bits: of one channel: 1, 2, 4, 8, 16 or 32; of a palette image, those of its colours: 8; of a DICOM image or a volume,
            those of the pixels that reading gives, 32 being floating point.
        format: "png", "jpeg", "tiff", "dicom" or "nifti"; a source without files names itself, such as "array".
        mode: "gray", "rgb" or "palette"; with "+alpha" where there is an alpha channel.
        spacing: distance between the centres of rows, and of columns, in mm; None where none is stated.
        spacing_kind: what that distance measures; None where there is none.
    """

    width: int
    height: int
    channels: int
    bits: int
    format: str
    mode: str
    spacing: tuple[float, float] | None = None
    spacing_kind: SpacingKind | None = None
