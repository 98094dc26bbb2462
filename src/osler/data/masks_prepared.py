"""What preparing made of masks: foreground after resizing, and lesions that it erased, counted before training starts."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.data.cache import PackedCache
from osler.data.masks_survey import THREADS, areas_of
from osler.data.messages import count
from osler.errors import RunError
from osler.files import write_atomic
from osler.imaging.masks import IGNORED
from osler.imaging.preparation import Preparation

__all__ = ["PreparedMasks", "erased_lesions", "prepared_masks"]

LARGER = (128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
"""Sizes that may be advised."""
MOST_ADVISED = 3
CHUNK = 64
MEMORY = "lesions.npz"
"""File in the cache's folder that remembers what was counted."""


@dataclass(frozen=True)
class PreparedMasks:
    """Masks as a network sees them.

    Attributes:
        shares: (n, K) share of the known pixels of each image that is foreground; NaN where none is known.
        known: (n,) known pixels of each.
        erased: lesions, connected pieces of a class, of which no foreground pixel is left.
        lesions: lesions before.
        touched: images that lost one or more.
        spared: preparation size → lesions that would still be erased there; for some larger sizes, where any were erased.
        size: of the preparation.
    """

    shares: NDArray[np.float64]
    known: NDArray[np.int64]
    erased: int
    lesions: int
    touched: int
    spared: dict[int, int]
    size: int

    @property
    def shares_of_all(self) -> NDArray[np.float64]:
        """(K,) share of all known pixels that is foreground; NaN where none is known."""
        pixels = int(self.known.sum())
        foreground = np.nansum(self.shares * self.known[:, None], axis=0)
        return foreground / pixels if pixels else np.full(self.shares.shape[1], np.nan)

    @property
    def empty(self) -> int:
        """Images of which something is known, and that is no foreground of any class."""
        return int(((np.nan_to_num(self.shares) == 0).all(axis=1) & (self.known > 0)).sum())

    @property
    def notes(self) -> tuple[str, ...]:
        """What was erased, and at which size it would not be; empty where nothing was.

        >>> known = np.ones(1, np.int64)
        >>> PreparedMasks(np.zeros((1, 1)), known, 17, 312, 9, {384: 6, 512: 2}, 256).notes[0]
        '17 of 312 lesions (in 9 images) vanish at 256 pixels; preparation.size: 384 keeps all but 6, 512 all but 2.'
        """
        if not self.erased:
            return ()
        said = (
            f"{self.erased:,} of {count(self.lesions, 'lesion')} (in {count(self.touched, 'image')}) vanish at {self.size} pixels"
        )
        kept = [f"{size} {f'all but {left:,}' if left else 'all'}" for size, left in self.spared.items() if left < self.erased]
        if kept:
            said += f"; preparation.size: {kept[0].replace(' all', ' keeps all', 1)}{''.join(f', {text}' for text in kept[1:])}"
        return (f"{said}.",)


def prepared_masks(cache: PackedCache, rows: ArrayLike) -> PreparedMasks:
    """Measures the prepared masks of these rows, and counts the lesions that preparing erased.

    The masks of images that were made smaller are read anew, once: what was counted is remembered in the cache's folder.

    Args:
        cache: of a source with masks; the rows are prepared and readable.
        rows: (n,) of the source.

    Raises:
        DataError: a row is not prepared, or its mask can no longer be read.
    """
    wanted = np.asarray(rows, np.intp)
    shares, known = _shares(cache, wanted)
    pieces = _recalled(cache, wanted)
    unknown = np.flatnonzero(pieces[:, 0] < 0)
    if len(unknown):
        pieces[unknown] = _pieces(cache, wanted[unknown])
        _remember(cache, wanted, pieces)
    lesions, erased, left = pieces[:, 0], pieces[:, 1], pieces[:, 2:].sum(axis=0)
    size = cache.preparation.size
    spared = {larger: int(number) for larger, number in zip(LARGER, left, strict=True) if larger > size} if erased.any() else {}
    first = next((at for at, number in enumerate(spared.values()) if not number), len(spared))
    kept = dict(list(spared.items())[: min(first + 1, MOST_ADVISED)])
    return PreparedMasks(shares, known, int(erased.sum()), int(lesions.sum()), int((erased > 0).sum()), kept, size)


