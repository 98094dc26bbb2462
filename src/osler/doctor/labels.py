"""Labels of a split: what the run's figures show, what is stated, or what one-sided epochs betray."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.doctor.chart import Chart
from osler.metrics.trend import prevalence_from_constants

__all__ = ["ROUNDED", "Labels", "betrayed_labels", "errors_apart", "measured_labels", "numbers_of", "stated_labels"]

Floats = NDArray[np.float64]

# Rates that are rounded to four decimals are one-sided within this.
ROUNDED = 5.1e-4


@dataclass(frozen=True)
class Labels:
    """The labels of a split.

    Attributes:
        share: (K,) prevalence of each class.
        n: samples with known labels; NaN where unknown.
        names: (K,) classes; "" for the only one.
        basis: what it is known from.
        measured: it was seen in the run's own figures, and not only stated.
    """

    share: Floats
    n: float
    names: tuple[str, ...]
    basis: str
    measured: bool

    @property
    def single(self) -> float:
        """The prevalence where there is one class; NaN otherwise."""
        return float(self.share[0]) if len(self.share) == 1 else math.nan


def measured_labels(chart: Chart, split: str) -> Labels | None:
    """The prevalence that the log holds by epoch, or that its counts of right and wrong calls make."""
    counted = _counted_labels(chart, split)
    if counted is not None:
        return counted
    names = chart.parts(f"{split}.prevalence")
    whole = chart.points(f"{split}.prevalence")[1]
    n = _samples(chart, split)
    if names:
        shares = np.array([_last(chart.values(f"{split}.prevalence[{name}]")) for name in names])
        return Labels(shares, n, names, "logged by epoch", True) if _are_shares(shares) else None
    return Labels(whole[-1:], n, ("",), "logged by epoch", True) if len(whole) and _are_shares(whole[-1:]) else None


def _counted_labels(chart: Chart, split: str) -> Labels | None:
    """Labels from true and false positives and negatives of samples, which add up to the same in every epoch."""
    names = [f"{split}.{name}" for name in ("tp", "fn", "tn", "fp")]
    if not chart.has(*names) or chart.has(f"{split}.dice") or chart.has(f"{split}.iou"):
        return None
    tp, fn, tn, fp = (chart.values(name) for name in names)
    rows = np.flatnonzero(np.isfinite(tp + fn + tn + fp))
    positives, whole = (tp + fn)[rows], (tp + fn + tn + fp)[rows]
    if not len(rows) or np.ptp(positives) > 0 or np.ptp(whole) > 0 or not 0 < positives[0] < whole[0]:
        return None
    return Labels(positives[:1] / whole[0], float(whole[0]), ("",), "counted: TP + FN, of all", True)


def stated_labels(chart: Chart, split: str, classes: Sequence[str]) -> Labels | None:
    """The prevalence, or the counts, that the facts state for a split."""
    stated = chart.facts.get(f"prevalence.{split}")
    n, positives = _samples(chart, split), chart.facts.number(f"positives.{split}")
    if stated is None and 0 <= positives <= n and n > 0:
        return Labels(np.array([positives / n]), n, ("",), f"positives.{split} and samples.{split}", False)
    shares = numbers_of(stated, classes)
    if shares is None or not _are_shares(shares):
        return None
    several = tuple(classes) if len(classes) == len(shares) else ("",) * len(shares)
    names = tuple(map(str, stated)) if isinstance(stated, Mapping) and set(stated) != set(classes) else several
    return Labels(shares, n, names, f"stated as prevalence.{split}", False)


def betrayed_labels(chart: Chart, split: str) -> Labels | None:
    """The prevalence that follows from the scores of epochs whose calls are all the same, of a binary run."""
    if not chart.has(f"{split}.accuracy"):
        return None
    columns = (chart.values(f"{split}.{name}") for name in ("accuracy", "recall", "precision", "specificity"))
    found = prevalence_from_constants(*columns)
    shares = np.sort(np.array([share for _, share, _ in found]))
    if not len(shares) or float(np.ptp(shares)) > 2 * ROUNDED or not 0.0 < shares[0] < 1.0:
        return None
    return Labels(shares[len(shares) // 2 : len(shares) // 2 + 1], _samples(chart, split), ("",), found[0][2], True)


def _are_shares(values: Floats) -> bool:
    known = values[np.isfinite(values)]
    return bool(((known >= 0.0) & (known <= 1.0)).all())


def _samples(chart: Chart, split: str) -> float:
    logged = chart.points(f"{split}.n")[1]
    return float(logged[-1]) if len(logged) else chart.facts.number(f"samples.{split}")


def numbers_of(stated: Any, names: Sequence[str]) -> Floats | None:
    """(K,) numbers from a fact: one number, one for each class, or a mapping from class to number; None where it is none.

    >>> numbers_of({"b": 2.0, "a": 1.0}, ["a", "b"]).tolist(), numbers_of("auto", [])
    ([1.0, 2.0], None)
    """
    if isinstance(stated, Mapping):
        ordered = [stated[name] for name in names] if set(names) == set(stated) else list(stated.values())
        stated = tuple(ordered)
    values = stated if isinstance(stated, tuple) else (stated,)
    if not values or any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in values):
        return None
    return np.array(values, dtype=np.float64)


def _last(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else math.nan


def errors_apart(one: Labels, other: Labels) -> Floats:
    """(K,) standard errors between the shares of positives in two sets of known size and the same classes, were they one set."""
    pooled = (one.share * one.n + other.share * other.n) / (one.n + other.n)
    error = np.sqrt(np.maximum(pooled * (1 - pooled), 1e-12) * (1 / one.n + 1 / other.n))
    apart: Floats = np.abs(one.share - other.share) / error
    return apart
