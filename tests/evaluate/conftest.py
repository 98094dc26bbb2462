"""Runs as training leaves them, drawn from normal distributions whose AUC is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from osler.config import PreparationConfig, load_config
from osler.files import write_json
from osler.imaging.preparation import Preparation
from osler.metrics.decision import choose_threshold
from osler.predict import probabilities_of
from osler.runs.card import Card
from osler.runs.folder import RunFolder
from osler.runs.predictions import Predictions
from osler.runs.vitals import append_vitals

MakeRun = Callable[..., RunFolder]


def predictions_of(task: str, size: int, prevalence: Sequence[float], skill: float, seed: int) -> Predictions:
    """N samples of about 0.6 N patients; `skill` is the distance of positives from negatives in standard deviations."""
    rng = np.random.default_rng(seed)
    classes = len(prevalence)
    if task == "multiclass":
        targets = np.eye(classes)[rng.choice(classes, size, p=np.array(prevalence) / sum(prevalence))]
    else:
        targets = (rng.random((size, classes)) < np.array(prevalence)).astype(float)
    logits = (rng.normal(size=(size, classes)) + skill * targets - 1).astype(np.float32)
    ids = np.array([f"{seed}-{row}" for row in range(size)])
    patients = np.array([f"p{number}" for number in rng.integers(0, int(0.6 * size), size)])
    return Predictions(ids, targets.astype(np.float32), logits, probabilities_of(logits, task), patients)


def card_of(task: str, classes: Sequence[str], val: Predictions) -> Card:
    preparation = Preparation(PreparationConfig(size=32, channels=1))
    thresholds = {name: choose_threshold("youden", val.targets[:, k], val.probabilities[:, k]) for k, name in enumerate(classes)}
    return Card(
        task=task,
        classes=tuple(classes),
        negative="normal",
        architecture="small",
        preparation=preparation.describe(),
        fingerprint=preparation.fingerprint(),
        thresholds={} if task == "multiclass" else thresholds,
        threshold_rule="youden, chosen on val",
        weights="raw",
        best_epoch=2,
        data={"source": "csv", "synthetic": False},
    )


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Makes a run folder: make_run("binary", ["nodule"], test=200, config={"evaluation": ...})."""

    def make(
        task: str, classes: Sequence[str], *, val: int = 150, test: int | None = 150, skill: float = 1.5, config: object = None
    ) -> RunFolder:
        base = {"data": {"task": task, "classes": list(classes)}, "evaluation": {"bootstrap": 100, "subgroups": ["sex", "age"]}}
        resolved = load_config({**base, **(config or {})})  # type: ignore[dict-item]
        run = RunFolder.create(resolved, tmp_path / f"run-{task}")
        run.write_config(resolved)
        sizes = {"val": val} if test is None else {"val": val, "test": test}
        prevalence = [0.3] * len(classes) if task != "binary" else [0.3]
        predictions = {
            split: predictions_of(task, size, prevalence, skill, seed) for seed, (split, size) in enumerate(sizes.items())
        }
        rng = np.random.default_rng(9)
        tables = []
        for split, one in predictions.items():
            one.save(run.predictions / f"{split}.npz")
            columns = {"metadata.sex": rng.choice(["F", "M"], len(one)), "metadata.age": rng.integers(1, 95, len(one))}
            tables.append(pd.DataFrame({"id": one.ids, "split": split, "patient": one.patients, **columns}))
        pd.concat(tables).to_csv(run.splits_file, index=False)
        run.write(run.card_file, card_of(task, classes, predictions["val"]).to_json())
        write_json(run.facts_file, {"loss.type": "bce", "loss.pos_weight": [4.4], "training.learning_rate": 1e-3})
        write_json(run.env_file, {"versions": {"python": "3.11"}, "device": "cpu"})
        for epoch in (1, 2, 3):
            split = {"n": 150, "loss": {"value": 0.5 / epoch, "se": 0.01}, "floor": 0.45, "macro": {"auc": 0.6 + 0.1 * epoch}}
            rates = {"start": 1e-3, "end": 1e-3 / epoch}
            phase = {"index": int(epoch > 1), "train": "head" if epoch == 1 else "all"}
            vitals = {"epoch": epoch, "phase": phase, "learning_rate": rates, "train": split, "val": split}
            append_vitals(run.vitals_file, vitals)
        return run

    return make
