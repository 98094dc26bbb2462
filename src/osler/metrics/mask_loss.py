"""Counts of masks, and the loss of masks with every parameter resolved from them; no torch, as `osler.metrics.weights`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import ConfigError
from osler.metrics.weights import LabelCounts, auto_alpha, auto_pos_weight, per_class

if TYPE_CHECKING:  # pydantic would be half the time of a diagnosis
    from osler.config import LossConfig

__all__ = ["COMBINATIONS", "OVERLAP_PARTS", "MaskCounts", "MaskLossSpec", "resolve_mask_loss", "unused_mask_settings"]

Floats = NDArray[np.float64]

COMBINATIONS: dict[str, dict[str, float]] = {
    "combined": {"bce": 0.4, "dice": 0.4, "focal": 0.2},
    "enhanced": {"bce": 0.25, "focal": 0.25, "dice": 0.25, "tversky": 0.25},
}
"""Losses of several parts and their weights, where `loss.weights` does not say otherwise."""
OVERLAP_PARTS = ("dice", "iou", "tversky", "focal_tversky")
# The keys that each part reads; a combination reads `weights` too.
PART_SETTINGS: dict[str, tuple[str, ...]] = {
    "bce": ("pos_weight", "pos_weight_cap"),
    "focal": ("alpha", "gamma"),
    "dice": ("smooth", "pooled"),
    "iou": ("smooth", "pooled"),
    "tversky": ("tversky_alpha", "tversky_beta", "smooth", "pooled"),
    "focal_tversky": ("tversky_alpha", "tversky_beta", "tversky_gamma", "smooth", "pooled"),
    "boundary": (),
}


@dataclass(frozen=True)
class MaskCounts:
    """What the masks of a split hold, as far as a constant prediction is concerned.

    Attributes:
        exclusive: a pixel is of one class at most.
        shares: (N, K) share of foreground among the known pixels of each image; NaN where none is known.
        known: (N,) known pixels.
        batch: images of a batch, over which overlap losses pool; None: all N at once.
        shuffled: batches are drawn anew each epoch; else they follow the order of the images.
    """

    exclusive: bool
    shares: Floats
    known: Floats
    batch: int | None = None
    shuffled: bool = True

    @classmethod
    def of(
        cls, exclusive: bool, foreground: ArrayLike, known: ArrayLike, batch: int | None = None, shuffled: bool = True
    ) -> MaskCounts:
        """From (N, K) foreground pixels and (N, K) known pixels.

        >>> MaskCounts.of(True, [[5, 0]], [[50, 50]]).shares.tolist()
        [[0.1, 0.0]]
        """
        pixels = np.asarray(known, dtype=np.float64)
        shares = np.full(pixels.shape, np.nan)
        np.divide(np.asarray(foreground), pixels, out=shares, where=pixels > 0)
        return cls(exclusive, shares, pixels.max(axis=1), batch, shuffled)

    @property
    def labels(self) -> LabelCounts:
        """The same as pixels of each class that are foreground and that are not, over all images.

        >>> counts = MaskCounts(True, np.array([[0.1], [0.0]]), np.array([100.0, 50.0]))
        >>> counts.labels.positives.tolist(), counts.labels.negatives.tolist()
        ([10.0], [140.0])
        """
        positives = np.nansum(self.shares * self.known[:, None], axis=0)
        return LabelCounts("multilabel", positives, self.known.sum() - positives)


@dataclass(frozen=True)
class MaskLossSpec:
    """A loss of masks with every parameter resolved; what no part of it reads is None or the value that changes nothing.

    Attributes:
        type: its name in the configuration.
        parts: parts and their weights; one part of weight 1 for a plain loss.
        exclusive: a pixel is of one class at most: softmax over the classes and the background, whose logit is 0.
        pos_weight: (K,) bce: factor of foreground pixels; None: 1.
        alpha: (K,) focal: factor of foreground pixels, 1 - alpha that of the others; None: both 1.
        gamma: focal: exponent.
        tversky_alpha: weight of false positives.
        tversky_beta: weight of false negatives.
        tversky_gamma: focal_tversky: exponent of 1 - index.
        smooth: pixels added to numerator and denominator of an overlap.
        pooled: the overlap is that of a batch at once; else of each image.
    """

    type: str
    parts: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    exclusive: bool = True
    pos_weight: Floats | None = None
    alpha: Floats | None = None
    gamma: float = 2.0
    tversky_alpha: float = 0.3
    tversky_beta: float = 0.7
    tversky_gamma: float = 0.75
    smooth: float = 1.0
    pooled: bool = True


def resolve_mask_loss(config: LossConfig, counts: MaskCounts, stage: str | None = None) -> MaskLossSpec:
    """The loss of masks with "auto" and scalars turned into one number a class.

    "auto" for the type is "combined". `cross_entropy` is the pixel term `bce`; where classes exclude each other it is taken by
    softmax over the classes and the background.

    Args:
        config: the section `loss`.
        counts: of the training masks; as drawn where patches favour the foreground, so that imbalance is not corrected twice.
        stage: the type of the stage of `loss.schedule` that is in force; None: `loss.type`.

    Raises:
        ConfigError: the type does not fit the masks, or a list does not have one value a class; all faults at once.

    >>> from osler.config import LossConfig
    >>> counts = MaskCounts(True, np.array([[0.1]]), np.array([100.0]))
    >>> dict(resolve_mask_loss(LossConfig(), counts).parts)
    {'bce': 0.4, 'dice': 0.4, 'focal': 0.2}
    """
    name = stage or ("combined" if config.type == "auto" else config.type)
    classes = counts.shares.shape[1]
    parts = _parts(config, name)
    faults = [*_faults_of_type(name, counts.exclusive, classes), *_faults_of_values(config, parts, classes)]
    if faults:
        raise ConfigError("\n".join(faults))
    pixels = counts.labels
    alpha = 1 - config.tversky_beta if config.tversky_alpha is None else config.tversky_alpha
    return MaskLossSpec(
        type=name,
        parts=MappingProxyType(parts),
        exclusive=counts.exclusive,
        pos_weight=per_class(config.pos_weight, auto_pos_weight(config, pixels)) if "bce" in parts else None,
        alpha=per_class(config.alpha, auto_alpha(pixels)) if "focal" in parts else None,
        gamma=config.gamma,
        tversky_alpha=alpha,
        tversky_beta=config.tversky_beta,
        tversky_gamma=config.tversky_gamma,
        smooth=config.smooth,
        pooled=config.pooled == "batch",
    )


def unused_mask_settings(config: LossConfig, specs: Sequence[MaskLossSpec]) -> tuple[str, ...]:
    """Dotted keys that were set though no stage's loss reads them; worth a refusal.

    Args:
        config: the section `loss`.
        specs: the losses in force, one a stage.

    >>> from osler.config import LossConfig
    >>> unused_mask_settings(LossConfig(type="dice", tversky_beta=0.6), [MaskLossSpec("dice", {"dice": 1.0})])
    ('loss.tversky_beta',)
    """
    read = {"type", "schedule"}
    for spec in specs:
        read |= {key for part in spec.parts for key in PART_SETTINGS[part]}
        read |= {"weights"} if spec.type in COMBINATIONS else set()
    # A run's own configuration names every key; a value that is the default asks for nothing.
    fields = type(config).model_fields
    return tuple(f"loss.{key}" for key in fields if key not in read and getattr(config, key) != fields[key].default)


def _parts(config: LossConfig, name: str) -> dict[str, float]:
    if name in COMBINATIONS:
        if config.weights is None:
            return dict(COMBINATIONS[name])
        return {str(part): float(weight) for part, weight in config.weights.items()}
    return {"bce" if name == "cross_entropy" else name: 1.0}


def _faults_of_type(name: str, exclusive: bool, classes: int) -> list[str]:
    if name == "cross_entropy" and not exclusive:
        return [
            "loss.type: cross_entropy needs classes that exclude each other, and pixels of these masks may be of several: use "
            "bce, focal or auto"
        ]
    if name == "bce" and exclusive and classes > 1:
        return [
            f"loss.type: bce treats classes as independent, and a pixel of these masks is of one of {classes}: use cross_entropy "
            "or auto"
        ]
    return []


def _faults_of_values(config: LossConfig, parts: Mapping[str, float], classes: int) -> list[str]:
    read = {key for part in parts for key in PART_SETTINGS[part]}
    faults = [
        f"loss.{key}: {len(value)} values for {classes} classes: give one number for each class, in the order of data.classes"
        for key in ("pos_weight", "alpha")
        if key in read and isinstance(value := getattr(config, key), tuple) and len(value) != classes
    ]
    if "tversky_beta" in read and config.tversky_alpha == 0 and config.tversky_beta == 0:
        faults.append("loss.tversky_alpha and loss.tversky_beta are both 0: no mistake would cost anything. Raise one.")
    if not parts:
        faults.append("loss.weights: no part is named. Give at least one, or null for the usual ones.")
    return faults
