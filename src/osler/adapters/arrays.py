"""What a loop hands over, tensors or arrays, kept without waiting for the device and brought to numpy once an epoch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "host", "is_tensor", "kept", "kept_loss", "loss_values", "namespace", "on_host"]

Array = Any
"""A torch tensor, or whatever numpy takes for an array."""


def is_tensor(value: Any) -> bool:
    """Whether a value is a torch tensor; torch is not imported to find out.

    >>> is_tensor(np.zeros(2))
    False
    """
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def namespace(value: Array) -> Any:
    """The module whose functions work on an array: torch or numpy."""
    return sys.modules["torch"] if is_tensor(value) else np


def kept(value: Any) -> Array:
    """A copy of its own without a graph, where it lies; later writes into the original do not reach it."""
    return value.detach().clone() if is_tensor(value) else np.array(value)


def kept_loss(loss: Any) -> Array:
    """A batch's loss as one number, where it lies: a loss by sample is averaged, so that nothing waits for the device."""
    if is_tensor(loss):
        value = loss.detach()
        return value.mean() if value.ndim else value.clone()
    return np.asarray(loss, dtype=np.float64).mean()


def on_host(value: Array) -> NDArray[Any]:
    """One array in numpy; half precision, which numpy lacks in part, becomes float32."""
    if not is_tensor(value):
        return np.asarray(value)
    value = value.detach()
    found: NDArray[Any] = (value.float() if value.is_floating_point() and value.element_size() < 4 else value).cpu().numpy()
    return found


def host(parts: Sequence[Array]) -> NDArray[Any]:
    """Batches joined along their first dimension, in numpy: one transfer for all."""
    if all(is_tensor(part) for part in parts):
        return on_host(sys.modules["torch"].cat(list(parts)))
    return np.concatenate([on_host(part) for part in parts])


def loss_values(losses: Sequence[Array]) -> NDArray[np.float64]:
    """(B,) the losses of batches, in numpy."""
    if losses and all(is_tensor(loss) for loss in losses):
        return on_host(sys.modules["torch"].stack(list(losses)).double())
    return np.array([float(loss) for loss in losses], dtype=np.float64)
