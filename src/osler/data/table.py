"""The source `csv`: a table with a row for each image."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osler.config import DataConfig
from osler.data.files import FileImages, locate_images
from osler.data.labels import Labels, absent_names, is_negative, plain
from osler.data.messages import count, raise_faults, require_path, some
from osler.data.samples import Samples
from osler.data.split import split_name
from osler.data.table_labels import labels_of_columns, labels_of_words
from osler.errors import DataError

__all__ = [
    "IMAGE_COLUMNS",
    "LABEL_COLUMNS",
    "PATIENT_COLUMNS",
    "Columns",
    "image_column",
    "named_column",
    "patient_cells",
    "read_table",
    "samples_of_rows",
    "split_cells",
    "table_columns",
    "table_samples",
    "typed_cells",
]

# Names of columns, as `plain` spells them, in order of preference.
IMAGE_COLUMNS = (
    "path", "file", "image", "filename", "filepath", "imagepath", "imagefile", "imagefilename", "imagename", "imageindex",
    "img", "imgpath", "imageid", "id",
)  # fmt: skip
PATIENT_COLUMNS = ("patient", "patientid", "subject", "subjectid")
LABEL_COLUMNS = ("label", "labels", "findinglabels", "findings", "finding", "diagnosis", "diagnoses", "class", "target", "dx")
LOOKED_AT = 200


@dataclass(frozen=True)
class Columns:
    """Which column of a table holds what.

    Attributes:
        image: paths or ids of images.
        label: names of labels; None: `classes` are columns of their own.
        classes: label columns, where `label` is None.
        patient: patient ids, or None.
        split: names of splits, or None.
        notes: which were found by name.
    """

    image: str
    label: str | None
    classes: tuple[str, ...]
    patient: str | None
    split: str | None
    notes: tuple[str, ...] = ()


def table_samples(config: DataConfig) -> Samples:
    """Reads a table; every fault of its columns, then every fault of its cells, is reported at once.

    Raises:
        DataError: columns that are missing; blank or undefined labels; files that do not exist; images listed twice with
            different labels, patients or splits.
    """
    path = require_path(_given(config.path), "data.path")
    table = read_table(path)
    root = require_path(config.image_root or path.parent, "data.image_root")
    return samples_of_rows(table, table_columns(table, config, root, path), config, root, path)


def samples_of_rows(
    table: pd.DataFrame,
    columns: Columns,
    config: DataConfig,
    root: Path,
    where: Path,
    folders: Sequence[str] = ("images", ""),
    faults: Sequence[str] = (),
) -> Samples:
    """Samples from the rows of a table whose columns are known.

    Args:
        table: N rows of texts, as `read_table` gives them; the index may also say in words where a row stands.
        columns: which column holds what.
        config: what labels, blanks and absent files mean.
        root: the folder that image paths are relative to.
        where: begins the error, if there is one.
        folders: below the root, searched in this order for what is not there as named.
        faults: found before, reported with all others.

    Raises:
        DataError: as `table_samples`.
    """
    located = locate_images(table[columns.image].tolist(), root, folders)
    table, names, notes = _rows_with_files(table, located.names, columns, config)
    found = [*faults, *_file_faults(table, names, located.ambiguous, columns, root)]
    table, names, more = _without_repeats(table, names, columns, found)
    labels = _labels(table, columns, config, found)
    patients = patient_cells(table, columns.patient, found)
    split = split_cells(table, columns.split, found)
    raise_faults(where, found)
    assert labels is not None
    return Samples(
        ids=names,
        targets=labels.targets,
        classes=labels.classes,
        task=labels.task,
        images=FileImages(root, names),
        patients=patients,
        metadata=_metadata(table, columns, labels),
        split=split,
        notes=(*columns.notes, *located.notes, *notes, *more, *labels.notes),
        negative=labels.negative,
        listed=labels.listed,
    )


def read_table(path: Path) -> pd.DataFrame:
    """All cells as stripped text, "" where blank; the index is the line of the file less 2.

    Commas separate the cells; tabs or semicolons do where the header has such and no comma.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            header = list(pd.read_csv(path, nrows=0, encoding="utf-8-sig").columns)
            separator = next((sign for sign in "\t;" if len(header) == 1 and sign in str(header[0])), ",")
            table = pd.read_csv(
                path,
                sep=separator,
                dtype=str,
                keep_default_na=False,
                index_col=False,
                skip_blank_lines=False,
                encoding="utf-8-sig",
            )
    except (pd.errors.EmptyDataError, pd.errors.ParserError, pd.errors.ParserWarning, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a table in UTF-8: {' '.join(str(error).split())}") from error
    # Plain lists: pandas' own text methods take several times as long.
    table = pd.DataFrame(
        {str(name).strip(): [cell.strip() for cell in table[name].fillna("").tolist()] for name in table.columns}
    )
    filled = (table != "").any(axis=1)
    if not filled.any():
        raise DataError(f"{path}: the table has a header, but no rows")
    rows: pd.DataFrame = table[filled]
    return rows


def _given(path: Path | None) -> Path:
    assert path is not None, "the config requires a path for this source"
    return path


# --- columns ----------------------------------------------------------------------------------------------------------------


def table_columns(table: pd.DataFrame, config: DataConfig, root: Path, path: Path) -> Columns:
    """Finds the columns: as configured, else by name; what was found by name is noted.

    Raises:
        DataError: with every column that is missing, each with the nearest name.
    """
    names = [str(name) for name in table.columns]
    faults = [
        f"data.{key}: there is no column {absent}"
        for key in ("image_column", "label_column", "patient_column", "split_column")
        if (given := getattr(config, key)) is not None
        for absent in absent_names([given], names)
    ]
    notes: list[str] = []
    label, classes = _label_column(names, config, faults, notes)
    image = config.image_column or image_column(table, root)
    if image is None:
        faults.append(
            "no column of image paths was found by name (path, file, image, filename, id): name it by data.image_column"
        )
    raise_faults(path, faults, f"The columns are {some(names, 25)}.")
    assert image is not None
    found = {
        "patient": config.patient_column or named_column(names, PATIENT_COLUMNS, taken=(image,)),
        "split": config.split_column or named_column(names, ("split",), taken=(image,)),
    }
    for key, name in {"image": image, **found}.items():
        if name is not None and getattr(config, f"{key}_column") is None:
            notes.append(f"The {key} column {name!r} was found by its name.")
    return Columns(image, label, classes, found["patient"], found["split"], tuple(notes))


def _label_column(
    names: list[str], config: DataConfig, faults: list[str], notes: list[str]
) -> tuple[str | None, tuple[str, ...]]:
    """The column of label names, or the columns of the classes."""
    if config.label_column is not None:
        return config.label_column, ()
    found = named_column(names, LABEL_COLUMNS)
    if config.classes and (found is None or any(name in names for name in config.classes)):
        absent = absent_names(config.classes, names)
        if absent:
            faults.append(f"data.classes: there is no column {some(absent, 20)}")
        return None, config.classes
    if found is None:
        faults.append(
            f"no label column was found by its name ({some(LABEL_COLUMNS, 4)}): name it by data.label_column, or list the "
            "columns that hold 0 and 1 in data.classes"
        )
    else:
        notes.append(f"The label column {found!r} was found by its name.")
    return found, ()


def image_column(table: pd.DataFrame, root: Path) -> str | None:
    """The column with an image's name whose cells are files that exist, the first where several are; looks at some rows."""
    rows = np.unique(np.linspace(0, len(table) - 1, LOOKED_AT).astype(int))
    candidates = [str(name) for wanted in IMAGE_COLUMNS for name in table.columns if plain(name) == wanted]
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    some_cells = {name: [str(table[name].iat[row]) for row in rows] for name in candidates}
    # max keeps the first of equals, so the order of preference decides between them.
    return max(candidates, key=lambda name: int((locate_images(some_cells[name], root).names != "").sum()))


def named_column(names: Sequence[str], wanted: Sequence[str], taken: Sequence[str] = ()) -> str | None:
    """The first column that has one of the wanted names, however it is spelled, and is not taken.

    >>> named_column(["Image Index", "Patient ID"], ["patient", "patientid"])
    'Patient ID'
    """
    return next((name for want in wanted for name in names if plain(name) == want and name not in taken), None)


def _places(table: pd.DataFrame) -> NDArray[np.str_]:
    """(N,) where each row stands: "line 7", or what the index says."""
    return np.array([place if isinstance(place, str) else f"line {place + 2}" for place in table.index.tolist()])


# --- files ------------------------------------------------------------------------------------------------------------------


def _rows_with_files(
    table: pd.DataFrame, names: NDArray[np.str_], columns: Columns, config: DataConfig
) -> tuple[pd.DataFrame, NDArray[np.str_], tuple[str, ...]]:
    """Leaves out rows whose file does not exist where `data.unreadable: skip` allows it."""
    lacking = (names == "") & (table[columns.image] != "").to_numpy()
    if config.unreadable != "skip" or not lacking.any() or lacking.all():
        return table, names, ()
    cells = table[columns.image][lacking]
    note = f"{count(int(lacking.sum()), 'row')} left out as the file does not exist (data.unreadable: skip): {some(cells)}."
    return table[~lacking], names[~lacking], (note,)


def _file_faults(
    table: pd.DataFrame, names: NDArray[np.str_], ambiguous: dict[str, list[str]], columns: Columns, root: Path
) -> list[str]:
    cells = table[columns.image]
    faults = []
    blank = np.flatnonzero(cells == "")
    if len(blank):
        places = some(_places(table.iloc[blank[:5]]))
        faults.append(f"column {columns.image!r} is blank in {count(len(blank), 'row')} ({places})")
    several = cells[cells.isin(list(ambiguous))]
    if len(several):
        cell = str(several.iloc[0]).replace("\\", "/")
        faults.append(
            f"{count(len(several), 'image')} could be several files, such as {cell!r}: {some(ambiguous[cell])}; "
            "say which folder is meant by data.image_root"
        )
    absent = cells[(names == "") & (cells != "").to_numpy() & ~cells.isin(list(ambiguous)).to_numpy()]
    if len(absent):
        faults.append(
            f"{len(absent):,} of {count(len(cells), 'image')} in column {columns.image!r} do not exist below {root}: "
            f"{some(absent)}. Set data.image_root to the folder that they are relative to, or data.unreadable: skip to leave "
            "them out"
        )
    return faults


def _without_repeats(
    table: pd.DataFrame, names: NDArray[np.str_], columns: Columns, faults: list[str]
) -> tuple[pd.DataFrame, NDArray[np.str_], tuple[str, ...]]:
    """Drops rows that repeat another; the same image with another label, patient or split is a fault."""
    said = [name for name in (columns.label, *columns.classes, columns.patient, columns.split) if name is not None]
    keys = table[list(dict.fromkeys(said))].assign(**{"": names})[names != ""]
    repeats = keys.duplicated()
    distinct = keys[~repeats]
    differing = distinct[distinct[""].duplicated(keep=False)].sort_values("", kind="stable")
    if len(differing):
        faults.append(
            f"several rows for {count(differing[''].nunique(), 'image')} differ in label, patient or split: "
            f"{some(f'{name} ({place})' for name, place in zip(differing[''], _places(differing), strict=True))}"
        )
    if not repeats.any():
        return table, names, ()
    kept = ~table.index.isin(keys.index[repeats])
    note = f"{count(int(repeats.sum()), 'row')} left out that repeat another row: {some(keys[''][repeats])}."
    return table[kept], names[kept], (note,)


# --- what else a row says ---------------------------------------------------------------------------------------------------


def _labels(table: pd.DataFrame, columns: Columns, config: DataConfig, faults: list[str]) -> Labels | None:
    """The labels, or None with what is wrong added to the faults."""
    try:
        if columns.label is None:
            return labels_of_columns(table[list(columns.classes)], _places(table), config)
        return labels_of_words(table[columns.label], _places(table), config)
    except DataError as error:
        faults.append(str(error))
        return None


def patient_cells(table: pd.DataFrame, column: str | None, faults: list[str]) -> NDArray[np.str_] | None:
    """(N,) patient ids, or None without a column; blank ones are added to the faults."""
    if column is None:
        return None
    cells = table[column].to_numpy(dtype=str)
    blank = np.flatnonzero(cells == "")
    if len(blank):
        faults.append(
            f"column {column!r} is blank in {count(len(blank), 'row')} "
            f"({some(_places(table.iloc[blank[:5]]))}): images of one patient could not be kept in one split; "
            "fill it in, or leave the rows out"
        )
    return cells


def split_cells(table: pd.DataFrame, column: str | None, faults: list[str]) -> NDArray[np.str_] | None:
    """(N,) of "train", "val", "test" and "", or None without a column; other words are added to the faults."""
    if column is None:
        return None
    codes, cells = pd.factorize(table[column])
    names = ["" if cell == "" else split_name(cell) for cell in cells]
    odd = [cell for cell, name in zip(cells, names, strict=True) if name is None]
    if odd:
        rows = int(table[column].isin(odd).sum())
        faults.append(
            f"column {column!r} holds {some(map(repr, odd))} in {count(rows, 'row')}; allowed are train, val, test, and "
            "blank for a sample to be assigned"
        )
    return np.array([name or "" for name in names])[codes]


def _metadata(table: pd.DataFrame, columns: Columns, labels: Labels) -> pd.DataFrame | None:
    """All other columns, numbers where every cell is one; columns that only say the labels again are left out."""
    used = {columns.image, columns.label, columns.patient, columns.split, *columns.classes}
    said = {plain(name) for name in (*labels.classes, labels.negative, *LABEL_COLUMNS)}
    kept = [
        name
        for name in table.columns
        if name not in used and plain(name) not in said and not is_negative(name) and not name.startswith("Unnamed:")
    ]
    return pd.DataFrame({name: typed_cells(table[name]) for name in kept}).reset_index(drop=True) if kept else None


def typed_cells(cells: pd.Series[str]) -> pd.Series[Any]:
    """Numbers where every cell that is not blank is one, else texts; blank cells are missing values."""
    given = cells.where(cells != "")
    numbers = pd.to_numeric(given, errors="coerce")
    return numbers if bool((numbers.isna() == given.isna()).all()) else given
