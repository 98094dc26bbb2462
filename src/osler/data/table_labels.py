"""Labels of a table, from one column a class or from a column of words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osler.config import DataConfig
from osler.data.labels import (
    Labels,
    exclusive_labels,
    fill_unknown,
    is_negative,
    several_labels,
    unknown_fault,
    unknown_note,
)
from osler.data.messages import count, some
from osler.errors import DataError, nearest

__all__ = ["TRUTHS", "labels_of_columns", "labels_of_words"]

UNCERTAIN = ("-1", "-1.0")
"""What CheXpert's labeller, and others after it, write where a report is not sure of a finding."""
POLICIES = {"negative": 0.0, "positive": 1.0}
TRUTHS = {"0": 0.0, "0.0": 0.0, "false": 0.0, "1": 1.0, "1.0": 1.0, "true": 1.0, "": np.nan}
MOST_CLASSES = 1000


def labels_of_columns(cells: pd.DataFrame, places: NDArray[np.str_], config: DataConfig) -> Labels:
    """Labels from one column a class, cells being 0, 1, true, false, −1 (uncertain) or blank.

    Args:
        cells: (N, K) texts.
        places: (N,) where each row stands, such as "line 7".

    Raises:
        DataError: other values, with the rows and columns that hold them; blank cells under `data.unknown: error`, uncertain ones
            under `data.uncertain: error`.
    """
    classes = [str(name) for name in cells.columns]
    codes, uniques = pd.factorize(cells.to_numpy(dtype=object).ravel())
    values = np.array([TRUTHS.get(str(cell).lower(), np.inf) for cell in uniques], dtype=np.float32)
    unsure = np.isin(uniques.astype(str), UNCERTAIN)[codes].reshape(cells.shape)
    targets = values[codes].reshape(cells.shape)
    blank, odd = np.isnan(targets), np.isinf(targets) & ~unsure
    _raise_all(
        [
            *(_odd_values(cells[name], wrong, places) for name, wrong in zip(classes, odd.T, strict=True) if wrong.any()),
            *_unknown_faults(unsure, blank, classes, places, config),
        ]
    )
    targets[blank], targets[unsure] = POLICIES.get(config.unknown, np.nan), POLICIES.get(config.uncertain, np.nan)
    labels = several_labels(targets, classes, config)
    notes = [unknown_note(int(blank.sum()), config.unknown)] if blank.any() else []
    if unsure.any():
        notes.append(unknown_note(int(unsure.sum()), config.uncertain, "uncertain"))
    return replace(labels, notes=(*labels.notes, *notes))


def _unknown_faults(
    unsure: NDArray[np.bool_], blank: NDArray[np.bool_], classes: list[str], places: NDArray[np.str_], config: DataConfig
) -> list[str]:
    found = (
        unknown_fault(blank, classes, places, config.unknown),
        unknown_fault(unsure, classes, places, config.uncertain, "uncertain"),
    )
    return [fault for fault in found if fault]


