"""How far a step moves the weights, and whether one gradient is left in the next."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from osler.train.update import SAMPLED, gradient_cosine, gradient_sample, update_ratio


def test_it_is_the_norm_of_the_step_over_that_of_the_weights() -> None:
    torch.manual_seed(0)
    before = [torch.randn(4, 3), torch.randn(5)]
    after = [torch.nn.Parameter(tensor + 0.01 * torch.randn_like(tensor)) for tensor in before]
    flat = [torch.cat([tensor.detach().ravel() for tensor in tensors]) for tensors in (before, after)]
    ratio = update_ratio(before, after)
    assert ratio.item() == pytest.approx(((flat[1] - flat[0]).norm() / flat[0].norm()).item(), rel=1e-5)
    assert not ratio.requires_grad


def test_weights_of_zero_make_no_division_by_zero() -> None:
    assert torch.isfinite(update_ratio([torch.zeros(2)], [torch.zeros(2)]))


def with_gradients(keep: float, steps: int = 40) -> list[float]:
    """Cosines of steps whose own gradients are independent, and where a share of the gradient before stays."""
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.zeros(3000)), torch.nn.Parameter(torch.zeros(5)), torch.nn.Parameter(torch.zeros(2))]
    samples = []
    for _ in range(steps):
        for weight in weights[:2]:
            left = 0.0 if weight.grad is None else keep * weight.grad
            weight.grad = left + torch.randn_like(weight)
        samples.append(gradient_sample(weights))
    assert len(samples[0]) == SAMPLED + 5 + 2
    return [gradient_cosine(one, other).item() for one, other in pairwise(samples[20:])]


def test_the_cosine_is_the_share_of_the_gradient_that_stays() -> None:
    assert sum(with_gradients(0.0)) / 19 == pytest.approx(0.0, abs=0.05)
    assert sum(with_gradients(0.9)) / 19 == pytest.approx(0.9, abs=0.03)


def test_a_gradient_of_zero_has_no_direction() -> None:
    assert gradient_cosine(torch.zeros(3), torch.ones(3)).item() == 0.0


def test_the_sample_is_a_copy() -> None:
    weight = torch.nn.Parameter(torch.zeros(4))
    weight.grad = torch.ones(4)
    sample = gradient_sample([weight])
    weight.grad *= 2
    assert sample.tolist() == [1.0] * 4
