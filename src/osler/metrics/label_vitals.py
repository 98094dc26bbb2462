"""The figures of labels for an epoch's vitals: of each class, with reasons for what is undefined, and their means."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.metrics.summary import accuracy, class_vitals
from osler.metrics.weights import Kind

__all__ = ["label_vitals"]

Floats = NDArray[np.floating[Any]]
Figures = dict[str, Any]

UNDEFINED = {
    "auc": "needs a positive and a negative sample",
    "ap": "needs a positive sample",
    "precision": "no sample is called positive",
    "recall": "no positive sample",
    "specificity": "no negative sample",
    "f1": "no sample is positive or called positive",
    "best_f1_threshold": "needs a positive sample",
    "best_f1": "needs a positive sample",
    "prevalence": "no known label",
    "positive_rate": "no known label",
    "ece": "no known label",
}
"""Figure of a class → why it is undefined."""
MACRO = ("auc", "ap", "f1")


def label_vitals(targets: Floats, logits: Floats, kind: Kind, classes: Sequence[str]) -> Figures:
    """`accuracy`, `macro` and `classes` of labels.

    Args:
        targets: (N, K) in {0, 1, NaN}.
        logits: (N, K).
        kind: of the task.
        classes: K names.
    """
    found = dict(zip(classes, class_vitals(targets, logits, kind), strict=True))
    for figures in found.values():
        figures["reasons"] = _reasons(figures)
    means = {name: _mean_of_known([figures[name] for figures in found.values()]) for name in MACRO}
    return {
        "accuracy": accuracy(targets, logits, kind),
        "macro": {
            **means,
            "classes_scored": sum(math.isfinite(figures["auc"]) for figures in found.values()),
            "reasons": {name: "defined for no class" for name, value in means.items() if math.isnan(value)},
        },
        "classes": found,
    }


def _reasons(figures: Mapping[str, Any]) -> dict[str, str]:
    """Why each undefined figure of a class is undefined."""
    missing = [name for name in UNDEFINED if math.isnan(figures[name])]
    if figures["not_finite"]:
        return dict.fromkeys(missing, f"{figures['not_finite']} logits are not finite")
    return {name: UNDEFINED[name] for name in missing}


def _mean_of_known(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan
