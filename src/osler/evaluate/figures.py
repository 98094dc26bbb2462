"""The figures of an evaluation: from predictions to the object that `evaluation.json` holds. Numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from osler.config import EvaluationConfig
from osler.errors import RequestError
from osler.evaluate.outcome import SCHEMA, Figures, Outcome
from osler.evaluate.subgroups import groupings
from osler.evaluate.summary import terminal_summary
from osler.files import strict_json
from osler.metrics.decision import choose_threshold, decide
from osler.metrics.intervals import FEWEST
from osler.metrics.summary import summarise
from osler.metrics.weights import Kind
from osler.runs.card import Card
from osler.runs.predictions import Predictions

__all__ = ["SCHEMA", "Evaluation", "SplitFigures", "evaluate"]

MOST_PROBABLE = "the most probable class"
USUAL_RULE = "youden"
"""What "auto" means where a configuration was not resolved by training."""


@dataclass(frozen=True)
class SplitFigures:
    """One split, evaluated.

    Attributes:
        predictions: of its N samples.
        called: (N, K) whether each class is called.
        figures: its entry in `evaluation.json`.
    """

    predictions: Predictions
    called: NDArray[np.bool_]
    figures: Figures


@dataclass(frozen=True)
class Evaluation(Outcome[SplitFigures]):
    """What was found about a classifier; no thresholds where classes exclude each other."""

    def summary(self) -> str:
        """A few lines for a terminal."""
        return terminal_summary(self.data())


def evaluate(
    folder: Path,
    card: Card,
    config: EvaluationConfig,
    predictions: Mapping[str, Predictions],
    *,
    checkpoint: str = "best",
    source: str | None = None,
    looks: Mapping[str, int] | None = None,
) -> Evaluation:
    """Figures of all splits; thresholds are chosen on val, and applied to every split.

    Args:
        folder: the run, for the record.
        card: of the model that predicted.
        config: how thresholds are chosen and figures given.
        predictions: split name to predictions.
        checkpoint: which weights predicted.
        source: other data than the run's own; then the card's thresholds are used, since its val is not the run's.
        looks: how often each held-out split has been looked at.

    Raises:
        RequestError: a subgroup column that the samples do not have, or nothing to evaluate.
    """
    if not predictions:
        raise RequestError(f"{folder}: there are no predictions to evaluate.")
    thresholds, rule = _thresholds(card, config, None if source else predictions.get("val"))
    splits = {name: _split(card, config, one, thresholds) for name, one in predictions.items()}
    return Evaluation(folder, checkpoint, source, card, config, thresholds, rule, splits, dict(looks or {}))


def _thresholds(card: Card, config: EvaluationConfig, val: Predictions | None) -> tuple[dict[str, float], str]:
    if card.task == "multiclass":
        return {}, MOST_PROBABLE
    if val is None:
        known = {name: card.thresholds.get(name) for name in card.classes}
        return {name: math.nan if value is None else value for name, value in known.items()}, card.threshold_rule
    rule = USUAL_RULE if config.threshold == "auto" else config.threshold
    chosen = {name: choose_threshold(rule, val.targets[:, k], val.probabilities[:, k]) for k, name in enumerate(card.classes)}
    return chosen, _rule_in_words(rule)


def _rule_in_words(rule: Any) -> str:
    """
    >>> _rule_in_words("f1"), _rule_in_words(0.5)
    ('the largest F1 on val', 'fixed at 0.5')
    """
    words = {"youden": "the largest sensitivity + specificity on val", "f1": "the largest F1 on val"}
    if isinstance(rule, str):
        return words[rule]
    if isinstance(rule, (int, float)):
        return f"fixed at {rule:g}"
    return f"the largest with a sensitivity of at least {rule.sensitivity:g} on val"


def _split(card: Card, config: EvaluationConfig, predictions: Predictions, thresholds: Mapping[str, float]) -> SplitFigures:
    kind = cast(Kind, card.task)
    limits = None if kind == "multiclass" else [thresholds[name] for name in card.classes]
    called = decide(predictions.probabilities, limits, kind)
    figures = _figures(card, config, predictions, thresholds, np.arange(len(predictions)))
    if kind == "multiclass":
        figures["confusion_matrix"] = {"classes": list(card.classes), "counts": _joint_confusion(predictions.targets, called)}
    figures["subgroups"] = {
        one.column: {
            name: _noted(_figures(card, config, predictions, thresholds, np.flatnonzero(one.names == name))) for name in one.order
        }
        for one in groupings(predictions.metadata, config.subgroups)
    }
    return SplitFigures(predictions, called, cast(Figures, strict_json(figures)))


def _figures(
    card: Card, config: EvaluationConfig, predictions: Predictions, thresholds: Mapping[str, float], rows: NDArray[np.intp]
) -> Figures:
    """The contract's object of these samples, and why classes among them cannot be scored."""
    figures = summarise(
        predictions.targets[rows],
        predictions.probabilities[rows],
        card.classes,
        thresholds,
        cast(Kind, card.task),
        None if predictions.patients is None else predictions.patients[rows],
        config.level,
        config.bootstrap,
    )
    reasons = {name: one["auc"].get("reason") for name, one in figures["classes"].items() if one["auc"]["value"] is None}
    return {**figures, "not_scored": reasons}


def _noted(figures: Figures) -> Figures:
    """The same with a note where a class has too few samples of a label for its figures to say much."""
    few = [
        name
        for name, one in figures["classes"].items()
        if name not in figures["not_scored"] and min(one["positives"], one["auc"]["n"] - one["positives"]) < FEWEST
    ]
    return {**figures, "note": f"fewer than {FEWEST} positives or negatives: {', '.join(few)}"} if few else figures


def _joint_confusion(targets: NDArray[np.float32], called: NDArray[np.bool_]) -> list[list[int]]:
    """(K, K) samples by reference class (rows) and called class (columns), over rows whose targets are all known."""
    known = ~np.isnan(targets).any(axis=1)
    size = targets.shape[1]
    pairs = targets[known].argmax(axis=1) * size + called[known].argmax(axis=1)
    return np.bincount(pairs, minlength=size * size).reshape(size, size).tolist()
