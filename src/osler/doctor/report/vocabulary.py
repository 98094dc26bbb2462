"""The vocabulary of faults, as a table for a terminal and as a chapter of the documentation."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from osler.doctor.faults.fault import Fault

__all__ = ["faults_markdown", "faults_table"]

WIDTH = 110


def faults_table(faults: Mapping[str, Fault]) -> str:
    """Each fault with its name, level and what it needs, by family."""
    lines: list[str] = []
    family = ""
    for fault in faults.values():
        if fault.family != family:
            family = fault.family
            lines += ([""] if lines else []) + [family]
        lines.append(f"  {fault.id:<28} {fault.name} ({fault.level})")
        lines += textwrap.wrap(f"needs {fault.needs}", WIDTH, initial_indent=" " * 31, subsequent_indent=" " * 31)
    return "\n".join([*lines, "", f"{len(faults)} faults; --json gives look-alikes, dose rules and sources."])


def faults_markdown(faults: Mapping[str, Fault]) -> str:
    """A section for each fault, for the documentation."""
    sections: list[str] = []
    family = ""
    for fault in faults.values():
        if fault.family != family:
            family = fault.family
            sections.append(f"### {family.capitalize()}")
        sections.append(_section(fault))
    return "\n\n".join(sections) + "\n"


def _section(fault: Fault) -> str:
    rows = [
        ("Needs", fault.needs),
        ("Severity", fault.severity),
        ("Dose", fault.dose),
        ("Accounts for", ", ".join(f"`{each}`" for each in fault.explains)),
        (
            "Looks the same",
            "; ".join(
                f"`{each.id}`: {each.separates}" if "_" in each.id else f"{each.id}: {each.separates}"
                for each in fault.lookalikes
            ),
        ),
        ("Would harm", "; ".join(fault.harmful)),
        ("Source", fault.source),
    ]
    body = "\n".join(f"- **{name}**: {text}" for name, text in rows if text)
    return f"#### `{fault.id}`: {fault.name}\n\n{fault.means} ({fault.level})\n\n{body}"
