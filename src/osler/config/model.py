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

SEGMENTERS = ("compact", "unet", "unetplusplus", "deeplabv3plus", "fpn", "manet", "segformer")
"""Networks that give masks; all but "compact" stand on `model.encoder`."""
OVERLAP_LOSSES = ("dice", "iou", "tversky", "focal_tversky", "boundary", "combined", "enhanced")
"""Losses of masks alone."""

Dropout = Annotated[float, Field(ge=0, lt=1)]


class ModelConfig(Section):
    """The network."""

    architecture: str = "auto"
    """A name of `osler models`, or "timm:NAME" for any of timm. "auto": "small" below 64 pixels, else efficientnet_lite0; for
    masks "compact"."""
    encoder: str | None = "auto"
    """Segmentation: a name of `osler models`, or "timm:NAME". "auto": efficientnet_lite0; null where the architecture has
    none."""
    width: Annotated[int, Field(ge=4, le=256)] = 16
    """compact: channels of the finest level; each coarser one has twice as many, up to eight times."""
    levels: Annotated[int, Field(ge=2, le=6)] = 4
    """compact: resolutions, each half of the one before."""
    deep_supervision: bool = False
    """Segmentation: coarser levels of the decoder are trained on the mask too, each with half the weight of the finer one."""
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
        return _known(value, ARCHITECTURES + SEGMENTERS)

    @field_validator("encoder")
    @classmethod
    def _known_encoder(cls, value: str | None) -> str | None:
        return None if value is None else _known(value, tuple(name for name in ARCHITECTURES if name != "small"))

    @model_validator(mode="after")
    def _one_dropout_each(self) -> ModelConfig:
        if isinstance(self.dropout, tuple) and len(self.dropout) != max(1, len(self.head)):
            raise ValueError(f"dropout has {len(self.dropout)} values, and the head has {len(self.head)} hidden layers")
        return self

    @field_validator("pretrained", mode="after")
    @classmethod
    def _false_is_null(cls, value: Any) -> Any:
        return None if value is False else value


def _known(value: str, names: tuple[str, ...]) -> str:
    if value == "auto" or value in names or re.fullmatch(r"timm:[\w.\-]+", value):
        return value
    guess = nearest(value, names)
    raise ValueError(
        f"{value!r} is not known{f' (did you mean {guess!r}?)' if guess else ''}; choose one of {', '.join(names)}, or timm:NAME"
    )


LossName = Literal["bce", "cross_entropy", "focal", "dice", "iou", "tversky", "focal_tversky", "boundary", "combined", "enhanced"]
PartName = Literal["bce", "focal", "dice", "iou", "tversky", "focal_tversky", "boundary"]


class LossStage(Section):
    """A loss that is in force for some epochs; its parameters are those of the section `loss`."""

    type: LossName
    epochs: Count | None = None
    """How many; null for the last stage, which lasts."""


class LossConfig(Section):
    """The loss and its parameters; what they do is stated in `osler.losses` and probed by a test."""

    type: Literal["auto"] | LossName = "auto"
    """"auto": cross_entropy where classes exclude each other, else bce; for masks "combined"."""
    pos_weight: Positive | tuple[Positive, ...] | Auto | None = None
    """bce: weight of positive samples, one or one a class. "auto": negatives / positives in train, at most `pos_weight_cap`."""
    pos_weight_cap: Positive = 50.0
    class_weights: tuple[Positive, ...] | Auto | None = None
    """cross_entropy: weight of each class. "auto": n / (K · n_class), at most `pos_weight_cap` apart."""
    alpha: Share | tuple[Share, ...] | Auto | None = None
    """focal: weight of positives, 1 − alpha that of negatives; null: both 1. "auto": share of negatives, within [0.5, 0.95]."""
    gamma: NonNegative = 2.0
    """focal: exponent that mutes easy samples; 0 is plain cross-entropy."""
    tversky_alpha: Share | None = None
    """tversky, focal_tversky, enhanced: weight of false positives; null: 1 − `tversky_beta`."""
    tversky_beta: Share = 0.7
    """tversky, focal_tversky, enhanced: weight of false negatives; above 0.5 missing a lesion is dearer than a false alarm."""
    tversky_gamma: Positive = 0.75
    """focal_tversky: (1 − Tversky index) to this power; below 1 it stays steep near a perfect overlap, above 1 it flattens
    there."""
    smooth: NonNegative = 1.0
    """Overlap losses: pixels added to numerator and denominator."""
    pooled: Literal["batch", "case"] = "batch"
    """Overlap losses: the overlap of all images of a batch at once, or of each image. With "case" an image without foreground
    counts by `smooth` alone: 0 when nothing is predicted, near 1 when anything is."""
    weights: dict[PartName, Positive] | None = None
    """combined, enhanced: parts and their weights. Null: {bce: 0.4, dice: 0.4, focal: 0.2}, and a quarter each of bce, focal,
    dice and tversky."""
    schedule: tuple[LossStage, ...] = ()
    """Losses in turn, such as [{type: combined, epochs: 10}, {type: enhanced}]; empty: `type` throughout."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Targets move so far towards the uniform: 1 becomes 1 − s/2 (bce, focal), 1 − s + s/K (cross_entropy)."""

    @model_validator(mode="after")
    def _stages_follow(self) -> LossConfig:
        if not self.schedule:
            return self
        if self.type != "auto":
            raise ValueError(f"give type ({self.type}) or schedule, not both")
        if any(stage.epochs is None for stage in self.schedule[:-1]) or self.schedule[-1].epochs is not None:
            raise ValueError("schedule: every stage but the last needs epochs, and the last has none")
        return self
