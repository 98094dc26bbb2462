"""Prevalence of each class in each split, and whether chance makes the difference, patients counted as patients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from osler.audit.case import Case
from osler.metrics.intervals import rate_interval, standard_error

__all__ = ["Difference", "Prevalence", "differences", "holm", "prevalences"]

FEWEST = 5
"""With fewer positives, or negatives, in both splits together than this twice, no test is made."""
FEWEST_PATIENTS = 5
"""Of fewer patients with several images each nobody can tell how much patients differ."""


@dataclass(frozen=True)
class Prevalence:
    """A class in a split.

    Attributes:
        name: of the class.
        split: where.
        known: samples with a known label.
        positives: of them.
        patients: among the known ones; None where patients are unknown or each has one sample.
        low: lower end of the 95 % interval of the share.
        high: upper end.
    """

    name: str
    split: str
    known: int
    positives: int
    patients: int | None
    low: float
    high: float

    @property
    def share(self) -> float:
        """NaN where no label is known."""
        return self.positives / self.known if self.known else math.nan


@dataclass(frozen=True)
class Difference:
    """A class in another split against train.

    Attributes:
        name: of the class.
        split: the other split.
        train: share in train.
        other: share in the other split.
        p: two-sided, of no difference, corrected for all differences looked at (Holm 1979); NaN where there are too few
            positives, or too few patients.
    """

    name: str
    split: str
    train: float
    other: float
    p: float

    @property
    def odds_ratio(self) -> float:
        """How much larger the greater odds are; infinite where one split has none, or nothing else."""
        one, other = (share / (1 - share) if share < 1 else math.inf for share in (self.train, self.other))
        low, high = sorted((one, other))
        return high / low if low > 0 else math.inf


def prevalences(case: Case) -> list[Prevalence]:
    """Every class in every split."""
    found = []
    for k, name in enumerate(case.samples.classes):
        column = case.samples.targets[:, k]
        for split in case.used:
            among = case.of_split(split) & ~np.isnan(column)
            share = rate_interval(column == 1, among, case.patients)
            positives = int((column[among] == 1).sum())
            found.append(Prevalence(name, split, int(among.sum()), positives, share.n_patients, share.low, share.high))
    return found


def differences(case: Case) -> list[Difference]:
    """Every class in val and test against train, with p-values that hold for all of them together."""
    raw = []
    for k, name in enumerate(case.samples.classes):
        column = case.samples.targets[:, k]
        for split in case.used:
            if split == "train" or "train" not in case.used:
                continue
            train, other = (case.of_split(each) & ~np.isnan(column) for each in ("train", split))
            if not train.any() or not other.any():
                continue
            shares = float(column[train].mean()), float(column[other].mean())
            raw.append(Difference(name, split, *shares, _p_value(column, train, other, case.patients)))
    adjusted = holm([one.p for one in raw])
    return [Difference(one.name, one.split, one.train, one.other, p) for one, p in zip(raw, adjusted, strict=True)]


def _p_value(
    column: NDArray[np.float32], train: NDArray[np.bool_], other: NDArray[np.bool_], codes: NDArray[np.intp] | None
) -> float:
    """Two-sided p of two shares being one: by the pooled variance, or by what patients add where they have several samples."""
    values, size = column.astype(np.float64), np.array([train.sum(), other.sum()], float)
    positives = np.array([values[train].sum(), values[other].sum()])
    pooled = float(positives.sum() / size.sum())
    if min(pooled, 1 - pooled) * size.min() < FEWEST:
        return math.nan
    variance = pooled * (1 - pooled) * float((1 / size).sum())
    if codes is not None:
        if min(len(np.unique(codes[rows])) for rows in (train, other)) < FEWEST_PATIENTS:
            return math.nan
        errors = [
            standard_error((values[rows] - pooled) / rows.sum(), np.unique(codes[rows], return_inverse=True)[1])
            for rows in (train, other)
        ]
        # Never less than independent samples would have: few patients can look too much alike.
        variance = max(variance, sum(error**2 for error in errors))
    z = float(np.diff(positives / size)[0]) / math.sqrt(variance)
    return 2 * (1 - NormalDist().cdf(abs(z)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values that may all be looked at (Holm 1979); NaN stays NaN and counts as no test.

    >>> holm([0.01, 0.04, float("nan"), 0.03])
    [0.03, 0.06, nan, 0.06]
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p))
        adjusted[place] = highest
    return adjusted
