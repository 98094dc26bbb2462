"""Losses of overlap: Dice, IoU, Tversky, focal Tversky."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from osler.losses.pixels import MaskPart, Pixels

__all__ = ["Dice", "FocalTversky", "Iou", "Tversky"]


class Sums(NamedTuple):
    """Pixels, in expectation: of a batch (1, K), or of each image (B, K).

    Attributes:
        both: true positives, Σ p t.
        predicted: Σ p.
        true: Σ t.
    """

    both: Tensor
    predicted: Tensor
    true: Tensor


class Overlap(MaskPart):
    """1 − an index of overlap, as a mean over classes; the heirs say which index.

    Pooled, the sums run over all images of the batch, and each image is given the same value. By case, an image without
    foreground has the index smooth / (Σ p + smooth): the loss is 0 when nothing is predicted, and near 1 when anything is.
    Without smoothing an index of 0/0, nothing there and nothing predicted, is 1.
    """

    def forward(self, pixels: Pixels) -> Tensor:
        over = (0, 2, 3) if self.spec.pooled else (2, 3)
        sums = Sums((pixels.p * pixels.truth).sum(over), pixels.p.sum(over), pixels.truth.sum(over))
        losses = self._loss(self._index(*sums)).mean(-1)
        return losses.expand(len(pixels.counts)) * (pixels.counts > 0)

    def _index(self, both: Tensor, predicted: Tensor, true: Tensor) -> Tensor:
        raise NotImplementedError

    def _loss(self, index: Tensor) -> Tensor:
        return 1 - index

    def _smoothed(self, above: Tensor, below: Tensor) -> Tensor:
        above, below = above + self.spec.smooth, below + self.spec.smooth
        return torch.where(below > 0, above / torch.where(below > 0, below, 1.0), 1.0)


class Dice(Overlap):
    """1 − (2 Σ p t + s) / (Σ p + Σ t + s) (Milletari et al. 2016, without the squares)."""

    def _index(self, both: Tensor, predicted: Tensor, true: Tensor) -> Tensor:
        return self._smoothed(2 * both, predicted + true)


class Iou(Overlap):
    """1 − (Σ p t + s) / (Σ p + Σ t − Σ p t + s) (Rahman and Wang 2016)."""

    def _index(self, both: Tensor, predicted: Tensor, true: Tensor) -> Tensor:
        return self._smoothed(both, predicted + true - both)


class Tversky(Overlap):
    """1 − (TP + s) / (TP + alpha FP + beta FN + s) (Salehi et al. 2017): alpha weighs false alarms, beta missed pixels."""

    def _index(self, both: Tensor, predicted: Tensor, true: Tensor) -> Tensor:
        mistakes = self.spec.tversky_alpha * (predicted - both) + self.spec.tversky_beta * (true - both)
        return self._smoothed(both, both + mistakes)


class FocalTversky(Tversky):
    """(1 − Tversky index)^gamma, for each class before the mean.

    The exponent stands as it is written: below 1 the loss stays steep near a perfect overlap, above 1 it flattens there. Abraham
    and Khan 2019 write 1 / gamma with gamma = 4/3, which is the 0.75 here.
    """

    def _loss(self, index: Tensor) -> Tensor:
        left = 1 - index
        # The slope of x^gamma is infinite at 0 for gamma < 1, and a perfect overlap has nothing to learn.
        some = left > 0
        return torch.where(some, torch.where(some, left, 1.0) ** self.spec.tversky_gamma, 0.0)
