"""Chance: whether a run's figures differ from what a constant or a coin gives on the same labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.doctor.case import USELESS, Case
from osler.doctor.findings import Evidence, Lacking, figure
from osler.metrics.proportion import normal_quantile
from osler.metrics.trend import trend

__all__ = ["AtChance", "OneSided", "at_chance", "one_sided"]

Floats = NDArray[np.float64]

# With a larger standard error, "at chance" and "of use" cannot be told apart.
LARGEST_ERROR = 0.08
FEWEST_AUCS = 3
# Two-sided quantiles of Student's t at 95 % by degrees of freedom; beyond the table the normal one is near enough.
STUDENT = {2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228}


@dataclass(frozen=True)
class AtChance:
    """AUCs that a coin would have given.

    Attributes:
        mean, low, high: of the epochs, with its interval.
        error: standard error of a single one: from the counts, or from their scatter over the epochs.
        best, best_epoch: the highest.
        epochs: how many.
        counted: the error is from the counts of positives and negatives.
    """

    mean: float
    low: float
    high: float
    error: float
    best: float
    best_epoch: float
    epochs: int
    counted: bool

    def text(self) -> str:
        """In words."""
        basis = "from the counts" if self.counted else "from the scatter over the epochs, since n is not known"
        return f"{figure(self.mean)} on average over {self.epochs} epochs, standard error of one {figure(self.error)} {basis}"

    def evidence(self, name: str) -> Evidence:
        """The mean with its interval."""
        return Evidence(name, self.mean, None, self.low, self.high, 0.5, f"mean of {self.epochs} epochs")


def at_chance(case: Case, split: str) -> AtChance | Lacking | None:
    """Whether a split's AUCs are those of a coin; Lacking where the sample is too small to say."""
    rows = np.flatnonzero(case.settled & np.isfinite(case.chart.values(f"{split}.auc")))
    values, epochs = case.chart.values(f"{split}.auc")[rows], case.chart.epochs[rows]
    if len(values) < FEWEST_AUCS:
        return Lacking(f"{FEWEST_AUCS} epochs of {split}.auc after the warm-up; there are {len(values)}")
    error = case.null_error(split)
    counted = math.isfinite(error)
    mean, count = float(values.mean()), len(values)
    if counted:
        if error > LARGEST_ERROR:
            return Lacking(f"more positives in {split}: the standard error of its AUC at chance is {figure(error)}")
        half = 1.96 * error  # epochs share their samples: averaging them does not narrow the interval
        beyond = normal_quantile(1.0 - 0.05 / count) * error
        if float(values.max()) - 0.5 > beyond or mean + half < 0.5:
            return None
    else:
        error = float(values.std(ddof=1))
        half = STUDENT.get(count - 1, 1.96) * max(error, 1e-4) / math.sqrt(count)
        if trend(values, epochs).rises or not (mean - half <= 0.5 <= mean + half) or mean + half > USELESS:
            return None
    best = int(np.argmax(values))
    return AtChance(mean, mean - half, mean + half, error, float(values[best]), float(epochs[best]), count, counted)


@dataclass(frozen=True)
class OneSided:
    """Epochs in which all samples get the same call.

    Attributes:
        positive, negative: epochs that call all positive, and none.
        known: epochs of which the calls are known.
        last: 1 or −1 where the last known epoch is one-sided, else 0.
    """

    positive: Floats
    negative: Floats
    known: int
    last: int

    @property
    def count(self) -> int:
        """One-sided epochs."""
        return len(self.positive) + len(self.negative)

    @property
    def share(self) -> float:
        """Of the known epochs."""
        return self.count / self.known if self.known else 0.0

    def text(self) -> str:
        """In words."""
        parts = []
        for epochs, what in ((self.positive, "all positive"), (self.negative, "all negative")):
            if len(epochs):
                shown = ", ".join(figure(float(epoch)) for epoch in epochs[:12]) + (" ..." if len(epochs) > 12 else "")
                parts.append(f"{what} in epoch{'s' if len(epochs) > 1 else ''} {shown}")
        return "; ".join(parts)


def one_sided(case: Case, split: str = "val", part: str = "") -> OneSided | None:
    """The one-sided epochs of a split; None where the log does not say what is called positive."""
    sides = case.sides(split, part)
    known = np.flatnonzero(np.isfinite(sides))
    if not len(known):
        return None
    epochs = case.chart.epochs
    return OneSided(epochs[sides == 1.0], epochs[sides == -1.0], len(known), int(sides[known[-1]]))
