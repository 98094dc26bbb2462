"""JSON logs: Keras histories and the like, records by epoch, JSON lines, and Python's own way to print a dictionary."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.doctor.chart import Chart
from osler.doctor.facts import Facts
from osler.doctor.readers.assemble import charts_of, refuse_swept
from osler.doctor.readers.beside import facts_of_settings
from osler.doctor.readers.delimited import table_of_records, table_of_rows
from osler.doctor.readers.numbers import parse_number
from osler.doctor.readers.source import NotThisError, Source
from osler.doctor.readers.table import Column, Table
from osler.doctor.readers.vocabulary import find_meaning, split_of
from osler.errors import DataError

__all__ = ["history_charts", "parse_json", "parse_python", "read_json", "record_charts"]

PHASE = re.compile(r"(?i)(phase|stage|step|head|warm|frozen|freeze|unfreez|finetun|fine_?-?tun|initial|pretrain|ft)")
PER_CLASS = re.compile(r"(?i)(?:per|by)[ _-]?(?:class|label|category|organ)|class[ _-]?wise|label[ _-]?wise")
# Python's literals in JSON's words: quotes, constants, and the types that numpy and torch print around numbers.
PYTHON_TYPES = re.compile(r",\s*(?:dtype|device)=[^(),]*(?=\))")
PYTHON_WRAPPED = re.compile(r"(?:np\.|numpy\.)?(?:float\d*|int\d*|array|tensor)\(([^()]*)\)")
PYTHON_QUOTED = re.compile(r"'([^'\"\\\n]*)'")
PYTHON_WORDS = {"None": "null", "True": "true", "False": "false", "nan": "NaN", "inf": "Infinity"}
PYTHON_WORD = re.compile(r"(?<![\w\"'])(None|True|False|nan|inf)(?![\w\"'])")
# Whole numbers of any length become floats; made once, since a million lines may need it.
DECODER = json.JSONDecoder(parse_int=float)
DEEPEST = 6
MOST_COLUMNS = 20_000
MOST_CLASSES = 500
Labelled = tuple[str, list[float | None]]


def read_json(source: Source) -> list[Chart]:
    """Charts from a JSON log.

    Raises:
        NotThisError: it is no JSON.
        DataError: it is, and holds nothing by epoch.
    """
    value = parse_json(source)
    if isinstance(value, list):
        records = [item for item in value if isinstance(item, dict)]
        if not records:
            raise DataError(f"{source.name}: is a JSON list without records. A log is a list of objects or an object of lists.")
        if len(records) == 1 and any(isinstance(item, (list, dict)) for item in records[0].values()):
            return history_charts(records[0], source.name)
        histories = _histories_of(records)
        if histories:
            return history_charts(histories, source.name)
        return record_charts(records, source.name)
    if isinstance(value, dict):
        return history_charts(value, source.name)
    raise DataError(
        f"{source.name}: is JSON, but only a {type(value).__name__}. A log is a list of objects or an object of lists."
    )


def parse_json(source: Source) -> Any:
    """The value that a file holds as JSON, as JSON lines, as several JSON values, or as a printed Python value.

    Raises:
        NotThisError: it does not begin as such.
        DataError: it does, and breaks off or is damaged.
    """
    text = source.text.strip().removeprefix("\ufeff")
    if text[:1] not in "{[\"'":
        raise NotThisError("does not begin as JSON")
    for parse in (_loads, _lines, parse_python):
        try:
            value = parse(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, str) and value.strip()[:1] in ("{", "["):
            # A dictionary turned to text before it was written as JSON.
            try:
                value = _loads(value)
            except (ValueError, RecursionError):
                try:
                    value = parse_python(value)
                except (ValueError, RecursionError):
                    raise NotThisError("a text in quotes that is no JSON") from None
        return value
    raise NotThisError("begins as JSON, but is damaged or breaks off")


def _loads(text: str) -> Any:
    return DECODER.decode(text)


def _lines(text: str) -> list[Any]:
    """JSON lines; a last line cut short is left out, and so are lines between that are no JSON, unless they are many."""
    values: list[Any] = []
    broken = 0
    lines = [line for line in text.splitlines() if line.strip()]
    for line in lines:
        try:
            values.append(DECODER.decode(line))
        except (ValueError, RecursionError):
            broken += 1
            if broken > 2 + len(lines) // 5:
                raise ValueError("not JSON lines") from None
    if sum(isinstance(value, dict) for value in values) < 1:
        raise ValueError("no objects")
    return values


def parse_python(text: str) -> Any:
    """A printed Python value as JSON knows it; nothing is evaluated.

    >>> parse_python("{'loss': [np.float64(0.5), nan], 'lr': None}")["lr"] is None
    True

    Raises:
        ValueError: it is none.
    """
    text = PYTHON_WRAPPED.sub(r"\1", PYTHON_TYPES.sub("", text))
    text = PYTHON_QUOTED.sub(r'"\1"', text)
    return _loads(PYTHON_WORD.sub(lambda found: PYTHON_WORDS[found[1]], text))


# --- records ------------------------------------------------------------------------------------------------------------------


def record_charts(
    records: Sequence[Mapping[str, Any]], name: str, reader: str = "json.records", facts: Facts | None = None
) -> list[Chart]:
    """Charts from one object an epoch, or one a split and epoch."""
    table = table_of_records([dict(_scalars(record, "", 0)) for record in records], name, reader)
    return [chart.with_facts((facts or Facts()).over(chart.facts)) for chart in charts_of(table)]


def _scalars(record: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, str | float]]:
    """Numbers and short words of a record, nested ones under joined names; a list of numbers is one for each class."""
    for key, value in record.items():
        label = f"{prefix}{key}"
        if isinstance(value, Mapping) and depth < DEEPEST:
            yield from _scalars(value, f"{label}/", depth + 1)
        elif isinstance(value, list) and len(value) <= MOST_CLASSES and all(isinstance(item, float) for item in value):
            yield from ((f"{label}/{index}" if len(value) > 1 else label, item) for index, item in enumerate(value))
        elif isinstance(value, (int, float)) or (isinstance(value, str) and len(value) <= 80):
            yield label, value


# --- histories ----------------------------------------------------------------------------------------------------------------


def history_charts(value: Mapping[str, Any], name: str, reader: str = "json.history") -> list[Chart]:
    """Charts from an object of lists, or from one that holds such objects for splits, phases or runs."""
    facts = facts_of_settings({key: item for key, item in value.items() if not isinstance(item, list)}, name)
    if set(value) >= {"columns", "data"} and isinstance(value["data"], list):
        rows = [["" if cell is None else str(cell) for cell in row] for row in value["data"] if isinstance(row, list)]
        return charts_of(table_of_rows([[str(label) for label in value["columns"]], *rows], name, reader))
    by_epoch = _by_epoch(value)
    if by_epoch:
        return record_charts(by_epoch, name, reader, facts)
    value = {str(key): _columns_of(_unindexed(item)) for key, item in value.items()}
    groups = [(key, list(_lists(item, "", 0))) for key, item in value.items() if isinstance(item, Mapping)]
    groups = [(key, lists) for key, lists in groups if lists]
    own = list(_lists({key: item for key, item in value.items() if not isinstance(item, Mapping)}, "", 0))
    if not groups and not own:
        raise DataError(
            f'{name}: no lists of numbers by epoch stand in it. A history is an object such as {{"loss": [0.6, 0.5]}}.'
        )
    if len(groups) > 1 and not any(split_of(key) for key, _ in groups) and _share_labels(groups):
        return _separate(groups, name, reader, facts)
    lists = own + [
        (f"{key} {label}" if split_of(key) or len(groups) > 1 or find_meaning(key).kind == "figure" else label, numbers)
        for key, pairs in groups
        for label, numbers in pairs
    ]
    return charts_of(_history_table(lists, name, reader, facts))


def _by_epoch(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Records of an object whose keys are epochs: {"1": {"loss": 0.6}, "epoch_2": {...}}; empty where they are not."""
    numbers = {key: re.fullmatch(r"(?i)(?:epoch)?[\s_:-]*(\d{1,9})", str(key)) for key in value}
    if len(value) < 1 or not all(numbers.values()) or not all(isinstance(item, Mapping) for item in value.values()):
        return []
    return [{"epoch": float(found[1]), **value[key]} for key, found in numbers.items() if found is not None]


