"""Weights of the foreground in losses of masks: too large, too small, and overlap without any pixel term."""

from __future__ import annotations

import math

import numpy as np

from osler.doctor.case import OVERLAP_TERMS, Case
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.faults.masks import empty_masks, low_overlap
from osler.doctor.findings import Change, Evidence, Lacking, Signs, figure
from osler.doctor.labels import numbers_of
from osler.doctor.prescribe import set_fact

__all__ = ["MASK_WEIGHTS"]

# How much more, or less, foreground is predicted than there is, and how far recall and precision lie apart then.
OVER, UNDER, APART = 1.8, 0.7, 0.25
HEAVY = 2.0
EMPTY_IMAGES = 0.1
# A start at 0.5 has a loss less than twice the best constant's under a sum with an overlap term.
STARTS_ABOVE = 2.0
FEWEST = 3


def _weight(case: Case) -> tuple[str, float] | None:
    """The weight of a foreground pixel against one of the background, and the key that states it; None where none is stated."""
    for key, term in (("loss.pos_weight", "bce"), ("loss.alpha", "focal")):
        values = numbers_of(case.facts.get(key), case.classes) if term in case.loss_terms else None
        if values is None or not len(values) or not ((values > 0) & ((values < 1) | (term == "bce"))).all():
            continue
        odds = values / (1 - values) if term == "focal" else values
        return key, float(np.exp(np.mean(np.log(odds))))
    return None


def _extent(case: Case) -> tuple[float, float]:
    """Predicted over true foreground of validation at the end, and recall − precision; each NaN where it is not known."""
    predicted, true = case.chart.points("val.foreground.predicted")[1], case.chart.points("val.foreground.true")[1]
    _, recall, precision = case.pair("val.recall", "val.precision")
    ratio = float(predicted[-1] / true[-1]) if len(predicted) and len(true) and true[-1] > 0 else math.nan
    return ratio, float(recall[-1] - precision[-1]) if len(recall) else math.nan


def foreground_weight_high(case: Case) -> Signs | Lacking | None:
    """A weight of the foreground under which masks run over."""
    found = _weight(case)
    if found is None:
        return None if case.loss_terms else Lacking("loss.type, with loss.pos_weight or loss.alpha")
    key, weight = found
    ratio, apart = _extent(case)
    if math.isnan(ratio) and math.isnan(apart):
        return Lacking("val.foreground.predicted with val.foreground.true, or val.recall with val.precision")
    runs_over = (ratio > OVER and not apart <= APART) or (math.isnan(ratio) and apart > APART)
    if weight < HEAVY or not runs_over or len(case.chart) < FEWEST or case.early:
        return None
    text = f"{key} makes a foreground pixel weigh {figure(weight)} times one of the background, and masks run over"
    text += f": {figure(ratio)} times the foreground that is there" if math.isfinite(ratio) else ""
    evidence = [Evidence(key, weight, None, expected=1.0, basis="foreground against background")]
    if math.isfinite(ratio):
        row = float(case.chart.points("val.foreground.predicted")[0][-1])
        evidence.append(Evidence("predicted / true foreground", ratio, row, expected=1.0, basis="last epoch"))
    why = "an overlap term meets the imbalance without moving the threshold: combined, with no weight in its BCE"
    changes = (*set_fact(case, key, None, why), *_combined(case, why))
    return Signs(text + ".", tuple(evidence), "warning", 0.85, changes)


def foreground_weight_low(case: Case) -> Signs | Lacking | None:
    """A weight that makes the rare foreground lighter than the background."""
    found = _weight(case)
    if found is None:
        return None if case.loss_terms else Lacking("loss.type, with loss.pos_weight or loss.alpha")
    key, weight = found
    if weight > 0.9:
        return None
    ratio, apart = _extent(case)
    misses = ratio < UNDER or (math.isnan(ratio) and apart < -APART)
    text = f"{key} makes a foreground pixel weigh {figure(weight)} times one of the background, which is far more frequent"
    text += f"; {figure(ratio)} times the foreground that is there is found" if math.isfinite(ratio) else ""
    evidence = [Evidence(key, weight, None, expected=1.0, basis="foreground against background; never less where it is rare")]
    if math.isfinite(ratio):
        row = float(case.chart.points("val.foreground.predicted")[0][-1])
        evidence.append(Evidence("predicted / true foreground", ratio, row, expected=1.0, basis="last epoch"))
    why = "both mistakes alike, and an overlap term for the imbalance"
    changes = (*set_fact(case, key, None, why), *_combined(case, why))
    return Signs(text + ".", tuple(evidence), "warning" if misses and len(case.chart) >= FEWEST else "note", 0.85, changes)


