"""How far a step moves the weights."""

from __future__ import annotations

import pytest
import torch

from osler.train.update import update_ratio


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
