"""Measures: what is kept of one image, so that every check is made on numbers and no image is decoded twice."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from osler.audit.hashes import SIDE, Hashes, gray_of, hash_image
from osler.data.samples import Images
from osler.imaging.raw import RawImage

__all__ = ["EDGES", "RECORD", "Measured", "measure", "scaled_gray", "schema"]

Floats = NDArray[np.float64]
Record = NDArray[np.void]

EDGES = ("top", "bottom", "left", "right")
CORNERS = ("top left", "top right", "bottom left", "bottom right")

RECORD = np.dtype(
    [
        ("identity", "<u8", (2,)), ("readable", "?"),
        ("width", "<i4"), ("height", "<i4"), ("channels", "u1"), ("bits", "u1"), ("format", "U10"), ("mode", "U16"),
        ("burned_in", "?"), ("low", "<f4"), ("high", "<f4"), ("mean", "<f4"), ("sd", "<f4"),
        ("at_low", "<f4"), ("at_high", "<f4"), ("border", "<f4", (4,)), ("corner", "<f4", (4,)), ("marker", "<f4", (4,)),
        ("digest", "<u8", (2,)), ("thumb", "u1", (SIDE, SIDE)), ("blank", "?"),
    ]
)  # fmt: skip
"""One image. `low` and `high` are its least and greatest value as stored; `mean` and `sd` are on a scale of 0 to 1, which is
that of the pixel type; `at_low` and `at_high` the shares of pixels at its ends. `border`: width of the black frame at each of
EDGES, as a share of the side. `corner`: mean of each sixth of the sides, at CORNERS; `marker`: share of it that is near white."""

BLACK, WHITE = 0.03, 0.92
"""Below, a frame is black; above, a corner holds something white, as markers and letters are."""
CORNER = 6
_SIDE = 96


@dataclass(frozen=True)
class Measured:
    """What was measured of N images.

    Attributes:
        records: (N,) of `RECORD`; of what cannot be read, only the identity is set.
        unreadable: why, of each row that cannot be read.
        fresh: images that had to be decoded this time; the others were measured by an earlier audit.
    """

    records: Record
    unreadable: dict[int, str] = field(default_factory=dict)
    fresh: int = 0

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """(N, ...) one measure of every image."""
        found: NDArray[Any] = self.records[name]
        return found

    @property
    def readable(self) -> NDArray[np.bool_]:
        """(N,) whether the image could be decoded."""
        return self["readable"]

    @cached_property
    def hashes(self) -> Hashes:
        """What the search for copies reads."""
        blank = self["blank"] | ~self.readable
        return Hashes(self["digest"].copy(), self["thumb"].copy(), blank, self.unreadable)


def schema() -> str:
    """Names how images are measured: two versions that measure differently, or hash differently, have different names."""
    golden = (np.add.outer(np.arange(40), 3 * np.arange(56)) % 251).astype(np.uint8)
    seen = measure(RawImage(golden, 0.0, 255.0), "png", "gray", 8).tobytes()
    return f"osler.measures/2 {hashlib.sha256(seen + repr(RECORD).encode()).hexdigest()[:16]}"


def measured_image(images: Images, row: int) -> Record:
    """Reads and measures one image.

    Raises:
        DataError: it cannot be read.
    """
    info = images.probe(row)
    return measure(images.read(row), info.format, info.mode, info.bits)


def measure(raw: RawImage, format_name: str, mode: str, bits: int) -> Record:
    """A record () of one image, its identity not yet set.

    >>> one = measure(RawImage(np.full((4, 6), 51, np.uint8), 0.0, 255.0), "png", "gray", 8)
    >>> int(one["width"]), round(float(one["mean"]), 2), bool(one["blank"])
    (6, 0.2, True)
    """
    pixels = raw.pixels
    record = np.zeros((), RECORD)
    record["readable"] = True
    record["height"], record["width"] = pixels.shape[:2]
    record["channels"] = 1 if pixels.ndim == 2 else pixels.shape[2]
    record["bits"], record["format"], record["mode"] = bits, format_name, mode
    record["burned_in"] = any("burned into" in note for note in raw.notes)
    gray = gray_of(pixels)
    record["low"], record["high"] = (gray.min(), gray.max()) if pixels.dtype.kind == "f" else (pixels.min(), pixels.max())
    low, scale = _scale(raw, gray)
    means, spreads = cv2.meanStdDev(gray)
    mean = float(np.clip((means[0, 0] - low) * scale, 0.0, 1.0))
    record["mean"], record["sd"] = 1.0 - mean if raw.inverted else mean, spreads[0, 0] * scale
    record["at_low"], record["at_high"] = _ends(gray, low, low + 1 / scale)[:: -1 if raw.inverted else 1]
    # Statistics of the whole are taken as it is stored; only what is small is brought to the scale of 0 to 1.
    small = _scaled(cv2.resize(gray, (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR), low, scale, raw.inverted)
    record["border"] = _borders(small)
    record["corner"], record["marker"] = _corners(gray, low, scale, raw.inverted)
    found = hash_image(pixels)
    record["thumb"], record["blank"] = found.thumb, found.blank
    record["digest"] = np.frombuffer(found.digest, np.uint64)
    return record


def scaled_gray(raw: RawImage) -> NDArray[np.float32]:
    """(H, W) the image in gray from 0 to 1: on the scale of its type, or of its own values where it has none."""
    gray = gray_of(raw.pixels)
    return _scaled(gray, *_scale(raw, gray), raw.inverted)


def _scale(raw: RawImage, gray: NDArray[Any]) -> tuple[float, float]:
    """The value that is 0, and one over the distance to the value that is 1."""
    stated = np.isfinite(raw.low) and np.isfinite(raw.high) and raw.high > raw.low
    low, high = (raw.low, raw.high) if stated else (float(gray.min()), float(gray.max()))
    return low, 1.0 / max(high - low, 1e-12)


def _scaled(gray: NDArray[Any], low: float, scale: float, inverted: bool) -> NDArray[np.float32]:
    scaled = np.clip((gray.astype(np.float32) - np.float32(low)) * np.float32(scale), 0.0, 1.0)
    return np.asarray(1.0 - scaled if inverted else scaled, np.float32)


def _ends(gray: NDArray[Any], low: float, high: float) -> tuple[float, float]:
    """Shares of pixels at the two ends of the scale."""
    return int(np.count_nonzero(gray <= low)) / gray.size, int(np.count_nonzero(gray >= round(high, 6))) / gray.size


def _borders(small: NDArray[np.float32]) -> list[float]:
    """Share of the side that is a black frame, at each of EDGES; a wholly black image has frames of 1."""
    found = []
    for lines in (small.max(axis=1), small.max(axis=1)[::-1], small.max(axis=0), small.max(axis=0)[::-1]):
        bright = np.flatnonzero(lines > BLACK)
        found.append((int(bright[0]) if len(bright) else len(lines)) / len(lines))
    return found


def _corners(gray: NDArray[Any], low: float, scale: float, inverted: bool) -> tuple[list[float], list[float]]:
    """Mean, and share of near white, of each corner."""
    down, across = max(1, gray.shape[0] // CORNER), max(1, gray.shape[1] // CORNER)
    places = [(rows, columns) for rows in (slice(down), slice(-down, None)) for columns in (slice(across), slice(-across, None))]
    parts = [_scaled(gray[place], low, scale, inverted) for place in places]
    return [float(part.mean()) for part in parts], [np.count_nonzero(part > WHITE) / part.size for part in parts]
