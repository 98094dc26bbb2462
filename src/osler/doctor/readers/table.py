"""Table: what a log holds before its words are understood: rows, epochs, and columns with gaps. Every reader makes one.

Here rows become epochs: gaps in the epoch column are filled, runs and phases joined in one file are told apart where the
count starts again, epochs that a resumed run wrote twice are dropped, and several rows of one epoch become one figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from osler.doctor.chart import Axis
from osler.doctor.facts import Facts

__all__ = ["Column", "Layout", "Merged", "Table", "filled_epochs", "lay_out", "merge_column", "split_segments"]

Rows = NDArray[np.intp]
Floats = NDArray[np.float64]

# Beyond this a chart of epochs says no more and rules grow slow: rows are joined to blocks.
MOST_EPOCHS = 10_000
BLOCKS = 1_000
# So many steps back that are no restart, and the rows are not in the order of time.
MOST_STEPS_BACK = 5
MOST_RESTARTS = 1_000
# An epoch with a second row now and then was written twice; where most have several, they are parts of it.
SHARE_OF_DOUBLES = 0.3


@dataclass(frozen=True)
class Column:
    """One column of a log.

    Attributes:
        label: its name in the log, with the words that give its context ("val loss" for "loss" below "Validation").
        where: its place, for reports.
        rows: (n,) rows that hold a number, rising.
        values: (n,) the numbers; NaN and infinities where the log says so.
        percent: a percent sign stood with the numbers.
        running: the figure is a running mean within the epoch, so that its last value stands for the epoch.
    """

    label: str
    where: str
    rows: Rows
    values: Floats
    percent: bool = False
    running: bool = False


@dataclass(frozen=True)
class Table:
    """The rows of a log.

    Attributes:
        source: the file, as the user gave it.
        reader: what read it.
        epochs: (R,) NaN where a row does not say.
        columns: without the epoch's own.
        steps: (R,) NaN where a row does not say; None where none does.
        groups: (R,) index into `group_names`: runs that the table keeps apart itself, such as folds.
        phases: (R,) index into `phase_names`: stages of one run that the table names itself.
        separate: restarts of the count are separate runs (True), phases of one (False), or told by the loss (None).
    """

    source: str
    reader: str
    epochs: Floats
    columns: Sequence[Column]
    steps: Floats | None = None
    groups: Rows | None = None
    group_names: tuple[str, ...] = ()
    phases: Rows | None = None
    phase_names: tuple[str, ...] = ()
    separate: bool | None = None
    axis: Axis = "epoch"
    facts: Facts = field(default_factory=Facts)
    notes: tuple[str, ...] = ()

    def noted(self, *notes: str) -> Table:
        """The same table with further notes."""
        return replace(self, notes=(*self.notes, *notes))


@dataclass(frozen=True)
class Layout:
    """Where the rows of one run go.

    Attributes:
        place: (R,) row → row of the chart, −1 for rows of other runs and rows written again later.
        epochs: (E,) rising over phases.
        logged: (E,) as the log counts.
        phases: (E,) or None where there is one.
        axis: what a row of the chart is.
        notes: what was joined, dropped or missing.
    """

    place: Rows
    epochs: Floats
    logged: Floats
    phases: Rows | None
    axis: Axis
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Merged:
    """A column with one figure an epoch.

    Attributes:
        values: (E,) NaN where there is none that is finite.
        nonfinite: (E,) the log says NaN or infinite.
        per_epoch: mean number of the log's values in an epoch that has any.
        mean: whether several were averaged.
        order: (n,) rows of the column that were used, and
        places: (n,) the chart's rows that they belong to.
    """

    values: Floats
    nonfinite: NDArray[np.bool_]
    per_epoch: float
    mean: bool
    order: Rows
    places: Rows


def filled_epochs(epochs: Floats) -> Floats:
    """Epochs of rows that do not say: of the next row that does, else of the last.

    >>> filled_epochs(np.array([np.nan, 0.0, np.nan, 1.0, np.nan])).tolist()
    [0.0, 0.0, 1.0, 1.0, 1.0]
    """
    known = np.flatnonzero(np.isfinite(epochs))
    following = np.searchsorted(known, np.arange(len(epochs)))
    return epochs[known[np.minimum(following, len(known) - 1)]]


def split_segments(epochs: Floats) -> tuple[list[Rows], tuple[str, ...]]:
    """Rows of the log cut where its count of epochs starts again.

    A step back to the first epoch begins a segment; a step back to a later one is a run that was resumed, whose earlier
    rows from there on are dropped.

    Returns:
        The rows of each segment, in order, and notes.

    >>> [rows.tolist() for rows in split_segments(np.array([0.0, 1, 2, 1, 2, 3, 0, 1]))[0]]
    [[0, 1, 2], [3, 4, 5], [6, 7]]
    """
    drops = np.flatnonzero(np.diff(epochs) < 0) + 1
    if not len(drops):
        return [np.arange(len(epochs))], ()
    # A step back to where its segment began, or to 0 or 1, starts again; another goes on from an earlier epoch.
    starts = np.concatenate([[0], drops[:-1]])
    back = set(drops[epochs[drops] > np.maximum(epochs[starts], 1.0)].tolist())
    if len(back) > MOST_STEPS_BACK or len(drops) > MOST_RESTARTS or 2 * len(drops) > len(epochs):
        return [np.argsort(epochs, kind="stable")], ("its rows are not in the order of their epochs, and were sorted",)
    segments: list[Rows] = []
    notes: list[str] = []
    for start, stop in pairwise([0, *drops.tolist(), len(epochs)]):
        rows = np.arange(start, stop)
        if start in back and segments:
            before = segments.pop()
            kept = before[epochs[before] < epochs[start]]
            notes.append(
                f"epoch {epochs[start]:g} follows {epochs[start - 1]:g}: resumed, and what came before again is left out"
            )
            rows = np.concatenate([kept, rows])
        segments.append(rows)
    return segments, tuple(notes)


def lay_out(epochs: Floats, segments: Sequence[Rows], axis: Axis) -> Layout:
    """Gives each row of one run its place in the chart; each segment is a phase.

    Args:
        epochs: (R,) of the whole table, without NaN.
        segments: rows of each phase, in order.
        axis: what a row of the chart is, as far as the reader knows.
    """
    place = np.full(len(epochs), -1, dtype=np.intp)
    numbers: list[Floats] = []
    logged: list[Floats] = []
    phases: list[Rows] = []
    offset, count = 0.0, 0
    for index, rows in enumerate(segments):
        order = np.argsort(epochs[rows], kind="stable")
        ordered = epochs[rows][order]
        first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
        own = ordered[first]
        inverse = np.empty(len(rows), dtype=np.intp)
        inverse[order] = np.cumsum(first) - 1
        if index:
            offset = float(numbers[-1][-1]) + 1.0 - float(own[0])
        place[rows] = inverse + count
        numbers.append(own + offset)
        logged.append(own)
        phases.append(np.full(len(own), index, dtype=np.intp))
        count += len(own)
    layout = Layout(
        place,
        np.concatenate(numbers),
        np.concatenate(logged),
        np.concatenate(phases) if len(segments) > 1 else None,
        axis,
        _missing(logged) if axis == "epoch" else (),
    )
    return _in_blocks(layout) if count > MOST_EPOCHS else layout


def _missing(logged: Sequence[Floats]) -> tuple[str, ...]:
    """A note of the epochs that the log skips, where it counts in whole ones."""
    gaps: list[str] = []
    for own in logged:
        steps = np.diff(own)
        if len(own) < 3 or np.any(own != np.round(own)) or np.sort(steps)[len(steps) // 2] != 1.0:
            continue
        for row in np.flatnonzero(steps > 1.0).tolist():
            first, last = own[row] + 1, own[row + 1] - 1
            gaps.append(f"{first:g}" if first == last else f"{first:g} to {last:g}")
    if not gaps:
        return ()
    return (f"epochs missing in the log: {', '.join(gaps[:8])}{' and more' if len(gaps) > 8 else ''}",)


def _in_blocks(layout: Layout) -> Layout:
    """Joins neighbouring rows of a chart to blocks; a block carries the number of its last row."""
    count = len(layout.epochs)
    block = np.arange(count) * BLOCKS // count
    last = np.searchsorted(block, np.arange(BLOCKS), side="right") - 1
    place = np.where(layout.place >= 0, block[np.maximum(layout.place, 0)], -1)
    note = f"its {count} rows were joined to {BLOCKS} blocks, each the mean of its rows"
    phases = None if layout.phases is None else layout.phases[last]
    return Layout(place, layout.epochs[last], layout.logged[last], phases, "step", (*layout.notes, note))


def merge_column(column: Column, layout: Layout) -> Merged:
    """One figure an epoch: the only one, the last of a running mean or of an epoch written twice, or the mean of several."""
    count = len(layout.epochs)
    places = layout.place[column.rows]
    order = np.flatnonzero(places >= 0)
    # Rows sorted by epoch need not be in the order of the log.
    order = order[np.argsort(places[order], kind="stable")]
    places = places[order]
    numbers = column.values[order]
    values = np.full(count, np.nan)
    nonfinite = np.zeros(count, dtype=np.bool_)
    per_row = np.bincount(places, minlength=count)
    filled = per_row > 0
    several = float((per_row > 1).sum()) > SHARE_OF_DOUBLES * float(filled.sum()) or layout.axis == "step"
    mean = several and not column.running and bool((per_row > 1).any())
    finite = np.isfinite(numbers)
    if mean:
        known = np.bincount(places[finite], minlength=count)
        total = np.bincount(places[finite], weights=numbers[finite], minlength=count)
        np.divide(total, known, out=values, where=known > 0)
        nonfinite[places[~finite]] = True
        overflown = np.isinf(values)  # the sum of exploding losses
        nonfinite |= overflown
        values[overflown] = np.nan
    else:
        values[places] = np.where(finite, numbers, np.nan)  # of equal places the last is kept
        nonfinite[places] = ~finite
    return Merged(values, nonfinite, len(places) / max(1, int(filled.sum())), mean, order, places)
