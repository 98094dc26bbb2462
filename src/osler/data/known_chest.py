"""Known sets of chest radiographs that come with tables: NIH ChestX-ray14, CheXpert, RSNA pneumonia, SIIM-ACR pneumothorax."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osler.config import DataConfig
from osler.data.known_table import (
    IMAGE,
    PATIENT,
    SPLIT,
    Published,
    columns_of,
    find_files,
    flags,
    given_path,
    published_samples,
    stacked,
)
from osler.data.messages import count, raise_faults, some
from osler.data.samples import Samples
from osler.data.table import read_table
from osler.errors import DataError

__all__ = [
    "chexpert_samples",
    "is_chexpert",
    "is_nih",
    "is_rsna",
    "is_siim",
    "nih_samples",
    "rsna_samples",
    "siim_samples",
]

# --- NIH ChestX-ray14 (Wang et al. 2017) --------------------------------------------------------------------------------------

NIH_TABLES = (r"Data_Entry_2017.*\.csv(\.gz)?", r"sample_labels\.csv")
NIH_COLUMNS = {"imageindex", "findinglabels", "patientid"}
NIH_CLASSES = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax", "Consolidation",
    "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
NO_FINDING = "No Finding"


def is_nih(path: Path) -> bool:
    """Whether a folder, or a table, is NIH ChestX-ray14 or a part of it."""
    return any(columns_of(file) >= NIH_COLUMNS for file in _tables(path, NIH_TABLES))


def nih_samples(config: DataConfig) -> Samples:
    """NIH ChestX-ray14: `Data_Entry_2017*.csv`, images in any folders below, the official lists where they lie beside it.

    Films of `test_list.txt` are test, all others train, from which `split_samples` cuts val by patients.

    Raises:
        DataError: as `published_samples`; lists that contradict each other.
    """
    path = given_path(config)
    file = _one_table(path, NIH_TABLES, "Data_Entry_2017*.csv")
    table = read_table(file)
    faults: list[str] = []
    _require_columns(file, table, ("Image Index", "Finding Labels", "Patient ID"))
    findings = flags(table["Finding Labels"].tolist(), [*NIH_CLASSES, NO_FINDING], faults, "Finding Labels", "|")
    mixed = (findings[NO_FINDING] == "1") & (findings[list(NIH_CLASSES)] == "1").any(axis=1)
    if mixed.any():
        faults.append(f"column 'Finding Labels' holds {NO_FINDING!r} together with a finding in {count(int(mixed.sum()), 'row')}")
    images = table["Image Index"].tolist()
    split, notes = _official_lists(file.parent, images, table["Patient ID"].to_numpy(dtype=str), faults)
    # Without the suffix: sets that were made smaller are JPEG as often as PNG.
    table[IMAGE], table[PATIENT] = [name.rpartition(".")[0] or name for name in images], table["Patient ID"]
    if "Patient Age" in table:
        table["Patient Age"] = [_years(cell) for cell in table["Patient Age"].tolist()]
    if split is not None:
        table[SPLIT] = split
    table = table.drop(columns=["Image Index", "Finding Labels", "Patient ID"])
    table[list(findings.columns)] = findings.to_numpy()
    labels = tuple(findings.columns)
    published = Published(file.parent, table, labels, NIH_CLASSES, NO_FINDING, notes=tuple(notes), faults=tuple(faults))
    return published_samples(published, config)


def _official_lists(
    folder: Path, images: list[str], patients: NDArray[np.str_], faults: list[str]
) -> tuple[NDArray[np.str_] | None, list[str]]:
    """(N,) the official split of each film, or None without lists; and notes."""
    lists = {}
    for name in ("train_val_list.txt", "test_list.txt"):
        if (folder / name).is_file():
            lists[name] = set((folder / name).read_text(encoding="utf-8-sig").split())
    if not lists:
        return None, ["The official lists (train_val_list.txt, test_list.txt) are not there: the split is Osler's own."]
    names = np.array(images, dtype=str)
    known = np.array(sorted(set().union(*lists.values())), dtype=str)
    tested = np.isin(names, list(lists.get("test_list.txt", ())))
    if "test_list.txt" not in lists:
        tested = ~np.isin(names, known)
    both = lists.get("train_val_list.txt", set()) & lists.get("test_list.txt", set())
    if both:
        faults.append(f"{count(len(both), 'film')} in both official lists: {some(sorted(both))}")
    notes = [f"The official lists are followed ({', '.join(lists)}); val is drawn by patients from train_val."]
    unlisted = ~np.isin(names, known) if len(lists) == 2 else np.zeros(len(names), dtype=bool)
    if unlisted.any():
        tested |= unlisted & np.isin(patients, patients[tested])
        notes.append(f"{count(int(unlisted.sum()), 'film')} in neither list go with their patient, else to train_val.")
    absent = len(set(known) - set(images))
    if absent:
        notes.append(f"{count(absent, 'film')} of the official lists are not in the table.")
    return np.where(tested, "test", "train"), notes


def _years(cell: str) -> str:
    """An age in years, of those that early tables write as 058Y, 009M or 021D.

    >>> _years("058Y"), _years("58"), _years("006M")
    ('58', '58', '0.5')
    """
    found = None if cell.isdigit() else re.fullmatch(r"0*(\d+)([YMD])", cell)
    return f"{int(found[1]) / {'Y': 1, 'M': 12, 'D': 365.25}[found[2]]:.3g}" if found else cell


# --- CheXpert (Irvin et al. 2019) ---------------------------------------------------------------------------------------------

CHEXPERT_TABLES = {r"train\.csv": "train", r"valid\.csv": "val", r"(test|test_labels|groundtruth)\.csv": "test"}
CHEXPERT_COLUMNS = {"path", "nofinding", "supportdevices"}
CHEXPERT_CLASSES = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia",
    "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
FILM = re.compile(r"(?:.*?/)?((?:(?:train|valid|test)/)?(patient\d+)/[^/]+/[^/]+)")
VIEW = "Frontal/Lateral"


def is_chexpert(path: Path) -> bool:
    """Whether a folder, or a table, is CheXpert, whole or in batches, large or small."""
    return any(columns_of(file) >= CHEXPERT_COLUMNS for file in _chexpert_tables(path))


def _chexpert_tables(path: Path) -> dict[Path, str]:
    """Table to split; the nearest of each split."""
    found = {split: find_files(path, pattern) for pattern, split in CHEXPERT_TABLES.items()}
    return {files[0]: split for split, files in found.items() if files}


def chexpert_samples(config: DataConfig) -> Samples:
    """CheXpert: `train.csv`, `valid.csv` as val, and the labels of the official test set where they are there.

    Uncertain labels (−1) mean what `data.uncertain` says, and blank ones, which a report does not mention, what `data.unknown`
    says: they are different things, and both are errors until that is said.

    Raises:
        DataError: as `published_samples`; paths that name no patient.
    """
    path = given_path(config)
    tables = {file: split for file, split in _chexpert_tables(path).items() if columns_of(file) >= {"path", "nofinding"}}
    if not tables:
        raise DataError(
            f"{path}: has no train.csv or valid.csv with the columns Path and No Finding. Name the folder of CheXpert."
        )
    table = stacked(tables.items())
    _require_columns(next(iter(tables)), table, ("Path", NO_FINDING, *CHEXPERT_CLASSES))
    films = [FILM.fullmatch(cell.replace("\\", "/")) for cell in table["Path"]]
    strange = [place for place, film in zip(table.index, films, strict=True) if film is None]
    faults = [f"column 'Path' names no patient in {count(len(strange), 'row')}: {some(strange)}"] if strange else []
    root = path if path.is_dir() else path.parent
    # As one folder the paths of the table hold; in batches there is no folder train, and patients are numbered through.
    whole = any((root / name).is_dir() for name in ("train", "valid"))
    cells = ["" if film is None else film[1] if whole else film[1][film.start(2) - film.start(1) :] for film in films]
    table = table.assign(**{IMAGE: cells, PATIENT: ["" if film is None else film[2] for film in films]}).drop(columns="Path")
    notes = [f"Read are {', '.join(f'{file.name} as {split}' for file, split in tables.items())}."]
    if VIEW in table:
        views = table[VIEW].value_counts()
        said = ", ".join(f"{int(number):,} {str(view).lower()}" for view, number in views.items() if view)
        notes.append(f"Both views are read ({said}); the column {VIEW!r} tells them apart.")
    labels = (*CHEXPERT_CLASSES, NO_FINDING)
    published = Published(
        root, table, labels, CHEXPERT_CLASSES, NO_FINDING, folders=("",), notes=tuple(notes), faults=tuple(faults)
    )
    return published_samples(published, config)


# --- RSNA pneumonia challenge (Shih et al. 2019) ------------------------------------------------------------------------------

RSNA_TABLES = (r"stage_\d_train_labels\.csv",)
RSNA_DETAIL = r"stage_\d_detailed_class_info\.csv"
RSNA_MAPPING = r"pneumonia-challenge-dataset-mappings_2018\.json"
RSNA_DETAILS = ("Normal", "No Lung Opacity / Not Normal", "Lung Opacity")


def is_rsna(path: Path) -> bool:
    """Whether a folder, or a table, is the RSNA pneumonia challenge."""
    return any(columns_of(file) >= {"patientid", "target"} for file in _tables(path, RSNA_TABLES))


def rsna_samples(config: DataConfig) -> Samples:
    """RSNA pneumonia: one sample a film, however many boxes its rows give; patients by RSNA's mapping to NIH, if it is there.

    The class is Pneumonia; with `data.classes` those of the detailed table, which exclude each other.

    Raises:
        DataError: as `published_samples`; films whose rows contradict each other.
    """
    path = given_path(config)
    file = _one_table(path, RSNA_TABLES, "stage_2_train_labels.csv")
    rows = read_table(file)
    _require_columns(file, rows, ("patientId", "Target"))
    faults = _contradicting(rows["patientId"], rows["Target"])
    table = rows[~rows["patientId"].duplicated()]
    films = table["patientId"]
    notes = [f"{count(len(rows), 'row')} of boxes are {count(len(table), 'film')}."]
    labels: dict[str, list[str]] = {"Pneumonia": table["Target"].tolist()}
    details = find_files(file.parent, RSNA_DETAIL, 0)
    if details:
        detail = read_table(details[0])
        _require_columns(details[0], detail, ("patientId", "class"))
        faults += _contradicting(detail["patientId"], detail["class"])
        words = dict(zip(detail["patientId"], detail["class"], strict=True))
        named = flags([words.get(film, "") for film in films], RSNA_DETAILS, faults, "class")
        labels |= {name: named[name].tolist() for name in RSNA_DETAILS}
    patients = _rsna_patients(file.parent, films.tolist(), faults)
    if patients is None:
        notes.append(
            "A patientId of this set is a film; whose film it is stands in RSNA's mapping to NIH "
            "(pneumonia-challenge-dataset-mappings_2018.json), which is not beside the table."
        )
    columns = {IMAGE: films.tolist(), **labels, **({} if patients is None else {PATIENT: patients})}
    published = Published(
        file.parent,
        pd.DataFrame(columns, index=table.index),
        tuple(labels),
        ("Pneumonia",),
        "no pneumonia",
        exclusive=True,
        folders=("stage_2_train_images", "stage_1_train_images", ""),
        notes=tuple(notes),
        faults=tuple(faults),
    )
    return published_samples(published, config)


def _rsna_patients(folder: Path, films: list[str], faults: list[str]) -> list[str] | None:
    """The NIH patient of each film by RSNA's mapping, whose NIH file names begin with it; None without the mapping."""
    files = find_files(folder, RSNA_MAPPING, 0)
    if not files:
        return None
    try:
        entries = json.loads(files[0].read_text(encoding="utf-8"))
        known = {str(entry["subset_img_id"]): str(entry["img_id"]).partition("_")[0] for entry in entries}
    except (OSError, ValueError, KeyError, TypeError) as error:
        faults.append(
            f"{files[0].name} cannot be read as RSNA's mapping ({type(error).__name__}): get a new copy, or move it away"
        )
        return None
    lacking = [film for film in films if film not in known]
    if lacking:
        faults.append(f"{files[0].name} does not say whose {count(len(lacking), 'film')} are: {some(lacking)}")
    return [known.get(film, "?") for film in films]


