"""One class of several: lost late, upside down, or never learned, while the mean over the classes looks fine."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from osler.doctor.case import Case
from osler.doctor.course import tail_mean
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.faults.stability import collapse_of
from osler.doctor.findings import Evidence, Lacking, Signs, figure, joined
from osler.doctor.labels import errors_apart
from osler.doctor.prescribe import scale_rate
from osler.metrics.proportion import normal_quantile

__all__ = ["CLASSES"]

Floats = NDArray[np.float64]

# Scores by class with what chance gives, in the order in which they are asked.
BY_CLASS = {"auc": 0.5, "dice": 0.0, "iou": 0.0, "ap": 0.0, "f1": 0.0, "recall": 0.0}
FEWEST_EPOCHS = 6
# The best of an overlap, an F1 or a recall from which on a class was good.
LEAST_GOOD = 0.3
# A standard error beyond which a class's AUC says nothing.
LARGEST_ERROR = 0.05
# Classes whose orders can be tried one by one; shares so many standard errors apart, that an order brings together but for so
# much of their distance; and by how much a score of training lies above that of validation where nothing of it holds.
MOST_EXCHANGED, FAR_APART, LEFT, DOES_NOT_HOLD = 7, 4.0, 0.25, 0.15


def _by_class(case: Case, points: int) -> tuple[str, tuple[str, ...]] | None:
    """The most telling score that at least two classes have in so many epochs, and these classes."""
    for name in BY_CLASS:
        parts = tuple(part for part in case.chart.parts(f"val.{name}") if case.chart.has(f"val.{name}[{part}]", points=points))
        if len(parts) >= 2:
            return name, parts
    return None


def _aucs(case: Case, points: int) -> Iterator[tuple[str, Floats, Floats, float]]:
    """Each class with its epochs, AUCs and their standard error at chance, where the counts are known."""
    for part in case.chart.parts("val.auc"):
        error = case.null_error("val", part) if (labels := case.labels("val")) is not None and part in labels.names else np.nan
        epochs, values = case.chart.points(f"val.auc[{part}]")
        if len(values) >= points and np.isfinite(error):
            yield part, epochs, values, error


def class_late_collapse(case: Case) -> Signs | Lacking | None:
    """A class that was good falls to less than half and stays there, while others hold."""
    found = _by_class(case, FEWEST_EPOCHS)
    if found is None:
        return Lacking(f"{FEWEST_EPOCHS} epochs of a score by class, of two classes")
    name, parts = found
    fallen = {}
    for part in parts:
        epochs, values = case.chart.points(f"val.{name}[{part}]")
        error = case.null_error("val", part) if name == "auc" else 0.0
        collapse = collapse_of(
            epochs, values, BY_CLASS[name], LEAST_GOOD if BY_CLASS[name] == 0.0 else max(0.1, 3.0 * np.nan_to_num(error))
        )
        if collapse is not None:
            fallen[part] = collapse
    if not fallen or len(fallen) == len(parts):
        return None
    last = float(case.chart.epochs[-1])
    evidence = tuple(
        Evidence(f"val.{name}[{part}]", each.end, last, expected=each.best, basis=f"best, epoch {figure(each.best_epoch)}")
        for part, each in list(fallen.items())[:6]
    )
    shown = [f"{part} from {figure(each.best)} to {figure(each.end)}" for part, each in list(fallen.items())[:6]]
    text = f"val.{name} of {len(fallen)} of {len(parts)} classes was good and is lost: {joined(shown)}."
    text += " The mean over the classes hides it."
    changes = scale_rate(
        case, 1 / 3, "large steps throw the rarest class out first: a third of the rate, from the best checkpoint"
    )
    actions = ("choose the checkpoint by the class that matters, or keep one for each class",)
    return Signs(text, evidence, "warning", 0.75, changes, actions, (min(each.fall for each in fallen.values()),))


def class_inverted(case: Case) -> Signs | Lacking | None:
    """A class's AUC is below 0.5 for certain, while the mean is above it."""
    known = list(_aucs(case, 2))
    if len(known) < 2:
        return Lacking("two epochs of val.auc by class, with the counts of positives and negatives of each")
    # Allowance for the classes among which the lowest was picked.
    beyond = normal_quantile(1.0 - 0.0027 / len(known))
    low = [
        (part, epochs, values, error)
        for part, epochs, values, error in known
        if (0.5 - values[-1]) / error > beyond and ((0.5 - values) / error > beyond).mean() >= 0.5
    ]
    if not low or len(low) == len(known):
        return None
    evidence = tuple(
        Evidence(f"val.auc[{part}]", float(values[-1]), float(epochs[-1]), *_ends(values, error), 0.5, "a coin")
        for part, epochs, values, error in low
    )
    names = joined([f"{part} ({figure(float(values[-1]))})" for part, _, values, _ in low])
    text = f"The AUC of {names} is below 0.5 by more than chance allows: what is called positive is the other class there."
    actions = (
        "check that the order of the outputs is that of the label columns, in training and in validation",
        "check which value of this label means positive",
    )
    return Signs(text, evidence, "warning", 0.8, (), actions, (float(low[0][1][0]),))


