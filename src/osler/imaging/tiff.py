"""TIFF files: their header, and their samples exactly as stored.

No one decoder does for TIFF what it should. OpenCV returns damaged strips as pixels, multiplies colours by alpha and
inverts white-is-zero images of 8 bits but not of 16; Pillow cuts 16-bit colour to 8. So each file goes to the decoder that
is exact for it: tifffile for what Python can decompress, with its checksums; Pillow for other compressions up to 8 bits a channel
and 16-bit gray; OpenCV for the rest. Orientation and inversion are switched off in the bytes the decoders see, and done here.
"""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from osler.errors import DataError
from osler.imaging.headers import Header

__all__ = ["decode_tiff", "read_tiff_header"]

_PHOTOMETRIC = {0: "gray", 1: "gray", 2: "rgb", 3: "palette", 6: "rgb"}
_REFUSED = {
    4: ("a mask", "Save it as gray."),
    5: (
        "a CMYK image; what its inks look like depends on a colour profile",
        "Convert it to RGB or gray with a program that applies the profile.",
    ),
    8: ("a LAB image", "Convert it to RGB or gray."),
    9: ("a LAB image", "Convert it to RGB or gray."),
    10: ("a LAB image", "Convert it to RGB or gray."),
    32803: ("a camera's raw mosaic", "Develop it and save it as TIFF or PNG."),
    34892: ("a camera's raw image", "Develop it and save it as TIFF or PNG."),
}
_BY_TIFFFILE = (1, 8, 32946, 32773, 34925)
"""Compressions that tifffile undoes alone: none, deflate (two numbers), packbits, LZMA."""
_ORIENTATION, _PHOTOMETRIC_TAG = 274, 262
_FAULTS = (ValueError, LookupError, TypeError, ArithmeticError, struct.error, EOFError, zlib.error, OSError)
"""What tifffile and Pillow raise on damaged files."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps tifffile's log lines, and NumPy's warnings of impossible numbers, off stderr: our own error says it."""
    logger = logging.getLogger("tifffile")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        logger.setLevel(before)


def read_tiff_header(file: BinaryIO, name: str) -> Header:
    """What a TIFF says of its one full image; DataError for several pages and for kinds that are not read."""
    with _quiet():
        try:
            with tifffile.TiffFile(file) as tiff:
                return _header_of(_only_page(tiff, name), name)
        except _FAULTS as error:
            raise _damaged(name, error) from error


def _damaged(name: str, error: object) -> DataError:
    said = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{name}: a damaged TIFF or one cut short ({said}). Get a new copy.")


def _only_page(tiff: Any, name: str) -> Any:
    # Bit 0 of the subfile type marks a smaller copy of another page: a thumbnail or a level of a pyramid.
    pages = [page for page in (tiff.pages[index] for index in range(len(tiff.pages))) if not page.aspage().subfiletype & 1]
    if not pages:
        raise _damaged(name, "no page")
    if len(pages) > 1:
        raise DataError(
            f"{name}: a TIFF of {len(pages)} pages; which one is meant cannot be known. "
            "Save the page that matters as a TIFF or PNG of its own."
        )
    return pages[0].aspage()


def _header_of(page: Any, name: str) -> Header:
    if not all(isinstance(number, int) for number in (page.imagewidth, page.imagelength, page.samplesperpixel)):
        raise _damaged(name, "its size is not one number a side")
    photometric = int(page.photometric)
    if photometric not in _PHOTOMETRIC:
        what, do = _REFUSED.get(photometric, (f"an image of photometric kind {photometric}", "Convert it to RGB or gray."))
        raise DataError(f"{name}: a TIFF with {what}. {do}")
    mode = _PHOTOMETRIC[photometric]
    colours = 3 if mode == "rgb" else 1
    extra = page.samplesperpixel - colours
    declared = [int(kind) for kind in page.extrasamples]
    if extra < 0 or extra > 1 or (extra == 1 and mode != "rgb" and declared != [1] and declared != [2]):
        raise DataError(
            f"{name}: a {mode} TIFF of {page.samplesperpixel} channels; 1 (gray) or 3 (colour) are read, each with one alpha "
            "channel at most. Save the channels that matter as gray or RGB."
        )
    bits = _depth(page, name)
    if photometric == 0 and page.sampleformat != 1:
        raise DataError(f"{name}: a TIFF whose white is zero, of samples that are not unsigned. Save it with black as zero.")
    orientation = page.tags.get(_ORIENTATION)
    turned = int(orientation.value) if orientation is not None and 1 <= int(orientation.value) <= 8 else 1
    channels = 1 if mode == "palette" and _gray_colormap(page) else 3 if mode == "palette" else colours
    bits = 8 if mode == "palette" else bits
    return Header(page.imagewidth, page.imagelength, channels, bits, "tiff", mode + "+alpha" * extra, turned)


def _depth(page: Any, name: str) -> int:
    # Channels of unequal depth come as a tuple; 0 is not among the allowed.
    bits = int(page.bitspersample) if isinstance(page.bitspersample, int) else 0
    form = int(page.sampleformat or 1)
    allowed = {1: (1, 2, 4, 8, 16), 2: (16,), 3: (32,)}
    if bits not in allowed.get(form, ()) or (bits < 8 and page.samplesperpixel > 1):
        kind = {1: "unsigned", 2: "signed", 3: "floating-point"}.get(form, f"kind {form}")
        raise DataError(
            f"{name}: a TIFF of {page.bitspersample}-bit {kind} samples; read are unsigned 8 and 16 bits, signed 16 bits and "
            "32-bit floating point. Convert it."
        )
    return bits


