"""The data behind a run: other data than declared, splits that differ, samplers that starve, inputs out of range, broken logs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from osler.doctor.case import Case
from osler.doctor.course import median
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.findings import SEVERITIES, Evidence, Lacking, Severity, Signs, figure
from osler.doctor.labels import errors_apart
from osler.doctor.prescribe import set_fact
from osler.metrics.proportion import wilson

__all__ = ["SAMPLES"]

# Standard errors between two shares; strata and patients make real splits differ a little more than chance.
FAR = 3.0
FAR_SPLITS = 4.0
# Where nobody says how many samples there are: few for a validation set, so that the interval is rather wide than narrow.
FEW_SAMPLES = 200
VALIDATION_SHARE = 0.05
# White where so many of all pixels are, black where nearly all are: films have dark borders, and no white ones.
MOST_WHITE, MOST_BLACK = 0.4, 0.95
# A first epoch that validates so well had little to learn.
PERFECT = 0.99
# A score of a task that is not trivial does not begin with this, in so many epochs.
FLAWLESS, FLAWLESS_EPOCHS = 0.998, 5
LOOK_FOR_LEAKS = (
    "compare hashes of the decoded pixels, and the patients, across the splits",
    "look at what decides: cover the corners, where markers and burned-in text are, and evaluate again",
)
# What is shared by splits: as stated, or as an audit found it.
SHARED = {
    "patients": ("split.patients_shared", "audit.patients_across_splits"),
    "images": ("split.duplicates_shared", "audit.copies_across_splits"),
}
# What they are shares of, as the facts call it.
COUNTED = {"patients": "patients", "images": "samples"}
# Shares of validation and test from which on what is shared moves the figures a little, and much.
SOME_SHARED, MANY_SHARED = 0.01, 0.05
# Nothing but black, and what augmentation adds to its brightness.
DARK = 8.0
# An audit's AUC of labels told without the content of the images, from which on it explains good figures.
TOLD = 0.75


def declared_not_loaded(case: Case) -> Signs | Lacking | None:
    """The prevalence that the run's own figures show is not the one declared."""
    compared = False
    for split in ("val", "train"):
        seen = case.seen_labels(split)
        if seen is None or not math.isfinite(seen.single):
            continue
        for key in (f"prevalence.{split}", "prevalence.set"):
            declared, origin = case.facts.number(key), case.facts.origin(key)
            if not math.isfinite(declared) or (origin is not None and origin.source == "facts.json"):
                continue
            compared = True
            found = _declared(case, split, seen.single, seen.basis, seen.n, key, declared)
            if found is not None:
                return found
    needs = "prevalence.set as declared, and the prevalence by epoch or a one-sided epoch with its accuracy"
    return None if compared else Lacking(needs)


def _declared(case: Case, split: str, seen: float, basis: str, n: float, key: str, declared: float) -> Signs | None:
    whole = case.facts.number("samples.set")
    size, sure = (n, 0.95) if n > 0 else (VALIDATION_SHARE * whole, 0.85) if whole > 0 else (float(FEW_SAMPLES), 0.7)
    error = math.sqrt(max(declared * (1 - declared), 1e-9) / size)
    if abs(seen - declared) < FAR * error or abs(seen - declared) < 0.01:
        return None
    low, high = wilson(seen * size, size)
    epochs, trained = case.chart.points("train.accuracy")
    evidence = [
        Evidence(f"prevalence of {split}", seen, None, float(low), float(high), declared, f"{basis}; {key} says {declared:.4g}")
    ]
    text = f"The {split} set that was really scored has {seen:.2%} positives ({basis}), and {key} declares {declared:.2%}."
    if split == "val" and len(trained) and abs(float(trained[-1]) - seen) < 0.01:
        evidence.append(
            Evidence(
                "train.accuracy",
                float(trained[-1]),
                float(epochs[-1]),
                expected=seen,
                basis="of calling every training sample positive",
            )
        )
        text += (
            f" Training accuracy {trained[-1]:.2%} in epoch {figure(float(epochs[-1]))} says the same of the training set: the "
            "splits agree, and the declaration fits neither."
        )
    actions = (
        "check which files, and which label column, were really loaded: print path, number and positives of each split at the "
        "start",
        "check that no filter or sampler dropped positives on the way",
    )
    return Signs(text, tuple(evidence), "warning", sure, (), actions, (float(case.chart.epochs[0]),))


