"""Vitals files: strict, whole or cut at the end, without an epoch twice."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from osler.errors import RunError
from osler.runs.vitals import append_vitals, flatten, keep_vitals_before, read_vitals, write_metrics_csv


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


def test_flatten_keeps_lists_whole() -> None:
    assert flatten({"a": {"b": [1, 2], "c": {"d": 3}}}) == {"a.b": [1, 2], "a.c.d": 3}
