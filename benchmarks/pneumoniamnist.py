"""PneumoniaMNIST at 28 pixels, official split, mean of three seeds; everything chosen on val, test looked at once a seed.

    OSLER_TEST_DATA=... python benchmarks/pneumoniamnist.py [--seeds 1 2 3] [key=value ...]

Published on the same data and size: ResNet-18 0.944 / 0.854 and ResNet-50 0.948 / 0.854 (AUC / accuracy, MedMNIST v2,
arXiv 2110.14795); a commercial AutoML service 0.991 / 0.946.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

from calibration import calibration_seconds

from osler.config import load_config
from osler.evaluate import evaluate_run
from osler.train.fit import train_run

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "pneumoniamnist.yaml"


def run_seed(seed: int, overrides: list[str], folder: Path) -> tuple[float, float, float]:
    """Test AUC, test accuracy at the threshold chosen on val, and minutes of one seed."""
    data = Path(os.environ["OSLER_TEST_DATA"]) / "pneumoniamnist.npz"
    config = load_config(CONFIG, [f"data.path={data}", f"training.seed={seed}", f"run.folder={folder}", *overrides])
    start = time.perf_counter()
    run = train_run(config)
    minutes = (time.perf_counter() - start) / 60
    overall = evaluate_run(run.path).data()["splits"]["test"]["macro"]
    return overall["auc"]["value"], overall["accuracy"]["value"], minutes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--runs", type=Path, default=Path("benchmarks/results/pneumoniamnist"))
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    print(f"calibration: {calibration_seconds():.2f} s")
    print("| seed | test AUC | test accuracy | minutes |\n|--|--|--|--|", flush=True)
    rows = []
    for seed in options.seeds:
        rows.append(run_seed(seed, options.overrides, options.runs))
        print("| {} | {:.4f} | {:.4f} | {:.1f} |".format(seed, *rows[-1]), flush=True)
    print("| mean | {:.4f} | {:.4f} | {:.1f} |".format(*(statistics.mean(column) for column in zip(*rows, strict=True))))


if __name__ == "__main__":
    main()
