"""From a table to charts: runs are told apart, columns understood, splits and units settled, and every guess written down."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from osler.doctor.chart import Chart, Series, Trace, split_name
from osler.doctor.readers.table import Column, Layout, Merged, Table, filled_epochs, lay_out, merge_column, split_segments
from osler.doctor.readers.units import settle_units
from osler.doctor.readers.vocabulary import Meaning, find_meaning
from osler.errors import DataError

__all__ = ["charts_of", "refuse_swept"]

Rows = NDArray[np.intp]
SPLITS = ("train", "val", "test")
VARIANTS = ("plain", "macro", "weighted", "micro", "smoothed", "step")
SWEPT = re.compile(r"(?i)(?:thresholds?|thr|cut_?-?off|confidence|conf|bins?(?:[ _-]?\w+)?)")
MOST_RUNS = 1_000
# A series logged more often than this an epoch is kept as a trace too, up to so many values.
LONGEST_TRACE = 1_000_000
# A network that draws boxes and masks is scored for both, "metrics/mAP50(B)" and "(M)"; it is judged by its masks.
OF_BOXES, OF_MASKS = "(B)", "(M)"
# So many values an epoch, on average, still are one an epoch.
ONCE = 1.5
# Epochs that make what stands in one of them alone none of theirs.
SEVERAL = 4


@dataclass(frozen=True)
class Candidate:
    """A column that was understood."""

    column: Column
    meaning: Meaning
    merged: Merged
    assumed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Canonical name of its series."""
        stem = self.meaning.name if self.meaning.split is None else f"{self.meaning.split}.{self.meaning.name}"
        return stem if self.meaning.part is None else f"{stem}[{self.meaning.part}]"

    @property
    def rank(self) -> tuple[int, float]:
        """The lower, the better it stands for its series: the plain figure first, then what is logged once an epoch."""
        return VARIANTS.index(self.meaning.variant), round(self.merged.per_epoch, 1)


def charts_of(table: Table) -> list[Chart]:
    """The runs that a table holds.

    Raises:
        DataError: it has no rows, or no column that says anything of a run.
    """
    _refuse_results(table)
    table = _with_epochs(table)
    _refuse_the_meaningless(table)
    charts = [chart for group, rows in _groups(table) for chart in _runs_of(table, group, rows)]
    if len(charts) > MOST_RUNS:
        raise DataError(f"{table.source}: holds {len(charts)} runs; at most {MOST_RUNS} are read from one file. Split it.")
    charts = [chart for chart in charts if any(name.startswith(SPLITS) for name in chart.series)]
    if not charts:
        raise DataError(f"{table.source}: no figure of a run stands in it: its columns are empty.")
    if len(charts) > 1:
        charts = [
            replace(chart, source=chart.source if "#" in chart.source else f"{chart.source}#{number}")
            for number, chart in enumerate(charts, 1)
        ]
    return charts


def _with_epochs(table: Table) -> Table:
    count = len(table.epochs)
    if not count or not table.columns:
        raise DataError(f"{table.source}: has no rows of numbers.")
    known = np.isfinite(table.epochs)
    if not known.any():
        note = "no column counts epochs: its rows are counted instead"
        return replace(table, epochs=np.arange(1.0, count + 1.0), axis="row", notes=(*table.notes, note))
    if known.all():
        return table
    return replace(table, epochs=filled_epochs(np.where(known, table.epochs, np.nan)))


def _refuse_results(table: Table) -> None:
    """A table of what came out in the end, by threshold, bin or whatever, is no course."""
    if np.isfinite(table.epochs).any() or table.steps is not None:
        return
    refuse_swept(table.source, [(column.label, column.values) for column in table.columns])
    if table.reader == "json.history":
        return
    meanings = [find_meaning(column.label) for column in table.columns]
    figures = [meaning for meaning in meanings if meaning.kind == "figure" and meaning.variant not in ("record", "spread")]
    if any(meaning.split is not None for meaning in figures) and not any(
        meaning.name == "loss" or meaning.split in SPLITS for meaning in figures
    ):
        raise DataError(
            f"{table.source}: has no column of epochs or steps, no loss, and no figure of training or validation by name: "
            "it is taken for a table of results, and not for the log of a training."
        )