def _gray_colormap(page: Any) -> bool:
    colours = np.asarray(page.colormap)
    return bool((colours == colours[:1]).all())


def decode_tiff(data: bytes, name: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Samples of a TIFF that `read_tiff_header` accepted, not yet turned upright.

    Returns:
        (H, W) gray or (H, W, 3) RGB of uint8, uint16, int16 or float32, alpha dropped; and what was adapted.

    Raises:
        DataError: the file is damaged or cut short, or its compression is not known here.
    """
    with _quiet():
        try:
            with tifffile.TiffFile(io.BytesIO(data)) as tiff:
                page = _only_page(tiff, name)
                return _finish(_samples(data, page, name), page)
        except _FAULTS as error:
            raise _damaged(name, error) from error


def _samples(data: bytes, page: Any, name: str) -> NDArray[Any]:
    """(H, W, S) samples as stored, by the decoder that is exact for this page."""
    ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
    if max(ends) > len(data):
        raise _damaged(name, f"its pixels reach to byte {max(ends)}, the file ends at {len(data)}")
    if int(page.compression) in _BY_TIFFFILE and int(page.photometric) != 6:
        pixels = np.asarray(page.asarray())
        return np.moveaxis(pixels, 0, -1) if int(page.planarconfig) == 2 and pixels.ndim == 3 else pixels
    plain = _neutral(data, page)
    bits = page.bitspersample
    if bits <= 8 or (bits == 16 and page.samplesperpixel == 1 and int(page.sampleformat) == 1):
        return _by_pillow(plain, page, name)
    if int(page.planarconfig) == 2 and page.samplesperpixel > 1:
        raise DataError(
            f"{name}: a TIFF of {bits}-bit channels in separate planes, compressed by method {int(page.compression)}. "
            "Save it uncompressed, or as PNG."
        )
    return _by_opencv(plain, name)


def _neutral(data: bytes, page: Any) -> bytes:
    """The file with its orientation upright and black as zero, so that decoders neither turn nor invert."""
    changed = bytearray(data)
    order = page.parent.byteorder
    if _ORIENTATION in page.tags:
        struct.pack_into(order + "H", changed, page.tags[_ORIENTATION].valueoffset, 1)
    if int(page.photometric) == 0:
        struct.pack_into(order + "H", changed, page.tags[_PHOTOMETRIC_TAG].valueoffset, 1)
    return bytes(changed)


@contextmanager
def _told_of_cuts() -> Iterator[None]:
    """Pillow only warns of tags that reach beyond the file; here that is an error, and its other warnings are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for words in ("Truncated File Read", "Tag data larger than file"):
            warnings.filterwarnings("error", words)
        yield


def _by_pillow(data: bytes, page: Any, name: str) -> NDArray[Any]:
    from PIL import Image, UnidentifiedImageError  # few TIFF files need it

    try:
        with _told_of_cuts(), Image.open(io.BytesIO(data)) as image:
            pixels = np.asarray(image.convert("RGB") if image.mode == "YCbCr" else image)
    except (UserWarning, Image.DecompressionBombError) as error:
        raise _damaged(name, error) from error
    except UnidentifiedImageError:
        raise DataError(
            f"{name}: a TIFF compressed by method {int(page.compression)}, or laid out in a way, that is not known here. "
            "Save it uncompressed, or as PNG."
        ) from None
    if 1 < page.bitspersample < 8 and int(page.photometric) != 3:
        pixels = pixels // (255 // (2**page.bitspersample - 1))  # Pillow has spread them over 0 to 255
    return pixels.astype(page.dtype)


def _by_opencv(data: bytes, name: str) -> NDArray[Any]:
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise _damaged(name, error.err) from error
    finally:
        cv2.utils.logging.setLogLevel(before)
    if pixels is None:
        raise _damaged(name, "no decoder here reads its compression or its content")
    found: NDArray[Any] = pixels
    return found[..., [2, 1, 0]] if found.ndim == 3 else found


def _finish(samples: NDArray[Any], page: Any) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Gray or RGB out of samples as stored: alpha off, palette looked up, white-is-zero inverted, types that we know."""
    notes: list[str] = []
    mode = _PHOTOMETRIC[int(page.photometric)]
    if samples.ndim == 3:
        samples = samples[..., :3] if mode == "rgb" else samples[..., 0]
    if mode == "palette":
        colours = (np.asarray(page.colormap) >> 8).astype(np.uint8)  # (3, entries), 16 bits in the file
        return (colours[0] if _gray_colormap(page) else colours.T)[samples], ()
    bits = page.bitspersample
    if bits < 8:
        samples = samples.astype(np.uint8) * np.uint8(255 // (2**bits - 1))
        notes.append(f"{bits}-bit pixels were spread over 0 to 255")
    if int(page.photometric) == 0:
        samples = np.iinfo(samples.dtype).max - samples
        notes.append("white is zero in the file; it was inverted")
    return samples, tuple(notes)
