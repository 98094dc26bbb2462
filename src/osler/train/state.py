"""The state of training: everything that decides what the next step does, in one place, saved and restored whole.

Order, augmentation and sampling follow from (seed, epoch, position), dropout from (seed, epoch, batch), and the learning rate
from the step, so no random generator and no scheduler has a state of its own. What is left stands here, and a run killed at
any step continues to the same bits.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from osler.config import Config
from osler.errors import RunError
from osler.files import write_atomic
from osler.tasks.task import Outputs, Task
from osler.train.average import WeightAverage
from osler.train.machine import Machine
from osler.train.plan import Phase, Plan, build_optimizer

__all__ = ["CHECKPOINT_SCHEMA", "EpochRecord", "Position", "TrainingState", "load_checkpoint", "model_weights"]

CHECKPOINT_SCHEMA = "osler.checkpoint/1"


@dataclass
class Position:
    """Where a run is.

    Attributes:
        phase: index of the phase.
        epoch: the epoch in hand or next, counted from 1 over all phases.
        epoch_in_phase: the same counted from 0 within the phase.
        batch: micro-batches of this epoch already trained.
        step: optimiser steps done in all.
        step_in_phase: optimiser steps done in this phase.
        begun: whether the phase's weights and optimiser are in place.
    """

    phase: int = 0
    epoch: int = 1
    epoch_in_phase: int = 0
    batch: int = 0
    step: int = 0
    step_in_phase: int = 0
    begun: bool = False


@dataclass
class Progress:
    """What the run has reached: the best figure, and how long ago.

    Attributes:
        best: best monitored figure, turned so that higher is better; NaN before the first.
        best_epoch: its epoch; 0 before the first.
        phase_best: best figure of the present phase.
        waited: epochs since then, warm-up not counted.
        plateau: factor on the learning rate.
        plateau_waited: epochs since the plateau rule last saw a better figure.
        stop_reason: why the run ended; empty while it goes on.
    """

    best: float = math.nan
    best_epoch: int = 0
    phase_best: float = math.nan
    waited: int = 0
    plateau: float = 1.0
    plateau_waited: int = 0
    stop_reason: str = ""


@dataclass
class EpochRecord:
    """What an epoch's training measured so far; part of the checkpoint, so that a resumed epoch's vitals are whole."""

    outputs: Outputs
    gradient_norms: list[Tensor] = field(default_factory=list)
    update_ratios: list[Tensor] = field(default_factory=list)
    input_means: list[Tensor] = field(default_factory=list)
    input_squares: list[Tensor] = field(default_factory=list)
    input_ends: list[Tensor] = field(default_factory=list)
    without_gradient: list[Tensor] = field(default_factory=list)
    last_gradient: list[Tensor] = field(default_factory=list)
    gradient_cosines: list[Tensor] = field(default_factory=list)
    first_losses: list[Tensor] = field(default_factory=list)
    without_positives: list[Tensor] = field(default_factory=list)
    batches: int = 0
    skipped_steps: int = 0
    seconds_data: float = 0.0
    seconds_step: float = 0.0

    _PLAIN = ("batches", "skipped_steps", "seconds_data", "seconds_step")
    _LISTS = (
        "gradient_norms", "update_ratios", "input_means", "input_squares", "input_ends", "without_gradient", "last_gradient",
        "gradient_cosines", "first_losses", "without_positives",
    )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Plain values and tensors on the CPU."""
        lists = {name: torch.stack(getattr(self, name)).cpu() for name in self._LISTS if getattr(self, name)}
        plain = {name: getattr(self, name) for name in self._PLAIN}
        return {"outputs": self.outputs.state(), "lists": lists, **plain}

    def load(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Takes back what `state` gave."""
        self.outputs.load(state["outputs"], device)
        for name, values in state["lists"].items():
            setattr(self, name, list(values.to(device).unbind()))
        for name in self._PLAIN:
            setattr(self, name, state[name])


class TrainingState:
    """Model, average, optimiser, scaler, position, progress and the epoch's record."""

    def __init__(self, config: Config, task: Task, plan: Plan, machine: Machine) -> None:
        self.config = config
        self.task = task
        self.model = model = task.model
        self.plan = plan
        self.machine = machine
        self.average = WeightAverage(model, config.training.ema) if config.training.ema else None
        self.scaler = torch.amp.GradScaler(machine.device.type, enabled=machine.precision == "fp16")
        self.position = Position()
        self.progress = Progress()
        self.record = EpochRecord(task.outputs(training=True))
        for phase in reversed(plan.phases):  # a part that the network does not have is found now, not after hours
            self.optimizer = self._enter(phase)

    @property
    def phase(self) -> Phase:
        """The phase in hand."""
        return self.plan.phases[self.position.phase]

    @property
    def warming_up(self) -> bool:
        """Whether the epoch in hand began before its phase's warm-up was over."""
        return self.position.epoch_in_phase * self.plan.steps_per_epoch < self.phase.warmup

    def _enter(self, phase: Phase) -> torch.optim.Optimizer:
        self.model.train_part(phase.part)
        return build_optimizer(self.config.training, self.model)

    def begin_phase(self, best: Path) -> None:
        """Enters the position's phase; one after the first starts from the best weights of those before it."""
        if self.position.phase > 0 and best.exists():
            self.model.load_state_dict(model_weights(load_checkpoint(best, self.machine.device)))
            if self.average is not None:
                self.average.restart()
        self.optimizer = self._enter(self.phase)
        self.progress = Progress(best=self.progress.best, best_epoch=self.progress.best_epoch)
        self.position.begun = True

    def take_figure(self, value: float) -> bool:
        """Takes an epoch's monitored figure; returns whether it is the best so far. NaN is never better."""
        progress, training = self.progress, self.config.training
        improved_phase = _better(value, progress.phase_best, training.min_delta)
        if improved_phase:
            progress.phase_best, progress.waited, progress.plateau_waited = value, 0, 0
        elif not self.warming_up:
            progress.waited += 1
            progress.plateau_waited += 1
        if training.schedule == "plateau" and progress.plateau_waited > training.plateau_patience:
            progress.plateau *= training.plateau_factor
            progress.plateau_waited = 0
        improved = _better(value, progress.best, 0.0)
        if improved or progress.best_epoch == 0:
            progress.best, progress.best_epoch = value, self.position.epoch
            return True
        return False

    def end_epoch(self) -> None:
        """Moves to the next epoch: of this phase, of the next phase, or to the end with its reason."""
        position, phase = self.position, self.phase
        position.epoch += 1
        position.epoch_in_phase += 1
        position.batch = 0
        self.record = EpochRecord(self.task.outputs(training=True))
        out_of_patience = phase.patience is not None and self.progress.waited >= phase.patience
        if position.epoch_in_phase < phase.epochs and not out_of_patience:
            return
        if phase.index + 1 < len(self.plan.phases):
            self.position = Position(phase=phase.index + 1, epoch=position.epoch, step=position.step)
        elif out_of_patience:
            self.progress.stop_reason = f"early stopping: no better {self.config.training.monitor} for {phase.patience} epochs"
        else:
            self.progress.stop_reason = "all planned epochs done"

    # --- checkpoints --------------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Writes everything, atomically."""
        content = {
            "schema": CHECKPOINT_SCHEMA,
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "position": asdict(self.position),
            "progress": asdict(self.progress),
            "record": self.record.state(),
            "identity": identity_of(self.config),
        }
        _save(content, path)

    def save_weights(self, path: Path) -> None:
        """Writes the weights that were evaluated, the average where it is on, and what they are of."""
        content = {
            "schema": CHECKPOINT_SCHEMA,
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state(),
            "epoch": self.position.epoch,
            "identity": identity_of(self.config),
        }
        _save(content, path)

    def load(self, content: Mapping[str, Any], where: Path) -> None:
        """Continues from a checkpoint's content.

        Raises:
            RunError: it is of another configuration.
        """
        check_identity(content, self.config, where)
        _check_complete(content, where)
        self.position = Position(**content["position"])
        self.progress = Progress(**content["progress"])
        self.optimizer = self._enter(self.phase)
        self._load_weights(content)
        if self.position.begun:  # else the optimiser is still that of the phase before, and a new one is made
            self.optimizer.load_state_dict(content["optimizer"])
        self.scaler.load_state_dict(content["scaler"])
        if self.machine.ranks.world == 1:  # a checkpoint holds the first rank's record alone
            self.record.load(content["record"], self.machine.device)

    def start_from(self, content: Mapping[str, Any], where: Path) -> None:
        """Starts a new run from another run's training state: its weights, optimiser moments and place in the plan.

        Rates, decay and the like are this configuration's; what is best is found anew. A state from within an epoch starts at
        the epoch's beginning, whose order depends on this configuration.

        Raises:
            RunError: it is of another configuration, or its place is beyond this plan.
        """
        check_identity(content, self.config, where)
        _check_complete(content, where)
        position = Position(**content["position"])
        phases = self.plan.phases
        if position.phase >= len(phases) or position.epoch_in_phase >= phases[position.phase].epochs:
            raise RunError(
                f"{where}: has {position.epoch - 1} epochs behind it, and this configuration plans {self.plan.epochs}. Plan more "
                "(training.epochs, --epochs), or take its weights alone with model.pretrained."
            )
        if position.batch:
            position = replace(position, batch=0, step_in_phase=position.epoch_in_phase * self.plan.steps_per_epoch)
        self.position = position
        self.optimizer = self._enter(self.phase)
        self._load_weights(content)
        if position.begun:
            moments = {**content["optimizer"], "param_groups": self.optimizer.state_dict()["param_groups"]}
            self.optimizer.load_state_dict(moments)

    def _load_weights(self, content: Mapping[str, Any]) -> None:
        self.model.load_state_dict(content["model"])
        if self.average is not None and content["average"] is not None:
            self.average.load(content["average"])
        elif self.average is not None:
            self.average.restart()


def _check_complete(content: Mapping[str, Any], where: Path) -> None:
    if "optimizer" not in content:
        raise RunError(f"{where}: holds weights alone, not a training state; use checkpoints/last.pt of the run.")


def _better(value: float, than: float, by: float) -> bool:
    return not math.isnan(value) and (math.isnan(than) or value > than + by)


def _save(content: Mapping[str, Any], path: Path) -> None:
    # Through memory: torch turns a full disk into an assertion of its own, which no one could act on.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(path, lambda file: file.write(buffer.getbuffer()))


def identity_of(config: Config) -> dict[str, str]:
    """What must agree between a checkpoint and the configuration that loads it."""
    of_masks = (
        {f"model.{name}": str(getattr(config.model, name)) for name in ("encoder", "width", "levels", "deep_supervision")}
        if config.data.task == "segmentation"
        else {}
    )
    return of_masks | {
        "model.architecture": config.model.architecture,
        "model.head": str(list(config.model.head)),
        "model.attention": str(config.model.attention),
        "data.classes": str(list(config.data.classes or ())),
        "data.task": config.data.task,
        "preparation.channels": str(config.preparation.channels),
        "training.phases": str([stage.train for stage in config.training.phases]),
        "training.optimizer": config.training.optimizer,
    }


def check_identity(content: Mapping[str, Any], config: Config, where: Path) -> None:
    """RunError, naming every difference, where a checkpoint is of another configuration."""
    wanted, found = identity_of(config), content["identity"]
    faults = [f"{key} is {found.get(key)!r} there and {value!r} here" for key, value in wanted.items() if found.get(key) != value]
    if faults:
        raise RunError(
            f"{where}: a checkpoint of another configuration: {'; '.join(faults)}. Use the same values, or take only its "
            f"weights with model.pretrained={where}."
        )


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A checkpoint's content; nothing in the file is executed.

    Raises:
        RunError: it is not there, cut short, or no checkpoint of Osler's.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise RunError(f"{path}: no such checkpoint. The run may have stopped before its first epoch ended.") from None
    except Exception as error:  # torch reports a damaged file by half a dozen unrelated types
        raise RunError(
            f"{path}: is cut short, damaged, or no checkpoint ({type(error).__name__}). Another one of the run may be whole: "
            f"{', '.join(sorted(other.name for other in path.parent.glob('*.pt') if other != path)) or 'there is none'}."
        ) from error
    if not isinstance(content, dict) or content.get("schema") != CHECKPOINT_SCHEMA:
        raise RunError(
            f"{path}: is not a checkpoint of schema {CHECKPOINT_SCHEMA}; to take weights from it, use model.pretrained={path}."
        )
    return cast("dict[str, Any]", content)


def model_weights(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights in a checkpoint that validation used: the moving average where it was on, else the model's own."""
    weights = dict(content["model"])
    if content["average"] is not None:
        weights.update({name: tensor for name, tensor in content["average"].items() if name != "steps"})
    return weights
