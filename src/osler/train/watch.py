"""The doctor's watch: the rules of `osler diagnose` after every epoch of a run that is training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from numpy.typing import NDArray

from osler.doctor.facts import Facts
from osler.doctor.findings import SCHEMA
from osler.doctor.follow import FollowUp
from osler.files import strict_json
from osler.runs.folder import RunFolder
from osler.train.state import TrainingState
from osler.train.watchers import Console, Watcher

__all__ = ["DoctorWatch"]


class DoctorWatch(Watcher):
    """Says what is wrong as soon as it can be known, each finding once and again only if it worsens; writes findings.json.

    Attributes:
        wants_stop: a critical finding was made and `on_critical` is "stop".
        reason: that finding, in words.
    """

    def __init__(
        self, run: RunFolder, before: Sequence[Mapping[str, Any]], on_critical: Literal["warn", "stop"], console: Console
    ) -> None:
        self.run, self.on_critical, self.console = run, on_critical, console
        self.reason = ""
        known = {key: value for key, value in run.read(run.facts_file).items() if key not in ("schema", "notes")}
        self.facts = Facts.of(known, "facts.json", strict=False)
        self.follow_up = FollowUp(str(run.path), before)
        if before:  # what was found by then has been said
            self.follow_up.news(self.follow_up.diagnosis(self.facts))

    def epoch_done(self, state: TrainingState, vitals: Mapping[str, Any], outputs: Mapping[str, NDArray[Any]]) -> None:
        self.follow_up.add(strict_json(vitals))
        diagnosis = self.follow_up.diagnosis(self.facts)
        for finding in self.follow_up.news(diagnosis):
            text = f"{finding.name}: {finding.signs.summary}"
            self.console.warn(
                f"{finding.severity} finding after epoch {vitals['epoch']}: {text} (`osler diagnose {self.run.path}`)"
            )
            if finding.severity == "critical" and self.on_critical == "stop":
                self.wants_stop, self.reason = True, text
        self.run.write(self.run.path / "findings.json", {"schema": SCHEMA, "runs": [diagnosis.to_json()]})
