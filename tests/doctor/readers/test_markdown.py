"""Markdown tables in notes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from osler.doctor.chart import Chart
from osler.errors import DataError

Read = Callable[..., list[Chart]]

# Record A: a cancer classifier that calls all positive, or none.
RECORD_A = """\
# Notes

| epoch | train loss | val loss | train acc | val acc | train AUC | val AUC | precision | recall | F1 | LR |
|--|--|--|--|--|--|--|--|--|--|--|
| 1 | 1.2962 | 1.2599 | 59.58 % | 10.13 % | 0.5034 | 0.4114 | 0.1013 | 1.0000 | 0.1840 | 0.001000 |
| 2 | 1.2574 | 1.2604 | 41.76 % | 89.87 % | 0.4947 | 0.4820 | 0.0000 | 0.0000 | 0.0000 | 0.000999 |
| 3 | 1.2673 | 1.2593 | 64.06 % | 10.13 % | 0.5139 | 0.5493 | 0.1013 | 1.0000 | 0.1840 | 0.000998 |
| 4 | 1.2609 | 1.2599 | 32.18 % | 10.13 % | 0.4817 | 0.5282 | 0.1013 | 1.0000 | 0.1840 | 0.000996 |
| 5 | 1.2593 | 1.2599 | 10.71 % | 10.13 % | 0.4744 | 0.5000 | 0.1013 | 1.0000 | 0.1840 | 0.000994 |

And a table of something else:

| file | rows |
|------|-----:|
| a    | 10   |
"""


def test_record_a(read: Read) -> None:
    (chart,) = read(RECORD_A, "notes.md")
    assert chart.reader == "markdown"
    assert chart.epochs.tolist() == [1, 2, 3, 4, 5]
    assert chart.values("val.accuracy").tolist() == pytest.approx([0.1013, 0.8987, 0.1013, 0.1013, 0.1013])
    assert chart.values("train.accuracy")[4] == pytest.approx(0.1071)
    assert chart.values("val.auc").tolist() == [0.4114, 0.4820, 0.5493, 0.5282, 0.5000]
    assert chart.values("val.recall").tolist() == [1, 0, 1, 1, 1]
    assert chart.values("val.f1")[0] == 0.184
    assert chart.values("learning_rate")[1] == 0.000999
    # The signs are explicit; that precision is of the validation is taken for granted.
    assert chart.assumed("val.accuracy", "train.auc") == ()
    assert len(chart.assumed("val.precision")) == 1


def test_several_tables_are_several_charts(read: Read) -> None:
    table = "| Epoch | Val **Dice** |\n|:--|--:|\n| 1 | **0.5** |\n| 2 | `0.6` |\n"
    charts = read(table + "\ntext\n\n" + table)
    assert [chart.values("val.dice").tolist() for chart in charts] == [[0.5, 0.6]] * 2
    assert charts[0].source != charts[1].source


def test_tables_without_epochs_are_refused(read: Read) -> None:
    with pytest.raises(DataError, match="none with a column of epochs"):
        read("| file | rows |\n|------|-----:|\n| a    | 10   |\n")


def test_epochs_of_a_total(read: Read) -> None:
    (chart,) = read("| Epoch | Train Loss | Val Dice |\n|---|---|---|\n| 1/50 | 0.7 | 0.3 |\n| 3/50 | 0.5 | 0.4 |\n")
    assert chart.epochs.tolist() == [1.0, 3.0]
