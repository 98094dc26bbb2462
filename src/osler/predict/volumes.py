"""Masks of NIfTI images as NIfTI: in the axes of the file that they belong to, with its affine."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.errors import DataError
from osler.files import write_atomic

__all__ = ["slice_count", "write_nifti_mask"]


def slice_count(file: str) -> int | None:
    """Axial slices of a 3-D NIfTI file, from its header; None where it cannot be read.

    Raises:
        DataError: nibabel is not installed.
    """
    nibabel = _nibabel(file)
    try:
        image = _opened(nibabel, file)
        return int(image.shape[_axial(nibabel, image)[0]])
    except (nibabel.filebasedimages.ImageFileError, OSError, ValueError):
        return None


def write_nifti_mask(path: Path, file: str, slices: Mapping[int, NDArray[np.uint8]], whole: bool) -> None:
    """Writes the masks of slices of a volume.

    Args:
        path: ends in .nii.gz.
        file: the image, which was read before.
        slices: number of an axial slice, counted from 0 at the feet, to its mask (H, W): rows to the back, columns to the
            patient's left, as `osler.imaging.nifti` reads them.
        whole: as the whole volume, 0 where a slice is missing; else there is one slice, written alone, in its place.

    Raises:
        DataError: nibabel is not installed.
        RunError: the folder is read-only, or the disk is full.
    """
    nibabel = _nibabel(file)
    image = _opened(nibabel, file)
    axis, up = _axial(nibabel, image)
    count = int(image.shape[axis])
    if whole:
        axials = np.zeros((count, *next(iter(slices.values())).shape), np.uint8)
        for number, mask in slices.items():
            axials[number] = mask
    else:
        ((number, mask),) = slices.items()
        stored = number if up else count - 1 - number
        part = [slice(None)] * 3
        part[axis] = slice(stored, stored + 1)
        image, axials = image.slicer[tuple(part)], mask[None]
    header = image.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["descrip"] = b"mask for research, not a medical device"
    content = type(image)(_as_stored(nibabel, axials, image.affine), image.affine, header).to_bytes()
    write_atomic(path, lambda partial: partial.write(gzip.compress(content, mtime=0)))


def _nibabel(file: str) -> Any:
    if importlib.util.find_spec("nibabel") is None:
        raise DataError(
            f'{file}: the masks of a NIfTI image are written with nibabel, which is not installed: pip install "osler[dicom]".'
        )
    return importlib.import_module("nibabel")


def _opened(nibabel: Any, file: str) -> Any:
    """The image as nibabel knows it, its voxels not read, made three-dimensional."""
    image = nibabel.load(file)
    return image if len(image.shape) == 3 else nibabel.squeeze_image(image)


def _axial(nibabel: Any, image: Any) -> tuple[int, bool]:
    """The stored axis that runs nearest to feet and head, and whether it runs to the head."""
    orientation = nibabel.orientations.io_orientation(image.affine)
    (axis,) = np.flatnonzero(orientation[:, 0] == 2)
    return int(axis), bool(orientation[axis, 1] > 0)


def _as_stored(nibabel: Any, axials: NDArray[np.uint8], affine: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Axial slices (Z, H, W), rows to the back and columns to the left, in the order of a file's axes."""
    turns = nibabel.orientations
    right_front_head = axials.transpose(2, 1, 0)[::-1, ::-1]
    way = turns.ornt_transform(turns.axcodes2ornt("RAS"), turns.io_orientation(affine))
    return np.asarray(turns.apply_orientation(right_front_head, way))
