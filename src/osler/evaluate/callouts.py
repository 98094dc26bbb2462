"""What the page says first: the headline figures, and what a reader must not miss."""

from __future__ import annotations

from typing import Any

import numpy as np

from osler.evaluate.figures import Evaluation
from osler.evaluate.outcome import Outcome
from osler.evaluate.splits import held_out
from osler.evaluate.tables import prevalence_of
from osler.evaluate.wording import Entry, figure_text, listing, number
from osler.report.page import Block, Callout, Headline, Headlines, Span, Tone
from osler.runs.folder import RunFolder
from osler.runs.looks import read_looks

__all__ = ["fitted", "headlines", "looks_at", "synthetic", "warnings_of"]


def headlines(evaluation: Evaluation) -> Headlines:
    """The figures to see first, each with what no skill at all would reach."""
    figures = evaluation.splits[evaluation.main].figures
    macro, several = figures["macro"], len(evaluation.card.classes) > 1
    shares = [prevalence_of(entry) for name, entry in figures["classes"].items() if name not in figures["not_scored"]]
    share = float(np.mean([one for one in shares if one is not None])) if any(one is not None for one in shares) else None
    mean = "Mean " if several else ""
    items = [
        _headline(f"{mean}AUC", macro["auc"], 0.5, "chance 0.5"),
        _headline(f"{mean}AP", macro["ap"], share, "" if share is None else f"chance {share:.2f}, the prevalence"),
    ]
    if evaluation.card.task == "multiclass":
        items.append(_headline("Accuracy", figures["overall"]["accuracy"]))
    items.append(_headline(f"{mean}sensitivity" if several else "Sensitivity", macro["sensitivity"]))
    if evaluation.card.task != "multiclass":
        items.append(_headline(f"{mean}specificity" if several else "Specificity", macro["specificity"]))
    return Headlines(items)


def _headline(label: str, entry: Entry, floor: float | None = None, chance: str = "") -> Headline:
    if entry["value"] is None:
        return Headline(label, "–", entry.get("reason", "undefined"))
    detail = f"{number(entry['low'])} to {number(entry['high'])}" + (f"; {chance}" if chance else "")
    return Headline(label, number(entry["value"]), detail, Span(entry["value"], entry["low"], entry["high"], floor))


def warnings_of(evaluation: Evaluation, run: RunFolder) -> list[Block]:
    """What a reader must know before believing a figure."""
    return [
        block
        for block in (
            synthetic(evaluation),
            fitted(evaluation),
            _chance(evaluation),
            _not_scored(evaluation),
            _without_threshold(evaluation),
            looks_at(evaluation, run),
        )
        if block is not None
    ]


def synthetic(evaluation: Outcome[Any]) -> Callout | None:
    """That the images were drawn by a program."""
    if not evaluation.card.data.get("synthetic"):
        return None
    return Callout(
        "The model was trained on images that a program drew. Its figures say nothing of patients.", "warning", "Synthetic images"
    )


def fitted(evaluation: Outcome[Any]) -> Callout | None:
    """That nothing was held out."""
    if held_out(evaluation.main):
        return None
    text = (
        f"There is no held-out split. These figures are of {evaluation.main}, on which thresholds and the epoch were chosen: "
        "they flatter the model."
    )
    return Callout(text, "warning", "Nothing was held out")


def _chance(evaluation: Evaluation) -> Callout | None:
    area = evaluation.splits[evaluation.main].figures["macro"]["auc"]
    if area["value"] is None or area["low"] > 0.5:
        return None
    if area["high"] < 0.5:
        text = f"The AUC {figure_text(area)} lies below chance: labels or scores are the wrong way round somewhere."
        return Callout(text, "critical", "Worse than chance")
    text = f"The interval of the AUC, {figure_text(area)}, holds 0.5: nothing shows that the model can tell the classes apart."
    return Callout(text, "critical", "Not shown to be better than chance")


def _not_scored(evaluation: Evaluation) -> Callout | None:
    reasons = evaluation.splits[evaluation.main].figures["not_scored"]
    if not reasons:
        return None
    grouped: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        grouped.setdefault(reason or "undefined", []).append(name)
    text = "; ".join(f"{listing(names)}: {reason} in {evaluation.main}" for reason, names in grouped.items())
    return Callout(f"{text}. Means leave {'it' if len(reasons) == 1 else 'them'} out.", "warning", "Not scored")


def _without_threshold(evaluation: Evaluation) -> Callout | None:
    names = [name for name, limit in evaluation.thresholds.items() if np.isnan(limit)]
    if not names:
        return None
    text = f"{listing(names)}: val lacks positives or negatives, so no threshold could be chosen and no decision is made."
    return Callout(text, "warning", "No threshold")


def looks_at(evaluation: Outcome[Any], run: RunFolder) -> Callout | None:
    """How often held-out samples have been looked at."""
    split = evaluation.main
    looks = evaluation.looks.get(split)
    if not looks:
        return None
    different = len({look.get("predictions") for look in read_looks(run, split)})
    if looks == 1:
        return Callout(f"This is the first look at {split} for this run.", "note", "Looks")
    again = "all at the same predictions" if different == 1 else f"at {different} different sets of predictions"
    tone: Tone = "note" if different == 1 else "warning"
    more = "" if different == 1 else " The more often a model is changed after a look, the more its figures flatter it."
    return Callout(f"{split.capitalize()} has been looked at {looks} times for this run, {again}.{more}", tone, "Looks")
