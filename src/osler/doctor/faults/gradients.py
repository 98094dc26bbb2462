"""The gradient on its way: gone before it arrives, exploding, lost below the precision of the weights, skipped for overflow."""

from __future__ import annotations

import math

import numpy as np

from osler.doctor.case import Case
from osler.doctor.course import median
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.faults.sampling import samples_sorted
from osler.doctor.faults.stability import diverged
from osler.doctor.findings import Evidence, Lacking, Severity, Signs, figure
from osler.doctor.labels import measured_labels
from osler.doctor.prescribe import peak_rate, scale_rate, set_fact, two_digits

__all__ = ["GRADIENTS"]

NORMS = ("gradient_norm.median", "gradient_norm.mean")
# A norm that falls by so much while nothing is learned has not fallen because all is learned.
DIED = 1e-3
# Under this the gradient of a loss of order 1 is none to speak of; under ABSENT there is none at all.
TINY, ABSENT = 1e-6, 1e-9
EXPLODED = 100.0
# Half the distance of neighbouring float32 numbers, relative: a weight and a smaller step add up to the weight.
UNDERFLOW = 1e-7
SKIPPED = 0.2
NO_SKILL = 0.02
# A loss of so much above a constant's, beyond three standard errors, is no ignorance; single steps above THROWS explain it.
UPHILL, THROWS = 0.05, 0.1
# Cosine of two steps' gradients that batches of different samples do not have, in epochs of so many steps at least.
ONE_DIRECTION, FEWEST_STEPS = 0.8, 8
# Steps over the weights' norm, below which a network stays where it is, and its gradient with it.
MOVED = 1e-4
ZERO_GRAD = (
    "call zero_grad() before every backward pass, or once for every step where gradients are accumulated on purpose",
    "compare the gradient norm of one batch after two backward passes with that after one: it must not have doubled",
)


def _ends_without_skill(case: Case) -> bool:
    """Whether the run stands where a constant prediction would, be it from the start or again."""
    if not (case.learned or case.learned_on("train")):
        return True
    last = [skill[np.isfinite(skill)][-1:] for skill in (case.skill("train"), case.skill("val"))]
    known = np.concatenate(last)
    return bool(len(known)) and float(known.max()) <= NO_SKILL


