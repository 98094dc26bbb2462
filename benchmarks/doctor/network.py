"""The networks of the bench, so small that a run takes seconds on one core.

Images are classified by three convolutions behind Osler's own classifier, and segmented by Osler's compact network, entered at
half the resolution.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from osler.config import Config
from osler.models.backbones import Backbone
from osler.models.classifier import Classifier
from osler.models.compact import CompactEncoder
from osler.models.heads import Head
from osler.models.segmenters import Segmenter

__all__ = ["BenchNetwork", "build_network", "enter_at_half"]


class BenchNetwork(nn.Module):
    """Convolution, normalisation and ReLU, three times; then the mean and the maximum of each map.

    The first two convolutions halve the side.
    """

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for (before, after), stride in zip(itertools.pairwise((1, *widths)), (2, 2, 1), strict=True):
            convolution = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.num_features = 2 * widths[-1]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, side, side) → features (B, `num_features`)."""
        maps = self.layers(images)
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1)


def build_network(widths: tuple[int, int, int], config: Config, classes: int) -> Classifier:
    """The classifier of a configuration over the bench's network."""
    network = BenchNetwork(widths)
    head = Head(network.num_features, classes, config.model.head, config.model.attention, config.model.dropout)
    return Classifier("small", Backbone(network, network.num_features, (0.5,), (0.25,)), head, config.model.frozen_norm)


def enter_at_half(model: Segmenter) -> None:
    """Lets a compact network enter at half the side, which makes it three times as fast; its head doubles it again."""
    encoder = model.backbone
    assert isinstance(encoder, CompactEncoder)
    stem = encoder.stem
    encoder.stem = nn.Conv2d(stem.in_channels, stem.out_channels, 3, stride=2, padding=1, bias=False)
    nn.init.kaiming_normal_(encoder.stem.weight, mode="fan_out", nonlinearity="relu")
    model.features_stride *= 2
