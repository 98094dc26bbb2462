"""The tables of a page on masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from osler.evaluate.masks import MaskEvaluation
from osler.evaluate.wording import Entry, figure_cell, number, percent
from osler.metrics.overlap import OVERLAPS, counts_at, level_at, probability_at
from osler.report.page import Cell, CellValue, Table

__all__ = [
    "MASK_NAMES",
    "empty_table",
    "figures_table",
    "lesion_table",
    "mask_class_table",
    "mask_splits_table",
    "mask_subgroup_table",
    "mask_threshold_table",
    "unit_table",
]

MASK_NAMES = {
    "dice": "Dice (= F1)",
    "iou": "IoU (Jaccard)",
    "precision": "Precision (PPV)",
    "recall": "Recall (sensitivity)",
    "accuracy": "Accuracy of pixels",
    "auc": "AUC of pixels",
    "ap": "AP of pixels",
    "dice_case": "Dice, mean over cases",
    "lesion_sensitivity": "Lesions found",
    "false_positives_per_image": "False alarms an image",
    "hd95": "HD95",
    "surface_dice": "Surface Dice",
    "false_alarms": "Empty images with a false alarm",
    "empty_predictions": "Images with no prediction",
}
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
FEW_THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)


def figures_table(evaluation: MaskEvaluation, split: str) -> Table:
    """Every figure of pooled pixels beside its mean over cases; means over classes where there are several."""
    figures = evaluation.splits[split].figures
    macro, single = figures["macro"], len(figures["classes"]) == 1
    rows: list[list[CellValue]] = []
    for name in (*OVERLAPS, "auc", "ap", "lesion_sensitivity", "false_positives_per_image", "hd95", "surface_dice"):
        bar = name in ("dice", "iou", "precision", "recall", "surface_dice", "lesion_sensitivity")
        shown = figure_cell(macro[name], bar=bar, digits=2 if name in ("hd95", "false_positives_per_image") else 3)
        alone = figure_cell(macro[f"{name}_case"], bar=bar, digits=3) if name in OVERLAPS else Cell("", {"value": None})
        label = f"{MASK_NAMES[name]}, {_unit_of(figures)}" if name == "hd95" else MASK_NAMES[name]
        rows.append([label, shown, alone])
    what = "" if single else " of classes"
    return Table(
        ["Figure", f"All pixels pooled{what}" if single else "Mean of classes, pixels pooled", "Mean over cases with foreground"],
        rows,
        note=f"Brackets are {percent(evaluation.config.level)} intervals; hover over a figure for its method, or for why it has "
        "none. Means over cases leave out images without foreground, whose Dice would be 0 or 1 by rule, not by merit.",
        caption=f"Figures on {split}",
    )


def _unit_of(figures: Entry) -> str:
    units = {entry["distances"]["unit"] for entry in figures["classes"].values() if "distances" in entry}
    return "mm" if units == {"mm"} else "pixels of the prepared image"


def mask_class_table(evaluation: MaskEvaluation, split: str) -> Table:
    """Every class with its figures, the rarest first."""
    figures = evaluation.splits[split].figures
    rows: list[list[CellValue]] = []
    for name in sorted(figures["classes"], key=lambda name: figures["classes"][name]["positives"]):
        entry = figures["classes"][name]
        cases = entry["cases"]
        rows.append(
            [
                name,
                Cell(f"{cases['with_foreground']:,} of {cases['n']:,}", cases["with_foreground"]),
                Cell(percent(entry["foreground"]["true"]), entry["foreground"]["true"]),
                figure_cell(entry["dice"], bar=True),
                *(figure_cell(entry[metric], stacked=True) for metric in ("dice_case", "iou", "precision", "recall")),
                *(figure_cell(entry[metric], stacked=True) for metric in ("hd95", "surface_dice")),
            ]
        )
    return Table(
        ["Class", "Images", "Pixels", "Dice (= F1)", "a case", "IoU", "Precision", "Recall", "HD95", "Surface Dice"],
        rows,
        note="The rarest class first. Images: those with foreground of the class. Pixels: its share of all. HD95 in "
        f"{_unit_of(figures)}.",
        caption="By class",
    )


def empty_table(evaluation: MaskEvaluation, split: str) -> Table:
    """Images without foreground, which have no Dice, and images in which all foreground is missed."""
    figures = evaluation.splits[split].figures
    rows: list[list[CellValue]] = []
    for name, entry in figures["classes"].items():
        cases = entry["cases"]
        pixels = cases["false_positive_pixels_in_empty"] / cases["empty"] if cases["empty"] else None
        rows.append(
            [
                name,
                cases["empty"],
                figure_cell(entry["false_alarms"], digits=3),
                pixels,
                cases["with_foreground"],
                cases["missed_altogether"],
                figure_cell(entry["empty_predictions"], digits=3),
            ]
        )
    return Table(
        ["Class", "Empty images", "False alarm", "False pixels", "Others", "missed", "No prediction"],
        rows,
        note="An empty image has no foreground of the class. False alarm: the share of these in which some is called, and pixels "
        "called in each. Missed: others in which nothing is called. No prediction: the share of all images in which nothing is.",
        caption="Images without foreground, and without prediction",
    )


def lesion_table(evaluation: MaskEvaluation, split: str) -> Table:
    """Lesions found and missed, and calls that touch none."""
    figures = evaluation.splits[split].figures
    rows: list[list[CellValue]] = []
    for name, entry in figures["classes"].items():
        counts = entry["lesions"]
        rows.append(
            [
                name,
                counts["n"],
                counts["found"],
                figure_cell(entry["lesion_sensitivity"], digits=3),
                counts["calls"],
                counts["false_calls"],
                figure_cell(entry["false_positives_per_image"]),
            ]
        )
    least = next(iter(figures["classes"].values()))["lesions"]["least_pixels"]
    rule = "one of its pixels is" if least == 1 else f"{least} of its pixels are"
    return Table(
        ["Class", "Lesions", "found", "Share found", "Calls", "false", "False alarms an image"],
        rows,
        note=f"A lesion is a connected component of the true mask (eight neighbours), found when at least {rule} called. A "
        "call is a component of the predicted mask, false when it touches no lesion.",
        caption="Lesions",
    )


def unit_table(evaluation: MaskEvaluation, split: str) -> Table:
    """Each patient, or each case, alone."""
    figures = evaluation.splits[split].figures
    single = len(figures["classes"]) == 1
    shown = ("dice", "precision", "recall", "lesion_sensitivity", "false_positives_per_image", "hd95")
    rows: list[list[CellValue]] = []
    for unit, one in figures["per_unit"].items():
        for name, values in one["classes"].items():
            cells = [Cell(number(values[metric]), values[metric]) for metric in shown]
            rows.append([unit, *([] if single else [name]), one["cases"], *cells])
    word = figures["unit"].capitalize()
    heads = ["Dice (= F1)", "Precision", "Recall", "Lesions found", "False alarms", "HD95"]
    return Table(
        [word, *([] if single else ["Class"]), "Images", *heads],
        rows,
        note=f"Pixels of each {figures['unit']} pooled. False alarms an image. HD95 in {_unit_of(figures)}.",
        caption=f"{word}s, one by one",
    )


def mask_splits_table(evaluation: MaskEvaluation) -> Table:
    """The splits side by side."""
    splits = evaluation.splits
    rows: list[list[CellValue]] = [
        [label, *(figure_cell(split.figures["macro"][name], digits=3) for split in splits.values())]
        for name, label in MASK_NAMES.items()
    ]
    return Table(["Figure", *(f"{name} (n = {split.figures['n']:,})" for name, split in splits.items())], rows)


def mask_subgroup_table(evaluation: MaskEvaluation, split: str, column: str) -> Table:
    """One division of the images with each group's figures."""
    rows: list[list[CellValue]] = []
    for name, group in evaluation.splits[split].figures["subgroups"][column].items():
        macro = group["macro"]
        rows.append(
            [
                name,
                group["n"],
                group["patients"],
                figure_cell(macro["dice"], bar=True),
                *(
                    figure_cell(macro[metric], stacked=True)
                    for metric in ("dice_case", "precision", "recall", "lesion_sensitivity")
                ),
            ]
        )
    heads = ["Images", "Patients", "Dice (= F1)", "Dice a case", "Precision", "Recall", "Lesions found"]
    return Table([column, *heads], rows, caption=f"By {column}")


