"""The callback over a trainer that calls the hooks in the order that Lightning documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from osler.runs.vitals import read_vitals


class Base:
    """pytorch_lightning.Callback."""


class Module(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(4, 1)
        self.criterion = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(2.0))

    def step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> dict[str, torch.Tensor]:
        logits = self.net(batch[0])[:, 0]
        return {"loss": self.criterion(logits, batch[1]), "logits": logits, "targets": batch[1]}


class Strategy:
    @staticmethod
    def reduce_boolean_decision(decision: bool, all: bool) -> bool:
        assert not all
        return decision


class Trainer(SimpleNamespace):
    """What of `pytorch_lightning.Trainer` callbacks see."""

    def __init__(self, module: Module, **changes: Any) -> None:
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
        stopping = type("EarlyStopping", (), {"patience": 3, "min_delta": -0.01, "monitor": "val_loss"})()
        known = {
            "is_global_zero": True, "world_size": 1, "optimizers": [optimizer], "max_epochs": 3, "gradient_clip_val": 1.0,
            "gradient_clip_algorithm": None, "accumulate_grad_batches": 2, "precision": "32-true", "sanity_checking": False,
            "train_dataloader": SimpleNamespace(batch_size=8), "callbacks": [stopping], "callback_metrics": {},
            "should_stop": False, "strategy": Strategy(),
        }  # fmt: skip
        super().__init__(**known | changes)

    def validate(self, callback: Any, module: Module, batches: list[Any], read: bool = True) -> None:
        callback.on_validation_start(self, module)
        for loader in (0, 1):
            for number, batch in enumerate(batches):
                outputs = module.step(batch) if read else None
                callback.on_validation_batch_end(self, module, outputs, batch, number, loader)

    def fit(self, callback: Any, module: Module, batches: list[Any], val: list[Any], read: bool = True, times: int = 1) -> None:
        callback.setup(self, module, "fit")
        self.sanity_checking = True
        self.validate(callback, module, val, read)
        self.sanity_checking = False
        callback.on_train_start(self, module)
        for _ in range(self.max_epochs):
            for number, batch in enumerate(batches):
                outputs = module.step(batch)
                loss = outputs["loss"] / self.accumulate_grad_batches
                loss.backward()
                if (number + 1) % self.accumulate_grad_batches == 0:
                    self.optimizers[0].step()
                    self.optimizers[0].zero_grad()
                callback.on_train_batch_end(self, module, {**outputs, "loss": loss.detach()}, batch, number)
            for _ in range(times):
                self.validate(callback, module, val, read)
            callback.on_train_epoch_end(self, module)
            if self.should_stop:
                break
        callback.on_fit_end(self, module)


def batches(count: int, size: int = 8) -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(1)
    return [(torch.randn(size, 4), (torch.arange(size) % 2).float()) for _ in range(count)]


@pytest.fixture
def lightning(over: Callable[..., ModuleType]) -> ModuleType:
    return over("for_lightning", "pytorch_lightning", Callback=Base)


@pytest.mark.parametrize("times", [1, 2])
def test_a_fit_is_watched_in_its_order(lightning: ModuleType, tmp_path: Path, times: int) -> None:
    module = Module()
    callback = lightning.LightningDoctor(tmp_path, "binary", ["cancer"])
    Trainer(module).fit(callback, module, batches(6), batches(3), times=times)
    lines = read_vitals(tmp_path / "vitals.jsonl")
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert [line["step"] for line in lines] == [3, 6, 9]
    assert {(line["train"]["n"], line["val"]["n"]) for line in lines} == {(48, 24)}
    val = [module.step(batch)["loss"].item() for batch in batches(3)]
    assert lines[-1]["val"]["loss"]["value"] == pytest.approx(sum(val) / 3)
    assert lines[0]["train"]["loss"]["value"] > 0.6  # not the half of it that was handed over
    assert lines[0]["optimization"]["gradient_norm"]["clipped_share"] is not None
    facts = json.loads((tmp_path / "facts.json").read_text())
    expected = {
        "training.epochs": 3, "training.batch_size": 8, "training.accumulate": 2, "training.optimizer": "sgd",
        "training.learning_rate": 0.1, "training.momentum": 0.9, "training.clip_norm": 1.0, "training.precision": "32-true",
        "training.early_stopping": 3, "training.monitor": "val_loss", "loss.type": "bce", "loss.pos_weight": 2.0,
        "stop_reason": "the fit ended", "task": "binary",
    }  # fmt: skip
    assert {key: facts[key] for key in expected} == expected
    assert (tmp_path / "report.html").is_file()


def test_a_finding_stops_the_trainer(lightning: ModuleType, tmp_path: Path) -> None:
    module = Module()
    trainer = Trainer(module, max_epochs=9)
    callback = lightning.LightningDoctor(tmp_path, "binary", stop_on="critical")
    with torch.no_grad():
        module.net.weight.fill_(torch.nan)
    trainer.fit(callback, module, batches(4), batches(2))
    assert trainer.should_stop
    assert len(read_vitals(tmp_path / "vitals.jsonl")) == 1
    assert json.loads((tmp_path / "facts.json").read_text())["stop_reason"] == "stopped by the doctor"


def test_other_processes_watch_nothing_and_stop_with_the_first(lightning: ModuleType, tmp_path: Path) -> None:
    module = Module()
    callback = lightning.LightningDoctor(tmp_path / "mine", "binary")
    strategy = SimpleNamespace(reduce_boolean_decision=lambda decision, all: True)  # what the first one says
    trainer = Trainer(module, is_global_zero=False, strategy=strategy)
    trainer.fit(callback, module, batches(2), batches(1))
    assert trainer.should_stop
    assert not (tmp_path / "mine").exists()


def test_steps_that_return_no_outputs_leave_the_losses(
    lightning: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = Module()
    callback = lightning.LightningDoctor(
        tmp_path, "binary", read=lambda outputs, batch: (outputs and outputs["loss"], None, None)
    )
    trainer = Trainer(module, max_epochs=1, callback_metrics={"val_loss": torch.tensor(0.75)})
    trainer.fit(callback, module, batches(2), batches(1), read=False)
    line = read_vitals(tmp_path / "vitals.jsonl")[0]
    assert line["val"]["loss"]["value"] == 0.75
    assert line["train"]["loss"]["n"] == 2
    assert "validation_step returns no logits and targets" in capsys.readouterr().err


def test_a_fit_that_breaks_leaves_its_page(lightning: ModuleType, tmp_path: Path) -> None:
    module = Module()
    trainer = Trainer(module)
    callback = lightning.LightningDoctor(tmp_path, "binary")
    callback.setup(trainer, module, "fit")
    callback.on_train_start(trainer, module)
    callback.on_train_batch_end(trainer, module, module.step(batches(1)[0]), None, 0)
    callback.on_train_epoch_end(trainer, module)
    callback.on_exception(trainer, module, KeyboardInterrupt())
    assert json.loads((tmp_path / "facts.json").read_text())["stop_reason"] == "the loop ended by KeyboardInterrupt"
    assert (tmp_path / "report.html").is_file()
