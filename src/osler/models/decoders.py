"""Decoders and the head: from an encoder's maps to the logits of every pixel.

The decoders are those of segmentation-models-pytorch over timm's encoders; its own segmentation heads are left out: they
interpolate with corners aligned, so that the place of a pixel would depend on the size of the image around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import segmentation_models_pytorch as smp
from torch import Tensor, nn
from torch.nn import functional

from osler.models.heads import OUTPUT_SCALE
from osler.models.network import set_bias

__all__ = ["DECODERS", "DecoderRecipe", "MaskHead", "PyramidDecoder"]


@dataclass(frozen=True)
class DecoderRecipe:
    """A decoder of segmentation-models-pytorch.

    Attributes:
        build: (encoder_name=, encoder_weights=, in_channels=, classes=) → its whole model.
        about: one line for `osler models`.
        coarser: the decoder's modules that give maps at 1/2, 1/4 and 1/8 of the input's resolution, for deep supervision;
            empty where there are none.
    """

    build: Callable[..., Any]
    about: str
    coarser: tuple[str, ...] = ()


BLOCKS = ("blocks.3", "blocks.2", "blocks.1")

DECODERS: dict[str, DecoderRecipe] = {
    "unet": DecoderRecipe(smp.Unet, "U-Net: the reference; sharp at borders.", BLOCKS),
    "unetplusplus": DecoderRecipe(
        smp.UnetPlusPlus,
        "U-Net++: nested skips; more work for small structures.",
        ("blocks.x_0_3", "blocks.x_0_2", "blocks.x_0_1"),
    ),
    "deeplabv3plus": DecoderRecipe(smp.DeepLabV3Plus, "DeepLabV3+: wide context, output at a quarter; organs and large lesions."),
    "fpn": DecoderRecipe(smp.FPN, "Feature pyramid: light, output at a quarter."),
    "manet": DecoderRecipe(smp.MAnet, "MAnet: U-Net with attention over positions; needs one size of tile.", BLOCKS),
    "segformer": DecoderRecipe(
        smp.Segformer, "SegFormer's decoder: dense layers over all levels; the lightest, output at a quarter."
    ),
}


class PyramidDecoder(nn.Module):
    """A decoder that gives one map, made to give those of its inner levels too.

    Attributes:
        decoder: list of maps → one map.
        coarser: names of its modules whose outputs follow, finer first.
    """

    def __init__(self, decoder: nn.Module, coarser: Sequence[str] = ()) -> None:
        super().__init__()
        self.decoder = decoder
        self.coarser = tuple(coarser)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Maps of the encoder, finest first → its map, and those of `coarser`."""
        with _outputs_of([self.decoder.get_submodule(name) for name in self.coarser]) as outputs:
            finest: Tensor = self.decoder(list(features))
        return [finest, *outputs]


@contextmanager
def _outputs_of(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """A list that the outputs of these modules come to stand in. Nothing is left on the modules, which may be copied."""
    outputs: list[Any] = [None] * len(modules)

    def keeper(place: int) -> Callable[[nn.Module, Any, Tensor], None]:
        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            outputs[place] = output

        return keep

    handles = [module.register_forward_hook(keeper(place)) for place, module in enumerate(modules)]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


class MaskHead(nn.Module):
    """Decoder → logits; with deep supervision, logits of its coarser levels too.

    The output starts at bias 0 and with weights so small that the first logits keep within about 0.01 of the bias, as the
    classifier's does: a bias at the best constant prediction makes the first batch's loss that of the constant.

    Attributes:
        decoder: maps of the encoder → maps (B, C, h, w), finest first.
        output: the last convolution, on the finest maps.
        levels: those of the coarser maps; empty without deep supervision.
    """

    def __init__(self, decoder: nn.Module, widths: Sequence[int], classes: int, kernel: int, raw: bool) -> None:
        """Puts the outputs upon a decoder.

        Args:
            decoder: as in the attributes.
            widths: channels of the maps that get an output, finest first.
            classes: K.
            kernel: side of the finest output's convolution.
            raw: the maps have yet to be normalised and rectified.
        """
        super().__init__()
        self.decoder = decoder
        self.active = _activation(widths[0], raw)
        self.output = _output(widths[0], classes, kernel)
        self.levels = nn.ModuleList(nn.Sequential(_activation(width, raw), _output(width, classes, 1)) for width in widths[1:])

    def forward(self, features: Sequence[Tensor], size: tuple[int, int], every_level: bool) -> list[Tensor]:
        """Logits from an encoder's maps.

        Args:
            features: maps of the encoder, finest first.
            size: height and width of its input.
            every_level: whether the coarser levels answer too.

        Returns:
            (B, K, *size), then (B, K, h, w) of each coarser level that has an output, at its own resolution.
        """
        maps = self.decoder(features)
        logits: Tensor = self.output(self.active(maps[0]))
        if logits.shape[2:] != size:
            logits = functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        coarser = zip(self.levels, maps[1:], strict=False) if every_level else ()
        return [logits, *(level(inner) for level, inner in coarser)]

    def set_output_bias(self, logits: Any) -> None:
        """Starts every output at (K,) logits."""
        for output in (self.output, *(level[1] for level in self.levels)):  # type: ignore[index]
            set_bias(output, logits)


def _activation(width: int, raw: bool) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(width), nn.ReLU()) if raw else nn.Identity()


def _output(width: int, classes: int, kernel: int) -> nn.Conv2d:
    output = nn.Conv2d(width, classes, kernel, padding=kernel // 2)
    assert output.bias is not None
    nn.init.normal_(output.weight, std=OUTPUT_SCALE / math.sqrt(width * kernel**2))
    nn.init.zeros_(output.bias)
    return output