def shifted_splits(case: Case) -> Signs | Lacking | None:
    """Training and validation have another share of positives than chance makes."""
    train, val = case.natural, case.labels("val")
    if train is None or val is None or len(train.share) != len(val.share) or not (train.n > 0 and val.n > 0):
        return Lacking("samples and prevalence of train and val")
    z = errors_apart(train, val)
    k = int(np.argmax(z))
    ratio = max(train.share[k], val.share[k]) / max(min(train.share[k], val.share[k]), 1e-9)
    if z[k] < FAR_SPLITS or ratio < 1.2:
        return None
    name = f" of {val.names[k]}" if val.names[k] else ""
    low, high = (float(end) for end in wilson(val.share[k] * val.n, val.n))
    against = float(train.share[k])
    evidence = (Evidence(f"prevalence.val{name}", float(val.share[k]), None, low, high, against, "prevalence.train"),)
    text = (
        f"The prevalence{name} is {train.share[k]:.2%} in training and {val.share[k]:.2%} in validation, {figure(float(z[k]))} "
        "standard errors apart: the split is not stratified, or the sets have different sources."
    )
    return Signs(
        text,
        evidence,
        "warning" if ratio > 1.5 else "note",
        0.85,
        (),
        ("split again, stratified by label with patients kept whole",),
    )


def leakage(case: Case) -> Signs | Lacking | None:
    """The same patients or images in training and validation."""
    counts = [(what, key, case.facts.number(key)) for what, keys in SHARED.items() for key in keys]
    found = [_shared(case, what, key, count) for what, key, count in counts if count > 0]
    if found:
        return max(found, key=lambda signs: SEVERITIES.index(signs.severity))
    hashes = [case.facts.get(f"split.hash.{split}") for split in ("train", "val")]
    if hashes[0] is not None and hashes[0] == hashes[1]:
        evidence = (
            Evidence("split.hash.val", str(hashes[1]), None, expected=str(hashes[0]), basis="the hash of the training ids"),
        )
        return Signs("Training and validation are the same samples.", evidence, "critical", 0.99)
    known = any(math.isfinite(case.facts.number(key)) for keys in SHARED.values() for key in keys)
    return (
        None
        if known or hashes[0] is not None
        else Lacking("an audit of the data beside the run (osler audit), or split.patients_shared and split.duplicates_shared")
    )


def _shared(case: Case, what: str, key: str, count: float) -> Signs:
    audited = key.startswith("audit.")
    basis = "found by osler audit" if audited else "counted, or as stated"
    evidence = (Evidence(key, count, None, expected=0.0, basis=basis),)
    audit = "" if audited else "run osler audit on the data, "
    actions = (f"{audit}drop the copies that rows.csv of the audit lists, and train again",) if what == "images" else ()
    # A split by patient keeps copies apart only where they are known to be of one patient.
    by_patient = set_fact(case, "data.split.by_patient", True, "keep all samples of a patient in one split")
    whole = sum(n for split in ("val", "test") if (n := case.facts.number(f"{COUNTED[what]}.{split}")) > 0)
    share = 1.0 if audited or not whole else count / whole
    of = "" if share == 1.0 else f" ({share:.1%} of those of validation and test)"
    text = f"{figure(count)} {what}{of} stand in more than one split: validation figures are too good."
    severity: Severity = "critical" if share >= MANY_SHARED else "warning" if share >= SOME_SHARED else "note"
    return Signs(text, evidence, severity, 0.95, () if audited and actions else by_patient, actions)


