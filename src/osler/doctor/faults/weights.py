"""Weights of the classes in the loss: not in force, inverted, too large, applied twice."""

from __future__ import annotations

import math

import numpy as np

from osler.doctor.case import USELESS, Case
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.findings import Change, Evidence, Lacking, Severity, Signs, figure
from osler.doctor.labels import numbers_of
from osler.doctor.prescribe import positive_weights, set_fact, two_digits

__all__ = ["WEIGHTS"]

TOO_LARGE, FAR_TOO_LARGE = 3.0, 10.0
# A skill that an AUC of next to nothing cannot give.
UNRANKED_SKILL = 0.2


def _contradicted(case: Case, weight: float) -> bool:
    """Whether the losses betray a weight other than this one, beyond its interval and a quarter."""
    found = case.weighting
    if found is None:
        return _unranked_skill(case) is not None
    low, high = min(found.low, found.value / 1.25), max(found.high, found.value * 1.25)
    return not low <= weight <= high


def _unranked_skill(case: Case) -> Evidence | None:
    """A loss far below its floor while nothing is ranked: no prediction does that, so the floor's weight is not the loss's."""
    if case.loss_terms != ("bce",) or case.facts.get("loss.pos_weight") is None:
        return None
    for split in ("val", "train"):
        epochs, auc, skill = case.chart.epochs, case.chart.values(f"{split}.auc"), case.skill(split)
        rows = np.flatnonzero((skill > UNRANKED_SKILL) & (auc < USELESS))
        if len(rows):
            row = int(rows[0])
            basis = f"AUC {figure(float(auc[row]))}: without ranking there is no skill"
            return Evidence(f"{split}.skill", float(skill[row]), float(epochs[row]), expected=0.0, basis=basis)
    return None


def _weights(case: Case) -> np.ndarray | None:
    return numbers_of(case.facts.get("loss.pos_weight"), case.classes)


def weight_not_in_force(case: Case) -> Signs | Lacking | None:
    """The loss betrays another positive weight than the one configured."""
    found, stated = case.weighting, case.facts.get("loss.pos_weight")
    unranked = _unranked_skill(case) if found is None else None
    if unranked is not None:
        text = (
            f"Under the configured weight, {unranked.quantity} is {figure(float(unranked.value))} in epoch "
            f"{figure(float(unranked.epoch or 0))} with an AUC of a coin: a smaller weight than the configured one is in force."
        )
        actions = ("print the weight tensor where the loss is built: something between the file and the loss sets it",)
        # Too small a weight is the very thing that calls everybody negative.
        severity: Severity = "critical" if case.sides("val")[-1] == -1.0 else "warning"
        return Signs(text, (unranked,), severity, 0.9, (), actions, (float(unranked.epoch or 0),))
    if found is None:
        return Lacking(
            "val.probability.mean with the spread of the logits, or all-positive and all-negative epochs with the same loss, "
            "and the prevalence"
        )
    configured = numbers_of(stated, case.classes)
    if (stated is not None and configured is None) or (configured is not None and len(configured) > 1):
        return Lacking("loss.pos_weight as one number")
    weight = 1.0 if configured is None else float(configured[0])
    if not _contradicted(case, weight) or ("loss.pos_weight" not in case.facts and "loss.type" not in case.facts):
        return None
    ideal = positive_weights(case)
    right = ideal is not None and 1 / TOO_LARGE <= found.value / float(ideal[0]) <= TOO_LARGE
    text = f"The losses betray a positive weight of {figure(found.value)}; the configuration says {figure(weight)}."
    if right and ideal is not None:
        text += (
            f" {figure(found.value)} is about negatives / positives of the data really loaded ({figure(float(ideal[0]))}): the "
            "weight in force is right, and the configuration is not what runs."
        )
    evidence = [Evidence("weight in force", found.value, None, found.low, found.high, weight, found.basis)]
    evidence += _constant_losses(case, weight)
    actions = ("print the weight tensor where the loss is built: something between the file and the loss sets it",)
    return Signs(text, tuple(evidence), "warning", 0.9, (), actions, (float(case.chart.epochs[0]),))


def _constant_losses(case: Case, weight: float) -> list[Evidence]:
    """The validation loss beside what the configured weight would give to a constant of 0.5."""
    labels = case.labels("val")
    epochs, losses = case.chart.points("val.loss")
    if labels is None or not math.isfinite(labels.single) or not len(losses):
        return []
    at_half = math.log(2.0) * (1.0 + labels.single * (weight - 1.0))
    return [
        Evidence(
            "val.loss",
            float(losses[-1]),
            float(epochs[-1]),
            expected=at_half,
            basis=f"of p = 0.5 under the configured weight {figure(weight)}",
        )
    ]


