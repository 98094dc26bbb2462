"""What is predicted: one class for everybody, now this one and now that, at chance, upside down, or cut at the wrong place."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np

from osler.doctor.case import Case
from osler.doctor.chance import AtChance, OneSided, at_chance, one_sided
from osler.doctor.course import flips, longest_constant
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.findings import Evidence, Lacking, Severity, Signs, figure
from osler.doctor.labels import ROUNDED, errors_apart
from osler.metrics.intervals import hanley_mcneil_se

__all__ = ["PREDICTIONS"]

FEWEST_CONSTANT = 5
# A figure repeats by chance where the set is so small that it has few values to take.
SMALL_GRID = 40
INVERTED_Z = 3.0
# Nearer to a half, an accuracy and one minus it are met by chance.
LEAST_MIRRORED = 0.55


def single_class_prediction(case: Case) -> Signs | Lacking | None:
    """Epochs in which every validation sample is called the same, as calls or as an accuracy that never moves."""
    found = one_sided(case)
    if found is not None and found.count:
        last_ones = found.last != 0 and found.count >= 2
        return _one_sided_signs(case, found) if last_ones and found.share >= 0.5 and found.known >= 2 else None
    constant = _constant_accuracy(case)
    if constant is not None:
        return constant
    if found is None and not case.chart.has("val.accuracy", points=FEWEST_CONSTANT):
        return Lacking(f"val.positive_rate, or val.recall with val.precision, or {FEWEST_CONSTANT} epochs of val.accuracy")
    return None


def _one_sided_signs(case: Case, found: OneSided) -> Signs:
    evidence = []
    labels = case.labels("val")
    share = labels.single if labels is not None else math.nan
    for epochs, rate in ((found.positive, 1.0), (found.negative, 0.0)):
        for epoch in epochs[:3]:
            row = int(np.flatnonzero(case.chart.epochs == epoch)[0])
            evidence.append(
                Evidence(
                    "val.positive_rate", rate, float(epoch), expected=share if math.isfinite(share) else None, basis="prevalence"
                )
            )
            for name in ("f1", "accuracy"):
                value, floor = float(case.chart.values(f"val.{name}")[row]), _constant_score(name, share, rate)
                if math.isfinite(value) and math.isfinite(floor):
                    what = "all-positive" if rate else "all-negative"
                    evidence.append(
                        Evidence(
                            f"val.{name}",
                            value,
                            float(epoch),
                            expected=floor,
                            basis=f"the {what} prediction's at prevalence {figure(share)}",
                        )
                    )
    ranks = case.above_chance("val")
    text = f"Every validation sample is called the same: {found.text()}."
    if ranks:
        text += " The scores do rank the samples (AUC above chance): the cut is wrong, not the network."
    first = float(np.concatenate([found.positive, found.negative]).min())
    grave = found.count >= 3 and found.share >= 0.8
    severity = "note" if ranks or case.early else "critical" if grave else "warning"
    return Signs(text, tuple(evidence), severity, min(0.98, 0.7 + 0.05 * found.count), epochs=(first,))  # type: ignore[arg-type]


def _constant_score(name: str, prevalence: float, rate: float) -> float:
    """F1 or accuracy of calling all or none positive (`metrics.floors.score_floors`, which imports the configuration)."""
    if name == "accuracy":
        return prevalence if rate else 1.0 - prevalence
    return 2.0 * prevalence / (1.0 + prevalence) if rate else 0.0


def _constant_accuracy(case: Case) -> Signs | None:
    """An accuracy that is the same to every digit from the first epochs to the last, while the loss moves."""
    epochs, values = case.chart.points("val.accuracy")
    start, length = longest_constant(values)
    if length < FEWEST_CONSTANT or length < 0.8 * len(values) or start + length < len(values) or values[-1] >= 0.98:
        return None
    if case.above_chance("val") or _on_small_grid(float(values[-1])):
        return None
    losses = case.chart.values("val.loss")
    moving = float(np.ptp(losses[np.isfinite(losses)])) > ROUNDED if case.chart.has("val.loss", points=2) else False
    share = float(values[-1])
    text = (
        f"val.accuracy is {share:.6g} to the last digit in {length} epochs{' while val.loss moves' if moving else ''}: the "
        "calls do "
        "not change, as when every sample gets the most frequent class."
    )
    evidence = (Evidence("val.accuracy", share, float(epochs[start]), share, share, basis=f"the same in {length} epochs"),)
    severity: Severity = "note" if case.early else "critical" if length >= 8 else "warning"
    return Signs(text, evidence, severity, 0.85, epochs=(float(epochs[start]),))


def _on_small_grid(value: float) -> bool:
    """Whether a score is k/n for a small n to all its digits: such sets repeat figures by chance."""
    sizes = np.arange(1, SMALL_GRID + 1)
    return bool((np.abs(sizes * value - np.round(sizes * value)) < 1e-4 * sizes).any())


def alternating_prediction(case: Case) -> Signs | Lacking | None:
    """The calls change from all positive to all negative and back."""
    sides = case.sides("val")
    known = int(np.isfinite(sides).sum())
    if known < 3:
        lacking = Lacking("three epochs of val.positive_rate, or of val.recall with val.precision")
        return _mirrored_accuracy(case) or lacking
    count = flips(sides)
    if count < 2 or np.isin(sides[np.isfinite(sides)], (1.0, -1.0)).mean() < 0.5:
        return None
    rows = np.flatnonzero((sides == 1.0) | (sides == -1.0))
    changed = [int(row) for before, row in pairwise(rows) if sides[before] != sides[row]]
    evidence = tuple(
        Evidence(
            "val.positive_rate",
            float(sides[row] > 0),
            float(case.chart.epochs[row]),
            expected=float(sides[row] < 0),
            basis="the epoch before",
        )
        for row in changed[:4]
    )
    text = f"The calls change {count} times between all positive and all negative: one common output moves across the threshold."
    severity: Severity = "note" if case.early else "warning"
    return Signs(text, evidence, severity, 0.9, epochs=(float(case.chart.epochs[changed[0]]),))


def _mirrored_accuracy(case: Case) -> Signs | None:
    """An accuracy that is now one figure, now one minus it: all samples called one class of two, then all the other."""
    epochs, values = case.chart.points("val.accuracy")
    repeated = Counter(np.round(np.maximum(values, 1.0 - values), 4).tolist()).most_common(1)
    share = repeated[0][0] if repeated else 0.0
    if share < LEAST_MIRRORED:
        return None
    ones, others = (np.flatnonzero(np.abs(values - level) < ROUNDED) for level in (share, 1.0 - share))
    if min(len(ones), len(others)) < 2 or 2 * (len(ones) + len(others)) < len(values) or _on_small_grid(share):
        return None
    text = (
        f"val.accuracy is {figure(share)} in {len(ones)} epochs and {figure(1.0 - share)}, one minus it, in {len(others)} of "
        f"{len(values)}: all samples are called one class, then all of them the other."
    )
    evidence = tuple(
        Evidence("val.accuracy", float(values[row]), float(epochs[row]), expected=1.0 - float(values[row]), basis="other epochs")
        for row in (ones[0], others[0])
    )
    return Signs(text, evidence, "note" if case.early else "warning", 0.85, epochs=(float(epochs[max(ones[0], others[0])]),))


def chance_auc(case: Case) -> Signs | Lacking | None:
    """The validation AUC is that of a coin."""
    found = at_chance(case, "val")
    if not isinstance(found, AtChance):
        return found
    text = (
        f"The validation AUC is that of a coin: {found.text()}; the best, {figure(found.best)}, is no exception among "
        f"{found.epochs}."
    )
    evidence = (
        found.evidence("val.auc"),
        Evidence(
            "val.auc",
            found.best,
            found.best_epoch,
            found.best - 1.96 * found.error,
            found.best + 1.96 * found.error,
            0.5,
            "best epoch",
        ),
    )
    severity: Severity = "note" if case.early else "warning"
    return Signs(text, evidence, severity, 0.9 if found.counted else 0.75, epochs=(found.best_epoch,))


def _turned_round(case: Case) -> Signs | None:
    """As many positives in validation as a turned-round label makes of a rare finding, and a network that training has taught."""
    train, val = case.natural, case.labels("val")
    if train is None or val is None or case.exclusive or not (train.n > 0 and val.n > 0) or case.learned or not case.fitted:
        return None
    few, many = float(train.share.max()), float(val.share.min())
    if not few < RARE or not many > 0.5 or len(train.share) != len(val.share) or not errors_apart(train, val).min() > FAR_APART:
        return None
    share = min(1.0, (many - few) / (1 - 2 * few))  # turned round at a rate e, a share p becomes p + e (1 − 2 p)
    text = (
        f"{many:.1%} of the validation labels are positive, and {few:.1%} of those of training, which the network has learned: "
        f"as many as come of labels of which {share:.0%} are turned round."
    )
    evidence = (Evidence("prevalence.val", many, None, expected=few, basis="prevalence.train"),)
    return Signs(text, evidence, "critical", 0.8, (), RIGHT_WAY_ROUND)


def inverted_scores(case: Case) -> Signs | Lacking | None:
    """The validation AUC is below chance for certain: scores or labels are upside down."""
    turned = _turned_round(case)
    if turned is not None:
        return turned
    rows = np.flatnonzero(case.settled & np.isfinite(case.chart.values("val.auc")))
    labels = case.labels("val")
    if len(rows) < 2 or labels is None or not labels.n > 0:
        return Lacking("two epochs of val.auc, with the counts of positives and negatives in val")
    values = case.chart.values("val.auc")[rows]
    error = case.null_error("val")
    low = (0.5 - values) / error > INVERTED_Z
    if not low[-1] or low.mean() < 0.5:
        return None
    value = float(values[-1])
    half = 1.96 * float(hanley_mcneil_se(value, labels.share.mean() * labels.n, (1 - labels.share.mean()) * labels.n))
    opposite = case.above_chance("train")
    text = f"The validation AUC is {figure(value)}, {figure(float((0.5 - value) / error))} standard errors below 0.5: "
    text += (
        "training labels rank the right way, so the validation labels are inverted."
        if opposite
        else "the scores or the labels are upside down."
    )
    evidence = (
        Evidence("val.auc", value, float(case.chart.epochs[rows[-1]]), value - half, value + half, 0.5, "Hanley and McNeil"),
    )
    return Signs(text, evidence, "critical", 0.85, (), RIGHT_WAY_ROUND, (float(case.chart.epochs[rows[np.flatnonzero(low)[0]]]),))


NOT_MORE_WEIGHT = "more weight for the positives: a network that does not rank the samples only moves the common output with it"
RIGHT_WAY_ROUND = (
    "check which value of the label means positive, in training and in validation",
    "check that class order and output order agree",
)
# A finding that is rare in training, and standard errors that no split by chance is off by.
RARE, FAR_APART = 0.3, 8.0
OTHER_NETWORK = "another architecture, or more epochs of the same, before the cause is known"

PREDICTIONS: dict[str, Fault] = {
    "single_class_prediction": Fault(
        id="single_class_prediction",
        scope="classification",
        name="One class for every sample",
        family="predictions",
        level="symptom",
        means="Every validation sample gets the same call, so the scores at the threshold are those of a constant.",
        needs="val.positive_rate, or val.recall with val.precision or val.specificity, or an accuracy over five epochs",
        signature=single_class_prediction,
        severity=(
            "critical from three epochs and four fifths of them on; a note where the AUC is above chance, since then only the "
            "threshold is wrong"
        ),
        dose="none of its own: the cause decides",
        lookalikes=(
            Lookalike("threshold_mismatch", "the AUC: above chance, the cut is wrong and the network is not"),
            Lookalike("frozen_network", "the spread of the logits and the gradient norm: near zero where nothing moves"),
            Lookalike("pos_weight_too_large", "the log-odds of the mean probability against the prevalence: about log(weight)"),
            Lookalike("learning_rate_too_high", "the history: a good epoch before the collapse"),
        ),
        harmful=(NOT_MORE_WEIGHT, OTHER_NETWORK),
        source="F1 of the all-positive prediction is 2π/(1+π), accuracy π; of the all-negative 0 and 1 − π",
    ),
    "alternating_prediction": Fault(
        id="alternating_prediction",
        scope="classification",
        name="All positive, then all negative",
        family="predictions",
        level="symptom",
        means="One common output moves across the threshold from epoch to epoch, so the calls flip for all samples at once.",
        needs=(
            "val.positive_rate, or val.recall with val.precision or val.specificity, in three epochs; or an accuracy that repeats"
        ),
        signature=alternating_prediction,
        severity="warning",
        dose="none of its own: the cause decides",
        lookalikes=(
            Lookalike("learning_rate_too_high", "update_ratio and the same run at a third of the rate"),
            Lookalike("train_eval_gap", "the loss of one batch with the network in training and in evaluation mode"),
            Lookalike(
                "not_learning",
                "the AUC: at chance, the common output is all there is, and under a balancing weight it stays by 0.5 whatever "
                "the rate",
            ),
        ),
        harmful=(NOT_MORE_WEIGHT,),
        source="a constant under a balancing weight has its best output at 0.5, where noise decides the side",
    ),
    "chance_auc": Fault(
        id="chance_auc",
        scope="classification",
        name="AUC at chance",
        family="predictions",
        level="symptom",
        means="The ranking of the validation samples is that of a coin, with allowance for picking the best epoch.",
        needs="val.auc in three epochs, with the counts of positives and negatives (or, less sure, its scatter)",
        signature=chance_auc,
        severity="warning",
        dose="none of its own: the cause decides",
        lookalikes=(
            Lookalike("small_validation", "the standard error √((n1+n0+1)/(12 n1 n0)): above 0.08 nothing can be said"),
            Lookalike(
                "validation_differs", "the training AUC: above chance, the network learned, and validation is another world"
            ),
        ),
        harmful=("to go on from the best epoch: the best of several coins is a coin",),
        source="Hanley and McNeil 1982; at 0.5 the error is √((n1+n0+1)/(12 n1 n0))",
    ),
    "inverted_scores": Fault(
        id="inverted_scores",
        scope="classification",
        name="Scores or labels upside down",
        family="predictions",
        level="cause",
        means=(
            "The AUC is below 0.5 by more than chance allows, or most of validation is positive where a finding is rare in "
            "training: what is called positive is the other class."
        ),
        needs="val.auc in two epochs, with the counts of positives and negatives; or the prevalence and size of both splits",
        signature=inverted_scores,
        severity="critical",
        dose="none: turn the labels or the scores round, then train again",
        explains=(
            "not_learning",
            "validation_differs",
            "stuck_loss",
            "overfitting",
            "class_inverted",
            "shifted_splits",
            "chance_auc",
        ),
        lookalikes=(Lookalike("chance_auc", "the interval of the AUC includes 0.5"),),
        harmful=("to invert the predictions without knowing which labels are wrong",),
        source="three null standard errors below 0.5, in the last epoch and half of all",
    ),
}