# --- SIIM-ACR pneumothorax ----------------------------------------------------------------------------------------------------

SIIM_TABLES = (r"stage_2_train\.csv", r"train-rle\.csv")


def is_siim(path: Path) -> bool:
    """Whether a folder, or a table, is the SIIM-ACR pneumothorax challenge."""
    return any(columns_of(file) >= {"imageid", "encodedpixels"} for file in _tables(path, SIIM_TABLES))


def siim_samples(config: DataConfig) -> Samples:
    """SIIM-ACR pneumothorax as labels of films: a film with a region is positive, one whose cell is −1 negative.

    Raises:
        DataError: as `published_samples`; films that have regions and −1.
    """
    path = given_path(config)
    file = _one_table(path, SIIM_TABLES, "train-rle.csv or stage_2_train.csv")
    rows = read_table(file)
    _require_columns(file, rows, ("ImageId", "EncodedPixels"))
    rows["Pneumothorax"] = ["0" if cell == "-1" else "1" if cell else "" for cell in rows["EncodedPixels"]]
    faults = _contradicting(rows["ImageId"], rows["Pneumothorax"])
    table = rows[~rows["ImageId"].duplicated()]
    columns = {IMAGE: table["ImageId"], "Pneumothorax": table["Pneumothorax"]}
    published = Published(
        file.parent,
        pd.DataFrame(columns),
        ("Pneumothorax",),
        ("Pneumothorax",),
        "no pneumothorax",
        folders=("dicom-images-train", ""),
        notes=(f"{count(len(rows), 'row')} of regions are {count(len(table), 'film')}.",),
        faults=tuple(faults),
    )
    return published_samples(published, config)


