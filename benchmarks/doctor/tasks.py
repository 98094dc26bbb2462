"""The tasks that faults are put into: small sets of synthetic radiographs, drawn once and held in memory.

Rules of the doctor are developed on the tasks that are not held out; the others differ from them in finding, kind, size of
image, optimiser and batch, and their runs are for measuring only.

    task     kind         held out   what
    heart    binary       no         enlarged heart, 35 %
    films    multilabel   no         three findings, 15 to 25 %
    scarce   binary       no         enlarged heart, 1.6 %
    states   multiclass   yes        normal and three findings that exclude each other, SGD
    seldom   binary       yes        consolidation, 1.8 %, 40 pixels

A task that segments will stand in the same table, with its own `kind` and network.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.config import Config, DataConfig, load_config, merge
from osler.data.load import Data, check_data
from osler.data.phantom import draw_phantom, phantom_samples
from osler.data.samples import Samples
from osler.data.split import split_samples, stratified_subset
from osler.imaging.preparation import Preparation

__all__ = ["TASKS", "Pool", "Task", "draw_pool", "seed_data", "whole_config"]

IMAGES = Path(__file__).resolve().parents[1] / "results" / "doctor" / "images"
"""Where drawn images are kept between commands; they can always be drawn again."""

COMMON: dict[str, Any] = {
    "data": {"split": {"ratio": [2, 1, 0]}, "workers": 1},
    "preparation": {"channels": 1},
    "augmentation": {"rotation": 5, "shift": 0.03, "zoom": 0.05, "horizontal_flip": 0.0, "brightness": 0.05, "contrast": 0.05},
    "model": {"architecture": "small", "dropout": 0.1},
    "training": {
        "epochs": 12,
        "batch_size": 16,
        "learning_rate": 5e-3,
        "monitor": "macro_auc",
        "device": "cpu",
        "threads": 1,
        "precision": "fp32",
    },
}


@dataclass(frozen=True, eq=False)
class Task:
    """A set of images to learn, and how a healthy run learns it.

    Attributes:
        name: as in the table above.
        held_out: its runs are not looked at when rules are changed.
        samples: images of train and val together; drawn anew from the pool for every seed.
        pool: images that these are drawn from.
        test: images of the fixed test set, from the same generator.
        widths: of the network's stages.
        sections: of the configuration, over `COMMON`.
    """

    name: str
    held_out: bool
    samples: int
    pool: int
    test: int
    sections: dict[str, Any]
    widths: tuple[int, int, int] = (12, 24, 32)
    kind: str = field(default="binary")

    @property
    def config(self) -> Config:
        """The configuration of the healthy reference, with the images of pool and test together."""
        return whole_config(self, {})


def _phantom(kind: str, findings: list[str], prevalence: float | list[float], size: int, difficulty: float) -> dict[str, Any]:
    return {
        "task": kind,
        "phantom": {
            "findings": findings,
            "prevalence": prevalence,
            "size": size,
            "difficulty": difficulty,
            "images_per_patient": 1.0,
        },
    }


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("heart", False, 480, 1500, 1000, {"data": _phantom("binary", ["cardiomegaly"], 0.35, 32, 0.4)}),
        Task(
            "films",
            False,
            540,
            1600,
            1000,
            {"data": _phantom("multilabel", ["cardiomegaly", "consolidation", "mass"], [0.25, 0.2, 0.15], 32, 0.0)},
            kind="multilabel",
        ),
        Task(
            "scarce",
            False,
            1500,
            4000,
            3000,
            {
                "data": {**_phantom("binary", ["cardiomegaly"], 0.016, 32, 0.3), "sampler": "balanced"},
                "training": {"batch_size": 32, "epochs": 10},
            },
        ),
        Task(
            "states",
            True,
            600,
            1800,
            1000,
            {
                "data": _phantom("multiclass", ["consolidation", "cardiomegaly", "mass"], [0.2, 0.2, 0.2], 32, 0.0),
                "training": {"optimizer": "sgd", "learning_rate": 5e-2, "batch_size": 24},
            },
            kind="multiclass",
        ),
        Task(
            "seldom",
            True,
            1500,
            4000,
            3000,
            {
                "data": {**_phantom("binary", ["consolidation"], 0.018, 40, 0.0), "sampler": "balanced"},
                "training": {"optimizer": "adam", "batch_size": 32},
            },
            widths=(8, 16, 40),
        ),
    )
}


def whole_config(task: Task, sections: dict[str, Any]) -> Config:
    """The configuration of a run: the task's, with a fault's or a variant's sections over it."""
    values = merge(merge(COMMON, task.sections), {"data": {"phantom": {"samples": task.pool + task.test}}})
    return load_config(merge(values, sections))


@dataclass(frozen=True)
class Pool:
    """The images of a task, prepared; takes the place of the packed cache.

    Attributes:
        images: (N, 1, side, side) uint8; the last `test` of them are the test set.
        samples: ids, targets and classes of all N.
        preparation: what was done to the pixels: nothing.
        notes: for the facts of a run.
    """

    images: NDArray[np.uint8]
    samples: Samples
    preparation: Preparation
    notes: tuple[str, ...] = ()

    def gather(self, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        """The images of these rows, (B, 1, side, side)."""
        return self.images[rows]


@cache
def draw_pool(task: Task) -> Pool:
    """Draws a task's images, or reads them where an earlier command has drawn them."""
    config = task.config
    samples = phantom_samples(config.data)
    key = hashlib.sha256(repr((config.data.phantom, config.data.task, samples.images.identity(0))).encode()).hexdigest()[:12]
    path = IMAGES / f"{task.name}-{key}.npz"
    if path.is_file():
        images = np.load(path)["images"]
    else:
        images = draw_phantom(config.data.phantom, exclusive=config.data.task == "multiclass").images[:, None]
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, images=images)
    preparation = config.preparation.model_copy(update={"size": images.shape[-1]})
    return Pool(images, samples, Preparation(preparation))


def seed_data(task: Task, config: DataConfig, seed: int, samples: int | None = None) -> Data:
    """Train and val of one seed, stratified, drawn from the pool; the test set is the same for all."""
    source = draw_pool(task).samples
    pool = np.arange(task.pool)
    chosen = pool[stratified_subset(source.take(pool), samples or task.samples, seed)]
    split = split_samples(source.take(chosen), config.split.model_copy(update={"seed": seed}))
    rows = {name: np.sort(chosen[split == name]) for name in ("train", "val")}
    data = Data(source, rows, config.sampler, source.notes)
    check_data(data)
    return data
