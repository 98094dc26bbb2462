"""What validation can tell: another world than training, another mode, too few samples, a best epoch picked among noise."""

from __future__ import annotations

import math

import numpy as np

from osler.doctor.case import Case
from osler.doctor.chance import AtChance, at_chance
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.faults.generalisation import by_heart
from osler.doctor.findings import Change, Evidence, Lacking, Severity, Signs, figure
from osler.doctor.modes import TRAINING, VALIDATION_BATCH, average_is_sound, modes_of, prepared_differently
from osler.doctor.outcome import ended
from osler.doctor.pixels import pixels_apart
from osler.doctor.prescribe import set_fact
from osler.metrics.intervals import hanley_mcneil_se
from osler.metrics.trend import smallest_set

__all__ = ["VALIDATION"]

TINY, SMALL = 20, 100
FEW_PATIENTS = 5  # with fewer, no interval can be taken over patients
FEWEST_TO_NORMALISE = 4
SKILLED = 0.1
"""Skill in evaluation mode from which on statistics that lag do no more harm than they may undo themselves."""
# Architectures that normalise over the batch, and words in a name that say otherwise.
BATCH_NORMALISED = (
    "resnet",
    "resnext",
    "densenet",
    "efficientnet",
    "mobilenet",
    "vgg",
    "inception",
    "xception",
    "regnet",
    "unet",
    "small",
)
OTHER_NORMS = ("_in", "_gn", "group", "instance", "nnunet", "convnext", "swin", "vit", "layer")


def validation_differs(case: Case) -> Signs | Lacking | None:
    """Validation images have other pixels, or are at chance throughout, or are worse in evaluation mode alone."""
    apart = pixels_apart(case) or prepared_differently(case)
    if apart is not None:
        return apart
    if not any(
        case.chart.has(f"train.{name}", points=3) and case.chart.has(f"val.{name}", points=3) for name in ("auc", "skill", "loss")
    ):
        return Lacking("AUC, or loss with its floor, on both splits in three epochs")
    if case.learned or not case.fitted or by_heart(case) is not None:
        return None
    found, skill = at_chance(case, "val"), case.skill("val")
    worse = np.isfinite(skill)
    by_auc, by_skill = isinstance(found, AtChance), bool(worse.any()) and bool((skill[worse] <= 0.0).all())
    if (isinstance(found, Lacking) and not by_skill) or not (by_auc or by_skill):
        return found if isinstance(found, Lacking) else None
    auc, trained = case.chart.points("val.auc")[1], case.chart.points("train.auc")[1]
    own = case.skill("train")[np.isfinite(case.skill("train"))]
    if len(auc) and not by_auc:
        return None
    parts = (
        [f"training AUC {figure(float(trained[-1]))}"]
        if len(trained)
        else [f"training skill {figure(float(own.max()))}"]
        if len(own)
        else ["training figures that improve"]
    )
    parts.append(
        f"validation AUC {figure(float(auc[-1]))}"
        if len(auc)
        else f"validation skill {figure(float(skill[worse].max()))} at best"
    )
    evidence = (
        [found.evidence("val.auc")]
        if isinstance(found, AtChance)
        else [Evidence("val.skill", float(skill[worse].max()), None, expected=0.0, basis="best epoch")]
    )
    if len(trained):
        evidence.append(Evidence("train.auc", float(trained[-1]), float(case.chart.epochs[-1]), expected=0.5, basis="last epoch"))
    actions = (
        "evaluate training samples through the validation path: if they fail too, the preparation or the network's mode "
        "differs; if not, the labels or the patients do",
        "look at 16 validation samples as the network receives them, with their labels",
    )
    return Signs(
        f"The network learns the training samples and nothing that holds in validation: {', '.join(parts)}.",
        tuple(evidence),
        "critical",
        0.75,
        (),
        actions,
        (float(case.chart.epochs[0]),),
    )