# --- what they share ----------------------------------------------------------------------------------------------------------


def _tables(path: Path, patterns: tuple[str, ...]) -> list[Path]:
    """The tables that a set may have, in order of preference: by pattern, and of one pattern the last by name, the newest."""
    return [file for pattern in patterns for file in reversed(find_files(path, pattern, 0))]


def _one_table(path: Path, patterns: tuple[str, ...], name: str) -> Path:
    """The table to read; DataError where there is none."""
    files = _tables(path, patterns)
    if not files:
        raise DataError(f"{path}: has no {name}. Name the folder that this set was unpacked to, or choose another data.source.")
    return files[0]


def _require_columns(file: Path, table: pd.DataFrame, names: tuple[str, ...]) -> None:
    absent = [name for name in names if name not in table]
    raise_faults(
        file, [f"there is no column {some(absent, 20)}"] if absent else [], f"The columns are {some(table.columns, 25)}."
    )


def _contradicting(films: pd.Series[str], said: pd.Series[str]) -> list[str]:
    """One fault for films whose rows do not all say the same."""
    distinct = pd.DataFrame({"film": films, "said": said}).drop_duplicates()["film"]
    odd = distinct[distinct.duplicated()].unique()
    return [f"rows of {count(len(odd), 'film')} contradict each other in {said.name!r}: {some(odd)}"] if len(odd) else []
