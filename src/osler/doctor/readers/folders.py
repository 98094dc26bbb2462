"""Folders: which of the files below one are logs of runs, without opening them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["LOG_NAMES", "Contents", "is_run", "look_through"]

# Logs by name: event files beside one that can be read, and below it, say the same again.
LOG_NAMES = frozenset(
    (
        "trainer_state.json", "results.csv", "metrics.csv", "history.json", "history.csv", "training_history.json",
        "training_log.csv", "log.csv", "metrics.json", "metrics.jsonl", "train.log", "training.log", "log.txt", "train_log.txt",
    )
)  # fmt: skip
LOG_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".log", ".txt", ".md", ".out")
NO_LOGS = ("LICENSE", "README", "REQUIREMENTS")
MOST_ENTRIES = 100_000
DEEPEST = 8


@dataclass
class Contents:
    """What lies in a folder and below, each sorted by path.

    Attributes:
        runs: run folders of Osler; nothing below them is looked at.
        logs: files that are logs by their names, or may be by their suffix.
        events: TensorBoard's event files; tables beside one say the same again, but for those known by their names.
        files: how many files were seen.
        cut: there are so many entries that not all were looked at.
    """

    runs: list[Path] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)
    events: list[Path] = field(default_factory=list)
    files: int = 0
    cut: bool = False


def is_run(folder: Path) -> bool:
    """Whether a folder is a run of Osler's own."""
    return (folder / "vitals.jsonl").is_file() or ((folder / "config.yaml").is_file() and (folder / "checkpoints").is_dir())


def look_through(folder: Path) -> Contents:
    """What a folder holds, without following links to folders, hidden names left out."""
    found = Contents()
    waiting, seen = [(folder, 0)], 0
    while waiting and seen < MOST_ENTRIES:
        here, depth = waiting.pop(0)
        try:
            entries = [entry for entry in sorted(here.iterdir()) if not entry.name.startswith(".")]
        except OSError:
            continue
        seen += len(entries)
        if depth and is_run(here):
            found.runs.append(here)
            continue
        _take(found, [entry for entry in entries if entry.is_file()])
        if depth < DEEPEST:
            waiting += [(entry, depth + 1) for entry in entries if entry.is_dir() and not entry.is_symlink()]
    return Contents(sorted(found.runs), sorted(found.logs), sorted(found.events), found.files, bool(waiting))


def _take(found: Contents, files: Sequence[Path]) -> None:
    """Adds the files of one folder."""
    found.files += len(files)
    events = [path for path in files if "tfevents" in path.name]
    found.events += events
    if not events or any(path.name in LOG_NAMES for path in files):
        found.logs += [path for path in files if path.suffix.lower() in LOG_SUFFIXES and path.stem.upper() not in NO_LOGS]
