"""Training, top to bottom: data, plan, task, loop."""

from __future__ import annotations

import re
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from osler.config import Config
from osler.data.load import Data, check_data, load_data
from osler.errors import DataError, ModelError, OslerError, RunError
from osler.runs.folder import RunFolder
from osler.tasks.build import build_task
from osler.tasks.task import Task
from osler.train.finish import finish
from osler.train.loop import NonFiniteLossError, train_epoch
from osler.train.machine import Machine, ranks, start_machine
from osler.train.measure import measure
from osler.train.plan import build_plan
from osler.train.resolve import check_monitor, load_same_data, resolve
from osler.train.setup import Batches, Watchers, build_batches, build_watchers, prepare_images, survey_masks, write_facts
from osler.train.state import TrainingState, load_checkpoint
from osler.train.watchers import Console, Watcher

OUT_OF_MEMORY = re.compile("not enough memory|can't allocate memory|out of memory")

__all__ = ["TrainingStoppedError", "fit", "resume_run", "train_run"]


class TrainingStoppedError(RunError):
    """A run that ended before its plan did.

    Attributes:
        run: its folder; `osler resume` continues it.
        exit_code: 1 for a non-finite loss or the doctor, 128 + the signal's number for a signal.
    """

    def __init__(self, message: str, run: RunFolder, exit_code: int) -> None:
        super().__init__(message)
        self.run = run
        self.exit_code = exit_code


def train_run(config: Config, folder: Path | None = None, start_from: Path | None = None) -> RunFolder:
    """Trains a new run and returns its folder.

    Args:
        config: `auto` is resolved here.
        folder: absent or empty; None: `<run.folder>/<run.name>_<timestamp>`.
        start_from: a checkpoint whose training state the run starts from.

    Raises:
        OslerError: for everything that a user can cause.
        TrainingStoppedError: by a signal, the doctor, or a non-finite loss; the run can be resumed.
    """
    data = load_data(config.data)
    check_monitor(config, data)
    config = resolve(config, data)
    state = None if start_from is None else Start(load_checkpoint(start_from), start_from, resumed=False)
    run = RunFolder.create(config, folder) if ranks().first else RunFolder(folder or config.run.folder)
    if ranks().first:
        run.write_config(config)
    try:
        return fit(config, data, run, state)
    except TrainingStoppedError:
        raise
    except OslerError:
        if ranks().first and not run.vitals_file.exists() and not any(run.checkpoints.glob("*.pt")):
            shutil.rmtree(run.path)  # nothing was trained: the corrected command may use the same folder
        raise


def resume_run(folder: Path | str) -> RunFolder:
    """Continues a run in its own folder from its last checkpoint, to the same bits as if it had never stopped.

    Raises:
        RunError: no run, a damaged checkpoint, or data that changed since.
    """
    run = RunFolder.open(folder)
    config = run.config()
    data = load_same_data(run, config)
    last = run.checkpoints / "last.pt"
    return fit(config, data, run, Start(load_checkpoint(last), last, resumed=True) if last.exists() else None)


@dataclass(frozen=True)
class Start:
    """A training state to go on from: this run's own, resumed, or another run's."""

    content: Mapping[str, Any]
    path: Path
    resumed: bool


def fit(config: Config, data: Data, run: RunFolder, start: Start | None = None) -> RunFolder:
    """The run itself; `start` is what it continues from."""
    first = ranks().first
    with run.in_use() if first else nullcontext(), start_machine(config.training) as machine:
        run = _agreed(run, machine)
        console = Console(run.logs / "train.log") if first else None
        fingerprint = data.fingerprint()
        with _said_when_out_of_memory(config), _closing(console):
            with _one_after_the_other(machine):
                data, cache = prepare_images(config, data, console)
                masks = survey_masks(data, cache, console)
            check_data(data)  # again, now that unreadable images are left out
            check_monitor(config, data)
            torch.manual_seed(config.training.seed)  # the model's random weights; every later draw names its own seed
            task = build_task(_without_pretrained(config) if start else config, data, cache, masks)
            task.model.to(machine.device)
            task.loss.to(machine.device)
            batches = build_batches(config, data, cache, machine)
            plan = build_plan(config.training, len(batches.train))
            state = TrainingState(config, task, plan, machine)
            if start is not None:
                take_up = state.load if start.resumed else state.start_from
                take_up(start.content, start.path)
            if console is not None:
                for note in task.model.notes:
                    console.say(f"note: {note}")
                write_facts(config, data, cache, masks, task, plan, machine, run, fingerprint)
            watchers = build_watchers(config, task, batches, state, run, console)
            with _closing(*watchers.all):
                _train_epochs(task, batches, state, watchers, run)
                finish(config, data, task, batches, state, cache, run)
    return run


