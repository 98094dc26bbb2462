"""Outputs: what a model said of the samples of an epoch, kept for its figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from osler.losses import LossTerms

__all__ = ["Outputs"]


@dataclass
class Outputs:
    """Logits, targets, loss terms and rows, batch after batch; nothing is moved off the device before it is asked for."""

    logits: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    rows: list[NDArray[np.intp]] = field(default_factory=list)

    def add(self, logits: Tensor, targets: Tensor, terms: LossTerms, rows: NDArray[np.intp]) -> None:
        """Adds a batch: logits (B, K), targets (B, K), loss terms of (B,) each, source rows (B,)."""
        self.logits.append(logits.detach().float())
        self.targets.append(targets)
        self.values.append(terms.values.detach())
        self.weights.append(terms.weights.detach())
        self.rows.append(rows)

    def state(self) -> dict[str, Tensor]:
        """Everything as tensors on the CPU, for a checkpoint within an epoch."""
        if not self.logits:
            return {}
        return {name: torch.from_numpy(array) for name, array in self.arrays().items()}

    @classmethod
    def from_state(cls, state: dict[str, Tensor], device: torch.device) -> Outputs:
        """Outputs as `state` kept them."""
        if not state:
            return cls()
        on_device = {name: [state[name].to(device)] for name in ("logits", "targets", "values", "weights")}
        return cls(**on_device, rows=[state["rows"].numpy()])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """logits (n, K), targets (n, K), values (n,), weights (n,), rows (n,) in numpy."""
        parts = {"logits": self.logits, "targets": self.targets, "values": self.values, "weights": self.weights}
        arrays: dict[str, NDArray[Any]] = {name: torch.cat(tensors).cpu().numpy() for name, tensors in parts.items()}
        arrays["rows"] = np.concatenate(self.rows)
        return arrays

    def gathered(self) -> dict[str, NDArray[Any]]:
        """`arrays` of all ranks together, in the order of ranks; the same on each."""
        own = self.arrays() if self.rows else {}  # a rank may have no sample of a small split
        if not dist.is_initialized():
            return own
        every: list[dict[str, NDArray[Any]]] = [{} for _ in range(dist.get_world_size())]
        dist.all_gather_object(every, own)
        filled = [part for part in every if part]
        return {name: np.concatenate([part[name] for part in filled]) for name in filled[0]}
