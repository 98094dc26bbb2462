"""A configuration: what `osler train` would run is what is tested, and the quick half stops it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from osler.checkup import checkup_config, pass_quick_checkup
from osler.checkup.command import CheckupFailedError, examine
from osler.checkup.from_config import built, patient_of
from osler.cli import main
from osler.config import Config, config_to_yaml, merge
from osler.data.load import load_data
from osler.doctor.facts import Facts
from osler.doctor.faults import FAULTS
from osler.losses import build_loss

Make = Callable[..., Config]


def small(tiny: Make, **sections: Any) -> Config:
    """Small images for the small network, and a val that is not too small to be judged."""
    data = merge({"phantom": {"samples": 160}, "split": {"ratio": [0.5, 0.5, 0.0]}}, sections.pop("data", {}))
    return tiny(**{"data": data, "preparation": {"size": 16}, **sections})


def test_quick_half_of_a_sound_configuration_passes_and_is_fed_what_training_begins_with(tiny: Make) -> None:
    config = small(tiny)
    with built(config, load_data(config.data), Facts()) as parts:
        patient = patient_of(parts)
        before = {name: value.clone() for name, value in parts.task.model.state_dict().items()}
        found = examine(patient, "tiny", quick=True)
        first = next(iter(parts.batches.train.epoch(1)))
        assert torch.equal(patient.batches(1)[0].images, first.images)
        assert all(torch.equal(value, before[name]) for name, value in parts.task.model.state_dict().items())
    assert found.worst in (None, "note"), found.text()
    start = dict(next(check for check in found.checks if check.test == "start").figures)
    assert start["loss"] == pytest.approx(start["floor"], rel=0.05)


def test_settings_are_judged_by_the_doctors_rules_and_named_by_its_ids(tiny: Make) -> None:
    found = checkup_config(small(tiny, loss={"pos_weight": 60.0}, training={"weight_decay": 100.0}), quick=True)
    named = {check.id: check for check in found.failures}
    assert {"pos_weight_too_large", "weight_decay_too_strong"} <= set(named)
    assert set(named) - {"output_bias_wrong"} <= set(FAULTS)
    assert named["pos_weight_too_large"].changes[0].key == "loss.pos_weight"


def test_declared_counts_are_held_against_the_loaded(tiny: Make) -> None:
    config = small(tiny, data={"phantom": {"samples": 400}})
    found = checkup_config(config, facts=["prevalence.set=0.05", "samples.set=400"], quick=True)
    assert "declared_not_loaded" in {check.id for check in found.failures}, found.text()


def test_labels_that_arrive_otherwise_and_a_loss_that_is_not_the_configured_one(tiny: Make) -> None:
    config = small(tiny, loss={"pos_weight": 3.0})
    with built(config, load_data(config.data), Facts()) as parts:
        task: Any = parts.task
        task.loss = build_loss(replace(task.loss_spec, pos_weight=np.array([0.2])))
        train = parts.batches.train
        train._targets = np.where(np.arange(len(train._targets))[:, None] % 2, train._targets, 1 - train._targets)
        found = examine(patient_of(parts), "tiny", quick=True)
        assert next(check for check in found.checks if check.test == "counts").id == "declared_not_loaded"
        assert next(check for check in found.checks if check.test == "weight").id == "weight_not_in_force"


def test_phases_are_entered_one_by_one(tiny: Make) -> None:
    config = small(tiny, training={"phases": [{"train": "head", "epochs": 1}, {"train": "all", "epochs": 1}]})
    found = checkup_config(config, quick=True)
    check = next(check for check in found.checks if check.test == "gradients")
    assert check.outcome == "passed", check.sentence
    assert "Stage 1 (head)" in check.sentence
    assert "frozen and stay" in check.sentence


def test_masks_have_their_floor_too(tiny: Make) -> None:
    data = {"task": "segmentation", "phantom": {"size": 32, "findings": ["cardiomegaly"], "prevalence": 0.6}}
    found = checkup_config(tiny(data=data, model={"architecture": "compact", "width": 4, "levels": 2}), quick=True)
    check = next(check for check in found.checks if check.test == "start")
    assert check.outcome == "passed", found.text()
    assert found.worst != "critical", found.text()


def test_training_is_not_begun_over_something_critical(tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = small(tiny, training={"phases": [{"train": "head"}]})
    with pytest.raises(CheckupFailedError, match="frozen_network"):
        pass_quick_checkup(config)
    path = tmp_path / "c.yaml"
    path.write_text(config_to_yaml(config))
    with pytest.raises(SystemExit) as stopped:
        main(["train", str(path), "--run", str(tmp_path / "run"), "--checkup"])
    assert stopped.value.code == 1
    assert "training was not begun" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_command_prints_writes_and_fails_on(tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(config_to_yaml(small(tiny, training={"phases": [{"train": "head"}]})))
    with pytest.raises(SystemExit) as ended:
        main(["checkup", str(path), "--minutes", "0.03", "--json", "--out", str(tmp_path / "out"), "--fail-on", "critical"])
    assert ended.value.code == 1
    assert '"schema": "osler.checkup/1"' in capsys.readouterr().out
    assert (tmp_path / "out" / "checkup.html").is_file()
