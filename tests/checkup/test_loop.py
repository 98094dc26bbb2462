"""A person's own loop: what is sound passes, each fault is named, and nothing is left changed."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import osler
from osler.checkup import Checkup, check_loop
from osler.checkup.check import failed
from osler.errors import RequestError

Loop = Callable[..., dict[str, Any]]
SIDE = 12


def squares(n: int = 96, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Images (n, 1, S, S) of noise, labels (n, 1), masks (n, 1, S, S): positives have a bright square."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 1, SIDE, SIDE, generator=generator)
    labels = (torch.rand(n, 1, generator=generator) < 0.4).float()
    masks = torch.zeros(n, 1, SIDE, SIDE)
    masks[:, :, 3:8, 3:8] = labels[:, :, None, None]
    return images + 2.5 * masks, labels, masks


class Small(nn.Module):
    """A convolution, normalisation and a linear layer."""

    def __init__(self, outputs: int = 1, activation: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(16, outputs)
        self.activation = activation or nn.Identity()
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.constant_(self.head.bias, -0.4 if outputs == 1 else 0.0)

    def features(self, images: Tensor) -> Tensor:
        maps = self.layers(images)
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.activation(self.head(self.features(images)))


class Marker(nn.Module):
    """A small network that gives a mask."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, outputs, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


@pytest.fixture
def loop() -> Loop:
    """loop(model=..., loss=..., ...): the arguments of `check_loop` for a sound loop, with these laid over."""

    def make(shuffle: bool = True, batch: int = 16, **over: Any) -> dict[str, Any]:
        images, labels, _ = squares()
        val_images, val_labels, _ = squares(64, seed=1)
        order = torch.arange(len(labels)) if shuffle else labels[:, 0].argsort(stable=True)
        model = over.pop("model", None) or Small()
        usual = {
            "model": model,
            "loss": nn.BCEWithLogitsLoss(),
            "loader": DataLoader(TensorDataset(images[order], labels[order]), batch_size=batch),
            "optimizer": torch.optim.AdamW(model.parameters(), lr=5e-3),
            "val_loader": DataLoader(TensorDataset(val_images, val_labels), batch_size=32),
            "epochs": 20,
        }
        return {**usual, **over}

    return make


def ids(found: Checkup) -> set[str]:
    return {check.id for check in found.failures if check.severity != "note"}


def one(found: Checkup, test: str) -> Any:
    return next(check for check in found.checks if check.test == test)


# --- sound --------------------------------------------------------------------------------------------------------------------


def test_a_sound_loop_passes_and_is_left_as_it_was(loop: Loop) -> None:
    given = loop()
    model, optimizer = given["model"], given["optimizer"]
    model.eval()
    before = copy.deepcopy(model.state_dict())
    state, random = copy.deepcopy(optimizer.state_dict()), torch.get_rng_state()
    found = osler.check_loop(**given)
    assert ids(found) == set(), found.text()
    assert {check.test for check in found.checks if check.outcome == "passed"} >= {
        "start", "direction", "weight", "activation", "reading", "gradients", "splits", "leak", "overfit", "rate", "modes",
        "labels",
    }  # fmt: skip
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert str(optimizer.state_dict()) == str(state)
    assert torch.equal(torch.get_rng_state(), random)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_two_checkups_say_the_same(loop: Loop) -> None:
    texts = [[(check.id, check.outcome) for check in check_loop(**loop(), quick=True).checks] for _ in range(2)]
    assert texts[0] == texts[1]


def test_masks_and_class_indices_are_read(loop: Loop) -> None:
    images, labels, masks = squares()
    val = squares(40, seed=1)
    model = Marker()
    found = check_loop(
        model, nn.BCEWithLogitsLoss(), DataLoader(TensorDataset(images, masks), 16), None,
        DataLoader(TensorDataset(val[0], val[2]), 16), epochs=60,
    )  # fmt: skip
    assert ids(found) == set(), found.text()
    assert one(found, "labels").outcome == "passed"
    assert one(found, "inputs").pictures[0].png.startswith(b"\x89PNG")
    three = (labels[:, 0] + (torch.arange(len(labels)) % 2) * labels[:, 0]).long()
    found = check_loop(Small(3), nn.CrossEntropyLoss(), DataLoader(TensorDataset(images, three), 16), quick=True)
    assert one(found, "direction").outcome == "passed"
    assert one(found, "start").outcome == "passed", found.text()


