"""The stored values of one DICOM frame: taken from its place in the file, decoded, and freed of bits that are not theirs."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.errors import DataError
from osler.imaging.dicom_codecs import CODECS, JPEG_12_BIT, Codec, FrameLayout, decode_frame
from osler.imaging.dicom_file import DICOMDIR_CLASS, DicomHeader, faults_of_pydicom
from osler.imaging.dicom_isolation import DecoderError, decode_isolated
from osler.imaging.headers import jpeg_frame
from osler.imaging.raw import MAX_PIXELS

__all__ = ["MAX_FRAME_BYTES", "frame_count", "frame_layout", "in_rows", "stored_values"]

MAX_FRAME_BYTES = 2**28
"""Bytes of one decoded frame."""
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
_VIDEO = ("1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.101", "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.103")
_GRAY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_BITS = {"PixelData": (1, 8, 16, 32), "FloatPixelData": (32,), "DoubleFloatPixelData": (64,)}


def frame_layout(header: DicomHeader) -> FrameLayout:
    """What the header says of each frame, held against what can be and what is read.

    Raises:
        DataError: there are no pixels, or their description is incomplete, impossible or beyond the limits.
    """
    name = header.name
    if header.place is None:
        raise DataError(f"{name}: a DICOM file without pixels{_kind(header)}. {_instead(header)}")
    rows, columns, bits = (_required(header, keyword) for keyword in ("Rows", "Columns", "BitsAllocated"))
    samples = header.integer("SamplesPerPixel") or 1
    photometric = header.text("PhotometricInterpretation")
    if photometric not in (_GRAY if samples == 1 else _COLOUR if samples == 3 else ()):
        known = photometric if photometric in (*_GRAY, *_COLOUR, "HSV", "ARGB", "CMYK", "YBR_PARTIAL_420") else "of that kind"
        raise DataError(
            f"{name}: a DICOM image of {samples} channels, {known or 'of no stated kind'}; read are {', '.join(_GRAY)} of one "
            f"channel and {', '.join(_COLOUR)} of three. Convert it."
        )
    if bits not in _BITS[header.place.keyword] or (bits > 16 and photometric == "PALETTE COLOR"):
        raise DataError(
            f"{name}: a DICOM image with {bits} bits allocated; read are 1, 8, 16, 32, and floating point. Convert it."
        )
    stored = header.integer("BitsStored") or bits
    if not 1 <= stored <= bits:
        raise DataError(f"{name}: damaged: {stored} bits stored of {bits} allocated cannot be. Get a new copy.")
    _require_size(name, rows, columns, samples * math.ceil(bits / 8))
    signed, planar = header.integer("PixelRepresentation") or 0, header.integer("PlanarConfiguration") or 0
    if signed not in (0, 1) or planar not in (0, 1):
        raise DataError(f"{name}: damaged: its PixelRepresentation or PlanarConfiguration is neither 0 nor 1. Get a new copy.")
    return FrameLayout(rows, columns, samples, photometric, bits, stored, signed, planar)


def frame_count(header: DicomHeader) -> int:
    """How many frames the header says there are, at least 1."""
    return max(1, header.integer("NumberOfFrames") or 1)


def _required(header: DicomHeader, keyword: str) -> int:
    value = header.integer(keyword)
    if value is None:
        raise DataError(f"{header.name}: damaged: a DICOM image without {keyword}. Get a new copy.")
    return value


def _kind(header: DicomHeader) -> str:
    """What a file without pixels is instead, where its class is a known one."""
    from pydicom.uid import UID

    name = UID(header.kind, validation_mode=0).name  # of an unknown one, itself
    return f": {name}" if name != header.kind else ""


def _instead(header: DicomHeader) -> str:
    if header.kind == DICOMDIR_CLASS:
        return "It is the index of a folder (DICOMDIR): name the images it lists."
    return "Remove it from the set, or get the image itself."


def _require_size(name: str, rows: int, columns: int, pixel_bytes: int) -> None:
    if rows < 1 or columns < 1:
        raise DataError(f"{name}: the image is {columns} × {rows} pixels: nothing is in it. Get a new copy.")
    if rows * columns > MAX_PIXELS or rows * columns * pixel_bytes > MAX_FRAME_BYTES:
        raise DataError(
            f"{name}: {columns} × {rows} pixels of {pixel_bytes} bytes are more than the {MAX_PIXELS:,} pixels and "
            f"{MAX_FRAME_BYTES:,} bytes that are decoded at most, which guards against files made to exhaust memory. "
            "Shrink it, or cut it into tiles."
        )


# --- one frame --------------------------------------------------------------------------------------------------------------


def stored_values(header: DicomHeader, layout: FrameLayout, frame: int) -> NDArray[Any]:
    """The values of one frame as they are stored, colour as RGB.

    Args:
        header: of the file.
        layout: its `frame_layout`.
        frame: counted from 0.

    Returns:
        (H, W) or (H, W, 3), of a signed, unsigned or floating-point type; of unused bits, such as those that once held
        overlays, nothing is left.

    Raises:
        DataError: the pixels are damaged or cut short, or their decoder is not installed.
    """
    if header.syntax in _NATIVE:
        pixels, photometric = _native(header, layout, frame)
        pixels = _own_bits(pixels, header, layout)
    else:
        pixels, photometric = _compressed(header, layout, frame)
    expected = (layout.rows, layout.columns) if layout.samples_per_pixel == 1 else (layout.rows, layout.columns, 3)
    if pixels.shape != expected:
        raise DataError(f"{header.name}: damaged: its pixels are not of the size that its header says. Get a new copy.")
    if photometric not in (*_GRAY, "RGB"):
        raise DataError(f"{header.name}: colours stored as {photometric} are read only where JPEG 2000 holds them. Convert it.")
    return pixels


def _native(header: DicomHeader, layout: FrameLayout, frame: int) -> tuple[NDArray[Any], str]:
    from pydicom.pixels.decoders.base import get_decoder

    place = header.place
    assert place is not None
    size = layout.rows * layout.columns * layout.samples_per_pixel * layout.bits_allocated
    if layout.photometric_interpretation == "YBR_FULL_422":
        size = size // 3 * 2
    needed = math.ceil(size * (frame + 1) / 8)
    held = min(header.file.size - place.start, place.length if place.length is not None else header.file.size)
    if needed > held:
        raise DataError(
            f"{header.name}: cut short: the pixels of frame {frame + 1} reach to byte {needed:,} of their element, which holds "
            f"{max(held, 0):,}. Get a new copy."
        )
    options: dict[str, Any] = asdict(layout) | {"number_of_frames": frame_count(header), "pixel_keyword": place.keyword}
    options["correct_unused_bits"] = False  # `_own_bits` does that
    if place.keyword != "PixelData":
        del options["pixel_representation"], options["bits_stored"]
    if place.vr is not None:
        options["pixel_vr"] = place.vr
    with faults_of_pydicom(header.name, "its pixel data"):
        header.file.seek(place.start)
        decoder = get_decoder(header.syntax)
        pixels, meta = decoder.as_array(header.file, index=frame, **options)
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False), str(meta["photometric_interpretation"])


def _own_bits(pixels: NDArray[Any], header: DicomHeader, layout: FrameLayout) -> NDArray[Any]:
    """Keeps bits HighBit down to HighBit + 1 − BitsStored of each value, the first being the sign of signed ones."""
    if pixels.dtype.kind == "f" or layout.bits_allocated == 1:
        return pixels
    high = header.integer("HighBit")
    high = layout.bits_stored - 1 if high is None else high
    if not layout.bits_stored - 1 <= high < layout.bits_allocated:
        raise DataError(
            f"{header.name}: damaged: {layout.bits_stored} bits stored up to bit {high} of {layout.bits_allocated} cannot be. "
            "Get a new copy."
        )
    left, right = layout.bits_allocated - 1 - high, layout.bits_allocated - layout.bits_stored
    return (pixels << left) >> right if right else pixels  # what is above falls off, and of signed types the sign comes down


def _compressed(header: DicomHeader, layout: FrameLayout, frame: int) -> tuple[NDArray[Any], str]:
    codec = _codec(header, layout)
    data = _frame_bytes(header, frame)
    _require_sound(header.name, codec, data, layout)
    try:
        if codec.isolated:
            return decode_isolated(data, header.syntax, codec.plugin, layout)
        with faults_of_pydicom(header.name, f"its {codec.name} data"):
            return decode_frame(data, header.syntax, codec.plugin, layout)
    except DecoderError as error:
        raise DataError(
            f"{header.name}: its {codec.name} data cannot be decoded ({error}). "
            "Where other such files can, it is damaged: get a new copy."
        ) from None


def _codec(header: DicomHeader, layout: FrameLayout) -> Codec:
    codec = CODECS.get(header.syntax)
    if codec is None:
        what = "a video" if header.syntax.startswith(_VIDEO) else "compressed in a way that is not read"
        known = header.syntax if header.syntax.replace(".", "").isdigit() else "not stated"
        raise DataError(
            f"{header.name}: a DICOM image that is {what} (transfer syntax {known}). Convert it to an uncompressed one, of a "
            "video the frame that matters."
        )
    if codec.plugin == "pillow" and layout.bits_stored > 8:
        codec = JPEG_12_BIT
    if not codec.is_available:
        raise DataError(
            f"{header.name}: its pixels are {codec.name}, and the decoder for it is not installed: pip install "
            f'"osler[dicom]", or pip install {codec.packages}.'
        )
    return codec


def _frame_bytes(header: DicomHeader, frame: int) -> bytes:
    from pydicom.encaps import get_frame

    assert header.place is not None
    tables = header.data("ExtendedOffsetTable"), header.data("ExtendedOffsetTableLengths")
    extended = tables if all(isinstance(table, bytes) and table for table in tables) else None
    with faults_of_pydicom(header.name, "the place of its frame"):
        header.file.seek(header.place.start)
        return get_frame(header.file, frame, number_of_frames=frame_count(header), extended_offsets=extended)


def _require_sound(name: str, codec: Codec, data: bytes, layout: FrameLayout) -> None:
    """Holds the coded frame's own header against the file's, before a decoder allocates what it claims."""
    if codec.name == "RLE":
        return
    stated = jpeg_frame(data) if "2000" not in codec.name else _j2k_size(data)
    found = f"{stated[0]} × {stated[1]} pixels of {stated[2]} channels" if stated else "no frame header"
    if stated != (layout.columns, layout.rows, layout.samples_per_pixel):
        raise DataError(
            f"{name}: damaged: its header says {layout.columns} × {layout.rows} pixels of {layout.samples_per_pixel} channels, "
            f"its {codec.name} data say {found}. Get a new copy."
        )
    if b"\xff\xd9" not in data[-64:]:  # their end marker; a few bytes of padding may follow
        raise DataError(
            f"{name}: cut short: its {codec.name} data end after {len(data):,} bytes, before their end marker. Get a new copy."
        )


def _j2k_size(data: bytes) -> tuple[int, int, int] | None:
    """Width, height and components of a JPEG 2000 stream, bare or in a JP2 box (ISO/IEC 15444-1, A.5.1); None without SIZ."""
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0 or len(data) < at + 42:
        return None
    stream = io.BytesIO(data[at + 8 : at + 42])
    right, bottom, left, top, tile_width, tile_height = (int.from_bytes(stream.read(4), "big") for _ in range(6))
    stream.read(8)
    components = int.from_bytes(stream.read(2), "big")
    if not tile_width or not tile_height or math.ceil(right / tile_width) * math.ceil(bottom / tile_height) > 65_535:
        return None
    return right - left, bottom - top, components


def in_rows(pixels: NDArray[Any], convert: Callable[[NDArray[Any]], NDArray[Any]], dtype: type) -> NDArray[Any]:
    """`convert` applied to a few rows at a time, so that its intermediate arrays stay small.

    >>> in_rows(np.array([[1, 2], [3, 4]]), lambda rows: rows / 2.0, np.float32).tolist()
    [[0.5, 1.0], [1.5, 2.0]]
    """
    result: NDArray[Any] = np.empty(pixels.shape, dtype)
    step = max(1, 2**20 // max(1, pixels[0].size))
    for top in range(0, len(pixels), step):
        result[top : top + step] = convert(pixels[top : top + step])
    return result
