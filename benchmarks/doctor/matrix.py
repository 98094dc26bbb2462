"""Runs the matrix: tasks × faults × levels × seeds, and as many healthy runs; what is there already is not run again.

    python benchmarks/doctor/matrix.py [--tasks heart films] [--stage first|all|doubles|undecided] [--seeds 5] [--workers 1]
    python benchmarks/doctor/matrix.py --status
    python benchmarks/doctor/matrix.py --pack [--tasks heart films]

The most telling part comes first, so that a matrix cut short is worth something. Each run is appended, as it ends, to a file
beside the images (`benchmarks/results/doctor/`); `--pack` writes them, sorted and compressed, to `benchmarks/doctor/charts/`;
nothing may be running then.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from itertools import chain, count, zip_longest
from multiprocessing import get_context
from typing import Any

from faults import DOUBLES, FAULTS, FIRST, LEVELS
from harm import harms
from healthy import healthy_run, variants
from recipes import RECIPES, Make, both
from records import Entry, entry_of, keep, pack, read_records
from training import Run, train_bench

from osler.errors import OslerError
from tasks import TASKS, Task

__all__ = ["plan", "run_of"]

STAGES = ("first", "all", "doubles", "undecided")
MORE_SEEDS = (5, 6, 7)


def run_of(entry: Entry) -> Run:
    """What an entry runs."""
    task = TASKS[entry.task]
    if entry.arm == "healthy":
        return healthy_run(task, entry.fault)
    return maker_of(entry)(task)


def maker_of(entry: Entry) -> Make:
    """The maker of a faulty run."""
    if entry.arm == "double":
        first, second = DOUBLES[entry.fault]
        return both(RECIPES[first][entry.level], RECIPES[second][entry.level])
    return RECIPES[entry.fault][entry.level]


def faulty(task: Task, seeds: int, names: Iterable[str]) -> list[Entry]:
    """The faulty runs of a task, those of the first seeds first."""
    names = [name for name in names if task.kind in FAULTS[name].kinds]
    return [Entry(task.name, "faulty", name, level, seed) for seed in range(seeds) for name in names for level in LEVELS]


def healthy(task: Task, wanted: int) -> list[Entry]:
    """So many healthy runs of a task: the plain reference for every seed, then named and mixed variants in turn."""
    references = [Entry(task.name, "healthy", "plain", "", seed) for seed in range(8)]
    named = [Entry(task.name, "healthy", name, "", seed) for seed in range(100) for name in variants(task) if name != "plain"]
    mixed = (Entry(task.name, "healthy", f"mixed-{number}", "", 100 + number) for number in count())
    others = chain.from_iterable(zip(named, mixed, strict=False))
    return [*references, *(next(others) for _ in range(max(0, wanted - len(references))))]


def doubled(task: Task, seeds: int) -> list[Entry]:
    """The double faults of a task."""
    fitting = [name for name, pair in DOUBLES.items() if all(task.kind in FAULTS[each].kinds for each in pair)]
    return [Entry(task.name, "double", name, "severe", seed) for seed in range(seeds) for name in fitting]


def undecided(task: Task) -> list[Entry]:
    """Three more seeds of every fault whose harm five have left open."""
    found = harms(list(read_records([task.name])))
    open_ones = [(fault, level) for (_, fault, level), harm in found.items() if harm.verdict == "undecided" and fault in FAULTS]
    return [Entry(task.name, "faulty", fault, level, seed) for fault, level in open_ones for seed in MORE_SEEDS]


def plan(tasks: Iterable[str], stage: str, seeds: int) -> list[Entry]:
    """The runs of a stage in the order in which they are run: faulty and healthy in turn."""
    by_task: list[list[Entry]] = []
    for name in tasks:
        task = TASKS[name]
        if stage in ("doubles", "undecided"):
            by_task.append(doubled(task, seeds) if stage == "doubles" else undecided(task))
            continue
        ill = faulty(task, seeds, FIRST if stage == "first" else FAULTS)
        well = healthy(task, len(ill))
        by_task.append(list(chain.from_iterable(zip(ill, well, strict=True))))
    return [entry for together in zip_longest(*by_task) for entry in together if entry is not None]


# --- running ------------------------------------------------------------------------------------------------------------------


def run_entry(entry: Entry) -> dict[str, Any]:
    """The record of one run: its label, its scores, its chart; a run that Osler refuses says so."""
    label = asdict(entry)
    try:
        chart, scores = train_bench(TASKS[entry.task], run_of(entry), entry.seed)
    except OslerError as error:
        return {"label": label, "refused": str(error)}
    return {"label": label, "scores": scores, "chart": chart.to_json()}


def _die_with(parent: int) -> None:
    """Ends this worker once its parent is gone, which a kill does not tell it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_all(entries: list[Entry], workers: int) -> None:
    """Runs what is not kept yet, in order, and keeps each run as it ends."""
    done = {entry_of(record) for record in read_records({entry.task for entry in entries})}
    waiting = [entry for entry in dict.fromkeys(entries) if entry not in done]
    print(f"{len(waiting)} of {len(entries)} runs to do", flush=True)
    started = time.perf_counter()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_die_with, initargs=(os.getpid(),)) as pool:
        futures = {pool.submit(run_entry, entry): entry for entry in waiting}
        for number, future in enumerate(as_completed(futures), 1):
            entry = futures[future]
            try:
                record = future.result()
            except Exception as error:  # one run that fails must not end the others; it is run again next time
                print(f"{entry}: {type(error).__name__}: {error}", flush=True)
                continue
            keep(record)
            minutes = (time.perf_counter() - started) / 60
            if number % 10 == 0 or "refused" in record:
                left = minutes / number * (len(waiting) - number)
                told = record.get("refused", f"{minutes:.1f} min, about {left:.0f} more")
                print(f"{number}/{len(waiting)} {entry.task} {entry.arm} {entry.fault} {entry.level}: {told}", flush=True)


def status() -> None:
    """Prints what is kept and what is missing."""
    done = {entry_of(record) for record in read_records()}
    for stage in STAGES:
        for name in TASKS:
            entries = plan([name], stage, 5)
            print(f"{stage:8s} {name:8s} {sum(entry in done for entry in entries):5d} of {len(entries)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--stage", choices=STAGES, default="all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--status", action="store_true", help="say what is there, and run nothing")
    parser.add_argument("--pack", action="store_true", help="compress what is there, and run nothing")
    options = parser.parse_args()
    if options.status:
        status()
    elif options.pack:
        pack(options.tasks)
    else:
        run_all(plan(options.tasks, options.stage, options.seeds), options.workers)


if __name__ == "__main__":
    main()
