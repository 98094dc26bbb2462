"""The size of the steps: a learning rate that throws the network about, or one that gets nowhere."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from osler.doctor.case import LOW_OVERLAP, Case
from osler.doctor.course import median
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.faults.learning import frozen_network
from osler.doctor.faults.stability import diverged
from osler.doctor.findings import Change, Evidence, Lacking, Severity, Signs, figure
from osler.doctor.outcome import ended
from osler.doctor.prescribe import peak_rate, scale_rate, two_digits
from osler.metrics.trend import trend

__all__ = ["RATES"]

# Norm of a step over norm of the weights: a healthy network moves by about a thousandth of itself, small ones in their first
# steps by a hundredth. A tenth in every step makes another network within an epoch, a half in one step within that step.
HIGH_RATIO, MODERATE_RATIO, LARGE_RATIO, THROWN = 1e-2, 2e-2, 0.1, 0.5
# Steps so small take 100 times as many epochs as usual; those up to SLOW_RATIO are too small where all of the run together,
# each step the same way, would move the weights by less than a tenth of their norm: features do not form on so short a way.
LOW_RATIO, SLOW_RATIO, SHORT_WAY = 1e-5, 3e-4, 0.1
# A loss so far above its floor is not ignorance, which costs nothing more than the floor: the outputs are thrown about.
WORSE_THAN_FLOOR = -0.2
# Outputs that start at random, not at 0, cost a little more than a half everywhere; those of a network thrown out, many times.
FRESH = 1.5
CLIPPED = 0.5
LOWER = (
    "a tenth where nothing was learned, a third where a run that had learned was shaken; clip at the 90th percentile of the "
    "norm next"
)
# Adam's usual rate for a network that starts from scratch is 0.001; at a fifth of it, slow is what one gets.
CAREFUL_RATE = 3e-4
# Fifty times the usual, at which Adam learns nothing anywhere.
ABSURD_RATE = 0.05


def learning_rate_too_high(case: Case) -> Signs | Lacking | None:
    """Steps too large for the weights, or a loss that is worse than that of a constant."""
    if _little_learns(case):
        return None
    chart, evidence, reasons = case.chart, [], []
    ratio = median(chart.values("update_ratio.median")[case.settled])
    thrown_out = _thrown_out(case)
    if thrown_out is not None:
        reasons.append(
            f"one step of epoch {figure(thrown_out.epoch)} changed the weights by {figure(thrown_out.value)} of their norm"
        )
        evidence.append(thrown_out)
    if ratio > HIGH_RATIO:
        reasons.append(f"a step changes the weights by {figure(ratio)} of their norm")
        evidence.append(Evidence("update_ratio.median", ratio, None, expected=1e-3, basis="median of the epochs"))
    skill = case.skill("train")[1:]
    worse = np.isfinite(skill) & (skill < WORSE_THAN_FLOOR)
    if case.segmentation:  # the floor of an overlap may be masks all empty, or full: a sound start lies above it, and falls
        losses = chart.values("train.loss")
        worse &= losses[1:] >= losses[0]
    if (
        worse.sum() >= 2
        and worse.sum() >= 0.5 * np.isfinite(skill).sum()
        and (case.chart.has("train.floor") or not case.balanced_sampler)
        and not _comes_down(case)
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
    certain = thrown_out is not None or ratio > LARGE_RATIO or worse.sum() >= 2 or (len(reasons) > 1 and not case.early)
    severity = _harm(case, certain or not (ratio > HIGH_RATIO or case.early))
    changes = scale_rate(case, 0.1 if not case.learned else 1 / 3, LOWER)
    # Steps a little above the usual, and nothing else, are those of many a sound small network: too little to account for more.
    alone = len(reasons) == 1 and HIGH_RATIO < ratio <= MODERATE_RATIO
    confidence = 0.55 if alone else min(0.9, 0.55 + 0.15 * len(reasons))
    return Signs(text, tuple(evidence), severity, confidence, changes, by_itself=thrown_out is not None and _absurd(case, rate))


def _absurd(case: Case, rate: float) -> bool:
    """Whether the rate alone explains large steps: Adam's are of its size, whatever weights and inputs make of the gradient."""
    return "adam" in str(case.facts.get("training.optimizer") or "").lower() and rate >= ABSURD_RATE


def _comes_down(case: Case) -> bool:
    """Whether the training loss falls all the way from where fresh outputs start: far above the floor of rare labels, and slowly
    where the rate is small."""
    epochs, losses = case.chart.points("train.loss")
    start = case.at_half("train")
    start = start if math.isfinite(start) else case.floor("train")
    falls = len(losses) >= 2 and (bool((np.diff(losses) < 0).all()) or trend(losses, epochs).falls)
    return falls and bool(losses.max() < FRESH * start)


def _harm(case: Case, certain: bool) -> Severity:
    """How grave large steps are: alone they harm nobody who learns, or still may."""
    if case.learned or (case.fitted and not certain):
        return "warning" if certain else "note"
    if certain:
        return "critical"
    return "note" if case.early else "warning"


