"""Pages: a diagnosis as one self-contained HTML file and its Markdown, in the order in which a person asks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from osler.doctor.case import Case
from osler.doctor.findings import Diagnosis, Finding, figure
from osler.doctor.prescribe import yaml_text
from osler.doctor.report.epochs import epoch_lines, epoch_table
from osler.doctor.report.outlook import all_actions, all_changes, files, options, standings, status
from osler.doctor.report.text import figure_of, verdict_text
from osler.errors import RunError
from osler.files import write_text
from osler.report.blocks import Block, Bullets, Callout, Code, Facts, Paragraph, Picture, Table, Tone
from osler.report.history import Flag, Series, history_picture
from osler.report.page import Page, Section

__all__ = ["run_page", "write_pages"]

NOTICE = "For research. Not a medical device."
TONES: dict[str, Tone] = {"note": "note", "warning": "warning", "critical": "critical"}
VERDICT_TONES: dict[str, Tone] = {"healthy": "good", "findings": "warning", "undecided": "note", "refused": "critical"}
# Curves drawn where a run has them: heading → the series of both splits.
CURVES = {"loss": "loss", "AUC": "auc", "F1": "f1", "accuracy": "accuracy", "Dice": "dice", "IoU": "iou"}


def write_pages(runs: Sequence[Diagnosis], out: Path, json_text: str) -> Path:
    """Writes the pages of these runs into a folder, with diagnosis.json; returns the page to open first.

    Raises:
        RunError: the folder cannot be made or written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out}: cannot be made a folder: {error.strerror or error}") from error
    write_text(out / "diagnosis.json", json_text + "\n")
    names = ["report"] if len(runs) == 1 else [f"{number:03d}-{_slug(run.source)}" for number, run in enumerate(runs, 1)]
    for name, run in zip(names, runs, strict=True):
        _write(run_page(run), out / name)
    if len(runs) == 1:
        return out / "report.html"
    _write(_overview(runs, names), out / "overview")
    return out / "overview.html"


def _write(page: Page, stem: Path) -> None:
    write_text(stem.with_name(stem.name + ".html"), page.html())
    write_text(stem.with_name(stem.name + ".md"), page.markdown())


def _slug(source: str) -> str:
    return re.sub(r"[^\w.-]+", "-", "-".join(Path(source).parts[-2:])).strip("-.")[:60] or "run"


def _overview(runs: Sequence[Diagnosis], names: Sequence[str]) -> Page:
    rows = [
        [run.source, run.verdict, ", ".join(finding.id for finding in run.findings[:3]), f"{name}.html"]
        for run, name in zip(runs, names, strict=True)
    ]
    table = Table(["run", "verdict", "first findings", "page"], rows)
    flagged = sum(run.flagged for run in runs)
    return Page(
        f"Diagnosis of {len(runs)} runs", [Section("Runs", [table])], f"{flagged} of {len(runs)} runs are flagged.", NOTICE
    )


def run_page(diagnosis: Diagnosis) -> Page:
    """The page of one run."""
    lead = verdict_text(diagnosis)
    title = f"Diagnosis of {Path(diagnosis.source).name or diagnosis.source}"
    if diagnosis.chart is None:
        return Page(title, [Section("Verdict", [Callout(lead, "critical", "Refused")])], lead, NOTICE)
    case = Case(diagnosis.chart)
    with np.errstate(all="ignore"):
        sections = [
            Section(
                "Status", [Callout(lead, VERDICT_TONES[diagnosis.verdict], diagnosis.verdict.capitalize()), Facts(status(case))]
            ),
            *([Section("Issues", _issue_blocks(diagnosis))] if diagnosis.findings else []),
            *([Section("Immediate actions", [Bullets(all_actions(diagnosis))])] if all_actions(diagnosis) else []),
            *([Section("The YAML to change", _yaml_blocks(diagnosis))] if all_changes(diagnosis) else []),
            Section("Curves", _curve_blocks(case, diagnosis)),
            Section("Epoch by epoch", _epoch_blocks(case, diagnosis)),
            Section("Prediction patterns", _pattern_blocks(diagnosis)),
            Section("Present and attainable performance", _standing_blocks(case, diagnosis)),
            Section("Next steps", _option_blocks(diagnosis)),
            Section("What was looked for", _scope_blocks(diagnosis)),
            Section("Files", [Bullets([diagnosis.source, *(files([diagnosis.source]) if diagnosis.reader == "osler" else ())])]),
            Section("Verdict", [Paragraph(_closing(diagnosis))]),
        ]
    return Page(title, sections, lead, NOTICE, f"Read as {diagnosis.reader}.")


