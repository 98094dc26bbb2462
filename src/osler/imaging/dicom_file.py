"""A DICOM file: its header as far as we need it, and the bytes of one frame.

Only the elements listed in `_READ` are ever taken from a file; who the patient is stays where it is. Texts from a file are not
quoted in messages, nor are those of pydicom, which may repeat values: a damaged file can put a name where a number belongs.
pydicom is imported inside functions: without it this module still imports.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import math
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, BinaryIO

from osler.errors import DataError

__all__ = [
    "DICOMDIR_CLASS",
    "DicomHeader",
    "PixelPlace",
    "faults_of_pydicom",
    "is_dicom",
    "quiet",
    "read_header",
    "require_pydicom",
]

DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
DEFLATED = "1.2.840.10008.1.2.1.99"
MAX_INFLATED = 2**29
"""Bytes that a deflated file may grow to."""
_MAX_ELEMENT = 2**20
_MAX_GROUPS = 2**24
_PIXEL_TAGS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_READ = (
    "SOPClassUID",
    "Modality",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "PixelSpacingCalibrationType",
    "PixelAspectRatio",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "PresentationLUTShape",
    "BurnedInAnnotation",
    "RecognizableVisualFeatures",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "TotalPixelMatrixColumns",
    "DoseGridScaling",
)
_OVERLAYS = tuple(range(0x60000010, 0x60200010, 0x20000))
"""Rows of each overlay plane: their presence is all we ask."""


def is_dicom(head: bytes) -> bool:
    """Whether a file's first bytes are DICOM's: "DICM" at byte 128, or, in files written without it, a first element 0008,xxxx
    or 0002,xxxx that makes sense.

    >>> is_dicom(bytes(128) + b"DICM"), is_dicom(b"\\x08\\0\\x05\\0CS\\n\\0ISO_IR 100"), is_dicom(b"BM" + bytes(200))
    (True, True, False)
    """
    if head[128:132] == b"DICM":
        return True
    for order in "<>":
        if len(head) < 12:
            return False
        group, element = struct.unpack(order + "HH", head[:4])
        if group in (2, 8) and element <= 0x20:
            (length,) = struct.unpack(order + "I", head[4:8])  # of implicit encoding
            if head[4:6] in (b"CS", b"UI", b"UL", b"OB", b"DA", b"SH", b"LO") or (order == "<" and 0 < length <= 64):
                return True
    return False


def require_pydicom(name: str) -> None:
    """DataError that says what to install, where pydicom is not."""
    if importlib.util.find_spec("pydicom") is None:
        raise DataError(
            f'{name}: a DICOM file, and reading it takes pydicom, which is not installed: pip install "osler[dicom]".'
        )


class _Quiet:
    """Keeps pydicom's warnings and log lines, which may quote the file, from everyone; counts its users over all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._warnings: Any = None
        self._level = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.simplefilter("ignore")
                self._level = logging.getLogger("pydicom").level
                logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._warnings.__exit__(None, None, None)
                logging.getLogger("pydicom").setLevel(self._level)


quiet = _Quiet()


