"""Predicted masks as files: label maps, overlays, and one table of what was found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import cv2
import numpy as np
from numpy.typing import NDArray

from osler.errors import DataError, RunError
from osler.files import write_atomic
from osler.imaging.read import named_part, probe_image
from osler.metrics.lesions import components
from osler.predict.dicom_seg import write_dicom_seg
from osler.predict.masks import MaskPrediction
from osler.predict.overlay import colour_of, overlay
from osler.predict.table import note_of, write_table
from osler.predict.volumes import write_nifti_mask
from osler.runs.card import Card

__all__ = ["MaskFolder", "MaskRecord", "Measured", "label_map", "write_masks_csv"]

COLUMNS = (
    "image",
    "class",
    "threshold",
    "pixels",
    "share",
    "area_mm2",
    "lesions",
    "largest_probability",
    "mask",
    "overlay",
    "error",
    "note",
)


@dataclass(frozen=True)
class Measured:
    """What is called of one class in one image.

    Attributes:
        pixels: called.
        share: of the image's pixels.
        area: in mm², or None where the size of a pixel is unknown.
        lesions: connected components, pixels joined with their eight neighbours.
        peak: the largest probability.
        mask: the file, relative to the table's folder.
    """

    pixels: int
    share: float
    area: float | None
    lesions: int
    peak: float
    mask: str


@dataclass(frozen=True)
class MaskRecord:
    """What is kept of a prediction when its masks are written.

    Attributes:
        name: of the image.
        classes: class to what is called of it; empty where there is an error.
        overlay: the file, relative to the table's folder.
        error: why there are no masks, or None.
        notes: as in `MaskPrediction`.
    """

    name: str
    classes: dict[str, Measured]
    overlay: str
    error: str | None
    notes: tuple[str, ...]


class MaskFolder:
    """Writes the masks and overlay of each prediction as it comes, so that one image, or volume, at a time is held.

        OUT/masks/NAME.png           exclusive classes: 0 background, k the k-th class
        OUT/masks/NAME_CLASS.png     other classes: 255 where the class is called, else 0
        OUT/masks/NAME.nii.gz        of a NIfTI image, with its affine; NAME_CLASS.nii.gz with 1 for classes that may overlap
        OUT/masks/NAME.dcm           of a DICOM image: a segmentation, one segment a class; of several frames PNG, frame by frame
        OUT/overlays/NAME.png

    Images of one name in several folders are numbered: NAME, NAME_2 and so on.

    Args:
        out: the folder; made when the first mask is written.
        card: of the model.
        volumes: files of which every slice is predicted, in their order: their masks become volumes.
    """

    def __init__(self, out: Path, card: Card, volumes: Sequence[str] = ()) -> None:
        self._out = out
        self._card = card
        self._volumes = frozenset(volumes)
        self._taken: set[str] = set()
        self._volume: _Volume | None = None

    def save(self, one: MaskPrediction) -> MaskRecord:
        """What is kept of a prediction, its masks written; those of a volume when its last slice has passed.

        Masks that cannot be written in the format of their image, for lack of a library or of what the format asks for, are
        an error of this image alone.

        Raises:
            RunError: the folder is read-only, or the disk is full.
        """
        if one.planes is None or one.picture is None:
            return MaskRecord(one.name, {}, "", one.error, one.notes)
        stem = _free(_stem(one.name), self._taken)
        try:
            masks = self._masks(one.name, stem, one.planes)
        except DataError as error:
            return MaskRecord(one.name, {}, "", str(error), one.notes)
        over = f"overlays/{stem}.png"
        _write_png(self._out / over, overlay(one.picture, one.planes)[..., ::-1])
        found = {
            name: _measured(plane, one.peaks[name], one.spacing, mask)
            for name, plane, mask in zip(self._card.classes, one.planes, masks, strict=True)
        }
        return MaskRecord(one.name, found, over, None, one.notes)

    def close(self) -> None:
        """Writes the volume that is still held."""
        if self._volume is None:
            return
        volume, self._volume = self._volume, None
        for name, slices in volume.slices.items():
            _make_parent(self._out / name)
            write_nifti_mask(self._out / name, volume.file, slices, whole=volume.file in self._volumes)

    def _masks(self, name: str, stem: str, planes: NDArray[np.uint8]) -> list[str]:
        """Writes the masks of one image, or keeps them for its volume; the file of each class's mask."""
        exclusive = self._card.exclusive
        file, part, number = named_part(name)
        kind = _format_of(file)
        if kind == "dicom" and part is None and not _has_frames(file):
            path = f"masks/{stem}.dcm"
            _make_parent(self._out / path)
            write_dicom_seg(self._out / path, file, planes, self._card)
            return [path] * len(planes)
        if kind != "nifti":
            masks = self._files(stem, ".png")
            for path, pixels in zip(dict.fromkeys(masks), _maps(planes, exclusive, 255), strict=True):
                _write_png(self._out / path, pixels)
            return masks
        if self._volume is None or self._volume.file != file or file not in self._volumes:
            self.close()
            whole = _free(_stem(file), self._taken) if file in self._volumes else stem
            masks = self._files(whole, ".nii.gz")
            self._volume = _Volume(file, masks, {path: {} for path in masks})
        volume = self._volume
        for path, pixels in zip(volume.slices, _maps(planes, exclusive, 1), strict=True):
            volume.slices[path][number] = pixels
        return volume.masks

    def _files(self, stem: str, suffix: str) -> list[str]:
        """The file of each class's mask; exclusive classes share one."""
        if self._card.exclusive:
            return [f"masks/{stem}{suffix}"] * len(self._card.classes)
        taken: set[str] = set()
        return [f"masks/{stem}_{_free(_plain(name), taken)}{suffix}" for name in self._card.classes]