def _shares(cache: PackedCache, rows: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(n, K) foreground shares and (n,) known pixels of the cache's planes."""
    classes = cache.shape[0] - cache.channels
    shares = np.full((len(rows), classes), np.nan)
    known = np.zeros(len(rows), np.int64)
    for start in range(0, len(rows), CHUNK):
        planes = cache.masks(rows[start : start + CHUNK])
        pixels = (planes[:, 0] != IGNORED).sum(axis=(1, 2))
        foreground = (planes == 1).sum(axis=(2, 3))
        part = shares[start : start + CHUNK]
        np.divide(foreground, pixels[:, None], out=part, where=pixels[:, None] > 0)
        known[start : start + CHUNK] = pixels
    return shares, known


# --- what resizing erases ---------------------------------------------------------------------------------------------------


def _pieces(cache: PackedCache, rows: NDArray[np.intp]) -> NDArray[np.int64]:
    """(n, 2 + S): lesions of each image's mask, how many its preparation erased, and how many each larger size still would."""
    preparation, exclusive = cache.preparation, cache.samples.exclusive
    assert cache.samples.masks is not None, "the source has masks"
    masks = cache.samples.masks

    def one(row: int) -> list[int]:
        info = cache.samples.images.probe(row)
        _, _, height, width = preparation.placed(info.height, info.width)
        if height >= info.height and width >= info.width:  # nothing shrank, so the prepared planes tell as much
            planes = cache.masks([row])[0]
            return [sum(len(areas_of(plane)) for plane in planes), 0, *(0 for _ in LARGER)]
        planes = masks.read(row)
        erased, lesions = erased_lesions(planes, preparation, exclusive)
        left = erased
        still = []
        for size in LARGER:
            if left and size > preparation.size:
                larger = Preparation(preparation.config.model_copy(update={"size": size}))
                left, _ = erased_lesions(planes, larger, exclusive)
            still.append(left)
        return [lesions, erased, *still]

    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as threads:
        found = list(threads.map(one, rows.tolist()))
    return np.array(found, np.int64).reshape(-1, 2 + len(LARGER))


def _recalled(cache: PackedCache, rows: NDArray[np.intp]) -> NDArray[np.int64]:
    """(n, 2 + S) as `_pieces`, from what was remembered; -1 where nothing was."""
    pieces = np.full((len(rows), 2 + len(LARGER)), -1, np.int64)
    try:
        with np.load(cache.store.folder / MEMORY, allow_pickle=False) as file:
            states, known = file["states"].tolist(), file["pieces"]
    except (OSError, ValueError, EOFError, KeyError):
        return pieces
    if known.shape[1:] != pieces.shape[1:]:
        return pieces
    place = {tuple(state): at for at, state in enumerate(states)}
    for at, state in enumerate(cache.states(rows).tolist()):
        found = place.get(tuple(state))
        if found is not None:
            pieces[at] = known[found]
    return pieces


def _remember(cache: PackedCache, rows: NDArray[np.intp], pieces: NDArray[np.int64]) -> None:
    """Adds to what is remembered; where that is not possible nothing is lost but time."""
    states = cache.states(rows)
    everything = np.arange(len(cache.samples))
    older = _recalled(cache, everything)
    kept = np.flatnonzero((older[:, 0] >= 0) & ~np.isin(everything, rows))
    if len(kept):
        states, pieces = np.concatenate([states, cache.states(kept)]), np.concatenate([pieces, older[kept]])
    with contextlib.suppress(OSError, RunError):
        write_atomic(cache.store.folder / MEMORY, lambda file: np.savez_compressed(file, states=states, pieces=pieces))


def erased_lesions(planes: NDArray[np.uint8], preparation: Preparation, exclusive: bool = True) -> tuple[int, int]:
    """How many lesions of a mask no prepared pixel shows, and how many there are.

    A lesion is a connected piece of a class (pixels that touch by a corner being connected); it is kept when a prepared
    foreground pixel of its class covers any of it.

    Args:
        planes: (K, H, W) of 0, 1 and `IGNORED`.
        preparation: what is done to it.
        exclusive: a pixel is of one class at most.

    >>> from osler.config import PreparationConfig
    >>> planes = np.zeros((1, 64, 64), np.uint8)
    >>> planes[0, 3, 3], planes[0, 32:48, 32:48] = 1, 1
    >>> erased_lesions(planes, Preparation(PreparationConfig(size=16, channels=1)))
    (1, 2)
    """
    height, width = planes.shape[1:]
    pieces = [cv2.connectedComponents((plane == 1).astype(np.uint8), connectivity=8) for plane in planes]
    lesions = sum(number - 1 for number, _ in pieces)
    top, left, rows, columns = preparation.placed(height, width)
    if not lesions or (rows >= height and columns >= width):
        return 0, lesions
    prepared = preparation.apply_mask(planes, exclusive)
    # Every pixel of the mask looks at the prepared pixel that its middle lies in.
    down = top + ((np.arange(height) + 0.5) * rows / height).astype(np.intp)
    across = left + ((np.arange(width) + 0.5) * columns / width).astype(np.intp)
    erased = 0
    for (number, labels), plane in zip(pieces, prepared, strict=True):
        shown = (plane == 1)[np.ix_(down, across)]
        erased += number - 1 - len(np.setdiff1d(labels[shown], [0]))
    return erased, lesions