class _Bounded:
    """An open file that is never asked for more bytes than it has: a length of gigabytes in a header costs no memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        file.seek(0)

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.size - self._file.tell())
        return self._file.read(left if size < 0 else min(size, left))

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


@dataclass(frozen=True)
class PixelPlace:
    """Where the pixel element of a file is.

    Attributes:
        keyword: "PixelData", "FloatPixelData" or "DoubleFloatPixelData".
        vr: its stated value representation; None with implicit encoding.
        start: the byte where its value begins.
        length: of the value in bytes; None where encapsulated frames have no stated length.
    """

    keyword: str
    vr: str | None
    start: int
    length: int | None


class DicomHeader:
    """The elements of one file that we read, by keyword; values are converted only here, with one error for what is no value.

    Attributes:
        name: stands for the path in messages.
        syntax: the transfer syntax; where the file states none, the uncompressed one that fits.
        kind: the UID of what the file says it is, such as an image or a plan; "" where it says nothing.
        place: where the pixels are; None where there are none.
        file: from which `place` counts; of a deflated file, its inflated content.
        bare: the file lacks DICOM's preamble.
    """

    def __init__(self, elements: Any, name: str, meta: tuple[str, str], place: PixelPlace | None, file: Any, bare: bool) -> None:
        self.elements = elements
        self.name = name
        self.syntax = meta[0]
        self.place = place
        self.file = file
        self.bare = bare
        self.kind = self.text("SOPClassUID") or meta[1]

    def __repr__(self) -> str:
        return f"DicomHeader({self.name!r})"

    def holders(self, frame: int, group: str | None) -> Iterator[Any]:
        """Where an element may be, the most specific first: the functional groups of the frame, those shared, the file."""
        if group is not None:
            for keyword, place in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
                groups = self.items(self.elements, keyword)
                if place < len(groups):
                    yield from self.items(groups[place], group)[:1]
        yield self.elements

    def items(self, holder: Any, keyword: str) -> list[Any]:
        """The items of a sequence; none where it is absent or empty."""
        found = self._value(holder, keyword)
        return list(found) if type(found).__name__ == "Sequence" else []

    def numbers(self, keyword: str, holder: Any = None) -> list[float]:
        """The finite numbers of an element; none where it is absent or empty."""
        found = self._value(holder, keyword)
        if found is None or (isinstance(found, str) and not found.strip()):
            return []
        try:
            several = found if not isinstance(found, str | int | float) and hasattr(found, "__iter__") else [found]
            values = [float(value) for value in several]
        except (TypeError, ValueError, OverflowError):
            raise self._unreadable(keyword) from None
        if not all(map(math.isfinite, values)):
            raise self._unreadable(keyword)
        return values

    def integer(self, keyword: str, holder: Any = None) -> int | None:
        """The first number of an element, whole; None where it is absent or empty."""
        values = self.numbers(keyword, holder)
        if not values:
            return None
        if values[0] != int(values[0]):
            raise self._unreadable(keyword)
        return int(values[0])

    def text(self, keyword: str, holder: Any = None) -> str:
        """The first text of an element, stripped; "" where it is absent."""
        found = self._value(holder, keyword)
        if found is not None and not isinstance(found, str) and hasattr(found, "__iter__"):
            found = next(iter(found), None)
        return "" if found is None else str(found).strip(" \0")

    def data(self, keyword: str, holder: Any = None) -> Any:
        """The value of an element as pydicom gives it, bytes or numbers; None where it is absent."""
        return self._value(holder, keyword)

    def has_overlay(self) -> bool:
        """Whether the file has an overlay plane."""
        return any(tag in self.elements for tag in _OVERLAYS)

    def _value(self, holder: Any, keyword: str) -> Any:
        try:
            with quiet:
                return (self.elements if holder is None else holder).get(keyword)
        except Exception:  # pydicom converts here, and damaged values raise whatever they raise
            raise self._unreadable(keyword) from None

    def _unreadable(self, keyword: str) -> DataError:
        return DataError(f"{self.name}: damaged: its {keyword} cannot be read. Get a new copy.")


@cache
def _tags(more: tuple[str, ...]) -> list[int]:
    from pydicom.datadict import tag_for_keyword

    tags = [tag for tag in map(tag_for_keyword, (*_READ, *more)) if tag is not None]
    assert len(tags) == len(_READ) + len(more), "every keyword is in pydicom's dictionary"
    return [*tags, *_OVERLAYS]


def read_header(file: BinaryIO, name: str, more: tuple[str, ...] = ()) -> DicomHeader:
    """Reads a file up to its pixels.

    Args:
        file: open, at any place.
        name: stands for the path in messages.
        more: keywords of elements to read beside those that describe the image.

    Raises:
        DataError: pydicom is not installed, or the file is damaged or hostile.
    """
    require_pydicom(name)
    with faults_of_pydicom(name, "its DICOM header"):
        return _parsed(_Bounded(file), name, _tags(more))


def _parsed(file: Any, name: str, tags: list[int]) -> DicomHeader:
    from pydicom.filereader import read_dataset, read_partial

    head = file.read(132)
    bare = head[128:132] != b"DICM"
    file.seek(0 if bare else 132)
    is_stop = _watch(name, set(tags))
    syntax, kind = _stated(file)
    if syntax == DEFLATED:
        inflated = _Bounded(_inflated(file, name))
        elements = read_dataset(inflated, False, True, stop_when=is_stop, specific_tags=tags)  # type: ignore[arg-type]
        return DicomHeader(elements, name, (syntax, kind), _pixel_place(inflated, False, "<"), inflated, bare)
    file.seek(0)
    elements = read_partial(file, stop_when=is_stop, force=True, specific_tags=tags)
    implicit, little = elements.original_encoding
    if not syntax:
        syntax = "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"
    return DicomHeader(elements, name, (syntax, kind), _pixel_place(file, bool(implicit), "<" if little else ">"), file, bare)


def _watch(name: str, wanted: set[int]) -> Any:
    """Stops before the pixels, and at elements that are larger than any real one."""

    def is_stop(tag: int, _: str | None, length: int) -> bool:
        limit = _MAX_GROUPS if tag in (0x52009229, 0x52009230, 0x00041220) else _MAX_ELEMENT
        if tag in wanted and limit < length != 0xFFFFFFFF:
            raise DataError(
                f"{name}: element ({tag >> 16:04X},{tag & 0xFFFF:04X}) claims {length:,} bytes; {limit:,} are read at most, "
                "which guards against files made to exhaust memory. Get a new copy."
            )
        return tag in _PIXEL_TAGS

    return is_stop


def _stated(file: Any) -> tuple[str, str]:
    """Transfer syntax and class of the file's meta information, which is explicit and little-endian; "" where absent."""
    from pydicom.filereader import read_dataset

    meta = read_dataset(file, False, True, stop_when=lambda tag, _, length: tag >> 16 != 2 or length > _MAX_ELEMENT)
    return str(meta.get("TransferSyntaxUID") or "").strip(" \0"), str(meta.get("MediaStorageSOPClassUID") or "").strip(" \0")


