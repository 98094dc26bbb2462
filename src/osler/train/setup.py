"""What a run is made of before its first step: prepared images, batches, watchers, and the facts written once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from rich.progress import Progress

from osler.config import Config
from osler.data.augment import Augmenter
from osler.data.batches import Batch, EvalBatches, TrainBatches
from osler.data.cache import PackedCache, cache_folder, open_cache
from osler.data.load import Data
from osler.errors import DataError
from osler.files import write_text
from osler.imaging.preparation import Preparation
from osler.metrics.weights import LabelCounts
from osler.runs.folder import RunFolder
from osler.tasks.classification import Classification
from osler.train.machine import Machine, environment
from osler.train.plan import Plan
from osler.train.state import TrainingState
from osler.train.watch import DoctorWatch
from osler.train.watchers import Board, Checkpoints, Collapse, Console, Records, Signals, Watcher

__all__ = ["Batches", "Watchers", "build_batches", "build_watchers", "prepare_images", "write_facts"]

GAP_SAMPLES = 64
SHOWN = 5


def prepare_images(config: Config, data: Data, console: Console | None) -> tuple[Data, PackedCache]:
    """Prepares every image in use that the cache lacks, and leaves out or reports those that cannot be read.

    Raises:
        DataError: images cannot be read and `data.unreadable` is "error", or none of a split is left.
    """
    cache = open_cache(data.source, Preparation(config.preparation), cache_folder(config.data.cache))
    rows = np.concatenate(list(data.rows.values()))
    assert config.data.workers != "auto", "the configuration is resolved before images are prepared"
    with _progress(console) as tell:
        cache.ensure(rows, config.data.workers, tell)
    bad = {row: cache.unreadable[row] for row in rows.tolist() if row in cache.unreadable}
    if bad and config.data.unreadable == "error":
        shown = "\n".join(f"  {message}" for message in list(bad.values())[:SHOWN])
        more = f"\n  and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise DataError(
            f"data: {len(bad)} of {len(rows)} images cannot be read:\n{shown}{more}\n"
            "Mend or remove them, or set data.unreadable: skip to leave them out and have that recorded."
        )
    if bad:
        data = data.without(set(bad))
    if console is not None:
        for note in (*data.notes, *cache.notes):
            console.say(f"note: {note}")
    return data, cache


@contextmanager
def _progress(console: Console | None) -> Iterator[Any]:
    """A bar for preparing images, shown only while there is something to prepare."""
    if console is None:
        yield None
        return
    with Progress(console=console.console, transient=True, disable=not console.console.is_terminal) as bar:
        task = bar.add_task("Preparing images", total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


@dataclass(frozen=True)
class Batches:
    """Batches of each split; `fixed` is one batch of val for the gap between training and evaluation mode."""

    train: TrainBatches
    val: EvalBatches
    test: EvalBatches | None
    fixed: Batch


def build_batches(config: Config, data: Data, cache: PackedCache, machine: Machine) -> Batches:
    """Batches of the splits for this rank."""
    training, place = config.training, machine.ranks
    train = TrainBatches(
        cache.gather,
        data.rows["train"],
        data.targets("train"),
        training.batch_size,
        training.seed,
        draw_weights=data.draw_weights,
        augmenter=Augmenter(config.augmentation, training.seed),
        device=machine.device,
        rank=place.rank,
        world=place.world,
        accumulate=training.accumulate,
    )

    def in_order(split: str, count: int | None = None, shared: bool = True) -> EvalBatches:
        step = slice(place.rank, count, place.world) if shared else slice(0, count)
        size = 2 * training.batch_size
        return EvalBatches(cache.gather, data.rows[split][step], data.targets(split)[step], size, machine.device)

    # Spread over val: in a folder's order the first samples may all be of one class.
    some = np.unique(np.linspace(0, len(data.rows["val"]) - 1, GAP_SAMPLES).astype(int))
    fixed = EvalBatches(cache.gather, data.rows["val"][some], data.targets("val")[some], GAP_SAMPLES, machine.device)
    return Batches(train, in_order("val"), in_order("test") if "test" in data.rows else None, next(iter(fixed)))


@dataclass(frozen=True)
class Watchers:
    """All watchers of a run; ranks after the first have only the one for signals."""

    signals: Signals
    checkpoints: Checkpoints
    console: Console | None
    doctor: DoctorWatch | None
    all: tuple[Watcher, ...]


def build_watchers(
    config: Config, task: Classification, batches: Batches, state: TrainingState, run: RunFolder, console: Console | None
) -> Watchers:
    """The watchers that the configuration asks for, in the order in which they hear of an epoch."""
    signals, checkpoints = Signals(), Checkpoints(run, config.training.checkpoint_every)
    if console is None:
        return Watchers(signals, checkpoints, None, None, (signals,))
    epoch = state.position.epoch
    first = next(iter(batches.train.epoch(epoch)))
    records, board = Records(run, epoch), Board(run.logs, task.classes, first.images, epoch)
    doctor = DoctorWatch(run, list(records.epochs), config.doctor.on_critical, console)
    watchers: list[Watcher] = [signals, records, board, console, doctor, checkpoints]
    if config.doctor.collapse_check is not None:
        watchers.append(Collapse(config.doctor.collapse_check, task.kind, task.classes, console))
    return Watchers(signals, checkpoints, console, doctor, tuple(watchers))


def write_facts(
    config: Config,
    data: Data,
    cache: PackedCache,
    task: Classification,
    plan: Plan,
    machine: Machine,
    run: RunFolder,
    fingerprint: str,
) -> None:
    """Writes `env.json`, `facts.json` and `splits.csv`: what is known once per run.

    Args:
        fingerprint: of the data as they were loaded, before unreadable images were left out; resume compares it.
    """
    packages = ("osler", "numpy", "opencv-python-headless", "pandas", "timm", "torchvision")
    env = environment(machine, {name: version(name) for name in packages})
    prints = {"data_fingerprint": fingerprint, "preparation_fingerprint": cache.preparation.fingerprint()}
    run.write(run.env_file, {**env, "seed": config.training.seed, **prints})
    facts: dict[str, Any] = {
        "schema": "osler.facts/1",
        "task": task.kind,
        "classes": list(task.classes),
        "synthetic": config.data.source == "phantom",
        "data.fingerprint": fingerprint,
        **_data_facts(config, data, task),
        "model.architecture": config.model.architecture,
        "model.pretrained": config.model.pretrained,
        "model.parameters": sum(parameter.numel() for parameter in task.model.parameters()),
        **_loss_facts(task),
        **_training_facts(config, plan, machine),
        "notes": [*data.notes, *cache.notes],
    }
    run.write(run.facts_file, facts)
    write_text(run.splits_file, data.table().to_csv(index=False, lineterminator="\n"))


def _data_facts(config: Config, data: Data, task: Classification) -> dict[str, Any]:
    def by_class(counts: LabelCounts) -> dict[str, float]:
        return dict(zip(task.classes, counts.prevalence.tolist(), strict=True))

    patients = data.source.patients
    facts: dict[str, Any] = {"data.sampler": config.data.sampler, "prevalence.drawn": by_class(data.drawn_counts)}
    for split, rows in data.rows.items():
        facts[f"samples.{split}"] = len(rows)
        facts[f"prevalence.{split}"] = by_class(data.counts(split))
        if patients is not None:
            facts[f"patients.{split}"] = len(np.unique(patients[rows]))
    return facts | {f"split.hash.{split}": digest for split, digest in data.hashes().items()}


def _loss_facts(task: Classification) -> dict[str, Any]:
    spec = task.loss_spec
    return {
        "loss.type": spec.type,
        "loss.pos_weight": spec.pos_weight,
        "loss.class_weights": spec.class_weights,
        "loss.alpha": spec.alpha,
        "loss.gamma": spec.gamma if spec.type == "focal" else None,
        "loss.label_smoothing": spec.label_smoothing,
    }


def _training_facts(config: Config, plan: Plan, machine: Machine) -> dict[str, Any]:
    training, phases = config.training, plan.phases
    return {
        "training.epochs": plan.epochs,
        "training.steps_per_epoch": plan.steps_per_epoch,
        "training.batch_size": training.batch_size,
        "training.accumulate": training.accumulate,
        "training.ranks": machine.ranks.world,
        "training.optimizer": training.optimizer,
        "training.schedule": training.schedule,
        "training.learning_rate": max(phase.learning_rate for phase in phases),
        "training.phases": [
            {"train": phase.part, "epochs": phase.epochs, "learning_rate": phase.learning_rate} for phase in phases
        ],
        "training.warmup_steps": phases[0].warmup,
        "training.warmup_epochs": phases[0].warmup / max(1, plan.steps_per_epoch),
        "training.early_stopping": training.early_stopping,
        "training.monitor": training.monitor,
    }
