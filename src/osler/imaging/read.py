"""An image file becomes pixels: PNG, JPEG, TIFF, DICOM and NIfTI, 8 and 16 bit, gray and colour, upright, with a stated range.

A DICOM file of many frames or a NIfTI volume holds many images; `path#frame=3` and `path#z=80` name one (`named_part`).

Recognising comes first, from the file's first bytes and its own header (`headers`, `tiff`): what cannot be read without a
guess, such as an animation or CMYK, is refused with what to do, and a file that is cut short is an error rather than a
half-gray image. Only then are the pixels decoded. The extension of a file is never trusted.
"""

from __future__ import annotations

import io
import os
import re
import struct
from os import PathLike, fspath
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from osler.errors import DataError
from osler.imaging.dicom_file import is_dicom
from osler.imaging.headers import (
    Header,
    NeedMoreBytesError,
    read_jpeg_header,
    read_png_header,
    require_jpeg_end,
    sound_png,
)
from osler.imaging.nifti import is_nifti, probe_nifti, read_nifti
from osler.imaging.raw import MAX_PIXELS, ImageInfo, Pixels, RawImage

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "ImageInfo",
    "Pixels",
    "RawImage",
    "decode_image",
    "named_part",
    "probe_image",
    "read_image",
]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom", ".nii", ".nii.gz")
"""How files that are looked for in a folder end, in lower case; a file named by hand may have any extension."""

_HEAD = 1 << 16
"""Bytes read to probe a file; where the header goes on, the whole file is read."""

_KNOWN = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
}
_OTHERS = {
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"8BPS": "a Photoshop file",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 file",
    b"\xff\x4f\xff\x51": "a JPEG 2000 stream",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"\x1f\x8b": "a gzip archive",
    b"PK\x03\x04": "a zip archive",
    b"%PDF": "a PDF",
}
_TURNED = {
    2: "mirrored left to right",
    3: "turned by 180°",
    4: "mirrored top to bottom",
    5: "mirrored along its diagonal",
    6: "turned by 90° clockwise",
    7: "mirrored along its other diagonal",
    8: "turned by 90° counter-clockwise",
}


_PART = re.compile(r"(?P<path>.+)#(?P<part>frame|z)=(?P<number>[0-9]{1,9})", re.DOTALL)
_PARTS = {"dicom": ("frame", "a frame of a DICOM file"), "nifti": ("z", "a slice of a NIfTI volume")}


def named_part(name: str) -> tuple[str, str | None, int]:
    """The file that a name means, and which part of it: "frame" of a DICOM file, from 1, or "z" of a volume, from 0.

    A file that is really called so is that file, whole.

    >>> named_part("ct.nii.gz#z=80"), named_part("film.png")
    (('ct.nii.gz', 'z', 80), ('film.png', None, 0))
    """
    found = _PART.fullmatch(name)
    if found is None or os.path.exists(name):
        return name, None, 0
    return found["path"], found["part"], int(found["number"])


def read_image(path: str | PathLike[str]) -> RawImage:
    """Reads one image file, or the part of one that `named_part` tells.

    Raises:
        DataError: the file is absent, empty, damaged, cut short, of another format, animated or of several pages, CMYK, a volume
            without a slice named, or of more than `MAX_PIXELS`; or the libraries for DICOM are not installed. The message
            names the path, what was seen, and what to do.
    """
    name, part, number = named_part(fspath(path))
    try:
        with open(name, "rb") as file:
            head = file.read(_HEAD)
            kind = _format_of(head, file, name)  # a wrong file of many gigabytes is not read to its end
            if kind in _PARTS:
                return _read_one_of_many(kind, file, name, part, number)
            _require_whole(kind, name, part)
            data = head + file.read()
    except OSError as error:
        raise _unopened(name, error) from error
    return decode_image(data, name)


def decode_image(data: bytes, name: str) -> RawImage:
    """As `read_image`, from the bytes of a file; `name` stands for the path in messages."""
    file = io.BytesIO(data)
    kind = _format_of(data[:_HEAD], file, name)
    if kind in _PARTS:
        return _read_one_of_many(kind, file, name, None, 0)
    header = _header(kind, data[:_HEAD], file, name)
    pixels, notes = _DECODERS[header.format](data, header, name)
    if pixels.shape[:2] != (header.height, header.width):
        raise DataError(
            f"{name}: damaged: the header says {header.width} × {header.height} pixels, {pixels.shape[1]} × {pixels.shape[0]} "
            "were decoded. Get a new copy."
        )
    notes = (*header.notes, *_notes_on(header), *notes)
    low, high = _stated_range(pixels)
    if pixels.dtype == np.int16:
        pixels, notes = pixels.astype(np.float32), (*notes, "signed 16-bit pixels were read as floating point")
    return RawImage(np.ascontiguousarray(_upright(pixels, header.orientation)), low, high, notes)


