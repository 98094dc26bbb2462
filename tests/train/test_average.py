"""The moving average of the weights."""

from __future__ import annotations

import torch
from torch import nn

from osler.train.average import WeightAverage


def test_the_average_follows_its_formula_and_swaps_in_and_out() -> None:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average = WeightAverage(model, 0.5)
    expected = 0.0
    for step in range(1, 30):
        with torch.no_grad():
            model.weight.fill_(float(step))
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    with average.in_place():
        assert abs(model.weight.item() - expected) < 1e-5
    assert model.weight.item() == 29.0


def test_batch_norm_statistics_are_averaged_and_counters_are_not() -> None:
    average = WeightAverage(nn.BatchNorm1d(2), 0.9)
    assert "running_mean" in average.names
    assert "num_batches_tracked" not in average.names


def test_state_round_trip() -> None:
    model = nn.Linear(3, 2)
    average = WeightAverage(model, 0.9)
    average.update()
    other = WeightAverage(nn.Linear(3, 2), 0.9)
    other.load(average.state())
    assert other.steps == 1
    assert all(torch.equal(left, right) for left, right in zip(average.average, other.average, strict=True))
