"""Training end to end: what a run leaves, exact resume, phases, and what stops it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from osler.config import Config, load_config
from osler.doctor.command import diagnose_sources
from osler.errors import ConfigError, DataError, ModelError, RequestError, RunError
from osler.runs.card import Card
from osler.runs.folder import RunFolder
from osler.runs.predictions import Predictions
from osler.runs.vitals import read_vitals
from osler.tasks.classification import Classification
from osler.train import loop
from osler.train import measure as measuring
from osler.train.fit import TrainingStoppedError, resume_run, train_run
from osler.train.inference import predict_again
from osler.train.state import load_checkpoint, model_weights

Tiny = Callable[..., Config]


def weights_of(run: RunFolder, name: str = "last") -> dict[str, torch.Tensor]:
    return model_weights(load_checkpoint(run.checkpoints / f"{name}.pt"))


def assert_same_bits(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    different = [name for name in left if not torch.equal(left[name], right[name])]
    assert not different


def untimed(vitals: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in vitals.items() if key not in ("seconds", "memory")}


def test_a_run_leaves_everything_the_other_commands_read(tiny: Tiny, capfd: pytest.CaptureFixture[str]) -> None:
    run = train_run(tiny())
    assert run.config() == load_config(run.config_file)
    assert "auto" not in run.config_file.read_text().replace("subgroups: auto", "")
    vitals = read_vitals(run.vitals_file)
    assert [epoch["epoch"] for epoch in vitals] == [1, 2]
    figures = vitals[-1]["val"]["classes"]["cardiomegaly"]
    assert np.sum(figures["confusion"]) == vitals[-1]["val"]["n"]
    for split in ("val", "test"):
        predictions = Predictions.load(run.predictions / f"{split}.npz")
        assert len(predictions.ids) == run.read(run.facts_file)[f"samples.{split}"]
        assert np.all((predictions.probabilities >= 0) & (predictions.probabilities <= 1))
    card = Card.from_json(run.read(run.card_file), "card")
    assert card.classes == ("cardiomegaly",)
    assert set(card.thresholds) == {"cardiomegaly"}
    assert card.data["synthetic"] is True
    assert run.read(run.facts_file)["stop_reason"] == "all planned epochs done"
    assert run.metrics_file.read_text().count("\n") == 3
    assert any(run.logs.glob("events.out.tfevents.*"))
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "Epoch 2/2 · loss" in captured.err


def test_the_first_batch_starts_at_the_floor(tiny: Tiny) -> None:
    run = train_run(tiny(training={"epochs": 1, "learning_rate": 1e-9}, loss={"pos_weight": 3.0}))
    figures = read_vitals(run.vitals_file)[0]["train"]
    assert abs(figures["loss"]["value"] - figures["floor"]) < 3 * figures["loss"]["se"] + 1e-3
    assert abs(figures["skill"]) < 0.02


def test_the_same_config_gives_the_same_bits(tiny: Tiny) -> None:
    assert_same_bits(weights_of(train_run(tiny())), weights_of(train_run(tiny())))


@pytest.mark.parametrize("stop_at", [1, 5, 8])
def test_a_run_that_dies_within_an_epoch_resumes_to_the_same_bits(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    settings = {
        "training": {"epochs": 3, "ema": 0.9, "checkpoint_every": 1e-9, "schedule": "plateau", "accumulate": 2, "batch_size": 4}
    }
    whole = train_run(tiny(**settings))
    steps = 0
    true_step = loop._step

    def dying_step(state: Any, measure: bool) -> None:
        nonlocal steps
        steps += 1
        if steps > stop_at:
            raise SystemError("killed")
        true_step(state, measure)

    monkeypatch.setattr(loop, "_step", dying_step)
    folder = whole.path.parent / "dies"
    with pytest.raises(SystemError):
        train_run(tiny(**settings), folder)
    monkeypatch.setattr(loop, "_step", true_step)
    again = resume_run(folder)
    assert_same_bits(weights_of(whole), weights_of(again))
    assert_same_bits(weights_of(whole, "best"), weights_of(again, "best"))
    before, after = read_vitals(whole.vitals_file), read_vitals(again.vitals_file)
    assert [untimed(epoch) for epoch in before] == [untimed(epoch) for epoch in after]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly_and_resume_finishes(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    true_step = loop._step
    steps = 0

    def signalled_step(state: Any, measure: bool) -> None:
        nonlocal steps
        true_step(state, measure)
        steps += 1
        if steps == 7:
            os.kill(os.getpid(), number)

    whole = train_run(tiny())
    monkeypatch.setattr(loop, "_step", signalled_step)
    handler = signal.getsignal(number)
    with pytest.raises(TrainingStoppedError, match=f"stopped by {number.name} at epoch 2, batch") as stopped:
        train_run(tiny(), whole.path.parent / "signalled")
    assert stopped.value.exit_code == 128 + number
    assert signal.getsignal(number) == handler
    monkeypatch.setattr(loop, "_step", true_step)
    assert_same_bits(weights_of(whole), weights_of(resume_run(stopped.value.run.path)))


def test_resuming_a_finished_run_changes_nothing(tiny: Tiny) -> None:
    run = train_run(tiny())
    before = weights_of(run)
    vitals = run.vitals_file.read_text()
    resume_run(run.path)
    assert_same_bits(before, weights_of(run))
    assert run.vitals_file.read_text() == vitals


def test_phases_train_their_own_layers_and_start_from_the_best(tiny: Tiny) -> None:
    phases = [{"train": "head", "epochs": 2, "learning_rate": 1e-2}, {"train": "all", "epochs": 1, "learning_rate": 1e-4}]
    run = train_run(tiny(training={"phases": phases}))
    vitals = read_vitals(run.vitals_file)
    assert [epoch["phase"]["train"] for epoch in vitals] == ["head", "head", "all"]
    assert vitals[1]["learning_rate"]["start"] > vitals[2]["learning_rate"]["start"]
    head_only = train_run(tiny(training={"phases": phases[:1]}))
    fresh = train_run(tiny(training={"phases": [{"train": "head", "epochs": 1, "learning_rate": 1e-12}]}))
    backbone = [name for name, _ in weights_of(fresh).items() if name.startswith("backbone") and "running" not in name]
    assert backbone
    assert all(torch.equal(weights_of(head_only)[name], weights_of(fresh)[name]) for name in backbone)


def test_early_stopping_says_why_and_does_not_count_warm_up(tiny: Tiny) -> None:
    still = {"learning_rate": 1e-12, "epochs": 12, "early_stopping": 2, "monitor": "loss", "min_delta": 1.0}
    run = train_run(tiny(training=still))
    assert run.read(run.facts_file)["stop_reason"] == "early stopping: no better loss for 2 epochs"
    assert len(read_vitals(run.vitals_file)) == 3
    warm = train_run(tiny(training={**still, "warmup_epochs": 4}))
    assert len(read_vitals(warm.vitals_file)) == 6


def test_a_loss_that_turns_nan_stops_before_the_step_and_keeps_the_checkpoint(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_forward = Classification.forward
    calls = 0

    def poisoned(self: Any, model: Any, batch: Any) -> Any:
        nonlocal calls
        logits, terms = true_forward(self, model, batch)
        learning = model.training and torch.is_grad_enabled()  # and not one of the looks at an epoch's end
        calls += learning
        return logits, terms._replace(values=terms.values * float("nan")) if calls == 7 and learning else terms

    monkeypatch.setattr(Classification, "forward", poisoned)
    with pytest.raises(TrainingStoppedError, match="the loss is nan") as stopped:
        train_run(tiny())
    assert stopped.value.exit_code == 1
    assert all(torch.isfinite(tensor).all() for tensor in weights_of(stopped.value.run).values() if tensor.is_floating_point())


def test_a_cut_checkpoint_is_one_clear_error(tiny: Tiny) -> None:
    run = train_run(tiny())
    last = run.checkpoints / "last.pt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(RunError, match=r"last\.pt: is cut short, damaged.*best\.pt"):
        resume_run(run.path)


def test_a_checkpoint_of_another_configuration_names_the_differences(tiny: Tiny) -> None:
    run = train_run(tiny(training={"epochs": 1}))
    with pytest.raises(RunError, match=r"training\.optimizer is 'adamw' there and 'sgd' here"):
        train_run(tiny(training={"optimizer": "sgd"}), start_from=run.checkpoints / "last.pt")


def test_a_new_run_from_a_training_state_continues_it(tiny: Tiny) -> None:
    first = train_run(tiny(training={"epochs": 2, "schedule": "constant"}))
    longer = train_run(tiny(training={"epochs": 4, "schedule": "constant"}), start_from=first.checkpoints / "last.pt")
    whole = train_run(tiny(training={"epochs": 4, "schedule": "constant"}))
    assert [epoch["epoch"] for epoch in read_vitals(longer.vitals_file)] == [3, 4]
    assert_same_bits(weights_of(longer), weights_of(whole))


def test_changed_data_refuses_to_resume(tiny: Tiny) -> None:
    run = train_run(tiny())
    text = run.config_file.read_text().replace("difficulty: 0.0", "difficulty: 0.5").replace("prevalence: 0.5", "prevalence: 0.3")
    run.config_file.write_text(text)
    with pytest.raises(RunError, match="the data changed"):
        resume_run(run.path)


def test_a_run_folder_in_use_or_not_empty_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(RunError, match="not empty"):
        train_run(tiny(), tmp_path / "full")
    run = train_run(tiny(training={"epochs": 1}))
    with run.in_use(), pytest.raises(RunError, match="another process"):
        resume_run(run.path)


def test_a_gpu_that_is_not_there_is_one_clear_error(tiny: Tiny) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ModelError, match="no usable GPU"):
        train_run(tiny(training={"device": "cuda"}))


def test_a_full_disk_loses_nothing(tiny: Tiny) -> None:
    whole = train_run(tiny())
    size = (whole.checkpoints / "last.pt").stat().st_size
    folder = whole.path.parent / "full-disk"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))  # the system refuses to write more, as on a full disk
    try:
        with pytest.raises(RunError, match=r"last\.pt: cannot be written"):
            train_run(tiny(), folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_same_bits(weights_of(whole), weights_of(resume_run(folder)))


def test_a_run_stopped_between_phases_resumes(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"training": {"phases": [{"train": "head", "epochs": 1}, {"train": "all", "epochs": 1}]}}
    whole = train_run(tiny(**settings))
    true_step = loop._step

    def dying_step(state: Any, measure: bool) -> None:
        if state.position.phase == 1:
            raise SystemError("killed")
        true_step(state, measure)

    monkeypatch.setattr(loop, "_step", dying_step)
    folder = whole.path.parent / "between"
    with pytest.raises(SystemError):
        train_run(tiny(**settings), folder)
    monkeypatch.setattr(loop, "_step", true_step)
    assert_same_bits(weights_of(whole), weights_of(resume_run(folder)))


def test_a_part_that_no_network_has_is_refused_before_the_first_phase(tiny: Tiny, tmp_path: Path) -> None:
    phases = [{"train": "head", "epochs": 1}, {"train": "from:nowhere"}]
    with pytest.raises(ModelError, match="from:nowhere"):
        train_run(tiny(training={"phases": phases}), tmp_path / "run")
    assert not (tmp_path / "run").exists()  # the corrected command may use the same folder


def test_a_monitor_that_val_cannot_give_is_refused(tiny: Tiny) -> None:
    with pytest.raises(DataError, match=r"training\.monitor macro_auc is undefined"):
        train_run(tiny(data={"phantom": {"samples": 60, "prevalence": 0.03, "seed": 3}}))


def class_folders(folder: Path, names: tuple[str, ...] = ("normal", "sick"), each: int = 20) -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        for i in range(each):
            cv2.imwrite(str(folder / name / f"{i}.png"), rng.integers(0, 255, (40, 40), np.uint8))
    return folder


def test_a_run_on_class_folders_resumes_and_is_predicted_again(tiny: Tiny, tmp_path: Path) -> None:
    films = class_folders(tmp_path / "films")
    run = train_run(tiny(data={"source": "folder", "path": str(films)}, training={"epochs": 1}))
    assert run.config().data.classes == ("normal", "sick")
    resume_run(run.path)
    kept = Predictions.load(run.predictions / "val.npz")
    again = predict_again(run, "last", None)
    assert set(again) == {"val", "test"}
    np.testing.assert_array_equal(again["val"].ids, kept.ids)
    np.testing.assert_allclose(again["val"].probabilities, kept.probabilities, atol=1e-5)
    other = predict_again(run, "best", class_folders(tmp_path / "others", each=5))
    assert len(other["data"]) == 10


def test_what_was_train_is_never_scored_as_test(tiny: Tiny, tmp_path: Path) -> None:
    films = class_folders(tmp_path / "films", ("a", "b", "c"))
    run = train_run(tiny(data={"source": "folder", "path": str(films)}, loss={"type": "auto"}, training={"epochs": 1}))
    cv2.imwrite(str(films / "a" / "new.png"), np.zeros((40, 40), np.uint8))
    with pytest.raises(RunError, match="the data changed"):
        predict_again(run, "last", None)


def test_other_data_of_a_synthetic_run_need_a_config(tiny: Tiny, tmp_path: Path) -> None:
    run = train_run(tiny(training={"epochs": 1}))
    with pytest.raises(RequestError, match="give a config"):
        predict_again(run, "best", tmp_path / "films")


def test_a_class_of_unreadable_images_alone_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    films = class_folders(tmp_path / "films")
    for film in (films / "sick").iterdir():
        film.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match="class 'sick' has no positive sample in train"):
        train_run(tiny(data={"source": "folder", "path": str(films), "unreadable": "skip", "unreadable_limit": 1.0}))


def test_a_starting_state_beyond_the_plan_is_refused(tiny: Tiny) -> None:
    run = train_run(tiny())
    with pytest.raises(RunError, match="has 2 epochs behind it"):
        train_run(tiny(), start_from=run.checkpoints / "last.pt")


def test_a_new_run_takes_its_own_settings_and_any_batch_size(tiny: Tiny) -> None:
    first = train_run(tiny())
    second = train_run(
        tiny(training={"epochs": 3, "batch_size": 12, "weight_decay": 0.5, "ema": 0.9}), start_from=first.checkpoints / "last.pt"
    )
    groups = load_checkpoint(second.checkpoints / "last.pt")["optimizer"]["param_groups"]
    assert {group["weight_decay"] for group in groups} == {0.5, 0.0}
    assert [epoch["epoch"] for epoch in read_vitals(second.vitals_file)] == [3]


def test_the_looks_at_both_modes_count_as_evaluation(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = measuring.train_mode_gap

    def slow(*args: Any) -> dict[str, Any]:
        time.sleep(0.3)
        return usual(*args)

    monkeypatch.setattr(measuring, "train_mode_gap", slow)
    vitals = read_vitals(train_run(tiny()).vitals_file)
    assert all(epoch["seconds"]["evaluation"] >= 0.6 and epoch["seconds"]["epoch"] >= 0.6 for epoch in vitals)
    assert vitals[0]["unaugmented"]["pixels"]["mean"] > 0
    assert vitals[0]["unaugmented"]["likeness"] > 0.5


def test_vitals_are_strict_json(tiny: Tiny) -> None:
    run = train_run(tiny(training={"epochs": 1}))

    def no_constants(name: str) -> float:
        raise AssertionError(name)

    for line in run.vitals_file.read_text().splitlines():
        json.loads(line, parse_constant=no_constants)


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_other_tasks_train(tiny: Tiny, task: str) -> None:
    phantom = {"samples": 150, "findings": ["cardiomegaly", "effusion"], "prevalence": 0.3}
    run = train_run(tiny(data={"phantom": phantom, "task": task}, training={"epochs": 1}, loss={"type": "auto"}))
    vitals = read_vitals(run.vitals_file)[0]
    assert len(vitals["val"]["classes"]) == len(run.config().data.classes or ())


def test_deep_images_without_a_range_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(6):
            cv2.imwrite(str(tmp_path / "set" / name / f"{i}.png"), np.full((40, 40), 1000 * i, np.uint16))
    config = load_config({"data": {"source": "folder", "path": str(tmp_path / "set"), "cache": str(tmp_path / "cache")}})
    with pytest.raises(ConfigError, match=r"preparation\.range.*16 bits"):
        train_run(config, tmp_path / "run")


def test_unreadable_images_are_listed_or_skipped_and_recorded(tmp_path: Path, tiny: Tiny) -> None:
    broken = class_folders(tmp_path / "set", ("a", "b")) / "a" / "3.png"
    broken.write_bytes(broken.read_bytes()[:200])
    data = {"source": "folder", "path": str(tmp_path / "set")}
    with pytest.raises(DataError, match=r"1 of 40 images cannot be read:\n.*3\.png"):
        train_run(tiny(data=data, training={"epochs": 1}))
    run = train_run(tiny(data={**data, "unreadable": "skip"}, training={"epochs": 1}))
    assert any("1 unreadable image left out" in note for note in run.read(run.facts_file)["notes"])
    assert "\na/3.png," not in run.splits_file.read_text()
    for name in ("4.png", "5.png"):
        (tmp_path / "set" / "a" / name).write_bytes(broken.read_bytes()[:200])
    with pytest.raises(DataError, match=r"3 images cannot be used, more than the 2 of 40 that data\.unreadable_limit allows"):
        train_run(tiny(data={**data, "unreadable": "skip"}, training={"epochs": 1}))


def test_copies_of_training_images_in_validation_are_named_by_the_doctor(tmp_path: Path, tiny: Tiny) -> None:
    """Under other names, in a split that the data bring: nothing but the pixels tells."""
    generator = np.random.default_rng(3)
    for split, count in (("train", 16), ("val", 6)):
        for name in ("a", "b"):
            folder = tmp_path / "set" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                cv2.imwrite(str(folder / f"{split}-{i}.png"), generator.integers(0, 255, (40, 40)).astype(np.uint8))
    shutil.copy(tmp_path / "set/train/a/train-3.png", tmp_path / "set/val/a/val-0.png")
    run = train_run(tiny(data={"source": "folder", "path": str(tmp_path / "set")}, training={"epochs": 1}))
    assert run.read(run.facts_file)["split.duplicates_shared"] == 1
    (diagnosis,) = diagnose_sources([run.path]).runs
    leak = next(finding for finding in diagnosis.findings if finding.id == "leakage")
    assert leak.severity == "critical"  # one of twelve
