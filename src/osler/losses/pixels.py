"""Pixels of a batch of masks as the losses see them, and the losses that are means over pixels."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from osler.imaging.masks import IGNORED
from osler.metrics.mask_loss import MaskLossSpec

__all__ = ["FocalOfPixels", "MaskPart", "PixelCrossEntropy", "Pixels"]

# The largest log p for which 1 − p is told from 0 in float32.
NEARLY_SURE = -1e-7


class Pixels:
    """Logits and masks of a batch, and what several losses derive from them, each once.

    A pixel that is `IGNORED` in one plane is unknown in all. Where it is, the logit is replaced before any arithmetic, so that
    not even an infinite one gets into a value or a gradient.

    Attributes:
        logits: (B, K, H, W) float32 at least; 0 where unknown.
        known: (B, 1, H, W) 1 or 0, of the logits' type.
        truth: (B, K, H, W) 1 where the pixel is known to be foreground, else 0, likewise.
        counts: (B,) known pixels.
        joint: classes exclude each other and are several: a softmax over them and the background, whose logit is 0.
    """

    def __init__(self, logits: Tensor, masks: Tensor, exclusive: bool) -> None:
        assert logits.ndim == 4, f"logits must be (B, K, H, W), not {tuple(logits.shape)}"
        assert logits.shape == masks.shape, f"logits {tuple(logits.shape)} and masks {tuple(masks.shape)} must agree"
        kind = torch.promote_types(logits.dtype, torch.float32)
        known = (masks != IGNORED).all(1, keepdim=True)
        self.logits = torch.where(known, logits.to(kind), 0.0)
        self.known = known.to(kind)
        self.truth = (masks == 1).to(kind) * self.known
        self.counts = self.known.sum((1, 2, 3))
        self.joint = exclusive and logits.shape[1] > 1

    @cached_property
    def background(self) -> Tensor:
        """(B, 1, H, W) joint: log probability of the background."""
        return -torch.logsumexp(torch.cat([torch.zeros_like(self.logits[:, :1]), self.logits], dim=1), dim=1, keepdim=True)

    @cached_property
    def log_p(self) -> Tensor:
        """(B, K, H, W) log probability of each class."""
        return self.logits + self.background if self.joint else functional.logsigmoid(self.logits)

    @cached_property
    def log_q(self) -> Tensor:
        """(B, K, H, W) log of 1 − p; not for the joint case."""
        assert not self.joint
        return functional.logsigmoid(-self.logits)

    @cached_property
    def p(self) -> Tensor:
        """(B, K, H, W) probability of each class; 0 where unknown."""
        return (torch.exp(self.log_p) if self.joint else torch.sigmoid(self.logits)) * self.known

    @cached_property
    def free(self) -> Tensor:
        """(B, 1, H, W) joint: 1 where the pixel is known to be background, else 0."""
        return self.known - self.truth.sum(1, keepdim=True)

    def mean(self, costs: Tensor) -> Tensor:
        """(B,) means of (B, K or 1, H, W) over the known pixels of each image, and over classes; 0 where none is known."""
        sums = (costs * self.known).sum((1, 2, 3))
        return sums / (self.counts * costs.shape[1]).clamp_min(1)


class MaskPart(nn.Module):
    """One term of a loss of masks: `Pixels` → (B,) values, 0 for an image of which nothing is known."""

    def __init__(self, spec: MaskLossSpec) -> None:
        super().__init__()
        self.spec = spec

    def _hold(self, name: str, values: NDArray[np.float64] | None) -> None:
        """Keeps a parameter (K,) as a buffer (K, 1, 1), which follows the device but is no part of a checkpoint."""
        held = None if values is None else torch.as_tensor(values, dtype=torch.float64)[:, None, None]
        self.register_buffer(name, held, persistent=False)

    def forward(self, pixels: Pixels) -> Tensor:
        raise NotImplementedError


class PixelCrossEntropy(MaskPart):
    """Cross-entropy of pixels: binary for each class, or by softmax where classes exclude each other.

    `pos_weight` (K,) multiplies the term of foreground pixels, and enters no denominator.
    """

    def __init__(self, spec: MaskLossSpec) -> None:
        super().__init__(spec)
        self.pos_weight: Tensor | None
        self._hold("pos_weight", spec.pos_weight)

    def forward(self, pixels: Pixels) -> Tensor:
        truth = pixels.truth if self.pos_weight is None else pixels.truth * self.pos_weight.to(pixels.truth.dtype)
        if pixels.joint:
            return pixels.mean(-(truth * pixels.log_p).sum(1, keepdim=True) - pixels.free * pixels.background)
        return pixels.mean(-truth * pixels.log_p - (pixels.known - pixels.truth) * pixels.log_q)


class FocalOfPixels(MaskPart):
    """Focal loss of pixels (Lin et al. 2017, equation 5); without `alpha` (K,) all weigh 1.

    Where classes exclude each other, p is the softmax probability of a pixel's own class, and a background pixel weighs
    1 − the mean of `alpha`.
    """

    def __init__(self, spec: MaskLossSpec) -> None:
        super().__init__(spec)
        self.alpha: Tensor | None
        self._hold("alpha", spec.alpha)

    def forward(self, pixels: Pixels) -> Tensor:
        alpha = 1.0 if self.alpha is None else self.alpha.to(pixels.truth.dtype)
        beside = 1.0 if self.alpha is None else 1.0 - alpha
        if pixels.joint:
            own = (alpha * pixels.truth * self._muted(pixels.log_p)).sum(1, keepdim=True)
            rest = 1.0 if self.alpha is None else 1.0 - self.alpha.mean().to(pixels.truth.dtype)
            return pixels.mean(own + rest * pixels.free * self._muted(pixels.background))
        # (1 − p)^gamma as exp(gamma · log(1 − p)): its gradient stays finite where p rounds to 1 and gamma is below 1.
        positive = -torch.exp(self.spec.gamma * pixels.log_q) * pixels.log_p
        negative = -torch.exp(self.spec.gamma * pixels.log_p) * pixels.log_q
        return pixels.mean(alpha * pixels.truth * positive + beside * (pixels.known - pixels.truth) * negative)

    def _muted(self, log_p: Tensor) -> Tensor:
        """(1 − p)^gamma · −log p."""
        if self.spec.gamma == 0:
            return -log_p
        log_q = torch.log(-torch.expm1(log_p.clamp_max(NEARLY_SURE)))
        return -torch.exp(self.spec.gamma * log_q) * log_p
