"""Masks: empty or full ones, a loss that vanished, Tversky and overlap terms, a background that flatters the score."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from osler.doctor.case import LOW_OVERLAP, Case
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.faults.mask_data import foreground
from osler.doctor.findings import Change, Evidence, Lacking, Signs, figure
from osler.doctor.prescribe import set_fact
from osler.metrics.trend import trend

__all__ = ["MASKS"]

# A loss is printed as 0.00 below this.
VANISHED = 5e-3
EMPTY_SHARE = 0.01
# A mean probability so far below the share of foreground is no cautious start; and epochs after which a start is none.
FALLEN, STAYING = 0.1, 4
# With fewer images without foreground, their convention moves Dice by no more than its error.
EMPTY_CASES = 0.05


def loss_at_zero(case: Case) -> Signs | Lacking | None:
    """The loss falls to zero within an epoch or two, and no score shows that anything was learned."""
    name = case.chart.first_of("train.loss", "val.loss", points=2)
    if name is None:
        return Lacking("two epochs of the loss")
    epochs, losses = case.chart.points(name)
    early = losses[: max(3, len(losses) // 10)]
    row = int(np.argmin(np.abs(early)))
    if abs(early[row]) > VANISHED or row == 0 or losses[0] < 10 * VANISHED or losses[row:].max() > 0.1 * losses[0]:
        return None
    score = _proof(case)
    if score is not None:
        return None
    why = (
        "every mask may be predicted empty"
        if case.segmentation
        else "the labels may be constant in what is drawn, or the label may stand in the input"
    )
    text = (
        f"{name} fell from {figure(float(losses[0]))} to {figure(float(early[row]))} by epoch {figure(float(epochs[row]))}, and "
        f"no score is there to prove that this is skill: {why}."
    )
    evidence = (Evidence(name, float(early[row]), float(epochs[row]), expected=float(losses[0]), basis="first epoch"),)
    actions = (
        "measure precision, recall, F1 and IoU of training and validation in every epoch: a loss alone cannot show this",
        "within the epoch, print the mean of the predictions beside the mean of the targets",
        "count masks that are empty after all transforms, before training",
    )
    return Signs(
        text, evidence, "critical", 0.8, _combined_loss(case) if case.segmentation else (), actions, (float(epochs[row]),)
    )


def _proof(case: Case) -> str | None:
    """A validation score that shows real skill."""
    for name in ("val.dice", "val.iou", "val.f1", "val.auc", "val.ap", "train.dice", "train.f1", "train.auc"):
        values = case.chart.points(name)[1]
        if len(values) and values[-1] > 0.5 and not (name.endswith("auc") and values[-1] < 0.7):
            return name
    accuracy = case.chart.points("val.accuracy")[1]
    return (
        "val.accuracy" if len(accuracy) and not case.segmentation and accuracy[-1] > 0.9 and accuracy[-1] > accuracy[0] else None
    )


def _combined_loss(case: Case) -> tuple[Change, ...]:
    why = "an overlap term keeps small lesions from vanishing in the background, and BCE gives it a gradient to start from"
    if case.chart.reader == "osler":
        combined = set_fact(case, "loss.type", "combined", f"0.4 BCE + 0.4 Dice + 0.2 focal: {why}")
        return () if str(case.facts.get("loss.type")) == "combined" else combined
    return set_fact(case, "loss.type", "bce + dice + focal", why) + set_fact(
        case, "loss.weights", {"bce": 0.4, "dice": 0.4, "focal": 0.2}, "the record that was cured this way"
    )


def empty_masks(case: Case) -> Signs | Lacking | None:
    """Next to no pixel is predicted as foreground, though there is some."""
    for split in ("val", "train"):
        epochs, predicted = case.chart.points(f"{split}.foreground.predicted")
        true = case.chart.points(f"{split}.foreground.true")[1]
        share = float(true[-1]) if len(true) else foreground(case, split)
        if len(predicted) and share > 0:
            lasting = _lasting(case, split, predicted < EMPTY_SHARE * share, share)
            return _empty_signs(case, split, epochs, predicted, share, "empty") if lasting else None
    name = case.chart.first_of("val.dice", "val.iou", "val.f1", "val.recall", points=2)
    if name is None:
        return Lacking("val.foreground.predicted with val.foreground.true, or an overlap score")
    epochs, values = case.chart.points(name)
    # A score that was good once is a late collapse.
    if len(values) < 2 or values[-2:].max() > 1e-3 or values.max() > LOW_OVERLAP:
        return None
    evidence = (Evidence(name, float(values[-1]), float(epochs[-1]), expected="above 0", basis="as logged"),)
    text = f"{name} is {figure(float(values[-1]))} in the last epochs: no foreground is predicted, or none where it is."
    return Signs(
        text,
        evidence,
        "critical",
        0.75,
        _combined_loss(case),
        ("look at the largest predicted probability: if it rises, only the threshold is wrong",),
        (float(epochs[int(np.flatnonzero(values <= 1e-3)[0])]),),
    )


def _lasting(case: Case, split: str, empty: NDArray[np.bool_], share: float) -> bool:
    """Whether masks stay empty, or every probability has fallen far below the share of foreground.

    A network that starts at that share, as it should, calls no pixel at 0.5 until it has learned something.
    """
    if not empty[-1]:
        return False
    probability = case.chart.points(f"{split}.probability.mean")[1]
    if len(probability) and case.chart.reader == "osler":
        stayed = len(empty) >= STAYING and bool(empty[-STAYING:].all()) and not case.early
        return bool(probability[-1] < FALLEN * share) or stayed
    return int(empty.sum()) >= min(2, len(empty))


def _empty_signs(case: Case, split: str, epochs: np.ndarray, predicted: np.ndarray, share: float, what: str) -> Signs:
    first = float(epochs[int(np.flatnonzero(predicted < EMPTY_SHARE * share)[0])]) if what == "empty" else float(epochs[0])
    evidence = (
        Evidence(
            f"{split}.foreground.predicted",
            float(predicted[-1]),
            float(epochs[-1]),
            expected=share,
            basis="share of foreground in the reference masks",
        ),
    )
    text = (
        f"The predicted foreground is {figure(float(predicted[-1]))} of the pixels, the true one {figure(share)}: the masks are "
        f"{what}."
    )
    actions = (
        "check the share of foreground after all transforms: resampling can erase small lesions, and masks of 0 and 255 are not "
        "0 and 1",
    )
    return Signs(text, evidence, "critical", 0.95, _combined_loss(case) if what == "empty" else (), actions, (first,))


def full_masks(case: Case) -> Signs | Lacking | None:
    """Nearly every pixel is predicted as foreground, though there is little."""
    epochs, predicted = case.chart.points("val.foreground.predicted")
    true = case.chart.points("val.foreground.true")[1]
    share = float(true[-1]) if len(true) else foreground(case, "val")
    if not len(predicted) or not share > 0:
        return Lacking("val.foreground.predicted with val.foreground.true")
    return _empty_signs(case, "val", epochs, predicted, share, "full") if predicted[-1] > 0.9 and share < 0.5 else None


def low_overlap(case: Case) -> Signs | Lacking | None:
    """The overlap score stays near zero: most lesions are missed."""
    name = case.chart.first_of("val.dice", "val.iou", "train.dice", "train.iou", points=2)
    if name is None:
        return Lacking("an overlap score in two epochs")
    epochs, values = case.chart.points(name)
    recent = values[-max(2, len(values) // 5) :]
    if values.max() >= LOW_OVERLAP or (len(values) >= 8 and trend(values, epochs).slope * len(values) > LOW_OVERLAP):
        return None
    share = foreground(case, "val")
    full = 2 * share / (1 + share) if share > 0 else math.nan
    text = f"{name} is {figure(float(values.max()))} at best in {len(values)} epochs"
    text += f"; masks full of foreground would give {figure(full)}." if math.isfinite(full) else ": most lesions are missed."
    evidence = (
        Evidence(
            name,
            float(recent[-1]),
            float(epochs[-1]),
            expected=full if math.isfinite(full) else None,
            basis="all-foreground masks, 2f/(1+f)" if math.isfinite(full) else "last epoch",
        ),
    )
    return Signs(
        text,
        evidence,
        "warning" if len(values) >= 3 and not case.early else "note",
        0.85,
        (),
        ("train a plain BCE + Dice as a baseline first, and overfit one image with a lesion",),
        (float(epochs[0]),),
    )


def empty_case_conflict(case: Case) -> Signs | Lacking | None:
    """A Dice over images that is made by those without foreground: counted as 1, or as 0."""
    if case.chart.has("val.dice_case.mean"):
        return None  # the log keeps cases with foreground apart, and its Dice is that of pooled pixels
    empty = next(
        (case.facts.number(f"empty.{split}") for split in ("val", "set") if case.facts.number(f"empty.{split}") > 0), math.nan
    )
    epochs, dice = case.chart.points("val.dice")
    if not 0.0 < empty < 1.0 or len(dice) < 2:
        return (
            None
            if case.facts.number("empty.val") == 0.0
            else Lacking("empty.val, the share of images without foreground, and val.dice")
        )
    end, pooled = float(dice[-2:].mean()), _pooled_dice(case)
    silent = case.chart.points("val.foreground.predicted")[1]
    found = case.chart.points("val.recall")[1]
    nothing = (len(silent) and silent[-1] < 1e-4) or (len(found) and found[-1] < 0.01) or float(np.ptp(dice[-2:])) == 0.0
    if empty >= EMPTY_CASES and abs(end - empty) < 0.01 and nothing:
        what, expected, severity = (
            "an empty mask for every image gets exactly that where empty cases count as 1",
            empty,
            "critical",
        )
    elif (
        empty >= EMPTY_CASES
        and math.isfinite(pooled)
        and pooled > 0.2
        and abs(end - (1 - empty) * pooled) < 0.03 < empty * pooled
    ):
        what, expected, severity = "empty cases count as 0, whatever is predicted there", (1 - empty) * pooled, "warning"
    elif empty >= 0.2 and math.isfinite(pooled) and pooled < 0.5 and abs(end - empty - (1 - empty) * pooled) < 0.03:
        what, expected, severity = "empty cases count as 1 and make most of it", empty + (1 - empty) * pooled, "note"
    else:
        return (
            None
            if math.isfinite(pooled) or nothing
            else Lacking("val.f1, or val.recall and val.precision, over all pixels beside val.dice")
        )
    text = f"val.dice is {figure(end)} with {empty:.0%} of the images without foreground: {what}."
    evidence = [Evidence("val.dice", end, float(epochs[-1]), expected=expected, basis="of this convention")]
    evidence += (
        [Evidence("Dice over all pixels", pooled, float(epochs[-1]), basis="2PR/(P + R)")] if math.isfinite(pooled) else []
    )
    actions = (
        "report Dice over images that have foreground, and beside it the share of empty images that are called empty",
        "give the loss and the score the same convention: pool the overlap over the batch (loss.pooled), or leave empty "
        "cases to BCE",
    )
    return Signs(text, tuple(evidence), severity, 0.8, (), actions, (float(epochs[-1]),))  # type: ignore[arg-type]


def _pooled_dice(case: Case) -> float:
    """The last Dice over all pixels together, which is their F1; NaN where it is not logged."""
    f1 = case.chart.points("val.f1")[1]
    if len(f1):
        return float(f1[-1])
    _, recall, precision = case.pair("val.recall", "val.precision")
    return (
        float(2 * recall[-1] * precision[-1] / (recall[-1] + precision[-1]))
        if len(recall) and recall[-1] + precision[-1] > 0
        else math.nan
    )


MASKS: dict[str, Fault] = {
    "loss_at_zero": Fault(
        id="loss_at_zero",
        name="The loss fell to zero",
        family="masks",
        level="syndrome",
        means=(
            "The loss vanished within an epoch or two, and no score shows skill: empty masks, constant labels, or a label that "
            "stands in the input."
        ),
        needs="two epochs of the loss; a score to tell skill from a fault",
        signature=loss_at_zero,
        severity="critical",
        dose="scores in every epoch first; for masks BCE 0.4 + Dice 0.4 + focal 0.2",
        lookalikes=(
            Lookalike("a focal loss", "its floor is near 0.1, not 0"),
            Lookalike("an easy task", "a score that proves it"),
            Lookalike("leakage", "validation scores near 1 as well"),
            Lookalike("empty_masks", "the predicted foreground"),
        ),
        harmful=("taking the low loss for success", "more epochs"),
        source="met in a segmentation whose loss fell to zero",
    ),
    "empty_masks": Fault(
        id="empty_masks",
        scope="segmentation",
        name="Empty masks",
        family="masks",
        level="syndrome",
        means="Next to no pixel is predicted as foreground.",
        needs="the predicted and the true share of foreground, or an overlap score",
        signature=empty_masks,
        severity="critical",
        dose="BCE 0.4 + Dice 0.4 + focal 0.2; images with lesions in a third of the draws",
        explains=("loss_at_zero", "low_overlap", "stuck_loss", "not_learning"),
        lookalikes=(
            Lookalike("masks erased by resampling", "the true share of foreground after all transforms"),
            Lookalike("threshold_mismatch", "the largest probability rises while the masks stay empty"),
        ),
        harmful=("Dice alone: without a pixel term it has no gradient to start from",),
        source="nnU-Net issue 1395; met in a segmentation whose loss fell to zero",
    ),
    "full_masks": Fault(
        id="full_masks",
        scope="segmentation",
        name="Full masks",
        family="masks",
        level="syndrome",
        means="Nearly every pixel is predicted as foreground.",
        needs="the predicted and the true share of foreground",
        signature=full_masks,
        severity="critical",
        dose="beta or the positive weight down to balance",
        explains=("low_overlap", "not_learning", "stuck_loss"),
        lookalikes=(Lookalike("inverted masks", "the true share of foreground"),),
        harmful=("more weight for the foreground",),
        source="all-foreground masks have Dice 2f/(1+f)",
    ),
    "empty_case_conflict": Fault(
        id="empty_case_conflict",
        scope="segmentation",
        name="Empty cases make the score",
        family="masks",
        level="cause",
        means="Dice over images is made, or spoiled, by those without foreground: counted as 1, or as 0, by convention.",
        needs="empty.val and val.dice; better with F1, or recall and precision, over all pixels",
        signature=empty_case_conflict,
        severity="critical where it is the score of empty masks, a warning where empty cases count as 0, else a note",
        dose=(
            "Dice over images that have foreground, and the share of empty images called empty; one convention for loss and score"
        ),
        lookalikes=(
            Lookalike("empty_masks", "empty.val is 0, or Dice is far from it"),
            Lookalike("small lesions", "Dice over images that have foreground is low as well"),
            Lookalike("flattering_overlap", "Dice is near 1 from the first epoch on"),
        ),
        harmful=("choosing the best epoch by it", "a smooth term so large that empty cases look learned"),
        source="Metrics Reloaded (2024): Dice is undefined where both masks are empty; ivadomed issue 183",
    ),
    "low_overlap": Fault(
        id="low_overlap",
        scope="segmentation",
        name="Most lesions are missed",
        family="masks",
        level="syndrome",
        means="The overlap score stays near zero.",
        needs="an overlap score in two epochs",
        signature=low_overlap,
        severity="warning from three epochs on, in a run under way from the middle of its plan on",
        dose="a plain BCE + Dice as a baseline, and one image learned by heart",
        explains=("stuck_loss",),
        lookalikes=(
            Lookalike("learning_rate_too_low", "update_ratio"),
            Lookalike("tversky_beta_low", "recall against precision"),
            Lookalike("warmup_too_long", "the learning rate still rises"),
            Lookalike("overlap_terms_weak", "loss.weights"),
        ),
        harmful=("judging by pixel accuracy",),
        source="met in a segmentation of small lesions that hardly learned",
    ),
}
