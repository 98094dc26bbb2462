"""Groups: the ways in which images are set against one another, each with its histogram."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from osler.look.choice import label_groups
from osler.look.pixels import Ready
from osler.look.tones import Tones
from osler.report.tone_pictures import ToneGroup, TonePanel

__all__ = ["tone_panels"]

SOURCE_WORDS = re.compile(
    r"source|site|hospital|cent(er|re)|institut|scanner|manufacturer|vendor|device|machine|detector|model|view|dataset|batch",
    re.I,
)
"""Metadata that say where an image comes from."""
MOST_SOURCES = 8
MOST_COLUMNS = 4


def tone_panels(ready: Ready, tones: Tones) -> list[TonePanel]:
    """By split, by class, and by each metadata column that says where images come from."""
    panels = []
    for title, groups in _groupings(ready):
        members = [
            ToneGroup(name, int(group.sum()), tones.histogram[group].mean(axis=0))
            for name, group in groups.items()
            if group.any()
        ]
        if members:
            panels.append(TonePanel(title, members))
    return panels


def _groupings(ready: Ready) -> Iterator[tuple[str, dict[str, NDArray[np.bool_]]]]:
    source, rows, splits = ready.data.source, ready.chosen.rows, ready.chosen.splits
    yield "By split", {name: splits == name for name in ready.data.rows}
    yield "By class", label_groups(source, source.targets[rows])
    if source.metadata is None:
        return
    columns = [str(column) for column in source.metadata.columns if SOURCE_WORDS.search(str(column))]
    shown = 0
    for column in columns:
        values = source.metadata[column].iloc[rows].astype("string").fillna("").to_numpy(str)
        names = [str(name) for name in np.unique(values) if name]
        if 2 <= len(names) <= MOST_SOURCES and shown < MOST_COLUMNS:
            shown += 1
            yield f"By {column}", {name: values == name for name in names}
