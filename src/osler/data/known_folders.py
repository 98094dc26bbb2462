"""Chest radiographs in folders of classes, as they are shared on Kaggle: NORMAL and PNEUMONIA, COVID and others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from osler.config import DataConfig
from osler.data.folder import class_folders, folder_samples, folders_in
from osler.data.known_table import given_path
from osler.data.labels import plain
from osler.data.messages import count
from osler.data.samples import Samples
from osler.errors import DataError

__all__ = ["chest_folder_samples", "is_chest_folders"]

NORMAL = frozenset({"normal"})
FINDINGS = frozenset(
    {"pneumonia", "viralpneumonia", "bacterialpneumonia", "covid", "covid19", "lungopacity", "tuberculosis", "bacteria", "virus"}
)
SMALLEST_VAL = 0.02
"""Of train: the set of Kermany et al. came to Kaggle with 16 images in val beside 5,216 in train, and nothing is chosen on 16."""


def is_chest_folders(path: Path) -> bool:
    """Whether a folder has class folders of such a set, one of them NORMAL, if need be below train, val and test."""
    return path.is_dir() and _set_folder(path) is not None


def _set_folder(path: Path) -> Path | None:
    """The folder itself, or the only one in it, which archives put around."""
    inside = folders_in(path)
    candidates = [path, path / inside[0]] if len(inside) == 1 else [path]
    for folder in candidates:
        try:
            names = {plain(name) for _, name in class_folders(folder)[0]}
        except DataError:
            continue
        if names & NORMAL and names & FINDINGS and names <= NORMAL | FINDINGS:
            return folder
    return None


def chest_folder_samples(config: DataConfig) -> Samples:
    """Class folders as `folder` reads them, with what these sets need: a folder around them, and a val that is none.

    Raises:
        DataError: as `folder_samples`.
    """
    path = given_path(config)
    if not path.is_dir():
        raise DataError(f"{path}: is a file; source chest_xray_folders needs the folder of class folders")
    samples = folder_samples(config.model_copy(update={"path": _set_folder(path) or path}))
    if samples.split is None:
        return samples
    train, val = samples.split == "train", samples.split == "val"
    if not 0 < val.sum() < SMALLEST_VAL * train.sum():
        return samples
    note = (
        f"The set's own val has {count(int(val.sum()), 'image')} beside {int(train.sum()):,} in train, too few to choose by: "
        "they count as train, from which val is drawn."
    )
    return replace(samples, split=np.where(val, "train", samples.split)).with_notes([note])