def _train_epochs(task: Task, batches: Batches, state: TrainingState, watchers: Watchers, run: RunFolder) -> None:
    """All epochs of all phases, from the state's position on."""
    best, first = run.checkpoints / "best.pt", state.machine.ranks.first
    network = _joined(task.model, state.machine)
    while not state.progress.stop_reason:
        if not state.position.begun:
            state.begin_phase(best)
            network = _joined(task.model, state.machine)
        started = time.perf_counter()
        task.begin_epoch(state.position.epoch)
        try:
            whole = train_epoch(task, network, batches.train, state, watchers.all)
        except NonFiniteLossError as error:
            raise TrainingStoppedError(f"{run.path}: {error}", run, 1) from error
        if whole:
            _average_statistics(state)
            try:
                vitals, outputs = measure(task, batches, state, started)
            except DataError as error:  # outputs that are not finite: what was trained is kept
                raise TrainingStoppedError(f"{run.path}: epoch {state.position.epoch}: {error}", run, 1) from error
            value = task.monitored(state.config.training.monitor, vitals["val"])
            improved = state.take_figure(value)
            vitals["monitor"] |= {
                "value": value,
                "best": state.progress.best,
                "best_epoch": state.progress.best_epoch,
                "improved": improved,
            }
            for watcher in watchers.all:
                watcher.epoch_done(state, vitals, outputs)
            if improved and first:
                state.save_weights(best)
            state.end_epoch()
        if first:
            watchers.checkpoints.save(state)
        _together()
        watchers.signals.agree(state)
        if watchers.signals.agreed is not None and not state.progress.stop_reason:
            raise _stopped_by_signal(watchers.signals.agreed, state, run)
        if watchers.doctor is not None and watchers.doctor.wants_stop and not state.progress.stop_reason:
            raise TrainingStoppedError(
                f"{run.path}: stopped by the doctor (doctor.on_critical): {watchers.doctor.reason}", run, 1
            )


def _stopped_by_signal(number: int, state: TrainingState, run: RunFolder) -> TrainingStoppedError:
    place = f"epoch {state.position.epoch}, batch {state.position.batch}"
    name = signal.Signals(number).name
    return TrainingStoppedError(
        f"{run.path}: stopped by {name} at {place}; `osler resume {run.path}` continues it.", run, 128 + number
    )


def _joined(model: nn.Module, machine: Machine) -> nn.Module:
    """The model, wrapped so that gradients are averaged over ranks where there are several.

    BatchNorm normalises each rank's micro-batch by itself, as one process does that accumulates micro-batches; its stored
    statistics are averaged over ranks at each epoch's end.
    """
    if machine.ranks.world == 1:
        return model
    devices = [machine.device] if machine.device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(model, device_ids=devices, broadcast_buffers=False)


@torch.no_grad()
def _average_statistics(state: TrainingState) -> None:
    """Averages BatchNorm's stored statistics, and the moving average of them, over ranks: all evaluate the same network."""
    if not dist.is_initialized():
        return
    kept = [] if state.average is None else state.average.average
    for tensor in (*state.model.buffers(), *kept):
        if tensor.is_floating_point():
            dist.all_reduce(tensor)
            tensor /= dist.get_world_size()


@contextmanager
def _closing(*watchers: Watcher | None) -> Iterator[None]:
    try:
        yield
    finally:
        for watcher in watchers:
            if watcher is not None:
                watcher.close()


def _without_pretrained(config: Config) -> Config:
    """A checkpoint holds all weights; the file or hub that the first ones came from need not be there again."""
    return config.model_copy(update={"model": config.model.model_copy(update={"pretrained": None})})


def _agreed(run: RunFolder, machine: Machine) -> RunFolder:
    """The first rank's run folder, on every rank."""
    if machine.ranks.world == 1:
        return run
    path = [run.path]
    dist.broadcast_object_list(path)
    return RunFolder(path[0])


def _together() -> None:
    if dist.is_initialized():
        dist.barrier()


@contextmanager
def _one_after_the_other(machine: Machine) -> Iterator[None]:
    """The first rank goes ahead, so that images are prepared once and the others find them."""
    if not machine.ranks.first:
        _together()
    yield
    if machine.ranks.first:
        _together()


@contextmanager
def _said_when_out_of_memory(config: Config) -> Iterator[None]:
    """Turns the many ways of running out of memory into one message."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and not OUT_OF_MEMORY.search(str(error)):
            raise
        training = config.training
        raise ModelError(
            f"out of memory with training.batch_size {training.batch_size} at {config.preparation.size} pixels on "
            f"{training.device}. Try training.batch_size={max(1, training.batch_size // 2)} "
            f"training.accumulate={2 * training.accumulate}, which trains the same, or a smaller preparation.size. "
            "What the run had saved is kept."
        ) from error