def _share_labels(groups: Sequence[tuple[str, list[Labelled]]]) -> bool:
    counts = Counter(label for _, lists in groups for label in dict(lists))
    return max(counts.values()) > 1


def _separate(groups: Sequence[tuple[str, list[Labelled]]], name: str, reader: str, facts: Facts) -> list[Chart]:
    """Named parts that hold the same figures: phases of one run where they are called so, else runs."""
    names = tuple(key for key, _ in groups)
    tables = [_history_table(lists, name, reader, facts) for _, lists in groups]
    sizes = [len(table.epochs) for table in tables]
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    codes = np.repeat(np.arange(len(tables)), sizes)
    columns = [
        Column(column.label, column.where, column.rows + start, column.values)
        for table, start in zip(tables, starts, strict=True)
        for column in table.columns
    ]
    merged: dict[str, list[Column]] = {}
    for column in columns:
        merged.setdefault(column.label, []).append(column)
    joined = [
        Column(label, f"key {label}", np.concatenate([one.rows for one in parts]), np.concatenate([one.values for one in parts]))
        for label, parts in merged.items()
    ]
    notes = tuple(note for table in tables for note in table.notes)
    epochs = np.concatenate([table.epochs for table in tables])
    if all(PHASE.search(key) for key in names):
        return charts_of(Table(name, reader, epochs, joined, phases=codes, phase_names=names, facts=facts, notes=notes))
    return charts_of(Table(name, reader, epochs, joined, groups=codes, group_names=names, facts=facts, notes=notes))


