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

__all__ = ["AtChance", "OneSided", "at_chance", "loss_of_a_coin", "one_sided"]

Floats = NDArray[np.float64]

# With a larger standard error, "at chance" and "of use" cannot be told apart.
LARGEST_ERROR = 0.08
FEWEST_AUCS = 3
# How near to ln 2 a loss is that of a coin, and the accuracy of two classes that hardly anything known of them does not pass.
NEAR_COIN, COIN, FEWEST_COINS = 0.02, 0.6, 4
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


def loss_of_a_coin(case: Case) -> tuple[str, tuple[Evidence, ...]] | None:
    """That validation and training never leave ln 2 nor a small accuracy, in words and figures: two classes, told by nothing.

    None where they do, or where the floor of validation is known, which says more.
    """
    rows = np.flatnonzero(case.settled & np.isfinite(case.chart.values("val.loss") + case.chart.values("val.accuracy")))
    losses, accuracy = (case.chart.values(f"val.{name}")[rows] for name in ("loss", "accuracy"))
    if len(rows) < FEWEST_COINS or not _like_a_coin(losses, accuracy) or math.isfinite(case.floor("val")):
        return None
    later = rows[len(rows) // 2 :]  # a fresh network's first losses lie above
    trained = case.chart.values("train.accuracy")[later]
    if not _like_a_coin(case.chart.values("train.loss")[later], trained[np.isfinite(trained)]):
        return None
    best, epochs = int(losses.argmin()), case.chart.epochs[rows]
    text = (
        f"val.loss lies between {figure(float(losses.min()))} and {figure(float(losses.max()))} in {len(rows)} epochs, where a "
        f"coin has ln 2 = 0.693, and val.accuracy is {figure(float(accuracy.max()))} at best: nothing tells the two classes."
    )
    return text, (Evidence("val.loss", float(losses[best]), float(epochs[best]), expected=math.log(2), basis="of a coin"),)


def _like_a_coin(losses: Floats, accuracy: Floats) -> bool:
    return bool((np.abs(losses / math.log(2) - 1.0) < NEAR_COIN).all() and (accuracy < COIN).all())


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
