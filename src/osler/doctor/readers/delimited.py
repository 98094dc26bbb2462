"""Tables of separated values: Keras, Lightning and YOLO logs, and any table with columns of losses and scores."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, zip_longest

import numpy as np
from numpy.typing import NDArray

from osler.doctor.chart import Chart
from osler.doctor.readers.assemble import charts_of
from osler.doctor.readers.numbers import commas_are_decimal, parse_cells, parse_number
from osler.doctor.readers.source import NotThisError, Source
from osler.doctor.readers.table import Column, Table
from osler.doctor.readers.vocabulary import find_meaning, split_of
from osler.errors import DataError

__all__ = ["read_delimited", "table_of_records", "table_of_rows"]

DELIMITERS: dict[str, str] = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|", "spaces": " "}
SAMPLE = 60
LARGE = 2_000
LONGEST_HEADER = 4_000
MOST_COLUMNS = 20_000
# Of the cells below a header, so many are numbers or empty: what has fewer is a text with commas.
SHARE_OF_NUMBERS = 0.5
# A table without epochs and with so few numbered runs, one row each, is of folds or seeds.
MOST_FOLDS = 20
# Columns that name what a row is about, where that is no epoch; and names that count after all.
NAMED_ROW = re.compile(
    r"(?i)(?:unnamed: 0|index|name|metric|(?:image|file|patient|case|sample)(?:[_ ]?(?:id|name))?"
    r"|(?:.*[_ ])?(?:class|label|category|pathology|disease|finding|condition|tissue|organ|structure)(?:[_ ]?names?)?)"
)
OF_TOTAL = re.compile(r"(?i)\W*(?:epoch\W*)?(\d{1,7})\W*(?:(?:/|of)\W*\d{1,7}\W*)?")
COUNTED_ROW = re.compile(r"(?i)(?:epoch|ep|step|iter(?:ation)?)?\W*\d+")
Rows = list[list[str]]
# Row of the table at which cells begin, the cells, and where they stand.
Piece = tuple[int, Sequence[str | float], str]


@dataclass(frozen=True)
class Block:
    """A header and the columns below it, as texts or numbers; all columns are of `count` cells."""

    header: list[str]
    columns: Sequence[Sequence[str | float]]
    count: int


def read_delimited(source: Source) -> list[Chart]:
    """Charts from a table of separated values.

    Raises:
        NotThisError: it is no such table.
        DataError: it is one, and no column says anything of a run.
    """
    lines = source.lines
    first = next((index for index, line in enumerate(lines) if line.strip(" \t,;#")), 0)
    found = _sniffed(lines[first : first + SAMPLE])
    if found is None:
        raise NotThisError("no header of known columns above rows of numbers")
    delimiter, skip = found
    at_once = _columns_at_once(lines[first + skip :], delimiter)
    if at_once is not None:
        return charts_of(_table_of_blocks([at_once], source.name, ""))
    rows = _cut(lines[first + skip :], delimiter)
    return charts_of(table_of_rows(_with_row_names(rows) if delimiter == " " else rows, source.name, ""))


def _sniffed(lines: Sequence[str]) -> tuple[str, int] | None:
    """The delimiter, and how many lines stand above the header; the header is the line that names the most known columns."""
    best: tuple[float, str, int] | None = None
    for delimiter in DELIMITERS.values():
        rows = _cut(lines, delimiter)
        for index, header in enumerate(rows[:-1]):
            known = _known_columns(header)
            if known < 1 or len(header) < 2 or sum(map(len, header)) > LONGEST_HEADER:
                continue
            below = [row for row in rows[index + 1 :] if any(row)]
            score = _numeric_share(below, len(header)) * known
            if score > 0 and (best is None or score > best[0] + 1e-9):
                best = (score, delimiter, index)
            break
    return None if best is None else (best[1], best[2])


def _known_columns(header: Sequence[str]) -> int:
    """How many cells of a possible header are words of a log; none if the row holds numbers."""
    if any(parse_number(cell) is not None for cell in header[:MOST_COLUMNS] if cell):
        return 0
    kinds = [find_meaning(cell).kind for cell in header[:200] if 0 < len(cell) <= 80]
    return sum(kind == "figure" for kind in kinds)


def _numeric_share(rows: Sequence[Sequence[str]], width: int) -> float:
    """Share of cells below a header that are numbers or empty, where rows have about its width; else 0."""
    if not rows:
        return 0.0
    fitting = [row for row in rows if abs(len(row) - width) <= max(1, width // 4)]
    cells = [cell for row in fitting[:SAMPLE] for cell in row[:200]]
    if len(fitting) < 0.5 * len(rows) or not cells:
        return 0.0
    numbers = sum(parse_number(cell, True) is not None for cell in cells)
    share = (numbers + sum(not cell for cell in cells)) / len(cells)
    return share if numbers and share >= SHARE_OF_NUMBERS else 0.0


def _cut(lines: Sequence[str], delimiter: str) -> Rows:
    """The cells of each line, without surrounding spaces."""
    if delimiter == " ":
        wide = sum("  " in line.strip() or "\t" in line for line in lines[:SAMPLE]) > len(lines[:SAMPLE]) // 2
        return [(re.split(r"\s{2,}|\t", line.strip()) if wide else line.split()) for line in lines]
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
        try:
            rows = list(csv.reader(lines, delimiter=delimiter, quoting=quoting, skipinitialspace=True))
        except csv.Error:  # a quote that is never closed, or a cell of no end
            continue
        if len(rows) > 0.5 * len(lines):
            return [[cell.strip() for cell in row] for row in rows] if any(map(_padded, rows[:SAMPLE])) else rows
    return [line.split(delimiter)[:MOST_COLUMNS] for line in lines]


def _padded(row: Sequence[str]) -> bool:
    return any(cell != cell.strip() for cell in row)


def _with_row_names(rows: Rows) -> Rows:
    """Columns that are set apart by spaces alone, with a name before each row: its column has none in the header."""
    body = [row for row in rows[1:] if any(row)]
    longer = [row for row in body if len(row) == len(rows[0]) + 1 and parse_number(row[0]) is None]
    return [["", *rows[0]], *rows[1:]] if 2 * len(longer) > len(body) else rows


def _columns_at_once(lines: list[str], delimiter: str) -> Block | None:
    """The columns of a large table in which every line has as many cells as the header, and none is quoted."""
    if delimiter == " " or len(lines) < LARGE:
        return None
    lines = [line for line in lines if line]
    width = lines[0].count(delimiter) + 1
    if any(line.count(delimiter) != width - 1 or '"' in line for line in lines):
        return None
    cells = delimiter.join(lines).split(delimiter)
    header = _header(cells[:width])
    columns = [cells[width + place :: width] for place in range(width)]
    # A header that stands again, and cells with spaces around, are for the careful way.
    return None if cells[0] in columns[0] else Block(header, columns, len(lines) - 1)


def _header(cells: Sequence[str]) -> list[str]:
    return [cell.lstrip("#").strip().strip('"') for cell in cells]


def table_of_records(records: Sequence[Mapping[str, str | float]], source: str, reader: str) -> Table:
    """A table with a row for each record, and a column for each of their keys."""
    header = list(dict.fromkeys(key for record in records for key in record))[:MOST_COLUMNS]
    columns = [[record.get(key, "") for record in records] for key in header]
    return _table_of_blocks([Block(header, columns, len(records))], source, reader)


def table_of_rows(rows: Rows, source: str, reader: str) -> Table:
    """A table from a header and rows of cells; a header that stands again begins another block.

    Args:
        rows: the header and what stands below it.
        source: the file, as the user named it.
        reader: its name, or "" to tell the kinds of CSV apart.

    Raises:
        NotThisError: nothing stands below the header.
    """
    return _table_of_blocks(_blocks(rows), source, reader)


def _blocks(rows: Rows) -> list[Block]:
    mark = rows[0][0].lower()
    starts = [0]
    if mark:
        starts += [index for index, row in enumerate(rows) if index and len(row) > 1 and row[0].lower() == mark]
    blocks: list[Block] = []
    for start, stop in pairwise([*starts, len(rows)]):
        header = _header(rows[start][:MOST_COLUMNS])
        body = [row for row in rows[start + 1 : stop] if any(row)]
        if body:
            columns = list(islice(zip_longest(*body, fillvalue=""), len(header)))
            blocks.append(Block(header, columns, len(body)))
    if not blocks:
        raise NotThisError("a header without rows")
    return blocks


def _table_of_blocks(blocks: Sequence[Block], source: str, reader: str) -> Table:
    """Blocks one below the other are one table: its rows are counted through, its columns joined by their names."""
    decimal = commas_are_decimal(
        cell for block in blocks for column in block.columns[:200] for cell in column[:SAMPLE] if isinstance(cell, str)
    )
    _refuse_named_rows(source, blocks)
    texts: dict[str, list[Piece]] = {}
    count = 0
    for block in blocks:
        for place, (label, cells) in enumerate(zip(block.header, block.columns, strict=False), 1):
            if label:
                texts.setdefault(label, []).append((count, cells, f"column {place}"))
        count += block.count
    notes = () if len(blocks) == 1 else (f"its header stands {len(blocks)} times: what was written one after another is joined",)
    return _table(texts, count, decimal, source, reader or _dialect(list(texts)), notes)


def _table(
    texts: dict[str, list[Piece]],
    count: int,
    decimal: bool,
    source: str,
    reader: str,
    notes: tuple[str, ...],
) -> Table:
    """Sorts the columns by what they are: epochs, steps, names of runs, splits and phases, figures."""
    special: dict[str, NDArray[np.float64]] = {}
    words: dict[str, list[str]] = {}
    columns: list[Column] = []
    for label, pieces in texts.items():
        kind = find_meaning(label).kind
        column, odd = _column(label, pieces, decimal)
        if kind == "epoch" and not len(column.rows):
            column, odd = _column(
                label, [(start, [_of_total(cell) for cell in cells], where) for start, cells, where in pieces], False
            )
        if kind in ("split", "group", "phase") and (odd or kind != "split"):
            texts_of_rows = _words(pieces, count)
            # A "phase" of train and val is a split, whatever the column is called.
            are_splits = all(split_of(word) for word in set(texts_of_rows) if word)
            words.setdefault("split" if are_splits else kind, texts_of_rows)
        elif kind in ("epoch", "step") and kind not in special and len(column.rows):
            special[kind] = np.full(count, np.nan)
            special[kind][column.rows] = column.values
        elif len(column.rows):
            columns.append(column)
    if "split" in words:
        columns = _by_split(columns, words["split"])
    groups, group_names = _coded(words.get("group"))
    phases, phase_names = _coded(words.get("phase"))
    epochs = special.get("epoch", np.full(count, np.nan))
    if groups is not None and _covers_once(epochs, groups):
        _refuse_comparison(source, epochs, group_names)
        groups, group_names = None, ()
    return Table(
        source, reader, epochs, columns, special.get("step"), groups, group_names, phases, phase_names, notes=notes
    )  # fmt: skip


def _column(label: str, pieces: Sequence[Piece], decimal: bool) -> tuple[Column, int]:
    read = [(start, parse_cells(cells, decimal)) for start, cells, _ in pieces]
    rows = np.concatenate([cells.rows + start for start, cells in read])
    values = np.concatenate([cells.values for _, cells in read])
    return Column(label, pieces[0][2], rows, values, any(cells.percent for _, cells in read)), sum(
        cells.texts for _, cells in read
    )


def _of_total(cell: str | float) -> str | float:
    """The epoch of "3/50", "Epoch 3" or "3 of 50"; anything else as it is."""
    found = OF_TOTAL.fullmatch(cell) if isinstance(cell, str) else None
    return found[1] if found else cell


def _words(pieces: Sequence[Piece], count: int) -> list[str]:
    words = [""] * count
    for start, cells, _ in pieces:
        words[start : start + len(cells)] = map(str, cells)
    return words


def _by_split(columns: Sequence[Column], words: Sequence[str]) -> list[Column]:
    """A table with a row for train and a row for val has each figure once a split."""
    splits = np.array([split_of(word) or "" for word in words])
    done: list[Column] = []
    for column in columns:
        own = splits[column.rows]
        for split in dict.fromkeys(own.tolist()):
            rows = own == split
            done.append(
                Column(f"{split} {column.label}".strip(), column.where, column.rows[rows], column.values[rows], column.percent)
            )
    return done


def _coded(words: Sequence[str] | None) -> tuple[NDArray[np.intp] | None, tuple[str, ...]]:
    """Words as numbers and their names, in the order they come; None where there is but one."""
    if words is None:
        return None, ()
    names = list(dict.fromkeys(word for word in words if word))
    if len(names) < 2:
        return None, ()
    codes = {name: index for index, name in enumerate(names)}
    return np.array([codes.get(word, 0) for word in words], dtype=np.intp), tuple(names)


def _covers_once(epochs: NDArray[np.float64], groups: NDArray[np.intp]) -> bool:
    """Whether every group has one row: then it is no name of a run ("version", "seed") but differs by epoch."""
    return len(epochs) > 0 and int(np.bincount(groups).max()) == 1


def _refuse_named_rows(source: str, blocks: Sequence[Block]) -> None:
    """A row for each class, image or whatever has a name of its own, and no epochs."""
    if len(blocks) > 1 or any(find_meaning(label).kind in ("epoch", "step") for label in blocks[0].header):
        return
    for label, cells in zip(blocks[0].header[:3], blocks[0].columns, strict=False):
        names = [str(cell).strip() for cell in cells]
        alike = any(parse_number(name) is not None or COUNTED_ROW.fullmatch(name) or split_of(name) for name in names)
        if (not label or NAMED_ROW.fullmatch(label)) and len(set(names)) == len(names) > 1 and not alike:
            _refuse_comparison(source, np.empty(0), names)


def _refuse_comparison(source: str, epochs: NDArray[np.float64], names: Sequence[str]) -> None:
    """A row for each network or fold, and no epochs that count on: what came out in the end, not how it came to it."""
    words = any(parse_number(name) is None for name in names)
    counts = len(epochs) > 1 and bool(np.all(np.diff(epochs) > 0))
    if not counts and (words or len(names) <= MOST_FOLDS):
        shown = ", ".join(map(repr, names[:4]))
        raise DataError(
            f"{source}: has one row for each of {shown}: it compares results, and tells nothing of the epochs before them."
        )


def _dialect(labels: Sequence[str]) -> str:
    """Which program wrote the table, by its columns."""
    names = {label.strip().lower() for label in labels}
    if any(name.startswith("metrics/") for name in names) or {"train/box_loss", "val/box_loss"} & names:
        return "csv.yolo"
    if "step" in names and "epoch" in names and any(name.startswith(("train", "val")) for name in names):
        return "csv.lightning"
    if "epoch" in names and any(name.startswith("val_") and name[4:] in names for name in names):
        return "csv.keras"
    return "csv"
