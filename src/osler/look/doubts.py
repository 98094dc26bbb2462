"""Doubts: labels that a very simple model disagrees with. They are for a person to look at, not to be believed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.metrics.intervals import Interval, auc_interval, patients_of

__all__ = ["ClassDoubts", "find_doubts"]

Floats = NDArray[np.float64]
COMPONENTS = 40
FOLDS = 5
RIDGE = 1e-2
FEWEST = 20
"""Positives, and negatives, below which no model is made."""
WORTH = 0.65
"""Where the AUC is not shown to be above this, thumbnails do not tell the class, and disagreements say nothing."""
SURE = 2.0
"""The least log-likelihood ratio against its label that makes a label doubtful: odds of 7."""


@dataclass(frozen=True)
class ClassDoubts:
    """What a linear model of thumbnails makes of one class.

    Attributes:
        auc: of samples that it was not fitted on, and its interval.
        places: (m,) doubtful samples, the most doubtful first.
        against: (m,) log-likelihood ratio against the label of each.
    """

    auc: Interval
    places: NDArray[np.intp]
    against: Floats

    @property
    def told(self) -> bool:
        """Whether thumbnails tell the class at all."""
        return self.auc.low > WORTH


def find_doubts(thumbs: Floats, targets: Floats, patients: NDArray[np.str_] | None) -> ClassDoubts | None:
    """Labels of one class that do not look like the others of that label.

    A ridge regression on the thumbnails' principal components scores each sample from the other folds; patients stay in one
    fold. Scores of positives and negatives are taken as normal with one variance, which gives the ratio.

    Args:
        thumbs: (n, D).
        targets: (n,) in {0, 1, NaN}; NaN is left out.
        patients: (n,), or None.

    Returns:
        None where there are too few of either label.
    """
    known = np.flatnonzero(~np.isnan(targets))
    labels = targets[known] == 1
    if min(int(labels.sum()), int((~labels).sum())) < FEWEST:
        return None
    groups = None if patients is None else patients[known]
    scores = _held_out_scores(thumbs[known], labels, groups)
    up, down = scores[labels], scores[~labels]
    spread = np.sqrt((up.var() * len(up) + down.var() * len(down)) / len(scores))
    ratio = (up.mean() - down.mean()) / max(float(spread) ** 2, 1e-12) * (scores - (up.mean() + down.mean()) / 2)
    against = np.where(labels, -ratio, ratio)
    order = np.argsort(-against, kind="stable")
    order = order[against[order] > SURE]
    return ClassDoubts(auc_interval(labels.astype(float), scores, patients_of(groups)), known[order], against[order])


def _held_out_scores(thumbs: Floats, labels: NDArray[np.bool_], groups: NDArray[np.str_] | None) -> Floats:
    """(n,) scores of a ridge regression that has not seen the sample's fold."""
    centred = thumbs - thumbs.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    features = (left * sizes)[:, :COMPONENTS]
    codes = np.arange(len(thumbs)) if groups is None else np.unique(groups, return_inverse=True)[1]
    fold = np.random.default_rng(0).permutation(int(codes.max()) + 1)[codes] % FOLDS
    # Both labels weigh the same, so that a rare one is not given up.
    weights = np.where(labels, 0.5 / labels.mean(), 0.5 / (~labels).mean())
    scores = np.zeros(len(thumbs))
    for number in range(FOLDS):
        inside, outside = fold != number, fold == number
        design = np.column_stack([features[inside], np.ones(int(inside.sum()))])
        weighted = design * weights[inside, None]
        strength = RIDGE * np.trace(weighted.T @ design) / design.shape[1]
        solution = np.linalg.solve(weighted.T @ design + strength * np.eye(design.shape[1]), weighted.T @ labels[inside])
        scores[outside] = np.column_stack([features[outside], np.ones(int(outside.sum()))]) @ solution
    return scores