def test_the_boxes_of_a_small_segmenter_may_be_indices() -> None:
    images, _, masks = squares()
    loader = DataLoader(TensorDataset(images, masks[:, 0].long()), 16)
    found = check_loop(Marker(2), nn.CrossEntropyLoss(), loader, quick=True)
    assert one(found, "direction").outcome == "passed", found.text()
    assert "frozen_network" not in ids(found)


# --- faults -------------------------------------------------------------------------------------------------------------------


class Cut(Small):
    def features(self, images: Tensor) -> Tensor:
        return super().features(images).detach()


class Blind(Small):
    def features(self, images: Tensor) -> Tensor:
        return torch.zeros_like(super().features(images))


class AlwaysTraining(Small):
    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(images), 0.5, training=True)


class Minus(nn.Module):
    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return -nn.functional.binary_cross_entropy_with_logits(outputs, targets)


FAULTY: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "sigmoid before a loss with logits": ("double_activation", lambda: {"model": Small(activation=nn.Sigmoid())}),
    "logits into a loss of probabilities": ("loss_fails", lambda: {"loss": nn.BCELoss()}),
    "detached features": ("frozen_network", lambda: {"model": Cut()}),
    "features replaced by zeros": ("frozen_network", lambda: {"model": Blind()}),
    "optimiser of another model": ("frozen_network", lambda: {"optimizer": torch.optim.SGD(Small().parameters(), lr=0.1)}),
    "dropout in evaluation": ("train_eval_gap", lambda: {"model": AlwaysTraining()}),
    "loss upside down": ("inverted_scores", lambda: {"loss": Minus()}),
    "weight far too large": ("pos_weight_too_large", lambda: {"loss": nn.BCEWithLogitsLoss(pos_weight=torch.tensor([60.0]))}),
    "weight inverted": ("pos_weight_inverted", lambda: {"loss": nn.BCEWithLogitsLoss(pos_weight=torch.tensor([0.05]))}),
    "samples sorted": ("samples_sorted", lambda: {"shuffle": False}),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_is_named(loop: Loop, name: str) -> None:
    id, over = FAULTY[name]
    given = over()
    if "model" in given:
        given["optimizer"] = torch.optim.AdamW(given["model"].parameters(), lr=5e-3)
    found = check_loop(**loop(**given), quick=True) if id != "train_eval_gap" else check_loop(**loop(**given))
    assert id in ids(found), found.text()


def test_stale_statistics_are_seen_once_they_should_have_settled(loop: Loop) -> None:
    model = Small()
    model.layers[1].momentum = 0.0
    found = check_loop(**loop(model=model))
    assert one(found, "modes").id == "train_eval_gap", found.text()


def test_rates_far_off_are_named_with_a_suggestion_and_its_picture(loop: Loop) -> None:
    for rate, id in ((1e-7, "learning_rate_too_low"), (300.0, "learning_rate_too_high")):
        model = Small()
        check = one(check_loop(**loop(model=model, optimizer=torch.optim.AdamW(model.parameters(), lr=rate))), "rate")
        assert check.id == id, check.sentence
        assert 1e-4 < check.changes[0].after < 0.3
        assert check.pictures[0].png.startswith(b"\x89PNG")


