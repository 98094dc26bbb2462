"""Backbones: the networks between an image and its features, by the names of `osler.config.ARCHITECTURES`.

All but `small` are timm's, built without their classifier. timm adapts the first layer of pretrained weights to one channel
by adding the weights of the three, so a gray image is seen as it would be in all three.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn

from osler.config import ModelConfig
from osler.errors import ModelError, lookup
from osler.imaging.preparation import SMALL_BELOW
from osler.models.small import SmallNetwork

__all__ = [
    "BACKBONES",
    "Backbone",
    "Recipe",
    "build_backbone",
    "no_hub",
    "normalisation",
    "on_one_line",
    "resolve_architecture",
    "timm_name",
]

TIMM_PREFIX = "timm:"


@dataclass(frozen=True)
class Backbone:
    """A network that turns normalised images into features, and what has to be known to feed it.

    Attributes:
        network: normalised images (B, C, H, W) → features (B, `features`).
        features: width of its output.
        mean: C numbers; the mean of an image's channels on the scale 0..1, as the weights' card states it.
        std: C numbers, likewise.
    """

    network: nn.Module
    features: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Recipe:
    """How a backbone is built, and what it is good for.

    Attributes:
        build: (channels, size, from_hub) → the network; `from_hub` asks for timm's weights.
        about: one line for `osler models`.
        timm: its name there; None for a network of our own.
    """

    build: Callable[[int, int, bool], nn.Module]
    about: str
    timm: str | None = None


def _of_timm(name: str, about: str) -> Recipe:
    return Recipe(_timm(name), about, name)


def _timm(name: str) -> Callable[[int, int, bool], nn.Module]:
    def build(channels: int, size: int, from_hub: bool) -> nn.Module:
        card = timm.get_pretrained_cfg(name)
        # Transformers with a table of positions are built for one size.
        options: dict[str, Any] = {"in_chans": channels, "num_classes": 0}
        options |= {"img_size": size} if card is not None and card.fixed_input_size else {}
        try:
            network: nn.Module = timm.create_model(name, pretrained=from_hub, **options)
        except Exception as error:
            # timm and the hub's client raise whatever their parts raise; nothing narrower catches them all.
            raise (no_hub if from_hub else _not_built)(name, channels, size, error) from error
        return network

    return build


def _not_built(name: str, channels: int, size: int, error: Exception) -> ModelError:
    return ModelError(
        f"model.architecture: timm cannot build {name!r} for {channels} × {size} × {size}: {on_one_line(error)}. "
        "Use another preparation.size or another architecture."
    )


def no_hub(name: str, channels: int, size: int, error: Exception) -> ModelError:
    """What to say where timm's hub did not give weights, and why."""
    return ModelError(
        f"model.pretrained: true asks timm's hub for the weights of {name!r} ({channels} × {size} × {size}), and they could not "
        f"be had: {type(error).__name__}: {on_one_line(error)}\n"
        '  Without a network: set model.pretrained to "embedded" (efficientnet_lite0, installed with Osler), to the path of '
        "a weights file (.safetensors or .pth), or to null for random weights."
    )


def on_one_line(error: Exception) -> str:
    """The first 300 characters of what another library said."""
    return " ".join(str(error).split())[:300]


def _small(channels: int, size: int, from_hub: bool) -> nn.Module:
    if from_hub:
        raise ModelError(
            "model.pretrained: there are no published weights of the small network. Set model.pretrained to null or to the "
            "path of your own weights, or choose another model.architecture."
        )
    return SmallNetwork(channels)


BACKBONES: dict[str, Recipe] = {
    "resnet50": _of_timm("resnet50", "The reference of most papers; robust, heavy on a CPU."),
    "densenet121": _of_timm("densenet121", "The usual choice for chest radiographs (CheXNet)."),
    "efficientnet_b0": _of_timm("efficientnet_b0", "Good accuracy per parameter; squeeze-and-excitation, SiLU."),
    "convnext_tiny": _of_timm("convnext_tiny", "The strongest here and the heaviest; LayerNorm, so no batch statistics."),
    "mobilenet_v3_large": _of_timm("mobilenetv3_large_100", "Light, made for phones."),
    "efficientnet_lite0": _of_timm("tf_efficientnet_lite0", "Light and plain (ReLU6); its ImageNet weights are installed."),
    "small": Recipe(_small, "Osler's own residual network for images under 64 pixels; random start."),
}


