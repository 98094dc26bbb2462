"""Overlap losses and scores: Tversky, terms that weigh too little, a background that flatters."""

from __future__ import annotations

import math

import numpy as np

from osler.doctor.case import LOW_OVERLAP, OVERLAP_TERMS, Case
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.faults.mask_data import foreground
from osler.doctor.faults.masks import low_overlap
from osler.doctor.findings import Change, Evidence, Lacking, Signs, figure, joined
from osler.doctor.prescribe import set_fact

__all__ = ["OVERLAP"]

FLATTERED = 0.95
# The Dice of the background is less than 1 by twice this at most where foreground is rare.
MEAN_OF_BOTH = 0.03
# Two figures of one log, rounded alike.
SAME = 1e-4
# How far above the Dice that its IoU allows a Dice must lie in every epoch; smoothing and averaging make some of it.
BEYOND = 0.15
# BCE 0.4 + Dice 0.4 + focal 0.2 is sound.
ENOUGH_OVERLAP = 0.399
HIGH_BETA, HIGHEST_BETA = 0.7, 0.9
# How far precision lies under recall where masks run over.
RUNS_OVER = 0.3


def tversky_beta_low(case: Case) -> Signs | Lacking | None:
    """A Tversky loss that punishes missed pixels less than false ones."""
    beta = case.facts.number("loss.tversky_beta")
    if not math.isfinite(beta):
        return (
            Lacking("loss.tversky_beta")
            if "tversky" in case.loss_terms or "tversky" in str(case.facts.get("loss.type"))
            else None
        )
    recall, precision = case.chart.points("val.recall")[1], case.chart.points("val.precision")[1]
    finds_enough = len(recall) and len(precision) and recall[-1] >= precision[-1]
    if beta >= 0.5 or finds_enough:
        return None
    small = 0 < foreground(case, "train") < 0.02
    to = 0.7 if small else 0.6
    text = (
        f"loss.tversky_beta {figure(beta)} weighs a missed lesion pixel {figure(beta / (1 - beta))} times as much as a false one."
    )
    evidence = [Evidence("loss.tversky_beta", beta, None, expected=0.5, basis="both mistakes alike; more for missed lesions")]
    if len(recall) and len(precision):
        evidence.append(
            Evidence(
                "val.recall", float(recall[-1]), float(case.chart.epochs[-1]), expected=float(precision[-1]), basis="precision"
            )
        )
    other = case.facts.number("loss.tversky_alpha")
    changes = set_fact(
        case,
        "loss.tversky_beta",
        to,
        "beta weighs missed pixels: 0.5 to 0.6, and 0.7 where lesions are small; probe your library with one missed and one "
        "false pixel, since some swap the names",
    )
    if math.isfinite(other):
        changes += set_fact(case, "loss.tversky_alpha", round(1 - to, 2), "1 − beta")
    return Signs(text, tuple(evidence), "warning", 0.85, changes)


def tversky_beta_high(case: Case) -> Signs | Lacking | None:
    """A Tversky loss that hardly minds false pixels, with masks that run over."""
    beta = case.facts.number("loss.tversky_beta")
    if not math.isfinite(beta):
        return Lacking("loss.tversky_beta") if "tversky" in case.loss_terms else None
    recall, precision = case.chart.points("val.recall")[1], case.chart.points("val.precision")[1]
    runs_over = bool(len(recall) and len(precision)) and precision[-1] < 0.5 and recall[-1] - precision[-1] > RUNS_OVER
    if not (beta > HIGHEST_BETA or (beta > HIGH_BETA and runs_over)):
        return None
    text = f"loss.tversky_beta {figure(beta)} weighs a false pixel {figure((1 - beta) / beta)} times as much as a missed one"
    evidence = [Evidence("loss.tversky_beta", beta, None, expected=0.7, basis="usual where lesions are small")]
    if runs_over:
        text += f", and masks run over: recall {figure(float(recall[-1]))} at precision {figure(float(precision[-1]))}"
        epoch = float(case.chart.points("val.precision")[0][-1])
        evidence.append(Evidence("val.precision", float(precision[-1]), epoch, expected=float(recall[-1]), basis="recall"))
    changes = set_fact(case, "loss.tversky_beta", 0.7, "missed pixels still weigh more than twice as much as false ones")
    if math.isfinite(case.facts.number("loss.tversky_alpha")):
        changes += set_fact(case, "loss.tversky_alpha", 0.3, "1 − beta")
    return Signs(text + ".", tuple(evidence), "warning" if runs_over else "note", 0.8 if runs_over else 0.6, changes)


