"""Outlook: where a run stands, what can be attained and on what that rests, and what to do next with which command."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from osler.doctor.case import SCORES, Case
from osler.doctor.findings import Change, Diagnosis, figure
from osler.doctor.prescribe import overrides

__all__ = ["Option", "Standing", "all_actions", "all_changes", "options", "standings", "status"]


@dataclass(frozen=True)
class Standing:
    """A figure as it is and as it could be.

    Attributes:
        name: of the series.
        now: at the run's end, and `best` at `best_epoch`.
        chance: what a constant or a coin gets; NaN where that is not known.
        attainable: in words, with its basis; never a number that the log does not hold.
    """

    name: str
    now: float
    best: float
    best_epoch: float
    chance: float
    attainable: str


@dataclass(frozen=True)
class Option:
    """One way to go on."""

    name: str
    why: str
    commands: tuple[str, ...]


def all_changes(diagnosis: Diagnosis) -> tuple[Change, ...]:
    """The prescriptions of all findings; where two change one key, the graver finding's stands."""
    found: dict[str, Change] = {}
    for finding in diagnosis.findings:
        for change in finding.signs.changes:
            found.setdefault(change.key, change)
    return tuple(found.values())


def all_actions(diagnosis: Diagnosis) -> tuple[str, ...]:
    """What to look at or try, graver findings first."""
    return tuple(dict.fromkeys(action for finding in diagnosis.findings for action in finding.signs.actions))


def status(case: Case) -> dict[str, str]:
    """Where the run stands."""
    chart = case.chart
    done = figure(float(chart.ordinals[-1])) if len(chart) else "0"
    planned = f" of {figure(case.planned)} planned" if math.isfinite(case.planned) else ", the plan is not known"
    unit = {"epoch": "epochs", "evaluation": "evaluations", "step": "steps", "row": "rows"}[chart.axis]
    found = {"progress": f"{done} {unit}{planned}", "read as": chart.reader}
    for key, name in (
        ("task", "task"),
        ("model.architecture", "architecture"),
        ("loss.type", "loss"),
        ("data.sampler", "sampler"),
        ("stop_reason", "stopped because"),
    ):
        if chart.facts.get(key) is not None:
            found[name] = str(chart.facts[key])
    for split in ("train", "val"):
        labels = case.labels(split)
        if labels is not None and math.isfinite(labels.single):
            count = f", {figure(labels.n)} samples" if labels.n > 0 else ""
            found[f"{split} prevalence"] = f"{labels.single:.2%} ({labels.basis}){count}"
        if math.isfinite(case.floor(split)):
            found[f"floor of the {split} loss"] = figure(case.floor(split))
    if case.weighting is not None:
        found["positive weight in force"] = f"{figure(case.weighting.value)} ({case.weighting.basis})"
    return found


def standings(case: Case, diagnosis: Diagnosis) -> tuple[Standing, ...]:
    """The validation scores, each with its chance level and what could be attained."""
    found = []
    for name in (f"val.{score}" for score in SCORES):
        epochs, values = case.chart.points(name)
        if not len(values):
            continue
        row = int(np.argmax(values))
        found.append(
            Standing(
                name,
                float(values[-1]),
                float(values[row]),
                float(epochs[row]),
                _chance(case, name),
                _attainable(case, diagnosis, name, values, row),
            )
        )
    return tuple(found)


def _chance(case: Case, name: str) -> float:
    labels = case.labels("val")
    if name == "val.auc":
        return 0.5
    if labels is None or not math.isfinite(labels.single):
        return math.nan
    share = labels.single
    return {
        "val.f1": 2 * share / (1 + share),
        "val.accuracy": max(share, 1 - share),
        "val.ap": share,
        "val.balanced_accuracy": 0.5,
    }.get(name, math.nan)


def _attainable(case: Case, diagnosis: Diagnosis, name: str, values: np.ndarray, row: int) -> str:
    ids = {each.id for finding in diagnosis.findings for each in (finding, *finding.symptoms)}
    if name == "val.f1" and case.chart.has("val.best_f1"):
        best = float(case.chart.points("val.best_f1")[1][-1])
        if best > values[-1]:
            return f"{figure(best)}: measured in this run, at the best threshold on the same samples"
    if "not_learning" in ids or "chance_auc" in ids:
        return (
            "not to be told from this run: it has learned nothing. A run of the same data that learns will tell; see the checks"
        )
    if values[row] > values[-1] and ids & {"overfitting", "late_collapse", "diverging_loss"}:
        return (
            f"{figure(float(values[row]))}: measured in this run, by the checkpoint of epoch "
            f"{figure(float(case.chart.points(name)[0][row]))}"
        )
    if "still_improving" in ids:
        return f"more than {figure(float(values[-1]))}: it was still rising; how much more, only a longer run tells"
    return "nothing in this log says that more can be had, nor that it cannot"


def options(diagnosis: Diagnosis) -> tuple[Option, ...]:
    """Ways to go on, the advised one first, each with its commands where the run is Osler's own."""
    own = diagnosis.reader == "osler"
    run = diagnosis.source
    changes = overrides(all_changes(diagnosis))
    again = Option(
        "Start again with the changes",
        "the cure goes to its cause; compare with this run on the same samples before believing it",
        (f"osler train {run}/config.yaml {' '.join(changes)}".rstrip(), "osler diagnose NEW_RUN") if own else (),
    )
    watch = Option(
        "Continue and watch",
        "where a few more epochs will settle what is open",
        (f"osler resume {run}", f"osler diagnose {run}") if own else (),
    )
    testing = Option(
        "Use the best checkpoint for testing only",
        "to try the way to production; not for results where nothing was learned",
        (f"osler evaluate {run} --checkpoint best",) if own else (),
    )
    checkup = Option("Do the checks above first", "what a log cannot tell apart, a few minutes at the keyboard can", ())
    if diagnosis.verdict == "healthy":
        return (Option("Evaluate", "nothing stands against it", testing.commands), watch)
    if any(finding.severity == "critical" for finding in diagnosis.findings):
        return (checkup, again, testing) if all_actions(diagnosis) else (again, checkup, testing)
    return again, watch, testing


def files(sources: Sequence[str]) -> tuple[str, ...]:
    """What belongs to a run folder of Osler's, by name."""
    return tuple(
        f"{source}/{name}"
        for source in sources
        for name in ("config.yaml", "vitals.jsonl", "facts.json", "checkpoints/best.pt", "logs/train.log")
    )
