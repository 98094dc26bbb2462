"""A small logistic regression, and how well it tells a label on patients that it has not seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from osler.metrics.intervals import Interval, auc_interval, patients_of

__all__ = ["fit_logistic", "held_out_auc", "held_out_scores"]

Floats = NDArray[np.float64]
FOLDS = 5
RIDGE = 1.0
ROUNDS = 25
CLOSE = 1e-6
FARTHEST = 5.0
"""A standardised feature beyond this many standard deviations counts as being there: one odd image must not make the model."""


def held_out_auc(
    features: Floats, labels: NDArray[np.bool_], patients: NDArray[np.intp] | None, level: float = 0.95
) -> tuple[Interval, Floats]:
    """AUC of a logistic regression on patients that it was not fitted on, with its interval; and the scores (n,).

    Args:
        features: (n, D), finite.
        labels: (n,), both kinds there.
        patients: (n,) numbers; None: each sample is a patient of its own.
        level: of the interval.
    """
    scores = held_out_scores(features, labels, patients)
    return auc_interval(labels.astype(float), scores, patients_of(patients), level), scores


def held_out_scores(features: Floats, labels: NDArray[np.bool_], patients: NDArray[np.intp] | None) -> Floats:
    """(n,) scores, each from a regression that has seen no sample of that patient; 0 is undecided in every fold."""
    fold = _folds(labels, np.arange(len(labels)) if patients is None else patients)
    scores = np.zeros(len(labels))
    for number in range(FOLDS):
        inside, outside = fold != number, fold == number
        if labels[inside].all() or not labels[inside].any() or not outside.any():
            continue
        centre, spread = features[inside].mean(axis=0), features[inside].std(axis=0)
        scaled = np.clip((features - centre) / np.where(spread > 0, spread, 1.0), -FARTHEST, FARTHEST)
        # Without the constant: what differs between folds by chance alone would rank the folds, and not the samples.
        scores[outside] = scaled[outside] @ fit_logistic(scaled[inside], labels[inside])[:-1]
    return scores


def fit_logistic(features: Floats, labels: NDArray[np.bool_], ridge: float = RIDGE) -> Floats:
    """(D + 1,) coefficients, the constant last, of a logistic regression in which both labels weigh the same.

    Newton's method; the ridge, half its value times the sum of squares, leaves the constant alone.

    Args:
        features: (n, D) standardised.
        labels: (n,) both kinds there.
        ridge: how strongly coefficients are held at 0, beside weights that sum to n.

    >>> fit_logistic(np.array([[-1.0], [1.0]]), np.array([False, True])).round(2).tolist()
    [0.67, 0.0]
    """
    design = np.column_stack([features, np.ones(len(labels))])
    weights = np.where(labels, 0.5 / labels.mean(), 0.5 / (~labels).mean())
    penalty = np.full(design.shape[1], ridge)
    penalty[-1] = 1e-9
    beta = np.zeros(design.shape[1])
    for _ in range(ROUNDS):
        chance = 0.5 * (1.0 + np.tanh(0.5 * (design @ beta)))
        slope = design.T @ (weights * (labels - chance)) - penalty * beta
        bend = (design * (weights * np.maximum(chance * (1 - chance), 1e-6))[:, None]).T @ design
        bend[np.diag_indices_from(bend)] += penalty
        step = np.linalg.solve(bend, slope)
        # A long step on separable labels would leap over the optimum.
        beta += step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if float(np.abs(step).max()) < CLOSE:
            break
    return np.asarray(beta)


def _folds(labels: NDArray[np.bool_], patients: NDArray[np.intp]) -> NDArray[np.intp]:
    """(n,) fold of each sample: patients whole, those with a positive dealt out first."""
    codes = np.unique(patients, return_inverse=True)[1]
    number = int(codes.max()) + 1
    has = np.bincount(codes[labels], minlength=number) > 0
    order = np.random.default_rng(0).permutation(number)
    order = order[np.argsort(~has[order], kind="stable")]
    fold = np.empty(number, np.intp)
    fold[order] = np.arange(number) % FOLDS
    return np.asarray(fold[codes])
