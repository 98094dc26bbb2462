"""The page of an evaluation: the summary first, then ranking, decisions, calibration, subgroups, training and facts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np

import osler
from osler.evaluate.callouts import headlines, warnings_of
from osler.evaluate.curves import pr_curves, reliability_curves, roc_curves, threshold_curves
from osler.evaluate.figures import Evaluation
from osler.evaluate.outcome import Outcome
from osler.evaluate.splits import held_out
from osler.evaluate.summary import lead
from osler.evaluate.tables import class_table, confusion_table, rarest_first, splits_table, subgroup_table, threshold_table
from osler.evaluate.training import run_facts, training_blocks
from osler.evaluate.wording import Entry, count, figure_text
from osler.report.page import Block, Bullets, Callout, Code, Gallery, Page, Paragraph, Picture, Section
from osler.report.pictures import (
    ForestRow,
    confusion_picture,
    forest_picture,
    precision_recall_picture,
    reliability_picture,
    roc_picture,
    threshold_picture,
)
from osler.runs.folder import RunFolder

__all__ = ["evaluation_page", "page_of", "run_blocks"]


def evaluation_page(evaluation: Evaluation, run: RunFolder) -> Page:
    """The page, from the figures and from what the run says of its training."""
    sections = [
        Section("Summary", _summary(evaluation, run)),
        Section("Ranking", _ranking(evaluation)),
        Section("Decisions", _decisions(evaluation)),
        Section("Calibration", _calibration(evaluation)),
        Section("Subgroups", _subgroups(evaluation)),
        Section("Splits", _splits(evaluation)),
        Section("Training", training_blocks(run, evaluation.card)),
        Section("The run", run_blocks(evaluation, run)),
        Section("Use and limits", _limits(evaluation)),
    ]
    return page_of(run, sections, lead(evaluation.data()))


def page_of(run: RunFolder, sections: Sequence[Section], first: str) -> Page:
    """The page of a run's evaluation, of those sections that have content.

    Args:
        run: its name is the title.
        sections: in reading order.
        first: sentences.
    """
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return Page(
        title=f"Evaluation of {run.path.name}",
        sections=[section for section in sections if section.blocks],
        lead=first,
        notice="For research. Not a medical device.",
        footer=f"Written by Osler {osler.__version__} on {now}. The same figures: evaluation.json.",
    )


def _summary(evaluation: Evaluation, run: RunFolder) -> list[Block]:
    return [headlines(evaluation), *warnings_of(evaluation, run)]


def _ranking(evaluation: Evaluation) -> list[Block]:
    split, order = evaluation.main, rarest_first(evaluation, evaluation.main)
    rocs, prs = roc_curves(evaluation, split, order), pr_curves(evaluation, split, order)
    single = len(order) == 1
    figures = evaluation.splits[split].figures
    said = "; ".join(f"{name} {figure_text(figures['classes'][name]['auc'], 2)}" for name in order)
    where = "the chosen threshold" if evaluation.thresholds else "calling the most probable class"
    point = f" The cross: what {where} gives, with the interval of each rate."
    roc = Picture(
        roc_picture(rocs),
        f"Dashed: chance.{point}",
        f"ROC curves on {split}. AUC: {said}.",
        title="ROC",
        wide=len(order) > 3,
    )
    pr = Picture(
        precision_recall_picture(prs),
        "Dashed: the prevalence, which a random order reaches.",
        f"Precision against recall on {split}. "
        + "; ".join(f"{name}: AP {figure_text(figures['classes'][name]['ap'], 2)}" for name in order)
        + ".",
        title="Precision and recall",
        wide=len(order) > 3,
    )
    text = "Does the model put the positive samples above the negative ones? No threshold is involved."
    if single:
        return [Paragraph(text), Gallery([roc, pr])]
    return [Paragraph(text), _forest(evaluation, order), class_table(evaluation, split), roc, pr]


def _forest(evaluation: Evaluation, order: list[str]) -> Picture:
    """AUC of every class, the rarest first, and their mean."""
    figures = evaluation.splits[evaluation.main].figures
    rows = []
    for name in order:
        entry = figures["classes"][name]
        rows.append(_forest_row(name, entry["auc"], f"{entry['positives']:,} of {entry['auc']['n']:,}"))
    macro = figures["macro"]
    rows.append(_forest_row("mean", macro["auc"], count(macro["classes_scored"], "class", "classes"), summary=True))
    said = "; ".join(f"{row.name} {row.value:.2f}" for row in rows if not np.isnan(row.value))
    return Picture(
        forest_picture(rows, "AUC", 0.5),
        "The rarest class first, with its positives among the samples with a known label. Dashed: chance.",
        f"AUC of every class with its interval: {said}.",
        title="AUC by class",
    )


def _forest_row(name: str, entry: Entry, note: str, *, summary: bool = False) -> ForestRow:
    value, low, high = (np.nan if entry[part] is None else entry[part] for part in ("value", "low", "high"))
    return ForestRow(name, value, low, high, note, summary)


def _decisions(evaluation: Evaluation) -> list[Block]:
    split, order = evaluation.main, rarest_first(evaluation, evaluation.main)
    if evaluation.card.task == "multiclass":
        return [
            Paragraph("Each sample is given its most probable class; no threshold is involved."),
            _joint_confusion(evaluation),
        ]
    text = f"A sample is called positive where its probability is at or above the threshold: {evaluation.rule}."
    if "val" in evaluation.splits and split != "val":
        text += f" {split.capitalize()} had no part in choosing it."
    curves = threshold_picture(threshold_curves(evaluation, split, order))
    picture = Picture(
        curves,
        "Orange: sensitivity; blue, dashed: specificity, with their intervals. Upright: the threshold in use.",
        f"Sensitivity and specificity by threshold on {split}.",
        title="Sensitivity and specificity by threshold",
        wide=len(order) > 3,
    )
    if len(order) > 1:
        return [Paragraph(text), confusion_table(evaluation, split), picture, threshold_table(evaluation, split)]
    return [Paragraph(text), Gallery([_confusion(evaluation), picture]), threshold_table(evaluation, split)]


def _confusion(evaluation: Evaluation) -> Picture:
    """The confusion matrix of a binary task; an empty one where there is no threshold."""
    name = evaluation.card.classes[0]
    table = evaluation.splits[evaluation.main].figures["classes"][name]["confusion"] or [[0, 0], [0, 0]]
    (tn, fp), (fn, tp) = table
    return Picture(
        confusion_picture(np.array(table), [evaluation.card.negative, name]),
        "Percentages are of the row.",
        f"{tp} true positives, {fn} false negatives, {fp} false positives, {tn} true negatives.",
        title="Confusion matrix",
    )


def _joint_confusion(evaluation: Evaluation) -> Picture:
    matrix = evaluation.splits[evaluation.main].figures["confusion_matrix"]
    counts = np.array(matrix["counts"])
    return Picture(
        confusion_picture(counts, matrix["classes"]),
        "Rows: the reference standard. Columns: the class called. Percentages are of the row.",
        f"{int(np.trace(counts))} of {int(counts.sum())} samples are called right.",
        title="Confusion matrix",
    )


def _calibration(evaluation: Evaluation) -> list[Block]:
    split, order = evaluation.main, rarest_first(evaluation, evaluation.main)
    macro = evaluation.splits[split].figures["macro"]
    text = (
        "Does what is called 30 % occur in 30 %? "
        f"{'Mean calibration' if len(order) > 1 else 'Calibration'} error (ECE, less its bias) {figure_text(macro['ece'])}; "
        f"Brier score {figure_text(macro['brier'])}, where smaller is better."
    )
    picture = Picture(
        reliability_picture(reliability_curves(evaluation, split, order)),
        "Points on the diagonal are calibrated; bars are intervals of the observed share. Below: how the predictions are spread.",
        f"Reliability curves on {split}. ECE {figure_text(macro['ece'])}.",
        title="Reliability",
        wide=len(order) > 3,
    )
    return [Paragraph(text), picture]


def _subgroups(evaluation: Evaluation) -> list[Block]:
    split = evaluation.main
    columns = list(evaluation.splits[split].figures["subgroups"])
    if not columns:
        return []
    text = (
        "Groups differ in size and in how hard their samples are; where intervals overlap, a difference between groups is not "
        "shown. Groups were not corrected for one another."
    )
    return [Paragraph(text), *(subgroup_table(evaluation, split, column) for column in columns)]


def _splits(evaluation: Evaluation) -> list[Block]:
    if len(evaluation.splits) < 2:
        return []
    chosen = "Thresholds, and the epoch whose weights are used, were chosen on val: its figures flatter the model."
    means = " Means over the classes that can be scored." if len(evaluation.card.classes) > 1 else ""
    return [Paragraph(chosen + means), splits_table(evaluation)]


def run_blocks(evaluation: Outcome[Any], run: RunFolder) -> list[Block]:
    """What the run is, and how to use it."""
    commands = f"osler evaluate {run.path.name}\nosler predict {run.path.name} IMAGE..."
    facts = run_facts(run, evaluation.card)
    return [
        facts,
        Paragraph("To evaluate again, or to predict with this model, from the folder that holds the run:"),
        Code(commands),
    ]


def _limits(evaluation: Evaluation) -> list[Block]:
    level = f"{evaluation.config.level:.0%}".replace("%", " %")
    patients = evaluation.splits[evaluation.main].predictions.patients is not None
    items = [
        f"Intervals are {level} intervals of sampling error alone: they do not cover another hospital, another scanner, errors "
        "of the reference standard, or the choice of the model.",
        "Samples of one patient are taken together wherever patients are known; here they are "
        + ("known." if patients else "unknown, so intervals are too narrow if some patients have several samples."),
        "Precision and NPV depend on the prevalence, and hold for samples like these only.",
    ]
    if held_out(evaluation.main):
        items.append("Each look at held-out samples that is followed by a change uses them up; looks are counted above.")
    return [Callout(evaluation.card.intended_use, "warning", "Intended use"), Bullets(items)]
