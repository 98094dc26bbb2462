"""Recalibration: probabilities mended after training, by a line through the logits (Platt 1999, Guo et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Scaling", "fit_scaling"]

Floats = NDArray[np.float64]
STEPS = 50
ENOUGH = 1e-10
SLOPES = (0.02, 50.0)
RIDGE = 1e-3
"""Of the slope's logarithm: where the classes are wholly apart, the likelihood has no largest slope."""


@dataclass(frozen=True)
class Scaling:
    """New logit = slope x logit + shift; the ranking stays, since the slope is above 0."""

    slope: float
    shift: float

    def probabilities(self, logits: ArrayLike) -> Floats:
        """The mended probabilities.

        >>> Scaling(1.0, 0.0).probabilities([0.0]).tolist()
        [0.5]
        """
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * (self.slope * np.asarray(logits, dtype=np.float64) + self.shift))))


def fit_scaling(targets: ArrayLike, logits: ArrayLike) -> Scaling | None:
    """The line of greatest likelihood on these samples; None where a label is absent or a logit is not finite.

    Args:
        targets: (N,) in {0, 1, NaN}.
        logits: (N,).

    >>> fit_scaling([0, 0, 0, 1] * 50, [0.0] * 200).shift < -1
    True
    """
    labels, values = np.asarray(targets, dtype=np.float64), np.asarray(logits, dtype=np.float64)
    known = ~np.isnan(labels)
    labels, values = labels[known], values[known]
    if not (labels == 1).any() or not (labels == 0).any() or not np.isfinite(values).all():
        return None
    # Counts shrunk as Platt does, so that a perfect ranking has a finite answer.
    positives, negatives = (labels == 1).sum(), (labels == 0).sum()
    wanted = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    centre, spread = float(values.mean()), float(values.std()) or 1.0
    steps = np.column_stack([(values - centre) / spread, np.ones(len(values))])
    line = np.array([0.0, float(np.log(wanted.mean() / (1 - wanted.mean())))])
    for _ in range(STEPS):
        share = 0.5 * (1.0 + np.tanh(0.5 * (steps @ line)))
        weights = np.maximum(share * (1 - share), 1e-9)
        curvature = (steps * weights[:, None]).T @ steps + RIDGE * np.eye(2)
        move = np.linalg.solve(curvature, steps.T @ (wanted - share) - RIDGE * np.array([line[0], 0.0]))
        line = line + np.clip(move, -4.0, 4.0)
        if np.abs(move).max() < ENOUGH:
            break
    slope = float(np.clip(line[0] / spread, *SLOPES))
    return Scaling(slope, float(line[1] - slope * centre))
