"""Facts of an audit that the doctor reads: what of a set explains how a run over it went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from osler.audit.case import Case
from osler.audit.findings import Finding
from osler.metrics.intervals import Interval

__all__ = ["audit_facts"]


def audit_facts(case: Case, findings: Sequence[Finding]) -> dict[str, Any]:
    """Facts by the doctor's own keys. What was not looked for is absent; 0 says that it was, and is not there."""
    by_id = {finding.id: finding for finding in findings}

    def number(id: str, name: str) -> int:
        return int(by_id[id].figures[name]) if id in by_id else 0

    facts: dict[str, Any] = {
        "audit.unreadable": number("unreadable", "images"),
        "audit.conflicting_labels": number("conflicting_labels", "images"),
    }
    if len(case.used) > 1:
        facts["audit.copies_across_splits"] = number("copies_across_splits", "images")
        facts["audit.near_copies_across_splits"] = number("near_copies_across_splits", "images")
        if case.samples.patients is not None:
            facts["audit.patients_across_splits"] = number("patients_across_splits", "patients")
    for key, kind in {"audit.metadata_auc": "acquisition", "audit.pixels_auc": "mark"}.items():
        best = max((one.auc for one in case.told if one.kind == kind and one.auc.low == one.auc.low), key=_low, default=None)
        if best is not None:
            facts |= {key: round(best.value, 4), f"{key}_low": round(best.low, 4)}
    return facts


def _low(interval: Interval) -> float:
    return interval.low
