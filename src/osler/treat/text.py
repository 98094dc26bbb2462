"""A treatment in words: the plan with its diff, what was proved, what the test set says."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from osler.treat.course import BUDGET
from osler.treat.found import Found, Plan
from osler.treat.patch import Edit
from osler.treat.proof import Comparison
from osler.treat.scores import MEASURES

__all__ = ["budget_text", "diff_lines", "difference_text", "test_text", "treatment_text"]

WIDTH = 110


def treatment_text(treatment: Found) -> str:
    """The whole, for a terminal."""
    lines = (
        [f"{treatment.outcome.upper()}. {treatment.reason}".strip()]
        if treatment.outcome != "planned"
        else ["PLAN, nothing trained."]
    )
    lines += _plan(treatment.plan)
    for cure in treatment.cures:
        lines += ["", f"Without training, {cure.name}: {cure.done}"]
        if cure.label:
            found = "" if cure.difference is None else f" ({difference_text(cure.difference)}): {cure.verdict}"
            lines.append(f"  {cure.label} {number(cure.before)} → {number(cure.after)}{found}")
    lines += _attempts(treatment)
    if treatment.record.test is not None:
        lines += ["", test_text(treatment.record.test)]
    if treatment.record.why_ended:
        lines += ["", f"Ended: {treatment.record.why_ended}."]
    if treatment.winner is not None:
        lines.append(f"Proven configuration: {treatment.folder.treated}")
    if treatment.outcome == "planned":
        lines += ["", f"`osler treat {treatment.run.path} --yes` goes on."]
    elif treatment.record.why_ended.startswith(BUDGET):
        lines += ["", f"More: `osler treat {treatment.run.path} --yes --minutes {2 * treatment.plan.budget.minutes:g}`"]
    return "\n".join(part for line in lines for part in _wrapped(line))


def _plan(plan: Plan) -> Iterator[str]:
    if plan.patch is not None:
        yield from ["", f"First prescription: {plan.patch.name} ({plan.patch.finding})", f"  Seen: {plan.patch.summary}"]
        if plan.patch.dose:
            yield f"  Dose: {plan.patch.dose}"
        yield from (f"  {line}" for line in diff_lines(plan.patch.edits))
        yield from ["", budget_text(plan)]
    for reason in dict.fromkeys((*plan.refused, *plan.record.refused)):
        yield f"Not from here: {reason}"
    yield from (f"Note: {note}" for note in plan.notes)


def budget_text(plan: Plan) -> str:
    """How it is proved, on what, and what it costs."""
    trial, proving, budget = plan.record.trial, plan.proving, plan.budget
    arms = "a plain re-run" + (" and a random change" if budget.random else "")
    cut = [f"{100 * trial.train:.0f} % of train"] if trial.train < 1 else []
    cut += [f"{100 * trial.epochs:.0f} % of the epochs"] if trial.epochs < 1 else []
    several = f"{trial.seeds} seeds each" if trial.seeds > 1 else "one seed each, so that the interval is over patients alone"
    smaller = f", on {' and '.join(cut)}" if cut else ""
    proven = f"{proving.rarest} with the rarer label of {proving.name}"
    parts = (
        f"{proving.choose:,} samples choose epoch and threshold, {proving.prove:,} samples of {proving.patients:,} patients prove"
    )
    limits = f"At most {_prescriptions(budget.attempts)}, for which verdicts are corrected (Holm), and {budget.minutes:g} min"
    return (
        f"Proof: {MEASURES[plan.measure].label} against {arms}, {several}{smaller}. Val is divided by patient: {parts} "
        f"({proven}). {limits}; an arm takes about {_minutes(plan.seconds)}."
    )


def _prescriptions(count: int) -> str:
    return "one prescription" if count == 1 else f"{count} prescriptions"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def diff_lines(edits: Sequence[Edit]) -> list[str]:
    """The patch as a diff of dotted settings, each with its reason.

    >>> diff_lines([Edit("training.learning_rate", 1.0, 0.1, "a tenth")])
    ['- training.learning_rate: 1.0', '+ training.learning_rate: 0.1  # a tenth']
    """
    lines = []
    for edit in edits:
        lines.append(f"- {edit.key}: {_yaml(edit.before)}")
        lines.append(f"+ {edit.key}: {_yaml(edit.after)}{f'  # {edit.why}' if edit.why else ''}")
    return lines


def _yaml(value: Any) -> str:
    if isinstance(value, float) and len(str(value)) > 8:
        return f"{value:.4g}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _attempts(treatment: Found) -> Iterator[str]:
    for place, attempt in enumerate(treatment.record.attempts):
        proof = treatment.proofs[place] if place < len(treatment.proofs) else None
        yield ""
        yield f"Attempt {attempt.number}, {attempt.patch.name}, over {attempt.onto}:"
        yield from (f"  {line}" for line in diff_lines(attempt.patch.edits))
        if proof is None:
            yield f"  {attempt.ended or 'no whole comparison yet'}"
            continue
        yield f"  {proof.verdict.upper()} (p {number(proof.p)}, Holm). {proof.reason}"
        before = treatment.before[place] if place < len(treatment.before) else None
        if before is not None:
            yield f"  The run as it was: {number(before.second)}, a difference of {difference_text(before.difference)}."


def test_text(test: dict[str, Any]) -> str:
    """What the test set says."""
    if not test["read"]:
        return f"Test set: not read: {test['reason']}."
    found, label = test["comparison"], MEASURES[test["measure"]].label
    low, value, high = (number(found["difference"][name]) for name in ("low", "value", "high"))
    was = f"; the run as it was {number(test['as_it_was'])}" if test.get("as_it_was") is not None else ""
    return (
        f"Test set, read once: {label} of attempt {test['attempt']} {number(found['treated'])}, of the re-run "
        f"{number(found['value'])}, a difference of {value} [{low}, {high}]{was}."
    )


def difference_text(difference: Any) -> str:
    """A difference with its interval.

    >>> from osler.metrics.paired import PairedDifference
    >>> difference_text(PairedDifference(0.1, 0.05, 0.15, 0.001, 0.95, 50, 20, 1, 0.02))
    '+0.100 [+0.050, +0.150]'
    """
    if not math.isfinite(difference.value):
        return f"undefined: {difference.reason}"
    return f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


def number(value: float | None) -> str:
    """
    >>> number(0.12345), number(None)
    ('0.123', '–')
    """
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def _wrapped(line: str) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()))
    if line.lstrip()[:2] in ("- ", "+ ") or not line:
        return [line]
    return textwrap.wrap(line, WIDTH, subsequent_indent=f"{indent}  ", break_long_words=False, break_on_hyphens=False)


def comparisons_of(treatment: Found) -> list[tuple[str, Comparison]]:
    """Every comparison with a name, in the order of attempts; for pictures and tables."""
    found = []
    for place, attempt in enumerate(treatment.record.attempts):
        proof = treatment.proofs[place] if place < len(treatment.proofs) else None
        found += [(f"{attempt.number}. {attempt.patch.name}", one) for one in (proof.comparisons if proof else ())]
        before = treatment.before[place] if place < len(treatment.before) else None
        found += [(f"{attempt.number}. {attempt.patch.name}", before)] if before is not None else []
    return found