def _thrown_out(case: Case) -> Evidence | None:
    """The largest step, where it left little of the network that it found."""
    name = case.chart.first_of("update_ratio.max", "update_ratio.median")
    if name is None:
        return None
    epochs, ratios = case.chart.points(name)
    ratios = np.where(_of_head_alone(case, epochs), 0.0, ratios)
    row = int(np.argmax(ratios))
    if not ratios[row] > THROWN:
        return None
    return Evidence(name, float(ratios[row]), float(epochs[row]), expected=1e-2, basis="largest step of a sound start")


def _little_learns(case: Case) -> bool:
    """Whether the steps are those of a head alone on random features, or of what is left of a network that is cut: the size of
    their steps says nothing of the rest."""
    return isinstance(found := frozen_network(case), Signs) and found.evidence[0].quantity in (
        "without_gradient",
        "training.phases",
    )


def _of_head_alone(case: Case, epochs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n,) epochs in which the head alone learned: it starts near zero, and any first step is many times its norm."""
    phases, names = case.chart.phases, case.chart.phase_names
    if phases is None:
        return np.zeros(len(epochs), dtype=np.bool_)
    heads = np.array([phase < len(names) and names[phase] == "head" for phase in phases.tolist()], dtype=np.bool_)
    return heads[np.isin(case.chart.epochs, epochs)]


def learning_rate_too_low(case: Case) -> Signs | Lacking | None:
    """Steps so small that the run cannot get anywhere in the epochs planned."""
    rate = peak_rate(case)
    warming = not math.isfinite(case.step_size)
    ratio = _step_at_peak(case) if warming else case.step_size
    way = ratio * case.steps if ratio < SLOW_RATIO else math.nan
    before = "10 times as much: the steps are too small to get anywhere, and a rate range test of 200 steps shows how far to go"
    if (ratio < LOW_RATIO or way < SHORT_WAY) and not _well_learned(case):
        basis = "from the warm-up, in proportion to the rate" if warming else "median of the epochs at full rate"
        evidence = (Evidence("update_ratio.median", ratio, None, expected=1e-3, basis=basis),)
        text = (
            f"A step {'at the stated rate would change' if warming else 'changes'} the weights by {figure(ratio)} of their norm: "
            f"the run is {figure(1e-3 / max(ratio, 1e-12))} times slower than usual."
        )
        if way < SHORT_WAY:
            text += f" All {figure(case.steps)} steps together, each the same way, would move them by {figure(way)} of it."
        severity: Severity = "note" if warming and not ended(case) else "warning"
        return Signs(text, evidence, severity, 0.85, scale_rate(case, 10.0, before))
    if case.segmentation:
        return _careful_rate(case, rate)
    if math.isfinite(ratio):
        return None
    return Lacking("update_ratio by epoch")


def _step_at_peak(case: Case) -> float:
    """What a step would change at the stated rate, from two epochs or more of a warm-up that has hardly ended.

    A step is as large as its rate, which is logged at both ends of an epoch, and the median step lies between. NaN where nobody
    knows.
    """
    rates, ratios = case.chart.values("learning_rate"), case.chart.values("update_ratio.median")
    if (np.isfinite(rates) & np.isfinite(ratios)).sum() < 2:
        return math.nan
    starts = case.chart.values("learning_rate.start")
    rates = 0.5 * (rates + np.where(np.isfinite(starts), starts, rates))
    return median(ratios / np.where(rates > 0, rates, np.nan)) * case.facts.number("training.learning_rate")


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
    nothing = float(values.max()) < 0.01  # not even a wrong pixel was called: no other cause leaves so little behind
    return Signs(text, evidence, "warning", 0.65 if nothing else 0.5, (Change("training.learning_rate", rate, to, why),))


RATES: dict[str, Fault] = {
    "learning_rate_too_high": Fault(
        id="learning_rate_too_high",
        name="Learning rate too high",
        family="rates",
        level="cause",
        means="Steps are so large that the network is thrown about instead of led downhill; its loss is worse than a constant's.",
        needs="update_ratio by epoch, or the training loss with its floor; the clipped share and the learning rate help",
        signature=learning_rate_too_high,
        severity=(
            "critical where nothing was learned and a single step, most steps or the loss prove it; a note where steps of a "
            "hundredth of the weights are all there is to it and the run learns, or still may; else a warning"
        ),
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
            "frozen_network",
            "learning_rate_too_low",
            "validation_differs",
            "empty_masks", "full_masks", "low_overlap",
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
        dose=(
            "ten times as much where update_ratio is under 0.00001, or all steps together would not move the weights by a tenth; "
            "for masks from scratch 0.0005 to 0.001"
        ),
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
            "validation_differs",
            "empty_masks",
        ),
        lookalikes=(
            Lookalike("warmup_too_long", "the rate still rises"),
            Lookalike("frozen_network", "gradient norm and update ratio are zero, not small"),
            Lookalike("tversky_beta_low", "recall far below precision: lesions are missed whatever the rate"),
        ),
        harmful=("more epochs at the same rate",),
        source="update ratio of a healthy network about 0.001 (Karpathy)",
    ),
}  # fmt: skip
