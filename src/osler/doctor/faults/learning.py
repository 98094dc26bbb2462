"""Whether anything is learned at all: no skill, a loss that stands still, a network that does not move."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from osler.doctor.case import SCORES, Case
from osler.doctor.chance import AtChance, at_chance, loss_of_a_coin, one_sided
from osler.doctor.course import longest_constant, tail_mean
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.findings import Change, Evidence, Lacking, Severity, Signs, figure, joined
from osler.doctor.labels import ROUNDED
from osler.doctor.outcome import NO_SKILL, next_to_nothing
from osler.doctor.prescribe import scale_rate, set_fact
from osler.metrics.trend import trend

__all__ = ["LEARNING"]

FEWEST_EPOCHS = 3
# Changes of the weights by a step, relative to their norm: under a third of the usual thousandth, and up to a hundredth.
TOO_SMALL, ORDINARY = 3e-4, 1e-2
# A share of the learning weights without any gradient that no dead unit or unused head makes.
CUT_OFF = 0.1
# A loss that moves by less than this share is no move, whatever its slope.
NO_MOVE = 0.02
# One that is lower by so much at the end has learned something, be it by heart.
FALLEN = 0.06
# One that ends so many times higher than it began does not stand still.
RISEN = 1.25
CHECKS = (
    "train on one batch of 32 samples until its loss is near zero (augmentation and dropout off): if that fails, the network, "
    "the optimiser or the loss is broken; if it works, look at inputs and labels",
    "draw 16 training samples exactly as the network receives them, with their labels, and look: constant or black images, "
    "labels of other images, the wrong label column",
    "compare the weights before and after one step: layers that do not change are frozen, or not handed to the optimiser",
)


def not_learning(case: Case) -> Signs | Lacking | None:
    """Nothing on either split is better than a constant or a coin, or hardly anything when the run has ended."""
    rows = int((case.settled & _anything(case)).sum())
    if rows < FEWEST_EPOCHS:
        return Lacking(f"{FEWEST_EPOCHS} epochs after the warm-up with a loss or a score; there are {rows}")
    if case.learned or case.fitted or (case.segmentation and case.learned_on("train")):
        return _hardly_learning(case) or _like_a_coin(case)
    reasons, evidence = _reasons(case)
    strong = [name for name in reasons if name != "flat"]
    coin = None if strong else _like_a_coin(case)
    if coin is not None:
        return coin
    if case.segmentation and "skill" not in reasons:
        return Lacking("val.floor or train.floor: the loss of the best constant mask under this loss")
    if not reasons:
        return Lacking("a floor (loss.type and prevalence), or an AUC with the counts of positives and negatives")
    if not strong and not _flat_everywhere(case):
        return Lacking("a score beside the loss, or its floor: a loss that moves little may still have learned")
    first = float(case.chart.epochs[0])
    changes = _other_rate(case)
    confidence = {1: 0.75, 2: 0.9}.get(len(reasons), 0.95)
    summary = f"Nothing has been learned in {rows} epochs: {joined(list(reasons.values()))}."
    severity: Severity = "note" if case.early else "critical"
    return Signs(summary, tuple(evidence), severity, confidence, changes, CHECKS, (first,))


def _hardly_learning(case: Case) -> Signs | None:
    """A warning where what was learned is of no use; a rate is advised against it only where the steps are known to be small."""
    found = next_to_nothing(case)
    if found is None:
        return None
    changes = _other_rate(case) if case.step_size < TOO_SMALL else ()
    return Signs(*found, "warning", 0.7, changes, CHECKS, (float(case.chart.epochs[-1]),))


def _like_a_coin(case: Case) -> Signs | None:
    found = loss_of_a_coin(case)
    if found is None:
        return None
    severity: Severity = "note" if case.early else "warning"
    return Signs(*found, severity, 0.65, _other_rate(case), CHECKS, (float(case.chart.epochs[0]),))


def _other_rate(case: Case) -> tuple[Change, ...]:
    """The rate that the size of the steps asks for: none where they are of the usual size, a tenth where nobody knows."""
    if case.step_size < TOO_SMALL:
        return scale_rate(case, 10.0, "the steps are smaller than those of a network that learns: ten times as much")
    if case.step_size < ORDINARY:
        return ()
    return scale_rate(
        case, 0.1, "nothing was learned at this rate, and too high a rate is the cheapest cause to rule out: a tenth"
    )


def _anything(case: Case) -> NDArray[np.bool_]:
    """(E,) epochs of which anything is known."""
    known = [case.chart.values(f"{split}.{name}") for split in ("train", "val") for name in ("loss", *SCORES)]
    return np.asarray(np.isfinite(np.stack(known)).any(axis=0))


def _reasons(case: Case) -> tuple[dict[str, str], list[Evidence]]:
    """What speaks for chance, in words by kind, with the figures."""
    reasons: dict[str, str] = {}
    evidence: list[Evidence] = []
    for split in ("val", "train"):
        skill = case.skill(split)
        if np.isfinite(skill).any() and "skill" not in reasons:
            row = int(np.nanargmax(skill))
            if skill[row] <= NO_SKILL:
                loss, least = float(case.chart.values(f"{split}.loss")[row]), case.floor(split)
                reasons["skill"] = f"skill was never above zero (best {split} loss {figure(loss)}, floor {figure(least)})"
                evidence.append(
                    Evidence(f"{split}.skill", float(skill[row]), float(case.chart.epochs[row]), expected=0.0, basis="best epoch")
                )
                evidence.append(
                    Evidence(
                        f"{split}.loss",
                        loss,
                        float(case.chart.epochs[row]),
                        expected=least,
                        basis="floor of this loss on these labels",
                    )
                )
    found = at_chance(case, "val")
    if isinstance(found, AtChance):
        reasons["auc"] = f"validation AUC is at chance ({found.text()})"
    sides = one_sided(case)
    if sides is not None and sides.share >= 0.5:
        reasons["sides"] = f"{sides.count} of {sides.known} epochs call every sample the same"
    epochs, losses = case.chart.points("train.loss")
    if _is_flat(losses, epochs):
        reasons["flat"] = f"training loss stays at {figure(float(losses[-1]))}"
        evidence.append(
            Evidence("train.loss", float(losses[-1]), float(epochs[-1]), expected=float(losses[0]), basis="first epoch")
        )
    return reasons, evidence


def _is_flat(losses: np.ndarray, epochs: np.ndarray) -> bool:
    """Whether a loss has not gone down, beyond its own jitter and by a share that matters."""
    if len(losses) < 4 or losses[0] == 0:
        return False
    drop = float(losses[1:].mean() - losses[0])
    return drop > -NO_MOVE * abs(float(losses[0])) and not (
        trend(losses, epochs).falls and tail_mean(losses) < losses[0] * (1 - 2 * NO_MOVE)
    )


def _goes_down(case: Case, split: str) -> bool:
    """Whether a split's loss has fallen by more than a fresh network's does that finds the share of positives."""
    losses = case.chart.points(f"{split}.loss")[1]
    return len(losses) >= 3 and tail_mean(losses) < (1 - FALLEN) * losses[0]


def _flat_everywhere(case: Case) -> bool:
    """Training and validation loss and every score stand still from the first epoch on."""
    names = [f"{split}.{name}" for split in ("train", "val") for name in ("loss", "accuracy", "auc", "f1")]
    known = [case.chart.points(name)[1] for name in names if case.chart.has(name, points=4)]
    if len(known) < 3:
        return False
    return all(float(np.ptp(values)) <= 0.05 * max(abs(float(values[0])), 0.1) for values in known)


def stuck_loss(case: Case) -> Signs | Lacking | None:
    """A loss that does not fall, and is not known to stand below its floor."""
    if not case.chart.has("train.loss", points=4) and not case.chart.has("val.loss", points=4):
        return Lacking("four epochs of the loss")
    if case.learned or case.learned_on("train"):
        return None
    for split in ("train", "val"):
        epochs, losses = case.chart.points(f"{split}.loss")
        skill = case.skill(split)
        if _goes_down(case, "val" if split == "train" else "train"):
            continue  # what is learned on one split alone is another fault, or an average over other batches
        if split == "val" and len(losses) and tail_mean(losses) > RISEN * losses[0]:
            continue  # gets worse, and does not stand still
        if not _is_flat(losses, epochs) or (np.isfinite(skill).any() and float(np.nanmax(skill)) > 0.05):
            continue
        least, slope = case.floor(split), trend(losses, epochs)
        at = f"; its floor is {figure(least)}" if math.isfinite(least) else ""
        evidence = (Evidence(f"slope of {split}.loss", slope.slope, None, slope.low, slope.high, 0.0, "a change an epoch"),)
        summary = (
            f"The {split} loss went from {figure(float(losses[0]))} to {figure(float(losses[-1]))} in {len(losses)} epochs{at}."
        )
        return Signs(summary, evidence, "note" if case.early else "warning", 0.8, epochs=(float(epochs[0]),))
    return None


def frozen_network(case: Case) -> Signs | Lacking | None:
    """No gradient, no update, no spread of the outputs, or a loss that repeats to every digit."""
    chart = case.chart
    found = _random_features(case) or _cut_off(case)
    if found is not None:
        return found
    for name, limit in (("update_ratio.median", 1e-8), ("gradient_norm.median", 1e-9), ("gradient_norm.mean", 1e-9)):
        epochs, values = chart.points(name)
        if len(values) >= 2 and float(values.max()) < limit:
            return _frozen(
                f"{name} is {figure(float(values.max()))} at most: the weights do not move.",
                name,
                float(values.max()),
                epochs[0],
                0.95,
            )
    spread = chart.values("val.logit.p95") - chart.values("val.logit.p5")
    known = spread[np.isfinite(spread)]
    if len(known) >= 2 and float(known.max()) < 1e-3:
        text = (
            f"The outputs of different samples differ by {figure(float(known.max()))} logits at most: the output does not "
            "depend on the input."
        )
        return _frozen(text, "val.logit.p95 - p5", float(known.max()), chart.epochs[0], 0.85)
    for name in ("val.loss", "train.loss"):
        epochs, values = chart.points(name)
        start, length = longest_constant(values)
        if length >= 4 and start <= 1 and start + length == len(values) and values[-1] > ROUNDED and not case.learned_on("train"):
            return _frozen(
                f"{name} is {values[-1]:.6g} to the last digit in {length} epochs: the weights do not move.",
                name,
                float(values[-1]),
                epochs[0],
                0.85,
            )
    if case.learned or any(
        chart.has(name, points=2) for name in ("update_ratio.median", "gradient_norm.median", "gradient_norm.mean")
    ):
        return None
    return Lacking("gradient_norm or update_ratio by epoch: a loss that moves a little may do so by the last layer alone")


def _random_features(case: Case) -> Signs | None:
    """Only the head is trained, on a network that never was."""
    phases = case.facts.get("training.phases")
    if not isinstance(phases, (tuple, list)) or not phases or "model.pretrained" not in case.facts:
        return None
    trained = {str(phase.get("train")) for phase in phases if isinstance(phase, Mapping)}
    if trained != {"head"} or case.facts.get("model.pretrained"):
        return None
    evidence = (Evidence("training.phases", "head", None, expected="all", basis="model.pretrained is not set"),)
    text = "Only the head is trained, and the network under it starts from random weights: its features stay random."
    changes = set_fact(case, "training.phases", None, "all layers train; or model.pretrained, and the head first")
    return Signs(text, evidence, "critical", 0.9, changes, (), (float(case.chart.epochs[0]),))


def _cut_off(case: Case) -> Signs | None:
    """Weights that are to learn, and that no gradient reached in any epoch."""
    epochs, shares = case.chart.points("without_gradient")
    if not len(shares) or float(shares.min()) < CUT_OFF:
        return None
    text = (
        f"{float(shares.min()):.0%} of the weights that are to learn had no gradient in any of {len(shares)} epochs: between "
        "them and the loss something is cut."
    )
    evidence = (Evidence("without_gradient", float(shares.min()), float(epochs[0]), expected=0.0, basis="least of all epochs"),)
    actions = (
        "check that no detach(), no_grad(), argmax or integer cast stands between the loss and these weights",
        "freeze on purpose what is not to learn (training.phases), so that the rest can be told from it",
    )
    return Signs(text, evidence, "warning" if case.learned else "critical", 0.9, (), actions, (float(epochs[0]),))


def _frozen(summary: str, name: str, value: float, epoch: float, confidence: float) -> Signs:
    actions = (
        "hand the parameters to the optimiser after they are unfrozen, and check that requires_grad is true",
        "check that no detach(), no_grad() or integer cast stands between loss and weights, and that the learning rate is not 0",
    )
    return Signs(
        summary,
        (Evidence(name, value, None, expected=0.0, basis="largest of all epochs"),),
        "critical",
        confidence,
        (),
        actions,
        (float(epoch),),
    )


LEARNING: dict[str, Fault] = {
    "not_learning": Fault(
        id="not_learning",
        name="Nothing is learned",
        family="learning",
        level="syndrome",
        means=(
            "No figure of either split is better than a constant prediction or a coin, or next to none is when the run has "
            "ended. Several causes look like this; what the log cannot tell apart, an active test can."
        ),
        needs=(
            "three epochs after the warm-up with a loss and its floor (loss.type and prevalence, or val.floor; for masks "
            "val.floor), or an AUC with counts, or calls; of two classes, the losses with the accuracy"
        ),
        signature=not_learning,
        severity=(
            "critical; a warning where the run has ended with next to nothing, or the loss is a coin's and no floor is known; a "
            "note in the first half of the planned epochs, where many a sound run has learned nothing yet"
        ),
        dose=(
            "a tenth of the learning rate (ten times it where update_ratio is under 0.0003, none where it is usual), and the "
            "active checks, in this order: one batch to zero loss, inputs and labels "
            "looked at, weights that move"
        ),
        explains=(
            "single_class_prediction",
            "alternating_prediction",
            "chance_auc",
            "stuck_loss",
            "best_from_noise",
            "accuracy_is_majority",
            "low_overlap",
        ),
        lookalikes=(
            Lookalike("learning_rate_too_high", "update_ratio above 0.01, or the same run at a tenth of the rate learns"),
            Lookalike(
                "learning_rate_too_low", "update_ratio below 0.00001, or the loss falls in a short run at ten times the rate"
            ),
            Lookalike("frozen_network", "gradient norm and update ratio, or the weights before and after a step"),
            Lookalike("input_out_of_range", "mean and spread of the pixels that the network receives"),
            Lookalike(
                "labels of other samples",
                "one batch can be learned by heart, the whole set cannot; look at samples with their labels",
            ),
            Lookalike(
                "small_validation",
                "the training figures: above chance, the network learns and validation is too small to show it",
            ),
        ),
        harmful=(
            "more weight for the positives, where the weight in force already balances the classes: nothing ranks, so weight "
            "only moves the common output",
            "more epochs, or another architecture, before the checks: a pipeline that is broken stays broken",
            "going on from the best epoch: it was picked among noise",
        ),
        source=(
            "skill = 1 − loss / floor; Hanley and McNeil 1982; overfit-one-batch test (Karpathy, recipe for training neural "
            "networks)"
        ),
    ),
    "stuck_loss": Fault(
        id="stuck_loss",
        name="The loss stands still",
        family="learning",
        level="symptom",
        means="The training loss does not fall beyond its own jitter, and is not known to be below its floor.",
        needs="four epochs of the training loss; better with its floor",
        signature=stuck_loss,
        severity="warning",
        dose="none of its own: the cause decides",
        lookalikes=(
            Lookalike("a converged run", "skill: well above zero where the loss stands still because all is learned"),
            Lookalike("warmup_too_long", "the learning rate is still rising"),
        ),
        harmful=("judging by how many per cent a loss fell: a healthy run may lower its loss by 6 % in all",),
        source="slope with an interval that knows its autocorrelation; skill",
    ),
    "frozen_network": Fault(
        id="frozen_network",
        name="Frozen or disconnected network",
        family="learning",
        level="cause",
        means=(
            "Weights do not move or have no gradient, outputs do not depend on the inputs, or only the head is trained on random "
            "features."
        ),
        needs="gradient_norm, update_ratio or without_gradient by epoch, or the spread of the logits, or a loss that repeats to "
        "every digit; or training.phases with model.pretrained",
        signature=frozen_network,
        severity="critical",
        dose="none: repair the path from loss to weights; where only the head is trained, training.phases null",
        explains=(
            "not_learning",
            "single_class_prediction",
            "chance_auc",
            "stuck_loss",
            "best_from_noise",
            "accuracy_is_majority",
            "learning_rate_too_low",
            "low_overlap",
            "validation_differs",
            "empty_masks",
        ),
        lookalikes=(
            Lookalike("learning_rate_too_low", "update_ratio: small, but not zero"),
            Lookalike("collapsed outputs", "gradient norm above zero, and an earlier epoch whose outputs differ"),
        ),
        harmful=("a higher learning rate: what is not connected does not move at any rate",),
        source="weights unchanged within rounding; the loss of a network that does not move repeats to every digit",
    ),
}
