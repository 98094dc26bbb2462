"""The classifier: normalisation, backbone and head as one module, and which of its layers learn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from numpy.typing import ArrayLike
from torch import Tensor

from osler.config import ModelConfig
from osler.errors import ModelError
from osler.models.backbones import Backbone, build_backbone, resolve_architecture
from osler.models.heads import Head
from osler.models.network import Network, set_bias
from osler.models.weights import load_embedded, load_weights

__all__ = ["Classifier", "ModelSpec", "build_model"]


@dataclass(frozen=True)
class ModelSpec:
    """What the data say about the model.

    Attributes:
        task: binary, multiclass or multilabel.
        classes: K, the number of logits; 1 for a binary task.
        channels: of the prepared images, 1 or 3.
        size: their side in pixels.
    """

    task: Literal["binary", "multiclass", "multilabel"]
    classes: int
    channels: int
    size: int


class Classifier(Network):
    """Images as they were prepared → logits (B, K): normalisation, backbone and head."""

    def __init__(self, architecture: str, backbone: Backbone, head: Head, frozen_norm: Literal["eval", "train"] = "eval") -> None:
        super().__init__(architecture, backbone.network, backbone.mean, backbone.std, frozen_norm)
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Prepared images (B, C, H, W), uint8 or floats of 0..255 → logits (B, K)."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """Prepared images (B, C, H, W) → what the head reads: pooled features (B, F)."""
        features: Tensor = self.backbone(self.normalised(images))
        return features

    def set_output_bias(self, logits: ArrayLike) -> None:
        """Starts the output at a constant prediction, (K,) finite logits: the floor's best constant.

        The head starts with output weights near zero, so the first batch's loss is that constant's loss. A layer that was
        loaded from a file (`output_loaded`) has a bias that was learned with its weights: leave that one.
        """
        set_bias(self.head.output, logits)


def build_model(config: ModelConfig, spec: ModelSpec) -> Classifier:
    """The classifier that a configuration describes, for these data, all of it learning.

    Random weights come from torch's global generator: seed it first. Of pretrained weights the mean and standard deviation
    of their own card come along; one channel takes their average.

    Raises:
        ModelError: an architecture, a size or weights that cannot be used.
    """
    architecture = resolve_architecture(config, spec.size)
    if config.pretrained == "embedded" and architecture != "efficientnet_lite0":
        raise ModelError(
            f"model.pretrained: the embedded weights are those of efficientnet_lite0, and model.architecture is {architecture!r}."
            " Use efficientnet_lite0, or set model.pretrained to true (timm's hub), a path or null."
        )
    backbone = build_backbone(architecture, spec.channels, spec.size, from_hub=config.pretrained is True)
    head = Head(backbone.features, spec.classes, config.head, config.attention, config.dropout)
    model = Classifier(architecture, backbone, head, config.frozen_norm)
    if config.pretrained == "embedded":
        model.notes = (f"model.pretrained: {load_embedded(model.backbone)} tensors of the embedded ImageNet weights",)
    elif isinstance(config.pretrained, Path):
        loaded = load_weights(model, config.pretrained)
        model.notes, model.output_loaded = loaded.notes, loaded.output
    elif config.pretrained:
        model.notes = (f"model.pretrained: the weights of {architecture} from timm's hub",)
    return model
