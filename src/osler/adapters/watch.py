"""`osler.watch`: the doctor in a loop of one's own.

    doctor = osler.watch("runs/mine", task="binary", loss={"type": "bce", "pos_weight": 4.4}, training={"epochs": 50})
    for epoch in range(50):
        for images, targets in train:
            ...
            doctor.step(loss, logits, targets)
        for images, targets in val:
            doctor.validate(model(images), targets)
        doctor.epoch(lr=scheduler.get_last_lr()[0])
    doctor.close()

It measures what Osler's own loop measures, as far as a loop shows it, and asks the same doctor after every epoch. The folder it
writes (vitals.jsonl, facts.json, findings.json; at the end metrics.csv and a page) is one that `osler diagnose` reads.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import numpy as np

from osler.adapters.consult import Consultation, say
from osler.adapters.meter import StepMeter, optimizer_facts
from osler.adapters.records import LabelSplit, MaskSplit, Split, Watched
from osler.adapters.stated import TASKS, state
from osler.doctor.chart import Chart
from osler.doctor.diagnose import diagnose
from osler.doctor.facts import Facts
from osler.doctor.findings import SEVERITIES, Diagnosis, Finding, Severity
from osler.errors import OslerError, RequestError, RunError, lookup
from osler.metrics.label_vitals import label_vitals
from osler.runs.vitals import keep_vitals_before

__all__ = ["StoppedByDoctorError", "Watch", "watch"]

OUTPUTS = {"logits": False, "probabilities": True}
STOPS: dict[str | None, int] = {None: len(SEVERITIES), "critical": 2, "warning": 1}
# A loss that differs so much from what the stated one makes of the same outputs is another loss, or has other terms.
OTHER_LOSS = 0.1

P = ParamSpec("P")
R = TypeVar("R")


class StoppedByDoctorError(OslerError):
    """A finding reached `stop_on`; what was measured is written.

    Attributes:
        findings: of the epoch.
    """

    def __init__(self, message: str, findings: Sequence[Finding]) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


def _timed(method: Callable[Concatenate[Watch, P], R]) -> Callable[Concatenate[Watch, P], R]:
    """Adds what a call takes to the watch's own cost, which its vitals tell."""

    @wraps(method)
    def timed(self: Watch, /, *args: P.args, **kwargs: P.kwargs) -> R:
        begun = time.perf_counter()
        try:
            return method(self, *args, **kwargs)
        finally:
            self.cost += time.perf_counter() - begun

    return timed


