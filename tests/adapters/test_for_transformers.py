"""The callback over a trainer that calls the events in the order that transformers documents."""

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
    """transformers.TrainerCallback."""


class Model(torch.nn.Module):
    """Gives loss and logits, as a ModelOutput does by its keys."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Linear(4, 2)

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        logits = self.net(pixel_values)
        return {"logits": logits} | ({"loss": torch.nn.functional.cross_entropy(logits, labels)} if labels is not None else {})


ARGS: dict[str, Any] = {
    "num_train_epochs": 3.0, "max_steps": -1, "train_batch_size": 10, "gradient_accumulation_steps": 1, "warmup_steps": 0,
    "lr_scheduler_type": SimpleNamespace(value="linear"), "learning_rate": 0.1, "max_grad_norm": 1.0, "seed": 42, "bf16": False,
    "fp16": False, "world_size": 1, "eval_strategy": SimpleNamespace(value="epoch"),
}  # fmt: skip


def batches(count: int) -> list[dict[str, torch.Tensor]]:
    torch.manual_seed(3)
    return [{"pixel_values": torch.randn(10, 4), "labels": (torch.arange(10) % 5 == 0).long()} for _ in range(count)]


def train(
    callback: Any, labels: bool = True, evaluate: bool = True, zero: bool = True, broken: bool = False, **changes: Any
) -> Any:
    """`Trainer.train`, as far as callbacks hear of it."""
    args, control = SimpleNamespace(**ARGS | changes), SimpleNamespace(should_training_stop=False)
    state, model = SimpleNamespace(is_world_process_zero=zero), Model()
    if broken:
        model.net.weight.data.fill_(torch.nan)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate)
    wrapped = SimpleNamespace(optimizer=optimizer)
    callback.on_train_begin(args, state, control, model=model, optimizer=wrapped)
    for _ in range(int(args.num_train_epochs)):
        model.train()
        for batch in batches(4):
            given = batch if labels else {"pixel_values": batch["pixel_values"]}
            loss = torch.nn.functional.cross_entropy(model(**given)["logits"], batch["labels"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        callback.on_epoch_end(args, state, control)
        callback.on_log(args, state, control, logs={"loss": loss.item(), "learning_rate": 0.1})
        if evaluate:
            model.eval()
            with torch.no_grad():
                for batch in batches(2):
                    model(**(batch if labels else {"pixel_values": batch["pixel_values"]}))
            callback.on_log(args, state, control, logs={"eval_loss": 0.5})
            callback.on_evaluate(args, state, control, metrics={"eval_loss": 0.5})
        if control.should_training_stop:
            break
    callback.on_train_end(args, state, control)
    return SimpleNamespace(model=model, control=control)


@pytest.fixture
def doctor(over: Callable[..., ModuleType]) -> Any:
    return over("for_transformers", "transformers", TrainerCallback=Base).TransformersDoctor


def test_a_training_is_seen_through_the_model(doctor: Any, tmp_path: Path) -> None:
    done = train(doctor(tmp_path, "binary", ["cancer"]))
    lines = read_vitals(tmp_path / "vitals.jsonl")
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 4), (2, 8), (3, 12)]
    assert {(line["train"]["n"], line["val"]["n"]) for line in lines} == {(40, 20)}
    losses = [done.model(**batch)["loss"].item() for batch in batches(2)]
    assert lines[-1]["val"]["loss"]["value"] == pytest.approx(sum(losses) / 2)
    assert lines[-1]["val"]["classes"]["cancer"]["positives"] == 4
    facts = json.loads((tmp_path / "facts.json").read_text())
    expected = {
        "training.epochs": 3.0, "training.batch_size": 10, "training.optimizer": "adamw", "training.schedule": "linear",
        "training.clip_norm": 1.0, "loss.type": "cross_entropy", "training.precision": "fp32",
    }  # fmt: skip
    assert {key: facts[key] for key in expected} == expected
    assert not done.model._forward_hooks
    assert (tmp_path / "report.html").is_file()


def test_without_evaluation_an_epoch_is_a_row(doctor: Any, tmp_path: Path) -> None:
    train(doctor(tmp_path, "binary"), evaluate=False, eval_strategy="no")
    lines = read_vitals(tmp_path / "vitals.jsonl")
    assert len(lines) == 3
    assert "val" not in lines[0]


def test_labels_that_the_model_never_sees_leave_the_losses_of_the_logs(
    doctor: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(doctor(tmp_path, "binary"), labels=False)
    line = read_vitals(tmp_path / "vitals.jsonl")[-1]
    assert line["val"]["loss"]["value"] == 0.5
    assert 0 < line["train"]["loss"]["value"] < 2
    assert "the model is not given the labels" in capsys.readouterr().err


def test_a_finding_stops_the_training_of_one_process(doctor: Any, tmp_path: Path) -> None:
    done = train(doctor(tmp_path / "one", "binary", stop_on="critical"), broken=True)
    assert done.control.should_training_stop
    assert len(read_vitals(tmp_path / "one" / "vitals.jsonl")) < 3
    done = train(doctor(tmp_path / "two", "binary", stop_on="critical"), broken=True, world_size=2)
    assert not done.control.should_training_stop


def test_other_processes_watch_nothing(doctor: Any, tmp_path: Path) -> None:
    train(doctor(tmp_path / "mine", "binary"), zero=False)
    assert not (tmp_path / "mine").exists()


def test_an_evaluation_before_the_first_step_is_no_epoch(doctor: Any, tmp_path: Path) -> None:
    callback = doctor(tmp_path, "binary")
    args, state, control = SimpleNamespace(**ARGS), SimpleNamespace(is_world_process_zero=True), SimpleNamespace()
    model = Model()
    callback.on_train_begin(args, state, control, model=model, optimizer=None)
    model.eval()
    model(**batches(1)[0])
    callback.on_evaluate(args, state, control, metrics={"eval_loss": 0.7})
    assert not (tmp_path / "vitals.jsonl").exists()
    assert not callback.doctor.val.begun
