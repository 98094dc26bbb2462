"""What a treatment found, before it is said: the plan, what was trained, and what was proved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from osler.config import Config
from osler.doctor.findings import Diagnosis
from osler.runs.folder import RunFolder
from osler.treat.cures import Cure
from osler.treat.patch import Patch
from osler.treat.plan import Budget, Proving
from osler.treat.proof import Comparison, Proof
from osler.treat.record import Attempt, Record, TreatmentFolder

__all__ = ["Found", "Outcome", "Plan"]

Outcome = Literal["planned", "helped", "harmed", "not shown", "cannot be shown", "cured without training", "nothing to treat"]


@dataclass(frozen=True)
class Plan:
    """What would be done, before anything is.

    Attributes:
        patch: the first prescription; None where no finding asks for one that can be made.
        measure: that it would be judged by.
        refused: why findings give no prescription, a sentence each.
        budget: of minutes and attempts.
        proving: what there is to prove with.
        record: of the treatment so far; a new one has its trial alone.
        seconds: that an arm takes, about.
        notes: what could not be looked at.
    """

    patch: Patch | None
    measure: str
    refused: tuple[str, ...]
    budget: Budget
    proving: Proving
    record: Record
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What was found of a run, done about it, and proved.

    Attributes:
        run: that was treated.
        config: its own.
        diagnosis: of it.
        plan: as it was shown.
        cures: without training.
        proofs: one an attempt; None for one without a whole comparison.
        before: each attempt's treated arms against the run as it was, where its predictions are there: not a control, since its
            epoch was chosen on all of val.
        winner: the best proven attempt.
        outcome: in a word or three.
        reason: the same in a sentence.
    """

    run: RunFolder
    config: Config
    diagnosis: Diagnosis
    plan: Plan
    cures: tuple[Cure, ...] = ()
    proofs: tuple[Proof | None, ...] = ()
    before: tuple[Comparison | None, ...] = ()
    winner: Attempt | None = None
    outcome: Outcome = "planned"
    reason: str = ""

    @property
    def record(self) -> Record:
        """What was decided and trained."""
        return self.plan.record

    @property
    def folder(self) -> TreatmentFolder:
        """Where everything lies."""
        return TreatmentFolder(self.run)

    @property
    def treated_config(self) -> Config | None:
        """The best proven configuration; None where nothing was proved."""
        return None if self.winner is None else self.record.groups[self.winner.group].config
