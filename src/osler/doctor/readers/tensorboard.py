"""TensorBoard logs: event files of one run, train and validation sub-folders joined, steps brought to epochs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from osler.doctor.chart import Axis, Chart
from osler.doctor.readers.assemble import charts_of
from osler.doctor.readers.eventfile import Events, read_events
from osler.doctor.readers.source import Source, open_source
from osler.doctor.readers.table import Column, Table
from osler.doctor.readers.vocabulary import find_meaning, split_of, split_words
from osler.errors import DataError

__all__ = ["read_event_file", "read_event_folder"]

Floats = NDArray[np.float64]
MOST_FILES = 2_000
MOST_FAULTS = 5
KERAS_VALIDATION = re.compile(r"evaluation_\w+_vs_iterations")


@dataclass(frozen=True)
class Points:
    """What one tag logs, in the order it was written; all (n,)."""

    label: str
    tag: str
    steps: Floats
    times: Floats
    values: Floats

    def take(self, rows: NDArray[np.bool_]) -> Points:
        """The points at these rows."""
        return Points(self.label, self.tag, self.steps[rows], self.times[rows], self.values[rows])


def read_event_file(source: Source) -> list[Chart]:
    """The chart of one event file.

    Raises:
        DataError: it is damaged, or holds no scalars of a run.
    """
    events = read_events(source.data, source.name)
    folder = source.path.absolute().parent.name
    return _charts({"": [(_context(folder), events)]}, source.name)


def read_event_folder(folder: Path, files: Sequence[Path], name: str) -> list[Chart]:
    """The charts of all event files below a folder: one a folder, with its train and validation sub-folders.

    Raises:
        DataError: none of them holds scalars of a run.
    """
    runs: dict[str, list[tuple[str, Events]]] = {}
    faults = [f"{path}: is one of more than {MOST_FILES} event files" for path in sorted(files)[MOST_FILES:]]
    for path in sorted(files)[:MOST_FILES]:
        parts = path.relative_to(folder).parent.parts
        context = _context(parts[-1]) if parts else ""
        key = "/".join(parts[:-1] if context else parts)
        try:
            events = read_events(open_source(path).data, str(path))
        except DataError as error:
            faults.append(str(error))
        else:
            runs.setdefault(key, []).append((context, events))
    if not runs:
        raise DataError(faults[0])
    passed = [f"passed over: {fault}" for fault in faults[:MOST_FAULTS]]
    return [chart.with_notes(passed) for chart in _charts(runs, name)] if passed else _charts(runs, name)


def _context(folder: str) -> str:
    """What a folder's name adds to its tags: "train"; "Loss_train" of SummaryWriter.add_scalars; else nothing."""
    meaning = find_meaning(folder)
    if meaning.kind == "figure" and meaning.split and meaning.part is None:
        return folder
    return split_of(folder) or "" if len(split_words(folder)) == 1 else ""


def _charts(runs: dict[str, list[tuple[str, Events]]], name: str) -> list[Chart]:
    charts: list[Chart] = []
    faults: list[str] = []
    for key, files in runs.items():
        sessions = _sessions(files)
        for number, (points, notes) in enumerate(sessions, 1):
            try:
                suffix = "".join([f"#{key}" if key and len(runs) > 1 else "", f"#{number}" if len(sessions) > 1 else ""])
                charts += charts_of(_table(points, f"{name}{suffix}", notes))
            except DataError as error:
                faults.append(str(error))
    if charts:
        return charts
    others = sorted({other for files in runs.values() for _, events in files for other in events.others})
    if not any(events.scalars for files in runs.values() for _, events in files):
        held = f"only {', '.join(others)}" if others else "no events"
        raise DataError(
            f"{name}: holds no scalars, {held}. The losses may stand in another event file of the same folder: give the folder."
        )
    raise DataError(faults[0])


def _sessions(files: Sequence[tuple[str, Events]]) -> list[tuple[list[Points], tuple[str, ...]]]:
    """The runs written into one folder: a file whose steps begin again with the tags of an earlier one is another run."""
    sessions: list[dict[str, list[Points]]] = []
    notes: list[list[str]] = []
    for points, more in sorted((_points(context, events) for context, events in files), key=_first_time):
        if not points:
            continue
        shared = [each for each in points if sessions and each.label in sessions[-1]]
        again = [each for each in shared if each.steps.min() <= sessions[-1][each.label][0].steps.min()]
        if not sessions or (again and 2 * len(again) >= len(shared)):
            sessions.append({})
            notes.append([])
        elif shared:
            notes[-1].append("joined from several event files; what a resumed run wrote again replaces what stood before")
        for each in points:
            earlier = [old.take(old.steps < each.steps.min()) for old in sessions[-1].get(each.label, [])]
            sessions[-1][each.label] = [*(old for old in earlier if len(old.steps)), each]
        notes[-1] += more
    return [
        ([_joined(pieces) for pieces in session.values()], tuple(dict.fromkeys(more)))
        for session, more in zip(sessions, notes, strict=True)
    ]


