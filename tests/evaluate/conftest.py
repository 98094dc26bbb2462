"""Runs as training leaves them, drawn from normal distributions whose AUC is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from osler.config import PreparationConfig, load_config
from osler.files import write_json
from osler.imaging.preparation import Preparation
from osler.metrics.cases import CaseTable, measure_case
from osler.metrics.decision import choose_threshold
from osler.metrics.overlap import level_of, probability_at
from osler.predict import probabilities_of
from osler.runs.card import Card
from osler.runs.folder import RunFolder
from osler.runs.mask_predictions import LevelMaps, MaskPredictions
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


# --- masks ------------------------------------------------------------------------------------------------------------------


@dataclass
class MaskRun:
    """A segmenter's run, and the images of its cases by id."""

    folder: RunFolder
    images: dict[str, tuple[np.ndarray, np.ndarray]]

    def read(self, ids: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        return [self.images[name] for name in ids]


MakeMaskRun = Callable[..., MaskRun]


def draw_case(rng: np.random.Generator, classes: int, skill: float, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (1, H, W), truth and logits (K, H, W): spots on clouds, sometimes none, and a spot seen in vain."""
    cloud = ndimage.gaussian_filter(rng.normal(size=(size, size)), size / 12)
    image = 90 + 40 * cloud / cloud.std() + rng.normal(size=(size, size)) * 6
    grid = np.mgrid[:size, :size]
    truth = np.zeros((classes, size, size), np.uint8)
    field = np.full((classes, size, size), -1.6)
    for k in range(classes):
        spots = 0 if rng.random() < 0.25 else rng.integers(1, 6)
        for number in range(spots + (rng.random() < 0.4)):
            centre, radius = rng.uniform(0.1, 0.9, 2) * size, size * np.exp(rng.uniform(-4.3, -2.2))
            bump = 1 - np.sqrt((((grid - centre[:, None, None]) / radius) ** 2).sum(axis=0))
            if number < spots:
                truth[k] |= bump > 0
                image = np.where(bump > 0, image + 60, image)
            seen = 1.0 if number < spots and rng.random() < 0.6 + 0.1 * radius else rng.uniform(0.3, 1.0)
            field[k] = np.maximum(field[k], seen * (2 + rng.normal() * 0.3) * np.clip(bump + 0.8, 0, 1) - 1.6)
    smooth = ndimage.gaussian_filter(rng.normal(size=field.shape), (0, 2, 2))
    logits = skill * field + smooth / smooth.std()
    return np.clip(image, 0, 255).astype(np.uint8)[None], truth, logits


def mask_predictions(
    run: RunFolder, split: str, classes: Sequence[str], *, cases: int, per_patient: int | None, skill: float, size: int, seed: int
) -> tuple[MaskPredictions, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Predictions of a split with their maps, and the images by id."""
    rng = np.random.default_rng(seed)
    maps, images, measured = LevelMaps(run.predictions / split), {}, []
    limits = np.full(len(classes), 129, np.uint8)
    for row in range(cases):
        image, truth, logits = draw_case(rng, len(classes), skill, size)
        levels = level_of(logits)
        maps.write(row, levels)
        measured.append(measure_case(levels, truth, limits))
        images[f"{split}/{row}.png"] = (image, truth)
    patients = None if per_patient is None else np.array([f"{split}-p{row // per_patient}" for row in range(cases)])
    table = CaseTable.of(measured, limits).arrays()
    return MaskPredictions(np.array(list(images)), tuple(classes), table, patients, maps), images


@pytest.fixture
def make_mask_run(tmp_path: Path) -> MakeMaskRun:
    """Makes a segmenter's run: make_mask_run(["lesion"], test=30, per_patient=3)."""

    def make(
        classes: Sequence[str] = ("lesion",),
        *,
        val: int = 6,
        test: int | None = 16,
        per_patient: int | None = 2,
        skill: float = 5.0,
        size: int = 64,
        epochs: int = 0,
        config: object = None,
    ) -> MaskRun:
        base = {"data": {"task": "segmentation", "classes": list(classes)}, "evaluation": {"bootstrap": 100, "threshold": "f1"}}
        resolved = load_config({**base, **(config or {})})  # type: ignore[dict-item]
        run = RunFolder.create(resolved, tmp_path / f"masks-{len(classes)}")
        run.write_config(resolved)
        images: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        tables = []
        for seed, (split, count) in enumerate({"val": val, **({} if test is None else {"test": test})}.items()):
            drawn = {"cases": count, "per_patient": per_patient, "skill": skill, "size": size, "seed": seed}
            one, shown = mask_predictions(run, split, classes, **drawn)  # type: ignore[arg-type]
            one.save(run.predictions / f"{split}.npz")
            images |= shown
            sexes = np.random.default_rng(5).choice(["F", "M"], count)
            tables.append(pd.DataFrame({"id": one.ids, "split": split, "metadata.sex": sexes}))
        pd.concat(tables).to_csv(run.splits_file, index=False)
        preparation = Preparation(PreparationConfig(size=size, channels=1))
        card = Card(
            task="segmentation",
            classes=tuple(classes),
            negative="background",
            architecture="compact",
            preparation=preparation.describe(),
            fingerprint=preparation.fingerprint(),
            thresholds=dict.fromkeys(classes, float(probability_at(129))),
            threshold_rule="the largest Dice of pooled pixels on val",
            weights="raw",
            best_epoch=2,
            data={"source": "masks", "synthetic": False},
        )
        run.write(run.card_file, card.to_json())
        for epoch in range(1, epochs + 1):
            split_vitals = {"n": 8, "loss": {"value": 0.5 / epoch}, "macro": {"dice": 0.2 * epoch}}
            rates = {"start": 1e-3, "end": 1e-3 / epoch}
            append_vitals(run.vitals_file, {"epoch": epoch, "learning_rate": rates, "train": split_vitals, "val": split_vitals})
        return MaskRun(run, images)

    return make
