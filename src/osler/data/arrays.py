"""The source `npz`: arrays of images and labels in one file, laid out as MedMNIST's are (Yang et al. 2023)."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.config import DataConfig
from osler.data.labels import Labels, exclusive_labels, fill_unknown, several_labels, unknown_fault
from osler.data.messages import count, raise_faults, require_path, some
from osler.data.samples import SPLITS, Samples
from osler.errors import DataError
from osler.imaging.read import ImageInfo, RawImage

__all__ = ["ArrayImages", "array_samples"]

DTYPES = ("uint8", "uint16")


@dataclass(frozen=True)
class ArrayImages:
    """Images in the arrays of an .npz file. Pickled, it carries no pixels: another process opens the file itself.

    Attributes:
        path: the file.
        stamp: its size and time of change, so that a changed file is not taken for the one that was listed.
        parts: (N,) index into SPLITS.
        rows: (N,) row of "{split}_images".
    """

    path: Path
    stamp: tuple[int, int]
    parts: NDArray[np.intp]
    rows: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.rows)

    def _pixels(self, row: int) -> NDArray[Any]:
        pixels = _images(self.path, self.stamp, SPLITS[self.parts[row]])[self.rows[row]]
        gray: NDArray[Any] = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
        return gray

    def read(self, row: int) -> RawImage:
        """The pixels of one image; their range is that of the type."""
        pixels = self._pixels(row)
        return RawImage(pixels, 0.0, float(np.iinfo(pixels.dtype).max))

    def probe(self, row: int) -> ImageInfo:
        """Size and depth of the array."""
        pixels = self._pixels(row)
        height, width = pixels.shape[:2]
        color = pixels.ndim == 3
        return ImageInfo(width, height, 3 if color else 1, pixels.dtype.itemsize * 8, "array", "rgb" if color else "gray")

    def identity(self, row: int) -> str:
        """A hash of the pixels, their type and shape."""
        pixels = np.ascontiguousarray(self._pixels(row))
        digest = hashlib.blake2b(pixels.tobytes(), digest_size=16)
        return f"{pixels.dtype.str}{pixels.shape}{digest.hexdigest()}"

    def take(self, rows: NDArray[np.intp]) -> ArrayImages:
        """The images of these rows, in this order."""
        return replace(self, parts=self.parts[rows], rows=self.rows[rows])


@functools.lru_cache(maxsize=2 * len(SPLITS))
def _images(path: Path, stamp: tuple[int, int], split: str) -> NDArray[Any]:
    """The images of one split, read once a process."""
    if _stamp(path) != stamp:
        raise DataError(f"{path}: the file has changed since it was listed; start again")
    with _open(path) as file:
        array: NDArray[Any] = file[f"{split}_images"]
    return array


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    """The arrays of a file by name; DataError for whatever is wrong with it, also while one is read."""
    try:
        with path.open("rb") as handle:
            file = np.load(handle, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise DataError(
                    f"{path}: holds a single array; needed are train_images, train_labels and so on, as np.savez writes them"
                )
            with file:
                yield file
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as an .npz file of plain arrays: {error}") from error


def array_samples(config: DataConfig) -> Samples:
    """Reads labels and shapes of an .npz file; every fault of its arrays is reported at once.

    The arrays are {train,val,test}_images, (N, H, W) or (N, H, W, 3), uint8 or uint16, and {train,val,test}_labels: (N,) or
    (N, 1) with class numbers, or (N, K) with 0 and 1. Absent splits are left to be drawn.

    Raises:
        DataError: arrays that are missing, of another shape or type, or labels out of range.
    """
    assert config.path is not None, "the config requires a path for this source"
    path = require_path(config.path, "data.path")
    arrays = _read_arrays(path)
    splits = [split for split in SPLITS if f"{split}_labels" in arrays]
    sizes = [len(arrays[f"{split}_labels"]) for split in splits]
    ids = np.array([f"{split}/{row}" for split, size in zip(splits, sizes, strict=True) for row in range(size)])
    values = np.concatenate([_two_dimensional(arrays[f"{split}_labels"]) for split in splits])
    labels = _labels(path, values.astype(np.float32), ids, config)
    parts = np.repeat([SPLITS.index(split) for split in splits], sizes).astype(np.intp)
    images = ArrayImages(path, _stamp(path), parts, np.concatenate([np.arange(size) for size in sizes]))
    return Samples(
        ids=ids,
        targets=labels.targets,
        classes=labels.classes,
        task=labels.task,
        images=images,
        split=np.array(SPLITS)[parts],
        notes=labels.notes,
        negative=labels.negative,
        listed=labels.listed,
    )


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Labels of every split, once the images beside them are known to fit."""
    with _open(path) as file:
        splits = [split for split in SPLITS if f"{split}_images" in file.files or f"{split}_labels" in file.files]
        wanted = [f"{split}_{kind}" for split in splits for kind in ("images", "labels")]
        faults = [f"there is no array {name}" for name in wanted if name not in file.files]
        if not splits:
            there = some(file.files, 12)
            faults.append(f"needed are train_images and train_labels, and the same of val and test; there are {there}")
        raise_faults(path, faults)
        labels = {f"{split}_labels": file[f"{split}_labels"] for split in splits}
    for split in splits:
        faults += _array_faults(split, _images(path, _stamp(path), split), labels[f"{split}_labels"])
    raise_faults(path, faults)
    return labels