def leakage_suspected(case: Case) -> Signs | Lacking | None:
    """Validation figures that are too good to be true from the first epoch on, or those of the training set itself."""
    epochs, val, train = case.pair("val.loss", "train.loss")
    twins = len(epochs) >= 4 and float(np.ptp(val)) > 0 and bool((np.abs(val - train) <= 1e-6 * np.abs(train)).all())
    if twins:
        evidence = (Evidence("val.loss", float(val[-1]), float(epochs[-1]), expected=float(train[-1]), basis="train.loss"),)
        text = (
            f"val.loss equals train.loss to the last digit in {len(epochs)} epochs: validation is done on the training samples."
        )
        return Signs(text, evidence, "critical", 0.85, (), ("give validation its own samples",), (float(epochs[0]),))
    name = next((each for each in ("auc", "accuracy") if case.chart.has(f"train.{each}", f"val.{each}", points=3)), None)
    if name is None:
        return _flawless_alone(case) or Lacking("three epochs of AUC or accuracy on both splits")
    epochs, val, train = case.pair(f"val.{name}", f"train.{name}")
    labels = case.labels("val")
    majority = float(np.max(np.maximum(labels.share, 1 - labels.share))) if labels is not None else math.nan
    if len(val) < 3 or val[0] < PERFECT or not (val >= train - 0.002).all() or (name == "accuracy" and not majority < 0.9):
        return None
    patients, whole = case.facts.number("patients.set"), case.facts.number("samples.set")
    mixed = case.facts.get("data.split.by_patient") is False and 0 < patients < 0.95 * whole
    text = f"val.{name} is {figure(float(val[0]))} in the first epoch and never below train.{name}"
    if mixed:
        text += f"; {figure(whole)} samples of {figure(patients)} patients were split without regard to the patient"
    seen = [Evidence(f"val.{name}", float(val[0]), float(epochs[0]), expected=float(train[0]), basis=f"train.{name}")]
    told = {key: low for key in ("audit.metadata_auc_low", "audit.pixels_auc_low") if (low := case.facts.number(key)) > TOLD}
    if told:
        key, low = max(told.items(), key=lambda item: item[1])
        text += f": osler audit found that labels are told without the content of the images (AUC at least {figure(low)})."
        seen.append(Evidence(key, low, None, expected=0.5, basis="found by osler audit"))
    else:
        text += ": the same patients or images may stand in both splits, or the task is easy."
    changes = set_fact(case, "data.split.by_patient", True, "keep all samples of a patient in one split") if mixed else ()
    known = mixed or bool(told)
    grave = known or _without_a_mistake(val)
    confidence = 0.6 if known else 0.5 if grave else 0.35
    return Signs(text, tuple(seen), "warning" if grave else "note", confidence, changes, LOOK_FOR_LEAKS, (float(epochs[0]),))


def _without_a_mistake(scores: NDArray[np.float64]) -> bool:
    """Whether a validation score is 1 but for a few samples in the first epoch, and in nearly all that follow."""
    return len(scores) >= FLAWLESS_EPOCHS and bool(scores[0] > FLAWLESS and np.mean(scores > FLAWLESS) >= 0.8)


def _flawless_alone(case: Case) -> Signs | None:
    """An AUC of validation that is 1 from the first epoch on, with no training figure beside it."""
    epochs, scores = case.chart.points("val.auc")
    if not _without_a_mistake(scores):
        return None
    text = (
        f"val.auc is {figure(float(scores[0]))} in the first epoch and {figure(float(scores.min()))} at least in {len(scores)}: "
        "the same patients or images may stand in both splits, a mark may tell the label, or the task is easy."
    )
    evidence = (Evidence("val.auc", float(scores[0]), float(epochs[0]), expected=PERFECT, basis="rarely reached at all"),)
    return Signs(text, evidence, "warning", 0.5, (), LOOK_FOR_LEAKS, (float(epochs[0]),))


def input_out_of_range(case: Case) -> Signs | Lacking | None:
    """Pixels that are constant, or of another scale than 0 to 255."""
    if not case.chart.has("input.mean", "input.sd"):
        return Lacking("input.mean and input.sd by epoch, on the scale of 0 to 255")
    epochs, means = case.chart.points("input.mean")
    spreads = case.chart.points("input.sd")[1]
    mean, spread = median(means), median(spreads)
    dark = mean < DARK and spread < DARK
    if spread >= 2.0 and 2.0 <= mean <= 253.0 and not dark:
        return _at_the_ends(case)
    evidence = (
        Evidence("input.sd", spread, float(epochs[0]), expected=50.0, basis="usual for radiographs on 0 to 255"),
        Evidence("input.mean", mean, float(epochs[0]), expected=120.0, basis="usual"),
    )
    text = (
        f"The network receives pixels of mean {figure(mean)} and standard deviation {figure(spread)} on a scale of 0 to 255: "
        "images are nearly constant, or of another range."
    )
    actions = (
        "set preparation.range to the range of the files (16-bit images need it), and look at prepared images",
        "check that pixels are not divided by 255 twice",
    )
    return Signs(
        text,
        evidence,
        "critical",
        0.85,
        set_fact(case, "preparation.range", "percentile [1, 99]", "or the range that the files really have")
        if spread < 2.0 or dark
        else (),
        actions,
        (float(epochs[0]),),
    )


