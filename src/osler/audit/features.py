"""Features: what is known of an image without its content: its file, its metadata, its frame, corners and tones."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from osler.audit.case import Case
from osler.data.files import FileImages
from osler.data.labels import plain

__all__ = ["PIXELS", "Feature", "file_features", "folders_of", "metadata_features", "pixel_features"]

Floats = NDArray[np.float64]
Kind = Literal["acquisition", "other", "mark", "tone"]
"""acquisition: how, where and in which file the image was made; other: the rest of the metadata, such as age; mark: what was
added to an image or cut from it; tone: how bright it is, which a disease may change by itself."""

ACQUISITION = re.compile(
    r"source|site|hospital|cent(er|re)|institut|scanner|manufacturer|vendor|device|machine|detector|model|view|position|project"
    r"|dataset|batch|width|height|size|spacing|depth|bits|kvp|exposure|coil|field|protocol|sequence|software|portable|folder",
    re.I,
)
"""Metadata that say where and how an image was made."""
MOST_LEVELS = 20
FEWEST_OF_LEVEL = 5
NUMBERS = 8
"""A column of numbers with more different values than this is read as numbers, else as words."""
USUAL = (1.0, 99.0)
"""Percentiles of a column of numbers; what lies beyond counts as lying there."""


@dataclass(frozen=True)
class Feature:
    """Columns that belong together.

    Attributes:
        name: in words.
        kind: what it says of an image.
        columns: (N, D) finite.
    """

    name: str
    kind: Kind
    columns: Floats


def file_features(case: Case) -> list[Feature]:
    """What the files alone say; those in which all images are alike are left out."""
    measured = case.measured
    width, height = (np.log(np.maximum(measured[name], 1).astype(float)) for name in ("width", "height"))
    sizes = np.char.add(np.char.add(measured["width"].astype(str), "x"), measured["height"].astype(str))
    found = [
        _joined("image size", [_numbers(width), _numbers(height), _numbers(width - height), _words(sizes)]),
        _joined("bit depth", [_words(measured["bits"].astype(str))]),
        _joined("colour", [_words(measured["mode"]), _words(measured["channels"].astype(str))]),
        _joined("file type", [_words(measured["format"])]),
        _joined("text burned in", [_words(measured["burned_in"].astype(str))]),
    ]
    folders = folders_of(case)
    if folders is not None:
        found.append(_joined("folder", [_words(folders)]))
    return [Feature(name, "acquisition", columns) for name, columns in found if columns.shape[1]]


def folders_of(case: Case) -> NDArray[np.str_] | None:
    """(N,) the folder of each image; None where folders are classes or splits, or the images are not in files."""
    images = case.samples.images
    if case.loaded.config.data.source == "folder" or not isinstance(images, FileImages):
        return None
    folders = np.array([str(PurePosixPath(name).parent) for name in images.names.tolist()])
    labels = {plain(name) for name in (*case.samples.classes, case.samples.negative)}
    said = {plain(part) for folder in set(folders.tolist()) for part in PurePosixPath(folder).parts}
    return None if labels & said or len(np.unique(folders)) < 2 else folders


def metadata_features(case: Case) -> list[Feature]:
    """The columns of a table besides labels, patients and splits; what is different for each image is left out."""
    metadata = case.samples.metadata
    if metadata is None:
        return []
    found = []
    for name in map(str, metadata.columns):
        columns = _column(metadata[name].to_numpy())
        if columns.shape[1]:
            found.append(Feature(name, "acquisition" if ACQUISITION.search(name) else "other", columns))
    return found


def _column(values: NDArray[Any]) -> Floats:
    """A column of a table: numbers, or words with few different ones."""
    if values.dtype.kind in "fiu":
        numbers = values.astype(np.float64)
        known = numbers[np.isfinite(numbers)]
        distinct = len(np.unique(known))
        if distinct > NUMBERS:
            # A number of its own for each image, without a gap, counts the rows.
            counts = distinct == len(numbers) == int(np.ptp(known)) + 1 and (known == np.rint(known)).all()
            return np.empty((len(values), 0)) if counts else _numbers(numbers)
    texts = np.array(["" if _missing(value) else str(value) for value in values.tolist()])
    levels, counted = np.unique(texts, return_counts=True)
    common = np.sort(counted)[::-1][:MOST_LEVELS].sum()
    return np.empty((len(values), 0)) if len(levels) > MOST_LEVELS and common < 0.5 * len(texts) else _words(texts)


def _missing(value: object) -> bool:
    return value is None or value != value


def _numbers(values: Floats) -> Floats:
    """(N, D) a number, its square, and whether it is missing, as far as they vary."""
    missing = ~np.isfinite(values)
    if missing.all():
        return np.empty((len(values), 0))
    # One odd number must not make all others look alike.
    filled = np.clip(np.where(missing, np.median(values[~missing]), values), *np.percentile(values[~missing], USUAL))
    spread = float(filled.std())
    if spread == 0:
        return _varying(missing[:, None].astype(np.float64))
    scaled = (filled - filled.mean()) / spread
    return _varying(np.column_stack([scaled, scaled**2, missing]))


def _words(values: NDArray[Any]) -> Floats:
    """(N, L) a column for each of the commonest values."""
    levels, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    kept = [place for place in np.argsort(-counts, kind="stable")[:MOST_LEVELS] if counts[place] >= FEWEST_OF_LEVEL]
    if len(levels) < 2:
        return np.empty((len(values), 0))
    return _varying(
        np.column_stack([codes == place for place in kept]).astype(np.float64) if kept else np.empty((len(values), 0))
    )


def _varying(columns: Floats) -> Floats:
    return columns[:, np.ptp(columns, axis=0) > 0] if columns.shape[1] else columns


def _joined(name: str, parts: list[Floats]) -> tuple[str, Floats]:
    return name, np.column_stack(parts)


# --- pixels -----------------------------------------------------------------------------------------------------------------

PIXELS: dict[str, tuple[Kind, Callable[[NDArray[np.void]], list[NDArray[Any]]]]] = {
    "black frame": ("mark", lambda records: [*records["border"].T]),
    "markers in the corners": ("mark", lambda records: [*np.sqrt(records["marker"]).T]),
    "saturated pixels": ("mark", lambda records: [np.sqrt(records["at_low"]), np.sqrt(records["at_high"])]),
    "brightness": ("tone", lambda records: [records["mean"], records["sd"], *records["corner"].T]),
}
"""What pixels say without their content: name → kind, and columns of the measures."""


def pixel_features(case: Case) -> list[Feature]:
    """What frames, corners and tones say."""
    found = []
    for name, (kind, columns) in PIXELS.items():
        parts = [_numbers(np.asarray(column, np.float64)) for column in columns(case.measured.records)]
        joined = np.column_stack(parts)
        if joined.shape[1]:
            found.append(Feature(name, kind, joined))
    return found
