"""A patient from a configuration: the data, loss, model, phases and loader that `osler train` would use."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from osler.checkup.answers import Answers, Form
from osler.checkup.patient import Draw, Fed, Patient, Scale, Stage, Start
from osler.config import Config
from osler.data.batches import Batch, EvalBatches
from osler.data.cache import PackedCache
from osler.data.load import Data, check_data
from osler.data.masks_prepared import PreparedMasks
from osler.data.samples import IGNORED
from osler.doctor.facts import Facts
from osler.metrics.floors import constant_loss
from osler.metrics.weights import count_labels, resolve_loss
from osler.runs.folder import RunFolder
from osler.tasks.build import build_task
from osler.tasks.classification import Classification
from osler.tasks.task import Task
from osler.train.machine import Machine, start_machine
from osler.train.plan import Phase, Plan, build_optimizer, build_plan
from osler.train.resolve import check_monitor, resolve
from osler.train.setup import Batches, build_batches, prepare_images, survey_masks, write_facts

__all__ = ["Parts", "built", "patient_of"]

VAL_SAMPLES = 800
"""Of val, at most so many are looked at, spread over it."""
DRAWN_EPOCHS = 3
DRAWN_MOST = 200_000


@dataclass(frozen=True)
class Parts:
    """What a run is made of before its first step, as `osler.train.fit` makes it.

    Attributes:
        config: resolved.
        masks: of each split, as they were prepared; empty where there are none.
        val_cache: where val's images come from; `cache`, but in tests.
        stated: facts laid over those that a run would write.
    """

    config: Config
    data: Data
    cache: PackedCache
    masks: Mapping[str, PreparedMasks]
    task: Task
    batches: Batches
    plan: Plan
    machine: Machine
    val_cache: PackedCache | None = None
    stated: Facts = field(default_factory=Facts)


@contextmanager
def built(config: Config, data: Data, stated: Facts) -> Iterator[Parts]:
    """Everything that a run of this configuration begins with; images are prepared into the cache that training uses.

    Raises:
        OslerError: the configuration, the data or the machine cannot be used.
    """
    check_monitor(config, data)
    config = resolve(config, data)
    with start_machine(config.training) as machine:
        data, cache = prepare_images(config, data, None)
        masks = survey_masks(data, cache, None)
        check_data(data)
        torch.manual_seed(config.training.seed)
        task = build_task(config, data, cache, masks)
        task.model.to(machine.device)
        task.loss.to(machine.device)
        batches = build_batches(config, data, cache, machine)
        plan = build_plan(config.training, len(batches.train))
        yield Parts(config, data, cache, masks, task, batches, plan, machine, None, stated)


def patient_of(parts: Parts, optimizer: Callable[[], torch.optim.Optimizer] | None = None) -> Patient:
    """The patient of a run's parts.

    Args:
        parts: of the run.
        optimizer: makes the optimiser of each phase; None: as the run does.
    """
    config, data, task = parts.config, parts.data, parts.task
    patients = data.source.patients
    return Patient(
        model=task.model,
        loss=_loss(task),
        answers=_answers(parts),
        stages=tuple(_stage(parts, phase, optimizer) for phase in parts.plan.phases),
        more=lambda: _feds(parts),
        val=_unchanged(parts, "val"),
        plain=_unchanged(parts, "train"),
        draw=_draw(parts),
        start=lambda feds: _start(task, feds),
        scale=_scale(parts),
        facts=run_facts(parts).over(parts.stated),
        stated=None if data.source.masks is not None else lambda fed: _stated(data, fed),
        probe=_probe(parts),
        autocast=parts.machine.autocast,
        full=255.0,
        patients={} if patients is None else {split: patients[data.rows[split]] for split in ("train", "val")},
        ids=lambda rows: [str(name) for name in data.source.ids[rows]],
        seed=config.training.seed,
    )


# --- model and loss -----------------------------------------------------------------------------------------------------------


def _loss(task: Task) -> Callable[[Any, Tensor], Tensor]:
    levels = task.kind == "segmentation"

    def loss(outputs: Any, targets: Tensor) -> Tensor:
        found = task.loss([outputs] if levels and isinstance(outputs, Tensor) else outputs, targets)
        return found.mean()  # type: ignore[no-any-return]

    return loss


def _answers(parts: Parts) -> Answers:
    source, task = parts.data.source, parts.task
    masks = source.masks is not None
    form: Form = "masks" if masks else "labels"
    size = parts.config.data.patches.size if parts.config.data.patches else parts.config.preparation.size
    assert isinstance(size, int), "the configuration is resolved"
    shape = (len(task.classes), size, size) if masks else (len(task.classes),)
    exclusive = source.exclusive if masks else task.kind == "multiclass"
    return Answers(form, shape, exclusive and len(task.classes) > 1, task.classes)


def _probe(parts: Parts) -> Callable[[Tensor, NDArray[np.float64]], float] | None:
    """The configured loss by its formula, for constant outputs; None for masks, whose floors the figures hold."""
    task = parts.task
    if not isinstance(task, Classification):
        return None
    kind, spec = task.kind, resolve_loss(parts.config.loss, parts.data.drawn_counts)
    return lambda targets, logits: constant_loss(spec, count_labels(targets.cpu().numpy(), kind), logits)


def _start(task: Task, feds: Sequence[Fed]) -> Start:
    """Loss and floor as an epoch's vitals would give them."""
    outputs = task.outputs(training=True)
    with torch.no_grad():
        for fed in feds:
            batch = _batch(task, fed)
            logits, terms = task.forward(task.model, batch)
            outputs.add(logits, batch, terms)
    figures = task.figures(outputs.gathered())
    loss = figures["loss"]
    return Start(loss["value"], loss["se"], figures["floor"], figures["skill_reason"])


