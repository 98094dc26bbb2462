"""Opinions: what the doctor, or a baseline, makes of a chart, in one form that can be scored."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from faults import Advice, Injection

from osler.doctor.chart import Chart
from osler.doctor.diagnose import diagnose
from osler.doctor.facts import Facts
from osler.doctor.findings import Change

__all__ = ["Opinion", "Opinions", "as_known_after", "doctor", "follows", "gives"]

NAMED = 3
"""Causes that are counted as named."""


@dataclass(frozen=True)
class Opinion:
    """What is made of a chart.

    Attributes:
        flagged: whether anything is wrong, notes aside.
        causes: what is wrong, the first first; each the ids that it may be taken for.
        changes: advised with each of the causes.
        grave: whether each cause is more than a note.
    """

    flagged: bool
    causes: tuple[frozenset[str], ...] = ()
    changes: tuple[tuple[Change, ...], ...] = ()
    grave: tuple[bool, ...] = ()

    def names(self, roots: Sequence[str], within: int) -> bool:
        """Whether one of these ids is among the first so many causes."""
        return any(cause & set(roots) for cause in self.causes[:within])


Opinions = Callable[[Chart], Opinion]


def doctor(chart: Chart) -> Opinion:
    """The doctor's."""
    diagnosis = diagnose(chart)
    findings = diagnosis.findings
    return Opinion(
        diagnosis.flagged,
        tuple(frozenset({finding.id}) for finding in findings),
        tuple(finding.signs.changes for finding in findings),
        tuple(finding.severity != "note" for finding in findings),
    )


def as_known_after(chart: Chart, rows: int) -> Chart:
    """The chart as it stood after so many epochs: why a run ended is known at its end only."""
    if rows >= len(chart):
        return chart
    known = {key: fact for key in chart.facts if key not in ("stop_reason", "best_epoch") and (fact := chart.facts.origin(key))}
    return replace(chart.upto(rows), facts=Facts(known))


# --- advice -------------------------------------------------------------------------------------------------------------------


def gives(opinion: Opinion, injection: Injection, within: int) -> bool:
    """Whether the advice that comes with the first so many causes, the first of them that advises anything, cures the fault."""
    advising = [changes for changes in opinion.changes[:NAMED] if changes][:within]
    return any(follows(change, advice) for changes in advising for change in changes for advice in injection.advice)


def harmful(opinion: Opinion, injection: Injection) -> bool:
    """Whether anything that is advised, but with a note, would make the fault worse."""
    pairs = zip(opinion.changes, opinion.grave, strict=True)
    advised = [change for changes, grave in pairs if grave for change in changes]
    return any(follows(change, advice) for change in advised for advice in injection.harmful)


def follows(change: Change, advice: Advice) -> bool:
    """Whether a change is of the advised setting, the advised way.

    >>> from osler.doctor.findings import Change
    >>> change = Change("training.learning_rate", 0.1, 0.01, "")
    >>> follows(change, Advice("training.learning_rate", "down")), follows(change, Advice("training.learning_rate", "up"))
    (True, False)
    """
    if change.key != advice.key and not change.key.startswith(f"{advice.key}."):
        return False
    if advice.direction in ("off", "set"):
        off = change.after is None or change.after in ("none", "off", False)
        return off == (advice.direction == "off")
    step = _step(change)
    return step > 0 if advice.direction == "up" else step < 0


def _step(change: Change) -> float:
    """Which way a number goes, above or below 0; 0 where that cannot be said."""
    if isinstance(change.after, str):
        return -1.0 if change.after in ("a tenth", "a third") else 1.0 if "times" in change.after else 0.0
    after, before = _size(change.after), _size(change.before)
    if math.isnan(before):
        # What is not set is 1 for a weight, and 0 for all else that is advised.
        before = 1.0 if change.key == "loss.pos_weight" else 0.0
    return 0.0 if math.isnan(after) else after - before


def _size(value: Any) -> float:
    """A number, or the geometric mean of several; NaN for anything else."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)) and value and all(isinstance(each, (int, float)) and each > 0 for each in value):
        return math.exp(sum(math.log(each) for each in value) / len(value))
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
