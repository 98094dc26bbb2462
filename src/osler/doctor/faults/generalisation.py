"""Training against validation: overfit, over-confidence, another world in validation, too few samples to tell."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from osler.doctor.case import SCORES, Case
from osler.doctor.course import climbs, noise, tail_mean
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.findings import Evidence, Lacking, Signs, figure
from osler.doctor.prescribe import set_fact
from osler.metrics.trend import trend

__all__ = ["GENERALISATION", "by_heart"]

# Epochs after the best that are needed to tell a rise from jitter.
FEWEST_AFTER = 5
GAP = 0.2
# A gap that needs no other sign, and how many times training's loss validation's is where samples are known by heart.
WIDE_GAP, BY_HEART, BEHIND = 0.3, 6.0, 0.03
# Of losses alone: epochs that show it, what validation may still gain in their last third, and what training must.
FEWEST_PARTED, STALLED, STILL_FALLS = 15, 0.05, 0.1
TOGETHER = 3.0
# How far above its first epochs a validation loss stays after a step in its course.
STEP_UP = 1.25
# Of runs too short for a trend: how many times the lowest loss the last one is, and what the score has lost.
PARTED, LOST = 1.5, 0.1
# Samples that any network can learn by heart one by one, and the training AUC that says it did.
FEW_SAMPLES, KNOWN = 100, 0.95


def _rise(case: Case) -> tuple[int, float, float] | None:
    """Row of the lowest validation loss, and how far it has risen by the end, where that is beyond jitter; else None."""
    epochs, losses = case.chart.points("val.loss")
    row = int(np.argmin(losses))
    after = losses[row:]
    if len(after) <= FEWEST_AFTER:
        return None
    rise = tail_mean(after) - float(losses[row])
    jitter = noise(losses)
    rises = trend(after, epochs[row:]).rises or climbs(after) or _stays_up(after) or _stays_above(case, after, jitter)
    if not rises or rise < 3 * jitter or rise < 0.1 * abs(float(losses[row])):
        return None
    return row, float(losses[row]), rise


def _stays_up(after: NDArray[np.float64]) -> bool:
    """Whether the last third of some epochs lies by a quarter above all of the first, as after a step in the course."""
    third = len(after) // 3
    return third > 2 and float(after[-third:].min()) > STEP_UP * float(after[:third].max()) > 0.0


def _stays_above(case: Case, after: NDArray[np.float64], jitter: float) -> bool:
    """Whether the end of a run lies by a fifth, and beyond jitter, above its lowest loss, while training's went on falling."""
    trained = case.chart.points("train.loss")[1]
    end = float(after[-max(2, len(after) // 3) :].min())
    falls = len(trained) > FEWEST_AFTER and tail_mean(trained) < 0.9 * float(trained[-len(after) :][0])
    return falls and end - float(after[0]) > max(3 * jitter, 0.2 * abs(float(after[0]))) and _ended(case)


def _ended(case: Case) -> bool:
    """Whether a run has all its epochs, or nobody says how many it is to have."""
    return not float(case.chart.ordinals[-1]) < case.planned


def _score_falls(case: Case, epoch: float) -> Evidence | bool | None:
    """The validation score that falls after an epoch; False where it does not, None where there is none."""
    seen = False
    for name in (f"val.{each}" for each in SCORES):
        if not case.chart.has(name, points=FEWEST_AFTER):
            continue
        seen = True
        epochs, values = case.chart.points(name)
        after = values[epochs >= epoch]
        best, end = float(values.max()), tail_mean(after)
        error = case.null_error("val") if name == "val.auc" else math.nan
        margin = max(0.02, 2 * noise(values) if len(values) > 3 else 0.0, 0.0 if math.isnan(error) else error)
        falls = len(after) >= FEWEST_AFTER and best - end > margin
        if falls and (trend(after, epochs[epochs >= epoch]).slope < 0 or end < float(after[0]) - margin):
            return Evidence(name, end, None, expected=best, basis="mean of the end, against its best")
        if name == "val.auc":
            return False  # a ranking that holds: what else falls does so by the threshold
    return False if seen else None


def overfitting(case: Case) -> Signs | Lacking | None:
    """The validation loss rises and the score falls while the training loss goes on falling; or the two scores part."""
    few = by_heart(case)
    if few is not None:
        return few
    short = _at_once(case)
    if short is not None:
        return short
    if not case.chart.has("val.loss", points=FEWEST_AFTER + 1):
        return _gap(case) or (
            None if case.score("val", 6) else Lacking("six epochs of the validation loss, or of a score on both splits")
        )
    found = _rise(case)
    parted = None if case.score("val") is not None else _losses_part(case)
    if found is None or parted is not None:
        return parted or _gap(case) or _known_by_heart(case)
    row, lowest, rise = found
    epochs = case.chart.points("val.loss")[0]
    best_epoch = float(epochs[row])
    trained, losses = case.chart.points("train.loss")
    if len(losses) > FEWEST_AFTER and tail_mean(losses) > float(losses[trained >= best_epoch][0]) * 0.98:
        return None
    falls = _score_falls(case, best_epoch)
    if falls is False:
        return _known_by_heart(case)
    evidence = [
        Evidence("val.loss", lowest + rise, None, expected=lowest, basis=f"mean of the end; lowest, epoch {figure(best_epoch)}")
    ]
    text = (
        f"val.loss is lowest at epoch {figure(best_epoch)} ({figure(lowest)}) and {figure(lowest + rise)} at the end"
        f"{', while the training loss goes on falling' if len(losses) > FEWEST_AFTER else ''}"
    )
    if isinstance(falls, Evidence):
        evidence.append(falls)
        text += f"; {falls.quantity} falls from {figure(falls.expected)} to {figure(falls.value)}."
    else:
        text += "; no score is logged, so over-confidence cannot be told from overfit."
    large = isinstance(falls, Evidence) or rise > 0.25 * abs(lowest)
    return Signs(
        text,
        tuple(evidence),
        "warning" if large else "note",
        0.85 if isinstance(falls, Evidence) else 0.6,
        _regularise(case),
        ("use the checkpoint of the best epoch",),
        (best_epoch,),
    )


def _at_once(case: Case) -> Signs | None:
    """A short run whose validation only ever gets worse: its loss by half in at least three epochs, and a score with it."""
    epochs, val, train = case.pair("val.loss", "train.loss")
    name = case.score("val", FEWEST_AFTER - 1)
    row = int(np.argmin(val)) if len(val) else 0
    if name is None or len(val) - row < FEWEST_AFTER - 1 or not _ended(case):
        return None
    fell = float(train[-1]) < 0.9 * float(train[row])
    if not (np.diff(val[row:]) > 0).all() or not 0.0 < float(val[row]) < float(val[-1]) / PARTED or not fell:
        return None
    scores = case.chart.points(name)[1]
    if float(scores.max() - scores[-1]) < LOST:
        return None
    text = (
        f"val.loss rises in every epoch after epoch {figure(float(epochs[row]))}, from {figure(float(val[row]))} to "
        f"{figure(float(val[-1]))}, and {name} falls from {figure(float(scores.max()))} to {figure(float(scores[-1]))}, while "
        "the training loss goes on falling."
    )
    evidence = (
        Evidence("val.loss", float(val[-1]), float(epochs[-1]), expected=float(val[row]), basis="lowest"),
        Evidence(name, float(scores[-1]), float(epochs[-1]), expected=float(scores.max()), basis="its best"),
    )
    return Signs(
        text, evidence, "warning", 0.75, _regularise(case), ("use the checkpoint of the best epoch",), (float(epochs[row]),)
    )


def by_heart(case: Case) -> Signs | None:
    """So few training samples that they are known by heart, and next to nothing of it holds in validation."""
    n = case.facts.number("samples.train")
    epochs, val, train = case.pair("val.auc", "train.auc")
    if not n < FEW_SAMPLES or len(epochs) <= FEWEST_AFTER:
        return None
    end, trained = tail_mean(val), tail_mean(train)
    if trained < KNOWN or trained - end < GAP:
        return None
    text = (
        f"Training has {figure(n)} samples and ends at an AUC of {figure(trained)} on them, {figure(end)} in validation: they "
        "are known by heart, and are too few to learn from."
    )
    evidence = (
        Evidence("samples.train", n, None, expected=float(FEW_SAMPLES), basis="fewer are learned by heart by any network"),
        Evidence("val.auc", end, float(epochs[-1]), expected=trained, basis="in training; mean of the end"),
    )
    actions = ("collect more samples, or start from a pretrained network and train its head only",)
    start = float(epochs[int(np.argmax(train - val >= GAP))])
    return Signs(text, evidence, "warning", 0.8, _regularise(case), actions, (start,))


def _gap(case: Case) -> Signs | None:
    """Training and validation score that have parted: less than half of what is gained in training holds in validation.

    An AUC is gained over chance; what another score starts from is not known but by its first epoch.
    """
    for name in SCORES:
        epochs, values, trained = case.pair(f"val.{name}", f"train.{name}")
        if len(epochs) < 10:
            continue
        end, train_end = tail_mean(values), tail_mean(trained)
        starts = (0.5, 0.5) if name == "auc" else (float(trained[0]), float(values[0]))
        gained, carried = train_end - starts[0], end - starts[1]
        error = case.null_error("val") if name == "auc" else math.nan
        if train_end - end < max(GAP, 1.96 * error if error > 0 else 0.0) or gained < GAP:
            return None
        if carried > 0.5 * gained and train_end - end < WIDE_GAP:
            return None
        since = "over chance" if name == "auc" else "since the first epoch"
        text = (
            f"{name} is {figure(train_end)} in training and {figure(end)} in validation: of the {figure(gained)} gained in "
            f"training {since}, {figure(max(carried, 0.0))} holds in validation."
        )
        start = float(epochs[int(np.argmax(trained - values >= GAP))])
        against = Evidence(f"val.{name}", end, float(epochs[-1]), expected=train_end, basis="in training; mean of the end")
        return Signs(text, (against,), "warning", 0.65, _regularise(case), ("use the checkpoint of the best epoch",), (start,))
    return None


def _known_by_heart(case: Case) -> Signs | None:
    """A training loss of next to nothing beside a validation loss that is many times as large, and a score that lags behind."""
    name = next((each for each in SCORES if case.chart.has(f"val.{each}", f"train.{each}", points=10)), None)
    plain = "unaugmented.eval_mode" if case.chart.has("unaugmented.eval_mode") else "train.loss"
    epochs, val, train = case.pair("val.loss", plain)
    if name is None or len(epochs) < 10 or case.balanced_sampler or not _ended(case):
        return None
    losses = tail_mean(val), tail_mean(train)
    scores = tail_mean(case.chart.points(f"val.{name}")[1]), tail_mean(case.chart.points(f"train.{name}")[1])
    if not 0.0 < BY_HEART * losses[1] < losses[0] or scores[1] - scores[0] < BEHIND:
        return None
    text = (
        f"The loss of training samples is {figure(losses[1])} at the end and that of validation {figure(losses[0])}, "
        f"{figure(losses[0] / losses[1])} times as much, with {name} {figure(scores[1])} and {figure(scores[0])}: the training "
        "samples are known by heart."
    )
    evidence = (
        Evidence("val.loss", losses[0], None, expected=losses[1], basis=f"{plain}; means of the end"),
        Evidence(f"val.{name}", scores[0], None, expected=scores[1], basis="in training; means of the end"),
    )
    start = float(epochs[int(np.argmax(val > BY_HEART * train))])
    return Signs(text, evidence, "warning", 0.6, _regularise(case), ("use the checkpoint of the best epoch",), (start,))


def _losses_part(case: Case) -> Signs | None:
    """With no score to ask: a training loss that goes on falling under half of a validation loss that gains nothing more."""
    epochs, val, train = case.pair("val.loss", "train.loss")
    if case.score("val") is not None or len(epochs) < FEWEST_PARTED or case.balanced_sampler:
        return None
    # Losses that start far apart are of two kinds, and tell nothing of each other; what reaches zero is no loss to divide by.
    if min(float(train.min()), float(val.min())) <= 0.0 or not 1 / TOGETHER < float(val[0]) / float(train[0]) < TOGETHER:
        return None
    third = len(epochs) // 3
    ends = tail_mean(val), tail_mean(train)
    gained = 1.0 - float(val[-third:].min()) / float(val[:-third].min())
    fell = 1.0 - ends[1] / float(train[-third - 1])
    if not (0.0 < ends[1] < 0.5 * ends[0]) or gained > STALLED or fell < STILL_FALLS:
        return None
    text = (
        f"In the last {third} epochs the training loss fell by {fell:.0%} to {figure(ends[1])}, and the lowest validation loss "
        f"by {max(gained, 0.0):.0%}, to {figure(float(val.min()))}; at the end it is {figure(ends[0])}, over twice training's: "
        "what is gained in training is no longer gained in validation. A score would tell whether it harms."
    )
    evidence = (Evidence("val.loss", ends[0], float(epochs[-1]), expected=ends[1], basis="train.loss; mean of the end"),)
    start = float(epochs[int(np.argmin(val))])
    return Signs(text, evidence, "warning", 0.5, _regularise(case), ("use the checkpoint of the best epoch",), (start,))


def _regularise(case: Case) -> tuple:  # type: ignore[type-arg]
    changes = (
        ()
        if case.facts.get("augmentation")
        else set_fact(
            case,
            "augmentation",
            "mild",
            "more variety in the training images is the strongest cure; flips only where left and right mean the same",
        )
    )
    decay = case.facts.number("training.weight_decay")
    stronger = 10 * decay if 0 < decay < 1e-2 else 1e-2
    return (*changes, *set_fact(case, "training.weight_decay", stronger, "ten times as much, up to 0.01"))


def overconfidence(case: Case) -> Signs | Lacking | None:
    """The validation loss rises while the score does not fall: probabilities grow too sure, the ranking stays."""
    if not case.chart.has("val.loss", points=FEWEST_AFTER + 1) or case.score("val", FEWEST_AFTER) is None:
        return Lacking("six epochs of the validation loss and of a validation score")
    found = _rise(case)
    if found is None:
        return None
    row, lowest, rise = found
    epoch = float(case.chart.points("val.loss")[0][row])
    if _score_falls(case, epoch) is not False:
        return None
    name = case.score("val", FEWEST_AFTER)
    kept = "ranking is" if name in ("val.auc", "val.ap") else "calls are"
    text = (
        f"val.loss rises from {figure(lowest)} (epoch {figure(epoch)}) to {figure(lowest + rise)} while {name} does not fall: "
        f"the probabilities are too sure, the {kept} as good as before."
    )
    basis = f"mean of the end; lowest, epoch {figure(epoch)}"
    evidence = (Evidence("val.loss", lowest + rise, None, expected=lowest, basis=basis),)
    changes = set_fact(
        case, "loss.label_smoothing", 0.05, "or calibrate afterwards: a temperature fitted on validation leaves the ranking alone"
    )
    return Signs(text, evidence, "note", 0.75, changes, epochs=(epoch,))


GENERALISATION: dict[str, Fault] = {
    "overfitting": Fault(
        id="overfitting",
        name="Overfitting",
        family="generalisation",
        level="cause",
        explains=("best_from_noise", "chance_auc", "single_class_prediction", "accuracy_is_majority", "low_overlap"),
        means="What is gained in training is lost, or no longer gained, in validation; or training samples are known by heart.",
        needs="four epochs of losses and a score, of a run that has ended; six of the validation loss, better with a score, "
        "fifteen without; or ten of a score on both splits",
        signature=overfitting,
        severity=(
            "warning where the score falls or has parted from the training score by 0.2, or the loss is six times training's "
            "with a score that lags, or rises by a quarter or, with no score, has parted from training's by half; else a note"
        ),
        dose="the checkpoint of the best epoch; augmentation; ten times the weight decay, up to 0.01",
        lookalikes=(
            Lookalike("overconfidence", "the score does not fall: only the probabilities grow too sure"),
            Lookalike("validation_differs", "validation was never above chance"),
            Lookalike("unstable_validation", "swings instead of a steady rise"),
        ),
        harmful=("more epochs", "stopping at the first rise of the validation loss: it jitters"),
        source="trend from the lowest validation loss on, with its interval, or the signs of its steps; three times the jitter",
    ),
    "overconfidence": Fault(
        id="overconfidence",
        scope="classification",
        name="Over-confidence",
        family="generalisation",
        level="cause",
        means="The validation loss rises while the ranking stays as good as it was.",
        needs="six epochs of the validation loss and of a score",
        signature=overconfidence,
        severity="note",
        dose="a temperature fitted on validation, or loss.label_smoothing 0.05",
        lookalikes=(Lookalike("overfitting", "the score falls too"),),
        harmful=("stopping at the lowest loss where the score still rises",),
        source="a loss rises by confidence alone; AUC and F1 know nothing of it",
    ),
}
