"""The source `masks`: images with a mask for each, found in folders; and what it shares with tables of images and masks."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osler.config import DataConfig
from osler.data.cache import cache_folder
from osler.data.files import FileImages
from osler.data.masks_layout import find_pairs
from osler.data.masks_survey import Look, MaskSurvey, look_at, survey_of, take_looks
from osler.data.masks_values import Meaning, configured_meaning, look_faults, settled
from osler.data.messages import count, raise_faults, require_path, some
from osler.data.patients import patients_of_paths
from osler.data.samples import Samples
from osler.data.table_beside import table_beside
from osler.errors import DataError
from osler.imaging.masks import IGNORED, RawMask, count_values, describe_values, holds_no_labels, read_mask, whole_numbers

__all__ = ["MaskFiles", "MaskSet", "mask_samples", "samples_of"]

Entries = tuple[tuple[str, int], ...]
"""Mask files of an image: name, and the class it holds, or -1 for all."""


@dataclass(frozen=True)
class MaskFiles:
    """Masks in files (an `osler.data.samples.Masks`).

    Attributes:
        images: of the same rows.
        files: for each row its mask files; none: nothing is to be found in the image.
        meaning: of their values.
        survey: what they hold; None while they are surveyed.
    """

    images: FileImages
    files: tuple[Entries, ...]
    meaning: Meaning
    survey: MaskSurvey | None = None

    def __len__(self) -> int:
        return len(self.files)

    def read(self, row: int) -> NDArray[np.uint8]:
        """(K, H, W) of 0, 1 and `IGNORED`; files of one class are united, and what one ignores is ignored.

        Raises:
            DataError: a file cannot be read, has values without a meaning, or is of another size than the one before it.
        """
        if not self.files[row]:
            info = self.images.probe(row)
            return np.zeros((len(self.meaning.classes), info.height, info.width), np.uint8)
        return _united(self._raw(row), self.meaning)

    def _raw(self, row: int) -> list[tuple[str, int, RawMask]]:
        """Path, class and content of each file of a row."""
        paths = [(str(self.images.root / name), index) for name, index in self.files[row]]
        return [(path, index, read_mask(path)) for path, index in paths]

    def identity(self, row: int) -> str:
        """Path, size and time of change of each file, and what its values mean; DataError where one is gone."""
        files = FileImages(self.images.root, np.array([name for name, _ in self.files[row]], dtype=str))
        said = [f"{files.identity(place)}|{index}" for place, (_, index) in enumerate(self.files[row])]
        return "\n".join([*said, f"{self.meaning.whole}{self.meaning.single}"])

    def content(self) -> str:
        """Digest of sizes and counts of all masks."""
        assert self.survey is not None, "the masks were surveyed when the source was loaded"
        return self.survey.content()

    def take(self, rows: NDArray[np.intp]) -> MaskFiles:
        """The masks of these rows, in this order."""
        kept = None if self.survey is None else self.survey.take(rows)
        return replace(self, images=self.images.take(rows), files=tuple(self.files[row] for row in rows), survey=kept)

    def look(self, row: int) -> Look:
        """What one image's mask holds, its values counted; values without a meaning are no error yet, and count as foreground."""
        info = self.images.probe(row)
        size = (info.height, info.width)
        if not self.files[row]:
            return look_at(self.read(row), size, {})
        raw = self._raw(row)
        values: Counter[int] = Counter()
        colours: dict[int, int] = {}
        for _, index, mask in raw:
            if self.meaning.of(index).threshold is not None:
                continue
            labels = whole_numbers(mask.pixels)
            found = {} if labels is None else count_values(labels)
            if labels is None or holds_no_labels(mask, found):
                blank = np.zeros((len(self.meaning.classes), *mask.pixels.shape[:2]), np.uint8)
                return replace(look_at(blank, size, {}), odd=describe_values(mask))
            values.update(found)
            colours |= {value: red << 16 | green << 8 | blue for value, (red, green, blue) in mask.colours.items()}
        known = {value for single in (self.meaning.whole.values or ()) for value in single}
        strange = self.meaning.whole.values is not None and not set(values) <= {0, self.meaning.whole.ignore, *known}
        planes = _united(raw, self.meaning.open() if strange else self.meaning)
        return replace(look_at(planes, size, dict(values)), colours=colours)


