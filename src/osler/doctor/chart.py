"""Chart: a run as the doctor sees it, whoever trained it: facts, and vitals by epoch.

A chart is columnar. Each series is an array over the epochs with NaN where nothing was logged, under a name built like
the keys of `vitals.jsonl`:

    train.loss  val.loss  val.loss.se  val.loss[dice]      the loss, its standard error, a part of it
    val.auc  val.f1  val.accuracy                          one class, or the macro figure of several
    val.auc[Hernia]  val.probability.mean[Hernia]          one class
    learning_rate  gradient_norm.median  update_ratio.median  sampling.distinct  seconds.epoch

Every series is optional. A rule asks `has`, works on `values`, and names what it lacks. Where reading took something for
granted (a column without a prefix, a percentage without a sign), the series says so in `assumed`, and a rule that leans on
it lowers its confidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.doctor.facts import Facts
from osler.errors import DataError, RequestError

__all__ = ["Axis", "Chart", "Series", "Trace", "split_name"]

Axis = Literal["epoch", "evaluation", "step", "row"]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def split_name(name: str) -> tuple[str, str | None]:
    """The name of a series without its class, and the class.

    >>> split_name("val.auc[Pleural [old]]"), split_name("val.loss")
    (('val.auc', 'Pleural [old]'), ('val.loss', None))
    """
    start = name.find("[")
    return (name[:start], name[start + 1 : -1]) if start > 0 and name.endswith("]") else (name, None)


@dataclass(frozen=True)
class Series:
    """One figure over the epochs, and where it came from.

    Attributes:
        values: (E,) in the unit of vitals.jsonl: shares within 0..1, seconds. NaN: not logged, or not a finite number.
        nonfinite: (E,) the log holds a figure here, and that is NaN or infinite.
        label: the name that the log gives it.
        where: the place in the log: "column 4", "tag Loss/val", "line 12 on".
        assumed: what reading took for granted, one sentence each; empty where the log is explicit.
    """

    values: Floats
    nonfinite: Flags
    label: str = ""
    where: str = ""
    assumed: tuple[str, ...] = ()

    @property
    def finite(self) -> Flags:
        """(E,) where a finite figure was logged."""
        return np.isfinite(self.values)

    def take(self, rows: NDArray[np.intp] | slice) -> Series:
        """The same series at these epochs."""
        return replace(self, values=self.values[rows], nonfinite=self.nonfinite[rows])

    @classmethod
    def of(cls, values: ArrayLike, label: str = "", where: str = "", assumed: Sequence[str] = ()) -> Series:
        """A series from plain numbers; NaN is not logged, infinite is logged and not finite.

        >>> Series.of([0.5, float("nan"), float("inf")]).nonfinite.tolist()
        [False, False, True]
        """
        array = np.array(values, dtype=np.float64)
        infinite = np.isinf(array)
        array[infinite] = np.nan
        return cls(array, infinite, label, where, tuple(assumed))


@dataclass(frozen=True)
class Trace:
    """A figure logged more often than once an epoch; its series holds one figure an epoch.

    Attributes:
        values: (S,) in the order of the log; NaN where the log holds no finite number.
        epochs: (S,) row of the chart's epochs to which each value belongs.
        steps: (S,) step as the log counts it, NaN where it does not.
    """

    values: Floats
    epochs: NDArray[np.intp]
    steps: Floats


@dataclass(frozen=True)
class Chart:
    """What is known of one run.

    Attributes:
        source: the file or folder, with "#2" or "#fold=3" where it holds several runs.
        reader: which reader read it, such as "csv.keras".
        epochs: (E,) rising numbers, as the log gives them; where a later phase counts from the start again, it goes on
            counting here.
        series: by name.
        facts: what is known once per run.
        axis: what a row is: an epoch; an evaluation, where these are not at the ends of epochs; a block of steps; a row of
            a table that does not say.
        phases: (E,) 0, 1 ...: stages of one run, where the log has them.
        phase_names: a name for each phase.
        logged_epochs: (E,) the epoch as the log itself numbers it; differs from `epochs` in later phases only.
        traces: finer than an epoch, by the name of the series.
        notes: what was adapted, skipped or found odd while reading, one sentence each.
        ignored: labels of the log's figures that were not understood, or stand twice.
    """

    source: str
    reader: str
    epochs: Floats
    series: Mapping[str, Series]
    facts: Facts = field(default_factory=Facts)
    axis: Axis = "epoch"
    phases: NDArray[np.intp] | None = None
    phase_names: tuple[str, ...] = ()
    logged_epochs: Floats | None = None
    traces: Mapping[str, Trace] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wrong = [name for name, series in self.series.items() if series.values.shape != self.epochs.shape]
        assert not wrong, f"{wrong} do not have {self.epochs.shape} epochs"

    def __len__(self) -> int:
        return len(self.epochs)

    # --- asking -------------------------------------------------------------------------------------------------------------

    def has(self, *names: str, points: int = 1) -> bool:
        """Whether each of these series has so many finite figures."""
        return all(name in self.series and int(self.series[name].finite.sum()) >= points for name in names)

    def values(self, name: str) -> Floats:
        """(E,) of a series; all NaN where the run does not log it."""
        found = self.series.get(name)
        return np.full(len(self), np.nan) if found is None else found.values

    def first_of(self, *names: str, points: int = 1) -> str | None:
        """The first of these series that has so many finite figures."""
        return next((name for name in names if self.has(name, points=points)), None)

    def points(self, name: str) -> tuple[Floats, Floats]:
        """The epochs at which a series is finite, and its figures there; both (n,)."""
        values = self.values(name)
        rows = np.isfinite(values)
        return self.epochs[rows], values[rows]

    def nonfinite_epochs(self, name: str) -> Floats:
        """(n,) epochs at which the log holds NaN or an infinite number for this series."""
        found = self.series.get(name)
        return self.epochs[found.nonfinite] if found is not None else np.empty(0)

    def assumed(self, *names: str) -> tuple[str, ...]:
        """What reading took for granted in any of these series."""
        return tuple(dict.fromkeys(text for name in names if name in self.series for text in self.series[name].assumed))

    def parts(self, name: str) -> tuple[str, ...]:
        """Classes (or parts of the loss) for which a series `name[...]` exists, in the order of the log.

        >>> Chart.of({"val.auc[b]": [0.7], "val.auc[a]": [0.6], "val.auc": [0.65]}).parts("val.auc")
        ('b', 'a')
        """
        return self._parts.get(name, ())

    @cached_property
    def _split(self) -> tuple[tuple[str, str], ...]:
        """Name and class of the series that have one; split once, since a rule for each class asks again and again."""
        return tuple((name, part) for name, part in map(split_name, self.series) if part is not None)

    @cached_property
    def _parts(self) -> dict[str, tuple[str, ...]]:
        parts: dict[str, list[str]] = {}
        for name, part in self._split:
            parts.setdefault(name, []).append(part)
        return {name: tuple(each) for name, each in parts.items()}

    def by_class(self, name: str, classes: Sequence[str] | None = None) -> Floats:
        """(E, K) of `name[class]` for these classes, or for all that have the series."""
        wanted = self.parts(name) if classes is None else classes
        if not wanted:
            return np.empty((len(self), 0))
        return np.stack([self.values(f"{name}[{each}]") for each in wanted], axis=1)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, from the facts or else from the series; empty where unknown."""
        stated = self.facts.get("classes")
        if isinstance(stated, tuple):
            return tuple(str(name) for name in stated)
        return tuple(dict.fromkeys(part for name, part in self._split if not name.endswith(".loss")))

    @property
    def ordinals(self) -> Floats:
        """(E,) epochs counted from 1, for comparison with planned epochs and warm-up, however the log counts."""
        if self.axis != "epoch" or not len(self) or self.epochs[0] != 0.0:
            return self.epochs
        return self.epochs + 1.0

    # --- deriving -----------------------------------------------------------------------------------------------------------

    def take(self, rows: NDArray[np.intp] | slice) -> Chart:
        """The chart of these epochs only, in rising order; traces go with their epochs."""
        kept = np.arange(len(self))[rows]
        place = np.full(len(self), -1)
        place[kept] = np.arange(len(kept))
        return replace(
            self,
            epochs=self.epochs[kept],
            series={name: series.take(kept) for name, series in self.series.items()},
            phases=None if self.phases is None else self.phases[kept],
            logged_epochs=None if self.logged_epochs is None else self.logged_epochs[kept],
            traces={name: _trace_within(trace, place) for name, trace in self.traces.items()},
        )

    def upto(self, count: int) -> Chart:
        """The run as it was known after its first `count` rows."""
        return self.take(slice(0, max(count, 0)))

    def phase(self, index: int) -> Chart:
        """The rows of one phase.

        Raises:
            RequestError: there is no such phase.
        """
        phases = np.zeros(len(self), dtype=np.intp) if self.phases is None else self.phases
        rows = np.flatnonzero(phases == index)
        if not len(rows):
            raise RequestError(f"{self.source}: has no phase {index}; phases are {sorted(set(phases.tolist()))}")
        return self.take(rows)

    def with_facts(self, facts: Facts) -> Chart:
        """The same chart with these facts laid over its own."""
        return replace(self, facts=self.facts.over(facts))

    def with_notes(self, notes: Iterable[str]) -> Chart:
        """The same chart with further notes, each once."""
        return replace(self, notes=tuple(dict.fromkeys((*self.notes, *notes))))

    # --- making and keeping -------------------------------------------------------------------------------------------------

    @classmethod
    def of(
        cls,
        columns: Mapping[str, ArrayLike],
        facts: Mapping[str, Any] | Facts | None = None,
        epochs: ArrayLike | None = None,
        source: str = "memory",
    ) -> Chart:
        """A chart from plain columns; epochs count from 1 where not given.

        >>> Chart.of({"val.auc": [0.51, 0.49]}, {"prevalence": 0.1}).facts["prevalence.val"]
        0.1
        """
        series = {name: Series.of(values, label=name) for name, values in columns.items()}
        length = max((len(each.values) for each in series.values()), default=0)
        numbers = np.arange(1.0, length + 1.0) if epochs is None else np.array(epochs, dtype=np.float64)
        known = facts if isinstance(facts, Facts) else Facts.of(facts or {}, "given")
        return cls(source, "memory", numbers, series, known)

    def to_json(self) -> dict[str, Any]:
        """All of it in what strict JSON knows; `from_json` gives an equal chart, but for the traces, which are left out."""
        return {
            "schema": "osler.chart/1",
            "source": self.source,
            "reader": self.reader,
            "axis": self.axis,
            "epochs": self.epochs.tolist(),
            "phases": None if self.phases is None else self.phases.tolist(),
            "phase_names": list(self.phase_names),
            "logged_epochs": None if self.logged_epochs is None else self.logged_epochs.tolist(),
            "series": {name: _series_to_json(series) for name, series in self.series.items()},
            "facts": self.facts.to_json(),
            "notes": list(self.notes),
            "ignored": list(self.ignored),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Chart:
        """The chart that `to_json` stored.

        Raises:
            DataError: it is not of this schema.
        """
        if stored.get("schema") != "osler.chart/1":
            raise DataError(f"a chart has the schema osler.chart/1; this says {stored.get('schema')!r}")
        phases, logged = stored["phases"], stored["logged_epochs"]
        return cls(
            source=stored["source"],
            reader=stored["reader"],
            axis=stored["axis"],
            epochs=np.array(stored["epochs"], dtype=np.float64),
            phases=None if phases is None else np.array(phases, dtype=np.intp),
            phase_names=tuple(stored["phase_names"]),
            logged_epochs=None if logged is None else np.array(logged, dtype=np.float64),
            series={name: _series_from_json(each) for name, each in stored["series"].items()},
            facts=Facts.from_json(stored["facts"]),
            notes=tuple(stored["notes"]),
            ignored=tuple(stored["ignored"]),
        )


def _trace_within(trace: Trace, place: NDArray[np.intp]) -> Trace:
    moved = place[trace.epochs]
    kept = moved >= 0
    return Trace(trace.values[kept], moved[kept], trace.steps[kept])


def _series_to_json(series: Series) -> dict[str, Any]:
    return {
        "values": [value if known else None for value, known in zip(series.values.tolist(), series.finite.tolist(), strict=True)],
        "nonfinite": np.flatnonzero(series.nonfinite).tolist(),
        "label": series.label,
        "where": series.where,
        "assumed": list(series.assumed),
    }


def _series_from_json(stored: Mapping[str, Any]) -> Series:
    values = np.array([np.nan if value is None else value for value in stored["values"]], dtype=np.float64)
    nonfinite = np.zeros(values.shape, dtype=np.bool_)
    nonfinite[stored["nonfinite"]] = True
    return Series(values, nonfinite, stored["label"], stored["where"], tuple(stored["assumed"]))