def refuse_swept(source: str, columns: Sequence[tuple[str, NDArray[np.float64]]]) -> None:
    """Refuses columns of which one counts thresholds, bins or the like, in order and without a gap.

    Args:
        source: for the error.
        columns: labels and (n,) figures; a label below others in JSON is joined to theirs by "/", and counts with no loss beside.

    Raises:
        DataError: they are no course of epochs.
    """
    losses = any(find_meaning(label).name == "loss" for label, _ in columns)
    for label, values in columns:
        own = label.rsplit("/", 1)[-1]
        if not SWEPT.fullmatch(own) or (own != label and losses) or not np.isfinite(values).all():
            continue
        steps = np.diff(values)
        if len(steps) > 1 and (np.all(steps > 0) or np.all(steps < 0)):
            raise DataError(f"{source}: has a row for each {label!r}, and none for each epoch: it is no log of a training.")


def _refuse_the_meaningless(table: Table) -> None:
    meanings = [find_meaning(column.label) for column in table.columns]
    if any(meaning.kind == "figure" and meaning.split is not None for meaning in meanings):
        return
    labels = [column.label[:40] for column in table.columns[:12]]
    more = f" and {len(table.columns) - 12} more" if len(table.columns) > 12 else ""
    raise DataError(
        f"{table.source}: no column is known as a loss or score of training: {', '.join(map(repr, labels))}{more}. "
        "A log has columns such as epoch, loss, val_loss, val_auc, lr."
    )


def _groups(table: Table) -> list[tuple[str, Rows]]:
    if table.groups is None:
        return [("", np.arange(len(table.epochs)))]
    return [(name, rows) for index, name in enumerate(table.group_names) if len(rows := np.flatnonzero(table.groups == index))]


def _runs_of(table: Table, group: str, rows: Rows) -> list[Chart]:
    """The runs within one group of rows; restarts are told apart."""
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    if table.phases is not None:
        parts = [(name, rows[table.phases[rows] == index]) for index, name in enumerate(table.phase_names)]
        parts = [(name, part) for name, part in parts if len(part)]
        runs, names = [[part for _, part in parts]], tuple(name for name, _ in parts)
    else:
        local, notes = split_segments(table.epochs[rows])
        segments = [rows[segment] for segment in local]
        runs = _tell_apart(table, segments)
    charts = []
    for number, run in enumerate(runs, 1):
        suffix = f"#{group}" if group else ""
        more: tuple[str, ...] = ()
        if len(runs) > 1:
            suffix = f"{suffix or '#run'}-{number}" if group else f"#{number}"
            more = (f"the count of epochs starts again and so does the loss: {len(runs)} runs were told apart",)
        elif len(run) > 1 and not names:
            more = (f"the count of epochs starts again: read as {len(run)} phases of one run",)
        charts.append(_chart(table, run, f"{table.source}{suffix}", names if len(run) == len(names) else (), (*notes, *more)))
    return charts


def _tell_apart(table: Table, segments: Sequence[Rows]) -> list[list[Rows]]:
    """Runs, each a list of phases: a segment whose loss goes on where the last one's ended is a phase of it."""
    if table.separate is not None or len(segments) == 1:
        return [[segment] for segment in segments] if table.separate else [list(segments)]
    loss = _loss_by_row(table)
    runs = [[segments[0]]]
    for segment in segments[1:]:
        before, after = loss[runs[-1][-1]], loss[segment]
        before, after = before[np.isfinite(before)], after[np.isfinite(after)]
        goes_on = len(before) > 1 and len(after) > 0 and abs(after[0] - before[-1]) < abs(after[0] - before[0])
        if goes_on:
            runs[-1].append(segment)
        else:
            runs.append([segment])
    return runs


def _loss_by_row(table: Table) -> NDArray[np.float64]:
    """(R,) the loss that tells whether a run goes on: the training one, else any, else any score."""
    meanings = [(find_meaning(column.label), column) for column in table.columns]
    figures = [(meaning, column) for meaning, column in meanings if meaning.kind == "figure" and meaning.split is not None]
    figures.sort(key=lambda pair: (pair[0].name != "loss", pair[0].split not in ("train", ""), pair[0].variant != "plain"))
    values = np.full(len(table.epochs), np.nan)
    values[figures[0][1].rows] = figures[0][1].values
    return values