def _united(raw: Sequence[tuple[str, int, RawMask]], meaning: Meaning) -> NDArray[np.uint8]:
    """(K, H, W) of one or several files: foreground where any has it, ignored where any ignores it."""
    planes = np.zeros((len(meaning.classes), *raw[0][2].pixels.shape), np.uint8)
    for path, index, mask in raw:
        size, before = mask.pixels.shape, planes.shape[1:]
        if size != before:
            raise DataError(
                f"{path}: {size[1]} × {size[0]} pixels, while another mask of the same image has {before[1]} × {before[0]}. Save "
                "them at one size."
            )
        place = slice(None) if index < 0 else slice(index, index + 1)
        np.maximum(planes[place], meaning.of(index).planes(mask, path), out=planes[place])
    planes[:, (planes == IGNORED).any(axis=0)] = IGNORED
    return planes


# --- from files to samples --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MaskSet:
    """Images with masks, and what a source knows of them, before a mask is looked at.

    Attributes:
        where: names the source in messages.
        images: N images.
        files: for each its mask files.
        classes: that have files of their own; None: each file holds all classes.
        patients: (N,), or None.
        split: (N,) of split names or "", or None.
        metadata: N rows, or None.
        faults: found so far.
        notes: made so far.
    """

    where: Path
    images: FileImages
    files: tuple[Entries, ...]
    classes: tuple[str, ...] | None = None
    patients: NDArray[np.str_] | None = None
    split: NDArray[np.str_] | None = None
    metadata: pd.DataFrame | None = None
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def mask_samples(config: DataConfig) -> Samples:
    """Images with masks found in folders; every fault of names, sizes and values is reported at once.

    Patients are those of `data.patient_pattern`, else of a table in the folder, else of known ways to name files.

    Raises:
        DataError: there are no masks; or any of them is missing, of another size, or of values that mean nothing.
    """
    assert config.path is not None, "the config requires a path for this source"
    root = require_path(config.path, "data.path")
    if config.masks.per_class and not config.classes:
        raise DataError("data.masks.per_class: name the classes in data.classes, each as its folder or suffix is called")
    pairs = find_pairs(root, config)
    ids = np.array(pairs.images)
    beside = table_beside(root, pairs.images, config)
    patients, said = beside.patients, list(beside.notes)
    if config.patient_pattern is not None or patients is None:
        patients, how = patients_of_paths(pairs.images, config.patient_pattern)
        said += how
    split = np.array(pairs.split)
    found = MaskSet(
        where=root,
        images=FileImages(root, ids),
        files=pairs.masks,
        classes=config.classes if config.masks.per_class else None,
        patients=patients,
        split=split if (split != "").any() else beside.split,
        metadata=beside.metadata,
        faults=(*pairs.faults, *beside.faults),
        notes=(*pairs.notes, *said),
    )
    return samples_of(found, config)


def samples_of(found: MaskSet, config: DataConfig) -> Samples:
    """Looks at every mask, settles what values mean, and makes samples; targets are which classes occur in which mask.

    Raises:
        DataError: with every fault of the set.
    """
    if config.task not in ("auto", "segmentation"):
        raise DataError(f"data.task is {config.task}, and {found.where} is a set of images with masks: use segmentation or auto")
    meaning = configured_meaning(config, found.classes)
    raise_faults(found.where, meaning.faults)
    masks = MaskFiles(found.images, found.files, meaning)
    looks, unread = take_looks(
        [_state(masks, row) for row in range(len(masks))], masks.look, _store(masks, config), len(meaning.classes)
    )
    meaning, faults = settled(meaning, looks, config)
    names = [files[0][0] if files else str(name) for files, name in zip(found.files, found.images.names, strict=True)]
    faults += look_faults(looks, unread, names, meaning, config)
    raise_faults(found.where, [*found.faults, *faults])
    survey = survey_of(looks, len(meaning.classes))
    skipped = (
        [f"{count(len(unread), 'mask')} cannot be read (data.unreadable: skip): {some(unread.values(), 3)}."] if unread else []
    )
    return Samples(
        ids=found.images.names,
        targets=survey.presence,
        classes=meaning.classes,
        task="segmentation",
        images=found.images,
        patients=found.patients,
        metadata=found.metadata,
        split=found.split,
        notes=(*found.notes, *meaning.notes, *survey.notes(meaning.classes), *skipped),
        masks=replace(masks, meaning=meaning, survey=survey),
        exclusive=found.classes is None or len(meaning.classes) == 1,
    )


def _state(masks: MaskFiles, row: int) -> str | None:
    try:
        return f"{masks.images.identity(row)}\n{masks.identity(row)}"
    except DataError:
        return None


def _store(masks: MaskFiles, config: DataConfig) -> Path:
    """The file that remembers what these masks hold."""
    said = "\0".join([str(masks.images.root.absolute()), str(masks.meaning.classes), *masks.images.names.tolist()])
    key = hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:24]
    return cache_folder(config.cache).expanduser() / "masks" / f"{key}.npz"
