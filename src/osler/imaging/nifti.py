"""NIfTI volumes: slices as a radiologist looks at them, whatever the order in which the file keeps its voxels.

Volumes are turned to the nearest axes of the patient and shown axially, in the radiological way: slices from the feet to the
head, rows from front to back, columns from the patient's right to the left. Nothing is interpolated. The header is 348 or 540
bytes of fixed layout, and is read here; files may be compressed with gzip.

Source: the NIfTI-1 and NIfTI-2 data formats (nifti1.h, nifti2.h).
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from osler.errors import DataError
from osler.imaging.raw import MAX_PIXELS, ImageInfo, Pixels, RawImage, SpacingKind

__all__ = ["MAX_VOXELS", "Volume", "is_nifti", "probe_nifti", "read_nifti", "read_slice", "read_volume"]

MAX_VOXELS = 2**27
"""The most voxels of a volume that is read, 512³."""
MAX_VOLUME_BYTES = 2**29
"""The most bytes that they may take in the file, uncompressed."""

_HEAD = 544
_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_OTHER_TYPES = {1: "1-bit", 32: "complex", 128: "RGB", 1536: "128-bit", 1792: "complex", 2048: "complex", 2304: "RGBA"}
_FAULTS = (EOFError, zlib.error, gzip.BadGzipFile, OSError)


@dataclass(frozen=True)
class Volume:
    """A volume, axial.

    Attributes:
        pixels: (Z, H, W): slices to the head, rows to the back, columns to the patient's left; uint8, uint16 or float32.
        low: the smallest value that the file's type allows; NaN for floating point.
        high: the largest.
        spacing: between slices, rows and columns, in mm; 1 where the file states none.
        orientation: where the file's own axes point, such as "RAS": right, front, head.
        notes: what was adapted, one sentence each.
    """

    pixels: Pixels
    low: float
    high: float
    spacing: tuple[float, float, float]
    orientation: str
    notes: tuple[str, ...] = ()


def is_nifti(head: bytes) -> bool:
    """Whether a file's first bytes, if need be after gunzip, are a NIfTI header.

    >>> is_nifti(struct.pack("<i", 348) + bytes(340) + b"n+1\\0"), is_nifti(bytes(400))
    (True, False)
    """
    head = _unzipped_head(head)
    one = head[:4] in (struct.pack("<i", 348), struct.pack(">i", 348)) and head[344:348] in (b"n+1\0", b"ni1\0")
    return one or (head[:4] in (struct.pack("<i", 540), struct.pack(">i", 540)) and head[4:7] in (b"n+2", b"ni2"))


def _unzipped_head(head: bytes) -> bytes:
    if not head.startswith(b"\x1f\x8b"):
        return head
    inflate, plain = zlib.decompressobj(zlib.MAX_WBITS | 16), b""
    for start in range(0, len(head), 64):  # little by little, to have what comes before any damage
        if len(plain) >= _HEAD:
            break
        try:
            plain += inflate.decompress(head[start : start + 64], _HEAD - len(plain))
        except zlib.error:
            break
    return plain


def read_volume(path: str | PathLike[str]) -> Volume:
    """Reads a 3-D NIfTI file.

    Raises:
        DataError: the file is absent, damaged, cut short, of another format, of more than 3 dimensions, in colour, or larger
            than `MAX_VOXELS` and `MAX_VOLUME_BYTES`.
    """
    with _opened(path) as file:
        return _read(file, fspath(path), None)


def read_slice(path: str | PathLike[str], z: int) -> RawImage:
    """Reads one axial slice of a 3-D NIfTI file, counted from 0 at the feet; memory for one slice, not for the volume.

    Raises:
        DataError: as `read_volume`, or there is no such slice.
    """
    with _opened(path) as file:
        return read_nifti(file, fspath(path), z)


def _opened(path: str | PathLike[str]) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise DataError(f"{fspath(path)}: cannot be opened: {error.strerror or error}. Check the path.") from error


def read_nifti(file: BinaryIO, name: str, z: int | None = None) -> RawImage:
    """As `read_slice`, of an open file; without `z` the file must hold a single slice."""
    header = _header(file, name)
    slices = header.shape[header.axes[2]]
    if z is None and slices > 1:
        raise DataError(
            f"{name}: a volume of {slices} axial slices, where one image is expected. Name a slice, counted from 0 at the feet: "
            f"{name}#z={slices // 2}."
        )
    if z is not None and not 0 <= z < slices:
        raise DataError(f"{name}: slice {z} is asked for; it has {slices}, counted from 0 at the feet.")
    volume = _read(file, name, z or 0)
    spacing, kind = header.in_slices
    return RawImage(volume.pixels[0], volume.low, volume.high, volume.notes, spacing, kind)


def probe_nifti(file: BinaryIO, name: str) -> ImageInfo:
    """Size, type and spacing of the axial slices of an open file, from its header."""
    header = _header(file, name)
    x, y, _ = header.axes
    return ImageInfo(header.shape[x], header.shape[y], 1, header.result.itemsize * 8, "nifti", "gray", *header.in_slices)


# --- the header -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Header:
    """A NIfTI header, understood.

    Attributes:
        shape: of the stored voxels, first axis fastest in the file.
        dtype: of a stored voxel.
        offset: bytes before the first voxel.
        slope: of stored values; 1 with an intercept of 0 where they mean what they are.
        intercept: of stored values.
        axes: the stored axes that run along the patient's left-right, back-front and feet-head.
        signs: of those, 1 towards right, front and head, −1 away.
        spacing: along the stored axes in mm; 1 where none is stated.
        stated: along which axes it is.
        notes: what was adapted.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    axes: tuple[int, int, int]
    signs: tuple[int, int, int]
    spacing: tuple[float, float, float]
    stated: tuple[bool, bool, bool]
    notes: tuple[str, ...]

    @property
    def in_slices(self) -> tuple[tuple[float, float] | None, SpacingKind | None]:
        """Between rows and columns of an axial slice, and what it measures; None where the file does not state both."""
        x, y, _ = self.axes
        return ((self.spacing[y], self.spacing[x]), "patient") if self.stated[y] and self.stated[x] else (None, None)

    @property
    def result(self) -> np.dtype[Any]:
        """The type of pixels: as stored where that is uint8 or uint16 and not scaled, else float32."""
        plain = self.slope == 1.0 and self.intercept == 0.0 and self.dtype.str[1:] in ("u1", "u2")
        return self.dtype.newbyteorder("=") if plain else np.dtype(np.float32)


