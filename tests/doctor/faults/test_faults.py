"""Every fault: a chart that shows it, the chart of a look-alike that must not be called by its name, and where it abstains."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from osler.doctor.chart import Chart
from osler.doctor.diagnose import diagnose
from osler.doctor.faults import FAULTS
from osler.doctor.findings import Diagnosis, Finding

Floats = NDArray[np.float64]
Columns = dict[str, Any]

E = 16
EPOCHS = np.arange(E)
# Jitter that is always the same, of about standard deviation 0.7, and belongs to no epoch's course.
JITTER = np.sin(2.4 * EPOCHS + 0.3)


def rises(low: float, high: float, pace: float = 4.0, jitter: float = 0.004) -> Floats:
    """A curve that climbs towards a height, as a score of a run that learns."""
    return high - (high - low) * np.exp(-EPOCHS / pace) + jitter * JITTER


def falls(high: float, low: float, pace: float = 4.0, jitter: float = 0.004) -> Floats:
    """A curve that comes down, as a loss of a run that learns."""
    return rises(high, low, pace, jitter)


def flat(level: float, jitter: float = 0.004) -> Floats:
    """A curve that stands still but for its jitter."""
    return level + jitter * JITTER


# A binary set of 2,000 validation samples, half of them positive; the floor of its BCE is 0.693.
EVEN: Columns = {
    "task": "binary", "loss.type": "bce", "prevalence.train": 0.5, "prevalence.val": 0.5, "samples.train": 8000,
    "samples.val": 2000,
}  # fmt: skip
# The same with one positive in ten, which has the floor 0.325.
RARE: Columns = {**EVEN, "prevalence.train": 0.1, "prevalence.val": 0.1}
MASKS: Columns = {"task": "segmentation"}
LEARNS: Columns = {
    "train.loss": falls(0.69, 0.35), "val.loss": falls(0.69, 0.42), "train.auc": rises(0.6, 0.9), "val.auc": rises(0.6, 0.87)
}  # fmt: skip
LEARNS_RARE: Columns = {**LEARNS, "train.loss": falls(0.33, 0.2), "val.loss": falls(0.33, 0.23)}
COIN: Columns = {"train.loss": flat(0.694), "val.loss": flat(0.695), "train.auc": flat(0.5, 0.01), "val.auc": flat(0.5, 0.01)}
SEGMENTS: Columns = {
    "train.loss": falls(0.9, 0.3),
    "val.loss": falls(0.9, 0.35),
    "train.dice": rises(0.2, 0.8),
    "val.dice": rises(0.2, 0.75),
}
NO_MASK: Columns = {
    "train.loss": falls(0.95, 0.9), "val.foreground.predicted": np.zeros(E), "val.foreground.true": np.full(E, 0.02)
}  # fmt: skip
FULL_START: Columns = {
    "train.loss": falls(2.6, 0.48, jitter=0.0), "train.floor": flat(0.45, 0.0), "train.foreground.true": flat(0.02, 0.0),
    "train.probability.mean": falls(0.98, 0.2, jitter=0.0), "val.dice": rises(0.04, 0.6),
}  # fmt: skip
LOW_DICE: Columns = {
    "train.loss": falls(0.95, 0.85),
    "train.dice": rises(0.03, 0.06, jitter=0.001),
    "val.dice": rises(0.05, 0.09, jitter=0.001),
}
BOWL = np.array([0.6, 0.52, 0.46, 0.44, 0.46, 0.5, 0.55, 0.6, 0.66, 0.72, 0.78, 0.84, 0.9, 0.96, 1.02, 1.08])
SINKS = np.array([0.7, 0.78, 0.81, 0.82, 0.81, 0.8, 0.79, 0.78, 0.77, 0.76, 0.75, 0.74, 0.73, 0.72, 0.71, 0.7])
OVERFITS: Columns = {"train.loss": falls(0.65, 0.05), "val.loss": BOWL, "train.auc": rises(0.7, 0.99), "val.auc": SINKS}
COSINE = 1e-3 * 0.5 * (1 + np.cos(np.pi * EPOCHS / E))


@dataclass(frozen=True)
class Given:
    """What a chart holds; `like` is what it is a picture of instead."""

    columns: Columns
    facts: Columns
    like: str = ""

    def diagnosis(self) -> Diagnosis:
        return diagnose(Chart.of(self.columns, self.facts))


@dataclass(frozen=True)
class Entry:
    """The cases of a fault: that shows it, that looks the same, that lacks what it needs."""

    shows: Given
    looks: Given
    lacks: Given


def given(columns: Columns, facts: Columns | None = None, like: str = "") -> Given:
    return Given(columns, facts or {}, like)


ONE_SIDED = {"val.positive_rate": np.ones(E), "val.f1": flat(0.667, 0.0), "val.accuracy": flat(0.5, 0.0)}
NONE_FOUND = {"val.positive_rate": np.zeros(E), "val.f1": np.zeros(E)}
FLIPS = {"val.positive_rate": np.tile([1.0, 0.0], E // 2)}
MULTI: Columns = {
    "task": "multilabel", "classes": ["Mass", "Nodule", "Hernia"], "samples.train": 20000, "samples.val": 5000,
          "loss.type": "bce",
    "prevalence.val": {"Mass": 0.3, "Nodule": 0.2, "Hernia": 0.1}, "prevalence.train": {"Mass": 0.3, "Nodule": 0.2,
          "Hernia": 0.1},
}  # fmt: skip
GOOD_CLASSES = {"val.auc": rises(0.6, 0.8), "val.auc[Mass]": rises(0.6, 0.85), "val.auc[Nodule]": rises(0.6, 0.8)}
WEIGHTS = [2.3, 4.0, 9.0]  # negatives / positives of these three
TOO_FEW = {"samples.val": 30, "samples.train": 8000, "task": "binary", "prevalence.val": 0.2}
HEAPS = {
    "val.probability.p5": flat(0.13, 0.002), "val.probability.p25": flat(0.15, 0.002), "val.probability.p75": flat(0.85, 0.002),
    "val.probability.p95": flat(0.87, 0.002), "val.accuracy": flat(0.85), "train.accuracy": flat(0.855),
}  # fmt: skip
SPREAD = {
    "val.probability.p5": flat(0.1), "val.probability.p25": flat(0.3), "val.probability.p75": flat(0.7),
    "val.probability.p95": flat(0.9), "val.accuracy": flat(0.68), "train.accuracy": flat(0.685),
}  # fmt: skip
HARDER = {"train.loss": falls(0.75, 0.62), "val.loss": falls(0.7, 0.5), "train.auc": rises(0.55, 0.7), "val.auc": rises(0.6, 0.8)}
ARRESTED = np.array([0.2, 0.5, 0.65, 0.7, 0.72, 0.73, 0.72, 0.73, 0.72, 0.73, 0.0, 0.01, 0.0, 0.0, 0.01, 0.0])
SWINGS = np.array([0.7, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.1, 0.5, 2.9, 0.4, 1.9, 0.3, 0.5])
TWO_MODES = {"train_mode_loss.train_mode": flat(0.35), "train_mode_loss.eval_mode": flat(1.2, 0.05)}

# A loss above that of a constant, to the end and beyond its error.
UPHILL: Columns = {**COIN, "train.loss": flat(0.77), "train.loss.se": flat(0.01, 0.0)}
SCRATCH: Columns = {**EVEN, "model.pretrained": None}
# What Osler writes of the batches that it draws, from a class that one sample in ten has.
DRAWN: Columns = {**LEARNS_RARE, "train.n": flat(1000, 0.0), "train.prevalence": flat(0.1, 0.0)}
BATCHES: Columns = {**RARE, "training.batch_size": 16}

# Four classes, numbered the other way round in validation; and in another source, where what is learned holds.
FOUR: Columns = {
    "task": "multiclass", "classes": ["normal", "nodule", "mass", "effusion"], "samples.train": 400, "samples.val": 200,
    "prevalence.train": {"normal": 0.42, "nodule": 0.2, "mass": 0.2, "effusion": 0.18},
}  # fmt: skip
ROUND: Columns = {**FOUR, "prevalence.val": {"normal": 0.19, "nodule": 0.2, "mass": 0.2, "effusion": 0.41}}
OTHERS: Columns = {**FOUR, "prevalence.val": {"normal": 0.1, "nodule": 0.3, "mass": 0.3, "effusion": 0.3}}
PARTS: Columns = {
    "train.auc": rises(0.5, 0.85),
    "val.auc": flat(0.45),
    "train.loss": falls(1.4, 0.8),
    "val.loss": rises(1.4, 2.0),
}
HOLDS: Columns = {**PARTS, "val.auc": rises(0.5, 0.84), "val.loss": falls(1.4, 0.8)}

CASES: dict[str, Entry] = {
    # learning
    "not_learning": Entry(
        given(COIN, EVEN),
        given({"val.auc": flat(0.5, 0.02), "train.auc": rises(0.6, 0.9), "train.loss": falls(0.5, 0.2)}, TOO_FEW,
              "small_validation"),
        given({"train.loss": flat(0.694)}),
    ),
    "stuck_loss": Entry(
        given({"train.loss": flat(0.694), "val.loss": flat(0.695)}, EVEN),
        given({"train.loss": flat(0.12, 0.001), "val.loss": flat(0.15, 0.001), "val.auc": flat(0.97)}, EVEN, "a converged run"),
        given({"train.loss": [0.7, 0.7]}),
    ),
    "frozen_network": Entry(
        given({**COIN, "gradient_norm.median": np.zeros(E), "update_ratio.median": np.zeros(E)}, EVEN),
        given({**COIN, "gradient_norm.median": flat(0.2), "update_ratio.median": flat(2e-6, 1e-7)}, EVEN,
              "learning_rate_too_low"),
        given({"train.loss": flat(0.694)}),
    ),
    # predictions
    "single_class_prediction": Entry(
        given({**COIN, **ONE_SIDED}, EVEN),
        given({"val.auc": rises(0.6, 0.85), "val.f1": flat(0.02, 0.001), "val.positive_rate": flat(0.002, 1e-4)}, RARE,
              "threshold_mismatch"),
        given({"val.auc": flat(0.5)}, EVEN),
    ),
    "alternating_prediction": Entry(
        given({**COIN, **FLIPS}, EVEN), given({**COIN, **ONE_SIDED}, EVEN, "not_learning"), given({"val.auc": flat(0.5)}, EVEN)
    ),
    "chance_auc": Entry(
        given({"val.auc": flat(0.5, 0.01)}, EVEN),
        given({"val.auc": flat(0.52, 0.05)}, TOO_FEW, "small_validation"),
        given({"val.auc": [0.5, 0.51]}, EVEN),
    ),
    "inverted_scores": Entry(
        given({"train.auc": rises(0.6, 0.9), "val.auc": 1 - rises(0.6, 0.85)}, EVEN),
        given({"val.auc": flat(0.49, 0.01)}, EVEN, "chance_auc"),
        given({"val.auc": flat(0.3)}),
    ),
    # classes
    "class_late_collapse": Entry(
        given({**GOOD_CLASSES, "val.auc[Hernia]": np.r_[rises(0.6, 0.8)[:10], 0.5 + 0.02 * JITTER[10:]]}, MULTI),
        given({"val.dice": ARRESTED, "val.dice[a]": ARRESTED, "val.dice[b]": ARRESTED}, MASKS, "late_collapse"),
        given({"val.auc": rises(0.6, 0.8)}, MULTI),
    ),
    "class_inverted": Entry(
        given({**GOOD_CLASSES, "val.auc[Hernia]": 1 - rises(0.55, 0.75)}, MULTI),
        given({"val.auc": 1 - rises(0.6, 0.8), **{f"val.auc[{name}]": 1 - rises(0.6, 0.8) for name in MULTI["classes"]}}, MULTI,
              "inverted_scores"),
        given(GOOD_CLASSES, {"task": "multilabel"}),
    ),
    "classes_exchanged": Entry(
        given(PARTS, ROUND),
        given(HOLDS, OTHERS, "shifted_splits"),
        given(PARTS, {"task": "multiclass"}),
    ),
    "class_not_learned": Entry(
        given({**GOOD_CLASSES, "val.auc[Hernia]": flat(0.5, 0.008)}, MULTI),
        given({**GOOD_CLASSES, "val.auc[Hernia]": 1 - rises(0.55, 0.75)}, MULTI, "class_inverted"),
        given({"val.auc": rises(0.6, 0.8)}, MULTI),
    ),
    # measures
    "threshold_mismatch": Entry(
        given({"val.auc": rises(0.6, 0.85), "val.f1": flat(0.02, 0.001)}, RARE),
        given({"val.auc": flat(0.5, 0.01), **NONE_FOUND, "val.loss": flat(0.33), "train.loss": flat(0.33)}, RARE, "not_learning"),
        given({"val.auc": rises(0.6, 0.85)}, RARE),
    ),
    "accuracy_is_majority": Entry(
        given({"val.accuracy": flat(0.9, 0.0005), "val.auc": flat(0.5, 0.01)}, RARE),
        given({"val.accuracy": flat(0.9, 0.0005), "val.auc": rises(0.6, 0.85)}, RARE, "a good ranking with a poor threshold"),
        given({"val.accuracy": flat(0.9)}),
    ),
    # weights
    "weight_not_in_force": Entry(
        given({**FLIPS, "val.loss": flat(1.2599, 0.0004), "val.auc": flat(0.5, 0.02)}, {**RARE, "loss.pos_weight": 2.0}),
        given({**FLIPS, "val.loss": flat(1.2599, 0.0004), "val.auc": flat(0.5, 0.02)},
              {**RARE, "loss.pos_weight": 2.0, "loss.type": "focal"}, "another loss"),
        given(LEARNS, {**EVEN, "loss.pos_weight": 2.0}),
    ),
    "pos_weight_inverted": Entry(
        given(LEARNS, {**RARE, "loss.pos_weight": 0.11}),
        given(LEARNS, {**EVEN, "prevalence.train": 0.8, "prevalence.val": 0.8, "loss.pos_weight": 0.25},
              "class weights that balance classes among themselves"),
        given(LEARNS, {"task": "binary", "loss.type": "bce", "loss.pos_weight": 0.11}),
    ),
    "pos_weight_too_large": Entry(
        given({**LEARNS, "val.recall": flat(0.99), "val.precision": flat(0.12)}, {**RARE, "loss.pos_weight": 60.0}),
        given(LEARNS, {**RARE, "loss.pos_weight": 40.0, "data.sampler": "balanced", "prevalence.drawn": 0.5},
              "double_correction"),
        given(LEARNS, {"task": "binary", "loss.type": "bce", "loss.pos_weight": 60.0}),
    ),
    "pos_weight_order": Entry(
        given(GOOD_CLASSES, {**MULTI, "loss.pos_weight": WEIGHTS[::-1]}),
        given(GOOD_CLASSES, {**MULTI, "loss.pos_weight": [40.0, 40.0, 40.0]}, "pos_weight_too_large"),
        given(GOOD_CLASSES, {"task": "multilabel", "loss.type": "bce", "loss.pos_weight": WEIGHTS}),
    ),
    # imbalance
    "double_correction": Entry(
        given(LEARNS, {**RARE, "loss.pos_weight": 9.0, "data.sampler": "weighted"}),
        given(LEARNS, {**RARE, "loss.pos_weight": 60.0, "data.sampler": "none"}, "pos_weight_too_large"),
        given(LEARNS, {**RARE, "loss.pos_weight": 9.0}),
    ),
    "focal_alpha_low": Entry(
        given({"val.auc": rises(0.6, 0.8), "val.f1": flat(0.002, 1e-4)}, {**RARE, "loss.type": "focal", "loss.alpha": 0.25}),
        given({"val.auc": rises(0.6, 0.85), "val.f1": flat(0.02, 0.001)}, RARE, "threshold_mismatch"),
        given({"val.auc": rises(0.6, 0.85)}, {"task": "binary"}),
    ),
    "focal_alpha_high": Entry(
        given(LEARNS, {**EVEN, "loss.type": "focal", "loss.alpha": 0.9, "loss.gamma": 2.0}),
        given(LEARNS, {**RARE, "loss.pos_weight": 60.0}, "pos_weight_too_large"),
        given(LEARNS, {"task": "binary", "loss.type": "focal", "loss.alpha": 0.9, "loss.gamma": 2.0}),
    ),
    "focal_gamma_high": Entry(
        given({"val.auc": flat(0.5, 0.01), "train.loss": flat(0.006, 1e-5)}, {**EVEN, "loss.type": "focal", "loss.gamma": 7.0}),
        given({"val.auc": rises(0.6, 0.8)}, {**RARE, "loss.type": "focal", "loss.gamma": 2.0, "loss.alpha": 0.25},
              "focal_alpha_low"),
        given(LEARNS, {**EVEN, "loss.type": "focal"}),
    ),
    "output_bias_wrong": Entry(
        given(LEARNS_RARE, {**RARE, "loss.pos_weight": 9.0, "model.output_bias": "prior"}),
        given(LEARNS_RARE, {**RARE, "model.output_bias": "zero"}, "output_bias_zero"),
        given(LEARNS_RARE, RARE),
    ),
    "output_bias_zero": Entry(
        given(LEARNS_RARE, {**RARE, "model.output_bias": "zero"}),
        given({"train.loss": flat(2.0, 0.1), "val.loss": flat(2.0, 0.1), "val.auc": flat(0.5, 0.01)},
              {**RARE, "model.output_bias": "floor"}, "learning_rate_too_high"),
        given(LEARNS_RARE, RARE),
    ),
    # rates
    "learning_rate_too_high": Entry(
        given({"train.loss": flat(1.6, 0.3), "val.loss": flat(2.0, 0.4), "val.auc": flat(0.5, 0.01),
              "update_ratio.median": flat(0.05)}, EVEN),
        given({**COIN, "input.mean": flat(0.5), "input.sd": flat(0.3), "update_ratio.median": flat(1e-3, 1e-4)}, EVEN,
              "input_out_of_range"),
        given({"train.loss": flat(0.694)}),
    ),
    "gradients_accumulate": Entry(
        given({**UPHILL, "update_ratio.max": flat(0.03, 0.002)}, EVEN),
        given({**UPHILL, "update_ratio.max": np.r_[1.3, flat(0.02, 0.002)[1:]]}, EVEN, "learning_rate_too_high"),
        given(UPHILL, EVEN),
    ),
    "learning_rate_too_low": Entry(
        given({**COIN, "update_ratio.median": flat(2e-6, 1e-7)}, EVEN),
        given({**LOW_DICE, "learning_rate": 2e-5 * (EPOCHS + 1)}, {**MASKS, "training.warmup_epochs": 20,
              "training.learning_rate": 1e-3},
              "warmup_too_long"),
        given(LEARNS, EVEN),
    ),
    # schedule
    "warmup_too_long": Entry(
        given({**LOW_DICE, "learning_rate": 2e-5 * (EPOCHS + 1)}, {**MASKS, "training.warmup_epochs": 20}),
        given({**COIN, "update_ratio.median": flat(2e-6, 1e-7)}, {**EVEN, "training.warmup_epochs": 1, "training.epochs": 30},
              "learning_rate_too_low"),
        given(LEARNS, EVEN),
    ),
    "rate_spent_early": Entry(
        given({"val.auc": 0.6 + 0.012 * EPOCHS, "learning_rate": np.r_[np.full(6, 1e-3), np.full(10, 1e-6)]}, EVEN),
        given({"val.auc": rises(0.6, 0.9, 1.5), "learning_rate": np.r_[np.full(6, 1e-3), np.full(10, 1e-6)]}, EVEN,
              "a converged run"),
        given({"val.auc": rises(0.6, 0.9)}, EVEN),
    ),
    "schedule_unfinished": Entry(
        given({**LEARNS, "learning_rate": 1e-3 * 0.5 * (1 + np.cos(np.pi * EPOCHS / 100))},
              {**EVEN, "training.schedule": "cosine", "training.epochs": E}),
        given({"val.auc": 0.6 + 0.012 * EPOCHS, "learning_rate": 1e-3 * 0.5 * (1 + np.cos(np.pi * EPOCHS / 100))},
              {**EVEN, "training.schedule": "cosine", "training.epochs": 100, "stop_reason": "early stopping"},
                    "premature_stopping"),
        given(LEARNS, EVEN),
    ),
    "premature_stopping": Entry(
        given({"val.auc": 0.6 + 0.012 * EPOCHS}, {**EVEN, "stop_reason": "early stopping", "training.epochs": 100}),
        given(OVERFITS, {**EVEN, "stop_reason": "early stopping", "training.epochs": 100}, "overfitting"),
        given({"val.auc": 0.6 + 0.012 * EPOCHS}, EVEN),
    ),
    "too_few_epochs": Entry(
        given({"train.loss": [0.7, 0.69, 0.68, 0.66], "val.auc": [0.5, 0.53, 0.55, 0.58]}, {**SCRATCH, "training.epochs": 4}),
        given({"val.auc": 0.6 + 0.012 * EPOCHS, "train.loss": falls(0.7, 0.6)},
              {**SCRATCH, "training.epochs": 100, "stop_reason": "early stopping"}, "premature_stopping"),
        given({"train.loss": [0.7, 0.69, 0.68, 0.66]}, {**EVEN, "training.epochs": 4}),
    ),
    "still_improving": Entry(
        given({"val.auc": 0.6 + 0.012 * EPOCHS + 0.002 * JITTER}, EVEN),
        given({"val.auc": flat(0.56, 0.002), "update_ratio.median": flat(2e-6, 1e-7)}, EVEN, "learning_rate_too_low"),
        given({"train.loss": falls(0.69, 0.35)}, EVEN),
    ),
    # stability
    "diverging_loss": Entry(
        given({"train.loss": np.r_[falls(0.7, 0.2)[:10], [0.3, 0.5, 0.8, 0.9, 1.0, 1.1]]}),
        given({"train.loss": np.r_[falls(0.7, 0.2, jitter=0.05)[:15], 0.6], "val.loss": falls(0.7, 0.3)}, {},
              "a last batch of a few samples"),
        given({"train.loss": [0.7, 0.5, 0.9]}),
    ),
    "late_collapse": Entry(
        given({"val.dice": ARRESTED}, MASKS),
        given(OVERFITS, EVEN, "overfitting"),
        given({"val.dice": [0.5, 0.6, 0.0]}, MASKS),
    ),
    "unstable_validation": Entry(
        given({"train.loss": falls(0.69, 0.35), "val.loss": SWINGS}),
        given({"train.loss": falls(0.65, 0.05), "val.loss": BOWL, "val.auc": SINKS}, EVEN, "overfitting"),
        given({"train.loss": falls(0.69, 0.35)}),
    ),
    # numerics
    "non_finite": Entry(
        given({"train.loss": np.r_[falls(0.69, 0.4)[:8], np.full(8, np.inf)]}),
        given({"train.loss": falls(0.69, 0.4), "val.loss": np.where(EPOCHS % 5 == 4, 0.5, np.nan)}, {},
              "a validation that is not run in every epoch"),
        given({"val.auc": rises(0.6, 0.8)}),
    ),
    "negative_loss": Entry(
        given({"train.loss": np.linspace(0.4, -20, E)}, {"loss.type": "bce"}),
        given({"train.loss": np.linspace(-0.1, -0.8, E), "val.dice": rises(0.1, 0.8)}, {**MASKS, "loss.type": "dice"},
              "an overlap loss defined as −Dice"),
        given({"train.loss": np.linspace(0.4, -20, E)}),
    ),
    "saturated_outputs": Entry(
        given({"train.loss": 100 * (1 - flat(0.745)), "train.accuracy": flat(0.745)}),
        given({"train.loss": flat(25.0, 6.0), "train.accuracy": flat(0.5, 0.02), "update_ratio.median": flat(0.3)}, EVEN,
              "learning_rate_too_high"),
        given({"train.loss": flat(25.4)}),
    ),
    "double_activation": Entry(
        given({**LEARNS, "val.probability.p5": flat(0.505, 0.001), "val.probability.p95": flat(0.725, 0.001)}, EVEN),
        given({**LEARNS, "val.probability.p5": flat(0.55, 0.001), "val.probability.p95": flat(0.95, 0.001)},
              {**RARE, "loss.pos_weight": 60.0}, "pos_weight_too_large"),
        given(LEARNS, EVEN),
    ),
    # gradients
    "vanishing_gradients": Entry(
        given({**COIN, "gradient_norm.median": 2.0 * 0.3**EPOCHS}, EVEN),
        given({"val.auc": flat(0.5, 0.01), "train.loss": flat(0.006, 1e-5), "gradient_norm.median": flat(2e-3, 1e-4)},
              {**EVEN, "loss.type": "focal", "loss.gamma": 7.0}, "focal_gamma_high"),
        given(COIN, EVEN),
    ),
    "exploding_gradients": Entry(
        given({"train.loss": np.r_[falls(0.69, 0.4)[:10], [0.6, 0.9, 2.0, 8.0, 40.0, 300.0]], "gradient_norm.median":
               np.r_[flat(0.8)[:10], [3.0, 10.0, 60.0, 400.0, 3e3, 2e4]]}, EVEN),
        given({**LEARNS, "gradient_norm.median": flat(900.0, 40.0)}, EVEN, "a loss that is a sum over the batch"),
        given(LEARNS, EVEN),
    ),
    "updates_underflow": Entry(
        given({**COIN, "gradient_norm.median": flat(0.2), "update_ratio.median": flat(3e-9, 1e-10)}, EVEN),
        given({**COIN, "gradient_norm.median": flat(0.2), "update_ratio.median": flat(2e-6, 1e-7)}, EVEN,
              "learning_rate_too_low"),
        given({**COIN, "update_ratio.median": flat(3e-9, 1e-10)}, EVEN),
    ),
    "steps_skipped": Entry(
        given({**COIN, "skipped_steps": flat(180.0), "step": 250.0 * (EPOCHS + 1)}, EVEN),
        given({**LEARNS, "skipped_steps": np.r_[40.0, np.zeros(E - 1)], "step": 250.0 * (EPOCHS + 1)}, EVEN,
              "a loss scale that is being found"),
        given(LEARNS, EVEN),
    ),
    # fitting
    "underfitting": Entry(
        given({"train.loss": falls(0.69, 0.67), "train.auc": rises(0.55, 0.68, 1.5), "val.auc": rises(0.55, 0.67, 1.5)},
              {**EVEN, "model.dropout": 0.8, "training.weight_decay": 0.2}),
        given({"train.auc": 0.55 + 0.012 * EPOCHS, "val.auc": 0.55 + 0.011 * EPOCHS}, EVEN, "still_improving"),
        given({"train.auc": rises(0.55, 0.68)}, EVEN),
    ),
    "weight_decay_too_strong": Entry(
        given(COIN, {**EVEN, "training.weight_decay": 10.0, "training.learning_rate": 5e-3}),
        given({**COIN, "update_ratio.max": np.r_[1.3, flat(0.02, 0.002)[1:]]},
              {**EVEN, "training.weight_decay": 0.01, "training.learning_rate": 0.1}, "learning_rate_too_high"),
        given(COIN, EVEN),
    ),
    "label_noise": Entry(
        given({**HEAPS, "val.auc": rises(0.7, 0.85, 1.0), "train.loss": falls(0.6, 0.42)}, EVEN),
        given({**SPREAD, "val.auc": rises(0.55, 0.7, 1.5), "train.auc": rises(0.55, 0.7, 1.5)}, EVEN, "underfitting"),
        given(LEARNS, EVEN),
    ),
    "augmentation_too_strong": Entry(
        given(HARDER, {**EVEN, "augmentation.rotation": 90.0, "augmentation.brightness": 0.9}),
        given({**HARDER, "train.auc": rises(0.55, 0.7, 1.0), "val.auc": rises(0.6, 0.8, 1.0)},
              {**EVEN, "augmentation": None, "model.dropout": 0.0}, "label_noise"),
        given(HARDER, EVEN),
    ),
    # generalisation
    "overfitting": Entry(
        given(OVERFITS, EVEN),
        given({"train.loss": falls(0.65, 0.05), "val.loss": BOWL, "val.auc": rises(0.7, 0.83, 1.0)}, EVEN, "overconfidence"),
        given({"train.loss": falls(0.65, 0.05)}, EVEN),
    ),
    "overconfidence": Entry(
        given({"train.loss": falls(0.65, 0.05), "val.loss": BOWL, "val.auc": rises(0.7, 0.83, 1.0)}, EVEN),
        given(OVERFITS, EVEN, "overfitting"),
        given({"val.loss": BOWL}, EVEN),
    ),
    # validation
    "validation_differs": Entry(
        given({"train.loss": falls(0.69, 0.2), "train.auc": rises(0.6, 0.98), "val.auc": flat(0.5, 0.01),
              "val.loss": flat(0.85, 0.02)}, EVEN),
        given(OVERFITS, EVEN, "overfitting"),
        given({"val.auc": flat(0.5, 0.01)}, EVEN),
    ),
    "train_eval_gap": Entry(
        given({**LEARNS, **TWO_MODES}, EVEN),
        given({**LEARNS, "train_mode_loss.train_mode": flat(0.6), "train_mode_loss.eval_mode": flat(0.42)}, EVEN, "dropout"),
        given(LEARNS, EVEN),
    ),
    "small_norm_batches": Entry(
        given({**LEARNS, **TWO_MODES}, {**EVEN, "training.batch_size": 2, "model.architecture": "resnet50"}),
        given({**LEARNS, **TWO_MODES}, {**EVEN, "training.batch_size": 32, "model.architecture": "resnet50"}, "train_eval_gap"),
        given(LEARNS, EVEN),
    ),
    "best_from_noise": Entry(
        given({"val.auc": flat(0.5, 0.02)}, EVEN),
        given({"val.auc": flat(0.52, 0.05)}, TOO_FEW, "small_validation"),
        given({"val.loss": flat(0.69)}, EVEN),
    ),
    "small_validation": Entry(
        given({"val.auc": flat(0.6, 0.05)}, TOO_FEW),
        given({"train.loss": falls(0.69, 0.35), "val.loss": SWINGS}, EVEN, "unstable_validation"),
        given({"val.loss": falls(0.7, 0.4)}),
    ),
    # samples
    "declared_not_loaded": Entry(
        given({"val.prevalence": flat(0.1, 0.0), "val.n": flat(2000, 0.0), "val.auc": rises(0.6, 0.8)},
              {"task": "binary", "prevalence.set": 0.185}),
        given({"val.auc": rises(0.6, 0.8)}, {**EVEN, "prevalence.val": 0.2, "prevalence.train": 0.5}, "shifted_splits"),
        given(LEARNS, EVEN),
    ),
    "labels_not_loaded": Entry(
        given({**COIN, "train.prevalence": flat(0.1, 0.0), "train.n": flat(800, 0.0)}, EVEN),
        given(LEARNS, {**EVEN, "prevalence.val": 0.2}, "shifted_splits"),
        given(LEARNS, {"task": "binary"}),
    ),
    "shifted_splits": Entry(
        given(LEARNS, {**EVEN, "prevalence.val": 0.2}),
        given({"val.prevalence": flat(0.1, 0.0), "val.n": flat(2000, 0.0), "val.auc": rises(0.6, 0.8),
              "train.prevalence": flat(0.1, 0.0),
               "train.n": flat(8000, 0.0)}, {"task": "binary", "prevalence.set": 0.185}, "declared_not_loaded"),
        given(LEARNS, {"task": "binary"}),
    ),
    "leakage": Entry(
        given(LEARNS, {**EVEN, "split.patients_shared": 12}),
        given({"train.auc": rises(0.985, 0.999), "val.auc": rises(0.991, 0.999)},
              {**EVEN, "split.patients_shared": 0, "split.duplicates_shared": 0}, "an easy task"),
        given(LEARNS, EVEN),
    ),
    "leakage_suspected": Entry(
        given({"train.auc": rises(0.9, 0.995), "val.auc": rises(0.992, 0.999, jitter=0.0)},
              {**EVEN, "data.split.by_patient": False, "patients.set": 900, "samples.set": 10000}),
        given(HARDER, {**EVEN, "augmentation.rotation": 90.0}, "augmentation_too_strong"),
        given({"val.auc": rises(0.992, 0.999)}, EVEN),
    ),
    "input_out_of_range": Entry(
        given({**COIN, "input.mean": flat(0.5), "input.sd": flat(0.3)}, EVEN),
        given({**COIN, "input.mean": flat(120.0), "input.sd": flat(55.0), "gradient_norm.median": np.zeros(E)}, EVEN,
              "frozen_network"),
        given(COIN, EVEN),
    ),
    # sampling
    "sampler_starves_findings": Entry(
        given(LEARNS, {**RARE, "data.sampler": "weighted", "prevalence.drawn": 0.02}),
        given(LEARNS, {**RARE, "data.sampler": "weighted", "prevalence.drawn": 0.5, "loss.pos_weight": 9.0}, "double_correction"),
        given(LEARNS, RARE),
    ),
    "batches_without_positives": Entry(
        given({"val.auc": rises(0.6, 0.85)}, {**RARE, "prevalence.train": 0.02, "prevalence.val": 0.02,
              "training.batch_size": 16}),
        given(LEARNS, {**RARE, "data.sampler": "weighted", "prevalence.drawn": 0.02, "training.batch_size": 16},
              "sampler_starves_findings"),
        given(LEARNS, RARE),
    ),
    "broken_epochs": Entry(
        given({"train.loss": np.where(EPOCHS % 2, 0.0, falls(0.7, 0.4)), "val.loss": falls(0.7, 0.45)}),
        given({"train.loss": falls(0.7, 0.4), "val.loss": np.where(EPOCHS % 2, np.nan, 0.5)}, {},
              "validation in every second epoch"),
        given({"train.loss": [0.7, 0.0, 0.6]}),
    ),
    "samples_sorted": Entry(
        given({**DRAWN, "sampling.batches_without_positives": flat(0.88, 0.0)}, BATCHES),
        given({**DRAWN, "train.prevalence": flat(0.01, 0.0), "sampling.batches_without_positives": flat(0.85, 0.01)}, BATCHES,
              "batches_without_positives"),
        given(LEARNS, BATCHES),
    ),
    "slow_data": Entry(
        given({**LEARNS, "seconds.data": flat(70.0), "seconds.epoch": flat(100.0)}, EVEN),
        given({**LEARNS, "seconds.data": np.r_[70.0, np.full(E - 1, 2.0)], "seconds.epoch": np.r_[100.0, np.full(E - 1,
              32.0)]}, EVEN,
              "the first epoch only"),
        given(LEARNS, EVEN),
    ),
    # masks
    "loss_at_zero": Entry(
        given({"train.loss": np.r_[0.42, np.zeros(E - 1)]}, MASKS),
        given({"train.loss": np.r_[0.42, np.full(E - 1, 0.002)], "val.dice": rises(0.7, 0.93)}, MASKS, "an easy task"),
        given({"val.dice": rises(0.1, 0.7)}, MASKS),
    ),
    "empty_masks": Entry(
        given({"train.loss": falls(0.4, 0.3), "val.foreground.predicted": np.full(E, 1e-5), "val.foreground.true": np.full(E,
              0.12)}, MASKS),
        given({"val.foreground.predicted": np.full(E, 1e-5), "val.foreground.true": np.zeros(E), "val.recall": rises(0.4,
              0.6)}, MASKS,
              "masks erased by resampling"),
        given({"train.loss": falls(0.4, 0.3)}, MASKS),
    ),
    "full_masks": Entry(
        given({"val.dice": flat(0.21), "val.foreground.predicted": np.full(E, 0.98), "val.foreground.true": np.full(E,
              0.12)}, MASKS),
        given({"val.dice": flat(0.93), "val.foreground.predicted": np.full(E, 0.92), "val.foreground.true": np.full(E,
              0.88)}, MASKS,
              "inverted masks"),
        given(SEGMENTS, MASKS),
    ),
    "empty_case_conflict": Entry(
        given({"val.dice": flat(0.56, 0.001), "val.f1": flat(0.8, 0.001)}, {**MASKS, "empty.val": 0.3}),
        given({"val.dice": flat(0.0005, 1e-4), "val.foreground.predicted": np.full(E, 1e-6),
              "val.foreground.true": np.full(E, 0.1)},
              {**MASKS, "empty.val": 0.3}, "empty_masks"),
        given(SEGMENTS, MASKS),
    ),
    "low_overlap": Entry(
        given(LOW_DICE, MASKS),
        given({**SEGMENTS, "update_ratio.median": flat(2e-6, 1e-7)}, MASKS, "learning_rate_too_low"),
        given({"train.loss": falls(0.9, 0.8)}, MASKS),
    ),
    # overlap
    "tversky_beta_low": Entry(
        given({**LOW_DICE, "val.recall": flat(0.05), "val.precision": flat(0.6)}, {**MASKS, "loss.type": "tversky",
              "loss.tversky_beta": 0.3}),
        given({**LOW_DICE, "val.recall": flat(0.7), "val.precision": flat(0.1)}, {**MASKS, "loss.type": "tversky",
              "loss.tversky_beta": 0.3},
              "swapped names"),
        given(LOW_DICE, {**MASKS, "loss.type": "tversky"}),
    ),
    "tversky_beta_high": Entry(
        given({"val.dice": flat(0.25), "val.recall": flat(0.97), "val.precision": flat(0.14)},
              {**MASKS, "loss.type": "tversky", "loss.tversky_beta": 0.95}),
        given({**LOW_DICE, "val.recall": flat(0.05), "val.precision": flat(0.6)}, {**MASKS, "loss.type": "tversky",
              "loss.tversky_beta": 0.3},
              "tversky_beta_low"),
        given(LOW_DICE, {**MASKS, "loss.type": "tversky"}),
    ),
    "overlap_terms_weak": Entry(
        given(LOW_DICE, {**MASKS, "loss.type": "bce + dice", "loss.weights": {"bce": 0.9, "dice": 0.1}}),
        given({**LOW_DICE, "val.recall": flat(0.05), "val.precision": flat(0.6)},
              {**MASKS, "loss.type": "bce + tversky", "loss.weights": {"bce": 0.4, "tversky": 0.6}, "loss.tversky_beta": 0.3},
              "tversky_beta_low"),
        given(SEGMENTS, {**MASKS, "loss.type": "bce + dice"}),
    ),
    "flattering_overlap": Entry(
        given({"val.dice": rises(0.985, 0.996, jitter=0.0005)}, MASKS),
        given({"val.dice": rises(0.75, 0.97)}, MASKS, "a large and easy organ"),
        given({"train.loss": falls(0.9, 0.3)}, MASKS),
    ),
    # masks on their way
    "lesions_erased": Entry(
        given(SEGMENTS, {**MASKS, "lesions.train": 300, "lesions_erased.train": 140}),
        given(LOW_DICE, {**MASKS, "lesions.train": 300, "lesions_erased.train": 0}, "small lesions"),
        given(SEGMENTS, MASKS),
    ),
    "masks_not_loaded": Entry(
        given({**NO_MASK, "train.foreground.true": np.full(E, 0.001)}, {**MASKS, "foreground.train": {"lesion": 0.02}}),
        given({**NO_MASK, "train.foreground.true": np.full(E, 0.004)},
              {**MASKS, "foreground.train": 0.02, "prevalence.train": 0.7, "prevalence.drawn": 0.1, "samples.train": 400,
               "data.sampler": "weighted"},
              "sampler_starves_findings"),
        given(NO_MASK, MASKS),
    ),
    "foreground_shifted": Entry(
        given(SEGMENTS, {**MASKS, "foreground.train": 0.97, "foreground.val": 0.02, "samples.train": 200, "samples.val": 60}),
        given({"val.dice": flat(0.04), "val.foreground.predicted": flat(0.97), "val.foreground.true": flat(0.02)},
              {**MASKS, "foreground.train": 0.02, "foreground.val": 0.02, "samples.train": 200, "samples.val": 60},
              "full_masks"),
        given(SEGMENTS, MASKS),
    ),
    "misaligned_masks": Entry(
        given({"train.dice": rises(0.1, 0.4), "val.dice": rises(0.2, 0.7)}, MASKS),
        given({"train.dice": rises(0.1, 0.4), "val.dice": rises(0.2, 0.7)}, {**MASKS, "training.ema": 0.99},
              "an average of weights"),
        given({"val.dice": rises(0.2, 0.7)}, MASKS),
    ),
    "validation_masks_differ": Entry(
        given({"train.dice": rises(0.1, 0.85), "val.dice": flat(0.02, 0.002)}, {**MASKS, "samples.train": 200}),
        given({"train.dice": rises(0.1, 0.85), "val.dice": flat(0.02, 0.002), "val.floor": flat(0.45, 0.0),
               "train_mode_loss.train_mode": falls(0.45, 0.12), "train_mode_loss.eval_mode": flat(0.6),
               "val.loss": flat(0.6)},
              {**MASKS, "samples.train": 200}, "train_eval_gap"),
        given({"train.dice": rises(0.1, 0.85), "val.dice": flat(0.02, 0.002)}, MASKS),
    ),
    # terms of the loss
    "term_outweighs": Entry(
        given({**LEARNS, "train.loss": falls(5.8e7, 2.8e7), "train.loss[loc]": falls(0.77, 0.37), "val.loss": flat(0.75)}),
        given({**LEARNS, "train.loss": falls(2e4, 1e4), "train.loss[loc]": falls(0.77, 0.37)}, {}, "a sum over samples"),
        given({**LEARNS, "train.loss": falls(5.8e7, 2.8e7)}),
    ),
    # weights of the foreground
    "mask_bias_wrong": Entry(
        given(FULL_START, MASKS),
        given({**FULL_START, "val.foreground.predicted": flat(0.3), "val.foreground.true": flat(0.02, 0.0)},
              {**MASKS, "loss.type": "bce", "loss.pos_weight": 50.0}, "foreground_weight_high"),
        given(SEGMENTS, MASKS),
    ),
    "foreground_weight_high": Entry(
        given({**SEGMENTS, "val.foreground.predicted": flat(0.06), "val.foreground.true": flat(0.02, 0.0)},
              {**MASKS, "loss.type": "bce", "loss.pos_weight": 50.0}),
        given({"val.dice": flat(0.25), "val.recall": flat(0.97), "val.precision": flat(0.14)},
              {**MASKS, "loss.type": "tversky", "loss.tversky_beta": 0.95}, "tversky_beta_high"),
        given(SEGMENTS, {**MASKS, "loss.type": "bce", "loss.pos_weight": 50.0}),
    ),
    "foreground_weight_low": Entry(
        given(NO_MASK, {**MASKS, "loss.type": "focal", "loss.alpha": 0.05}),
        given(NO_MASK, {**MASKS, "loss.type": "focal", "loss.alpha": 0.75}, "empty_masks"),
        given(NO_MASK, MASKS),
    ),
    "overlap_alone": Entry(
        given(NO_MASK, {**MASKS, "loss.type": "dice", "loss.pooled": "case"}),
        given(SEGMENTS, {**MASKS, "loss.type": "dice"}, "a slow start"),
        given(NO_MASK, MASKS),
    ),
}  # fmt: skip


def every(run: Diagnosis) -> dict[str, Finding]:
    return {each.id: each for finding in run.findings for each in (finding, *finding.symptoms)}


def test_every_fault_has_its_cases() -> None:
    assert set(CASES) == set(FAULTS)


@pytest.mark.parametrize("id", CASES)
def test_it_is_seen_where_it_shows(id: str) -> None:
    found = every(CASES[id].shows.diagnosis())
    assert id in found
    signs = found[id].signs
    assert signs.summary.endswith((".", "?"))
    assert signs.evidence
    assert 0.0 < signs.confidence <= 1.0


@pytest.mark.parametrize("id", CASES)
def test_what_looks_the_same_is_not_called_by_its_name(id: str) -> None:
    looks = CASES[id].looks
    found = every(looks.diagnosis())
    assert looks.like in {each.id for each in FAULTS[id].lookalikes}
    assert id not in found
    assert looks.like in found or looks.like not in FAULTS


@pytest.mark.parametrize("id", CASES)
def test_it_abstains_where_its_needs_are_not_met(id: str) -> None:
    run = CASES[id].lacks.diagnosis()
    assert id in {each.id for each in run.not_assessed}
    assert id not in every(run)


# A weight that is not the configured one keeps nobody from learning; what does is looked for first.
BESIDE = {"weight_not_in_force"}


@pytest.mark.parametrize("id", [id for id, fault in FAULTS.items() if fault.level == "cause" and id not in BESIDE])
def test_a_cause_stands_first_where_it_alone_is_at_work(id: str) -> None:
    run = CASES[id].shows.diagnosis()
    assert run.findings[0].id == id


@pytest.mark.parametrize(("optimizer", "rate", "beside"), [("adamw", 0.06, True), ("adamw", 0.04, False), ("sgd", 5.0, False)])
def test_an_absurd_rate_of_adam_stands_beside_a_weight_that_is_too_large(optimizer: str, rate: float, beside: bool) -> None:
    """Adam's steps are of the size of its rate, whatever a weight makes of the gradient; those of SGD are the weight's doing."""
    weighted = CASES["pos_weight_too_large"].shows
    series = {**weighted.columns, "update_ratio.max": np.full(E, 4.0), "update_ratio.median": np.full(E, 1.0)}
    facts = {**weighted.facts, "training.learning_rate": rate, "training.optimizer": optimizer}
    found = {each.id for each in given(series, facts).diagnosis().findings}
    assert "pos_weight_too_large" in found
    assert ("learning_rate_too_high" in found) is beside


@pytest.mark.parametrize(("rate", "advised"), [(1e-5, True), (1e-3, False)])
def test_an_accuracy_that_stands_still_asks_for_a_higher_rate_only_where_it_is_timid(rate: float, advised: bool) -> None:
    found = every(given(STANDS, {"training.learning_rate": rate}).diagnosis())["underfitting"]
    assert bool(found.signs.changes) is advised


def test_a_guess_stays_a_note_accounts_for_nothing_and_is_not_said_to_lack_anything() -> None:
    diagnosis = given(HARDLY_FOUND, MASKS_ENDED).diagnosis()
    guess = next(each for each in diagnosis.findings if each.id == "misaligned_masks")
    assert guess.severity == "note"
    assert guess.symptoms == ()
    assert "masks" in guess.signs.summary
    assert "misaligned_masks" not in {each.id for each in diagnosis.not_assessed}
    assert "misaligned_masks" not in diagnosis.checked


def test_a_gap_between_scores_counts_beyond_the_error_of_a_small_validation() -> None:
    series = {"train.auc": rises(0.55, 0.85), "val.auc": flat(0.6, 0.001), "train.loss": falls(0.69, 0.4), "val.loss": flat(0.69)}
    assert "overfitting" in every(given(series, {**EVEN, "samples.val": 400}).diagnosis())
    assert "overfitting" not in every(given(series, {**EVEN, "samples.val": 16}).diagnosis())


def test_a_dice_half_of_which_is_the_background_is_seen_by_recall_and_precision() -> None:
    found, beside = rises(0.1, 0.7), {"val.recall": rises(0.1, 0.7), "val.precision": rises(0.1, 0.7)}
    shown = every(given({"val.dice": (found + 0.995) / 2, **beside}, MASKS).diagnosis())
    assert shown["flattering_overlap"].severity == "warning"
    assert "flattering_overlap" not in every(given({"val.dice": found, **beside}, MASKS).diagnosis())


def test_a_dice_that_is_the_accuracy_is_seen_by_it() -> None:
    high = rises(0.97, 0.99, jitter=0.0005)
    assert every(given({"val.dice": high, "val.accuracy": high}, MASKS).diagnosis())["flattering_overlap"].severity == "warning"
    other = given({"val.dice": rises(0.2, 0.8), "val.accuracy": high}, MASKS).diagnosis()
    assert "flattering_overlap" not in every(other)


def test_a_training_dice_a_little_under_validation_is_no_warning_where_augmentation_is_usual() -> None:
    columns = {"train.dice": rises(0.1, 0.72), "val.dice": rises(0.15, 0.79), "train.loss": falls(0.9, 0.33),
               "val.loss": falls(0.9, 0.25)}  # fmt: skip
    found = every(given(columns, {**MASKS, "augmentation.rotation": 10.0}).diagnosis())
    assert found["augmentation_too_strong"].severity == "note"
    strong = every(given(columns, {**MASKS, "augmentation.rotation": 90.0}).diagnosis())
    assert strong["augmentation_too_strong"].severity == "warning"


def test_shares_of_foreground_by_class_are_read() -> None:
    columns = {**LOW_DICE, "val.recall": flat(0.05), "val.precision": flat(0.6)}
    facts = {**MASKS, "loss.type": "tversky", "loss.tversky_beta": 0.3, "foreground.train": {"lesion": 0.004}}
    (change, *_) = every(given(columns, facts).diagnosis())["tversky_beta_low"].signs.changes
    assert change.after == 0.7


def test_a_sampler_that_draws_empty_images_is_named_in_segmentation() -> None:
    facts = {**MASKS, "prevalence.train": {"lesion": 0.7}, "prevalence.drawn": {"lesion": 0.1}, "samples.train": 400}
    assert given(NO_MASK, {**facts, "data.sampler": "balanced"}).diagnosis().findings[0].id == "sampler_starves_findings"


def test_a_sigmoid_before_a_loss_of_masks_is_seen_by_the_mean_probability() -> None:
    full = {"val.foreground.predicted": np.ones(E), "val.foreground.true": np.full(E, 0.02)}
    seen = given({**full, "val.probability.mean": flat(0.512, 0.001)}, MASKS).diagnosis()
    assert seen.findings[0].id == "double_activation"
    high = given({**full, "val.probability.mean": flat(0.97)}, MASKS).diagnosis()
    assert "double_activation" not in every(high)
    assert high.findings[0].id == "full_masks"
    assert "double_activation" in {each.id for each in given(SEGMENTS, MASKS).diagnosis().not_assessed}


def test_black_images_that_augmentation_brightens_are_out_of_range() -> None:
    seen = given({**COIN, "input.mean": flat(3.8, 0.5), "input.sd": flat(4.7, 0.4)}, EVEN).diagnosis()
    assert "input_out_of_range" in every(seen)
    assert "input_out_of_range" not in every(given({**LEARNS, "input.mean": flat(7.0), "input.sd": flat(25.0)}, EVEN).diagnosis())


def test_masks_that_stay_empty_at_a_careful_rate_are_put_down_to_it() -> None:
    columns = {**NO_MASK, "val.dice": np.zeros(E), "train.loss": flat(0.447, 0.0003)}
    assert given(columns, {**MASKS, "training.learning_rate": 1.5e-4}).diagnosis().findings[0].id == "learning_rate_too_low"


def test_an_overlap_by_image_that_shrinks_masks_is_named_by_recall_and_precision() -> None:
    facts = {**MASKS, "loss.type": "dice", "loss.pooled": "case", "empty.train": 0.3}
    shrunken = {**SEGMENTS, "val.recall": rises(0.1, 0.5), "val.precision": flat(0.9)}
    (change, *_) = every(given(shrunken, facts).diagnosis())["overlap_alone"].signs.changes
    assert (change.key, change.after) == ("loss.pooled", "batch")
    assert "overlap_alone" not in every(given({**shrunken, "val.recall": rises(0.1, 0.85)}, facts).diagnosis())
    assert "overlap_alone" not in every(given(shrunken, {**facts, "empty.train": 0.0}).diagnosis())


def test_a_sum_of_losses_is_not_below_what_its_overlap_terms_allow() -> None:
    facts = {**MASKS, "loss.type": "bce + dice"}
    assert "negative_loss" in every(given({"train.loss": np.linspace(0.9, -1.6, E)}, facts).diagnosis())
    assert "negative_loss" not in every(given({"train.loss": np.linspace(0.9, -0.8, E)}, facts).diagnosis())
    own = replace(Chart.of({"train.loss": np.linspace(0.9, -0.8, E)}, facts), reader="osler")
    assert "negative_loss" in every(diagnose(own))


def test_a_loss_of_masks_that_comes_down_to_its_floor_is_no_sign_of_large_steps() -> None:
    columns = {
        **SEGMENTS,
        "train.loss": falls(0.97, 0.3),
        "train.floor": flat(0.68, 0.0),
        "update_ratio.median": flat(0.015, 1e-4),
    }
    found = every(given(columns, {**MASKS, "training.learning_rate": 0.015}).diagnosis())
    assert found["learning_rate_too_high"].severity == "note"
    worse = {**columns, "train.loss": flat(1.4, 0.01) + 0.02 * EPOCHS, "val.dice": np.zeros(E), "train.dice": np.zeros(E)}
    assert (
        every(given(worse, {**MASKS, "training.learning_rate": 0.015}).diagnosis())["learning_rate_too_high"].severity
        == "critical"
    )


AUGMENTED: Columns = {**EVEN, "augmentation.rotation": 60.0, "augmentation.shift": 0.3, "augmentation.brightness": 0.5}
FIRST_LOSS: Columns = {
    "first_loss.value": np.r_[2.6, np.full(E - 1, np.nan)],
    "first_loss.se": np.r_[0.3, np.full(E - 1, np.nan)],
}
BALANCED: Columns = {**RARE, "data.sampler": "balanced", "prevalence.drawn": 0.5}
WHITE: Columns = {"input.mean": flat(232.0), "input.sd": flat(56.0), "input.white": flat(0.5)}
BLACK: Columns = {"input.mean": flat(9.0), "input.sd": flat(30.0), "input.black": flat(0.97)}
SEEN_TENTH: Columns = {"train.prevalence": flat(0.1, 0.0), "train.n": flat(8000, 0.0)}
SEEN_FEW: Columns = {"train.prevalence": flat(0.03, 0.0), "train.n": flat(8000, 0.0)}
# What a sigmoid makes of what a sigmoid made of probabilities.
THRICE: Columns = {"val.probability.p5": np.full(E, 0.6225), "val.probability.p95": np.full(E, 0.675)}
# A step's gradient is nearly the next one's; steps move the weights.
ONE_WAY: Columns = {
    "gradient_cosine": flat(0.93, 0.02),
    "update_ratio.median": flat(1e-3, 0.0),
    "update_ratio.max": flat(5e-3, 0.0),
}
MANY_STEPS: Columns = {**EVEN, "training.steps_per_epoch": 250}
# Training samples as validation gets its own: alike in both modes, or not.
SOUND: Columns = {"unaugmented.train_mode": flat(0.33), "unaugmented.eval_mode": flat(0.34)}
LAGGING: Columns = {"unaugmented.train_mode": flat(0.33), "unaugmented.eval_mode": flat(0.9, 0.05)}
DARK: Columns = {
    "unaugmented.pixels.mean": flat(130.0), "unaugmented.pixels.mean_se": flat(2.0, 0.0), "unaugmented.n": flat(64.0, 0.0),
    "train_mode_loss.pixels.mean": flat(68.0, 0.0), "train_mode_loss.pixels.mean_se": flat(1.3, 0.0),
    "train_mode_loss.n": flat(64.0, 0.0),
}  # fmt: skip
SHADED: Columns = {**DARK, "train_mode_loss.pixels.mean": flat(104.0, 0.0)}
SAME_PIXELS: Columns = {**DARK, "train_mode_loss.pixels.mean": flat(127.0, 0.0), "unaugmented.likeness": flat(0.99, 0.001)}
NEGATIVE: Columns = {
    "unaugmented.likeness": flat(-0.97, 0.001), "unaugmented.n": flat(16.0, 0.0), "train_mode_loss.n": flat(16.0, 0.0)
}  # fmt: skip
FLATTER: Columns = {name.replace("mean", "sd"): values for name, values in DARK.items()}
ALIKE: Columns = {
    **DARK, "unaugmented.pixels.mean_se": flat(0.01, 0.0), "train_mode_loss.pixels.mean_se": flat(0.01, 0.0),
    "train_mode_loss.pixels.mean": flat(133.0, 0.0),
}  # fmt: skip
# A network that moved as usual for a whole run, and learned next to nothing.
HARDLY: Columns = {
    "train.loss": falls(0.7, 0.685), "val.loss": falls(0.7, 0.68), "train.auc": rises(0.5, 0.58), "val.auc": rises(0.5, 0.62),
    "update_ratio.median": flat(2e-3, 0.0),
}  # fmt: skip
HARDLY_FOUND: Columns = {
    **SEGMENTS, "train.dice": rises(0.05, 0.3), "val.dice": rises(0.05, 0.25), "update_ratio.median": flat(2e-3, 0.0),
}  # fmt: skip
ENDED: Columns = {**EVEN, "training.epochs": E}
UNDER_WAY: Columns = {**EVEN, "training.epochs": 2 * E}
MASKS_ENDED: Columns = {**MASKS, "training.epochs": E}
ELSEWHERE: Columns = {
    **SEGMENTS,
    "train.skill": rises(0.0, 0.2),
    "val.auc": falls(0.7, 0.2),
    "val.dice": flat(0.02, 0.001),
    "train.dice": rises(0.02, 0.2),
}
BY_HEART: Columns = {"train.loss": falls(0.6, 0.4), "val.loss": flat(0.7), "train.auc": rises(0.65, 0.82),
                     "val.auc": flat(0.52), "update_ratio.median": flat(2e-3, 0.0)}  # fmt: skip
# Losses alone: training falls on, validation rests at more than twice as much. Accuracies that rest from the first epoch on.
PARTED: Columns = {"train.loss": np.linspace(0.8, 0.1, E), "val.loss": np.r_[np.linspace(0.8, 0.4, 8), flat(0.41)[8:]]}
STANDS: Columns = {"train.accuracy": rises(0.52, 0.545), "val.accuracy": flat(0.58), "train.loss": falls(1.5, 1.2)}
LOST_CLASS: Columns = {"val.f1[mass]": rises(0.3, 0.7), "val.f1[nodule]": np.r_[rises(0.3, 0.6)[:10], np.zeros(E - 10)]}
# Nothing is called until late, at a rate that comes down; then all is.
CAME_LATE: Columns = {
    **SEGMENTS, "train.dice": np.r_[np.zeros(7), [0.1, 0.4, 0.6], np.linspace(0.7, 0.75, E - 10)],
    "val.dice": np.r_[np.zeros(7), [0.1, 0.42, 0.61], np.linspace(0.7, 0.75, E - 10)], "learning_rate": COSINE,
}  # fmt: skip
# What a softmax gives in place of logits.
ADD_UP: Columns = {
    f"val.logit.mean[{name}]": np.full(E, share)
    for name, share in zip(["normal", "nodule", "mass", "effusion"], [0.31, 0.24, 0.23, 0.22], strict=True)
}
FEW_VALIDATED: Columns = {**EVEN, "samples.val": 40}
# A warm-up of the whole run, towards a rate at which a step is a millionth of the weights.
CREEPS: Columns = {
    **COIN, "learning_rate": np.linspace(1e-8, 3e-7, E), "update_ratio.median": np.linspace(1e-8, 3e-7, E),
}  # fmt: skip
UNLEARNED: Columns = {"unaugmented.train_mode": flat(1.2), "unaugmented.eval_mode": flat(1.21)}
ONE_KIND: Columns = {"train.prevalence": flat(0.999, 0.0), "train.n": flat(8000, 0.0)}
FLIPPED: Columns = {**RARE, "prevalence.train": 0.3}
IDLE: Columns = {
    **COIN,
    "update_ratio.median": flat(2e-3, 0.0),
    "train.loss": flat(0.612),
    "val.loss": flat(0.36),
}  # at the floors of 0.3 and 0.1
TURNED: Columns = {**LEARNS_RARE, "val.auc": flat(0.5, 0.01), "val.loss": rises(0.7, 2.0)}
IN_THE_NETWORK = "the logits of the best constant, in the network itself"
FEW_DRAWN: Columns = {"sampling.distinct": flat(8.0, 0.0), "sampling.repeated": flat(7992.0, 0.0)}
AT_FLOOR: Columns = {**RARE, "model.output_bias": "floor", "loss.pos_weight": 3.0}  # of which log(3 / 9) is the best constant
SPENT: Columns = {"learning_rate": np.r_[np.geomspace(1e-3, 1e-6, 6), np.full(E - 6, 1e-7)]}
HEAD: Columns = {**EVEN, "model.pretrained": None, "training.phases": ({"train": "head", "epochs": E},)}


@pytest.mark.parametrize(
    ("id", "series", "facts", "severity"),
    [
        ("frozen_network", {**COIN, "without_gradient": np.full(E, 0.97)}, EVEN, "critical"),
        ("frozen_network", {**LEARNS, "without_gradient": np.full(E, 0.3)}, EVEN, "warning"),
        ("output_bias_wrong", {**LEARNS, **FIRST_LOSS}, EVEN, "warning"),
        ("input_out_of_range", {**COIN, **WHITE}, EVEN, "critical"),
        ("input_out_of_range", {**LEARNS, **BLACK}, EVEN, "warning"),
        ("augmentation_too_strong", COIN, AUGMENTED, "critical"),
        ("sampler_starves_findings", {**COIN, **SEEN_TENTH}, BALANCED, "critical"),
        ("labels_not_loaded", {**COIN, **SEEN_FEW}, BALANCED, "critical"),
        ("double_activation", {**COIN, **THRICE}, EVEN, "critical"),
        ("gradients_accumulate", {**COIN, **ONE_WAY}, {**EVEN, "training.steps_per_epoch": 250}, "critical"),
        ("gradients_accumulate", {**LEARNS, **ONE_WAY, "step": 250.0 * (1 + EPOCHS)}, EVEN, "warning"),
        ("gradients_accumulate", {**SEGMENTS, **ONE_WAY}, {**MASKS, "training.steps_per_epoch": 40}, "warning"),
        ("validation_differs", {**LEARNS, **TWO_MODES, **SOUND}, EVEN, "warning"),
        ("validation_masks_differ", {**SEGMENTS, **TWO_MODES, **SOUND}, MASKS, "warning"),
        ("train_eval_gap", {**LEARNS, **TWO_MODES, **LAGGING}, EVEN, "warning"),
        ("train_eval_gap", {**LEARNS, **TWO_MODES, **LAGGING}, UNDER_WAY, "note"),
        ("train_eval_gap", {**LEARNS, **TWO_MODES, **LAGGING, "val.loss": flat(0.9)}, UNDER_WAY, "warning"),
        ("validation_differs", {**OVERFITS, **DARK}, EVEN, "critical"),
        ("validation_differs", {**OVERFITS, **FLATTER}, EVEN, "critical"),
        ("validation_differs", {**LEARNS, **DARK}, EVEN, "warning"),
        ("validation_differs", {**LEARNS, **SHADED}, EVEN, "note"),
        ("overfitting", {**OVERFITS, **SHADED}, EVEN, "warning"),
        ("validation_differs", {**OVERFITS, **NEGATIVE}, EVEN, "critical"),
        ("validation_masks_differ", {**SEGMENTS, **DARK}, MASKS, "warning"),
        ("not_learning", HARDLY, ENDED, "warning"),
        ("label_noise", HARDLY, ENDED, "note"),
        ("not_learning", {**HARDLY, "val.auc": rises(0.55, 0.68), "val.skill": rises(-0.02, 0.01)}, ENDED, "warning"),
        ("not_learning", HARDLY_FOUND, MASKS_ENDED, "warning"),
        ("misaligned_masks", HARDLY_FOUND, MASKS_ENDED, "note"),
        ("misaligned_masks", ELSEWHERE, MASKS, "critical"),
        ("label_noise", BY_HEART, FEW_VALIDATED, "note"),
        ("learning_rate_too_low", CREEPS, {**EVEN, "training.warmup_epochs": E, "training.learning_rate": 3e-7}, "warning"),
        ("class_late_collapse", LOST_CLASS, {}, "warning"),
        ("double_activation", {**COIN, **ADD_UP}, FOUR, "critical"),
        ("overfitting", PARTED, {}, "warning"),
        ("weight_not_in_force", {**COIN, **NONE_FOUND}, {**EVEN, "loss.pos_weight": 10.0}, "critical"),
        ("weight_not_in_force", COIN, {**EVEN, "loss.pos_weight": 10.0}, "warning"),
        ("underfitting", STANDS, {}, "warning"),
        ("label_noise", IDLE, FLIPPED, "critical"),
        ("inverted_scores", TURNED, {**RARE, "prevalence.val": 0.8}, "critical"),
    ],
)  # fmt: skip
def test_what_a_vital_or_a_setting_tells_by_itself(id: str, series: Columns, facts: Columns, severity: str) -> None:
    found = every(given(series, facts).diagnosis())
    assert id in found
    assert found[id].signs.severity == severity


@pytest.mark.parametrize(
    ("id", "series", "facts"),
    [
        ("frozen_network", {**LEARNS, "without_gradient": np.full(E, 0.05)}, EVEN),
        ("output_bias_wrong", {**LEARNS, **FIRST_LOSS, "first_loss.se": np.full(E, 0.9)}, EVEN),
        ("input_out_of_range", {**COIN, "input.mean": flat(120.0), "input.sd": flat(55.0), "input.white": flat(0.2)}, EVEN),
        ("augmentation_too_strong", LEARNS, AUGMENTED),
        ("augmentation_too_strong", COIN, {**EVEN, "augmentation.rotation": 60.0}),
        ("labels_not_loaded", {**COIN, **SEEN_TENTH}, BALANCED),
        (
            "double_activation",
            {**COIN, **THRICE, "val.probability.p95": np.full(E, 0.66), "val.probability.p5": np.full(E, 0.63)},
            EVEN,
        ),
        ("gradients_accumulate", {**COIN, **ONE_WAY, "gradient_cosine": flat(0.4, 0.3)}, MANY_STEPS),
        ("gradients_accumulate", {**COIN, **ONE_WAY}, EVEN),
        ("gradients_accumulate", {**COIN, **ONE_WAY}, {**EVEN, "training.steps_per_epoch": 2}),
        ("gradients_accumulate", {**COIN, **ONE_WAY}, {**EVEN, "training.steps_per_epoch": 32, "training.accumulate": 16}),
        (
            "gradients_accumulate",
            {**COIN, **ONE_WAY, "train.prevalence": flat(0.999, 0.0), "train.n": flat(8000, 0.0)},
            MANY_STEPS,
        ),
        ("gradients_accumulate", {**COIN, **ONE_WAY, "update_ratio.median": np.zeros(E)}, MANY_STEPS),
        ("validation_differs", {**LEARNS, **TWO_MODES, **LAGGING}, EVEN),
        ("validation_differs", {**LEARNS, **SAME_PIXELS}, EVEN),
        ("validation_differs", {**LEARNS, **DARK, "train_mode_loss.n": flat(5.0, 0.0)}, EVEN),
        ("validation_differs", {**LEARNS, **ALIKE}, EVEN),
        ("validation_differs", {**LEARNS, **NEGATIVE, "unaugmented.likeness": flat(-0.85, 0.001)}, EVEN),
        ("validation_differs", {**LEARNS, **NEGATIVE, "train_mode_loss.n": flat(15.0, 0.0)}, EVEN),
        ("validation_differs", {**LEARNS, **SHADED, "train_mode_loss.pixels.mean_se": flat(6.0, 0.0)}, EVEN),
        ("not_learning", HARDLY, UNDER_WAY),
        ("not_learning", {**HARDLY, "val.auc": rises(0.5, 0.75)}, ENDED),
        ("not_learning", {**HARDLY, "train.loss": falls(0.7, 0.6)}, ENDED),
        ("not_learning", {**HARDLY_FOUND, "val.dice": rises(0.05, 0.45)}, MASKS_ENDED),
        ("not_learning", {**HARDLY_FOUND, "val.skill": rises(0.1, 0.5)}, MASKS_ENDED),
        ("not_learning", HARDLY, {**ENDED, "stop_reason": "interrupted"}),
        ("not_learning", {**HARDLY, "val.auc": rises(0.55, 0.68), "val.skill": rises(0.0, 0.04)}, ENDED),
        ("not_learning", {**HARDLY, "val.auc": rises(0.5, 0.66)}, ENDED),
        ("label_noise", {**HARDLY, "update_ratio.median": flat(2e-4, 0.0)}, ENDED),
        ("underfitting", {**STANDS, "val.accuracy": np.linspace(0.5, 0.62, E)}, {}),
        ("underfitting", STANDS, {"training.warmup_epochs": 10}),
        ("underfitting", CAME_LATE, MASKS),
        ("underfitting", {**STANDS, "val.f1": rises(0.3, 0.8)}, {}),
        ("overfitting", {name: values[:14] for name, values in PARTED.items()}, {}),
        ("overfitting", {**PARTED, "train.loss": np.linspace(0.2, 0.025, E)}, {}),
        ("overfitting", {**PARTED, "train.loss": np.r_[np.linspace(0.8, 0.1, E - 1), 0.0]}, {}),
        ("overfitting", PARTED, {"data.sampler": "balanced"}),
        ("misaligned_masks", {**ELSEWHERE, "train.skill": flat(0.04, 0.0)}, MASKS),
        ("misaligned_masks", {**ELSEWHERE, "train.dice": rises(0.1, 0.7)}, MASKS),
        ("label_noise", {**HARDLY, "update_ratio.median": flat(0.2, 0.0)}, ENDED),
        ("label_noise", {**HARDLY, "input.mean": flat(0.5), "input.sd": flat(0.2)}, ENDED),
        ("label_noise", {**BY_HEART, "val.auc": rises(0.5, 0.75)}, FEW_VALIDATED),
        ("misaligned_masks", {**ELSEWHERE, "val.auc": flat(0.5)}, MASKS),
        (
            "learning_rate_too_low",
            {**CREEPS, "update_ratio.median": np.linspace(1e-5, 3e-3, E)},
            {**EVEN, "training.warmup_epochs": E, "training.learning_rate": 3e-7},
        ),
        ("overfitting", {**PARTED, "val.accuracy": rises(0.6, 0.9)}, {}),
        ("overfitting", {**PARTED, "train.loss": falls(0.9, 0.3)}, {}),
        ("overfitting", {**PARTED, "val.loss": falls(0.9, 0.25)}, {}),
        ("underfitting", {**STANDS, "train.accuracy": rises(0.52, 0.6)}, {}),
        ("underfitting", {**STANDS, "train.accuracy": flat(0.9), "val.accuracy": flat(0.91)}, {}),
        ("train_eval_gap", {**LEARNS, **TWO_MODES, **SOUND}, EVEN),
        ("label_noise", {**LEARNS, "train.loss": falls(0.61, 0.4)}, FLIPPED),
        ("label_noise", IDLE, {**FLIPPED, "prevalence.train": 0.12}),
        ("label_noise", {**IDLE, "update_ratio.median": flat(1e-8, 0.0)}, FLIPPED),
        (
            "validation_differs",
            {**LEARNS, **TWO_MODES, "unaugmented.train_mode": flat(1.2), "unaugmented.eval_mode": flat(1.21)},
            EVEN,
        ),
        ("inverted_scores", TURNED, {**RARE, "prevalence.val": 0.2}),
        (
            "inverted_scores",
            {**TURNED, "val.auc": rises(0.6, 0.9), "val.loss": falls(0.69, 0.3)},
            {**RARE, "prevalence.val": 0.8},
        ),
        ("double_activation", {**COIN, **ADD_UP, "val.logit.mean[normal]": flat(0.29, 0.01)}, FOUR),
        ("double_activation", {**COIN, **ADD_UP}, {**FOUR, "task": "multilabel"}),
        ("classes_exchanged", PARTS, OTHERS),
        ("classes_exchanged", HOLDS, ROUND),
        ("classes_exchanged", PARTS, {**ROUND, "samples.val": 20}),
        ("classes_exchanged", PARTS, {**ROUND, "task": "multilabel"}),
        ("stuck_loss", {"train.loss": flat(0.57), "val.loss": falls(0.53, 0.48)}, {}),
        ("stuck_loss", {"train.loss": falls(0.2, 0.12), "val.loss": flat(0.16)}, {}),
        ("class_late_collapse", {name: 0.4 * values for name, values in LOST_CLASS.items()}, {}),
        ("learning_rate_too_high", {**COIN, "update_ratio.max": np.full(E, 4.0), "update_ratio.median": np.full(E, 0.05)}, HEAD),
    ],
)
def test_and_what_it_does_not_tell(id: str, series: Columns, facts: Columns) -> None:
    assert id not in every(given(series, facts).diagnosis())


@pytest.mark.parametrize(
    ("id", "series", "facts", "after"),
    [
        ("sampler_starves_findings", {**COIN, **FEW_DRAWN}, BALANCED, "none"),
        ("sampler_starves_findings", {**COIN, **SEEN_TENTH}, BALANCED, "none"),
        ("sampler_starves_findings", {**COIN, **FEW_DRAWN}, EVEN, "balanced"),
        ("rate_spent_early", {**COIN, **SPENT}, {**EVEN, "training.schedule": "cosine"}, "cosine over all steps of the run"),
        ("rate_spent_early", {**COIN, **SPENT}, {**EVEN, "training.schedule": "step"}, "cosine"),
        (
            "output_bias_wrong",
            {**LEARNS, **FIRST_LOSS},
            AT_FLOOR,
            "the logits of the best constant: -1.10",
        ),
        ("output_bias_wrong", {**LEARNS, **FIRST_LOSS}, EVEN, "floor"),
        ("mask_bias_wrong", FULL_START, {**MASKS, "model.output_bias": "floor"}, IN_THE_NETWORK),
        ("mask_bias_wrong", FULL_START, MASKS, "floor"),
    ],
)
def test_where_what_is_configured_does_not_run_the_advice_is_not_to_configure_it(
    id: str, series: Columns, facts: Columns, after: str
) -> None:
    assert [change.after for change in every(given(series, facts).diagnosis())[id].signs.changes] == [after]
