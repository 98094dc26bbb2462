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

# In a folder that is neither a run nor event files: logs by name, the first that is there.
LOG_NAMES = (
    "vitals.jsonl", "trainer_state.json", "results.csv", "metrics.csv", "history.json", "history.csv", "training_history.json",
    "training_log.csv", "log.csv", "metrics.json", "metrics.jsonl", "train.log", "training.log", "log.txt", "train_log.txt",
)  # fmt: skip
LOG_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".log", ".txt", ".md", ".out")
MOST_ENTRIES = 20_000
MOST_LOGS = 200
DEEPEST = 8


def read_charts(path: Path | str, facts: Facts | None = None) -> list[Chart]:
    """The runs that a file or folder holds, with the facts beside it, and the given ones laid over them.

    Args:
        path: a run folder, a log, or a folder of logs.
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
    charts = _read_folder(path, name) if folder else _read_file(path, name)
    stated = facts or Facts()
    if all(chart.reader == "osler" for chart in charts):
        # A run of Osler's own knows its facts; only what the user wrote beside it is laid over them.
        beside = own_facts_beside(path if folder else path.parent, but="facts.json")
    else:
        beside = facts_beside(path if folder else path.parent)
    return [chart.with_facts(beside.over(stated)) for chart in charts]


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
    if (folder / "vitals.jsonl").is_file() or ((folder / "config.yaml").is_file() and (folder / "checkpoints").is_dir()):
        return read_run(folder, name)
    files = _files_below(folder)
    if not files:
        raise DataError(f"{name}: is an empty folder.")
    logs = _logs_of(folder, files)
    events = [path for path in files if "tfevents" in path.name]
    faults: list[str] = []
    charts: list[Chart] = []
    for path in logs[:MOST_LOGS]:
        try:
            charts += _read_file(path, str(path))
        except DataError as error:
            faults.append(str(error))
    if charts:
        return _joined(charts)
    if events:
        from osler.doctor.readers.tensorboard import read_event_folder  # as above

        return read_event_folder(folder, events, name)
    tried = "\n".join(f"  {fault}" for fault in faults[:5])
    more = (
        f" Of its {len(files)} files these were tried:\n{tried}"
        if faults
        else f" None of its {len(files)} files is a log by name."
    )
    raise DataError(f"{name}: no training log was found in this folder.{more}")


def _files_below(folder: Path) -> list[Path]:
    """Files in a folder and below, sorted, without following links to folders."""
    found: list[Path] = []
    waiting = [(folder, 0)]
    seen = 0
    while waiting:
        here, depth = waiting.pop()
        try:
            entries = sorted(here.iterdir())
        except OSError:
            continue
        for entry in entries:
            seen += 1
            if seen > MOST_ENTRIES:
                return sorted(found)
            if entry.is_dir() and not entry.is_symlink():
                if depth < DEEPEST and not entry.name.startswith("."):
                    waiting.append((entry, depth + 1))
            elif entry.is_file() and not entry.name.startswith("."):
                found.append(entry)
    return sorted(found)


def _logs_of(folder: Path, files: Sequence[Path]) -> list[Path]:
    """The logs to read: one that is known by its name in the folder itself, else all that are logs by their suffix."""
    own = {path.name: path for path in files if path.parent == folder}
    named = next((own[known] for known in LOG_NAMES if known in own), None)
    if named is not None:
        return [named]
    if any("tfevents" in path.name for path in files):
        return []
    return [
        path
        for path in files
        if path.suffix.lower() in LOG_SUFFIXES and path.stem.upper() not in ("LICENSE", "README", "REQUIREMENTS")
    ]


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
        Path(one.source).parent == Path(other.source).parent
        and "#" not in one.source + other.source
        and not set(one.series) & set(other.series)
        and len(one) > 1
        and np.array_equal(one.epochs, other.epochs)
    )
