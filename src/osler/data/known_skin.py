"""Known sets of skin lesions: HAM10000 and the classification tasks of the ISIC challenges."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from osler.config import DataConfig
from osler.data.known_table import (
    IMAGE,
    PATIENT,
    Published,
    columns_of,
    find_files,
    flags,
    given_path,
    published_samples,
    stacked,
)
from osler.data.labels import plain
from osler.data.messages import count, some
from osler.data.samples import Samples
from osler.data.table import named_column, read_table
from osler.errors import DataError

__all__ = ["ham_samples", "is_ham", "is_isic", "isic_samples"]

LESIONS = "Lesions are kept whole by lesion_id; whose lesions they are the set does not say, so one patient may be in two splits."

# --- HAM10000 (Tschandl et al. 2018) ------------------------------------------------------------------------------------------

HAM_TABLE = r"HAM10000_metadata(\.csv|\.tab|\.txt)?"
HAM_TEST = r"ISIC2018_Task3_Test_GroundTruth\.(csv|tab)"
HAM_COLUMNS = {"lesionid", "imageid", "dx"}
HAM_CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


def is_ham(path: Path) -> bool:
    """Whether a folder, or a table, is HAM10000."""
    return any(columns_of(file) >= HAM_COLUMNS for file in _ham_files(path))


def _ham_files(path: Path) -> list[Path]:
    return find_files(path, HAM_TABLE)


def ham_samples(config: DataConfig) -> Samples:
    """HAM10000: `HAM10000_metadata`, images in both parts; `lesion_id` is the group that stays whole.

    The labels of the challenge's test set, where they lie beside it in the same form, are test.

    Raises:
        DataError: as `published_samples`.
    """
    path = given_path(config)
    files = [file for file in _ham_files(path) if columns_of(file) >= HAM_COLUMNS]
    if not files:
        raise DataError(
            f"{path}: has no HAM10000_metadata with the columns lesion_id, image_id and dx. Name the folder of HAM10000."
        )
    tested = [file for file in find_files(path, HAM_TEST) if columns_of(file) >= HAM_COLUMNS]
    table = stacked([(files[0], "train" if tested else ""), *((file, "test") for file in tested[:1])])
    faults: list[str] = []
    named = flags(table["dx"].tolist(), HAM_CLASSES, faults, "dx")
    table = table.rename(columns={"image_id": IMAGE}).drop(columns="dx")
    table[PATIENT], whole = _groups(table["lesion_id"], table[IMAGE])
    table[list(HAM_CLASSES)] = named.to_numpy()
    notes = [f"Read are {', '.join(file.name for file in (files[0], *tested[:1]))}.", *whole]
    root = path if path.is_dir() else path.parent
    classes, absent = _present(table, HAM_CLASSES)
    published = Published(
        root, table.drop(columns="lesion_id"), HAM_CLASSES, classes, exclusive=True, folders=("",), notes=(*notes, *absent),
        faults=tuple(faults),
    )  # fmt: skip
    return published_samples(published, config)


# --- ISIC challenges from 2017 on ----------------------------------------------------------------------------------------------

ISIC_TABLE = r"ISIC[-_]?(?P<year>20\d\d)_?(Task3_)?(?P<part>Training|Validation|Test)(_v2)?_?(Part3_)?GroundTruth(_v2)?\.csv"
ISIC_IMAGES = ("image", "imageid", "imagename")
ISIC_SPLITS = {"training": "train", "validation": "val", "test": "test"}
ISIC_LESIONS = r"ISIC[-_]?20\d\d_?(Task3_)?(Training|Test)_(Metadata|LesionGroupings)\.csv"
# Words of the 2020 table that say the label again.
ISIC_ANSWERS = ("benign_malignant", "diagnosis")
# The challenge of 2024 (SLICE-3D, Kurtansky et al. 2024): crops of photographs of the whole body, one table for all.
CROPS_TABLE = r"(train-metadata|ISIC[-_]?2024_Training.*)\.csv"
CROPS_COLUMNS = {"isicid", "patientid", "target"}
CROPS_ANSWERS = r"iddx_.*|mel_.*|lesion_id|tbp_lv_.*_confidence"
CROPS_SAID = "Columns that only a diagnosis fills (iddx_*, mel_*, lesion_id), and the confidence of other networks, are left out."


def is_isic(path: Path) -> bool:
    """Whether a folder, or a table, is the classification task of an ISIC challenge."""
    return bool(_named_tables(path) or _crops_tables(path))


def _named_tables(path: Path) -> list[Path]:
    return [file for file in find_files(path, ISIC_TABLE) if columns_of(file) & set(ISIC_IMAGES)]


def _crops_tables(path: Path) -> list[Path]:
    return [file for file in find_files(path, CROPS_TABLE) if columns_of(file) >= CROPS_COLUMNS]


def _crops_samples(path: Path, file: Path, config: DataConfig) -> Samples:
    """The challenge of 2024: malignant or not, by patient; its test set has no labels."""
    table = read_table(file).fillna("")
    answers = [str(name) for name in table.columns if re.fullmatch(CROPS_ANSWERS, str(name))]
    table = table.drop(columns=answers).rename(columns={"isic_id": IMAGE, "patient_id": PATIENT})
    notes = (f"Read is {file.name}.", *([CROPS_SAID] if answers else []))
    root = path if path.is_dir() else path.parent
    published = Published(
        root, table, ("target",), ("target",), "benign", folders=("train-image/image", "train-image", ""), notes=notes
    )
    return published_samples(published, config)


def isic_samples(config: DataConfig) -> Samples:
    """An ISIC challenge from 2017 on: one-hot or 0 and 1 tables, lesions or patients as groups where the set names them.

    The official validation and test sets are val and test, where their labels are there.

    Raises:
        DataError: as `published_samples`; tables of several challenges.
    """
    path = given_path(config)
    crops = _crops_tables(path)
    if crops and not _named_tables(path):
        return _crops_samples(path, crops[0], config)
    files = {file: re.fullmatch(ISIC_TABLE, file.name, re.IGNORECASE) for file in _named_tables(path)}
    parts: dict[str, Path] = {}
    years = set()
    for file, match in files.items():
        if match is not None:
            years.add(match["year"])
            # Of a table and its corrected version, the one that comes last by name.
            parts[ISIC_SPLITS[match["part"].lower()]] = file
    if not parts:
        raise DataError(f"{path}: has no ISIC_20.._Training_GroundTruth.csv, as a challenge of ISIC publishes it.")
    if len(years) > 1:
        raise DataError(f"{path}: has tables of several challenges ({', '.join(sorted(years))}); give each a folder of its own.")
    alone = set(parts) == {"train"}
    table = stacked((file, "" if alone else split) for split, file in parts.items())
    column = named_column([str(name) for name in table.columns], ISIC_IMAGES)
    assert column is not None, "is_isic looked for it"
    table = table.rename(columns={column: IMAGE})
    labels = tuple(
        str(name) for name in table.columns if name != IMAGE and set(table[name]) <= {"0", "1", "0.0", "1.0", ""} - {""}
    )
    table = table.drop(columns=[name for name in ISIC_ANSWERS if name in table])
    table, whole = _with_groups(path, table)
    classes, absent = _present(table, labels)
    notes = (f"Read are {', '.join(f'{file.name} as {split}' for split, file in parts.items())}.", *whole, *absent)
    root = path if path.is_dir() else path.parent
    published = Published(
        root, table, labels, classes, "benign", exclusive=len(labels) > 2, folders=("",), notes=notes
    )  # fmt: skip
    return published_samples(published, config)


def _with_groups(path: Path, table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The table with the column `PATIENT`, from its own patients, or from the lesions of a table beside it."""
    own = named_column([str(name) for name in table.columns], ("patientid", "patient"))
    if own is not None:
        return table.rename(columns={own: PATIENT}), []
    beside = [file for file in find_files(path, ISIC_LESIONS) if {"image", "lesionid"} <= columns_of(file)]
    if not beside:
        return table, ["Patients and lesions are unknown: no table of this set beside it names them."]
    more = pd.concat([read_table(file) for file in beside]).fillna("")
    more = more.rename(columns={str(name): IMAGE for name in more.columns if plain(str(name)) == "image"})
    kept = [name for name in more.columns if name == IMAGE or name not in table]
    joined = table.reset_index().merge(more[kept].drop_duplicates(IMAGE), on=IMAGE, how="left").fillna("").set_index("index")
    joined[PATIENT], notes = _groups(joined["lesion_id"], joined[IMAGE])
    return joined.drop(columns="lesion_id"), [f"{some(file.name for file in beside)} was found beside.", *notes]


def _groups(lesions: pd.Series[str], images: pd.Series[str]) -> tuple[list[str], list[str]]:
    """The lesion of each image, or the image where no lesion is stated; and what to say of it."""
    blank = int((lesions == "").sum())
    note = [f"{count(blank, 'image')} without lesion_id count as a lesion each."] if blank else []
    return [lesion or image for lesion, image in zip(lesions, images, strict=True)], [LESIONS, *note]


def _present(table: pd.DataFrame, labels: tuple[str, ...]) -> tuple[tuple[str, ...], list[str]]:
    """The labels that some image has, and a note on the others."""
    found = tuple(name for name in labels if set(table[name]) & {"1", "1.0"})
    absent = [name for name in labels if name not in found]
    return found, [f"No image is of {some(absent)}: left out of the classes."] if absent else []
