"""Console logs: whatever a training script prints. Numbers are read with the words before them, line by line.

`Epoch 5/50 - train loss: 0.32, acc: 81.2% | val loss: 0.40` gives an epoch, the planned epochs and three figures. How a
line is understood is in `templates`; here lines are read one after another. Progress bars that redraw themselves count with
their last state.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from osler.doctor.chart import Chart
from osler.doctor.facts import FACTS, Facts
from osler.doctor.readers.assemble import charts_of
from osler.doctor.readers.beside import FOREIGN_NAMES
from osler.doctor.readers.nested import Mention, numbered_through
from osler.doctor.readers.numbers import NOT_FINITE, commas_are_decimal, parse_number
from osler.doctor.readers.source import NotThisError, Source
from osler.doctor.readers.table import Column, Table
from osler.doctor.readers.templates import NUMBER, NUMBER_WITH_COMMA, Plan, Planner
from osler.doctor.readers.vocabulary import find_meaning, split_words

__all__ = ["read_console"]

STAMP = re.compile(r"\d{4}[-/.]\d\d[-/.]\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?")
REDRAWN = re.compile(r"[\r\x08]+")
SETTING = re.compile(r"^[^:=]{0,60}?([A-Za-z][A-Za-z _-]{1,40}?)\s*[:=]\s*([^\s,;]{1,60})\s*$")
LONGEST_LINE = 4_000
MOST_SETTING_LINES = 20_000
FEWEST_ROWS = 2
BY_STEP = "the log counts steps, and no epochs: each step that it names is a row of the chart"
NESTED = "the log counts rounds, and epochs within them: the epochs are numbered on through the rounds"
# The most frequent figure stands in at least so many of the epochs that have any.
SHARE_OF_EPOCHS = 0.5


@dataclass
class Log:
    """What has been read so far."""

    epoch: float = np.nan
    context: str = ""
    planned: set[float] = field(default_factory=set)
    row: int = -1
    epochs: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    columns: dict[str, tuple[list[int], list[float], int]] = field(default_factory=dict)
    percents: dict[str, int] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)
    # Of each column: the rows about parts of an epoch, and what stands beside it in such lines and in those of whole epochs.
    parts: dict[str, set[int]] = field(default_factory=dict)
    beside: dict[tuple[str, bool], set[str]] = field(default_factory=dict)
    mentions: list[Mention] = field(default_factory=list)


def read_console(source: Source, reader: str = "console") -> list[Chart]:
    """Charts from the printed lines of a training.

    Raises:
        NotThisError: no line holds a loss or score, or only one does and no epoch is named.
    """
    text = source.text
    lines = text.split("\n")
    pattern = NUMBER_WITH_COMMA if commas_are_decimal(_cells(lines)) and not re.search(r"\d\.\d\d", text[:50_000]) else NUMBER
    stamp = _stamp_width(lines)
    log = Log()
    planner = Planner(pattern)
    cut = 0
    for number, line in enumerate(lines, 1):
        if "\r" in line or "\b" in line:
            line = _last_state(line)
        if stamp and line[4:5] == line[7:8] != "" and line[:4].isdigit():
            line = line[stamp:]
        if len(line) > LONGEST_LINE:
            line = line[-LONGEST_LINE:]
            cut += 1
        if line:
            _take(log, *_read_line(planner, line, log), number)
    by_step = _counts_steps(log)
    if by_step:
        log.epochs, log.parts = log.steps, {}
    _refuse_prose(log)
    _leave_out_settings(log)
    notes = (f"{cut} lines are longer than {LONGEST_LINE} signs: their ends were read",) if cut else ()
    nested = None if by_step else numbered_through(log.mentions, len(log.epochs))
    if nested is not None:
        log.epochs, log.planned = nested.tolist(), set()
        notes = (*notes, NESTED)
    _of_whole_epochs(log)
    table = _table(log, source, reader, _settings(lines, log), notes)
    return charts_of(replace(table, axis="step").noted(BY_STEP) if by_step else table)


def _read_line(planner: Planner, line: str, log: Log) -> tuple[Plan, Sequence[str]]:
    """A line's plan; a heading counts for the lines of its epoch: "Starting training" says nothing of "Epoch 1 loss: 0.7"."""
    plan, parts = planner.read(line, log.context)
    if log.context and plan.epoch is not None and _float(parts[plan.epoch]) != log.epoch:
        plan, parts = planner.read(line, "")
    return plan, parts


def _counts_steps(log: Log) -> bool:
    """Whether steps are counted through the whole log, and epochs never named."""
    steps = np.array(log.steps)
    known = np.isfinite(steps)
    return (
        not np.isfinite(log.epochs).any()
        and len(np.unique(steps[known])) >= FEWEST_ROWS
        and bool(2 * known.sum() > len(steps) and np.all(np.diff(steps[known]) >= 0))
    )


def _refuse_prose(log: Log) -> None:
    """A log says the same of each epoch; a text that mentions epochs and losses here and there does not."""
    epochs = np.array(log.epochs)
    if not log.columns or (len(epochs) < FEWEST_ROWS and not np.isfinite(epochs).any()):
        raise NotThisError("no lines with an epoch and a loss or score")
    named = np.where(np.isfinite(epochs), epochs, np.arange(len(epochs)) + 0.5)
    most = max(len(np.unique(named[rows])) for rows, _, _ in log.columns.values())
    count = len(np.unique(named))
    if most < max(SHARE_OF_EPOCHS * count, min(2, count)):
        raise NotThisError("epochs are mentioned, and no figure is given for most of them")


