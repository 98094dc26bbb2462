"""What every judge makes of every run: the doctor, the restated rules, the packages that are installed; in several processes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

from baselines import BASELINES
from opinion import Opinion, Opinions, as_known_after, doctor
from packages import installed

from osler.doctor.chart import Chart

__all__ = ["DOCTOR", "Heard", "Hearing", "hear", "hear_all"]

DOCTOR = "Osler's doctor"
SHARES = 16
"""Parts into which a process's runs are cut: some runs take far longer than others."""


@dataclass(frozen=True)
class Hearing:
    """A run to be judged.

    Attributes:
        chart: as it is kept.
        since: share of the planned epochs after which its fault sets in.
    """

    chart: Mapping[str, Any]
    since: float = 0.0


@dataclass(frozen=True)
class Heard:
    """What one judge makes of one run.

    Attributes:
        epoch: share of the planned epochs after which it stays flagged, counted from where the fault sets in; NaN: never.
        ever: whether it is flagged after any epoch; None: not looked at.
    """

    opinion: Opinion
    epoch: float = float("nan")
    ever: bool | None = None


def hear(run: Hearing, opinions: Opinions, by_epoch: bool) -> Heard:
    """One judge on one run; `by_epoch` asks again after each epoch."""
    return _hear(Chart.from_json(run.chart), run.since, opinions, by_epoch)


def _hear(chart: Chart, since: float, opinions: Opinions, by_epoch: bool) -> Heard:
    if not by_epoch:
        return Heard(opinions(chart))
    asked = [opinions(as_known_after(chart, count)) for count in range(1, len(chart) + 1)]
    last = asked[-1] if asked else opinions(chart)
    flags = [each.flagged for each in asked]
    if not flags or not flags[-1]:
        return Heard(last, ever=any(flags))
    rows = len(chart)
    first = rows - next((number for number, flag in enumerate(reversed(flags)) if not flag), rows)
    stated = chart.facts.number("training.epochs")
    planned = max(stated, float(rows)) if math.isfinite(stated) else float(rows)
    return Heard(last, max(0.0, (first + 1) / planned - since), True)


def hear_all(runs: Sequence[Hearing], by_epoch: bool, workers: int) -> list[dict[str, Heard]]:
    """Every judge on every run, in the order of the runs however many processes there are.

    Args:
        by_epoch: ask the doctor again after each epoch; the others judge the whole run alone.
        workers: processes.
    """
    task = partial(_everyone, by_epoch=by_epoch)
    if workers <= 1:
        return [task(run) for run in runs]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(task, runs, chunksize=max(1, len(runs) // (SHARES * workers))))


def _everyone(run: Hearing, by_epoch: bool) -> dict[str, Heard]:
    chart = Chart.from_json(run.chart)
    others = {name: Heard(opinions(chart)) for name, opinions in {**BASELINES, **installed()}.items()}
    return {DOCTOR: _hear(chart, run.since, doctor, by_epoch), **others}
