"""Two counts of epochs in one log, one within the other: each round of an outer loop trains some epochs of an inner one.

"Epoch: 2/256" heads a round whose epochs are printed as "Epoch 1/8" to "Epoch 8/8". The inner count is the chart's; where it
begins again with each round, its epochs are numbered on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mention", "numbered_through"]

# A round has at least so many epochs on average: "Epoch 3: begins", "Epoch 3 done" are one count in other words.
FEWEST_EPOCHS = 2
# Words that differ from line to line, such as names of files, count nothing.
MOST_COUNTS = 20


@dataclass(frozen=True)
class Mention:
    """An epoch that the log names.

    Attributes:
        words: what stands before the number; counts are told apart by it.
        epoch: its number.
        row: the first row of figures behind it.
    """

    words: str
    epoch: float
    row: int


def numbered_through(mentions: Sequence[Mention], rows: int) -> NDArray[np.float64] | None:
    """(R,) the epoch of each row by the inner count, numbered on through the rounds; None where no count holds another.

    NaN where a row stands between the head of a round and its first epoch.

    Args:
        mentions: in the log's order, each where its words or its number change.
        rows: how many rows of figures the log has.

    >>> log = [("Round epoch", 1, 0), ("epoch", 1, 0), ("epoch", 2, 1), ("Round epoch", 2, 2), ("epoch", 1, 2), ("epoch", 2, 3)]
    >>> numbered_through([Mention(*each) for each in log], rows=4)
    array([1., 2., 3., 4.])
    """
    counts: dict[str, list[Mention]] = {}
    for mention in mentions:
        counts.setdefault(mention.words, []).append(mention)
    if not 2 <= len(counts) <= MOST_COUNTS:
        return None
    inner = max(counts, key=lambda words: _changes(counts[words]))
    for outer, heads in counts.items():
        if outer != inner and _holds(heads, counts[inner], mentions):
            return _by_row(_rounds(mentions, outer, inner), rows)
    return None


def _changes(mentions: Sequence[Mention]) -> int:
    return sum(one.epoch != other.epoch for one, other in pairwise(mentions))


def _holds(heads: Sequence[Mention], epochs: Sequence[Mention], mentions: Sequence[Mention]) -> bool:
    """Whether each of the rising `heads` comes before some of the `epochs`, which fall nowhere else."""
    if (
        len(heads) < 2
        or _changes(epochs) < FEWEST_EPOCHS * len(heads) - 1
        or mentions.index(epochs[0]) < mentions.index(heads[0])
    ):
        return False
    rounds = [below for _, below in _rounds(mentions, heads[0].words, epochs[0].words)]
    return _rising(heads) and all(rounds[:-1]) and all(_rising(below) for below in rounds)


def _rising(mentions: Sequence[Mention]) -> bool:
    return all(one.epoch <= other.epoch for one, other in pairwise(mentions))


def _rounds(mentions: Sequence[Mention], outer: str, inner: str) -> list[tuple[Mention, list[Mention]]]:
    """The mentions of the outer count, each with those of the inner one below it."""
    rounds: list[tuple[Mention, list[Mention]]] = []
    for mention in mentions:
        if mention.words == outer and not (rounds and rounds[-1][0].epoch == mention.epoch):
            rounds.append((mention, []))
        elif mention.words == inner and rounds:
            rounds[-1][1].append(mention)
    return rounds


def _by_row(rounds: Sequence[tuple[Mention, Sequence[Mention]]], rows: int) -> NDArray[np.float64]:
    """(R,) NaN behind the head of a round and before its first epoch."""
    epochs = np.full(rows, np.nan)
    last = -np.inf
    for head, below in rounds:
        epochs[head.row :] = np.nan
        offset = last + 1 - below[0].epoch if below and below[0].epoch <= last else 0.0
        for mention in below:
            epochs[mention.row :] = last = mention.epoch + offset
    return epochs
