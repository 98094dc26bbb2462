"""Patients that file names state: by the configured pattern, else by ways of naming files that are in use."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from osler.data.messages import count, some
from osler.errors import DataError

__all__ = ["USUAL_NAMES", "patients_of_paths", "usual_pattern"]

USUAL_NAMES: dict[str, str] = {
    "patient07_z034": r"((?:patient|subject|subj|case|pat)[-_ ]?\d+)(?:[-_ ][^/]*)?\.[^/]+$",
    "Image_01L and Image_01R, both eyes": r"([^/]*\d)[-_ ]?(?:[LR]|[lr]|left|right|OD|OS|od|os)\.[^/]+$",
    "IDRiD_01_y0_x512, tiles of an image": r"([^/]+?)_[xy]\d+_[xy]\d+\.[^/]+$",
}
"""Example → pattern, found in a path. One counts only where every path has it and some patient has several images."""


def patients_of_paths(paths: Sequence[str], pattern: str | None) -> tuple[NDArray[np.str_] | None, tuple[str, ...]]:
    """Patient ids that paths state, and a note on how they were found.

    Args:
        paths: of all images.
        pattern: `data.patient_pattern`, or None.

    Raises:
        DataError: the configured pattern is not found in every path.

    >>> patients_of_paths(["a/01L.png", "a/01R.png", "a/02R.png"], None)[0].tolist()
    ['01', '01', '02']
    """
    if pattern is None:
        usual = usual_pattern(paths)
        if usual is None:
            return None, ()
        example, pattern = usual
        how = f"as in {example}"
    else:
        how = f"data.patient_pattern {pattern}"
    found = [re.search(pattern, path) for path in paths]
    without = [path for path, match in zip(paths, found, strict=True) if match is None or match[1] is None]
    if without:
        raise DataError(
            f"data.patient_pattern: {pattern!r} is not found in {count(len(without), 'path')} of {len(paths):,}, such as "
            f"{some(without, 3)}: change it, or set it to null"
        )
    patients = np.array([match[1] for match in found if match is not None])
    said = f"{count(len(np.unique(patients)), 'patient')} read from file names ({how}); images of one stay in one split."
    return patients, (said,)


def usual_pattern(paths: Sequence[str]) -> tuple[str, str] | None:
    """The example and the pattern of the way in which all these files are named, or None.

    >>> usual_pattern(["benign_15.png", "benign_16.png"]) is None
    True
    """
    for example, pattern in USUAL_NAMES.items():
        found = [re.search(pattern, path) for path in paths]
        groups = {match[1] for match in found if match is not None}
        if paths and None not in found and len(groups) < len(paths):
            return example, pattern
    return None
