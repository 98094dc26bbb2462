"""The phantom: synthetic frontal chest radiographs with findings, labels and masks, drawn when they are read.

No person was imaged. Row `i` is image number `n` of patient `p`; what it shows follows from (seed, p, n) and the parameters
alone, so rows may be drawn in any order, in any process, and a longer set starts with the shorter one. Labels are honest:
positioning, exposure, noise, view, sex and age are drawn independently of the findings, and each finding that is labelled is
there, with a mask inside the picture.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osler.config import FINDINGS, DataConfig, PhantomConfig
from osler.data.anatomy import Field, Person, draw_chest, frame_of
from osler.data.lesions import FINDERS, enlarged_ratio
from osler.data.radiograph import Film, Pose, attenuation, draw_film, draw_pose, expose, place, whole
from osler.data.samples import Samples, TaskKind
from osler.errors import ConfigError
from osler.imaging.read import ImageInfo, RawImage

__all__ = ["NORMAL", "Phantom", "PhantomImages", "draw_phantom", "phantom_samples"]

NORMAL = "normal"
"""The class of an image without any finding, where classes exclude each other."""
VERSION = 1
"""Of the drawing: part of every image's identity, to be raised whenever the same parameters give other pixels."""
STAYS = {"nodule": 0.9, "mass": 0.95, "effusion": 0.8, "cardiomegaly": 0.97, "consolidation": 0.7, "pneumothorax": 0.7}
"""Share of images that show their patient's state of a finding; the others have it drawn anew, at the same prevalence."""
STAYS_EXCLUSIVE = 0.85
"""The same, where a patient has one state among several."""
AP_SHARE = 0.3
NOISE = (0.011, 0.020)
"""Standard deviation of the noise behind the lungs, at difficulty 0 and 1; the same with and without findings."""
MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15
STREAMS = {
    name: index
    for index, name in enumerate(
        (
            "count",
            "sex",
            "age",
            "years",
            "view",
            "state",
            "stays",
            "chest",
            "vessels",
            "tissue",
            "heart",
            "pose",
            "grain",
            *FINDINGS,
        )
    )
}
"""Numbers of the independent streams of random numbers."""


# --- images -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PhantomImages:
    """Images that are drawn when they are read (an `osler.data.samples.Images`).

    Attributes:
        size: side in pixels.
        difficulty: 0 obvious to 1 hardly visible.
        seed: of everything.
        findings: K names.
        present: (N, K) which image shows what.
        patient: (N,) patient numbers.
        number: (N,) which of its patient's images it is, from 0.
        sex: (N,) "F" or "M".
        age: (N,) years.
        view: (N,) "PA" or "AP".
    """

    size: int
    difficulty: float
    seed: int
    findings: tuple[str, ...]
    present: NDArray[np.bool_]
    patient: NDArray[np.int64]
    number: NDArray[np.int64]
    sex: NDArray[np.str_]
    age: NDArray[np.int64]
    view: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.patient)

    def read(self, row: int) -> RawImage:
        """Draws one image: (size, size) uint8."""
        film, _ = self._film(row)
        pose = self._pose(row)
        field = place(attenuation(film, self._patient_draws(row, "tissue")), film.frame, pose)
        return RawImage(expose(field, film.frame, pose, self._image_draws(row, "grain")), 0, 255)

    def mask(self, row: int) -> NDArray[np.uint8]:
        """(K, size, size) of 0 and 1: where each finding lies; all 0 for a finding that the image does not show."""
        film, extents = self._film(row)
        masks = np.zeros((len(self.findings), self.size, self.size), np.uint8)
        for index, name in enumerate(self.findings):
            if name in extents:
                extent = place(whole(extents[name]), film.frame, self._pose(row))
                # What is smaller than a pixel still lies in one.
                masks[index] = extent >= min(0.5, float(extent.max()))
        return masks

    def probe(self, row: int) -> ImageInfo:
        """What every image of the set is."""
        return ImageInfo(width=self.size, height=self.size, channels=1, bits=8, format="phantom", mode="gray")

    def identity(self, row: int) -> str:
        """Hash of all that decides the image's pixels."""
        shown = sorted(name for name, there in zip(self.findings, self.present[row], strict=True) if there)
        facts = (VERSION, self.size, self.difficulty, self.seed, int(self.patient[row]), int(self.number[row]), shown)
        person = (str(self.sex[row]), int(self.age[row]), str(self.view[row]))
        return hashlib.sha256(repr((facts, person)).encode()).hexdigest()[:32]

    def take(self, rows: NDArray[np.intp]) -> PhantomImages:
        """The images of these rows, in this order."""
        columns = ("present", "patient", "number", "sex", "age", "view")
        return replace(self, **{name: getattr(self, name)[rows] for name in columns})

    def _film(self, row: int) -> tuple[Film, dict[str, Field]]:
        """The chest with its findings, and the extent of each."""
        shown = {name for name, there in zip(self.findings, self.present[row], strict=True) if there}
        person = Person(sex=str(self.sex[row]), age=int(self.age[row]), view=str(self.view[row]))
        large = "cardiomegaly" in shown
        enlarged = enlarged_ratio(self.difficulty, self._patient_draws(row, "heart")) if large else None
        # A subtle enlargement must have large normal hearts to be told from, whether or not it is asked for in this image.
        crowding = self.difficulty**2
        chest = draw_chest(person, enlarged, self._patient_draws(row, "chest"), self._image_draws(row, "chest"), crowding)
        film = draw_film(frame_of(self.size), chest, self._patient_draws(row, "vessels"))
        extents = {
            name: finder(film, self.difficulty, self._patient_draws(row, name), self._image_draws(row, name))
            for name, finder in FINDERS.items()
            if name in shown
        }
        return film, extents

    def _pose(self, row: int) -> Pose:
        return draw_pose(self._image_draws(row, "pose"), NOISE[0] + (NOISE[1] - NOISE[0]) * self.difficulty)

    def _patient_draws(self, row: int, stream: str) -> np.random.Generator:
        """Random numbers that all images of a patient share."""
        return np.random.default_rng([self.seed & MASK, int(self.patient[row]), STREAMS[stream]])

    def _image_draws(self, row: int, stream: str) -> np.random.Generator:
        """Random numbers of one image."""
        key = [self.seed & MASK, int(self.patient[row]), STREAMS[stream], int(self.number[row]) + 1]
        return np.random.default_rng(key)