def _array_faults(split: str, images: NDArray[Any], labels: NDArray[Any]) -> list[str]:
    faults = []
    if not (images.ndim == 3 or (images.ndim == 4 and images.shape[-1] in (1, 3))) or 0 in images.shape:
        faults.append(f"{split}_images has the shape {images.shape}; allowed are (N, H, W) and (N, H, W, 3)")
    if images.dtype.name not in DTYPES:
        faults.append(f"{split}_images is of type {images.dtype.name}; allowed are {' and '.join(DTYPES)}")
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "biuf":
        faults.append(
            f"{split}_labels has the shape {labels.shape} and type {labels.dtype.name}; allowed are numbers: (N,), (N, 1), (N, K)"
        )
    if len(images) != len(labels):
        faults.append(f"{split} has {count(len(images), 'image')} and {count(len(labels), 'label')}")
    return faults


def _two_dimensional(labels: NDArray[Any]) -> NDArray[Any]:
    return labels[:, None] if labels.ndim == 1 else labels


def _labels(path: Path, values: NDArray[np.float32], ids: NDArray[np.str_], config: DataConfig) -> Labels:
    """Class numbers (N, 1), or 0 and 1 for each of K classes (N, K)."""
    blank = np.isnan(values)
    columns = values.shape[1]
    highest = int(np.nanmax(values, initial=0)) if columns == 1 else columns - 1
    names = config.classes or tuple(f"class {number}" for number in range(highest + 1))
    allowed = np.arange(len(names)) if columns == 1 else np.array([0, 1])
    odd = ~blank & ~np.isin(values, allowed)
    faults = []
    if columns > 1 and len(names) != columns:
        faults.append(f"data.classes lists {count(len(names), 'class', 'classes')}, but the labels have {columns} columns")
    if odd.any():
        rows = np.flatnonzero(odd.any(axis=1))
        span = f"0 to {len(names) - 1}" if columns == 1 else "0 and 1"
        faults.append(
            f"{count(len(rows), 'label')} are none of {span}: {some(np.unique(values[odd]))} ({some(ids[rows[:5]])}); "
            "list every class in data.classes, or correct them"
        )
    unknown = unknown_fault(blank, names if columns > 1 else ["labels"], ids, config.unknown)
    raise_faults(path, [*faults, *([unknown] if unknown else [])])
    if columns > 1:
        values = np.where(blank, {"negative": 0.0, "positive": 1.0}.get(config.unknown, np.nan), values).astype(np.float32)
        return several_labels(values, names, config)
    codes = np.where(blank, -1, values)[:, 0].astype(np.intp)
    return fill_unknown(exclusive_labels(codes, names, config), blank[:, 0], config.unknown)