def probe_image(path: str | PathLike[str]) -> ImageInfo:
    """Size, depth and mode of a file from its header, without decoding; of a volume, those of a slice.

    Raises:
        DataError: as `read_image`, for what the header alone can tell.
    """
    name, part, number = named_part(fspath(path))
    try:
        with open(name, "rb") as file:
            head = file.read(_HEAD)
            kind = _format_of(head, file, name)
            _require_whole(kind, name, part)
            if kind in _PARTS:
                return _probe_one_of_many(kind, file, name, None if part is None else number)
            header = _header(kind, head, file, name)
    except OSError as error:
        raise _unopened(name, error) from error
    width, height = header.width, header.height
    if header.orientation >= 5:
        width, height = height, width
    return ImageInfo(width, height, header.channels, header.bits, header.format, header.mode)


def _require_whole(kind: str, name: str, part: str | None) -> None:
    """DataError where a part is named of a file that has no such parts."""
    if part is not None and part != _PARTS.get(kind, (None,))[0]:
        what = next(what for known, what in _PARTS.values() if known == part)
        raise DataError(f"{name}: #{part}= names {what}, and this is a {kind.upper()} file. Leave it out.")


def _read_one_of_many(kind: str, file: BinaryIO, name: str, part: str | None, number: int) -> RawImage:
    _require_whole(kind, name, part)
    chosen = None if part is None else number
    if kind == "dicom":
        from osler.imaging.dicom import read_dicom  # few sets need it, and it needs libraries that are optional

        return read_dicom(file, name, chosen)
    return read_nifti(file, name, chosen)


def _probe_one_of_many(kind: str, file: BinaryIO, name: str, number: int | None) -> ImageInfo:
    if kind == "dicom":
        from osler.imaging.dicom import probe_dicom  # as in `_read_one_of_many`

        return probe_dicom(file, name, number)
    return probe_nifti(file, name)


