"""One look at every mask when a set is loaded: what its values are, how much of it is foreground, and every fault at once.

What was found is remembered beside the prepared images, by the state of each file: loading the set again costs a look at the
files' times, and a file that changed is looked at anew.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from osler.data.messages import count
from osler.data.records import digest
from osler.errors import DataError, RunError
from osler.files import write_atomic
from osler.imaging.masks import IGNORED

__all__ = ["Look", "MaskSurvey", "areas_of", "look_at", "survey_of", "take_looks"]

SCHEMA = "osler.masks/1"
MOSTLY = 0.6
"""Where foreground covers more than this of all pixels, masks may be inverted."""
THREADS = 8


@dataclass(frozen=True)
class Look:
    """What one image's mask holds.

    Attributes:
        size: height and width of the mask.
        image: height and width of the image.
        values: pixel value to number of pixels; empty where a threshold decides.
        foreground: pixels of each class.
        known: pixels that are not ignored.
        lesions: area in pixels of each connected piece of each class, pixels that touch by a corner being connected.
        odd: what the values are instead of labels; "" where they are labels.
        colours: pixel value to its colour, 0xRRGGBB, where the file has colours.
    """

    size: tuple[int, int]
    image: tuple[int, int]
    values: dict[int, int]
    foreground: tuple[int, ...]
    known: int
    lesions: tuple[tuple[int, ...], ...]
    odd: str = ""
    colours: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class MaskSurvey:
    """What all masks of a source hold, before any preparation.

    Attributes:
        sizes: (N, 2) height and width in pixels.
        foreground: (N, K) pixels of each class.
        known: (N,) pixels that are not ignored.
        lesion_rows: (L,) the image of each lesion, a connected piece of a class.
        lesion_classes: (L,) its class.
        lesion_areas: (L,) its area in pixels.
    """

    sizes: NDArray[np.int64]
    foreground: NDArray[np.int64]
    known: NDArray[np.int64]
    lesion_rows: NDArray[np.int64]
    lesion_classes: NDArray[np.int64]
    lesion_areas: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.known)

    @property
    def shares(self) -> NDArray[np.float64]:
        """(N, K) share of the known pixels that is foreground; NaN where none is known."""
        shares = np.full(self.foreground.shape, np.nan)
        np.divide(self.foreground, self.known[:, None], out=shares, where=self.known[:, None] > 0)
        return shares

    @property
    def presence(self) -> NDArray[np.float32]:
        """(N, K) of 0 and 1, whether a class occurs; NaN where no pixel is known."""
        return np.where(self.known[:, None] > 0, self.foreground > 0, np.nan).astype(np.float32)

    def content(self) -> str:
        """Digest of sizes and counts."""
        parts = (self.sizes, self.foreground, self.known)
        return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()[:16]

    def take(self, rows: NDArray[np.intp]) -> MaskSurvey:
        """What the masks of these rows hold, in this order; each row once."""
        place = np.full(len(self), -1)
        place[rows] = np.arange(len(rows))
        kept = place[self.lesion_rows] >= 0
        return MaskSurvey(
            self.sizes[rows],
            self.foreground[rows],
            self.known[rows],
            place[self.lesion_rows[kept]],
            self.lesion_classes[kept],
            self.lesion_areas[kept],
        )

    def notes(self, classes: Sequence[str]) -> tuple[str, ...]:
        """What a reader should know of the masks, a sentence each."""
        empty = int((self.foreground == 0).all(axis=1).sum())
        notes = [f"{count(len(self), 'mask')}, {f'{empty:,}' if empty else 'none'} of them empty."]
        total = max(1, int(self.known.sum()))
        for index, name in enumerate(classes):
            share = self.foreground[:, index].sum() / total
            areas = self.lesion_areas[self.lesion_classes == index]
            if not len(areas):
                continue
            notes.append(
                f"{name}: {_percent(share)} of all pixels, in {count(int((self.foreground[:, index] > 0).sum()), 'image')}; "
                f"{count(len(areas), 'connected piece')} of {areas.min():,} to {areas.max():,} pixels (median "
                f"{np.median(areas):,.0f})."
            )
            if share > MOSTLY:
                notes.append(f"{name} covers {_percent(share)} of all pixels: are foreground and background exchanged?")
        return tuple(notes)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def areas_of(plane: NDArray[np.uint8]) -> tuple[int, ...]:
    """Areas in pixels of the connected pieces of a plane's foreground, pixels that touch by a corner being connected.

    >>> areas_of(np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 255]], np.uint8))
    (3, 1)
    """
    foreground = (plane == 1).astype(np.uint8)
    if not foreground.any():
        return ()
    _, _, statistics, _ = cv2.connectedComponentsWithStats(foreground, connectivity=8)
    return tuple(int(area) for area in statistics[1:, cv2.CC_STAT_AREA])


def look_at(planes: NDArray[np.uint8], image: tuple[int, int], values: dict[int, int]) -> Look:
    """What planes (K, H, W) hold."""
    return Look(
        size=(planes.shape[1], planes.shape[2]),
        image=image,
        values=values,
        foreground=tuple(int((plane == 1).sum()) for plane in planes),
        known=int((planes[0] != IGNORED).sum()),
        lesions=tuple(areas_of(plane) for plane in planes),
    )


def survey_of(looks: Sequence[Look | None], classes: int) -> MaskSurvey:
    """All looks as arrays; an image whose mask cannot be read has nothing known."""
    blank = Look((0, 0), (0, 0), {}, (0,) * classes, 0, ((),) * classes)
    every = [look or blank for look in looks]
    lesions = [(row, k, area) for row, look in enumerate(every) for k, areas in enumerate(look.lesions) for area in areas]
    columns = np.array(lesions, np.int64).reshape(-1, 3).T
    return MaskSurvey(
        np.array([look.size for look in every], np.int64).reshape(-1, 2),
        np.array([look.foreground for look in every], np.int64).reshape(-1, classes),
        np.array([look.known for look in every], np.int64),
        columns[0],
        columns[1],
        columns[2],
    )


# --- looking ----------------------------------------------------------------------------------------------------------------


def take_looks(
    identities: Sequence[str | None], look: Callable[[int], Look], store: Path, classes: int
) -> tuple[list[Look | None], dict[int, str]]:
    """Looks at every row whose state is not remembered, in threads.

    Args:
        identities: (N,) state of each row; None: it cannot be told, and is looked at.
        look: row to what it holds; raises DataError where it cannot be read.
        store: file that remembers.
        classes: K.

    Returns:
        (N,) looks, None where a row cannot be read; and why, by row.
    """
    looks = _recall(identities, store, classes)
    unread: dict[int, str] = {}

    def one(row: int) -> None:
        try:
            looks[row] = look(row)
        except DataError as error:
            unread[row] = str(error)

    missing = [row for row, known in enumerate(looks) if known is None]
    if not missing:
        return looks, unread
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as threads:
        for _ in threads.map(one, missing):
            pass
    _remember(identities, looks, store)
    return looks, unread


def _recall(identities: Sequence[str | None], store: Path, classes: int) -> list[Look | None]:
    """The remembered looks of rows whose state is the same; None for the others."""
    looks: list[Look | None] = [None] * len(identities)
    try:
        with np.load(store, allow_pickle=False) as file:
            known = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError):
        return looks
    if str(known.get("schema")) != SCHEMA or known["foreground"].shape[1:] != (classes,):
        return looks
    rows = {tuple(identity): place for place, identity in enumerate(known["identity"].tolist())}
    values: dict[int, dict[int, int]] = defaultdict(dict)
    colours: dict[int, dict[int, int]] = defaultdict(dict)
    for place, value, pixels, colour in known["values"].tolist():
        values[place][value] = pixels
        colours[place] |= {value: colour} if colour >= 0 else {}
    lesions: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, index, area in known["lesions"].tolist():
        lesions[place, index].append(area)
    sizes, foreground, pixels_known = (known[name].tolist() for name in ("sizes", "foreground", "known"))
    for row, identity in enumerate(identities):
        found = None if identity is None else rows.get(digest(identity))
        if found is not None:
            height, width, *image = sizes[found]
            areas = tuple(tuple(lesions.get((found, index), ())) for index in range(classes))
            looks[row] = Look(
                (height, width),
                (image[0], image[1]),
                values.get(found, {}),
                tuple(foreground[found]),
                pixels_known[found],
                areas,
                colours=colours.get(found, {}),
            )
    return looks


def _remember(identities: Sequence[str | None], looks: Sequence[Look | None], store: Path) -> None:
    """Writes looks down; where that is not possible nothing is lost but time."""
    kept = [(identity, look) for identity, look in zip(identities, looks, strict=True) if identity and look and not look.odd]
    values = [
        (place, value, pixels, look.colours.get(value, -1))
        for place, (_, look) in enumerate(kept)
        for value, pixels in look.values.items()
    ]
    lesions = [
        (place, index, area) for place, (_, look) in enumerate(kept) for index, areas in enumerate(look.lesions) for area in areas
    ]
    arrays = {
        "schema": np.array(SCHEMA),
        "identity": np.array([digest(identity) for identity, _ in kept], np.uint64).reshape(-1, 2),
        "sizes": np.array([(*look.size, *look.image) for _, look in kept], np.int64).reshape(-1, 4),
        "foreground": np.array([look.foreground for _, look in kept], np.int64),
        "known": np.array([look.known for _, look in kept], np.int64),
        "values": np.array(values, np.int64).reshape(-1, 4),
        "lesions": np.array(lesions, np.int64).reshape(-1, 3),
    }
    if not kept:
        return
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(store, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]
    except (OSError, RunError):
        return  # a folder that cannot be written is reported when images are prepared