def _combined(case: Case, why: str) -> tuple[Change, ...]:
    known = case.facts.get("loss.type")
    return () if known in ("combined", "enhanced") else set_fact(case, "loss.type", "combined", why)


def overlap_alone(case: Case) -> Signs | Lacking | None:
    """An overlap loss without any pixel term, whose masks stay empty or next to it."""
    terms = case.loss_terms
    if not terms:
        return Lacking("loss.type")
    if set(terms) - OVERLAP_TERMS or case.facts.number("loss.tversky_beta") < 0.5:
        return None
    stuck = next((rule for rule in (empty_masks, low_overlap) if isinstance(rule(case), Signs)), None)
    if stuck is None or case.early:
        return _shrunken(case)
    name = " + ".join(terms)
    text = (
        f"The loss is {name} alone, and next to nothing is found: with every probability near 0 an overlap has hardly a "
        "gradient, and an image without foreground has none that helps."
    )
    evidence = Evidence("weight of pixel terms", 0.0, None, expected=0.5, basis=f"loss.type {case.facts.get('loss.type')}")
    changes = set_fact(case, "loss.type", "combined", "0.4 BCE + 0.4 Dice + 0.2 focal: BCE has a gradient everywhere")
    if case.facts.get("loss.pooled") == "case":
        changes += set_fact(case, "loss.pooled", "batch", "images without foreground then count with the others")
    severity = "critical" if stuck is empty_masks else "warning"
    return Signs(text, (evidence,), severity, 0.75, changes)  # type: ignore[arg-type]


def mask_bias_wrong(case: Case) -> Signs | Lacking | None:
    """An output that starts far above the share of foreground, and spends the run on coming down."""
    epochs, losses, means = case.pair("train.loss", "train.probability.mean")
    least, true = case.floor("train"), case.chart.points("train.foreground.true")[1]
    if len(epochs) < FEWEST or not least > 0 or not len(true):
        return Lacking("train.loss with train.floor, train.probability.mean and train.foreground.true in three epochs")
    found = _weight(case)
    heavy = (found is not None and found[1] > HEAVY) or case.facts.number("loss.tversky_beta") > 0.9
    falling = bool((np.diff(losses[: FEWEST + 1]) < 0).all() and (np.diff(means[: FEWEST + 1]) <= 0).all())
    if heavy or not falling or losses[0] < STARTS_ABOVE * least or means[0] < max(0.5, 10 * float(true[0])):
        return None
    text = (
        f"The mean probability is {figure(float(means[0]))} in the first epoch, where {figure(float(true[0]))} of the pixels are "
        f"foreground, and the loss {figure(float(losses[0]))}, where the best constant has {figure(least)}: the output starts "
        "full, and the run is spent on coming down."
    )
    evidence = (
        Evidence(
            "train.probability.mean", float(means[0]), float(epochs[0]), expected=float(true[0]), basis="share of foreground"
        ),
        Evidence("train.loss", float(losses[0]), float(epochs[0]), expected=least, basis="best constant"),
    )
    why, stated = "start at the best constant under the loss", case.facts.get("model.output_bias")
    # Where the floor is configured already, it is not what runs: that is for the layer itself.
    to = "the logits of the best constant, in the network itself" if stated == "floor" else "floor"
    changes = set_fact(case, "model.output_bias", to, why)
    actions = ("print the bias of the last layer before training: it should be log(share / (1 − share)) of the foreground",)
    return Signs(text, evidence, "warning", 0.9, changes, actions, (float(epochs[0]),))


