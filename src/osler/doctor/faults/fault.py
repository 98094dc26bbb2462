"""Fault: one way in which a training goes wrong, as a declarative entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from osler.doctor.case import Case
from osler.doctor.findings import Lacking, Signs

__all__ = ["Fault", "Level", "Lookalike", "Scope", "Signature"]

Signature = Callable[[Case], Signs | Lacking | None]
Level = Literal["cause", "syndrome", "symptom"]
Scope = Literal["any", "classification", "segmentation"]


@dataclass(frozen=True)
class Lookalike:
    """What else looks the same: the id of a fault, or a few words, and the observation that tells them apart."""

    id: str
    separates: str


@dataclass(frozen=True)
class Fault:
    """One way in which a training goes wrong.

    Attributes:
        id: the name that JSON and `osler faults` use.
        name: in words.
        family: the file that it stands in.
        level: a cause stands above syndromes and symptoms, a syndrome (a state with several possible causes) above
            symptoms; what an entry `explains` is shown under it.
        means: what goes wrong, in a sentence or two.
        needs: what the log or the facts must hold.
        signature: reads a case; gives what it saw, what it lacks, or None where the fault is not there.
        explains: ids that this fault accounts for.
        lookalikes: what else looks the same, and what separates it.
        severity: the rule, in words.
        dose: the dose rule of the prescription, in words.
        harmful: advice that is often given here and would do harm.
        source: where the rule comes from.
        scope: the tasks that can have it.
        by_exclusion: a second signature, read where nothing is learned and no cause was found: what is then left to think of.
    """

    id: str
    name: str
    family: str
    level: Level
    means: str
    needs: str
    signature: Signature
    severity: str
    dose: str
    source: str
    explains: tuple[str, ...] = ()
    lookalikes: tuple[Lookalike, ...] = ()
    harmful: tuple[str, ...] = ()
    scope: Scope = "any"
    by_exclusion: Signature | None = None
