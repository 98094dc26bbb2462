"""The random control: an arm with as much change as a treated one, and no reason for it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from osler.config import Config
from osler.errors import ConfigError
from osler.treat.patch import Edit, Patch, apply_patch

__all__ = ["random_patch"]

# Factors on a number, or values; each is one that a person might try.
FACTORS: dict[str, tuple[float, ...]] = {
    "training.learning_rate": (0.33, 0.5, 2.0, 3.0),
    "training.weight_decay": (0.1, 10.0),
    "training.batch_size": (0.5, 2.0),
}
VALUES: dict[str, tuple[object, ...]] = {
    "training.clip_norm": (None, 1.0, 10.0),
    "training.ema": (None, 0.9, 0.99),
    "training.schedule": ("constant", "cosine", "one_cycle"),
    "training.optimizer": ("adamw", "adam"),
    "model.dropout": (0.0, 0.1, 0.3, 0.5),
    "loss.label_smoothing": (0.0, 0.05, 0.1),
    "augmentation.rotation": (0.0, 5.0, 15.0),
    "augmentation.shift": (0.0, 0.1),
    "augmentation.zoom": (0.0, 0.2),
    "augmentation.brightness": (0.0, 0.2),
}
SMOOTHED = ("bce", "focal", "cross_entropy")
# What no segmentation reads, and is refused there.
OF_LABELS = ("model.dropout", "loss.label_smoothing")
WHOLE = ("training.batch_size",)


def random_patch(config: Config, avoid: Iterable[str], seed: int) -> Patch:
    """A change of one setting, drawn at random from what a person might try.

    Args:
        config: to be changed.
        avoid: settings that the prescription changes.
        seed: of the draw.
    """
    generator = np.random.default_rng(seed)
    avoid = {*avoid} if config.loss.type in SMOOTHED else {*avoid, "loss.label_smoothing"}
    avoid |= {*OF_LABELS} if config.data.task == "segmentation" else set()
    keys = [key for key in (*FACTORS, *VALUES) if key not in avoid]
    for key in generator.permutation(keys):
        before = _value(config, str(key))
        if before is _ABSENT:
            continue
        for after in _values(str(key), before, generator):
            patch = Patch("random_change", "Random change", "no reason", "", (Edit(str(key), before, after, "drawn at random"),))
            try:
                if apply_patch(config, patch) != config:
                    return patch
            except ConfigError:
                continue
    raise ConfigError("no setting is left that could be changed at random")


_ABSENT = object()


def _value(config: Config, key: str) -> object:
    value: object = config
    for part in key.split("."):
        if value is None:
            return _ABSENT
        value = getattr(value, part)
    return value if not isinstance(value, tuple) else _ABSENT


def _values(key: str, before: object, generator: np.random.Generator) -> list[object]:
    if key not in FACTORS:
        return [VALUES[key][k] for k in generator.permutation(len(VALUES[key]))]
    factors = [FACTORS[key][k] for k in generator.permutation(len(FACTORS[key]))]
    assert isinstance(before, (int, float)), f"{key} is a number"
    if key in WHOLE:
        return [max(2, round(before * factor)) for factor in factors]
    return [float(f"{before * factor:.3g}") for factor in factors]
