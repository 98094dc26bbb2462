"""The healthy arm: runs as different as sound practice makes them.

Named variants are there for what rules trip over: losses with another floor, schedules, optimisers, few samples, slow learners
and late bloomers, noise, phases, moving averages. As many runs again combine such choices at random. A healthy run whose own
test score fails (`scoring rule in harm.py`) is no healthy run and is left out, whatever the doctor says of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from healthy_masks import MASK_CHOICES, MASK_VARIANTS
from training import Run

from osler.config import merge
from tasks import Task

__all__ = ["VARIANTS", "healthy_run", "variants"]

Sections = Mapping[str, Any]
MILD = {"rotation": 10, "shift": 0.06, "zoom": 0.1, "brightness": 0.1, "contrast": 0.15, "horizontal_flip": 0.0}
NOISY = {**MILD, "noise": 0.04}


def _training(**values: Any) -> dict[str, Any]:
    return {"training": values}


def _rate(factor: float, **values: Any) -> Callable[[Task], Sections]:
    return lambda task: _training(learning_rate=factor * task.config.training.learning_rate, **values)


def _focal(**values: Any) -> Callable[[Task], Sections]:
    """Focal loss where classes do not exclude each other; label smoothing where they do."""
    smoothed = {"loss": {"label_smoothing": 0.05}}
    return lambda task: smoothed if task.kind == "multiclass" else {"loss": {"type": "focal", **values}}


def _weighted(task: Task) -> Sections:
    return {"loss": {"class_weights": "auto"} if task.kind == "multiclass" else {"pos_weight": "auto"}}


def _sgd(task: Task) -> Sections:
    other = {"optimizer": "adamw", "learning_rate": 5e-3} if task.config.training.optimizer == "sgd" else {}
    return _training(**(other or {"optimizer": "sgd", "learning_rate": 5e-2}))


def _phases(task: Task) -> Sections:
    rate, epochs = task.config.training.learning_rate, task.config.training.epochs
    return _training(phases=[{"train": "head", "epochs": 3}, {"train": "all", "epochs": epochs, "learning_rate": rate}])


def _small(task: Task) -> Sections:
    part, whole = 0.6 * task.samples * 2 / 3, float(task.samples)
    return {"data": {"split": {"ratio": [part, whole / 3, whole * 2 / 3 - part]}}, "training": {"epochs": 20}}


VARIANTS: dict[str, Callable[[Task], Sections]] = {
    "plain": lambda task: {},
    "constant": lambda task: _training(schedule="constant"),
    "one_cycle": _rate(2.0, schedule="one_cycle"),
    "plateau": lambda task: _training(schedule="plateau", plateau_patience=2),
    "warmup": lambda task: _training(warmup_epochs=1.0),
    "other_optimizer": _sgd,
    "adam": lambda task: _training(optimizer="adam") if task.config.training.optimizer != "sgd" else _training(momentum=0.8),
    "batch_small": _rate(0.7, batch_size=8),
    "batch_large": _rate(1.5, batch_size=48, epochs=24),
    "accumulated": lambda task: _training(accumulate=2, epochs=18),
    "few_samples": _small,
    "slow": _rate(0.3, epochs=30),
    "late_bloomer": _rate(0.2, epochs=36, warmup_epochs=2.0),
    "long": lambda task: _training(epochs=30, early_stopping=None),
    "stopped_well": lambda task: _training(epochs=40, early_stopping=8),
    "fast": _rate(2.5),
    "weighted": _weighted,
    "balanced": lambda task: {"data": {"sampler": "balanced"}},
    "focal": _focal(alpha=None),
    "focal_auto": _focal(alpha="auto"),
    "smoothed": lambda task: {"loss": {"label_smoothing": 0.1}},
    "bias_zero": lambda task: {"model": {"output_bias": "zero"}},
    "ema": lambda task: _training(ema=0.98),
    "phases": _phases,
    "augmented": lambda task: {"augmentation": MILD, "training": {"epochs": 18}},
    "noise": lambda task: {"augmentation": NOISY, "training": {"epochs": 18}},
    "unaugmented": lambda task: {"augmentation": None},
    "dropout": lambda task: {"model": {"dropout": 0.4}},
    "hidden_layer": lambda task: {"model": {"head": [24]}},
    "decayed": lambda task: _training(weight_decay=0.05),
    "unclipped": lambda task: _training(clip_norm=None),
    "monitor_loss": lambda task: _training(monitor="loss"),
}
"""By name; each over the task's own configuration."""

CHOICES: dict[str, tuple[Sections, ...]] = {
    "schedule": tuple(_training(schedule=name) for name in ("constant", "cosine", "plateau")),
    "epochs": tuple(_training(epochs=count) for count in (10, 14, 18, 24)),
    "batch": tuple(_training(batch_size=size) for size in (12, 16, 24, 32)),
    "warmup": tuple(_training(warmup_epochs=length) for length in (0.0, 0.0, 0.5, 1.0)),
    "decay": tuple(_training(weight_decay=value) for value in (0.0, 1e-4, 1e-2)),
    "ema": tuple(_training(ema=value) for value in (None, None, 0.97)),
    "clip": tuple(_training(clip_norm=value) for value in (None, 1.0, 5.0)),
    "augmentation": tuple({"augmentation": value} for value in (None, MILD, NOISY)),
    "dropout": tuple({"model": {"dropout": value}} for value in (0.0, 0.2, 0.4)),
    "head": tuple({"model": {"head": value}} for value in ([], [], [24])),
    "smoothing": tuple({"loss": {"label_smoothing": value}} for value in (0.0, 0.0, 0.05)),
    "bias": tuple({"model": {"output_bias": value}} for value in ("floor", "floor", "zero")),
}
"""What a random variant chooses from, one of each."""


def variants(task: Task) -> tuple[str, ...]:
    """Names of the variants that a task's healthy arm has."""
    return tuple(MASK_VARIANTS if task.kind == "segmentation" else VARIANTS)


def healthy_run(task: Task, variant: str) -> Run:
    """The run of a variant: one of the named, or "mixed-N", a combination drawn by its number."""
    masks = task.kind == "segmentation"
    if not variant.startswith("mixed-"):
        return MASK_VARIANTS[variant](task) if masks else Run(dict(VARIANTS[variant](task)))
    rng = np.random.default_rng([int(variant.removeprefix("mixed-")), len(task.name)])
    sections: dict[str, Any] = {}
    for choices in (MASK_CHOICES if masks else CHOICES).values():
        sections = merge(sections, choices[int(rng.integers(len(choices)))])
    factor = float(rng.choice([0.5, 0.8, 1.0, 1.5]))
    sections["training"]["learning_rate"] = factor * task.config.training.learning_rate
    if masks:
        return Run(sections)
    kinds = ("plain", "weighted", "balanced", "focal_auto")
    extra = VARIANTS[kinds[int(rng.integers(len(kinds)))]](task)
    return Run({**sections, **{name: {**sections.get(name, {}), **values} for name, values in extra.items()}})
