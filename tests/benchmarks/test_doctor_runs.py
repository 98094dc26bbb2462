"""Runs of the bench: Osler's own vitals and facts, faults that arrive where they should."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import FAULTS, LEVELS
from healthy import healthy_run
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


@pytest.fixture
def masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Task]:
    """A task of few images with masks."""
    monkeypatch.setattr(tasks, "IMAGES", tmp_path)
    yield replace(TASKS["lesions"], samples=48, pool=60, test=24)
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


def test_a_run_on_masks_has_the_vitals_and_facts_of_osler_and_scores_by_dice(masks: Task) -> None:
    chart, scores = train_bench(masks, quick(Run()), 3)
    assert chart.facts["task"] == "segmentation"
    assert chart.has(
        "val.dice", "val.foreground.predicted", "val.lesion_sensitivity[mass]", "train.loss[dice]", "val.floor", points=1
    )
    assert chart.facts["foreground.train"]["mass"] == pytest.approx(chart.values("train.foreground.true")[0], rel=0.2)
    assert chart.facts["lesions.train"] > 0
    assert chart.facts["lesions_erased.train"] == 0
    assert 0 < scores["best"]["dice_floor"] < 0.1
    assert scores["val_dice"] is not None
    kept = np.load(next(tasks.IMAGES.glob("lesions-*.npz")))["images"]
    assert kept.shape == (84, 2, 40, 40)
    assert set(np.unique(kept[:, 1])) == {0, 1}


def test_faults_of_masks_arrive(masks: Task) -> None:
    well = train_bench(masks, quick(Run()), 0)[0]
    lost = run_fault(masks, "masks_lost")
    assert lost.values("train.foreground.true").max() == 0
    assert lost.facts["foreground.train"] == well.facts["foreground.train"]
    assert run_fault(masks, "masks_inverted").facts["foreground.train"]["mass"] > 0.9
    assert run_fault(masks, "masks_unscaled").values("train.loss")[0] > 10 * well.values("train.loss")[0]
    erased = run_fault(masks, "lesions_erased").facts
    assert erased["lesions_erased.train"] > 0.7 * erased["lesions.train"] > 0
    told = run_fault(masks, "dice_of_background")
    assert told.values("val.dice").min() == pytest.approx(told.values("val.accuracy").min())
    drawn = run_fault(masks, "empty_drawn")
    assert drawn.values("train.foreground.true").max() < 0.5 * well.values("train.foreground.true").min()
    same = run_fault(masks, "masks_shuffled").facts
    assert same["foreground.val"] == well.facts["foreground.val"]
    assert run_fault(masks, "masks_misaligned").values("train.loss")[0] != well.values("train.loss")[0]


def test_images_change_and_masks_do_not(masks: Task) -> None:
    dark = run_fault(masks, "pixels_scaled")
    assert dark.values("input.sd").max() < 20
    assert dark.values("val.foreground.true")[0] > 0.005


@pytest.mark.parametrize("variant", ["patches", "many_empty", "supervised"])
def test_healthy_runs_on_masks_run(masks: Task, variant: str) -> None:
    chart, _ = train_bench(masks, quick(healthy_run(masks, variant)), 0)
    well = masks.config.data.phantom.prevalence
    if variant == "many_empty":
        assert chart.facts["empty.train"] > 1 - well + 0.2
    assert chart.has("val.dice")


@pytest.mark.long
@pytest.mark.parametrize("name", ["heart", "films", "states", "lesions", "organs"])
def test_every_fault_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "IMAGES", tmp_path)
    task = replace(TASKS[name], samples=150, pool=150, test=40)
    for fault in FAULTS.values():
        for level in LEVELS if task.kind in fault.kinds else ():
            chart, _ = train_bench(task, quick(RECIPES[fault.id][level](task), warmup_epochs=0.0), 0)
            assert len(chart) >= 1, (fault.id, level)
    tasks.draw_pool.cache_clear()
