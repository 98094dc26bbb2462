"""DICOM images: stored values become pixels with a meaning, and what a viewer would show of them is kept beside.

The order is DICOM's: stored values → modality step (lookup table, or slope and intercept) → value of interest (window or lookup
table) → inversion of MONOCHROME1. The first step is done while reading, so that `preparation.range: [low, high]` is in Hounsfield
units for CT; the others are kept in `RawImage.window` and `RawImage.inverted` for `Preparation`. What is decided for a file:

* Of several windows the first; a lookup table before a window. Where the file states neither: images of up to 8 bits keep
  their values, of others each image's own smallest and largest value become black and white.
* Pixels outside the image (PixelPaddingValue) get the darkest value that is inside.
* Of several frames the one in the middle, where none is named (`path#frame=3`, counted from 1).
* Overlays, and supplemental colours over gray, are left out. Overviews of slides are refused.

Source: DICOM PS3.3, C.7.6.3, C.7.9, C.11.1, C.11.2; PS3.5, 8. Who the patient is is not read.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from osler.errors import DataError
from osler.imaging.dicom_codecs import FrameLayout
from osler.imaging.dicom_file import DicomHeader, faults_of_pydicom, read_header
from osler.imaging.dicom_pixels import frame_count, frame_layout, in_rows, stored_values
from osler.imaging.dicom_values import Modality, modality_of, padding_of, window_of
from osler.imaging.raw import ImageInfo, RawImage, SpacingKind
from osler.imaging.window import Window

__all__ = ["probe_dicom", "read_dicom"]

_SLICES = ("CT", "MR", "PT", "NM", "RTDOSE", "SEG")
_SLIDE = "a microscopic slide cut into tiles"


def read_dicom(file: BinaryIO, name: str, frame: int | None = None) -> RawImage:
    """Reads one frame of an open DICOM file.

    Args:
        file: its bytes.
        name: stands for the path in messages.
        frame: counted from 1; None: the one in the middle.

    Raises:
        DataError: pydicom or a decoder is not installed (the message says what to install); the file has no pixels, is
            damaged, cut short, of a kind that is not read, or beyond the limits. No message quotes a text of the file.
    """
    header = read_header(file, name)
    layout = frame_layout(header)
    frames = frame_count(header)
    index = _chosen(header, frames, frame)
    pixels = stored_values(header, layout, index)
    notes = _notes(header, layout, frames, index, frame)
    spacing, kind = _spacing(header, index)
    if layout.samples_per_pixel == 3:
        image = _colour(pixels, layout)
    elif layout.photometric_interpretation == "PALETTE COLOR":
        image = RawImage(_looked_up(pixels, header), 0.0, 255.0, ("the palette was expanded to colour",))
    else:
        image = _gray(pixels, header, layout, index)
    return RawImage(image.pixels, image.low, image.high, (*notes, *image.notes), spacing, kind, image.window, image.inverted)


def probe_dicom(file: BinaryIO, name: str, frame: int | None = None) -> ImageInfo:
    """Size, kind and spacing of a frame of an open DICOM file from its header; DataError as `read_dicom`, for what that tells."""
    header = read_header(file, name)
    layout = frame_layout(header)
    index = _chosen(header, frame_count(header), frame)
    spacing, kind = _spacing(header, index)
    channels, bits, mode = layout.samples_per_pixel, 8, "palette"
    if layout.photometric_interpretation == "PALETTE COLOR":
        channels = 3
    else:
        modality = None if channels == 3 else modality_of(header, layout, index)
        bits = np.dtype(_dtype(header, layout, modality)).itemsize * 8
        mode = "rgb" if channels == 3 else "gray"
    return ImageInfo(layout.columns, layout.rows, channels, bits, "dicom", mode, spacing, kind)


def _chosen(header: DicomHeader, frames: int, frame: int | None) -> int:
    if frame is None:
        if frames > 1 and header.integer("TotalPixelMatrixColumns"):
            raise DataError(
                f"{header.name}: {_SLIDE}, {frames:,} in all; none of them is the image. Name one ({header.name}#frame=1 to "
                f"#frame={frames}), or export the slide as TIFF or PNG."
            )
        return frames // 2
    if not 1 <= frame <= frames:
        raise DataError(f"{header.name}: frame {frame} is asked for; it has {frames:,}, counted from 1.")
    return frame - 1


# --- pixels -----------------------------------------------------------------------------------------------------------------


def _dtype(header: DicomHeader, layout: FrameLayout, modality: Modality | None) -> type:
    """The type that holds every value: uint8 only for plain 8-bit values, which need no range to be seen."""
    plain = modality is None or modality.is_identity
    assert header.place is not None
    if header.place.keyword != "PixelData" or layout.pixel_representation or layout.bits_stored > 16 or not plain:
        return np.float32
    return np.uint8 if layout.bits_stored == 8 else np.uint16


def _colour(pixels: NDArray[Any], layout: FrameLayout) -> RawImage:
    if pixels.dtype.kind == "f" or layout.pixel_representation:
        pixels, notes = pixels.astype(np.float32), ("signed colours were read as floating point",)
        low, high = float("nan"), float("nan")
        return RawImage(pixels, low, high, notes, window=Window.between(float(pixels.min()), float(pixels.max())))
    low, high = 0.0, float(2**layout.bits_stored - 1)
    if layout.bits_stored > 16:
        return RawImage(in_rows(pixels, lambda rows: rows, np.float32), low, high, (_WIDE,), window=Window.between(low, high))
    dtype = np.uint8 if layout.bits_stored == 8 else np.uint16
    return RawImage(np.ascontiguousarray(pixels.astype(dtype)), low, high, window=Window.between(low, high))


_WIDE = "32-bit integers were read as floating point"


def _gray(pixels: NDArray[Any], header: DicomHeader, layout: FrameLayout, index: int) -> RawImage:
    modality = modality_of(header, layout, index)
    inverted = layout.photometric_interpretation == "MONOCHROME1"
    notes = list(modality.notes)
    pixels, padded = _without_padding(pixels, header, layout, inverted)
    notes += padded
    if layout.bits_stored > 16 and pixels.dtype.kind != "f":
        notes.append(_WIDE)
    values = in_rows(pixels, modality.values, _dtype(header, layout, modality))
    low, high = modality.limits(layout) if pixels.dtype.kind != "f" else (float("nan"), float("nan"))
    window, said = window_of(header, index, values, low, high, layout.bits_stored if pixels.dtype.kind != "f" else 32)
    notes += said
    if inverted:
        notes.append("MONOCHROME1: low values are bright, and the image is inverted when it is prepared")
    if header.text("PresentationLUTShape") == ("IDENTITY" if inverted else "INVERSE"):
        notes.append("its PresentationLUTShape contradicts its PhotometricInterpretation, which was believed")
    return RawImage(values, low, high, tuple(notes), window=window, inverted=inverted)


def _without_padding(
    pixels: NDArray[Any], header: DicomHeader, layout: FrameLayout, inverted: bool
) -> tuple[NDArray[Any], list[str]]:
    """Gives pixels that stand for nothing the darkest value that stands for something."""
    limits = padding_of(header, layout)
    if limits is None or pixels.dtype.kind == "f":
        return pixels, []
    empty = (pixels >= limits[0]) & (pixels <= limits[1])
    if not empty.any() or empty.all():
        return pixels, []
    inside = pixels[~empty]
    pixels = np.where(empty, inside.max() if inverted else inside.min(), pixels)
    return pixels, ["pixels outside the image (PixelPaddingValue) were made as dark as its darkest"]


def _looked_up(pixels: NDArray[Any], header: DicomHeader) -> NDArray[np.uint8]:
    """(H, W, 3) colours of a palette, 8 bits of each."""
    from pydicom.pixels.processing import apply_color_lut

    with faults_of_pydicom(header.name, "its palette"):
        entries = np.arange(int(pixels.max()) + 1, dtype=pixels.dtype) if pixels.dtype.kind == "u" else np.unique(pixels)
        colours = apply_color_lut(entries[None], header.elements)[0, :, :3]
    if colours.dtype != np.uint8:
        # Some writers state 16 bits and store 8.
        colours = (colours >> 8 if colours.max(initial=0) > 255 else colours).astype(np.uint8)
    return colours[pixels if pixels.dtype.kind == "u" else np.searchsorted(entries, pixels)]


# --- what is said of it -----------------------------------------------------------------------------------------------------


def _notes(header: DicomHeader, layout: FrameLayout, frames: int, index: int, asked: int | None) -> list[str]:
    notes = []
    if header.bare:
        notes.append("the file lacks DICOM's preamble; how it is encoded was found out")
    if frames > 1 and asked is None:
        notes.append(f"of {frames:,} frames the one in the middle, {index + 1}, was read")
    if layout.photometric_interpretation.startswith("YBR"):
        notes.append("luminance and colour differences were converted to RGB")
    if header.has_overlay():
        notes.append("overlays were left out")
    if header.text("BurnedInAnnotation") == "YES":
        notes.append("the file says that text is burned into its pixels, which may name the patient")
    if header.text("RecognizableVisualFeatures") == "YES":
        notes.append("the file says that the patient can be recognised by sight")
    ratio = header.numbers("PixelAspectRatio")
    if len(ratio) == 2 and ratio[0] != ratio[1]:
        notes.append("its pixels are not square")
    return notes


def _spacing(header: DicomHeader, index: int) -> tuple[tuple[float, float] | None, SpacingKind | None]:
    """Row and column spacing in mm, and what it measures (PS3.3, 10.7)."""
    holder = next((holder for holder in header.holders(index, "PixelMeasuresSequence") if "PixelSpacing" in holder), None)
    given = _pair(header, "PixelSpacing", holder) if holder is not None else None
    detector, scanned = _pair(header, "ImagerPixelSpacing"), _pair(header, "NominalScannedPixelSpacing")
    if given is None:
        others: tuple[tuple[tuple[float, float] | None, SpacingKind], ...] = ((detector, "detector"), (scanned, "scanned"))
        return next(((spacing, kind) for spacing, kind in others if spacing is not None), (None, None))
    if header.text("Modality") in _SLICES:
        return given, "patient"
    if header.text("PixelSpacingCalibrationType") in ("GEOMETRY", "FIDUCIAL") or detector not in (None, given):
        return given, "calibrated"
    return given, "detector" if detector is not None else "unstated"


def _pair(header: DicomHeader, keyword: str, holder: Any = None) -> tuple[float, float] | None:
    values = header.numbers(keyword, holder)
    return (values[0], values[1]) if len(values) == 2 and min(values) > 0 else None
