"""The figures of a split: quick ones for each epoch's vitals, and those of `evaluate` with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import DataError
from osler.metrics.bootstrap import bootstrap_figures, rank_rows
from osler.metrics.calibration import make_bins, unbiased_ece
from osler.metrics.class_figures import ClassView, class_intervals
from osler.metrics.decision import SCORES, best_f1, confusion, decide
from osler.metrics.intervals import Codes, Interval, patients_of, rate_interval
from osler.metrics.macro import ClassSet, macro_intervals
from osler.metrics.ranking import Ranked
from osler.metrics.weights import Kind

__all__ = ["accuracy", "class_vitals", "summarise"]

Floats = NDArray[np.float64]
Thresholds = Mapping[str, float | None] | Sequence[float | None] | NDArray[np.floating[Any]] | None

QUANTILES = {"p5": 0.05, "p25": 0.25, "p50": 0.50, "p75": 0.75, "p95": 0.95}


def accuracy(targets: ArrayLike, logits: ArrayLike, kind: Kind) -> float:
    """Share of right decisions: the largest logit (multiclass), or probability 0.5 over all known cells; NaN without any.

    Args:
        targets: (N, K) in {0, 1, NaN}.
        logits: (N, K).
        kind: of the task.

    >>> accuracy([[1], [0], [np.nan]], [[2.0], [1.0], [0.0]], "binary")
    0.5
    """
    labels = _known_rows(np.asarray(targets), kind)
    called = decide(logits, 0.0, kind)
    known = ~np.isnan(labels)
    # Where classes exclude each other, a call is right for the sample or wrong for two classes: the true one's cell decides.
    asked = labels == 1 if kind == "multiclass" else known
    return float((called == (labels == 1))[asked].mean()) if asked.any() else math.nan


def class_vitals(targets: ArrayLike, logits: ArrayLike, kind: Kind) -> list[dict[str, Any]]:
    """The figures of each class for an epoch's vitals, K dictionaries; one sort a class.

    n, positives, prevalence; confusion [[tn, fp], [fn, tp]], positive_rate, precision, recall, specificity, f1 at probability
    0.5 (multiclass: of the largest logit); probability and logit, each with mean, p5, p25, p50, p75, p95; auc, ap;
    best_f1_threshold (a probability) and best_f1; ece (less its bias). NaN where undefined, which is also everything that
    needs the logits where one is not finite: not_finite counts those.

    Args:
        targets: (N, K) in {0, 1, NaN}; multiclass: a row with any NaN is left out.
        logits: (N, K).
        kind: of the task; probabilities are the sigmoid of the logits, or their softmax (multiclass).
    """
    labels, values = _known_rows(np.asarray(targets), kind), np.asarray(logits, dtype=np.float64)
    assert labels.shape == values.shape, f"{labels.shape} targets for {values.shape} logits"
    if kind == "multiclass":
        # One broken logit breaks the softmax of its row.
        values = np.where(np.isfinite(values).all(axis=1, keepdims=True), values, np.nan)
    shares = _softmax(values) if kind == "multiclass" else None
    tables = confusion(labels, decide(values, 0.0, kind))
    return [
        _vitals_of_class(labels[:, k], values[:, k], None if shares is None else shares[:, k], tables[k])
        for k in range(labels.shape[1])
    ]


def _vitals_of_class(labels: NDArray[Any], logits: Floats, shares: Floats | None, table: NDArray[np.int64]) -> dict[str, Any]:
    known = ~np.isnan(labels)
    positive, logits = labels[known] == 1, logits[known]
    size, positives = len(logits), int(positive.sum())
    broken = int(size - np.isfinite(logits).sum())
    if broken:
        logits, shares, table = np.full(size, np.nan), None, np.zeros((2, 2), dtype=np.int64)
    if shares is None:
        # The sigmoid keeps the order, so the logits' sort is the probabilities' too.
        sorted_logits = Ranked(np.sort(logits[positive]), np.sort(logits[~positive]))
        ranked = Ranked(_sigmoid(sorted_logits.positives), _sigmoid(sorted_logits.negatives))
        spread = _spread(sorted_logits.everything)
        figures = sorted_logits
    else:
        shares = shares[known]
        figures = ranked = Ranked(np.sort(shares[positive]), np.sort(shares[~positive]))
        spread = _spread(np.sort(logits))
    threshold, highest = best_f1(ranked)
    at_half = {name: float(SCORES[name](table)) for name in ("precision", "sensitivity", "specificity", "f1")}
    return {
        "n": size,
        "positives": positives,
        "prevalence": positives / size if size else math.nan,
        "not_finite": broken,
        "confusion": table.tolist(),
        "positive_rate": float(table[:, 1].sum() / size) if size and not broken else math.nan,
        "probability": _spread(ranked.everything),
        "logit": spread,
        "auc": figures.auc,
        "ap": figures.average_precision,
        "precision": at_half["precision"],
        "recall": at_half["sensitivity"],
        "specificity": at_half["specificity"],
        "f1": at_half["f1"],
        "best_f1_threshold": threshold,
        "best_f1": highest,
        "ece": unbiased_ece(make_bins(ranked)),
    }


def summarise(
    targets: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    thresholds: Thresholds,
    kind: Kind,
    patients: ArrayLike | None = None,
    level: float = 0.95,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """The figures of a split as `evaluation.json` holds them, strict JSON: call it on a subset for a subgroup.

    Args:
        targets: (N, K) in {0, 1, NaN}; multiclass: a row with any NaN is left out.
        probabilities: (N, K) in [0, 1].
        classes: K names.
        thresholds: one a class, in order or by name; None or NaN for a class that has none. Not read for multiclass, which
            calls the most probable class.
        kind: of the task.
        patients: (N,) ids, or None where they are unknown and samples are taken as independent.
        level: of the intervals.
        bootstrap: resamples.
        seed: of the resamples.

    Returns:
        n, patients, overall, macro (with classes_scored, the classes that have an AUC) and classes: for each positives,
        threshold, confusion and the figures {value, low, high, n, method[, n_patients][, reason]}.

    Raises:
        DataError: a probability is NaN where the label is known.
    """
    labels, values = _known_rows(np.asarray(targets), kind), np.asarray(probabilities)
    assert labels.shape == values.shape == (len(labels), len(classes)), f"{labels.shape} {values.shape} {len(classes)} classes"
    _check_probabilities(labels, values, classes)
    limits = _limits(thresholds, classes, kind)
    codes = patients_of(patients)
    called = decide(values, limits, kind)
    decided = [kind == "multiclass" or not math.isnan(limit) for limit in limits]
    views = _views(_Split(labels, values, called, decided, codes, level), bootstrap, seed)
    figures = [class_intervals(view) for view in views]
    macro = macro_intervals(ClassSet(classes, views, figures, codes, len(labels), level))
    scored = sum(math.isfinite(figure["auc"].value) for figure in figures)
    return {
        "n": len(labels),
        "patients": None if patients is None else len(np.unique(np.asarray(patients))),
        "overall": _entries(figures[0] if kind == "binary" else _overall(labels, views, kind, codes, level)),
        "macro": {"classes_scored": scored, **_entries(macro)},
        "classes": {
            name: {
                "positives": int(view.labels.sum()),
                "threshold": None if kind == "multiclass" or math.isnan(limit) else limit,
                "confusion": None if view.called is None else view.table.tolist(),
                **_entries(figure),
            }
            for name, limit, view, figure in zip(classes, limits, views, figures, strict=True)
        },
    }


@dataclass(frozen=True)
class _Split:
    """What all classes share.

    Attributes:
        labels: (N, K) in {0, 1, NaN}.
        values: (N, K) probabilities.
        called: (N, K) True where called positive.
        decided: K times whether the class has a threshold.
        codes: (N,) patient numbers, or None where no patient has two samples.
        level: of the intervals.
    """

    labels: Floats
    values: NDArray[np.floating[Any]]
    called: NDArray[np.bool_]
    decided: list[bool]
    codes: Codes | None
    level: float


def _views(split: _Split, bootstrap: int, seed: int) -> list[ClassView]:
    """Every class with its resamples, which are the same patients for all classes."""
    averages, tables = _resampled(split, bootstrap, seed)
    views = []
    for k, decided in enumerate(split.decided):
        rows = np.flatnonzero(~np.isnan(split.labels[:, k]))
        views.append(
            ClassView(
                rows=rows,
                labels=split.labels[rows, k] == 1,
                values=split.values[rows, k],
                called=split.called[rows, k] if decided else None,
                codes=None if split.codes is None else split.codes[rows],
                level=split.level,
                averages=averages[:, k],
                tables=tables[:, k],
            )
        )
    return views


def _resampled(split: _Split, bootstrap: int, seed: int) -> tuple[Floats, Floats]:
    """(R, K) AP and (R, K, 2, 2) confusion counts of every class, over the same resampled patients."""
    size, classes = split.labels.shape
    ones, zeros, called = split.labels == 1, split.labels == 0, split.called
    cells = np.stack([zeros & ~called, zeros & called, ones & ~called, ones & called], axis=-1).reshape(size, 4 * classes)
    groups = np.arange(size)
    if split.codes is not None:
        groups = split.codes
        cells = np.stack([np.bincount(groups, cell) for cell in cells.T], axis=1)
    columns = [rank_rows(split.labels[:, k], split.values[:, k], groups, len(cells)) for k in range(classes)]
    _, averages, sums = bootstrap_figures(columns, cells, bootstrap, seed)
    return averages, sums.reshape(bootstrap, classes, 2, 2)


def _overall(labels: Floats, views: Sequence[ClassView], kind: Kind, codes: Codes | None, level: float) -> dict[str, Interval]:
    """Figures of samples rather than of classes: accuracy, and for several labels a sample the share with all of them right."""
    known = ~np.isnan(labels)
    right = np.zeros(labels.shape, dtype=bool)
    decided = np.zeros(labels.shape, dtype=bool)
    for k, view in enumerate(views):
        if view.called is not None:
            right[view.rows, k], decided[view.rows, k] = view.called == view.labels, True
    whole = decided.all(axis=1) & known.all(axis=1)
    exact = rate_interval(np.asarray(right.all(axis=1)), np.asarray(whole), codes, level)
    exact = replace(exact, reason="no sample has all its labels known and decided") if exact.n == 0 else exact
    if kind == "multiclass":
        return {"accuracy": exact}
    # The labels of one sample are no independent samples.
    samples = np.arange(len(labels)) if codes is None else codes
    cells = rate_interval(right.ravel(), decided.ravel(), np.repeat(samples, labels.shape[1]), level)
    if codes is None:
        cells = replace(cells, method=cells.method.replace("by patient", "by sample"), n_patients=None)
    return {"accuracy": cells, "exact_match": exact}


def _entries(figures: Mapping[str, Interval]) -> dict[str, Any]:
    return {name: figure.to_json() for name, figure in figures.items()}


def _limits(thresholds: Thresholds, classes: Sequence[str], kind: Kind) -> list[float]:
    """A threshold for each class, NaN where it has none."""
    if thresholds is None or kind == "multiclass":
        return [math.nan] * len(classes)
    given = [thresholds.get(name) for name in classes] if isinstance(thresholds, Mapping) else list(thresholds)
    assert len(given) == len(classes), f"{len(given)} thresholds for {len(classes)} classes"
    return [math.nan if limit is None else float(limit) for limit in given]


def _check_probabilities(labels: NDArray[Any], values: NDArray[Any], classes: Sequence[str]) -> None:
    broken = np.isnan(values) & ~np.isnan(labels)
    if broken.any():
        counts = ", ".join(f"{name} {count}" for name, count in zip(classes, broken.sum(axis=0), strict=True) if count)
        raise DataError(
            f"probabilities: NaN in {int(broken.any(axis=1).sum())} of {len(labels)} samples ({counts}). A model that gives NaN "
            "has diverged or was fed a broken image: look at the run's loss, and evaluate an earlier checkpoint."
        )


def _known_rows(labels: NDArray[Any], kind: Kind) -> Floats:
    """Targets as floats; where classes exclude each other, a row with any unknown is unknown."""
    values = np.asarray(labels, dtype=np.float64)
    assert values.ndim == 2, f"targets must be (N, K), not {values.shape}"
    return np.where(np.isnan(values).any(axis=1, keepdims=True), np.nan, values) if kind == "multiclass" else values


def _spread(rising: NDArray[np.floating[Any]]) -> dict[str, float]:
    """Mean and quantiles of sorted values, with linear interpolation."""
    if not len(rising):
        return dict.fromkeys(("mean", *QUANTILES), math.nan)
    places = np.array(list(QUANTILES.values())) * (len(rising) - 1)
    below = places.astype(np.intp)
    above = np.minimum(below + 1, len(rising) - 1)
    quantiles = rising[below] + (places - below) * (rising[above] - rising[below])
    return {"mean": float(rising.mean()), **dict(zip(QUANTILES, quantiles.tolist(), strict=True))}


def _sigmoid(logits: NDArray[np.floating[Any]]) -> Floats:
    # Accurate far below 0 too, so that equal probabilities stay rare and the order is kept.
    small = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1.0, small) / (1.0 + small))


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
