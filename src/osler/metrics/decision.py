"""Decisions at a threshold: confusion counts, their scores, and how thresholds are chosen.

A sample is called positive where its probability is no lower than the threshold; where classes exclude each other, the class
of the largest probability is called. Targets are in {0, 1, NaN}; NaN is left out. An undefined score is NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.config import SensitivityTarget
from osler.metrics.ranking import Ranked, rank
from osler.metrics.weights import Kind

__all__ = [
    "SCORES",
    "ThresholdRule",
    "best_f1",
    "choose_threshold",
    "choose_thresholds",
    "confusion",
    "decide",
    "scores",
]

Floats = NDArray[np.float64]
Counts = NDArray[Any]
ThresholdRule = str | float | SensitivityTarget


def decide(probabilities: ArrayLike, thresholds: ArrayLike | None, kind: Kind) -> NDArray[np.bool_]:
    """(N, K) what is called positive.

    Args:
        probabilities: (N, K).
        thresholds: a number or (K,); not read for multiclass. NaN calls nothing positive.
        kind: multiclass calls the largest of each row, the first where several are equal.

    >>> decide([[0.2], [0.5]], 0.5, "binary").tolist()
    [[False], [True]]
    """
    values = np.asarray(probabilities)
    if kind == "multiclass":
        called = np.zeros(values.shape, dtype=bool)
        if values.size:
            called[np.arange(len(values)), values.argmax(axis=1)] = True
        return called
    # In the probabilities' own precision: a threshold was one of them.
    precision = values.dtype if values.dtype.kind == "f" else np.float64
    return np.asarray(values >= np.asarray(thresholds, dtype=precision))


def confusion(targets: ArrayLike, called: ArrayLike) -> NDArray[np.int64]:
    """(K, 2, 2) counts [[tn, fp], [fn, tp]] of each class over its known samples.

    Args:
        targets: (N, K) in {0, 1, NaN}.
        called: (N, K) booleans.

    >>> confusion([[1], [0], [1], [np.nan]], [[True], [True], [False], [True]]).tolist()
    [[[0, 1], [1, 1]]]
    """
    labels, calls = np.asarray(targets), np.asarray(called, dtype=bool)
    ones, zeros = labels == 1, labels == 0
    cells = [[zeros & ~calls, zeros & calls], [ones & ~calls, ones & calls]]
    return np.array([[cell.sum(axis=0) for cell in row] for row in cells], dtype=np.int64).transpose(2, 0, 1)


def scores(table: Counts) -> dict[str, Floats]:
    """Every threshold score of confusion counts.

    Args:
        table: (..., 2, 2) counts [[tn, fp], [fn, tp]]; fractions and sums of weights will do.

    Returns:
        (...) for each name in `SCORES`; NaN where undefined.

    >>> {name: round(float(value), 3) for name, value in scores(np.array([[80, 10], [2, 8]])).items()}["f1"]
    0.571
    """
    return {name: score(table) for name, score in SCORES.items()}


def choose_thresholds(rule: ThresholdRule, targets: ArrayLike, probabilities: ArrayLike) -> Floats:
    """(K,) threshold of each class by `choose_threshold`.

    Args:
        rule: as `evaluation.threshold` of the configuration.
        targets: (N, K) in {0, 1, NaN}, of the validation set.
        probabilities: (N, K).
    """
    labels, values = np.asarray(targets), np.asarray(probabilities)
    return np.array([choose_threshold(rule, labels[:, k], values[:, k]) for k in range(labels.shape[1])])


def choose_threshold(rule: ThresholdRule, targets: ArrayLike, probabilities: ArrayLike) -> float:
    """The threshold that a rule picks on these samples; one of the positives' probabilities, or the number given.

    "youden": largest sensitivity + specificity - 1 (Youden 1950). "f1": largest F1. `SensitivityTarget`: the largest
    threshold whose sensitivity reaches the target. Among equals the largest. NaN where a label is absent: nothing tells a
    good threshold then.

    Args:
        rule: as `evaluation.threshold` of the configuration.
        targets: (N,) in {0, 1, NaN}.
        probabilities: (N,).

    >>> choose_threshold("youden", [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.8
    >>> choose_threshold(SensitivityTarget(sensitivity=0.9), [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.35
    """
    if isinstance(rule, (int, float)):
        return float(rule)
    ranked = rank(targets, probabilities)
    if not ranked.scored:
        return float("nan")
    if isinstance(rule, SensitivityTarget):
        return _at_sensitivity(ranked, rule.sensitivity)
    return THRESHOLD_RULES[rule](ranked)


def best_f1(ranked: Ranked) -> tuple[float, float]:
    """The threshold with the largest F1, and that F1; NaN, NaN where a label is absent.

    >>> best_f1(rank([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]))
    (0.35, 0.8)
    """
    if not ranked.scored:
        return float("nan"), float("nan")
    true, false = _calls_at_positives(ranked)
    values = 2 * true / (true + false + len(ranked.positives))
    return _highest(ranked, values), float(values.max())


def _best_youden(ranked: Ranked) -> float:
    true, false = _calls_at_positives(ranked)
    # Whole numbers, so that equal gains compare equal.
    return _highest(ranked, true * len(ranked.negatives) - false * len(ranked.positives))


def _at_sensitivity(ranked: Ranked, target: float) -> float:
    total = len(ranked.positives)
    # Rounding must not ask for a tenth of nine: 0.9 * 10 is a hair above 9 for some targets.
    needed = int(np.ceil(target * total - 1e-9 * total))
    return float(ranked.positives[total - max(needed, 1)])


THRESHOLD_RULES: dict[str, Callable[[Ranked], float]] = {"youden": _best_youden, "f1": lambda ranked: best_f1(ranked)[0]}


def _calls_at_positives(ranked: Ranked) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(G,) true and false positives at each distinct positive score, rising.

    A threshold between two positives' scores finds no more than the upper of them and calls no fewer negatives, so the best
    one for any score that rises with both rates is among these.
    """
    starts = ranked.group_starts
    return len(ranked.positives) - starts, len(ranked.negatives) - ranked.below[starts]


def _highest(ranked: Ranked, values: NDArray[Any]) -> float:
    last = len(values) - 1 - int(values[::-1].argmax())
    return float(ranked.positives[ranked.group_starts[last]])


def _cells(table: Counts) -> tuple[Floats, Floats, Floats, Floats]:
    """tn, fp, fn, tp."""
    counts = np.asarray(table, dtype=np.float64)
    return counts[..., 0, 0], counts[..., 0, 1], counts[..., 1, 0], counts[..., 1, 1]


def _ratio(top: Floats, bottom: Floats) -> Floats:
    ratio = np.full(np.shape(bottom), np.nan)
    np.divide(top, bottom, out=ratio, where=np.asarray(bottom) != 0)
    return ratio


def _sensitivity(table: Counts) -> Floats:
    _, _, fn, tp = _cells(table)
    return _ratio(tp, tp + fn)


def _specificity(table: Counts) -> Floats:
    tn, fp, _, _ = _cells(table)
    return _ratio(tn, tn + fp)


def _precision(table: Counts) -> Floats:
    _, fp, _, tp = _cells(table)
    return _ratio(tp, tp + fp)


def _npv(table: Counts) -> Floats:
    tn, _, fn, _ = _cells(table)
    return _ratio(tn, tn + fn)


def _f1(table: Counts) -> Floats:
    _, fp, fn, tp = _cells(table)
    return _ratio(2 * tp, 2 * tp + fp + fn)


def _accuracy(table: Counts) -> Floats:
    tn, fp, fn, tp = _cells(table)
    return _ratio(tn + tp, tn + fp + fn + tp)


def _balanced_accuracy(table: Counts) -> Floats:
    return (_sensitivity(table) + _specificity(table)) / 2


def _mcc(table: Counts) -> Floats:
    tn, fp, fn, tp = _cells(table)
    # In pairs, whose roots are whole numbers for a perfect table: its coefficient is 1 without rounding.
    margins = np.sqrt((tp + fp) * (tp + fn)) * np.sqrt((tn + fp) * (tn + fn))
    return _ratio(tp * tn - fp * fn, margins)


SCORES: dict[str, Callable[[Counts], Floats]] = {
    "sensitivity": _sensitivity,
    "specificity": _specificity,
    "precision": _precision,
    "npv": _npv,
    "f1": _f1,
    "mcc": _mcc,
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
}
"""Score → function of (..., 2, 2) counts [[tn, fp], [fn, tp]], giving (...); NaN where undefined."""
