"""Evidence: what models and comparisons over a whole set gave, as the checks and the page read it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.metrics.intervals import Interval

__all__ = ["Origin", "Told"]


@dataclass(frozen=True)
class Told:
    """How well one feature tells one class.

    Attributes:
        label: the class.
        feature: its name, or `ALL`.
        kind: of the feature.
        auc: on held-out patients; its interval holds for all that were tried together (Bonferroni).
        rows: (n,) of the source that the model saw.
        scores: (n,) of them; higher is more like the class.
    """

    label: str
    feature: str
    kind: str
    auc: Interval
    rows: NDArray[np.intp]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class Origin:
    """Images of one origin.

    Attributes:
        column: that says so, such as "site".
        value: what it says.
        images: how many.
        splits: how many of each split.
        shares: share of positives of each class; NaN where no label is known.
        brightness: mean of their mean values, 0 to 1; NaN where none can be read.
        apart: how much brighter they are than the others, in standard deviations; NaN from fewer than 30 of either.
        size: median width and height.
    """

    column: str
    value: str
    images: int
    splits: dict[str, int]
    shares: tuple[float, ...]
    brightness: float
    apart: float
    size: tuple[float, float]
