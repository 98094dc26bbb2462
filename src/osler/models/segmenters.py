"""Segmenters: networks that give the logits of every pixel, by the names of `osler.config.SEGMENTERS`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import timm
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional

from osler.config import SEGMENTERS, ModelConfig
from osler.errors import ModelError
from osler.models.backbones import no_hub, normalisation, on_one_line, timm_name
from osler.models.compact import CompactDecoder, CompactEncoder
from osler.models.decoders import DECODERS, MaskHead, PyramidDecoder
from osler.models.network import Network
from osler.models.weights import load_embedded, load_encoder_weights, move_into_encoder

__all__ = ["Segmenter", "SegmenterSpec", "build_segmenter", "resolve_encoder", "resolve_segmenter"]

COMPACT = "compact"
EMBEDDED_ENCODER = "efficientnet_lite0"
# A strip of the image whose far end no convolution of these networks sees from the near end: the widest receptive field,
# that of densenet121 under a U-Net, reaches about 1,300 pixels to each side.
STRIP = (32, 4096)


@dataclass(frozen=True)
class SegmenterSpec:
    """What the data say about the model.

    Attributes:
        classes: K, the planes of a mask.
        channels: of the prepared images, 1 or 3.
        size: side in pixels of what it is trained on, images or patches; it takes any other as well.
        exclusive: whether a pixel is of one class at most; the background's logit is then fixed at 0, and no output of its own.
    """

    classes: int
    channels: int
    size: int
    exclusive: bool = True


class Segmenter(Network):
    """Images as they were prepared → logits (B, K, H, W) of any height and width.

    Where a side is no multiple of the encoder's stride, the image is continued by its last row and column, below and to the
    right, and the logits are cropped: the place of a pixel in the encoder's grid depends on its distance from the upper left
    corner alone, so that tiles whose corners are multiples of `features_stride` see what the whole image shows.

    Attributes:
        features_stride: of the encoder's coarsest maps, in pixels.
        head: `MaskHead`.
    """

    def __init__(
        self,
        architecture: str,
        encoder: nn.Module,
        head: MaskHead,
        stride: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        frozen_norm: Literal["eval", "train"] = "eval",
    ) -> None:
        """Joins encoder and head; `mean` and `std` are on the scale 0..1."""
        super().__init__(architecture, encoder, mean, std, frozen_norm)
        self.head = head
        self.features_stride = stride
        self._global: bool | None = None

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:  # type: ignore[override]
        """Prepared images (B, C, H, W), uint8 or floats of 0..255 → logits (B, K, H, W).

        In training with deep supervision it is `forward_levels`: what wraps a model for several processes calls this alone.
        """
        levels = self._levels(images, every_level=self.training and self.deep_supervision)
        return levels if len(levels) > 1 else levels[0]

    @property
    def deep_supervision(self) -> bool:
        """Whether coarser levels have an output of their own."""
        return len(self.head.levels) > 0

    def forward_levels(self, images: Tensor) -> list[Tensor]:
        """Logits of every level that has an output, finest first: (B, K, H, W), then (B, K, ⌈H / f⌉, ⌈W / f⌉), f = 2, 4, ….

        A pixel of a coarser level stands for f × f pixels of the image, the last row and column for what is left.
        """
        return self._levels(images, every_level=True)

    def _levels(self, images: Tensor, every_level: bool) -> list[Tensor]:
        height, width = images.shape[2:]
        below, right = -height % self.features_stride, -width % self.features_stride
        inputs = self.normalised(images)
        if below or right:
            inputs = functional.pad(inputs, (0, right, 0, below), mode="replicate").contiguous(memory_format=torch.channels_last)
        size = (height + below, width + right)
        found = self.head(self.backbone(inputs), size, every_level)
        return [_cropped(logits, size, (height, width)) for logits in found]

    def set_output_bias(self, logits: ArrayLike) -> None:
        """Starts the output, and those of deep supervision, at a constant prediction: (K,) finite logits."""
        self.head.set_output_bias(logits)

    @torch.no_grad()
    def check_sizes(self, *sides: int) -> None:
        """Tries images of these sides in pixels, since some encoders are built for one size, and say so only when they run.

        Raises:
            ModelError: one of them cannot be taken.
        """
        training = self.training
        self.eval()
        try:
            for side in sorted({*sides}):
                self._levels(torch.zeros(1, self.mean.shape[1], side, side, device=self.mean.device), False)
        except (RuntimeError, AssertionError, ValueError) as error:
            raise ModelError(
                f"model.encoder: this network cannot take images of {side} x {side} pixels: {on_one_line(error)}. Use an encoder "
                f"of convolutions, such as {EMBEDDED_ENCODER} or resnet50, or the size that this one is built for as "
                "preparation.size, without data.patches and prediction.tile."
            ) from error
        finally:
            self.train(training)

    @property
    def has_global_operation(self) -> bool:
        """Whether a pixel's logits depend on what is arbitrarily far away, as with pooling, attention or norms over an image.

        Overlapping tiles then differ from the whole image everywhere, and the tile's size is part of the model. Found out by
        trial, once: one end of a long strip is changed, and the other end looked at.
        """
        if self._global is None:
            self._global = self._feels_the_far_end()
        return self._global

    @torch.no_grad()
    def _feels_the_far_end(self) -> bool:
        training = self.training
        self.eval()
        noise = torch.rand(1, self.mean.shape[1], *STRIP, generator=torch.Generator().manual_seed(0)).to(self.mean.device)
        changed = noise.clone()
        changed[..., : STRIP[1] // 8] = 1.0
        try:
            far = [self._levels(255 * strip, False)[0][..., -self.features_stride :] for strip in (noise, changed)]
        except (RuntimeError, AssertionError):  # built for one size of image: a table of positions, or windows
            return True
        finally:
            self.train(training)
        return bool((far[0] - far[1]).abs().max() > 1e-5 * (far[0] - far[0].mean()).abs().max())


def _cropped(logits: Tensor, padded: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """A level's logits without what stands for padding alone."""
    factors = (padded[0] // logits.shape[2], padded[1] // logits.shape[3])
    rows, columns = (-(-side // factor) for side, factor in zip(size, factors, strict=True))
    return logits[:, :, :rows, :columns]


# --- from a configuration -----------------------------------------------------------------------------------------------------


def resolve_segmenter(config: ModelConfig) -> str:
    """The architecture that `auto` means for masks: "compact", or "unet" where an encoder or its weights are asked for.

    Raises:
        ModelError: the architecture is one of classification.

    >>> resolve_segmenter(ModelConfig()), resolve_segmenter(ModelConfig(encoder="resnet50"))
    ('compact', 'unet')
    """
    name = config.architecture
    if name == "auto":
        return "unet" if config.encoder not in (None, "auto") or config.pretrained in (True, "embedded") else COMPACT
    if name not in SEGMENTERS:
        raise ModelError(
            f"model.architecture: {name!r} gives one answer for an image, and the task is segmentation. Set model.architecture "
            f"to one of {', '.join(SEGMENTERS)}; for this network under a decoder: architecture: unet, encoder: {name}."
        )
    return name


def resolve_encoder(config: ModelConfig) -> str | None:
    """The encoder that `auto` means; None for the compact network, which brings its own.

    >>> resolve_encoder(ModelConfig(architecture="fpn")), resolve_encoder(ModelConfig())
    ('efficientnet_lite0', None)
    """
    return None if resolve_segmenter(config) == COMPACT else _encoder(config)


def _encoder(config: ModelConfig) -> str:
    return EMBEDDED_ENCODER if config.encoder in (None, "auto") else str(config.encoder)


def build_segmenter(config: ModelConfig, spec: SegmenterSpec) -> Segmenter:
    """The segmenter that a configuration describes, for these data, all of it learning.

    Random weights come from torch's global generator: seed it first. Of pretrained weights the mean and standard deviation
    of their own card come along; one channel takes their average.

    Raises:
        ModelError: an architecture, an encoder, weights or settings that cannot be used.
    """
    architecture = resolve_segmenter(config)
    _check(config, architecture)
    model = _compact(config, spec) if architecture == COMPACT else _on_encoder(config, spec, architecture)
    if config.pretrained == "embedded":
        network = timm.create_model(timm_name(EMBEDDED_ENCODER), in_chans=spec.channels, num_classes=0)
        load_embedded(network)
        count = move_into_encoder(model, network.state_dict())
        model.notes = (f"model.pretrained: {count} tensors of the embedded ImageNet weights in the encoder",)
    elif isinstance(config.pretrained, Path):
        loaded = load_encoder_weights(model, config.pretrained)
        model.notes, model.output_loaded = loaded.notes, loaded.output
    elif config.pretrained:
        model.notes = (f"model.pretrained: the weights of {_encoder(config)} from timm's hub, in the encoder",)
    return model


def _check(config: ModelConfig, architecture: str) -> None:
    faults = []
    if config.head or config.attention:
        faults.append("model.head and model.attention belong to classification: leave them out, or use another decoder.")
    if architecture == COMPACT and config.encoder not in (None, "auto"):
        faults.append(f"model.encoder: compact has no place for {config.encoder!r}: use architecture: unet, or leave it out.")
    if architecture == COMPACT and config.pretrained in (True, "embedded"):
        faults.append(
            "model.pretrained: there are no published weights of the compact network. Set it to null or to the path of your own "
            "weights, or use architecture: unet with encoder: efficientnet_lite0."
        )
    elif config.pretrained == "embedded" and _encoder(config) != EMBEDDED_ENCODER:
        faults.append(
            f"model.pretrained: the embedded weights are those of {EMBEDDED_ENCODER}, and model.encoder is "
            f"{_encoder(config)!r}. Use {EMBEDDED_ENCODER}, or set model.pretrained to true (timm's hub), a path or null."
        )
    if config.deep_supervision and architecture != COMPACT and not DECODERS[architecture].coarser:
        able = ", ".join([COMPACT, *(name for name, recipe in DECODERS.items() if recipe.coarser)])
        faults.append(f"model.deep_supervision: {architecture} has no coarser levels of output. Allowed with: {able}.")
    if faults:
        raise ModelError("\n".join(faults))


def _compact(config: ModelConfig, spec: SegmenterSpec) -> Segmenter:
    encoder = CompactEncoder(spec.channels, config.width, config.levels)
    decoder = CompactDecoder(encoder.widths)
    widths = decoder.widths if config.deep_supervision else decoder.widths[:1]
    head = MaskHead(decoder, widths, spec.classes, kernel=1, raw=True)
    middle, spread = ((value,) * spec.channels for value in (0.5, 0.25))
    return Segmenter(COMPACT, encoder, head, 2 ** (config.levels - 1), middle, spread, config.frozen_norm)


def _on_encoder(config: ModelConfig, spec: SegmenterSpec, architecture: str) -> Segmenter:
    name, recipe = timm_name(_encoder(config)), DECODERS[architecture]
    from_hub = config.pretrained is True
    try:
        whole = recipe.build(
            encoder_name=f"tu-{name}",
            encoder_weights="imagenet" if from_hub else None,
            in_channels=spec.channels,
            classes=spec.classes,
        )
    except Exception as error:
        # timm, segmentation-models-pytorch and the hub's client raise whatever their parts raise.
        raise (no_hub(name, spec.channels, spec.size, error) if from_hub else _no_pair(architecture, name, error)) from error
    mean, std = normalisation(whole.encoder.model, spec.channels)
    output = whole.segmentation_head[0]
    decoder = PyramidDecoder(whole.decoder, recipe.coarser if config.deep_supervision else ())
    stride = int(whole.encoder.output_stride)
    widths = [output.in_channels, *_widths(whole.encoder, decoder, spec.channels, stride)]
    head = MaskHead(decoder, widths, spec.classes, kernel=output.kernel_size[0], raw=False)
    return Segmenter(architecture, whole.encoder, head, stride, mean, std, config.frozen_norm)


def _widths(encoder: nn.Module, decoder: PyramidDecoder, channels: int, stride: int) -> list[int]:
    """Channels of the decoder's coarser levels, found by a pass."""
    if not decoder.coarser:
        return []
    with torch.no_grad():
        maps = decoder.eval()(encoder.eval()(torch.zeros(1, channels, 2 * stride, 2 * stride)))
    encoder.train()
    decoder.train()
    return [level.shape[1] for level in maps[1:]]


def _no_pair(architecture: str, name: str, error: Exception) -> ModelError:
    return ModelError(
        f"model.encoder: {name} cannot be used under {architecture}: {on_one_line(error)}. Use another encoder, such as "
        f"{EMBEDDED_ENCODER} or resnet50, or another architecture."
    )