# --- one run ------------------------------------------------------------------------------------------------------------------


def _chart(table: Table, segments: Sequence[Rows], source: str, names: tuple[str, ...], notes: Sequence[str]) -> Chart:
    layout = lay_out(table.epochs, segments, table.axis)
    candidates, ignored = _understood(table, layout)
    candidates = _with_splits(_of_epochs(_numbered(candidates), ignored))
    chosen: dict[str, Candidate] = {}
    for candidate in sorted(candidates, key=lambda each: _standing(each, candidates)):  # stable: of equals the first in the log
        other = chosen.setdefault(candidate.name.casefold(), candidate)
        if other is not candidate and candidate.merged.per_epoch <= ONCE:
            ignored.append(candidate.column.label)
    ordered = [each for each in candidates if chosen.get(each.name.casefold()) is each]
    series = settle_units({each.name: _series(each, layout) for each in ordered}, _percents(ordered))
    return Chart(
        source=source,
        reader=table.reader,
        epochs=layout.epochs,
        series=series,
        facts=table.facts,
        axis=layout.axis,
        phases=layout.phases,
        phase_names=names if layout.phases is not None else (),
        logged_epochs=layout.logged,
        traces=_traces(candidates, table),
        notes=tuple(dict.fromkeys((*table.notes, *notes, *layout.notes))),
        ignored=tuple(dict.fromkeys(ignored)),
    )


def _standing(each: Candidate, candidates: Sequence[Candidate]) -> tuple[int, bool, float, int]:
    """The lower, the better a column stands for its series: not with half the epochs that another one of its kind has.

    Of the rates of several groups of weights, that which most of them have: biases may be warmed up from another.
    """
    variant, per_epoch = each.rank
    alike = [other for other in candidates if other.name == each.name and other.rank[0] == variant]
    most = max(_count(other) for other in alike)
    rates = alike if each.meaning.name == "learning_rate" else ()
    same = sum(np.array_equal(other.merged.values, each.merged.values, equal_nan=True) for other in rates)
    return variant, 2 * _count(each) <= most, per_epoch, -same


def _count(each: Candidate) -> int:
    """In how many epochs a column holds anything."""
    return int(np.count_nonzero(np.isfinite(each.merged.values) | each.merged.nonfinite))


def _understood(table: Table, layout: Layout) -> tuple[list[Candidate], list[str]]:
    """The columns that mean a figure and hold one in this run, and the labels of the others."""
    candidates: list[Candidate] = []
    ignored: list[str] = []
    labels = {column.label for column in table.columns}
    for column in table.columns:
        meaning = find_meaning(column.label)
        if column.label.endswith(OF_BOXES) and column.label.removesuffix(OF_BOXES) + OF_MASKS in labels:
            ignored.append(column.label)
            continue
        if meaning.kind != "figure" or meaning.variant not in VARIANTS:
            ignored.append(column.label)
            continue
        merged = merge_column(column, layout)
        if len(merged.order):
            several = f"mean of about {merged.per_epoch:.0f} values an epoch"
            candidates.append(Candidate(column, meaning, merged, (several,) if merged.mean else ()))
    return candidates, ignored


def _of_epochs(candidates: list[Candidate], ignored: list[str]) -> list[Candidate]:
    """Leaves out what a log of several epochs gives once and of no split: a target, a result that is told in the end."""
    if max(map(_count, candidates), default=0) < SEVERAL:
        return candidates
    once = [each for each in candidates if each.meaning.split == "" and _count(each) == 1]
    ignored += [each.column.label for each in once]
    return [each for each in candidates if not any(each is other for other in once)]


def _numbered(candidates: list[Candidate]) -> list[Candidate]:
    """Keras numbers its metrics anew for each model ("auc_1"): a number that stands alone is no class."""
    numbers: dict[str, set[str | None]] = {}
    for each in candidates:
        numbers.setdefault(each.meaning.name, set()).add(each.meaning.part)
    return [
        replace(each, meaning=replace(each.meaning, part=None))
        if each.meaning.name == "learning_rate"
        or ((each.meaning.part or "").isdecimal() and len(numbers[each.meaning.name]) == 1 and each.meaning.name != "loss")
        else each
        for each in candidates
    ]


