"""The plan of a run: warm-up, the fall of the rate, and when it stopped."""

from __future__ import annotations

import math

import numpy as np

from osler.doctor.case import Case
from osler.doctor.course import tail_mean
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.findings import Change, Evidence, Lacking, Signs, figure
from osler.doctor.prescribe import set_fact
from osler.metrics.trend import trend

__all__ = ["SCHEDULE"]

# How far over its lowest a validation loss ends that speaks against going on.
RISEN = 0.2
LONGEST_WARMUP = 0.1
# A training skill under which the rate of a run is not yet to be spent.
LITTLE_SKILL = 0.2
# Epochs that no network from scratch is done in, and a patience that jitter alone exhausts.
TOO_FEW, IMPATIENT = 5, 3
# Schedules that are meant to end near zero.
FALLING = ("cosine", "poly", "linear", "onecycle", "one_cycle", "one cycle")


def warmup_too_long(case: Case) -> Signs | Lacking | None:
    """A warm-up that takes a large part of the run, or longer than the run was watched."""
    warmup, planned = case.warmup, case.planned
    if not warmup > 0:
        return (
            None
            if "training.warmup_epochs" in case.facts or case.chart.has("warming_up")
            else Lacking("training.warmup_epochs, or the learning rate by epoch")
        )
    seen = float(case.chart.ordinals[-1]) if len(case.chart) else 0.0
    share = warmup / planned if planned > 0 else math.nan
    inside = 0 < seen <= warmup
    if not inside and not share > LONGEST_WARMUP + 0.005:
        return None
    if inside and warmup < 3:
        return None
    reasons = []
    if inside:
        reasons.append(f"all {figure(seen)} epochs lie within it, so the peak rate was never tried")
    if share > LONGEST_WARMUP:
        reasons.append(f"that is {share:.0%} of the {figure(planned)} planned")
    poor = inside or not case.learned
    to = max(1, math.floor(min(0.05 * planned, warmup / 2))) if planned > 0 else max(1, math.floor(warmup / 2))
    evidence = (
        Evidence("training.warmup_epochs", warmup, None, expected=float(to), basis="half of it, or 5 % of the planned epochs"),
    )
    why = "a warm-up protects the first few hundred steps; half of it, or 5 % of the run, does"
    text = f"The warm-up takes {figure(warmup)} epochs: {' and '.join(reasons)}."
    return Signs(
        text,
        evidence,
        "warning" if poor else "note",
        0.8 if inside else 0.6,
        set_fact(case, "training.warmup_epochs", to, why),
        epochs=(float(case.chart.epochs[0]),),
    )


def rate_spent_early(case: Case) -> Signs | Lacking | None:
    """The learning rate has all but vanished long before the end, while the score still rises."""
    if not case.chart.has("learning_rate", points=4):
        return Lacking("four epochs of the learning rate")
    epochs, rates = case.chart.points("learning_rate")
    peak = max(float(rates.max()), float(np.nanmax(case.chart.values("learning_rate.start"), initial=0.0)))
    # A rate that is raised later was not spent before.
    small = (rates < 0.01 * peak) & (np.arange(len(rates)) >= int(rates.argmax()))
    share = float(small.mean())
    if share <= 0.3 or small.sum() < 3 or not small[-1]:
        return None
    first = float(epochs[int(np.flatnonzero(small)[0])])
    if _unready(case, first):
        text = (
            f"The learning rate is under 1 % of its peak from epoch {figure(first)} on, {share:.0%} of the run, and hardly "
            "anything had been learned by then."
        )
        peak_at = Evidence("learning_rate", float(rates[-1]), float(epochs[-1]), expected=peak, basis="peak")
        return Signs(text, (peak_at,), "warning", 0.85, _one_fall(case), epochs=(first,))
    name = case.score("val", points=6)
    if name is None:
        return Lacking("six epochs of a validation score, or the training loss with its floor")
    score_epochs, values = case.chart.points(name)
    rows = score_epochs >= first
    rising = trend(values[rows], score_epochs[rows])
    if not rising.rises or (case.learned and values[-1] > 0.95):
        return None
    text = (
        f"The learning rate is under 1 % of its peak from epoch {figure(first)} on, {share:.0%} of the run, and {name} still "
        "rises there."
    )
    evidence = (
        Evidence("learning_rate", float(rates[-1]), float(epochs[-1]), expected=peak, basis="peak"),
        Evidence(f"slope of {name}", rising.slope, float(epochs[-1]), rising.low, rising.high, 0.0, "since then"),
    )
    return Signs(text, evidence, "warning", 0.6, _one_fall(case), epochs=(first,))


