"""Labels that contradict each other, or what the images show."""

from __future__ import annotations

import math

import numpy as np

from osler.doctor.case import Case
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.findings import Evidence, Lacking, Signs, figure
from osler.doctor.labels import Labels, errors_apart
from osler.metrics.trend import trend

__all__ = ["CONTRADICTION", "left"]

# Training has so many times validation's share of positives, by so many standard errors, and has had so many epochs.
MORE, FAR, FEWEST_EPOCHS = 1.5, 4.0, 8
# Steps over the weights' norm from which a network would have learned what is there to be learned.
MOVED = 3e-4
# Steps so large that they may be why nothing is learned.
TOO_FAR = 3e-2


def label_noise(case: Case) -> Signs | Lacking | None:
    """The calls are clear, and a share of the labels contradicts them, in training as in validation."""
    found = [_two_heaps(case, part) for part in ("", *case.chart.parts("val.probability.p25"))]
    signs = next((each for each in found if isinstance(each, Signs)), None)
    if signs is not None:
        return signs
    below = _below_validation(case) or _unexplained_positives(case)
    if below is not None:
        return below
    return (
        None
        if None in found
        else Lacking("the quantiles of val.probability of a class with a prevalence between 0.25 and 0.75, and val.accuracy")
    )


def _two_heaps(case: Case, part: str) -> Signs | Lacking | None:
    """Probabilities in two narrow heaps that lie well inside 0 and 1: what a network says of labels flipped by chance.

    A hard task spreads its probabilities over the whole range; flipped labels leave two heaps, at the share of flips and at
    one minus it, and the error rate is that share.
    """
    suffix = f"[{part}]" if part else ""
    quantiles = [case.chart.values(f"val.probability.{name}{suffix}") for name in ("p5", "p25", "p75", "p95")]
    labels, accuracy = case.labels("val"), case.chart.values("val.accuracy")
    share = (
        math.nan if labels is None else float(labels.share[labels.names.index(part)]) if part in labels.names else labels.single
    )
    rows = np.flatnonzero(np.isfinite(np.stack([*quantiles, accuracy])).all(axis=0))
    if not 0.25 <= share <= 0.75 or len(rows) < 3:
        return Lacking("the quantiles of val.probability, and val.accuracy")
    low, lower, upper, high = (np.log(each / (1 - each)) for each in (np.clip(q[rows[-3:]], 1e-6, 1 - 1e-6) for q in quantiles))
    narrow = np.maximum(lower - low, high - upper) < 0.25 * (upper - lower)
    floor, ceiling = float(quantiles[1][rows[-1]]), float(quantiles[2][rows[-1]])
    errors, expected = 1.0 - float(accuracy[rows[-1]]), 0.5 * (floor + 1.0 - ceiling)
    if not narrow.all() or floor < 0.05 or ceiling > 0.95 or ceiling - floor < 0.2 or abs(errors - expected) > 0.05:
        return None
    trained = case.chart.points("train.accuracy")[1]
    if len(trained) and 1.0 - float(trained[-1]) < errors - 0.1:
        return None  # training labels are learned by heart
    name = f"val.probability{suffix}"
    text = (
        f"{name} lies in two narrow heaps, at {figure(floor)} and {figure(ceiling)}, and {errors:.1%} of the calls are "
        "wrong: the "
        f"network tells two groups apart and has learned that about {expected:.0%} of their labels say the opposite."
    )
    epoch = float(case.chart.epochs[rows[-1]])
    evidence = (
        Evidence("1 − val.accuracy", errors, epoch, expected=expected, basis="mean distance of the heaps from 0 and 1"),
        Evidence(f"val.probability.p25{suffix}", floor, epoch, expected=0.0, basis="upper edge of the low heap"),
        Evidence(f"val.probability.p75{suffix}", ceiling, epoch, expected=1.0, basis="lower edge of the high heap"),
    )
    return Signs(text, evidence, "warning", 0.65, (), RELABEL, (float(case.chart.epochs[rows[0]]),))


RELABEL = (
    "have 50 samples read again that the network calls against their label with most confidence",
    "compare the error rate by source, reader and year: noise is rarely spread evenly",
)


def labels_left(case: Case) -> Signs | None:
    """By exclusion: the network moves as one that learns does, for long enough, and what it is told does not fit what it sees."""
    return left(case, "labels of other images, or a large share of wrong ones, look like this", RELABEL)


def left(case: Case, what: str, actions: tuple[str, ...]) -> Signs | None:
    """A note of what is left to think of; None where the network hardly moved, was thrown about, or had no time.

    Args:
        case: of a run that learned nothing, and of which no grave cause was found.
        what: looks like this.
        actions: that show whether it is so.
    """
    if not MOVED < case.step_size < TOO_FAR or len(case.chart) < FEWEST_EPOCHS:
        return None
    text = (
        f"A step changes the weights by {figure(case.step_size)} of their norm: for {len(case.chart)} epochs the network neither "
        f"stood still nor was thrown about, and no cause was found that is sure. What is left: {what}; so does a finding that is "
        "not to be seen at this size."
    )
    evidence = (Evidence("update_ratio.median", case.step_size, None, basis="median of the epochs at full rate"),)
    return Signs(text, evidence, "note", 0.4, (), actions, (float(case.chart.epochs[-1]),))


