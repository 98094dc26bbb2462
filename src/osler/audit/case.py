"""Case: a set and all that was measured of it, as the checks read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from osler.audit.copies import Copy
from osler.audit.evidence import Origin, Told
from osler.audit.measures import Measured
from osler.audit.source import Loaded
from osler.data.samples import SPLITS, Samples

__all__ = ["Case", "percent"]


@dataclass(frozen=True)
class Case:
    """What the checks read.

    Attributes:
        loaded: the set.
        measured: of each image.
        copies: pairs of images that are one.
        told: how well labels are told by what is not the content.
        origins: sites, devices, folders, and what their images are like.
    """

    loaded: Loaded
    measured: Measured
    copies: tuple[Copy, ...] = ()
    told: tuple[Told, ...] = ()
    origins: tuple[Origin, ...] = ()

    @property
    def samples(self) -> Samples:
        return self.loaded.samples

    @property
    def splits(self) -> NDArray[np.str_]:
        return self.loaded.splits

    @property
    def used(self) -> tuple[str, ...]:
        """The splits that have samples, in order."""
        return tuple(name for name in SPLITS if (self.splits == name).any())

    @cached_property
    def patients(self) -> NDArray[np.intp] | None:
        """(N,) number of each sample's patient; None where patients are unknown, or none has a second sample."""
        if self.samples.patients is None:
            return None
        codes = np.unique(self.samples.patients, return_inverse=True)[1].astype(np.intp)
        return codes if int(codes.max()) + 1 < len(codes) else None

    def of_split(self, name: str) -> NDArray[np.bool_]:
        """(N,) which samples are in a split."""
        found: NDArray[np.bool_] = self.splits == name
        return found

    def place(self, row: int) -> str:
        """The split of a sample in words."""
        return str(self.splits[row]) or "no split"

    def label(self, row: int) -> str:
        """The label of a sample as a person would write it."""
        targets = self.samples.targets[row]
        names = [name for name, target in zip(self.samples.classes, targets, strict=True) if target == 1]
        if not names and np.isnan(targets).all():
            return "(unknown)"
        none = self.samples.negative if self.samples.task == "binary" else "No Finding"
        if self.samples.task == "segmentation":
            none = "nothing marked"
        return ", ".join(names) or none

    def names(self, rows: Sequence[int], most: int = 4) -> str:
        """The ids of some samples."""
        shown = ", ".join(str(self.samples.ids[row]) for row in rows[:most])
        return shown + (f" and {len(rows) - most:,} more" if len(rows) > most else "")


def percent(share: float) -> str:
    """A share as people write it.

    >>> percent(0.74211), percent(0.0042)
    ('74.2 %', '0.42 %')
    """
    return f"{100 * share:.2g} %" if share < 0.01 else f"{100 * share:.1f} %"
