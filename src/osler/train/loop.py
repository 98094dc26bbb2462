"""One epoch: train, then evaluate. Everything optional is a watcher; everything particular to the targets is the task."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from osler.data.batches import Batch, EvalBatches, TrainBatches
from osler.errors import OslerError
from osler.losses.terms import LossTerms
from osler.tasks.task import Means, Outputs, Task
from osler.train.plan import learning_parameters
from osler.train.state import EpochRecord, TrainingState
from osler.train.update import gradient_cosine, gradient_sample, update_ratio, without_gradient

__all__ = ["BatchNews", "NonFiniteLossError", "StepWatcher", "evaluate", "train_epoch", "train_mode_gap"]

SMALLEST_SCALE = 1.0
"""fp16's loss scale falls while gradients overflow; below this the loss itself does."""
UPDATES_MEASURED = 8
"""Steps an epoch whose update is compared with the weights: each costs a copy of them."""
BLACK, WHITE = 2.0, 253.0
"""Ends of the range of pixels, with room for what augmentation does to them."""


class NonFiniteLossError(OslerError):
    """The loss or the gradient is not a number; raised before the optimiser takes the step."""


@dataclass(frozen=True)
class BatchNews:
    """What watchers hear after a micro-batch.

    Attributes:
        done: micro-batches of this epoch trained so far.
        total: micro-batches of the epoch.
        stepped: whether the optimiser has just taken a step, so that the state is whole.
        means: what was predicted and what was true of it.
    """

    done: int
    total: int
    stepped: bool
    means: Means


class StepWatcher(Protocol):
    """One that is told after each micro-batch, and may ask to stop."""

    wants_stop: bool

    def batch_done(self, state: TrainingState, news: BatchNews) -> None: ...


def train_epoch(
    task: Task, network: nn.Module, batches: TrainBatches, state: TrainingState, watchers: Sequence[StepWatcher]
) -> bool:
    """Trains from the state's position to the end of the epoch; False where a watcher asked to stop before it.

    Args:
        task: the model and loss.
        network: the task's model, or that wrapped for several processes.
        batches: of the train split.
        state: is moved on batch by batch.
        watchers: are told after every micro-batch; one with a true `wants_stop` ends the epoch early.
    """
    network.train()
    record, total = state.record, len(batches)
    accumulate = state.config.training.accumulate
    measure_every = max(1, math.ceil(total / accumulate / UPDATES_MEASURED))
    clock = time.perf_counter()
    for batch in batches.epoch(state.position.epoch, state.position.batch):
        arrived = time.perf_counter()
        record.seconds_data += arrived - clock
        means = _backward(task, network, batch, state)
        state.position.batch = batch.index + 1
        stepped = state.position.batch % accumulate == 0  # batches come in whole steps
        if stepped:
            _step(state, measure=(state.position.step_in_phase % measure_every == 0))
        for watcher in watchers:
            watcher.batch_done(state, BatchNews(batch.index + 1, total, stepped, means))
        clock = time.perf_counter()
        record.seconds_step += clock - arrived
        # Between the micro-batches of one step gradients are half summed and in no checkpoint: stop after the step.
        if stepped and state.position.batch < total and any(watcher.wants_stop for watcher in watchers):
            return False
    return True


def _backward(task: Task, network: nn.Module, batch: Batch, state: TrainingState) -> Means:
    """Forward and backward of a micro-batch; gradients add up over the micro-batches of a step."""
    machine, record = state.machine, state.record
    # Dropout's draw is a function of the place in the run, so that no generator's state needs to be kept or shared.
    _seed(state.config.training.seed, state.position.epoch, batch.index * machine.ranks.world + machine.ranks.rank)
    with machine.autocast():
        logits, terms = task.forward(network, batch)
    loss = terms.values.sum() / terms.weights.sum().clamp_min(1e-12)
    if not torch.isfinite(loss):
        raise NonFiniteLossError(_non_finite("loss", float(loss.detach()), state, batch))
    torch.autograd.backward(state.scaler.scale(loss / state.config.training.accumulate))
    logits = logits.detach()
    record.outputs.add(logits, batch, terms)
    record.without_positives.append(task.without_positives(batch))
    record.batches += 1
    if state.position.step == 0 and batch.index == 0:
        record.first_losses.append(torch.stack(_loss_and_error(terms)))
    if record.batches <= UPDATES_MEASURED:
        _measure_input(batch.images.detach().float(), record)
    return task.means(logits, batch)


