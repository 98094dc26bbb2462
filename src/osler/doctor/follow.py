"""A run under way before the doctor: epochs go in, and what is new, or has become graver, comes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from osler.doctor.diagnose import diagnose
from osler.doctor.facts import Facts
from osler.doctor.findings import SEVERITIES, Diagnosis, Finding
from osler.doctor.readers.vitals import VitalsCollector

__all__ = ["FollowUp"]

WORTH_SAYING = SEVERITIES.index("warning")


class FollowUp:
    """Diagnoses a run after every epoch; a finding is news once, and again only if it worsens.

    Args:
        source: the run's name, for its charts.
        before: vitals of earlier epochs that are gone on from.
    """

    def __init__(self, source: str, before: Iterable[Mapping[str, Any]] = ()) -> None:
        self._collector = VitalsCollector(source)
        self._said: dict[str, int] = {}
        for vitals in before:
            self._collector.add(vitals)

    def add(self, vitals: Mapping[str, Any]) -> None:
        """Takes an epoch's vitals, in what JSON knows."""
        self._collector.add(vitals)

    def diagnosis(self, facts: Facts) -> Diagnosis:
        """The run as far as it has come."""
        return diagnose(self._collector.chart(facts))

    def news(self, diagnosis: Diagnosis) -> list[Finding]:
        """Findings of severity warning or critical that were not here before, or were milder; they then count as said."""
        new = []
        for finding in diagnosis.findings:
            severity = SEVERITIES.index(finding.severity)
            if severity >= WORTH_SAYING and severity > self._said.get(finding.id, -1):
                self._said[finding.id] = severity
                new.append(finding)
        return new
