"""The page on a segmenter: the summary first, then figures, cases on their images, lesions, thresholds, training and facts."""

from __future__ import annotations

import numpy as np

from osler.evaluate.callouts import fitted, looks_at, synthetic
from osler.evaluate.images import ReadCases
from osler.evaluate.mask_cases import overlay_blocks
from osler.evaluate.mask_curves import case_scores, dice_curves, lesion_sizes
from osler.evaluate.mask_summary import mask_lead
from osler.evaluate.mask_tables import (
    empty_table,
    figures_table,
    lesion_table,
    mask_class_table,
    mask_splits_table,
    mask_subgroup_table,
    mask_threshold_table,
    unit_table,
)
from osler.evaluate.masks import MaskEvaluation
from osler.evaluate.page import page_of, run_blocks
from osler.evaluate.splits import held_out
from osler.evaluate.training import training_blocks
from osler.evaluate.wording import Entry, figure_text, listing, number, percent
from osler.report.mask_pictures import case_scores_picture, dice_by_threshold_picture, lesion_size_picture
from osler.report.page import Block, Bullets, Callout, Headline, Headlines, Page, Paragraph, Picture, Section, Span
from osler.runs.folder import RunFolder

__all__ = ["mask_page"]


def mask_page(evaluation: MaskEvaluation, run: RunFolder, read: ReadCases) -> Page:
    """The page, from the figures, from what the run says of its training, and from the images of a few cases.

    Args:
        evaluation: of the run.
        run: its folder.
        read: images of cases; where it raises an OslerError the page goes without them and says so.
    """
    sections = [
        Section("Summary", [_headlines(evaluation), *_warnings(evaluation, run)]),
        Section("Figures", _figures(evaluation)),
        Section("Cases", _cases(evaluation, read)),
        Section("Lesions", _lesions(evaluation)),
        Section("Threshold", _thresholds(evaluation)),
        Section("Subgroups", _subgroups(evaluation)),
        Section("Splits", _splits(evaluation)),
        Section("Training", training_blocks(run, evaluation.card)),
        Section("The run", run_blocks(evaluation, run)),
        Section("Use and limits", _limits(evaluation)),
    ]
    return page_of(run, sections, mask_lead(evaluation.data()))


# --- summary ----------------------------------------------------------------------------------------------------------------


def _headlines(evaluation: MaskEvaluation) -> Headlines:
    figures = evaluation.splits[evaluation.main].figures
    macro, mean = figures["macro"], "Mean " if len(figures["classes"]) > 1 else ""
    floor = _constant_dice(figures)
    items = [_headline(f"{mean}Dice (= F1)", macro["dice"], floor, "" if floor is None else f"all foreground {number(floor)}")]
    items += [_headline(f"{mean}{label}", macro[name]) for name, label in (("precision", "precision"), ("recall", "recall"))]
    items.append(_headline(f"{mean}Dice a case", macro["dice_case"]))
    if any("lesions" in entry for entry in figures["classes"].values()):
        items.append(_headline("Lesions found", macro["lesion_sensitivity"]))
        items.append(_headline("False alarms an image", macro["false_positives_per_image"], digits=2, bar=False))
    return Headlines(items)


def _headline(
    label: str, entry: Entry, floor: float | None = None, more: str = "", *, digits: int = 3, bar: bool = True
) -> Headline:
    name = label[0].upper() + label[1:]
    if entry["value"] is None:
        return Headline(name, "–", entry.get("reason", "undefined"))
    said = "no interval" if entry["low"] is None else f"{number(entry['low'], digits)} to {number(entry['high'], digits)}"
    detail = said + (f"; {more}" if more else "")
    span = None if entry["low"] is None or not bar else Span(entry["value"], entry["low"], entry["high"], floor)
    return Headline(name, number(entry["value"], digits), detail, span)


