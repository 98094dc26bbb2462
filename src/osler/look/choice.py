"""Choice: which images are looked at, and what they are called."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.data.balance import NO_FINDING
from osler.data.load import Data
from osler.data.samples import Samples

__all__ = ["Chosen", "choose", "label_groups", "label_text"]

FEWEST_OF_SPLIT = 50
FEWEST_OF_CLASS = 16


@dataclass(frozen=True)
class Chosen:
    """Some samples, in the order of the source.

    Attributes:
        rows: (n,) of the source.
        splits: (n,) the split of each.
    """

    rows: NDArray[np.intp]
    splits: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.rows)

    def without(self, bad: set[int]) -> Chosen:
        """The same less these source rows."""
        keep = ~np.isin(self.rows, list(bad))
        return Chosen(self.rows[keep], self.splits[keep])


def choose(data: Data, count: int, seed: int) -> Chosen:
    """About `count` samples: every split by its size, and a few of every class of train; the same for the same seed."""
    rng = np.random.default_rng(seed)
    total = sum(len(rows) for rows in data.rows.values())
    rows, splits = [], []
    for name, members in data.rows.items():
        wanted = min(len(members), max(FEWEST_OF_SPLIT, round(count * len(members) / total)))
        taken = rng.permutation(len(members))[:wanted]
        if name == "train":
            groups = label_groups(data.source, data.targets("train")).values()
            some = [rng.permutation(np.flatnonzero(group))[:FEWEST_OF_CLASS] for group in groups]
            taken = np.unique(np.concatenate([taken, *some]))
        rows.append(members[taken])
        splits.append(np.full(len(taken), name))
    order = np.argsort(np.concatenate(rows), kind="stable")
    return Chosen(np.concatenate(rows)[order], np.concatenate(splits)[order])


def label_groups(source: Samples, targets: NDArray[np.float32]) -> dict[str, NDArray[np.bool_]]:
    """(n,) which samples have each class; last, where a sample may have none, which have none."""
    has = targets == 1
    groups = {name: has[:, k] for k, name in enumerate(source.classes)}
    if source.task != "multiclass":
        groups[source.negative if source.task == "binary" else NO_FINDING] = (targets == 0).all(axis=1)
    return {name: group for name, group in groups.items() if group.any()}


def label_text(source: Samples, row: int) -> str:
    """The label of a sample as a person would write it."""
    targets = source.targets[row]
    names = [name for name, target in zip(source.classes, targets, strict=True) if target == 1]
    unknown = [name for name, target in zip(source.classes, targets, strict=True) if np.isnan(target)]
    if not names and len(unknown) == len(targets):
        return "(unknown)"
    said = ", ".join(names) or (source.negative if source.task == "binary" else NO_FINDING)
    return f"{said}; unknown: {', '.join(unknown)}" if unknown and source.task != "multiclass" else said