def _one_fall(case: Case) -> tuple[Change, ...]:
    stated = case.facts.get("training.schedule")
    why = "one fall over all planned epochs; a scheduler that is stepped every batch instead of every epoch shows the same"
    if stated != "cosine":
        return set_fact(case, "training.schedule", "cosine", why)
    # What is configured is right, and is not what runs: the code gives the scheduler another length.
    return (Change("training.schedule", stated, "cosine over all steps of the run", why),)


def _unready(case: Case, since: float) -> bool:
    """Whether next to nothing is learned in training although half of the plan, or more, is there to learn it in."""
    skill = case.skill("train")
    known = skill[np.isfinite(skill)]
    early = math.isnan(case.planned) or since < 0.5 * case.planned
    return early and (float(known.max()) < LITTLE_SKILL if len(known) else not case.learned)


def schedule_unfinished(case: Case) -> Signs | Lacking | None:
    """A falling schedule that is still high when the planned epochs are over: it was made for another length."""
    schedule = str(case.facts.get("training.schedule") or "").lower()
    if not schedule or not case.chart.has("learning_rate", points=5) or not case.planned > 0:
        return Lacking("training.schedule, training.epochs and five epochs of the learning rate")
    epochs, rates = case.chart.points("learning_rate")
    peak, end = float(rates.max()), float(rates[-1])
    if "restart" in schedule or not any(word in schedule for word in FALLING):
        return None
    if float(case.chart.ordinals[-1]) < case.planned or end < 0.3 * peak:
        return None
    text = f"The {schedule} schedule ends at {figure(end)}, {end / peak:.0%} of its peak, with all "
    text += f"{figure(case.planned)} planned epochs done: it was made for more epochs, or is stepped too rarely."
    evidence = (Evidence("learning_rate", end, float(epochs[-1]), expected=0.01 * peak, basis="1 % of the peak"),)
    actions = (
        "give the scheduler the length of the run, in the steps it counts, and print its rates before training: the last step "
        "should reach the end",
    )
    return Signs(text, evidence, "note", 0.7, (), actions, (float(epochs[-1]),))


