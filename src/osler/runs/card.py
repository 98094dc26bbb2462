"""The card: how to feed a model and how to read what it says. It travels with the weights."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from osler.errors import RunError

__all__ = ["CARD_SCHEMA", "INTENDED_USE", "Card"]

CARD_SCHEMA = "osler.card/1"
INTENDED_USE = "For research. Not a medical device: its output must not be used to diagnose, treat or triage patients."


@dataclass(frozen=True)
class Card:
    """What travels with a model's weights.

    Attributes:
        task: binary, multiclass, multilabel or segmentation.
        classes: K names, in the order of the outputs; a binary task has one, the positive class.
        negative: name of a binary task's negative class.
        architecture: as in `model.architecture`.
        preparation: as `Preparation.describe()` gives it; `Preparation.from_description` makes it again.
        fingerprint: of the preparation; a service whose own differs must refuse.
        thresholds: class to probability; a sample (of masks: a pixel) is called positive at or above it. Empty for
            multiclass, where the most probable class is taken; None for a class that val had no positive or no negative
            sample of.
        threshold_rule: how the thresholds were chosen, and on which split.
        weights: which weights: "ema" or "raw".
        best_epoch: epoch of the weights, counted from 1.
        data: what it was trained on: source, samples, synthetic or not.
        exclusive: of masks: a pixel is of one class at most, and probabilities are a softmax beside a background of logit 0.
        prediction: of masks: `tile`, `overlap` and `flips` of the section `prediction`; empty for labels.
        intended_use: what it may be used for.
    """

    task: str
    classes: tuple[str, ...]
    negative: str
    architecture: str
    preparation: dict[str, Any]
    fingerprint: str
    thresholds: dict[str, float | None]
    threshold_rule: str
    weights: str
    best_epoch: int
    data: dict[str, Any]
    exclusive: bool = False
    prediction: dict[str, Any] = field(default_factory=dict)
    intended_use: str = INTENDED_USE
    schema: str = CARD_SCHEMA

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `card.json` holds them."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any, where: str) -> Card:
        """The card in a file's content.

        Raises:
            RunError: it is of another schema, or lacks a field.
        """
        if not isinstance(value, dict) or value.get("schema") != CARD_SCHEMA:
            seen = value.get("schema") if isinstance(value, dict) else type(value).__name__
            raise RunError(f"{where}: not a card of schema {CARD_SCHEMA} (found {seen!r})")
        names = {each.name for each in fields(cls)}
        required = {each.name for each in fields(cls) if each.default is MISSING and each.default_factory is MISSING}
        missing = required - value.keys()
        if missing:
            raise RunError(f"{where}: the card lacks {', '.join(sorted(missing))}")
        known = {name: value[name] for name in names & value.keys()}
        return cls(**{**known, "classes": tuple(value["classes"])})
