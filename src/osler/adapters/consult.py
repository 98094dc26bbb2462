"""The doctor's part of a watch: epochs go in, what is new comes out, and the folder is written."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from osler.adapters.figures import NOT_FINITE
from osler.doctor.command import Diagnoses
from osler.doctor.facts import Facts
from osler.doctor.findings import SEVERITIES, Diagnosis, Finding
from osler.doctor.follow import FollowUp
from osler.doctor.report.text import figure_of
from osler.files import strict_json, write_json, write_text
from osler.runs.vitals import append_vitals, read_vitals, write_metrics_csv

__all__ = ["Consultation", "finding_line", "say"]

SHOWN_EVIDENCE = 2


class Consultation:
    """One run before the doctor.

    Args:
        folder: where the run is written.
        before: vitals of earlier epochs that are gone on from.

    Attributes:
        diagnosis: after the last epoch; None before the first.
    """

    def __init__(self, folder: Path, before: Sequence[Mapping[str, Any]]) -> None:
        self.folder = folder
        self.diagnosis: Diagnosis | None = None
        self._follow_up = FollowUp(str(folder), map(_seen, before))
        self._written: Any = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings after the last epoch, the gravest first."""
        return () if self.diagnosis is None else self.diagnosis.findings

    @property
    def worst(self) -> int:
        """Place of the gravest severity among `SEVERITIES`; -1 without findings."""
        return max((SEVERITIES.index(finding.severity) for finding in self.findings), default=-1)

    def take(self, vitals: Mapping[str, Any], facts: Facts, notes: Sequence[str]) -> list[Finding]:
        """Writes an epoch, has the run diagnosed, and says what is new or has become graver: on stderr, one line each."""
        append_vitals(self.folder / "vitals.jsonl", vitals)
        self._follow_up.add(_seen(vitals))
        new = self._follow_up.news(self._diagnose(facts, notes))
        for finding in new:
            say(finding_line(finding, int(vitals["epoch"]), self.folder))
        return new

    def end(self, facts: Facts, notes: Sequence[str]) -> Path:
        """Has the whole run diagnosed, and writes metrics.csv and the page; returns the page."""
        diagnosis = self._diagnose(facts, notes)
        write_metrics_csv(self.folder / "metrics.csv", read_vitals(self.folder / "vitals.jsonl"))
        return Diagnoses((diagnosis,)).write_pages(self.folder)

    def _diagnose(self, facts: Facts, notes: Sequence[str]) -> Diagnosis:
        told = strict_json({**{key: facts[key] for key in facts}, "notes": notes})
        if told != self._written:
            write_json(self.folder / "facts.json", {"schema": "osler.facts/1", **told})
            self._written = told
        self.diagnosis = diagnosis = self._follow_up.diagnosis(facts)
        write_text(self.folder / "findings.json", Diagnoses((diagnosis,)).json_text() + "\n")
        return diagnosis


def _seen(vitals: Mapping[str, Any]) -> dict[str, Any]:
    """An epoch as the doctor takes it: a loss that was no number is infinite, which is not the same as one not logged."""
    seen: dict[str, Any] = strict_json(vitals)
    for split in ("train", "val"):
        loss = seen.get(split, {}).get("loss", {})
        if loss.get("value_reason") == NOT_FINITE:
            loss["value"] = math.inf
    return seen


def finding_line(finding: Finding, epoch: int, folder: Path) -> str:
    """A finding in one line: what, on which evidence, and what to change."""
    evidence = "; ".join(item.text() for item in finding.signs.evidence[:SHOWN_EVIDENCE])
    changes = [f"{each.key} {figure_of(each.before)} → {figure_of(each.after)}" for each in finding.signs.changes]
    todo = "; ".join(changes or finding.signs.actions[:1])
    parts = [
        f"osler: {finding.severity} after epoch {epoch}: {finding.name}: {finding.signs.summary}",
        *([f"evidence: {evidence}"] if evidence else []),
        *([f"prescription: {todo}"] if todo else []),
        f"`osler diagnose {folder}`",
    ]
    return " · ".join(" ".join(part.split()) for part in parts)


def say(text: str) -> None:
    """A line to the person."""
    print(text, file=sys.stderr)
