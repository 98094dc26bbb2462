"""The compact segmenter: our own small U-Net, quick on a CPU, for thin vessels and small lesions.

What it is made of, and why:

* Levels at 1, 1/2, 1/4 … of the input's resolution (Ronneberger et al. 2015). The finest has as many pixels as the image, so
  that a vessel of one pixel's width is never averaged with its surroundings on its way to the output; it is also where the
  time goes, so it is narrow, and each coarser level has twice the channels, up to eight times.
* Pre-activation residual blocks of two 3×3 convolutions (He et al. 2016): with a way around, the first epochs of a small set
  already move the coarse levels.
* A level is entered by a convolution of stride 2 and left by bilinear interpolation after a 1×1 convolution. What comes up is
  concatenated with what was there.
* BatchNorm, and neither GroupNorm nor InstanceNorm. Those take statistics over the whole extent of an image, in prediction
  too: a pixel's probability would depend on the size of the tile around it and on the black margin far away, and tiles would
  not join to what the whole image gives. BatchNorm's statistics are constants in prediction. Its weakness, few samples in a
  batch, weighs little here: it averages over pixels, and a batch of 2 patches of 128 × 128 still has 32,768 at the finest level
  and 512 at the fourth.
* Nothing looks at a whole image at once, so that overlapping tiles equal the whole image away from their edges.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.models.small import PreactivationBlock, start_convolutions

__all__ = ["CompactDecoder", "CompactEncoder", "compact_widths"]

WIDEST = 8
"""Channels of the coarsest levels, in widths of the finest."""


def compact_widths(width: int, levels: int) -> tuple[int, ...]:
    """Channels of each level, finest first.

    >>> compact_widths(8, 5)
    (8, 16, 32, 64, 64)
    """
    return tuple(width * min(2**level, WIDEST) for level in range(levels))


class CompactEncoder(nn.Module):
    """A 3×3 convolution, then one residual block a level.

    Attributes:
        widths: channels of each level, finest first.
    """

    def __init__(self, channels: int, width: int, levels: int) -> None:
        super().__init__()
        self.widths = compact_widths(width, levels)
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        entered = (width, *self.widths[:-1])
        self.levels = nn.ModuleList(
            PreactivationBlock(before, after, stride=2 if level else 1)
            for level, (before, after) in enumerate(zip(entered, self.widths, strict=True))
        )
        start_convolutions(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised images (B, C, H, W), sides divisible by 2^(levels − 1) → maps of each level, finest first."""
        # An image of one channel has no memory format that the first layer could pass on.
        maps = self.stem(images).contiguous(memory_format=torch.channels_last)
        found = []
        for block in self.levels:
            maps = block(maps)
            found.append(maps)
        return found


class CompactDecoder(nn.Module):
    """From the coarsest level up: interpolate, join with the encoder's maps, one residual block.

    Attributes:
        widths: channels of what it gives for each level, finest first.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths[:-1])
        self.narrow = nn.ModuleList(nn.Conv2d(widths[level + 1], width, 1, bias=False) for level, width in enumerate(self.widths))
        self.levels = nn.ModuleList(PreactivationBlock(2 * width, width, stride=1) for width in self.widths)
        start_convolutions(self)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Maps of the encoder, finest first → maps of all levels but the coarsest, finest first."""
        maps, found = features[-1], []
        for level in range(len(self.widths) - 1, -1, -1):
            # Narrowing and interpolating commute; in this order the interpolation has half the channels to move.
            risen = functional.interpolate(self.narrow[level](maps), scale_factor=2, mode="bilinear", align_corners=False)
            maps = self.levels[level](torch.cat([risen, features[level]], dim=1))
            found.append(maps)
        return found[::-1]
