"""Findings: what the doctor says of a run, and the JSON in which it says it (schema osler.diagnosis/1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from osler.doctor.chart import Chart

__all__ = [
    "SCHEMA",
    "SEVERITIES",
    "Alternative",
    "Change",
    "Diagnosis",
    "Evidence",
    "Finding",
    "Lacking",
    "Severity",
    "Signs",
    "Unassessed",
    "Verdict",
]

SCHEMA = "osler.diagnosis/1"
Severity = Literal["note", "warning", "critical"]
Verdict = Literal["healthy", "findings", "undecided", "refused"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "critical")
NO_INTERVAL = "no interval: the log gives the figure, and no number of samples to go with it"


@dataclass(frozen=True)
class Evidence:
    """One figure that speaks for a finding.

    Attributes:
        quantity: its name as in the chart ("val.auc"), or what it is ("weight in force").
        value: the figure; a word where it is none.
        epoch: as the log numbers it; None for the run as a whole.
        low, high: its interval; NaN where there is none.
        expected: what it is compared with: a floor, a configured value.
        basis: how figure and interval were made.
    """

    quantity: str
    value: float | str
    epoch: float | None = None
    low: float = math.nan
    high: float = math.nan
    expected: float | str | None = None
    basis: str = ""

    def to_json(self) -> dict[str, Any]:
        """The entry of the contract; `reason` says why a figure is null.

        >>> Evidence("val.auc", 0.51, 3.0, 0.45, 0.57, 0.5).to_json()["epoch"]
        3
        """
        entry: dict[str, Any] = {
            "epoch": _plain(self.epoch),
            "quantity": self.quantity,
            "value": _plain(self.value),
            "low": _plain(self.low),
            "high": _plain(self.high),
            "expected": _plain(self.expected),
            "basis": self.basis,
        }
        if entry["low"] is None or entry["value"] is None:
            entry["reason"] = self.basis or NO_INTERVAL
        return entry

    def text(self) -> str:
        """A line for a person.

        >>> Evidence("val.f1", 0.184, 3.0, expected=0.184).text()
        'epoch 3: val.f1 0.184, compared with 0.184'
        """
        value = figure(self.value)
        where = f"epoch {figure(self.epoch)}: " if self.epoch is not None else ""
        interval = f" [{figure(self.low)}, {figure(self.high)}]" if math.isfinite(self.low) and math.isfinite(self.high) else ""
        against = f", compared with {figure(self.expected)}" if self.expected is not None else ""
        return f"{where}{self.quantity} {value}{interval}{against}{f' ({self.basis})' if self.basis else ''}"


@dataclass(frozen=True)
class Change:
    """One change of the configuration. `before` None: not known, or not set."""

    key: str
    before: Any
    after: Any
    why: str

    def to_json(self) -> dict[str, Any]:
        """The entry of the contract."""
        return {"key": self.key, "from": _plain(self.before), "to": _plain(self.after), "why": self.why}


@dataclass(frozen=True)
class Signs:
    """What a fault's signature saw in a chart.

    Attributes:
        summary: one or two sentences with the figures that decide.
        evidence: those figures.
        severity: of this case.
        confidence: from 0 to 1, that the fault is there; not how bad it is.
        changes: the prescription, by the fault's dose rule.
        actions: what to look at or try that is no change of the configuration.
        epochs: at which it shows; the first is marked in the curves.
        by_itself: what is stated shows it as well, so that no other finding accounts for it.
    """

    summary: str
    evidence: tuple[Evidence, ...]
    severity: Severity
    confidence: float
    changes: tuple[Change, ...] = ()
    actions: tuple[str, ...] = ()
    epochs: tuple[float, ...] = ()
    by_itself: bool = False


@dataclass(frozen=True)
class Lacking:
    """A fault cannot be told from this chart: what would have to be logged or stated."""

    needs: str


@dataclass(frozen=True)
class Alternative:
    """Something else that looks the same.

    Attributes:
        id: of the fault, or what else it is.
        separates: the observation that tells the two apart.
        state: "found" beside this one, "ruled out" by this log, or "open".
    """

    id: str
    separates: str
    state: Literal["found", "ruled out", "open"]


@dataclass(frozen=True)
class Finding:
    """A fault seen in a run, with the symptoms that it accounts for."""

    id: str
    name: str
    family: str
    signs: Signs
    symptoms: tuple[Finding, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    harmful: tuple[str, ...] = ()

    @property
    def severity(self) -> Severity:
        """The worst of the fault's own and of its symptoms'."""
        return max((self.signs.severity, *(each.severity for each in self.symptoms)), key=SEVERITIES.index)

    def to_json(self, rank: int) -> dict[str, Any]:
        """The entry of the contract, with what else a reader may want."""
        return {
            "rank": rank,
            "id": self.id,
            "name": self.name,
            "family": self.family,
            "severity": self.severity,
            "confidence": round(self.signs.confidence, 3),
            "summary": self.signs.summary,
            "symptoms": [each.id for each in self.symptoms],
            "evidence": [item.to_json() for item in self.signs.evidence],
            "prescription": [change.to_json() for change in self.signs.changes],
            "actions": list(self.signs.actions),
            "differential": [{"id": each.id, "separates": each.separates, "state": each.state} for each in self.alternatives],
            "would_harm": list(self.harmful),
            "epochs": [_plain(epoch) for epoch in self.signs.epochs],
            "symptom_findings": [each.to_json(place) for place, each in enumerate(self.symptoms, 1)],
        }


@dataclass(frozen=True)
class Unassessed:
    """A fault that could not be looked for."""

    id: str
    needs: str


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor says of one run.

    Attributes:
        verdict: "findings" where one is a warning or critical; "healthy" where none is and enough was assessed to say so.
        findings: ranked, causes with their symptoms under them.
        checked: faults that were looked for and not found.
        error: why the input was refused.
        chart: what was diagnosed; None for a refused input.
        reason: why the verdict is undecided.
    """

    source: str
    reader: str | None
    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    not_assessed: tuple[Unassessed, ...] = ()
    checked: tuple[str, ...] = ()
    error: str | None = None
    chart: Chart | None = field(default=None, repr=False, compare=False)
    reason: str | None = None

    @property
    def flagged(self) -> bool:
        """Whether there is a finding of severity warning or critical."""
        return any(finding.severity != "note" for finding in self.findings)

    @property
    def worst(self) -> Severity | None:
        """The gravest severity found; None without findings."""
        return max((finding.severity for finding in self.findings), key=SEVERITIES.index, default=None)

    def to_json(self) -> dict[str, Any]:
        """The entry of `runs` in the contract."""
        return {
            "source": self.source,
            "reader": self.reader,
            "verdict": self.verdict,
            "findings": [finding.to_json(rank) for rank, finding in enumerate(self.findings, 1)],
            "not_assessed": [{"id": each.id, "needs": each.needs} for each in self.not_assessed],
            "checked": list(self.checked),
            "reason": self.reason,
            "notes": list(self.chart.notes) if self.chart is not None else [],
            "error": self.error,
        }


def figure(value: float | str | None) -> str:
    """A number as a person reads it, at four digits.

    >>> figure(3.0), figure(0.12345), figure(1e-05), figure("auto"), figure(float("nan"))
    ('3', '0.1235', '1e-05', 'auto', '–')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return value if isinstance(value, str) else f"{value:.4g}"


def _plain(value: Any) -> Any:
    """A value in strict JSON; whole numbers without a decimal point."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return None if not math.isfinite(value) else int(value) if value == int(value) and abs(value) < 1e15 else value
    return value


def joined(words: Sequence[str]) -> str:
    """Words as a list in a sentence.

    >>> joined(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
