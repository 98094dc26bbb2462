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
from osler.runs.folder import RunFolder
from osler.tasks.classification import Classification
from osler.train.machine import Machine, environment
from osler.train.plan import Plan
from osler.train.state import TrainingState
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
        missing = [split for split in ("train", "val") if split not in data.rows]
        if missing:
            raise DataError(f"data: no readable image is left in {' and '.join(missing)}.")
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

    fixed = EvalBatches(
        cache.gather, data.rows["val"][:GAP_SAMPLES], data.targets("val")[:GAP_SAMPLES], GAP_SAMPLES, machine.device
    )
    return Batches(train, in_order("val"), in_order("test") if "test" in data.rows else None, next(iter(fixed)))


@dataclass(frozen=True)
class Watchers:
    """All watchers of a run; ranks after the first have only the one for signals."""

    signals: Signals
    checkpoints: Checkpoints
    console: Console | None
    all: tuple[Watcher, ...]


def build_watchers(
    config: Config, task: Classification, batches: Batches, state: TrainingState, run: RunFolder, console: Console | None
) -> Watchers:
    """The watchers that the configuration asks for, in the order in which they hear of an epoch."""
    signals, checkpoints = Signals(), Checkpoints(run, config.training.checkpoint_every)
    if console is None:
        return Watchers(signals, checkpoints, None, (signals,))
    epoch = state.position.epoch
    first = next(iter(batches.train.epoch(epoch)))
    watchers: list[Watcher] = [
        signals,
        Records(run, epoch),
        Board(run.logs, task.classes, first.images, epoch),
        console,
        checkpoints,
    ]
    if config.doctor.collapse_check is not None:
        watchers.append(Collapse(config.doctor.collapse_check, task.kind, task.classes, console))
    return Watchers(signals, checkpoints, console, tuple(watchers))


def write_facts(
    config: Config, data: Data, cache: PackedCache, task: Classification, plan: Plan, machine: Machine, run: RunFolder
) -> None:
    """Writes `env.json`, `facts.json` and `splits.csv`: what is known once per run."""
    packages = ("osler", "numpy", "opencv-python-headless", "pandas", "timm", "torchvision")
    env = environment(machine, {name: version(name) for name in packages})
    run.write(
        run.env_file,
        {
            **env,
            "seed": config.training.seed,
            "data_fingerprint": data.fingerprint(),
            "preparation_fingerprint": cache.preparation.fingerprint(),
        },
    )
    spec = task.loss_spec
    counts = {split: data.counts(split) for split in data.rows}
    facts: dict[str, Any] = {
        "schema": "osler.facts/1",
        "task": task.kind,
        "classes": list(task.classes),
        "synthetic": config.data.source == "phantom",
        "data.fingerprint": data.fingerprint(),
        "data.sampler": config.data.sampler,
        "model.architecture": config.model.architecture,
        "model.pretrained": config.model.pretrained,
        "model.parameters": sum(parameter.numel() for parameter in task.model.parameters()),
        "loss.type": spec.type,
        "loss.pos_weight": spec.pos_weight,
        "loss.class_weights": spec.class_weights,
        "loss.alpha": spec.alpha,
        "loss.gamma": spec.gamma if spec.type == "focal" else None,
        "loss.label_smoothing": spec.label_smoothing,
        "training.epochs": plan.epochs,
        "training.steps_per_epoch": plan.steps_per_epoch,
        "training.batch_size": config.training.batch_size,
        "training.accumulate": config.training.accumulate,
        "training.ranks": machine.ranks.world,
        "training.optimizer": config.training.optimizer,
        "training.schedule": config.training.schedule,
        "training.learning_rate": config.training.learning_rate,
        "training.warmup_steps": plan.phases[0].warmup,
        "training.warmup_epochs": plan.phases[0].warmup / max(1, plan.steps_per_epoch),
        "training.early_stopping": config.training.early_stopping,
        "training.monitor": config.training.monitor,
        "prevalence.drawn": dict(zip(task.classes, data.drawn_counts.prevalence.tolist(), strict=True)),
        **{f"samples.{split}": len(rows) for split, rows in data.rows.items()},
        **{
            f"prevalence.{split}": dict(zip(task.classes, count.prevalence.tolist(), strict=True))
            for split, count in counts.items()
        },
        **{f"split.hash.{split}": digest for split, digest in data.hashes().items()},
        "notes": [*data.notes, *cache.notes],
    }
    patients = data.source.patients
    if patients is not None:
        facts |= {f"patients.{split}": len(np.unique(patients[rows])) for split, rows in data.rows.items()}
    run.write(run.facts_file, facts)
    write_text(run.splits_file, data.table().to_csv(index=False, lineterminator="\n"))
