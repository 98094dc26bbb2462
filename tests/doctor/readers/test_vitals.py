"""Osler's own runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osler.doctor.diagnose import diagnose
from osler.doctor.facts import Facts
from osler.doctor.readers import vitals as reader
from osler.doctor.readers.choose import read_charts
from osler.doctor.readers.vitals import VitalsCollector
from osler.errors import DataError
from osler.runs.vitals import VITALS_SCHEMA, append_vitals


def vitals(epoch: int, phase: int = 0, classes: tuple[str, ...] = ("Hernia", "Edema")) -> dict[str, Any]:
    figures = {"n": 100, "positives": 10, "auc": 0.5 + epoch / 100, "probability": {"mean": 0.1, "p50": 0.08}, "f1": None}
    split = {
        "loss": {"value": 1.0 / epoch, "se": 0.01, "n": 100},
        "floor": 0.3,
        "skill": None,
        "skill_reason": "the floor is zero",
        "macro": {"auc": 0.6 + epoch / 100, "f1": 0.2},
        "classes": {name: figures for name in classes},
    }
    return {
        "epoch": epoch,
        "step": epoch * 10,
        "phase": {"index": phase, "train": "all" if phase else "head"},
        "learning_rate": {"start": 1e-3, "end": 9e-4},
        "train": split,
        "val": split,
        "optimization": {
            "gradient_norm": {"median": 1.5, "clipped_share": 0.0},
            "update_ratio": {"median": 1e-3},
            "skipped_steps": 0,
        },
        "sampling": {"distinct": 90, "batches_without_positives": {"Hernia": 0.3}},
        "monitor": {"name": "macro_auc", "value": 0.6, "best": 0.6, "best_epoch": epoch},
        "seconds": {"epoch": 12.5},
    }


def write_run(folder: Path, epochs: int = 3, **options: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for epoch in range(1, epochs + 1):
        append_vitals(folder / "vitals.jsonl", vitals(epoch, **options))
    (folder / "facts.json").write_text(
        json.dumps({"loss.type": "bce", "prevalence.val": 0.1, "split.new_key": "x", "training.epochs": 10})
    )
    return folder


def test_the_schema_is_that_of_the_run_folder() -> None:
    assert reader.VITALS_SCHEMA == VITALS_SCHEMA


def test_a_run_folder_and_its_file(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    for path in (run, run / "vitals.jsonl"):
        (chart,) = read_charts(path)
        assert chart.reader == "osler"
        assert chart.epochs.tolist() == [1, 2, 3]
        assert chart.values("val.loss").tolist() == [1.0, 0.5, 1 / 3]
        assert chart.values("val.loss.se").tolist() == [0.01] * 3
        assert chart.values("val.auc")[0] == 0.61
        assert chart.values("val.auc[Hernia]")[0] == 0.51
        assert chart.values("val.probability.mean[Edema]").tolist() == [0.1] * 3
        assert chart.values("learning_rate").tolist() == [9e-4] * 3
        assert chart.values("learning_rate.start").tolist() == [1e-3] * 3
        assert chart.values("gradient_norm.median").tolist() == [1.5] * 3
        assert chart.values("sampling.batches_without_positives[Hernia]").tolist() == [0.3] * 3
        assert chart.values("monitor.best_epoch").tolist() == [1, 2, 3]
        assert "val.f1[Hernia]" not in chart.series
        assert chart.classes == ("Hernia", "Edema")
        assert chart.facts["prevalence"] == 0.1
        assert chart.facts["split.new_key"] == "x"


def test_facts_of_the_user_win(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "facts.yaml").write_text("prevalence.val: 0.2\n")
    (chart,) = read_charts(run, Facts.of({"training.epochs": 20}, "--fact"))
    assert chart.facts["prevalence.val"] == 0.2
    assert chart.facts["training.epochs"] == 20
    assert chart.facts["loss.type"] == "bce"


def test_one_class_stands_for_the_whole() -> None:
    collector = VitalsCollector()
    collector.add(vitals(1, classes=("cancer",)))
    chart = collector.chart()
    assert chart.values("val.probability.mean").tolist() == [0.1]
    assert chart.values("val.auc").tolist() == [0.61]  # the macro figure is not replaced


def test_phases() -> None:
    collector = VitalsCollector()
    for epoch in (1, 2, 3):
        collector.add(vitals(epoch, phase=int(epoch > 2)))
    chart = collector.chart()
    assert chart.phases is not None
    assert chart.phases.tolist() == [0, 0, 1]
    assert chart.phase_names == ("head", "all")


def test_a_resumed_epoch_replaces_what_was_there() -> None:
    collector = VitalsCollector()
    for epoch in (1, 2, 3):
        collector.add(vitals(epoch))
    collector.add({"epoch": 2, "val": {"loss": {"value": None}, "loss_reason": "the loss is not finite"}})
    chart = collector.chart()
    assert chart.epochs.tolist() == [1, 2]
    assert chart.has("val.auc")
    assert np.isnan(chart.values("val.auc")[1])


def test_many_epochs_of_many_figures_stand_where_they_were_logged() -> None:
    """More of both than the collector makes room for at first; some figures come late, some stop, some are infinite."""
    collector, expected = VitalsCollector(), np.full((100, 300), np.nan)
    for epoch in (*range(1, 250), *range(200, 301)):  # a run that went back to epoch 200
        row = {k: epoch + k / 1000 for k in range(100) if epoch >= 2 * k and (epoch + k) % 7}
        expected[:, epoch - 1] = [row.get(k, np.nan) for k in range(100)]
        collector.add({"epoch": epoch, **{f"figure{k}": value for k, value in row.items()}, "odd": np.inf if epoch % 2 else 0.0})
    chart = collector.chart()
    found = np.stack([chart.values(f"figure{k}") for k in range(100)])
    assert np.array_equal(found, expected, equal_nan=True)
    assert chart.nonfinite_epochs("odd").tolist() == list(range(1, 301, 2))
    assert chart.has("odd", points=150)
    collector.add({"epoch": 301, "figure0": 0.0})
    assert len(chart.values("figure0")) == 300  # a chart that was handed out stays as it was
    collector.add({"epoch": 3})
    assert "figure50" not in collector.chart().series


def test_a_loss_that_is_not_finite_is_known_by_its_reason() -> None:
    collector = VitalsCollector()
    collector.add({"epoch": 1, "val": {"loss": {"value": 0.5, "n": 10}}})
    collector.add({"epoch": 2, "val": {"loss": {"value": None, "value_reason": "not finite", "n": 10}}})
    assert collector.chart().nonfinite_epochs("val.loss").tolist() == [2.0]


def test_a_loss_that_was_never_finite_is_found_too() -> None:
    collector = VitalsCollector()
    for epoch in (1, 2):
        collector.add({"epoch": epoch, "train": {"loss": {"value": None, "value_reason": "not finite", "n": 10}}})
    chart = collector.chart()
    assert chart.nonfinite_epochs("train.loss").tolist() == [1.0, 2.0]
    assert "non_finite" in [found.id for found in diagnose(chart).findings]


def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    path = run / "vitals.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:50], lines[2], lines[0][:30]]))
    (chart,) = read_charts(run)
    assert chart.epochs.tolist() == [1, 3]
    assert chart.notes == ("line 2, 4 is damaged and left out",)


def test_runs_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(DataError, match="first epoch has not ended"):
        read_charts(tmp_path)
    (tmp_path / "vitals.jsonl").write_text('{"schema": "other/1"}\n')
    with pytest.raises(DataError, match="schema"):
        read_charts(tmp_path)
    (tmp_path / "vitals.jsonl").write_text('{"schema": "osler.vitals/1", "epo')
    with pytest.raises(DataError, match="whole JSON"):
        read_charts(tmp_path)
