"""Pneumonia screening on Kermany's chest X-rays, against a logistic regression on frozen features of the same network.

    OSLER_TEST_DATA=... python benchmarks/chest_xray.py [--run RUN] [key=value ...]

Both sides see the same prepared images and the same splits. The regression's strength is chosen on val. Targets: AUC > 0.95,
accuracy > 0.90, sensitivity > 0.90, specificity > 0.85; and the lower bound of the paired AUC difference (DeLong) above −0.01.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from calibration import calibration_seconds
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from osler.config import load_config
from osler.data.cache import cache_folder, open_cache
from osler.data.load import load_data
from osler.evaluate import evaluate_run
from osler.imaging.preparation import Preparation
from osler.metrics.ranking import auc, delong_test
from osler.models.classifier import ModelSpec, build_model
from osler.runs.folder import RunFolder
from osler.runs.predictions import Predictions
from osler.runs.vitals import read_vitals
from osler.train.fit import train_run

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "chest_xray.yaml"
STRENGTHS = (0.001, 0.01, 0.1, 1.0)

Floats = NDArray[np.floating[Any]]


def frozen_probe(run: RunFolder) -> Floats:
    """Test scores of the logistic regression on pooled features of the pretrained network, in the run's order."""
    config = run.config()
    data = load_data(config.data)
    cache = open_cache(data.source, Preparation(config.preparation), cache_folder(config.data.cache))
    cache.ensure(np.concatenate(list(data.rows.values())))
    spec = ModelSpec("binary", 1, int(config.preparation.channels), int(config.preparation.size))
    model = build_model(config.model, spec).eval()

    @torch.inference_mode()
    def features(split: str) -> Floats:
        rows = data.rows[split]
        parts = [rows[start : start + 32] for start in range(0, len(rows), 32)]
        return np.concatenate([model.features(torch.from_numpy(cache.gather(part))).numpy() for part in parts])

    x = {split: features(split) for split in ("train", "val", "test")}
    fitted = []
    for strength in STRENGTHS:
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
        probe.fit(x["train"], data.targets("train")[:, 0])
        fitted.append((auc(data.targets("val")[:, 0], probe.decision_function(x["val"])), probe))
    best = max(fitted, key=lambda pair: pair[0])[1]
    scores: Floats = best.decision_function(x["test"])
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a finished run, instead of training one")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    path = Path(os.environ["OSLER_TEST_DATA"]) / "chest_xray"
    overrides = [f"data.path={path}", "run.folder=benchmarks/results/chest_xray", *options.overrides]
    print(f"calibration: {calibration_seconds():.2f} s")
    run = RunFolder.open(options.run) if options.run else train_run(load_config(CONFIG, overrides))
    evaluation = evaluate_run(run.path)
    figures = evaluation.data()["splits"]["test"]["macro"]
    print("| figure | value | 95 % interval |\n|--|--|--|")
    for name in ("auc", "accuracy", "sensitivity", "specificity"):
        figure = figures[name]
        print(f"| {name} | {figure['value']:.4f} | {figure['low']:.4f} to {figure['high']:.4f} |")
    test = Predictions.load(run.predictions / "test.npz")
    probe = frozen_probe(run)
    paired = delong_test(test.targets[:, 0], test.logits[:, 0], probe)
    print(f"| logistic regression on frozen features: AUC | {auc(test.targets[:, 0], probe):.4f} | |")
    print(f"| difference of AUC, paired | {paired.difference:.4f} | {paired.low:.4f} to {paired.high:.4f} |")
    minutes = sum(vitals["seconds"]["epoch"] for vitals in read_vitals(run.vitals_file)) / 60
    print(f"| minutes of training | {minutes:.1f} | |")


if __name__ == "__main__":
    main()