@dataclass(frozen=True)
class _Volume:
    """A NIfTI file whose slices are being predicted: the file of each class's mask, and file to slice to mask."""

    file: str
    masks: list[str]
    slices: dict[str, dict[int, NDArray[np.uint8]]]


def label_map(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Exclusive planes (K, H, W) as one map (H, W): 0 background, k the k-th class.

    >>> label_map(np.array([[[1, 0, 0]], [[0, 0, 1]]], np.uint8)).tolist()
    [[1, 0, 2]]
    """
    numbers = np.arange(1, len(planes) + 1, dtype=np.uint8)
    return np.asarray((planes * numbers[:, None, None]).max(axis=0))


def write_masks_csv(path: Path, records: Iterable[MaskRecord], card: Card) -> int:
    """Writes one row for each image and class, and beside the table (same name, .json) how to read it.

    Columns: `image`, `class`, `threshold` (a probability), `pixels` called, their `share` of the image, `area_mm2` where the
    size of a pixel is known, `lesions`, `largest_probability`, the files `mask` and `overlay`, `error`, `note`. An image that
    could not be read has one row, with its error.

    Returns:
        How many images have an error.

    Raises:
        RunError: the folder is read-only, or the disk is full.
    """
    rows = []
    total = failed = 0
    for one in records:
        total += 1
        failed += one.error is not None
        note = note_of(one.notes)
        if one.error is not None:
            rows.append([one.name, *[""] * (len(COLUMNS) - 3), one.error, note])
        rows += [
            [one.name, name, *_cells(found, card.thresholds.get(name)), one.overlay, "", note]
            for name, found in one.classes.items()
        ]
    labels = {name: k for k, name in enumerate(card.classes, start=1)} if card.exclusive else dict.fromkeys(card.classes, 255)
    colours = {name: colour_of(k) for k, name in enumerate(card.classes)}
    facts = {"images": total, "errors": failed, "exclusive": card.exclusive, "labels": labels, "colours": colours}
    write_table(path, COLUMNS, rows, card, {**facts, "prediction": card.prediction})
    return failed


def _cells(found: Measured, threshold: float | None) -> list[str]:
    """The cells from `threshold` to `mask`."""
    limit = "" if threshold is None else f"{threshold:.7g}"
    area = "" if found.area is None else f"{found.area:.7g}"
    return [limit, str(found.pixels), f"{found.share:.7g}", area, str(found.lesions), f"{found.peak:.7g}", found.mask]


def _measured(plane: NDArray[np.uint8], peak: float, spacing: tuple[float, float] | None, mask: str) -> Measured:
    pixels = int(np.count_nonzero(plane))
    area = None if spacing is None else pixels * spacing[0] * spacing[1]
    return Measured(pixels, pixels / plane.size, area, len(components(plane == 1)[1]) - 1, peak, mask)


def _maps(planes: NDArray[np.uint8], exclusive: bool, called: int) -> list[NDArray[np.uint8]]:
    return [label_map(planes)] if exclusive else [np.uint8(called) * plane for plane in planes]


def _format_of(file: str) -> str:
    """The format of an image file; "" for pixels that came from no file."""
    return probe_image(file).format if Path(file).is_file() else ""


def _has_frames(file: str) -> bool:
    """Whether a DICOM file holds more than one frame."""
    from osler.imaging.dicom_file import read_header  # few sets need them, and they need libraries that are optional
    from osler.imaging.dicom_pixels import frame_count

    with open(file, "rb") as opened:
        return frame_count(read_header(opened, file)) > 1


def _stem(name: str) -> str:
    """What the files of an image begin with.

    >>> [_stem(name) for name in ("a/eye 1.png", "scan.nii.gz", "scan.nii.gz#z=80", "image 1")]
    ['eye_1', 'scan', 'scan_z80', 'image_1']
    """
    file, part, number = named_part(name)
    plain = PurePath(file).name.removesuffix(".gz")
    plain = _plain(plain.rsplit(".", 1)[0] or plain)
    return plain if part is None else f"{plain}_{part}{number}"


def _free(name: str, taken: set[str]) -> str:
    """The name, numbered where it is taken; file systems may not tell capitals from small letters."""
    free, number = name, 1
    while free.lower() in taken:
        number += 1
        free = f"{name}_{number}"
    taken.add(free.lower())
    return free


def _plain(name: str) -> str:
    """A name that any file system takes."""
    return re.sub(r"[^\w.\-]+", "_", name)


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    done, png = cv2.imencode(".png", pixels)
    assert done, "OpenCV writes any uint8 image as PNG"
    _make_parent(path)
    write_atomic(path, lambda file: file.write(png.tobytes()))


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path.parent}: cannot be made: {error.strerror}. Choose another folder with --out DIR.") from error
