"""Starts: the loss before the first step, which way it pushes, what it weighs, and what the output's activation does to it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from osler.checkup.answers import finest
from osler.checkup.check import Check, failed, not_assessed, passed
from osler.checkup.constants import constant_losses
from osler.checkup.patient import Fed, LossFailureError, Patient
from osler.doctor.findings import Change

__all__ = ["check_activation", "check_direction", "check_start", "check_weight"]

Floats = NDArray[np.float64]
BATCHES = 6
NO_FLOOR = 1e-3
FAR_START = 3.0
"""Times the floor, and the loss at even chances, from which on a start is wrong and not only unhelpful."""
STRONG = 6.0
PROBED = (-3.0, -1.0, 0.0, 1.0, 3.0)
OFF_FORMULA = 0.02
LARGE_WEIGHT, SMALL_WEIGHT = 4.0, 0.5
"""Times negatives / positives, above which a weight is too large; a weight of positives below which it is inverted."""


def check_start(patient: Patient) -> Sequence[Check]:
    """The loss of the untrained model against the floor, the best loss of a constant output."""
    feds = patient.batches(BATCHES)
    patient.model.train()
    try:
        start = patient.start(feds)
    except (RuntimeError, ValueError, TypeError) as error:
        raise LossFailureError(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
    if not math.isfinite(start.loss):
        why = "The loss of the first batches is not finite."
        means = "No gradient of it is finite either."
        return [failed("non_finite", "critical", why, means, actions=("look at the first batch and at the loss's parameters",))]
    if not math.isfinite(start.floor):
        return [
            not_assessed("start", f"The loss starts at {start.loss:.4g}; there is no floor: {start.reason or 'none was found'}.")
        ]
    if 0 <= start.floor < NO_FLOOR:
        why = f"The labels of the first batches are nearly constant: their floor is {start.floor:.2g}; see `draw`."
        return [not_assessed("start", why)]
    even = float(constant_losses(patient.loss, patient.answers, feds, [np.zeros(patient.answers.outputs)])[0])
    about = f" ± {start.error:.2g}" if math.isfinite(start.error) else ""
    figures: dict[str, Any] = {"loss": start.loss, "se": start.error, "floor": start.floor, "at_half": even}
    said = f"The loss starts at {start.loss:.4g}{about}; its floor, the best constant's loss, is {start.floor:.4g}"
    slack = 3 * (start.error if math.isfinite(start.error) else 0.0)
    size = abs(start.floor) + 1e-12
    if start.loss - slack > max(1.3 * max(even, start.floor), start.floor + 0.3 * size):
        far = start.loss > FAR_START * max(even, start.floor)
        change = Change("model.output_bias", patient.facts.get("model.output_bias"), "floor", "start at the best constant")
        means = "The first epochs will only unlearn a wrong start; a rare class may never come back from it."
        more = ["set the last layer's bias to the logit of the prevalence, and keep its first weights small"]
        return [failed("output_bias_wrong", "critical" if far else "warning", f"{said}.", means, [change], more, **figures)]
    if start.loss - slack > 1.3 * start.floor and start.floor > 0:
        change = Change("model.output_bias", patient.facts.get("model.output_bias"), "floor", "start at the best constant")
        means = "The first epochs will only learn how common each class is."
        return [failed("output_bias_zero", "note", f"{said}; even chances give {even:.4g}.", means, [change], **figures)]
    below = f", {1 - start.loss / start.floor:.0%} below it: these weights know something of the labels" if _knows(start) else ""
    return [passed("start", f"{said}{below}.", **figures)]


def _knows(start: tuple[float, float, float, str | None]) -> bool:
    loss, error, floor, _ = start
    return floor > 0 and loss + 3 * (error if math.isfinite(error) else 0.0) < 0.9 * floor


# --- the loss alone -----------------------------------------------------------------------------------------------------------


def check_direction(patient: Patient) -> Sequence[Check]:
    """Whether outputs that are right cost less than a constant, and those that are wrong cost more, class by class."""
    feds = [fed for fed in patient.batches(BATCHES)]
    losses = {strength: _given(patient, feds, strength) for strength in (STRONG, 1.0, 0.0, -1.0, -STRONG)}
    if not all(math.isfinite(losses[each]) for each in (1.0, 0.0, -1.0)):
        return [
            not_assessed("direction", "The loss is not finite for outputs of ±1: it may take probabilities, see `activation`.")
        ]
    right, even, wrong = losses[1.0], losses[0.0], losses[-1.0]
    said = f"Outputs that are right cost {right:.4g}, undecided ones {even:.4g}, wrong ones {wrong:.4g}"
    figures: dict[str, Any] = {"right": right, "undecided": even, "wrong": wrong}
    if not right < even < wrong:
        return [
            failed(
                "inverted_scores",
                "critical",
                f"{said}.",
                "The loss rewards the wrong answer: training will turn the scores upside down, or stand still.",
                [],
                ["check the loss's sign, the order of its arguments (outputs, targets), and what it expects as targets"],
                **figures,
            )
        ]
    return [passed("direction", f"{said}.", **figures)]


def _given(patient: Patient, feds: Sequence[Fed], strength: float) -> float:
    try:
        with torch.no_grad():
            found = [float(patient.loss(patient.answers.right(fed.targets, strength), fed.targets)) for fed in feds]
    except (RuntimeError, ValueError):
        return math.nan
    return float(np.average(found, weights=[len(fed) for fed in feds]))


def check_weight(patient: Patient) -> Sequence[Check]:
    """The loss in force against the formula as configured, and the weight that positives really have."""
    feds = patient.batches(BATCHES)
    if patient.probe is not None:
        return _formula(patient, feds)
    if patient.answers.of_masks or (patient.answers.exclusive and patient.answers.outputs > 1):
        return [not_assessed("weight", "Weights of this loss are not read off its gradient; floors hold what they do.")]
    return list(_measured(patient, feds))


def _formula(patient: Patient, feds: Sequence[Fed]) -> Sequence[Check]:
    assert patient.probe is not None
    values = [np.full(patient.answers.outputs, each) for each in PROBED]
    real = constant_losses(patient.loss, patient.answers, feds, values)
    stated = np.array(
        [np.average([patient.probe(fed.targets, each) for fed in feds], weights=[len(fed) for fed in feds]) for each in values]
    )
    off = np.abs(real - stated) / np.maximum(np.abs(stated), 1e-3)
    worst = int(np.argmax(off))
    said = (
        f"At a constant output of {PROBED[worst]:g} the loss in force gives {real[worst]:.4g}, the configured one "
        f"{stated[worst]:.4g}"
    )
    if off[worst] > OFF_FORMULA:
        return [
            failed(
                "weight_not_in_force",
                "critical" if off[worst] > 0.3 else "warning",
                f"{said}.",
                "What is trained is not what the configuration says: a weight, a class order or a reduction differs.",
                [],
                ["compare the loss object's parameters with the configuration"],
                in_force=real.tolist(),
                configured=stated.tolist(),
            )
        ]
    return [passed("weight", f"{said}: the configured loss is in force.", largest_difference=float(off[worst]))]


def _measured(patient: Patient, feds: Sequence[Fed]) -> Iterator[Check]:
    """The pull of a positive over that of a negative at an output of 0: what the positives really weigh."""
    pulls, shares = _pulls(patient, feds)
    odds = shares / (1 - shares)
    known = np.isfinite(pulls) & (odds > 0)
    if not known.any():
        yield not_assessed("weight", "The batches hold one label alone: no weight can be read off the gradient.")
        return
    excess = np.where(known, pulls * odds, 1.0)
    worst = int(np.argmax(np.abs(np.log(excess))))
    name = patient.answers.classes[worst]
    said = (
        f"{name}: a positive pulls {pulls[worst]:.3g} times as hard as a negative, and negatives are {1 / odds[worst]:.3g} "
        "times as many"
    )
    rule = round(float(1 / odds[worst]), 2)
    if excess[worst] > LARGE_WEIGHT and pulls[worst] > 1:
        yield failed(
            "pos_weight_too_large",
            "warning",
            f"{said}: together positives count {excess[worst]:.3g} times as much as negatives.",
            "Everything will be called positive. With a balancing sampler the weight belongs at 1.",
            [Change("loss.pos_weight", round(float(pulls[worst]), 3), rule, "negatives / positives, as they are drawn")],
            [],
            weight=float(pulls[worst]),
            odds=float(odds[worst]),
        )
    elif pulls[worst] < SMALL_WEIGHT and odds[worst] < 1 / 1.5:
        yield failed(
            "pos_weight_inverted",
            "warning",
            f"{said}: the rare label is weighed down.",
            "Positives will be given up; the weight, alpha or the class order is upside down.",
            [Change("loss.pos_weight", round(float(pulls[worst]), 3), rule, "negatives / positives, as they are drawn")],
            [],
            weight=float(pulls[worst]),
            odds=float(odds[worst]),
        )
    else:
        yield passed("weight", f"{said}.", weight=float(pulls[worst]), odds=float(odds[worst]))


def _pulls(patient: Patient, feds: Sequence[Fed]) -> tuple[Floats, Floats]:
    """(K,) mean gradient of positives over that of negatives at outputs of 0, NaN where one is missing; (K,) prevalence."""
    up, down = [], []
    for fed in feds:
        outputs = patient.answers.constant(torch.zeros(patient.answers.outputs), fed.targets).clone().requires_grad_()
        with torch.enable_grad():
            torch.autograd.backward(patient.loss(outputs, fed.targets))
        assert outputs.grad is not None
        pull = outputs.grad.abs().reshape(len(fed), -1) * len(fed)
        truth = patient.answers.truth(fed.targets).reshape(len(fed), -1)
        up.append(torch.where(truth == 1, pull, torch.nan))
        down.append(torch.where(truth == 0, pull, torch.nan))
    ups, downs = (torch.cat(each).double().cpu().numpy() for each in (up, down))
    counts = [(~np.isnan(each)).sum(axis=0) for each in (ups, downs)]
    sums = [np.nansum(each, axis=0) for each in (ups, downs)]
    with np.errstate(divide="ignore", invalid="ignore"):
        return (sums[0] / counts[0]) / (sums[1] / counts[1]), counts[0] / (counts[0] + counts[1])


# --- the output ---------------------------------------------------------------------------------------------------------------


def check_activation(patient: Patient) -> Sequence[Check]:
    """Whether outputs are squeezed into 0 to 1 before a loss that does so itself, or not before one that needs it."""
    fed = patient.batches(1)[0]
    inside = _given(patient, [fed], STRONG)
    low, high = _reach(patient, fed)
    bounded = low >= 0 and high <= 1
    said = f"With its last layer driven hard, the model's outputs lie between {low:.3g} and {high:.3g}"
    figures: dict[str, Any] = {"low": low, "high": high, "loss_at_large_outputs": inside}
    if not math.isfinite(inside):
        if bounded:
            return [passed("activation", f"{said}; the loss takes probabilities.", **figures)]
        means = "The loss takes probabilities and gets logits: it fails, or is not finite, as soon as one leaves 0 to 1."
        more = ["end the model in a sigmoid (softmax), or better use the loss that takes logits"]
        return [failed("non_finite", "critical", f"{said}; the loss takes 0 to 1 alone.", means, actions=more, **figures)]
    best = _best_inside(patient, fed)
    even = _given(patient, [fed], 0.0)
    if bounded and inside < even and best - inside > 0.1 * (even - inside):
        return [
            failed(
                "double_activation",
                "critical",
                f"{said}; the best loss within 0 to 1 is {best:.4g}, beyond it {inside:.4g}: the loss has its own activation.",
                "A sigmoid (softmax) stands before a loss that has one: gradients are small and the loss cannot reach its least.",
                [],
                ["let the model return logits, or use the loss that takes probabilities"],
                best_within=best,
                **figures,
            )
        ]
    return [passed("activation", f"{said}; the loss takes logits.", **figures)]


@torch.no_grad()
def _reach(patient: Patient, fed: Fed) -> tuple[float, float]:
    """Least and greatest output while the last layer's weights are enlarged and its bias moved far both ways."""
    layer = _last_layer(patient, fed)
    patient.model.eval()
    found = [finest(patient.outputs(fed))]
    if layer is not None:
        for sign in (-1.0, 1.0):
            kept = [each.detach().clone() for each in layer.parameters()]
            for each in layer.parameters():
                each.mul_(50.0).add_(sign * 20.0) if each.ndim == 1 else each.mul_(50.0 * sign)
            found.append(finest(patient.outputs(fed)))
            for each, value in zip(layer.parameters(), kept, strict=True):
                each.copy_(value)
    values = torch.cat([each.float().flatten() for each in found])
    values = values[torch.isfinite(values)]
    return float(values.min()), float(values.max())


@torch.no_grad()
def _last_layer(patient: Patient, fed: Fed) -> nn.Module | None:
    """The last layer with weights of its own that a forward pass goes through."""
    seen: list[nn.Module] = []
    kinds = (nn.modules.conv._ConvNd, nn.Linear)
    hooks = [
        module.register_forward_hook(lambda module, _, out: seen.append(module))
        for module in patient.model.modules()
        if isinstance(module, kinds)
    ]
    try:
        patient.model.eval()
        patient.outputs(fed)
    finally:
        for hook in hooks:
            hook.remove()
    return seen[-1] if seen else None


def _best_inside(patient: Patient, fed: Fed) -> float:
    """The loss of right answers that keep within 0 and 1."""
    with torch.no_grad():
        truth: Tensor = torch.nan_to_num(patient.answers.truth(fed.targets))
        return float(patient.loss(truth, fed.targets))