@dataclass(frozen=True)
class _Fields:
    """Header fields of either version, as stored."""

    order: str
    dim: tuple[int, ...]
    datatype: int
    pixdim: tuple[float, ...]
    offset: float
    slope: float
    intercept: float
    qform: int
    sform: int
    quaternion: tuple[float, ...]
    rows: tuple[float, ...]
    units: int


def _header(file: BinaryIO, name: str) -> _Header:
    file.seek(0)
    head = _unzipped_head(file.read(1 << 16))
    if not is_nifti(head):
        raise DataError(f"{name}: not a NIfTI file, or one cut short within its header. Get a new copy.")
    if head[344:348] == b"ni1\0" or head[4:7] == b"ni2":
        raise DataError(f"{name}: the header of a NIfTI pair (.hdr and .img). Save both as one .nii file.")
    try:
        fields = _fields_1(head) if head[344:348] == b"n+1\0" else _fields_2(head)
    except struct.error:
        raise DataError(f"{name}: cut short within its NIfTI header. Get a new copy.") from None
    return _understood(fields, name)


def _fields_1(head: bytes) -> _Fields:
    order = "<" if head[:4] == struct.pack("<i", 348) else ">"

    def take(kind: str, at: int) -> tuple[Any, ...]:
        return struct.unpack_from(order + kind, head, at)

    dim, pixdim = take("8h", 40), take("8f", 76)
    offset, slope, intercept = take("3f", 108)
    qform, sform = take("2h", 252)
    (datatype,), (units,) = take("h", 70), take("B", 123)
    return _Fields(order, dim, datatype, pixdim, offset, slope, intercept, qform, sform, take("6f", 256), take("12f", 280), units)


def _fields_2(head: bytes) -> _Fields:
    order = "<" if head[:4] == struct.pack("<i", 540) else ">"

    def take(kind: str, at: int) -> tuple[Any, ...]:
        return struct.unpack_from(order + kind, head, at)

    (datatype,), (offset,), (units,) = take("h", 12), take("q", 168), take("i", 500)
    slope, intercept = take("2d", 176)
    qform, sform = take("2i", 344)
    ends = (take("6d", 352), take("12d", 400), units)
    return _Fields(order, take("8q", 16), datatype, take("8d", 104), offset, slope, intercept, qform, sform, *ends)


