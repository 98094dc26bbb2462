"""Every file of a collection of public logs of medical trainings is read, or refused with a reason."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from osler.doctor.chart import Chart
from osler.doctor.readers.choose import read_charts
from osler.errors import DataError

ROOT = Path(os.environ.get("OSLER_TEST_DATA", "/nowhere")) / "training_logs"
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="OSLER_TEST_DATA does not name a folder with training_logs")

FILES = [path for path in sorted(ROOT.rglob("*")) if path.is_file()] if ROOT.is_dir() else []
# Beside the logs lie licences and the list of outcomes; of the logs, two event files hold the network's graph alone.
OTHERS = ("LICENSE", "LICENSE.txt", "outcomes.csv")


def charts_or_reason(path: Path) -> list[Chart] | str:
    try:
        return read_charts(path)
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-2:]))
def test_every_file_is_read_or_refused_with_a_reason(path: Path) -> None:
    result = charts_or_reason(path)
    if isinstance(result, str):
        assert str(path) in result
        assert path.name in OTHERS or "holds no scalars, only a graph" in result
        return
    assert path.name not in OTHERS
    for chart in result:
        assert chart.has("train.loss", points=2) or any(chart.has(name, points=2) for name in chart.series)
        assert not chart.ignored
        for name, series in chart.series.items():
            assert not series.assumed, f"{name}: {series.assumed}"
            assert name.startswith(("train.", "val.")) or name in ("learning_rate", "seconds.epoch")


def test_figures_are_those_of_the_files() -> None:
    """One figure of each kind of file, looked up by eye through the csv module or the text."""
    for path in FILES:
        if path.name == "train_losses.csv":
            rows = list(csv.reader(path.read_text().splitlines(), skipinitialspace=True))[1:]
            (chart,) = read_charts(path)
            assert chart.epochs.tolist() == [float(row[0]) for row in rows]
            np.testing.assert_array_equal(chart.values("train.loss"), [float(row[1]) for row in rows])
            np.testing.assert_array_equal(chart.values("val.loss"), [float(row[2]) for row in rows])


def test_outcomes_name_logs_that_are_read() -> None:
    for row in csv.DictReader((ROOT / "outcomes.csv").read_text().splitlines()):
        path = ROOT / row["file"]
        if path.exists():
            assert isinstance(charts_or_reason(path), list), row["file"]


def test_tables_beside_each_other_are_one_run() -> None:
    folders = {path.parent for path in FILES if path.name == "train_losses.csv"}
    assert folders
    for folder in folders:
        (chart,) = read_charts(folder)
        assert chart.has("train.loss", "val.loss", points=2)
        assert len(chart.series) == 4
