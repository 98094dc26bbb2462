"""What is proposed for sets of images with masks: how they are read, at which size, and how a network is trained on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from osler.config import DataConfig, MasksConfig, PreparationConfig
from osler.data.mask_names import SUFFIX_WORDS, name_words
from osler.data.masks_layout import Pairs, find_pairs
from osler.data.masks_prepared import erased_lesions
from osler.data.patients import usual_pattern
from osler.data.samples import Samples
from osler.data.table_beside import table_beside
from osler.errors import DataError
from osler.imaging.masks import count_values, holds_no_labels, read_mask, resample_planes, whole_numbers
from osler.imaging.preparation import SMALL_BELOW, Preparation
from osler.init.look import Look
from osler.init.text import yaml_line

__all__ = ["draft_of_masks", "mask_learning_lines", "mask_lines", "size_for_masks"]

LEAST_PAIRED = 0.5
"""A folder is one of images and masks where so many images have a mask."""
OBSERVERS = frozenset((*SUFFIX_WORDS, "st", "nd", "rd", "th"))
"""Words that name who drew a mask, not what it shows."""
MOST_READ = 40
SIZES = (256, 384, 512)
"""That larger images are prepared at; more than the last a CPU hardly trains on in reasonable time."""
MOST_ERASED = 0.05
LEAST_CEILING = 0.95
"""Dice of masks made smaller and larger again with themselves: no network that works at that size can reach more."""
RARE = 0.01
PATCHED = 256
"""Below this size whole images are as quick."""
STEPS = 1000


# --- how they are read ------------------------------------------------------------------------------------------------------


def draft_of_masks(path: Path) -> DataConfig | None:
    """The section `data` of a folder of images and masks, or None where it is none.

    Kinds of masks whose names are no observers' are taken as classes, and several values are given names to be changed; both
    are said in the configuration.
    """
    config = DataConfig(source="masks", path=path)
    try:
        pairs = find_pairs(path, config)
    except DataError:
        return None
    if pairs.paired < max(1, LEAST_PAIRED * len(pairs.images)):
        return None
    classes = _classes_of(pairs)
    if classes:
        return config.model_copy(update={"classes": classes, "masks": MasksConfig(per_class=True)})
    return config.model_copy(update={"masks": _values_of(path, pairs)})


def _classes_of(pairs: Pairs) -> tuple[str, ...]:
    """Classes that kinds of masks seem to be; empty where there is one kind, or where a name is an observer's."""
    last = [kind.rpartition("/")[2] for kind in pairs.kinds]
    if not last or any(not kind or set(name_words(kind)) & OBSERVERS for kind in last):
        return ()
    return tuple(kind.strip("_- ") for kind in last)


def _values_of(path: Path, pairs: Pairs) -> MasksConfig:
    """What `data.masks` must say for the values in all masks that can be read."""
    found: set[int] = set()
    together = False
    for files in pairs.masks:
        for name, _ in files:
            try:
                mask = read_mask(path / name)
            except DataError:
                continue  # is reported with all others when the source is loaded
            labels = whole_numbers(mask.pixels)
            values = {} if labels is None else count_values(labels)
            if labels is None or holds_no_labels(mask, values):
                return MasksConfig(threshold=0.5)
            found |= set(values)
            together = together or len(set(values) - {0}) > 1
    named = sorted(found - {0})
    if len(named) < 2:
        return MasksConfig()
    if not together:
        return MasksConfig(values={"foreground": tuple(named)})
    ignore = 255 if named[-1] == 255 and len(named) == named[-2] + 1 else None
    return MasksConfig(values={f"value_{value}": (value,) for value in named if value != ignore}, ignore=ignore)


def mask_lines(draft: DataConfig, samples: Samples, size: int) -> Iterator[str]:
    """What the section `data` says of masks, patients and patches, for images prepared at a size."""
    masks = draft.masks
    why = "of all that is not background; name it as you like"
    if isinstance(masks.values, dict) and len(masks.values) > 1:
        why = "give the values their names, here and in masks.values"
    elif masks.per_class:
        why = "each has files of its own, found by their folder or the end of their name"
    yield yaml_line("classes", list(samples.classes), why)
    given = masks.model_dump(exclude_defaults=True)
    if given:
        yield "  masks:"
    if isinstance(masks.values, dict):
        text = ", ".join(f"{name}: {list(values)}" for name, values in masks.values.items())
        yield f"    values: {{{text}}}  # pixel values of each class; check"
    if masks.ignore is not None:
        yield f"    ignore: {masks.ignore}  # value of pixels that are unknown; check"
    if masks.threshold is not None:
        yield f"    threshold: {masks.threshold}  # the masks hold shares, not labels: from here on it is foreground; check"
    if masks.per_class:
        yield "    per_class: true"
    if draft.source == "masks":
        yield from _patient_lines(draft, samples)
    share = _foreground_share(samples)
    if size >= PATCHED and share < RARE:
        yield f"  patches:  # only {100 * share:.2g} % of all pixels are foreground; patches show it more often"
        yield f"    size: {size // 2}"
        yield "    per_image: 4"
        yield "    foreground: 0.33  # share of patches centred on it"


