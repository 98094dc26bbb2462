"""Choosing a reader by what a file holds, and reading whatever is given into charts.

    charts = read_charts(Path("results.csv"), facts_from_texts(["prevalence=0.1"]))

A file is read, or refused with a DataError that says why. What holds several runs gives several charts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from osler.doctor.chart import Chart
from osler.doctor.facts import Facts
from osler.doctor.readers.beside import facts_beside, own_facts_beside
from osler.doctor.readers.delimited import read_delimited
from osler.doctor.readers.eventfile import is_event_file
from osler.doctor.readers.folders import LOG_NAMES, is_run, look_through
from osler.doctor.readers.huggingface import read_printed_records, read_trainer_state
from osler.doctor.readers.jsonlogs import read_json
from osler.doctor.readers.markdown import read_markdown
from osler.doctor.readers.nnunet import read_nnunet
from osler.doctor.readers.source import NotThisError, Source, open_source
from osler.doctor.readers.vitals import read_run, read_vitals_file
from osler.errors import DataError

__all__ = ["READERS", "read_charts"]


def _read_console(source: Source) -> list[Chart]:
    from osler.doctor.readers.console import read_console  # the last to be asked, and slow to import

    return read_console(source)


# Text readers in the order they are asked; each raises NotThisError for what is not its own. The strictest come first.
READERS: dict[str, Callable[[Source], list[Chart]]] = {
    "osler": read_vitals_file,
    "json.trainer_state": read_trainer_state,
    "json": read_json,
    "nnunet": read_nnunet,
    "markdown": read_markdown,
    "csv": read_delimited,
    "printed": read_printed_records,
    "console": _read_console,
}

# What is one of these is nothing else: its text is not gone through for lines of a log.
WHOLE = ("json",)

# Logs of one folder that are read; there are no more of them among runs, and there may be among what is none.
MOST_LOGS = 2_000


def read_charts(path: Path | str, facts: Facts | None = None) -> list[Chart]:
    """The runs that a file or folder holds, with the facts beside it, and the given ones laid over them.

    Args:
        path: a run folder, a log, or a folder of logs, of which the run folders below are left out.
        facts: what the user states; it wins over what the log says.

    Raises:
        DataError: it cannot be read as a training log; the message says what was tried.
        ConfigError: a facts.yaml beside it cannot be used.
    """
    path = Path(path)
    name = str(path)
    try:
        folder = path.is_dir()
    except (OSError, ValueError) as error:
        raise DataError(f"{name!r}: cannot be opened: {error}.") from error
    if folder and is_run(path):
        charts = _with_facts(read_run(path, name), path)
    elif folder:
        charts = _read_folder(path, name)
    else:
        charts = _with_facts(_read_file(path, name), path.parent)
    return [chart.with_facts(facts or Facts()) for chart in charts]


def _with_facts(charts: Sequence[Chart], folder: Path) -> list[Chart]:
    """Charts with the facts that lie beside them.

    A run of Osler's own knows its facts; only what the user wrote beside it is laid over them.
    """
    own = all(chart.reader == "osler" for chart in charts)
    beside = own_facts_beside(folder, but="facts.json") if own else facts_beside(folder)
    return [chart.with_facts(beside) for chart in charts]


def _read_file(path: Path, name: str) -> list[Chart]:
    source = open_source(path, name)
    if "tfevents" in path.name or is_event_file(source.data):
        from osler.doctor.readers.tensorboard import read_event_file  # slow to import, and few need it

        return read_event_file(source)
    tried: list[str] = []
    refused: DataError | None = None
    for reader, read in READERS.items():
        try:
            return read(source)
        except NotThisError as error:
            tried.append(f"{reader}: {error}")
        except DataError as error:
            # A file may look like one kind and be another; the first reader that knew its kind has the word in the end.
            refused = refused or error
            if reader in WHOLE:
                break
    if refused is not None:
        raise refused
    raise DataError(f"{name}: is not a training log that Osler can read. Tried " + "; ".join(tried) + ".")


# --- folders ------------------------------------------------------------------------------------------------------------------


def _read_folder(folder: Path, name: str) -> list[Chart]:
    """The runs of a folder of logs, below it too; what is no log is passed over, unless there is nothing else."""
    found = look_through(folder)
    if not found.files:
        raise DataError(f"{name}: is an empty folder.")
    faults: list[str] = []
    charts: list[Chart] = []
    told: set[Path] = set()
    for path in found.logs[:MOST_LOGS]:
        try:
            charts += _with_facts(_read_file(path, str(path)), path.parent)
        except DataError as error:
            faults.append(str(error))
        else:
            told |= {path.parent} if path.name in LOG_NAMES else set()
    charts = _joined(_each_once(charts))
    events = [path for path in found.events if told.isdisjoint(path.parents)]
    if events:
        from osler.doctor.readers.tensorboard import read_event_folder  # slow to import, and few need it

        try:
            charts += _with_facts(read_event_folder(folder, events, name), folder)
        except DataError as error:
            faults.append(str(error))
    if charts:
        left = len(found.logs) - MOST_LOGS
        more = f"{left} files" if left > 0 else "files" if found.cut else ""
        cut = f"the folder holds {more} more that may be logs: give them by name, or folder by folder"
        return [chart.with_notes([cut]) for chart in charts] if more else charts
    tried = "\n".join(f"  {fault}" for fault in faults[:5])
    more = (
        f" Of its {found.files} files these were tried:\n{tried}"
        if faults
        else f" None of its {found.files} files is a log by name."
    )
    raise DataError(f"{name}: no training log was found in this folder.{more}")


def _each_once(charts: Sequence[Chart]) -> list[Chart]:
    """Charts without those that hold nothing but what another one of their folder does: a history as CSV and as JSON."""
    kept: dict[tuple[Path, int], list[Chart]] = {}
    again: set[int] = set()
    for place, chart in sorted(enumerate(charts), key=lambda each: -len(each[1].series)):
        alike = kept.setdefault((Path(chart.source).parent, len(chart)), [])
        if any(_holds(other, chart) for other in alike):
            again.add(place)
        else:
            alike.append(chart)
    return [chart for place, chart in enumerate(charts) if place not in again]


def _holds(chart: Chart, other: Chart) -> bool:
    """Whether every series of the other chart, of as many epochs, is one of this, figure by figure."""
    return all(
        name in chart.series and np.array_equal(series.values, chart.values(name), equal_nan=True)
        for name, series in other.series.items()
    )


def _joined(charts: Sequence[Chart]) -> list[Chart]:
    """Tables of one folder with the same epochs and different figures are one run's: losses here, scores there."""
    done: list[Chart] = []
    for chart in charts:
        index = next((place for place, other in enumerate(done) if _belong_together(other, chart)), None)
        if index is None:
            done.append(chart)
        else:
            other = done[index]
            note = f"joined with {Path(chart.source).name}, which has the same epochs and other figures"
            joined = replace(other, series={**other.series, **chart.series}, traces={**other.traces, **chart.traces})
            done[index] = joined.with_facts(chart.facts.over(other.facts)).with_notes([note, *chart.notes])
    return done


def _belong_together(one: Chart, other: Chart) -> bool:
    return (
        one.series.keys().isdisjoint(other.series)
        and len(one) > 1
        and "#" not in one.source + other.source
        and Path(one.source).parent == Path(other.source).parent
        and np.array_equal(one.epochs, other.epochs)
    )
