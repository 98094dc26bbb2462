"""Patches: squares of prepared images for training, a set share of them on foreground.

Where a patch lies is a hash of (seed, epoch, position), as everything drawn is. A patch that is turned or zoomed is read from
the whole image, so nothing inside the image is filled in; only beyond its edge the edge goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from osler.config import PatchConfig
from osler.data.augment import PATCH, Changes, Cut, uniforms
from osler.data.samples import IGNORED
from osler.errors import ConfigError
from osler.imaging.depth import Levels

__all__ = ["Cutter", "Patches"]

TRIES = 8
"""Places looked at for a patch that may lie anywhere, until its middle is on a known pixel."""
_AT_ONCE = 1 << 26
"""Bytes of whole images that are held while patches are cut from them."""


@dataclass(frozen=True)
class Patches:
    """What is read for B patches.

    Attributes:
        windows: (B, C + K, h, w) uint8 or uint16: the part of each image, and of its masks, that its patch may need.
        cut: where in its window each patch lies.
        foreground: (B,) whether the patch was placed on a foreground pixel.
    """

    windows: Levels
    cut: Cut
    foreground: NDArray[np.bool_]


class Cutter:
    """Cuts patches out of images and their masks.

    A share of `config.foreground` of the patches is placed on a foreground pixel: one of the classes in the image's mask, all
    with the same chance, then one of its pixels (as nnU-Net does, Isensee et al. 2021). The others, and those of images without
    foreground, lie anywhere, their middle on a pixel of known class where one is found in a few tries: beside a padded image
    there is nothing to learn. A patch that would leave the image is moved until it lies inside, so foreground near an edge is
    in its patch, but not in the middle.

    Args:
        config: size and share.
        seed: of the run.
        shape: planes, height and width of what is gathered.
        channels: planes that are the image; the planes after them are masks.
        reach: of the augmenter.
        dtype: of what is gathered.

    Raises:
        ConfigError: the patch is larger than the images.
    """

    def __init__(
        self,
        config: PatchConfig,
        seed: int,
        shape: tuple[int, int, int],
        channels: int,
        reach: float = 1.0,
        dtype: DTypeLike = np.uint8,
    ) -> None:
        planes, *size = shape
        if config.size > min(size):
            raise ConfigError(
                f"data.patches.size: {config.size} is more than the prepared images have, {size[0]} x {size[1]} pixels. Give at "
                f"most {min(size)}, raise preparation.size, or set data.patches to null to train on whole images."
            )
        self._config = config
        self._seed = seed
        self._planes = planes
        self._size = (size[0], size[1])
        self._channels = channels
        self._dtype = np.dtype(dtype)
        # One more for the neighbour that a bilinear mean needs, and two for rounding the window's place.
        side = math.ceil(config.size * reach) + 3
        self._moving = (min(side, size[0]), min(side, size[1]))

    def cut(
        self,
        gather: Callable[[NDArray[np.intp]], Levels],
        rows: NDArray[np.intp],
        changes: Changes,
        epoch: int,
        positions: NDArray[np.integer],
    ) -> Patches:
        """The windows of the patches at these positions of the epoch's global order.

        Args:
            gather: source rows (n,) to planes (n, C + K, H, W), the image's and then its masks'.
            rows: (B,) rows of the source.
            changes: what will be done to the patches.
            epoch: from 0.
            positions: (B,) places in the epoch's global order.
        """
        count, side = len(rows), self._config.size
        lots = uniforms(self._seed, epoch, PATCH, positions[:, None], np.arange(3 + 2 * TRIES))
        window = (side, side) if changes.matrices is None else self._moving
        shifts = _shifts(changes, side)
        corners, foreground = np.empty((count, 2)), np.zeros(count, np.bool_)
        windows = np.empty((count, self._planes, *window), self._dtype)
        step = max(1, _AT_ONCE // (self._planes * self._size[0] * self._size[1] * self._dtype.itemsize))
        for first in range(0, count, step):
            for index, image in enumerate(gather(rows[first : first + step]), start=first):
                corner, foreground[index] = self._corner(image[self._channels :], lots[index])
                x, y = self._window(corner, shifts[index], window)
                windows[index] = image[:, y : y + window[0], x : x + window[1]]
                corners[index] = corner[0] - x, corner[1] - y
        return Patches(windows, Cut(side, corners + (side - 1) / 2), foreground)

    def _corner(self, masks: Levels, lots: NDArray[np.float64]) -> tuple[tuple[int, int], bool]:
        """Column and row of the patch's upper left pixel, and whether it was placed on foreground."""
        pixel = _foreground_pixel(masks, lots[1], lots[2]) if lots[0] < self._config.foreground else None
        height, width = self._size
        side = self._config.size
        if pixel is not None:
            row, column = divmod(pixel, width)
            return (_inside(column - side // 2, width - side), _inside(row - side // 2, height - side)), True
        places = [(int(across * (width - side + 1)), int(down * (height - side + 1))) for across, down in lots[3:].reshape(-1, 2)]
        for x, y in places:
            if (masks[:, y + side // 2, x + side // 2] != IGNORED).any():
                return (x, y), False
        return places[0], False

    def _window(self, corner: tuple[int, int], shift: NDArray[np.float64], window: tuple[int, int]) -> tuple[int, int]:
        """Column and row of the upper left pixel of what a patch needs of its image."""
        height, width = self._size
        spare_rows, spare_columns = ((side - self._config.size) / 2 for side in window)
        x, y = corner[0] + shift[0] - spare_columns, corner[1] + shift[1] - spare_rows
        return _inside(round(x), width - window[1]), _inside(round(y), height - window[0])


def _shifts(changes: Changes, side: int) -> NDArray[np.float64]:
    """How far from its own middle, in columns and rows of the source, a patch shows what is shifted there; (B, 2)."""
    if changes.matrices is None:
        return np.zeros((len(changes.noise), 2))
    return np.asarray(-np.einsum("bij,bj->bi", changes.matrices[:, :, :2], side * changes.matrices[:, :, 2]))


def _inside(place: int, last: int) -> int:
    return min(max(place, 0), last)


def _foreground_pixel(masks: Levels, which: float, where: float) -> int | None:
    """A flat place in one of the planes (K, H, W) where it is 1, or None where none is; the lots are in [0, 1).

    >>> _foreground_pixel(np.array([[[0, 255]], [[0, 1]]], dtype=np.uint8), 0.1, 0.9), _foreground_pixel(
    ...     np.zeros((2, 1, 2), np.uint8), 0.1, 0.9
    ... )
    (1, None)
    """
    marked = [plane for plane in (mask.ravel() == 1 for mask in masks) if plane.any()]
    if not marked:
        return None
    spots = np.flatnonzero(marked[int(which * len(marked))])
    return int(spots[int(where * len(spots))])
