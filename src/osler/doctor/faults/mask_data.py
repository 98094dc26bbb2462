"""Masks on their way into a run: erased by resizing, lost before the loop, of another share in one split, beside their images."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from osler.doctor.case import LOW_OVERLAP, Case
from osler.doctor.faults.contradiction import left
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.findings import Evidence, Lacking, Signs, figure
from osler.doctor.labels import numbers_of
from osler.doctor.modes import prepared_differently
from osler.doctor.pixels import pixels_apart
from osler.doctor.prescribe import set_fact

__all__ = ["MASK_DATA", "foreground"]

# Share of the lesions that is worth a word, and that is worth another size.
ERASED, MANY_ERASED = 0.02, 0.1
# Foreground that augmentation pushes out of an image, or patches leave out, is less than half of it.
LOST = 0.5
# Patients differ in how much there is to find; not by so much between splits of so many images.
SHIFTED, FEWEST_IMAGES = 5.0, 20
# Training masks that are met so well, from so many images, were not learned by heart alone.
MET, FEWEST_LEARNED = 0.5, 50
# A loss in evaluation mode so many times that in training mode, on the same batch, is one of the mode.
APART = 1.5
# How far a Dice of training lies under that of validation where half of its masks do not fit their images.
BESIDE, LEARNED = 0.12, 0.3
# An AUC of pixels that is no chance but the contrary, in so many epochs, beside masks that are learned a little in training.
REVERSED, FEWEST_ELSEWHERE, SKILLED = 0.35, 6, 0.05
DRAW = (
    "draw the masks of a training batch over its images after all transforms: flips, shifts and rotations must move both",
    "train three epochs without augmentation: if the scores meet, augmentation moves images alone",
)


def foreground(case: Case, split: str) -> float:
    """The stated share of foreground in a split, the mean where classes have one each; NaN where it is not known."""
    shares = numbers_of(case.facts.get(f"foreground.{split}"), case.classes)
    return float(np.mean(shares)) if shares is not None and len(shares) else math.nan


def lesions_erased(case: Case) -> Signs | Lacking | None:
    """Resizing has left nothing of some lesions: no network can learn or find them."""
    counted = {
        split: (case.facts.number(f"lesions_erased.{split}"), case.facts.number(f"lesions.{split}"))
        for split in ("train", "val", "test")
    }
    known = {split: (gone, n) for split, (gone, n) in counted.items() if n > 0 and math.isfinite(gone)}
    if not known:
        return Lacking("lesions.train and lesions_erased.train: lesions before resizing, and those of which nothing is left")
    split = max(known, key=lambda name: known[name][0] / known[name][1])
    gone, n = known[split]
    if gone / n < ERASED:
        return None
    text = (
        f"Resizing erased {figure(gone)} of {figure(n)} lesions of {split}: they are background to the loss, and the network is "
        "taught to leave their like alone."
    )
    evidence = tuple(
        Evidence(f"lesions_erased.{name}", lost, None, expected=0.0, basis=f"of {figure(all_of)} lesions")
        for name, (lost, all_of) in known.items()
    )
    changes = set_fact(case, "preparation.size", "twice the side", "or data.patches: cut at full resolution, nothing is shrunk")
    severity = "critical" if gone / n >= 0.5 else "warning" if gone / n >= MANY_ERASED else "note"
    return Signs(text, evidence, severity, 0.95, changes)  # type: ignore[arg-type]


def masks_not_loaded(case: Case) -> Signs | Lacking | None:
    """The masks that training gets hold far less foreground than the prepared ones."""
    epochs, seen = case.chart.points("train.foreground.true")
    stated = foreground(case, "train")
    if not len(seen) or not stated > 0:
        return Lacking("train.foreground.true by epoch, and foreground.train as prepared")
    drawn, natural = _mean(case.facts.get("prevalence.drawn")), _mean(case.facts.get("prevalence.train"))
    expected = stated * (drawn / natural if natural > 0 and drawn >= 0 else 1.0)
    if float(seen.max()) >= LOST * expected:
        return None
    text = (
        f"The masks in training hold {figure(float(seen[-1]))} of foreground, where the prepared ones hold {figure(stated)}: "
        "masks are lost between the files and the loss."
    )
    evidence = (Evidence("train.foreground.true", float(seen[-1]), float(epochs[-1]), expected=expected, basis="as prepared"),)
    actions = (
        "save 16 images of a training batch with their masks drawn on, after all transforms",
        "count the foreground of every batch: names that do not match, and palettes read as gray, give empty masks",
    )
    return Signs(text, evidence, "critical", 0.95, (), actions, (float(epochs[0]),))


def _mean(value: object) -> float:
    """The mean of a fact given once or for each class; NaN where it is not known."""
    if isinstance(value, Mapping):
        return float(np.mean(list(value.values()))) if value else math.nan
    return float(value) if isinstance(value, (int, float)) else math.nan


def foreground_shifted(case: Case) -> Signs | Lacking | None:
    """Training and validation masks hold another share of foreground, by far more than patients differ."""
    train, val = foreground(case, "train"), foreground(case, "val")
    images = min(case.facts.number("samples.train"), case.facts.number("samples.val"))
    if not (train > 0 and val > 0 and images > 0):
        return Lacking("foreground.train and foreground.val, with samples.train and samples.val")
    ratio = max(train, val) / min(train, val)
    if ratio < SHIFTED or images < FEWEST_IMAGES:
        return None
    text = (
        f"Foreground covers {figure(train)} of the training masks and {figure(val)} of the validation masks, {figure(ratio)} "
        "times apart: masks of one split are inverted, have another value for the class, or are of another thing."
    )
    evidence = (Evidence("foreground.train", train, None, expected=val, basis="foreground.val"),)
    actions = ("draw the masks of ten images of each split over them", "print the values that occur in the masks of each split")
    severity = "critical" if max(train, val) > 0.5 else "warning"
    return Signs(text, evidence, severity, 0.85, (), actions)  # type: ignore[arg-type]


def misaligned_masks(case: Case) -> Signs | Lacking | None:
    """The Dice of training lies far under that of validation to the end: masks that do not lie on their images cannot be met."""
    elsewhere = _elsewhere(case)
    if elsewhere is not None:
        return elsewhere
    epochs, train, val = case.pair("train.dice", "val.dice")
    if len(epochs) < 6:
        return Lacking("Dice of training and validation in six epochs")
    if case.facts.get("training.ema") is not None or case.facts.get("data.patches") is not None:
        return None  # an average of weights is ahead of them, and patches are not the images of validation
    rows = slice(-max(3, len(epochs) // 3), None)
    # A training figure is taken on the way from one validation to the next; while both still climb, it lies under the second.
    gap = np.minimum(val[1:], val[:-1])[rows] - train[1:][rows]
    if float(val[rows].min()) < LEARNED or float(gap.min()) < BESIDE or case.early:
        return None
    text = (
        f"train.dice is {figure(float(train[-1]))} and val.dice {figure(float(val[-1]))}, {figure(float(gap.mean()))} apart "
        f"in the last {len(gap)} epochs: the network finds what is there, and the training masks do not lie where it is."
    )
    evidence = (Evidence("train.dice", float(train[-1]), float(epochs[-1]), expected=float(val[-1]), basis="val.dice"),)
    return Signs(text, evidence, "warning", 0.8, (), DRAW, (float(epochs[rows][0]),))


def masks_left(case: Case) -> Signs | None:
    """By exclusion: masks of other images, or beside them."""
    return left(case, "masks of other images, or masks that do not lie on theirs, look like this", DRAW)


def _elsewhere(case: Case) -> Signs | None:
    """Pixels are learned in training, and validation's foreground is called less often than its background."""
    epochs, values = case.chart.points("val.auc")
    trained = case.skill("train")
    if len(values) < FEWEST_ELSEWHERE or case.early or not (np.nanmax(trained, initial=-1.0) > SKILLED):
        return None
    rest, met = values[-max(3, len(values) // 3) :], case.chart.points("train.dice")[1]
    if float(rest.max()) >= REVERSED or (len(met) > 0 and float(met[-1]) >= MET):
        return None  # where training's own masks are met, it is validation's that lie elsewhere
    text = (
        f"val.auc of the pixels is {figure(float(rest.mean()))} in the last {len(rest)} epochs, far below chance, and training "
        f"masks are being learned (train.skill {figure(float(np.nanmax(trained)))}): the training masks lie elsewhere than what "
        "they are masks of."
    )
    evidence = (Evidence("val.auc", float(rest.mean()), float(epochs[-1]), expected=0.5, basis="mean of the last third"),)
    return Signs(text, evidence, "critical", 0.75, (), DRAW, (float(epochs[len(epochs) - len(rest)]),))


def validation_masks_differ(case: Case) -> Signs | Lacking | None:
    """Training masks are met, and next to nothing of the validation masks in any epoch."""
    epochs, train, val = case.pair("train.dice", "val.dice")
    images = case.facts.number("samples.train")
    apart = pixels_apart(case) or prepared_differently(case)
    if apart is not None:
        return apart
    if len(epochs) < 5 or not images > 0:
        return Lacking("Dice of training and validation in five epochs, and samples.train")
    if images < FEWEST_LEARNED or float(train[-1]) < MET or float(val.max()) >= LOW_OVERLAP or _modes_apart(case):
        return None
    text = (
        f"train.dice is {figure(float(train[-1]))} over {figure(images)} images, and val.dice {figure(float(val.max()))} at "
        "best: validation images, or their masks, come to the network in another way than those of training."
    )
    evidence = (
        Evidence("val.dice", float(val.max()), float(epochs[int(np.argmax(val))]), expected=float(train[-1]), basis="train.dice"),
    )
    actions = (
        "evaluate training images through the validation path: if they fail too, the preparation or the network's mode differs",
        "draw the masks of ten validation images over them, as the network receives them",
    )
    return Signs(text, evidence, "critical", 0.8, (), actions, (float(epochs[0]),))


def _modes_apart(case: Case) -> bool:
    """Whether validation fails in evaluation mode alone: then the network's statistics are at fault."""
    _, trained, evaluated = case.pair("train_mode_loss.train_mode", "train_mode_loss.eval_mode")
    return bool(len(trained)) and float(evaluated[-1]) > APART * float(trained[-1])


MASK_DATA: dict[str, Fault] = {
    "validation_masks_differ": Fault(
        id="validation_masks_differ",
        scope="segmentation",
        name="Validation masks are another world",
        family="mask_data",
        level="cause",
        means="Training masks are met and validation masks never: images or masks of the two are prepared in different ways.",
        needs="unaugmented and train_mode_loss by epoch; or Dice of both splits in five epochs, and samples.train",
        signature=validation_masks_differ,
        severity=(
            "critical; a warning where validation is worse in evaluation mode alone, or is learned as well as training though "
            "its pixels are apart; a note where they are by less than three times their spread from image to image"
        ),
        dose="none: evaluate training images through the validation path",
        explains=(
            "overfitting",
            "learning_rate_too_high",
            "low_overlap",
            "empty_masks",
            "full_masks",
            "still_improving",
            "unstable_validation",
            "diverging_loss",
            "late_collapse",
        ),
        lookalikes=(
            Lookalike("overfitting", "few images, or a validation that was good once"),
            Lookalike("train_eval_gap", "the loss of one batch in both modes"),
        ),
        harmful=("regularisation: there is nothing to generalise from a path that differs",),
        source="the mask's counterpart of validation_differs",
    ),
    "lesions_erased": Fault(
        id="lesions_erased",
        scope="segmentation",
        name="Lesions erased by resizing",
        family="mask_data",
        level="cause",
        means="Resizing has shrunk some lesions to nothing; they can be neither learned nor found.",
        needs="lesions.SPLIT and lesions_erased.SPLIT, as Osler counts them before training",
        signature=lesions_erased,
        severity="critical from half of the lesions on, a warning from a tenth, else a note",
        dose="twice the side, or patches at full resolution",
        explains=("low_overlap", "empty_masks"),
        lookalikes=(
            Lookalike("masks_not_loaded", "the foreground in training is less than that of the prepared masks"),
            Lookalike("small lesions", "lesions_erased is 0"),
        ),
        harmful=("a larger weight for the foreground: what is erased has none",),
        source="nnU-Net: resampling of masks; a lesion of less than half a pixel has no majority",
    ),
    "masks_not_loaded": Fault(
        id="masks_not_loaded",
        scope="segmentation",
        name="Masks lost on the way",
        family="mask_data",
        level="cause",
        means="The masks that the loss sees hold far less foreground than those that were prepared.",
        needs="train.foreground.true by epoch, and foreground.train",
        signature=masks_not_loaded,
        severity="critical",
        dose="none: mend the way from file to loss",
        explains=(
            "empty_masks",
            "loss_at_zero",
            "low_overlap",
            "not_learning",
            "stuck_loss",
            "learning_rate_too_high",
            "learning_rate_too_low",
            "premature_stopping",
            "batches_without_positives",
            "vanishing_gradients",
        ),
        lookalikes=(
            Lookalike("sampler_starves_findings", "prevalence.drawn is as low as what is seen"),
            Lookalike("empty_masks", "the predictions are empty, and the masks are not"),
        ),
        harmful=("another loss or learning rate: nothing is there to learn",),
        source="a mask that is not found is an empty one in many loaders",
    ),
    "foreground_shifted": Fault(
        id="foreground_shifted",
        scope="segmentation",
        name="Splits with another foreground",
        family="mask_data",
        level="cause",
        means="The masks of training and validation hold shares of foreground that are far apart.",
        needs="foreground.train, foreground.val and the numbers of images",
        signature=foreground_shifted,
        severity="critical where one is mostly foreground, else a warning",
        dose="none: mend the masks of one split",
        explains=(
            "full_masks",
            "empty_masks",
            "low_overlap",
            "not_learning",
            "stuck_loss",
            "late_collapse",
            "learning_rate_too_high",
            "shifted_splits",
            "validation_masks_differ",
            "overfitting",
            "misaligned_masks",
        ),
        lookalikes=(
            Lookalike("few images", "samples.val under 20"),
            Lookalike("full_masks", "the shares of both splits agree, and predictions run over"),
        ),
        harmful=("another threshold",),
        source="inverted masks, and 0 taken for the class, are read without an error",
    ),
    "misaligned_masks": Fault(
        id="misaligned_masks",
        scope="segmentation",
        name="Masks beside their images",
        family="mask_data",
        level="cause",
        means=(
            "Images are flipped or moved in training, and their masks are not: training scores stay far under validation, or "
            "validation's foreground is called less often than its background. Where nothing is learned, the network moves as "
            "usual, and no cause is found, masks of other images are what is left to think of."
        ),
        needs="Dice of both splits in six epochs; or val.auc of pixels and train.skill",
        signature=misaligned_masks,
        by_exclusion=masks_left,
        severity="warning; critical where validation's foreground is called less often than its background; a note by exclusion",
        dose="none: one transform for image and mask",
        explains=(
            "underfitting",
            "augmentation_too_strong",
            "learning_rate_too_high",
            "late_collapse",
            "low_overlap",
            "overfitting",
            "empty_masks",
            "not_learning",
            "validation_masks_differ",
        ),
        lookalikes=(
            Lookalike("augmentation that distorts much", "the gap closes without it"),
            Lookalike("an average of weights", "training.ema"),
            Lookalike("leakage", "train.dice is high as well"),
        ),
        harmful=("more epochs", "a larger network"),
        source="augmentation of image and mask with two draws is the usual way to it",
    ),
}
