"""The report of an audit for a terminal: findings, the gravest first, and what was looked at."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

from osler.audit.case import Case
from osler.audit.findings import SEVERITIES, Finding
from osler.data.messages import count

__all__ = ["audit_text", "nothing_found", "tally"]

WIDTH = 110


def audit_text(case: Case, findings: Sequence[Finding]) -> str:
    """Each finding with what to do; then how much was read."""
    lines: list[str] = []
    for one in findings:
        head = "" if one.severity == "note" else f"{one.severity.upper()}: "
        lines += _wrapped(f"{head}{one.sentence}", "  ")
        lines += [f"  {line}" for line in _wrapped(f"→ {one.action}", "  ", WIDTH - 2)]
    if not any(one.severity != "note" for one in findings):
        lines.append(f"No warning: {nothing_found(case)}")
    return "\n".join([*lines, "", tally(case, findings)])


def nothing_found(case: Case) -> str:
    """What is said where there is no warning."""
    return f"{len(case.samples):,} images were read, and compared with one another, their labels and their splits."


def tally(case: Case, findings: Sequence[Finding]) -> str:
    """How much was looked at, and how many findings there are."""
    numbers = Counter(one.severity for one in findings)
    found = ", ".join(
        count(numbers[each], each, None if each != "critical" else each) for each in reversed(SEVERITIES) if numbers[each]
    )
    splits = ", ".join(f"{name} {int(case.of_split(name).sum()):,}" for name in case.used)
    before = len(case.samples) - case.measured.fresh
    those = "All" if not case.measured.fresh else f"{before:,} of them"
    again = f" {those} were measured by an earlier audit." if before else ""
    return f"{count(len(case.samples), 'image')} ({splits or 'not divided'}): {found or 'nothing found'}.{again}"


def _wrapped(text: str, indent: str, width: int = WIDTH) -> list[str]:
    """Lines of a statement; no number is parted from its percent sign."""
    lines = textwrap.wrap(text.replace(" %", "\N{NO-BREAK SPACE}%"), width, subsequent_indent=indent, break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]
