"""Search: pairs of images whose codes are within reach, and which are alike once their small images are laid over each other.

The images lie in the order of the first learned direction, so that each is compared with a strip of those that follow; within
the strip the first word of the codes decides for 999 of 1,000 pairs, the whole codes and the distance for most of the rest.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from osler.audit.align import aligned_correlation
from osler.audit.codes import Codes

__all__ = ["NEIGHBOURS", "Pairs", "alike_pairs"]

NEIGHBOURS = 64
"""Later images that an image is compared with beyond its code, the nearest first: so a set of look-alikes ends too."""

_ROWS = 32
_COLUMNS = 4096
"""Codes compared at once: 1 MB, which stays in a processor's cache."""

_TURN = 16
"""Blocks of rows that a thread takes at a time."""

Rows = NDArray[np.int64]


class Pairs(NamedTuple):
    """Pairs of images that may be copies.

    Attributes:
        first: (P,) rows.
        second: (P,) rows.
        distance: (P,) bits of the codes that differ.
        alike: (P,) the correlation of the small images laid over each other.
    """

    first: Rows
    second: Rows
    distance: NDArray[np.int64]
    alike: NDArray[np.float32]


def alike_pairs(codes: Codes, thumbs: NDArray[np.uint8], least: float, workers: int = 1) -> Pairs:
    """Pairs of images within reach of each other whose small images correlate by `least` or more, each pair once.

    Memory beside the codes is 28 bytes a pair found, at most NEIGHBOURS pairs an image, and 3 MB a worker.
    """
    order = np.argsort(codes.places[:, 0], kind="stable")
    ordered = Codes(codes.places[order], codes.bits[order], codes.reach)
    strip = ordered.places[:, 0]
    ends = np.searchsorted(strip, strip + np.float32(codes.reach.first), side="right")

    def turn(start: int) -> Pairs:
        stop = min(start + _TURN * _ROWS, len(order))
        edges = [*range(start, stop, _ROWS), stop]
        blocks = [_block(ordered, low, high, int(ends[high - 1])) for low, high in pairwise(edges)]
        first, second, distance = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        first, second = order[first], order[second]
        alike = aligned_correlation(thumbs[first], thumbs[second])
        kept = alike >= least
        return Pairs(first[kept], second[kept], distance[kept], alike[kept])

    with ThreadPoolExecutor(max(1, workers)) as pool:
        found = list(pool.map(turn, range(0, len(order), _TURN * _ROWS)))
    first, second, distance, alike = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Pairs(np.minimum(first, second), np.maximum(first, second), distance, alike)


def _block(codes: Codes, start: int, stop: int, end: int) -> tuple[Rows, Rows, NDArray[np.int64]]:
    """Of rows start to stop, each with the rows after it and before `end`: first, second and distance of pairs in reach."""
    found = [_tile(codes, start, stop, at, min(at + _COLUMNS, end)) for at in range(start, end, _COLUMNS)]
    first, second, distance = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if len(first) <= NEIGHBOURS:
        return first, second, distance
    nearest = np.lexsort((distance, first))
    first, second, distance = first[nearest], second[nearest], distance[nearest]
    place = np.arange(len(first)) - np.searchsorted(first, first)
    kept = place < NEIGHBOURS
    return first[kept], second[kept], distance[kept]


def _tile(codes: Codes, start: int, stop: int, left: int, right: int) -> tuple[Rows, Rows, NDArray[np.int64]]:
    bits, reach = codes.bits, codes.reach
    near = np.bitwise_count(bits[start:stop, None, 0] ^ bits[None, left:right, 0]) <= reach.bits
    if left < stop:  # each pair once, and no image with itself
        near &= np.arange(left, right) > np.arange(start, stop)[:, None]
    row, column = np.divmod(np.flatnonzero(near), right - left)
    first, second = row + start, column + left
    distance = np.bitwise_count(bits[first] ^ bits[second]).sum(axis=1, dtype=np.int64)
    kept = distance <= reach.all_bits
    first, second, distance = first[kept], second[kept], distance[kept]
    kept = np.square(codes.places[first] - codes.places[second]).sum(axis=1) <= reach.square
    return first[kept], second[kept], distance[kept]