def _with_splits(candidates: list[Candidate]) -> list[Candidate]:
    """Gives a split to figures without one: what Keras calls "loss" beside "val_loss" is the training loss."""
    held: dict[str, int] = {}
    for each in candidates:
        held[each.meaning.name] = max(held.get(each.meaning.name, 0), _count(each))
    # What was named once, in a heading or a summary, says little of a figure that every epoch has.
    explicit = {
        (each.meaning.name, split)
        for each in candidates
        if (split := each.meaning.split) and 4 * _count(each) >= held[each.meaning.name]
    }
    styles = Counter(split for _, split in explicit)
    paired = {each.name.partition("[")[2] for each in candidates if each.meaning.split == "val" and each.meaning.part is not None}
    by_step = {each.meaning.name for each in candidates if each.meaning.split == "train" and each.merged.per_epoch > ONCE}
    done: list[Candidate] = []
    for each in candidates:
        if each.meaning.split != "":
            done.append(each)
            continue
        # "train_loss: 0.78" of each batch, and then "average loss: 0.77": the epoch's mean of the same.
        summed = each.meaning.name in by_step and each.meaning.variant == "macro" and each.merged.per_epoch <= ONCE
        split, guess = ("train", "") if summed else _split_for(each, explicit, styles, paired)
        meaning = replace(each.meaning, split=split)
        done.append(replace(each, meaning=meaning, assumed=(*each.assumed, guess) if guess else each.assumed))
    if not styles["val"]:
        done = [_watched_test(each) for each in done]
    return done


def _split_for(each: Candidate, explicit: set[tuple[str, str]], styles: Counter[str], paired: set[str]) -> tuple[str, str]:
    name = each.meaning.name
    if (name, "val") in explicit:
        # "Hernia AUC" below "val mean AUC" is of validation; "auc_Hernia" beside "val_auc_Hernia" is not.
        if each.meaning.part is None or name == "loss" or each.name.partition("[")[2] in paired:
            return "train", ""
        return "val", "the log does not name the split: taken as validation, whose mean over the classes is named"
    if (name, "train") in explicit and each.merged.per_epoch <= ONCE:
        return "val", "" if name != "loss" else "the log does not name the split: validation, since the training loss is named"
    if name == "loss":
        return "train", "" if styles["val"] else "the log does not name the split: taken as the training loss"
    if styles["train"]:
        return "val", "the log does not name the split: taken as validation, since figures of training are named"
    if styles["val"]:
        return "train", "the log does not name the split: taken as training, since figures of validation are named"
    return "train", "the log does not name the split: taken as training, and may be either"


def _watched_test(each: Candidate) -> Candidate:
    """Where no validation is logged and a test set is, each epoch, that is what plays its part."""
    if each.meaning.split != "test" or int(np.isfinite(each.merged.values).sum()) < 2:
        return each
    text = "the log calls this set test; it is watched each epoch, as a validation set is"
    return replace(each, meaning=replace(each.meaning, split="val"), assumed=(*each.assumed, text))


def _series(each: Candidate, layout: Layout) -> Series:
    return Series(each.merged.values, each.merged.nonfinite, each.column.label, each.column.where, each.assumed)


def _percents(candidates: Sequence[Candidate]) -> dict[str, str]:
    """Series with a percent sign: "sign" beside the numbers, "label" in the name."""
    signs = {each.name: "label" for each in candidates if each.meaning.percent}
    return signs | {each.name: "sign" for each in candidates if each.column.percent}


def _traces(candidates: Sequence[Candidate], table: Table) -> dict[str, Trace]:
    """Series with more than one value an epoch, as they were logged."""
    traces: dict[str, Trace] = {}
    for each in candidates:
        merged = each.merged
        if merged.per_epoch <= ONCE or len(merged.order) > LONGEST_TRACE or split_name(each.name)[1] is not None:
            continue
        values = each.column.values[merged.order]
        rows = each.column.rows[merged.order]
        steps = np.full(len(rows), np.nan) if table.steps is None else table.steps[rows]
        traces.setdefault(each.name, Trace(np.where(np.isfinite(values), values, np.nan), merged.places, steps))
    return traces
