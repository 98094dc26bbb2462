"""Sections on the network and its loss."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from osler.config.base import Auto, Count, NonNegative, Positive, Section, Share
from osler.errors import nearest

ARCHITECTURES = (
    "resnet50",
    "densenet121",
    "efficientnet_b0",
    "convnext_tiny",
    "mobilenet_v3_large",
    "efficientnet_lite0",
    "small",
)


Dropout = Annotated[float, Field(ge=0, lt=1)]


class ModelConfig(Section):
    """The network."""

    architecture: str = "auto"
    """A name of `osler models`, or "timm:NAME" for any of timm. "auto": "small" below 64 pixels, else efficientnet_lite0."""
    pretrained: bool | Literal["embedded"] | Path | None = None
    """true: timm's weights from its hub; "embedded": the ImageNet weights installed with `osler[train]` (efficientnet_lite0
    only); a path: weights (.safetensors, or .pth of plain tensors); null or false: random."""
    head: tuple[Count, ...] = ()
    """Hidden units of the dense layers between pooled features and output."""
    attention: bool = False
    """Gate the pooled features by a dense sigmoid layer, as in squeeze-and-excitation."""
    dropout: Dropout | tuple[Dropout, ...] = 0.2
    """After each hidden layer of `head`, or before the output where it has none: one for all, or one for each."""
    frozen_norm: Literal["eval", "train"] = "eval"
    """What BatchNorm of frozen layers does: use its stored statistics, or go on updating them."""
    output_bias: Literal["floor", "zero"] = "floor"
    """"floor": start at the best constant prediction under the loss and sampler."""

    @field_validator("architecture")
    @classmethod
    def _known_architecture(cls, value: str) -> str:
        if value == "auto" or value in ARCHITECTURES or re.fullmatch(r"timm:[\w.\-]+", value):
            return value
        guess = nearest(value, ARCHITECTURES)
        raise ValueError(
            f"{value!r} is not known{f' (did you mean {guess!r}?)' if guess else ''}; "
            f"choose one of {', '.join(ARCHITECTURES)}, or timm:NAME"
        )

    @model_validator(mode="after")
    def _one_dropout_each(self) -> ModelConfig:
        if isinstance(self.dropout, tuple) and len(self.dropout) != max(1, len(self.head)):
            raise ValueError(f"dropout has {len(self.dropout)} values, and the head has {len(self.head)} hidden layers")
        return self

    @field_validator("pretrained", mode="after")
    @classmethod
    def _false_is_null(cls, value: Any) -> Any:
        return None if value is False else value


class LossConfig(Section):
    """The loss and its parameters; what they do is stated in `osler.losses` and probed by a test."""

    type: Literal["auto", "bce", "cross_entropy", "focal"] = "auto"
    """"auto": cross_entropy where classes exclude each other, else bce."""
    pos_weight: Positive | tuple[Positive, ...] | Auto | None = None
    """bce: weight of positive samples, one or one a class. "auto": negatives / positives in train, at most `pos_weight_cap`."""
    pos_weight_cap: Positive = 50.0
    class_weights: tuple[Positive, ...] | Auto | None = None
    """cross_entropy: weight of each class. "auto": n / (K · n_class), at most `pos_weight_cap` apart."""
    alpha: Share | tuple[Share, ...] | Auto | None = None
    """focal: weight of positives, 1 − alpha that of negatives; null: both 1. "auto": share of negatives, within [0.5, 0.95]."""
    gamma: NonNegative = 2.0
    """focal: exponent that mutes easy samples; 0 is plain cross-entropy."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Targets move so far towards the uniform: 1 becomes 1 − s/2 (bce, focal), 1 − s + s/K (cross_entropy)."""
