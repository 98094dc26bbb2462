"""Images and patients that stand in more than one split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Checked", "shared_between_splits", "shared_images"]

Rows = NDArray[np.int64]


class Checked(Protocol):
    """Prepared images with a checksum of each."""

    @property
    def channels(self) -> int:
        """Planes of a row that are its image; a mask follows."""
        ...

    def checksums(self, rows: Rows) -> NDArray[np.uint32]:
        """(B,) of these rows' bytes: equal ones have equal checksums."""
        ...

    def gather(self, rows: Rows) -> NDArray[Any]:
        """(B, C + K, H, W) of these rows."""
        ...


def shared_images(images: Checked, rows: Rows, among: Rows) -> Rows:
    """Those of `rows` whose prepared image, and mask, is that of one of `among`, pixel for pixel.

    Only what has the checksum of another is read. Images of one value, such as empty slices of a volume, are no copies.

    Args:
        images: prepared.
        rows: (A,) of the source.
        among: (B,) of the source, none of them in `rows`.
    """
    sums = images.checksums(among)
    first = dict(zip(sums[::-1].tolist(), among[::-1].tolist(), strict=True))
    kept: dict[int, NDArray[Any] | None] = {}
    found = []
    for row, checksum in zip(rows.tolist(), images.checksums(rows).tolist(), strict=True):
        if checksum not in first:
            continue
        if checksum not in kept:
            other = images.gather(np.array([first[checksum]]))[0]
            picture = other[: images.channels]
            kept[checksum] = None if picture.min() == picture.max() else other
        pixels = kept[checksum]
        if pixels is not None and np.array_equal(images.gather(np.array([row]))[0], pixels):
            found.append(row)
    return np.array(found, np.int64)


def shared_between_splits(images: Checked, splits: Mapping[str, Rows], patients: NDArray[Any] | None) -> dict[str, int]:
    """The facts `split.duplicates_shared`, and `split.patients_shared` where patients are known: of train with val and test.

    Args:
        images: prepared.
        splits: rows of each split by its name.
        patients: of every row of the source, or None.
    """
    train = splits["train"]
    others = np.concatenate([np.empty(0, np.int64), *(rows for split, rows in splits.items() if split != "train")])
    facts = {"split.duplicates_shared": len(shared_images(images, others, train))}
    if patients is not None:
        facts["split.patients_shared"] = len(set(patients[train].tolist()) & set(patients[others].tolist()))
    return facts
