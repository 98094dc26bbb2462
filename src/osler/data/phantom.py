"""The phantom: synthetic frontal chest radiographs with findings, labels and masks, drawn when they are read.

No person was imaged. Row `i` is image number `n` of patient `p`; what it shows follows from (seed, p, n) and the parameters
alone, so rows may be drawn in any order, in any process, and a longer set starts with the shorter one. Labels are honest:
positioning, exposure, noise, view, sex and age are drawn independently of the findings, and each finding that is labelled is
there, with a mask inside the picture.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osler.config import DataConfig, PhantomConfig
from osler.data.anatomy import Field, Person, draw_chest, frame_of
from osler.data.lesions import FINDERS, SIZED, enlarged_ratio
from osler.data.phantom_people import MASK, STREAMS, exclusive_findings, independent_findings, prevalences, uniform, visits
from osler.data.radiograph import Film, Pose, attenuation, draw_film, draw_pose, expose, place, whole
from osler.data.samples import Samples, TaskKind
from osler.errors import ConfigError
from osler.imaging.read import ImageInfo, RawImage

__all__ = ["NORMAL", "Phantom", "PhantomImages", "draw_phantom", "phantom_samples"]

NORMAL = "normal"
"""The class of an image without any finding, where classes exclude each other."""
VERSION = 1
"""Of the drawing: part of every image's identity, to be raised whenever the same parameters give other pixels."""
AP_SHARE = 0.3
NOISE = (0.011, 0.020)
"""Standard deviation of the noise behind the lungs, at difficulty 0 and 1; the same with and without findings."""


# --- images -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PhantomImages:
    """Images that are drawn when they are read (an `osler.data.samples.Images`).

    Attributes:
        size: side in pixels.
        difficulty: 0 obvious to 1 hardly visible.
        lesion_area: smallest and largest area of a lesion that may lie anywhere in a lung, as a share of the image; log-uniform
            between, the same in all images of a patient, before positioning magnifies it by up to 6 %. None: the usual ones.
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
    lesion_area: tuple[float, float] | None = None

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
        person: tuple[object, ...] = (str(self.sex[row]), int(self.age[row]), str(self.view[row]))
        if self.lesion_area is not None:
            person += (self.lesion_area,)
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
        return film, {name: self._draw(film, row, name) for name in FINDERS if name in shown}

    def _draw(self, film: Film, row: int, name: str) -> Field:
        draws = self._patient_draws(row, name), self._image_draws(row, name)
        if self.lesion_area is None or name not in SIZED:
            return FINDERS[name](film, self.difficulty, *draws)
        chance = uniform(self.seed, "area", self.patient[row : row + 1], np.array([STREAMS[name]]))[0]
        low, high = self.lesion_area
        return SIZED[name](film, self.difficulty, *draws, low * (high / low) ** float(chance))

    def _pose(self, row: int) -> Pose:
        return draw_pose(self._image_draws(row, "pose"), NOISE[0] + (NOISE[1] - NOISE[0]) * self.difficulty)

    def _patient_draws(self, row: int, stream: str) -> np.random.Generator:
        """Random numbers that all images of a patient share."""
        return np.random.default_rng([self.seed & MASK, int(self.patient[row]), STREAMS[stream]])

    def _image_draws(self, row: int, stream: str) -> np.random.Generator:
        """Random numbers of one image."""
        key = [self.seed & MASK, int(self.patient[row]), STREAMS[stream], int(self.number[row]) + 1]
        return np.random.default_rng(key)


@dataclass(frozen=True)
class PhantomMasks:
    """Masks that are drawn when they are read (an `osler.data.samples.Masks`).

    Attributes:
        images: of the same rows.
        order: (K,) which finding each plane shows.
    """

    images: PhantomImages
    order: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, row: int) -> NDArray[np.uint8]:
        """(K, size, size) of 0 and 1."""
        return self.images.mask(row)[list(self.order)]

    def identity(self, row: int) -> str:
        """That of the image, and which findings are asked for."""
        return f"{self.images.identity(row)} {[self.images.findings[index] for index in self.order]}"

    def content(self) -> str:
        """Digest of all that decides the masks."""
        said = "\n".join(self.identity(row) for row in range(len(self)))
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def take(self, rows: NDArray[np.intp]) -> PhantomMasks:
        """The masks of these rows, in this order."""
        return replace(self, images=self.images.take(rows))


# --- the public face ------------------------------------------------------------------------------------------------------


def _images(config: PhantomConfig, exclusive: bool) -> PhantomImages:
    patient, number = visits(config)
    years = (uniform(config.seed, "age", patient) + uniform(config.seed, "years", patient)) / 2
    return PhantomImages(
        size=config.size,
        difficulty=config.difficulty,
        seed=config.seed,
        findings=config.findings,
        present=(exclusive_findings if exclusive else independent_findings)(config, patient, number),
        patient=patient,
        number=number,
        sex=np.where(uniform(config.seed, "sex", patient) < 0.5, "F", "M"),
        age=(20 + np.floor(71 * years)).astype(np.int64),
        view=np.where(uniform(config.seed, "view", patient, number) < AP_SHARE, "AP", "PA"),
        lesion_area=config.lesion_area,
    )


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
    "normal", is what shows none. "segmentation": a mask of each finding; they may overlap.

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
    _check_area(config.phantom)
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
        masks=PhantomMasks(source, tuple(order)) if task == "segmentation" else None,
        exclusive=len(classes) == 1,
    )


def _check_area(config: PhantomConfig) -> None:
    if config.lesion_area is not None and not set(config.findings) & set(SIZED):
        raise ConfigError(
            f"data.phantom.lesion_area: none of the findings ({', '.join(config.findings)}) can be drawn to a given area: add "
            f"one of {', '.join(SIZED)}, or set it to null"
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
        for name, count, share in zip(source.findings, source.present.sum(0), prevalences(config), strict=True)
    )
    notes: tuple[str, ...] = (
        f"Synthetic images, drawn by Osler's phantom (difficulty {config.difficulty:g}, seed {config.seed}); "
        "no person was imaged, and no figure from them says anything about patients.",
        f"Findings drawn: {drawn}.",
    )
    if config.lesion_area is not None:
        sized = ", ".join(name for name in config.findings if name in SIZED)
        low, high = (f"{100 * share:g} %" for share in config.lesion_area)
        notes += (f"A lesion of {sized} covers {low} to {high} of the image, log-uniform between.",)
    if task != "multiclass":
        return notes
    return (*notes, f"Each image shows one finding at most; the class {NORMAL!r} is what shows none.")


def _patients(source: PhantomImages) -> NDArray[np.str_]:
    return np.array([f"patient-{number:06d}" for number in source.patient])


def _metadata(source: PhantomImages) -> pd.DataFrame:
    return pd.DataFrame({"sex": source.sex, "age": source.age, "view": source.view})
