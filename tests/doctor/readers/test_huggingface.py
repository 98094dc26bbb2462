"""Hugging Face: losses between evaluations belong to the next one."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from osler.doctor.chart import Chart
from osler.errors import DataError

Read = Callable[..., list[Chart]]

RECORDS = [
    {"epoch": 0.5, "step": 50, "loss": 0.9, "learning_rate": 5e-5, "grad_norm": 2.0},
    {"epoch": 1.0, "step": 100, "loss": 0.7, "learning_rate": 4e-5, "grad_norm": 1.0},
    {"epoch": 1.0, "step": 100, "eval_loss": 0.75, "eval_f1": 0.4, "eval_runtime": 3.0},
    {"epoch": 1.5, "step": 150, "loss": 0.6, "learning_rate": 3e-5, "grad_norm": 1.5},
    {"epoch": 2.0, "step": 200, "eval_loss": 0.65, "eval_f1": 0.5, "eval_runtime": 3.0},
    {"epoch": 2.0, "step": 200, "train_runtime": 100.0, "train_loss": 0.7, "total_flos": 1e15},
]


def test_trainer_state(read: Read) -> None:
    state = {"best_metric": 0.5, "num_train_epochs": 5, "train_batch_size": 16, "log_history": RECORDS}
    (chart,) = read(json.dumps(state), "trainer_state.json")
    assert chart.reader == "json.trainer_state"
    assert chart.epochs.tolist() == [1.0, 2.0]
    assert chart.values("train.loss").tolist() == pytest.approx([0.8, 0.6])
    assert chart.values("val.loss").tolist() == [0.75, 0.65]
    assert chart.values("val.f1").tolist() == [0.4, 0.5]
    assert chart.values("gradient_norm.mean").tolist() == [1.5, 1.5]
    assert "seconds.epoch" not in chart.series  # what is timed is an evaluation
    assert chart.facts["training.epochs"] == 5
    assert chart.facts["training.batch_size"] == 16


def test_evaluations_within_epochs_are_rows(read: Read) -> None:
    records = [{"epoch": 0.3 * k, "step": k, "eval_loss": 1.0 / k} for k in (1, 2, 3)]
    (chart,) = read(json.dumps({"log_history": records}))
    assert chart.axis == "evaluation"
    assert len(chart) == 3


def test_without_evaluations_epochs_are_whole(read: Read) -> None:
    records = [{"epoch": 0.25 * k, "step": k, "loss": 1.0 / k} for k in range(1, 9)]
    (chart,) = read(json.dumps({"log_history": records}))
    assert chart.epochs.tolist() == [1.0, 2.0]


def test_printed_records(read: Read) -> None:
    (chart,) = read("Some weights were newly initialised\n" + "\n".join(str(record) for record in RECORDS), "train.out")
    assert chart.reader == "console.records"
    assert chart.values("val.loss").tolist() == [0.75, 0.65]


def test_an_empty_history_is_refused(read: Read) -> None:
    with pytest.raises(DataError, match="no epochs"):
        read('{"log_history": []}')