def premature_stopping(case: Case) -> Signs | Lacking | None:
    """Stopped early while the score was still on its way up, or before the warm-up had ended."""
    reason = str(case.facts.get("stop_reason") or "").lower()
    short = _cut_short(case, reason)
    if short is not None:
        return short
    name = case.score("val", points=5)
    if name is None or ("early" not in reason and not math.isfinite(case.planned)):
        return Lacking("stop_reason or training.epochs, and five epochs of a validation score")
    seen = float(case.chart.ordinals[-1])
    if "early" not in reason or seen >= case.planned:
        return None
    epochs, values = case.chart.points(name)
    patience = case.facts.number("training.early_stopping")
    tail = max(6, int(patience) + 1 if patience > 0 else len(values) // 3)
    slope = trend(values[-tail:], epochs[-tail:])
    in_warmup = (
        case.warmup > 0 and float(case.chart.ordinals[int(np.argmax(case.chart.values(name) == values.max()))]) <= case.warmup
    )
    if not slope.rises and not in_warmup:
        return None
    to = (
        max(10, math.ceil(0.2 * case.planned))
        if math.isfinite(case.planned)
        else max(10, 2 * int(patience) if patience > 0 else 10)
    )
    text = f"Stopped at epoch {figure(float(epochs[-1]))} of {figure(case.planned)} " + (
        "with its best epoch within the warm-up." if in_warmup else f"while {name} still rises by {figure(slope.slope)} an epoch."
    )
    evidence = (Evidence(f"slope of {name}", slope.slope, float(epochs[-1]), slope.low, slope.high, 0.0, f"last {tail} epochs"),)
    changes = set_fact(
        case, "training.early_stopping", to, "a patience of 10 epochs or a fifth of the plan, counted after the warm-up"
    )
    return Signs(text, evidence, "warning", 0.6, changes, epochs=(float(epochs[-1]),))


def _cut_short(case: Case, reason: str) -> Signs | None:
    """Stopped early in the first half, by a patience that jitter exhausts or before anything was learned."""
    seen, patience = float(case.chart.ordinals[-1]), case.facts.number("training.early_stopping")
    if "early" not in reason or not seen < 0.5 * case.planned:
        return None
    if not patience < IMPATIENT and not case.early:
        return None
    text = f"Stopped at epoch {figure(seen)} of {figure(case.planned)}"
    text += f" by a patience of {figure(patience)}, which the jitter of a score exhausts." if patience > 0 else "."
    to = max(10, math.ceil(0.2 * case.planned))
    changes = set_fact(
        case, "training.early_stopping", to, "a patience of 10 epochs or a fifth of the plan, counted after the warm-up"
    )
    if case.facts.number("training.min_delta") > 0.005:
        changes += set_fact(case, "training.min_delta", 0.0, "a slow gain is one")
    evidence = (Evidence("epochs", seen, seen, expected=case.planned, basis="planned"),)
    return Signs(text, evidence, "warning", 0.8, changes, epochs=(seen,))


def too_few_epochs(case: Case) -> Signs | Lacking | None:
    """A network from scratch that was planned to be done within a handful of epochs, and was still getting better."""
    if not case.planned > 0 or "model.pretrained" not in case.facts:
        return Lacking("training.epochs, and model.pretrained: whether the network starts from scratch")
    epochs, losses = case.chart.points("train.loss")
    if case.planned >= TOO_FEW or case.facts.get("model.pretrained") or float(case.chart.ordinals[-1]) < case.planned:
        return None
    if len(losses) < 2 or losses[-1] > losses.min():
        return None
    to = max(10, math.ceil(5 * case.planned))
    text = (
        f"{figure(case.planned)} epochs were planned for a network from scratch, and its training loss, "
        f"{figure(float(losses[-1]))}, was lowest in the last of them."
    )
    evidence = (Evidence("training.epochs", case.planned, None, expected=float(to), basis="five times as many, 10 at least"),)
    changes = (Change("training.epochs", case.planned, to, "enough to see a curve bend; the schedule stretched to them"),)
    return Signs(text, evidence, "warning", 0.75, changes, epochs=(float(epochs[-1]),))


def still_improving(case: Case) -> Signs | Lacking | None:
    """The validation score still rises beyond its noise when the run ends."""
    name = case.score("val", points=8)
    if name is None:
        return Lacking("eight epochs of a validation score")
    epochs, values = case.chart.points(name)
    tail = max(6, len(values) // 3)
    slope = trend(values[-tail:], epochs[-tail:])
    gain = slope.slope * tail
    if not slope.rises or gain < 0.01 or values[-1] > 0.99 or float(case.chart.ordinals[-1]) < case.planned:
        return None
    losses = case.chart.points("val.loss")[1]
    if len(losses) and tail_mean(losses) - float(losses.min()) > RISEN * abs(float(losses.min())):
        return None  # what rises is bought with probabilities that grow too sure
    more = math.ceil(1.5 * len(values))
    before = case.planned if math.isfinite(case.planned) else None
    # A straight line on from the last figures: curves bend down, so it is the most that can be hoped for.
    last = tail_mean(values)
    end, ahead = float(values[-tail:].mean()), more - len(values) + 0.5 * (tail - 1)
    hoped, low, high = (min(end + ahead * each, 1.0) for each in (slope.slope, slope.low, slope.high))
    summary = (
        f"{name} still rises by {figure(slope.slope)} an epoch over the last {tail} epochs: the run ended before it was done."
    )
    if hoped < 1.0:
        summary += (
            f" On a straight line it would reach {figure(hoped)} ({figure(low)} to {figure(high)}) after {more} epochs, at most: "
            "curves bend."
        )
    evidence = (
        Evidence(f"slope of {name}", slope.slope, float(epochs[-1]), slope.low, slope.high, 0.0, f"last {tail} epochs"),
        Evidence(f"{name} extrapolated", hoped, float(more), low, high, last, "straight line; the mean of the end beside it"),
    )
    return Signs(
        summary,
        evidence,
        "note",
        0.7,
        (Change("training.epochs", before, more, "half as many again, with the schedule stretched to them"),),
        epochs=(float(epochs[-1]),),
    )


SCHEDULE: dict[str, Fault] = {
    "warmup_too_long": Fault(
        id="warmup_too_long",
        name="Warm-up too long",
        family="schedule",
        level="cause",
        means=(
            "The learning rate reaches its peak so late that a large part of the run, or all that was watched of it, was done "
            "at a fraction of it."
        ),
        needs="training.warmup_epochs, or warming_up by epoch; better with training.epochs",
        signature=warmup_too_long,
        severity="warning where all of the run lies within the warm-up, or nothing was learned; else a note",
        dose="half of it, or 5 % of the planned epochs, whichever is less",
        explains=("low_overlap", "stuck_loss", "empty_masks"),
        lookalikes=(Lookalike("learning_rate_too_low", "the same slow curve after the warm-up has ended"),),
        harmful=("judging a run before it has reached its rate",),
        source="tuning playbook: at most 10 % of the steps",
    ),
    "rate_spent_early": Fault(
        id="rate_spent_early",
        name="The rate is spent before the run is",
        family="schedule",
        level="cause",
        means=(
            "The learning rate is below 1 % of its peak for a third of the run or more, and the score was still rising or had "
            "not begun to."
        ),
        needs="four epochs of the learning rate, with the training loss and its floor, or a validation score in six epochs",
        signature=rate_spent_early,
        severity="warning",
        dose="one fall over all planned epochs",
        explains=(
            "still_improving", "not_learning", "chance_auc", "single_class_prediction", "stuck_loss", "best_from_noise",
            "learning_rate_too_low", "frozen_network", "vanishing_gradients", "validation_differs", "accuracy_is_majority",
            "threshold_mismatch", "underfitting", "updates_underflow", "learning_rate_too_high",
            "empty_masks", "low_overlap",
        ),
        lookalikes=(Lookalike("a converged run", "the score stands still where the rate is small"),),
        harmful=("more epochs at a rate of nothing",),
        source="schedule length and epochs run differ, or a scheduler is stepped by batch",
    ),
    "schedule_unfinished": Fault(
        id="schedule_unfinished",
        name="The schedule is longer than the run",
        family="schedule",
        level="cause",
        means="A falling schedule is still at a third of its peak or more when all planned epochs are done.",
        needs="training.schedule, training.epochs and five epochs of the learning rate",
        signature=schedule_unfinished,
        severity="note",
        dose="the schedule's length is that of the run, in the steps that it counts",
        explains=("still_improving",),
        lookalikes=(
            Lookalike("a schedule by plateau, or none", "training.schedule"),
            Lookalike("premature_stopping", "fewer epochs were run than planned"),
        ),
        harmful=("comparing it with a run whose rate came down",),
        source="the last tenth of a cosine, at small rates, often gives the last tenth of the score",
    ),
    "premature_stopping": Fault(
        id="premature_stopping",
        name="Stopped too soon",
        family="schedule",
        level="cause",
        means="Early stopping ended the run while its score still rose beyond the noise, within the warm-up, or at once.",
        needs="stop_reason, training.epochs and training.early_stopping, or five epochs of a validation score",
        signature=premature_stopping,
        severity="warning",
        dose="a patience of ten epochs or a fifth of the plan, counted after the warm-up",
        explains=(
            "still_improving", "not_learning", "chance_auc", "single_class_prediction", "stuck_loss", "threshold_mismatch",
            "learning_rate_too_high", "underfitting", "alternating_prediction",
            "empty_masks", "low_overlap",
        ),
        lookalikes=(Lookalike("overfitting", "the score falls after its best epoch"),),
        harmful=("a larger min_delta",),
        source="patience below the correlation length of the noise",
    ),
    "too_few_epochs": Fault(
        id="too_few_epochs",
        name="Too few epochs",
        family="schedule",
        level="cause",
        means="A network from scratch was planned to be done within a handful of epochs, and its training loss still fell.",
        needs="training.epochs, model.pretrained and two epochs of the training loss",
        signature=too_few_epochs,
        severity="warning",
        dose="five times as many epochs, 10 at least",
        explains=(
            "not_learning", "chance_auc", "single_class_prediction", "stuck_loss", "underfitting", "best_from_noise",
            "accuracy_is_majority", "threshold_mismatch", "validation_differs", "alternating_prediction",
            "empty_masks", "low_overlap",
        ),
        lookalikes=(
            Lookalike("premature_stopping", "fewer epochs were run than planned"),
            Lookalike("still_improving", "eight epochs and more: a slope can be told from jitter"),
        ),
        harmful=("a higher learning rate to make up for the epochs",),
        source="tuning playbook: the best epoch of a run that was long enough is not its last",
    ),
    "still_improving": Fault(
        id="still_improving",
        name="Ended while still improving",
        family="schedule",
        level="cause",
        means="The validation score still rises beyond its noise at the planned end.",
        needs="eight epochs of a validation score",
        signature=still_improving,
        severity="note: the result is sound, and there is more to be had",
        dose="half as many epochs again",
        lookalikes=(Lookalike("learning_rate_too_low", "update_ratio below 0.00001, or a loss that falls on a straight line"),),
        harmful=("regularisation against an overfit that is not there",),
        source="tuning playbook: still improving at the end means compute-bound",
    ),
}  # fmt: skip