def _understood(fields: _Fields, name: str) -> _Header:
    shape = _shape(fields, name)
    if fields.datatype not in _TYPES:
        kind = _OTHER_TYPES.get(fields.datatype, f"kind {fields.datatype}")
        raise DataError(
            f"{name}: a NIfTI file of {kind} voxels; read are integers and floating point of one channel. Convert it."
        )
    dtype = np.dtype(fields.order + _TYPES[fields.datatype])
    _require_size(shape, dtype, name)
    if not math.isfinite(fields.offset) or not 0 <= fields.offset <= MAX_VOLUME_BYTES:
        raise DataError(f"{name}: damaged: its voxels begin at byte {fields.offset}. Get a new copy.")
    scaled = math.isfinite(fields.slope) and fields.slope != 0.0
    slope, intercept = (fields.slope, fields.intercept) if scaled else (1.0, 0.0)
    if not math.isfinite(intercept):
        raise DataError(f"{name}: damaged: its scl_inter is not finite. Get a new copy.")
    axes, signs, notes = _orientation(fields, name)
    unit = {1: 1000.0, 2: 1.0, 3: 0.001}.get(fields.units & 7, 1.0)
    stated = tuple(math.isfinite(side) and side != 0.0 for side in fields.pixdim[1:4])
    spacing = tuple(abs(side) * unit if known else 1.0 for side, known in zip(fields.pixdim[1:4], stated, strict=True))
    return _Header(shape, dtype, int(fields.offset), slope, intercept, axes, signs, spacing, stated, notes)  # type: ignore[arg-type]


def _shape(fields: _Fields, name: str) -> tuple[int, int, int]:
    count = fields.dim[0]
    sides = [*fields.dim[1 : 1 + count], 1, 1, 1] if 1 <= count <= 7 else []
    if not sides or min(sides) < 1:
        raise DataError(f"{name}: damaged: a NIfTI file of dimensions {list(fields.dim)}. Get a new copy.")
    if math.prod(sides[3:]) > 1:
        raise DataError(
            f"{name}: a NIfTI file of {math.prod(sides[3:])} volumes; which one is meant cannot be known. Save it alone."
        )
    return sides[0], sides[1], sides[2]


def _require_size(shape: tuple[int, int, int], dtype: np.dtype[Any], name: str) -> None:
    voxels = math.prod(shape)
    if voxels > MAX_VOXELS or voxels * dtype.itemsize > MAX_VOLUME_BYTES or voxels // min(shape) > MAX_PIXELS:
        raise DataError(
            f"{name}: {' × '.join(map(str, shape))} voxels of {dtype.itemsize} bytes are more than the {MAX_VOXELS:,} voxels and "
            f"{MAX_VOLUME_BYTES:,} bytes that are read at most, which guards against files made to exhaust memory. Cut it up."
        )


def _orientation(fields: _Fields, name: str) -> tuple[tuple[int, int, int], tuple[int, int, int], tuple[str, ...]]:
    """For each direction of the patient the stored axis nearest to it, and its sign."""
    notes: tuple[str, ...] = ()
    if fields.sform > 0:
        matrix = np.array(fields.rows, np.float64).reshape(3, 4)[:, :3]
    elif fields.qform > 0:
        matrix = _rotation(fields.quaternion[:3]) * [1.0, 1.0, -1.0 if fields.pixdim[0] < 0 else 1.0]
    else:
        matrix = np.diag([-1.0, 1.0, 1.0])
        notes = ("the file states no orientation: its axes were taken to run to the left, the front and the head",)
    lengths = np.linalg.norm(matrix, axis=0)
    if not np.isfinite(matrix).all() or not lengths.all():
        raise DataError(f"{name}: damaged: its orientation makes no sense. Get a new copy.")
    u, scales, v = np.linalg.svd(matrix / lengths, full_matrices=False)
    if scales[-1] < 1e-3:
        raise DataError(f"{name}: damaged: its orientation makes no sense: two of its axes are the same. Get a new copy.")
    nearest = u @ v  # the rotation nearest to the matrix: [patient direction, stored axis]
    orders = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    axes = max(orders, key=lambda order: sum(abs(nearest[place, axis]) for place, axis in enumerate(order)))
    signs = tuple(1 if nearest[place, axis] > 0 else -1 for place, axis in enumerate(axes))
    return axes, signs, notes  # type: ignore[return-value]