def train_eval_gap(case: Case) -> Signs | Lacking | None:
    """One batch has a far larger loss with the network in evaluation mode than in training mode."""
    known = [one for one in (modes_of(case, TRAINING), modes_of(case, VALIDATION_BATCH)) if one is not None]
    if not known:
        return Lacking("unaugmented or train_mode_loss in three epochs: the loss of one batch in both modes")
    # Statistics that lag are as wrong for the one split as for the other.
    both = len(known) == 2 and all(one.lagging for one in known)
    if not (both or all(one.apart for one in known)) or average_is_sound(case, known[-1]):
        return None
    found = known[0]
    whose = "validation" if found.name == VALIDATION_BATCH else "training"
    trained, evaluated = float(found.trained[-1]), float(found.evaluated[-1])
    text = f"The same {whose} samples have loss {figure(trained)} in training mode and {figure(evaluated)} in evaluation mode."
    evidence = (Evidence(f"{found.name}.eval_mode", evaluated, float(found.epochs[-1]), expected=trained, basis="training mode"),)
    changes = set_fact(
        case,
        "training.batch_size",
        int(2 * case.facts.number("training.batch_size")) if case.facts.number("training.batch_size") > 0 else 32,
        "the stored statistics of batch normalisation lag: larger batches, a faster momentum, or group normalisation",
    )
    actions = ("freeze the statistics of pretrained normalisation layers (model.frozen_norm: eval)",)
    # While weights still move fast, statistics of few steps lag by nature, and catch up as the rate comes down.
    severity: Severity = (
        "note" if not ended(case) and float(np.nanmax(case.skill("val")[-3:], initial=-1.0)) > SKILLED else "warning"
    )
    return Signs(text, evidence, severity, 0.8, changes, actions, (found.since,))


def small_norm_batches(case: Case) -> Signs | Lacking | None:
    """Batch normalisation over one or two samples."""
    batch = case.facts.number("training.batch_size")
    if not batch > 0:
        return Lacking("training.batch_size and model.architecture")
    if batch > FEWEST_TO_NORMALISE:
        return None
    architecture = str(case.facts.get("model.architecture") or "").lower()
    if not architecture:
        return Lacking("model.architecture: whether it normalises over the batch")
    if not any(word in architecture for word in BATCH_NORMALISED) or any(word in architecture for word in OTHER_NORMS):
        return None
    shown = isinstance(train_eval_gap(case), Signs)
    text = (
        f"training.batch_size is {figure(batch)}, and {architecture} normalises over the batch: "
        + ("a sample is its own statistics" if batch == 1 else f"statistics of {figure(batch)} samples are noise")
        + ", and evaluation uses others."
    )
    evidence = (Evidence("training.batch_size", batch, None, expected=8.0, basis="samples that a mean and a variance need"),)
    changes = set_fact(
        case, "training.batch_size", 16, "accumulated steps do not help: statistics are taken over what passes at once"
    )
    actions = ("where memory forbids it: group or instance normalisation, or the stored statistics of a pretrained network",)
    harmed = batch == 1 or shown or not (case.learned or case.early)
    return Signs(text, evidence, "warning" if harmed else "note", 0.85 if shown else 0.65, changes, actions)


def best_from_noise(case: Case) -> Signs | Lacking | None:
    """The epoch called best was picked among figures that chance alone makes."""
    found = at_chance(case, "val")
    if not isinstance(found, AtChance):
        return found
    high = found.best + 1.96 * found.error
    text = (
        f"Epoch {figure(found.best_epoch)} is best with AUC {figure(found.best)}, one of {found.epochs} draws with standard "
        f"error {figure(found.error)} around 0.5: it is no better than the others."
    )
    evidence = (Evidence("val.auc", found.best, found.best_epoch, found.best - 1.96 * found.error, high, 0.5, "best epoch"),)
    return Signs(
        text,
        evidence,
        "note",
        0.85,
        (),
        ("do not use its checkpoint for more than testing the path to production",),
        (found.best_epoch,),
    )