def _constant_dice(figures: Entry) -> float | None:
    """Dice of calling every pixel foreground, 2 f / (1 + f), as a mean over the classes that occur."""
    shares = [entry["foreground"]["true"] for name, entry in figures["classes"].items() if name not in figures["not_scored"]]
    return float(np.mean([2 * share / (1 + share) for share in shares])) if shares else None


def _warnings(evaluation: MaskEvaluation, run: RunFolder) -> list[Block]:
    found = (
        synthetic(evaluation),
        fitted(evaluation),
        _few(evaluation),
        _nothing_called(evaluation),
        _no_better(evaluation),
        _not_scored(evaluation),
        looks_at(evaluation, run),
    )
    return [block for block in found if block is not None]


def _few(evaluation: MaskEvaluation) -> Callout | None:
    figures = evaluation.splits[evaluation.main].figures
    entry = figures["macro"]["dice"]
    if entry["value"] is None or entry["low"] is not None:
        return None
    word = figures["unit"]
    text = f"{entry['reason']}, in a table below. A pooled figure of so few says little of the next {word}."
    return Callout(text, "warning", f"Few {word}s")


def _nothing_called(evaluation: MaskEvaluation) -> Callout | None:
    """Classes of which next to nothing is predicted: the fault that a falling loss hides."""
    figures = evaluation.splits[evaluation.main].figures
    silent = [
        name
        for name, entry in figures["classes"].items()
        if entry["foreground"]["true"] > 0 and entry["foreground"]["predicted"] < 0.01 * entry["foreground"]["true"]
    ]
    if not silent:
        return None
    text = f"{listing(silent)}: next to no pixel is called, though there is foreground. `osler diagnose` says why."
    return Callout(text, "critical", "Empty masks")


def _no_better(evaluation: MaskEvaluation) -> Callout | None:
    figures = evaluation.splits[evaluation.main].figures
    entry, floor = figures["macro"]["dice"], _constant_dice(figures)
    if entry["value"] is None or floor is None or (entry["low"] if entry["low"] is not None else entry["value"]) > floor:
        return None
    text = f"Calling every pixel foreground would give a Dice of {number(floor)}; the model's is {figure_text(entry)}."
    return Callout(text, "critical", "Not shown to be better than a constant mask")


def _not_scored(evaluation: MaskEvaluation) -> Callout | None:
    reasons = evaluation.splits[evaluation.main].figures["not_scored"]
    if not reasons:
        return None
    text = "; ".join(f"{name}: {reason} on {evaluation.main}" for name, reason in reasons.items())
    return Callout(f"{text}. Means leave {'it' if len(reasons) == 1 else 'them'} out.", "warning", "Not scored")


# --- figures ----------------------------------------------------------------------------------------------------------------


def _figures(evaluation: MaskEvaluation) -> list[Block]:
    split = evaluation.main
    figures = evaluation.splits[split].figures
    blocks: list[Block] = [figures_table(evaluation, split)]
    if len(evaluation.card.classes) > 1:
        blocks.append(mask_class_table(evaluation, split))
    if "per_unit" in figures and figures["unit"] == "patient":
        blocks.append(unit_table(evaluation, split))
    errors = [entry["binning"]["auc_error"] for entry in figures["classes"].values()]
    known = [error for error in errors if error is not None]
    entry = next(iter(figures["classes"].values()))
    notes = [_on_distances(entry["distances"])] if "distances" in entry else []
    if known:
        notes.append(f"AUC and AP are taken from logits in steps of 0.1; that changes the AUC by {max(known):.1g} at most.")
    return [*blocks, *(Paragraph(note, quiet=True) for note in notes)]


def _on_distances(distances: Entry) -> str:
    unit = {"mm": "mm", "pixels": "pixels of the prepared image, since their spacing is not known"}[distances["unit"]]
    return (
        f"Distances are in {unit}. HD95 is undefined where either mask is empty; surface Dice counts the borders within "
        f"{distances['tolerance']:g} of each other, and is 0 where all is missed."
    )