# --- who is imaged, and with what -------------------------------------------------------------------------------------------


def _uniform(seed: int, stream: str, *keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) numbers in [0, 1) that follow from the keys of each row alone (SplitMix64: Steele, Lea and Flood 2014)."""
    start = (seed + STREAMS[stream] * GOLDEN) & MASK
    state = _mix(np.full(len(keys[0]), start, np.uint64))
    for key in keys:
        state = _mix(state ^ (key.astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + np.uint64(GOLDEN)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _visits(config: PhantomConfig) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(N,) patient of each row and (N,) its number among the patient's images; counts are geometric, as in hospitals."""
    mean = config.images_per_patient
    everyone = np.arange(config.samples)
    chance = _uniform(config.seed, "count", everyone)
    more = 0.0 if mean == 1 else np.floor(np.log1p(-chance) / math.log1p(-1 / mean))
    counts = np.minimum(1 + more, config.samples).astype(np.int64) + np.zeros_like(everyone)
    patient = np.repeat(everyone, counts)[: config.samples]
    first = np.cumsum(counts) - counts
    return patient, np.arange(config.samples) - first[patient]


def _independent(config: PhantomConfig, patient: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N, K) findings, each with its prevalence and independent of the others."""
    columns = []
    for name, prevalence in zip(config.findings, _prevalences(config), strict=True):
        stays = _uniform(config.seed, "stays", patient, number, np.full_like(patient, STREAMS[name])) < STAYS[name]
        usual, today = _uniform(config.seed, name, patient), _uniform(config.seed, name, patient, number)
        columns.append(np.where(stays, usual, today) < prevalence)
    return np.stack(columns, 1)


def _exclusive(config: PhantomConfig, patient: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N, K) findings, at most one in each image."""
    shares = _prevalences(config)
    if sum(shares) > 1 + 1e-9:
        raise ConfigError(
            f"data.phantom.prevalence: the shares of exclusive findings add up to {sum(shares):g}; "
            "with task multiclass they may reach 1 at most, and what is left of 1 is normal"
        )
    stays = _uniform(config.seed, "stays", patient, number) < STAYS_EXCLUSIVE
    usual, today = _uniform(config.seed, "state", patient), _uniform(config.seed, "state", patient, number)
    state = np.searchsorted(np.cumsum(shares), np.where(stays, usual, today), side="right")
    return np.asarray(state[:, None] == np.arange(len(shares)))


def _prevalences(config: PhantomConfig) -> tuple[float, ...]:
    given = config.prevalence
    return given if isinstance(given, tuple) else (given,) * len(config.findings)


def _images(config: PhantomConfig, exclusive: bool) -> PhantomImages:
    patient, number = _visits(config)
    years = (_uniform(config.seed, "age", patient) + _uniform(config.seed, "years", patient)) / 2
    return PhantomImages(
        size=config.size,
        difficulty=config.difficulty,
        seed=config.seed,
        findings=config.findings,
        present=(_exclusive if exclusive else _independent)(config, patient, number),
        patient=patient,
        number=number,
        sex=np.where(_uniform(config.seed, "sex", patient) < 0.5, "F", "M"),
        age=(20 + np.floor(71 * years)).astype(np.int64),
        view=np.where(_uniform(config.seed, "view", patient, number) < AP_SHARE, "AP", "PA"),
    )


