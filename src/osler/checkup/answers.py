"""Answers: how targets are to be read, and how outputs that would be right, or constant, are made for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from osler.errors import RequestError

__all__ = ["Answers", "finest", "read_answers"]

Form = Literal["labels", "indices", "masks", "index_masks"]
Floats = NDArray[np.float64]
UNKNOWN = 255
"""Pixels of this value are unknown in masks of bytes."""
IGNORED_INDEX = -100
"""Index that torch's losses leave out."""


@dataclass(frozen=True)
class Answers:
    """The form of targets and outputs.

    Attributes:
        form: "labels" (B, K) in {0, 1, NaN}; "indices" (B,) of classes; "masks" (B, K, H, W); "index_masks" (B, H, W).
        shape: of one sample's output: (K,), () or (K, H, W); of masks the finest level's.
        exclusive: a sample, or a pixel, is of one class at most: outputs go through a softmax.
        classes: K names.
    """

    form: Form
    shape: tuple[int, ...]
    exclusive: bool
    classes: tuple[str, ...]

    @property
    def of_masks(self) -> bool:
        """Whether a sample's target is a mask."""
        return self.form in ("masks", "index_masks")

    @property
    def outputs(self) -> int:
        """Numbers that the model gives for a sample, or for a pixel."""
        return self.shape[0] if self.shape else 1

    def truth(self, targets: Tensor) -> Tensor:
        """Targets in the shape of outputs, float32 in {0, 1, NaN}."""
        if self.form in ("indices", "index_masks"):
            known = targets != IGNORED_INDEX
            hot = torch.nn.functional.one_hot(torch.where(known, targets, 0).long(), max(2, self.outputs)).float()
            hot = hot if self.outputs > 1 else hot[..., 1:]
            hot = torch.where(known[..., None], hot, torch.nan)
            return hot.movedim(-1, 1).reshape(len(targets), *self.shape)
        plain = targets.float()
        if targets.dtype == torch.uint8:
            plain = torch.where(targets == UNKNOWN, torch.nan, plain)
        return plain.reshape(len(targets), *self.shape)

    def labels(self, targets: Tensor) -> Floats:
        """(B, K) in {0, 1, NaN}: of a mask, whether the class occurs; without the background of masks of indices."""
        truth = self.truth(targets).reshape(len(targets), self.outputs, -1)
        if self.of_masks:
            truth = torch.nan_to_num(truth).amax(2)
            truth = truth[:, 1:] if self.form == "index_masks" and self.outputs > 1 else truth
        return np.asarray(truth.reshape(len(targets), -1).double().cpu().numpy())

    def right(self, targets: Tensor, strength: float) -> Tensor:
        """Outputs that are right: `strength` for what is there, minus that for what is not, 0 for the unknown."""
        return torch.nan_to_num((2 * self.truth(targets) - 1) * strength)

    def constant(self, values: Tensor, targets: Tensor) -> Tensor:
        """The same (K,) outputs for every sample and pixel."""
        spread = values.reshape(1, *([1] if not self.shape else [-1]), *[1] * max(0, len(self.shape) - 1))
        spread = spread if self.shape else spread.reshape(1)
        return spread.expand(len(targets), *self.shape)

    def points(self, outputs: Tensor, targets: Tensor, most: int = 400) -> tuple[Floats, Floats, NDArray[np.intp]]:
        """Truths (M, K), scores (M, K) that rise with each class's chance, and the image (M,) of each; some pixels of masks."""
        truth, logits = self.truth(targets), outputs.detach().float()
        if self.exclusive and self.outputs > 1:
            rest = torch.stack(
                [logits[:, [j for j in range(self.outputs) if j != k]].logsumexp(1) for k in range(self.outputs)], 1
            )
            logits = logits - (torch.logaddexp(rest, torch.zeros_like(rest)) if self.form == "masks" else rest)
        truth, logits = (each.reshape(len(targets), self.outputs, -1) for each in (truth, logits))
        step = max(1, truth.shape[2] // most)
        truth, logits = truth[:, :, ::step], logits[:, :, ::step]
        images = np.repeat(np.arange(len(targets)), truth.shape[2])
        flat = [each.movedim(1, 2).reshape(-1, self.outputs).double().cpu().numpy() for each in (truth, logits)]
        first = 1 if self.form == "index_masks" and self.outputs > 1 else 0
        return flat[0][:, first:], flat[1][:, first:], images


def finest(outputs: Any) -> Tensor:
    """The output itself, or the finest of several levels.

    Raises:
        RequestError: the model answers with something else.
    """
    found = outputs[0] if isinstance(outputs, (list, tuple)) and len(outputs) else outputs
    if isinstance(found, Tensor):
        return found
    raise RequestError(
        f"model: answers with {type(outputs).__name__}; a checkup needs a tensor, or a list of tensors with the finest level "
        "first. Wrap the model in a module that returns its logits."
    )


def read_answers(targets: Tensor, outputs: Tensor) -> Answers:
    """The form of a person's own targets, by their shape and the outputs'.

    Raises:
        RequestError: outputs and targets do not fit each other.

    >>> read_answers(torch.tensor([0, 2, 1]), torch.zeros(3, 4)).form
    'indices'
    """
    shape, out = tuple(targets.shape), tuple(outputs.shape)
    several = len(out) > 1 and out[1] > 1
    if len(out) >= 3 and shape[1:] == out[2:] and not targets.is_floating_point() and several:
        return Answers("index_masks", out[1:], True, tuple(f"class {k}" for k in range(1, out[1])))
    names = ("positive",) if not several else tuple(f"class {k}" for k in range(out[1]))
    if len(out) >= 3 and targets.numel() == outputs.numel():
        return Answers("masks", out[1:], False, names)
    if len(shape) == 1 and several and not targets.is_floating_point():
        return Answers("indices", out[1:], True, names)
    if len(out) <= 2 and targets.numel() == outputs.numel() and len(shape) <= 2:
        hot = several and bool((torch.nan_to_num(targets.float()).sum(1) == 1).all())
        return Answers("labels", out[1:], hot and len(targets) > 4, names)
    raise RequestError(
        f"loader: targets of shape {shape} ({targets.dtype}) do not fit outputs of shape {out}. A checkup knows labels (B,) or "
        "(B, K), class indices (B,), masks (B, K, H, W) and masks of class indices (B, H, W)."
    )