def _few_masks(case: Case) -> Signs | Lacking | None:
    """Of masks it is images with foreground, and patients, that count; pixels of one image say the same thing over and over."""
    n, empty = case.facts.number("samples.val"), case.facts.number("empty.val")
    if not n > 0:
        return Lacking("samples.val")
    filled = n * (1 - empty) if 0.0 <= empty <= 1.0 else n
    patients = case.facts.number("patients.val")
    if filled >= TINY and not patients < FEW_PATIENTS:
        return None
    of = f", of {figure(patients)} patients" if patients > 0 else ""
    text = f"Validation has {figure(filled)} images with foreground{of}: its Dice says little of the next patient."
    evidence = (Evidence("samples.val", n, None, expected=TINY, basis="images with foreground; 5 patients"),)
    actions = ("train once for each of several divisions by patient, and look at all of their figures",)
    return Signs(text, evidence, "note", 0.9, (), actions)


def _more_validation(case: Case) -> tuple[Change, ...]:
    """A larger share of the data; in words where nobody says how the split was drawn."""
    ratio, why = case.facts.get("data.split.ratio"), "a quarter of the data, or cross-validation where they are few"
    if isinstance(ratio, (tuple, list)):
        return set_fact(case, "data.split.ratio", [0.6, 0.25, 0.15], why)
    return (Change("data.split.ratio", None, "a larger share for validation", why),)


def small_validation(case: Case) -> Signs | Lacking | None:
    """Validation samples so few that its figures jump by chance."""
    if case.segmentation:
        return _few_masks(case)
    labels = case.labels("val")
    if labels is not None and labels.n > 0:
        rare = float(np.min(np.minimum(labels.share, 1 - labels.share)) * labels.n)
        if labels.n >= SMALL and rare >= TINY:
            return None
        n1, n0 = labels.share * labels.n, (1 - labels.share) * labels.n
        errors = hanley_mcneil_se(np.full(n1.shape, 0.5), n1, n0)
        error = float(errors[np.isfinite(errors)].max()) if np.isfinite(errors).any() else math.nan
        text = (
            f"Validation has {figure(labels.n)} samples, {figure(rare)} of the rarest class: the standard error of an AUC at "
            f"chance is {figure(error)}."
        )
        evidence = (Evidence("samples.val", labels.n, None, expected=float(SMALL), basis="and 20 of the rarest class"),)
        return Signs(
            text,
            evidence,
            "warning" if labels.n <= TINY else "note",
            0.9,
            _more_validation(case),
            ("validate by cross-validation, or move training samples over",),
        )
    n = case.facts.number("samples.val")
    grid = smallest_set(case.chart.values("val.accuracy")) if case.binary or case.chart.has("val.accuracy") else None
    if not n > 0 and (grid is None or grid.n == 0):
        return Lacking("samples.val, or an accuracy whose steps betray it")
    size = n if n > 0 else float(grid.n) if grid is not None else math.nan
    if size >= SMALL:
        return None
    step = f"val.accuracy moves in steps of 1/{grid.n}, so" if not n > 0 and grid is not None else "As stated,"
    evidence = (
        Evidence(
            "samples.val",
            size,
            None,
            expected=float(SMALL),
            basis="smallest size that makes these steps" if not n > 0 else "as stated",
        ),
    )
    return Signs(
        f"{step} validation has about {figure(size)} samples: one of them is {1 / size:.1%} of the score.",
        evidence,
        "warning" if size <= TINY else "note",
        0.8,
        (),
        ("validate by cross-validation, or move training samples over",),
    )