def classes_exchanged(case: Case) -> Signs | Lacking | None:
    """Validation has training's shares of the classes in another order, and what is learned does not hold there."""
    train, val = case.natural, case.labels("val")
    known = train is not None and val is not None and train.names == val.names and train.n > 0 and val.n > 0
    if train is None or val is None or not known or not (case.exclusive and 3 <= len(train.share) <= MOST_EXCHANGED):
        return Lacking(
            f"the prevalence of three to {MOST_EXCHANGED} classes that exclude each other, and the size, of both splits"
        )
    if (errors_apart(train, val) > FAR_APART).sum() < 2 or not _does_not_hold(case):
        return None
    kept, order = _in_order(train.share, val.share)
    if not kept < LEFT:
        return None
    moved = [(name, train.names[k]) for name, k in zip(val.names, order, strict=True) if name != train.names[k]]
    shares = joined([f"{name} {val.share[k]:.1%} (training {train.share[k]:.1%})" for k, name in enumerate(val.names)])
    pairs = joined([f"{name} has the share of {other}" for name, other in moved])
    text = (
        f"Validation holds {shares}: {pairs}. In that order {1 - kept:.0%} of the difference is gone, and what is learned in "
        "training does not hold in validation: the classes are numbered in another order there."
    )
    evidence = tuple(
        Evidence(f"prevalence.val.{name}", float(share), None, expected=float(usual), basis="prevalence.train")
        for name, share, usual in zip(val.names, val.share, train.share, strict=True)
    )
    actions = (
        "print the number that each class has in either split: encoders fitted on each split alone number as they please",
        "take the order of the classes from one list, written down once",
    )
    return Signs(text, evidence, "critical", 0.75, (), actions, (float(case.chart.epochs[0]),))


def _in_order(train: Floats, val: Floats) -> tuple[float, tuple[int, ...]]:
    """The order of training's shares that comes next to validation's, and what is left of their squared distance in it."""
    apart = (val[:, None] - train[None, :]) ** 2
    rows = np.arange(len(val))
    best = min(permutations(range(len(train))), key=lambda order: float(apart[rows, order].sum()))
    return float(apart[rows, best].sum() / max(float(np.trace(apart)), 1e-12)), best


def _does_not_hold(case: Case) -> bool:
    """Whether a score of training, well above that of validation, says that what is learned there does not hold here."""
    name = next((each for each in ("auc", "accuracy") if case.chart.has(f"train.{each}", f"val.{each}", points=3)), None)
    if name is None:
        return False
    _, val, train = case.pair(f"val.{name}", f"train.{name}")
    return len(val) > 0 and tail_mean(train) - tail_mean(val) > DOES_NOT_HOLD


def _ends(values: Floats, error: float) -> tuple[float, float]:
    return float(values[-1]) - 1.96 * error, float(values[-1]) + 1.96 * error


