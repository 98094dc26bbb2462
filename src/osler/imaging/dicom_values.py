"""What DICOM values mean: the modality step, padding, and which window shows them.

Source: DICOM PS3.3, C.7.5.1.1.2 (padding), C.11.1 (modality), C.11.2 (value of interest), C.7.6.16.2 (functional groups).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.errors import DataError
from osler.imaging.dicom_codecs import FrameLayout
from osler.imaging.dicom_file import DicomHeader
from osler.imaging.window import Window

__all__ = ["Modality", "modality_of", "padding_of", "window_of"]

_SHAPES = {"": "linear", "LINEAR": "linear", "LINEAR_EXACT": "linear_exact", "SIGMOID": "sigmoid"}


@dataclass(frozen=True, eq=False)
class Modality:
    """From stored values to those of the modality, such as Hounsfield units.

    Attributes:
        slope: of the line.
        intercept: of the line.
        table: (N,) output values; then there is no line.
        first: the stored value that the table's first entry is for.
        notes: what should be known of it.
    """

    slope: float = 1.0
    intercept: float = 0.0
    table: NDArray[np.float64] | None = None
    first: int = 0
    notes: tuple[str, ...] = ()

    @property
    def is_identity(self) -> bool:
        """Whether values stay as they are."""
        return self.table is None and self.slope == 1.0 and self.intercept == 0.0

    def values(self, stored: NDArray[Any]) -> NDArray[Any]:
        """The modality's values, float64; as they are where nothing changes.

        >>> Modality(2.0, -1024.0).values(np.array([0, 10])).tolist()
        [-1024.0, -1004.0]
        """
        if self.table is not None:
            return self.table[np.clip(stored.astype(np.int64) - self.first, 0, len(self.table) - 1)]
        return stored if self.is_identity else stored.astype(np.float64) * self.slope + self.intercept

    def limits(self, layout: FrameLayout) -> tuple[float, float]:
        """The smallest and the largest value that the stored bits can stand for."""
        if self.table is not None:
            return float(self.table.min()), float(self.table.max())
        signed = layout.pixel_representation
        ends = np.array([-(2 ** (layout.bits_stored - 1)) if signed else 0, 2 ** (layout.bits_stored - signed) - 1], np.float64)
        low, high = sorted((ends * self.slope + self.intercept).tolist())
        return low, high


def modality_of(header: DicomHeader, layout: FrameLayout, frame: int) -> Modality:
    """The modality step of a frame; a lookup table comes before slope and intercept.

    Raises:
        DataError: it cannot be read, or makes every value the same.
    """
    tables = header.items(header.elements, "ModalityLUTSequence")
    if tables:
        first, data, _ = _table(header, tables[0], layout.pixel_representation == 1)
        return Modality(table=data, first=first, notes=("a modality lookup table was applied",))
    for holder in header.holders(frame, "PixelValueTransformationSequence"):
        slopes, intercepts = header.numbers("RescaleSlope", holder), header.numbers("RescaleIntercept", holder)
        if slopes or intercepts:
            slope, intercept = slopes[0] if slopes else 1.0, intercepts[0] if intercepts else 0.0
            if slope == 0.0:
                raise DataError(
                    f"{header.name}: damaged: its RescaleSlope is 0, which makes all values the same. Get a new copy."
                )
            return Modality(slope, intercept)
    notes = ("DoseGridScaling was not applied",) if header.numbers("DoseGridScaling") else ()
    return Modality(notes=notes)


def padding_of(header: DicomHeader, layout: FrameLayout) -> tuple[int, int] | None:
    """The stored values, both ends included, that stand for nothing; None where there are none."""
    one = header.integer("PixelPaddingValue")
    if one is None:
        return None
    other = header.integer("PixelPaddingRangeLimit")
    ends = [_as_stored(value, layout) for value in (one, one if other is None else other)]
    return min(ends), max(ends)


def _as_stored(value: int, layout: FrameLayout) -> int:
    """Padding written with the wrong sign, as 63536 for −2000, in the sign of the pixels."""
    span = 1 << layout.bits_allocated
    if layout.pixel_representation and value >= span // 2:
        return value - span
    return value + span if not layout.pixel_representation and value < 0 else value


def window_of(
    header: DicomHeader, frame: int, values: NDArray[Any], low: float, high: float, bits: int
) -> tuple[Window, list[str]]:
    """What a viewer shows of a frame, and how that was decided.

    Args:
        header: of the file.
        frame: counted from 0.
        values: (H, W) of the modality, padding taken out.
        low: the smallest value that there can be; NaN where nothing is stated.
        high: the largest.
        bits: stored of each value.
    """
    for holder in header.holders(frame, "FrameVOILUTSequence"):
        tables = header.items(holder, "VOILUTSequence")
        if tables:
            first, data, top = _table(header, tables[0], low < 0)
            notes = ["the window is a lookup table"] + [f"the first of {len(tables)} was taken"] * (len(tables) > 1)
            return Window("table", first, table=data * (255.0 / top)), notes
        found = _stated_window(header, holder)
        if found is not None:
            return found
    if bits <= 8:
        return Window.between(low, high), []
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    ends = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return Window.between(*ends), ["no window is stated: the image's own smallest and largest value are black and white"]


def _stated_window(header: DicomHeader, holder: Any) -> tuple[Window, list[str]] | None:
    centers, widths = header.numbers("WindowCenter", holder), header.numbers("WindowWidth", holder)
    if not centers or not widths:
        return None
    word = header.text("VOILUTFunction", holder).upper()
    if word not in _SHAPES:
        raise DataError(f"{header.name}: its VOILUTFunction is none of LINEAR, LINEAR_EXACT and SIGMOID. Set it, or convert it.")
    shape = _SHAPES[word]
    notes = [f"the first of {len(centers)} windows was taken"] if len(centers) > 1 else []
    width = widths[0]
    if width <= 0 or (shape == "linear" and width < 1):
        return None
    return Window(shape, centers[0], width), notes  # type: ignore[arg-type]


def _table(header: DicomHeader, item: Any, signed: bool) -> tuple[int, NDArray[np.float64], float]:
    """(first value, entries, largest possible entry) of a lookup table (C.11.1.1)."""
    descriptor = [int(value) for value in header.numbers("LUTDescriptor", item)]
    data = header.data("LUTData", item)
    if len(descriptor) != 3 or data is None:
        raise DataError(f"{header.name}: damaged: a lookup table without descriptor or data. Get a new copy.")
    count, first, bits = descriptor[0] % 65536 or 65536, descriptor[1], descriptor[2]
    if first >= 32768 and signed:
        first -= 65536
    elif first < 0 and not signed:
        first += 65536
    entries = _entries(data, count, header)
    if len(entries) < count or not 1 <= bits <= 16:
        raise DataError(
            f"{header.name}: damaged: a lookup table of {len(entries):,} entries of {bits} bits, where {count:,} of 8 to 16 bits "
            "are declared. Get a new copy."
        )
    entries = entries[:count]
    return first, entries, max(float(2**bits - 1), float(entries.max()))


def _entries(data: Any, count: int, header: DicomHeader) -> NDArray[np.float64]:
    if isinstance(data, bytes):
        order = "<" if header.elements.original_encoding[1] is not False else ">"
        kind = np.dtype(order + "u2") if len(data) >= 2 * count else np.dtype(np.uint8)
        return np.frombuffer(data[: len(data) // kind.itemsize * kind.itemsize], kind).astype(np.float64)
    values = np.atleast_1d(np.asarray(data, np.float64))
    if 2 * len(values) >= count > len(values):  # 8-bit entries packed two to a word
        values = np.stack([values % 256, values // 256], axis=1).reshape(-1)
    return values
