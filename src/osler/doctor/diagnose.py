"""Diagnose: every fault's signature read against a chart, and the findings ordered into a differential.

Causes stand above syndromes and symptoms: what a fault `explains` is shown under it. What looks the same is listed with the
observation that separates it, and whether this log rules it out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from osler.doctor.case import Case
from osler.doctor.chart import Chart
from osler.doctor.faults import FAULTS
from osler.doctor.faults.fault import Fault, Level, Signature
from osler.doctor.findings import SEVERITIES, Alternative, Diagnosis, Finding, Lacking, Signs, Unassessed, Verdict

__all__ = ["diagnose"]

LEVELS: tuple[Level, ...] = ("cause", "syndrome", "symptom")
FEWEST_EPOCHS = 3
# A guess below this accounts for nothing that is graver than itself.
SURE_ENOUGH = 0.6
# The syndrome that leaves something to think of when it has no cause, and causes that may themselves be the effect of another:
# wrong labels are hard to fit, and learned by heart if they are.
NOTHING, EFFECTS = "not_learning", ("underfitting", "overfitting")
# What a rule may stumble over in figures that no training makes; a rule that does is reported as not assessed.
STUMBLES = (ArithmeticError, ValueError, IndexError, KeyError, TypeError)


def diagnose(chart: Chart) -> Diagnosis:
    """What is wrong with a run, by all faults known, ranked.

    >>> diagnose(Chart.of({"train.loss": [0.7, 0.5, float("inf")]})).findings[0].id
    'non_finite'
    """
    case = Case(chart)
    seen: dict[str, Signs] = {}
    lacking: list[Unassessed] = []
    checked: list[str] = []
    with np.errstate(all="ignore"):
        for fault in _possible(case):
            found = _examine(fault.signature, case) if len(chart) else Lacking("at least one epoch")
            if isinstance(found, Signs):
                seen[fault.id] = found
            elif isinstance(found, Lacking):
                lacking.append(Unassessed(fault.id, found.needs))
            else:
                checked.append(fault.id)
        guesses = _left_over(case, seen)
        seen |= guesses
        lacking = [each for each in lacking if each.id not in guesses]
        checked = [id for id in checked if id not in guesses]
        findings = _ranked(seen, {each.id for each in lacking}, frozenset(guesses))
        flagged = any(finding.severity != "note" for finding in findings)
        reason = None if flagged else _undecided(case)
    verdict: Verdict = "findings" if flagged else "healthy" if reason is None else "undecided"
    return Diagnosis(
        chart.source,
        chart.reader,
        verdict,
        findings,
        tuple(lacking),
        tuple(checked),
        None,
        chart,
        reason,
    )


def _possible(case: Case) -> Iterator[Fault]:
    """The faults that a run of this task can have."""
    scopes = ("any", "segmentation" if case.segmentation else "classification")
    return (fault for fault in FAULTS.values() if fault.scope in scopes)


def _examine(signature: Signature, case: Case) -> Signs | Lacking | None:
    try:
        return signature(case)
    except STUMBLES as error:
        return Lacking(f"figures that this rule can work with: {type(error).__name__}: {error}")


def _left_over(case: Case, seen: Mapping[str, Signs]) -> dict[str, Signs]:
    """What is left to think of where nothing is learned, or nothing that proves to hold, and no other cause was found."""
    grave = [id for id, signs in seen.items() if signs.severity != "note"]
    if any(FAULTS[id].level == "cause" and id not in EFFECTS for id in grave):
        return {}
    if NOTHING not in grave and (case.learned or not set(EFFECTS) & set(grave)):
        return {}
    found = {fault.id: _examine(fault.by_exclusion, case) for fault in _possible(case) if fault.by_exclusion is not None}
    return {id: signs for id, signs in found.items() if isinstance(signs, Signs) and id not in seen}


def _undecided(case: Case) -> str | None:
    """Why a run without a finding cannot be called healthy; None where it can."""
    rows = len(case.chart)
    if rows < FEWEST_EPOCHS:
        return f"{rows} epoch{'s' if rows != 1 else ''}: too few to judge a course by"
    if not any(
        case.chart.has(f"{split}.{name}")
        for split in ("train", "val")
        for name in ("loss", "auc", "accuracy", "f1", "dice", "iou", "ap")
    ):
        return "no loss and no score was understood"
    if not case.learned and not case.learned_on("train"):
        return "no figure proves that anything was learned, and none that nothing was"
    return None


# --- the differential ---------------------------------------------------------------------------------------------------------


def _ranked(seen: dict[str, Signs], lacking: set[str], guesses: frozenset[str]) -> tuple[Finding, ...]:
    parents = {id: parent for id in seen if (parent := _parent(id, seen, guesses)) is not None}
    roots = [id for id in seen if id not in parents]
    under: dict[str, list[str]] = {root: [] for root in roots}
    for id in parents:
        root = id
        while root in parents:
            root = parents[root]
        under[root].append(id)
    findings = [
        _finding(
            id,
            seen,
            lacking,
            tuple(_finding(each, seen, lacking) for each in sorted(under[id], key=lambda each: _order(each, seen))),
        )
        for id in roots
    ]
    return tuple(sorted(findings, key=lambda finding: (-SEVERITIES.index(finding.severity), *_order(finding.id, seen)[1:])))


def _order(id: str, seen: dict[str, Signs]) -> tuple[int, int, float, str]:
    """Graver first, causes before syndromes before symptoms, surer first."""
    signs = seen[id]
    return -SEVERITIES.index(signs.severity), LEVELS.index(FAULTS[id].level), -signs.confidence, id


def _gravity(signs: Signs) -> int:
    return SEVERITIES.index(signs.severity)


def _parent(id: str, seen: dict[str, Signs], guesses: frozenset[str]) -> str | None:
    """The finding that best accounts for another: of a level no lower, and not itself accounted for by it; no guess does."""
    if seen[id].by_itself:
        return None
    own = LEVELS.index(FAULTS[id].level)
    candidates = [
        other
        for other in seen
        if other != id
        and other not in guesses
        and id in FAULTS[other].explains
        and LEVELS.index(FAULTS[other].level) <= own
        and other not in FAULTS[id].explains
        and (_gravity(seen[other]) >= _gravity(seen[id]) or seen[other].confidence >= SURE_ENOUGH)
    ]
    return min(candidates, key=lambda other: (LEVELS.index(FAULTS[other].level), *_order(other, seen)), default=None)


def _finding(id: str, seen: dict[str, Signs], lacking: set[str], symptoms: tuple[Finding, ...] = ()) -> Finding:
    fault = FAULTS[id]
    alternatives = tuple(
        Alternative(
            each.id,
            each.separates,
            "found" if each.id in seen else "ruled out" if each.id in FAULTS and each.id not in lacking else "open",
        )
        for each in fault.lookalikes
    )
    return Finding(id, fault.name, fault.family, seen[id], symptoms, alternatives, fault.harmful)
