"""Sections on training, evaluation, the doctor's watch and the run folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from osler.config.base import Auto, Count, NonNegative, Positive, Section, Share
from osler.errors import nearest

MONITORS = ("macro_auc", "macro_ap", "macro_f1", "accuracy", "dice", "iou", "loss")


class PhaseConfig(Section):
    """A stage of training with its own layers, length and rate. What is null is taken from `training`."""

    train: str = "all"
    """"head"; "all"; or "from:N": the head and the backbone's blocks from number N on, or "from:NAME"."""
    epochs: Count | None = None
    learning_rate: Positive | None = None
    patience: Count | None = None

    @field_validator("train")
    @classmethod
    def _known_part(cls, value: str) -> str:
        if value in ("head", "all") or re.fullmatch(r"from:[\w.]+", value):
            return value
        raise ValueError(f'{value!r}: use "head", "all", "from:N" or "from:NAME"')


class TrainingConfig(Section):
    """How the network is trained."""

    epochs: Count = 30
    batch_size: Count = 32
    learning_rate: Positive = 1e-3
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    weight_decay: NonNegative = 1e-4
    """Not applied to biases and normalisation layers."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """sgd only, Nesterov."""
    schedule: Literal["constant", "cosine", "one_cycle", "plateau"] = "cosine"
    warmup_epochs: NonNegative = 0.0
    """Linear rise from 1 % of the learning rate; fractions are allowed."""
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    """As `warmup_epochs`, in optimiser steps; wins where given."""
    plateau_patience: Count = 5
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    clip_norm: Positive | None = 5.0
    """Largest gradient norm."""
    accumulate: Count = 1
    """Micro-batches per optimiser step; `batch_size` is one micro-batch."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of the exponential moving average of the weights. Where on, validation, `best` and export use the average."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """"auto": bf16 on a GPU that has it, else fp32."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    threads: Count | Auto = "auto"
    monitor: str = "auto"
    """The validation figure that decides what is best: macro_auc, macro_ap, macro_f1, accuracy, dice, iou, loss. "auto":
    macro_auc; dice for masks."""
    early_stopping: Count | None = 10
    """Epochs without a better monitored figure before training stops; warm-up does not count. Null: never."""
    min_delta: NonNegative = 0.0
    """How much better counts as better."""
    phases: tuple[PhaseConfig, ...] = ()
    """Stages in order; empty: one stage, all layers."""
    checkpoint_every: Positive | None = 10.0
    """Minutes between checkpoints within an epoch; one is always written at each epoch's end."""
    seed: int = 42

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            return value
        raise ValueError(f"{value!r}: use auto, cpu, cuda or cuda:N")

    @field_validator("monitor")
    @classmethod
    def _known_monitor(cls, value: str) -> str:
        if value == "auto" or value in MONITORS:
            return value
        guess = nearest(value, MONITORS)
        raise ValueError(f"{value!r}{f' (did you mean {guess!r}?)' if guess else ''}; choose one of {', '.join(MONITORS)}")


class SensitivityTarget(Section):
    """The largest threshold that still reaches this sensitivity on val."""

    sensitivity: Annotated[float, Field(gt=0, le=1)] = 0.9


class EvaluationConfig(Section):
    """How thresholds are chosen and figures given."""

    threshold: Literal["youden", "f1"] | Share | SensitivityTarget | Auto = "auto"
    """Chosen on val, applied to test: largest sensitivity + specificity; largest F1 (of pooled pixels: Dice); a number; or
    {sensitivity: 0.9}. "auto": youden; f1 for masks."""
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Of the intervals."""
    bootstrap: Annotated[int, Field(ge=100)] = 1000
    subgroups: tuple[str, ...] | Auto = "auto"
    """Metadata columns to report by; "auto": those with 2 to 8 values, ages in bands."""


class PredictionConfig(Section):
    """How a segmenter goes over an image, in evaluation and service alike."""

    tile: Annotated[int, Field(ge=32, le=4096)] | None = None
    """Side of the square tiles that an image is cut into; null: the whole image at once."""
    overlap: Annotated[float, Field(ge=0, lt=0.9)] = 0.5
    """Share of a tile that its neighbour covers too; the two are blended by Gaussian weights."""
    flips: bool = False
    """Average over the four mirror images; four times the work."""


class DoctorConfig(Section):
    """The watch that is kept while a run trains."""

    on_critical: Literal["warn", "stop"] = "warn"
    """What a critical finding does; a non-finite loss always stops."""
    collapse_check: Count | None = 50
    """Batches between looks at whether predictions collapse within an epoch."""


class RunConfig(Section):
    """Where the run is kept."""

    folder: Path = Path("runs")
    name: str = "run"

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if re.fullmatch(r"[\w.\-]+", value):
            return value
        raise ValueError(f"{value!r}: letters, digits, '.', '_' and '-' only")
