"""From data to a commented configuration: what was found, what follows from it, and why."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.config import DataConfig
from osler.data.labels import is_negative, plain
from osler.data.messages import count, require_path, some
from osler.data.samples import SPLITS, Samples
from osler.data.sources import load_source
from osler.data.split import split_name, split_notes, split_samples
from osler.data.table import LABEL_COLUMNS, named_column, read_table, table_columns
from osler.data.table_labels import TRUTHS
from osler.errors import ConfigError, DataError
from osler.files import write_text
from osler.imaging.preparation import SMALL_BELOW, USUAL_SIZE, suggested_size
from osler.imaging.read import ImageInfo

__all__ = ["suggest", "write_config"]

MOST_PROBED = 200
MOST_READ = 20
# Below this many pixels the embedded network, made for 224, sees next to nothing, and a small one of its own learns more.
RARE = 0.3
WIDTH = 125
LARGE_SET = 20_000
TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
# MedMNIST's files hold numbers alone; the names are those of its paper (Yang et al. 2023), by the file's name.
MEDMNIST_CLASSES: dict[str, tuple[str, ...]] = {
    "pneumoniamnist": ("normal", "pneumonia"),
    "breastmnist": ("malignant", "normal or benign"),
    "octmnist": ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
}


@dataclass(frozen=True)
class Look:
    """What the headers of some images say.

    Attributes:
        infos: of the images that could be read.
        looked: how many were tried.
        unreadable: what was wrong with the others, one message each.
        highest: largest value in some images with more than 8 bits; 0 where there are none.
    """

    infos: tuple[ImageInfo, ...]
    looked: int
    unreadable: tuple[str, ...]
    highest: float

    def sides(self) -> NDArray[np.intp]:
        """(n, 2) widths and heights in pixels."""
        return np.array([(info.width, info.height) for info in self.infos])

    def bits(self) -> set[int]:
        """Of a channel, in all images seen."""
        return {info.bits for info in self.infos}


def suggest(source: Path | str) -> str:
    """A commented configuration for a folder of class folders, a table, an .npz file, or "phantom".

    The text loads with `load_config`, and its paths are written as given.

    Raises:
        DataError: nothing is there that Osler reads as samples; all faults are reported together.
    """
    draft = _draft(source)
    samples = load_source(draft)
    split = split_samples(samples, draft.split)
    look = _look(samples)
    parts = (
        _head(source, samples, split, look),
        _run_and_data(source, draft, samples),
        _images(look),
        _learning(samples, split, look),
    )
    return "\n".join(line.rstrip() for part in parts for line in part) + "\n"


# --- what is there ----------------------------------------------------------------------------------------------------------


def _draft(source: Path | str) -> DataConfig:
    """The section `data` that reads this source, blank labels being let through for a look."""
    path = Path(source)
    if str(source) == "phantom" and not path.exists():
        return DataConfig(source="phantom")
    require_path(path, "SOURCE")
    if path.is_dir():
        tables = sorted(entry for entry in path.iterdir() if entry.name.lower().endswith(TABLES))
        if not tables or any(split_name(entry.name) for entry in path.iterdir() if entry.is_dir()):
            return DataConfig(source="folder", path=path)
        if len(tables) > 1:
            raise DataError(f"{path}: has {len(tables)} tables; name the one with the labels: {some(tables, 10)}")
        path = tables[0]
    if path.name.lower().endswith(".npz"):
        return DataConfig(source="npz", path=path, classes=MEDMNIST_CLASSES.get(path.name.partition("_")[0].removesuffix(".npz")))
    if path.name.lower().endswith(TABLES):
        return _draft_of_table(path)
    raise DataError(f"{path}: give a folder of class folders, a table ({', '.join(TABLES)}), an .npz file, or the word phantom")


def _draft_of_table(path: Path) -> DataConfig:
    """Labels from columns of 0 and 1, where these alone say them or a column of words agrees; else from the words."""
    table = read_table(path)
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


def _look(samples: Samples) -> Look:
    """Reads the headers of some images, evenly spread, and the pixels of a few with more than 8 bits."""
    rows = np.unique(np.linspace(0, len(samples) - 1, MOST_PROBED).astype(int))
    infos: dict[int, ImageInfo] = {}
    unreadable = []
    for row in rows.tolist():
        try:
            infos[row] = samples.images.probe(row)
        except DataError as error:
            unreadable.append(str(error))
    if not infos:
        raise DataError(f"none of the {count(len(rows), 'image')} looked at can be read, such as:\n  {unreadable[0]}")
    deep = [row for row, info in infos.items() if info.bits > 8]
    highest = 0.0
    for row in deep[:: max(1, len(deep) // MOST_READ)]:
        try:
            highest = max(highest, float(samples.images.read(row).pixels.max()))
        except DataError as error:
            unreadable.append(str(error))
    return Look(tuple(infos.values()), len(rows), tuple(unreadable), highest)


# --- what is said and proposed ----------------------------------------------------------------------------------------------


def _head(source: Path | str, samples: Samples, split: NDArray[np.str_], look: Look) -> Iterator[str]:
    sides = look.sides()
    kinds = sorted({f"{info.format}, {info.bits} bit, {info.mode}" for info in look.infos})
    low, middle, high = ("{:.0f} × {:.0f}".format(*np.percentile(sides, q, axis=0)) for q in (0, 50, 100))
    spread = low if low == high else f"{low} to {high}, median {middle}"
    yield f"# Written by `osler init {_one_line(source)}`. What stands here was found in the data or follows from it; what does"
    yield "# not stand here has its default: `osler show-config` prints everything."
    yield "#"
    yield f"# {count(len(samples), 'image')}, {samples.task}. Of {look.looked:,} looked at: {spread} pixels; {'; '.join(kinds)}."
    if look.unreadable:
        yield f"# {len(look.unreadable)} of these cannot be read, such as: {_one_line(look.unreadable[0])}"
    yield "#"
    yield from _counts(samples, split)
    yield "#"
    yield from (f"# {_one_line(note)}" for note in (*samples.notes, *split_notes(samples, split)))
    yield ""


def _counts(samples: Samples, split: NDArray[np.str_]) -> Iterator[str]:
    """A table of images, patients, and positives with their prevalence, for each split."""
    names = [name for name in SPLITS if (split == name).any()]
    width = max(len(name) for name in (*samples.classes, "patients")) + 2
    yield f"# {'':{width}}" + "".join(f"{name:>18}" for name in names)
    yield f"# {'images':{width}}" + "".join(f"{int((split == name).sum()):>18,}" for name in names)
    if samples.patients is not None:
        patients = samples.patients
        yield f"# {'patients':{width}}" + "".join(f"{len(np.unique(patients[split == name])):>18,}" for name in names)
    for label, column in zip(samples.classes, samples.targets.T, strict=True):
        cells = [_share(column[split == name]) for name in names]
        yield f"# {_one_line(label):{width}}" + "".join(f"{cell:>18}" for cell in cells)


def _share(column: NDArray[np.float32]) -> str:
    known = column[~np.isnan(column)]
    return f"{int(known.sum()):,} ({100 * known.mean():.1f} %)" if len(known) else "unknown"


def _run_and_data(source: Path | str, draft: DataConfig, samples: Samples) -> Iterator[str]:
    name = re.sub(r"[^\w.\-]+", "_", _stem(source)) or "run"
    yield "run:"
    yield _line("name", name)
    yield ""
    yield "data:"
    yield _line("source", draft.source)
    if draft.source == "phantom":
        yield "  phantom:  # synthetic images: for trying things out, never for a claim about patients"
        yield "  " + _line("samples", draft.phantom.samples)
        yield "  " + _line("size", draft.phantom.size)
        yield "  " + _line("findings", list(draft.phantom.findings))
        yield "  " + _line("prevalence", draft.phantom.prevalence, "of each finding")
        yield "  " + _line("difficulty", draft.phantom.difficulty, "0 easy, 1 at the limit of the noise")
        yield ""
        return
    yield _line("path", str(draft.path), "relative to the folder that you start osler in")
    yield _line("task", samples.task)
    yield from _classes(draft, samples)
    if draft.source == "csv" and draft.path is not None:
        columns = table_columns(read_table(draft.path), draft, draft.path.parent, draft.path)
        found = {"image_column": columns.image, "patient_column": columns.patient, "split_column": columns.split}
        yield from (_line(key, name) for key, name in found.items() if name is not None)
    if np.isnan(samples.targets).any():
        yield _line("unknown", "ignore", "blank labels stay out of loss and scores; or: negative, positive. Decide")
    if samples.metadata is not None:
        yield f"  # Further columns, for subgroups: {_one_line(some(samples.metadata.columns, 20))}."
    yield ""


def _classes(draft: DataConfig, samples: Samples) -> Iterator[str]:
    names = list(samples.classes)
    if draft.source == "csv" and draft.label_column is None:
        yield _line("classes", list(draft.classes or names), "columns of 0 and 1; take out what is no label")
        return
    if draft.label_column is not None:
        yield _line("label_column", draft.label_column)
        if samples.task == "multilabel" and any(samples.negative in note for note in samples.notes):
            yield _line("negative_label", samples.negative, "none of the classes")
    why = {
        "binary": "the last is the positive class",
        "multiclass": "each sample has one",
        "multilabel": "a sample may have several",
    }
    renamed = "; the file has no names: write them here" if names[-1].startswith("class ") else ""
    listed = [samples.negative, *names] if samples.task == "binary" else names
    yield _line("classes", listed, why[samples.task] + renamed)


def _images(look: Look) -> Iterator[str]:
    size, why = _size(look)
    yield "preparation:"
    yield _line("size", size, why)
    sides = np.sort(look.sides(), axis=1)
    if np.median(sides[:, 1] / sides[:, 0]) > 1.5:
        yield _line("fit", "pad", "most images are far from square; stretch would distort them")
    bits = look.bits()
    if max(bits) > 8:
        used = max(8, int(np.ceil(np.log2(look.highest + 1))))
        if len(bits) > 1 or used > 15 or look.highest != int(look.highest):
            yield _line(
                "range", "dtype", f"images of {some(sorted(bits))} bits, values up to {look.highest:g}: the type's full range"
            )
        else:
            found = f"{max(bits)} bits, but values up to {look.highest:g}: these are {used}-bit data"
            yield _line("range", [0, 2**used - 1], found)
    yield "  clahe: null  # {clip_limit: 2.0, tiles: 8} evens out contrast; service then does the same"
    yield ""


def _size(look: Look) -> tuple[int, str]:
    side = int(np.median(look.sides().max(axis=1)))
    if side < SMALL_BELOW:
        why = f"as the images are; a network for small images is used below {SMALL_BELOW} pixels"
    elif side >= USUAL_SIZE:
        why = f"the median side is {side}; {USUAL_SIZE} is what the pretrained weights were trained on"
    else:
        why = f"the median side is {side}, rounded up to a multiple of the network's stride, 32"
    return suggested_size(side), why


def _learning(samples: Samples, split: NDArray[np.str_], look: Look) -> Iterator[str]:
    train = samples.targets[split == "train"]
    small = _size(look)[0] < SMALL_BELOW
    yield "model:"
    if small:
        yield _line("architecture", "small", f"the images are under {SMALL_BELOW} pixels")
        yield _line("pretrained", None, "its few weights are learned from the start")
    else:
        yield _line("architecture", "efficientnet_lite0")
        yield _line("pretrained", "embedded", "ImageNet weights that come with osler[train]; nothing is fetched")
    yield ""
    yield from _loss(samples, train)
    yield ""
    yield from _training(len(train), small)
    yield ""
    yield "evaluation:"
    yield _line("threshold", "youden", "chosen on val, applied to test; or f1, a number, {sensitivity: 0.9}")


def _loss(samples: Samples, train: NDArray[np.float32]) -> Iterator[str]:
    positives = np.nansum(train, axis=0)
    prevalence = positives / np.maximum((~np.isnan(train)).sum(axis=0), 1)
    yield "loss:"
    if samples.task == "multiclass":
        yield _line("type", "cross_entropy", "each sample has one class")
        uneven = positives.min() < RARE * positives.max()
        said = f"the rarest class has {int(positives.min()):,} images in train, the most frequent {int(positives.max()):,}"
        yield _line("class_weights", "auto" if uneven else None, f"{said}{': rare ones weigh more' if uneven else ''}")
        return
    yield _line("type", "bce")
    if samples.task == "binary":
        rare = 0 < prevalence[0] < RARE
        share = f"{100 * prevalence[0]:.1f} % of train is positive"
        why = f"{share}: positives weigh as much as negatives" if rare else f"{share}: no weight is needed"
        yield _line("pos_weight", "auto" if rare else None, why)
        return
    why = (
        f"train holds {100 * prevalence.min():.1f} to {100 * prevalence.max():.1f} % positives; each class gets a threshold "
        "of its own, so rare ones are called without a weight; auto: neg/pos of each"
    )
    yield _line("pos_weight", None, why)


def _training(images: int, small: bool) -> Iterator[str]:
    large = images >= LARGE_SET
    yield "training:"
    yield _line("batch_size", 64 if large or small else 32 if images >= 300 else 16)
    yield _line("weight_decay", 1e-2 if small else 1e-3)
    if small:
        yield _line("epochs", 10 if large else 30 if images >= 1000 else 60)
        yield _line("learning_rate", 2e-3)
        yield _line("schedule", "one_cycle", "up and down once; reaches its best at the end")
    else:
        yield _line("warmup_epochs", 0.5)
        yield _line("schedule", "cosine")
        yield "  phases:  # first the new output alone, so that it does not tear the pretrained layers; then everything, gently"
        yield f"    - {{train: head, epochs: {1 if large else 3 if images >= 1000 else 5}, learning_rate: 0.002}}"
        yield "    - {train: all}"
        yield _line("epochs", 8 if large else 15 if images >= 1000 else 25, "of the phase that trains all")
        yield _line("learning_rate", 3e-4)
    if small:
        yield _line("early_stopping", None, "the schedule ends the training; stopped before, it is not at its best")
    else:
        yield _line("early_stopping", 4 if large else 10, "epochs without a better macro AUC on val")
    yield _line("seed", 42)


# --- text -------------------------------------------------------------------------------------------------------------------


def _line(key: str, value: Any, comment: str = "") -> str:
    """A line of YAML with its comment behind it, or above it where both would be too long for a screen."""
    line, said = f"  {key}: {_yaml(value)}", f"  # {_one_line(comment)}"
    if not comment:
        return line
    return f"{line}{said}" if len(line + said) <= WIDTH else f"{said}\n{line}"


def _yaml(value: Any) -> str:
    """A value as YAML on one line; texts that could be read as something else are quoted.

    >>> _yaml(["no", "mass", 1e-4, None])
    '["no", mass, 0.0001, null]'
    """
    if isinstance(value, list):
        return f"[{', '.join(_yaml(item) for item in value)}]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_./][\w./\- ]*(?<! )", value):
        words = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
        return json.dumps(value) if value.lower() in words or value in (".", "..") else value
    return json.dumps(value, ensure_ascii=False)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _stem(source: Path | str) -> str:
    path = Path(source).absolute()
    name = path.name.partition(".")[0] if path.is_file() else path.name
    return path.parent.name if name == "labels" else name


def write_config(source: Path | str, out: Path | None = None) -> Path:
    """Writes what `suggest` says; returns the absolute path of the new file.

    Args:
        source: as for `suggest`.
        out: the file; None: `<name of the source>.yaml` in the working directory.

    Raises:
        ConfigError: the file exists; nothing is overwritten.
    """
    target = (out or Path(f"{_stem(source)}.yaml")).absolute()
    if target.exists():
        raise ConfigError(f"{target}: exists already, and may hold your changes: remove it, or name another by --out")
    if not target.parent.is_dir():
        raise ConfigError(f"{target}: the folder {target.parent} does not exist")
    write_text(target, suggest(source))
    return target
