"""Numbers that cannot be: NaN, a negative cross-entropy, saturated probabilities, an activation applied twice."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from osler.doctor.case import Case
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.findings import Evidence, Lacking, Signs, figure
from osler.doctor.labels import numbers_of
from osler.doctor.prescribe import scale_rate

__all__ = ["NUMERICS"]

Floats = NDArray[np.float64]
# Probabilities are logged to four digits.
WITHIN = 1e-3
# So are means of logits, of which several are added up.
LOGITS_ADD_UP = 2e-3


def non_finite(case: Case) -> Signs | Lacking | None:
    """A loss, gradient or output that is NaN or infinite."""
    watched = [
        name
        for name in ("train.loss", "val.loss", "gradient_norm.median", "gradient_norm.max", "gradient_norm.mean")
        if name in case.chart.series
    ]
    if not watched:
        return Lacking("the loss by epoch")
    for name in watched:
        epochs = case.chart.nonfinite_epochs(name)
        finite = case.chart.points(name)[0]
        if not len(epochs):
            continue
        # A validation that is not run in every epoch leaves NaN between numbers; a network does not recover from NaN.
        to_the_end = not len(finite) or float(epochs[-1]) > float(finite[-1])
        if name == "val.loss" and not len(finite):
            continue
        text = (
            f"{name} is not a finite number in {len(epochs)} epoch{'s' if len(epochs) > 1 else ''}, first in epoch "
            f"{figure(float(epochs[0]))}" + (", and to the end." if to_the_end else ", and is one again later.")
        )
        changes = (
            scale_rate(case, 0.1, "a loss that overflows: a tenth of the rate, from the last good checkpoint")
            if to_the_end
            else ()
        )
        actions = (
            "turn mixed precision off for one epoch: if the loss stays finite, the loss scale is at fault",
            "look for samples with NaN pixels, and for log(0) or division by 0 in the loss",
        )
        evidence = (Evidence(name, "not finite", float(epochs[0]), basis="as logged"),)
        return Signs(
            text,
            evidence,
            "critical" if to_the_end else "note",
            0.97 if to_the_end else 0.5,
            changes,
            actions,
            (float(epochs[0]),),
        )
    broken = [
        name
        for name in case.chart.series
        if name.startswith(("val.not_finite", "train.not_finite")) and (case.chart.values(name) > 0).any()
    ]
    if broken:
        epochs, values = case.chart.points(broken[0])
        first = float(epochs[int(np.flatnonzero(values > 0)[0])])
        evidence = (Evidence(broken[0], float(values.max()), first, expected=0.0, basis="logits that are NaN or infinite"),)
        return Signs(f"Outputs are NaN or infinite from epoch {figure(first)} on.", evidence, "critical", 0.95, (), (), (first,))
    return None


NON_NEGATIVE = {"bce", "cross_entropy", "focal", "dice", "tversky", "iou"}


def negative_loss(case: Case) -> Signs | Lacking | None:
    """A loss below zero that cannot be."""
    name = case.chart.first_of("train.loss", "val.loss")
    if name is None:
        return Lacking("the loss by epoch")
    epochs, losses = case.chart.points(name)
    if losses.min() >= 0.0:
        return None
    if not case.loss_terms or case.chart.reader.startswith("nnunet"):
        return Lacking("loss.type: some overlap losses are negative by definition, cross-entropies never are")
    # Osler's own overlaps are 1 − index; others write −index, which is −1 at least for each of them.
    least = 0.0 if case.chart.reader == "osler" else -float(len(OVERLAPPING & set(case.loss_terms)))
    if losses.min() >= least:
        return Lacking("how the overlap term is defined: as 1 − Dice it is never negative, as −Dice it is")
    row = int(np.flatnonzero(losses < least)[0])
    text = (
        f"{name} is {figure(float(losses[row]))} in epoch {figure(float(epochs[row]))}: {' + '.join(case.loss_terms)} of labels "
        f"within 0 and 1 is never {'negative' if least == 0 else f'below {figure(least)}'}."
    )
    evidence = (Evidence(name, float(losses[row]), float(epochs[row]), expected=least, basis="lower bound of the loss"),)
    actions = (
        "print the smallest and largest label: masks of 0 and 255, or class numbers in place of 0 and 1, make this",
        "check that probabilities, or logits, go in as the loss expects",
    )
    return Signs(text, evidence, "critical", 0.95, (), actions, (float(epochs[row]),))


OVERLAPPING = {"dice", "tversky", "iou"}
# Cross-entropies of saturated probabilities are capped: PyTorch's BCELoss clamps logarithms at −100, Keras probabilities at 1e-7.
CAPS = {
    100.0: "PyTorch's BCELoss clamps log(0) at −100",
    16.118: "Keras clips probabilities at 1e-7",
    34.539: "probabilities are clipped at 1e-15",
}


def saturated_outputs(case: Case) -> Signs | Lacking | None:
    """A loss that is the error rate times the cap of log(0): every probability is exactly 0 or 1."""
    needs = "loss and accuracy of the same split in two epochs"
    assessed = False
    for split in ("train", "val"):
        loss, error = case.chart.values(f"{split}.loss"), 1.0 - case.chart.values(f"{split}.accuracy")
        rows = np.flatnonzero(np.isfinite(loss) & (error > 0.005))
        if len(rows) < 2:
            continue
        assessed = True
        ratio = loss[rows] / error[rows]
        for cap, why in CAPS.items():
            if np.abs(ratio / cap - 1.0).max() < 0.02:
                row = int(rows[0])
                text = (
                    f"{split}.loss is {figure(cap)} times the error rate in every epoch: {why}, so every probability is exactly "
                    "0 or 1 and each mistake costs the cap."
                )
                evidence = (
                    Evidence(
                        f"{split}.loss",
                        float(loss[row]),
                        float(case.chart.epochs[row]),
                        expected=float(cap * error[row]),
                        basis=f"{figure(cap)} × (1 − accuracy)",
                    ),
                )
                changes = scale_rate(
                    case, 0.1, "outputs that have run off to ±∞ have no gradient left: start again at a tenth of the rate"
                )
                actions = (
                    "take the loss from logits (BCEWithLogitsLoss, from_logits=True), which has a gradient however large they "
                    "are",
                    "check the range of the inputs: pixels of 0 to 255 in a network made for 0 to 1 do this",
                )
                return Signs(text, evidence, "critical", 0.97, changes, actions, (float(case.chart.epochs[row]),))
    return None if assessed else Lacking(needs)


def double_activation(case: Case) -> Signs | Lacking | None:
    """A sigmoid within the network and one within the loss: probabilities stay between 0.5 and 0.731."""
    activation = str(case.facts.get("model.output_activation") or "").lower()
    if activation in ("sigmoid", "softmax") and case.facts.get("loss.on_probabilities") is False:
        stated = Evidence("model.output_activation", activation, None, expected="none", basis="the loss applies it itself")
        text = (
            f"The network ends in a {activation}, and the loss applies one to what it gets: gradients shrink and probabilities "
            "crowd together."
        )
        cure = "take the activation out of the network, and apply it where probabilities are needed"
        return Signs(text, (stated,), "critical", 0.9, (), (cure,))
    return _confined_masks(case) if case.segmentation else _sums_to_one(case) or _confined(case)


def _sums_to_one(case: Case) -> Signs | None:
    """Logits of exclusive classes that add up to 1, as a softmax makes them and nothing else does."""
    parts = case.chart.parts("val.logit.mean")
    if not case.exclusive or len(parts) < 2 or len(parts) != len(case.classes):
        return None
    sums = np.sum([case.chart.values(f"val.logit.mean[{part}]") for part in parts], axis=0)
    known = np.flatnonzero(np.isfinite(sums))
    if len(known) < 2 or float(np.abs(sums[known] - 1).max()) > LOGITS_ADD_UP:
        return None
    text = (
        f"What the loss gets of the {len(parts)} classes adds up to 1 in all {len(known)} epochs: probabilities, to which it "
        "applies a softmax again."
    )
    evidence = (
        Evidence("sum of val.logit.mean", float(sums[known[-1]]), float(case.chart.epochs[known[-1]]), basis="over the classes"),
    )
    return Signs(text, evidence, "critical", 0.95, (), ("take one of the two activations out",))


def _confined_masks(case: Case) -> Signs | Lacking | None:
    """Every pixel is called in every epoch, and the mean probability stays where a sigmoid of probabilities must."""
    epochs, mean, called = case.pair("val.probability.mean", "val.foreground.predicted")
    true = case.chart.points("val.foreground.true")[1]
    if len(epochs) < 3 or not len(true):
        return Lacking("val.probability.mean, val.foreground.predicted and val.foreground.true in three epochs")
    top = math.e / (1 + math.e)
    if true[-1] > 0.4 or called.min() < 0.999 or mean.min() < 0.5 or mean.max() > top + 1e-3:
        return None
    basis = "a sigmoid of what is between 0 and 1 lies between 0.5 and 0.731"
    evidence = (
        Evidence("val.probability.mean", float(mean[-1]), float(epochs[-1]), 0.5, top, float(true[-1]), basis),
        Evidence(
            "val.foreground.predicted", float(called.min()), float(epochs[-1]), expected=float(true[-1]), basis="all epochs"
        ),
    )
    text = (
        f"Every pixel is called foreground in all {len(epochs)} epochs, with a mean probability of {figure(float(mean[-1]))}: as "
        "when a sigmoid is applied to what is a probability already."
    )
    return Signs(text, evidence, "critical", 0.9, (), ("take one of the two activations out",))


def _confined(case: Case) -> Signs | Lacking | None:
    """Probabilities that never leave what an activation makes of probabilities, though a better constant lies outside."""
    count = len(case.classes) if case.exclusive else 2
    if case.exclusive and count < 2:
        return Lacking("the number of classes")
    ends = _ends(case)
    if ends is None:
        return Lacking("model.output_activation and loss.on_probabilities, or the quantiles of val.probability in two epochs")
    bottom, top = _range(count if case.exclusive else 1, 1)
    if low_high := _at_the_end(_range(count if case.exclusive else 1, 2), ends):
        bottom, top = low_high
    epochs, low, high = ends
    if low.min() < bottom - WITHIN or high.max() > top + WITHIN:
        return None
    # Where positives are drawn more often than they are, few of the validation's lie at the upper end; the ranking tells instead.
    ranked = case.balanced_sampler and not case.exclusive and len(epochs) >= 3 and case.above_chance("val")
    spread = ranked or low_high is not None or bool((high[-1] - low[-1] >= 0.8 * (top - bottom)).any())
    spread = spread or int((np.abs(high - top) < WITHIN).any(axis=1).sum()) >= 3
    if not spread and (len(epochs) < 3 or case.exclusive or not _best_outside(case)):
        return None
    evidence = (
        Evidence("val.probability.p5", float(low.min()), float(epochs[-1]), expected=bottom, basis="lowest of all epochs"),
        Evidence("val.probability.p95", float(high.max()), float(epochs[-1]), expected=top, basis="highest of all epochs"),
    )
    text = (
        f"All probabilities lie between {bottom:.3g} and {top:.3g}, as when a {'softmax' if case.exclusive else 'sigmoid'} is "
        "applied to what is a probability already."
    )
    return Signs(text, evidence, "critical", 0.85, (), ("take one of the two activations out",))


def _range(classes: int, times: int) -> tuple[float, float]:
    """Least and largest probability after an activation was applied to probabilities so many times; one class: a sigmoid.

    >>> [tuple(round(end, 3) for end in _range(1, times)) for times in (1, 2)]
    [(0.5, 0.731), (0.622, 0.675)]
    """
    low, high = 0.0, 1.0
    for _ in range(times):
        if classes == 1:
            low, high = 1 / (1 + math.exp(-low)), 1 / (1 + math.exp(-high))
        else:
            # The least is left to a class where one other has all; the largest where all others share the rest.
            rest = low
            low, high = (
                math.exp(low) / (math.exp(high) + (classes - 1) * math.exp(low)),
                math.exp(high) / (math.exp(high) + (classes - 1) * math.exp(rest)),
            )
    return low, high


def _at_the_end(ends: tuple[float, float], found: tuple[Floats, Floats, Floats]) -> tuple[float, float] | None:
    """This range, where all probabilities lie in it, and some at an end of it in three epochs."""
    (bottom, top), (_, low, high) = ends, found
    inside = low.min() >= bottom - WITHIN and high.max() <= top + WITHIN
    touching = (np.abs(low - bottom) < WITHIN).any(axis=1) | (np.abs(high - top) < WITHIN).any(axis=1)
    return ends if inside and int(touching.sum()) >= 3 else None


def _ends(case: Case) -> tuple[Floats, Floats, Floats] | None:
    """Epochs, and the 5th and 95th percentiles of the probabilities of each class in them, (n,) and (n, K); None without."""
    names = [f"[{part}]" for part in case.chart.parts("val.probability.p5")] or [""]
    low, high = (
        np.stack([case.chart.values(f"val.probability.{quantile}{name}") for name in names], axis=1) for quantile in ("p5", "p95")
    )
    rows = np.isfinite(low).all(axis=1) & np.isfinite(high).all(axis=1)
    return (case.chart.epochs[rows], low[rows], high[rows]) if rows.sum() >= 2 else None


def _best_outside(case: Case) -> bool:
    """Whether the best constants under the loss lie clearly under 0.5: outputs that are free to go there do so first."""
    labels, weights = case.labels("train"), numbers_of(case.facts.get("loss.pos_weight"), case.classes)
    if labels is None or case.loss_terms != ("bce",) or not np.isfinite(labels.share).all():
        return False
    if weights is None and case.facts.get("loss.pos_weight") is not None:
        return False
    weighted = labels.share * (1.0 if weights is None else weights if len(weights) in (1, len(labels.share)) else np.nan)
    return bool((weighted / (weighted + 1 - labels.share) < 0.45).all())


NUMERICS: dict[str, Fault] = {
    "non_finite": Fault(
        id="non_finite",
        name="Not a number",
        family="numerics",
        level="cause",
        means="A loss, a gradient or an output is NaN or infinite.",
        needs="the loss by epoch",
        signature=non_finite,
        severity="critical where it lasts to the end; a note where the figure comes back",
        dose="a tenth of the learning rate, from the last good checkpoint",
        explains=(
            "diverging_loss", "late_collapse", "single_class_prediction", "not_learning", "stuck_loss",
            "empty_masks", "full_masks",
        ),
        lookalikes=(
            Lookalike("a validation that is not run in every epoch", "the figure is back in the next"),
            Lookalike("mixed precision", "skipped steps, and a finite loss in fp32"),
        ),
        harmful=("skipping the steps whose loss is NaN: their cause goes on",),
        source="a network does not recover from NaN weights",
    ),
    "negative_loss": Fault(
        id="negative_loss",
        name="Negative loss",
        family="numerics",
        level="cause",
        means="A cross-entropy below zero: labels are outside 0 to 1.",
        needs="the loss by epoch, and loss.type",
        signature=negative_loss,
        severity="critical",
        dose="none: repair the labels",
        explains=("not_learning", "low_overlap", "empty_masks", "full_masks"),
        lookalikes=(Lookalike("an overlap loss defined as −Dice", "loss.type"),),
        harmful=("training on: the loss has no lower bound, and the network follows it",),
        source="milesial/Pytorch-UNet issues 106 and 173: masks of 0 and 255",
    ),
    "saturated_outputs": Fault(
        id="saturated_outputs",
        scope="classification",
        name="Saturated outputs",
        family="numerics",
        level="cause",
        means="Every probability is exactly 0 or 1: the logarithm hits its cap, and no gradient is left.",
        needs="loss and accuracy of one split in two epochs",
        signature=saturated_outputs,
        severity="critical",
        dose="a tenth of the learning rate from the start, with the loss taken from logits",
        explains=(
            "not_learning",
            "single_class_prediction",
            "stuck_loss",
            "chance_auc",
            "accuracy_is_majority",
            "diverging_loss",
        ),
        lookalikes=(
            Lookalike("learning_rate_too_high", "the history: logits grew from epoch to epoch"),
            Lookalike("input_out_of_range", "the pixels that the network receives"),
        ),
        harmful=("more epochs: where the gradient is zero nothing moves",),
        source="PyTorch documentation of BCELoss (log clamped at −100); Keras' epsilon 1e-7",
    ),
    "double_activation": Fault(
        id="double_activation",
        name="Activation applied twice",
        family="numerics",
        level="cause",
        means=(
            "The network gives probabilities, and the loss takes them for logits: sigmoid of a probability lies between 0.5 and "
            "0.731."
        ),
        needs=(
            "model.output_activation and loss.on_probabilities, or the quantiles of val.probability, or val.logit.mean of all "
            "exclusive classes, in two epochs"
        ),
        signature=double_activation,
        severity="critical",
        dose="none: take one of the two out",
        explains=(
            "not_learning", "single_class_prediction", "stuck_loss", "threshold_mismatch", "chance_auc", "frozen_network",
            "learning_rate_too_high", "learning_rate_too_low", "vanishing_gradients", "validation_differs", "best_from_noise",
            "gradients_accumulate", "accuracy_is_majority", "updates_underflow",
            "empty_masks", "full_masks", "low_overlap",
        ),
        lookalikes=(Lookalike("pos_weight_too_large", "probabilities above 0.731 exist"),),
        harmful=("a higher learning rate for the gradients that the second sigmoid shrinks",),
        source="sigmoid(0) = 0.5, sigmoid(1) = 0.731; of K classes softmax gives 1/(e + K − 1) to e/(e + K − 1)",
    ),
}  # fmt: skip
