"""Network: what every model gives the training loop, whatever its output: which of its layers learn, and how fast."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from osler.errors import ModelError, nearest

__all__ = ["Network", "set_bias"]


class Network(nn.Module):
    """A pretrained or random `backbone` and the layers that read it, for images as they were prepared.

    Frozen layers: `train_part` freezes the backbone's blocks in front of a given one; their weights get no gradient. What
    their BatchNorm does is `frozen_norm`'s to say: "eval" (the default) normalises by the stored statistics and leaves them,
    also after a later `.train()`, so that frozen layers compute the same in training and validation; "train" normalises by
    the batch and goes on updating the statistics. Dropout and stochastic depth of frozen layers follow `.train()` either way.
    Under data parallelism BatchNorm normalises by each process's own part of the batch.

    Attributes:
        architecture: the resolved name.
        notes: what was loaded, left out or started at random, one sentence each.
        output_loaded: the output layer came from a weights file; its bias is part of what was learned.
        mean: (1, C, 1, 1) of the images' channels, on their scale of 0..255.
        std: likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: str,
        backbone: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        frozen_norm: Literal["eval", "train"] = "eval",
    ) -> None:
        """Holds the backbone; the heir adds what reads it.

        Args:
            architecture: the resolved name.
            backbone: reads normalised images.
            mean: C numbers on the scale 0..1.
            std: C numbers, likewise.
            frozen_norm: what BatchNorm of frozen blocks does.
        """
        super().__init__()
        self.architecture = architecture
        self.notes: tuple[str, ...] = ()
        self.output_loaded = False
        self.frozen_norm = frozen_norm
        self.backbone = backbone
        # In units of the images, 0..255; part of the state, so that an exported or reloaded model carries its normalisation.
        self.register_buffer("mean", 255 * torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).reshape(1, -1, 1, 1))
        self._frozen = 0

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Prepared images (B, C, H, W), uint8 or floats of 0..255, to logits."""

    @abstractmethod
    def set_output_bias(self, logits: ArrayLike) -> None:
        """Starts the output at a constant prediction, (K,) finite logits."""

    def normalised(self, images: Tensor) -> Tensor:
        """Prepared images (B, C, H, W), uint8 or floats of 0..255 → what the backbone reads."""
        values = (images.to(self.mean.dtype) - self.mean) / self.std
        # Channels last was the faster on a CPU for each backbone measured, efficientnet_lite0 by a factor of two.
        return values.contiguous(memory_format=torch.channels_last)

    def blocks(self) -> list[tuple[str, nn.Module]]:
        """The backbone's modules that hold parameters or batch statistics of their own, in order of definition, with names."""
        return [(name or "(whole)", module) for name, module in self.backbone.named_modules() if _is_block(module)]

    def train_part(self, part: str) -> None:
        """Chooses what learns from now on; what lies beyond the backbone, the head, always does.

        Args:
            part: "head": nothing else; "all": everything; "from:N": the backbone's blocks from number N on, counted from 0;
                "from:NAME": from the first block on whose name is NAME or lies under it ("from:layer4").

        Raises:
            ModelError: no such block; with what there is.
        """
        blocks = self.blocks()
        self._frozen = self._first_trained(part, [name for name, _ in blocks])
        for number, (_, module) in enumerate(blocks):
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(number >= self._frozen)
        self.train(self.training)

    def _first_trained(self, part: str, names: list[str]) -> int:
        if part == "head":
            return len(names)
        if part == "all":
            return 0
        kind, _, place = part.partition(":")
        if kind == "from" and place.isdecimal() and int(place) < len(names):
            return int(place)
        if kind == "from" and not place.isdecimal():
            under = (number for number, name in enumerate(names) if name == place or name.startswith(f"{place}."))
            if (found := next(under, None)) is not None:
                return found
        raise ModelError(self._no_such_part(part, place, names))

    def _no_such_part(self, part: str, place: str, names: list[str]) -> str:
        stages = list(dict.fromkeys(prefix for name in names for prefix in _prefixes(name, 2)))
        guess = nearest(place, [*stages, *names]) if place else None
        hint = f" Did you mean 'from:{guess}'?" if guess else ""
        return (
            f"training.phases: train: {part!r} is no part of {self.architecture}.{hint} Allowed: head; all; from:N with N from 0 "
            f"to {len(names) - 1}; from:NAME with the name of a block or of what holds it: {', '.join(stages)}."
        )

    def train(self, mode: bool = True) -> Self:
        """As every module's, but BatchNorm of frozen blocks stays in evaluation where `frozen_norm` is "eval"."""
        super().train(mode)
        if mode and self.frozen_norm == "eval":
            for _, module in self.blocks()[: self._frozen]:
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """What learns, for an optimiser: a group with weight decay, and one without for biases, norms and position tables."""
        spared = {f"backbone.{name}" for name in getattr(self.backbone, "no_weight_decay", set)()}
        learning = [(name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad]
        decayed = [parameter for name, parameter in learning if parameter.ndim > 1 and name not in spared]
        plain = [parameter for name, parameter in learning if parameter.ndim <= 1 or name in spared]
        groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
        return [group for group in groups if group["params"]]


def set_bias(layer: nn.Linear | nn.Conv2d, logits: ArrayLike) -> None:
    """Sets the bias of an output layer to (K,) finite logits."""
    values = np.asarray(logits, dtype=np.float64)
    assert layer.bias is not None
    assert values.shape == tuple(layer.bias.shape), f"{values.shape} logits for {tuple(layer.bias.shape)} outputs"
    assert np.isfinite(values).all(), f"the output bias must be finite, not {values}"
    with torch.no_grad():
        layer.bias.copy_(torch.as_tensor(values))


def _is_block(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False)) or isinstance(module, _BatchNorm)


def _prefixes(name: str, depth: int) -> Iterator[str]:
    """What holds a block, up to so many names deep: layer1.0.conv1 → layer1, layer1.0."""
    parts = name.split(".")
    return (".".join(parts[:length]) for length in range(1, min(depth, len(parts)) + 1))
