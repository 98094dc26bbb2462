"""The callbacks under the frameworks themselves, which `make test-adapters` installs; elsewhere each skips with its reason."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from osler.doctor.command import diagnose_sources
from osler.runs.vitals import read_vitals

# The warnings of other projects are theirs.
pytestmark = pytest.mark.filterwarnings("ignore")


def framework(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name} is not installed; make test-adapters installs it")


@pytest.fixture
def set_of() -> tuple[torch.Tensor, torch.Tensor]:
    """240 samples of 20 figures, the first of which tells the label."""
    torch.manual_seed(0)
    images = torch.randn(240, 20)
    return images, (images[:, 0] + 0.3 * torch.randn(240) > 0.8).float()


def facts_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return found


def check_written(folder: Path, epochs: int) -> list[dict[str, Any]]:
    lines = read_vitals(folder / "vitals.jsonl")
    assert [line["epoch"] for line in lines] == list(range(1, epochs + 1))
    assert {(line["train"]["n"], line["val"]["n"]) for line in lines} == {(160, 80)}
    assert (folder / "report.html").is_file()
    run = diagnose_sources([folder]).runs[0]
    assert run.reader == "osler"
    assert run.verdict in ("healthy", "findings", "undecided")
    return lines


def lightning_module(pl: Any) -> Any:
    class Module(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(20, 1)
            self.criterion = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0]))
            self.seen: list[float] = []

        def training_step(self, batch: Any, number: int) -> Any:
            logits = self.net(batch[0])[:, 0]
            loss = self.criterion(logits, batch[1])
            self.log("val_loss" if self.trainer.validating or self.trainer.sanity_checking else "loss", loss)
            self.seen.append(float(loss))
            return {"loss": loss, "logits": logits, "targets": batch[1]}

        validation_step = training_step

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)

    return Module()


def fit_lightning(pl: Any, callback: Any, set_of: Any, root: Path, module: Any, **plan: Any) -> Any:
    images, targets = set_of
    data = [
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images[rows], targets[rows]), batch_size=16)
        for rows in (slice(0, 160), slice(160, 240))
    ]
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[callback], default_root_dir=root, **plan,
    )  # fmt: skip
    trainer.fit(module, *data)
    return trainer


def test_lightning(tmp_path: Path, set_of: Any) -> None:
    pl = framework("pytorch_lightning")
    from osler.adapters.for_lightning import LightningDoctor

    module, folder = lightning_module(pl), tmp_path / "mine"
    plan = {"max_epochs": 3, "accumulate_grad_batches": 2, "gradient_clip_val": 1.0}
    fit_lightning(pl, LightningDoctor(folder, "binary", ["cancer"]), set_of, tmp_path, module, **plan)
    lines = check_written(folder, 3)
    # Two batches of the sanity check, then ten of training and five of validation in each epoch.
    for number, line in enumerate(lines):
        start = 2 + 15 * number
        assert line["train"]["loss"]["value"] == pytest.approx(np.mean(module.seen[start : start + 10]))
        assert line["val"]["loss"]["value"] == pytest.approx(np.mean(module.seen[start + 10 : start + 15]))
    assert lines[-1]["step"] == 15
    assert lines[-1]["optimization"]["update_ratio"]["median"] > 0
    facts = facts_of(folder)
    expected = {
        "training.epochs": 3, "training.accumulate": 2, "training.batch_size": 16, "training.optimizer": "sgd",
        "training.learning_rate": 0.05, "training.clip_norm": 1.0, "loss.type": "bce", "loss.pos_weight": [3.0],
    }  # fmt: skip
    assert {key: facts[key] for key in expected} == expected


def test_lightning_is_stopped(tmp_path: Path, set_of: Any) -> None:
    pl = framework("pytorch_lightning")
    from osler.adapters.for_lightning import LightningDoctor

    module, folder = lightning_module(pl), tmp_path / "mine"
    with torch.no_grad():
        module.net.weight.fill_(torch.nan)
    callback = LightningDoctor(folder, "binary", stop_on="critical")
    trainer = fit_lightning(pl, callback, set_of, tmp_path, module, max_epochs=9)
    assert trainer.current_epoch == 1
    assert facts_of(folder)["stop_reason"] == "stopped by the doctor"


@pytest.mark.parametrize("logits", [False, True])
def test_keras(tmp_path: Path, set_of: Any, logits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if "KERAS_BACKEND" not in os.environ:
        monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = framework("keras")
    if keras.backend.backend() != "torch":
        pytest.skip("keras runs on another backend: set KERAS_BACKEND=torch")
    from osler.adapters.for_keras import KerasDoctor

    images, targets = (value.numpy() for value in set_of)
    model = keras.Sequential([keras.layers.Input((20,)), keras.layers.Dense(1, activation=None if logits else "sigmoid")])
    loss = keras.losses.BinaryCrossentropy(from_logits=True) if logits else "binary_crossentropy"
    model.compile(keras.optimizers.Adam(0.02), loss)
    callback = KerasDoctor(tmp_path, "binary", ["cancer"])
    rows, rest = slice(0, 160), slice(160, 240)
    fit = model.fit(
        images[rows], targets[rows], batch_size=16, epochs=3, validation_data=(images[rest], targets[rest]),
        callbacks=[callback], verbose=0,
    )  # fmt: skip
    lines = check_written(tmp_path, 3)
    assert [line["train"]["loss"]["value"] for line in lines] == pytest.approx(fit.history["loss"], rel=1e-5)
    assert [line["val"]["loss"]["value"] for line in lines] == pytest.approx(fit.history["val_loss"], rel=1e-5)
    outputs = model.predict(images[rest], verbose=0)[:, 0]
    p = 1 / (1 + np.exp(-outputs)) if logits else outputs
    assert lines[-1]["val"]["classes"]["cancer"]["probability"]["mean"] == pytest.approx(float(p.mean()), rel=1e-4)
    facts = facts_of(tmp_path)
    expected = {"training.epochs": 3, "training.steps_per_epoch": 10, "training.optimizer": "adam", "loss.type": "bce"}
    assert {key: facts[key] for key in expected} == expected
    assert facts["training.learning_rate"] == pytest.approx(0.02)


def transformers_model(transformers: Any) -> Any:
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4,
            num_channels=1, num_labels=2,
        )
    )  # fmt: skip


@pytest.mark.parametrize("evaluate", ["epoch", "steps"])
def test_transformers(tmp_path: Path, set_of: Any, evaluate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = framework("transformers")
    framework("accelerate")
    from osler.adapters.for_transformers import TransformersDoctor

    targets = set_of[1]
    images = torch.randn(240, 1, 8, 8)
    images[:, 0, :4, :4] += 2 * targets[:, None, None]
    rows = [{"pixel_values": image, "labels": int(target)} for image, target in zip(images, targets, strict=True)]
    folder = tmp_path / "mine"
    args = transformers.TrainingArguments(
        str(tmp_path / "trainer"), num_train_epochs=3, per_device_train_batch_size=16, eval_strategy=evaluate, eval_steps=10,
        report_to=[], use_cpu=True, learning_rate=3e-3, save_strategy="no", logging_steps=5, disable_tqdm=True,
    )  # fmt: skip
    trainer = transformers.Trainer(
        transformers_model(transformers), args, train_dataset=rows[:160], eval_dataset=rows[160:],
        callbacks=[TransformersDoctor(folder, "binary", ["cancer"])],
    )  # fmt: skip
    trainer.train()
    lines = check_written(folder, 3)
    evaluated = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert [line["val"]["loss"]["value"] for line in lines] == pytest.approx(evaluated, rel=1e-4)
    assert [line["step"] for line in lines] == [10, 20, 30]
    facts = facts_of(folder)
    expected = {
        "training.epochs": 3, "training.batch_size": 16, "training.optimizer": "adamw", "training.learning_rate": 3e-3,
        "training.schedule": "linear", "training.clip_norm": 1.0, "loss.type": "cross_entropy",
    }  # fmt: skip
    assert {key: facts[key] for key in expected} == expected
