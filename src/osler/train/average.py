"""The exponential moving average of the weights, which validation, `best` and export use where it is on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """Moving average of all parameters and floating buffers (BatchNorm's statistics included).

    The decay grows as (1 + steps) / (10 + steps) up to the configured one, since a short run with a long memory would else be
    judged by its random start (as TensorFlow's ExponentialMovingAverage does with `num_updates`).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.names, self.live = _floating(model)
        self.average = [tensor.detach().clone() for tensor in self.live]

    @torch.no_grad()
    def update(self) -> None:
        """Takes the weights after an optimiser step into the average."""
        self.steps += 1
        weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, [tensor.detach() for tensor in self.live], weight)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the average as its weights inside this context, and its own again after it."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for live, average in zip(self.live, self.average, strict=True):
            kept = live.detach().clone()
            live.copy_(average)
            average.copy_(kept)

    def state(self) -> dict[str, Tensor]:
        """Name to averaged tensor, and the number of steps."""
        return {"steps": torch.tensor(self.steps), **dict(zip(self.names, self.average, strict=True))}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Continues from what `state` gave."""
        self.steps = int(state["steps"])
        for name, average in zip(self.names, self.average, strict=True):
            average.copy_(state[name])

    @torch.no_grad()
    def restart(self) -> None:
        """Begins again at the model's present weights."""
        self.steps = 0
        for live, average in zip(self.live, self.average, strict=True):
            average.copy_(live)


def _floating(model: nn.Module) -> tuple[list[str], list[Tensor]]:
    named = [*model.named_parameters(), *model.named_buffers()]
    floating = [(name, tensor) for name, tensor in named if tensor.is_floating_point()]
    return [name for name, _ in floating], [tensor for _, tensor in floating]