def overlap_terms_weak(case: Case) -> Signs | Lacking | None:
    """In a sum of losses, the overlap terms have less than two fifths of the weight."""
    terms = case.loss_terms
    weights = case.facts.get("loss.weights")
    if isinstance(weights, dict):
        overlap = sum(value for key, value in weights.items() if any(term in key.lower() for term in OVERLAP_TERMS))
        total = sum(weights.values())
        if total <= 0 or overlap >= ENOUGH_OVERLAP * total:
            return None
        text = (
            f"Overlap terms have {overlap / total:.0%} of the loss's weight; the others are taken over pixels, nearly all "
            "background."
        )
        evidence = Evidence(
            "weight of the overlap terms", float(overlap / total), None, expected=0.5, basis="share of loss.weights"
        )
        poor = isinstance(low_overlap(case), Signs) and not case.early
        return Signs(text, (evidence,), "warning" if poor else "note", 0.7, _plain_pair(case))
    overlapping = [term for term in terms if term in OVERLAP_TERMS]
    if not overlapping or len(overlapping) == len(terms):
        return None if terms else Lacking("loss.type and loss.weights")
    return _bounded_weight(case, overlapping)


def _bounded_weight(case: Case, overlapping: list[str]) -> Signs | Lacking:
    """Overlap terms cost nearly 1 each while Dice is low; a loss smaller than their sum has weighted them down."""
    rows = np.flatnonzero(np.isfinite(case.chart.values("train.loss")) & np.isfinite(case.chart.values("train.dice")))
    needs = Lacking("loss.weights: the weight of each term of the loss")
    if not len(rows) or not isinstance(low_overlap(case), Signs):
        return needs
    row = int(rows[-1])
    loss, dice = float(case.chart.values("train.loss")[row]), float(case.chart.values("train.dice")[row])
    if not 0.0 <= dice < LOW_OVERLAP or loss <= 0.0:
        return needs
    bound, epoch = loss / (1.0 - dice), float(case.chart.epochs[row])
    if bound > 0.5 * len(overlapping):
        return needs
    text = (
        f"At Dice {figure(dice)} each overlap term costs about {figure(1 - dice)}, and the whole loss is {figure(loss)}: "
        f"{joined(overlapping)} together weigh {figure(bound)} at most, where a plain sum gives them {len(overlapping)}."
    )
    basis = "train.loss / (1 − train.dice), at most"
    evidence = Evidence("weight of the overlap terms", bound, epoch, expected=float(len(overlapping)), basis=basis)
    return Signs(text, (evidence,), "note", 0.5, _plain_pair(case))


def _plain_pair(case: Case) -> tuple[Change, ...]:
    why = "a plain BCE + Dice as the baseline first, then the enhanced loss with at least half of its weight on overlap terms"
    return set_fact(case, "loss.weights", {"bce": 0.5, "dice": 0.5}, why)


def flattering_overlap(case: Case) -> Signs | Lacking | None:
    """An overlap score that counts the background: near 1 from the first epoch, or half-way between foreground and 1."""
    proven = _is_accuracy(case) or _mean_with_background(case) or _beyond_iou(case)
    if proven is not None:
        return proven
    for name in ("val.dice", "val.iou", "train.dice", "train.iou"):
        epochs, values = case.chart.points(name)
        if len(values) < 3:
            continue
        if values[0] < FLATTERED or values.min() < FLATTERED - 0.05:
            return None
        label = case.chart.series[name].label
        text = (
            f"{name} (logged as {label!r}) is {figure(float(values[0]))} in the first epoch and {figure(float(values[-1]))} in "
            "the last: a score that starts there counts the background, and says little about lesions."
        )
        evidence = (
            Evidence(
                name, float(values[0]), float(epochs[0]), expected="well below 1", basis="of a network that has hardly begun"
            ),
        )
        actions = ("log Dice of each foreground class, over images that have it, and recall and precision of lesions",)
        return Signs(text, evidence, "warning" if values[0] > 0.98 else "note", 0.75, (), actions, (float(epochs[0]),))
    return Lacking("three epochs of an overlap score")


def _is_accuracy(case: Case) -> Signs | None:
    """A Dice that is the accuracy of the pixels, to all digits: pooled over foreground and background it is just that."""
    epochs, dice, accuracy = case.pair("val.dice", "val.accuracy")
    if len(epochs) < 3 or np.abs(dice - accuracy).max() > SAME or float(np.ptp(accuracy)) == 0.0 or accuracy.max() > 1 - SAME:
        return None
    text = (
        f"val.dice is {figure(float(dice[-1]))} and val.accuracy {figure(float(accuracy[-1]))}, and so they are in each of "
        f"{len(epochs)} epochs: pooled over foreground and background, Dice is the share of pixels that are right, nearly all of "
        "them background."
    )
    basis = "val.accuracy"
    evidence = Evidence("val.dice", float(dice[-1]), float(epochs[-1]), expected=float(accuracy[-1]), basis=basis)
    actions = ("log Dice of each foreground class; the background is no class",)
    return Signs(text, (evidence,), "warning", 0.95, (), actions, (float(epochs[0]),))


def _beyond_iou(case: Case) -> Signs | None:
    """A Dice beside an IoU that allows no such Dice: of a pixel set it is 2·IoU/(1 + IoU), and less on average over images."""
    epochs, dice, iou = case.pair("val.dice", "val.iou")
    most = 2 * iou / (1 + iou)
    if len(epochs) < 3 or not (dice - most > BEYOND).all():
        return None
    text = (
        f"val.dice is {figure(float(dice[-1]))} beside a val.iou of {figure(float(iou[-1]))}, whose Dice is "
        f"{figure(float(most[-1]))} at most: the Dice counts the background or gives images without a lesion full marks, or the "
        "IoU is of other classes."
    )
    evidence = Evidence("val.dice", float(dice[-1]), float(epochs[-1]), expected=float(most[-1]), basis="2·IoU/(1 + IoU)")
    actions = ("log Dice and IoU of each foreground class, averaged alike",)
    return Signs(text, (evidence,), "warning", 0.7, (), actions, (float(epochs[0]),))


