"""A dose that proved too small: where a cure of too little learning did no harm, and its run still learned fast, more of it.

The doctor's doses go as far as what was seen asks for, and a run that hardly moved shows little. What the treated run shows is
the better guide. Whether more is better is not decided here: it is another attempt, with its own arm and proof, and the best of
them on the part of val that chooses is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.config import Config
from osler.errors import ConfigError
from osler.metrics.trend import trend
from osler.runs.vitals import flatten
from osler.treat.dose import USUAL
from osler.treat.patch import Edit, Patch, apply_patch

__all__ = ["further_patch"]

RATE, EPOCHS, AUGMENTATION = "training.learning_rate", "training.epochs", "augmentation"
MOST, LEAST = 10.0, 1.5
"""Factors of a further step: no more at once, and not worth an arm below."""
LARGEST_STEP = 10 * USUAL
"""Norm of a step over the norm of the weights that sound runs of small networks begin with."""
LITTLE = 0.3
"""Skill up to which a run has learned little."""
FEWEST = 4
"""Epochs from which a rise can be told."""


def further_patch(
    patch: Patch, config: Config, first: Config, epochs: Sequence[Mapping[str, Any]], tried: Sequence[Config]
) -> Patch | None:
    """The same prescription with a larger dose, half as far again on a logarithmic scale; None where nothing asks for it.

    Of a learning rate or a number of epochs that was raised, where the treated run still learned more while its rate was high;
    of augmentation that was made mild, where the treated run learns little: it is left out.

    Args:
        patch: that gave the treated run.
        config: of the treated run.
        first: of the run as it came to the treatment: what has been gone so far is gone from there.
        epochs: its vitals.
        tried: configurations that were trained already.
    """
    flat = [flatten(epoch) for epoch in epochs]
    found = _without_augmentation(patch, config, flat) or _more_movement(patch, config, first, flat)
    if found is None:
        return None
    edits, why = found
    following = replace(patch, summary=f"{why[0].upper()}{why[1:]}.", edits=edits)
    try:
        return following if apply_patch(config, following) not in tried else None
    except ConfigError:
        return None


def _more_movement(
    patch: Patch, config: Config, first: Config, epochs: Sequence[Mapping[str, Any]]
) -> tuple[tuple[Edit, ...], str] | None:
    if config.training.phases or not _still_learns(epochs):  # phases state rates and epochs of their own
        return None
    why = "the treated run still learned more from epoch to epoch while its rate was high: the dose was small"
    edits = []
    for key in (RATE, EPOCHS):
        now, then = (float(getattr(one.training, key.removeprefix("training."))) for one in (config, first))
        factor = _factor(key, now / then, epochs) if key in patch.keys else 1.0
        if factor >= LEAST:
            edits.append(Edit(key, now, round(now * factor) if key == EPOCHS else float(f"{now * factor:.2g}"), why))
    return (tuple(edits), why) if edits else None


def _factor(key: str, gone: float, epochs: Sequence[Mapping[str, Any]]) -> float:
    """By how much a rate or a number of epochs that was raised so many times goes on; 1 for what was lowered."""
    if gone <= 1.0:
        return 1.0
    factor, steps = min(math.sqrt(gone), MOST), _column(epochs, "optimization.update_ratio.median")
    return min(factor, LARGEST_STEP / float(np.nanmax(steps))) if key == RATE and (steps > 0).any() else factor


def _still_learns(epochs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the monitored figure, or where it does not move yet the skill, rose beyond its noise while the rate was high."""
    rates = _column(epochs, "learning_rate.start")
    high = rates >= 0.5 * np.nanmax(rates, initial=0.0)
    return any(_rises(_column(epochs, name)[high]) for name in ("monitor.value", "val.skill"))


def _rises(values: NDArray[np.float64]) -> bool:
    last = values[len(values) // 3 :] if len(values) >= 2 * FEWEST else values
    return len(last) >= FEWEST and bool(np.isfinite(last).all()) and trend(last).rises


def _without_augmentation(
    patch: Patch, config: Config, epochs: Sequence[Mapping[str, Any]]
) -> tuple[tuple[Edit, ...], str] | None:
    skills = _column(epochs, "val.skill")
    made_mild = patch.finding == "augmentation_too_strong" and config.augmentation is not None
    if not made_mild or not np.isfinite(skills).any() or np.nanmax(skills) > LITTLE:
        return None
    assert config.augmentation is not None, "it was made mild"
    why = "with mild augmentation little is learned too: whether more is without any tells if augmentation is to blame"
    return (Edit(AUGMENTATION, config.augmentation.model_dump(mode="json"), None, why),), why


def _column(epochs: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    """(E,) a figure of each epoch; NaN where there is none."""
    values = [epoch.get(name) for epoch in epochs]
    return np.array([math.nan if value is None else value for value in values], np.float64)
