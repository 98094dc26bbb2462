"""Runs as they are kept: one JSON object a line, fresh ones as they come, packed ones compressed in the repository.

    {"label": {"task", "arm", "fault", "level", "seed"}, "scores": {...}, "chart": chart of schema osler.chart/1}

A run that Osler refuses has "refused", its message, in place of scores and chart.
"""

from __future__ import annotations

import fcntl
import json
import lzma
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from tasks import TASKS

__all__ = ["Entry", "entry_of", "keep", "pack", "read_records"]

CHARTS = Path(__file__).resolve().parent / "charts"
FRESH = Path(__file__).resolve().parents[1] / "results" / "doctor" / "runs"
"""Runs not packed yet, a file for each task."""
MAIN = re.compile(r"(train|val)\.(loss|skill|floor|accuracy|auc|ap|f1)|learning_rate|epoch|step")
"""Series of which every digit may count."""


@dataclass(frozen=True, order=True)
class Entry:
    """A run of the matrix, by its names."""

    task: str
    arm: str
    fault: str
    level: str
    seed: int


def slim(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record with its figures at five digits, those of one class and all but the main ones at four.

    More would fill the repository with noise; fewer would make figures repeat that did not.
    """
    if "chart" not in record:
        return record
    chart = record["chart"]
    series = {
        name: {**each, "values": _rounded(each["values"], 5 if MAIN.fullmatch(name) else 4)}
        for name, each in chart["series"].items()
    }
    return {**record, "chart": {**chart, "series": series}}


def _rounded(values: list[float | None], digits: int) -> list[float | None]:
    return [None if value is None else float(f"{value:.{digits}g}") for value in values]


def read_records(tasks: Iterable[str] = TASKS) -> Iterator[dict[str, Any]]:
    """Every run kept, packed and fresh, each once; a line cut short by a kill is passed over."""
    for name in tasks:
        seen: set[Entry] = set()
        for line in chain(_packed_lines(name), _fresh_lines(name)):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            entry = entry_of(record)
            if entry not in seen:
                seen.add(entry)
                yield record


def entry_of(record: Mapping[str, Any]) -> Entry:
    """The entry that a record is of."""
    return Entry(**{name: record["label"][name] for name in ("task", "arm", "fault", "level", "seed")})


def _packed_lines(task: str) -> list[str]:
    path = CHARTS / f"{task}.jsonl.xz"
    return lzma.decompress(path.read_bytes()).decode().splitlines() if path.is_file() else []


def _fresh_lines(task: str) -> list[str]:
    path = FRESH / f"{task}.jsonl"
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def keep(record: Mapping[str, Any]) -> None:
    """Appends a run; several processes may."""
    FRESH.mkdir(parents=True, exist_ok=True)
    path = FRESH / f"{record['label']['task']}.jsonl"
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(slim(record), ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n")


def pack(tasks: Iterable[str] = TASKS) -> None:
    """Writes all runs of these tasks, sorted, to the compressed files, and drops the fresh ones."""
    CHARTS.mkdir(exist_ok=True)
    for name in tasks:
        records = sorted(read_records([name]), key=entry_of)
        if not records:
            continue
        text = "".join(json.dumps(slim(each), ensure_ascii=False, separators=(",", ":")) + "\n" for each in records)
        path = CHARTS / f"{name}.jsonl.xz"
        path.with_suffix(".tmp").write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
        path.with_suffix(".tmp").replace(path)
        (FRESH / f"{name}.jsonl").unlink(missing_ok=True)
        print(f"{path.name}: {len(records)} runs, {path.stat().st_size / 1e6:.2f} MB")
