"""The losses: of labels (`labels`) and of masks (`masks`), what each parameter does, and how unknown targets stay out."""

from __future__ import annotations

from osler.losses.labels import LOSSES, Bce, CrossEntropy, Focal, Loss, build_loss
from osler.losses.masks import MASK_PARTS, DeepSupervision, MaskLoss, build_mask_loss
from osler.losses.terms import LossTerms

__all__ = [
    "LOSSES",
    "MASK_PARTS",
    "Bce",
    "CrossEntropy",
    "DeepSupervision",
    "Focal",
    "Loss",
    "LossTerms",
    "MaskLoss",
    "build_loss",
    "build_mask_loss",
]
