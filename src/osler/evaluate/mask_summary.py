"""An evaluation of masks in a few sentences, from the object that `evaluation.json` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from osler.evaluate.splits import main_split
from osler.evaluate.wording import Entry, count, figure_text, listing, number, percent

__all__ = ["lesions_in_words", "mask_lead", "mask_summary", "own_values"]

SHOWN = ("dice", "iou", "precision", "recall", "dice_case", "lesion_sensitivity")
HEADS = {"dice": "Dice/F1", "iou": "IoU", "dice_case": "Dice a case", "lesion_sensitivity": "lesions found"}


def mask_lead(evaluation: Mapping[str, Any]) -> str:
    """The first sentences: what, on how many, how good, how sure. From the object of `evaluation.json`."""
    split = main_split(evaluation["splits"])
    figures = evaluation["splits"][split]
    people = "" if figures["patients"] is None else f" of {count(figures['patients'], 'patient')}"
    where = f"On {count(figures['n'], f'{split} image')}{people}, "
    entry, classes = figures["macro"]["dice"], list(figures["classes"])
    if entry["value"] is None:
        return f"{where}no class can be scored: {entry.get('reason', 'nothing is known')}."
    scored = figures["macro"]["classes_scored"]
    over = "" if len(classes) == 1 else f"mean over {scored} of {len(classes)} classes, "
    what = f"the Dice for {classes[0]}" if len(classes) == 1 else "the Dice"
    level = f"{evaluation['level']:.0%}".replace("%", " %")
    if entry["low"] is None:
        sure = f"({over}no interval: {entry.get('reason', 'none can be made')}{own_values(figures)})"
    else:
        sure = f"({over}{level} interval {entry['low']:.3f} to {entry['high']:.3f})"
    found = f"{where}{what} of pooled pixels, which is their F1, is {entry['value']:.3f} {sure}."
    return f"{found} {lesions_in_words(figures['classes'][classes[0]])}".strip() if len(classes) == 1 else found


def own_values(figures: Mapping[str, Any], name: str = "dice") -> str:
    """The figure of each patient (or case) alone, where they are few and there is one class.

    >>> alone = {"p1": {"classes": {"a": {"dice": 0.5}}}, "p2": {"classes": {"a": {"dice": None}}}}
    >>> own_values({"per_unit": alone, "classes": {"a": {}}})
    '; p1 0.500, p2 –'
    """
    units = figures.get("per_unit")
    if not units or len(figures["classes"]) > 1:
        return ""
    (label,) = figures["classes"]
    return "; " + listing([f"{unit} {number(one['classes'][label][name])}" for unit, one in units.items()], most=99).replace(
        " and ", ", "
    )


def lesions_in_words(entry: Entry) -> str:
    """How many lesions are found, at how many false alarms."""
    share, alarms = entry["lesion_sensitivity"]["value"], entry["false_positives_per_image"]["value"]
    if share is None or alarms is None:
        return ""
    return (
        f"The model finds {percent(share)} of {count(entry['lesions']['n'], 'lesion')}, with {alarms:.2f} false alarms an image."
    )


def mask_summary(evaluation: Mapping[str, Any]) -> str:
    """A few lines for a terminal: the lead, the figures of each split, and what cannot be scored."""
    lines = [mask_lead(evaluation), ""]
    lines.append("".join([f"{'':<6}{'n':>8}", *(f"{HEADS.get(name, name):>23}" for name in SHOWN)]))
    for name, split in evaluation["splits"].items():
        cells = [f"{figure_text(split['macro'].get(metric)):>23}" for metric in SHOWN]
        lines.append("".join([f"{name:<6}{split['n']:>8,}", *cells]))
    figures = evaluation["splits"][main_split(evaluation["splits"])]
    limits = ", ".join(f"{name} {number(entry['threshold'])}" for name, entry in figures["classes"].items())
    lines += ["", f"Thresholds ({evaluation['threshold_rule']}): {limits}"]
    for name, entry in figures["classes"].items():
        cases = entry["cases"]
        if cases["empty"]:
            said = f"{cases['empty_with_false_alarm']} of {cases['empty']} images without any have a false alarm"
            lines.append(f"{name}: {said}; they are apart from the figures a case")
    if figures["not_scored"]:
        lines.append("Not scored: " + "; ".join(f"{name} ({reason})" for name, reason in figures["not_scored"].items()))
    lines += [f"Looks at {split}: {looks}" for split, looks in evaluation["looks"].items()]
    return "\n".join(lines)
