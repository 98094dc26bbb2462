"""Task: what differs between kinds of targets, and only that. The training loop knows no more of a task than this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from osler.data.batches import Batch
from osler.data.samples import TaskKind
from osler.losses import LossTerms
from osler.models.network import Network

__all__ = ["Arrays", "Means", "Outputs", "Task", "mean_and_error", "shown"]

Arrays = dict[str, NDArray[Any]]


class Means(NamedTuple):
    """What was predicted and what was true, as sums over the known cells (samples, or pixels of masks) of a batch.

    Attributes:
        predicted: (K,) summed probability.
        target: (K,) summed target.
        known: (K,) known cells.
    """

    predicted: Tensor
    target: Tensor
    known: Tensor


@dataclass
class Outputs(ABC):
    """What a model said of the samples of an epoch, batch after batch, as far as the figures need it.

    Nothing is moved off the device before it is asked for. Each list of `tensors` holds one tensor a batch, its first
    dimension being the samples.

    Attributes:
        tensors: name to batches; always with "values" and "weights" (B,), the loss terms.
        rows: source rows (B,) of each batch.
        positions: places (B,) of each batch's samples in the epoch's global order.
    """

    tensors: dict[str, list[Tensor]] = field(default_factory=dict)
    rows: list[NDArray[np.intp]] = field(default_factory=list)
    positions: list[NDArray[np.intp]] = field(default_factory=list)

    @abstractmethod
    def add(self, logits: Tensor, batch: Batch, terms: LossTerms) -> None:
        """Adds a batch."""

    def _keep(self, batch: Batch, terms: LossTerms, **tensors: Tensor) -> None:
        for name, tensor in {**tensors, "values": terms.told, "weights": terms.weights}.items():
            self.tensors.setdefault(name, []).append(tensor.detach())
        self.rows.append(batch.rows)
        self.positions.append(batch.positions)

    def recent_loss(self, batches: int = 20) -> float:
        """Mean loss of the last batches."""
        values, weights = self.tensors["values"][-batches:], self.tensors["weights"][-batches:]
        return float(torch.cat(values).sum() / torch.cat(weights).sum().clamp_min(1e-12))

    def state(self) -> dict[str, Tensor]:
        """Everything as tensors on the CPU, for a checkpoint within an epoch."""
        return {name: torch.from_numpy(array) for name, array in self.arrays().items()} if self.rows else {}

    def load(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """Takes back what `state` kept."""
        if state:
            self.tensors = {name: [tensor.to(device)] for name, tensor in state.items() if name not in ("rows", "positions")}
            self.rows, self.positions = [state["rows"].numpy()], [state["positions"].numpy()]

    def arrays(self) -> Arrays:
        """Each list joined in numpy, (n, ...), and rows and positions (n,)."""
        arrays: Arrays = {name: torch.cat(tensors).cpu().numpy() for name, tensors in self.tensors.items()}
        arrays["rows"], arrays["positions"] = np.concatenate(self.rows), np.concatenate(self.positions)
        return arrays

    def gathered(self) -> Arrays:
        """`arrays` of all ranks together in the epoch's global order, which is that of one rank alone; the same on each."""
        own = self.arrays() if self.rows else {}  # a rank may have no sample of a small split
        if not dist.is_initialized():
            return own
        every: list[Arrays] = [{} for _ in range(dist.get_world_size())]
        dist.all_gather_object(every, own)
        filled = [part for part in every if part]
        order = np.argsort(np.concatenate([part["positions"] for part in filled]), kind="stable")
        return {name: np.concatenate([part[name] for part in filled])[order] for name in filled[0]}


class Task(ABC):
    """A model, its loss, and what is made of its outputs.

    Attributes:
        kind: of the targets.
        classes: K names.
        model: images (B, C, H, W), uint8 or float in 0–255, to logits.
        loss: a module, so that its weights follow the model to its device.
    """

    kind: TaskKind
    classes: tuple[str, ...]
    model: Network
    loss: nn.Module

    def begin_epoch(self, epoch: int) -> None:  # noqa: B027 - most tasks have nothing to change
        """Puts in force what depends on the epoch, counted from 1."""

    @abstractmethod
    def forward(self, model: nn.Module, batch: Batch) -> tuple[Tensor, LossTerms]:
        """Logits and loss terms of a batch; `model` is `self.model`, or that wrapped for several processes."""

    @abstractmethod
    def outputs(self, training: bool) -> Outputs:
        """An empty collection for an epoch of training, or for an evaluation."""

    @abstractmethod
    def figures(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """The figures of one split for the vitals, from what `Outputs.gathered` returns."""

    @abstractmethod
    def monitored(self, name: str, figures: Mapping[str, Any]) -> float:
        """The figure that decides what is best, turned so that higher is better; NaN where it is undefined."""

    @abstractmethod
    def means(self, logits: Tensor, batch: Batch) -> Means:
        """What a batch's logits say against what is true, for the watch within an epoch."""

    @abstractmethod
    def without_positives(self, batch: Batch) -> Tensor:
        """(K,) 1 where the batch has no positive of a class, else 0."""

    @abstractmethod
    def headline(self, train: Mapping[str, Any], val: Mapping[str, Any]) -> Sequence[str]:
        """The task's own part of an epoch's line: "AUC 0.810/0.802", one text a figure."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """The loss in force, and what else of the task is known once a run, under the configuration's dotted keys."""


def mean_and_error(values: NDArray[Any], weights: NDArray[Any]) -> tuple[float, float]:
    """The weighted mean loss of an epoch and its standard error over samples (ratio estimator, Cochran 1977, eq. 6.13).

    Args:
        values: (n,) summed losses of each sample.
        weights: (n,) what they are divided by; 0 for a sample of which nothing is known.

    >>> mean_and_error(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    (2.0, 1.0)
    """
    total = float(weights.sum(dtype=np.float64))
    if total == 0:
        return float("nan"), float("nan")
    mean = float(values.sum(dtype=np.float64)) / total
    n = int((weights > 0).sum())
    residuals = values.astype(np.float64) - mean * weights
    error = float(np.sqrt((residuals**2).sum() * n / (n - 1))) / total if n > 1 else float("nan")
    return mean, error


def shown(value: float | None) -> str:
    """A figure for an epoch's line; a dash where it is undefined.

    >>> shown(0.81), shown(float("nan"))
    ('0.810', '–')
    """
    return "–" if value is None or np.isnan(value) else f"{value:.3f}"