def _mean_with_background(case: Case) -> Signs | None:
    """A Dice that is the mean of that of the background, near 1, and of what recall and precision of the foreground make."""
    rows = [case.chart.values(f"val.{name}") for name in ("dice", "recall", "precision")]
    known = np.flatnonzero(np.isfinite(np.stack(rows)).all(axis=0) & (rows[1] + rows[2] > 0))
    if len(known) < 3:
        return None
    dice, recall, precision = (values[known] for values in rows)
    found = 2 * recall * precision / (recall + precision)
    if np.abs(dice - (found + 1) / 2).max() > MEAN_OF_BOTH or found.min() > FLATTERED - 2 * MEAN_OF_BOTH:
        return None
    epoch = float(case.chart.epochs[known[-1]])
    text = (
        f"val.dice is {figure(float(dice[-1]))}, and recall and precision of the foreground make it {figure(float(found[-1]))}: "
        "half of the score is the Dice of the background, which is near 1 whatever is found."
    )
    evidence = Evidence("val.dice", float(dice[-1]), epoch, expected=float(found[-1]), basis="2PR/(P + R)")
    actions = ("log Dice of each foreground class; the background is no class",)
    return Signs(text, (evidence,), "warning", 0.85, (), actions, (float(case.chart.epochs[known[0]]),))


OVERLAP: dict[str, Fault] = {
    "tversky_beta_low": Fault(
        id="tversky_beta_low",
        scope="segmentation",
        name="Tversky beta too low",
        family="overlap",
        level="cause",
        means="beta weighs missed pixels; under 0.5, missing a lesion costs less than a false pixel.",
        needs="loss.tversky_beta; better with recall and precision",
        signature=tversky_beta_low,
        severity="warning",
        dose="0.6, and 0.7 where lesions cover less than 2 % of the image; alpha is 1 − beta",
        explains=("low_overlap", "empty_masks"),
        lookalikes=(
            Lookalike("swapped names", "the loss of one missed pixel against that of one false pixel"),
            Lookalike("learning_rate_too_low", "recall and precision are both low"),
        ),
        harmful=("beta above 0.9: masks run over",),
        source="Salehi et al. 2017; Keras pull request 23333 on swapped names",
    ),
    "tversky_beta_high": Fault(
        id="tversky_beta_high",
        scope="segmentation",
        name="Tversky beta too high",
        family="overlap",
        level="cause",
        means="False pixels cost next to nothing, so masks run over.",
        needs="loss.tversky_beta; better with recall and precision",
        signature=tversky_beta_high,
        severity="warning where precision lies far under recall, else a note above 0.9",
        dose="0.7; alpha is 1 − beta",
        explains=("full_masks", "low_overlap"),
        lookalikes=(
            Lookalike("tversky_beta_low", "recall lies under precision: the names are swapped"),
            Lookalike("full_masks", "loss.tversky_beta is 0.7 or less"),
        ),
        harmful=("a higher threshold alone: the network has learned that false pixels are free",),
        source="Salehi et al. 2017 (beta 0.7 best of 0.5 to 0.9); probe the loss of one missed and one false pixel",
    ),
    "overlap_terms_weak": Fault(
        id="overlap_terms_weak",
        scope="segmentation",
        name="Overlap terms too weak",
        family="overlap",
        level="cause",
        means="Pixel losses, nearly all of them background, outweigh the overlap terms.",
        needs="loss.weights; or the loss beside Dice, which bounds them",
        signature=overlap_terms_weak,
        severity="warning where overlap is poor, else a note",
        dose="a plain BCE + Dice 1:1 as the baseline, then at least half of the weight on overlap terms",
        explains=("low_overlap", "empty_masks"),
        lookalikes=(Lookalike("tversky_beta_low", "loss.tversky_beta"),),
        harmful=("a fifth term",),
        source="nnU-Net: Dice + cross-entropy 1:1",
    ),
    "flattering_overlap": Fault(
        id="flattering_overlap",
        scope="segmentation",
        name="The background flatters the score",
        family="overlap",
        level="cause",
        means="An overlap score counts the background: near 1 from the start, or half-way between the foreground's and 1.",
        needs="three epochs of an overlap score; better with recall and precision",
        signature=flattering_overlap,
        severity="warning from 0.98 in the first epoch, or where recall and precision prove it, else a note",
        dose="Dice of each foreground class, over images that have it",
        lookalikes=(
            Lookalike("a large and easy organ", "the share of foreground"),
            Lookalike("a run that goes on from another", "the loss starts low as well"),
        ),
        harmful=("choosing the best epoch by it",),
        source="Metrics Reloaded (2024)",
    ),
}
