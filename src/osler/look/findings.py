"""Findings: what stands out among the images that were looked at, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.look.choice import label_groups
from osler.look.doubts import ClassDoubts
from osler.look.pixels import Ready
from osler.look.tones import Tones
from osler.report.page import Tone

__all__ = ["Finding", "find", "inverted_places"]

ALIKE = 0.45
"""Where the median image has less than this in common with the others, an inverted one cannot be told."""
OPPOSITE = -0.1
"""Below this an image looks like a negative: real inverted films among the 621 of an NIH sample lie at -0.13 and -0.46, and the
oddest upright one at 0.03."""
FLAT = 1.0
"""An image whose values vary by less than this, of 255, is constant."""
BURNT, EMPTY = 0.1, 0.6
"""Shares of pixels at 255, and at 0, that are named."""
APART = 0.5
"""Splits whose mean values differ by more than this many SDs are named; classes at twice as much."""
FEWEST = 30
SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """One thing that stands out.

    Attributes:
        id: what kind of thing; stable.
        tone: how grave: critical, warning, note, or good.
        text: whole sentences.
        ids: of the images concerned.
    """

    id: str
    tone: Tone
    text: str
    ids: tuple[str, ...] = ()


def find(ready: Ready, tones: Tones, likeness: NDArray[np.float64], doubts: Mapping[str, ClassDoubts]) -> list[Finding]:
    """What is to be said, the gravest first; never empty."""
    found = [
        _unreadable(ready),
        _inverted(ready, likeness),
        _constant(ready, tones),
        _apart(ready, tones),
        _brightness(ready, tones),
        _saturated(ready, tones),
        _doubtful(ready, doubts),
    ]
    findings = [one for one in found if one is not None]
    if not any(one.tone in ("critical", "warning") for one in findings):
        text = (
            f"{len(tones):,} images were looked at; none is blank, none looks inverted, and the splits are alike in brightness."
        )
        findings.append(Finding("nothing_odd", "good", text))
    order: Sequence[Tone] = ("critical", "warning", "good", "note")
    return sorted(findings, key=lambda one: order.index(one.tone))


def inverted_places(likeness: NDArray[np.float64]) -> NDArray[np.intp]:
    """Places of images that look like negatives of the others; none where the images have too little in common.

    >>> inverted_places(np.array([0.8, 0.9, -0.7, 0.1])).tolist(), inverted_places(np.array([0.1, 0.2, -0.7])).tolist()
    ([2], [])
    """
    if not len(likeness) or np.median(likeness) < ALIKE:
        return np.empty(0, np.intp)
    return np.flatnonzero(likeness < OPPOSITE)


def _unreadable(ready: Ready) -> Finding | None:
    if not ready.unreadable:
        return None
    text = f"{len(ready.unreadable)} of the images chosen cannot be read: {'; '.join(ready.unreadable[:SHOWN])}"
    return Finding("unreadable", "critical", text)


def _inverted(ready: Ready, likeness: NDArray[np.float64]) -> Finding | None:
    places = inverted_places(likeness)
    if not len(places):
        return None
    ids = _ids(ready, places[np.argsort(likeness[places])])
    many = f"{len(ids)} images look" if len(ids) > 1 else "1 image looks"
    text = f"{many} like a negative of the others (black and white turned round), or upside down: {_some(ids)}."
    return Finding("inverted", "warning", text, ids)


def _constant(ready: Ready, tones: Tones) -> Finding | None:
    ids = _ids(ready, np.flatnonzero(tones.sd < FLAT))
    if not ids:
        return None
    return Finding(
        "constant", "critical", f"{len(ids)} of {len(tones):,} images hold one value and nothing else: {_some(ids)}.", ids
    )


def _saturated(ready: Ready, tones: Tones) -> Finding | None:
    """Images with much pure white or black, where the others have little: an MRI slice is black around the head in all."""
    parts, found = [], np.empty(0, np.intp)
    for colour, shares, limit in (("white (255)", tones.white, BURNT), ("black (0)", tones.black, EMPTY)):
        places = np.flatnonzero(shares > limit)
        if len(places) and np.median(shares) < limit / 2:
            parts.append(f"{len(places)} of {len(tones):,} images are {colour} in more than {100 * limit:.0f} % of their pixels")
            found = np.union1d(found, places)
    if not parts:
        return None
    ids = _ids(ready, found)
    return Finding("saturated", "note", f"{'; '.join(parts)}: {_some(ids)}.", ids)


def _apart(ready: Ready, tones: Tones) -> Finding | None:
    """Splits that are not alike in brightness."""
    train = tones.mean[ready.chosen.splits == "train"]
    for name in ("val", "test"):
        other = tones.mean[ready.chosen.splits == name]
        if min(len(train), len(other)) < FEWEST:
            continue
        distance = _distance(train, other)
        if abs(distance) > APART:
            text = (
                f"Images of {name} are {'brighter' if distance > 0 else 'darker'} than those of train by {abs(distance):.1f} "
                f"standard deviations (mean value {other.mean():.0f} and {train.mean():.0f}): another source, or preparation?"
            )
            return Finding("splits_differ", "warning", text)
    return None


def _brightness(ready: Ready, tones: Tones) -> Finding | None:
    """Classes that brightness alone tells apart."""
    source, rows = ready.data.source, ready.chosen.rows
    if source.task == "segmentation":  # what occurs in an image is no label of the image
        return None
    named = []
    for name, has in label_groups(source, source.targets[rows]).items():
        inside, outside = tones.mean[has], tones.mean[~has]
        if name in source.classes and min(len(inside), len(outside)) >= FEWEST:
            distance = _distance(outside, inside)
            if abs(distance) > 2 * APART:
                named.append(f"{name} {'brighter' if distance > 0 else 'darker'} by {abs(distance):.1f} SD")
    if not named:
        return None
    return Finding(
        "brightness_tells", "note", f"Brightness alone tells classes apart: {', '.join(named)}. A model may learn just that."
    )


def _distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """How much larger the second group's mean is, in pooled standard deviations."""
    spread = np.sqrt((one.var() * len(one) + other.var() * len(other)) / (len(one) + len(other)))
    return float((other.mean() - one.mean()) / max(float(spread), 1e-6))


def _doubtful(ready: Ready, doubts: Mapping[str, ClassDoubts]) -> Finding | None:
    told = {name: one for name, one in doubts.items() if one.told and len(one.places)}
    if not told:
        return None
    said = "; ".join(
        f"{name} (AUC {one.auc.value:.2f}, {one.auc.low:.2f} to {one.auc.high:.2f}): {len(one.places)}"
        for name, one in told.items()
    )
    places = np.unique(np.concatenate([one.places for one in told.values()]))
    text = f"Thumbnails alone tell some classes, and disagree clearly with so many labels: {said}. The clearest are shown."
    return Finding("labels_doubtful", "note", text, _ids(ready, places))


def _ids(ready: Ready, places: NDArray[np.intp]) -> tuple[str, ...]:
    return tuple(str(name) for name in ready.data.source.ids[ready.chosen.rows[places]])


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:SHOWN]) + (f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else "")
