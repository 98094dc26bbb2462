"""Subgroups: which metadata columns divide the samples, and into what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osler.errors import RequestError, nearest

__all__ = ["Grouping", "group_by_age", "groupings"]

UNKNOWN = "unknown"
MOST_GROUPS = 8
AGE_BANDS = ((0, 18, "0–17"), (18, 40, "18–39"), (40, 60, "40–59"), (60, 80, "60–79"), (80, 121, "80 and over"))
# DICOM writes ages as 058Y, 006M, 002W, 010D.
AGE_UNITS = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 1 / 52.18, "D": 1 / 365.25}


@dataclass(frozen=True)
class Grouping:
    """A division of N samples.

    Attributes:
        column: the metadata column.
        names: (N,) group of each sample; "unknown" where the column is empty or makes no sense.
        order: the groups that occur, in reading order.
    """

    column: str
    names: NDArray[np.str_]
    order: tuple[str, ...]


def groupings(metadata: pd.DataFrame | None, wanted: Sequence[str] | Literal["auto"]) -> list[Grouping]:
    """The divisions to report by.

    Args:
        metadata: N rows, or None where nothing is known.
        wanted: columns; "auto": all with 2 to 8 values, and ages, in bands.

    Raises:
        RequestError: a column that was asked for is not there.
    """
    if wanted == "auto":
        if metadata is None:
            return []
        found = [_grouping(metadata[column], str(column)) for column in metadata.columns]
        return [one for one in found if 2 <= len([name for name in one.order if name != UNKNOWN]) <= MOST_GROUPS]
    columns = [] if metadata is None else [str(column) for column in metadata.columns]
    missing = [_missing(name, columns) for name in wanted if name not in columns]
    if missing:
        raise RequestError(
            f"evaluation.subgroups: the samples have no column {' and no column '.join(missing)}. "
            f"{'Their columns are: ' + ', '.join(columns) if columns else 'They have no metadata columns at all'}."
        )
    assert metadata is not None or not wanted
    return [_grouping(metadata[column], column) for column in wanted] if metadata is not None else []


def group_by_age(ages: pd.Series) -> pd.Series:
    """Ages in bands; numbers are years, and DICOM's age strings are understood. Missing outside 0 to 120 years.

    >>> group_by_age(pd.Series(["058Y", "006M", "81", "414"])).fillna("?").tolist()
    ['40–59', '0–17', '80 and over', '?']
    """
    parts = ages.astype("string").str.strip().str.extract(r"^(\d+(?:\.\d+)?)\s*([YMWD]?)$", flags=re.IGNORECASE)
    years = pd.to_numeric(parts[0]) * parts[1].str.upper().map(AGE_UNITS).astype("Float64")
    bands = pd.Series(pd.NA, index=ages.index, dtype="string")
    for low, high, name in AGE_BANDS:
        bands[((years >= low) & (years < high)).fillna(False)] = name
    return bands


def _grouping(values: pd.Series, column: str) -> Grouping:
    is_age = re.search(r"(^|[^a-z])age([^a-z]|$)", column.lower()) is not None
    texts = group_by_age(values) if is_age else _as_texts(values)
    names = texts.fillna(UNKNOWN).to_numpy(dtype=np.str_)
    present = set(names.tolist())
    order = [name for *_, name in AGE_BANDS if name in present] if is_age else sorted(present - {UNKNOWN})
    return Grouping(column, names, (*order, UNKNOWN) if UNKNOWN in present else tuple(order))


def _as_texts(values: pd.Series) -> pd.Series:
    """Texts; a number that is whole loses its ".0", which comes from missing values in its column; blanks are missing."""
    if pd.api.types.is_float_dtype(values) and bool((values.dropna() % 1 == 0).all()):
        values = values.astype("Int64")
    texts = values.astype("string").str.strip()
    return texts.mask(texts == "")


def _missing(name: str, columns: Sequence[str]) -> str:
    guess = nearest(name, columns)
    return f"{name!r} (did you mean {guess!r}?)" if guess else repr(name)
