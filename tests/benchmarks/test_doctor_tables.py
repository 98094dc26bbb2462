"""The benchmark's tables agree with each other and with what the doctor, the configuration and the tasks know."""

from __future__ import annotations

from collections import Counter

import pytest
from faults import DOUBLES, FAULTS, FIRST, LEVELS, LOOKALIKES
from healthy import healthy_run
from matrix import healthy, plan, run_of
from recipes import RECIPES
from records import Entry

from osler.doctor.facts import FACTS
from osler.doctor.faults import FAULTS as KNOWN
from tasks import TASKS, whole_config


def test_every_fault_has_a_recipe_of_both_levels() -> None:
    assert RECIPES.keys() == FAULTS.keys()
    assert all(tuple(recipe) == LEVELS for recipe in RECIPES.values())
    assert len(FAULTS) >= 24


def test_names_in_other_tables_are_faults() -> None:
    named = {*FIRST, *(name for pair in DOUBLES.values() for name in pair), *(name for group in LOOKALIKES for name in group)}
    assert named <= FAULTS.keys()


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_can_be_named_and_its_advice_is_a_setting(fault) -> None:  # type: ignore[no-untyped-def]
    assert set(fault.roots) & KNOWN.keys(), f"no rule of the doctor can name {fault.id}"
    assert all(advice.key in FACTS for advice in (*fault.advice, *fault.harmful))
    assert not set(fault.advice) & set(fault.harmful)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_runs_have_configurations_that_osler_takes(task) -> None:  # type: ignore[no-untyped-def]
    for entry in plan([task.name], "all", 1):
        assert whole_config(task, dict(run_of(entry).sections)).training.epochs >= 1


def test_tasks_are_of_all_kinds_and_some_are_held_out() -> None:
    assert {task.kind for task in TASKS.values()} == {"binary", "multilabel", "multiclass", "segmentation"}
    segmenters = [task.held_out for task in TASKS.values() if task.kind == "segmentation"]
    assert sorted(segmenters) == [False, True]
    shares = {task.name: task.config.data.phantom.prevalence for task in TASKS.values()}
    rare = [name for name, share in shares.items() if isinstance(share, float) and share < 0.02]
    assert any(TASKS[name].held_out for name in rare)
    assert any(not TASKS[name].held_out for name in rare)


def test_arms_are_equal_and_every_run_stands_once() -> None:
    entries = plan(["heart", "states"], "all", 5)
    assert len(set(entries)) == len(entries)
    arms = Counter((entry.task, entry.arm) for entry in entries)
    assert arms["heart", "faulty"] == arms["heart", "healthy"]
    assert arms["states", "faulty"] == arms["states", "healthy"] < arms["heart", "healthy"]


@pytest.mark.parametrize("task", ["films", "lesions"])
def test_the_healthy_arm_has_the_reference_of_every_seed_and_much_else(task: str) -> None:
    entries = healthy(TASKS[task], 120)
    assert sum(entry.fault == "plain" for entry in entries) == 8
    assert len({entry.fault for entry in entries}) > 60


@pytest.mark.parametrize("task", ["heart", "lesions"])
def test_mixed_variants_are_the_same_each_time_and_differ(task: str) -> None:
    runs = [healthy_run(TASKS[task], f"mixed-{number}").sections for number in range(6)]
    assert runs[3] == healthy_run(TASKS[task], "mixed-3").sections
    assert len({repr(run) for run in runs}) == 6


def test_entries_sort_and_compare_by_their_names() -> None:
    one, other = Entry("heart", "faulty", "lr_low", "mild", 0), Entry("heart", "faulty", "lr_low", "mild", 1)
    assert sorted([other, one]) == [one, other]
