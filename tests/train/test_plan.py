"""Phases and learning rates."""

from __future__ import annotations

import itertools

import pytest

from osler.config import TrainingConfig
from osler.train.plan import build_plan


def rates(**settings: object) -> list[float]:
    plan = build_plan(TrainingConfig.model_validate({"epochs": 10, "learning_rate": 1.0, **settings}), 20)
    phase = plan.phases[0]
    return [plan.learning_rate(phase, step) for step in range(phase.steps)]


def test_warm_up_rises_linearly_to_the_peak_and_no_step_is_zero() -> None:
    values = rates(schedule="constant", warmup_epochs=2)
    assert values[0] > 0
    assert values[39] == pytest.approx(1.0)
    differences = [b - a for a, b in itertools.pairwise(values[:40])]
    assert differences == pytest.approx([differences[0]] * 39)
    assert set(values[40:]) == {1.0}


def test_warm_up_in_steps_wins() -> None:
    assert rates(schedule="constant", warmup_epochs=5, warmup_steps=3)[3] == 1.0


def test_cosine_falls_from_the_peak_to_near_zero() -> None:
    values = rates(schedule="cosine")
    assert values[0] == 1.0
    assert values[100] == pytest.approx(0.5)
    assert values[-1] < 1e-3
    assert values == sorted(values, reverse=True)


def test_one_cycle_peaks_once() -> None:
    values = rates(schedule="one_cycle")
    peak = values.index(max(values))
    assert values[peak] == pytest.approx(1.0)
    assert peak == 60
    assert values[0] == pytest.approx(0.04)
    assert values[:peak] == sorted(values[:peak])
    assert values[peak:] == sorted(values[peak:], reverse=True)


def test_plateau_is_constant_times_the_factor_it_arrived_at() -> None:
    plan = build_plan(TrainingConfig.model_validate({"schedule": "plateau", "learning_rate": 1.0}), 20)
    assert plan.learning_rate(plan.phases[0], 50, plateau=0.25) == 0.25


def test_phases_take_what_they_leave_open_from_training() -> None:
    settings = {
        "epochs": 7,
        "early_stopping": 4,
        "learning_rate": 0.1,
        "phases": [{"train": "head"}, {"epochs": 3, "patience": 1}],
    }
    plan = build_plan(TrainingConfig.model_validate(settings), 20)
    head, everything = plan.phases
    assert (head.part, head.epochs, head.patience, head.learning_rate) == ("head", 7, 4, 0.1)
    assert (everything.part, everything.epochs, everything.patience) == ("all", 3, 1)
    assert plan.epochs == 10


def test_accumulation_makes_fewer_steps() -> None:
    plan = build_plan(TrainingConfig.model_validate({"accumulate": 4, "epochs": 1}), 20)
    assert plan.steps_per_epoch == 5
