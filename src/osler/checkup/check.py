"""Check: what one test of a checkup says, whether it passed, failed, or could not be held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from osler.doctor.findings import SEVERITIES, Change, Severity

__all__ = ["Check", "Illustration", "Outcome", "failed", "not_assessed", "passed", "worst"]

Outcome = Literal["passed", "failed", "not_assessed"]


@dataclass(frozen=True)
class Illustration:
    """A picture that belongs to a check.

    Attributes:
        name: of its PNG file, without the ending.
        uri: a data URI for the page.
        png: the same as a file.
        caption: what to see in it.
        alt: the same for who cannot see it.
    """

    name: str
    uri: str
    png: bytes
    caption: str
    alt: str


@dataclass(frozen=True)
class Check:
    """What a test says.

    Attributes:
        id: of the fault where the test failed, as `osler faults` names it where that knows it; else the test's name.
        outcome: what came of it.
        sentence: what was seen, with its numbers.
        means: what a failure means; "" where nothing failed.
        changes: of the configuration, or of the keyword of the same name in a loop of one's own.
        actions: what to do that is no setting.
        severity: None where nothing failed.
        figures: the numbers behind the sentence.
        pictures: that belong to it.
        test: the test that said it; set by who runs the tests.
    """

    id: str
    outcome: Outcome
    sentence: str
    means: str = ""
    changes: tuple[Change, ...] = ()
    actions: tuple[str, ...] = ()
    severity: Severity | None = None
    figures: tuple[tuple[str, Any], ...] = ()
    pictures: tuple[Illustration, ...] = ()
    test: str = ""

    def to_json(self) -> dict[str, Any]:
        """The entry of schema `osler.checkup/1`; pictures by the name of their file."""
        return {
            "id": self.id,
            "test": self.test,
            "outcome": self.outcome,
            "severity": self.severity,
            "sentence": self.sentence,
            "means": self.means,
            "prescription": [change.to_json() for change in self.changes],
            "actions": list(self.actions),
            "figures": dict(self.figures),
            "pictures": [f"{picture.name}.png" for picture in self.pictures],
        }


def passed(id: str, sentence: str, *pictures: Illustration, **figures: Any) -> Check:
    """A test that found nothing wrong."""
    return Check(id, "passed", sentence, figures=tuple(figures.items()), pictures=pictures)


def failed(
    id: str,
    severity: Severity,
    sentence: str,
    means: str,
    changes: Sequence[Change] = (),
    actions: Sequence[str] = (),
    pictures: Sequence[Illustration] = (),
    **figures: Any,
) -> Check:
    """A test that found something wrong."""
    found = tuple(figures.items())
    return Check(id, "failed", sentence, means, tuple(changes), tuple(actions), severity, found, tuple(pictures))


def not_assessed(id: str, why: str, *pictures: Illustration) -> Check:
    """A test that could not be held, and why."""
    return Check(id, "not_assessed", why, pictures=pictures)


def worst(checks: Sequence[Check]) -> Severity | None:
    """The gravest severity; None where nothing failed.

    >>> worst([passed("a", "fine"), failed("b", "note", "so", "what"), failed("c", "warning", "so", "what")])
    'warning'
    """
    found = [check.severity for check in checks if check.severity is not None]
    return max(found, key=SEVERITIES.index, default=None)
