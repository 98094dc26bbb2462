"""Samples: what a source found, before any pixel is prepared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osler.imaging.masks import IGNORED
from osler.imaging.read import ImageInfo, RawImage

__all__ = ["IGNORED", "SPLITS", "Images", "Masks", "Samples", "TaskKind"]

TaskKind = Literal["binary", "multiclass", "multilabel", "segmentation"]
SPLITS = ("train", "val", "test")


class Images(Protocol):
    """Where a source keeps its images. Picklable, since images are prepared in other processes."""

    def __len__(self) -> int: ...

    def read(self, row: int) -> RawImage:
        """The pixels of one image; DataError, naming it, where it cannot be read."""

    def probe(self, row: int) -> ImageInfo:
        """Size, bit depth and mode without decoding, where the format allows."""

    def identity(self, row: int) -> str:
        """Changes when the image's content does: path, size and time of a file, or a hash of an array's row."""

    def take(self, rows: NDArray[np.intp]) -> Images:
        """The images of these rows, in this order."""


class Masks(Protocol):
    """Where a source keeps the masks of its images. Picklable, as `Images` is."""

    def __len__(self) -> int: ...

    def read(self, row: int) -> NDArray[np.uint8]:
        """(K, H, W) one plane a class: 1 is foreground, 0 is not, `IGNORED` is unknown; of the size of the image as it is read.

        DataError, naming the mask, where it cannot be read or holds values that mean nothing.
        """

    def identity(self, row: int) -> str:
        """Changes when the mask's content, or what its values mean, does."""

    def content(self) -> str:
        """Digest of what all these masks hold; moving them does not change it."""

    def take(self, rows: NDArray[np.intp]) -> Masks:
        """The masks of these rows, in this order."""


@dataclass(frozen=True)
class Samples:
    """One row a sample; nothing here is a pixel.

    Attributes:
        ids: (N,) unique texts, stable between runs: a relative path, an index, a phantom number.
        targets: (N, K) float32 in {0, 1, NaN}; NaN is unknown. Binary: K = 1, the positive class. Multiclass: one-hot.
            Segmentation: whether the class occurs in the mask.
        classes: K names.
        task: binary, multiclass, multilabel or segmentation.
        images: N images.
        patients: (N,) texts, or None where patients are unknown.
        metadata: N rows of whatever the source knows besides (age, sex, view), or None.
        split: (N,) of "train", "val", "test" where the source assigns them; "" for a sample it leaves open; None: all open.
        notes: what was adapted, skipped or assumed while reading, one sentence each; written to the run.
        negative: name of the negative class of a binary task, for tables and pages.
        masks: N masks where the task is segmentation, else None.
        exclusive: segmentation: a pixel is of one class at most.
        listed: the classes as `data.classes` lists them, where that is more than `classes`: both names of a binary set.
    """

    ids: NDArray[np.str_]
    targets: NDArray[np.float32]
    classes: tuple[str, ...]
    task: TaskKind
    images: Images
    patients: NDArray[np.str_] | None = None
    metadata: pd.DataFrame | None = None
    split: NDArray[np.str_] | None = None
    notes: tuple[str, ...] = ()
    negative: str = "negative"
    listed: tuple[str, ...] = ()
    masks: Masks | None = None
    exclusive: bool = True

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.intp]) -> Samples:
        """The samples of these rows, in this order."""
        return replace(
            self,
            ids=self.ids[rows],
            targets=self.targets[rows],
            images=self.images.take(rows),
            masks=None if self.masks is None else self.masks.take(rows),
            patients=None if self.patients is None else self.patients[rows],
            metadata=None if self.metadata is None else self.metadata.iloc[rows].reset_index(drop=True),
            split=None if self.split is None else self.split[rows],
        )

    def with_notes(self, notes: Sequence[str]) -> Samples:
        """The same samples with further notes."""
        return replace(self, notes=(*self.notes, *notes))
