"""What every evaluation holds, of whatever task: the run, the splits, and the object of `evaluation.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

from osler.config import EvaluationConfig
from osler.evaluate.splits import main_split
from osler.files import strict_json
from osler.runs.card import Card

__all__ = ["SCHEMA", "Figures", "Outcome", "WithFigures"]

SCHEMA = "osler.evaluation/1"

Figures = dict[str, Any]


class WithFigures(Protocol):
    """A split, evaluated."""

    @property
    def figures(self) -> Figures:
        """Its entry in `evaluation.json`."""


Split = TypeVar("Split", bound=WithFigures)


@dataclass(frozen=True)
class Outcome(Generic[Split]):
    """What was found about a run.

    Attributes:
        folder: the run.
        checkpoint: "best" or "last".
        source: the other data that were evaluated, or None for the run's own.
        card: of the model.
        config: how figures are given.
        thresholds: class to threshold; NaN where val lacks one of its labels.
        rule: how they were chosen, in words.
        splits: name to figures; "val" is the split that thresholds and epoch were chosen on.
        looks: how often figures of each held-out split have been computed, this time included.
    """

    folder: Path
    checkpoint: str
    source: str | None
    card: Card
    config: EvaluationConfig
    thresholds: dict[str, float]
    rule: str
    splits: Mapping[str, Split]
    looks: dict[str, int]

    @property
    def main(self) -> str:
        """The split that the headlines are about: one held out where there is any."""
        return main_split(self.splits)

    @property
    def page(self) -> Path:
        """Where the page is."""
        return self.folder / "report.html"

    def data(self) -> Figures:
        """The object of `evaluation.json`, schema `osler.evaluation/1`."""
        found = {
            "schema": SCHEMA,
            "run": str(self.folder),
            "checkpoint": self.checkpoint,
            "source": self.source,
            "task": self.card.task,
            "negative": self.card.negative,
            "level": self.config.level,
            "threshold_rule": self.rule,
            "intended_use": self.card.intended_use,
            "looks": self.looks,
            "splits": {name: split.figures for name, split in self.splits.items()},
        }
        return cast(Figures, strict_json(found))

    def json_text(self) -> str:
        """The same as text."""
        return json.dumps(self.data(), indent=1, ensure_ascii=False, allow_nan=False)