def _shrunken(case: Case) -> Signs | None:
    """An overlap taken image by image, where empty images reward every pixel that is not called: masks come out too small."""
    empty = case.facts.number("empty.train")
    epochs, recall, precision = case.pair("val.recall", "val.precision")
    if case.facts.get("loss.pooled") != "case" or not empty >= EMPTY_IMAGES or len(epochs) < FEWEST:
        return None
    if float((recall - precision)[-FEWEST:].max()) > -APART:
        return None
    text = (
        f"The overlap is taken image by image, and {empty:.0%} of the images have no foreground: each of them costs all or "
        f"nothing by a single pixel, and masks shrink. Recall is {figure(float(recall[-1]))} at a precision of "
        f"{figure(float(precision[-1]))}."
    )
    evidence = Evidence("val.recall", float(recall[-1]), float(epochs[-1]), expected=float(precision[-1]), basis="precision")
    changes = (
        *set_fact(case, "loss.pooled", "batch", "images without foreground then count with the others of their batch"),
        *set_fact(case, "loss.type", "combined", "a pixel term sees what an overlap of nothing cannot"),
    )
    return Signs(text, (evidence,), "warning", 0.8, changes)


MASK_WEIGHTS: dict[str, Fault] = {
    "mask_bias_wrong": Fault(
        id="mask_bias_wrong",
        scope="segmentation",
        name="The output starts full",
        family="mask_weights",
        level="cause",
        means="The output's bias calls every pixel at first, and the first epochs, or all, are spent on unlearning that.",
        needs="train.loss with its floor, train.probability.mean and train.foreground.true in three epochs",
        signature=mask_bias_wrong,
        severity="warning",
        dose="model.output_bias: floor",
        explains=(
            "full_masks",
            "low_overlap",
            "learning_rate_too_high",
            "still_improving",
            "not_learning",
        ),
        lookalikes=(
            Lookalike("foreground_weight_high", "a weight is stated, and the probability stays"),
            Lookalike("learning_rate_too_high", "the loss does not fall from epoch to epoch"),
        ),
        harmful=("a lower learning rate: it takes longer still",),
        source="Lin et al. 2017: the output starts at the share of the foreground",
    ),
    "foreground_weight_high": Fault(
        id="foreground_weight_high",
        scope="segmentation",
        name="Foreground weighs too much",
        family="mask_weights",
        level="cause",
        means="A weight for the rare foreground makes false pixels cheap, so masks run over.",
        needs="loss.pos_weight or loss.alpha, and the predicted and true foreground, or recall and precision",
        signature=foreground_weight_high,
        severity="warning where masks run over",
        dose="no weight, and an overlap term in its place",
        explains=("full_masks", "low_overlap"),
        lookalikes=(
            Lookalike("tversky_beta_high", "loss.tversky_beta"),
            Lookalike("full_masks", "no weight is stated"),
        ),
        harmful=("a higher threshold alone",),
        source="a weight w moves the probability of a pixel from p to wp / (wp + 1 − p)",
    ),
    "foreground_weight_low": Fault(
        id="foreground_weight_low",
        scope="segmentation",
        name="Foreground weighs too little",
        family="mask_weights",
        level="cause",
        means="pos_weight below 1, or alpha below 0.5: the rare foreground weighs less than the background.",
        needs="loss.pos_weight or loss.alpha; better with the predicted and true foreground",
        signature=foreground_weight_low,
        severity="warning where masks miss, else a note",
        dose="no weight, and an overlap term",
        explains=("empty_masks", "low_overlap", "loss_at_zero"),
        lookalikes=(
            Lookalike("tversky_beta_low", "loss.tversky_beta"),
            Lookalike("empty_masks", "no weight is stated"),
        ),
        harmful=("a higher learning rate",),
        source="Lin et al. 2017 on alpha; met with alpha 0.25 and rare positives",
    ),
    "overlap_alone": Fault(
        id="overlap_alone",
        scope="segmentation",
        name="An overlap loss alone",
        family="mask_weights",
        level="cause",
        means="Dice, IoU or Tversky without a pixel term has hardly a gradient where every mask is empty.",
        needs="loss.type, and an overlap score or the predicted foreground",
        signature=overlap_alone,
        severity="critical where masks are empty, a warning where overlap stays poor",
        dose="BCE 0.4 + Dice 0.4 + focal 0.2",
        explains=("empty_masks", "low_overlap", "stuck_loss", "not_learning"),
        lookalikes=(
            Lookalike("tversky_beta_low", "loss.tversky_beta under 0.5"),
            Lookalike("a slow start", "Dice moves within a few epochs"),
        ),
        harmful=("a smaller smooth term",),
        source="nnU-Net: Dice + cross-entropy 1:1",
    ),
}
