"""Mask predictions of one split: what is kept of each case in `predictions/SPLIT.npz`, and the maps of levels beside it.

    predictions/test.npz               ids, patients, classes, and the arrays of the table of cases; no pickles
    predictions/test/00012-0.png       (H, W) uint8 logit levels of case 12 and class 0, in the geometry of prepared images

Maps are written while the split is predicted, the .npz file last: a split that has one is whole.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osler.errors import RunError
from osler.files import write_atomic
from osler.runs.predictions import metadata_of, read_arrays

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LevelMaps", "MaskPredictions"]

TABLE = "table."
FIELDS = ("ids", "patients", "classes")
NEEDED = (*FIELDS, *(f"{TABLE}{name}" for name in ("histograms", "thresholds", "spacing", "tolerance")))
MEASURED = tuple(f"{TABLE}{name}" for name in ("lesions", "calls", "hd95", "surface_dice", "counted"))


@dataclass(frozen=True)
class LevelMaps:
    """Maps of logit levels in a folder, one PNG a case and class."""

    folder: Path

    def path(self, row: int, k: int) -> Path:
        """Where the map of a case and class lies."""
        return self.folder / f"{row:05d}-{k}.png"

    def write(self, row: int, levels: NDArray[np.uint8]) -> None:
        """Writes the maps (K, H, W) of one case.

        Raises:
            RunError: the folder is read-only, or the disk is full.
        """
        import cv2

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for k, plane in enumerate(levels):
                done, png = cv2.imencode(".png", plane, [cv2.IMWRITE_PNG_COMPRESSION, 1])
                assert done, "OpenCV writes any uint8 plane as PNG"
                path = self.path(row, k)
                # Replaced at once, but not waited for: what a power cut takes is predicted again.
                partial = path.with_name(f".{path.name}")
                partial.write_bytes(png.tobytes())
                os.replace(partial, path)
        except OSError as error:
            raise RunError(
                f"{self.folder}: maps of predictions cannot be written: {error.strerror or error}. Free some space, then resume."
            ) from error

    def read(self, row: int, k: int) -> NDArray[np.uint8]:
        """The map (H, W) of a case and class.

        Raises:
            RunError: it is not there, or damaged.
        """
        import cv2

        path = self.path(row, k)
        try:
            content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        except OSError as error:
            raise RunError(f"{path}: the map of this prediction cannot be read: {error.strerror or error}.") from error
        plane: Any = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if len(content) else None
        if plane is None or plane.ndim != 2 or plane.dtype != np.uint8:
            raise RunError(f"{path}: is no map of levels (a PNG of one 8-bit channel), or is damaged.")
        return np.asarray(plane)


@dataclass(frozen=True)
class MaskPredictions:
    """What a segmenter said of N cases.

    Attributes:
        ids: (N,) texts.
        classes: K names.
        table: `osler.metrics.cases.CaseTable.arrays()`: what was measured of each case, at the thresholds in use.
        patients: (N,) texts, or None where patients are unknown.
        maps: where the maps of levels are; None where none were kept.
        metadata: N rows of what else is known of the cases, or None. Not stored: the run's splits.csv holds it.
    """

    ids: NDArray[np.str_]
    classes: tuple[str, ...]
    table: Mapping[str, NDArray[Any]]
    patients: NDArray[np.str_] | None = None
    maps: LevelMaps | None = None
    metadata: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        shape = self.table["histograms"].shape[:2]
        assert shape == (len(self.ids), len(self.classes)), f"{len(self.ids)} ids, {len(self.classes)} classes, table {shape}"
        assert self.patients is None or len(self.patients) == len(self.ids), "one patient a case"
        assert self.metadata is None or len(self.metadata) == len(self.ids), "one row of metadata a case"

    def __len__(self) -> int:
        return len(self.ids)

    def levels(self, row: int, k: int) -> NDArray[np.uint8]:
        """The map of levels (H, W) of a case and class.

        Raises:
            RunError: it was not kept, or is damaged.
        """
        if self.maps is None:
            raise RunError(f"{self.ids[row]}: no map of this prediction was kept.")
        return self.maps.read(row, k)

    def save(self, path: Path) -> None:
        """Writes all but maps and metadata to an .npz file, atomically.

        Raises:
            RunError: the folder is read-only, or the disk is full.
        """
        patients = np.empty(0, dtype=np.str_) if self.patients is None else self.patients
        arrays: dict[str, Any] = {
            "ids": np.asarray(self.ids, dtype=np.str_),
            "patients": np.asarray(patients, dtype=np.str_),
            "classes": np.asarray(self.classes, dtype=np.str_),
            **{f"{TABLE}{name}": array for name, array in self.table.items()},
        }

        def write(file: IO[bytes]) -> None:
            np.savez_compressed(file, **arrays)

        write_atomic(path, write)

    @classmethod
    def load(cls, path: Path) -> MaskPredictions:
        """Reads what `save` wrote; the maps are those in the folder of the file's name beside it, where there is one.

        Raises:
            RunError: the file is not there, damaged, of another task, or its arrays do not fit together.
        """
        arrays = read_arrays(path, (*NEEDED, *MEASURED))
        missing = [name for name in NEEDED if name not in arrays]
        if missing:
            raise RunError(f"{path}: lacks {', '.join(missing)}; a file of mask predictions holds {', '.join(NEEDED)}")
        _check(path, arrays)
        folder = path.with_suffix("")
        return cls(
            ids=arrays["ids"],
            classes=tuple(arrays["classes"].tolist()),
            table={name.removeprefix(TABLE): array for name, array in arrays.items() if name.startswith(TABLE)},
            patients=arrays["patients"] if len(arrays["patients"]) else None,
            maps=LevelMaps(folder) if folder.is_dir() else None,
        )

    def with_metadata(self, table: pd.DataFrame) -> MaskPredictions:
        """The same with what the run's splits.csv knows of the cases.

        Raises:
            RunError: the table lacks some of the ids.
        """
        return replace(self, metadata=metadata_of(self.ids, table))

    def digest(self) -> str:
        """A short hash of ids, thresholds and pixel counts: equal for equal predictions."""
        content = hashlib.sha256("\n".join(self.ids).encode())
        content.update(self.table["thresholds"].tobytes())
        content.update(np.ascontiguousarray(self.table["histograms"], dtype="<u4").tobytes())
        return content.hexdigest()[:16]


def _check(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Refuses arrays that do not fit together."""
    size, classes = len(arrays["ids"]), len(arrays["classes"])
    wanted = {
        "histograms": (size, classes, 2, 256),
        "thresholds": (classes,),
        "spacing": (size, 2),
        "tolerance": (),
        "hd95": (size, classes),
        "surface_dice": (size, classes),
        "counted": (size, classes, 4),
    }
    seen = {name: arrays[f"{TABLE}{name}"].shape for name in wanted if f"{TABLE}{name}" in arrays}
    wrong = [f"{name} {shape}, not {wanted[name]}" for name, shape in seen.items() if shape != wanted[name]]
    if len(arrays["patients"]) not in (0, size):
        wrong.append(f"patients ({len(arrays['patients'])},), not ({size},)")
    if wrong:
        raise RunError(f"{path}: its arrays do not fit together ({size} ids, {classes} classes): {'; '.join(wrong)}")
