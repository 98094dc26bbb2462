from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from osler.adapters.meter import StepMeter, optimizer_facts


def steps(optimizer: torch.optim.Optimizer, model: torch.nn.Module, count: int) -> None:
    for number in range(count):
        torch.manual_seed(number)
        loss = model(torch.randn(8, 4)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_norm_and_ratio_are_those_of_the_step_and_the_weights_move_as_without_it() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 2)
    other = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    meter = StepMeter(optimizer)
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    steps(optimizer, model, 1)
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    found = meter.epoch_done()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert found["optimization"]["gradient_norm"]["median"] == pytest.approx(float(gradient.norm()), rel=1e-6)
    assert found["optimization"]["update_ratio"]["max"] == pytest.approx(float((after - before).norm() / before.norm()), rel=1e-5)
    steps(torch.optim.SGD(other.parameters(), lr=0.5, momentum=0.9), other, 1)
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), other.parameters(), strict=True))


def test_a_few_steps_of_each_epoch_are_measured_and_the_rate_of_the_first_and_last() -> None:
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    meter = StepMeter(optimizer)
    measured = []
    for length in (20, 20, 40):
        for _ in range(length):
            steps(optimizer, model, 1)
        measured.append(len(meter._norms))
        rates = meter.epoch_done()["learning_rate"]
        schedule.step()
    assert measured == [5, 7, 14]
    assert rates == {"start": 0.25, "end": 0.25}
    assert meter.steps == 80
    assert meter.cost > 0
    assert optimizer_facts(optimizer)["training.learning_rate"] == 1.0


def test_a_loss_that_reaches_no_weight_shows_as_zero() -> None:
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    meter = StepMeter(optimizer)
    for _ in range(3):
        optimizer.step()
    found = meter.epoch_done()["optimization"]
    assert found["gradient_norm"]["max"] == found["update_ratio"]["max"] == 0.0


def test_the_share_of_clipped_steps_is_told_where_the_loop_clips() -> None:
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    meter = StepMeter(optimizer, clip=1e-3)
    for number in range(4):
        torch.manual_seed(number)
        model(torch.randn(8, 4)).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        optimizer.step()
        optimizer.zero_grad()
    assert meter.epoch_done()["optimization"]["gradient_norm"]["clipped_share"] == 1.0


def test_it_lets_go() -> None:
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    meter = StepMeter(optimizer)
    meter.close()
    steps(optimizer, model, 2)
    assert meter.epoch_done() == {}
    assert np.isclose(meter.steps, 0)
