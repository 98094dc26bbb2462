"""How often a treatment cures: the severe faults of the doctor's benchmark, treated automatically against both controls.

    python benchmarks/treat.py [--tasks triage organs seldom] [--faults lr_high lr_low ...] [--seeds 1 2 3] [--minutes 6]
    python benchmarks/treat.py --table

Tasks, faults and network are those of `benchmarks/doctor`, on more images, as a proof takes patients of its own. Of the faults
there are those that a configuration alone puts into a run, so that a configuration can take them out again; what is put in
behind the configuration's back, and having too few images, is left out.

For each task, seed and fault: the sick configuration is trained, treated (`osler treat --controls full --yes`, one training an
arm), and compared on the test set with its healthy twin by what the fault harms: the AUC, the balanced accuracy at 0.5, the
Brier skill, or the Dice of masks. A fault that costs less than 0.05 of that did no harm, and there is nothing to cure in it.
Reported are the runs that it harmed: how many the treatment helped against both controls, and harmed; and the median share of
the gap to the healthy twin that is recovered, 0 where nothing was proven. Results are written after each case, and the same
command goes on from there; --table shows what is there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "doctor"))

from faults import FAULTS
from injection import MASKS
from network import BenchNetwork
from recipes import RECIPES

from osler.config import Config, load_config, merge
from osler.files import write_json
from osler.metrics.proportion import wilson
from osler.models.backbones import BACKBONES, Recipe
from osler.runs.folder import RunFolder
from osler.runs.mask_predictions import MaskPredictions
from osler.runs.predictions import Predictions
from osler.train.fit import resume_run, train_run
from osler.treat import Treatment, treat_run
from osler.treat.scores import measured
from tasks import TASKS, Task, whole_config

SAMPLES = {
    "heart": 1500,
    "films": 1500,
    "scarce": 3600,
    "states": 1500,
    "triage": 1500,
    "seldom": 3600,
    "lesions": 600,
    "organs": 600,
}
"""Images of train, val and test together: 40, 40 and 20 %; half of val proves."""
DATA_ALONE = {"overfit"}
"""What no setting cures that does not bring images."""
HARM = 0.05
MEASURES = {"auc": "auc", "f1": "balanced_accuracy_half", "skill": "brier_skill"}


@dataclass(frozen=True)
class Case:
    """One fault in one run; "" is none."""

    task: Task
    fault: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.task.name}-{self.fault or 'healthy'}-{self.seed}"

    @property
    def measure(self) -> str:
        """What the fault harms."""
        return "dice" if self.task.kind == MASKS else MEASURES[FAULTS[self.fault].measure]

    def config(self, out: Path) -> Config:
        """The task's configuration, with the fault laid over it."""
        sections = RECIPES[self.fault]["severe"](self.task).sections if self.fault else {}
        own = {
            "data": {
                "phantom": {"samples": SAMPLES[self.task.name], "seed": self.seed},
                "split": {"ratio": [0.4, 0.4, 0.2], "seed": self.seed},
                "cache": str(out / "cache"),
            },
            "training": {"seed": self.seed},
        }
        return load_config(merge(whole_config(self.task, dict(sections)).model_dump(mode="json", exclude_unset=True), own))


def treatable(task: Task) -> list[str]:
    """Faults of this task that its configuration alone puts into a run, whose harm a figure of the test set shows."""
    found = []
    for name, fault in FAULTS.items():
        if task.kind not in fault.kinds or name in DATA_ALONE or (fault.measure not in MEASURES and task.kind != MASKS):
            continue
        run = RECIPES[name]["severe"](task)
        if run.sections and not (run.before or run.after or run.samples):
            found.append(name)
    return found


def trained(case: Case, out: Path) -> RunFolder:
    """The run of this case, trained as far as it was not."""
    folder = out / case.name
    if (folder / "card.json").is_file():
        return RunFolder.open(folder)
    return resume_run(folder) if (folder / "config.yaml").is_file() else train_run(case.config(out), folder)


def figure(measure: str, task: Task, path: Path) -> float:
    """A figure of these predictions."""
    said = MaskPredictions.load(path) if task.kind == MASKS else Predictions.load(path)
    return measured(measure, said, task.kind)