# --- issues -------------------------------------------------------------------------------------------------------------------


def _issue_blocks(diagnosis: Diagnosis) -> list[Block]:
    blocks: list[Block] = []
    for rank, finding in enumerate(diagnosis.findings, 1):
        title = f"{rank}. {finding.name} ({finding.severity}, confidence {finding.signs.confidence:.2f})"
        blocks.append(Callout(finding.signs.summary, TONES[finding.severity], title))
        blocks.append(_evidence_table(finding))
        if finding.symptoms:
            blocks.append(Bullets([f"{each.name}: {each.signs.summary}" for each in finding.symptoms]))
        if finding.alternatives:
            rows = [[each.id, each.state, each.separates] for each in finding.alternatives]
            blocks.append(
                Table(["looks the same", "in this log", "what separates the two"], rows, caption="What would change the verdict")
            )
        if finding.harmful:
            blocks.append(Paragraph("Would harm: " + "; ".join(finding.harmful) + ".", quiet=True))
    return blocks


def _evidence_table(finding: Finding) -> Table:
    every = [*finding.signs.evidence, *(item for symptom in finding.symptoms for item in symptom.signs.evidence)]
    rows = [
        [
            figure(item.epoch) if item.epoch is not None else "run",
            item.quantity,
            figure(item.value),
            figure(item.low),
            figure(item.high),
            figure(item.expected),
            item.basis,
        ]
        for item in every
    ]
    return Table(["epoch", "quantity", "value", "low", "high", "compared with", "basis"], rows, caption="Evidence")


def _yaml_blocks(diagnosis: Diagnosis) -> list[Block]:
    changes = all_changes(diagnosis)
    rows = [[change.key, figure_of(change.before), figure_of(change.after), change.why] for change in changes]
    return [Code(yaml_text(changes), "yaml"), Table(["key", "from", "to", "why"], rows)]


# --- course -------------------------------------------------------------------------------------------------------------------


def _curve_blocks(case: Case, diagnosis: Diagnosis) -> list[Block]:
    epochs = [int(epoch) if epoch == int(epoch) else epoch for epoch in case.chart.epochs.tolist()]
    flags = _flags(diagnosis)
    blocks: list[Block] = []
    for label, name in CURVES.items():
        series = [
            Series(split, case.chart.values(f"{split}.{name}"), _errors(case, split, name), _level(case, split, name))
            for split in ("train", "val")
            if case.chart.has(f"{split}.{name}", points=2)
        ]
        if not series:
            continue
        floors = ", ".join(f"{each.name} {figure(each.floor)}" for each in series if each.floor is not None)
        caption = f"{label} by epoch" + (f"; dotted: what a constant or a coin gets ({floors})" if floors else "")
        caption += "; flags: the issues by their number, where each begins" if flags else ""
        ends = ", ".join(f"{each.name} {figure(float(each.values[np.isfinite(each.values)][-1]))} at the end" for each in series)
        picture = history_picture(epochs, series, label, phases=_phases(case), flags=flags, log=_is_wide(series))
        blocks.append(Picture(picture, caption, f"{label}: {ends}", label))
    return blocks or [Paragraph("There are no two epochs of a figure to draw.")]


def _flags(diagnosis: Diagnosis) -> list[Flag]:
    """A flag for each finding at its first epoch, or at that of its symptoms."""
    flags = []
    for rank, finding in enumerate(diagnosis.findings, 1):
        epochs = finding.signs.epochs or tuple(epoch for each in finding.symptoms for epoch in each.signs.epochs)
        if epochs:
            flags.append(Flag(min(epochs), str(rank), finding.severity))
    return flags


def _phases(case: Case) -> list[tuple[int, str]]:
    """First epoch and name of each phase of the training, where there are several."""
    phases, names = case.chart.phases, case.chart.phase_names
    if phases is None:
        return []
    firsts = {int(phase): int(epoch) for phase, epoch in zip(phases[::-1], case.chart.epochs[::-1], strict=True)}
    return [(epoch, names[phase] if phase < len(names) else str(phase + 1)) for phase, epoch in sorted(firsts.items())]