def class_not_learned(case: Case) -> Signs | Lacking | None:
    """A class whose AUC is that of a coin to the end, with samples enough to say so, while others are learned."""
    known = [each for each in _aucs(case, FEWEST_EPOCHS) if each[3] <= LARGEST_ERROR]
    if not known or len(case.chart.parts("val.auc")) < 2:
        return Lacking(
            f"{FEWEST_EPOCHS} epochs of val.auc by class, and enough positives for a standard error of {LARGEST_ERROR}"
        )
    flat = [each for each in known if abs(float(each[2].mean()) - 0.5) < 1.96 * each[3] and each[2].max() < 0.5 + 2.8 * each[3]]
    if not flat or len(flat) == len(known) or not case.above_chance("val"):
        return None
    means = [float(values.mean()) for _, _, values, _ in flat]
    evidence = tuple(
        Evidence(f"val.auc[{part}]", mean, None, mean - 1.96 * error, mean + 1.96 * error, 0.5, f"mean of {len(values)} epochs")
        for mean, (part, _, values, error) in zip(means, flat, strict=True)
    )
    text = f"{joined([each[0] for each in flat])}: the AUC is that of a coin in all epochs"
    text += ", while the mean over the classes is above it."
    actions = (
        "look at positives of this class as the network receives them: does the finding survive the resizing?",
        "check that its label column is the right one, and in the same order in training and validation",
    )
    return Signs(text, evidence, "warning" if min(each[3] for each in flat) <= 0.03 else "note", 0.7, (), actions, ())


CLASSES: dict[str, Fault] = {
    "class_late_collapse": Fault(
        id="class_late_collapse",
        name="One class is lost late",
        family="classes",
        level="syndrome",
        means="A class that was good falls to less than half of its score above chance and stays there, while others hold.",
        needs="six epochs of a score by class, of two classes",
        signature=class_late_collapse,
        severity="warning",
        dose="a third of the learning rate, from the best checkpoint",
        lookalikes=(
            Lookalike("late_collapse", "the mean over the classes falls too"),
            Lookalike("small_validation", "the positives of that class: with a few of them a score jumps by itself"),
        ),
        harmful=("a checkpoint chosen by the mean over the classes",),
        source="nnU-Net issue 1629: a rare class lost after hundreds of epochs",
    ),
    "class_inverted": Fault(
        id="class_inverted",
        scope="classification",
        name="One class is upside down",
        family="classes",
        level="cause",
        means="The AUC of one class is below 0.5 by more than chance allows, while the mean over the classes is above it.",
        needs="two epochs of val.auc by class, with the counts of each",
        signature=class_inverted,
        severity="warning",
        dose="none: find out whose labels, or whose outputs, are swapped",
        explains=("class_not_learned", "shifted_splits", "validation_differs"),
        lookalikes=(
            Lookalike("inverted_scores", "all classes are below 0.5"),
            Lookalike("small_validation", "the interval of the class includes 0.5"),
        ),
        harmful=("to invert that output without knowing why",),
        source="Hanley and McNeil 1982, with allowance for the number of classes",
    ),
    "classes_exchanged": Fault(
        id="classes_exchanged",
        scope="classification",
        name="Classes in another order",
        family="classes",
        level="cause",
        means="Validation numbers the classes in another order than training: their shares agree once they are put in it.",
        needs="the prevalence of three to seven classes that exclude each other, and the size, of both splits; a score of both",
        signature=classes_exchanged,
        severity="critical",
        dose="none: one list of classes for all splits",
        explains=(
            "class_inverted",
            "inverted_scores",
            "class_not_learned",
            "shifted_splits",
            "validation_differs",
            "overfitting",
            "chance_auc",
            "best_from_noise",
            "threshold_mismatch",
            "late_collapse",
        ),
        lookalikes=(
            Lookalike("shifted_splits", "no order brings the shares together, or the scores of both splits agree"),
            Lookalike("class_inverted", "the shares of the classes agree as they stand"),
        ),
        harmful=("regularisation: there is nothing to generalise to",),
        source="shares of two samples of one source differ by their standard errors; those of a permutation by what it exchanges",
    ),
    "class_not_learned": Fault(
        id="class_not_learned",
        scope="classification",
        name="One class is not learned",
        family="classes",
        level="syndrome",
        means="The AUC of one class is that of a coin to the end, while others are learned.",
        needs="six epochs of val.auc by class, with positives enough",
        signature=class_not_learned,
        severity="warning where the standard error is 0.03 or less, else a note",
        dose="none of its own: the cause decides",
        lookalikes=(
            Lookalike("class_inverted", "the AUC is below 0.5, not at it"),
            Lookalike("small_validation", "the standard error of that class"),
            Lookalike("chance_auc", "the mean over the classes is at chance too"),
        ),
        harmful=("a larger weight for it: nothing ranks, so weight only moves the common output",),
        source="Hanley and McNeil 1982",
    ),
}
