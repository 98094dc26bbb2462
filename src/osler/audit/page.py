"""The page of an audit: findings with pictures of the offenders, then the tables that they rest on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import numpy as np

import osler
from osler.audit.case import Case, percent
from osler.audit.checks import TITLES
from osler.audit.findings import Finding
from osler.audit.pictures import finding_sheet
from osler.audit.prevalence import differences, prevalences
from osler.audit.text import nothing_found, tally
from osler.data.messages import count
from osler.report.page import Block, Bullets, Callout, Cell, CellValue, Facts, Page, Paragraph, Picture, Section, Span, Table

__all__ = ["audit_page"]

MOST_TOLD = 60


def audit_page(case: Case, findings: Sequence[Finding]) -> Page:
    """The page."""
    sections = [
        Section("What was found", _finding_blocks(case, findings)),
        Section("Splits and labels", _split_blocks(case)),
        *([Section("Labels without the content", _told_blocks(case))] if case.told else []),
        *([Section("Where images come from", _origin_blocks(case))] if case.origins else []),
        Section("Images", _image_blocks(case)),
    ]
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return Page(
        title=f"Audit of {case.loaded.name}",
        sections=sections,
        lead=tally(case, findings),
        footer=f"Written by Osler {osler.__version__} on {now}. The same is in audit.json; what to drop or fix, in rows.csv.",
    )


def _finding_blocks(case: Case, findings: Sequence[Finding]) -> list[Block]:
    blocks: list[Block] = []
    if not any(one.severity != "note" for one in findings):
        blocks.append(Callout(nothing_found(case), "good", "No warning"))
    for one in findings:
        blocks += [Callout(one.sentence, one.severity, TITLES[one.id]), Paragraph(f"What to do: {one.action}", quiet=True)]
        uri = finding_sheet(case, one)
        if uri is not None:
            more = len(one.rows) - len(one.shown)
            said = f"{len(one.shown)} of {len(one.rows):,} images; the others are in audit.json." if more > 0 else ""
            blocks.append(Picture(uri, said, f"{TITLES[one.id]}: {len(one.shown)} images.", wide=True))
    return blocks


def _split_blocks(case: Case) -> list[Block]:
    found = {(one.name, one.split): one for one in prevalences(case)}
    tests = {(one.name, one.split): one.p for one in differences(case)}
    others = [name for name in case.used if name != "train" and "train" in case.used]
    rows: list[list[CellValue]] = []
    for name in case.samples.classes:
        cells: list[CellValue] = [name]
        for split in case.used:
            one = found[name, split]
            if not one.known:
                cells.append(None)
                continue
            span = Span(one.share, one.low, one.high)
            cells.append(Cell(percent(one.share), one.share, span, f"{one.positives:,} of {one.known:,}"))
        rows.append([*cells, *(tests.get((name, split), math.nan) for split in others)])
    what = "share of images in whose mask it occurs" if case.samples.masks is not None else "share of positives"
    table = Table(
        ["Class", *case.used, *(f"p, {split} = train" for split in others)],
        rows,
        note="Bars: 95 % intervals, patients counted as patients. p: two-sided, corrected for all comparisons here (Holm).",
        caption=f"Classes by split: {what}",
    )
    facts: dict[str, CellValue] = {}
    for name in case.used:
        members = case.of_split(name)
        patients = case.samples.patients
        told = "" if patients is None else f", {count(len(np.unique(patients[members])), 'patient')}"
        facts[name] = f"{count(int(members.sum()), 'image')}{told}"
    facts["Splits"] = "drawn by Osler, as training would draw them" if case.loaded.drawn else "those of the source"
    return [Facts(facts), table, *([Bullets(case.loaded.notes)] if case.loaded.notes else [])]


def _told_blocks(case: Case) -> list[Block]:
    ordered = sorted(case.told, key=lambda one: -one.auc.low if one.auc.low == one.auc.low else 1.0)
    rows: list[list[CellValue]] = [
        [
            one.label,
            one.feature,
            Cell(
                f"{one.auc.value:.3f}",
                one.auc.to_json(),
                Span(one.auc.value, one.auc.low, one.auc.high, 0.5),
                f"{one.auc.low:.2f} to {one.auc.high:.2f}",
            )
            if math.isfinite(one.auc.value)
            else None,
            one.auc.n,
        ]
        for one in ordered[:MOST_TOLD]
    ]
    text = (
        "How well a logistic regression tells each label from what is not the content of the image: five folds, patients kept "
        "whole, so each is scored by a model that has not seen the patient. 0.5 is no better than chance."
    )
    note = f"Intervals hold for all {len(ordered):,} together (Bonferroni)."
    if len(ordered) > MOST_TOLD:
        note += f" The {MOST_TOLD} clearest are shown; audit.json has all."
    return [Paragraph(text), Table(["Class", "Told by", "AUC", "Images"], rows, note=note)]


def _origin_blocks(case: Case) -> list[Block]:
    classes = case.samples.classes if len(case.samples.classes) <= 4 else ()
    rows: list[list[CellValue]] = [
        [
            one.column,
            one.value,
            one.images,
            *(one.splits[name] for name in case.used),
            *(Cell(percent(share), share) if share == share else None for share in one.shares[: len(classes)]),
            Cell(f"{255 * one.brightness:.0f}", one.brightness) if one.brightness == one.brightness else None,
            Cell(f"{one.apart:+.2f}", one.apart) if one.apart == one.apart else None,
            Cell(f"{one.size[0]:.0f} × {one.size[1]:.0f}", list(one.size)),
        ]
        for one in case.origins
    ]
    columns = ["Column", "Value", "Images", *case.used, *classes, "Mean value", "SD from others", "Median size"]
    return [Table(columns, rows, note="Mean value on 0 to 255. SD from others: difference in brightness from all other images.")]


def _image_blocks(case: Case) -> list[Block]:
    measured, readable = case.measured, case.measured.readable
    if not readable.any():
        return [Paragraph("None of the images can be read.")]
    sizes = Counter(zip(measured["width"][readable].tolist(), measured["height"][readable].tolist(), strict=True))
    columns = (measured[name][readable].tolist() for name in ("format", "bits", "mode"))
    kinds = Counter(zip(*columns, strict=True))
    sides = np.stack([measured["width"][readable], measured["height"][readable]], axis=1)
    low, middle, high = ("{:.0f} × {:.0f}".format(*np.percentile(sides, q, axis=0)) for q in (0, 50, 100))
    facts: dict[str, CellValue] = {
        "Images": len(case.samples),
        "Readable": int(readable.sum()),
        "Sizes": f"{low} to {high}, median {middle}; {len(sizes):,} different" if len(sizes) > 1 else low,
        "Kinds": "; ".join(f"{name}, {bits} bit, {mode}: {number:,}" for (name, bits, mode), number in kinds.most_common(6)),
        "Values": f"{float(measured['low'][readable].min()):g} to {float(measured['high'][readable].max()):g}",
        "Task": case.samples.task,
    }
    return [Facts(facts)]