VALIDATION: dict[str, Fault] = {
    "validation_differs": Fault(
        id="validation_differs",
        scope="classification",
        name="Validation is another world",
        family="validation",
        level="cause",
        means=(
            "Validation images have other pixels than training images prepared in the same way; or the network learns the "
            "training samples from the first epochs on and nothing that holds in validation: other preparation, mode, labels "
            "or patients."
        ),
        needs="unaugmented and train_mode_loss by epoch; or AUC with counts, or loss with floor, on both splits in three epochs",
        signature=validation_differs,
        severity=(
            "critical; a warning where validation is worse in evaluation mode alone, or is learned as well as training though "
            "its pixels are apart; a note where they are by less than three times their spread from image to image"
        ),
        dose=(
            "none: evaluate training samples through the validation path, and look at validation samples as the network gets them"
        ),
        explains=(
            "chance_auc",
            "single_class_prediction",
            "best_from_noise",
            "overfitting",
            "alternating_prediction",
            "accuracy_is_majority",
            "late_collapse",
            "class_late_collapse",
            "unstable_validation",
            "threshold_mismatch",
            "diverging_loss",
        ),
        lookalikes=(
            Lookalike("overfitting", "validation was good once; the pixels of both splits agree"),
            Lookalike("train_eval_gap", "the loss of one batch in both modes"),
            Lookalike("inverted_scores", "the AUC is below 0.5, not at it"),
            Lookalike("a copy of the label in the training images", "which pixels decide"),
        ),
        harmful=("regularisation: there is nothing to generalise from a path that differs",),
        source="met in a service that left out CLAHE",
    ),
    "train_eval_gap": Fault(
        id="train_eval_gap",
        name="Training and evaluation mode differ",
        family="validation",
        level="cause",
        means="The same samples have a far larger loss in evaluation mode: stored statistics of normalisation layers lag.",
        needs="unaugmented or train_mode_loss by epoch",
        signature=train_eval_gap,
        severity="warning; a note while a run goes on whose validation has skill",
        dose="twice the batch size, a faster momentum, or group normalisation",
        explains=(
            "unstable_validation",
            "validation_differs",
            "single_class_prediction",
            "alternating_prediction",
            "chance_auc",
            "empty_masks",
            "full_masks",
            "low_overlap",
        ),
        lookalikes=(
            Lookalike("dropout", "the training-mode loss would be the larger one"),
            Lookalike("validation_differs", "both modes are equally bad, or training samples fare alike in both"),
        ),
        harmful=("evaluating in training mode: predictions then depend on their neighbours in the batch",),
        source="keras issue 10666; milesial/Pytorch-UNet issue 165",
    ),
    "small_norm_batches": Fault(
        id="small_norm_batches",
        name="Batches too small to normalise over",
        family="validation",
        level="cause",
        means="Batch normalisation takes its statistics from one to four samples, and evaluation from stored ones.",
        needs="training.batch_size and model.architecture; train_mode_loss shows the harm",
        signature=small_norm_batches,
        severity="warning with one sample, where the loss differs between the modes, or where nothing was learned; else a note",
        dose="16 samples a batch, or group or instance normalisation",
        explains=(
            "train_eval_gap",
            "unstable_validation",
            "alternating_prediction",
            "validation_differs",
            "not_learning",
            "single_class_prediction",
            "chance_auc",
            "stuck_loss",
            "accuracy_is_majority",
            "best_from_noise",
        ),
        lookalikes=(
            Lookalike("small_validation", "samples.val, not training.batch_size"),
            Lookalike("train_eval_gap", "batches of 8 and more: the momentum of the stored statistics"),
            Lookalike(
                "frozen blocks", "layers that do not learn and normalise by stored statistics: the batch is nothing to them"
            ),
        ),
        harmful=("accumulating gradients: statistics are taken over what passes at once", "evaluating in training mode"),
        source="keras issue 8837; Wu and He 2018 (group normalisation): errors rise under 8 samples",
    ),
    "best_from_noise": Fault(
        id="best_from_noise",
        scope="classification",
        name="Best epoch picked among noise",
        family="validation",
        level="symptom",
        means="The epoch called best is one of several draws of a coin.",
        needs="val.auc in three epochs, with counts or scatter",
        signature=best_from_noise,
        severity="note",
        dose="none of its own",
        lookalikes=(Lookalike("small_validation", "the standard error from the counts"),),
        harmful=("going on from that checkpoint", "reporting its figure"),
        source="the largest of n draws stands √(2 ln n) errors above their mean",
    ),
    "small_validation": Fault(
        id="small_validation",
        name="Validation too small",
        family="validation",
        level="cause",
        means="So few validation samples, or positives, that figures jump by chance.",
        needs="samples.val and the prevalence, or an accuracy whose steps betray the number",
        signature=small_validation,
        severity="a note; a warning from 20 samples down",
        dose="cross-validation, or a larger share of the data",
        lookalikes=(Lookalike("unstable_validation", "the training mode, and the number of samples"),),
        harmful=("choosing between two settings by it",),
        source="√((n1+n0+1)/(12 n1 n0)); steps of 1/n",
    ),
}
