"""Telling a story: train the sick run, listen, treat, prove, train the proven configuration, evaluate it."""

from __future__ import annotations

import sys
from pathlib import Path

from osler.config import load_config
from osler.demo.page import story_page
from osler.demo.stories import STORIES, Story
from osler.demo.told import Told
from osler.doctor.command import diagnose_sources
from osler.errors import RunError
from osler.evaluate import evaluate_run
from osler.files import write_text
from osler.runs.card import INTENDED_USE
from osler.runs.folder import RunFolder
from osler.train.fit import train_run
from osler.treat import treat_run

__all__ = ["run_demo", "tell"]

ATTEMPTS = 2


def say(text: str) -> None:
    """A line to the person, on stderr."""
    print(text, file=sys.stderr, flush=True)


def run_demo(folder: Path | None = None, kind: str = "classification") -> Path:
    """Tells the stories of a kind of task, and returns the page that shows them; what happens on the way is said on stderr.

    Args:
        folder: of the first run, absent or empty; None: a new one under runs/.
        kind: of `STORIES`.
    """
    say("Synthetic radiographs: no patient's data are involved.")
    told: list[Told] = []
    for number, story in enumerate(STORIES[kind]):
        place = folder if folder is None or not number else folder.with_name(f"{folder.name}-{number + 1}")
        told.append(tell(story, place))
    page = told[0].sick.path / "story.html"
    write_text(page, story_page(told).html())
    say(f"\n{INTENDED_USE}\nThe page that tells it:")
    return page


def tell(story: Story, folder: Path | None = None) -> Told:
    """Tells one story.

    Args:
        story: to be told.
        folder: of the sick run, absent or empty; None: a new one under runs/.
    """
    say(f"\n{story.title}. {story.told}\n\n1. The run as it was configured")
    sick = train_run(load_config(dict(story.config)), folder)
    diagnosed = diagnose_sources([sick.path])
    diagnosis = diagnosed.runs[0]
    say(f"\n2. What the doctor hears\n{diagnosed.text()}\n\n3. The treatment, beside a re-run of the same with another seed")
    # In this process: a network this small is trained before another process has loaded its libraries.
    treatment = treat_run(sick.path, minutes=story.minutes, attempts=ATTEMPTS, seeds=1, say=say, inline=True)
    say(f"\n{treatment.text()}")
    proven = treatment.treated_config
    if proven is None:
        return Told(story, sick, diagnosis, treatment)
    say("\n4. The proven configuration, on all of train")
    healthy = train_run(load_config(treatment.folder.treated), _beside(sick))
    evaluation = evaluate_run(healthy.path)
    say(f"\n{evaluation.summary()}")
    after = diagnose_sources([healthy.path])
    say(f"\nThe doctor on this run:\n{after.text()}")
    return Told(story, sick, diagnosis, treatment, healthy, evaluation, after.runs[0])


def _beside(sick: RunFolder) -> Path:
    """A folder for the healthy run, beside the sick one.

    Raises:
        RunError: there is one already.
    """
    place = sick.path.with_name(f"{sick.path.name}_treated")
    if place.exists():
        raise RunError(f"{place}: is there already. Remove it, or give another folder (--out DIR).")
    return place