def _points(context: str, events: Events) -> tuple[list[Points], tuple[str, ...]]:
    points = []
    # A folder "train" may be the name of the run: its tags then speak of validation themselves.
    named_splits = {split for tag in events.scalars if (split := find_meaning(tag).split)}
    if find_meaning(context).kind != "figure" and named_splits - {split_of(context)}:
        context = ""
    if not context and any(KERAS_VALIDATION.fullmatch(tag) for tag in events.scalars):
        context = (
            "validation"  # its folder was renamed: Keras writes these tags, and "epoch_loss" beside them, of validation alone
        )
    for tag, items in events.scalars.items():
        steps, times, values = (np.array(column, dtype=np.float64) for column in zip(*items, strict=True))
        meaning = find_meaning(tag)
        named = context if find_meaning(context).kind == "figure" else f"{context} {tag}" if not meaning.split else tag
        points.append(Points(named.strip(), tag, steps, times, values))
    return points, events.notes


def _first_time(pair: tuple[list[Points], tuple[str, ...]]) -> float:
    return min((float(each.times[0]) for each in pair[0]), default=0.0)


def _joined(pieces: Sequence[Points]) -> Points:
    if len(pieces) == 1:
        return pieces[0]
    arrays = [np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("steps", "times", "values")]
    return Points(pieces[-1].label, pieces[-1].tag, *arrays)


# --- steps to epochs ----------------------------------------------------------------------------------------------------------


def _table(points: Sequence[Points], name: str, notes: tuple[str, ...]) -> Table:
    """A table whose rows are all points, sorted by the epoch they belong to."""
    figures = [each for each in points if find_meaning(each.label).kind == "figure"]
    if not figures:
        tags = ", ".join(repr(each.tag[:60]) for each in points[:12])
        raise DataError(
            f"{name}: no tag is known as a loss or score of training: {tags}. A log has tags such as loss/train, val_auc."
        )
    clock = next((each for each in points if find_meaning(each.label).kind == "epoch"), None)
    if clock is not None and len(set(clock.values.tolist())) > 1:
        epochs = [_by_clock(each, clock) for each in figures]
        axis: Axis = "epoch"
    else:
        reference = _reference(figures)
        own, axis, more = _numbered(reference)
        notes = (*notes, *more)
        epochs = [_by_reference(each, reference, own) for each in figures]
    known = [np.isfinite(each) for each in epochs]
    if not all(each.all() for each in known):
        notes = (*notes, "what was logged after the last whole epoch is left out")
    rows = np.concatenate([each[kept] for each, kept in zip(epochs, known, strict=True)])
    order = np.argsort(rows, kind="stable")
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    steps = np.concatenate([each.steps[kept] for each, kept in zip(figures, known, strict=True)])
    columns: list[Column] = []
    start = 0
    for each, kept in zip(figures, known, strict=True):
        count = int(kept.sum())
        columns.append(Column(each.label, f"tag {each.tag}", rank[start : start + count], each.values[kept]))
        start += count
    return Table(name, "tensorboard", rows[order], columns, steps[order], separate=False, axis=axis, notes=notes)


def _by_clock(points: Points, clock: Points) -> Floats:
    """Epochs from a tag that logs the epoch of each step (Lightning)."""
    order = np.argsort(clock.steps, kind="stable")
    steps, values = clock.steps[order], clock.values[order]
    place = np.minimum(np.searchsorted(steps, points.steps, side="left"), len(steps) - 1)
    return values[place]


def _reference(figures: Sequence[Points]) -> Points:
    """The tag whose points mark the epochs: of validation where there is one, with as many points as most of them."""
    val = [each for each in figures if find_meaning(each.label).split in ("val", "test")]
    named = [each for each in figures if "epoch" in [word for word, _, _ in split_words(each.label)]]
    pool = [each for each in (val or named or figures) if len(each.values) > 1] or list(val or named or figures)
    counts = Counter(len(each.values) for each in pool)
    length = max(counts, key=lambda size: (counts[size], -size))
    # A run that broke off has logged some tags once more than others.
    length = max(size for size in counts if size <= length + 1)
    return next(each for each in pool if len(each.values) == length)


def _numbered(reference: Points) -> tuple[Floats, Axis, tuple[str, ...]]:
    """Numbers of the reference's points: their steps where these count epochs, else 1, 2 ..."""
    steps = reference.steps
    count = np.arange(1.0, len(steps) + 1.0)
    if len(steps) == 1:
        return count, "evaluation", ()
    if np.all(np.diff(steps) == 1) and steps[0] in (0, 1):
        return steps, "epoch", ()
    gaps = np.diff(steps)
    if np.all(gaps > 0) and gaps.max() <= 10 and gaps.max() == gaps.min() and steps[0] <= gaps[0]:
        return steps, "epoch", (f"validation every {gaps[0]:g} epochs",)
    return count, "evaluation", ("its steps count batches: each evaluation is a row of the chart",)


def _by_reference(points: Points, reference: Points, own: Floats) -> Floats:
    """Epochs of a tag's points, by step where both count alike, else by order or by the clock; NaN after the last."""
    ticks, marks = reference.steps, points.steps
    alike = marks.max() <= ticks.max() + max(np.median(np.diff(ticks)), 1.0) if len(ticks) > 1 else marks.max() <= ticks.max()
    if len(points.values) == len(own) and (not alike or marks.max() < 0.5 * ticks.max()):
        return own.copy()
    if alike and marks.max() >= 0.5 * ticks.max():
        place = np.searchsorted(ticks, marks, side="left")
        late = place == len(ticks)
        # A figure of the same epoch may carry a step that is one higher than the evaluation's.
        place[late & (marks <= ticks[-1] + 1)] = len(ticks) - 1
    else:
        place = np.searchsorted(reference.times, points.times, side="left")
    epochs = np.full(len(marks), np.nan)
    inside = place < len(own)
    epochs[inside] = own[place[inside]]
    return epochs
