"""Finding: one thing that is wrong, or odd, with a set of images; what it rests on, and what to do about each image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["SEVERITIES", "Finding", "Fix", "Severity", "ranked"]

Severity = Literal["note", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "critical")


@dataclass(frozen=True)
class Fix:
    """What to do about one image.

    Attributes:
        row: of the source.
        action: drop, replace, look, or correct the label.
        keep: the row of the image to keep in its place, or None.
    """

    row: int
    action: str
    keep: int | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        id: what kind of thing; stable.
        severity: critical: figures would be wrong, or training would stop; warning: look before you train; note: know it.
        sentence: what was seen, with its numbers.
        action: what to do.
        rows: of the source, the images concerned.
        fixes: what to do about each of them, for rows.csv.
        shown: rows to show, in their order, and what to write below each; what belongs together stands together.
        figures: the numbers of the sentence, by name.
    """

    id: str
    severity: Severity
    sentence: str
    action: str
    rows: tuple[int, ...] = ()
    fixes: tuple[Fix, ...] = ()
    shown: tuple[tuple[int, str], ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)


def ranked(findings: Iterable[Finding], order: Sequence[str]) -> tuple[Finding, ...]:
    """The gravest first; of equal ones as in `order`, then the one that concerns more images.

    >>> ranked([Finding("b", "note", "", ""), Finding("a", "critical", "", "")], ["b", "a"])[0].id
    'a'
    """
    place = {name: number for number, name in enumerate(order)}
    return tuple(
        sorted(findings, key=lambda one: (-SEVERITIES.index(one.severity), place.get(one.id, len(place)), -len(one.rows)))
    )
