"""Patient: a model, its loss and its real batches, ready to be tested; every test leaves it as it was."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from osler.checkup.answers import Answers, finest
from osler.doctor.facts import Facts
from osler.errors import OslerError

__all__ = ["Draw", "Fed", "LossFailureError", "Patient", "Scale", "Stage", "Start"]

Floats = NDArray[np.float64]


class LossFailureError(OslerError):
    """The model or its loss cannot be computed on the loader's own batches."""


@dataclass(frozen=True)
class Fed:
    """A batch as model and loss receive it.

    Attributes:
        images: (B, ...).
        targets: (B, ...), what the loss takes.
        rows: (B,) rows of the source; None where there is no source.
    """

    images: Tensor
    targets: Tensor
    rows: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, places: Sequence[int] | NDArray[np.intp]) -> Fed:
        """Some of its samples."""
        chosen = np.asarray(places, dtype=np.intp)
        index = torch.from_numpy(chosen).to(self.images.device)
        rows = None if self.rows is None else self.rows[chosen]
        return Fed(self.images[index], self.targets[index.to(self.targets.device)], rows)


@dataclass(frozen=True)
class Stage:
    """A part of the training with its own layers that learn.

    Attributes:
        name: of the part.
        enter: puts it in force.
        optimizer: a new optimiser of what learns then, or the person's own.
        rate: its highest learning rate.
    """

    name: str
    enter: Callable[[], None]
    optimizer: Callable[[], torch.optim.Optimizer]
    rate: float


@dataclass(frozen=True)
class Scale:
    """How long the whole training is to be; NaN or None where nobody said.

    Attributes:
        epochs: planned.
        steps: optimiser steps of all of them.
        distance: sum of the learning rates of all steps.
        batches: of an epoch.
        val_batches: likewise.
        clip: largest gradient norm; None: not clipped.
        accumulate: micro-batches of a step.
        disk: free bytes where the run will lie, or None.
        average: a moving average of the weights is kept too.
    """

    epochs: float = math.nan
    steps: float = math.nan
    distance: float = math.nan
    batches: int | None = None
    val_batches: int | None = None
    clip: float | None = None
    accumulate: int = 1
    disk: int | None = None
    average: bool = False


class Start(NamedTuple):
    """A loss, its standard error, and the best that a constant reaches on the same targets; NaN, with a reason, where unknown."""

    loss: float
    error: float
    floor: float
    reason: str | None = None


@dataclass(frozen=True)
class Draw:
    """Labels in the order in which the loader gives them.

    Attributes:
        batches: labels (b, K) of each batch.
        natural: (K + 1,) share of the samples that have each class, and that have none, before anything is drawn; None: unknown.
        samples: in the set; None: unknown.
        distinct: different samples in `batches`; None: unknown.
        epochs: that they span; None: unknown.
    """

    batches: tuple[Floats, ...]
    natural: Floats | None = None
    samples: int | None = None
    distinct: int | None = None
    epochs: float | None = None


