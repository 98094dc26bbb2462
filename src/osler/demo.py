"""`osler demo`: the way through the house on synthetic radiographs, in under three minutes on two cores."""

from __future__ import annotations

import sys
from pathlib import Path

from osler.config import load_config
from osler.doctor.command import diagnose_sources
from osler.evaluate import evaluate_run
from osler.runs.card import INTENDED_USE
from osler.train.fit import train_run

__all__ = ["DEMO", "run_demo"]

# configs/phantom.yaml says the same with comments; a test holds the two equal.
DEMO = {
    "run": {"name": "demo"},
    "data": {
        "source": "phantom",
        "phantom": {
            "samples": 1200,
            "size": 128,
            "findings": ["nodule", "effusion", "cardiomegaly"],
            "prevalence": 0.15,
            "difficulty": 0.5,
        },
    },
    "model": {"architecture": "efficientnet_lite0", "pretrained": "embedded"},
    "loss": {"type": "bce"},
    "training": {"epochs": 3, "batch_size": 32, "learning_rate": 1e-3, "schedule": "one_cycle"},
}


def run_demo(folder: Path | None = None) -> Path:
    """Trains on the phantom, evaluates, and returns where the page is; what it finds on the way is said on stderr."""

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    say("1,200 synthetic chest radiographs, three findings, each in 15 % of the images. No patient's data are involved.")
    run = train_run(load_config(DEMO), folder)
    evaluation = evaluate_run(run.path)
    say(INTENDED_USE)
    say(evaluation.summary())
    say(f"\nThe doctor on this run:\n{diagnose_sources([run.path]).text()}")
    say(f"\nRun: {run.path}\nThe page of the evaluation:")
    return evaluation.page