def pos_weight_inverted(case: Case) -> Signs | Lacking | None:
    """A weight below 1 for a class that is rare."""
    weights = _weights(case)
    labels = case.labels("train") or case.labels("val")
    if weights is None:
        return Lacking("loss.pos_weight as numbers") if case.facts.get("loss.pos_weight") is not None else None
    if len(weights) == 1 and _contradicted(case, float(weights[0])):
        return None  # what the file says is not what runs
    rare = labels.share < 0.5 if labels is not None and len(labels.share) in (1, len(weights)) else None
    if rare is None and len(weights) < 5:
        return Lacking("the prevalence of each class in training")
    below = (weights < 0.9) & (rare if rare is not None else True)
    if below.mean() < 0.5:
        return None
    lowest = float(weights[below].min())
    ideal = positive_weights(case)
    known = ideal is not None and len(ideal) == len(weights)
    after = [two_digits(float(each)) for each in ideal] if known and ideal is not None else "auto"
    text = (
        f"{int(below.sum())} of {len(weights)} classes have a positive weight below 1 (down to {figure(lowest)}): a rare class "
        "weighs less than it would without any weight."
    )
    evidence = (
        Evidence(
            "loss.pos_weight",
            lowest,
            None,
            expected=float(ideal[int(np.argmin(weights))]) if known and ideal is not None else 1.0,
            basis="negatives / positives" if known else "no weight",
        ),
    )
    changes = set_fact(
        case,
        "loss.pos_weight",
        after[0] if isinstance(after, list) and len(after) == 1 else after,
        "negatives / positives of the training labels, at most 50; or null for no weight",
    )
    return Signs(text, evidence, "warning", 0.85 if known else 0.65, changes)


def pos_weight_too_large(case: Case) -> Signs | Lacking | None:
    """A weight of more than three times negatives / positives."""
    weights, ideal = _weights(case), positive_weights(case)
    if weights is None or ideal is None or len(weights) not in (1, len(ideal)):
        stated = case.facts.get("loss.pos_weight")
        return (
            None
            if "loss.pos_weight" in case.facts and stated is None
            else Lacking("loss.pos_weight as numbers, and the prevalence of each class in training")
        )
    if len(weights) == 1 and _contradicted(case, float(weights[0])):
        return None
    ratio = weights / ideal
    large = ratio > TOO_LARGE
    if not large.any() or case.balanced_sampler:
        return None
    k = int(np.argmax(ratio))
    weight = float(weights[k if len(weights) > 1 else 0])
    rule = float(ideal[k])
    recall, precision = case.chart.points("val.recall")[1], case.chart.points("val.precision")[1]
    shown = len(recall) and len(precision) and recall[-1] > 0.9 and precision[-1] < 0.5
    text = (
        f"loss.pos_weight {figure(weight)} is {figure(float(ratio[k]))} times negatives / positives ({figure(rule)}): "
        f"probabilities are pushed up by log({figure(weight)}) = {math.log(weight):.2f} in log-odds."
    )
    evidence = [Evidence("loss.pos_weight", weight, None, expected=rule, basis="negatives / positives of the training labels")]
    if shown:
        evidence.append(
            Evidence(
                "val.precision",
                float(precision[-1]),
                float(case.chart.epochs[-1]),
                basis=f"at recall {figure(float(recall[-1]))}",
            )
        )
    to: object = [two_digits(float(each)) for each in ideal] if len(weights) > 1 else two_digits(rule)
    changes = (
        Change(
            "loss.pos_weight",
            case.facts.get("loss.pos_weight"),
            to,
            "negatives / positives of the training labels; its square root is as good where that exceeds 50",
        ),
    )
    severity: Severity = "critical" if float(ratio[k]) > FAR_TOO_LARGE and not (case.learned or case.early) else "warning"
    return Signs(text, tuple(evidence), severity, 0.9 if shown else 0.7, changes)


def pos_weight_order(case: Case) -> Signs | Lacking | None:
    """The right weights, in the order of other classes."""
    weights, labels = _weights(case), case.labels("train") or case.labels("val")
    if isinstance(case.facts.get("loss.pos_weight"), dict):
        return None  # by name
    if weights is None or labels is None or len(weights) != len(labels.share) or len(weights) < 3:
        return Lacking(
            "loss.pos_weight as a list, and the prevalence of each of at least three classes in the order of the outputs"
        )
    ideal = positive_weights(case)
    if ideal is None or not (weights > 0).all():
        return None
    alike = np.abs(np.log(np.sort(np.clip(weights, 1.0, None)) / np.sort(ideal))).max() < math.log(1.5)
    apart = np.abs(np.log(np.clip(weights, 1.0, None) / ideal))
    k = int(np.argmax(apart))
    if not alike or apart[k] < math.log(TOO_LARGE):
        return None
    name = labels.names[k] or f"class {k}"
    text = (
        f"loss.pos_weight holds the right {len(weights)} numbers in another order: {name} has {figure(float(weights[k]))} where "
        f"negatives / positives is {figure(float(ideal[k]))}."
    )
    evidence = (
        Evidence(f"loss.pos_weight of {name}", float(weights[k]), None, expected=float(ideal[k]), basis="negatives / positives"),
    )
    to = [two_digits(float(each)) for each in ideal]
    changes = set_fact(case, "loss.pos_weight", to, "in the order of the outputs; by class name, no order can be wrong")
    return Signs(text, evidence, "warning", 0.85, changes)