def resolve_architecture(config: ModelConfig, size: int) -> str:
    """The architecture that `auto` means for square images of `size` pixels; any other name as it stands.

    >>> resolve_architecture(ModelConfig(), 28), resolve_architecture(ModelConfig(), 224)
    ('small', 'efficientnet_lite0')
    """
    if config.architecture != "auto":
        return config.architecture
    # The embedded weights fit one architecture alone: to ask for them is to ask for it.
    return "small" if size < SMALL_BELOW and config.pretrained != "embedded" else "efficientnet_lite0"


def timm_name(encoder: str) -> str:
    """What timm calls an encoder of `model.encoder`.

    Raises:
        ModelError: no such network, or one that is not timm's.

    >>> timm_name("efficientnet_lite0"), timm_name("timm:resnet18")
    ('tf_efficientnet_lite0', 'resnet18')
    """
    name = _recipe(encoder, "model.encoder").timm
    if name is None:
        others = ", ".join(name for name, recipe in BACKBONES.items() if recipe.timm)
        raise ModelError(f"model.encoder: {encoder!r} gives no maps of several levels. Allowed: {others}, or timm:NAME.")
    return name


def _recipe(architecture: str, key: str = "model.architecture") -> Recipe:
    if not architecture.startswith(TIMM_PREFIX):
        return lookup(BACKBONES, architecture, key, ModelError, also="Or timm:NAME for any model of timm.")
    name = architecture.removeprefix(TIMM_PREFIX)
    if not timm.is_model(name):
        raise ModelError(_unknown_timm(name, key))
    return _of_timm(name, "A model of timm.")


def _unknown_timm(name: str, key: str) -> str:
    stem = name.split(".")[0]
    near = difflib.get_close_matches(stem, timm.list_models(), n=5, cutoff=0.5)
    hint = f"Near names: {', '.join(near)}." if near else f"It has {len(timm.list_models())}; `timm.list_models()` lists them."
    return f"{key}: timm {timm.__version__} has no model {name!r}. {hint}"


def build_backbone(architecture: str, channels: int, size: int, from_hub: bool = False) -> Backbone:
    """The backbone of this name for square images of `size` pixels.

    Weights are random unless `from_hub`. One forward pass measures the width of its features, so that a network that cannot
    take this size is refused here and not in the first epoch.

    Raises:
        ModelError: an unknown name, weights that the hub does not give, a size that the network cannot take.
    """
    network = _recipe(architecture).build(channels, size, from_hub)
    mean, std = normalisation(network, channels)
    return Backbone(network, _feature_width(network, architecture, channels, size), mean, std)


def normalisation(network: nn.Module, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation on the scale 0..1; one channel takes the average of three, as timm's first layer does."""
    card = getattr(network, "pretrained_cfg", None) or {"mean": (0.5,), "std": (0.25,)}
    mean, std = (tuple(float(value) for value in card[key]) for key in ("mean", "std"))
    if len(mean) != channels:
        mean, std = (((sum(values) / len(values)),) * channels for values in (mean, std))
    return mean, std


def _feature_width(network: nn.Module, architecture: str, channels: int, size: int) -> int:
    training = network.training
    network.eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of empty maps, which the check below reports in words
            features: Tensor = network(torch.zeros(1, channels, size, size))
    except RuntimeError as error:
        raise ModelError(_does_not_fit(architecture, size, on_one_line(error))) from error
    finally:
        network.train(training)
    if features.ndim != 2 or not torch.isfinite(features).all():
        raise ModelError(_does_not_fit(architecture, size, f"its output has shape {tuple(features.shape)} or is not finite"))
    return features.shape[1]


def _does_not_fit(architecture: str, size: int, why: str) -> str:
    return (
        f"model.architecture: {architecture} cannot take images of {size} × {size}: {why}. "
        "Use a larger preparation.size, or the architecture small, which is made for small images."
    )
