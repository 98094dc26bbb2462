"""Parts of a set: what `--shard i/n` means, and the parts that Ray's tasks take."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.errors import ConfigError

__all__ = ["LANES_EACH", "WHOLE", "Share", "divide", "parse_share"]

LANES_EACH = 256
"""Lanes of the store that each share has to itself. Each lane is at least one file that a reader holds open."""
_LEAST_ROWS = 16
"""A task of fewer rows is not worth being sent."""
_TASKS_A_CORE = 4
"""Tasks end at different times: with several a core, none waits long for the last."""


@dataclass(frozen=True)
class Share:
    """One of several parts of a set, each prepared by a machine of its own.

    Attributes:
        number: from 1.
        of: how many there are.
    """

    number: int = 1
    of: int = 1

    @property
    def name(self) -> str:
        """For the end of a file's name; empty where there is one part."""
        return "" if self.of == 1 else f"-{self.number}-of-{self.of}"

    @property
    def lane(self) -> int:
        """The first lane of the store that is this part's own; 0, all of it, where there is one part."""
        return 0 if self.of == 1 else 1 + (self.number - 1) * LANES_EACH

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Every n-th of these rows: what is dear to read often lies together, and is so shared evenly.

        >>> Share(2, 3).take(np.arange(8)).tolist()
        [1, 4, 7]
        """
        return rows[self.number - 1 :: self.of]


WHOLE = Share()


def parse_share(text: str | None) -> Share:
    """The part that "i/n" names; null: all.

    Raises:
        ConfigError: it names none.

    >>> parse_share("2/4")
    Share(number=2, of=4)
    """
    if text is None:
        return WHOLE
    found = re.fullmatch(r"\s*([0-9]{1,4})\s*/\s*([0-9]{1,4})\s*", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ConfigError(
            f"--shard: {text!r} names no part; give i/n with i from 1 to n, such as 1/4 on the first of four machines"
        )
    return Share(int(found[1]), int(found[2]))


def divide(rows: NDArray[np.int64], cores: int) -> list[NDArray[np.int64]]:
    """Rows in parts of about the same size: several a core, none tiny, no more than a share has lanes.

    >>> [len(part) for part in divide(np.arange(100), cores=1)], len(divide(np.arange(100_000), cores=1000))
    ([25, 25, 25, 25], 256)
    """
    number = max(1, min(LANES_EACH, cores * _TASKS_A_CORE, len(rows) // _LEAST_ROWS))
    return [rows[part::number] for part in range(number)] if len(rows) else []