WEIGHTS: dict[str, Fault] = {
    "weight_not_in_force": Fault(
        id="weight_not_in_force",
        scope="classification",
        name="The configured weight is not the one in force",
        family="weights",
        level="cause",
        means="The losses of constant predictions betray a positive weight other than the configured one.",
        needs=(
            "the mean probability with the spread of the logits, or all-positive and all-negative epochs with the same loss; "
            "loss.pos_weight; the prevalence"
        ),
        signature=weight_not_in_force,
        severity="warning; critical where it is too small and every sample is called negative",
        explains=("pos_weight_too_large", "pos_weight_inverted"),
        dose="none: find what sets the weight; a weight in force within a third and three times negatives / positives stays",
        lookalikes=(
            Lookalike("declared_not_loaded", "the weight was derived from data other than those declared: both may be there"),
            Lookalike("another loss", "loss.type: only a weighted BCE is inverted here"),
        ),
        harmful=(
            "any other weight, above all a larger one: where the weight in force balances the classes it is not what keeps the "
            "network from learning",
        ),
        source="at p = 0.5 a weighted BCE is ln 2 · (1 + π(w − 1)), whatever is called",
    ),
    "pos_weight_inverted": Fault(
        id="pos_weight_inverted",
        scope="classification",
        name="Positive weight below 1 for a rare class",
        family="weights",
        level="cause",
        means="A rare class weighs less than without any weight: the ratio is upside down, or the formula is another one's.",
        needs="loss.pos_weight and the prevalence of each class in training",
        signature=pos_weight_inverted,
        severity="warning",
        dose="negatives / positives, at most 50; or null",
        explains=("single_class_prediction", "threshold_mismatch"),
        lookalikes=(
            Lookalike(
                "class weights that balance classes among themselves",
                "weights of about 1 / frequency, and a balancing intent stated",
            ),
        ),
        harmful=("a lower threshold alone: the rare classes get no gradient to learn from",),
        source="PyTorch documentation of BCEWithLogitsLoss: 100 positives and 300 negatives make pos_weight 3",
    ),
    "pos_weight_too_large": Fault(
        id="pos_weight_too_large",
        scope="classification",
        name="Positive weight too large",
        family="weights",
        level="cause",
        means="The weight is more than three times negatives / positives: recall near 1, precision near the prevalence.",
        needs="loss.pos_weight and the prevalence of each class in training",
        signature=pos_weight_too_large,
        severity="critical from ten times negatives / positives on where nothing was learned; else a warning",
        dose="negatives / positives of the training labels, at most 50",
        explains=(
            "single_class_prediction",
            "threshold_mismatch",
            "learning_rate_too_high",
            "gradients_accumulate",
            "train_eval_gap",
            "unstable_validation",
            "accuracy_is_majority",
            "diverging_loss",
        ),
        lookalikes=(Lookalike("double_correction", "data.sampler"), Lookalike("not_learning", "the AUC")),
        harmful=("a higher threshold alone: the gradient still belongs to a few samples",),
        source="a weight w moves the log-odds by log w (Elkan 2001)",
    ),
    "pos_weight_order": Fault(
        id="pos_weight_order",
        scope="classification",
        name="Weights in the wrong order",
        family="weights",
        level="cause",
        means="The weights are those of these classes, sorted in another way than the outputs.",
        needs="loss.pos_weight as a list, and the prevalence of each of at least three classes in the order of the outputs",
        signature=pos_weight_order,
        severity="warning",
        dose="negatives / positives by class name",
        explains=("pos_weight_too_large", "pos_weight_inverted", "threshold_mismatch", "class_not_learned"),
        lookalikes=(
            Lookalike("pos_weight_too_large", "sorted, the weights are still not negatives / positives"),
            Lookalike("facts stated in another order", "the same list by class name"),
        ),
        harmful=("one weight for all, to be rid of the question",),
        source="sorted, they agree within a factor of 1.5; as they stand, one is off by three",
    ),
}
