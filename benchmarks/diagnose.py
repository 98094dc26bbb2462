"""What a diagnosis costs: one log, and a thousand, through the command line as a person calls it.

    python benchmarks/diagnose.py [--runs 1000] [--rounds 10]

Each figure is user and system time together (and the wall clock beside it) of a fresh `python -m osler diagnose --json`, the
start of Python and all imports included. One log: the median and the largest of the rounds, a run of 30 epochs and twelve
columns with its facts. Many: CSV logs of 8 to 60 epochs, healthy and not, each in a folder of its own, all handed to one command.
Targets: one run under 0.5 s, 1,000 under 60 s.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from calibration import calibration_seconds

FACTS = ("task=binary", "loss.type=bce", "loss.pos_weight=2.0", "prevalence=0.1", "samples.val=2000", "training.epochs=100")
COLUMNS = (
    "epoch,train_loss,val_loss,train_accuracy,val_accuracy,train_auc,val_auc,val_precision,val_recall,val_f1,learning_rate,"
    "gradient_norm"
)


def write_log(path: Path, number: int, epochs: int) -> None:
    """A CSV log: one in three learns, one stands at chance, one is learned by heart."""
    generator = np.random.default_rng(number)
    course = 1 - np.exp(-np.arange(1, epochs + 1) / generator.uniform(2, 8))
    trained = course if number % 3 != 1 else np.zeros(epochs)
    carried = trained * (1 if number % 3 == 0 else np.exp(-np.arange(epochs) / 20))
    jitter = generator.normal(0, 0.01, (11, epochs))
    base = [
        0.69 - 0.4 * trained, 0.69 - 0.3 * carried + 0.3 * (trained - carried), 0.6 + 0.3 * trained, 0.6 + 0.25 * carried,
        0.5 + 0.45 * trained, 0.5 + 0.35 * carried, 0.2 + 0.4 * carried, 0.3 + 0.5 * carried, 0.2 + 0.45 * carried,
        1e-3 * 0.5 * (1 + np.cos(np.pi * np.arange(epochs) / epochs)), 0.8 + 0.5 * trained,
    ]  # fmt: skip
    figures = np.clip(np.stack(base) + jitter * np.r_[np.ones(9), 0, 1][:, None], 0, 1)
    rows = [f"{epoch + 1}," + ",".join(f"{value:.6g}" for value in figures[:, epoch]) for epoch in range(epochs)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([COLUMNS, *rows]) + "\n", encoding="utf-8")


def measured(logs: list[Path], facts: tuple[str, ...] = ()) -> tuple[float, float, int]:
    """Processor seconds, wall seconds and the number of diagnosed runs of one command over these logs."""
    options = [part for fact in facts for part in ("--fact", fact)]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "osler", "diagnose", *map(str, logs), "--json", *options],
        capture_output=True,
        text=True,
        check=True,
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    runs = json.loads(done.stdout)["runs"]
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall, len(runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    print(f"calibration: {calibration_seconds():.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        one = Path(folder) / "one" / "log.csv"
        write_log(one, 1, 30)
        measured([one], FACTS)  # compiles what is not compiled yet
        single = [measured([one], FACTS) for _ in range(options.rounds)]
        logs = [Path(folder) / f"run{number:05d}" / "log.csv" for number in range(options.runs)]
        lengths = np.random.default_rng(0).integers(8, 61, options.runs)
        for number, (path, epochs) in enumerate(zip(logs, lengths.tolist(), strict=True)):
            write_log(path, number, epochs)
        many = measured(logs)
    assert many[2] == options.runs, f"{many[2]} of {options.runs} runs came back"
    processor = [each[0] for each in single]
    print("| what | processor s | wall s |\n|--|--|--|")
    middle, wall = statistics.median(processor), statistics.median(each[1] for each in single)
    print(f"| one run, median of {options.rounds} (largest {max(processor):.2f}) | {middle:.2f} | {wall:.2f} |")
    print(f"| {options.runs} runs | {many[0]:.1f} | {many[1]:.1f} |")


if __name__ == "__main__":
    main()