def _at_the_ends(case: Case) -> Signs | None:
    """Most pixels are white, or nearly all black: what was between the ends is clipped away."""
    for end, most in (("white", MOST_WHITE), ("black", MOST_BLACK)):
        epochs, shares = case.chart.points(f"input.{end}")
        if not len(shares) or median(shares) < most:
            continue
        evidence = (Evidence(f"input.{end}", median(shares), float(epochs[0]), expected=0.1, basis="share of pixels, usual"),)
        text = (
            f"{median(shares):.0%} of the pixels that the network receives are {end}: what lay between the ends is clipped away."
        )
        changes = set_fact(case, "preparation.range", "percentile [1, 99]", "or the range that the files really have")
        actions = ("look at 16 prepared images", "check that pixels are not scaled twice, and that the window fits the files")
        severity: Severity = "warning" if case.learned else "critical"
        return Signs(text, evidence, severity, 0.8, changes, actions, (float(epochs[0]),))
    return None


SAMPLES: dict[str, Fault] = {
    "declared_not_loaded": Fault(
        id="declared_not_loaded",
        scope="classification",
        name="Declared data are not the loaded data",
        family="samples",
        level="cause",
        means=(
            "The share of positives that the run's own figures betray is not the one declared: other files, another label "
            "column, or a filter."
        ),
        needs="prevalence.set as declared, and a one-sided epoch with its accuracy, or the prevalence by epoch",
        signature=declared_not_loaded,
        severity="warning",
        dose="none: find out what was loaded",
        lookalikes=(
            Lookalike("shifted_splits", "training and validation differ from each other"),
            Lookalike("a small validation set", "the interval of the observed share includes the declared one"),
        ),
        harmful=("class weights from the declared counts",),
        source="accuracy of an all-positive epoch is the prevalence; Wilson 1927; met in a classifier",
    ),
    "shifted_splits": Fault(
        id="shifted_splits",
        name="Splits differ",
        family="samples",
        level="cause",
        means="Training and validation have shares of positives that chance does not make.",
        needs="samples and prevalence of train and val",
        signature=shifted_splits,
        severity="warning from one and a half times apart, else a note",
        dose="a stratified split with patients kept whole",
        lookalikes=(Lookalike("declared_not_loaded", "the splits agree with each other"),),
        harmful=("thresholds carried over from one split to the other",),
        source="two shares, four standard errors apart",
    ),
    "leakage": Fault(
        id="leakage",
        name="Leakage",
        family="samples",
        level="cause",
        means="The same patients or images stand in training and in validation or test.",
        needs="split.patients_shared and split.duplicates_shared, an audit beside the run, or hashes of the splits",
        signature=leakage,
        severity="critical; a warning under a twentieth of validation and test, a note under a hundredth",
        dose="a split by patient, duplicates kept together",
        explains=("leakage_suspected",),
        lookalikes=(Lookalike("an easy task", "the figures stay as good on patients never seen"),),
        harmful=("reporting the figures with a footnote",),
        source="CLAIM 2024, items on data partition",
    ),
    "leakage_suspected": Fault(
        id="leakage_suspected",
        scope="classification",
        name="Validation too good to be true",
        family="samples",
        level="syndrome",
        means="Validation is near perfect from the first epoch on and never below training, or equals it to the last digit.",
        needs="three epochs of AUC or accuracy on both splits, or four of both losses; or a flawless AUC of validation",
        signature=leakage_suspected,
        severity=(
            "critical where both losses are one; a warning where patients mix, a shortcut tells labels, or nearly all epochs are "
            "flawless; else a note"
        ),
        dose="a split by patient, duplicates kept together; a look at what decides",
        lookalikes=(
            Lookalike("leakage", "patients and hashes compared: this is the proof"),
            Lookalike("augmentation_too_strong", "the training figures are the odd ones: low, and validation not near 1"),
            Lookalike("an easy task, or dropout", "the figures stay as good on patients never seen"),
        ),
        harmful=("taking it for success", "taking it for leakage without a comparison of patients"),
        source="what is learned takes an epoch or two; Kaufman et al. 2012 on leakage",
    ),
    "input_out_of_range": Fault(
        id="input_out_of_range",
        name="Inputs out of range",
        family="samples",
        level="cause",
        means="The network receives nearly constant images, or another scale than it is made for.",
        needs="input.mean and input.sd by epoch; input.white and input.black",
        signature=input_out_of_range,
        severity="critical; a warning where most pixels are clipped, and the run learns",
        dose="preparation.range as the files have it",
        explains=(
            "not_learning",
            "single_class_prediction",
            "chance_auc",
            "stuck_loss",
            "vanishing_gradients",
            "frozen_network",
            "saturated_outputs",
            "best_from_noise",
            "empty_masks",
            "low_overlap",
        ),
        lookalikes=(Lookalike("frozen_network", "the gradient norm"),),
        harmful=("a higher learning rate",),
        source="16-bit radiographs use a small part of their range",
    ),
}
