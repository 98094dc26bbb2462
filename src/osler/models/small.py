"""The small network: our own, for images under 64 pixels, which networks made for 224 shrink to nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["PreactivationBlock", "SmallNetwork", "start_convolutions"]


class PreactivationBlock(nn.Module):
    """Two 3×3 convolutions with normalisation and ReLU before each, and a way around them.

    He et al. 2016, "Identity Mappings in Deep Residual Networks", figure 4(e); where the width or the side changes, the way
    around starts after the first activation and is a 1×1 convolution of the 2×2 averages, so that no pixel is thrown away.
    """

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.shrink = nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()
        self.around = nn.Conv2d(width_in, width, 1, bias=False) if width_in != width or stride != 1 else None

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) → (B, width, ⌈H / stride⌉, ⌈W / stride⌉)."""
        active = torch.relu(self.norm1(maps))
        inner = self.conv2(torch.relu(self.norm2(self.conv1(active))))
        around = maps if self.around is None else self.around(self.shrink(active))
        return inner + around  # type: ignore[no-any-return]


class SmallNetwork(nn.Module):
    """A pre-activation residual network of three stages (full, half and quarter side), 0.7 million parameters.

    Pooling joins the mean and the maximum of each map: a finding of few pixels moves the maximum, a hazy lung the mean.
    """

    def __init__(self, channels: int, widths: tuple[int, ...] = (32, 64, 128), depth: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        blocks, width_in = [], widths[0]
        for stage, width in enumerate(widths):
            for number in range(depth):
                blocks.append(PreactivationBlock(width_in, width, stride=2 if stage and not number else 1))
                width_in = width
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(width_in)
        self.num_features = 2 * width_in
        start_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, C, H, W), any size from 8 pixels → features (B, 2 · the last width)."""
        # An image of one channel has no memory format that the first layer could pass on.
        maps = self.stem(images).contiguous(memory_format=torch.channels_last)
        maps = torch.relu(self.norm(self.blocks(maps)))
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1)


def start_convolutions(part: nn.Module) -> None:
    """Random convolutions as He et al. 2015 say ("Delving Deep into Rectifiers", fan-out)."""
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