def _inflated(file: Any, name: str) -> BinaryIO:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflate.decompress(file.read(), MAX_INFLATED)
    except zlib.error:
        raise DataError(f"{name}: damaged: its deflated content cannot be inflated. Get a new copy.") from None
    if inflate.unconsumed_tail:
        raise DataError(
            f"{name}: its deflated content is larger than {MAX_INFLATED:,} bytes, the most that is inflated, which guards "
            "against files made to exhaust memory. Save it uncompressed."
        )
    return io.BytesIO(content)


def _pixel_place(file: Any, implicit: bool, order: str) -> PixelPlace | None:
    """Reads the head of the pixel element, at which the file stands; None where it stands at its end."""
    head = file.read(8)
    if len(head) < 8:
        return None
    group, element = struct.unpack(order + "HH", head[:4])
    implicit = implicit or not (head[4:6].isalpha() and head[4:6].isupper())  # some writers change over within a file
    vr = None if implicit else head[4:6].decode("ascii")
    (length,) = struct.unpack(order + "I", head[4:8] if implicit else file.read(4).ljust(4, b"\0"))
    return PixelPlace(_PIXEL_TAGS[group << 16 | element], vr, file.tell(), None if length == 0xFFFFFFFF else length)


@contextlib.contextmanager
def faults_of_pydicom(name: str, what: str) -> Iterator[None]:
    """Turns whatever pydicom raises inside into one DataError that quotes nothing."""
    try:
        with quiet:
            yield
    except DataError:
        raise
    except MemoryError:
        raise DataError(f"{name}: {what} does not fit into memory.") from None
    except Exception as error:
        raise DataError(f"{name}: damaged: {what} cannot be read ({type(error).__name__}). Get a new copy.") from None