def _unopened(name: str, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{name}: no such file. Check the path and, for a table of paths, the folder they are relative to.")
    if isinstance(error, IsADirectoryError):
        return DataError(f"{name}: a folder, where an image file is expected. Name the file.")
    return DataError(f"{name}: cannot be opened: {error.strerror or error}. Check its permissions and its disk.")


# --- recognising ------------------------------------------------------------------------------------------------------------


def _header(kind: str, head: bytes, file: BinaryIO, name: str) -> Header:
    """The header of an open file, its size held against the limits."""
    if kind == "tiff":
        from osler.imaging.tiff import read_tiff_header  # tifffile takes a while to import, and few sets need it

        file.seek(0)
        header = read_tiff_header(file, name)
    else:
        header = _parsed(kind, head, file, name)
    if header.width == 0 or header.height == 0:
        raise DataError(f"{name}: the image is {header.width} × {header.height} pixels: nothing is in it. Get a new copy.")
    if header.width * header.height > MAX_PIXELS:
        raise DataError(
            f"{name}: {header.width} × {header.height} pixels are more than the {MAX_PIXELS:,} that are decoded at most (8192²), "
            "which guards against files made to exhaust memory. Shrink it, or cut it into tiles."
        )
    return header


def _parsed(kind: str, head: bytes, file: BinaryIO, name: str) -> Header:
    parse = {"png": read_png_header, "jpeg": read_jpeg_header}[kind]
    try:
        return parse(head, name)
    except NeedMoreBytesError:
        pass
    file.seek(0)
    data = file.read()
    try:
        return parse(data, name)
    except NeedMoreBytesError:
        raise DataError(
            f"{name}: cut short: the {kind.upper()} ends after {len(data)} bytes, within its header. Get a new copy."
        ) from None


def _format_of(head: bytes, file: BinaryIO, name: str) -> str:
    """The format that a file's first bytes show; DataError, saying what the file is instead, where we do not read it."""
    if not head:
        raise DataError(f"{name}: the file is empty (0 bytes). Get a new copy.")
    if is_dicom(head):  # first, as the bytes before its mark may be those of a TIFF
        return "dicom"
    for magic, kind in _KNOWN.items():
        if head.startswith(magic):
            return kind
    if is_nifti(head):
        return "nifti"
    raise DataError(
        f"{name}: {_what_it_is(head)}{_frames(head, file)}, not a PNG, JPEG, TIFF, DICOM or NIfTI file. {_what_to_do(head)}"
    )


def _frames(head: bytes, file: BinaryIO) -> str:
    """The words " of 5 frames" where the file is an animation that Pillow can count."""
    if not head.startswith((b"GIF8", b"RIFF")):
        return ""
    from PIL import Image, UnidentifiedImageError  # on the way to an error only

    file.seek(0)
    try:
        with Image.open(file) as image:
            frames = getattr(image, "n_frames", 1)
    except (UnidentifiedImageError, OSError, EOFError, SyntaxError, ValueError, struct.error):
        return ""
    return f" of {frames} frames" if frames > 1 else ""


def _what_it_is(head: bytes) -> str:
    other = next((what for magic, what in _OTHERS.items() if head.startswith(magic)), None)
    if other is not None:
        return other
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a WebP file"
    if head[4:8] == b"ftyp":
        return f"a file of kind {head[8:12].decode('ascii', 'replace')} (HEIC, AVIF or video)"
    if not head.strip(b"\0"):
        return "nothing but zero bytes"
    try:
        text = head[:200].decode("utf-8")
    except UnicodeDecodeError:
        return f"an unknown format (first bytes {head[:8].hex(' ')})"
    if text.isprintable() or any(space in text for space in "\n\r\t"):
        return f"text that begins with {' '.join(text.split())[:40]!r}"
    return f"an unknown format (first bytes {head[:8].hex(' ')})"


def _what_to_do(head: bytes) -> str:
    if head.startswith(b"version https://git-lfs"):
        return "It is a Git LFS pointer: fetch the real file with `git lfs pull`."
    if (
        head.startswith((b"GIF8", b"RIFF", b"BM", b"8BPS", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"%PDF"))
        or head[4:8] == b"ftyp"
    ):
        return "Convert it to PNG; of an animation, the frame that matters."
    return "Remove it from the set, or get the image again."


# --- decoding ---------------------------------------------------------------------------------------------------------------


def _decode_png(data: bytes, header: Header, name: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    return _by_opencv(sound_png(data, name), header, name), ()


def _decode_jpeg(data: bytes, header: Header, name: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    require_jpeg_end(data, name)
    return _by_opencv(data, header, name), ()


def _decode_tiff(data: bytes, header: Header, name: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    from osler.imaging.tiff import decode_tiff  # as in `_header`

    return decode_tiff(data, name)


_DECODERS = {"png": _decode_png, "jpeg": _decode_jpeg, "tiff": _decode_tiff}


def _by_opencv(data: bytes, header: Header, name: str) -> NDArray[Any]:
    """(H, W) gray or (H, W, 3) RGB, as stored: IMREAD_UNCHANGED keeps 16 bits and does not turn."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise DataError(f"{name}: damaged, or not decodable ({error.err}). Get a new copy.") from error
    if pixels is None:
        raise DataError(f"{name}: damaged: its {header.format.upper()} pixels cannot be decoded. Get a new copy.")
    found: NDArray[Any] = pixels
    if header.channels == 1:
        return found if found.ndim == 2 else found[..., 0]
    return np.asarray(cv2.cvtColor(found[..., :3], cv2.COLOR_BGR2RGB))


def _notes_on(header: Header) -> tuple[str, ...]:
    notes = []
    if header.mode.startswith("palette"):
        notes.append(f"the palette was expanded to {'gray' if header.channels == 1 else 'colour'}")
    if header.mode.endswith("+alpha"):
        notes.append("the alpha channel was dropped")
    if header.bits < 8 and header.format == "png":
        notes.append(f"{header.bits}-bit pixels were spread over 0 to 255")
    if header.orientation != 1:
        notes.append(f"the image was {_TURNED[header.orientation]}, as its orientation tag says")
    return tuple(notes)


def _stated_range(pixels: NDArray[Any]) -> tuple[float, float]:
    if pixels.dtype.kind == "f":
        return float("nan"), float("nan")
    limits = np.iinfo(pixels.dtype)
    return float(limits.min), float(limits.max)


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Applies an Exif orientation (CIPA DC-008, 4.6.5): 5 to 8 exchange rows and columns first.

    >>> _upright(np.array([[1, 2], [3, 4]]), 6).tolist()
    [[3, 1], [4, 2]]
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
