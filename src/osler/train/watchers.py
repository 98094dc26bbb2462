"""Watchers: what happens beside training. Each is told of batches and epochs, and may ask to stop.

Console      progress bar, epoch lines, logs/train.log
Collapse     warns within an epoch when predictions turn constant
Records      vitals.jsonl, metrics.csv
Board        TensorBoard events
Checkpoints  best.pt, last.pt
Signals      SIGINT and SIGTERM: stop after the step in hand, resumable
"""

from __future__ import annotations

import math
import signal
import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.tensorboard.writer import SummaryWriter

from osler.errors import RunError
from osler.runs.folder import RunFolder
from osler.runs.vitals import MetricsTable, append_vitals, flatten, keep_vitals_before
from osler.tasks.task import Means
from osler.train.loop import BatchNews
from osler.train.state import TrainingState

__all__ = ["Board", "Checkpoints", "Collapse", "Console", "Records", "Signals", "Watcher", "epoch_line"]

Figures = Mapping[str, Any]


class Watcher:
    """Does nothing; the base of all watchers."""

    wants_stop = False

    def batch_done(self, state: TrainingState, news: BatchNews) -> None:
        """After every micro-batch."""

    def epoch_done(self, state: TrainingState, vitals: Figures, outputs: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """After every epoch: its vitals, and the arrays of the validation outputs."""

    def close(self) -> None:
        """When the run ends, whatever the reason."""


def epoch_line(vitals: Figures, planned: int, headline: Sequence[str]) -> str:
    """One epoch in a line; "train/val" where both stand.

    Args:
        vitals: of the epoch.
        planned: epochs of all phases.
        headline: the task's own figures.

    >>> figures = {"loss": {"value": 0.32}}
    >>> vitals = {"epoch": 5, "train": figures, "val": figures, "learning_rate": {"end": 1e-4}, "monitor": {}}
    >>> epoch_line(vitals, 50, ["AUC 0.810/0.810", "F1 0.480"])
    'Epoch 5/50 · loss 0.320/0.320 · AUC 0.810/0.810 · F1 0.480 · LR 1e-4'
    """
    parts = [
        f"Epoch {vitals['epoch']}/{planned}",
        f"loss {vitals['train']['loss']['value']:.3f}/{vitals['val']['loss']['value']:.3f}",
        *headline,
        f"LR {_rate(vitals['learning_rate']['end'])}",
    ]
    if vitals["monitor"].get("improved"):
        parts.append("best")
    return " · ".join(parts)


def _rate(rate: float) -> str:
    """A learning rate as people write it: 1e-4, 2.5e-3."""
    mantissa, exponent = f"{rate:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


class Console(Watcher):
    """The progress bar and the epoch lines on stderr, and the same lines, with times, in a log file."""

    def __init__(self, log: Path, console: RichConsole | None = None) -> None:
        self.console = console or RichConsole(stderr=True, highlight=False)
        try:
            self.log = log.open("a", encoding="utf-8")
        except OSError as error:
            raise RunError(
                f"{log}: cannot be written: {error.strerror}. Choose another run folder, or make it writable."
            ) from error
        columns = (
            TextColumn("{task.description}"), BarColumn(bar_width=28), MofNCompleteColumn(), TextColumn("·"),
            TimeRemainingColumn(), TextColumn("{task.fields[figures]}"),
        )  # fmt: skip
        self.progress = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self.bar: TaskID | None = None
        self.shown_at = 0.0

    def say(self, text: str, style: str | None = None) -> None:
        """A line to the person and to the log."""
        self.console.print(text, style=style, soft_wrap=True, markup=False)
        self.log.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}\n")
        self.log.flush()

    def warn(self, text: str) -> None:
        """A line that must not be missed."""
        self.say(f"warning: {text}", style="yellow")

    def batch_done(self, state: TrainingState, news: BatchNews) -> None:
        if self.bar is None:
            self.progress.start()
            self.bar = self.progress.add_task(f"Epoch {state.position.epoch}/{state.plan.epochs}", total=news.total, figures="")
        now = time.monotonic()
        if now - self.shown_at > 0.2 or news.done == news.total:
            self.shown_at = now
            loss = state.record.outputs.recent_loss()
            self.progress.update(self.bar, completed=news.done, figures=f"loss {loss:.3f}")

    def epoch_done(self, state: TrainingState, vitals: Figures, outputs: Mapping[str, np.ndarray[Any, Any]]) -> None:
        headline = state.task.headline(vitals["train"], vitals["val"])
        self.say(epoch_line(vitals, state.plan.epochs, headline))
        if self.bar is not None:
            self.progress.remove_task(self.bar)
            self.bar = None

    def close(self) -> None:
        self.progress.stop()
        self.log.close()