def _rotation(quaternion: tuple[float, ...]) -> NDArray[np.float64]:
    """The rotation of a unit quaternion whose first part is left out (nifti1.h, method 2)."""
    b, c, d = quaternion
    a = math.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * b * c - 2 * a * d, 2 * b * d + 2 * a * c],
            [2 * b * c + 2 * a * d, a * a + c * c - b * b - d * d, 2 * c * d - 2 * a * b],
            [2 * b * d - 2 * a * c, 2 * c * d + 2 * a * b, a * a + d * d - c * c - b * b],
        ]
    )


# --- voxels -----------------------------------------------------------------------------------------------------------------


def _read(file: BinaryIO, name: str, z: int | None) -> Volume:
    """The volume, or the volume of one slice alone; read plane by plane, so that only the result is held."""
    header = _header(file, name)
    x, y, height = header.axes
    lengths = [header.shape[axis] for axis in (height, y, x)]
    stored = None if z is None else z if header.signs[2] > 0 else lengths[0] - 1 - z
    result = np.empty((lengths[0] if stored is None else 1, *lengths[1:]), header.result)
    view = result.transpose(np.argsort((height, y, x)))  # the result with its axes as in the file
    for place, plane in enumerate(_planes(file, header, name)):
        if height == 2 and stored is not None:
            if place == stored:
                view[:, :, 0] = plane
                break
        elif stored is not None:
            view[:, :, place] = plane[stored : stored + 1] if height == 0 else plane[:, stored : stored + 1]
        else:
            view[:, :, place] = plane
    # Towards the head, the back and the left: 1, −1 and −1 of the directions that signs count.
    steps = (1 if stored is not None else header.signs[2], -header.signs[1], -header.signs[0])
    turned = np.ascontiguousarray(result[tuple(slice(None, None, step) for step in steps)])
    low, high = _limits(header)
    letters = ["", "", ""]
    for axis, sign, pair in zip(header.axes, header.signs, ("LR", "PA", "IS"), strict=True):
        letters[axis] = pair[sign > 0]
    spacing = (header.spacing[height], header.spacing[y], header.spacing[x])
    return Volume(turned, low, high, spacing, "".join(letters), header.notes)


def _limits(header: _Header) -> tuple[float, float]:
    if header.dtype.kind == "f":
        return float("nan"), float("nan")
    ends = np.iinfo(header.dtype)
    low, high = sorted((float(ends.min) * header.slope + header.intercept, float(ends.max) * header.slope + header.intercept))
    return low, high


def _planes(file: BinaryIO, header: _Header, name: str) -> Iterator[NDArray[Any]]:
    """(first axis, second axis) of each step along the third, scaled."""
    file.seek(0)
    zipped = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    stream: Any = gzip.GzipFile(fileobj=file) if zipped else file
    first, second, third = header.shape
    size = first * second * header.dtype.itemsize
    held = file.seek(0, 2)
    file.seek(0)
    if not zipped and held < header.offset + size * third:
        raise DataError(
            f"{name}: cut short: its voxels reach to byte {header.offset + size * third:,} of {held:,}. Get a new copy."
        )
    try:
        stream.seek(header.offset)
        for place in range(third):
            data = stream.read(size)
            if len(data) < size:
                raise DataError(f"{name}: cut short: it ends within plane {place} of {third}. Get a new copy.")
            yield _scaled(np.frombuffer(data, header.dtype).reshape(second, first).T, header)
    except _FAULTS as error:
        raise DataError(
            f"{name}: damaged or cut short: its voxels cannot be read ({type(error).__name__}). Get a new copy."
        ) from None


def _scaled(plane: NDArray[Any], header: _Header) -> NDArray[Any]:
    if header.result.kind != "f":
        return plane
    with np.errstate(over="ignore", invalid="ignore"):  # float64 beyond float32 becomes infinite, and preparation refuses it
        if header.slope == 1.0 and header.intercept == 0.0:
            return plane.astype(np.float32)
        return (plane.astype(np.float64) * header.slope + header.intercept).astype(np.float32)
