"""How often a treatment cures: severe faults of a configuration on phantom tasks, treated automatically against both controls.

    python benchmarks/treat.py [--faults lr_high lr_low ...] [--seeds 1] [--minutes 3] [--story] [--out benchmarks/results/treat]

For each fault and seed: the sick configuration is trained, treated (`osler treat --controls full --yes`), and its healthy twin is
trained as the reference. Reported: verdicts; the share of faults that harmed the run at all (its AUC is below the healthy one's
by 0.05); of these the share helped, harmed, and the median share of the gap to the healthy test AUC that the treated arm
recovers. Results are written after each fault, and the same command goes on from there.

--story: run A's configuration in small (BCE with a weight of 9.07, a rate of 1e-3), as `osler demo` tells it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from osler.config import Config, load_config, merge
from osler.files import write_json
from osler.metrics.ranking import auc
from osler.runs.folder import RunFolder
from osler.runs.predictions import Predictions
from osler.train.fit import resume_run, train_run
from osler.treat import Treatment, treat_run

HEALTHY: dict[str, Any] = {
    "data": {
        "phantom": {"samples": 900, "size": 32, "findings": ["cardiomegaly"], "prevalence": 0.3, "difficulty": 0.0},
        "split": {"ratio": [0.4, 0.4, 0.2]},
        "workers": 1,
    },
    "model": {"architecture": "small"},
    "augmentation": None,
    "training": {"epochs": 8, "batch_size": 16, "learning_rate": 3e-3, "device": "cpu", "threads": 1},
}
RATE = HEALTHY["training"]["learning_rate"]
FAULTS: dict[str, dict[str, Any]] = {
    "lr_high": {"training": {"learning_rate": 1000 * RATE}},
    "lr_low": {"training": {"learning_rate": RATE / 1000}},
    "weight_high": {"loss": {"type": "bce", "pos_weight": 230.0}},
    "weight_inverted": {"loss": {"type": "bce", "pos_weight": 0.043}},
    "focal_alpha": {"loss": {"type": "focal", "alpha": 0.02}},
    "double_correction": {"data": {"sampler": "balanced"}, "loss": {"type": "bce", "pos_weight": 23.0}},
    "few_epochs": {"training": {"epochs": 1}},
    "warmup": {"training": {"warmup_epochs": 7.6}},
    "frozen": {"training": {"phases": [{"train": "head", "epochs": 8}]}},
    "decay": {"training": {"weight_decay": 30.0}},
}
STORY: dict[str, Any] = {
    "data": {
        "phantom": {"samples": 1000, "prevalence": 0.1, "images_per_patient": 1.2},
        "split": {"ratio": [0.45, 0.4, 0.15]},
    },
    "loss": {"type": "bce", "pos_weight": 9.07},
    "training": {"epochs": 5, "learning_rate": 1e-3, "optimizer": "sgd"},
}
HARM = 0.05


def configuration(over: Mapping[str, Any], seed: int, out: Path) -> Config:
    """The healthy configuration with a fault laid over it."""
    cache = {"data": {"cache": str(out / "cache"), "phantom": {"seed": seed}, "split": {"seed": seed}}}
    return load_config(merge(merge(merge(HEALTHY, cache), {"training": {"seed": seed}}), over))


def trained(config: Config, folder: Path) -> RunFolder:
    """The run in this folder, trained as far as it was not."""
    if (folder / "card.json").is_file():
        return RunFolder.open(folder)
    return resume_run(folder) if (folder / "config.yaml").is_file() else train_run(config, folder)


def test_auc(run: RunFolder) -> float:
    """AUC of the test set."""
    said = Predictions.load(run.predictions / "test.npz")
    return auc(said.targets[:, 0], said.probabilities[:, 0])


def case(name: str, seed: int, minutes: float, out: Path) -> dict[str, Any]:
    """One fault, treated, with its healthy twin."""
    healthy = trained(configuration({}, seed, out), out / f"healthy-{seed}")
    sick = trained(configuration(FAULTS[name], seed, out), out / f"{name}-{seed}")
    begun = time.monotonic()
    found = treat_run(sick.path, controls="full", minutes=minutes, seeds=1, inline=True, say=lambda text: None)
    return {
        "fault": name,
        "seed": seed,
        "healthy": test_auc(healthy),
        "sick": test_auc(sick),
        "treated": treated_auc(found),
        "outcome": found.outcome,
        "attempts": [attempt.patch.finding for attempt in found.record.attempts],
        "reason": found.reason,
        "seconds": time.monotonic() - begun,
    }


def treated_auc(found: Treatment) -> float | None:
    """Test AUC of the arm that the treatment leaves: the proven one, else the run as it was stays in use."""
    if found.winner is None:
        return None
    arm = found.record.groups[found.winner.group].arms[0]
    said = Predictions.load(found.folder.test / f"{arm.name}.npz")
    return auc(said.targets[:, 0], said.probabilities[:, 0])


def summary(cases: list[dict[str, Any]]) -> list[str]:
    """The table, and what all cases come to."""
    lines = ["| fault | seed | healthy | sick | treated | verdict | prescriptions | s |", "|--|--|--|--|--|--|--|--|"]
    recovered = []
    for one in cases:
        treated = "–" if one["treated"] is None else f"{one['treated']:.3f}"
        about = f"{one['outcome']} | {', '.join(one['attempts'])} | {one['seconds']:.0f}"
        lines.append(f"| {one['fault']} | {one['seed']} | {one['healthy']:.3f} | {one['sick']:.3f} | {treated} | {about} |")
        gap = one["healthy"] - one["sick"]
        if gap >= HARM:
            after = one["sick"] if one["treated"] is None else one["treated"]
            recovered.append((after - one["sick"]) / gap)
    ill = [one for one in cases if one["healthy"] - one["sick"] >= HARM]
    helped = sum(one["outcome"] == "helped" for one in ill)
    lines.append(f"\nOf {len(cases)} faults {len(ill)} cost 0.05 of AUC or more; of these {helped} helped against both controls.")
    lines.append(f"Harmed: {sum(one['outcome'] == 'harmed' for one in cases)} of {len(cases)}.")
    if recovered:
        lines.append(f"Share of the gap to the healthy test AUC recovered, median: {statistics.median(recovered):.2f}.")
    return lines


def story(out: Path, minutes: float) -> None:
    """Run A in small."""
    begun = time.monotonic()
    sick = trained(configuration(STORY, 1, out), out / "story")
    found = treat_run(sick.path, minutes=minutes, seeds=1, say=print)
    print(found.text())
    print(f"{time.monotonic() - begun:.0f} s; {found.folder.page}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", nargs="+", default=list(FAULTS), choices=list(FAULTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--story", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/treat"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.story:
        story(options.out, options.minutes)
        return
    results = options.out / "results.json"
    cases = json.loads(results.read_text()) if results.is_file() else []
    for seed in options.seeds:
        for name in options.faults:
            if not any(one["fault"] == name and one["seed"] == seed for one in cases):
                cases.append(case(name, seed, options.minutes, options.out))
                write_json(results, cases)
    print("\n".join(summary(cases)))


if __name__ == "__main__":
    main()
