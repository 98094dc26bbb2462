"""What `osler checkup` finds before training: every fault of the doctor's benchmark that is there before the first step, injected
into small sets of synthetic radiographs, and the healthy arm of the same benchmark.

    python benchmarks/checkup.py [--tasks heart states] [--levels severe] [--faults ID ...] [--healthy N] [--json FILE]

A fault is named where a failed check of severity warning or critical has one of its roots; a healthy configuration passes where
no check has such a severity. A row a fault: named of all, the ids that were given, and the most processor seconds of a
checkup. `benchmarks/doctor` says how each fault is put into a run; what sets in during training, or is no fault of data,
loss, sampler, frozen parts, activation or rate, stands in `LATER` and is left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent / "doctor"))

from faults import FAULTS
from healthy import VARIANTS, healthy_run
from recipes import RECIPES
from training import Bench, Run, build_classification

from osler.checkup.command import Checkup, examine
from osler.checkup.from_config import Parts, patient_of
from osler.data.cache import PackedCache
from osler.doctor.facts import Facts
from osler.metrics.proportion import wilson
from osler.train.machine import start_machine
from osler.train.plan import build_optimizer, build_plan
from osler.train.resolve import resolve
from osler.train.setup import build_batches
from osler.train.state import TrainingState
from tasks import TASKS, Task, draw_pool, seed_data, whole_config

LATER = {
    "schedule_short", "rate_jump", "few_epochs", "stopped_early", "zero_grad", "pixels_nan", "overfit", "labels_noisy",
}  # fmt: skip
"""Faults of the loop or of the length of training, and noise in labels that only a trained model shows."""
ALSO = {
    "head_cut": ("frozen_network", "not_learning"),
    "labels_shuffled": ("not_learning", "label_noise"),
    "explosion": ("learning_rate_too_high",),
    "pixels_scaled": ("input_out_of_range",),
    "val_prepared": ("validation_differs",),
    "bias_wrong": ("output_bias_wrong", "output_bias_zero"),
}
"""Ids that name a fault besides its roots in `benchmarks/doctor/faults.py`."""


def checked(task: Task, run: Run, seed: int, minutes: float) -> Checkup:
    """The checkup of one run of the doctor's benchmark."""
    sections = {**run.sections, "training": {**run.sections.get("training", {}), "seed": seed}}
    config = whole_config(task, sections)
    data, pool = seed_data(task, config.data, seed, run.samples), draw_pool(task)
    config = resolve(config, data)
    with start_machine(config.training) as machine:
        bench = Bench(config, data, pool, pool, np.random.default_rng([seed, 7]), machine)
        for tamper in run.before:
            tamper(bench)
        torch.manual_seed(config.training.seed)
        bench.task = build_classification(task, config, bench.data)
        cache = cast("PackedCache", bench.pool)
        bench.batches = build_batches(config, bench.data, cache, machine)
        bench.plan = bench.plan or build_plan(config.training, len(bench.batches.train))
        bench.state = TrainingState(config, bench.task, bench.plan, machine)
        for tamper in run.after:
            tamper(bench)
        stated = Facts.of(bench.stated, "--fact")
        val = cast("PackedCache", bench.val_pool)
        parts = Parts(config, bench.data, cache, {}, bench.task, bench.batches, bench.plan, machine, val, stated)
        return examine(patient_of(parts, lambda: _optimizer(bench)), task.name, minutes)


def _optimizer(bench: Bench) -> torch.optim.Optimizer:
    """A new optimiser, as the run's first epoch finds it."""
    task, _, state = bench.built
    state.optimizer = build_optimizer(bench.config.training, task.model)
    for action in bench.each_epoch:
        action(1)
    return state.optimizer


def named(found: Checkup) -> list[str]:
    """Ids of failed checks that flag a configuration."""
    return list(dict.fromkeys(check.id for check in found.failures if check.severity != "note"))


def faulty_rows(tasks: list[Task], levels: list[str], ids: list[str], minutes: float) -> list[dict[str, Any]]:
    rows = []
    for id in ids:
        fault = FAULTS[id]
        for level in levels:
            for task in tasks:
                if task.kind not in fault.kinds:
                    continue
                started = time.process_time()
                found = checked(task, RECIPES[id][level](task), 0, minutes)
                flagged = named(found)
                right = any(root in flagged for root in (*fault.roots, *ALSO.get(id, ())))
                seconds = time.process_time() - started
                rows.append({"fault": id, "level": level, "task": task.name, "named": right, "ids": flagged, "seconds": seconds})
                print(
                    f"{id:18} {level:6} {task.name:7} {'named ' if right else 'MISSED'} {seconds:5.1f} s  {', '.join(flagged)}",
                    flush=True,
                )
    return rows


def healthy_rows(tasks: list[Task], count: int, minutes: float) -> list[dict[str, Any]]:
    rows = []
    names = [*VARIANTS, *(f"mixed-{number}" for number in range(count))]
    chosen = [(name, tasks[place % len(tasks)]) for place, name in enumerate(names)]
    for name, task in chosen[:count]:
        started = time.process_time()
        found = checked(task, healthy_run(task, name), 1, minutes)
        flagged, seconds = named(found), time.process_time() - started
        rows.append({"variant": name, "task": task.name, "passed": not flagged, "ids": flagged, "seconds": seconds})
        print(
            f"{name:18} healthy {task.name:7} {'passed' if not flagged else 'FLAGGED'} {seconds:5.1f} s  {', '.join(flagged)}",
            flush=True,
        )
    return rows


def share(rows: list[dict[str, Any]], key: str) -> str:
    """A count, its share and Wilson's interval."""
    good, n = sum(row[key] for row in rows), len(rows)
    if not n:
        return "none run"
    low, high = wilson(good, n)
    return f"{good} of {n}, {good / n:.0%} [{float(low):.0%}, {float(high):.0%}]"


def report(faulty: list[dict[str, Any]], healthy: list[dict[str, Any]]) -> None:
    """The figures that the README states."""
    by_fault = defaultdict(list)
    for row in faulty:
        by_fault[row["fault"]].append(row)
    print("\n| fault | named | as | slowest |\n| --- | --- | --- | --: |")
    for id, rows in by_fault.items():
        ids = Counter(each for row in rows for each in row["ids"])
        told = ", ".join(name for name, _ in ids.most_common(3))
        print(
            f"| {id} | {sum(row['named'] for row in rows)}/{len(rows)} | {told} | {max(row['seconds'] for row in rows):.0f} s |"
        )
    levels = sorted({row["level"] for row in faulty})
    for level in levels:
        print(f"named, {level}: {share([row for row in faulty if row['level'] == level], 'named')}")
    print(f"healthy passed: {share(healthy, 'passed')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", default=["heart"], choices=list(TASKS))
    parser.add_argument("--levels", nargs="*", default=["severe"], choices=["mild", "severe"])
    parser.add_argument("--faults", nargs="*", default=[id for id in RECIPES if id not in LATER])
    parser.add_argument("--healthy", type=int, default=len(VARIANTS))
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    tasks = [TASKS[name] for name in given.tasks]
    faulty = faulty_rows(tasks, given.levels, given.faults, given.minutes)
    healthy = healthy_rows(tasks, given.healthy, given.minutes)
    report(faulty, healthy)
    if given.json is not None:
        given.json.write_text(json.dumps({"faulty": faulty, "healthy": healthy}, indent=1) + "\n")


if __name__ == "__main__":
    main()
