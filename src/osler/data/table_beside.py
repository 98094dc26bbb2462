"""A table that lies in a folder of images: what it says of them beyond their files, such as patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osler.config import DataConfig
from osler.data.labels import absent_names, plain
from osler.data.messages import count, some
from osler.data.table import IMAGE_COLUMNS, PATIENT_COLUMNS, named_column, patient_cells, read_table, split_cells, typed_cells
from osler.errors import DataError

__all__ = ["Beside", "table_beside"]

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
LEAST_NAMED = 0.5
"""A table speaks of a set of images when it has a row for so many of them."""


@dataclass(frozen=True)
class Beside:
    """What a table says of images, in their order.

    Attributes:
        file: the table, or None where none speaks of these images.
        image: its column that names them.
        patient: its column of patients.
        patients: (N,), or None.
        split: (N,) of split names and "", or None.
        metadata: N rows of its other columns, or None.
        notes: what was found, one sentence each.
        faults: what is wrong, without full stops.
    """

    file: Path | None = None
    image: str | None = None
    patient: str | None = None
    patients: NDArray[np.str_] | None = None
    split: NDArray[np.str_] | None = None
    metadata: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def table_beside(root: Path, images: Sequence[str], config: DataConfig) -> Beside:
    """Reads the table in a folder whose rows name most of its images, by path, file name, or name without suffix.

    Args:
        root: the folder.
        images: (N,) paths relative to it.
        config: `patient_column` and `split_column` name columns that are not found by name.
    """
    tables = sorted(entry for entry in root.iterdir() if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith("."))
    best: tuple[int, Path, str, pd.DataFrame] | None = None
    notes = []
    for path in tables:
        try:
            table = read_table(path)
        except DataError as error:
            notes.append(f"A table in the folder was not read: {error}.")
            continue
        for column in [str(name) for wanted in IMAGE_COLUMNS for name in table.columns if plain(str(name)) == wanted]:
            named = int((_rows_of(images, table[column].tolist()) >= 0).sum())
            if named > max(LEAST_NAMED * len(images), 0 if best is None else best[0]):
                best = (named, path, column, table)
    if best is not None:
        return _joined(best[1], best[2], best[3], images, config, notes)
    wanted = [key for key in ("patient_column", "split_column") if getattr(config, key) is not None]
    notes += [f"{path.name} ignored: none of its columns names the images." for path in tables if not notes]
    faults = [f"data.{key}: no table in {root} names these images" for key in wanted]
    return Beside(notes=tuple(notes), faults=tuple(faults))


def _rows_of(images: Sequence[str], cells: Sequence[str]) -> NDArray[np.intp]:
    """(N,) the row whose cell names each image, -1 where none does; the first of several."""
    rows: dict[str, int] = {}
    for row, cell in enumerate(cells):
        rows.setdefault(cell.replace("\\", "/"), row)

    def row_of(image: str) -> int:
        path = PurePosixPath(image)
        return next((rows[name] for name in (image, path.name, path.stem, path.stem.removesuffix(".nii")) if name in rows), -1)

    return np.array([row_of(image) for image in images], np.intp)


def _joined(path: Path, column: str, table: pd.DataFrame, images: Sequence[str], config: DataConfig, notes: list[str]) -> Beside:
    """The table's rows in the order of the images."""
    names = [str(name) for name in table.columns]
    faults = [
        f"data.{key}: {path.name} has no column {absent}; it has {some(names, 20)}"
        for key in ("patient_column", "split_column")
        if (given := getattr(config, key)) is not None
        for absent in absent_names([given], names)
    ]
    if faults:
        return Beside(path, column, notes=tuple(notes), faults=tuple(faults))
    patient = config.patient_column or named_column(names, PATIENT_COLUMNS, taken=(column,))
    split = config.split_column or named_column(names, ("split",), taken=(column,))
    rows = _rows_of(images, table[column].tolist())
    lacking = [image for image, row in zip(images, rows, strict=True) if row < 0]
    if lacking and (patient or split):
        faults.append(f"{path.name} has no row for {count(len(lacking), 'image')}: {some(lacking)}")
    matched = table.iloc[np.maximum(rows, 0)].copy()
    matched[rows < 0] = ""
    used = [name for name in (patient, split) if name is not None]
    said = f", {' and '.join(used)} read from it" if used else ""
    notes.append(f"{path.name} was found beside the images; its column {column!r} names them{said}.")
    kept = [name for name in names if name not in (column, *used) and not name.startswith("Unnamed:")]
    return Beside(
        path,
        column,
        patient,
        None if lacking else patient_cells(matched, patient, faults),
        None if lacking else split_cells(matched, split, faults),
        pd.DataFrame({name: typed_cells(matched[name]) for name in kept}).reset_index(drop=True) if kept else None,
        tuple(notes),
        tuple(faults),
    )
