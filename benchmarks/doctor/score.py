"""Scores the doctor, and the baselines, on the kept charts.

    python benchmarks/doctor/score.py [--held-out] [--markdown] [--faults] [--tasks heart films] [--workers 2] [--json FILE]

Without `--held-out` only the tasks that rules are developed on are scored and shown. A run is flagged where there is a warning
or a critical finding. Root cause: one of the fault's ids is the first finding, or among the first three; advice: the first
finding that advises a setting names a right one and the right way. Both are shares of all killed runs, detected or not.
Detection epoch: the first epoch from which the run stays flagged, as a share of the planned epochs, after the epoch in which
the fault sets in.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from baselines import random_cause
from faults import DOUBLES, FAULTS, LOOKALIKES, Injection
from harm import HARMS, Harm, harms, is_healthy
from hearing import DOCTOR, Heard, Hearing, hear, hear_all
from opinion import Opinion, Opinions, gives, harmful
from packages import HOW, missing
from records import read_records
from rich.console import Console
from rich.table import Table

from osler.files import write_json
from osler.metrics.proportion import wilson
from tasks import TASKS

__all__ = ["Judged", "Tally", "judge", "tally"]

RESULTS = Path(__file__).resolve().parents[1] / "results" / "doctor.json"


@dataclass(frozen=True)
class Case:
    """A run that is scored.

    Attributes:
        chart: as it is kept.
        injections: of a faulty run one, of a double fault two, of a healthy run none.
        harm: of the fault on the task; None for a healthy run.
    """

    label: Mapping[str, Any]
    chart: Mapping[str, Any]
    injections: tuple[Injection, ...]
    harm: Harm | None

    @property
    def hearing(self) -> Hearing:
        """What a judge gets of it."""
        return Hearing(self.chart, max((each.since for each in self.injections), default=0.0))

    def judged(self, heard: Heard) -> Judged:
        """The run with what a judge made of it."""
        return Judged(self.label, self.injections, self.harm, heard.opinion, heard.epoch, heard.ever)


@dataclass(frozen=True)
class Judged:
    """A run and what is made of it; injections and harm as of a `Case`, epoch and ever as of a `Heard`."""

    label: Mapping[str, Any]
    injections: tuple[Injection, ...]
    harm: Harm | None
    opinion: Opinion
    epoch: float = float("nan")
    ever: bool | None = None


@dataclass
class Tally:
    """k of n, by what is counted."""

    counts: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    epochs: list[float] = field(default_factory=list)

    def add(self, name: str, hit: bool) -> None:
        self.counts[name][0] += int(hit)
        self.counts[name][1] += 1

    def data(self) -> dict[str, Any]:
        """Every share with its Wilson interval."""
        found: dict[str, Any] = {}
        for name, (hits, n) in self.counts.items():
            low, high = (float(end) for end in wilson(hits, n))
            found[name] = {"k": hits, "n": n, "share": hits / n, "low": low, "high": high}
        found["detected_after"] = float(np.median(self.epochs)) if self.epochs else None
        return found


def cases(records: Sequence[Mapping[str, Any]]) -> list[Case]:
    """The runs that are scored: those that were run, less those of the healthy arm that are not healthy."""
    harm_by, healthy = harms(records), is_healthy(records)
    found = []
    for record in records:
        label = record["label"]
        if "chart" not in record:
            continue
        if label["arm"] == "healthy" and not healthy[label["task"], label["fault"], label["seed"]]:
            continue
        names = DOUBLES.get(label["fault"], (label["fault"],)) if label["arm"] != "healthy" else ()
        injections = tuple(FAULTS[name].at(str(label["level"])) for name in names)
        harm = harm_by.get((label["task"], label["fault"], label["level"])) if injections else None
        found.append(Case(label, record["chart"], injections, harm))
    return found


def judge(records: Sequence[Mapping[str, Any]], opinions: Opinions, by_epoch: bool) -> list[Judged]:
    """What one judge makes of every run."""
    return [case.judged(hear(case.hearing, opinions, by_epoch)) for case in cases(records)]


def judges(records: Sequence[Mapping[str, Any]], by_epoch: bool, workers: int = 1) -> dict[str, list[Judged]]:
    """What the doctor and each baseline make of every run; the coin flags as often as the doctor does."""
    scored = cases(records)
    heard = hear_all([case.hearing for case in scored], by_epoch, workers)
    names = heard[0] if heard else {}
    found = {name: [case.judged(each[name]) for case, each in zip(scored, heard, strict=True)] for name in names}
    coin = random_cause(float(np.mean([run.opinion.flagged for run in found[DOCTOR]]))) if found else random_cause(0.0)
    return {**found, "random, as often": [case.judged(hear(case.hearing, coin, by_epoch=False)) for case in scored]}


def tally(judged: Iterable[Judged]) -> Tally:
    """The figures of one judge over single faults and healthy runs."""
    found = Tally()
    for run in judged:
        if run.harm is None:
            found.add("healthy flagged", run.opinion.flagged)
            if run.ever is not None:
                found.add("healthy ever flagged", run.ever)
        elif len(run.injections) == 1:
            found.add(f"detected {run.harm.verdict}", run.opinion.flagged)
            if run.harm.verdict == "killed":
                _add_killed(found, run)
    return found


def _add_killed(found: Tally, run: Judged) -> None:
    (injection,) = run.injections
    found.add("cause first", run.opinion.flagged and run.opinion.names(injection.roots, 1))
    found.add("cause in three", run.opinion.flagged and run.opinion.names(injection.roots, 3))
    found.add("harmful advice", harmful(run.opinion, injection))
    if injection.advice:
        found.add("advice right", gives(run.opinion, injection, 1))
        found.add("advice right in three", gives(run.opinion, injection, 3))
    if np.isfinite(run.epoch):
        found.epochs.append(run.epoch)


# --- tables -------------------------------------------------------------------------------------------------------------------

FLAGGED = (*(f"detected {verdict}" for verdict in HARMS), "healthy flagged")
NAMED = ("cause first", "cause in three", "advice right", "advice right in three", "harmful advice")


def overview(tallies: Mapping[str, Tally], columns: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """A row for each judge, a column for each of these figures that any of them has: header and rows."""
    datas = {name: each.data() for name, each in tallies.items()}
    shown = [name for name in columns if any(name in data for data in datas.values())]
    return ["", *shown], [[judge, *(_share(data.get(name)) for name in shown)] for judge, data in datas.items()]


def _share(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "–"
    return f"{entry['share']:.2f} ({entry['low']:.2f}–{entry['high']:.2f}) {entry['k']}/{entry['n']}"


def over_epochs(own: Tally) -> list[list[str]]:
    """From when killed faults stay flagged, and the healthy runs that ever are; nothing where it was not asked by epoch."""
    data = own.data()
    if "healthy ever flagged" not in data:
        return []
    after = "–" if data["detected_after"] is None else f"{data['detected_after']:.0%}"
    return [
        ["killed faults stay flagged after, median share of the planned epochs", after],
        ["healthy runs ever flagged", _share(data["healthy ever flagged"])],
    ]


def by_fault(judged: Iterable[Judged]) -> list[list[str]]:
    """A row for each task, fault and level: harm, what was detected and named, and what was said instead."""
    groups: dict[tuple[str, str, str], list[Judged]] = defaultdict(list)
    for run in judged:
        if run.harm is not None:
            groups[run.label["fault"], run.label["level"], run.label["task"]].append(run)
    rows = []
    for (fault, level, task), runs in sorted(groups.items()):
        harm, n = runs[0].harm, len(runs)
        assert harm is not None
        roots = [root for injection in runs[0].injections for root in injection.roots]
        said = Counter(_first(run.opinion) for run in runs)
        advised = any(injection.advice for injection in runs[0].injections)
        rows.append(
            [
                fault,
                level,
                task,
                f"{harm.verdict} {harm.mean:+.2f} ({harm.low:+.2f}, {harm.high:+.2f})",
                f"{sum(run.opinion.flagged for run in runs)}/{n}",
                f"{sum(run.opinion.names(roots, 1) for run in runs)}/{n}",
                f"{sum(run.opinion.names(roots, 3) for run in runs)}/{n}",
                f"{sum(gives(run.opinion, run.injections[0], 1) for run in runs)}/{n}" if advised else "–",
                ", ".join(f"{name} {count}" for name, count in said.most_common(3)),
            ]
        )
    return rows


def _first(opinion: Opinion) -> str:
    """The first cause, in brackets where it is a note."""
    if not opinion.causes:
        return "nothing"
    name = sorted(opinion.causes[0])[0]
    return name if opinion.grave[0] else f"({name})"


def by_variant(judged: Iterable[Judged]) -> list[list[str]]:
    """The healthy runs that are flagged, by task and variant, and what for."""
    rows: Counter[tuple[str, str, int, str]] = Counter()
    totals: Counter[str] = Counter()
    for run in judged:
        if run.harm is None:
            totals[run.label["task"]] += 1
            if run.opinion.flagged:
                grave = [sorted(cause)[0] for cause, bad in zip(run.opinion.causes, run.opinion.grave, strict=True) if bad]
                rows[run.label["task"], run.label["fault"], run.label["seed"], ", ".join(grave)] += 1
    return [[*map(str, key), str(totals[key[0]])] for key in sorted(rows)]


def doubles_and_lookalikes(judged: Sequence[Judged]) -> list[list[str]]:
    """Double faults: one and both named among the first three. Look-alikes: none of the others named before the right one."""
    doubles = [run for run in judged if len(run.injections) == 2]
    rows = []
    if doubles:
        named = [[run.opinion.names(injection.roots, 3) for injection in run.injections] for run in doubles]
        for what, hits in (("double faults: one named", [any(each) for each in named]), ("both", [all(each) for each in named])):
            rows.append([what, f"{sum(hits)}/{len(hits)}"])
    for group in LOOKALIKES:
        alike = [
            run
            for run in judged
            if len(run.injections) == 1 and run.injections[0].id in group and run.harm and run.harm.verdict == "killed"
        ]
        if alike:
            rows.append([f"look-alikes {', '.join(group)}", f"{sum(map(_told_apart, alike))}/{len(alike)}"])
    return rows


def _told_apart(run: Judged) -> bool:
    """Whether a right id is named, and nothing that names only a look-alike stands before it."""
    own = set(run.injections[0].roots)
    others = {root for group in LOOKALIKES if run.injections[0].id in group for each in group for root in FAULTS[each].roots}
    for cause in run.opinion.causes:
        if cause & own:
            return True
        if cause & (others - own):
            return False
    return False


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool) -> None:
    """A table, on the terminal or as Markdown."""
    if not rows:
        return
    if markdown:
        print(f"\n**{title}**\n\n| {' | '.join(header)} |\n|{'--|' * len(header)}")
        for row in rows:
            print(f"| {' | '.join(row)} |")
        return
    table = Table(*header, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console(width=200).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--held-out", action="store_true", help="also the tasks that rules must not be developed on")
    parser.add_argument("--faults", action="store_true", help="also a table by fault, of the tasks for development")
    parser.add_argument("--fast", action="store_true", help="leave out when runs are flagged")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args()
    started = time.perf_counter()
    results: dict[str, Any] = {}
    for held_out in (False, True) if options.held_out else (False,):
        names = [name for name in options.tasks if TASKS[name].held_out is held_out]
        records = list(read_records(names))
        if not records:
            continue
        group = "held-out tasks" if held_out else "tasks for development"
        judged = judges(records, not options.fast, options.workers)
        tallies = {name: tally(runs) for name, runs in judged.items()}
        title = f"{group}: {', '.join(names)}; {len(records)} runs"
        show(f"{title}; flagged", *overview(tallies, FLAGGED), options.markdown)
        show("Named and advised, of killed faults", *overview(tallies, NAMED), options.markdown)
        own = judged[DOCTOR]
        show("The doctor, asked after each epoch", ["", ""], over_epochs(tallies[DOCTOR]), options.markdown)
        show("Double faults and look-alikes", ["", "right"], doubles_and_lookalikes(own), options.markdown)
        if options.faults and not held_out:
            header = ["fault", "level", "task", "harm", "flagged", "first", "three", "advice", "said first"]
            show("By fault", header, by_fault(own), options.markdown)
            show("Healthy runs flagged", ["task", "variant", "seed", "for", "of"], by_variant(own), options.markdown)
        results[group] = {
            "tasks": names,
            "runs": len(records),
            "seconds_a_run": _seconds(records),
            "judges": {name: each.data() for name, each in tallies.items()},
            "by_fault": by_fault(own),
        }
    if absent := missing():
        print(f"not installed and not asked: {', '.join(absent)}; {HOW}")
    write_json(options.json, results)
    Console(stderr=True).print(f"scored in {time.perf_counter() - started:.0f} s; {options.json}")


def _seconds(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Median and longest time of a run, on one core beside whatever else the machine did."""
    seconds = [record["scores"]["seconds"] for record in records if "scores" in record]
    return {"median": float(np.median(seconds)), "longest": float(np.max(seconds))}


if __name__ == "__main__":
    main()
