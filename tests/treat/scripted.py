"""A runner that trains nothing: arms answer as a script says, with the ids and targets of their own data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from osler.config import load_config
from osler.data.load import load_data
from osler.runs.card import Card
from osler.runs.folder import RunFolder
from osler.runs.predictions import Predictions
from osler.runs.vitals import append_vitals

Answer = dict[str, Any]


def predicted(config: Any, split: str, strength: float, seed: int) -> Predictions:
    data = load_data(config.data)
    rows = data.rows[split]
    targets = data.source.targets[rows]
    logits = (strength * (targets - 0.5) + np.random.default_rng(seed).normal(size=targets.shape)).astype(np.float32)
    patients = None if data.source.patients is None else data.source.patients[rows]
    return Predictions(data.source.ids[rows], targets, logits, 1 / (1 + np.exp(-logits)), patients)


def write_arm(folder: Path, config_file: Path, strength: float) -> None:
    config = load_config(config_file)
    run = RunFolder.create(config, folder)
    run.write_config(config)
    for split in ("val", "test"):
        predicted(config, split, strength, config.training.seed).save(run.predictions / f"{split}.npz")
    classes = ("cardiomegaly",)
    card = Card("binary", classes, "negative", "small", {}, "f", {classes[0]: 0.5}, "youden", "raw", 1, {})
    run.write(run.card_file, card.to_json())
    figures = {
        "n": 30,
        "loss": {"value": 0.69, "se": 0.05, "n": 30},
        "classes": {classes[0]: {"auc": 0.5, "positives": 10, "n": 30}},
    }
    for epoch in (1, 2, 3):
        monitor = {"name": "macro_auc", "value": 0.5 + 0.1 * strength, "best": 0.5 + 0.1 * strength}
        append_vitals(
            run.vitals_file, {"epoch": epoch, "train": figures, "val": figures, "monitor": monitor, "seconds": {"epoch": 1}}
        )


class Scripted:
    """Answers jobs by `script(arm name)`: a strength of the arm's predictions, or an answer to give instead."""

    def __init__(self, script: Callable[[str], float | Answer | BaseException]) -> None:
        self.script = script
        self.trained: list[str] = []
        self.closed = 0

    def run(self, job: Mapping[str, Any], watch: Callable[[], bool]) -> Answer:
        name = Path(job["folder"]).name
        told = self.script(name)
        if isinstance(told, BaseException):
            raise told
        if isinstance(told, dict):
            return told
        if job["do"] == "test":
            predicted(load_config(Path(job["data"])), "test", told, 5).save(Path(job["out"]))
        else:
            self.trained.append(name)
            write_arm(Path(job["folder"]), Path(job["config"]), told)
        watch()
        return {"status": "done", "reason": ""}

    def close(self) -> None:
        self.closed += 1
