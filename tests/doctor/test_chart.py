"""Charts: columns with gaps, where they came from, and what stays when a chart is cut or stored."""

from __future__ import annotations

import json

import numpy as np
import pytest

from osler.doctor.chart import Chart, Series, Trace
from osler.doctor.facts import Facts
from osler.errors import DataError, RequestError

NAN = float("nan")


def example() -> Chart:
    return Chart(
        source="log.csv",
        reader="csv",
        epochs=np.array([0.0, 1.0, 2.0, 3.0]),
        series={
            "train.loss": Series.of([0.9, 0.7, float("inf"), 0.6], "loss", "column 2"),
            "val.auc": Series.of([NAN, 0.6, NAN, 0.7], "val_auc", "column 3", ["a guess"]),
            "val.auc[a]": Series.of([0.5, 0.6, 0.7, 0.8]),
            "val.auc[b]": Series.of([0.4, 0.5, 0.6, 0.7]),
        },
        facts=Facts.of({"loss.pos_weight": 2.0, "classes": "a, b"}, "given"),
        phases=np.array([0, 0, 1, 1]),
        phase_names=("head", "all"),
        traces={"train.loss": Trace(np.arange(8.0), np.repeat(np.arange(4), 2), np.arange(8.0) * 10)},
        notes=("a note",),
    )


def test_missing_and_not_finite_are_told_apart() -> None:
    chart = example()
    assert np.isnan(chart.values("train.loss")[2])
    assert chart.nonfinite_epochs("train.loss").tolist() == [2.0]
    assert chart.nonfinite_epochs("val.auc").tolist() == []
    epochs, figures = chart.points("val.auc")
    assert epochs.tolist() == [1.0, 3.0]
    assert figures.tolist() == [0.6, 0.7]


def test_what_is_not_logged_is_nan_and_not_had() -> None:
    chart = example()
    assert np.isnan(chart.values("val.dice")).all()
    assert chart.has("train.loss", "val.auc")
    assert not chart.has("train.loss", "val.dice")
    assert not chart.has("val.auc", points=3)
    assert chart.first_of("val.dice", "val.auc", "train.loss") == "val.auc"
    assert chart.first_of("val.dice") is None
    assert chart.assumed("val.auc", "train.loss", "nothing") == ("a guess",)


def test_classes_are_columns() -> None:
    chart = example()
    assert chart.parts("val.auc") == ("a", "b")
    assert chart.classes == ("a", "b")
    assert chart.by_class("val.auc").shape == (4, 2)
    assert np.isnan(chart.by_class("val.auc", ["b", "c"])[:, 1]).all()
    assert chart.by_class("val.dice").shape == (4, 0)


def test_epochs_from_zero_are_counted_from_one_for_plans() -> None:
    assert example().ordinals.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert Chart.of({"val.auc": [0.5, 0.6]}).ordinals.tolist() == [1.0, 2.0]


def test_a_chart_cut_short_knows_no_later_epoch() -> None:
    early = example().upto(2)
    assert early.epochs.tolist() == [0.0, 1.0]
    assert early.nonfinite_epochs("train.loss").tolist() == []
    assert early.traces["train.loss"].values.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert len(example().upto(99)) == 4
    assert len(example().upto(0)) == 0


def test_a_phase_keeps_its_rows_and_traces() -> None:
    late = example().phase(1)
    assert late.epochs.tolist() == [2.0, 3.0]
    assert late.traces["train.loss"].epochs.tolist() == [0, 0, 1, 1]
    with pytest.raises(RequestError, match="no phase 7"):
        example().phase(7)


def test_given_facts_win() -> None:
    chart = example().with_facts(Facts.of({"loss.pos_weight": 9.0}, "--fact"))
    assert chart.facts["loss.pos_weight"] == 9.0
    assert chart.facts["classes"] == ("a", "b")


def test_json_is_strict_and_gives_the_chart_back() -> None:
    chart = example()
    text = json.dumps(chart.to_json(), allow_nan=False)
    again = Chart.from_json(json.loads(text))
    assert again.facts == chart.facts
    assert again.phase_names == chart.phase_names
    assert again.series.keys() == chart.series.keys()
    for name, series in chart.series.items():
        np.testing.assert_array_equal(again.series[name].values, series.values)
        np.testing.assert_array_equal(again.series[name].nonfinite, series.nonfinite)
        assert again.series[name].assumed == series.assumed
    with pytest.raises(DataError, match=r"osler\.chart/1"):
        Chart.from_json({"schema": "other"})


def test_series_of_another_length_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match=r"val\.auc"):
        Chart("s", "r", np.array([1.0, 2.0]), {"val.auc": Series.of([0.5])})
