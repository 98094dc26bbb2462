"""What the headers of a set's images say, and the pixels of a few."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.data.messages import count
from osler.data.samples import Samples
from osler.errors import DataError
from osler.imaging.read import ImageInfo

__all__ = ["Look", "look_at"]

MOST_PROBED = 200
MOST_READ = 20


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


def look_at(samples: Samples) -> Look:
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
