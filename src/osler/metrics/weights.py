"""Label counts, and the loss's parameters resolved from them.

Targets are (N, K) in {0, 1, NaN} everywhere; NaN is unknown and is counted nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import ConfigError

if TYPE_CHECKING:  # pydantic would be half the time of a diagnosis
    from osler.config import LossConfig

__all__ = [
    "Kind",
    "LabelCounts",
    "LossSpec",
    "LossType",
    "auto_alpha",
    "auto_pos_weight",
    "count_labels",
    "per_class",
    "resolve_loss",
    "unused_settings",
]

Kind = Literal["binary", "multiclass", "multilabel"]
LossType = Literal["bce", "cross_entropy", "focal"]
Floats = NDArray[np.float64]

# Below .5 the rare positives would weigh less than the negatives; above .95 the negatives all but vanish.
ALPHA_LIMITS = (0.5, 0.95)
# The keys that each loss reads besides `type` and `label_smoothing`.
LOSS_SETTINGS: dict[str, tuple[str, ...]] = {
    "bce": ("pos_weight", "pos_weight_cap"),
    "cross_entropy": ("class_weights", "pos_weight_cap"),
    "focal": ("alpha", "gamma"),
}


@dataclass(frozen=True)
class LabelCounts:
    """How many samples of each class are known to be positive and negative, natural or as drawn.

    Attributes:
        kind: binary (K = 1), multiclass (classes exclude each other) or multilabel.
        positives: (K,) counts, without NaN; fractions where they are expectations of a sampler.
        negatives: (K,) counts, without NaN. Multiclass: the samples of all other classes.
    """

    kind: Kind
    positives: Floats
    negatives: Floats

    @property
    def known(self) -> Floats:
        """(K,) samples whose label is known."""
        return self.positives + self.negatives

    @property
    def prevalence(self) -> Floats:
        """(K,) share of positives among the known; NaN where none is known.

        >>> LabelCounts("binary", np.array([1.0]), np.array([3.0])).prevalence.tolist()
        [0.25]
        """
        known = self.known
        share = np.full(known.shape, np.nan)
        np.divide(self.positives, known, out=share, where=known > 0)
        return share


@dataclass(frozen=True)
class LossSpec:
    """A loss with every parameter resolved; what the loss in use does not read is None or 0.

    Attributes:
        type: bce, cross_entropy or focal.
        pos_weight: (K,) bce: factor of the positive term; None: 1.
        class_weights: (K,) cross_entropy: weight of a sample of each class; None: 1.
        alpha: (K,) focal: factor of the positive term, 1 - alpha that of the negative one; None: both 1.
        gamma: focal: exponent.
        label_smoothing: s; 1 becomes 1 - s/2 and 0 becomes s/2 (bce, focal), or 1 - s + s/K and s/K (cross_entropy).
    """

    type: LossType
    pos_weight: Floats | None = None
    class_weights: Floats | None = None
    alpha: Floats | None = None
    gamma: float = 0.0
    label_smoothing: float = 0.0


def count_labels(targets: ArrayLike, kind: Kind) -> LabelCounts:
    """Counts the known labels of each class.

    Args:
        targets: (N, K) in {0, 1, NaN}. Multiclass: one-hot; a row with any NaN is left out whole.
        kind: of the task.

    >>> count_labels([[1, 0], [0, np.nan], [0, 1]], "multilabel").positives.tolist()
    [1.0, 1.0]
    >>> count_labels([[1, 0], [0, np.nan], [0, 1]], "multiclass").negatives.tolist()
    [1.0, 1.0]
    """
    values = np.asarray(targets)
    assert values.ndim == 2, f"targets must be (N, K), not {values.shape}"
    known = ~np.isnan(values)
    if kind == "multiclass":
        known &= known.all(axis=1, keepdims=True)
    positives = ((values == 1) & known).sum(axis=0).astype(np.float64)
    return LabelCounts(kind, positives, known.sum(axis=0) - positives)


def resolve_loss(config: LossConfig, counts: LabelCounts) -> LossSpec:
    """The loss with "auto" and scalars turned into one number a class.

    Give the counts as drawn where a sampler balances the classes: "auto" then finds little left to correct, and imbalance is
    not corrected twice. A class with only one label known gets weight 1 (alpha 0.5): nothing can be learned from its ratio.

    Args:
        config: the section `loss`.
        counts: of the training labels.

    Raises:
        ConfigError: the type does not fit the task, or a list does not have one value a class; all faults at once.

    >>> from osler.config import LossConfig
    >>> counts = LabelCounts("binary", np.array([10.0]), np.array([90.0]))
    >>> resolve_loss(LossConfig(pos_weight="auto"), counts).pos_weight.tolist()
    [9.0]
    """
    kind = _loss_type(config, counts.kind)
    classes = len(counts.positives)
    faults = [
        f"loss.{key}: {len(value)} values for {classes} classes: give one number for each class, in the order of data.classes"
        for key in LOSS_SETTINGS[kind]
        if isinstance(value := getattr(config, key), tuple) and len(value) != classes
    ]
    if faults:
        raise ConfigError("\n".join(faults))
    return LossSpec(
        type=kind,
        pos_weight=per_class(config.pos_weight, auto_pos_weight(config, counts)) if kind == "bce" else None,
        class_weights=per_class(config.class_weights, _auto_class_weights(config, counts)) if kind == "cross_entropy" else None,
        alpha=per_class(config.alpha, auto_alpha(counts)) if kind == "focal" else None,
        gamma=config.gamma if kind == "focal" else 0.0,
        label_smoothing=config.label_smoothing,
    )


def unused_settings(config: LossConfig, spec: LossSpec) -> tuple[str, ...]:
    """Dotted keys that were set though the loss in use does not read them; worth a warning.

    >>> from osler.config import LossConfig
    >>> config = LossConfig(type="focal", pos_weight=4.4)
    >>> unused_settings(config, LossSpec("focal"))
    ('loss.pos_weight',)
    """
    # A run's own configuration names every key; a value that is the default asks for nothing.
    read = ("type", "label_smoothing", *LOSS_SETTINGS[spec.type])
    fields = type(config).model_fields
    return tuple(f"loss.{key}" for key in fields if key not in read and getattr(config, key) != fields[key].default)


def _loss_type(config: LossConfig, kind: Kind) -> LossType:
    exclusive = kind == "multiclass"
    if config.type == "auto":
        return "cross_entropy" if exclusive else "bce"
    if config.type not in ("bce", "cross_entropy", "focal"):
        raise ConfigError(
            f"loss.type: {config.type} is a loss of masks, and the task is {kind}: use "
            f"{'cross_entropy' if exclusive else 'bce, focal'} or auto"
        )
    if exclusive and config.type != "cross_entropy":
        raise ConfigError(
            f"loss.type: {config.type} treats classes as independent, and the task is multiclass: use cross_entropy or auto"
        )
    if config.type == "cross_entropy" and not exclusive:
        raise ConfigError(
            f"loss.type: cross_entropy needs classes that exclude each other, and the task is {kind}: use bce, focal or auto"
        )
    return config.type


def per_class(value: float | tuple[float, ...] | str | None, auto: Floats) -> Floats | None:
    """(K,) numbers from a setting: one for all, one for each, or "auto"; None for none.

    >>> per_class(2.0, np.ones(3)).tolist()
    [2.0, 2.0, 2.0]
    """
    if value is None:
        return None
    if isinstance(value, str):
        return auto
    return np.broadcast_to(np.asarray(value, dtype=np.float64), auto.shape).copy()


def auto_pos_weight(config: LossConfig, counts: LabelCounts) -> Floats:
    """(K,) negatives / positives, at most `pos_weight_cap`; 1 where only one label is known."""
    both = (counts.positives > 0) & (counts.negatives > 0)
    ratio = np.ones(counts.positives.shape)
    np.divide(counts.negatives, counts.positives, out=ratio, where=both)
    return np.asarray(np.minimum(ratio, config.pos_weight_cap))


def _auto_class_weights(config: LossConfig, counts: LabelCounts) -> Floats:
    present = counts.positives > 0
    even = counts.positives.sum() / len(counts.positives)
    weights = np.ones(counts.positives.shape)
    np.divide(even, counts.positives, out=weights, where=present)
    # A cap below 1 would turn the order of the weights round.
    return np.asarray(np.minimum(weights, weights.min() * max(config.pos_weight_cap, 1.0)))


def auto_alpha(counts: LabelCounts) -> Floats:
    """(K,) share of negatives within `ALPHA_LIMITS`; 0.5 where only one label is known."""
    both = (counts.positives > 0) & (counts.negatives > 0)
    share = np.full(both.shape, ALPHA_LIMITS[0])
    np.divide(counts.negatives, counts.known, out=share, where=both)
    return np.asarray(np.clip(share, *ALPHA_LIMITS))