@torch.no_grad()
def _loss_and_error(terms: LossTerms) -> tuple[Tensor, Tensor]:
    """() loss of a batch, and () its standard error over the samples, NaN for one sample."""
    values = terms.told / terms.weights.clamp_min(1e-12)
    error = values.std() / math.sqrt(len(values)) if len(values) > 1 else torch.full_like(values.sum(), math.nan)
    return terms.told.sum() / terms.weights.sum().clamp_min(1e-12), error


def _measure_input(images: Tensor, record: EpochRecord) -> None:
    """Adds what the model received: (B, C, H, W) pixels in 0–255."""
    record.input_means.append(images.mean())
    record.input_squares.append((images**2).mean())
    record.input_ends.append(torch.stack([(images <= BLACK).float().mean(), (images >= WHITE).float().mean()]))


def _seed(*parts: int) -> None:
    words = np.random.SeedSequence(parts).generate_state(2, np.uint32)
    torch.manual_seed(int(words[0]) << 31 ^ int(words[1]))


def _step(state: TrainingState, measure: bool) -> None:
    """One optimiser step at the plan's learning rate, clipped, unless the gradient is not finite."""
    position, record, optimizer = state.position, state.record, state.optimizer
    rate = state.plan.learning_rate(state.phase, position.step_in_phase, state.progress.plateau)
    for group in optimizer.param_groups:
        group["lr"] = rate
    parameters = learning_parameters(state.model)
    state.scaler.unscale_(optimizer)
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    finite = bool(torch.isfinite(norm))
    if not finite and not state.scaler.is_enabled():
        raise NonFiniteLossError(_non_finite("gradient norm", float(norm), state, None))
    if finite:
        record.gradient_norms.append(norm)
    else:  # fp16 overflowed: the scaler skips the step and halves its scale, which is how it finds its range
        record.skipped_steps += 1
        if state.scaler.get_scale() < SMALLEST_SCALE:
            raise NonFiniteLossError(_non_finite("gradient norm", float(norm), state, None))
    if finite:
        _compare_gradients(record, parameters, measure)
    limit = state.config.training.clip_norm
    if limit is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    before = [parameter.detach().clone() for parameter in parameters] if measure and finite else []
    state.scaler.step(optimizer)
    state.scaler.update()
    if before:
        record.update_ratios.append(update_ratio(before, parameters))
        record.without_gradient.append(without_gradient(parameters))
    optimizer.zero_grad(set_to_none=True)
    if finite and state.average is not None:
        state.average.update()
    position.step += 1
    position.step_in_phase += 1


def _compare_gradients(record: EpochRecord, parameters: Sequence[Tensor], measure: bool) -> None:
    """Each measured step's gradient with that of the step after it."""
    now = [gradient_sample(parameters)] if measure or record.last_gradient else []
    if record.last_gradient:
        record.gradient_cosines.append(gradient_cosine(record.last_gradient[0], now[0]))
    record.last_gradient = now if measure else []


def _non_finite(what: str, value: float, state: TrainingState, batch: Batch | None) -> str:
    place = f"epoch {state.position.epoch}, batch {state.position.batch + (batch is not None)}"
    return (
        f"{place}: the {what} is {value}. Training stopped before the optimiser used it; what was saved before is kept. "
        "Common causes: a learning rate too high (try a third of it), fp16 overflow (try precision bf16 or fp32), "
        "or an image with extreme values."
    )


@torch.no_grad()
def evaluate(task: Task, batches: EvalBatches, state: TrainingState) -> Outputs:
    """What the model says of a split, with the moving average as its weights where that is on."""
    outputs = task.outputs(training=False)
    task.model.eval()
    with state.average.in_place() if state.average is not None else nullcontext():
        for batch in batches:
            with state.machine.autocast():
                logits, terms = task.forward(task.model, batch)
            outputs.add(logits, batch, terms)
    return outputs


@torch.no_grad()
def train_mode_gap(task: Task, batch: Batch, state: TrainingState) -> dict[str, Any]:
    """Loss of a batch with the network in training mode and in evaluation mode, and the latter's standard error over samples.

    A large gap means that BatchNorm's stored statistics do not fit, or that dropout takes too much. The stored statistics are
    put back afterwards.
    """
    model = task.model
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    losses: dict[str, Tensor] = {}
    for mode in ("train_mode", "eval_mode"):
        model.train(mode == "train_mode")
        _seed(state.config.training.seed, 0, 0)
        with state.machine.autocast():
            _, terms = task.forward(model, batch)
        losses[mode], error = _loss_and_error(terms)
    for name, buffer in model.named_buffers():
        buffer.copy_(kept[name])
    return {**{mode: float(loss) for mode, loss in losses.items()}, "se": float(error), "n": len(batch.rows)}
