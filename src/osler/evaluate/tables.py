"""The tables of an evaluation's page."""

from __future__ import annotations

import math

from osler.evaluate.curves import rates_at
from osler.evaluate.figures import Evaluation
from osler.evaluate.wording import NAMES, Entry, figure_cell, percent
from osler.report.page import Cell, CellValue, Table

__all__ = ["class_table", "confusion_table", "prevalence_of", "rarest_first", "splits_table", "subgroup_table", "threshold_table"]

THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
FEW_THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
RATES = ("sensitivity", "specificity", "precision", "npv")
COMPARED = ("auc", "ap", "sensitivity", "specificity", "precision", "f1", "mcc", "brier", "ece")


def rarest_first(evaluation: Evaluation, split: str) -> list[str]:
    """Classes by their number of positives, which decides how much their figures say."""
    classes = evaluation.splits[split].figures["classes"]
    return sorted(classes, key=lambda name: classes[name]["positives"])


def prevalence_of(entry: Entry) -> float | None:
    """Share of positives among a class's known labels; None where none is known."""
    known = entry["auc"]["n"]
    return entry["positives"] / known if known else None


def class_table(evaluation: Evaluation, split: str) -> Table:
    """Every class with its figures, the rarest first."""
    figures = evaluation.splits[split].figures
    exclusive = evaluation.card.task == "multiclass"
    rows: list[list[CellValue]] = []
    for name in rarest_first(evaluation, split):
        entry = figures["classes"][name]
        share = prevalence_of(entry)
        rows.append(
            [
                name,
                _share_cell(entry["positives"], share),
                figure_cell(entry["auc"], bar=True, floor=0.5),
                figure_cell(entry["ap"], bar=True, floor=share),
                *([] if exclusive else [entry["threshold"]]),
                *(figure_cell(entry[metric], stacked=True) for metric in ("sensitivity", "specificity", "precision", "f1")),
            ]
        )
    limits = [] if exclusive else ["Threshold"]
    return Table(
        ["Class", "Positives", "AUC", "AP", *limits, "Sensitivity", "Specificity", "Precision", "F1"],
        rows,
        note=f"Brackets are {percent(evaluation.config.level)} intervals; hover over a figure for its method. The upright line "
        "in a bar is the floor, what a model without any skill reaches: 0.5 for AUC, the prevalence for AP. A dash: undefined.",
    )


def threshold_table(evaluation: Evaluation, split: str) -> Table:
    """Sensitivity and specificity at fixed thresholds and at the chosen one: in full for one class, in short for several."""
    if len(evaluation.card.classes) == 1:
        return _one_class_thresholds(evaluation, split, evaluation.card.classes[0])
    rows: list[list[CellValue]] = []
    for name in rarest_first(evaluation, split):
        cells = [_pair(rates_at(evaluation, split, name, threshold)) for threshold in FEW_THRESHOLDS]
        rows.append([name, *cells])
    columns = ["Class", *(f"at {threshold:g}" for threshold in FEW_THRESHOLDS)]
    return Table(columns, rows, note="Sensitivity / specificity if this threshold were used.", caption="By threshold")


def _one_class_thresholds(evaluation: Evaluation, split: str, name: str) -> Table:
    chosen = evaluation.thresholds.get(name, math.nan)
    limits = sorted({*THRESHOLDS} | (set() if math.isnan(chosen) else {chosen}))
    rows: list[list[CellValue]] = []
    for limit in limits:
        rates = rates_at(evaluation, split, name, limit)
        shown = Cell(f"{limit:.3g} (chosen)", limit, strong=True) if limit == chosen else Cell(f"{limit:g}", limit)
        called = rates["called"]["value"]
        rows.append(
            [
                shown,
                *(figure_cell(rates[rate], digits=3) for rate in RATES),
                None if called is None else Cell(percent(called), called),
            ]
        )
    return Table(
        ["Threshold", *(NAMES[rate] for rate in RATES), "Called positive"],
        rows,
        note="Precision and NPV hold at the prevalence of these samples only.",
        caption="By threshold",
    )


def _share_cell(positives: int, share: float | None) -> Cell:
    return Cell(f"{positives:,}", positives, detail="" if share is None else percent(share))


def _pair(rates: dict[str, Entry]) -> Cell:
    pair = [rates[name]["value"] for name in ("sensitivity", "specificity")]
    text = " / ".join("–" if value is None else f"{value:.2f}" for value in pair)
    return Cell(text, {"sensitivity": pair[0], "specificity": pair[1]})


def subgroup_table(evaluation: Evaluation, split: str, column: str) -> Table:
    """One division of the samples with each group's figures; columns without content are left out."""
    figures = evaluation.splits[split].figures
    single = len(evaluation.card.classes) == 1
    rows: list[list[CellValue]] = []
    for name, group in figures["subgroups"][column].items():
        macro = group["macro"]
        rows.append(
            [
                name,
                group["n"],
                group["patients"],
                next(iter(group["classes"].values()))["positives"] if single else macro["classes_scored"],
                figure_cell(macro["auc"], bar=True, floor=0.5),
                figure_cell(macro["sensitivity"]),
                figure_cell(macro["specificity"]),
                _group_note(group, figures["not_scored"]),
            ]
        )
    mean = "" if single else "Mean "
    rates = ["Sensitivity", "Specificity"] if single else ["Mean sensitivity", "Mean specificity"]
    columns = [column, "Samples", "Patients", "Positives" if single else "Classes scored", f"{mean}AUC", *rates, "Note"]
    kept = [k for k in range(len(columns)) if any(row[k] not in (None, "") for row in rows)]
    return Table([columns[k] for k in kept], [[row[k] for k in kept] for row in rows], caption=f"By {column}")


def _group_note(group: Entry, known: Entry) -> str:
    """What cannot be said of a group that can be said of the whole split."""
    missing = [f"{name} ({reason})" for name, reason in group["not_scored"].items() if name not in known]
    notes = [f"not scored: {', '.join(missing)}"] if missing else []
    return "; ".join([*notes, *([group["note"]] if "note" in group else [])])


def confusion_table(evaluation: Evaluation, split: str) -> Table:
    """The confusion counts of every class at its threshold."""
    classes = evaluation.splits[split].figures["classes"]
    rows: list[list[CellValue]] = []
    for name in rarest_first(evaluation, split):
        (tn, fp), (fn, tp) = classes[name]["confusion"] or [[None, None], [None, None]]
        rows.append([name, classes[name]["threshold"], tp, fn, fp, tn])
    columns = ["Class", "Threshold", "True positives", "False negatives", "False positives", "True negatives"]
    return Table(columns, rows, caption="Confusion")


def splits_table(evaluation: Evaluation) -> Table:
    """The splits side by side."""
    splits = evaluation.splits
    shown = [metric for metric in COMPARED if any(split.figures["macro"].get(metric) for split in splits.values())]
    rows: list[list[CellValue]] = [
        [NAMES[metric], *(figure_cell(split.figures["macro"].get(metric), digits=3) for split in splits.values())]
        for metric in shown
    ]
    heads = [f"{name} (n = {split.figures['n']:,})" for name, split in splits.items()]
    return Table(["Figure", *heads], rows)
