from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from osler.losses import build_mask_loss
from osler.losses.boundary import distance_weights
from osler.metrics.mask_loss import MaskLossSpec

BOUNDARY = build_mask_loss(MaskLossSpec("boundary", {"boundary": 1.0}))


@pytest.fixture
def disc() -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:41, :41]
    return ((rows - 20) ** 2 + (columns - 20) ** 2 <= 100).astype(np.uint8)


def cost(called: NDArray[np.bool_], truth: NDArray[np.uint8]) -> float:
    logits = torch.where(torch.tensor(called), 100.0, -100.0)[None, None]
    return BOUNDARY(logits, torch.tensor(truth)[None, None]).mean().item()


def test_weights_are_distances_to_the_boundary_by_brute_force() -> None:
    truth = np.random.default_rng(0).random((9, 11)) < 0.3
    known = np.random.default_rng(1).random((9, 11)) < 0.9
    truth &= known
    places = np.stack(np.mgrid[:9, :11], axis=-1).reshape(-1, 2)
    away = np.linalg.norm(places[:, None] - places[None], axis=-1)
    other = np.where(truth.ravel()[:, None], (known & ~truth).ravel(), truth.ravel())
    distances = np.where(other, away, np.inf).min(axis=1).reshape(9, 11) - 0.5
    np.testing.assert_allclose(distance_weights(truth, known), distances / distances[known].mean(), rtol=1e-6)


def test_a_false_pixel_costs_more_the_farther_it_is(disc: NDArray[np.uint8]) -> None:
    costs = []
    for column in (31, 34, 40):
        called = disc.astype(bool)
        called[20, column] = True
        costs.append(cost(called, disc))
    assert 0 < costs[0] < costs[1] < costs[2]
    assert cost(disc.astype(bool), disc) == pytest.approx(0, abs=1e-6)


def test_the_middle_of_a_lesion_is_missed_most_dearly(disc: NDArray[np.uint8]) -> None:
    costs = []
    for column in (29, 25, 20):
        called = disc.astype(bool)
        called[20, column] = False
        costs.append(cost(called, disc))
    assert 0 < costs[0] < costs[1] < costs[2]


@pytest.mark.parametrize("side", [20, 80])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_one_half_everywhere_costs_one_half(side: int, share: float) -> None:
    masks = torch.tensor((np.random.default_rng(0).random((2, 1, side, side)) < share).astype(np.uint8))
    assert BOUNDARY(torch.zeros(2, 1, side, side), masks).mean().item() == pytest.approx(0.5, abs=1e-6)


def test_gradients_are_those_of_the_papers_integral(disc: NDArray[np.uint8]) -> None:
    """Kervadec et al. 2019, equation 5: the sum of signed distance times probability."""
    logits = torch.randn(1, 1, 41, 41, dtype=torch.float64, requires_grad=True)
    (ours,) = torch.autograd.grad(BOUNDARY(logits, torch.tensor(disc)[None, None]).mean(), logits)
    signed = torch.tensor(np.where(disc, -1, 1) * distance_weights(disc.astype(bool), np.ones_like(disc, bool)))
    (theirs,) = torch.autograd.grad((signed * torch.sigmoid(logits)).mean(), logits)
    torch.testing.assert_close(ours, theirs)


def test_the_same_mask_has_the_same_bits_each_time() -> None:
    for seed in range(20):
        truth = np.random.default_rng(seed).random((17, 16)) < 0.2
        known = np.ones_like(truth)
        assert len({distance_weights(truth.copy(), known).tobytes() for _ in range(5)}) == 1
