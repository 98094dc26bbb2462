"""Rows to epochs."""

from __future__ import annotations

import numpy as np

from osler.doctor.readers.table import MOST_EPOCHS, Column, lay_out, merge_column, split_segments


def column(rows: list[int], values: list[float], running: bool = False) -> Column:
    return Column("loss", "here", np.array(rows, dtype=np.intp), np.array(values), running=running)


def test_several_values_of_an_epoch() -> None:
    layout = lay_out(np.array([0.0, 0, 0, 1, 1, 1]), [np.arange(6)], "epoch")
    mean = merge_column(column([0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 9]), layout)
    assert mean.values.tolist() == [2.0, 6.0]
    assert mean.mean
    last = merge_column(column([0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 9], running=True), layout)
    assert last.values.tolist() == [3.0, 9.0]
    assert not last.mean


def test_a_mean_knows_of_what_was_not_finite() -> None:
    layout = lay_out(np.array([0.0, 0, 1, 1]), [np.arange(4)], "epoch")
    merged = merge_column(column([0, 1, 2, 3], [1.0, np.nan, np.inf, np.inf]), layout)
    assert merged.values[0] == 1.0
    assert np.isnan(merged.values[1])
    assert merged.nonfinite.tolist() == [True, True]


def test_sums_that_overflow_are_not_finite() -> None:
    layout = lay_out(np.array([0.0, 0]), [np.arange(2)], "epoch")
    merged = merge_column(column([0, 1], [1.7e308, 1.7e308]), layout)
    assert merged.nonfinite.tolist() == [True]
    assert np.isnan(merged.values).all()


def test_long_charts_are_joined_to_blocks() -> None:
    count = MOST_EPOCHS * 2
    layout = lay_out(np.arange(count, dtype=np.float64), [np.arange(count)], "epoch")
    assert layout.axis == "step"
    assert len(layout.epochs) == 1000
    assert layout.epochs[-1] == count - 1
    merged = merge_column(column(list(range(count)), [1.0] * count), layout)
    assert merged.values.tolist() == [1.0] * 1000


def test_many_restarts_do_not_take_long() -> None:
    segments, notes = split_segments(np.tile([0.0, 1.0], 100_000))
    assert len(segments) == 1
    assert "sorted" in notes[0]