class Collapse(Watcher):
    """Warns within the epoch, as soon as predictions turn constant.

    Every `every` batches the mean probability of the last batches is held against the mean target. A class has collapsed when
    one is less than a twentieth of the other on either side, with at least five samples (of masks, pixels) expected there: a
    network that has learned nothing still predicts near the prevalence, and one that is trained with weights predicts more,
    not less.
    """

    SHARE = 0.05
    EXPECTED = 5

    def __init__(self, every: int, classes: Sequence[str], console: Console) -> None:
        self.every, self.classes, self.console = every, classes, console
        self.recent: deque[Means] = deque(maxlen=every)
        self.warned: set[tuple[int, str]] = set()

    def batch_done(self, state: TrainingState, news: BatchNews) -> None:
        self.recent.append(news.means)
        if news.done % self.every and news.done != news.total:
            return
        predicted, target, known = (torch.stack(sums).sum(0).cpu() for sums in zip(*self.recent, strict=True))
        count = known.clamp_min(1)
        means = ((predicted / count).tolist(), (target / count).tolist(), known.tolist())
        for name, p, t, n in zip(self.classes, *means, strict=True):
            if self._collapsed(p, t, n) and (state.position.epoch, name) not in self.warned:
                self.warned.add((state.position.epoch, name))
                self.console.warn(
                    f"predictions may be collapsing: epoch {state.position.epoch}, batch {news.done}, {name}: "
                    f"predicted mean {p:.6f}, target mean {t:.4f}"
                )

    @classmethod
    def _collapsed(cls, predicted: float, target: float, n: int) -> bool:
        to_negative = target * n >= cls.EXPECTED and predicted < cls.SHARE * target
        to_positive = (1 - target) * n >= cls.EXPECTED and 1 - predicted < cls.SHARE * (1 - target)
        return to_negative or to_positive


class Records(Watcher):
    """Writes each epoch's vitals, once, and the spreadsheet of all."""

    def __init__(self, run: RunFolder, epoch: int) -> None:
        self.run = run
        self.table = MetricsTable(run.metrics_file, keep_vitals_before(run.vitals_file, epoch))

    def epoch_done(self, state: TrainingState, vitals: Figures, outputs: Mapping[str, np.ndarray[Any, Any]]) -> None:
        append_vitals(self.run.vitals_file, vitals)
        self.table.add(vitals)


class Board(Watcher):
    """TensorBoard events: every figure as a scalar, precision-recall curves, and the first batch as a picture."""

    def __init__(self, folder: Path, classes: Sequence[str], first_images: Tensor, epoch: int) -> None:
        self.classes = classes
        self.writer = SummaryWriter(str(folder), purge_step=epoch)
        tiles = first_images[:16].float().cpu().clamp(0, 255) / 255
        self.writer.add_images("train/first_batch", tiles, 0)

    def epoch_done(self, state: TrainingState, vitals: Figures, outputs: Mapping[str, np.ndarray[Any, Any]]) -> None:
        epoch = int(vitals["epoch"])
        for name, value in flatten(vitals).items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
                self.writer.add_scalar(name.replace(".", "/", 1), value, epoch)
        for k, name in enumerate(self.classes if "probabilities" in outputs else ()):
            known = np.isfinite(outputs["targets"][:, k])
            if known.any():
                self.writer.add_pr_curve(
                    f"val_pr/{name}", outputs["targets"][known, k].astype(int), outputs["probabilities"][known, k], epoch
                )
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class Checkpoints(Watcher):
    """Writes `best.pt` when an epoch is the best so far, and `last.pt` at each epoch's end and every so many minutes."""

    def __init__(self, run: RunFolder, minutes: float | None) -> None:
        self.best = run.checkpoints / "best.pt"
        self.last = run.checkpoints / "last.pt"
        self.interval = math.inf if minutes is None else 60 * minutes
        self.written_at = time.monotonic()

    def batch_done(self, state: TrainingState, news: BatchNews) -> None:
        if news.stepped and news.done < news.total and time.monotonic() - self.written_at >= self.interval:
            self.save(state)

    def save(self, state: TrainingState) -> None:
        """Writes the whole state now."""
        state.save(self.last)
        self.written_at = time.monotonic()


class Signals(Watcher):
    """Turns SIGINT and SIGTERM into a wish to stop; a second one takes the usual way."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.agreed: int | None = None
        self.before = {number: signal.signal(number, self._take) for number in (signal.SIGINT, signal.SIGTERM)}

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        for each, handler in self.before.items():
            signal.signal(each, handler)

    def batch_done(self, state: TrainingState, news: BatchNews) -> None:
        self.agree(state)

    def agree(self, state: TrainingState) -> None:
        """Lets all ranks know of a signal to any: they hear of it at different steps, and must stop after the same one."""
        if dist.is_initialized():
            flag = torch.tensor(float(self.received or 0), device=state.machine.device)
            dist.all_reduce(flag, op=dist.ReduceOp.MAX)
            self.agreed = int(flag) or None
        else:
            self.agreed = self.received
        self.wants_stop = self.agreed is not None

    def close(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
