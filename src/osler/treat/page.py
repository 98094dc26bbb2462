"""The page of a treatment: verdict, prescription, proof with pictures, arms, and the test set."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

import osler
from osler.metrics.paired import PairedDifference
from osler.report.page import (
    Block,
    Bullets,
    Callout,
    Cell,
    CellValue,
    Code,
    Headline,
    Headlines,
    Page,
    Paragraph,
    Picture,
    Section,
    Table,
    Tone,
)
from osler.treat.arms import epochs_of
from osler.treat.found import Found
from osler.treat.pictures import DifferenceRow, curves_picture, differences_picture
from osler.treat.proof import Comparison
from osler.treat.scores import MEASURES
from osler.treat.text import budget_text, comparisons_of, diff_lines, difference_text, number, test_text

__all__ = ["treatment_page"]

NAN = float("nan")
LEAD = (
    "What the doctor prescribes is trained beside a plain re-run with another seed. It is a cure only where it beats that re-run "
    "on the same patients."
)
TONES: dict[str, Tone] = {
    "helped": "good",
    "cured without training": "good",
    "harmed": "critical",
    "not shown": "warning",
    "cannot be shown": "warning",
}


def treatment_page(treatment: Found) -> Page:
    """Everything that was found, done and proved."""
    sections = [
        Section("Verdict", _verdict(treatment)),
        Section("Prescription", _prescription(treatment)),
        Section("Proof", _proof(treatment)),
        Section("Without training", _cures(treatment)),
        Section("Test set", [Paragraph(test_text(treatment.record.test))] if treatment.record.test is not None else []),
        Section("Arms", _arms(treatment)),
        Section("Not from here", _refused(treatment)),
    ]
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return Page(
        title=f"Treatment of {treatment.run.path.name}",
        sections=[section for section in sections if section.blocks],
        lead=LEAD,
        notice="For research. Not a medical device.",
        footer=f"Written by Osler {osler.__version__} on {now}. The same figures: treatment.json.",
    )


def _verdict(treatment: Found) -> list[Block]:
    title = treatment.outcome.capitalize()
    blocks: list[Block] = [Callout(treatment.reason or "Nothing was trained.", TONES.get(treatment.outcome, "note"), title)]
    best = treatment.winner or (treatment.record.attempts[-1] if treatment.record.attempts else None)
    proof = treatment.proofs[best.number - 1] if best is not None and len(treatment.proofs) >= best.number else None
    if best is not None and proof is not None:
        label = MEASURES[proof.measure].label
        items = [Headline(f"{label}, treated", number(proof.comparisons[0].first), best.patch.name)]
        items += [
            Headline(
                f"{label}, {one.control.removeprefix('the ')}",
                number(one.second),
                f"treated less this: {difference_text(one.difference)}",
            )
            for one in proof.comparisons
        ]
        blocks.append(Headlines(items))
    if treatment.winner is not None:
        blocks.append(Paragraph(f"The proven configuration: {treatment.folder.treated.name}, with its history in comments."))
    if treatment.record.why_ended:
        blocks.append(Paragraph(f"Ended: {treatment.record.why_ended}.", quiet=True))
    return blocks


def _prescription(treatment: Found) -> list[Block]:
    plan = treatment.plan
    blocks: list[Block] = []
    patches = [attempt.patch for attempt in treatment.record.attempts] or ([plan.patch] if plan.patch else [])
    for place, patch in enumerate(patches, 1):
        blocks.append(Paragraph(f"{f'{place}. ' if len(patches) > 1 else ''}{patch.name}. {patch.summary}"))
        if patch.dose:
            blocks.append(Paragraph(f"Dose: {patch.dose}", quiet=True))
        blocks.append(Code("\n".join(diff_lines(patch.edits)), "diff"))
    return [*blocks, Paragraph(budget_text(plan))] if blocks else []


def _proof(treatment: Found) -> list[Block]:
    found = comparisons_of(treatment)
    if not found:
        return []
    rows = [
        DifferenceRow(
            f"{name}: vs {one.control.removeprefix('the ')}",
            one.difference.value,
            one.difference.low,
            one.difference.high,
            f"{one.difference.value:+.3f}",
            one.control != "the run as it was",
        )
        for name, one in found
    ]
    measures = {attempt.measure for attempt in treatment.record.attempts}
    label = " / ".join(MEASURES[measure].label for measure in sorted(measures))
    said = "; ".join(f"{row.name} {row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}]" for row in rows)
    caption = (
        "Treated less control, on the patients that prove, each with its interval at the level of its step of Holm. Blue: above "
        "0. Orange: below 0. Black: neither. Grey is no control: the run as it was chose its epoch on all of val."
    )
    picture = Picture(differences_picture(rows, f"difference of {label}"), caption, said, title="Paired differences", wide=True)
    return [picture, *_curves(treatment), _table(found)]


def _curves(treatment: Found) -> list[Block]:
    curves: dict[str, list[NDArray[np.float64]]] = {}
    for group in treatment.record.groups.values():
        curves[group.name] = [_monitored(treatment, arm.name) for arm in group.arms]
    if not any(len(values) for arms in curves.values() for values in arms):
        return []
    name = treatment.config.training.monitor
    finite = {group: [float(np.nanmax(one)) for one in arms if np.isfinite(one).any()] for group, arms in curves.items()}
    best = {group: max(values, default=NAN) for group, values in finite.items()}
    said = "; ".join(f"{group} at most {number(value)}" for group, value in best.items())
    caption = (
        "Thin lines: seeds. Bold: their mean. These are the patients that choose; what proves is not looked at while training."
    )
    return [Picture(curves_picture(curves, f"{name} of val"), caption, said, title="The arms while they were trained", wide=True)]


def _monitored(treatment: Found, arm: str) -> NDArray[np.float64]:
    values = [epoch["monitor"].get("value") for epoch in epochs_of(treatment.folder.arm(arm))]
    return np.array([NAN if value is None else float(value) for value in values])


def _table(found: Sequence[tuple[str, Comparison]]) -> Table:
    rows: list[list[CellValue]] = []
    for name, one in found:
        difference = one.difference
        rows.append(
            [
                name,
                one.control,
                one.first,
                one.second,
                _difference(difference),
                difference.p,
                f"{100 * difference.level:.1f} %",
                Cell(str(difference.n_patients), difference.n_patients, detail=f"rarer: {difference.fewest}"),
            ]
        )
    columns = ["Attempt", "Control", "Treated", "Control's", "Difference", "p", "Level", "Patients"]
    return Table(
        columns, rows, "p is of this comparison alone; the verdict takes the largest and corrects it after Holm.", "Comparisons"
    )


def _difference(difference: PairedDifference) -> Cell:
    """A difference with its interval below it."""
    text, _, interval = difference_text(difference).partition(" [")
    return Cell(text, difference.value, detail=f"[{interval}" if interval else "")


def _cures(treatment: Found) -> list[Block]:
    rows: list[list[CellValue]] = [
        [
            cure.name,
            cure.done,
            cure.label,
            cure.before,
            cure.after,
            None if cure.difference is None else _difference(cure.difference),
            cure.verdict or "measured",
        ]
        for cure in treatment.cures
    ]
    columns = ["Finding", "Done", "Figure", "Before", "After", "Difference", "Verdict"]
    return [Table(columns, rows, "On the patients that prove.")] if rows else []


def _arms(treatment: Found) -> list[Block]:
    rows: list[list[CellValue]] = [
        [
            arm.name,
            group.what,
            Cell(arm.status, detail=arm.reason),
            len(epochs_of(treatment.folder.arm(arm.name))),
            round(arm.seconds, 1),
        ]
        for group in treatment.record.groups.values()
        for arm in group.arms
    ]
    columns = ["Arm", "Changed", "Became", "Epochs", "Seconds"]
    return [Table(columns, rows, "Each is a run folder in treatment/arms.")] if rows else []


def _refused(treatment: Found) -> list[Block]:
    reasons = [*dict.fromkeys((*treatment.plan.refused, *treatment.record.refused, *treatment.plan.notes))]
    return [Bullets(reasons)] if reasons else []
