"""Runs of the bench: Osler's own vitals and facts, faults that arrive where they should."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import FAULTS, LEVELS
from recipes import RECIPES
from training import Run, train_bench

import tasks
from osler.doctor.chart import Chart
from tasks import TASKS, Task


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Task]:
    """A task of few images."""
    monkeypatch.setattr(tasks, "IMAGES", tmp_path)
    yield replace(TASKS["films"], samples=72, pool=90, test=40)
    tasks.draw_pool.cache_clear()


def quick(run: Run, **values: Any) -> Run:
    return replace(run, sections={**run.sections, "training": {**run.sections.get("training", {}), "epochs": 2, **values}})


def test_a_run_has_the_vitals_and_facts_of_osler_and_scores_on_the_test_set(small: Task) -> None:
    chart, scores = train_bench(small, quick(Run()), 3)
    assert chart.reader == "osler"
    assert len(chart) == 2
    assert chart.has("val.auc", "train.skill", "update_ratio.median", "train_mode_loss.eval_mode", "val.floor", points=2)
    assert chart.facts["samples.train"] + chart.facts["samples.val"] == 72
    assert chart.facts["stop_reason"] == "all planned epochs done"
    assert 0 <= scores["best"]["auc"] <= 1
    assert scores["best"]["f1_floor"] > 0
    again, same = train_bench(small, quick(Run()), 3)
    assert np.array_equal(again.values("val.auc"), chart.values("val.auc"))
    assert same["best"] == scores["best"]


def test_a_kept_chart_is_the_chart(small: Task) -> None:
    chart, _ = train_bench(small, quick(Run()), 0)
    kept = Chart.from_json(chart.to_json())
    assert kept.facts == chart.facts
    assert all(np.array_equal(kept.values(name), chart.values(name), equal_nan=True) for name in chart.series)


def run_fault(task: Task, fault: str, level: str = "severe") -> Chart:
    return train_bench(task, quick(RECIPES[fault][level](task)), 0)[0]


def test_faults_arrive(small: Task) -> None:
    well = train_bench(small, quick(Run()), 0)[0]
    assert (run_fault(small, "frozen").values("update_ratio.median") == 0).all()
    # Brightness is augmented still.
    assert (run_fault(small, "pixels_dead").values("input.sd") < 0.2 * well.values("input.sd")).all()
    assert run_fault(small, "activation_twice").values("val.probability.p95[mass]").max() < 0.8
    assert run_fault(small, "statistics_stale").values("train_mode_loss.eval_mode")[-1] > 0
    drawn = run_fault(small, "sampler_starves").facts["prevalence.drawn"]
    assert sum(drawn.values()) < 0.1 * sum(well.facts["prevalence.drawn"].values())
    assert run_fault(small, "val_tiny").facts["samples.val"] == 8
    assert len(run_fault(small, "pixels_nan").nonfinite_epochs("train.loss"))
    inverted = run_fault(small, "val_inverted").facts
    assert inverted["prevalence.val"]["mass"] == pytest.approx(1 - well.facts["prevalence.val"]["mass"])
    assert inverted["prevalence.train"] == well.facts["prevalence.train"]


def test_what_is_done_behind_the_back_is_in_no_fact(small: Task) -> None:
    well = train_bench(small, quick(Run()), 0)[0].facts
    lost = run_fault(small, "positives_lost")
    assert lost.facts["prevalence.train"] == well["prevalence.train"]
    assert lost.values("train.prevalence[mass]").max() == 0


def test_the_best_weights_are_scored(small: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    _, scores = train_bench(small, quick(Run({"training": {"learning_rate": 3.0}}), epochs=4), 1)
    assert scores["best_epoch"] >= 1
    assert scores["best"] != scores["last"] or scores["best_epoch"] == 4


@pytest.mark.long
@pytest.mark.parametrize("name", ["heart", "films", "states"])
def test_every_fault_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "IMAGES", tmp_path)
    task = replace(TASKS[name], samples=150, pool=150, test=40)
    for fault in FAULTS.values():
        for level in LEVELS if task.kind in fault.kinds else ():
            chart, _ = train_bench(task, quick(RECIPES[fault.id][level](task), warmup_epochs=0.0), 0)
            assert len(chart) >= 1, (fault.id, level)
    tasks.draw_pool.cache_clear()
