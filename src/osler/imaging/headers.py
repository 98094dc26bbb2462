"""The headers of PNG and JPEG files, read by ourselves, since decoders hide what matters.

OpenCV turns CMYK and palette images into plain colour, shows the first frame of an animation, and returns what it has of
some damaged files, all without a word. What is found here decides whether a file is decoded at all, and what is noted.

Sources: Portable Network Graphics (Third Edition), W3C 2025; ITU-T T.81 (JPEG), annex B; CIPA DC-008 (Exif), DC-007 (MPO).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from osler.errors import DataError

__all__ = ["Header", "NeedMoreBytesError", "jpeg_frame", "read_jpeg_header", "read_png_header", "require_jpeg_end", "sound_png"]


class NeedMoreBytesError(Exception):
    """The header goes on past the bytes at hand; with the whole file at hand, the file is cut short."""


@dataclass(frozen=True)
class Header:
    """A file's own statement of what it holds.

    Attributes:
        width: stored columns, before the orientation is applied.
        height: stored rows, before the orientation is applied.
        channels: 1 gray, 3 colour; alpha is not counted.
        bits: of one channel.
        format: "png", "jpeg" or "tiff".
        mode: "gray", "rgb" or "palette", with "+alpha" where there is an alpha channel.
        orientation: the Exif tag, 1 (upright) to 8.
        notes: what a reader should know, one sentence each.
    """

    width: int
    height: int
    channels: int
    bits: int
    format: str
    mode: str
    orientation: int = 1
    notes: tuple[str, ...] = ()


# --- PNG --------------------------------------------------------------------------------------------------------------------

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_MODES = {0: "gray", 2: "rgb", 3: "palette", 4: "gray+alpha", 6: "rgb+alpha"}
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of the body, its length) of each chunk up to IEND."""
    at = len(_PNG_SIGNATURE)
    while True:
        if at + 8 > len(data):
            raise NeedMoreBytesError
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        yield kind, at + 8, length
        at += length + 12
        if kind == b"IEND":
            return


def _body(data: bytes, start: int, length: int) -> bytes:
    if start + length > len(data):
        raise NeedMoreBytesError
    return data[start : start + length]


def read_png_header(data: bytes, name: str) -> Header:
    """What a PNG says before its pixels begin; DataError for animations and impossible headers."""
    header: Header | None = None
    orientation, gray_palette, transparent = 1, False, False
    for kind, start, length in _chunks(data):
        if header is None:
            header = _read_ihdr(kind, _body(data, start, length), name)
        elif kind == b"acTL":
            (frames,) = struct.unpack(">I", _body(data, start, length)[:4].rjust(4, b"\0"))
            if frames != 1:
                raise DataError(
                    f"{name}: an animated PNG of {frames} frames; which one is meant cannot be known. "
                    "Save the frame that matters as a PNG of its own."
                )
        elif kind == b"PLTE":
            gray_palette = _is_gray(_body(data, start, length))
        elif kind == b"eXIf":
            orientation = _exif_orientation(_body(data, start, length))
        elif kind == b"tRNS":
            transparent = True
        elif kind in (b"IDAT", b"IEND"):
            break
    assert header is not None, "the first chunk makes the header"
    palette = header.mode == "palette"
    return Header(
        header.width,
        header.height,
        1 if gray_palette and palette else header.channels,
        header.bits,
        "png",
        header.mode + ("+alpha" if transparent else ""),
        orientation,
    )


def _read_ihdr(kind: bytes, body: bytes, name: str) -> Header:
    if kind != b"IHDR" or len(body) != 13:
        raise DataError(f"{name}: damaged: a PNG must begin with an IHDR chunk, this begins with {kind!r}. Get a new copy.")
    width, height, bits, colour = struct.unpack_from(">IIBB", body)
    if bits not in _PNG_DEPTHS.get(colour, ()):
        raise DataError(f"{name}: damaged: a PNG of colour type {colour} with {bits} bits does not exist. Get a new copy.")
    mode = _PNG_MODES[colour]
    return Header(width, height, 1 if mode.startswith("gray") else 3, 8 if mode == "palette" else bits, "png", mode)