def _below_validation(case: Case) -> Signs | None:
    """A training score that stays under the validation score though nothing makes training harder."""
    off = all(key in case.facts and not case.facts.get(key) for key in ("augmentation", "model.dropout"))
    name = next((each for each in ("auc", "dice", "accuracy") if case.chart.has(f"train.{each}", f"val.{each}", points=8)), None)
    if not off or name is None or case.balanced_sampler:
        return None
    epochs, val, train = case.pair(f"val.{name}", f"train.{name}")
    val, train = val[len(val) // 2 :], train[len(train) // 2 :]
    error = case.null_error("val") if name == "auc" else math.nan
    gap = float((val - train).mean())
    if gap < max(0.04, 0.0 if math.isnan(error) else 2 * error) or not (val > train).all() or trend(train).rises:
        return None
    text = (
        f"train.{name} rests at {figure(float(train.mean()))}, val.{name} at {figure(float(val.mean()))}, with neither "
        "augmentation "
        "nor dropout: what is learned fits the validation labels better than those that it was learned from."
    )
    against = Evidence(f"train.{name}", float(train.mean()), float(epochs[-1]), expected=float(val.mean()), basis="validation")
    return Signs(text, (against,), "warning", 0.5, (), RELABEL, (float(epochs[len(epochs) // 2]),))


def _unexplained_positives(case: Case) -> Signs | None:
    """Far more positives in training than in validation, of which nothing is learned: cases added on purpose would be."""
    train, val = case.natural, case.labels("val")
    if train is None or val is None or len(train.share) != len(val.share) or not (train.n > 0 and val.n > 0):
        return None
    if case.learned or case.fitted or not case.step_size > MOVED or len(case.chart) < FEWEST_EPOCHS:
        return None
    z = np.where((val.share > 0) & (val.share < 0.5) & (train.share > MORE * val.share), errors_apart(train, val), 0.0)
    k = int(np.argmax(z))
    return _flipped(train, val, k) if z[k] > FAR else None


def _flipped(train: Labels, val: Labels, k: int) -> Signs:
    name = f" of {val.names[k]}" if val.names[k] else ""
    more, few = float(train.share[k]), float(val.share[k])
    share = (more - few) / (1 - 2 * few)  # flipped at a rate e, a share p becomes p + e (1 − 2 p)
    text = (
        f"Training has {figure(more / few)} times validation's share of positives{name} ({more:.1%} and {few:.1%}), and nothing "
        "in its images tells them: its labels come from another source, or a share of them is wrong"
        f"{f' ({share:.0%} turned round would make as many)' if share < 1 else ''}."
    )
    evidence = (Evidence(f"prevalence.train{name}", more, None, expected=few, basis="prevalence.val"),)
    return Signs(text, evidence, "critical", 0.6, (), ("find out how the labels of each split were made", *RELABEL))


CONTRADICTION: dict[str, Fault] = {
    "label_noise": Fault(
        id="label_noise",
        scope="classification",
        name="Labels that contradict each other",
        family="contradiction",
        level="cause",
        means=(
            "A share of the labels is wrong: the calls are clear, and that share contradicts them; or training has more "
            "positives than validation, and nothing in its images tells them. Where nothing is learned, the network moves as "
            "usual, and no cause is found, it is what is left to think of."
        ),
        needs=(
            "the quantiles of val.probability of a class that is not rare, and val.accuracy; or scores on both splits with "
            "augmentation and dropout stated as off; or the prevalence of both splits, and what is learned in training"
        ),
        signature=label_noise,
        by_exclusion=labels_left,
        severity="warning; critical where nothing is learned; a note by exclusion",
        dose="none: have the most confident contradictions read again",
        explains=(
            "underfitting",
            "shifted_splits",
            "not_learning",
            "chance_auc",
            "single_class_prediction",
            "stuck_loss",
            "accuracy_is_majority",
            "best_from_noise",
            "threshold_mismatch",
        ),
        lookalikes=(
            Lookalike("underfitting", "probabilities spread over the whole range: the groups are not told apart"),
            Lookalike("overfitting", "the training labels are learned by heart, wrong ones too: early stopping helps then"),
            Lookalike("label smoothing", "loss.label_smoothing sets the heaps off from 0 and 1, but the calls are right"),
            Lookalike("augmentation_too_strong", "augmentation is on"),
            Lookalike("training enriched with cases", "what was added is learned at least as well as the rest"),
        ),
        harmful=("a larger network, or more epochs: wrong labels are learned by heart last",),
        source="labels flipped with probability e leave the best probability at e and 1 − e; Northcutt et al. 2021",
    ),
}