def test_a_rate_that_there_was_no_time_to_try_has_not_passed(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osler.checkup.rates._end", lambda losses: math.nan)
    model = Small()
    check = one(check_loop(**loop(model=model, optimizer=torch.optim.AdamW(model.parameters(), lr=300.0))), "rate")
    assert (check.outcome, check.severity) == ("not_assessed", None)
    assert "no time to try it" in check.sentence


def test_a_note_is_no_failure_in_the_summary() -> None:
    checks = (failed("small_validation", "note", "few", "little"), failed("leakage", "warning", "many", "much"))
    named = tuple(replace(check, test=name) for check, name in zip(checks, ("settings", "leak"), strict=True))
    said = Checkup("run", named, {"counts": 1.0, "settings": 1.0, "leak": 1.0}, 2.0).summary()
    assert said == "3 tests in 3 s: 1 passed, 1 failed, 1 passed with a note."


def test_labels_of_other_images_teach_nothing_and_inverted_val_is_told(loop: Loop) -> None:
    images, labels, _ = squares(240)
    val = squares(160, seed=1)
    dealt = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))]
    loader = DataLoader(TensorDataset(images, dealt), 16)
    held = DataLoader(TensorDataset(val[0], val[1][torch.randperm(160, generator=torch.Generator().manual_seed(4))]), 32)
    assert one(check_loop(**loop(loader=loader, val_loader=held)), "labels").outcome != "passed"
    held = DataLoader(TensorDataset(val[0], 1 - val[1]), 32)
    assert one(check_loop(**loop(val_loader=held)), "labels").id == "inverted_scores"


def test_val_prepared_otherwise_and_images_of_train_in_val(loop: Loop) -> None:
    val = squares(64, seed=1)
    other = DataLoader(TensorDataset(-0.3 * val[0] + 1, val[1]), 32)
    assert "validation_differs" in ids(check_loop(**loop(val_loader=other), quick=True))
    given = loop()
    assert "leakage" in ids(check_loop(**{**given, "val_loader": given["loader"]}, quick=True))


def test_images_that_hold_nothing_or_nan_are_told(loop: Loop) -> None:
    images, labels, _ = squares()
    for spoiled, id in (
        (0 * images, "input_out_of_range"),
        (images * torch.nan, "non_finite"),
        (images / 255, "input_out_of_range"),
    ):
        found = check_loop(**loop(loader=DataLoader(TensorDataset(spoiled, labels), 16)), quick=True)
        assert id in ids(found), found.text()


# --- bounds and errors --------------------------------------------------------------------------------------------------------


def test_what_there_is_no_time_for_is_said(loop: Loop) -> None:
    found = check_loop(**loop(), minutes=1e-6)
    assert {check.outcome for check in found.checks[1:]} == {"not_assessed"}
    assert "give more --minutes" in found.checks[-1].sentence
    with pytest.raises(RequestError, match="--minutes: 0 is no time"):
        check_loop(**loop(), minutes=0)


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"loader": []}, "loader: is empty"),
        ({"loader": [torch.zeros(2, 1, 12, 12)]}, "gives a Tensor"),
        ({"loader": [(torch.zeros(4, 1, 12, 12), torch.zeros(3, 1))]}, "4 images with 3 targets"),
        ({"loader": [(torch.zeros(4, 3, 12, 12), torch.zeros(4, 1))]}, "model: cannot be run"),
        ({"loader": [(torch.zeros(4, 1, 12, 12), torch.zeros(4, 7))]}, "do not fit outputs"),
    ],
)
def test_what_a_checkup_cannot_read_is_one_clear_error(loop: Loop, over: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        check_loop(**loop(**over))


def test_report_json_and_page(loop: Loop, tmp_path: Path) -> None:
    model = Small(activation=nn.Sigmoid())
    found = check_loop(**loop(model=model, optimizer=None), quick=True)
    said = json.loads(found.json_text(), parse_constant=lambda word: pytest.fail(word))
    assert said["schema"] == "osler.checkup/1"
    assert said["verdict"] == "failed"
    assert {"id", "test", "outcome", "severity", "sentence", "means", "prescription", "actions"} <= set(said["checks"][0])
    page = found.write(tmp_path / "out")
    assert {file.name for file in page.parent.iterdir()} >= {"checkup.html", "checkup.md", "checkup.json", "batch.png"}
    assert "double_activation" in page.read_text()
    assert "CRITICAL double_activation" in found.text()
    assert (found.exit_code(), found.exit_code("critical")) == (0, 1)
    with pytest.raises(RequestError, match="critical"):
        found.exit_code("criticl")
