"""What a run is made of before its first step: prepared images, batches, watchers, and the facts written once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from osler.config import Config
from osler.data.augment import Augmenter
from osler.data.batches import Batch, EvalBatches, TrainBatches
from osler.data.cache import PackedCache, cache_folder, open_cache
from osler.data.load import Data
from osler.data.masks_prepared import PreparedMasks, prepared_masks
from osler.data.shared import shared_between_splits
from osler.errors import DataError
from osler.files import write_text
from osler.imaging.preparation import Preparation
from osler.runs.folder import RunFolder
from osler.tasks.segmentation import eval_batch_size
from osler.tasks.task import Task
from osler.train.machine import Machine, environment
from osler.train.plan import Plan
from osler.train.state import TrainingState
from osler.train.watch import DoctorWatch
from osler.train.watchers import Board, Checkpoints, Collapse, Console, Records, Signals, Watcher

__all__ = ["Batches", "Watchers", "build_batches", "build_watchers", "prepare_images", "survey_masks", "write_facts"]

GAP_SAMPLES = 64
SHOWN = 5


def prepare_images(config: Config, data: Data, console: Console | None) -> tuple[Data, PackedCache]:
    """Prepares every image in use that the cache lacks, and leaves out or reports those that cannot be read.

    Raises:
        DataError: images cannot be read and `data.unreadable` is "error", more than `data.unreadable_limit` allows, or none of
            a split is left.
    """
    cache = open_cache(data.source, Preparation(config.preparation), cache_folder(config.data.cache))
    rows = np.concatenate(list(data.rows.values()))
    assert config.data.workers != "auto", "the configuration is resolved before images are prepared"
    most = config.data.most_unreadable(len(rows)) if config.data.unreadable == "skip" else None
    with _progress(console) as tell:
        cache.ensure(rows, config.data.workers, tell, most_unreadable=most)
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


def survey_masks(data: Data, cache: PackedCache, console: Console | None) -> dict[str, PreparedMasks]:
    """The masks of each split as they were prepared; lesions that resizing erased are reported."""
    if data.source.masks is None:
        return {}
    masks = {split: prepared_masks(cache, rows) for split, rows in data.rows.items()}
    if console is not None:
        for split, prepared in masks.items():
            for note in prepared.notes:
                console.warn(f"{split}: {note}")
    return masks


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
    channels = None if data.source.masks is None else cache.channels
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
        channels=channels,
        patches=config.data.patches,
    )
    size = 2 * training.batch_size if channels is None else eval_batch_size(config)

    def in_order(split: str) -> EvalBatches:
        rows, targets = data.rows[split], data.targets(split)
        return EvalBatches(cache.gather, rows, targets, size, machine.device, channels, place.rank, place.world)

    # Spread over val: in a folder's order the first samples may all be of one class.
    some = np.unique(np.linspace(0, len(data.rows["val"]) - 1, GAP_SAMPLES).astype(int))
    some = some[: max(2, size)] if channels is not None else some  # of masks no more than fits in memory at once
    fixed = EvalBatches(cache.gather, data.rows["val"][some], data.targets("val")[some], GAP_SAMPLES, machine.device, channels)
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
    config: Config, task: Task, batches: Batches, state: TrainingState, run: RunFolder, console: Console | None
) -> Watchers:
    """The watchers that the configuration asks for, in the order in which they hear of an epoch."""
    signals, checkpoints = Signals(), Checkpoints(run, config.training.checkpoint_every)
    if console is None:
        return Watchers(signals, checkpoints, None, None, (signals,))
    epoch = state.position.epoch
    first = next(iter(batches.train.epoch(epoch)))
    records, board = Records(run, epoch), Board(run.logs, task.classes, first.images, epoch)
    doctor = DoctorWatch(run, records.table.epochs, config.doctor.on_critical, console)
    watchers: list[Watcher] = [signals, records, board, console, doctor, checkpoints]
    if config.doctor.collapse_check is not None:
        watchers.append(Collapse(config.doctor.collapse_check, task.classes, console))
    return Watchers(signals, checkpoints, console, doctor, tuple(watchers))


def write_facts(
    config: Config,
    data: Data,
    cache: PackedCache,
    masks: Mapping[str, PreparedMasks],
    task: Task,
    plan: Plan,
    machine: Machine,
    run: RunFolder,
    fingerprint: str,
) -> None:
    """Writes `env.json`, `facts.json` and `splits.csv`: what is known once per run.

    Args:
        masks: of each split, as they were prepared; empty where there are none.
        fingerprint: of the data as they were loaded, before unreadable images were left out; resume compares it.
    """
    packages = ("osler", "numpy", "opencv-python-headless", "pandas", "timm", "torchvision", "segmentation-models-pytorch")
    env = environment(machine, {name: version(name) for name in packages})
    prints = {"data_fingerprint": fingerprint, "preparation_fingerprint": cache.preparation.fingerprint()}
    run.write(run.env_file, {**env, "seed": config.training.seed, **prints})
    facts: dict[str, Any] = {
        "schema": "osler.facts/1",
        "task": task.kind,
        "classes": list(task.classes),
        "synthetic": config.data.source == "phantom",
        "data.fingerprint": fingerprint,
        **_data_facts(config, data, task, masks),
        **shared_between_splits(cache, data.rows, data.source.patients),
        "model.architecture": config.model.architecture,
        "model.pretrained": config.model.pretrained,
        "model.parameters": sum(parameter.numel() for parameter in task.model.parameters()),
        "model.dropout": None if task.kind == "segmentation" else config.model.dropout,
        **task.facts(),
        **_training_facts(config, plan, machine),
        "notes": [*data.notes, *cache.notes, *(f"{split}: {note}" for split in masks for note in masks[split].notes)],
    }
    run.write(run.facts_file, facts)
    write_text(run.splits_file, data.table().to_csv(index=False, lineterminator="\n"))


def _mask_facts(split: str, masks: PreparedMasks, task: Task) -> dict[str, Any]:
    return {
        f"foreground.{split}": dict(zip(task.classes, masks.shares_of_all.tolist(), strict=True)),
        f"empty.{split}": masks.empty / max(1, int((masks.known > 0).sum())),
        f"lesions.{split}": masks.lesions,
        f"lesions_erased.{split}": masks.erased,
    }


def _data_facts(config: Config, data: Data, task: Task, masks: Mapping[str, PreparedMasks]) -> dict[str, Any]:
    def by_class(values: NDArray[np.float64]) -> dict[str, float]:
        return dict(zip(task.classes, values.tolist(), strict=True))

    patients = data.source.patients
    section = config.data
    facts: dict[str, Any] = {"data.sampler": section.sampler, "prevalence.drawn": by_class(data.drawn_counts.prevalence)}
    if section.sampler not in ("none", "balanced"):
        read = ("sampler_reduce", "sampler_beta", "no_finding_weight")
        facts |= {f"data.{name}": getattr(section, name) for name in read}
    for split, rows in data.rows.items():
        facts[f"samples.{split}"] = len(rows)
        facts[f"prevalence.{split}"] = by_class(data.counts(split).prevalence)
        if patients is not None:
            facts[f"patients.{split}"] = len(np.unique(patients[rows]))
        if split in masks:
            facts |= _mask_facts(split, masks[split], task)
    return facts | {f"split.hash.{split}": digest for split, digest in data.hashes().items()}


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
        "training.min_delta": training.min_delta,
        "training.monitor": training.monitor,
        "training.weight_decay": training.weight_decay,
        "training.clip_norm": training.clip_norm,
        "training.ema": training.ema,
        "model.output_bias": config.model.output_bias,
        **_augmentation_facts(config),
    }


def _augmentation_facts(config: Config) -> dict[str, Any]:
    if config.augmentation is None:
        return {"augmentation": None}
    return {f"augmentation.{name}": value for name, value in config.augmentation.model_dump().items()}
