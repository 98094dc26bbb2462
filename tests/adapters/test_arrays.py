from __future__ import annotations

import numpy as np
import pytest
import torch

from osler.adapters.arrays import host, is_tensor, kept, kept_loss, loss_values, on_host


def test_what_is_kept_has_no_graph_and_is_not_reached_by_later_writes() -> None:
    logits = torch.zeros(3, requires_grad=True) * 2
    found = kept(logits)
    with torch.no_grad():
        logits += 5
    assert not found.requires_grad
    assert found.tolist() == [0.0, 0.0, 0.0]
    array = np.zeros(2)
    copy = kept(array)
    array += 1
    assert copy.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("loss", [0.5, np.float32(0.5), np.array([0.25, 0.75]), torch.tensor(0.5), torch.tensor([0.25, 0.75])])
def test_a_loss_is_one_number_whatever_it_comes_as(loss: object) -> None:
    assert loss_values([kept_loss(loss)]).tolist() == [0.5]


def test_losses_of_both_kinds_stand_together() -> None:
    assert loss_values([kept_loss(torch.tensor(1.0)), kept_loss(2.0)]).tolist() == [1.0, 2.0]


def test_half_precision_arrives_in_float32() -> None:
    assert on_host(torch.tensor([0.5], dtype=torch.bfloat16)).dtype == np.float32
    assert host([torch.tensor([1.5], dtype=torch.float16), torch.tensor([2.5], dtype=torch.float16)]).tolist() == [1.5, 2.5]
    assert on_host(torch.tensor([1], dtype=torch.uint8)).dtype == np.uint8


def test_batches_of_tensors_and_arrays_are_joined() -> None:
    assert host([torch.tensor([1.0]), np.array([2.0])]).tolist() == [1.0, 2.0]
    assert is_tensor(torch.nn.Parameter(torch.zeros(1)))
    assert not is_tensor([1.0])
