"""Vitals files: strict, whole or cut at the end, without an epoch twice."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from osler.errors import RunError
from osler.runs.vitals import MetricsTable, append_vitals, flatten, keep_vitals_before, read_vitals, write_metrics_csv


def write_epochs(path: Path, count: int) -> None:
    for epoch in range(1, count + 1):
        append_vitals(path, {"epoch": epoch, "val": {"loss": {"value": 1.0 / epoch}, "skill": math.nan}})


def test_lines_are_strict_json_with_their_schema(tmp_path: Path) -> None:
    write_epochs(tmp_path / "vitals.jsonl", 1)
    line = json.loads((tmp_path / "vitals.jsonl").read_text())
    assert line == {"schema": "osler.vitals/1", "epoch": 1, "val": {"loss": {"value": 1.0}, "skill": None}}


def test_a_last_line_cut_short_is_left_out_and_damage_before_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "vitals.jsonl"
    write_epochs(path, 3)
    whole = path.read_text()
    path.write_text(whole[:-20])
    assert [vitals["epoch"] for vitals in read_vitals(path)] == [1, 2]
    path.write_text("{broken\n" + whole)
    with pytest.raises(RunError, match="line 1 is damaged"):
        read_vitals(path)


def test_a_resumed_epoch_replaces_what_was_written_of_it(tmp_path: Path) -> None:
    path = tmp_path / "vitals.jsonl"
    write_epochs(path, 4)
    assert [vitals["epoch"] for vitals in keep_vitals_before(path, 3)] == [1, 2]
    assert [vitals["epoch"] for vitals in read_vitals(path)] == [1, 2]
    assert keep_vitals_before(tmp_path / "none", 3) == []


def test_the_spreadsheet_has_a_column_for_each_figure_of_any_epoch(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_metrics_csv(path, [{"epoch": 1, "val": {"auc": None}}, {"epoch": 2, "val": {"auc": 0.5, "ap": 0.25}}])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"epoch": "1", "val.auc": "", "val.ap": ""}, {"epoch": "2", "val.auc": "0.5", "val.ap": "0.25"}]


def test_a_table_that_grows_is_the_one_written_at_once(tmp_path: Path) -> None:
    epochs = [{"epoch": number, "val": {"auc": 0.5 + number / 10, "ap": None}} for number in range(1, 5)]
    epochs[2]["val"] |= {"new": 1.0}  # type: ignore[operator]
    whole, grown = tmp_path / "whole.csv", tmp_path / "grown.csv"
    for first in (0, 2):  # from the start, and as a run that goes on, whose last line a kill cut short
        table = MetricsTable(grown, epochs[:first])
        for count, vitals in enumerate(epochs[first:], first + 1):
            table.add(vitals)
            write_metrics_csv(whole, epochs[:count])
            assert grown.read_text() == whole.read_text()
        grown.write_text(grown.read_text()[:-7])
    assert [vitals["epoch"] for vitals in table.epochs] == [1, 2, 3, 4]


def test_an_epoch_adds_its_line_and_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    table = MetricsTable(path, [])
    table.add({"epoch": 1, "lr": 0.1})
    before = path.stat().st_ino
    table.add({"epoch": 2, "lr": 0.1})
    assert path.stat().st_ino == before
    path.unlink()  # a person tidied up
    table.add({"epoch": 3, "lr": 0.1})
    assert path.read_text() == "epoch,lr\n1,0.1\n2,0.1\n3,0.1\n"


def test_flatten_keeps_lists_whole() -> None:
    assert flatten({"a": {"b": [1, 2], "c": {"d": 3}}}) == {"a.b": [1, 2], "a.c.d": 3}