# --- the public face --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Phantom:
    """A drawn set.

    Attributes:
        images: (N, size, size) uint8.
        targets: (N, K) float32 of 0 and 1.
        findings: K names.
        patients: (N,) texts such as "patient-00012".
        metadata: N rows: sex, age, view.
        source: draws images and masks anew, row by row.
    """

    images: NDArray[np.uint8]
    targets: NDArray[np.float32]
    findings: tuple[str, ...]
    patients: NDArray[np.str_]
    metadata: pd.DataFrame
    source: PhantomImages

    def __len__(self) -> int:
        return len(self.images)

    def mask(self, row: int) -> NDArray[np.uint8]:
        """(K, size, size) of 0 and 1: where each finding of a row lies; drawn on request."""
        return self.source.mask(row)


def draw_phantom(config: PhantomConfig, exclusive: bool = False) -> Phantom:
    """Draws a whole set into memory.

    Args:
        config: what to draw.
        exclusive: at most one finding in an image.

    Raises:
        ConfigError: fewer than one image a patient, or exclusive findings whose shares add up to more than 1.

    >>> phantom = draw_phantom(PhantomConfig(samples=3, size=32, findings=("effusion",)))
    >>> phantom.images.shape, phantom.targets.shape, phantom.mask(0).shape
    ((3, 32, 32), (3, 1), (1, 32, 32))
    """
    source = _images(config, exclusive)
    images = np.empty((len(source), config.size, config.size), np.uint8)
    for row in range(len(source)):
        images[row] = source.read(row).pixels
    return Phantom(
        images=images,
        targets=source.present.astype(np.float32),
        findings=config.findings,
        patients=_patients(source),
        metadata=_metadata(source),
        source=source,
    )


def phantom_samples(config: DataConfig) -> Samples:
    """The phantom as a source of samples; nothing is drawn before an image is read.

    Task "auto" is binary for one finding, else multilabel. "multiclass": findings exclude each other, and the first class,
    "normal", is what shows none.

    Raises:
        ConfigError: the phantom cannot give this task or these classes; or as `draw_phantom`.
    """
    findings = config.phantom.findings
    task: TaskKind = ("binary" if len(findings) == 1 else "multilabel") if config.task == "auto" else config.task
    if task == "binary" and len(findings) > 1:
        raise ConfigError(
            f"data.task: binary needs one finding, and data.phantom.findings has {len(findings)} ({', '.join(findings)}): "
            "keep one of them, or use task multilabel or multiclass"
        )
    source = _images(config.phantom, task == "multiclass")
    targets, classes = source.present.astype(np.float32), findings
    if task == "multiclass":
        targets = np.concatenate([1 - targets.sum(1, keepdims=True), targets], 1)
        classes = (NORMAL, *findings)
    order = _class_order(config, classes, task)
    return Samples(
        ids=np.array([f"phantom-{row:06d}" for row in range(len(source))]),
        targets=np.ascontiguousarray(targets[:, order]),
        classes=tuple(classes[index] for index in order),
        task=task,
        images=source,
        patients=_patients(source),
        metadata=_metadata(source),
        notes=_notes(config.phantom, source, task),
        negative=NORMAL if task == "binary" else "negative",
    )


def _class_order(config: DataConfig, classes: tuple[str, ...], task: TaskKind) -> list[int]:
    """Columns in the order of `data.classes`, where that is given."""
    wanted = config.classes
    if wanted is None or (task == "binary" and wanted == (NORMAL, *classes)):
        return list(range(len(classes)))
    if sorted(wanted) != sorted(classes):
        raise ConfigError(
            f"data.classes: {', '.join(wanted)}; the phantom as configured has {', '.join(classes)}: "
            "choose what it shows by data.phantom.findings, and leave data.classes null or name the same"
        )
    return [classes.index(name) for name in wanted]


def _notes(config: PhantomConfig, source: PhantomImages, task: TaskKind) -> tuple[str, ...]:
    drawn = ", ".join(
        f"{name} {count} ({count / len(source):.1%} of images; {share:.1%} asked for)"
        for name, count, share in zip(source.findings, source.present.sum(0), _prevalences(config), strict=True)
    )
    notes = (
        f"Synthetic images, drawn by Osler's phantom (difficulty {config.difficulty:g}, seed {config.seed}); "
        "no person was imaged, and no figure from them says anything about patients.",
        f"Findings drawn: {drawn}.",
    )
    if task != "multiclass":
        return notes
    return (*notes, f"Each image shows one finding at most; the class {NORMAL!r} is what shows none.")


def _patients(source: PhantomImages) -> NDArray[np.str_]:
    return np.array([f"patient-{number:06d}" for number in source.patient])


def _metadata(source: PhantomImages) -> pd.DataFrame:
    return pd.DataFrame({"sex": source.sex, "age": source.age, "view": source.view})
