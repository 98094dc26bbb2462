"""What an engine is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.data.cache import PackedCache, Progress
from osler.prepare.shares import Share

__all__ = ["Work"]


@dataclass(frozen=True)
class Work:
    """What an engine is to do.

    Attributes:
        cache: where the images go.
        rows: of the source; those that are prepared already cost a look.
        share: which part of the set they are.
        workers: the most processes of this machine.
        most_unreadable: stop where more of the rows than this cannot be used.
        progress: told how far it is.
    """

    cache: PackedCache
    rows: NDArray[np.int64]
    share: Share
    workers: int
    most_unreadable: int
    progress: Progress
