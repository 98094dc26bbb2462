"""Copies among images: the same pixels, or the same image saved another way (resized, JPEG, cropped a little, brighter)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from osler.audit.align import confirm_on
from osler.audit.codes import encode
from osler.audit.hashes import Hashes
from osler.audit.search import Pairs, alike_pairs

__all__ = ["Confirm", "Copy", "confirm_on", "find_copies", "groups"]

Confirm = Callable[[int, int], float]
"""Two rows → the correlation of the images' pixels, in [-1, 1]."""

_ALIKE = 0.985
"""Correlation of two small images from which their pixels are looked at; 97 % of copies reach it, cut-off brightness included."""

_SURE = 0.995
"""The same where nobody looks at the pixels: above every pair of different chest films that was seen, below 99 % of crops."""

_TRIES = 8
"""Pairs of an image that may turn out to be none before the rest of its pairs are left alone."""

_AT_ONCE = 64
"""Pairs that are looked at before the next are chosen."""

_SLICE = 1 << 16
"""Pairs that are taken out of their arrays at a time."""

Pair = tuple[int, int, int]
"""Two rows, and the distance of their codes."""


@dataclass(frozen=True)
class Copy:
    """Two images that are one.

    Attributes:
        first: row, the lesser.
        second: row, the greater.
        kind: the same pixels, or nearly.
        distance: bits, of 256, of their codes that differ; 0 where exact.
        correlation: of the pixels' detail, as `confirm` told it; 1 where exact, NaN where nobody looked at the pixels.
    """

    first: int
    second: int
    kind: Literal["exact", "near"]
    distance: int
    correlation: float


def find_copies(hashes: Hashes, confirm: Confirm | None = None, *, correlation: float = 0.8, workers: int = 1) -> list[Copy]:
    """Copies among images, in the order of their first and second rows.

    Of n images with the same pixels, n - 1 pairs are given, each with the first of them; only that first one is searched for
    near copies. Near copies that are connected already, through others, are not given again. So the number of pairs is always
    that of the images less that of the groups (`groups`). Blank and unreadable images have no copies.

    Args:
        hashes: the fingerprints.
        confirm: looks at the pixels of two images (`confirm_on`); called from `workers` threads. Without it only pairs whose
            small images are all but the same are given.
        correlation: the least that `confirm` must tell of a copy.
        workers: threads.

    Returns:
        The pairs. Time grows with the square of N, at 1 ns for a pair of images or less; beside the fingerprints, memory is
        900 bytes an image, and 28 bytes for each pair that may be looked at.
    """
    firsts, exact = _exact(hashes)
    near: Iterator[Copy] = iter(())
    if len(firsts) > 1:
        thumbs = hashes.thumbs[firsts]
        pairs = alike_pairs(encode(thumbs), thumbs, _SURE if confirm is None else _ALIKE, workers)
        pairs = pairs._replace(first=firsts[pairs.first], second=firsts[pairs.second])
        near = _near(pairs, confirm, correlation, workers)
    return sorted([*exact, *near], key=lambda copy: (copy.first, copy.second))


def _exact(hashes: Hashes) -> tuple[NDArray[np.int64], list[Copy]]:
    """The first row of each image, in order, and the pairs of the others with it."""
    rows = np.flatnonzero(~hashes.blank)
    _, place, back = np.unique(hashes.digests[rows], axis=0, return_index=True, return_inverse=True)
    first = rows[place[back.reshape(-1)]]
    again = first < rows
    pairs = zip(first[again].tolist(), rows[again].tolist(), strict=True)
    return rows[~again], [Copy(one, other, "exact", 0, 1.0) for one, other in pairs]


def _near(pairs: Pairs, confirm: Confirm | None, correlation: float, workers: int) -> Iterator[Copy]:
    """Pairs that are confirmed, the most alike first; none within a group that is known by then."""
    waiting, known, refused = _most_alike_first(pairs), _Groups(), Counter[int]()

    def looked_at(pair: Pair) -> float:
        return float("nan") if confirm is None else confirm(pair[0], pair[1])

    with ThreadPoolExecutor(max(1, workers)) as pool:
        while chosen := _next(waiting, known, refused):
            for (first, second, distance), value in zip(chosen, pool.map(looked_at, chosen), strict=True):
                if confirm is not None and not value >= correlation:
                    refused.update((first, second))
                elif known.join(first, second):
                    yield Copy(first, second, "near", distance, value)


def _most_alike_first(pairs: Pairs) -> Iterator[Pair]:
    order = np.lexsort((pairs.second, pairs.first, -pairs.alike))
    for start in range(0, len(order), _SLICE):
        part = order[start : start + _SLICE]
        yield from zip(*(each[part].tolist() for each in (pairs.first, pairs.second, pairs.distance)), strict=True)


def _next(waiting: Iterator[Pair], known: _Groups, refused: Counter[int]) -> list[Pair]:
    """The next pairs that are worth a look: not in one group already, and neither image refused too often."""
    chosen: list[Pair] = []
    for first, second, distance in waiting:
        open_still = refused[first] < _TRIES and refused[second] < _TRIES
        if open_still and known.leader(first) != known.leader(second):
            chosen.append((first, second, distance))
            if len(chosen) == _AT_ONCE:
                break
    return chosen


class _Groups:
    """Rows that belong together."""

    def __init__(self) -> None:
        self.above: dict[int, int] = {}

    def leader(self, row: int) -> int:
        while (above := self.above.setdefault(row, row)) != row:
            self.above[row] = row = self.above[above]
        return row

    def join(self, first: int, second: int) -> bool:
        """Puts two rows into one group; whether they were in two."""
        low, high = sorted((self.leader(first), self.leader(second)))
        self.above[high] = low
        return low != high


def groups(copies: Iterable[Copy]) -> list[tuple[int, ...]]:
    """Rows of images that are copies of one another, each group in ascending order, by first row.

    >>> groups([Copy(0, 3, "exact", 0, 1.0), Copy(3, 5, "near", 9, 0.99), Copy(1, 2, "exact", 0, 1.0)])
    [(0, 3, 5), (1, 2)]
    """
    known = _Groups()
    for copy in copies:
        known.join(copy.first, copy.second)
    members: dict[int, list[int]] = {}
    for row in sorted(known.above):
        members.setdefault(known.leader(row), []).append(row)
    return [tuple(rows) for rows in members.values()]
