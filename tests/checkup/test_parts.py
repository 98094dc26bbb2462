"""The parts of a checkup by themselves: constants, sweeps, runs of labels, probes, forecasts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from osler.checkup.answers import read_answers
from osler.checkup.constants import best_constant
from osler.checkup.counting import _runs_z
from osler.checkup.forecast import duration
from osler.checkup.patient import Fed
from osler.checkup.rates import suggestion
from osler.checkup.strength import probe
from osler.metrics.floors import floor
from osler.metrics.weights import LossSpec, count_labels


@pytest.mark.parametrize("weight", [1.0, 6.0, 0.2])
def test_best_constant_is_the_floor_of_the_formula(weight: float) -> None:
    targets = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 0.0]] * 6 + [[0.0, 1.0]])
    answers = read_answers(targets, torch.zeros(10, 2))
    loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([weight, weight]))
    found, at = best_constant(loss, answers, [Fed(torch.zeros(10, 1), targets)])
    expected = floor(LossSpec("bce", pos_weight=np.array([weight, weight])), count_labels(targets.numpy(), "multilabel"))
    assert found == pytest.approx(expected.loss, rel=1e-4)
    assert at == pytest.approx(expected.logits, abs=0.05)


def test_answers_are_right_wrong_and_unknown() -> None:
    targets = torch.tensor([[1.0], [0.0], [math.nan]])
    answers = read_answers(targets, torch.zeros(3, 1))
    assert answers.right(targets, 2.0).ravel().tolist() == [2.0, -2.0, 0.0]
    indices = torch.tensor([2, -100])
    answers = read_answers(indices, torch.zeros(2, 3))
    assert answers.right(indices, 1.0).tolist() == [[-1.0, -1.0, 1.0], [0.0, 0.0, 0.0]]
    assert np.isnan(answers.labels(indices)[1]).all()
    masks = torch.tensor([[[[1, 0]]], [[[255, 0]]]], dtype=torch.uint8)
    answers = read_answers(masks, torch.zeros(2, 1, 1, 2))
    assert answers.labels(masks).ravel().tolist() == [1.0, 0.0]
    assert answers.right(masks, 1.0).ravel().tolist() == [1.0, -1.0, 0.0, -1.0]


def test_scores_of_exclusive_classes_rise_with_their_chance() -> None:
    targets = torch.tensor([0, 1, 2, 1])
    answers = read_answers(targets, torch.zeros(4, 3))
    logits = torch.tensor([[5.0, 5.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 9.0], [1.0, 3.0, 3.0]])
    _, scores, _ = answers.points(logits, targets)
    order = np.argsort(scores[:, 1])
    assert order.tolist() == np.argsort(torch.softmax(logits, 1)[:, 1].numpy()).tolist()


def test_a_sweep_that_never_falls_suggests_nothing() -> None:
    rates, rng = np.geomspace(1e-6, 1, 64), np.random.default_rng(0)
    assert math.isnan(suggestion(rates, 0.7 + 0.02 * rng.normal(size=64)).suggested)
    assert math.isnan(suggestion(rates, np.full(64, 0.7)).suggested)
    broken = np.where(np.arange(64) < 30, 0.7, np.nan)
    assert math.isnan(suggestion(rates, broken).suggested)


def test_runs_of_shuffled_labels_are_as_chance_makes_them() -> None:
    rng = np.random.default_rng(0)
    z = np.array([_runs_z(rng.random(200) < 0.3) for _ in range(400)])
    assert abs(float(z.mean())) < 0.2
    assert float(z.std()) == pytest.approx(1, abs=0.15)
    assert math.isnan(_runs_z(np.ones(9, bool)))


def test_a_probe_tells_what_is_there_and_no_more() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(300) < 0.3).astype(float)
    features = rng.normal(size=(300, 50))
    blind = probe(features, labels, None)
    assert blind is not None
    assert blind.low < 0.5
    assert blind.high < 0.65
    features[:, 0] += 3 * labels
    seen = probe(features, labels, np.arange(300) // 2)
    assert seen is not None
    assert seen.low > 0.8
    assert probe(features[:20], labels[:20], None) is None


def test_durations_are_words() -> None:
    assert [duration(value) for value in (0.5, 75, 100, 40_000)] == ["0.5 s", "75 s", "2 min", "11.1 h"]