def _is_wide(series: Sequence[Series]) -> bool:
    """Whether a curve spans so many powers of ten that a plain axis would show one point and a line at zero."""
    known = np.concatenate([each.values[np.isfinite(each.values)] for each in series])
    return bool(len(known)) and float(known.min()) > 0 and float(known.max()) > 100 * float(known.min())


def _errors(case: Case, split: str, name: str) -> np.ndarray | None:
    if name == "loss" and case.chart.has(f"{split}.loss.se"):
        return case.chart.values(f"{split}.loss.se")
    low, high = case.auc_ends(split) if name == "auc" else (None, None)
    return (high - low) / 3.92 if low is not None and high is not None and np.isfinite(low).any() else None


def _level(case: Case, split: str, name: str) -> float | None:
    """What a constant or a coin gets; None where that is not known."""
    labels = case.labels(split)
    share = labels.single if labels is not None and not case.segmentation else float("nan")
    known = case.chart.points(f"{split}.foreground.true")[1]
    area = float(known[-1]) if len(known) else case.facts.number(f"foreground.{split}")
    level = {
        "loss": case.floor(split), "auc": 0.5, "f1": 2 * share / (1 + share), "accuracy": max(share, 1 - share),
        "dice": 2 * area / (1 + area), "iou": area,
    }.get(name, float("nan"))  # fmt: skip
    return level if np.isfinite(level) else None


def _epoch_blocks(case: Case, diagnosis: Diagnosis) -> list[Block]:
    table = epoch_table(case, diagnosis)
    note = f"{table.left_out} epochs between are left out." if table.left_out else ""
    rows = [[figure(value) for value in row] for row in table.rows]
    return [Table(table.headings, rows, note), Bullets(epoch_lines(case, diagnosis))]


def _pattern_blocks(diagnosis: Diagnosis) -> list[Block]:
    ids = (
        "single_class_prediction",
        "alternating_prediction",
        "threshold_mismatch",
        "empty_masks",
        "full_masks",
        "saturated_outputs",
        "inverted_scores",
    )
    every = [each for finding in diagnosis.findings for each in (finding, *finding.symptoms) if each.id in ids]
    if every:
        return [Bullets([each.signs.summary for each in every])]
    lacking = [each.needs for each in diagnosis.not_assessed if each.id in ids[:2]]
    return [Paragraph(f"Not to be told: needs {lacking[0]}." if lacking else "Nothing odd in what is predicted.")]


# --- outlook ------------------------------------------------------------------------------------------------------------------


def _standing_blocks(case: Case, diagnosis: Diagnosis) -> list[Block]:
    found = standings(case, diagnosis)
    if not found:
        return [Paragraph("No validation score is logged.")]
    rows = [
        [
            each.name,
            figure(each.now),
            f"{figure(each.best)} (epoch {figure(each.best_epoch)})",
            figure(each.chance),
            each.attainable,
        ]
        for each in found
    ]
    return [Table(["score", "at the end", "best", "a constant or a coin", "attainable, and on what that rests"], rows)]


def _option_blocks(diagnosis: Diagnosis) -> list[Block]:
    blocks: list[Block] = []
    for number, option in enumerate(options(diagnosis), 1):
        blocks.append(Paragraph(f"Option {number}: {option.name}; {option.why}."))
        if option.commands:
            blocks.append(Code("\n".join(option.commands), "sh"))
    return blocks


def _scope_blocks(diagnosis: Diagnosis) -> list[Block]:
    blocks: list[Block] = [Paragraph("Looked for and not found: " + (", ".join(diagnosis.checked) or "nothing") + ".")]
    if diagnosis.not_assessed:
        rows = [[each.id, each.needs] for each in diagnosis.not_assessed]
        blocks.append(
            Table(["not assessed", "needs"], rows, caption="What to log, or to state as a fact, so that more can be told")
        )
    return blocks


def _closing(diagnosis: Diagnosis) -> str:
    if diagnosis.verdict != "findings":
        return verdict_text(diagnosis)
    first = diagnosis.findings[0]
    return f"{first.name}: {first.signs.summary} {len(diagnosis.findings) - 1} further findings stand beside it."
