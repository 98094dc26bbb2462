"""The size of the steps: a learning rate that throws the network about, or one that gets nowhere."""

from __future__ import annotations

import math

import numpy as np

from osler.doctor.case import LOW_OVERLAP, Case
from osler.doctor.course import median
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.faults.stability import diverged
from osler.doctor.findings import Change, Evidence, Lacking, Severity, Signs, figure
from osler.doctor.prescribe import peak_rate, scale_rate, two_digits

__all__ = ["RATES"]

# Norm of a step over norm of the weights: a healthy network moves by about a thousandth of itself.
HIGH_RATIO, LOW_RATIO = 1e-2, 1e-5
# A loss so far above its floor is not ignorance, which costs nothing more than the floor: the outputs are thrown about.
WORSE_THAN_FLOOR = -0.2
CLIPPED = 0.5
# Adam's usual rate for a network that starts from scratch is 0.001; at a fifth of it, slow is what one gets.
CAREFUL_RATE = 3e-4


def learning_rate_too_high(case: Case) -> Signs | Lacking | None:
    """Steps too large for the weights, or a loss that is worse than that of a constant."""
    chart, evidence, reasons = case.chart, [], []
    ratio = median(chart.values("update_ratio.median")[case.settled])
    if ratio > HIGH_RATIO:
        reasons.append(f"a step changes the weights by {figure(ratio)} of their norm")
        evidence.append(Evidence("update_ratio.median", ratio, None, expected=1e-3, basis="median of the epochs"))
    skill = case.skill("train")[1:]
    worse = np.isfinite(skill) & (skill < WORSE_THAN_FLOOR)
    if (
        worse.sum() >= 2
        and worse.sum() >= 0.5 * np.isfinite(skill).sum()
        and (case.chart.has("train.floor") or not case.balanced_sampler)
    ):
        row = int(np.flatnonzero(worse)[-1]) + 1
        reasons.append(
            f"the training loss, {figure(float(chart.values('train.loss')[row]))}, is worse than a constant's, "
            f"{figure(case.floor('train'))}"
        )
        evidence.append(
            Evidence("train.skill", float(skill[row - 1]), float(chart.epochs[row]), expected=0.0, basis="1 − loss / floor")
        )
    clipped = median(chart.values("gradient_norm.clipped_share"))
    if clipped > CLIPPED and not case.learned:
        reasons.append(f"{clipped:.0%} of the steps are clipped")
        evidence.append(Evidence("gradient_norm.clipped_share", clipped, None, expected=0.1, basis="median of the epochs"))
    thrown = diverged(case)
    if thrown is not None and peak_rate(case) > 0 and (reasons or peak_rate(case) >= 1e-2):
        reasons.append(thrown.text())
        evidence.append(thrown)
    if not reasons:
        watched = chart.has("update_ratio.median") or np.isfinite(skill).any()
        return (
            None
            if watched
            else Lacking("update_ratio by epoch, or the training loss with its floor (loss.type, prevalence.train)")
        )
    rate = peak_rate(case)
    text = f"Steps are too large{f' at a learning rate of {figure(rate)}' if rate > 0 else ''}: {'; '.join(reasons)}."
    # Large steps alone harm nobody who learns.
    severity: Severity = "critical" if not case.learned else "note" if len(reasons) == 1 and ratio > HIGH_RATIO else "warning"
    factor = 0.1 if not case.learned else 1 / 3
    changes = scale_rate(
        case,
        factor,
        "a tenth where nothing was learned, a third where a run that had learned was shaken; clip at the 90th percentile of the "
        "norm next",
    )
    return Signs(text, tuple(evidence), severity, min(0.9, 0.55 + 0.15 * len(reasons)), changes)


def learning_rate_too_low(case: Case) -> Signs | Lacking | None:
    """Steps so small that the run cannot get anywhere in the epochs planned."""
    rate = peak_rate(case)
    rates = case.chart.values("learning_rate")
    full = case.settled & (np.isnan(rates) | (rates >= 0.5 * rate) if rate > 0 else np.ones(len(case.chart), dtype=bool))
    ratio = median(case.chart.values("update_ratio.median")[full])
    before = "10 times as much: the steps are too small to get anywhere, and a rate range test of 200 steps shows how far to go"
    if ratio < LOW_RATIO and not _well_learned(case):
        evidence = (Evidence("update_ratio.median", ratio, None, expected=1e-3, basis="median of the epochs at full rate"),)
        text = (
            f"A step changes the weights by {figure(ratio)} of their norm: the run is {figure(1e-3 / max(ratio, 1e-12))} times "
            "slower than usual."
        )
        return Signs(text, evidence, "warning", 0.85, scale_rate(case, 10.0, before))
    if case.segmentation:
        return _careful_rate(case, rate)
    if math.isfinite(ratio):
        return None
    return Lacking("update_ratio by epoch")