def _cases(evaluation: MaskEvaluation, read: ReadCases) -> list[Block]:
    split = evaluation.main
    scores = case_scores(evaluation, split)
    said = "; ".join(f"{one.name}: {one.detail}" for one in scores)
    picture = Picture(
        case_scores_picture(scores),
        "A dot is a case that has foreground of the class; the bar reaches from quartile to quartile, the diamond is the median.",
        f"Dice of each case on {split}. {said}.",
        title="Dice case by case",
    )
    figures = evaluation.splits[split].figures
    blocks: list[Block] = [picture, *overlay_blocks(evaluation, read), empty_table(evaluation, split)]
    if "per_unit" in figures and figures["unit"] == "case":
        blocks.append(unit_table(evaluation, split))
    return blocks


def _lesions(evaluation: MaskEvaluation) -> list[Block]:
    split = evaluation.main
    if evaluation.splits[split].table.lesions is None:
        return []
    sizes = lesion_sizes(evaluation, split)
    picture = Picture(
        lesion_size_picture(sizes),
        "A dot is a lesion that was found, at its Dice with the calls that touch it; a cross one that was missed. The step is "
        f"the share found among lesions of about that size, with its {percent(evaluation.config.level)} interval.",
        f"Lesion size against Dice on {split}. " + "; ".join(f"{one.name}: {one.detail}" for one in sizes) + ".",
        title="Lesion size and Dice",
        wide=len(sizes) > 2,
    )
    return [picture, lesion_table(evaluation, split)]


def _thresholds(evaluation: MaskEvaluation) -> list[Block]:
    split, classes = evaluation.main, evaluation.card.classes
    text = f"A pixel is called at or above the threshold: {evaluation.rule}."
    if "val" in evaluation.splits and split != "val":
        text += f" {split.capitalize()} had no part in choosing it."
    shown = [*(["val"] if "val" in evaluation.splits and split != "val" else []), split]
    picture = Picture(
        dice_by_threshold_picture(dice_curves(evaluation, shown)),
        "Upright: the threshold in use. Val, dashed, is what it was chosen on."
        if len(shown) > 1
        else "Upright: the threshold in use.",
        f"Pooled Dice by threshold on {listing(shown)}.",
        title="Dice by threshold",
        wide=len(classes) > 2,
    )
    tables = [mask_threshold_table(evaluation, split, k) for k in range(len(classes))]
    return [Paragraph(text), picture, *tables]


def _subgroups(evaluation: MaskEvaluation) -> list[Block]:
    split = evaluation.main
    columns = list(evaluation.splits[split].figures["subgroups"])
    if not columns:
        return []
    text = "Groups differ in how hard their images are; where intervals overlap, a difference between groups is not shown."
    return [Paragraph(text), *(mask_subgroup_table(evaluation, split, column) for column in columns)]


def _splits(evaluation: MaskEvaluation) -> list[Block]:
    if len(evaluation.splits) < 2:
        return []
    chosen = "The threshold, and the epoch whose weights are used, were chosen on val: its figures flatter the model."
    means = " Means over the classes that can be scored." if len(evaluation.card.classes) > 1 else ""
    return [Paragraph(chosen + means), mask_splits_table(evaluation)]


def _limits(evaluation: MaskEvaluation) -> list[Block]:
    patients = evaluation.splits[evaluation.main].predictions.patients is not None
    items = [
        f"Intervals are {percent(evaluation.config.level)} intervals of sampling error alone: they do not cover another "
        "hospital, another scanner, the next reader of the same images, or the choice of the model.",
        "Images of one patient are drawn together wherever patients are known; here they are "
        + ("known." if patients else "unknown, so intervals are too narrow if some patients have several images."),
        "Figures are of prepared images, at their size: what resizing erased from the masks is not in them.",
        "Precision, Dice and AP depend on how much foreground there is, and hold for images like these only.",
    ]
    if held_out(evaluation.main):
        items.append("Each look at held-out images that is followed by a change uses them up; looks are counted above.")
    return [Callout(evaluation.card.intended_use, "warning", "Intended use"), Bullets(items)]
