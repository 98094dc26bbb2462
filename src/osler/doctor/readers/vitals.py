"""Osler's own runs: `vitals.jsonl` (schema osler.vitals/1) with `facts.json` beside it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.doctor.chart import Chart, Series
from osler.doctor.facts import Facts, read_settings
from osler.doctor.readers.audited import audit_beside
from osler.doctor.readers.source import NotThisError, Source, open_source
from osler.errors import ConfigError, DataError

__all__ = ["VitalsCollector", "is_vitals", "read_run", "read_vitals_file"]

# As in `osler.runs.vitals`, which a test holds equal; importing it would cost a diagnosis a tenth of its time.
VITALS_SCHEMA = "osler.vitals/1"
SPLITS = ("train", "val", "test")
# Where a figure's main number has a longer name in the file than in a chart.
SHORTER = {".loss.value": ".loss", "learning_rate.end": "learning_rate"}
# Taken in another way.
SKIPPED = frozenset({"schema", "epoch", "phase", "monitor"})
DEEPEST = 8
# The row of a figure that no epoch holds yet.
NEVER = sys.maxsize


class VitalsCollector:
    """Turns vitals, epoch by epoch, into a chart; the watch during training adds to one and asks again.

    Figures lie in one block, a line each, that grows by doubling: an epoch costs what it holds, however many came before.
    """

    def __init__(self, source: str = "vitals") -> None:
        self._source = source
        self._epochs: list[float] = []
        self._phases: list[int] = []
        self._block = np.full((64, 64), np.nan)
        self._lines: dict[str, int] = {}
        self._since: list[int] = []  # of each line, the first row that holds a figure
        self._broken: dict[str, set[int]] = {}
        self._names: dict[tuple[str, ...], str] = {}
        self._phase_names: dict[int, str] = {}

    def add(self, vitals: Mapping[str, Any]) -> None:
        """Takes one epoch; an epoch that came before replaces it and what followed."""
        epoch = vitals.get("epoch")
        number = float(epoch) if isinstance(epoch, (int, float)) else (self._epochs[-1] + 1.0 if self._epochs else 1.0)
        if self._epochs and number <= self._epochs[-1]:
            self._forget(sum(1 for known in self._epochs if known < number))
        row = len(self._epochs)
        if row == self._block.shape[1]:
            self._block = _doubled(self._block, axis=1)
        self._epochs.append(number)
        phase = vitals.get("phase")
        index = phase.get("index", 0) if isinstance(phase, Mapping) else 0
        self._phases.append(int(index) if isinstance(index, (int, float)) else 0)
        if isinstance(phase, Mapping):
            self._phase_names[self._phases[-1]] = str(phase.get("train", index))
        self._walk(vitals, (), row)
        monitor = vitals.get("monitor")
        if isinstance(monitor, Mapping):
            self._walk({key: monitor.get(key) for key in ("value", "best", "best_epoch")}, ("monitor",), row)

    def _forget(self, count: int) -> None:
        del self._epochs[count:], self._phases[count:]
        self._block[:, count:] = np.nan
        self._since = [row if row < count else NEVER for row in self._since]
        for rows in self._broken.values():
            rows -= {row for row in rows if row >= count}

    def _walk(self, values: Mapping[str, Any], path: tuple[str, ...], row: int) -> None:
        for key, value in values.items():
            if not path and key in SKIPPED:
                continue
            here = (*path, key)
            if isinstance(value, (int, float)):
                self._write(self._names.get(here) or self._name(here), row, float(value))
            elif isinstance(value, Mapping):
                if len(here) < DEEPEST:
                    self._walk(value, here, row)
            elif isinstance(value, str) and key.endswith("_reason") and "finite" in value:
                name = self._name((*path, key.removesuffix("_reason")))
                self._line(name)
                self._broken.setdefault(name, set()).add(row)

    def _write(self, name: str, row: int, value: float) -> None:
        line = self._line(name)
        self._since[line] = min(self._since[line], row)
        self._block[line, row] = value

    def _line(self, name: str) -> int:
        line = self._lines.setdefault(name, len(self._lines))
        if line == len(self._since):
            self._since.append(NEVER)
            if line == len(self._block):
                self._block = _doubled(self._block, axis=0)
        return line

    def _name(self, path: tuple[str, ...]) -> str:
        """The series of a place in the file: val.classes.Hernia.auc is val.auc[Hernia], val.macro.auc is val.auc."""
        if len(path) > 3 and path[0] in SPLITS and path[1] == "classes":
            name = f"{path[0]}.{'.'.join(path[3:])}[{path[2]}]"
        elif len(path) > 2 and path[0] in SPLITS and path[1] == "macro":
            name = f"{path[0]}.{'.'.join(path[2:])}"
        elif len(path) == 3 and path[0] in SPLITS and path[1] == "loss_parts":
            name = f"{path[0]}.loss[{path[2]}]"
        elif len(path) == 3 and path[:2] == ("sampling", "batches_without_positives"):
            name = f"sampling.batches_without_positives[{path[2]}]"
        else:
            name = ".".join(path[1:] if path[0] == "optimization" else path)
            for longer, shorter in SHORTER.items():
                if name.endswith(longer):
                    name = name.removesuffix(longer) + shorter
        self._names[path] = name
        return name

    def chart(self, facts: Facts | None = None, notes: Iterable[str] = ()) -> Chart:
        """The chart of all epochs taken so far."""
        count = len(self._epochs)
        values = self._block[: len(self._lines), :count].copy()
        nonfinite = np.isinf(values)
        values[nonfinite] = np.nan
        # What was never a number in any epoch is told by its reasons alone.
        broken = {name: sorted(rows) for name, rows in self._broken.items() if rows}
        for name, rows in broken.items():
            nonfinite[self._lines[name], rows] = True
        logged = (name for name, line in self._lines.items() if self._since[line] < count)
        named = ((name, self._lines[name]) for name in dict.fromkeys((*broken, *logged)))
        series = {name: Series(values[line], nonfinite[line], name, "vitals.jsonl") for name, line in named}
        _stand_for_the_whole(series)
        phases = np.array(self._phases, dtype=np.intp)
        several = len(set(self._phases)) > 1
        return Chart(
            source=self._source,
            reader="osler",
            epochs=np.array(self._epochs),
            series=series,
            facts=facts or Facts(),
            phases=phases if several else None,
            phase_names=tuple(self._phase_names.get(index, str(index)) for index in range(max(self._phases) + 1))
            if several
            else (),
            logged_epochs=np.array(self._epochs),
            notes=tuple(notes),
        )


def _doubled(block: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return np.concatenate([block, np.full_like(block, np.nan)], axis=axis)


def _stand_for_the_whole(series: dict[str, Series]) -> None:
    """With one class only, its figures are those of the whole run too."""
    parts = {name[name.index("[") :] for name in series if name.startswith(SPLITS) and name.endswith("]")}
    if len(parts) == 1:
        (part,) = parts
        for name in [name for name in series if name.endswith(part)]:
            series.setdefault(name.removesuffix(part), series[name])


def is_vitals(source: Source) -> bool:
    """Whether a file's first line is a line of vitals."""
    return VITALS_SCHEMA.partition("/")[0].encode() in source.data[:400].split(b"\n", 1)[0]