@dataclass
class Patient:
    """What is tested.

    Attributes:
        model: any module: images to outputs.
        loss: (outputs, targets) to the mean loss, a scalar.
        answers: how targets are read.
        stages: of the training, in order.
        more: yields the loader's batches from the start, again and again.
        val: batches of val as evaluation sees them; empty: none.
        plain: train batches as evaluation would see them; empty: not known.
        draw: labels as they are drawn.
        start: loss and floor of some batches with the model as it is.
        scale: of the whole training.
        facts: what is known of the run.
        stated: images and targets as the source states them, against which delivered ones are held; None: unknown.
        probe: what the loss's own formula, as configured, gives for constant outputs on targets; None: unknown.
        autocast: the context of the forward pass.
        full: the value of a white pixel; None: unknown.
        patients: of train and of val, where known.
        ids: of source rows.
        seed: of every draw that tests make.
        suggested: a sound learning rate, once a test has found one.
        seconds: of a training step, once measured.
    """

    model: nn.Module
    loss: Callable[[Any, Tensor], Tensor]
    answers: Answers
    stages: tuple[Stage, ...]
    more: Callable[[], Iterator[Fed]]
    val: tuple[Fed, ...]
    plain: tuple[Fed, ...]
    draw: Draw
    start: Callable[[Sequence[Fed]], Start]
    scale: Scale = field(default_factory=Scale)
    facts: Facts = field(default_factory=Facts)
    stated: Callable[[Fed], Tensor] | None = None
    probe: Callable[[Tensor, Floats], float] | None = None
    autocast: Callable[[], Any] = nullcontext
    full: float | None = None
    patients: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    ids: Callable[[NDArray[np.intp]], Sequence[str]] | None = None
    seed: int = 0
    suggested: float = math.nan
    seconds: float = math.nan
    drawn: list[Fed] = field(default_factory=list)
    _source: Iterator[Fed] | None = None

    # --- batches ---

    def batches(self, count: int, most_bytes: int = 1 << 29) -> list[Fed]:
        """The first batches that the loader gives, to training's own draws; fewer, repeated, where they would fill memory."""
        while len(self.drawn) < count:
            if self._source is None:
                self._source = self.more()
            held = sum(fed.images.nbytes for fed in self.drawn)
            found = next(self._source, None) if held < most_bytes else None
            if found is None:
                break
            self.drawn.append(found)
        return [self.drawn[number % len(self.drawn)] for number in range(count)]

    # --- the model ---

    def outputs(self, fed: Fed) -> Any:
        """What the model answers, in the mode that it is in."""
        with self.autocast():
            return self.model(fed.images)

    def loss_of(self, fed: Fed) -> Tensor:
        """The loss of a batch.

        Raises:
            LossFailureError: it cannot be computed.
        """
        try:
            with self.autocast():
                found = self.loss(self.model(fed.images), fed.targets)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise LossFailureError(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
        return found

    @torch.no_grad()
    def answered(self, feds: Sequence[Fed]) -> tuple[Floats, Floats, NDArray[np.intp]]:
        """Truths, scores and images of batches in evaluation mode, as `Answers.points` gives them."""
        self.model.eval()
        found, before = [], 0
        for fed in feds:
            truth, scores, images = self.answers.points(finest(self.outputs(fed)), fed.targets)
            found.append((truth, scores, images + before))
            before += len(fed)
        truths, scores, images = (np.concatenate(each) for each in zip(*found, strict=True))
        return truths, scores, images

    @torch.no_grad()
    def mean_loss(self, feds: Sequence[Fed]) -> float:
        """Mean loss of batches in the mode that the model is in."""
        return float(np.average([float(self.loss_of(fed)) for fed in feds], weights=[len(fed) for fed in feds]))

    def fit(
        self,
        feds: Sequence[Fed],
        optimizer: torch.optim.Optimizer,
        rates: Sequence[float],
        until: float = math.inf,
        stop: Callable[[list[float]], bool] | None = None,
        dropout: bool = True,
    ) -> list[float]:
        """Takes a step at each of these rates over the batches in turn; the losses before each, ended by one that is not finite.

        Args:
            feds: are gone through again and again.
            optimizer: whose rate is set before each step.
            rates: one a step.
            until: `time.perf_counter()` after which no step begins.
            stop: asked after each step with the losses so far.
            dropout: whether it is in force.
        """
        self.model.train()
        if not dropout:
            self.without_dropout()
        losses: list[float] = []
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        for step, rate in enumerate(rates):
            if time.perf_counter() > until:
                break
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
            loss = self.loss_of(feds[step % len(feds)])
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                break
            torch.autograd.backward(loss)
            if self.scale.clip is not None:
                torch.nn.utils.clip_grad_norm_(parameters, self.scale.clip)
            optimizer.step()
            if stop is not None and stop(losses):
                break
        return losses

    # --- leaving no trace ---

    @contextmanager
    def kept(self, seed: int = 0) -> Iterator[None]:
        """Draws from a seed within; puts everything back after: weights, statistics, gradients, modes, optimisers, generators."""
        modules = [self.model, *([self.loss] if isinstance(self.loss, nn.Module) else [])]
        tensors = [each for module in modules for each in (*module.parameters(), *module.buffers())]
        values = [tensor.detach().clone() for tensor in tensors]
        learn = [(each, each.requires_grad, each.grad) for module in modules for each in module.parameters()]
        modes = [(module, module.training) for root in modules for module in root.modules()]
        fixed = [stage.optimizer for stage in self.stages if getattr(stage.optimizer, "is_own", False)]
        states = [(build(), copy.deepcopy(build().state_dict())) for build in fixed]
        with torch.random.fork_rng(devices=sorted({tensor.device for tensor in tensors if tensor.is_cuda}, key=str)):
            torch.manual_seed(self.seed + seed)
            try:
                yield
            finally:
                with torch.no_grad():
                    for tensor, value in zip(tensors, values, strict=True):
                        tensor.copy_(value)
                for parameter, learns, gradient in learn:
                    parameter.requires_grad_(learns)
                    parameter.grad = gradient
                for module, mode in modes:
                    module.training = mode
                for optimizer, state in states:
                    optimizer.load_state_dict(state)

    def without_dropout(self) -> None:
        """Puts dropout out of force, for a test that must not depend on chance; `kept` restores the modes."""
        for module in self.model.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd) or type(module).__name__ == "DropPath":
                module.eval()
