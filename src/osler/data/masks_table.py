"""The source `csv` with masks: a table with a row for each image, and its mask, or one for each class, in columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osler.config import DataConfig
from osler.data.files import FileImages, is_image_name, locate_images
from osler.data.labels import absent_names
from osler.data.masks import MaskSet, samples_of
from osler.data.messages import count, raise_faults, require_path, some
from osler.data.samples import Samples
from osler.data.table import (
    PATIENT_COLUMNS,
    image_column,
    named_column,
    patient_cells,
    read_table,
    split_cells,
    table_samples,
    typed_cells,
)

__all__ = ["MaskColumns", "csv_samples", "mask_columns"]

MASK_COLUMNS = (
    "mask", "maskpath", "maskfile", "maskfilename", "segmentation", "segmentationpath", "seg", "segpath", "labelpath",
    "labelfile", "groundtruth", "annotation", "annotationpath",
)  # fmt: skip
PER_CLASS = "mask:"
"""Begins the name of the column of one class's masks."""
LOOKED_AT = 200


@dataclass(frozen=True)
class MaskColumns:
    """Columns of masks.

    Attributes:
        names: of the columns.
        classes: one for each column; None: one column, whose masks hold all classes.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...] | None


def csv_samples(config: DataConfig) -> Samples:
    """A table of images with labels, or with masks where it has a column of them and `data.task` allows it.

    Raises:
        DataError: with every fault of the table; see `table_samples` and `samples_of`.
    """
    assert config.path is not None, "the config requires a path for this source"
    path = require_path(config.path, "data.path")
    if config.task not in ("auto", "segmentation"):
        return table_samples(config)
    table = read_table(path)
    columns = mask_columns(table, config)
    if columns is not None:
        return _samples(path, table, columns, config)
    wanted = config.masks.column
    if wanted is not None or config.task == "segmentation":
        names = [str(name) for name in table.columns]
        missing = absent_names([wanted], names)[0] if wanted is not None else "of masks (mask, segmentation, mask:CLASS)"
        raise_faults(path, [f"data.masks.column: there is no column {missing}"], f"The columns are {some(names, 25)}.")
    return table_samples(config)


def mask_columns(table: pd.DataFrame, config: DataConfig) -> MaskColumns | None:
    """The columns of masks: as configured, else "mask:CLASS" ones, else one found by name whose cells are names of images."""
    names = [str(name) for name in table.columns]
    if config.masks.column is not None:
        return MaskColumns((config.masks.column,), None) if config.masks.column in names else None
    per_class = [name for name in names if name.lower().startswith(PER_CLASS)]
    if per_class:
        classes = [name[len(PER_CLASS) :].strip() for name in per_class]
        order = range(len(classes)) if config.classes is None else [classes.index(c) for c in config.classes if c in classes]
        return MaskColumns(tuple(per_class[place] for place in order), tuple(classes[place] for place in order))
    found = named_column(names, MASK_COLUMNS)
    if found is None:
        return None
    cells = [cell for cell in table[found].tolist() if cell][:LOOKED_AT]
    return MaskColumns((found,), None) if any(is_image_name(cell) for cell in cells) else None


def _samples(path: Path, table: pd.DataFrame, columns: MaskColumns, config: DataConfig) -> Samples:
    root = require_path(config.image_root or path.parent, "data.image_root")
    names = [str(name) for name in table.columns]
    faults = [
        f"data.{key}: there is no column {absent}"
        for key in ("image_column", "patient_column", "split_column")
        if (given := getattr(config, key)) is not None
        for absent in absent_names([given], names)
    ]
    faults += [f"data.classes: there is no column {PER_CLASS}{name}" for name in _lacking(columns, config)]
    image = config.image_column or image_column(table.drop(columns=list(columns.names)), root)
    if image is None:
        faults.append("no column of image paths was found by name (path, file, image, id): name it by data.image_column")
    raise_faults(path, faults, f"The columns are {some(names, 25)}.")
    assert image is not None
    images = locate_images(table[image].tolist(), root)
    faults += _absent(table[image], images.names, image, root)
    faults += _repeated(images.names)
    patient = config.patient_column or named_column(names, PATIENT_COLUMNS, taken=(image, *columns.names))
    split = config.split_column or named_column(names, ("split",), taken=(image, *columns.names))
    used = [name for name in (image, *columns.names, patient, split) if name is not None]
    kept = [name for name in names if name not in used and not name.startswith("Unnamed:")]
    files, notes, more = _files(table, columns, images.names, root, config)
    patients, splits = patient_cells(table, patient, faults), split_cells(table, split, faults)
    if (images.names == "").any() or not any(files):
        raise_faults(path, [*faults, *more])
    found = MaskSet(
        where=path,
        images=FileImages(root, images.names),
        files=files,
        classes=columns.classes,
        patients=patients,
        split=splits,
        metadata=pd.DataFrame({name: typed_cells(table[name]) for name in kept}).reset_index(drop=True) if kept else None,
        faults=(*faults, *more),
        notes=(f"Columns read: {some(used, 12)}.", *images.notes, *notes),
    )
    return samples_of(found, config)


def _lacking(columns: MaskColumns, config: DataConfig) -> list[str]:
    if columns.classes is None:
        return []
    return [name for name in config.classes or () if name not in columns.classes]


def _absent(cells: pd.Series[str], names: NDArray[np.str_], column: str, root: Path) -> list[str]:
    """Cells that are no one file."""
    lacking = cells[names == ""]
    if not len(lacking):
        return []
    shown = some(f"{cell or '(blank)'} (line {line})" for cell, line in zip(lacking, lacking.index + 2, strict=True))
    return [
        f"{len(lacking):,} of {count(len(cells), 'cell')} of column {column!r} name no file below {root}, or several: {shown}. "
        "Set data.image_root to the folder that paths are relative to"
    ]


def _repeated(names: NDArray[np.str_]) -> list[str]:
    found, counts = np.unique(names[names != ""], return_counts=True)
    several = found[counts > 1]
    return [f"{count(len(several), 'image')} in several rows: {some(several)}; keep one row of each"] if len(several) else []


def _files(
    table: pd.DataFrame, columns: MaskColumns, images: NDArray[np.str_], root: Path, config: DataConfig
) -> tuple[tuple[tuple[tuple[str, int], ...], ...], list[str], list[str]]:
    """The mask files of each row; notes; and faults."""
    start = root if config.masks.path is None else require_path(config.masks.path, "data.masks.path")
    notes: list[str] = []
    faults: list[str] = []
    files: list[list[tuple[str, int]]] = [[] for _ in range(len(table))]
    for index, column in enumerate(columns.names):
        cells = table[column]
        located = locate_images(cells.tolist(), start, ("masks", "labels", ""))
        notes += located.notes
        given = cells != ""
        faults += _absent(cells[given], located.names[given.to_numpy()], column, start)
        same = np.flatnonzero((located.names == images) & (images != "") & (start == root))
        if len(same):
            faults.append(f"column {column!r} names the image itself in {count(len(same), 'row')}, such as {images[same[0]]}")
        for row, name in enumerate(located.names.tolist()):
            if name:
                files[row].append(
                    (name if start == root else str(start.absolute() / name), -1 if columns.classes is None else index)
                )
    faults += _without_mask(table, columns, files, images, config, notes)
    return tuple(tuple(entries) for entries in files), notes, faults


def _without_mask(
    table: pd.DataFrame,
    columns: MaskColumns,
    files: Sequence[Sequence[tuple[str, int]]],
    images: NDArray[np.str_],
    config: DataConfig,
    notes: list[str],
) -> list[str]:
    blank = [row for row, entries in enumerate(files) if not entries and not any(table[name].iat[row] for name in columns.names)]
    if not blank:
        return []
    shown = some(images[blank])
    if config.masks.missing == "empty":
        notes.append(f"{count(len(blank), 'image')} without a mask taken as empty (data.masks.missing: empty): {shown}.")
        return []
    return [
        f"{len(blank):,} of {count(len(files), 'image')} have no mask: {shown}; give one, or set data.masks.missing: empty if "
        "there is nothing to find in them"
    ]