def _well_learned(case: Case) -> bool:
    skill = case.skill("val")
    return bool(np.isfinite(skill).any()) and float(np.nanmax(skill)) > 0.3


def _careful_rate(case: Case, rate: float) -> Signs | Lacking | None:
    """Masks hardly learned at a rate that is careful for a network from scratch."""
    name = case.chart.first_of("val.dice", "val.iou", "train.dice")
    if name is None or not rate > 0:
        return Lacking("an overlap score by epoch, and training.learning_rate")
    epochs, values = case.chart.points(name)
    if float(values.max()) >= LOW_OVERLAP or rate > CAREFUL_RATE or case.facts.get("model.pretrained"):
        return None
    evidence = (
        Evidence("training.learning_rate", rate, None, expected=1e-3, basis="usual for Adam from scratch"),
        Evidence(name, float(values.max()), float(epochs[int(np.argmax(values))]), basis="best epoch"),
    )
    text = (
        f"{name} is {figure(float(values.max()))} at best, and the learning rate peaks at {figure(rate)}, careful for a network "
        "from scratch."
    )
    to = two_digits(min(1e-3, max(5e-4, 2.5 * rate)))
    why = "0.0005 to 0.001: movement should show within 5 to 10 epochs; a rate range test of 200 steps tells where it breaks"
    return Signs(text, evidence, "warning", 0.5, (Change("training.learning_rate", rate, to, why),))


RATES: dict[str, Fault] = {
    "learning_rate_too_high": Fault(
        id="learning_rate_too_high",
        name="Learning rate too high",
        family="rates",
        level="cause",
        means="Steps are so large that the network is thrown about instead of led downhill; its loss is worse than a constant's.",
        needs="update_ratio by epoch, or the training loss with its floor; the clipped share and the learning rate help",
        signature=learning_rate_too_high,
        severity="critical where nothing was learned; a note where large steps are all there is to it; else a warning",
        dose=(
            "a tenth where nothing was learned, a third where a run that had learned was shaken; then warm-up, then clipping at "
            "the 90th percentile of the gradient norm"
        ),
        explains=(
            "not_learning",
            "single_class_prediction",
            "alternating_prediction",
            "chance_auc",
            "stuck_loss",
            "diverging_loss",
            "exploding_gradients",
            "vanishing_gradients",
            "late_collapse",
            "unstable_validation",
            "best_from_noise",
            "saturated_outputs",
            "accuracy_is_majority",
        ),
        lookalikes=(
            Lookalike("input_out_of_range", "pixels of the wrong scale make the same steps too large"),
            Lookalike("non_finite", "a few bad samples: the same ids at every spike"),
            Lookalike("pos_weight_too_large", "the loss of a constant under the weights in force: its floor"),
        ),
        harmful=(
            "more weight for the positives: it makes the same steps larger still",
            "clipping alone where most steps are clipped: it hides the rate",
        ),
        source=(
            "tuning playbook: clip at the 90th percentile, and lower the rate where more than half of the steps are clipped; "
            "skill = 1 − loss / floor"
        ),
    ),
    "learning_rate_too_low": Fault(
        id="learning_rate_too_low",
        name="Learning rate too low",
        family="rates",
        level="cause",
        means="Steps are so small that the run cannot get anywhere in the epochs it has.",
        needs="update_ratio by epoch; for masks an overlap score and training.learning_rate",
        signature=learning_rate_too_low,
        severity="warning",
        dose="ten times as much where update_ratio is under 0.00001; for masks from scratch 0.0005 to 0.001",
        explains=(
            "not_learning",
            "chance_auc",
            "single_class_prediction",
            "best_from_noise",
            "accuracy_is_majority",
            "low_overlap",
            "stuck_loss",
            "still_improving",
            "underfitting",
        ),
        lookalikes=(
            Lookalike("warmup_too_long", "the rate still rises"),
            Lookalike("frozen_network", "gradient norm and update ratio are zero, not small"),
            Lookalike("tversky_beta_low", "recall far below precision: lesions are missed whatever the rate"),
        ),
        harmful=("more epochs at the same rate",),
        source="update ratio of a healthy network about 0.001 (Karpathy); runs.md B",
    ),
}
