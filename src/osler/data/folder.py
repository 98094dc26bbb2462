"""The source `folder`: a folder for each class, below train, val and test folders where there are such."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from osler.config import DataConfig
from osler.data.files import FileImages, Listing, is_folder, is_hidden, is_image_name, list_images
from osler.data.labels import absent_names, exclusive_labels, plain
from osler.data.messages import count, raise_faults, require_path, some
from osler.data.patients import patients_of_paths
from osler.data.samples import SPLITS, Samples
from osler.data.split import split_name
from osler.errors import DataError, nearest

__all__ = ["class_folders", "folder_samples", "folders_in", "patients_of_names"]

# File names that state a patient; the group is the id. A pattern counts only when every file of a class follows it.
PATIENT_PATTERNS: dict[str, re.Pattern[str]] = {
    "person12_bacteria_34": re.compile(r"(person\d+)_(?:bacteria|virus)_\d+"),
    "IM-0117-0001": re.compile(r"((?:NORMAL2-)?IM-\d+)-\d+(?:-\d+)?"),
}


def folder_samples(config: DataConfig) -> Samples:
    """Lists class folders; every fault is reported at once. Class folders are searched to their depth.

    Raises:
        DataError: no class folders, one only, empty ones, or others than `data.classes` lists.
    """
    assert config.path is not None, "the config requires a path for this source"
    root = require_path(config.path, "data.path")
    folders, notes = class_folders(root)
    folders, besides = _without_masks(folders)
    listings = {(split, name): list_images(path) for (split, name), path in folders.items()}
    names = _class_names(root, listings, config)
    total = Listing()
    codes: list[NDArray[np.intp]] = []
    splits: list[NDArray[np.str_]] = []
    for key, listing in listings.items():
        total.add(listing, folders[key].relative_to(root).as_posix())
        codes.append(np.full(len(listing.names), names.index(key[1]), dtype=np.intp))
        splits.append(np.full(len(listing.names), key[0], dtype="<U5"))
    ids, split, code = np.array(total.names), np.concatenate(splits), np.concatenate(codes)
    labels = exclusive_labels(code, names, config)
    if config.patient_pattern is not None:
        patients, said = patients_of_paths(ids.tolist(), config.patient_pattern)
    else:
        patients, said = patients_of_names(ids, code, names)
    return Samples(
        ids=ids,
        targets=labels.targets,
        classes=labels.classes,
        task=labels.task,
        images=FileImages(root, ids),
        patients=patients,
        split=split if (split != "").any() else None,
        notes=(*notes, *besides, *total.notes(), *labels.notes, *said),
        negative=labels.negative,
        listed=labels.listed,
    )


def class_folders(root: Path) -> tuple[dict[tuple[str, str], Path], tuple[str, ...]]:
    """The class folders of a source, by (split, class); the split is "" where there is no such level.

    Raises:
        DataError: there are none.
    """
    if not root.is_dir():
        raise DataError(f"{root}: is a file; the source `folder` needs a folder of class folders")
    inside = sorted(folders_in(root))
    as_split = {name: split for name in inside if (split := split_name(name)) is not None}
    if not as_split:
        found = {("", name): root / name for name in inside}
        notes = _loose_files(root, "beside the class folders")
    else:
        beside = [name for name in inside if name not in as_split]
        notes = [f"Folders beside {some(as_split)} ignored: {some(beside)}."] if beside else []
        renamed = [f"{name!r} is read as {split}" for name, split in as_split.items() if name != split]
        notes += [f"The folder {some(renamed)}."] if renamed else []
        twice = [name for name in as_split if list(as_split.values()).count(as_split[name]) > 1]
        if twice:
            raise DataError(f"{root}: the folders {some(twice)} name the same split; keep one of them")
        ordered = sorted(as_split, key=lambda name: SPLITS.index(as_split[name]))
        found = {(as_split[name], inner): root / name / inner for name in ordered for inner in sorted(folders_in(root / name))}
        for name in ordered:
            notes += _loose_files(root / name, f"in {name}, outside its class folders")
    if not found:
        raise DataError(
            f"{root}: has no class folders. Expected is a folder for each class ({root}/NORMAL/*.png), or the same below "
            "train, val and test; for a table of labels use data.source: csv"
        )
    return found, tuple(notes)


def _without_masks(folders: dict[tuple[str, str], Path]) -> tuple[dict[tuple[str, str], Path], tuple[str, ...]]:
    """Class folders, or the folder `images` in them where masks lie beside it: a mask is no image of the class."""
    kept = {}
    for key, path in folders.items():
        inside = {plain(name): path / name for name in folders_in(path)}
        kept[key] = inside["images"] if "images" in inside and "masks" in inside else path
    cut = [str(path / "masks") for key, path in folders.items() if kept[key] != path]
    return kept, (f"Masks beside images left out: {some(cut)}.",) if cut else ()


def folders_in(root: Path) -> list[str]:
    """Names of the folders in a folder, by one scan and no look at each file."""
    with os.scandir(root) as entries:
        return [entry.name for entry in entries if is_folder(entry) and not is_hidden(entry.name)]


def _loose_files(folder: Path, where: str) -> list[str]:
    with os.scandir(folder) as entries:
        loose = sum(is_image_name(entry.name) and entry.is_file() for entry in entries)
    return [f"{count(loose, 'image')} {where} ignored."] if loose else []


def _class_names(root: Path, listings: dict[tuple[str, str], Listing], config: DataConfig) -> list[str]:
    """The classes in order, or every fault of the folders at once."""
    found = sorted({name for _, name in listings})
    full = {name: sum(len(listing.names) for (_, inner), listing in listings.items() if inner == name) for name in found}
    empty = [str(root / split / name) for split, name in listings if full[name] == 0]
    faults = [f"class folders without images: {some(empty)}; fill or remove them"] if empty else []
    if not config.classes and len(found) == 1:
        nested = {split_name(name) for name in folders_in(root / found[0])} - {None}
        hint = f"data.path should be {root / found[0]}" if nested else "for a table of labels use data.source: csv"
        faults.append(f"there is only one class folder, {found[0]}; a classifier needs at least two: {hint}")
    if config.classes:
        faults += [f"data.classes: there is no folder for {name}" for name in absent_names(config.classes, found)]
        for name in found:
            if name not in config.classes:
                guess = nearest(name, config.classes)
                hint = f" (did you mean {guess!r}?)" if guess else ""
                faults.append(f"the folder {name!r} is not in data.classes{hint}: add it, or move the folder away")
    raise_faults(root, faults)
    return list(config.classes or found)


def patients_of_names(
    ids: NDArray[np.str_], codes: NDArray[np.intp], names: list[str]
) -> tuple[NDArray[np.str_] | None, tuple[str, ...]]:
    """Patient ids that file names state, where every file of every class follows a known pattern.

    Args:
        ids: (N,) paths.
        codes: (N,) class of each file.
        names: of the classes; a pattern holds for a whole class or not at all.

    >>> ids = np.array(["a/person1_virus_6.jpg", "a/person1_virus_7.jpg", "b/IM-0001-0001.jpg"])
    >>> patients_of_names(ids, np.array([0, 0, 1]), ["a", "b"])[0].tolist()
    ['person1', 'person1', 'IM-0001']
    """
    stems = [name.rpartition("/")[2].rpartition(".")[0] for name in ids.tolist()]
    patients = np.empty(len(ids), dtype=object)
    used = []
    for code in range(len(names)):
        rows = np.flatnonzero(codes == code)
        for example, pattern in PATIENT_PATTERNS.items():
            matches = [pattern.fullmatch(stems[row]) for row in rows]
            if matches and all(matches):
                patients[rows] = [match[1] for match in matches if match]
                used.append(f"{names[code]} as in {example}")
                break
        else:
            return None, ()
    return patients.astype(str), (f"Patients are read from file names ({some(used)}); images of one stay in one split.",)
