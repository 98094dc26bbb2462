"""The page of a checkup: what failed and what to do, then every test, then pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import osler
from osler.checkup.check import Check
from osler.checkup.table import TESTS
from osler.doctor.faults import FAULTS
from osler.doctor.findings import SEVERITIES, figure
from osler.report.page import Block, Bullets, Callout, Cell, CellValue, Page, Paragraph, Picture, Section, Table

__all__ = ["checkup_page", "shown"]

MARKS = {"passed": "passed", "failed": "failed", "not_assessed": "not assessed"}
LONGEST_LIST = 6


def checkup_page(subject: str, summary: str, checks: Sequence[Check], seconds: Mapping[str, float]) -> Page:
    """The page.

    Args:
        subject: what was tested.
        summary: one sentence.
        checks: in the order of the tests.
        seconds: that each test took.
    """
    failures = sorted(
        (check for check in checks if check.severity is not None), key=lambda check: -SEVERITIES.index(check.severity or "note")
    )
    first = [block for check in failures for block in _failure(check)]
    first = first or [Callout("No test failed.", "good", "Nothing found")]
    pictures = [
        Picture(picture.uri, picture.caption, picture.alt, title=picture.name.replace("_", " ").capitalize(), wide=True)
        for check in checks
        for picture in check.pictures
    ]
    sections = [
        Section("What was found", first),
        *([Section("Pictures", pictures)] if pictures else []),
        Section("All tests", [_table(checks, seconds)]),
    ]
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return Page(
        title=f"Checkup before training: {subject}",
        sections=sections,
        lead=summary,
        footer=f"Written by Osler {osler.__version__} on {now}. The figures are in checkup.json; pictures lie beside it as PNG.",
    )


def _failure(check: Check) -> list[Block]:
    """A failure: what was seen, what it means, and what to change."""
    name = FAULTS[check.id].name if check.id in FAULTS else check.id.replace("_", " ").capitalize()
    blocks: list[Block] = [Callout(check.sentence, check.severity or "note", f"{name} ({check.id})"), Paragraph(check.means)]
    if check.changes:
        rows: list[list[CellValue]] = [
            [change.key, shown(change.before), shown(change.after), change.why] for change in check.changes
        ]
        blocks.append(Table(["Setting", "Now", "Change to", "Why"], rows))
    if check.actions:
        blocks.append(Bullets(check.actions))
    return blocks


def shown(value: object) -> str:
    """A configured value in words; a long list by its first items.

    >>> shown((12.0, 12.0)), shown(None), shown(1e-3)
    ('[12, 12]', 'null', '0.001')
    """
    if isinstance(value, (list, tuple)):
        more = f", ... {len(value)} in all" if len(value) > LONGEST_LIST else ""
        return f"[{', '.join(map(shown, value[:LONGEST_LIST]))}{more}]"
    return "null" if value is None else figure(value) if isinstance(value, float) else str(value)


def _table(checks: Sequence[Check], seconds: Mapping[str, float]) -> Table:
    rows: list[list[CellValue]] = []
    for check in checks:
        spent = Cell(f"{seconds[check.test]:.1f} s", data=round(seconds[check.test], 2))
        outcome = "note" if check.severity == "note" else MARKS[check.outcome] + (f": {check.severity}" if check.severity else "")
        rows.append([Cell(check.test, detail=TESTS[check.test].asks), outcome, check.sentence, spent])
    return Table(["Test", "Outcome", "What was seen", "Time"], rows)