def _is_gray(palette: bytes) -> bool:
    entries = np.frombuffer(palette[: len(palette) // 3 * 3], np.uint8).reshape(-1, 3)
    return bool((entries == entries[:, :1]).all())


def sound_png(data: bytes, name: str) -> bytes:
    """The critical chunks of a PNG whose checksums all hold.

    What is left out (colour profiles, Exif, transparency, text) is either noted from the header or has no part in the pixels,
    and would let the decoder warn or turn the image by itself.

    Raises:
        DataError: a chunk is damaged, or the file ends before its IEND chunk.
    """
    kept: list[tuple[int, int]] = []
    try:
        for kind, start, length in _chunks(data):
            end = start + length + 4
            if kind not in _CRITICAL:
                continue
            if end > len(data):
                raise NeedMoreBytesError
            (stated,) = struct.unpack_from(">I", data, end - 4)
            if zlib.crc32(memoryview(data)[start - 4 : end - 4]) != stated:
                raise DataError(f"{name}: damaged: the checksum of its {kind.decode()} chunk is wrong. Get a new copy.")
            kept.append((start - 8, end))
    except NeedMoreBytesError:
        raise DataError(
            f"{name}: cut short: the PNG ends after {len(data)} bytes, before its IEND chunk. Get a new copy."
        ) from None
    if len(_PNG_SIGNATURE) + sum(end - start for start, end in kept) == len(data):
        return data
    return _PNG_SIGNATURE + b"".join(data[start:end] for start, end in kept)


# --- JPEG -------------------------------------------------------------------------------------------------------------------

_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SOF_LS = 0xF7
_LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF)
_STANDALONE = (0x01, *range(0xD0, 0xD9))
# In the coded pixels FF is followed by 00 (a stuffed FF), D0–D7 (a restart) or another FF (fill); all else is a marker.
_FILL = re.compile(rb"\xff*")
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def _segments(data: bytes, at: int = 2) -> Iterator[tuple[int, int, int]]:
    """(marker, start of the body, its length) of each segment from `at` to the first coded pixels, SOS being the last."""
    while True:
        at = max(at, _FILL.match(data, at).end() - 1)  # type: ignore[union-attr]  # it matches anywhere
        if at + 4 > len(data):
            raise NeedMoreBytesError
        marker = data[at + 1] if data[at] == 0xFF else 0
        if marker == 0:
            return
        if marker in _STANDALONE:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        yield marker, at + 4, length - 2
        if marker == 0xDA:
            return
        at += 2 + max(length, 2)


def read_jpeg_header(data: bytes, name: str) -> Header:
    """What a JPEG says before its pixels begin; DataError for CMYK and for kinds that are not decoded."""
    frame: tuple[int, int, int, int, int] | None = None
    orientation, images, marker = 1, 1, 0
    for marker, start, length in _segments(data):
        if marker in _SOF:
            frame = (marker, *struct.unpack(">BHHB", _body(data, start, length)[:6].ljust(6, b"\0")))
        elif marker == 0xE1 and data[start : start + 6] == b"Exif\0\0":
            orientation = _exif_orientation(_body(data, start, length)[6:])
        elif marker == 0xE2 and data[start : start + 4] == b"MPF\0":
            images = _mpo_images(_body(data, start, length)[4:])
    if frame is None or marker != 0xDA:
        missing = "a frame header" if frame is None else "pixels"
        raise DataError(f"{name}: damaged: a JPEG without {missing}. Get a new copy.")
    marker, bits, height, width, components = frame
    if components == 4:
        raise DataError(
            f"{name}: a CMYK JPEG; what its inks look like depends on a colour profile. "
            "Convert it to RGB or gray with a program that applies the profile."
        )
    if components not in (1, 3) or bits != 8 or marker in _LOSSLESS:
        kind = "lossless " if marker in _LOSSLESS else ""
        raise DataError(
            f"{name}: a {kind}JPEG of {bits} bits and {components} channels; 8-bit JPEGs of 1 or 3 channels, not lossless, are "
            "read. Convert it to PNG."
        )
    mode, channels = ("gray", 1) if components == 1 else ("rgb", 3)
    notes = (f"the file holds {images} images (MPO); its primary one was read",) if images > 1 else ()
    return Header(width, height, channels, bits, "jpeg", mode, orientation, notes)


def jpeg_frame(data: bytes) -> tuple[int, int, int] | None:
    """Width, height and components that JPEG or JPEG-LS (ITU-T T.87) data state first; None where they state nothing."""
    if not data.startswith(b"\xff\xd8"):
        return None
    try:
        for marker, start, length in _segments(data):
            if marker in _SOF or marker == _SOF_LS:
                height, width, components = struct.unpack(">xHHB", _body(data, start, length)[:6].ljust(6, b"\0"))
                return width, height, components
    except NeedMoreBytesError:
        pass
    return None


def require_jpeg_end(data: bytes, name: str) -> None:
    """DataError unless the coded pixels of a JPEG reach their end marker; decoders fill what is missing with gray."""
    if data.endswith(b"\xff\xd9"):
        return
    at = next(start + length for marker, start, length in _segments(data) if marker == 0xDA)
    while (found := _MARKER.search(data, at)) is not None:
        if data[found.start() + 1] == 0xD9:
            return
        body = data[found.end() : found.end() + 2]
        at = found.end() + (struct.unpack(">H", body)[0] if len(body) == 2 else 0)
    raise DataError(f"{name}: cut short: the JPEG ends after {len(data)} bytes, before its end marker. Get a new copy.")


# --- Exif -------------------------------------------------------------------------------------------------------------------


def _ifd_entries(block: bytes) -> Iterator[tuple[int, int, int]]:
    """(tag, count, first value) of the first directory of a TIFF block; nothing where the block makes no sense."""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 8:
        return
    (at,) = struct.unpack_from(order + "I", block, 4)
    if at + 2 > len(block):
        return
    (number,) = struct.unpack_from(order + "H", block, at)
    for index in range(number):
        entry = at + 2 + 12 * index
        if entry + 12 > len(block):
            return
        tag, kind, count = struct.unpack_from(order + "HHI", block, entry)
        (value,) = struct.unpack_from(order + ("H" if kind == 3 else "I"), block, entry + 8)
        yield tag, count, value


def _exif_orientation(block: bytes) -> int:
    """The orientation tag, 1 to 8; 1 where it is absent or makes no sense."""
    found = next((value for tag, _, value in _ifd_entries(block) if tag == 0x0112), 1)
    return found if 1 <= found <= 8 else 1


def _mpo_images(block: bytes) -> int:
    """Number of images in a multi-picture file (tag B001)."""
    return next((value for tag, _, value in _ifd_entries(block) if tag == 0xB001), 1)
