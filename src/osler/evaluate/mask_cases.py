"""Single cases on a page of masks: which are shown, and their overlays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.errors import DataError, OslerError
from osler.evaluate.images import ReadCases
from osler.evaluate.masks import MaskEvaluation, MaskSplit
from osler.evaluate.wording import count, number
from osler.metrics.overlap import one_class
from osler.report.overlays import OverlayCase, overlay_sheet
from osler.report.page import Block, Callout, Paragraph, Picture

__all__ = ["Shown", "choose_cases", "overlay_blocks"]

EACH = 2
"""Cases of each kind."""
MOST_CLASSES = 3


@dataclass(frozen=True)
class Shown:
    """A case to be shown.

    Attributes:
        row: of the split.
        kind: "best", "median", "worst" or "false alarm".
    """

    row: int
    kind: str


def choose_cases(dice: NDArray[np.float64], alarms: NDArray[np.int64], each: int = EACH) -> list[Shown]:
    """The worst, median and best cases by Dice, and the largest false alarms where there is nothing to find; none twice.

    Args:
        dice: (N,) NaN for cases without foreground.
        alarms: (N,) pixels called in cases without foreground; 0 for the others.
        each: cases of each kind.

    >>> [(one.row, one.kind) for one in choose_cases(np.array([0.9, 0.1, np.nan, 0.5, 0.6]), np.array([0, 0, 7, 0, 0]), 1)]
    [(1, 'worst'), (3, 'median'), (0, 'best'), (2, 'false alarm')]
    """
    order = np.argsort(dice, kind="stable")[: int(np.isfinite(dice).sum())]
    size = len(order)
    middle = max(0, (size - each) // 2)
    places = {"worst": range(min(each, size)), "best": range(max(0, size - each), size), "median": range(middle, middle + each)}
    taken: dict[int, str] = {}
    for kind, wanted in places.items():
        for place in wanted:
            if place < size:
                taken.setdefault(place, kind)
    shown = [Shown(int(order[place]), taken[place]) for place in sorted(taken)]
    worst = np.argsort(-alarms, kind="stable")[:each]
    return [*shown, *(Shown(int(row), "false alarm") for row in worst if alarms[row] > 0)]


def overlay_blocks(evaluation: MaskEvaluation, read: ReadCases) -> list[Block]:
    """The overlays of the main split, a picture a class; a note in their place where images cannot be read."""
    split = evaluation.splits[evaluation.main]
    classes = _drawn_classes(evaluation)
    chosen = {k: choose_cases(split.scores("dice", k), _alarms(split, k)) for k in classes}
    rows = sorted({one.row for cases in chosen.values() for one in cases})
    if not rows:
        return [Paragraph("No case has foreground or a false alarm: there is nothing to show.")]
    try:
        read_rows = dict(zip(rows, read([str(split.predictions.ids[row]) for row in rows]), strict=True))
        for row, (_, masks) in read_rows.items():
            _check_same(split, row, masks)
        pictures = [_picture(evaluation, split, k, chosen[k], read_rows) for k in classes if chosen[k]]
    except OslerError as error:
        return [Callout(f"Cases are not shown on their images: {error}", "note", "No overlays")]
    left_out = len(evaluation.card.classes) - len(classes)
    more = (
        [] if not left_out else [Paragraph(f"{count(left_out, 'further class', 'further classes')} not shown here.", quiet=True)]
    )
    return [*pictures, *more]


def _drawn_classes(evaluation: MaskEvaluation) -> list[int]:
    """The rarest classes that occur, in the card's order."""
    entries = evaluation.splits[evaluation.main].figures["classes"]
    positives = [entries[name]["positives"] for name in evaluation.card.classes]
    order = sorted(range(len(positives)), key=lambda k: (positives[k] == 0, positives[k]))
    return sorted(order[:MOST_CLASSES])


def _alarms(split: MaskSplit, k: int) -> NDArray[np.int64]:
    counts = split.table.at_thresholds
    return np.where(counts.foreground[:, k] == 0, counts.called[:, k], 0)


def _check_same(split: MaskSplit, row: int, masks: NDArray[np.uint8]) -> None:
    """Refuses masks that are not those which the figures were taken from."""
    counts = split.table.at_thresholds
    seen = [[int((plane == value).sum()) for plane in masks] for value in (1, 0)]
    true = counts.foreground[row].tolist()
    false = (counts.known[row] - counts.foreground[row]).tolist()
    if seen != [true, false]:
        raise DataError(f"the mask of {split.predictions.ids[row]} is not the one that was evaluated: it changed since")


def _picture(
    evaluation: MaskEvaluation,
    split: MaskSplit,
    k: int,
    chosen: Sequence[Shown],
    read: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint8]]],
) -> Picture:
    name, dice = evaluation.card.classes[k], split.scores("dice", k)
    cases, said = [], []
    for one in chosen:
        image, masks = read[one.row]
        called = _called(evaluation, split, one.row, k)
        if called.shape != masks[k].shape:
            raise DataError(f"the map of {split.predictions.ids[one.row]} is {called.shape}, its mask {masks[k].shape}")
        caption = _caption(split, one, k, dice[one.row])
        cases.append(OverlayCase(image, masks[k], called & (masks[k] <= 1), caption))
        said.append(", ".join(caption))
    several = len(evaluation.card.classes) > 1
    return Picture(
        overlay_sheet(cases),
        "At the threshold in use. A frame in the image marks the part that its overlay shows larger.",
        f"Overlays of {name} on {evaluation.main}: {'; '.join(said)}.",
        title=f"{name}: worst, median and best cases" if several else "Worst, median and best cases",
        wide=True,
    )


def _called(evaluation: MaskEvaluation, split: MaskSplit, row: int, k: int) -> NDArray[np.bool_]:
    """(H, W) where a class is called, as its figures count it."""
    if not evaluation.card.exclusive:
        return np.asarray(split.predictions.levels(row, k) >= split.table.thresholds[k])
    levels = np.stack([split.predictions.levels(row, other) for other in range(len(evaluation.card.classes))])
    return np.asarray(one_class(levels >= split.table.thresholds.reshape(-1, 1, 1), levels)[k])


def _caption(split: MaskSplit, one: Shown, k: int, dice: float) -> list[str]:
    """What the case is, whose, and how it fared."""
    pixels = split.table.at_thresholds
    fared = (
        f"{int(pixels.called[one.row, k]):,} pixels called, none true"
        if np.isnan(dice)
        else f"Dice {number(float(dice))}, {int(pixels.foreground[one.row, k]):,} pixels true"
    )
    return [f"{one.kind}: {split.predictions.ids[one.row]}", fared]