class Watch:
    """The doctor beside a loop; made by `watch`.

    Attributes:
        folder: of the run.
        wants_stop: a finding reached `stop_on`.
        cost: seconds spent in here since the last epoch's end.
        epochs: how many are done.
    """

    def __init__(self, folder: Path, watched: Watched, stop_on: Severity | None, before: Sequence[Mapping[str, Any]]) -> None:
        self.folder = folder
        self.watched = watched
        self.stop_on = stop_on
        self.wants_stop = False
        self.cost = 0.0
        self.epochs = 0
        kind = MaskSplit if watched.task == "segmentation" else LabelSplit
        self.train: Split = kind(watched, training=True)
        self.val: Split = kind(watched, training=False)
        self._facts = watched.statement.facts
        self._notes: list[str] = []
        self._meter: StepMeter | None = None
        self._doctor = Consultation(folder, before)
        self._batches = self._steps_before = 0
        self._clock = time.perf_counter()
        self._closed: Path | None = None
        if before:
            self.epochs, self._steps_before = int(before[-1]["epoch"]), int(before[-1].get("step") or 0)

    # --- what a loop says ---------------------------------------------------------------------------------------------------

    @_timed
    def step(self, loss: Any = None, logits: Any = None, targets: Any = None, patients: Iterable[Hashable] | None = None) -> None:
        """A training batch; nothing waits for the device, and the batch's graph is not kept.

        Args:
            loss: of the batch: a number, or one a sample, tensor or not.
            logits: (B,), (B, K) or planes (B, K, H, W); or probabilities, where `watch` was told so.
            targets: labels in {0, 1, NaN} like the logits, or class numbers.
            patients: (B,) ids, where they are known: patients that stand in both splits are found out.

        Raises:
            DataError: what does not fit; the labels' values are looked at in the first batch, then at the epoch's end.
        """
        self.train.add(logits, targets, loss, patients)
        self._batches += 1

    @_timed
    def validate(
        self, logits: Any = None, targets: Any = None, patients: Iterable[Hashable] | None = None, loss: Any = None
    ) -> None:
        """A validation batch; see `step`.

        Where no loss is given, here or to `epoch`, that of labels is worked out as `watch(loss=...)` states it.
        """
        self.val.add(logits, targets, loss, patients)

    def listen(self, optimizer: Any) -> None:
        """Measures learning rate, gradient norm and update ratio at the steps of a torch optimiser, and takes its facts."""
        if self._meter is not None:
            self._meter.close()
        clip = self._facts.number("training.clip_norm")
        self._meter = StepMeter(optimizer, clip if clip > 0 else None)
        seen = optimizer_facts(optimizer)
        stated = self._facts.number("training.learning_rate")
        rate = seen["training.learning_rate"]
        if math.isfinite(stated) and not math.isclose(stated, rate, rel_tol=1e-6):
            self.note(f"training.learning_rate is stated as {stated:g}, and the optimiser begins at {rate:g}")
        self.learn(seen)

    def learn(self, facts: Mapping[str, Any]) -> None:
        """Takes facts that a framework tells; what was stated to `watch` stands."""
        self._facts = Facts.of({key: value for key, value in facts.items() if value is not None}, "the loop", strict=False).over(
            self._facts
        )

    def note(self, text: str) -> None:
        """Something odd: said on stderr and kept with the facts, once."""
        if text not in self._notes:
            self._notes.append(text)
            say(f"osler: note: {text}")

    def epoch(self, lr: float | None = None, train_loss: float | None = None, val_loss: float | None = None) -> list[Finding]:
        """Ends an epoch: writes its vitals, asks the doctor, and says what is new.

        Args:
            lr: learning rate at the epoch's end; not needed where `watch` was given the optimiser.
            train_loss: mean loss in training, where `step` was not told.
            val_loss: mean loss in validation, where `validate` was not told.

        Returns:
            Findings of severity warning or critical that are new, or graver than when they were returned.

        Raises:
            RequestError: nothing was recorded in this epoch.
            StoppedByDoctorError: a finding reached `stop_on`; the page is written.
        """
        new = self.end_epoch(lr, train_loss, val_loss)
        if self.wants_stop:
            page = self.close(f"stopped by the doctor (stop_on={self.stop_on!r})")
            worst = max(self.findings, key=lambda finding: SEVERITIES.index(finding.severity))
            raise StoppedByDoctorError(
                f"{self.folder}: stopped after epoch {self.epochs}: {worst.name}: {worst.signs.summary} See {page}.", new
            )
        return new

    @_timed
    def end_epoch(self, lr: float | None = None, train_loss: float | None = None, val_loss: float | None = None) -> list[Finding]:
        """`epoch` for callbacks: does not raise to stop the loop, but sets `wants_stop`."""
        if self._closed is not None:
            raise RequestError(f"{self.folder}: this watch is closed; watch another folder, or this one with resume=True")
        stated = {"train": _number(train_loss, "train_loss"), "val": _number(val_loss, "val_loss")}
        splits = {"train": self.train, "val": self.val}
        told = [name for name, split in splits.items() if split.begun or stated[name] is not None]
        if not told:
            raise RequestError("osler.watch: nothing was recorded in this epoch; call step, validate, or epoch(train_loss=...)")
        measured: dict[str, Any] = {}
        if self._meter is not None:
            measured = self._meter.epoch_done()
            self.cost += self._meter.cost
            self._meter.cost = 0.0
        vitals: dict[str, Any] = {"epoch": self.epochs + 1, "step": self._steps(), **measured}
        if lr is not None:
            vitals["learning_rate"] = {**vitals.get("learning_rate", {}), "end": float(lr)}
        vitals |= {name: splits[name].figures(stated[name]) for name in told}
        if self.train.sizes:
            vitals["sampling"] = {"batches_without_positives": self.train.without_positives()}
        self._compare_losses(vitals)
        now = time.perf_counter()
        vitals["seconds"] = {"epoch": now - self._clock, "watch": self.cost}
        self._clock, self.cost = now, 0.0
        self.epochs += 1
        self._learn_of_data()
        self.train.clear()
        self.val.clear()
        new = self._doctor.take(vitals, self._facts, self._notes)
        self.wants_stop = self.wants_stop or self._doctor.worst >= STOPS[self.stop_on]
        return new

    def _steps(self) -> int:
        each = self._facts.number("training.accumulate")
        steps = self._meter.steps if self._meter is not None else int(self._batches / each) if each > 1 else self._batches
        return self._steps_before + steps

    def _compare_losses(self, vitals: Mapping[str, Any]) -> None:
        """A loss that is not the stated one has another floor: say so."""
        if not isinstance(self.train, LabelSplit) or "train" not in vitals:
            return
        given, stated = vitals["train"]["loss"]["value"], self.train.stated_mean() if self.epochs == 0 else math.nan
        if math.isfinite(given) and abs(given - stated) > OTHER_LOSS * max(abs(stated), 1e-3):
            self.note(
                f"the training loss is {given:.4g}, and the stated loss makes {stated:.4g} of the same outputs: the loss in "
                "force is another one, or has further terms, and the floor is that of the stated one"
            )

    def _learn_of_data(self) -> None:
        """Counts of samples and patients, and the classes, once they are seen."""
        facts: dict[str, Any] = {f"samples.{name}": split.samples or None for name, split in self._splits}
        facts |= {f"patients.{name}": len(split.patients) or None for name, split in self._splits}
        if self.train.patients and self.val.patients:
            facts["split.patients_shared"] = len(self.train.patients & self.val.patients)
        if self.watched.task == "segmentation":
            facts["masks.exclusive"] = self.watched.exclusive
        facts["classes"] = self.watched.classes
        facts["training.batch_size"] = max(self.train.sizes, default=None)
        facts["training.steps_per_epoch"] = len(self.train.sizes) or None
        self.learn({key: value for key, value in facts.items() if self.epochs == 1 or key.startswith(("patients", "split"))})

    @property
    def _splits(self) -> tuple[tuple[str, Split], tuple[str, Split]]:
        return ("train", self.train), ("val", self.val)

    # --- what the doctor says -----------------------------------------------------------------------------------------------

    @property
    def diagnosis(self) -> Diagnosis | None:
        """After the last epoch; None before the first."""
        return self._doctor.diagnosis

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings after the last epoch, the gravest first."""
        return self._doctor.findings

    def close(self, reason: str = "the loop ended") -> Path | None:
        """Has the whole run diagnosed and writes metrics.csv and the page; returns the page, None where no epoch was ended.

        Args:
            reason: why the loop ended, for the facts.
        """
        if self._closed is not None:
            return self._closed
        if self._meter is not None:
            self._meter.close()
        if not self.epochs:
            return None
        self._facts = self._facts.over(Facts.of({"stop_reason": reason}, "the loop"))
        self._closed = self._doctor.end(self._facts, self._notes)
        return self._closed

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close("the loop ended" if error is None else f"the loop ended by {type(error).__name__}")


def watch(
    folder: Path | str,
    task: str,
    classes: Sequence[str] | None = None,
    *,
    outputs: Literal["logits", "probabilities"] = "logits",
    loss: Any = None,
    training: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    optimizer: Any = None,
    exclusive: bool = False,
    stop_on: Literal["critical", "warning"] | None = None,
    resume: bool = False,
) -> Watch:
    """Puts the doctor beside a loop of your own.

    Args:
        folder: of the run; must not hold one, but for `resume`.
        task: binary, multilabel, multiclass or segmentation.
        classes: names, of a binary task the positive one; else they are numbered.
        outputs: what `step` and `validate` are given.
        loss: the section `loss` as in a configuration, with numbers in the place of "auto"; or the loop's own loss of torch or
            Keras. Without it there are no floors.
        training: as far as known: epochs (planned), learning_rate, batch_size, warmup_epochs ...
        data: likewise, such as sampler.
        model: likewise, such as architecture, pretrained.
        facts: further ones, under dotted keys (docs/vitals.md).
        optimizer: of torch; learning rate, gradient norm and update ratio are then measured too.
        exclusive: masks handed over as planes: a pixel is of one class at most, by a softmax beside a background of logit 0.
        stop_on: the severity of a finding that ends the loop.
        resume: goes on in a folder that a watch has written, after its last epoch.

    Raises:
        RequestError: an unknown task, kind of outputs, or severity.
        ConfigError: facts that are unknown or make no sense; all of them.
        RunError: the folder holds a run, or cannot be made.
    """
    lookup(TASKS, task, "osler.watch: task", RequestError)
    probabilities = lookup(OUTPUTS, outputs, "osler.watch: outputs", RequestError)
    if stop_on is not None:
        lookup({name: 0 for name in STOPS if name}, stop_on, "osler.watch: stop_on", RequestError)
    names = None if classes is None else tuple(str(name) for name in classes)
    sections = {"training": training, "data": data, "model": model, **(facts or {})}
    statement = state(task, names, loss, sections)
    path = Path(folder)
    _load()
    doctor = Watch(path, Watched(task, names, probabilities, statement, exclusive), stop_on, _before(path, resume))
    if optimizer is not None:
        doctor.listen(optimizer)
    return doctor


def _load() -> None:
    """Has everything imported that an epoch's end asks for, so that no epoch pays for it."""
    label_vitals(np.array([[0.0], [1.0]]), np.zeros((2, 1)), "binary", ("any",))
    diagnose(
        Chart.of({"train.loss": [0.7, 0.6, 0.6, 0.6], "val.auc": [0.5, 0.6, 0.6, 0.6]}, {"samples.val": 9, "prevalence": 0.3})
    )


def _before(folder: Path, resume: bool) -> list[dict[str, Any]]:
    """Makes the folder, and gives the epochs in it that are gone on from."""
    vitals = folder / "vitals.jsonl"
    if (vitals.exists() and not resume) or (folder / "config.yaml").exists():
        raise RunError(
            f"{folder}: holds a run already. Watch another folder"
            + ("." if (folder / "config.yaml").exists() else ", or go on in this one with resume=True.")
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be made: {error.strerror}. Watch another folder.") from error
    return keep_vitals_before(vitals, sys.maxsize)  # without a last line that a kill cut short


def _number(value: Any, what: str) -> float | None:
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise RequestError(f"osler.watch: epoch({what}=...) is one number, not {type(value).__name__}") from error
