"""The vitals of an epoch, from what its training recorded and what validation says."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from osler.data.batches import Batch
from osler.tasks.task import Task
from osler.train.loop import evaluate, train_mode_gap
from osler.train.machine import peak_memory_mb
from osler.train.setup import Batches
from osler.train.state import EpochRecord, TrainingState

__all__ = ["likeness", "measure", "pixel_figures"]

Arrays = dict[str, NDArray[Any]]

GRID = 16


def measure(task: Task, batches: Batches, state: TrainingState, started: float) -> tuple[dict[str, Any], Arrays]:
    """Evaluates val and gives the epoch's vitals (schema in `osler.runs.vitals`) and the arrays of val's outputs.

    Args:
        started: `time.perf_counter()` at the epoch's start.
    """
    state.machine.synchronise()
    begun = time.perf_counter()
    val = evaluate(task, batches.val, state).gathered()
    plain = batches.train.plain(state.position.epoch, len(batches.fixed))
    fixed = _looked_at(task, batches.fixed, state)
    unaugmented = {**_looked_at(task, plain, state), "likeness": likeness(plain.images, batches.fixed.images)}
    train = state.record.outputs.gathered()
    record, position = state.record, state.position
    now = time.perf_counter()
    vitals = {
        "epoch": position.epoch,
        "step": position.step,
        "phase": {"index": position.phase, "train": state.phase.part},
        "warming_up": state.warming_up,
        "learning_rate": _learning_rates(state),
        "train": {**task.figures(train), "complete": record.batches == len(batches.train)},
        "val": task.figures(val),
        "optimization": _optimization(state),
        "sampling": _sampling(train["rows"], task, state),
        "train_mode_loss": fixed,
        "unaugmented": unaugmented,
        "input": _input(state),
        "monitor": {"name": state.config.training.monitor},
        "seconds": {"data": record.seconds_data, "step": record.seconds_step, "evaluation": now - begun, "epoch": now - started},
        "memory": {"peak_mb": peak_memory_mb(state.machine.device)},
    }
    return vitals, val


def _looked_at(task: Task, batch: Batch, state: TrainingState) -> dict[str, Any]:
    """A batch's loss with the network in either mode, and its pixels as the model receives them."""
    return {**train_mode_gap(task, batch, state), "pixels": pixel_figures(batch.images)}


@torch.no_grad()
def pixel_figures(images: Tensor) -> dict[str, float]:
    """Mean and spread of the pixels of an image, each averaged over a batch, with the standard errors over its images.

    Args:
        images: (B, C, H, W), in 0–255.

    Returns:
        `mean`, `sd`, `mean_se`, `sd_se`, in units of 0–255; the last two NaN for one image.
    """
    pixels = images.detach().flatten(1).float()
    means, spreads = pixels.mean(dim=1), pixels.std(dim=1, correction=0)
    found: dict[str, float] = {}
    for name, values in (("mean", means), ("sd", spreads)):
        found[name] = float(values.mean())
        found[f"{name}_se"] = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return found


@torch.no_grad()
def likeness(images: Tensor, others: Tensor) -> float:
    """Correlation between the mean images of two batches, on a grid of 16 × 16: near 1 where both show the same, the same way up.

    Args:
        images, others: (B, C, H, W) each, of any sizes.

    Returns:
        −1 to 1, near −1 where one shows negatives of the other; NaN where a mean image is of one shade.
    """
    grids = [functional.adaptive_avg_pool2d(each.detach().float().mean(dim=(0, 1))[None], GRID) for each in (images, others)]
    one, other = (grid.flatten().double() - grid.double().mean() for grid in grids)
    size = float(one.norm() * other.norm())
    return float(one @ other) / size if size > 1e-6 else math.nan


def _learning_rates(state: TrainingState) -> dict[str, float]:
    last = state.position.step_in_phase - 1
    first = max(0, last - state.plan.steps_per_epoch + 1)
    rates = {"start": first, "end": last}
    return {name: state.plan.learning_rate(state.phase, step, state.progress.plateau) for name, step in rates.items()}


def _optimization(state: TrainingState) -> dict[str, Any]:
    record, limit = state.record, state.config.training.clip_norm
    norms = _numbers(record.gradient_norms)
    ratios = _numbers(record.update_ratios)
    return {
        "gradient_norm": {
            "median": _of(np.median, norms),
            "p90": _of(lambda values: np.quantile(values, 0.9), norms),
            "max": _of(np.max, norms),
            "clipped_share": _of(lambda values: np.mean(values > limit), norms) if limit is not None else None,
        },
        "update_ratio": {"median": _of(np.median, ratios), "max": _of(np.max, ratios)},
        "without_gradient": _of(np.min, _numbers(record.without_gradient)),
        "gradient_cosine": _of(np.median, _numbers(record.gradient_cosines)),
        **_first_loss(record),
        "skipped_steps": record.skipped_steps,
    }


def _first_loss(record: EpochRecord) -> dict[str, Any]:
    """Of the run's first epoch alone."""
    if not record.first_losses:
        return {}
    value, error = record.first_losses[0].tolist()
    return {"first_loss": {"value": value, "se": error}}


def _numbers(tensors: list[Tensor]) -> NDArray[np.float64]:
    return torch.stack(tensors).double().cpu().numpy() if tensors else np.empty(0)


def _of(reduce: Any, values: NDArray[np.float64]) -> float | None:
    return float(reduce(values)) if len(values) else None


def _sampling(rows: NDArray[np.intp], task: Task, state: TrainingState) -> dict[str, Any]:
    distinct = len(np.unique(rows))
    empty = torch.stack(state.record.without_positives).mean(dim=0).tolist()
    return {
        "distinct": distinct,
        "repeated": len(rows) - distinct,
        "batches_without_positives": dict(zip(task.classes, empty, strict=True)),
    }


def _input(state: TrainingState) -> Mapping[str, float]:
    """Pixels that the model received, over the epoch's first batches: mean and spread in 0–255, and the shares at both ends."""
    mean = _numbers(state.record.input_means).mean()
    square = _numbers(state.record.input_squares).mean()
    black, white = _numbers(state.record.input_ends).mean(axis=0) if state.record.input_ends else (math.nan, math.nan)
    spread = float(np.sqrt(max(0.0, square - mean**2)))
    return {"mean": float(mean), "sd": spread, "black": float(black), "white": float(white)}
