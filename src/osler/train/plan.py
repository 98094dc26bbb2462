"""The plan: phases, their epochs, and the learning rate of every step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from osler.config import TrainingConfig
from osler.errors import ConfigError
from osler.models.network import Network

__all__ = ["Phase", "Plan", "build_optimizer", "build_plan"]

WARMUP_START = 0.01
ONE_CYCLE_RISE = 0.3


@dataclass(frozen=True)
class Phase:
    """A stage of training.

    Attributes:
        index: 0 for the first.
        part: the layers that learn: "head", "all" or "from:N".
        epochs: at most so many.
        learning_rate: the highest of the schedule.
        patience: epochs without a better figure before the phase ends; None: never.
        steps: optimiser steps of all its epochs.
        warmup: optimiser steps of linear rise at its start.
    """

    index: int
    part: str
    epochs: int
    learning_rate: float
    patience: int | None
    steps: int
    warmup: int


@dataclass(frozen=True)
class Plan:
    """All phases of a run, and how many optimiser steps an epoch has."""

    phases: tuple[Phase, ...]
    steps_per_epoch: int
    schedule: str

    @property
    def epochs(self) -> int:
        """Epochs planned over all phases."""
        return sum(phase.epochs for phase in self.phases)

    def learning_rate(self, phase: Phase, step: int, plateau: float = 1.0) -> float:
        """The rate of one optimiser step: a pure function of the step, so that a resumed run needs no scheduler state.

        Args:
            phase: the phase that the step belongs to.
            step: optimiser steps done in this phase before it.
            plateau: the factor that the plateau rule has arrived at; 1 for the other schedules.
        """
        if step < phase.warmup:
            rise = (step + 1) / phase.warmup
            return phase.learning_rate * (WARMUP_START + (1 - WARMUP_START) * rise) * plateau
        progress = (step - phase.warmup) / max(1, phase.steps - phase.warmup)
        return phase.learning_rate * _shape(self.schedule, min(1.0, progress)) * plateau


def _shape(schedule: str, progress: float) -> float:
    """Share of the highest rate at a progress in [0, 1]."""
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "one_cycle":  # Smith & Topin 2019: up to the peak, then far below where it began
        if progress < ONE_CYCLE_RISE:
            return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * progress / ONE_CYCLE_RISE))
        return max(1e-4, 0.5 * (1 + math.cos(math.pi * (progress - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE))))
    return 1.0


def build_plan(config: TrainingConfig, batches_per_epoch: int) -> Plan:
    """The plan of a configuration, with what a phase leaves open taken from the training section."""
    steps = batches_per_epoch // config.accumulate
    warmup = config.warmup_steps if config.warmup_steps is not None else round(config.warmup_epochs * steps)
    shortest = min((stage.epochs or config.epochs for stage in config.phases), default=config.epochs) * steps
    if warmup >= shortest:
        raise ConfigError(
            f"training: a warm-up of {warmup} steps never ends in a phase of {shortest} ({steps} an epoch). Shorten "
            "training.warmup_epochs or warmup_steps, or train longer."
        )
    if not config.phases:
        only = Phase(0, "all", config.epochs, config.learning_rate, config.early_stopping, config.epochs * steps, warmup)
        return Plan((only,), steps, config.schedule)
    phases = []
    for index, stage in enumerate(config.phases):
        epochs = stage.epochs or config.epochs
        rate = stage.learning_rate or config.learning_rate
        patience = stage.patience or config.early_stopping
        phases.append(Phase(index, stage.train, epochs, rate, patience, epochs * steps, warmup))
    return Plan(tuple(phases), steps, config.schedule)


def build_optimizer(config: TrainingConfig, model: Network) -> torch.optim.Optimizer:
    """The optimiser of the layers that learn at present; the learning rate is set before every step."""
    groups = model.parameter_groups(config.weight_decay)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.learning_rate)


def learning_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that the present phase trains."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
