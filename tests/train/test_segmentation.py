"""Training a segmenter end to end: what a run leaves, exact resume, patches, tiles, stages of the loss, and bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from osler.config import Config
from osler.data.load import load_data
from osler.errors import ConfigError, DataError
from osler.metrics.cases import CaseTable
from osler.metrics.overlap import level_of
from osler.predict.tiles import logit_maps
from osler.runs.card import Card
from osler.runs.folder import RunFolder
from osler.runs.mask_predictions import MaskPredictions
from osler.runs.vitals import read_vitals
from osler.tasks.segmentation import Segmentation
from osler.train import loop
from osler.train.fit import TrainingStoppedError, resume_run, train_run
from osler.train.inference import load_predictor, predict_again
from osler.train.state import load_checkpoint, model_weights

Tiny = Callable[..., Config]

MASKS: dict[str, Any] = {
    "data": {
        "task": "segmentation",
        "phantom": {"samples": 60, "size": 48, "findings": ["nodule"], "prevalence": 0.7, "lesion_area": [0.01, 0.05]},
        "split": {"ratio": [0.6, 0.2, 0.2]},
    },
    "model": {"architecture": "compact", "width": 4, "levels": 3},
    "training": {"epochs": 2, "batch_size": 6, "learning_rate": 5e-3},
}


@pytest.fixture
def tiny_masks(tiny: Tiny) -> Tiny:
    """A segmentation that trains in a few seconds; keyword arguments are sections laid over it."""

    def make(**sections: Any) -> Config:
        merged = {name: MASKS[name] if name not in sections else {**MASKS[name], **sections.pop(name)} for name in MASKS}
        return tiny(**merged, **sections)

    return make


def weights_of(run: RunFolder) -> dict[str, torch.Tensor]:
    return model_weights(load_checkpoint(run.checkpoints / "last.pt"))


def test_a_run_leaves_everything_the_other_commands_read(tiny_masks: Tiny, capfd: pytest.CaptureFixture[str]) -> None:
    run = train_run(tiny_masks())
    config = run.config()
    assert (config.model.architecture, config.loss.type, config.training.monitor) == ("compact", "combined", "dice")
    vitals = read_vitals(run.vitals_file)[-1]
    for split in ("train", "val"):
        figures = vitals[split]
        assert 0 < figures["loss"]["value"] < figures["floor"] * 2
        parts = figures["loss_parts"]
        whole = 0.4 * parts["bce"] + 0.4 * parts["dice"] + 0.2 * parts["focal"]
        assert whole == pytest.approx(figures["loss"]["value"], rel=0.02)
        (confusion,) = (np.array(each["confusion"]) for each in figures["classes"].values())
        assert confusion.sum() == figures["n"] * 48 * 48
    facts = run.read(run.facts_file)
    assert 0.005 < facts["foreground.train"]["nodule"] < 0.05
    assert 0 < facts["empty.train"] < 1
    assert facts["loss.weights"] == {"bce": 0.4, "dice": 0.4, "focal": 0.2}
    card = Card.from_json(run.read(run.card_file), "card")
    assert (card.task, card.classes) == ("segmentation", ("nodule",))
    assert card.prediction == {"tile": None, "overlap": 0.5, "flips": False}
    said = capfd.readouterr().err
    assert "Epoch 2/2 · loss" in said
    assert "Dice" in said
    assert "recall" in said


def test_predictions_hold_what_the_network_says(tiny_masks: Tiny) -> None:
    run = train_run(tiny_masks())
    kept = MaskPredictions.load(run.predictions / "test.npz")
    table = CaseTable.from_arrays(kept.table)
    assert len(kept) == run.read(run.facts_file)["samples.test"] == len(table)
    assert table.at_thresholds.known.tolist() == [[48 * 48]] * len(kept)
    again = predict_again(run, "best", None)["test"]
    assert isinstance(again, MaskPredictions)
    for name, array in kept.table.items():
        np.testing.assert_array_equal(array, again.table[name], err_msg=name)
    np.testing.assert_array_equal(kept.levels(0, 0), again.levels(0, 0))


@pytest.mark.parametrize("stop_at", [2, 7])
def test_a_run_that_dies_resumes_to_the_same_bits(tiny_masks: Tiny, monkeypatch: pytest.MonkeyPatch, stop_at: int) -> None:
    settings: dict[str, Any] = {
        "data": {"patches": {"size": 32, "per_image": 1, "foreground": 0.5}},
        "loss": {"schedule": [{"type": "combined", "epochs": 1}, {"type": "enhanced"}]},
        "training": {"ema": 0.9, "checkpoint_every": 1e-9},
        "model": {"deep_supervision": True},
    }
    whole = train_run(tiny_masks(**settings))
    true_step, steps = loop._step, 0

    def dying_step(state: Any, measure: bool) -> None:
        nonlocal steps
        steps += 1
        if steps > stop_at:
            raise SystemError("killed")
        true_step(state, measure)

    monkeypatch.setattr(loop, "_step", dying_step)
    folder = whole.path.parent / "dies"
    with pytest.raises(SystemError):
        train_run(tiny_masks(**settings), folder)
    monkeypatch.setattr(loop, "_step", true_step)
    again = resume_run(folder)
    before, after = weights_of(whole), weights_of(again)
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    lines = [read_vitals(each.vitals_file) for each in (whole, again)]
    for epochs in lines:
        for epoch in epochs:
            del epoch["seconds"], epoch["memory"]
    assert lines[0] == lines[1]


def test_the_schedule_of_losses_is_kept(tiny_masks: Tiny) -> None:
    run = train_run(tiny_masks(loss={"schedule": [{"type": "dice", "epochs": 1}, {"type": "enhanced"}], "tversky_beta": 0.6}))
    first, second = read_vitals(run.vitals_file)
    assert set(first["train"]["loss_parts"]) == {"dice"}
    assert set(second["train"]["loss_parts"]) == {"bce", "focal", "dice", "tversky"}
    facts = run.read(run.facts_file)
    assert facts["loss.schedule"] == [{"type": "dice", "until_epoch": 1}, {"type": "enhanced", "until_epoch": None}]
    assert (facts["loss.tversky_alpha"], facts["loss.tversky_beta"]) == (pytest.approx(0.4), 0.6)


def test_the_first_batches_start_at_the_best_constant(tiny_masks: Tiny) -> None:
    run = train_run(tiny_masks(loss={"type": "bce"}, training={"epochs": 1, "learning_rate": 1e-9}, augmentation=None))
    figures = read_vitals(run.vitals_file)[0]["train"]
    assert figures["loss"]["value"] == pytest.approx(figures["floor"], rel=0.1)


def test_tiles_and_flips_are_used_and_kept_in_the_card(tiny_masks: Tiny) -> None:
    run = train_run(tiny_masks(prediction={"tile": 32, "overlap": 0.25, "flips": True}))
    card = Card.from_json(run.read(run.card_file), "card")
    assert card.prediction == {"tile": 32, "overlap": 0.25, "flips": True}
    kept = MaskPredictions.load(run.predictions / "val.npz")
    predictor = load_predictor(run.path)
    data = load_data(run.config().data)
    image = data.source.images.read(int(data.rows["val"][0]))
    prepared = predictor.preparation.apply(image)
    tiled = logit_maps(predictor.session.run, prepared[None], tile=32, overlap=0.25, flips=True)[0]
    np.testing.assert_array_equal(kept.levels(0, 0), level_of(tiled)[0])
    assert (kept.levels(0, 0) != level_of(predictor.session.run(prepared[None])[0])[0]).any()


def test_weights_that_are_auto_are_derived_and_written(tiny_masks: Tiny) -> None:
    run = train_run(tiny_masks(loss={"type": "bce", "pos_weight": "auto"}))
    (weight,) = run.config().loss.pos_weight  # type: ignore[misc]
    share = run.read(run.facts_file)["foreground.train"]["nodule"]
    assert weight == pytest.approx(min(50.0, (1 - share) / share), rel=0.02)


def test_weights_and_the_start_of_the_output_are_those_of_patches_as_they_are_cut(tiny_masks: Tiny) -> None:
    """Patches that favour the foreground hold more of it than whole images: weights from these would be far too large."""
    section = {**MASKS["data"], "patches": {"size": 16, "per_image": 4, "foreground": 0.9}}
    run = train_run(tiny_masks(data=section, loss={"type": "bce", "pos_weight": "auto"}, training={"epochs": 1}))
    (weight,) = run.config().loss.pos_weight
    (figures,) = read_vitals(run.vitals_file)[0]["train"]["classes"].values()
    confusion = np.array(figures["confusion"])
    cut = confusion[1].sum() / confusion.sum()
    whole = run.read(run.facts_file)["foreground.train"]["nodule"]
    assert weight == pytest.approx((1 - cut) / cut, rel=0.2)
    assert weight < 0.5 * (1 - whole) / whole


def test_the_loss_told_of_training_is_of_the_finest_level_as_in_evaluation_and_in_the_floor(tiny_masks: Tiny) -> None:
    model = {**MASKS["model"], "deep_supervision": True}
    run = train_run(tiny_masks(model=model, training={"epochs": 1, "learning_rate": 1e-9}, augmentation=None))
    figures = read_vitals(run.vitals_file)[0]["train"]
    parts = figures["loss_parts"]
    assert figures["loss"]["value"] == pytest.approx(0.4 * parts["bce"] + 0.4 * parts["dice"] + 0.2 * parts["focal"], rel=1e-4)


def write_pairs(folder: Path, count: int, size: tuple[int, int] = (40, 52), radius: int = 5) -> None:
    random = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image, mask = random.integers(0, 90, size, np.uint8), np.zeros(size, np.uint8)
        if number % 4:
            centre = (int(random.integers(10, size[1] - 10)), int(random.integers(10, size[0] - 10)))
            cv2.circle(mask, centre, radius, 255, -1)
            image[mask > 0] += 120
        cv2.imwrite(str(folder / "images" / f"{number:03d}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"{number:03d}.png"), mask)


def test_a_folder_of_pairs_trains_and_files_are_predicted_in_their_own_geometry(tiny_masks: Tiny, tmp_path: Path) -> None:
    write_pairs(tmp_path / "set", 32)
    data = {"source": "masks", "path": str(tmp_path / "set"), "task": "auto"}
    run = train_run(
        tiny_masks(
            data=data, preparation={"size": 48, "fit": "pad"}, model={"width": 8}, training={"epochs": 16, "batch_size": 4}
        )
    )
    assert max(epoch["val"]["macro"]["dice"] for epoch in read_vitals(run.vitals_file)) > 0.3
    (prediction,) = load_predictor(run.path).predict([tmp_path / "set" / "images" / "001.png"])
    assert prediction.error is None
    planes = prediction.planes  # type: ignore[union-attr]
    assert planes is not None
    assert planes.shape == (1, 40, 52)


def test_settings_that_the_task_does_not_read_are_refused_at_once(tiny: Tiny, tiny_masks: Tiny) -> None:
    with pytest.raises(ConfigError, match=r"data\.patches, prediction\.tile: only of use in segmentation"):
        train_run(tiny(data={"patches": {"size": 16}}, prediction={"tile": 32}))
    with pytest.raises(ConfigError, match=r"model\.head: only of use in classification"):
        train_run(tiny_masks(model={"head": [8]}))
    stages = {"schedule": [{"type": "dice", "epochs": 2}, {"type": "enhanced"}]}
    with pytest.raises(ConfigError, match="its first stages take 2 epochs, and 2 are planned"):
        train_run(tiny_masks(loss=stages))
    with pytest.raises(ConfigError, match="cannot be compared"):
        train_run(tiny_masks(loss=stages, training={"epochs": 4, "monitor": "loss"}))
    with pytest.raises(ConfigError, match=r"data\.patches\.size 64: larger than the images"):
        train_run(tiny_masks(data={"patches": {"size": 64}}, preparation={"size": 48}))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"architecture": "unet", "encoder": "timm:resnet18", "width": 8}, r"model\.width: only of use in .* compact"),
        ({"architecture": "compact", "dropout": 0.5}, r"model\.dropout: only of use in classification"),
    ],
)
def test_settings_of_another_network_are_refused(tiny_masks: Tiny, model: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        train_run(tiny_masks(model={**MASKS["model"], "width": 16, "levels": 4, **model}))


def test_one_image_a_batch_is_refused_where_the_network_cannot_use_it(tiny_masks: Tiny) -> None:
    with pytest.raises(ConfigError, match="deeplabv3plus"):
        tiny_masks(model={"architecture": "deeplabv3plus", "width": 16, "levels": 4}, training={"batch_size": 1})


def test_outputs_that_are_not_finite_stop_the_run_and_keep_it(tiny_masks: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    true_forward = Segmentation.forward

    def broken(self: Any, model: Any, batch: Any) -> Any:
        logits, terms = true_forward(self, model, batch)
        return (logits if model.training else logits * float("nan")), terms

    monkeypatch.setattr(Segmentation, "forward", broken)
    with pytest.raises(TrainingStoppedError, match="logits are NaN") as stopped:
        train_run(tiny_masks())
    assert stopped.value.exit_code == 1
    assert stopped.value.run.config_file.exists()


def test_another_set_is_scored_against_its_own_masks(tiny_masks: Tiny, tmp_path: Path) -> None:
    for name, radius in (("one", 5), ("other", 9)):
        write_pairs(tmp_path / name, 24, radius=radius)
    data = {"source": "masks", "path": str(tmp_path / "one"), "masks": {"path": str(tmp_path / "one" / "masks")}, "task": "auto"}
    run = train_run(tiny_masks(data=data, training={"epochs": 1}))
    again = predict_again(run, "best", tmp_path / "other")["data"]
    assert isinstance(again, MaskPredictions)
    assert CaseTable.from_arrays(again.table).at_thresholds.foreground.max() > 200


def test_what_does_not_fit_masks_is_refused_before_anything_is_trained(tiny_masks: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a segmentation task has no such figure; use dice"):
        train_run(tiny_masks(training={"monitor": "macro_auc"}))
    with pytest.raises(ConfigError, match=r"loss\.tversky_beta: set, but not read"):
        train_run(tiny_masks(loss={"type": "dice", "tversky_beta": 0.4}))
    write_pairs(tmp_path / "set", 9)
    empty = {
        "source": "masks",
        "path": str(tmp_path / "set"),
        "task": "auto",
        "split": {"val": ["images/000.png", "images/004.png"]},
    }
    config = tiny_masks(data=empty)
    with pytest.raises(DataError, match="masks of val is empty"):
        train_run(config)
    assert not any((tmp_path / "runs").glob("*"))
