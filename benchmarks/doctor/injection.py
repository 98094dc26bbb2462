"""Injection: a fault that is put into runs, and what is right and wrong to say of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

__all__ = ["MASKS", "RATE", "SAMPLER", "Advice", "Injection", "Measure"]

MASKS = "segmentation"
"""The kind of task whose answer is masks."""
RATE, SAMPLER = "training.learning_rate", "data.sampler"
Direction = Literal["up", "down", "off", "set"]
Measure = Literal["auc", "f1", "skill", "honesty", "none"]


@dataclass(frozen=True)
class Advice:
    """A setting, and the way it should go."""

    key: str
    direction: Direction


@dataclass(frozen=True)
class Injection:
    """A fault to be put into runs.

    Attributes:
        id: of this table.
        what: in words.
        roots: ids of the doctor's faults that name it.
        advice: changes each of which is right.
        harmful: changes that would make it worse.
        measure: what it harms, if it harms: the test AUC, the F1 at 0.5, the skill of the probabilities, or honesty (how far
            the validation AUC of the chosen epoch is from the test AUC). "none": nothing that a test set could show. Of masks
            all but honesty is the Dice.
        since: share of the run after which it is there.
        kinds: of tasks to which it applies.
        in_code: levels at which the code is at fault: no setting cures those, and advice on them is not scored.
    """

    id: str
    what: str
    roots: tuple[str, ...]
    advice: tuple[Advice, ...] = ()
    harmful: tuple[Advice, ...] = ()
    measure: Measure = "auc"
    since: float = 0.0
    kinds: tuple[str, ...] = field(default=("binary", "multilabel", "multiclass"))
    in_code: tuple[str, ...] = ()

    def at(self, level: str) -> Injection:
        """As it is scored at this level."""
        return replace(self, advice=()) if level in self.in_code else self
