"""What the readers of known sets share: the files that a set is published as become one table, and that becomes samples."""

from __future__ import annotations

import csv
import gzip
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osler.config import DataConfig
from osler.data.files import is_folder, is_hidden
from osler.data.labels import absent_names, plain
from osler.data.messages import count, require_path, some
from osler.data.samples import Samples
from osler.data.table import Columns, read_table, samples_of_rows
from osler.errors import DataError
from osler.imaging.read import IMAGE_SUFFIXES

__all__ = [
    "IMAGE",
    "PATIENT",
    "SPLIT",
    "Published",
    "columns_of",
    "find_files",
    "flags",
    "given_path",
    "published_samples",
    "stacked",
]

IMAGE, PATIENT, SPLIT = "image", "patient", "split"
MOST_FOLDERS = 50
NOT_READ = ("image_column", "label_column", "negative_label", "patient_pattern")


@dataclass(frozen=True)
class Published:
    """A known set as one table.

    Attributes:
        where: its folder, for errors.
        table: a row for each image: the columns `IMAGE`, of all `labels`, `PATIENT` and `SPLIT` where known, and further ones.
        labels: columns of 0, 1, −1 and blank that may be classes.
        classes: those that are where `data.classes` is null.
        negative: the set's word for none of them.
        exclusive: each image has exactly one of the classes.
        folders: where images are searched, in this order, below the folder.
        notes: what was read and assumed, one sentence each.
        faults: what is wrong, without full stops.
    """

    where: Path
    table: pd.DataFrame
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    negative: str = "negative"
    exclusive: bool = False
    folders: tuple[str, ...] = ("images", "")
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def published_samples(published: Published, config: DataConfig) -> Samples:
    """The samples of a known set, by the one reader of tables: every fault at once, absent images counted, none dropped unsaid.

    Raises:
        DataError: settings that this source does not read, classes that the set has not, and all that `table_samples` refuses.
    """
    names = [str(name) for name in published.table.columns]
    faults = [
        f"data.{key} is not read by source {config.source}: leave it out" for key in NOT_READ if getattr(config, key) is not None
    ]
    for key in ("patient_column", "split_column"):
        given = getattr(config, key)
        faults += [f"data.{key}: there is no column {absent}" for absent in absent_names([given], names)] if given else []
    if config.classes:
        absent = absent_names(config.classes, published.labels)
        faults += (
            [f"data.classes: the set has no label {some(absent, 20)}; it has {some(published.labels, 30)}"] if absent else []
        )
    if faults:
        raise DataError(f"{published.where}: {'; '.join(faults)}.")
    chosen = config.classes or published.classes
    table = published.table.drop(columns=[name for name in published.labels if name not in chosen])
    task = "multilabel" if config.task == "auto" and not published.exclusive and len(chosen) > 1 else config.task
    columns = Columns(
        IMAGE,
        None,
        tuple(chosen),
        config.patient_column or (PATIENT if PATIENT in names else None),
        config.split_column or (SPLIT if SPLIT in names else None),
        published.notes,
    )
    root = published.where if config.image_root is None else require_path(config.image_root, "data.image_root")
    asked = config.model_copy(update={"task": task})
    samples = samples_of_rows(table, columns, asked, root, published.where, published.folders, published.faults)
    return samples if samples.listed else replace(samples, negative=published.negative)


# --- files ------------------------------------------------------------------------------------------------------------------


def given_path(config: DataConfig) -> Path:
    """`data.path`, which exists; DataError otherwise."""
    assert config.path is not None, "the config requires a path for this source"
    return require_path(config.path, "data.path")


def find_files(path: Path, pattern: str, depth: int = 1) -> list[Path]:
    """Files whose whole name fits a pattern, whatever its case: in a folder, then up to `depth` folders below it, sorted.

    Of a file, that file if it fits.
    """
    if path.is_file():
        return [path] if re.fullmatch(pattern, path.name, re.IGNORECASE) else []
    try:
        # One scan and no look at each file: folders of images may have 100,000.
        with os.scandir(path) as entries:
            inside = sorted((entry.name, is_folder(entry)) for entry in entries if not entry.name.endswith(IMAGE_SUFFIXES))
    except OSError:
        return []
    fits = re.compile(pattern, re.IGNORECASE).fullmatch
    found = [path / name for name, folder in inside if not folder and fits(name)]
    folders = [path / name for name, folder in inside if folder and not is_hidden(name)] if depth else []
    return found + [file for folder in folders[:MOST_FOLDERS] for file in find_files(folder, pattern, depth - 1)]


def columns_of(path: Path) -> frozenset[str]:
    """The names in a table's first line, as `plain` spells them; none where it is no text."""
    try:
        with gzip.open(path, "rt", encoding="utf-8-sig") if path.suffix == ".gz" else open(path, encoding="utf-8-sig") as file:
            return frozenset(plain(name) for name in next(csv.reader([file.readline(1 << 16)]), []))
    except (OSError, UnicodeDecodeError, EOFError, csv.Error):
        return frozenset()


def stacked(tables: Iterable[tuple[Path, str]]) -> pd.DataFrame:
    """Tables of the same columns below each other, with the column `SPLIT`; the index says in which file a row stands.

    Args:
        tables: files, and the split that their rows belong to.
    """
    parts = []
    for path, split in tables:
        table = read_table(path)
        table.index = pd.Index([f"{path.name} line {place + 2}" for place in table.index.tolist()])
        parts.append(table.assign(**{SPLIT: split}))
    return pd.concat(parts).fillna("")


def flags(
    cells: Sequence[str], names: Sequence[str], faults: list[str], column: str, separator: str | None = None
) -> pd.DataFrame:
    """Columns of "0" and "1" from a column of words; blank in every column where a cell is blank.

    Args:
        cells: (N,) a word, or several with a separator between them.
        names: the words, in the order of the columns.
        faults: words that are none of them are added.
        column: what the cells are called in faults.
        separator: between several words.

    >>> flags(["b|a", "", "a"], ["a", "b"], [], "x", "|").values.tolist()
    [['1', '1'], ['', ''], ['1', '0']]
    """
    codes, uniques = pd.factorize(np.asarray(cells, dtype=object))
    parts = [[word.strip() for word in (str(cell).split(separator) if separator else [str(cell)])] for cell in uniques]
    strange = sorted({word for part in parts for word in part} - {*names, ""})
    if strange:
        rows = int(np.isin(codes, [code for code, part in enumerate(parts) if set(part) & set(strange)]).sum())
        faults.append(f"column {column!r} holds {some(map(repr, strange))} in {count(rows, 'row')}; known are {some(names, 30)}")
    blank = [not any(part) for part in parts]
    columns: dict[str, NDArray[np.str_]] = {}
    for name in names:
        values = ["" if empty else str(int(name in part)) for part, empty in zip(parts, blank, strict=True)]
        columns[name] = np.array(values, dtype=object)[codes]
    return pd.DataFrame(columns)
