"""What the doctor costs beside a loop: loops of plain torch (and Lightning) under `osler.watch`, and Osler's own with its doctor.

    python benchmarks/watch.py [--size 48] [--batch 32] [--batches 6] [--pairs 2] [--threads 1]

Under two minutes of one core. Two tables:

By epochs. What an epoch's end costs after 5, 50, 200 and 1,000 epochs: CPU time of the process within the watch, its calls by
batch and its optimiser hooks included. The earlier epochs are made of measured ones, repeated with jitter, and taken up again as
a run that goes on takes up its own. Share: of that CPU time and the bare epoch's together. The epochs here are toys of a
second; the cost is the same beside one of an hour, but for what goes with the samples.

Whole loops. An epoch bare and an epoch watched in turn (A B A B ...): wall-clock time of both, pair by pair, which carries the
disk's and the machine's noise.

Target: at most 1 % of an epoch, or 50 ms, the larger of the two.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from functools import partial, wraps
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from calibration import calibration_seconds
from torch import Tensor, nn

import osler
from osler.adapters.meter import StepMeter
from osler.adapters.watch import Watch
from osler.config import load_config
from osler.runs.folder import RunFolder
from osler.runs.vitals import MetricsTable, append_vitals
from osler.train.fit import train_run
from osler.train.watch import DoctorWatch
from osler.train.watchers import Console, Records

SHARE, SECONDS = 0.01, 0.05
EPOCHS = (5, 50, 200, 1000)
LONGEST_PLAN = 2000
ENDS = 3
"""Epoch ends of which the median is taken."""


# --- clocks -------------------------------------------------------------------------------------------------------------------


@dataclass
class Clock:
    """Seconds within some methods, their calls inside each other counted once."""

    now: Callable[[], float] = time.process_time
    seconds: float = 0.0
    depth: int = field(default=0, repr=False)

    def take(self) -> float:
        """The seconds so far, set back."""
        found, self.seconds = self.seconds, 0.0
        return found

    @contextmanager
    def on(self, *methods: tuple[type, str]) -> Iterator[Clock]:
        """Counts calls of these methods of classes."""
        kept = [(owner, name, getattr(owner, name)) for owner, name in methods]
        for owner, name, method in kept:
            setattr(owner, name, self._counted(method))
        try:
            yield self
        finally:
            for owner, name, method in kept:
                setattr(owner, name, method)

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def counted(*args: Any, **kwargs: Any) -> Any:
            begun, self.depth = self.now(), self.depth + 1
            try:
                return method(*args, **kwargs)
            finally:
                self.depth -= 1
                self.seconds += 0.0 if self.depth else self.now() - begun

        return counted


WATCH = ((Watch, "step"), (Watch, "validate"), (Watch, "end_epoch"), (StepMeter, "_before_step"), (StepMeter, "_after_step"))


# --- loops of other people ----------------------------------------------------------------------------------------------------


@dataclass
class Loop:
    """A loop as a careful person writes it.

    Attributes:
        task: as `osler.watch` calls it.
        model: to train.
        images, targets: of all samples, the last quarter for validation.
        batch: samples a batch.
    """

    task: str
    model: nn.Module
    images: Tensor
    targets: Tensor
    batch: int

    def __post_init__(self) -> None:
        self.loss = nn.BCEWithLogitsLoss()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)

    def watch(self, folder: Path, resume: bool = False) -> Watch:
        plan = {"epochs": LONGEST_PLAN}
        found: Watch = osler.watch(folder, self.task, loss=self.loss, training=plan, optimizer=self.optimizer, resume=resume)
        return found

    def epoch(self, doctor: Watch | None) -> None:
        """Trains and validates once."""
        cut = 3 * len(self.images) // 4
        self.model.train()
        for rows in torch.split(torch.randperm(cut), self.batch):
            logits = self.model(self.images[rows])
            loss = self.loss(logits, self.targets[rows])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            if doctor is not None:
                doctor.step(loss, logits, self.targets[rows])
        self.model.eval()
        with torch.no_grad():
            for rows in torch.split(torch.arange(cut, len(self.images)), self.batch):
                logits = self.model(self.images[rows])
                if doctor is not None:
                    doctor.validate(logits, self.targets[rows], loss=self.loss(logits, self.targets[rows]))
        if doctor is not None:
            doctor.epoch()


def network(inputs: int, width: int, last: Sequence[nn.Module]) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
    for _ in range(3):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, *last)


def classifier(options: argparse.Namespace, classes: int) -> Loop:
    count = 4 * options.batches * options.batch // 3
    model = network(3, 24, (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, classes)))
    images = torch.randn(count, 3, options.size, options.size)
    targets = (torch.rand(count, classes) < 0.15).float()
    return Loop("binary" if classes == 1 else "multilabel", model, images, targets, options.batch)


def segmenter(options: argparse.Namespace) -> Loop:
    count = 2 * options.batches * options.batch // 3
    images = torch.randn(count, 1, options.size, options.size)
    targets = torch.zeros_like(images)
    targets[:, :, 10:25, 10:30] = 1
    return Loop("segmentation", network(1, 24, (nn.Conv2d(24, 1, 1),)), images, targets, options.batch // 2)


def lightning_epochs(loop: Loop, folder: Path, epochs: int, resume: bool) -> None:
    """The same model under PyTorch Lightning, with its callback."""
    lightning = importlib.import_module("pytorch_lightning")
    from torch.utils.data import DataLoader, TensorDataset

    from osler.adapters.for_lightning import LightningDoctor

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model, self.loss = loop.model, loop.loss

        def training_step(self, batch: list[Tensor], _: int) -> dict[str, Tensor]:
            logits = self.model(batch[0])
            return {"loss": self.loss(logits, batch[1]), "logits": logits, "targets": batch[1]}

        validation_step = training_step

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return loop.optimizer

    cut = 3 * len(loop.images) // 4
    parts = [
        DataLoader(TensorDataset(loop.images[rows], loop.targets[rows]), loop.batch) for rows in (slice(cut), slice(cut, None))
    ]
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    doctor = LightningDoctor(folder, loop.task, resume=resume)
    lightning.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[doctor], num_sanity_val_steps=0, **quiet).fit(
        Module(), *parts
    )


# --- what an epoch's end costs after many -------------------------------------------------------------------------------------


def grown(measured: Sequence[Mapping[str, Any]], count: int) -> list[dict[str, Any]]:
    """So many epochs, made of measured ones with their losses jittered."""
    rng = np.random.default_rng(0)
    epochs = []
    for number in range(1, count + 1):
        vitals = json.loads(json.dumps(measured[number % len(measured)]))
        vitals |= {"epoch": number, "step": number * measured[0]["step"]}
        for split in ("train", "val"):
            vitals[split]["loss"]["value"] *= 1 - 0.2 * number / count + 0.02 * rng.normal()
        epochs.append(vitals)
    return epochs


def write_epochs(path: Path, epochs: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(vitals) + "\n" for vitals in epochs), encoding="utf-8")


def foreign_costs(make: Callable[[], Loop], folder: Path) -> tuple[list[float], float]:
    """CPU seconds of the watch in an epoch, after each number of epochs; and of the loop itself."""
    loop, first = make(), folder / "first"
    with loop.watch(first) as doctor:
        for _ in range(3):
            loop.epoch(doctor)
    measured = osler.read_vitals(first / "vitals.jsonl")
    begun = time.process_time()
    loop.epoch(None)
    bare, costs = time.process_time() - begun, []
    for count in EPOCHS:
        write_epochs(folder / str(count) / "vitals.jsonl", grown(measured, count))
        doctor = loop.watch(folder / str(count), resume=True)
        with Clock().on(*WATCH) as clock:
            costs.append(statistics.median(_taken(clock, partial(loop.epoch, doctor)) for _ in range(ENDS)))
    return costs, bare


def _taken(clock: Clock, work: Callable[[], object]) -> float:
    clock.take()
    work()
    return clock.take()


def lightning_costs(make: Callable[[], Loop], folder: Path) -> tuple[list[float], float]:
    """The same of a fit by Lightning: the mean of its epochs."""
    loop, first = make(), folder / "first"
    lightning_epochs(loop, first, 3, resume=False)
    measured = osler.read_vitals(first / "vitals.jsonl")
    costs, whole = [], 0.0
    for count in EPOCHS:
        write_epochs(folder / str(count) / "vitals.jsonl", grown(measured, count))
        begun = time.process_time()
        with Clock().on(*WATCH) as clock:
            lightning_epochs(make(), folder / str(count), ENDS, resume=True)
        costs.append(clock.take() / ENDS)
        whole = (time.process_time() - begun) / ENDS - costs[-1]
    return costs, whole


def own_run(options: argparse.Namespace, folder: Path) -> RunFolder:
    phantom = {"samples": options.batches * options.batch, "size": options.size}
    config = load_config(
        {
            "data": {"phantom": phantom, "cache": str(folder / "cache")},
            "preparation": {"size": options.size},
            "model": {"architecture": "small"},
            "training": {
                "epochs": 2 * options.pairs + 1, "batch_size": options.batch, "threads": options.threads, "device": "cpu",
                "early_stopping": None,
            },
        }
    )  # fmt: skip
    return train_run(config, folder / "own")


def own_costs(run: RunFolder) -> list[float]:
    """CPU seconds of the doctor and the records of Osler's own loop at an epoch's end, after each number of epochs."""
    measured, costs = osler.read_vitals(run.vitals_file), []
    for count in EPOCHS:
        *before, last = grown(measured, count + ENDS + 1)
        doctor = DoctorWatch(run, before[:count], "warn", Console(run.logs / "train.log"))
        table = MetricsTable(run.metrics_file, before[:count])
        table.add(before[count])  # the first of a run that goes on writes the whole table
        taken = []
        for vitals in [*before[count + 1 :], last]:
            begun = time.process_time()
            table.add(vitals)
            doctor.epoch_done(None, vitals, {})  # type: ignore[arg-type]
            taken.append(time.process_time() - begun)
        costs.append(statistics.median(taken))
    return costs


# --- whole loops --------------------------------------------------------------------------------------------------------------


def foreign_pairs(make: Callable[[], Loop], folder: Path, pairs: int) -> list[tuple[float, float]]:
    """Wall-clock seconds of epochs, bare and watched in turn; the first pair warms up and is left out."""
    plain, beside = make(), make()
    found = []
    with beside.watch(folder) as doctor:
        for _ in range(pairs + 1):
            marks = [time.perf_counter()]
            for loop, watch in ((plain, None), (beside, doctor)):
                loop.epoch(watch)
                marks.append(time.perf_counter())
            found.append((marks[1] - marks[0], marks[2] - marks[1]))
    return found[1:]


def own_pairs(options: argparse.Namespace, folder: Path) -> tuple[RunFolder, list[tuple[float, float]], float]:
    """A run whose doctor and records are there in every second epoch only.

    Returns:
        The run, wall-clock seconds of epochs without and with them, and the median CPU seconds of those without.
    """
    done, record, marks = DoctorWatch.epoch_done, Records.epoch_done, list[tuple[float, float]]()

    def every_second(self: DoctorWatch, *args: Any) -> None:
        if len(marks) % 2:
            done(self, *args)
        marks.append((time.perf_counter(), time.process_time()))

    def recorded(self: Records, state: Any, vitals: Any, outputs: Any) -> None:
        if len(marks) % 2:
            record(self, state, vitals, outputs)
        else:
            append_vitals(self.run.vitals_file, vitals)

    DoctorWatch.epoch_done, Records.epoch_done = every_second, recorded  # type: ignore[method-assign, assignment]
    try:
        run = own_run(options, folder)
    finally:
        DoctorWatch.epoch_done, Records.epoch_done = done, record  # type: ignore[method-assign]
    seconds = np.diff(marks, axis=0)  # of the epochs after the first, which warms up: with, without, with ...
    return run, list(zip(seconds[1::2, 0].tolist(), seconds[::2, 0].tolist(), strict=True)), float(np.median(seconds[1::2, 1]))


# --- tables -------------------------------------------------------------------------------------------------------------------


def cost_row(title: str, costs: Sequence[float], bare: float) -> bool:
    """Prints what the watch costs; whether that keeps the target."""
    cells = [f"{1000 * cost:.0f} ({cost / (cost + bare):.1%})" for cost in costs]
    print(f"| {title} | {bare:.2f} | {' | '.join(cells)} |", flush=True)
    return all(cost <= max(SECONDS, SHARE * bare) for cost in costs)


def pair_row(title: str, pairs: Sequence[tuple[float, float]]) -> None:
    bare = statistics.median(one for one, _ in pairs)
    more = sorted(1000 * (watched - plain) for plain, watched in pairs)
    shown = " · ".join(f"{each:+.0f}" for each in (more[0], statistics.median(more), more[-1]))
    print(f"| {title} | {bare:.2f} | {len(pairs)} | {shown} |", flush=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batches", type=int, default=6)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> int:
    options = parsed()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"calibration: {calibration_seconds():.2f} s · {options.threads} threads", flush=True)
    loops: dict[str, Callable[[], Loop]] = {
        "torch, 1 label": lambda: classifier(options, 1),
        "torch, 14 labels": lambda: classifier(options, 14),
        "torch, masks": lambda: segmenter(options),
    }
    with tempfile.TemporaryDirectory() as name, redirect_stderr(StringIO()):
        folder = Path(name)
        pairs = {title: foreign_pairs(make, folder / "pairs" / title, options.pairs) for title, make in loops.items()}
        run, pairs["Osler's own, 3 labels"], bare = own_pairs(options, folder)
        print(
            "\n| CPU ms of the watch in an epoch (share) | epoch, s | " + " | ".join(f"after {count}" for count in EPOCHS) + " |"
        )
        print("|--|--:" + len(EPOCHS) * "|--:" + "|")
        kept = [cost_row(title, *foreign_costs(make, folder / title)) for title, make in loops.items()]
        if find_spec("pytorch_lightning"):
            kept.append(cost_row("Lightning, 1 label", *lightning_costs(loops["torch, 1 label"], folder / "lightning")))
        kept.append(cost_row("Osler's own, 3 labels", own_costs(run), bare))
    print("\n| whole loop | bare epoch, s | pairs | watched less bare, ms: least · median · most |\n|--|--:|--:|--:|")
    for title, found in pairs.items():
        pair_row(title, found)
    print("target kept" if all(kept) else f"missed: more than {SHARE:.0%} of an epoch and more than {1000 * SECONDS:.0f} ms")
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
