"""The configuration as text: what was found at its head, then what follows from it, section by section."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from osler.config import DataConfig, SplitConfig
from osler.data.known import KNOWN, KnownSet
from osler.data.messages import count, some
from osler.data.samples import SPLITS, Samples
from osler.data.sources import load_source
from osler.data.split import split_notes, split_samples
from osler.data.table import read_table, table_columns
from osler.errors import ConfigError
from osler.files import write_text
from osler.init.classes import learning_lines, size_of
from osler.init.look import Look, look_at
from osler.init.masks import mask_learning_lines, mask_lines, size_for_masks
from osler.init.sources import draft_of
from osler.init.text import one_line, yaml_line

__all__ = ["suggest", "write_config"]


def suggest(source: Path | str) -> str:
    """A commented configuration for a known set, class folders, images and masks, a table, an .npz file, or "phantom".

    The text loads with `load_config`, and its paths are written as given.

    Raises:
        DataError: nothing is there that Osler reads as samples; all faults are reported together.
    """
    draft = draft_of(source)
    samples = load_source(draft)
    split = split_samples(samples, draft.split)
    look = look_at(samples)
    of_masks = samples.masks is not None and draft.source != "phantom"
    size, why = size_for_masks(samples, look) if of_masks else size_of(look)
    parts = (
        head_lines(source, samples, split, look),
        data_lines(source, draft, samples, size),
        image_lines(look, size, why),
        mask_learning_lines(samples, split, size) if of_masks else learning_lines(samples, split, look),
    )
    return "\n".join(line.rstrip() for part in parts for line in part) + "\n"


def head_lines(source: Path | str, samples: Samples, split: NDArray[np.str_], look: Look) -> Iterator[str]:
    sides = look.sides()
    kinds = sorted({f"{info.format}, {info.bits} bit, {info.mode}" for info in look.infos})
    low, middle, high = ("{:.0f} × {:.0f}".format(*np.percentile(sides, q, axis=0)) for q in (0, 50, 100))
    spread = low if low == high else f"{low} to {high}, median {middle}"
    yield f"# Written by `osler init {one_line(source)}`. What stands here was found in the data or follows from it; what does"
    yield "# not stand here has its default: `osler show-config` prints everything."
    yield "#"
    yield f"# {count(len(samples), 'image')}, {samples.task}. Of {look.looked:,} looked at: {spread} pixels; {'; '.join(kinds)}."
    if look.unreadable:
        yield f"# {len(look.unreadable)} of these cannot be read, such as: {one_line(look.unreadable[0])}"
    yield "#"
    yield from _counts(samples, split)
    yield "#"
    yield from (f"# {one_line(note)}" for note in (*samples.notes, *split_notes(samples, split, SplitConfig())))
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
        yield f"# {one_line(label):{width}}" + "".join(f"{cell:>18}" for cell in cells)


def _share(column: NDArray[np.float32]) -> str:
    known = column[~np.isnan(column)]
    return f"{int(known.sum()):,} ({100 * known.mean():.1f} %)" if len(known) else "unknown"


def data_lines(source: Path | str, draft: DataConfig, samples: Samples, size: int) -> Iterator[str]:
    name = re.sub(r"[^\w.\-]+", "_", stem_of(source)) or "run"
    yield "run:"
    yield yaml_line("name", name)
    yield ""
    yield "data:"
    known = KNOWN.get(draft.source)
    yield yaml_line("source", draft.source, f"{known.title}, as it is published" if known else "")
    if draft.source == "phantom":
        yield "  phantom:  # synthetic images: for trying things out, never for a claim about patients"
        yield "  " + yaml_line("samples", draft.phantom.samples)
        yield "  " + yaml_line("size", draft.phantom.size)
        yield "  " + yaml_line("findings", list(draft.phantom.findings))
        yield "  " + yaml_line("prevalence", draft.phantom.prevalence, "of each finding")
        yield "  " + yaml_line("difficulty", draft.phantom.difficulty, "0 easy, 1 at the limit of the noise")
        yield ""
        return
    yield yaml_line("path", str(draft.path), "relative to the folder that you start osler in")
    yield yaml_line("task", samples.task)
    if samples.masks is not None:
        yield from mask_lines(draft, samples, size)
    else:
        yield from _classes(draft, samples)
    if draft.source == "csv" and samples.masks is None and draft.path is not None:
        columns = table_columns(read_table(draft.path), draft, draft.path.parent, draft.path)
        found = {"image_column": columns.image, "patient_column": columns.patient, "split_column": columns.split}
        yield from (yaml_line(key, name) for key, name in found.items() if name is not None)
    if known:
        yield from _policy_lines(draft, known)
    elif np.isnan(samples.targets).any():
        yield yaml_line("unknown", "ignore", "blank labels stay out of loss and scores; or: negative, positive. Decide")
    if samples.metadata is not None:
        yield f"  # Further columns, for subgroups: {one_line(some(samples.metadata.columns, 20))}."
    yield ""


def _policy_lines(draft: DataConfig, known: KnownSet) -> Iterator[str]:
    """What must be decided of a known set."""
    for key, (value, why) in known.policies.items():
        yield yaml_line(key, value, why)
    if draft.unreadable == "skip":
        yield yaml_line(
            "unreadable", "skip", "images of the table are not there, see above: the others are used. Get them, or decide"
        )


def _classes(draft: DataConfig, samples: Samples) -> Iterator[str]:
    names = list(samples.classes)
    if draft.source == "csv" and draft.label_column is None:
        yield yaml_line("classes", list(draft.classes or names), "columns of 0 and 1; take out what is no label")
        return
    if draft.label_column is not None:
        yield yaml_line("label_column", draft.label_column)
        if samples.task == "multilabel" and any(samples.negative in note for note in samples.notes):
            yield yaml_line("negative_label", samples.negative, "none of the classes")
    if draft.source in KNOWN:
        left = "; others that the set has are in no image here" if draft.classes else ""
        yield yaml_line("classes", list(samples.listed or samples.classes), f"any of the set's own may be taken out{left}")
        return
    why = {
        "binary": "the last is the positive class",
        "multiclass": "each sample has one",
        "multilabel": "a sample may have several",
    }
    renamed = "; the file has no names: write them here" if names[-1].startswith("class ") else ""
    listed = [samples.negative, *names] if samples.task == "binary" else names
    yield yaml_line("classes", listed, why[samples.task] + renamed)


def image_lines(look: Look, size: int, why: str) -> Iterator[str]:
    yield "preparation:"
    yield yaml_line("size", size, why)
    sides = np.sort(look.sides(), axis=1)
    if np.median(sides[:, 1] / sides[:, 0]) > 1.5:
        yield yaml_line("fit", "pad", "most images are far from square; stretch would distort them")
    yield from _range_line(look)
    yield "  clahe: null  # {clip_limit: 2.0, tiles: 8} evens out contrast; service then does the same"
    yield ""


def _range_line(look: Look) -> Iterator[str]:
    """How values become 0–255, where it must be said, and how their depth is kept."""
    bits = look.bits()
    deep = {info.format for info in look.infos if info.bits > 8}
    if deep == {"dicom"} or {info.format for info in look.infos} == {"dicom"}:
        yield yaml_line("range", "window", "as the files ask viewers to show them; for CT rather [low, high] in Hounsfield units")
    elif max(bits) > 8:
        used = max(8, int(np.ceil(np.log2(look.highest + 1))))
        if len(bits) > 1 or used > 15 or look.highest != int(look.highest):
            yield yaml_line(
                "range", "dtype", f"images of {some(sorted(bits))} bits, values up to {look.highest:g}: the type's full range"
            )
        else:
            found = f"{max(bits)} bits, but values up to {look.highest:g}: these are {used}-bit data"
            yield yaml_line("range", [0, 2**used - 1], found)
    if max(bits) > 8 and (look.highest > 255 or look.highest != int(look.highest)):
        yield "  # dtype: uint16 keeps more than 8 of these bits, for twice the disk; docs/data.md says when that helps"


def stem_of(source: Path | str) -> str:
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
    target = (out or Path(f"{stem_of(source)}.yaml")).absolute()
    if target.exists():
        raise ConfigError(f"{target}: exists already, and may hold your changes: remove it, or name another by --out")
    if not target.parent.is_dir():
        raise ConfigError(f"{target}: the folder {target.parent} does not exist")
    write_text(target, suggest(source))
    return target
