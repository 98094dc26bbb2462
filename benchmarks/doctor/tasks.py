"""The tasks that faults are put into: small sets of synthetic radiographs, drawn once and held in memory.

Rules of the doctor are developed on the tasks that are not held out; the others differ from them in finding, kind, size of
image, optimiser and batch, and their runs are for measuring only.

    task     kind          held out   what
    heart    binary        no         enlarged heart, 35 %
    films    multilabel    no         three findings, 15 to 25 %
    scarce   binary        no         enlarged heart, 1.6 %
    lesions  segmentation  no         masses of 1 to 8 % of the image, in 70 % of the images, 40 pixels
    states   multiclass    no         normal and three findings that exclude each other, SGD
    triage   multiclass    yes        normal and two findings that exclude each other, Adam, 36 pixels
    seldom   binary        yes        consolidation, 1.8 %, 40 pixels
    organs   segmentation  yes        fluid and enlarged hearts, masks that overlap, Adam, 32 pixels

Those that segment train Osler's own compact network, entered at half the resolution.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.config import Config, DataConfig, load_config, merge
from osler.data.load import Data, check_data
from osler.data.masks_prepared import PreparedMasks
from osler.data.masks_survey import areas_of
from osler.data.phantom import draw_phantom, phantom_samples
from osler.data.samples import IGNORED, Samples
from osler.data.split import split_samples, stratified_subset
from osler.imaging.preparation import Preparation

__all__ = ["TASKS", "DrawnMasks", "Pool", "Task", "draw_pool", "prepared", "seed_data", "whole_config"]

IMAGES = Path(__file__).resolve().parents[1] / "results" / "doctor" / "images"
"""Where drawn images are kept between commands; they can always be drawn again."""

COMMON: dict[str, Any] = {
    "data": {"split": {"ratio": [2, 1, 0]}, "workers": 1},
    "preparation": {"channels": 1},
    "augmentation": {"rotation": 5, "shift": 0.03, "zoom": 0.05, "horizontal_flip": 0.0, "brightness": 0.05, "contrast": 0.05},
    "training": {
        "epochs": 12,
        "batch_size": 16,
        "learning_rate": 5e-3,
        "device": "cpu",
        "threads": 1,
        "precision": "fp32",
    },
}

LABELS: dict[str, Any] = {"model": {"architecture": "small", "dropout": 0.1}, "training": {"monitor": "macro_auc"}}
"""Over `COMMON`, where images are classified."""
MASKS: dict[str, Any] = {
    "model": {"architecture": "compact", "width": 8, "levels": 3},
    "training": {"monitor": "dice", "learning_rate": 1.5e-2, "epochs": 12},
}
"""Over `COMMON`, where they are segmented."""


@dataclass(frozen=True, eq=False)
class Task:
    """A set of images to learn, and how a healthy run learns it.

    Attributes:
        name: as in the table above.
        held_out: its runs are not looked at when rules are changed.
        samples: images of train and val together; drawn anew from the pool for every seed.
        pool: images that these are drawn from.
        test: images of the fixed test set, from the same generator.
        sections: of the configuration, over `COMMON`.
        widths: of the classifier's stages.
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


def _masks(findings: list[str], prevalence: float, size: int, **values: Any) -> dict[str, Any]:
    data = _phantom("segmentation", findings, prevalence, size, 0.0)
    return {"data": {**data, "phantom": {**data["phantom"], **values}}, "preparation": {"size": size}}


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
            False,
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
            "triage",
            True,
            480,
            1500,
            1000,
            {
                "data": _phantom("multiclass", ["effusion", "cardiomegaly"], [0.3, 0.25], 36, 0.2),
                "training": {"optimizer": "adam", "batch_size": 20},
            },
            widths=(10, 20, 36),
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
        Task("lesions", False, 144, 640, 200, _masks(["mass"], 0.7, 40, lesion_area=(0.01, 0.08)), kind="segmentation"),
        Task(
            "organs",
            True,
            160,
            640,
            200,
            {**_masks(["effusion", "cardiomegaly"], 0.6, 32), "training": {"optimizer": "adam", "batch_size": 12, "epochs": 12}},
            kind="segmentation",
        ),
    )
}


def whole_config(task: Task, sections: dict[str, Any]) -> Config:
    """The configuration of a run: the task's, with a fault's or a variant's sections over it."""
    common = merge(COMMON, MASKS if task.kind == "segmentation" else LABELS)
    values = merge(merge(common, task.sections), {"data": {"phantom": {"samples": task.pool + task.test}}})
    return load_config(merge(values, sections))