def _foreground_share(samples: Samples) -> float:
    """Of all pixels of some images that have any."""
    assert samples.masks is not None
    rows = np.unique(np.linspace(0, len(samples) - 1, MOST_READ).astype(int)).tolist()
    return float(np.mean([(samples.masks.read(row) == 1).any(axis=0).mean() for row in rows]))


def _patient_lines(draft: DataConfig, samples: Samples) -> Iterator[str]:
    assert draft.path is not None
    names = samples.ids.tolist()
    beside = table_beside(draft.path, names, draft)
    usual = usual_pattern(names)
    if beside.patients is not None:
        yield yaml_line("patient_column", beside.patient, f"of {beside.file.name if beside.file else ''}")
    elif usual is not None:
        yield yaml_line("patient_pattern", usual[1], f"names are as {usual[0]}")
    else:
        yield "  # Patients are unknown, and each image counts as one: name them by patient_column or patient_pattern, or figures"
        yield "  # may be too good."
    if beside.split is not None and draft.split_column is None:
        yield yaml_line("split_column", "split")


# --- at which size ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Trial:
    """What a size does to some masks: Dice of the masks with themselves after it, and the share of lesions it erases."""

    ceiling: float
    erased: float


def size_for_masks(samples: Samples, look: Look) -> tuple[int, str]:
    """The smallest usual size at which masks keep their shape and lesions their place, and why."""
    own = int(np.median(look.sides().max(axis=1)))
    if own < SMALL_BELOW:
        return max(8, own), "as the images are"
    whole = -(-own // 32) * 32
    if whole <= SIZES[0]:
        return whole, f"the median side is {own}, rounded up to a multiple of 32"
    assert samples.masks is not None
    present = np.flatnonzero((samples.targets == 1).any(axis=1))
    rows = present[np.unique(np.linspace(0, len(present) - 1, MOST_READ).astype(int))]
    masks = [samples.masks.read(row) for row in rows.tolist()]
    last = min(SIZES[-1], whole)
    # What a network looks at is the image too, so that no more than half of its side is given up where that can be afforded.
    for size in (*(size for size in SIZES if own / 2 <= size < last), last):
        trial = _tried(masks, size, samples.exclusive)
        if trial.ceiling >= LEAST_CEILING and trial.erased <= MOST_ERASED:
            break
    erased = f", {100 * trial.erased:.1f} % of lesions vanish" if trial.erased else ""
    more = "; larger is better, and slower" if size == SIZES[-1] and own > size else ""
    return size, f"median side {own}; scaled so, masks keep Dice {trial.ceiling:.2f} with themselves{erased}{more}"


def _tried(masks: list[NDArray[np.uint8]], size: int, exclusive: bool) -> _Trial:
    preparation = Preparation(PreparationConfig(size=size, channels=1))
    both = either = erased = lesions = 0
    for planes in masks:
        height, width = planes.shape[1:]
        again = resample_planes(preparation.apply_mask(planes, exclusive), height, width, exclusive)
        both += 2 * int(((planes == 1) & (again == 1)).sum())
        either += int((planes == 1).sum() + (again == 1).sum())
        lost, all_there = erased_lesions(planes, preparation, exclusive)
        erased, lesions = erased + lost, lesions + all_there
    return _Trial(both / max(1, either), erased / max(1, lesions))


# --- how a network is trained on them ---------------------------------------------------------------------------------------


def mask_learning_lines(samples: Samples, split: NDArray[np.str_], size: int) -> Iterator[str]:
    """Network, loss, training and threshold."""
    images = int((split == "train").sum())
    batch = 4 if images < 50 else 8
    epochs = int(np.clip(round(STEPS * batch / max(1, images)), 10, 200))
    yield "model:"
    yield yaml_line("architecture", "compact", "a U-Net that a CPU trains; or unet, fpn, ... with model.encoder and pretrained")
    yield ""
    yield "loss:"
    yield yaml_line("type", "combined", "0.4 BCE + 0.4 Dice + 0.2 focal")
    yield ""
    yield "training:"
    yield yaml_line("batch_size", batch)
    yield yaml_line("epochs", epochs, f"about {epochs * -(-images // batch):,} steps")
    yield yaml_line("learning_rate", 2e-3)
    yield yaml_line("weight_decay", 1e-3)
    yield yaml_line("schedule", "one_cycle", "up and down once; reaches its best at the end")
    yield yaml_line("early_stopping", None, "the schedule ends the training; stopped before, it is not at its best")
    yield yaml_line("seed", 42)
    yield ""
    yield "evaluation:"
    yield yaml_line("threshold", "f1", "the largest Dice of all pixels of val, applied to test; or a number, {sensitivity: 0.9}")
