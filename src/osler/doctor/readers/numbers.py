"""Numbers as logs write them: percentages, decimal commas, thousands, units, tensors, and the many spellings of nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cells", "commas_are_decimal", "parse_cells", "parse_number"]

NOTHING = frozenset({"", "-", "--", "—", "–", "n/a", "na", "n.a.", "none", "null", "nil", "?", ".", "/", "undefined", "<na>"})
NOT_FINITE = {
    "nan": math.nan, "-nan": math.nan, "+nan": math.nan, "nan(ind)": math.nan, "-nan(ind)": math.nan, "1.#qnan": math.nan,
    "-1.#ind": math.nan, "1.#ind": math.nan, "inf": math.inf, "+inf": math.inf, "infinity": math.inf, "-inf": -math.inf,
    "-infinity": -math.inf, "1.#inf": math.inf, "-1.#inf": -math.inf, "∞": math.inf, "-∞": -math.inf,
}  # fmt: skip

# "tensor(0.31, device='cuda:0')", "np.float64(0.31)", "[0.31]": the number inside is what is meant.
WRAPPED = re.compile(r"(?:tensor|array|(?:np\.)?float\d*)?[\(\[]+\s*(?P<inner>[^\s,\)\]]+)[^\)\]]*[\)\]]+", re.IGNORECASE)
NUMBER = re.compile(
    r"(?P<number>[-+]?(?:\d[\d.,'  ]*\d|\d|[.,]\d+|\d+[.,])(?:[eE][-+]?\d{1,4})?)"
    r"\s*(?:(?P<percent>[%％])|(?P<unit>[a-zA-Zµ/]{1,10}))?"
    r"\s*(?:(?:±|\+/-|\+-).{0,40}|[\(\[].{0,60}[\)\]])?"
)
DECIMAL_COMMA = re.compile(r"[-+]?(?:\d+,(?:\d{1,2}|\d{4,})|0,\d+|\d{1,3}(?:\.\d{3})+,\d+)(?:[eE][-+]?\d+)?(?:\D.*)?")
DIGIT_COMMA = re.compile(r"\d,\d")
THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:[,' ]\d{3})+(?:\.\d+)?")
LONGEST = 200


@dataclass(frozen=True)
class Cells:
    """A column of texts read as numbers.

    Attributes:
        rows: (n,) which cells hold a number, rising.
        values: (n,) the numbers; NaN and infinities where the text says so.
        percent: a percent sign stood in most of them; the values are as written, not divided.
        texts: how many cells hold something that is neither a number nor a word for nothing.
    """

    rows: NDArray[np.intp]
    values: NDArray[np.float64]
    percent: bool
    texts: int


def parse_number(text: str, decimal_comma: bool = False) -> tuple[float, bool] | None:
    """The number that a text means, and whether a percent sign follows it; None for nothing and for other text.

    >>> parse_number("59.58 %"), parse_number("0,81", decimal_comma=True), parse_number("1,847")
    ((59.58, True), (0.81, False), (1847.0, False))
    >>> parse_number("tensor(0.31, device='cuda:0')"), parse_number("n/a"), parse_number("12s")
    ((0.31, False), None, (12.0, False))
    """
    text = text.strip()
    if len(text) > LONGEST:
        return None
    word = text.lower()
    if word in NOTHING:
        return None
    if word in NOT_FINITE:
        return NOT_FINITE[word], False
    text = text.replace("−", "-").replace("\u00a0", " ").replace("\u202f", " ")
    wrapped = WRAPPED.fullmatch(text)
    if wrapped:
        inner = wrapped["inner"].lower()
        if inner in NOT_FINITE:
            return NOT_FINITE[inner], False
        text = wrapped["inner"]
    found = NUMBER.fullmatch(text)
    if found is None:
        return None
    value = _to_float(found["number"], decimal_comma)
    return None if value is None else (value, found["percent"] is not None)


def _to_float(text: str, decimal_comma: bool) -> float | None:
    """A number with its separators resolved; None where they make no sense."""
    if decimal_comma and "," in text:
        text = text.replace(".", "").replace(" ", "").replace(",", ".")
    elif THOUSANDS.fullmatch(text):
        text = re.sub(r"[,' ]", "", text)
    elif text.count(",") == 1 and "." not in text:
        text = text.replace(" ", "").replace(",", ".")
    try:
        return float(text)
    except ValueError:
        return None


def commas_are_decimal(texts: Iterable[str]) -> bool:
    """Whether commas in these cells separate decimals rather than thousands, by the majority of those that can tell.

    >>> commas_are_decimal(["0,3215", "1,234"]), commas_are_decimal(["1,234", "12.5"])
    (True, False)
    """
    votes = 0
    for text in texts:
        text = text.strip()
        if DIGIT_COMMA.search(text):
            votes += 1 if DECIMAL_COMMA.fullmatch(text) else -1 if THOUSANDS.fullmatch(text) and "." in text else 0
    return votes > 0


def parse_cells(cells: Sequence[str | float], decimal_comma: bool = False) -> Cells:
    """Reads a column of texts; a column of plain numbers takes the fast way.

    >>> parse_cells(["0.5", "", "nan", "x"]).rows.tolist()
    [0, 2]
    """
    for plain in (cells, [str(cell).replace(".", "").replace(",", ".") for cell in cells] if decimal_comma else ()):
        try:
            values = np.fromiter(map(float, plain), dtype=np.float64, count=len(cells))
        except ValueError:
            continue
        return Cells(np.arange(len(cells)), values, False, 0)
    rows: list[int] = []
    numbers: list[float] = []
    percents = texts = 0
    for row, cell in enumerate(cells):
        if cell == "":
            continue
        try:
            number = float(cell)
        except ValueError:
            parsed = parse_number(str(cell), decimal_comma)
            if parsed is None:
                texts += str(cell).strip().lower() not in NOTHING
                continue
            number, percent = parsed
            percents += percent
        rows.append(row)
        numbers.append(number)
    return Cells(np.array(rows, dtype=np.intp), np.array(numbers, dtype=np.float64), 2 * percents > len(numbers), texts)
