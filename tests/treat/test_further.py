"""A larger dose of what helped: when it is asked for, how large it is, and when it is left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from osler.config import Config
from osler.treat.further import further_patch
from osler.treat.patch import Edit, Patch, apply_patch

Tiny = Callable[..., Config]
RISING, RESTING = np.linspace(0.5, 0.8, 12), 0.8 + 0.01 * np.tile([1.0, -1.0], 6)


def run_of(values: Any, skill: float = 0.2, step: float = 1e-3) -> list[dict[str, Any]]:
    """Vitals of a cosine schedule over these figures."""
    rates = 0.5 * (1 + np.cos(np.pi * np.arange(len(values)) / len(values)))
    return [
        {
            "learning_rate": {"start": float(rate)},
            "monitor": {"value": float(value)},
            "optimization": {"update_ratio": {"median": step}},
            "val": {"skill": skill},
        }
        for rate, value in zip(rates, values, strict=True)
    ]


def patch_of(key: str, before: Any, after: Any) -> Patch:
    return Patch("a_fault", "A fault", "seen", "a dose", (Edit(key, before, after, "because"),))


def after(found: Patch | None) -> Any:
    assert found is not None
    return found.edits[0].after


def test_a_rate_goes_on_half_as_far_where_the_figure_still_rose(tiny: Tiny) -> None:
    config, first = (tiny(training={"learning_rate": rate}) for rate in (1e-4, 1e-6))
    found = further_patch(patch_of("training.learning_rate", 1e-5, 1e-4), config, first, run_of(RISING), [config])
    assert after(found) == pytest.approx(1e-3)
    assert found is not None
    assert found.finding == "a_fault"
    assert "still learned more" in found.summary
    assert apply_patch(config, found).training.learning_rate == pytest.approx(1e-3)


def test_steps_that_are_large_already_bound_the_rate(tiny: Tiny) -> None:
    config, first = (tiny(training={"learning_rate": rate}) for rate in (1e-4, 1e-8))
    patch = patch_of("training.learning_rate", 1e-8, 1e-4)
    assert after(further_patch(patch, config, first, run_of(RISING, step=2e-3), [config])) == pytest.approx(5e-4)
    assert further_patch(patch, config, first, run_of(RISING, step=1e-2), [config]) is None


def test_epochs_stay_whole_numbers(tiny: Tiny) -> None:
    config, first = (tiny(training={"epochs": epochs}) for epochs in (12, 3))
    assert after(further_patch(patch_of("training.epochs", 3, 12), config, first, run_of(RISING), [config])) == 24


def test_where_the_figure_does_not_move_yet_the_skill_tells(tiny: Tiny) -> None:
    config, first = (tiny(training={"learning_rate": rate}) for rate in (1e-4, 1e-6))
    epochs = run_of(np.zeros(12))
    for epoch, skill in zip(epochs, np.linspace(-0.1, 0.3, 12), strict=True):
        epoch["val"]["skill"] = float(skill)
    assert after(further_patch(patch_of("training.learning_rate", 1e-6, 1e-4), config, first, epochs, [config])) == 1e-3


@pytest.mark.parametrize(
    ("key", "before", "now", "values"),
    [
        ("training.learning_rate", 1e-6, 1e-4, RESTING),
        ("training.learning_rate", 1e-6, 1e-4, RISING[:3]),
        ("training.learning_rate", 1e-6, 1e-4, []),
        ("training.learning_rate", 1e-6, 1e-4, np.full(12, np.nan)),
        ("training.learning_rate", 1e-1, 1e-3, RISING),
        ("training.weight_decay", 1e-6, 1e-4, RISING),
    ],
    ids=["at rest", "too short", "no epoch", "no figure", "lowered", "another setting"],
)
def test_otherwise_nothing_is_asked_for(tiny: Tiny, key: str, before: float, now: float, values: Any) -> None:
    config, first = (tiny(training={key.removeprefix("training."): value}) for value in (now, before))
    assert further_patch(patch_of(key, before, now), config, first, run_of(values), [config]) is None


def test_what_was_tried_is_not_tried_again(tiny: Tiny) -> None:
    config, first = (tiny(training={"learning_rate": rate}) for rate in (1e-4, 1e-6))
    patch = patch_of("training.learning_rate", 1e-6, 1e-4)
    found = further_patch(patch, config, first, run_of(RISING), [config])
    assert found is not None
    assert further_patch(patch, config, first, run_of(RISING), [config, apply_patch(config, found)]) is None


def test_phases_state_rates_of_their_own(tiny: Tiny) -> None:
    phases = [{"train": "head", "epochs": 1}, {"train": "all", "learning_rate": 1e-4}]
    config, first = (tiny(training={"learning_rate": rate, "phases": phases}) for rate in (1e-4, 1e-6))
    assert further_patch(patch_of("training.learning_rate", 1e-6, 1e-4), config, first, run_of(RISING), [config]) is None


def test_augmentation_that_was_meant_to_regularise_stays(tiny: Tiny) -> None:
    config = tiny(augmentation={"rotation": 10})
    patch = patch_of("augmentation", None, {"rotation": 10})
    assert further_patch(patch, config, config, run_of(RESTING, skill=0.01), [config]) is None


def test_mild_augmentation_under_which_little_is_learned_is_left_out(tiny: Tiny) -> None:
    config = tiny(augmentation={"rotation": 10})
    patch = replace(patch_of("augmentation.rotation", 180, 10), finding="augmentation_too_strong")
    found = further_patch(patch, config, config, run_of(RESTING, skill=0.01), [config])
    assert found is not None
    assert apply_patch(config, found).augmentation is None
    assert further_patch(patch, config, config, run_of(RESTING, skill=0.4), [config]) is None
    bare = tiny(augmentation=None)
    assert further_patch(patch, bare, bare, run_of(RESTING, skill=0.01), [bare]) is None
