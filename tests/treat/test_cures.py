"""Cures without training: what they do to predictions that need them, and to those that do not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from osler.config import Config
from osler.doctor.findings import Change, Diagnosis, Finding, Signs
from osler.runs.predictions import Predictions
from osler.treat.cures import Halves, cures_of

Tiny = Callable[..., Config]


def half(seed: int, scale: float = 1.0, shift: float = 0.0, n: int = 400) -> Predictions:
    generator = np.random.default_rng(seed)
    targets = (generator.random(n) < 0.2).astype(np.float32)
    logits = (2.0 * targets - 2.4 + generator.normal(size=n)).astype(np.float32)  # nearly calibrated as it is
    values = (scale * logits + shift).astype(np.float32)[:, None]
    ids = np.array([f"{seed}-{k}" for k in range(n)])
    return Predictions(ids, targets[:, None], values, 1 / (1 + np.exp(-values)), ids)


def found(id: str, *changes: Change) -> Diagnosis:
    finding = Finding(id, id, "f", Signs("seen", (), "warning", 0.9, changes))
    return Diagnosis("run", "osler", "findings", (finding,))


@pytest.fixture
def config(tiny: Tiny) -> Config:
    return tiny(data={"task": "binary", "classes": ["no", "yes"]})


THRESHOLD = Change("evaluation.threshold", None, "f1", "")


def test_a_threshold_is_chosen_on_one_half_and_measured_on_the_other(config: Config) -> None:
    cure = cures_of(found("threshold_mismatch", THRESHOLD), config, Halves(half(1, shift=-3), half(2, shift=-3)), 0.95)[0]
    assert cure.verdict == "helped"
    assert cure.after > cure.before
    assert 0 < cure.settings["thresholds"]["yes"] < 0.3


def test_a_threshold_that_was_right_is_no_cure(config: Config) -> None:
    halves = Halves(half(1, shift=1.0), half(2, shift=1.0))
    cure = cures_of(found("threshold_mismatch", THRESHOLD), config, halves, 0.95)[0]
    assert cure.verdict == "not shown"


def test_overconfident_probabilities_are_mended(config: Config) -> None:
    cure = cures_of(found("overconfidence"), config, Halves(half(3, scale=6), half(4, scale=6)), 0.95)[0]
    assert cure.verdict == "helped"
    assert cure.settings["slope"][0] < 0.5
    assert cure.to_json()["difference"]["low"] > 0


def test_the_figure_that_says_more_stands_beside_its_floor(config: Config) -> None:
    halves = Halves(half(5), half(6))
    cure = cures_of(found("accuracy_is_majority", Change("training.monitor", "accuracy", "macro_ap", "")), config, halves, 0.95)[
        0
    ]
    assert cure.label == "average precision"
    assert cure.before == pytest.approx(float(halves.prove.targets.mean()))
    assert cure.after > cure.before
    assert cure.verdict is None


def test_nothing_is_cured_that_was_not_found(config: Config) -> None:
    assert cures_of(found("learning_rate_too_low"), config, Halves(half(7), half(8)), 0.95) == []


def test_leaked_samples_are_left_out(tiny: Tiny) -> None:
    from osler.data.load import load_data

    config = tiny(
        data={
            "task": "binary",
            "split": {"by_patient": False},
            "phantom": {"samples": 300, "size": 32, "findings": ["nodule"], "prevalence": 0.4, "images_per_patient": 2.0},
        }
    )
    data = load_data(config.data)
    rows = data.rows["val"]
    values = np.random.default_rng(0).normal(size=(len(rows), 1)).astype(np.float32)
    said = Predictions(
        data.source.ids[rows], data.source.targets[rows], values, 1 / (1 + np.exp(-values)), data.source.patients[rows]
    )  # type: ignore[index]
    cure = cures_of(found("leakage"), config, Halves(said, said), 0.95)[0]
    assert 0 < cure.settings["left_out"] < len(rows)
    assert cure.difference is None
