"""The page of the stories, from the pages that diagnosis, treatment and evaluation have of their own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast

import osler
from osler.demo.told import Told
from osler.doctor.report.pages import run_page
from osler.evaluate.command import page_of_evaluation
from osler.evaluate.images import read_cases
from osler.report.page import Block, Callout, Code, Page, Paragraph, Section
from osler.treat.page import treatment_page

__all__ = ["story_page"]


def story_page(told: Sequence[Told]) -> Page:
    """Each story in five parts, and what a reader can do with a run of their own."""
    several = len(told) > 1
    sections: list[Section] = []
    for number, one in enumerate(told, 1):
        before = f"{number}. " if several else ""
        sections += [Section(f"{before}{title}", blocks) for title, blocks in _parts(one) if blocks]
    sections.append(Section("Your own runs", _commands(told[0])))
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return Page(
        title=told[0].story.title if not several else "Runs that learned nothing, and what became of them",
        sections=sections,
        lead="“Listen to your patient, he is telling you the diagnosis.” William Osler",
        notice="For research. Not a medical device. Synthetic images: no figure says anything about patients.",
        footer=f"Written by Osler {osler.__version__} on {now}.",
    )


def _parts(told: Told) -> list[tuple[str, list[Block]]]:
    diagnosis, treatment = run_page(told.diagnosis), treatment_page(told.treatment)
    return [
        ("The run", [Paragraph(told.story.told), *_of(diagnosis, "Curves", "Epoch by epoch")]),
        ("What the doctor heard", _of(diagnosis, "Issues")),
        ("The prescription", _of(treatment, "Prescription")),
        ("The proof", _of(treatment, "Verdict", "Proof", "Test set")),
        ("The healthy model", _healthy(told)),
    ]


def _of(page: Page, *titles: str) -> list[Block]:
    """The blocks of a page's sections of these titles, in that order."""
    return [block for title in titles for section in page.sections if section.title == title for block in section.blocks]


def _healthy(told: Told) -> list[Block]:
    if told.healthy is None or told.after is None or told.evaluation is None:
        return [Callout("Nothing was proved, so there is no configuration to train.", "warning", "Not cured")]
    page = page_of_evaluation(told.evaluation, told.healthy, read_cases(told.healthy, None))
    flagged = told.after.flagged
    verdict = Callout(
        "It still finds: " + ", ".join(finding.name for finding in told.after.findings)
        if flagged
        else "It looked for the same faults in this run, and found none that matters.",
        "warning" if flagged else "good",
        "The doctor on the healthy run",
    )
    return [Paragraph(page.lead), *_of(page, "Summary", "Ranking", "Cases"), verdict]


def _commands(told: Told) -> list[Block]:
    lines = (
        f"osler diagnose {told.sick.path.name}     # or the log of any framework",
        f"osler treat {told.sick.path.name}        # proves the cure, or that there is none",
        "osler init SOURCE --out my.yaml  # your images, a commented configuration",
        "osler checkup my.yaml            # minutes, before a night is spent",
        "osler train my.yaml",
    )
    return [cast(Block, Code("\n".join(lines), "sh"))]
