"""Arms: the runs that a treatment trains, each an ordinary run folder, and what became of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from osler.config import Config, TrialConfig, load_config
from osler.errors import RunError
from osler.metrics.intervals import hanley_mcneil_se
from osler.metrics.proportion import normal_quantile
from osler.runs.folder import RunFolder
from osler.runs.mask_predictions import MaskPredictions
from osler.runs.predictions import Predictions
from osler.runs.vitals import read_vitals
from osler.treat.scores import AnyPredictions

__all__ = ["Arm", "Status", "Trial", "arm_config", "best_monitored", "epochs_of", "has_model", "hopeless", "predictions_of_arm"]

Status = Literal["planned", "running", "done", "diverged", "hopeless", "failed", "killed", "out of time"]
ENDED: tuple[Status, ...] = ("done", "diverged", "hopeless", "failed", "killed")


@dataclass(frozen=True)
class Trial:
    """How arms are trained: alike, and cheaper than the run where the budget asks for it.

    Attributes:
        prove: share of val's patients that prove.
        train: share of train's patients.
        epochs: factor on the epochs planned, and on the warm-up.
        seeds: trainings of each arm.
        first_seed: of the first of them.
        seed: of the division of val.
    """

    prove: float
    train: float
    epochs: float
    seeds: int
    first_seed: int
    seed: int = 0

    @property
    def cut(self) -> bool:
        """Whether arms learn from less than the run did."""
        return self.train < 1.0 or self.epochs < 1.0


@dataclass
class Arm:
    """One training.

    Attributes:
        name: of its folder.
        group: "rerun", "treated-1", "random-1" ...: trainings that differ by their seed alone.
        seed: number of the seed, from 1.
        status: what became of it.
        reason: why, where it is not done.
        seconds: spent on it.
    """

    name: str
    group: str
    seed: int
    status: Status = "planned"
    reason: str = ""
    seconds: float = 0.0

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be done for it."""
        return self.status in ENDED

    @property
    def measurable(self) -> bool:
        """Whether it can be compared: it was trained as far as it goes."""
        return self.status in ("done", "diverged")

    def to_json(self) -> dict[str, Any]:
        """As in `osler.treatment/1`."""
        return {**vars(self), "seconds": round(self.seconds, 1)}


@dataclass(frozen=True)
class Group:
    """Arms that differ by their seed alone.

    Attributes:
        name: "rerun", "treated-1", "random-1".
        config: of all of them, less seed and trial.
        what: was changed, in words.
        arms: by seed.
    """

    name: str
    config: Config
    what: str
    arms: list[Arm] = field(default_factory=list)


def arm_config(config: Config, trial: Trial, seed: int) -> Config:
    """A configuration as an arm trains it: val divided, perhaps less of train and fewer epochs, and a seed of its own."""
    training = config.training
    values = config.model_dump(mode="python")
    section = values["training"]
    values["data"]["trial"] = TrialConfig(prove=trial.prove, train=trial.train, seed=trial.seed).model_dump()
    section["seed"] = trial.first_seed + seed - 1
    if trial.epochs < 1.0:
        section["epochs"] = max(1, round(training.epochs * trial.epochs))
        section["warmup_epochs"] = training.warmup_epochs * section["epochs"] / training.epochs
        if training.warmup_steps is not None:
            section["warmup_steps"] = round(training.warmup_steps * section["epochs"] * trial.train / training.epochs)
    elif training.warmup_steps is not None and trial.train < 1.0:
        section["warmup_steps"] = round(training.warmup_steps * trial.train)
    return load_config(values)


def predictions_of_arm(folder: Path, split: str, task: str) -> AnyPredictions | None:
    """What an arm said of a split ("test" is what proves); None where it left none.

    Raises:
        RunError: the file is damaged.
    """
    path = RunFolder(folder).predictions / f"{split}.npz"
    if not path.is_file() or not RunFolder(folder).card_file.is_file():
        return None
    return MaskPredictions.load(path) if task == "segmentation" else Predictions.load(path)


def has_model(folder: Path) -> bool:
    """Whether the arm left a model that can predict: its card is written with it."""
    return RunFolder(folder).card_file.is_file()


def epochs_of(folder: Path) -> list[dict[str, Any]]:
    """The arm's vitals so far."""
    path = RunFolder(folder).vitals_file
    try:
        return read_vitals(path) if path.is_file() else []
    except RunError:
        return []


def best_monitored(folder: Path) -> tuple[float, int]:
    """The best monitored figure of an arm so far, turned so that higher is better, and its epochs; NaN before the first."""
    epochs = epochs_of(folder)
    values = [epoch["monitor"].get("best") for epoch in epochs]
    return (math.nan if not values or values[-1] is None else float(values[-1])), len(epochs)


def best_auc(folder: Path) -> tuple[float, float, float]:
    """The largest AUC of val over the epochs, and the ends of its interval from the counts alone; NaN where unknown."""
    found = (math.nan, math.nan, math.nan)
    for epoch in epochs_of(folder):
        parts = [part for part in epoch["val"].get("classes", {}).values() if part.get("auc") is not None]
        if not parts:
            continue
        value = float(np.mean([part["auc"] for part in parts]))
        counts = np.array([[part["positives"], part["n"] - part["positives"]] for part in parts], dtype=np.float64)
        error = float(hanley_mcneil_se(value, counts[:, 0].mean(), counts[:, 1].mean()))
        half = normal_quantile(0.95) * error
        if not math.isnan(half) and not value <= found[0]:
            found = (value, value - half, value + half)
    return found


def hopeless(folder: Path, control: Path, planned: int) -> str:
    """Why a treated arm need not be trained to its end: past its half, it is surely below the control's best. "" while it may.

    Args:
        folder: the arm.
        control: a re-run that ended.
        planned: epochs of the arm.
    """
    done = len(epochs_of(folder))
    if done < max(3, math.ceil(planned / 2)):
        return ""
    own, _, top = best_auc(folder)
    other, bottom, _ = best_auc(control)
    if not top < bottom:
        return ""
    than = f"the re-run's {other:.3f} (at least {bottom:.3f})"
    return f"after {done} of {planned} epochs its best AUC is {own:.3f} (at most {top:.3f}), {than}"


def new_group(name: str, config: Config, what: str, trial: Trial) -> Group:
    """A group with an arm for each seed, none of them trained."""
    arms = [Arm(f"{name}-seed{seed}", name, seed) for seed in range(1, trial.seeds + 1)]
    return Group(name, config, what, arms)


def restored(group: Group, arms: list[dict[str, Any]]) -> Group:
    """The group with its arms as a state file holds them; one that was running is taken up again."""
    known = [Arm(**one) for one in arms]
    for arm in known:
        if arm.status in ("running", "out of time"):
            arm.status = "planned"
    return replace(group, arms=known)
