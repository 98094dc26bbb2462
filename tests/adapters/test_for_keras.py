"""The callback over a model that is fitted in the order that Keras documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from osler.runs.vitals import read_vitals


class Base:
    """keras.callbacks.Callback."""

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def set_model(self, model: Model) -> None:
        self.model = model


class Model:
    """A compiled model of one dense layer with a sigmoid; `eager` as on the torch backend, else values stay within a graph."""

    def __init__(self, eager: bool = True) -> None:
        torch.manual_seed(0)
        self.eager = eager
        self.stop_training = False
        self.loss: Any = "binary_crossentropy"
        self.weights = torch.randn(4) / 2
        self.optimizer = type("Adam", (SimpleNamespace,), {})(
            name="adam_1", learning_rate=np.float32(0.01), weight_decay=None, global_clipnorm=1.0
        )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(x @ self.weights)[:, None]

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> torch.Tensor:
        value = torch.nn.functional.binary_cross_entropy(torch.as_tensor(y_pred)[:, 0], torch.as_tensor(y))
        return value if torch.is_tensor(y_pred) else value.numpy()  # type: ignore[return-value]

    def predict(self, x: Any, verbose: int) -> np.ndarray:
        return self(torch.as_tensor(x)).numpy()

    def fit(self, callback: Any, batches: list[Any], val: list[Any], epochs: int = 3) -> None:
        callback.set_params({"epochs": epochs, "steps": len(batches), "verbose": 0})
        callback.set_model(self)
        callback.on_train_begin(None)
        for epoch in range(epochs):
            logs = {}
            for name, rows in (("loss", batches), ("val_loss", val)):
                losses = []
                for x, y in rows:
                    outputs = self(x) if self.eager else self(x).tolist()
                    losses.append(float(self.compute_loss(x, y, outputs, None, training=name == "loss")))
                logs[name] = float(np.mean(losses))
            callback.on_epoch_end(epoch, logs)
            if self.stop_training:
                break
        callback.on_train_end(logs)


def batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(2)
    return [(torch.randn(10, 4), (torch.arange(10) % 5 == 0).float()) for _ in range(count)]


@pytest.fixture
def doctor(over: Callable[..., ModuleType]) -> Any:
    return over("for_keras", "keras.callbacks", Callback=Base).KerasDoctor


def test_a_fit_on_torch_is_seen_batch_by_batch_at_no_pass_of_its_own(doctor: Any, tmp_path: Path) -> None:
    model = Model()
    model.fit(doctor(tmp_path, "binary", ["cancer"]), batches(5), batches(2))
    lines = read_vitals(tmp_path / "vitals.jsonl")
    assert len(lines) == 3
    assert (lines[0]["train"]["n"], lines[0]["val"]["n"]) == (50, 20)
    expected = np.mean([model.compute_loss(x, y, model(x)).item() for x, y in batches(5)])
    assert lines[-1]["train"]["loss"]["value"] == pytest.approx(expected)
    assert lines[-1]["train"]["classes"]["cancer"]["probability"]["mean"] == pytest.approx(
        float(torch.cat([model(x) for x, _ in batches(5)]).mean()), rel=1e-5
    )
    assert lines[-1]["learning_rate"] == {"end": pytest.approx(0.01)}
    facts = json.loads((tmp_path / "facts.json").read_text())
    expected_facts = {"training.epochs": 3, "training.steps_per_epoch": 5, "training.optimizer": "adam", "loss.type": "bce"}
    assert {key: facts[key] for key in expected_facts} == expected_facts
    assert "compute_loss" not in vars(model)


def test_a_graph_shows_no_values_and_a_pass_over_validation_data_gives_the_scores(doctor: Any, tmp_path: Path) -> None:
    model = Model(eager=False)
    x, y = batches(3)[0]
    model.fit(doctor(tmp_path, "binary", validation_data=(x.numpy(), y.numpy())), batches(5), batches(2))
    line = read_vitals(tmp_path / "vitals.jsonl")[-1]
    assert line["val"]["n"] == 10
    assert line["val"]["macro"]["auc"] is not None
    assert line["train"]["loss"]["value"] > 0
    assert "classes" not in line["train"]


def test_a_loss_of_logits_says_so(doctor: Any, tmp_path: Path) -> None:
    model = Model()
    model.loss = type(
        "BinaryCrossentropy", (), {"from_logits": True, "label_smoothing": 0.1, "reduction": "sum_over_batch_size"}
    )()
    callback = doctor(tmp_path, "binary")
    callback.set_params({})
    callback.set_model(model)
    callback.on_train_begin()
    assert callback.doctor.watched.probabilities is False
    assert callback.doctor.watched.statement.loss.label_smoothing == 0.1


def test_a_finding_stops_the_fit(doctor: Any, tmp_path: Path) -> None:
    model = Model()
    callback = doctor(tmp_path, "binary", stop_on="critical")
    torn = [(x * torch.nan, y) for x, y in batches(3)]
    callback.set_params({"epochs": 9})
    callback.set_model(model)
    callback.on_train_begin()
    for x, y in torn:
        outputs = model(x)
        callback.doctor.step(torch.tensor(torch.nan), outputs, y)
    callback.on_epoch_end(0, {})
    assert model.stop_training


def test_a_fit_after_one_that_broke_off_is_seen_by_its_own_watch_alone(doctor: Any, tmp_path: Path) -> None:
    model = Model()
    first, second = doctor(tmp_path / "first", "binary"), doctor(tmp_path / "second", "binary")
    for callback in (first, second):
        callback.set_params({})
        callback.set_model(model)
        callback.on_train_begin()
    x, y = batches(1)[0]
    model.compute_loss(x, y, model(x), training=True)
    assert (first.doctor.train.samples, second.doctor.train.samples) == (0, 10)