def treated(case: Case, minutes: float, out: Path) -> dict[str, Any]:
    """A case, treated, with its healthy twin."""
    healthy, sick = trained(Case(case.task, "", case.seed), out), trained(case, out)
    begun = time.monotonic()
    found = treat_run(sick.path, controls="full", minutes=minutes, seeds=1, inline=True, say=lambda text: None)
    said = {
        name: figure(case.measure, case.task, run.predictions / "test.npz")
        for name, run in (("healthy", healthy), ("sick", sick))
    }
    return {
        "task": case.task.name,
        "fault": case.fault,
        "seed": case.seed,
        "measure": case.measure,
        **said,
        "treated": figure_of_winner(case, found),
        "outcome": found.outcome,
        "attempts": [f"{attempt.patch.finding}: {', '.join(sorted(attempt.patch.keys))}" for attempt in found.record.attempts],
        "reason": found.reason,
        "seconds": time.monotonic() - begun,
    }


def figure_of_winner(case: Case, found: Treatment) -> float | None:
    """On the test set, of the proven arm; None: nothing was proven, and the run as it was stays in use."""
    if found.winner is None:
        return None
    arm = found.record.groups[found.winner.group].arms[0]
    path = found.folder.test / f"{arm.name}.npz"
    return figure(case.measure, case.task, path) if path.is_file() else None


def gap(one: dict[str, Any]) -> float:
    """What the fault cost."""
    return float(one["healthy"] - one["sick"])


def recovered(one: dict[str, Any]) -> float:
    """Share of what the fault cost that the proven arm brings back; 0: nothing was proven."""
    return 0.0 if one["treated"] is None else float((one["treated"] - one["sick"]) / gap(one))


def row(one: dict[str, Any]) -> str:
    """One case."""
    after = "–" if one["treated"] is None else f"{one['treated']:.3f}"
    about = f"{one['outcome']} | {'; '.join(one['attempts']) or one['reason'][:80]} | {one['seconds']:.0f}"
    figures = f"{one['measure']} | {one['healthy']:.3f} | {one['sick']:.3f} | {after}"
    return f"| {one['task']} | {one['fault']} | {one['seed']} | {figures} | {about} |"


def summary(cases: list[dict[str, Any]]) -> list[str]:
    """The table, and what all cases come to."""
    lines = ["| task | fault | seed | figure | healthy | sick | treated | verdict | prescriptions | s |", f"|{'--|' * 10}"]
    lines += [row(one) for one in cases]
    ill = [one for one in cases if gap(one) >= HARM]
    lines.append(f"\n{len(cases)} cases; in {len(ill)} the fault cost {HARM} or more.")
    if not ill:
        return lines
    for what, outcome, of in (("helped against both controls", "helped", ill), ("harmed", "harmed", cases)):
        count = sum(one["outcome"] == outcome for one in of)
        low, high = wilson(count, len(of))
        lines.append(f"{what}: {count} of {len(of)} ({count / len(of):.2f}, {low:.2f}–{high:.2f})")
    helped = [recovered(one) for one in ill if one["outcome"] == "helped"]
    lines.append(f"share of the gap recovered, median of all that were harmed: {statistics.median(map(recovered, ill)):.2f}")
    if helped:
        lines.append(f"of those helped: {statistics.median(helped):.2f}")
    return lines


def bench_recipe(task: Task) -> Recipe:
    """The bench's network, to stand where Osler's small one does."""
    return Recipe(lambda channels, size, from_hub: BenchNetwork(task.widths), "The network of the doctor's benchmark.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["triage", "organs", "seldom"], choices=list(TASKS))
    parser.add_argument("--faults", nargs="+", choices=list(FAULTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/treat"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results = options.out / "results.json"
    cases: list[dict[str, Any]] = json.loads(results.read_text()) if results.is_file() else []
    done = {(one["task"], one["fault"], one["seed"]) for one in cases}
    for seed in () if options.table else options.seeds:
        for task in map(TASKS.__getitem__, options.tasks):
            BACKBONES["small"] = bench_recipe(task)
            for name in treatable(task):
                if (task.name, name, seed) not in done and (options.faults is None or name in options.faults):
                    cases.append(treated(Case(task, name, seed), options.minutes, options.out))
                    write_json(results, cases)
                    print(row(cases[-1]), flush=True)
    print("\n".join(summary(cases)))


if __name__ == "__main__":
    main()