def read_vitals_file(source: Source) -> list[Chart]:
    """The chart of a vitals file, with the facts of the run that it lies in; damaged lines are passed over and noted.

    Raises:
        NotThisError: its first line has no vitals schema.
        DataError: no line of it can be read.
    """
    if not is_vitals(source):
        raise NotThisError("no vitals schema in its first line")
    collector = VitalsCollector(source.name)
    damaged: list[int] = []
    lines = source.text.splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            collector.add(value)
        else:
            damaged.append(number)
    if len(damaged) == sum(bool(line.strip()) for line in lines):
        raise DataError(f"{source.name}: none of its lines is whole JSON.")
    notes = [f"line {', '.join(map(str, damaged[:8]))} is damaged and left out"] if damaged else []
    facts = _facts_of_run(source.path.parent)
    audit, said = audit_beside(source.path.parent, facts.get("data.fingerprint"))
    return [collector.chart(facts.over(audit), [*notes, *said])]


def read_run(folder: Path, name: str) -> list[Chart]:
    """The chart of a run folder.

    Raises:
        DataError: its vitals.jsonl is not there, empty or damaged.
    """
    path = folder / "vitals.jsonl"
    if not path.is_file():
        raise DataError(f"{name}: is a run folder without vitals.jsonl: its first epoch has not ended. Diagnose it again then.")
    source = open_source(path, name)
    try:
        return read_vitals_file(source)
    except NotThisError as error:
        raise DataError(f"{name}: vitals.jsonl is not of the schema {VITALS_SCHEMA}: {error}.") from error


def _facts_of_run(folder: Path) -> Facts:
    """What Osler wrote; keys that this version does not know are kept."""
    facts = Facts()
    for name in ("config.yaml", "facts.json"):
        # The facts hold what the configuration says, resolved; it is read only where they are not there.
        if (folder / name).is_file() and (name == "facts.json" or not (folder / "facts.json").is_file()):
            try:
                stated = {key: value for key, value in read_settings(folder / name).items() if key not in ("schema", "notes")}
                facts = facts.over(Facts.of(stated, name, strict=False))
            except ConfigError:
                continue
    return facts