def labels_of_words(cells: pd.Series[str], places: NDArray[np.str_], config: DataConfig) -> Labels:
    """Labels from words, one or several a cell; each distinct cell is taken apart once, however many rows have it.

    Args:
        cells: (N,) texts.
        places: (N,) where each row stands, such as "line 7".

    Raises:
        DataError: words outside `data.classes`, cells that contradict themselves, blank cells under `data.unknown: error`.
    """
    codes, uniques = pd.factorize(cells)
    parts = [_words(str(cell), config.label_separator) for cell in uniques]
    words = sorted({word for part in parts for word in part})
    if len(words) > MOST_CLASSES:
        raise DataError(f"column {cells.name!r} holds {count(len(words), 'different label')}; is it the label column?")
    several = any(len(part) > 1 for part in parts)
    names, negative, exclusive = _classes_of_words(words, several, config)
    blank = np.array([not part for part in parts])[codes]
    unknown = unknown_fault(blank[:, None], [str(cells.name)], places, config.unknown)
    faults = [
        *_outside(cells, [word for word in words if word not in (*names, negative)], parts, codes, names, places),
        *_contradictions(parts, uniques, negative),
        *([unknown] if unknown else []),
    ]
    if exclusive and several:
        faults.append(f"data.task is {config.task}, but some rows of column {cells.name!r} have several labels: use multilabel")
    _raise_all(faults)
    position = {name: index for index, name in enumerate(names)}
    if exclusive:
        codes = np.array([position[part[0]] if part else -1 for part in parts], dtype=np.intp)[codes]
        return fill_unknown(exclusive_labels(codes, names, config), blank, config.unknown)
    matrix = np.zeros((len(parts), len(names)), dtype=np.float32)
    for row, part in enumerate(parts):
        matrix[row, [position[word] for word in part if word != negative]] = 1.0
    notes = (f"{negative!r} in column {cells.name!r} is taken as none of the labels.",) if negative in words else ()
    return fill_unknown(Labels(matrix[codes], names, "multilabel", negative or "No finding", notes), blank, config.unknown)


def _classes_of_words(words: list[str], several: bool, config: DataConfig) -> tuple[tuple[str, ...], str | None, bool]:
    """The classes, the word for none of them, and whether classes exclude each other."""
    given = config.classes or ()
    negative = config.negative_label or next((word for word in words if is_negative(word) and word not in given), None)
    listed = tuple(name for name in (given or words) if name != negative)
    # A word for "none of these" beside several classes that were listed without it says that they are findings.
    findings = len(listed) > 1 and (config.negative_label is not None or (bool(given) and negative is not None))
    if config.task == "multilabel" or (config.task == "auto" and (several or findings)):
        return listed, negative, False
    if len(given) == 1 and negative is not None:
        return (negative, *listed), None, True
    return given or tuple(words), None, True


def _words(cell: str, separator: str | None) -> tuple[str, ...]:
    """The words of a cell, each once.

    >>> _words("Mass| Nodule|Mass", "|")
    ('Mass', 'Nodule')
    """
    pieces = cell.split(separator) if separator else [cell]
    return tuple(dict.fromkeys(piece.strip() for piece in pieces if piece.strip()))


def _odd_values(cells: pd.Series[str], odd: NDArray[np.bool_], places: NDArray[np.str_]) -> str:
    return (
        f"label column {cells.name!r} holds {some(map(repr, sorted(set(cells[odd]))))} in {count(int(odd.sum()), 'row')} "
        f"({some(places[odd][:5])}); allowed are 0, 1, true, false, blank, and -1 for uncertain"
    )


def _outside(
    cells: pd.Series[str],
    words: list[str],
    parts: list[tuple[str, ...]],
    codes: NDArray[np.intp],
    names: tuple[str, ...],
    places: NDArray[np.str_],
) -> list[str]:
    """One fault for the words outside the list, with their rows and the nearest class."""
    if not words:
        return []
    odd = np.array([bool(set(part) & set(words)) for part in parts])[codes]
    shown = [f"{word!r}{f' (did you mean {guess!r}?)' if (guess := nearest(word, names)) else ''}" for word in words]
    return [
        f"column {cells.name!r} holds labels that are not in data.classes, in {count(int(odd.sum()), 'row')} "
        f"({some(places[odd][:5])}): {some(shown, 10)}. Add them to data.classes, or name the one that means none "
        "of them by data.negative_label"
    ]


def _contradictions(parts: list[tuple[str, ...]], cells: pd.Index[str], negative: str | None) -> list[str]:
    odd = [cell for cell, part in zip(cells, parts, strict=True) if negative in part and len(part) > 1]
    return [f"cells hold {negative!r} together with a finding: {some(map(repr, odd))}"] if odd else []


def _raise_all(faults: list[str]) -> None:
    if faults:
        raise DataError("\n  ".join(faults))