def _batch(task: Task, fed: Fed) -> Batch:
    rows = np.arange(len(fed)) if fed.rows is None else fed.rows
    if task.kind != "segmentation":
        return Batch(fed.images, fed.targets, rows, rows, 0)
    present = (fed.targets == 1).flatten(2).any(2).float()
    return Batch(fed.images, present, rows, rows, 0, fed.targets)


# --- batches ------------------------------------------------------------------------------------------------------------------


def _fed(batch: Batch) -> Fed:
    return Fed(batch.images, batch.targets if batch.masks is None else batch.masks, batch.rows)


def _feds(parts: Parts) -> Iterator[Fed]:
    """Training's own batches, epoch after epoch, as the run would draw them."""
    for epoch in range(1, 10_000):
        yield from (_fed(batch) for batch in parts.batches.train.epoch(epoch))


def _unchanged(parts: Parts, split: str) -> tuple[Fed, ...]:
    """Samples of a split as evaluation sees them: spread over it, in few batches."""
    data, device = parts.data, parts.machine.device
    cache = parts.val_cache if split == "val" and parts.val_cache is not None else parts.cache
    rows = data.rows[split]
    some = np.unique(np.linspace(0, len(rows) - 1, VAL_SAMPLES).astype(int))
    masks = data.source.masks is not None
    size = max(1, parts.config.training.batch_size if masks else 2 * parts.config.training.batch_size)
    channels = cache.channels if masks else None
    batches = EvalBatches(cache.gather, rows[some], data.targets(split)[some], size, device, channels)
    most = 16 if masks else None
    return tuple(_fed(batch) for batch in islice(batches, most))


def _stated(data: Data, fed: Fed) -> Tensor:
    assert fed.rows is not None, "batches of a configuration know their rows"
    return torch.from_numpy(data.source.targets[fed.rows])


def _draw(parts: Parts) -> Draw:
    """Labels of the first epochs, batch by batch, without any image."""
    targets, train = parts.data.targets("train").astype(np.float64), parts.batches.train
    size = parts.config.training.batch_size
    batches, seen, epochs = [], [], 0
    for epoch in range(1, DRAWN_EPOCHS + 1):
        order = train.samples(epoch)
        seen.append(order)
        batches += [targets[order[first : first + size]] for first in range(0, len(order) - size + 1, size)] or [targets[order]]
        epochs += 1
        if epochs * len(order) > DRAWN_MOST:
            break
    has = targets == 1
    natural = np.array([*np.nanmean(has, axis=0), float((~has.any(axis=1)).mean())])
    return Draw(tuple(batches), natural, len(targets), len(np.unique(np.concatenate(seen))), float(epochs))


# --- training -----------------------------------------------------------------------------------------------------------------


def _stage(parts: Parts, phase: Phase, optimizer: Callable[[], torch.optim.Optimizer] | None) -> Stage:
    model, training = parts.task.model, parts.config.training
    make = optimizer or (lambda: build_optimizer(training, model))
    return Stage(phase.part, lambda: model.train_part(phase.part), make, phase.learning_rate)


def _scale(parts: Parts) -> Scale:
    plan, training = parts.plan, parts.config.training
    distance = float(sum(plan.learning_rate(phase, step) for phase in plan.phases for step in range(phase.steps)))
    folder = next(
        each for each in (parts.config.run.folder.absolute(), *parts.config.run.folder.absolute().parents) if each.exists()
    )
    return Scale(
        epochs=plan.epochs,
        steps=plan.epochs * plan.steps_per_epoch,
        distance=distance,
        batches=len(parts.batches.train),
        val_batches=len(parts.batches.val),
        clip=training.clip_norm,
        accumulate=training.accumulate,
        disk=shutil.disk_usage(folder).free,
        average=training.ema is not None,
    )


def run_facts(parts: Parts) -> Facts:
    """The facts that a run would write of itself, and the configuration's keys that they do not hold."""
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        data, task = parts.data, parts.task
        write_facts(parts.config, data, parts.cache, parts.masks, task, parts.plan, parts.machine, run, data.fingerprint())
        stated = run.read(run.facts_file)
    known = {key: value for key, value in stated.items() if key not in ("schema", "notes")}
    return Facts.of(known, "facts.json", strict=False)


def empty_share(fed: Fed) -> float:
    """Share of the masks of bytes in which nothing is foreground."""
    known = fed.targets != IGNORED
    return float((~((fed.targets == 1) & known).flatten(1).any(1)).float().mean())
