"""Draws: which samples the first batches of a run hold, in the order of its own loader."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.config import Config
from osler.data.batches import TrainBatches, micro_batches
from osler.data.load import Data

__all__ = ["Draws", "take_draws"]


@dataclass(frozen=True)
class Draws:
    """The samples of some batches of a run, from its first on.

    Attributes:
        samples: (D,) indices into the train split, in the order drawn.
        starts: (B,) where in `samples` each batch begins; the first is 0.
        size: n samples of the train split.
        epochs: (E,) draws taken from each epoch, the last one perhaps in part.
        each: draws of one sample in an epoch without weights: 1, or patches of an image.
        weighted: drawn with replacement, by weight.
    """

    samples: NDArray[np.intp]
    starts: NDArray[np.intp]
    size: int
    epochs: NDArray[np.intp]
    each: int
    weighted: bool

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def batches(self) -> int:
        """How many batches were drawn."""
        return len(self.starts)

    @property
    def batch_sizes(self) -> NDArray[np.intp]:
        """(B,) samples of each batch."""
        return np.diff(self.starts, append=len(self.samples))

    @property
    def effective(self) -> float:
        """Independent draws that would tell as much about a share as these do.

        As many as were drawn with replacement; more of those without, and no end of them where epochs are whole, since each
        holds every sample (Cochran 1977, eq. 2.8).
        """
        if self.weighted:
            return float(len(self))
        total = self.size * self.each
        spread = float((self.epochs * (total - self.epochs)).sum()) / max(total - 1, 1)
        return len(self) ** 2 / spread if spread > 0 else 1e12


def take_draws(batches: TrainBatches, config: Config, data: Data, count: int) -> Draws:
    """The first `count` batches that a run of this configuration trains on, over as many epochs as they take."""
    patches, n = config.data.patches, len(data.rows["train"])
    each = 1 if patches is None else patches.per_image
    edges = micro_batches(n * each, config.training.batch_size, config.training.accumulate)
    parts, starts, taken = [], [np.zeros(1, np.intp)], []
    left, epoch = count, 0
    while left > 0:
        some = min(left, len(edges) - 1)
        parts.append(batches.samples(epoch)[: edges[some]])
        starts.append(edges[1 : some + 1] + starts[-1][-1])
        taken.append(edges[some])
        left, epoch = left - some, epoch + 1
    return Draws(
        np.concatenate(parts), np.concatenate(starts)[:-1], n, np.array(taken), each, weighted=data.draw_weights is not None
    )
