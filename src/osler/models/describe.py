"""The table of `osler models`."""

from __future__ import annotations

import timm
import torch
from torch import nn

from osler.config import SEGMENTERS, ModelConfig
from osler.models.backbones import BACKBONES, TIMM_PREFIX
from osler.models.decoders import DECODERS
from osler.models.segmenters import COMPACT, SegmenterSpec, build_segmenter

__all__ = ["describe_models"]


def describe_models() -> str:
    """Tables of the architectures for a person, of images and of masks: name, parameters, what it is good for.

    Parameters are those of the backbone; of masks, of the whole network over efficientnet_lite0.
    """
    lines = [_line("architecture", "parameters", "about")]
    for name, recipe in BACKBONES.items():
        with torch.device("meta"):  # counts need shapes alone
            lines.append(_line(name, _millions(recipe.build(3, 224, False)), recipe.about))
    lines.append(_line(f"{TIMM_PREFIX}NAME", "", f"Any of the {len(timm.list_models())} models of timm {timm.__version__}."))
    lines += ["", _line("for masks", "parameters", "about, over model.encoder (efficientnet_lite0)")]
    for name in SEGMENTERS:
        with torch.device("meta"):
            network = build_segmenter(ModelConfig(architecture=name), SegmenterSpec(1, 3, 224))
        about = ABOUT_COMPACT if name == COMPACT else DECODERS[name].about
        lines.append(_line(name, _millions(network), about))
    return "\n".join(lines)


ABOUT_COMPACT = "Osler's own small U-Net, made for CPUs and thin structures; width 6: 0.07 M, width 32: 1.9 M."


def _line(name: str, parameters: str, about: str) -> str:
    return f"{name:<20} {parameters:>10}  {about}"


def _millions(network: nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in network.parameters()) / 1e6:.1f} M"
