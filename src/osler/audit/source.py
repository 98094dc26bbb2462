"""Source: what an audit reads, a configuration or plain data; leniently, so that what is wrong is found and not refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from osler.config import Config, DataConfig, load_config
from osler.data.files import FileImages, list_images, locate_images
from osler.data.load import Data
from osler.data.samples import SPLITS, Samples
from osler.data.sources import load_source
from osler.data.split import named_splits, split_notes, split_samples
from osler.data.table import read_table, table_columns
from osler.errors import ConfigError, DataError

__all__ = ["Declared", "Loaded", "load_audited"]

CONFIGS = (".yaml", ".yml")
MOST_LISTED = 2_000_000


@dataclass(frozen=True)
class Declared:
    """What a table says is there, against what is there.

    Attributes:
        rows: of the table.
        without_image: cells of rows whose file does not exist.
        without_row: image files in the same folders that no row names.
        folders: how many folders were compared.
    """

    rows: int
    without_image: tuple[str, ...]
    without_row: tuple[str, ...]
    folders: int


@dataclass(frozen=True)
class Loaded:
    """A set to be audited.

    Attributes:
        config: as given, or as plain data would be read.
        samples: every sample of the source; no subset is taken.
        splits: (N,) of "train", "val", "test"; "" where the set cannot be divided.
        drawn: whether the splits are Osler's own, and not those of the source.
        declared: of a table; else None.
        name: of the set.
        notes: what was adapted while reading, one sentence each.
        fingerprint: of the data as training would load them; None where it would refuse them.
    """

    config: Config
    samples: Samples
    splits: NDArray[np.str_]
    drawn: bool
    declared: Declared | None
    name: str
    notes: tuple[str, ...]
    fingerprint: str | None


def load_audited(source: Path | str, overrides: Sequence[str], draft: Callable[[Path | str], DataConfig]) -> Loaded:
    """Reads a configuration, or plain data as `draft` says that they are to be read.

    Rows whose file is missing and labels that are blank are let through: they become findings.

    Raises:
        DataError: nothing is there that can be read as samples.
        ConfigError: the configuration cannot be used; or overrides stand beside plain data.
    """
    if str(source).lower().endswith(CONFIGS):
        config = load_config(Path(source), overrides)
        name = config.run.name
    elif overrides:
        raise ConfigError(f"{' '.join(overrides)}: overrides change a configuration; {source} is none. Write one by osler init")
    else:
        config = load_config({}).model_copy(update={"data": draft(source)})
        name = Path(source).absolute().name
    return _loaded(config, name)


def _loaded(config: Config, name: str) -> Loaded:
    lenient = {"unreadable": "skip"} | ({"unknown": "ignore"} if config.data.unknown == "error" else {})
    section = config.data.model_copy(update=lenient)
    samples = named_splits(load_source(section), section.split)
    given = np.full(len(samples), "") if samples.split is None else samples.split
    notes = list(samples.notes)
    try:
        splits = split_samples(samples, section.split)
        notes += split_notes(samples, splits, section.split)
    except DataError as error:
        splits = given
        notes.append(f"The set is not divided: {error}")
    # An image that is left open is "" in the source; what a source names at all is its own.
    drawn = bool((given == "").all())
    return Loaded(config, samples, splits, drawn, _declared(section, samples), name, tuple(notes), _fingerprint(samples, splits))


def _fingerprint(samples: Samples, splits: NDArray[np.str_]) -> str:
    """As `Data.fingerprint` of the whole set, which runs over it keep among their facts."""
    rows = {split: np.flatnonzero(splits == split) for split in SPLITS if (splits == split).any()}
    return Data(samples, rows, "none", ()).fingerprint()


# --- declared and found -----------------------------------------------------------------------------------------------------


def _declared(config: DataConfig, samples: Samples) -> Declared | None:
    """Compares a table with the folders that its images lie in; None for other sources, and for tables of masks."""
    if config.source != "csv" or config.path is None or samples.masks is not None or not isinstance(samples.images, FileImages):
        return None
    root = config.image_root or config.path.parent
    table = read_table(config.path)
    column = table_columns(table, config, root, config.path).image
    cells = table[column].tolist()
    located = locate_images(cells, root)
    absent = tuple(cell for cell, name in zip(cells, located.names.tolist(), strict=True) if cell and not name)
    named = {str(name) for name in located.names if name}
    folders = sorted({str(PurePosixPath(name).parent) for name in named})
    extra = [name for folder in folders for name in _images_in(root, folder) if name not in named]
    return Declared(len(cells), absent, tuple(sorted(extra)), len(folders))


def _images_in(root: Path, folder: str) -> list[str]:
    """Image files of one folder itself, by their path from the root."""
    prefix = "" if folder == "." else f"{folder}/"
    return [f"{prefix}{name}" for name in list_images(root / folder, MOST_LISTED).names if "/" not in name]