def _lists(value: Mapping[str, Any], prefix: str, depth: int) -> Iterator[Labelled]:
    """Every list of numbers below a value, under its joined keys."""
    for key, item in value.items():
        label = f"{prefix}{key}"
        item = _columns_of(_unindexed(item))
        if isinstance(item, Mapping):
            if depth < DEEPEST:
                yield from _lists(item, f"{label}/", depth + 1)
        elif isinstance(item, list) and item:
            yield from _numbers(label, item)


def _unindexed(item: Any) -> Any:
    """pandas writes a column as {"0": 0.6, "1": 0.5}: the list that is meant; anything else as it is."""
    if isinstance(item, Mapping) and item and all(str(index).isdecimal() for index in item):
        return [item[index] for index in sorted(item, key=lambda index: int(str(index)[:12]))]
    return item


def _columns_of(item: Any) -> Any:
    """A list of objects, one an epoch, as an object of lists; anything else as it is."""
    if not (isinstance(item, list) and item and all(isinstance(record, Mapping) for record in item)):
        return item
    records = [dict(_scalars(record, "", 0)) for record in item]
    names = list(dict.fromkeys(name for record in records for name in record))[:MOST_COLUMNS]
    return {name: [record.get(name) for record in records] for name in names}


def _histories_of(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The histories in a list with an object for each fold or network, by its name; empty where the objects are epochs.

    A list of numbers in an object of one epoch is of classes: histories are told by a loss and another list as long.
    """
    found: dict[str, Any] = {}
    for number, record in enumerate(records, 1):
        nested = {str(key): item for key, item in record.items() if isinstance(item, (list, Mapping))}
        lists = [(find_meaning(label), len(numbers)) for label, numbers in _lists(nested, "", 0)]
        lengths = [length for meaning, length in lists if meaning.kind == "figure" and meaning.name == "loss"]
        if not any(length > 1 and [size for _, size in lists].count(length) > 1 for length in lengths):
            return {}
        name = next(
            (
                f"{key} {record[key]:g}" if isinstance(record[key], float) else str(record[key])
                for key in record
                if find_meaning(str(key)).kind == "group" and isinstance(record[key], (str, float))
            ),
            f"run {number}",
        )
        found[name if name not in found else f"{name} ({number})"] = nested
    return found


def _numbers(label: str, items: list[Any]) -> Iterator[Labelled]:
    """A list as numbers; a list of lists is one for each class, and so is a flat one whose name says that."""
    if PER_CLASS.search(label) and not any(isinstance(item, (list, Mapping)) for item in items):
        return
    if all(isinstance(item, list) for item in items):
        width = max(len(item) for item in items)
        if width > MOST_CLASSES:
            return
        for index in range(width):
            column = [_number(item[index]) if index < len(item) else None for item in items]
            if any(number is not None for number in column):
                yield (label if width == 1 else f"{label}/{index}"), column
    else:
        column = [_number(item) for item in items]
        if sum(number is not None for number in column) > len(column) // 2 or column[:1] != [None]:
            yield label, column


def _number(item: Any) -> float | None:
    if isinstance(item, list) and len(item) == 1:
        item = item[0]
    if isinstance(item, float):
        return item
    found = parse_number(item) if isinstance(item, str) else None
    return None if found is None else found[0]


def _history_table(lists: Sequence[Labelled], name: str, reader: str, facts: Facts) -> Table:
    """A table from lists; those of other lengths than most are spread over the same epochs."""
    figures = [(label, numbers) for label, numbers in lists if find_meaning(label).kind == "figure"]
    epochs = [numbers for label, numbers in lists if find_meaning(label.rpartition("/")[2]).kind == "epoch"]
    counts = Counter(len(numbers) for _, numbers in figures)
    if not counts:
        labels = ", ".join(repr(label[:40]) for label, _ in lists[:12])
        raise DataError(
            f"{name}: no list is known as a loss or score of training: {labels}. A history has lists such as loss, val_auc."
        )
    length = max(counts, key=lambda size: (counts[size], size))
    numbered = next((numbers for numbers in epochs if len(numbers) == length and None not in numbers), None)
    if numbered is None:
        refuse_swept(name, [(label, _floats(numbers)) for label, numbers in lists])
    own = np.arange(1.0, length + 1.0) if numbered is None else np.array(numbered, dtype=np.float64)
    points: list[tuple[str, np.ndarray[Any, Any], np.ndarray[Any, Any]]] = []
    notes: list[str] = []
    for label, numbers in lists:
        if find_meaning(label.rpartition("/")[2]).kind in ("epoch", "step"):
            continue
        places, note = _spread(len(numbers), length, label)
        known = np.array([number is not None for number in numbers])
        values = _floats(numbers)
        points.append((label, places[known], values[known]))
        notes += [note] if note else []
    # Rows are points in the order of their epochs, so that lists of any length share one table.
    places = np.concatenate([place for _, place, _ in points]) if points else np.empty(0, dtype=np.intp)
    if all(len(numbers) == length for _, numbers in figures):
        columns = [Column(label, f"key {label}", place, values) for label, place, values in points]
        return Table(name, reader, own, columns, facts=facts, notes=tuple(notes))
    order = np.argsort(places, kind="stable")
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    ends = np.cumsum([len(place) for _, place, _ in points])
    columns = [
        Column(label, f"key {label}", rank[end - len(values) : end], values)
        for (label, _, values), end in zip(points, ends, strict=True)
    ]
    return Table(name, reader, own[places[order]], columns, separate=False, facts=facts, notes=tuple(notes))


def _floats(numbers: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)


def _spread(count: int, length: int, label: str) -> tuple[np.ndarray[Any, Any], str]:
    """The epoch (from 0) of each item of a list that may be longer or shorter than the run has epochs."""
    if count == length:
        return np.arange(count), ""
    if count > length:
        return np.arange(count) * length // count, f"{label!r} has {count} values for {length} epochs: spread evenly over them"
    if length % count == 0 and count > 1:
        every = length // count
        return np.arange(
            count
        ) * every + every - 1, f"{label!r} has {count} values for {length} epochs: taken as one every {every} epochs"
    return np.arange(count), f"{label!r} has {count} values for {length} epochs: taken as the first {count}"