def mask_threshold_table(evaluation: MaskEvaluation, split: str, k: int) -> Table:
    """Overlap of pooled pixels at fixed thresholds and at the one in use; thresholds lie on the edges of levels."""
    table = evaluation.splits[split].table
    chosen, pixels = int(table.thresholds[k]), table.pooled[k]
    wanted: Sequence[float] = THRESHOLDS if len(evaluation.card.classes) == 1 else FEW_THRESHOLDS
    rows: list[list[CellValue]] = []
    for level in sorted({*(level_at(limit) for limit in wanted), chosen}):
        counts, limit = counts_at(pixels, level), float(probability_at(level))
        shown = Cell(f"{limit:.3g} (in use)", limit, strong=True) if level == chosen else Cell(f"{limit:.2g}", limit)
        values = {name: float(OVERLAPS[name](counts)) for name in ("dice", "iou", "precision", "recall")}
        called = float(counts[:2].sum() / max(counts.sum(), 1))
        cells: list[CellValue] = [Cell("–", None) if np.isnan(value) else Cell(number(value), value) for value in values.values()]
        rows.append([shown, *cells, Cell(percent(called), called)])
    name = evaluation.card.classes[k]
    return Table(
        ["Threshold", "Dice (= F1)", "IoU", "Precision", "Recall", "Pixels called"],
        rows,
        caption=f"{name} by threshold, on {split}",
    )
