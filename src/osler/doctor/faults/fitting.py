"""How well the training samples are fitted: too little, or too distorted to be."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from osler.doctor.case import LOW_OVERLAP, Case
from osler.doctor.course import tail_mean
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.findings import Change, Evidence, Lacking, Severity, Signs, figure, joined
from osler.doctor.prescribe import peak_rate, scale_rate, set_fact, two_digits
from osler.metrics.trend import trend

__all__ = ["FITTING"]

Floats = NDArray[np.float64]

FEWEST_EPOCHS = 10
# Training scores under which next to nothing was learned, and those that a network which can fit its data leaves behind.
# Between the two a hard task looks the same, and only what is known to hold the network back tells them apart.
MODEST = {"auc": (0.6, 0.8), "dice": (0.33, 0.65), "iou": (0.2, 0.5)}
NO_GAP = 0.05
# What a score gains where the rate comes down, beyond where it rested at full rate, to be another score.
STILL_CAME = 0.1
# An accuracy that leaves much to be learned, a gain over a whole run that is none, and a rate at which little can move.
MODEST_ACCURACY, NO_GAIN, TIMID = 0.7, 0.04, 3e-5
# Steps that the weights remember under a decay that is too strong, and the validation skill that says it is none.
FEWEST_KEPT, WELL = 100, 0.3
# The most that radiographs usually bear, and what is mild for them: what is stated beyond the first is taken back to the second.
ORDINARY = {"rotation": 15.0, "shift": 0.1, "zoom": 0.15, "brightness": 0.2, "contrast": 0.2, "noise": 0.05}
MILD = {"rotation": 10.0, "shift": 0.05, "zoom": 0.1, "brightness": 0.1, "contrast": 0.1, "noise": 0.0}
# An AUC that is above chance, and of no use.
HARDLY = 0.6
NO_MORE = "no more than readers meet in practice"
# What a validation score of this height leaves to be gained by milder augmentation is little.
GOOD = {"auc": 0.9, "dice": 0.8, "iou": 0.7, "accuracy": 0.9, "f1": 0.8}


def _full_rate(case: Case) -> NDArray[np.bool_]:
    """(E,) epochs whose learning rate could still move something: a curve that rests because the rate is spent rests anyway."""
    rates, peak = case.chart.values("learning_rate"), peak_rate(case)
    return np.asarray(np.isnan(rates) | (rates >= 0.2 * peak)) if peak > 0 else np.ones(len(case.chart), dtype=bool)


def underfitting(case: Case) -> Signs | Lacking | None:
    """The training score itself has come to rest at a modest figure, with validation beside it."""
    name = next((each for each in MODEST if case.chart.has(f"train.{each}", f"val.{each}", points=FEWEST_EPOCHS)), None)
    if name is None:
        return _stands_still(case)
    train, val = case.chart.values(f"train.{name}"), case.chart.values(f"val.{name}")
    rows = np.flatnonzero(np.isfinite(train) & np.isfinite(val) & _full_rate(case) & case.settled)
    rows = rows[len(rows) // 2 :]
    if len(rows) < 5:
        return Lacking(
            "ten epochs with a learning rate of a fifth of its peak or more: where the rate is spent, every curve rests"
        )
    slope = trend(train[rows], case.chart.epochs[rows])
    level, gap = float(train[rows].mean()), float((train[rows] - val[rows]).mean())
    poor, modest = MODEST[name]
    if tail_mean(train) >= max(modest, level + STILL_CAME):
        return None  # it came to more when the rate came down
    if level >= modest or abs(gap) > NO_GAP or not case.learned_on("train") or (name != "auc" and level < LOW_OVERLAP):
        return None
    if slope.rises and slope.high * len(rows) > 0.01:
        return None  # it is still on its way
    changes, why = _release(case)
    severity: Severity = "warning" if level < poor or why else "note"
    side = "above" if gap >= 0 else "below"
    text = (
        f"train.{name} rests at {figure(level)} over {len(rows)} epochs, {figure(abs(gap))} {side} val.{name}: the training "
        f"samples themselves are not fitted{f', and {why}' if why else ''}."
    )
    evidence = (
        Evidence(
            f"train.{name}", level, float(case.chart.epochs[rows[-1]]), expected=modest, basis=f"mean of {len(rows)} epochs"
        ),
        Evidence(f"slope of train.{name}", slope.slope, None, slope.low, slope.high, 0.0, "a change an epoch, at full rate"),
    )
    actions = (
        "learn 32 samples by heart with dropout, weight decay and augmentation off: if that fails, optimiser or network "
        "limit it; "
        "if it works, take the regularisation back step by step, then a larger network",
        "look at the training samples with the largest loss: labels that are wrong set the same ceiling",
    )
    first = (float(case.chart.epochs[rows[0]]),)
    return Signs(text, evidence, severity, 0.75 if why else 0.55, changes, actions, first)


def _stands_still(case: Case) -> Signs | Lacking | None:
    """An accuracy that is modest on both splits, and has hardly moved since the first epoch."""
    val, train = case.chart.values("val.accuracy"), case.chart.values("train.accuracy")
    rows = np.isfinite(val) & np.isfinite(train) & case.settled
    epochs, val, train = case.chart.epochs[rows], val[rows], train[rows]
    if len(epochs) < FEWEST_EPOCHS or case.segmentation:
        return Lacking(f"{FEWEST_EPOCHS} epochs of AUC, Dice, IoU or accuracy on both splits")
    level, gained = float(train[-len(train) // 4 :].mean()), float(train[-len(train) // 4 :].mean() - train[0])
    if max(level, float(val.max())) >= MODEST_ACCURACY or abs(gained) > NO_GAIN or float(np.ptp(val)) > 2 * NO_GAIN:
        return None
    if case.learned:
        return None  # by its loss, or by another score
    text = (
        f"train.accuracy went from {figure(float(train[0]))} to {figure(level)} in {len(epochs)} epochs, and val.accuracy is "
        f"{figure(float(val.max()))} at best: since the first epoch logged next to nothing more was learned."
    )
    evidence = (Evidence("train.accuracy", level, float(epochs[-1]), expected=float(train[0]), basis="first epoch"),)
    changes = scale_rate(case, 10.0, "little moves at this rate: ten times as much") if peak_rate(case) <= TIMID else ()
    actions = ("compare it with the share of the most frequent class, and learn 32 samples by heart before anything else",)
    severity: Severity = "warning" if case.binary else "note"  # of many classes, it may be far above chance
    return Signs(text, evidence, severity, 0.5, changes, actions, (float(epochs[0]),))


def _release(case: Case) -> tuple[tuple[Change, ...], str]:
    """The strongest of what is stated to hold the network back, taken back; and that in words."""
    changes: list[Change] = []
    words: list[str] = []
    for key, strong, to in (
        ("model.dropout", 0.5, 0.2), ("training.weight_decay", 0.05, 1e-4), ("loss.label_smoothing", 0.2, 0.05),
    ):  # fmt: skip
        value = case.facts.number(key)
        if value > strong:
            changes += set_fact(case, key, to, "what regularises is for a network that fits its training samples")
            words.append(f"{key} is {figure(value)}")
    return tuple(changes), joined(words)


# --- augmentation -------------------------------------------------------------------------------------------------------------


def augmentation_too_strong(case: Case) -> Signs | Lacking | None:
    """Training is harder than validation to the end, by augmentation."""
    found = _training_is_harder(case)
    if not isinstance(found, tuple):
        return _drowned(case) or found
    name, trained, validated, first = found
    stated = {key: case.facts.number(f"augmentation.{key}") for key in ORDINARY}
    beyond = {key: value for key, value in stated.items() if value > ORDINARY[key]}
    on = case.facts.get("augmentation") or any(value > 0 for value in stated.values())
    if not on:
        return None if "augmentation" in case.facts else Lacking("augmentation: training is harder than validation")
    dropout = case.facts.number("model.dropout")
    # What is usual makes training a little harder than validation, as do dropout and weights that still move: no fault.
    ordinary = not beyond and (case.segmentation or any(math.isfinite(value) for value in stated.values()))
    severity: Severity = "warning" if validated < GOOD[name] and not ordinary else "note"
    text = (
        f"train.{name} is {figure(trained)} and val.{name} {figure(validated)} in the second half of the run: what the network "
    )
    text += "trains on is harder than what it is for"
    text += f"; {joined([f'{key} {figure(value)}' for key, value in beyond.items()])} is more than is usual." if beyond else "."
    evidence = [Evidence(f"train.{name}", trained, float(case.chart.epochs[-1]), expected=validated, basis="validation")]
    evidence += [
        Evidence(f"augmentation.{key}", value, None, expected=ORDINARY[key], basis="usual") for key, value in beyond.items()
    ]
    changes = _back_to_mild(case, beyond) or set_fact(case, "augmentation", "mild", NO_MORE)
    actions = ("look at 16 augmented samples: can a reader still tell their label?",)
    sure = 0.8 if beyond else 0.4 if dropout >= 0.5 else 0.6
    return Signs(text, tuple(evidence), severity, sure, changes, actions, (first,))


def _back_to_mild(case: Case, beyond: Iterable[str]) -> tuple[Change, ...]:
    return tuple(change for key in beyond for change in set_fact(case, f"augmentation.{key}", MILD[key], NO_MORE))


def _drowned(case: Case) -> Signs | None:
    """Nothing is learned on either split, and what is stated of the augmentation is twice what is usual in several ways."""
    stated = {key: case.facts.number(f"augmentation.{key}") for key in ORDINARY}
    beyond = {key: value for key, value in stated.items() if value >= 2 * ORDINARY[key]}
    if len(beyond) < 2 or case.early or case.fitted or (case.learned and not _hardly_ranked(case)):
        return None
    text = (
        f"Next to nothing was learned, and {joined([f'{key} {figure(value)}' for key, value in beyond.items()])} are at least "
        "twice what is usual: what is to be seen may be gone from what the network receives."
    )
    evidence = tuple(
        Evidence(f"augmentation.{key}", value, None, expected=ORDINARY[key], basis="usual") for key, value in beyond.items()
    )
    actions = ("look at 16 augmented samples: can a reader still tell their label?",)
    return Signs(text, evidence, "critical", 0.65, _back_to_mild(case, beyond), actions)


def _hardly_ranked(case: Case) -> bool:
    values = case.chart.points("val.auc")[1]
    return len(values) > 0 and float(values[-max(1, len(values) // 3) :].mean()) < HARDLY


def _training_is_harder(case: Case) -> tuple[str, float, float, float] | Lacking | None:
    """The score by which training stays behind validation, both its levels, and the first epoch of the second half."""
    names = ("auc", "dice", "iou") if case.balanced_sampler else tuple(GOOD)
    name = next((each for each in names if case.chart.has(f"train.{each}", f"val.{each}", points=6)), None)
    if name is None:
        return Lacking("six epochs of a score on both splits, and augmentation")
    epochs, val, train = case.pair(f"val.{name}", f"train.{name}")
    half = len(epochs) // 2
    if len(epochs) < 6 or not (train[half:] < val[half:]).mean() >= 0.8 or float((val - train)[half:].mean()) < 0.05:
        return None
    _, losses, trained = case.pair("val.loss", "train.loss")
    if len(losses) and not case.balanced_sampler and (trained > 1.1 * losses)[len(losses) // 2 :].mean() < 0.8:
        return None
    return name, float(train[half:].mean()), float(val[half:].mean()), float(epochs[half])


# --- weight decay -------------------------------------------------------------------------------------------------------------


def weight_decay_too_strong(case: Case) -> Signs | Lacking | None:
    """A decay that takes back within some steps whatever the gradient gave."""
    decay, rate = case.facts.number("training.weight_decay"), peak_rate(case)
    if not decay >= 0 or not rate > 0:
        return Lacking("training.weight_decay and the learning rate")
    kept = 1 / (rate * decay) if decay > 0 else math.inf
    if kept > FEWEST_KEPT or (case.skill("val") > WELL).any():
        return None
    to = two_digits(min(0.1, 1 / (rate * case.steps))) if case.steps > 0 else 0.01
    text = (
        f"training.weight_decay {figure(decay)} at a learning rate of {figure(rate)} shrinks the weights by "
        f"{min(rate * decay, 1.0):.2g} of themselves in a step: what is learned is forgotten after {figure(kept)} steps."
    )
    evidence = (Evidence("training.weight_decay", decay, None, expected=to, basis="forgets over the whole run, not within it"),)
    why = "1 / (rate × decay) steps are what the weights remember: as many as the run has, or more"
    severity: Severity = "warning" if case.learned or case.early else "critical"
    return Signs(text, evidence, severity, 0.85, set_fact(case, "training.weight_decay", to, why))


FITTING: dict[str, Fault] = {
    "weight_decay_too_strong": Fault(
        id="weight_decay_too_strong",
        name="Weight decay too strong",
        family="fitting",
        level="cause",
        means="Decay shrinks the weights so fast that what the gradient teaches is forgotten within a hundred steps.",
        needs="training.weight_decay and the learning rate",
        signature=weight_decay_too_strong,
        severity="critical where nothing was learned, else a warning",
        dose="1 / (rate × steps), 0.1 at most: the weights then remember the whole run",
        explains=(
            "underfitting", "not_learning", "vanishing_gradients", "learning_rate_too_high", "stuck_loss", "chance_auc",
            "single_class_prediction", "frozen_network", "best_from_noise", "validation_differs", "accuracy_is_majority",
            "still_improving", "updates_underflow", "threshold_mismatch", "exploding_gradients", "non_finite", "diverging_loss",
            "empty_masks", "low_overlap",
        ),
        lookalikes=(
            Lookalike("learning_rate_too_high", "training.weight_decay is of the usual size, 0 to 0.1"),
            Lookalike("underfitting", "the same at rates and decays whose product is small"),
        ),
        harmful=("a lower learning rate alone: it takes from both alike",),
        source="decoupled decay averages over 1/(rate × decay) steps (Loshchilov and Hutter 2019; Wang and Aitchison 2024)",
    ),
    "underfitting": Fault(
        id="underfitting",
        name="Underfitting",
        family="fitting",
        level="cause",
        means=(
            "The score on the training samples themselves comes to rest at a modest figure, with validation beside it, or has "
            "hardly moved since the first epoch."
        ),
        needs="ten epochs of AUC, Dice or IoU on both splits, at a learning rate that still moves something; or of accuracy",
        signature=underfitting,
        severity=(
            "warning where the training AUC rests under 0.6 (Dice 0.33, IoU 0.2), an accuracy under 0.7 stands still from the "
            "first epoch on, or strong regularisation is stated; else a note up to 0.8 (0.65, 0.5), where a hard task looks the "
            "same"
        ),
        dose="what is stated to regularise strongly, taken back; then a larger network",
        explains=("not_learning",),
        lookalikes=(
            Lookalike("still_improving", "the training score still rises"),
            Lookalike("label_noise", "probabilities in two narrow heaps: the groups are told apart, the labels contradict them"),
            Lookalike("learning_rate_too_low", "update_ratio"),
            Lookalike("augmentation_too_strong", "the training score lies under the validation score"),
            Lookalike("a hard task", "readers who see the same images do no better"),
        ),
        harmful=("augmentation, dropout or weight decay against an overfit that is not there", "early stopping"),
        source="a network that can learn random labels (Zhang et al. 2017) can fit its training set",
    ),
    "augmentation_too_strong": Fault(
        id="augmentation_too_strong",
        name="Augmentation too strong",
        family="fitting",
        level="cause",
        means=(
            "What the network trains on stays harder than what it is for: the training score lies under the validation score, or "
            "nothing is learned at all."
        ),
        needs="augmentation as stated, and six epochs of a score on both splits",
        signature=augmentation_too_strong,
        severity=(
            "critical where nothing is learned under twice the usual in several ways; a warning where the validation score "
            "leaves much to be gained (AUC under 0.9, Dice under 0.8); else a note"
        ),
        dose="what exceeds the usual back to mild (rotation 10°, shift 0.05, zoom and brightness 0.1, no noise), else mild",
        explains=(
            "underfitting", "still_improving", "not_learning", "single_class_prediction", "chance_auc", "stuck_loss",
            "accuracy_is_majority", "best_from_noise", "empty_masks", "low_overlap",
        ),
        lookalikes=(
            Lookalike("dropout", "model.dropout off in one epoch: the gap closes"),
            Lookalike("label_noise", "augmentation and dropout are off"),
            Lookalike("leakage_suspected", "the validation score is near 1 from the first epoch on"),
        ),
        harmful=("no augmentation at all on a small set",),
        source="training figures are taken on augmented samples; TrivialAugment (Müller and Hutter 2021) on strength",
    ),
}  # fmt: skip
