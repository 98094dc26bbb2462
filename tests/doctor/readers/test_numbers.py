"""Numbers in all their spellings."""

from __future__ import annotations

import math

import numpy as np
import pytest

from osler.doctor.readers.numbers import commas_are_decimal, parse_cells, parse_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5), (" -1e-3 ", -0.001), (".5", 0.5), ("5.", 5.0), ("1,847", 1847.0), ("1,234,567.5", 1234567.5),
        ("0,32", 0.32),
        ("−0.5", -0.5), ("12.3s", 12.3), ("120 ms", 120.0), ("0.85 ± 0.02", 0.85), ("0.81 (0.78-0.84)", 0.81), ("[0.001]", 0.001),
        ("tensor(0.31, device='cuda:0')", 0.31), ("np.float64(0.25)", 0.25), ("1 234,5", 1234.5), ("inf", math.inf),
        ("-Infinity", -math.inf), ("1.#INF", math.inf),
    ],
)  # fmt: skip
def test_one_number(text: str, value: float) -> None:
    found = parse_number(text)
    assert found is not None
    assert found[0] == value
    assert not found[1]


@pytest.mark.parametrize(
    "text", ["", "-", "n/a", "None", "NULL", "loss", "1/50", "2024-01-02", "0.5.5", "12 apples and more", "x" * 10_000]
)
def test_no_number(text: str) -> None:
    assert parse_number(text) is None


def test_percent_and_not_a_number() -> None:
    assert parse_number("59.58 %") == (59.58, True)
    found = parse_number("-nan(ind)")
    assert found is not None
    assert math.isnan(found[0])


def test_decimal_commas_by_majority() -> None:
    assert parse_number("1.234,56", decimal_comma=True) == (1234.56, False)
    assert commas_are_decimal(["0,5", "0,25", "x"])
    assert not commas_are_decimal(["1,234,567", "1,234.5"])
    assert not commas_are_decimal(["0.5", "0.25"])


def test_columns_with_gaps_texts_and_signs() -> None:
    cells = parse_cells(["10 %", "", "nan", "text", "20 %", "-"])
    assert cells.rows.tolist() == [0, 2, 4]
    np.testing.assert_array_equal(cells.values, [10.0, np.nan, 20.0])
    assert cells.percent
    assert cells.texts == 1
    assert parse_cells(["0,5", "1,5"], decimal_comma=True).values.tolist() == [0.5, 1.5]
    assert parse_cells([0.0, "", 2.0]).rows.tolist() == [0, 2]
    assert parse_cells([]).rows.tolist() == []
