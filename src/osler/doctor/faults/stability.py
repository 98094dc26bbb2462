"""The course of a run: losses that diverge, collapse or swing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.doctor.case import Case
from osler.doctor.course import median, noise, tail_mean, worst_spike
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.findings import Evidence, Lacking, Severity, Signs, figure
from osler.doctor.prescribe import scale_rate

__all__ = ["STABILITY", "Collapse", "collapse_of", "diverged"]

Floats = NDArray[np.float64]

# A validation skill that shows, in one epoch at least, a network which knows its task.
SOUND_SKILL = 0.3
# How far above chance a score must have been to be lost.
LEAST_GOOD = 0.1
# How many times its lowest a training loss must stay to be one that did not come back.
THROWN = 1.25


def diverged(case: Case) -> Evidence | None:
    """The last training losses against the first and the lowest."""
    epochs, losses = case.chart.points("train.loss")
    if len(losses) < 5 or losses.min() <= 0:
        return None
    lowest, end = float(losses.min()), float(losses[-1])
    jitter = noise(losses[:-1])
    if end > 1.2 * float(losses[0]) and end > 1.5 * lowest and (math.isnan(jitter) or end - lowest > 4 * jitter):
        return Evidence(
            "train.loss", end, float(epochs[-1]), expected=float(losses[0]), basis=f"first epoch; lowest {figure(lowest)}"
        )
    return None


def diverging_loss(case: Case) -> Signs | Lacking | None:
    """The training loss ends above where it began."""
    if not case.chart.has("train.loss", points=5):
        return Lacking("five epochs of the training loss")
    found = diverged(case)
    if found is None:
        return None
    epochs, losses = case.chart.points("train.loss")
    turn = float(epochs[int(np.argmin(losses))])
    text = (
        f"The training loss fell to {figure(float(losses.min()))} by epoch {figure(turn)} and ended at "
        f"{figure(float(losses[-1]))}, above its first value, {figure(float(losses[0]))}."
    )
    changes = scale_rate(case, 1 / 3, "a run that had learned was thrown back: a third of the rate, from the best checkpoint")
    actions = (
        "look at the batches of the last epochs: a last batch of a few samples, or a generator that ran dry, shows the same "
        "curve",
    )
    return Signs(text, (found,), "warning", 0.75, changes, actions, (turn,))


@dataclass(frozen=True)
class Collapse:
    """A score that was good and is no longer: its best, the mean of its last epochs, how many these are, where it fell."""

    best: float
    best_epoch: float
    end: float
    last: int
    fall: float


def collapse_of(epochs: Floats, values: Floats, base: float, least: float) -> Collapse | None:
    """The collapse of a score to less than half of its best over chance, to the end and beyond its own jitter.

    Args:
        epochs, values: (n,) finite figures.
        base: what chance gives.
        least: a best that is no further above chance was never good.
    """
    row = int(np.argmax(values))
    best, after = float(values[row]) - base, values[row + 1 :] - base
    last = max(3, math.ceil(0.05 * len(values)))
    if best < least or len(after) < last or float(after[-last:].max()) > 0.5 * best:
        return None
    jitter = noise(values)
    if math.isfinite(jitter) and best - float(after[-last:].mean()) < 4 * jitter:
        return None
    fall = float(epochs[row + 1 + int(np.argmax(after <= 0.5 * best))])
    return Collapse(float(values[row]), float(epochs[row]), float(values[-last:].mean()), last, fall)


def late_collapse(case: Case) -> Signs | Lacking | None:
    """A score that was good falls to less than half and stays there."""
    name = case.score("val", points=6)
    if name is None:
        return Lacking("six epochs of a validation score")
    epochs, values = case.chart.points(name)
    # The best of several AUCs at chance lies two errors above it now and then: nothing was good, and nothing is lost.
    error = case.null_error("val") if name == "val.auc" else math.nan
    found = collapse_of(epochs, values, 0.5 if name == "val.auc" else 0.0, max(LEAST_GOOD, 2 * error if error > 0 else 0.0))
    if found is None:
        return _not_recovered(case, name)
    evidence = (
        Evidence(name, found.best, found.best_epoch, basis="best"),
        Evidence(name, found.end, float(epochs[-1]), expected=found.best, basis=f"mean of the last {found.last} epochs"),
    )
    summary = (
        f"{name} reached {figure(found.best)} at epoch {figure(found.best_epoch)} and has been at {figure(found.end)} in "
        "the last "
        f"{found.last} epochs."
    )
    changes = scale_rate(
        case, 1 / 3, "a network that had learned was thrown out of its minimum: a third of the rate, from the best checkpoint"
    )
    return Signs(
        summary, evidence, "critical", 0.85, changes, ("go on from the best checkpoint, not from the last",), (found.fall,)
    )


def _not_recovered(case: Case, name: str) -> Signs | None:
    """A training loss that was thrown up and stays there, and a score that has lost much with it."""
    epochs, losses = case.chart.points("train.loss")
    values = case.chart.points(name)[1]
    last = max(5, len(losses) // 4)
    row = int(losses.argmin()) if len(losses) else 0
    if len(losses) - row <= last or not 0.0 < THROWN * float(losses[row]) < float(losses[-last:].min()):
        return None
    best, end, jitter = float(values.max()), tail_mean(values), noise(values)
    if best - end < max(LEAST_GOOD, 3 * jitter if jitter > 0 else 0.0) or case.facts.get("loss.schedule") is not None:
        return None
    lowest, least, epoch = float(losses[row]), float(losses[-last:].min()), float(epochs[row])
    text = (
        f"train.loss was {figure(lowest)} at epoch {figure(epoch)} and is {figure(least)} at least in the last {last} epochs; "
        f"{name} fell from {figure(best)} to {figure(end)} with it: what threw the network out of its minimum is not made up for."
    )
    evidence = (
        Evidence("train.loss", least, None, expected=lowest, basis=f"its lowest; least of the last {last} epochs"),
        Evidence(name, end, None, expected=best, basis="mean of the end, against its best"),
    )
    changes = scale_rate(case, 1 / 3, "a third of the rate, from the best checkpoint")
    actions = ("go on from the best checkpoint, not from the last",)
    return Signs(text, evidence, "warning", 0.7, changes, actions, (float(epochs[min(row + 1, len(epochs) - 1)]),))


def unstable_validation(case: Case) -> Signs | Lacking | None:
    """The validation loss swings by factors while the training loss is smooth."""
    if not case.chart.has("val.loss", "train.loss", points=10):
        return Lacking("ten epochs of training and validation loss")
    epochs, losses = case.chart.points("val.loss")
    half = losses[len(losses) // 2 :]
    trained = case.chart.points("train.loss")[1]
    trained = trained[len(trained) // 2 :]
    if half.min() <= 0 or trained.min() <= 0:
        return None
    swing, calm = math.log(half.max() / half.min()), math.log(trained.max() / trained.min())
    jitter, middle = noise(half), median(half)
    height = worst_spike(half)
    rough = swing > math.log(4.0) and swing > 3 * calm and (height > middle or jitter > 0.3 * middle)
    if not rough:
        return None
    worst = float(epochs[len(losses) // 2 + int(np.argmax(half))])
    text = (
        f"In the second half of the run val.loss swings between {figure(float(half.min()))} and {figure(float(half.max()))} "
        f"while train.loss stays within a factor of {math.exp(calm):.2g}."
    )
    evidence = (Evidence("val.loss", float(half.max()), worst, expected=middle, basis="median of the second half"),)
    actions = (
        "evaluate one validation batch with the network in training mode: if its loss is calm, the stored statistics of batch "
        "normalisation lag (momentum, batch size)",
        "look at which validation samples make the loss",
    )
    changes = scale_rate(
        case, 1 / 3, "smaller steps, or a moving average of the weights (training.ema: 0.999), calm the validation loss"
    )
    severity: Severity = "note" if _best_is_sound(case) else "warning"
    return Signs(text, evidence, severity, 0.6, changes, actions, (worst,))


def _best_is_sound(case: Case) -> bool:
    """Whether validation came to a good score amid the swings, so that the best checkpoint has lost nothing by them."""
    skill = case.skill("val")
    known = skill[np.isfinite(skill)]
    return case.above_chance("val") and (not len(known) or float(known.max()) > SOUND_SKILL)


STABILITY: dict[str, Fault] = {
    "diverging_loss": Fault(
        id="diverging_loss",
        name="The loss ends above where it began",
        family="stability",
        level="syndrome",
        means="The training loss fell, turned, and ended above its first value.",
        needs="five epochs of the training loss",
        signature=diverging_loss,
        severity="warning",
        dose="a third of the learning rate, from the best checkpoint",
        explains=("unstable_validation",),
        lookalikes=(
            Lookalike("learning_rate_too_high", "update_ratio and the gradient norm before the turn"),
            Lookalike("a last batch of a few samples", "the validation figures hardly change"),
        ),
        harmful=("training on from the last checkpoint",),
        source="against the first epoch and the lowest, beyond four times the jitter",
    ),
    "late_collapse": Fault(
        id="late_collapse",
        name="Late collapse",
        family="stability",
        level="syndrome",
        means=(
            "A score that was good falls to less than half of it and stays there to the end; or it falls with a training loss "
            "that was thrown up and does not come back."
        ),
        needs="six epochs of a validation score",
        signature=late_collapse,
        severity="critical; a warning where the score keeps more than half",
        dose="a third of the learning rate, from the best checkpoint; clipping of the gradient norm",
        explains=(
            "single_class_prediction",
            "unstable_validation",
            "overfitting",
            "diverging_loss",
            "class_late_collapse",
            "empty_masks",
            "full_masks",
        ),
        lookalikes=(
            Lookalike("overfitting", "the score sinks slowly while the training score rises"),
            Lookalike("unstable_validation", "the score comes back within a few epochs"),
            Lookalike("class_late_collapse", "one class of several: the macro figure loses little"),
        ),
        harmful=("training on from the last checkpoint",),
        source="nnU-Net issues 812, 1629 and 3048",
    ),
    "unstable_validation": Fault(
        id="unstable_validation",
        name="Validation swings",
        family="stability",
        level="syndrome",
        means="The validation loss swings by factors late in the run, while the training loss is calm.",
        needs="ten epochs of training and validation loss",
        signature=unstable_validation,
        severity="warning; a note where the best epoch has a skill of 0.3 and an AUC above chance: its checkpoint is sound",
        dose="a third of the learning rate, or a moving average of the weights",
        lookalikes=(
            Lookalike("train_eval_gap", "one validation batch with the network in training mode"),
            Lookalike("small_validation", "the number of validation samples"),
            Lookalike("overfitting", "a steady rise instead of swings"),
        ),
        harmful=("picking the luckiest epoch of a swinging curve",),
        source="keras issue 10666: batch normalisation's momentum 0.99 to 0.9",
    ),
}
