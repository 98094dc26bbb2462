"""Losses of masks, what each of their parameters does, and how ignored pixels stay out.

A loss takes logits (B, K, H, W) and masks (B, K, H, W) of 0, 1 and `IGNORED`, and answers with a value and a weight for each
image: the weight is 1, or 0 where no pixel is known, and

    mean loss = values.sum() / weights.sum()

With p the probability of a pixel and t its truth, for one class; means over classes, each with its own sums:

    bce            mean over pixels of pos_weight · t · −log p + (1 − t) · −log(1 − p)
    focal          mean over pixels of alpha · t · (1 − p)^gamma · −log p + (1 − alpha) · (1 − t) · p^gamma · −log(1 − p)
    dice           1 − (2 Σ p t + smooth) / (Σ p + Σ t + smooth)
    iou            1 − (Σ p t + smooth) / (Σ p + Σ t − Σ p t + smooth)
    tversky        1 − (TP + smooth) / (TP + tversky_alpha · FP + tversky_beta · FN + smooth)
    focal_tversky  (1 − Tversky index) ^ tversky_gamma
    boundary       mean over pixels of (distance to the true boundary / its mean) · |p − t|

* `tversky_beta` > 0.5 makes a missed pixel dearer than a false one, and moves the best prediction towards more foreground.
* `tversky_gamma` < 1 keeps the loss steep near a perfect overlap; > 1 flattens it there and steepens it where overlap is poor.
* `smooth` counts pixels: small beside a lesion, it only keeps 0/0 away; large, it hides small lesions.
* `pooled`: the sums run over the whole batch, so that an image without foreground costs only the false alarms in it; by case
  they run over each image, and an image without foreground counts by `smooth` alone: 0 when nothing is predicted, near 1 when
  anything is.
* `pos_weight`, `alpha` and `gamma` are those of labels (`osler.losses.labels`).
* `combined` and `enhanced` are weighted sums of parts; the weights are taken as they stand.

Classes that exclude each other share a softmax with the background, whose logit is 0; bce is then the cross-entropy of that
softmax. A pixel that is ignored in one plane is left out of every term and gradient. All arithmetic is in float32 at least,
inside autocast too. Numpy twins for constant predictions are in `osler.metrics.mask_twins`, held equal by a contract test.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import ConfigError, lookup
from osler.imaging.masks import IGNORED
from osler.losses.boundary import Boundary
from osler.losses.overlap import Dice, FocalTversky, Iou, Tversky
from osler.losses.pixels import FocalOfPixels, MaskPart, PixelCrossEntropy, Pixels
from osler.losses.terms import LossTerms
from osler.metrics.mask_loss import MaskLossSpec

__all__ = ["MASK_PARTS", "DeepSupervision", "MaskLoss", "build_mask_loss", "coarse_masks"]

MASK_PARTS: dict[str, type[MaskPart]] = {
    "bce": PixelCrossEntropy,
    "focal": FocalOfPixels,
    "dice": Dice,
    "iou": Iou,
    "tversky": Tversky,
    "focal_tversky": FocalTversky,
    "boundary": Boundary,
}


class MaskLoss(nn.Module):
    """A weighted sum of parts: logits (B, K, H, W) and masks (B, K, H, W) uint8 → `LossTerms`."""

    def __init__(self, spec: MaskLossSpec) -> None:
        super().__init__()
        self.spec = spec
        self.terms = nn.ModuleDict({name: lookup(MASK_PARTS, name, "loss.weights", ConfigError)(spec) for name in spec.parts})

    def forward(self, logits: Tensor, masks: Tensor) -> LossTerms:
        return self.with_parts(logits, masks)[0]

    def parts(self, logits: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """The mean of each part, before its weight: scalars without gradient."""
        with torch.no_grad():
            return self.with_parts(logits, masks)[1]

    def with_parts(self, logits: Tensor, masks: Tensor) -> tuple[LossTerms, dict[str, Tensor]]:
        """The loss, and the mean of each part before its weight, without gradient, in one pass."""
        # Inside autocast a product of float32 tensors may still be cast down.
        with torch.autocast(logits.device.type, enabled=False):
            pixels = Pixels(logits, masks, self.spec.exclusive)
            values = {name: part(pixels) for name, part in self.terms.items()}
        weights = (pixels.counts > 0).to(pixels.counts.dtype)
        total = torch.stack([self.spec.parts[name] * value for name, value in values.items()]).sum(0)
        means = {name: LossTerms(value.detach(), weights).mean() for name, value in values.items()}
        return LossTerms(total, weights), means


class DeepSupervision(nn.Module):
    """A loss over the levels of a decoder: weights 1, 1/2, 1/4 … from the finest on, divided by their sum.

    The mask of a coarser level is that of `coarse_masks`: a class is where any of its pixels is, so that a thin vessel does not
    vanish from the levels that are meant to find it.
    """

    def __init__(self, loss: MaskLoss) -> None:
        super().__init__()
        self.loss = loss
        self.spec = loss.spec

    def forward(self, logits: Tensor | Sequence[Tensor], masks: Tensor) -> LossTerms:
        """Logits of all levels, finest first, or of the finest alone, and masks (B, K, H, W) → `LossTerms`."""
        return self.with_parts(logits, masks)[0]

    def parts(self, logits: Tensor | Sequence[Tensor], masks: Tensor) -> dict[str, Tensor]:
        """The mean of each part at the finest level."""
        return self.loss.parts(logits if isinstance(logits, Tensor) else logits[0], masks)

    def with_parts(self, logits: Tensor | Sequence[Tensor], masks: Tensor) -> tuple[LossTerms, dict[str, Tensor]]:
        """The loss over all levels, and the mean of each part at the finest."""
        levels = [logits] if isinstance(logits, Tensor) else list(logits)
        finest, parts = self.loss.with_parts(levels[0], masks)
        values, weight, total = finest.values, 1.0, 1.0
        for level in levels[1:]:
            weight /= 2
            total += weight
            coarse = coarse_masks(masks, (level.shape[2], level.shape[3]), self.spec.exclusive)
            values = values + weight * self.loss(level, coarse).values
        several = len(levels) > 1
        return LossTerms(values / total, finest.weights, finest=finest.values.detach() if several else None), parts


def coarse_masks(masks: Tensor, size: tuple[int, int], exclusive: bool) -> Tensor:
    """Masks at a coarser level, one of whose pixels stands for f × f.

    It has a class where any known pixel has it, is background where all known ones are, and `IGNORED` where none is known. Of
    classes that exclude each other it has the one with most pixels, the first of equals.

    Args:
        masks: (B, K, H, W) uint8.
        size: of the level, (⌈H / f⌉, ⌈W / f⌉) for a power of two f.
        exclusive: whether classes exclude each other.

    >>> fine = torch.tensor([[[[0, 0, 0, 255], [0, 1, 255, 255]]]], dtype=torch.uint8)
    >>> coarse_masks(fine, (1, 2), True).tolist()
    [[[[1, 0]]]]
    """
    height, width = masks.shape[2:]
    factor = 1
    while size[0] * factor < height or size[1] * factor < width:
        factor *= 2
    below, right = size[0] * factor - height, size[1] * factor - width
    filled = functional.pad(masks, (0, right, 0, below), value=IGNORED)
    known = (filled != IGNORED).all(1, keepdim=True).float()
    pixels = functional.avg_pool2d((filled == 1).float() * known, factor)
    present = pixels > 0
    if exclusive and masks.shape[1] > 1:
        largest = pixels.argmax(1, keepdim=True)
        present &= torch.zeros_like(present).scatter_(1, largest, True)
    seen = functional.max_pool2d(known, factor) > 0
    return torch.where(seen, present.to(masks.dtype), torch.full_like(masks[:1, :1, :1, :1], IGNORED))


def build_mask_loss(spec: MaskLossSpec) -> MaskLoss:
    """The loss of this specification; move it to the logits' device with `.to(device)`.

    >>> loss = build_mask_loss(MaskLossSpec("bce", {"bce": 1.0}))
    >>> masks = torch.tensor([[[[1, 255]]], [[[255, 255]]]], dtype=torch.uint8)
    >>> terms = loss(torch.zeros(2, 1, 1, 2), masks)
    >>> terms.weights.tolist(), round(terms.mean().item(), 4)
    ([1.0, 0.0], 0.6931)
    """
    return MaskLoss(spec)
