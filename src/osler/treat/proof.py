"""The proof: a treated arm against its controls on the patients that prove, and what may be said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from osler.errors import RunError
from osler.metrics.holm import holm, holm_levels
from osler.metrics.intervals import FEWEST
from osler.metrics.paired import Influence, PairedDifference, paired_difference
from osler.treat.scores import MEASURES, AnyPredictions, score

__all__ = ["Comparison", "Evidence", "Proof", "Verdict", "compare", "judge"]

Verdict = Literal["helped", "harmed", "not shown", "cannot be shown"]
Predicted = Sequence[AnyPredictions | None]


@dataclass(frozen=True)
class Comparison:
    """One control against the treated arms.

    Attributes:
        control: group of the control.
        first, second: mean figure of the treated arms, and of the control's.
        difference: first less second.
    """

    control: str
    first: float
    second: float
    difference: PairedDifference

    def to_json(self) -> dict[str, Any]:
        """As in `osler.treatment/1`."""
        one = self.difference
        figures = {"treated": self.first, "value": self.second, "difference": one.interval.to_json(), "p": one.p}
        return {"control": self.control, **figures, "level": one.level, "seeds": one.seeds, "fewest": one.fewest}


@dataclass(frozen=True)
class Evidence:
    """What one attempt can be judged by.

    Attributes:
        measure: name of the figure.
        task: kind of the targets.
        treated: predictions of the treated arms on the patients that prove, one a seed; None: the arm left no model.
        controls: the same of each control, seeds in the same order.
    """

    measure: str
    task: str
    treated: Predicted
    controls: Mapping[str, Predicted]


@dataclass(frozen=True)
class Proof:
    """What was proved of an attempt.

    Attributes:
        measure: name of the figure.
        verdict: over all controls.
        comparisons: one for each control.
        p: Holm's, over all attempts that were planned.
        reason: the verdict in a sentence.
        guard: the AUC against each control, where another figure is compared; a cure must not cost ranking.
    """

    measure: str
    verdict: Verdict
    comparisons: tuple[Comparison, ...]
    p: float
    reason: str
    guard: tuple[Comparison, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As in `osler.treatment/1`."""
        return {
            "measure": self.measure,
            "verdict": self.verdict,
            "p_holm": self.p,
            "reason": self.reason,
            "comparisons": [one.to_json() for one in self.comparisons],
            "guard": [one.to_json() for one in self.guard],
        }


def compare(measure: str, task: str, control: str, first: Predicted, second: Predicted, level: float) -> Comparison:
    """The figure of treated arms and of a control on the same samples, seed by seed.

    Raises:
        RunError: the two were measured on different samples.
    """
    every = [one for one in (*first, *second) if one is not None]
    if any(not np.array_equal(one.ids, every[0].ids) for one in every):
        raise RunError(f"{control}: was measured on other samples than the treated arm; nothing can be paired.")
    known = score(measure, every[0], task) if every else None
    sides = [[_influence(measure, task, one, known) for one in side] for side in (first, second)]
    difference = paired_difference(sides[0], sides[1], level)
    means = [float(np.mean([one.value for one in side])) for side in sides]
    return Comparison(control, means[0], means[1], difference)


def _influence(measure: str, task: str, predictions: AnyPredictions | None, like: Influence | None) -> Influence:
    """A figure; of an arm that left no model that of a constant prediction, which no patient moves."""
    if predictions is not None:
        return score(measure, predictions, task)
    size, fewest = (len(like.moves), like.fewest) if like is not None else (1, 0)
    return Influence(MEASURES[measure].floor, np.zeros(size), fewest)


def judge(attempts: Sequence[Evidence], planned: int, level: float = 0.95) -> list[Proof]:
    """The verdict of every attempt, corrected after Holm for all attempts that were planned, made or not.

    "helped" where the interval lies above 0 against each control; "harmed" where it lies below 0 against each; else "not
    shown", or "cannot be shown" where the patients are too few to show a difference that would be worth having.

    Args:
        attempts: of one treatment, in order.
        planned: how many attempts there may be, at least those made.
        level: of all intervals together.
    """
    rough = [
        [compare(one.measure, one.task, name, one.treated, arms, level) for name, arms in one.controls.items()]
        for one in attempts
    ]
    p_values = [_joint(comparisons) for comparisons in rough] + [1.0] * (max(planned, len(attempts)) - len(attempts))
    adjusted, levels = holm(p_values), holm_levels(p_values, level)
    return [_judged(one, float(adjusted[k]), float(levels[k]), 1 - level) for k, one in enumerate(attempts)]


def _joint(comparisons: Sequence[Comparison]) -> float:
    """p that not all controls differ in the same direction: the largest of theirs (intersection-union)."""
    signs = {np.sign(one.difference.value) for one in comparisons}
    p_values = [one.difference.p for one in comparisons]
    return max(p_values) if len(signs) == 1 and all(math.isfinite(p) for p in p_values) else 1.0


def _judged(one: Evidence, p: float, level: float, alpha: float) -> Proof:
    comparisons = tuple(compare(one.measure, one.task, name, one.treated, arms, level) for name, arms in one.controls.items())
    guard: tuple[Comparison, ...] = ()
    if one.measure not in ("auc", "dice"):
        guard = tuple(compare("auc", one.task, name, one.treated, arms, level) for name, arms in one.controls.items())
    differences = [each.difference for each in comparisons]
    verdict: Verdict = "not shown"
    if any(not math.isfinite(each.value) or each.fewest < FEWEST for each in differences):
        verdict = "cannot be shown"
    elif p <= alpha:
        verdict = "helped" if differences[0].value > 0 else "harmed"
    elif _blind(one.measure, differences):
        verdict = "cannot be shown"
    if verdict == "helped" and any(each.difference.high < 0 for each in guard):
        verdict = "harmed"
    return Proof(one.measure, verdict, comparisons, p, _in_words(one.measure, verdict, comparisons, guard), guard)


def _blind(measure: str, differences: Sequence[PairedDifference]) -> bool:
    """Whether neither no gain nor one worth having is ruled out."""
    return any(each.low <= 0 and each.high >= MEASURES[measure].worth for each in differences)


def _in_words(measure: str, verdict: Verdict, comparisons: Sequence[Comparison], guard: Sequence[Comparison]) -> str:
    label = MEASURES[measure].label
    parts = [
        f"{each.difference.value:+.3f} [{each.difference.low:+.3f}, {each.difference.high:+.3f}] against {each.control}"
        if math.isfinite(each.difference.value)
        else f"no figure against {each.control}: {each.difference.reason}"
        for each in comparisons
    ]
    text = f"{label} of the treated arm {comparisons[0].first:.3f}: {', '.join(parts)}."
    if verdict == "harmed" and comparisons[0].difference.low > 0:
        text += f" But its AUC fell: {min(each.difference.value for each in guard):+.3f}."
    if verdict == "cannot be shown":
        needed = max(each.difference.needs(MEASURES[measure].worth) for each in comparisons)
        have = min(each.difference.fewest for each in comparisons)
        text += (
            f" Cannot be shown with {have} patients of the rarer kind: a difference of {MEASURES[measure].worth:g} needs about "
            f"{needed}."
        )
    return text
