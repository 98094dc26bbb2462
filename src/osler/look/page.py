"""The page of a look: what stands out, then the sheets, then the histograms."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

import osler
from osler.config import Config
from osler.look.findings import Finding
from osler.look.pixels import Ready
from osler.look.sheets import Sheet
from osler.look.tones import Tones
from osler.report.page import Block, Bullets, Callout, CellValue, Code, Facts, Page, Paragraph, Picture, Section, Table
from osler.report.tone_pictures import TonePanel

__all__ = ["look_page"]

TITLES = {
    "unreadable": "Not to be read",
    "inverted": "Inverted",
    "constant": "Blank",
    "saturated": "Saturated",
    "splits_differ": "Splits differ",
    "brightness_tells": "Brightness tells",
    "labels_doubtful": "Labels to look at twice",
    "nothing_odd": "Nothing odd",
}


def look_page(
    config: Config,
    ready: Ready,
    findings: Sequence[Finding],
    sheets: Sequence[Sheet],
    missing: Sequence[str],
    tones: Tones,
    panels: Sequence[TonePanel],
    histograms: str,
) -> Page:
    """The page.

    Args:
        config: resolved.
        ready: what was looked at.
        findings: the gravest first.
        sheets: in reading order.
        missing: why a sheet is not there.
        tones: of the images.
        panels: what the histograms show.
        histograms: their picture.
    """
    callouts: list[Block] = [Callout(one.text, one.tone, TITLES[one.id]) for one in findings]
    callouts += [Callout(text, "warning", "Not shown") for text in missing]
    sections = [
        Section("What stands out", callouts),
        *(Section(sheet.title, _sheet_blocks(sheet)) for sheet in sheets),
        Section("Pixel values", _histogram_blocks(panels, tones, histograms)),
        Section("What was looked at", _facts(config, ready)),
    ]
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return Page(
        title=f"A look at {config.run.name}",
        sections=sections,
        lead=findings[0].text,
        footer=f"Written by Osler {osler.__version__} on {now}. The sheets lie beside it as PNG; the findings in look.json.",
    )


def _sheet_blocks(sheet: Sheet) -> list[Block]:
    pictures = [
        Picture(uri, "", f"{sheet.title}{f': {title}' if title else ''}, images side by side.", title=title, wide=True)
        for title, uri in sheet.uris()
    ]
    return [Paragraph(sheet.text), *pictures]


def _histogram_blocks(panels: Sequence[TonePanel], tones: Tones, histograms: str) -> list[Block]:
    rows: list[list[CellValue]] = []
    for panel in panels:
        for group in panel.groups:
            bins = len(group.shares)
            middle = float((group.shares * (np.arange(bins) + 0.5)).sum() * 255 / bins)
            rows.append([panel.title, group.name, group.images, round(middle), float(group.shares[0]), float(group.shares[-1])])
    least = f"{256 // len(tones.histogram[0]) - 1}"
    table = Table(["Grouping", "Group", "Images", "Mean value", f"Share at 0–{least}", f"Share at {255 - int(least)}–255"], rows)
    picture = Picture(
        histograms,
        "Share of the prepared pixels by value. The first and last bars, which hold what is saturated, are cut off where they "
        "are high; they stand in the table. Groups that lie apart can be told by their tone alone.",
        "Histograms of pixel values: " + "; ".join(panel.title.lower() for panel in panels) + ".",
        title="Pixel values after preparation",
        wide=True,
    )
    return [picture, table]


def _facts(config: Config, ready: Ready) -> list[Block]:
    splits = {name: int((ready.chosen.splits == name).sum()) for name in ready.data.rows}
    facts: dict[str, CellValue] = {
        "Images looked at": len(ready.chosen),
        **{f"of {name}": f"{count:,} of {len(ready.data.rows[name]):,}" for name, count in splits.items()},
        "Preparation": ready.cache.fingerprint,
        "Sampler": config.data.sampler,
        "Seed": config.training.seed,
    }
    notes: list[Block] = [Bullets(ready.data.notes)] if ready.data.notes else []
    more: list[Block] = []
    if len(ready.chosen) < sum(len(rows) for rows in ready.data.rows.values()):
        more = [Paragraph("To look at more of them:"), Code("osler look CONFIG --samples N")]
    return [Facts(facts), *notes, *more]