def vanishing_gradients(case: Case) -> Signs | Lacking | None:
    """A gradient that is next to nothing, or has died, in a run that knows nothing."""
    name = case.chart.first_of(*NORMS, points=3)
    if name is None:
        return Lacking("gradient_norm by epoch, in three epochs")
    if not any(case.chart.has(f"{split}.loss", points=3) or case.score(split, 3) for split in ("train", "val")):
        return Lacking("three epochs of a loss or a score: a small gradient alone may be that of a converged run")
    epochs, norms = case.chart.points(name)
    end, start = median(norms[-max(2, len(norms) // 3) :]), float(norms[0])
    tiny = end < TINY
    if not (tiny or end < DIED * start) or float(norms.max()) < ABSENT or not _ends_without_skill(case):
        return None
    row = int(np.argmax(norms < (TINY if tiny else DIED * start)))
    what = f"is {figure(end)} in the last epochs" + ("" if tiny else f" after {figure(start)} in the first")
    text = (
        f"{name} {what}, and the run is no better than a constant: the gradient does not reach the weights, or nothing sends one."
    )
    evidence = (
        Evidence(name, end, float(epochs[-1]), expected=start, basis="median of the last third, against the first epoch"),
    )
    actions = (
        "print the gradient norm of each layer after one step: where it falls by factors from layer to layer, add normalisation "
        "or skip connections; where it is zero behind a ReLU, its units are dead",
        "take the loss from logits (BCEWithLogitsLoss, from_logits=True): a saturated sigmoid before the loss sends nothing back",
    )
    changes = scale_rate(
        case, 0.1, "units that died or outputs that saturated were driven there by large steps: start again at a tenth"
    )
    return Signs(text, evidence, "critical", 0.8, changes, actions, (float(epochs[row]),))


def exploding_gradients(case: Case) -> Signs | Lacking | None:
    """A gradient norm that grows a hundredfold, with a loss that shows it."""
    name = case.chart.first_of(*NORMS, "gradient_norm.max", points=4)
    if name is None:
        return Lacking("gradient_norm by epoch, in four epochs")
    epochs, norms = case.chart.points(name)
    first, part = median(norms[: max(2, len(norms) // 5)]), norms[-max(2, len(norms) // 5) :]
    broken = case.chart.nonfinite_epochs(name)
    growth = float(part.max()) / first if first > 0 else math.nan
    if not growth > EXPLODED and not (len(broken) and float(norms[-1]) > 10 * first > 0):
        return None
    lost = diverged(case)
    shown = lost is not None or bool(len(broken)) or bool(len(case.chart.nonfinite_epochs("train.loss")))
    losses = case.chart.points("train.loss")[1]
    if not shown and len(losses) >= 4 and float(losses[-1]) <= float(losses.min()) < float(losses[0]):
        return None  # a network that starts at the best constant has next to no gradient until it leaves it
    severity: Severity = "critical" if len(broken) else "warning" if shown or _ends_without_skill(case) else "note"
    text = f"{name} grew from {figure(first)} to {figure(float(part.max()))}, {figure(growth)} times as much"
    text += ", and ends as no finite number." if len(broken) else "." if shown else "; the loss does not show it yet."
    row = int(np.argmax(norms > 10 * first))
    evidence = [Evidence(name, float(part.max()), float(epochs[-1]), expected=first, basis="median of the first epochs")]
    evidence += [lost] if lost is not None else []
    clip = two_digits(first if first > 0 else 1.0)
    changes = (
        *set_fact(case, "training.clip_norm", clip, "the norm of the first, healthy epochs: larger gradients are cut to it"),
        *(scale_rate(case, 1 / 3, "a third of the rate, from the last good checkpoint") if shown else ()),
    )
    actions = ("log the ids of the samples in the steps with the largest norms: the same ids each time are bad samples",)
    return Signs(text, tuple(evidence), severity, 0.85 if shown else 0.6, changes, actions, (float(epochs[row]),))


def updates_underflow(case: Case) -> Signs | Lacking | None:
    """There is a gradient, and the steps are smaller than what the weights' numbers can hold."""
    name = case.chart.first_of(*NORMS, points=2)
    if name is None or not case.chart.has("update_ratio.median", points=2):
        return Lacking("gradient_norm and update_ratio by epoch")
    epochs, norms, ratios = case.pair(name, "update_ratio.median")
    if len(epochs) < 2:
        return Lacking("gradient_norm and update_ratio in the same epochs")
    norm, ratio, rate = median(norms), median(ratios), peak_rate(case)
    if not ratio < UNDERFLOW or norm < ABSENT or not (ratio > 0.0 or 0.0 < rate < 1e-8):
        return None
    text = (
        f"The gradient norm is {figure(norm)}, and a step changes the weights by {figure(ratio)} of their norm: float32 "
        "numbers lie "
        f"{figure(2 * 5.96e-8)} apart, relative to their size, so most steps round to nothing."
    )
    evidence = (
        Evidence(
            "update_ratio.median", ratio, None, expected=1e-3, basis="median of the epochs; below 6e-8 a float32 step is lost"
        ),
        Evidence(name, norm, None, expected="above 0", basis="median of the epochs"),
    )
    factor = min(1e6, 10.0 ** math.ceil(math.log10(1e-3 / max(ratio, 1e-9))))
    why = "brings a step back to about a thousandth of the weights"
    actions = (
        "keep a float32 master copy of the weights: bfloat16 numbers lie 0.8 % apart, and float16 gradients under 6e-8 are zero "
        "without a loss scale",
    )
    return Signs(text, evidence, "critical", 0.85, scale_rate(case, factor, why), actions, (float(epochs[0]),))


def steps_skipped(case: Case) -> Signs | Lacking | None:
    """Mixed precision throws a large share of the steps away for overflow."""
    if not case.chart.has("skipped_steps"):
        return Lacking("skipped_steps by epoch")
    steps = case.facts.number("training.steps_per_epoch")
    counted = np.diff(case.chart.points("step")[1])
    each = steps if steps > 0 else median(counted) if len(counted) else math.nan
    if not each > 0:
        return Lacking("training.steps_per_epoch, or the step by epoch")
    epochs, skipped = case.chart.points("skipped_steps")
    share = median(skipped) / each
    if share < SKIPPED:
        return None
    text = f"{share:.0%} of the steps of an epoch are skipped for overflow: what is counted as training is not."
    evidence = (
        Evidence("skipped_steps", median(skipped), None, expected=0.01 * each, basis=f"of {figure(each)} steps an epoch"),
    )
    changes = set_fact(case, "training.precision", "bf16", "has the range of float32 and needs no loss scale; or fp32")
    return Signs(text, evidence, "critical" if share > 0.8 else "warning", 0.9, changes, (), (float(epochs[0]),))


def gradients_accumulate(case: Case) -> Signs | Lacking | None:
    """Steps of the usual size that lead uphill: they repeat the gradients of earlier batches."""
    repeated = _one_gradient(case)
    if repeated is not None:
        return repeated
    if case.segmentation:
        # A loss of masks has other floors, and ways uphill of its own.
        return None if case.chart.has("gradient_cosine", points=3) else Lacking("gradient_cosine by epoch")
    chart, least = case.chart, case.floor("train")
    largest = chart.points("update_ratio.max")[1]
    if not len(largest) or not least > 0 or not chart.has("train.loss.se", points=3):
        return Lacking(
            "gradient_cosine by epoch; or update_ratio.max, and the training loss with its floor and its standard error, in three"
        )
    skill = case.skill("train")
    error = chart.values("train.loss.se") / least
    uphill = np.flatnonzero((skill < -UPHILL) & (skill < -3 * error) & case.settled)
    uphill = uphill[uphill > 0]
    if len(uphill) < 2 or float(largest.max()) > THROWS or case.learned:
        return None
    row = int(uphill[-1])
    text = (
        f"Steps are of the usual size ({figure(float(largest.max()))} of the weights at most), and yet the training loss was "
        f"above that of a constant, {figure(least)}, in {len(uphill)} epochs after the first: the steps do not follow the "
        "gradient of their own batch."
    )
    evidence = (
        Evidence("train.skill", float(skill[row]), float(chart.epochs[row]), expected=0.0, basis="1 − loss / floor"),
        Evidence("update_ratio.max", float(largest.max()), None, expected=1e-2, basis="largest step of the run"),
    )
    severity: Severity = "warning" if case.early else "critical"
    return Signs(text, evidence, severity, 0.65, (), ZERO_GRAD, (float(chart.epochs[uphill[0]]),))


def _one_gradient(case: Case) -> Signs | None:
    """The gradients of one step and the next have nearly one direction, epoch after epoch, though their samples differ."""
    epochs, cosines = case.chart.points("gradient_cosine")
    steps, moved = _steps_an_epoch(case), case.chart.points("update_ratio.median")[1]
    if len(epochs) < 3 or not steps >= FEWEST_STEPS or not len(moved) or median(moved) < MOVED:
        return None
    if median(cosines) < ONE_DIRECTION or float((cosines > ONE_DIRECTION).mean()) < 0.75 or _alike(case):
        return None
    text = (
        f"The gradients of one step and the next have a cosine of {figure(median(cosines))} (median of {len(epochs)} epochs), "
        "where those of different batches have little in common: each still holds the gradients before it."
    )
    evidence = (
        Evidence("gradient_cosine", median(cosines), None, float(cosines.min()), float(cosines.max()), 0.2, "different batches"),
    )
    return Signs(text, evidence, "warning" if case.learned else "critical", 0.85, (), ZERO_GRAD, (float(epochs[0]),))


def _steps_an_epoch(case: Case) -> float:
    """Optimiser steps, as counted, else as stated less what is accumulated; NaN where neither is known."""
    done = np.diff(case.chart.points("step")[1])
    if len(done):
        return median(done)
    each = case.facts.number("training.accumulate")
    return case.facts.number("training.steps_per_epoch") / (each if each > 1 else 1.0)


def _alike(case: Case) -> bool:
    """Whether the batches of training have the same labels, nearly all of one kind or sorted: then gradients are alike too."""
    seen = measured_labels(case.chart, "train")
    if seen is not None and not ((seen.share > 0.02) & (seen.share < 0.98)).any():
        return True
    return isinstance(samples_sorted(case), Signs)


GRADIENTS: dict[str, Fault] = {
    "gradients_accumulate": Fault(
        id="gradients_accumulate",
        name="Gradients are not set to zero",
        family="gradients",
        level="cause",
        means="Each step adds the gradients of earlier batches to its own, so that steps of the usual size lead uphill.",
        needs="gradient_cosine by epoch; or update_ratio.max, and the training loss with its floor and standard error",
        signature=gradients_accumulate,
        severity="critical; a warning where the run learns all the same, or in the first half of the planned epochs",
        dose="none: zero_grad() before every backward pass",
        explains=(
            "not_learning", "chance_auc", "single_class_prediction", "alternating_prediction", "stuck_loss", "best_from_noise",
            "accuracy_is_majority", "validation_differs", "unstable_validation",
        ),
        lookalikes=(
            Lookalike("learning_rate_too_high", "single steps of a half of the weights, or a loss that the rate brings down"),
            Lookalike("samples_sorted", "batches without positives, more than chance makes"),
            Lookalike("batches of nearly all samples", "steps_per_epoch: their gradients are one gradient"),
            Lookalike("double_activation", "probabilities that never leave 0.5 to 0.731"),
        ),
        harmful=("a lower learning rate: the sum of gradients is as wrong at any rate",),
        source="PyTorch adds gradients up until they are set to zero; skill = 1 − loss / floor",
    ),
    "vanishing_gradients": Fault(
        id="vanishing_gradients",
        name="Vanishing gradient",
        family="gradients",
        level="cause",
        means="The gradient is next to nothing, or died, and the run is no better than a constant prediction.",
        needs="gradient_norm in three epochs; the skill, or a score, to tell it from a run that has converged",
        signature=vanishing_gradients,
        severity="critical",
        dose="a tenth of the learning rate from the start; loss from logits; normalisation or skip connections",
        explains=(
            "not_learning", "stuck_loss", "chance_auc", "single_class_prediction", "saturated_outputs", "learning_rate_too_low",
            "late_collapse", "accuracy_is_majority", "best_from_noise", "low_overlap",
        ),
        lookalikes=(
            Lookalike("a converged run", "skill: well above zero where the gradient is small because all is learned"),
            Lookalike("frozen_network", "the norm is zero from the first epoch on"),
            Lookalike("focal_gamma_high", "loss.gamma: a high gamma shrinks every gradient, and the norm is low from the start"),
        ),
        harmful=("a higher learning rate alone: dead units stay dead at any rate",),
        source="Glorot and Bengio 2010; dying ReLU (Lu et al. 2019)",
    ),
    "exploding_gradients": Fault(
        id="exploding_gradients",
        name="Exploding gradient",
        family="gradients",
        level="cause",
        means="The gradient norm grows a hundredfold within the run.",
        needs="gradient_norm in four epochs",
        signature=exploding_gradients,
        severity="critical where it ends as no finite number; a warning where the loss shows it or nothing is left; else a note",
        dose="training.clip_norm at the norm of the first epochs, then a third of the learning rate",
        explains=("non_finite", "diverging_loss", "late_collapse", "unstable_validation", "not_learning"),
        lookalikes=(
            Lookalike("learning_rate_too_high", "update_ratio above 0.01: the steps throw the network out, the gradient follows"),
            Lookalike("a loss that is a sum over the batch", "the norm is large from the first step on, and does not grow"),
            Lookalike("bad samples", "the same ids at every spike"),
        ),
        harmful=("skipping the steps with the largest norms: rare positives often make them",),
        source="Pascanu et al. 2013; nnU-Net clips at 12",
    ),
    "updates_underflow": Fault(
        id="updates_underflow",
        name="Steps below the precision of the weights",
        family="gradients",
        level="cause",
        means="There is a gradient, but learning rate times gradient is smaller than what the weights' numbers can hold.",
        needs="gradient_norm and update_ratio in two epochs",
        signature=updates_underflow,
        severity="critical",
        dose="the learning rate by the factor that brings update_ratio to 0.001; a float32 master copy of the weights",
        explains=(
            "frozen_network", "learning_rate_too_low", "not_learning", "stuck_loss", "chance_auc", "single_class_prediction",
        ),
        lookalikes=(
            Lookalike("frozen_network", "the gradient norm is zero too, or the update is zero at a rate that is not"),
            Lookalike("learning_rate_too_low", "update_ratio between 0.0000001 and 0.00001: small steps that do arrive"),
        ),
        harmful=("more epochs: a step that rounds to nothing does so every time",),
        source="float32 has 24 bits: steps under 6e-8 of a weight are lost; Micikevicius et al. 2018",
    ),
    "steps_skipped": Fault(
        id="steps_skipped",
        name="Steps skipped for overflow",
        family="gradients",
        level="cause",
        means="Mixed precision finds infinite gradients in a large share of the steps and skips these.",
        needs="skipped_steps by epoch, with the steps of an epoch",
        signature=steps_skipped,
        severity="critical from four fifths of the steps on, else a warning from a fifth",
        dose="training.precision: bf16, or fp32",
        explains=("not_learning", "stuck_loss", "learning_rate_too_low", "still_improving"),
        lookalikes=(
            Lookalike("a loss scale that is being found", "skipped steps in the first epoch only"),
            Lookalike("exploding_gradients", "the same run in fp32: its norms are finite and large"),
        ),
        harmful=("a lower learning rate: overflow comes from the scale of the loss",),
        source="Micikevicius et al. 2018; PyTorch's GradScaler",
    ),
}  # fmt: skip
