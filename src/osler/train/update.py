"""What a step finds and does: which weights have no gradient, and how far it moves them. Needs torch alone: other people's loops
are measured by it too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

__all__ = ["gradient_cosine", "gradient_sample", "update_ratio", "without_gradient"]

SAMPLED = 256
"""Elements of each tensor by which the gradients of two steps are compared."""


@torch.no_grad()
def update_ratio(before: list[Tensor], after: Iterable[Tensor]) -> Tensor:
    """() norm of an update over the norm of the weights before it; nothing waits for the device.

    Args:
        before: copies of the weights, at least one.
        after: the same weights once they have moved.

    >>> round(update_ratio([torch.tensor([3.0, 4.0])], [torch.tensor([3.0, 4.5])]).item(), 6)
    0.1
    """
    moved = torch._foreach_sub([tensor.detach() for tensor in after], before)
    return torch.nn.utils.get_total_norm(moved) / torch.nn.utils.get_total_norm(before).clamp_min(1e-12)


@torch.no_grad()
def without_gradient(weights: Sequence[Tensor]) -> Tensor:
    """() share of these weights, counted by element, that lie in tensors without any gradient: none at all, or zero throughout.

    Args:
        weights: that are to learn, at least one.

    >>> kept, cut = torch.ones(3, requires_grad=True), torch.ones(1, requires_grad=True)
    >>> kept.sum().backward()
    >>> without_gradient([kept, cut]).item()
    0.25
    """
    reached = [weight for weight in weights if weight.grad is not None]
    whole = sum(weight.numel() for weight in weights)
    if not reached:
        return torch.ones((), device=weights[0].device)
    # Norms by the largest element: squares of gradients near 1e-30 are zero in float32.
    norms = torch.stack(torch._foreach_norm([weight.grad for weight in reached if weight.grad is not None], ord=torch.inf))
    shares = torch.tensor([weight.numel() / whole for weight in reached], device=norms.device)
    return 1.0 - (shares * (norms != 0)).sum()  # what is not a number did arrive


@torch.no_grad()
def gradient_sample(weights: Sequence[Tensor]) -> Tensor:
    """(n,) some elements of the gradient of each tensor, always the same ones; 0 where there is none. A copy.

    Args:
        weights: that are to learn, at least one.
    """
    # Odd and no multiple of three: else the elements of a 3 × 3 kernel that are taken are always the same.
    every = [step + 2 * (step % 3 == 0) for step in (weight.numel() // SAMPLED | 1 for weight in weights)]
    taken = [
        (torch.zeros_like(weight) if weight.grad is None else weight.grad).flatten()[::step][:SAMPLED].float()
        for weight, step in zip(weights, every, strict=True)
    ]
    return torch.cat(taken)


def gradient_cosine(one: Tensor, other: Tensor) -> Tensor:
    """() cosine of the angle between the gradients of two steps, from samples of both; 0 where one of them is zero.

    Gradients of small batches are mostly noise, and those of two steps have little in common; near 1 they are one gradient.

    >>> round(gradient_cosine(torch.tensor([3.0, 4.0]), torch.tensor([4.0, 3.0])).item(), 3)
    0.96
    """
    cosine: Tensor = torch.dot(one, other) / (torch.linalg.vector_norm(one) * torch.linalg.vector_norm(other)).clamp_min(1e-30)
    return cosine
