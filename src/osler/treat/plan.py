"""The plan of a treatment: what is tried first, with how many seeds, on how much of train, for how many epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.config import Config
from osler.data.load import Data
from osler.errors import RunError
from osler.metrics.ranking import cluster_codes
from osler.runs.folder import RunFolder
from osler.runs.vitals import read_vitals
from osler.treat.arms import Trial
from osler.treat.patch import Patch

__all__ = ["Budget", "Proving", "proving", "trial_for"]

PROVE = 0.5
MOST_SEEDS = 3
STARTING = 12.0
"""Seconds that an arm takes besides its epochs: starting, predicting, writing."""
FEWEST_EPOCHS = 6
LEAST_SHARE = 0.1
LEAST_SAMPLES = 200
EXPECTED_ATTEMPTS = 2
# Prescriptions that are themselves about how long to train: such a run cannot be judged by a shorter one.
OF_LENGTH = (
    "training.epochs",
    "training.early_stopping",
    "training.warmup_epochs",
    "training.warmup_steps",
    "training.schedule",
    "training.phases",
)


@dataclass(frozen=True)
class Budget:
    """How much may be spent, and on what.

    Attributes:
        minutes: of training in all.
        attempts: prescriptions at most.
        random: whether a random change is a control too.
        level: of all intervals together.
    """

    minutes: float
    attempts: int
    random: bool
    level: float = 0.95

    def to_json(self) -> dict[str, Any]:
        """As in `osler.treatment/1`."""
        return {**vars(self), "controls": "full" if self.random else "plain"}


@dataclass(frozen=True)
class Proving:
    """What there is to prove with.

    Attributes:
        choose, prove: samples of the two parts of val.
        patients: of those that prove.
        rarest: patients of those with the rarer label of the rarest class; of masks, with foreground.
        name: of that class.
    """

    choose: int
    prove: int
    patients: int
    rarest: int
    name: str

    def to_json(self) -> dict[str, Any]:
        """As in `osler.treatment/1`."""
        return dict(vars(self))


def proving(data: Data) -> Proving:
    """Counts of a trial's data."""
    rows = data.rows["test"]
    patients = cluster_codes(data.source.ids[rows] if data.source.patients is None else data.source.patients[rows])
    targets = data.targets("test")
    masks = data.source.masks is not None
    counts = [_rarer(targets[:, k], patients, masks) for k in range(targets.shape[1])]
    # Macro figures need one class at least: the best supplied one decides whether anything can be shown.
    k = int(np.argmax(counts))
    return Proving(len(data.rows["val"]), len(rows), int(patients.max()) + 1, counts[k], data.source.classes[k])


def _rarer(labels: NDArray[np.float32], patients: NDArray[np.intp], masks: bool) -> int:
    ones, zeros = (len(np.unique(patients[labels == value])) for value in (1, 0))
    return ones if masks else min(ones, zeros)


def trial_for(run: RunFolder, config: Config, patch: Patch | None, budget: Budget, seeds: int | None) -> tuple[Trial, float]:
    """How arms are trained within the budget, and about how many seconds one takes.

    Seeds come first: three where they fit, else two, else one. Then epochs are cut, where no prescription is about their number,
    and then train.

    Args:
        run: that is treated; its vitals say how long an epoch takes.
        config: of the run.
        patch: the first prescription.
        budget: of the treatment.
        seeds: as asked for; None: as the budget allows.
    """
    epochs = _planned(config)
    each = _seconds_of_an_epoch(run)
    arms = 1 + EXPECTED_ATTEMPTS * (2 if budget.random else 1)
    seconds = 60 * budget.minutes

    def cost(count: int, train: float, share: float) -> float:
        return arms * count * (STARTING + each * epochs * share * train)

    choices: Sequence[int] = (seeds,) if seeds else range(min(MOST_SEEDS, budget.attempts and MOST_SEEDS), 0, -1)
    count = next((n for n in choices if cost(n, 1.0, 1.0) <= seconds), choices[-1])
    share, train = 1.0, 1.0
    if cost(count, 1.0, 1.0) > seconds and not config.training.phases and not (patch is not None and patch.keys & {*OF_LENGTH}):
        share = max(min(1.0, FEWEST_EPOCHS / epochs), min(1.0, _fit(seconds, arms * count, each * epochs)))
    if cost(count, 1.0, share) > seconds:
        samples = run.read(run.facts_file).get("samples.train", 0) if run.facts_file.is_file() else 0
        least = min(1.0, max(LEAST_SHARE, LEAST_SAMPLES / max(samples, 1)))
        train = max(least, min(1.0, _fit(seconds, arms * count, each * epochs * share)))
    trial = Trial(PROVE, round(train, 3), round(share, 4), count, config.training.seed + 1)
    return trial, STARTING + each * epochs * share * train


def _fit(seconds: float, arms: int, whole: float) -> float:
    """Share of an arm's epochs, or of train, that fits."""
    return max(0.0, seconds / arms - STARTING) / whole if whole > 0 else 1.0


def _planned(config: Config) -> int:
    return sum(phase.epochs or config.training.epochs for phase in config.training.phases) or config.training.epochs


def _seconds_of_an_epoch(run: RunFolder) -> float:
    """Of the run's epochs, the median; NaN-safe, and 0 where nobody measured it."""
    if not run.vitals_file.is_file():
        raise RunError(f"{run.path}: has no vitals.jsonl: its first epoch has not ended. Train it, or resume it, first.")
    seconds = [epoch.get("seconds", {}).get("epoch") for epoch in read_vitals(run.vitals_file)]
    known = [float(one) for one in seconds if isinstance(one, (int, float)) and math.isfinite(one)]
    return float(np.median(known)) if known else 0.0
