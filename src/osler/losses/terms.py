"""What a loss answers with: sums that are exact over any batching."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["LossTerms"]


class LossTerms(NamedTuple):
    """The loss of a batch as sums, one of each for a sample.

    Attributes:
        values: (B,) float32 (float64 for float64 logits); 0 where nothing is known of a sample.
        weights: (B,) the same type; without gradient.
        parts: mean of each part of a combined loss, scalars without gradient; None for a plain loss.
        finest: (B,) the values of a decoder's finest level alone, without gradient, where `values` hold several levels.
    """

    values: Tensor
    weights: Tensor
    parts: Mapping[str, Tensor] | None = None
    finest: Tensor | None = None

    @property
    def told(self) -> Tensor:
        """(B,) what is reported: the values that an evaluation has too, and a floor."""
        return self.values if self.finest is None else self.finest

    def mean(self) -> Tensor:
        """The mean loss, a scalar. 0, with gradients of zero, where no target of the batch is known."""
        total = self.weights.sum()
        return self.values.sum() / torch.where(total > 0, total, 1.0)
