"""The doctor's watch: the rules of `osler diagnose` after every epoch of a run that is training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from numpy.typing import NDArray

from osler.doctor.diagnose import diagnose
from osler.doctor.facts import Facts
from osler.doctor.findings import SCHEMA, SEVERITIES, Diagnosis
from osler.doctor.readers.vitals import VitalsCollector
from osler.files import strict_json
from osler.runs.folder import RunFolder
from osler.train.state import TrainingState
from osler.train.watchers import Console, Watcher

__all__ = ["DoctorWatch"]

WORTH_SAYING = SEVERITIES.index("warning")


class DoctorWatch(Watcher):
    """Says what is wrong as soon as it can be known, each finding once and again only if it worsens; writes findings.json.

    Attributes:
        wants_stop: a critical finding was made and `on_critical` is "stop".
        reason: that finding, in words.
    """

    def __init__(
        self, run: RunFolder, before: list[Mapping[str, Any]], on_critical: Literal["warn", "stop"], console: Console
    ) -> None:
        self.run, self.on_critical, self.console = run, on_critical, console
        self.reason = ""
        known = {key: value for key, value in run.read(run.facts_file).items() if key not in ("schema", "notes")}
        self.facts = Facts.of(known, "facts.json", strict=False)
        self.collector = VitalsCollector(str(run.path))
        for vitals in before:
            self.collector.add(vitals)
        self.said: dict[str, int] = {}
        if before:
            self._new_findings(self._diagnose())

    def _diagnose(self) -> Diagnosis:
        return diagnose(self.collector.chart(self.facts))

    def _new_findings(self, diagnosis: Diagnosis) -> list[tuple[str, str]]:
        """(severity, text) of what has not been said yet, or was milder when it was."""
        new: list[tuple[str, str]] = []
        for finding in diagnosis.findings:
            severity = SEVERITIES.index(finding.severity)
            if severity >= WORTH_SAYING and severity > self.said.get(finding.id, -1):
                self.said[finding.id] = severity
                new.append((finding.severity, f"{finding.name}: {finding.signs.summary}"))
        return new

    def epoch_done(self, state: TrainingState, vitals: Mapping[str, Any], outputs: Mapping[str, NDArray[Any]]) -> None:
        self.collector.add(strict_json(vitals))
        diagnosis = self._diagnose()
        for severity, text in self._new_findings(diagnosis):
            self.console.warn(f"{severity} finding after epoch {vitals['epoch']}: {text} (`osler diagnose {self.run.path}`)")
            if severity == "critical" and self.on_critical == "stop":
                self.wants_stop, self.reason = True, text
        self.run.write(self.run.path / "findings.json", {"schema": SCHEMA, "runs": [diagnosis.to_json()]})
