"""What a step finds and does: which weights have no gradient, and how far it moves them. Needs torch alone: other people's loops
are measured by it too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

__all__ = ["update_ratio", "without_gradient"]


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
