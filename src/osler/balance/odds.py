"""Odds in force: what the sampler and the loss together make of each class, and what of it is done twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.config import Config
from osler.data.load import Data
from osler.metrics.weights import LabelCounts, LossSpec, resolve_loss

__all__ = ["ClassOdds", "Odds", "odds_in_force", "odds_of_counts"]

Floats = NDArray[np.float64]
WEIGHTS = {"bce": "pos_weight", "cross_entropy": "class_weights", "focal": "alpha"}
"""The key of the section `loss` that each loss weighs classes by."""


@dataclass(frozen=True)
class ClassOdds:
    """One class's odds, and what changes them.

    Attributes:
        name: the class.
        natural: positives over negatives among the samples (of masks: pixels).
        sampler: what drawing multiplies them by.
        loss: what the loss multiplies them by.
    """

    name: str
    natural: float
    sampler: float
    loss: float

    @property
    def drawn(self) -> float:
        """Among what is drawn."""
        return self.natural * self.sampler

    @property
    def in_force(self) -> float:
        """As the loss weighs what is drawn: natural × sampler × loss."""
        return self.drawn * self.loss

    @property
    def share(self) -> float:
        """The prevalence that these odds stand for: what a model that knows nothing would answer.

        >>> ClassOdds("mass", 0.01, 10.0, 10.0).share
        0.5
        """
        return self.in_force / (1 + self.in_force) if np.isfinite(self.in_force) else 1.0

    @property
    def shift(self) -> float:
        """How far outputs are moved, in logits, from what the samples' own odds would give."""
        return float(np.log(self.sampler * self.loss)) if self.sampler * self.loss > 0 else float("nan")


@dataclass(frozen=True)
class Odds:
    """The odds in force of all classes.

    Attributes:
        classes: each class.
        fair: odds at which all classes count the same: 1, or 1 / (K - 1) where classes exclude each other.
        loss: the loss's name.
        key: of its weights, such as "pos_weight".
        auto: the weights follow from what is drawn.
        unit: what is counted: "samples" or "pixels".
    """

    classes: tuple[ClassOdds, ...]
    fair: float
    loss: str
    key: str
    auto: bool
    unit: str = "samples"


def odds_in_force(config: Config, data: Data) -> Odds:
    """The odds of every class under the configured sampler and loss.

    Raises:
        ConfigError: the loss does not fit the task.
    """
    natural, drawn = data.counts("train"), data.drawn_counts
    spec = resolve_loss(config.loss, drawn)
    key = WEIGHTS[spec.type]
    classes = odds_of_counts(data.source.classes, natural, drawn, _loss_factors(spec, drawn))
    fair = 1 / (len(classes) - 1) if natural.kind == "multiclass" and len(classes) > 1 else 1.0
    return Odds(classes, fair, spec.type, key, getattr(config.loss, key) == "auto")


def odds_of_counts(names: tuple[str, ...], natural: LabelCounts, drawn: LabelCounts, loss: Floats) -> tuple[ClassOdds, ...]:
    """Odds of each class from its counts among samples and draws; `loss` (K,) is what the loss multiplies them by."""
    before, after = _odds(natural), _odds(drawn)
    factor = np.divide(after, before, out=np.full(len(before), np.nan), where=before > 0)
    return tuple(ClassOdds(name, float(before[k]), float(factor[k]), float(loss[k])) for k, name in enumerate(names))


def _odds(counts: LabelCounts) -> Floats:
    odds: Floats = np.full(len(counts.positives), np.inf)
    np.divide(counts.positives, counts.negatives, out=odds, where=counts.negatives > 0)
    return odds


def _loss_factors(spec: LossSpec, drawn: LabelCounts) -> Floats:
    """(K,) what the loss multiplies the odds of each class by."""
    ones = np.ones(len(drawn.positives))
    if spec.type == "bce":
        return ones if spec.pos_weight is None else spec.pos_weight
    if spec.type == "focal":
        return ones if spec.alpha is None else spec.alpha / np.maximum(1 - spec.alpha, 1e-12)
    if spec.class_weights is None:
        return ones
    # A class's weight against the mean weight of the others, as they are drawn.
    mass = drawn.positives * spec.class_weights
    others = np.maximum(drawn.positives.sum() - drawn.positives, 1e-12)
    return np.asarray(spec.class_weights / np.maximum((mass.sum() - mass) / others, 1e-12))