def _cells(lines: Sequence[str]) -> list[str]:
    """Texts that look like numbers, from the first lines."""
    return re.findall(r"\d+[.,]\d+", "\n".join(lines[:300])[:50_000])


def _stamp_width(lines: Sequence[str]) -> int:
    """How many signs the date and time at the head of each line take; they are many numbers, and mean nothing here."""
    widths = {found.end() if (found := STAMP.match(line)) else 0 for line in lines[:20] if line.strip()}
    return widths.pop() if len(widths) == 1 else 0


def _last_state(line: str) -> str:
    """A redrawn line as it stood at the end: what follows the last carriage return or run of backspaces."""
    pieces = [piece for piece in REDRAWN.split(line) if piece.strip()]
    return pieces[-1] if pieces else ""


def _take(log: Log, plan: Plan, parts: Sequence[str], number: int) -> None:
    """Adds one line's numbers to the log."""
    if plan.epoch is not None:
        epoch = _float(parts[plan.epoch])
        if epoch != log.epoch:
            log.context = ""
        if not log.mentions or (log.mentions[-1].words, log.mentions[-1].epoch) != (plan.words, epoch):
            log.mentions.append(Mention(plan.words, epoch, len(log.epochs)))
        log.epoch = epoch
        if plan.total is not None:
            log.planned.add(_float(parts[plan.total]))
    if plan.context is not None:
        log.context = plan.context
    if not plan.figures:
        return
    log.epochs.append(log.epoch)
    log.steps.append(np.nan if plan.step is None else _float(parts[plan.step]))
    row = len(log.epochs) - 1
    for figure in plan.figures:
        label = figure.label
        column = log.columns.get(label)
        if column is None:
            column = log.columns[label] = ([], [], number)
        value = _float(parts[figure.index])
        if figure.of is not None:
            whole = _float(parts[figure.of])
            value = value / whole if whole else np.nan
        column[0].append(row)
        column[1].append(value)
        part = plan.step is not None
        if part:
            log.parts.setdefault(label, set()).add(row)
        if (label, part) not in log.beside or len(plan.figures) > 1:
            log.beside.setdefault((label, part), set()).update(each.label for each in plan.figures)
        if figure.percent:
            log.percents[label] = log.percents.get(label, 0) + 1
        if figure.running or plan.running:
            log.running[label] = log.running.get(label, 0) + 1


def _leave_out_settings(log: Log) -> None:
    """Leaves out what stands above the first epoch alone: "SCALE_FACTOR: 16" is a setting, named like a figure."""
    named = np.flatnonzero(np.isfinite(log.epochs))
    if len(named):
        log.columns = {label: column for label, column in log.columns.items() if column[0][-1] >= named[0]} or log.columns


def _of_whole_epochs(log: Log) -> None:
    """Leaves out the figures of batches where a line sums up each epoch under the same words.

    A line without a split that gives more than the batches do may be of another split, and does not stand for theirs.
    """
    epochs = np.array(log.epochs)
    for label, parts in log.parts.items():
        rows, values, first = log.columns[label]
        whole = [place for place, row in enumerate(rows) if row not in parts]
        same = bool(find_meaning(label).split) or log.beside.get((label, False), set()) <= log.beside[label, True]
        if (
            same
            and len(whole) > 1
            and 2 * len(np.unique(epochs[[rows[place] for place in whole]])) >= len(np.unique(epochs[rows]))
        ):
            log.columns[label] = ([rows[place] for place in whole], [values[place] for place in whole], first)


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        word = text.lower()
        return NOT_FINITE[word] if word in NOT_FINITE else float(text.replace(",", "."))


def _table(log: Log, source: Source, reader: str, facts: Facts, notes: tuple[str, ...]) -> Table:
    columns = [
        Column(
            label,
            f"line {first} on",
            np.array(rows, dtype=np.intp),
            np.array(values, dtype=np.float64),
            2 * log.percents.get(label, 0) > len(values),
            2 * log.running.get(label, 0) > len(values),
        )
        for label, (rows, values, first) in log.columns.items()
    ]
    return Table(source.name, reader, np.array(log.epochs), columns, facts=facts, notes=notes)


def _settings(lines: Sequence[str], log: Log) -> Facts:
    """Facts that the log itself states: the planned epochs, and lines such as "Learning rate: 0.001"."""
    found: dict[str, str] = {}
    for line in lines[:MOST_SETTING_LINES]:
        if len(line) > 200 or not (":" in line or "=" in line):
            continue
        match = SETTING.match(line.strip())
        key = FOREIGN_NAMES.get("_".join(word for word, _, _ in split_words(match[1]))) if match else None
        # "Loss: 0.61" is a figure, not the name of a loss.
        if match and key is not None and (FACTS[key] != "text" or parse_number(match[2]) is None):
            found.setdefault(key, match[2].strip("'\""))
    facts = Facts.of(found, "the log's own lines", strict=False, assumed=True)
    if len(log.planned) == 1:  # several are those of several runs or phases
        (planned,) = log.planned
        known = [epoch for epoch in log.epochs if np.isfinite(epoch)]
        # "Epoch 0/24" ... "Epoch 24/24" are 25.
        from_zero = bool(known) and min(known) == 0 and max(known) == planned
        facts = facts.over(Facts.of({"training.epochs": int(planned) + from_zero}, "the log's count of epochs"))
    return facts
