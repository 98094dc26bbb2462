"""A patient from a person's own model, loss and loader."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from osler.checkup.answers import Answers, finest, read_answers
from osler.checkup.constants import best_constant
from osler.checkup.patient import Draw, Fed, Patient, Scale, Stage, Start
from osler.doctor.facts import Facts
from osler.errors import RequestError

__all__ = ["patient_of_loop"]

FIRST_BATCHES = 24
VAL_SAMPLES = 800
RATE = 1e-3
"""Where there is no optimiser, AdamW with torch's own rate stands in."""


def patient_of_loop(
    model: nn.Module,
    loss: Callable[[Any, Any], Any],
    loader: Iterable[Any],
    optimizer: torch.optim.Optimizer | None,
    val_loader: Iterable[Any] | None,
    epochs: float | None = None,
) -> Patient:
    """The patient of a loop; batches are (images, targets) tuples.

    Raises:
        RequestError: the loader, or what model and loss make of its batches, is of no form that a checkup knows.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    first = list(itertools.islice(_feds(loader, device, "loader"), FIRST_BATCHES))
    if not first:
        raise RequestError("loader: is empty; a checkup needs at least one batch of (images, targets)")
    answers = _answers(model, first[0])
    val = () if val_loader is None else tuple(_some(_feds(val_loader, device, "val_loader"), VAL_SAMPLES))
    stage = _stage(model, optimizer)
    labels = tuple(answers.labels(fed.targets) for fed in first)
    batches = len(loader) if isinstance(loader, Sized) else None
    steps = math.nan if batches is None or epochs is None else epochs * batches
    return Patient(
        model=model,
        loss=loss,
        answers=answers,
        stages=(stage,),
        more=lambda: _again(loader, device),
        val=val,
        plain=(),
        draw=Draw(labels),
        start=lambda feds: _start(model, loss, answers, feds),
        scale=Scale(math.nan if epochs is None else epochs, steps, steps * stage.rate, batches),
        facts=_facts(loss, optimizer, labels, val, answers, first[0], epochs),
        drawn=first,
    )


def _again(loader: Iterable[Any], device: torch.device) -> Iterator[Fed]:
    """The loader's batches after those that are held already, epoch after epoch."""
    yield from itertools.islice(_feds(loader, device, "loader"), FIRST_BATCHES, None)
    while True:
        yield from _feds(loader, device, "loader")


def _feds(loader: Iterable[Any], device: torch.device, name: str) -> Iterator[Fed]:
    for batch in loader:
        pair = isinstance(batch, (list, tuple)) and len(batch) >= 2
        if not pair or not all(isinstance(part, Tensor) for part in batch[:2]):
            seen = f"a {type(batch).__name__}" + (f" of {', '.join(type(part).__name__ for part in batch)}" if pair else "")
            raise RequestError(f"{name}: gives {seen}; a checkup needs (images, targets) with a tensor each. Wrap the loader.")
        images, targets = batch[0], batch[1]
        if len(images) != len(targets) or not len(images):
            raise RequestError(f"{name}: gives {len(images)} images with {len(targets)} targets; they must be as many")
        yield Fed(images.to(device), targets.to(device))


def _some(feds: Iterator[Fed], samples: int) -> Iterator[Fed]:
    seen = 0
    for fed in feds:
        yield fed
        seen += len(fed)
        if seen >= samples:
            return


def _answers(model: nn.Module, fed: Fed) -> Answers:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            outputs = finest(model(fed.images))
    except (RuntimeError, ValueError, TypeError) as error:
        raise RequestError(
            f"model: cannot be run on the loader's images, {tuple(fed.images.shape)} {fed.images.dtype}: {error}"
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode
    return read_answers(fed.targets, outputs)


def _stage(model: nn.Module, optimizer: torch.optim.Optimizer | None) -> Stage:
    if optimizer is None:
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return Stage("all", lambda: None, lambda: torch.optim.AdamW(learning, lr=RATE), RATE)

    class Own:
        """Always the person's own optimiser, whose state is put back after each test."""

        is_own = True

        def __call__(self) -> torch.optim.Optimizer:
            assert optimizer is not None
            return optimizer

    return Stage("all", lambda: None, Own(), max(float(group["lr"]) for group in optimizer.param_groups))


def _start(model: nn.Module, loss: Callable[[Any, Any], Any], answers: Answers, feds: Sequence[Fed]) -> Start:
    with torch.no_grad():
        losses = np.array([float(loss(model(fed.images), fed.targets)) for fed in feds])
    error = float(losses.std(ddof=1) / math.sqrt(len(losses))) if len(losses) > 1 else math.nan
    return Start(float(losses.mean()), error, best_constant(loss, answers, feds)[0])


def _facts(
    loss: Callable[[Any, Any], Any],
    optimizer: torch.optim.Optimizer | None,
    labels: Sequence[Any],
    val: Sequence[Fed],
    answers: Answers,
    fed: Fed,
    epochs: float | None,
) -> Facts:
    """What torch's own losses and optimisers say of themselves, under the configuration's keys."""
    seen = np.concatenate(labels)
    shares = np.nanmean(seen, axis=0).tolist()
    names = answers.classes[-len(shares) :]
    of_masks = answers.of_masks
    kind = "segmentation" if of_masks else "multiclass" if answers.exclusive else "binary" if len(shares) == 1 else "multilabel"
    facts: dict[str, Any] = {"task": kind, "classes": list(names), "training.batch_size": len(fed), "training.epochs": epochs}
    if not of_masks:
        facts |= {"prevalence.train": dict(zip(names, shares, strict=True)), "samples.train": len(seen)}
        facts["data.sampler"] = "none"  # the labels are counted as they are drawn: what a sampler did is in them
    if val and not of_masks:
        held = np.concatenate([answers.labels(each.targets) for each in val])
        facts |= {"prevalence.val": dict(zip(names, np.nanmean(held, axis=0).tolist(), strict=True)), "samples.val": len(held)}
    weight = getattr(loss, "pos_weight", None)
    if isinstance(loss, nn.BCEWithLogitsLoss) and not of_masks:
        facts |= {"loss.type": "bce", "loss.pos_weight": None if weight is None else weight.flatten().tolist()}
    if isinstance(loss, nn.CrossEntropyLoss) and not of_masks:
        facts |= {"loss.type": "cross_entropy", "loss.class_weights": None if loss.weight is None else loss.weight.tolist()}
    if optimizer is not None:
        group = optimizer.param_groups[0]
        facts |= {"training.learning_rate": group["lr"], "training.optimizer": type(optimizer).__name__.lower()}
        facts |= {"training.weight_decay": group.get("weight_decay")}
    return Facts.of({key: value for key, value in facts.items() if value is not None}, "facts.json", strict=False)
