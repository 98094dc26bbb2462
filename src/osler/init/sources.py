"""Which source reads what is there: the section `data`, before anything is proposed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from osler.config import DataConfig
from osler.data.known import KNOWN, known_set
from osler.data.known_medmnist import medmnist_classes
from osler.data.labels import is_negative, plain
from osler.data.masks_table import mask_columns
from osler.data.messages import require_path, some
from osler.data.sources import load_source
from osler.data.split import split_name
from osler.data.table import LABEL_COLUMNS, named_column, read_table
from osler.data.table_labels import TRUTHS
from osler.errors import DataError
from osler.init.masks import draft_of_masks

__all__ = ["draft_of"]

TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")


def draft_of(source: Path | str) -> DataConfig:
    """The section `data` that reads this source, blank labels being let through for a look."""
    path = Path(source)
    if str(source) == "phantom" and not path.exists():
        return DataConfig(source="phantom")
    require_path(path, "SOURCE")
    name = known_set(path)
    if name is not None:
        return _draft_of_known(name, path)
    if path.is_dir():
        masks = draft_of_masks(path)
        if masks is not None:
            return masks
        tables = sorted(entry for entry in path.iterdir() if entry.name.lower().endswith(TABLES))
        if not tables or any(split_name(entry.name) for entry in path.iterdir() if entry.is_dir()):
            return DataConfig(source="folder", path=path)
        if len(tables) > 1:
            raise DataError(f"{path}: has {len(tables)} tables; name the one with the labels: {some(tables, 10)}")
        path = tables[0]
    if path.name.lower().endswith(".npz"):
        return DataConfig(source="npz", path=path, classes=medmnist_classes(path.name))
    if path.name.lower().endswith(TABLES):
        return _draft_of_table(path)
    raise DataError(f"{path}: give a folder of class folders, a table ({', '.join(TABLES)}), an .npz file, or the word phantom")


def _draft_of_known(name: str, path: Path) -> DataConfig:
    """The section of a known set; where images of its table are absent but others are there, these and their findings alone.

    What is wrong beside that is met, and reported, when the section is loaded.
    """
    policies = {key: value for key, (value, _) in KNOWN[name].policies.items()}
    draft = DataConfig.model_validate({"source": name, "path": path, **policies})
    for tried in (draft, draft.model_copy(update={"unreadable": "skip"})):
        try:
            samples = load_source(tried)
        except DataError:
            continue
        # A part of a set may lack a rare finding altogether, and nothing could be learned of that.
        found = tuple(name for name, column in zip(samples.classes, samples.targets.T, strict=True) if (column == 1).any())
        lacks = samples.task == "multilabel" and len(found) < len(samples.classes)
        return tried.model_copy(update={"classes": found}) if lacks else tried
    return draft


def _draft_of_table(path: Path) -> DataConfig:
    """Labels from columns of 0 and 1, where these alone say them or a column of words agrees; else from the words."""
    table = read_table(path)
    if mask_columns(table, DataConfig(source="csv", path=path)) is not None:
        return DataConfig(source="csv", path=path, task="segmentation")
    names = [str(name) for name in table.columns]
    values = {name: {TRUTHS.get(cell, np.inf) for cell in set(table[name].str.lower())} for name in names}
    truths = tuple(name for name in names if {0.0, 1.0} <= values[name] and np.inf not in values[name] and not is_negative(name))
    label = named_column(names, LABEL_COLUMNS)
    if label is not None and label not in truths:
        words = {plain(word) for cell in set(table[label]) for word in cell.split("|")}
        agreeing = tuple(name for name in truths if plain(name) in words)
        if len(agreeing) < 2:
            return DataConfig(source="csv", path=path, label_column=label, unknown="ignore")
        truths = agreeing
    elif label is not None:
        truths = (label,)
    if not truths:
        raise DataError(
            f"{path}: no labels were found: neither a column named {some(LABEL_COLUMNS, 4)} nor columns of 0 and 1; "
            f"the columns are {some(names, 25)}"
        )
    return DataConfig(source="csv", path=path, classes=truths, unknown="ignore")
