"""The head: from pooled features to logits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["Head"]

OUTPUT_SCALE = 0.01
"""Standard deviation of the first logits around the output bias, for features of unit size."""


class Head(nn.Module):
    """Attention gate → hidden layers → dropout → logits; the gate and the hidden layers are optional.

    * The gate multiplies the features by the sigmoid of a dense layer of themselves (Hu et al. 2018, "excitation", on
      features already pooled).
    * A hidden layer is dense → BatchNorm (the first alone: it brings the features of any backbone to one scale) → ReLU.
    * Dropout follows each hidden layer and so precedes the output; without hidden layers it acts on the features.
    * The output starts at bias 0 and with weights so small that the first logits keep within about 0.01 of the bias: then a
      bias at the best constant prediction makes the first batch's loss the floor. They are not zero, since no gradient would
      reach the backbone in the first step.
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        hidden: Sequence[int] = (),
        attention: bool = False,
        dropout: float | Sequence[float] = 0.0,
    ) -> None:
        """Builds the head with random weights from torch's global generator.

        Args:
            features: width of the backbone's output.
            outputs: K.
            hidden: units of the hidden layers in order.
            attention: whether the gate is there.
            dropout: probability, one for all places or one for each (as many as hidden layers; one where there are none).
        """
        super().__init__()
        places = max(1, len(hidden))
        rates = [float(dropout)] * places if isinstance(dropout, (int, float)) else [float(rate) for rate in dropout]
        assert len(rates) == places, f"{len(rates)} dropout probabilities for {places} places"
        self.gate = nn.Linear(features, features) if attention else None
        layers: list[nn.Module] = []
        width = features
        for number, units in enumerate(hidden):
            layers += [nn.Linear(width, units), *([nn.BatchNorm1d(units)] if number == 0 else []), nn.ReLU()]
            layers.append(nn.Dropout(rates[number]))
            width = units
        self.layers = nn.Sequential(*(layers or [nn.Dropout(rates[0])]))
        self.output = nn.Linear(width, outputs)
        nn.init.normal_(self.output.weight, std=OUTPUT_SCALE / math.sqrt(width))
        nn.init.zeros_(self.output.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Pooled features (B, F) → logits (B, K)."""
        if self.gate is not None:
            features = features * torch.sigmoid(self.gate(features))
        logits: Tensor = self.output(self.layers(features))
        return logits