@dataclass(frozen=True)
class Pool:
    """The images of a task, prepared; takes the place of the packed cache.

    Attributes:
        images: (N, 1 + K, side, side) uint8: the image, then its masks, of which a classifier has none; the last `test` of them
            are the test set.
        samples: ids, targets and classes of all N.
        preparation: what was done to the pixels: nothing.
        notes: for the facts of a run.
        erased: (N,) lesions of each mask that preparing left nothing of; None: none.
        channels: planes that are the image.
        test: how many of the images are the test set.
    """

    images: NDArray[np.uint8]
    samples: Samples
    preparation: Preparation
    notes: tuple[str, ...] = ()
    erased: NDArray[np.int64] | None = None
    channels: int = 1
    test: int = 0

    def gather(self, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        """The images of these rows, with their masks, (B, 1 + K, side, side)."""
        return self.images[rows]

    def checksums(self, rows: NDArray[np.int64]) -> NDArray[np.uint32]:
        """(B,) CRC-32 of these rows, as the index of a packed cache holds them."""
        return np.array([zlib.crc32(self.images[row].tobytes()) for row in rows.tolist()], np.uint32)

    @property
    def drawn(self) -> NDArray[np.intp]:
        """Rows that train and val are drawn from."""
        return np.arange(len(self.images) - self.test)

    @property
    def masks(self) -> NDArray[np.uint8]:
        """(N, K, side, side)."""
        return self.images[:, self.channels :]

    def with_images(self, images: NDArray[np.uint8]) -> Pool:
        """The pool with other images (N, 1, side, side) to the same masks."""
        return replace(self, images=np.concatenate([images, self.masks], axis=1))

    def with_masks(self, masks: NDArray[np.uint8]) -> Pool:
        """The pool with other masks (N, K, side, side) to the same images; labels and what reads masks anew know of them."""
        samples = replace(self.samples, targets=_present(masks), masks=DrawnMasks(masks))
        return replace(self, images=np.concatenate([self.images[:, : self.channels], masks], axis=1), samples=samples)


@dataclass(frozen=True)
class DrawnMasks:
    """Masks (N, K, side, side) held in memory (an `osler.data.samples.Masks`)."""

    planes: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.planes)

    def read(self, row: int) -> NDArray[np.uint8]:
        return np.asarray(self.planes[row])

    def identity(self, row: int) -> str:
        return hashlib.sha256(self.planes[row].tobytes()).hexdigest()[:32]

    def content(self) -> str:
        return hashlib.sha256(self.planes.tobytes()).hexdigest()[:16]

    def take(self, rows: NDArray[np.intp]) -> DrawnMasks:
        return DrawnMasks(self.planes[rows])


def _present(masks: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray((masks == 1).any(axis=(2, 3)), np.float32)


def prepared(pool: Pool, rows: NDArray[np.intp]) -> PreparedMasks:
    """What `osler.data.masks_prepared` says of the masks of these rows, which nothing has shrunk but who says so."""
    planes = pool.gather(rows)[:, pool.channels :]
    known = (planes[:, 0] != IGNORED).sum(axis=(1, 2))
    shares = np.full(planes.shape[:2], np.nan)
    np.divide((planes == 1).sum(axis=(2, 3)), known[:, None], out=shares, where=known[:, None] > 0)
    lost = np.zeros(len(rows), np.int64) if pool.erased is None else pool.erased[rows]
    left = sum(len(areas_of(plane)) for masks in planes for plane in masks)
    erased, touched = int(lost.sum()), int((lost > 0).sum())
    return PreparedMasks(shares, known, erased, left + erased, touched, {}, planes.shape[-1])


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
        images = _draw(config.data, samples)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, images=images)
    preparation = config.preparation.model_copy(update={"size": images.shape[-1]})
    pool = Pool(images, samples, Preparation(preparation), test=task.test)
    return pool.with_masks(pool.masks) if samples.masks is not None else pool


def _draw(config: DataConfig, samples: Samples) -> NDArray[np.uint8]:
    """(N, 1 + K, side, side): each image, and the masks of its findings where the task segments."""
    phantom = draw_phantom(config.phantom, exclusive=config.task == "multiclass")
    if samples.masks is None:
        return phantom.images[:, None]
    masks = np.stack([samples.masks.read(row) for row in range(len(samples))])
    return np.concatenate([phantom.images[:, None], masks], axis=1)


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
