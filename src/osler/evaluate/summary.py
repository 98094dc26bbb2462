"""An evaluation in a few sentences, from the object that `evaluation.json` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from osler.evaluate.splits import main_split
from osler.evaluate.wording import Entry, count, figure_text, number, percent

__all__ = ["lead", "terminal_summary"]


def lead(evaluation: Mapping[str, Any]) -> str:
    """The first sentences: what, on how many, how good, how sure. From the object of `evaluation.json`."""
    split = main_split(evaluation["splits"])
    figures = evaluation["splits"][split]
    people = "" if figures["patients"] is None else f" of {count(figures['patients'], 'patient')}"
    where = f"On {figures['n']:,} {split} samples{people}, "
    area = figures["macro"]["auc"]
    level = f"{evaluation['level']:.0%}".replace("%", " %")
    classes = list(figures["classes"])
    if area["value"] is None:
        return f"{where}no class can be scored: {area.get('reason', 'nothing is known')}."
    found = f"{area['value']:.3f} ({level} interval {area['low']:.3f} to {area['high']:.3f})"
    if len(classes) > 1:
        scored = figures["macro"]["classes_scored"]
        over = f"all {scored} classes" if scored == len(classes) else f"{scored} of {len(classes)} classes"
        return f"{where}the mean AUC over {over} is {found}."
    entry = figures["classes"][classes[0]]
    return f"{where}the AUC for {classes[0]} is {found}.{_rates_in_words(entry)}"


def _rates_in_words(entry: Entry) -> str:
    found, cleared = entry["sensitivity"]["value"], entry["specificity"]["value"]
    if found is None or cleared is None:
        return ""
    return f" At its threshold the model finds {percent(found)} of the positives and clears {percent(cleared)} of the negatives."


def terminal_summary(evaluation: Mapping[str, Any]) -> str:
    """A few lines for a terminal: the lead, the figures of each split, and what cannot be scored."""
    lines = [lead(evaluation), ""]
    metrics = ("auc", "ap", "sensitivity", "specificity", "f1", "ece")
    names = {"auc": "AUC", "ap": "AP", "f1": "F1", "ece": "ECE"}
    lines.append("".join([f"{'':<6}{'n':>8}", *(f"{names.get(metric, metric):>23}" for metric in metrics)]))
    for name, split in evaluation["splits"].items():
        macro = split["macro"]
        cells = [f"{figure_text(macro.get(metric)):>23}" for metric in metrics]
        lines.append("".join([f"{name:<6}{split['n']:>8,}", *cells]))
    figures = evaluation["splits"][main_split(evaluation["splits"])]
    if evaluation["task"] != "multiclass":
        limits = ", ".join(f"{name} {number(entry['threshold'])}" for name, entry in figures["classes"].items())
        lines += ["", f"Thresholds ({evaluation['threshold_rule']}): {limits}"]
    if figures["not_scored"]:
        lines.append("Not scored: " + "; ".join(f"{name} ({reason})" for name, reason in figures["not_scored"].items()))
    lines += [f"Looks at {split}: {looks}" for split, looks in evaluation["looks"].items()]
    return "\n".join(lines)
