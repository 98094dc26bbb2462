"""Labels: whether images and labels belong together, and whether val means by them what train does."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from osler.checkup.check import Check, failed, not_assessed, passed
from osler.checkup.patient import Fed, Patient
from osler.checkup.strength import features_of, judged
from osler.metrics.intervals import Interval, auc_interval

__all__ = ["check_labels"]

Floats = NDArray[np.float64]
LONGEST = 400
USUAL_STEPS = 240
ENOUGH = 0.7
"""An AUC that is surely below this after a whole training means that nothing was found."""
INVERTED = 0.42
NEEDED = 8
"""Positives, and negatives, of val that an AUC is said of."""
FAMILY = 0.05
"""Chance of calling any class told that is not."""


def check_labels(patient: Patient, until: float) -> Sequence[Check]:
    """Judged on val: a linear probe of simple features, and where that is blind a short training, on real and shuffled labels."""
    if not patient.val:
        return [not_assessed("labels", "There is no validation loader to judge on; give `val_loader`.")]
    how = "A linear probe of the training images"
    found = _probed(patient, shuffled=False)
    if _tells(found) or _inverted(found):
        return [_said(how, found, _probed(patient, shuffled=True), enough=True)]
    trained, steps, rate = _trained(patient, until, shuffled=False)
    if not trained:
        return [not_assessed("labels", "Val has too few positives or negatives of every class for an AUC.")]
    half = time.perf_counter() + 0.5 * (until - time.perf_counter())
    blind, _, _ = _trained(patient, half, shuffled=True, most=steps)
    planned = patient.scale.steps if math.isfinite(patient.scale.steps) else USUAL_STEPS
    how = f"A linear probe is blind; after {steps} steps at {rate:.2g} the model"
    return [_said(how, trained, blind, enough=steps >= min(LONGEST, 0.8 * planned))]


def _tells(found: Mapping[str, Interval]) -> bool:
    return any(each.low > 0.5 for each in found.values())


def _inverted(found: Mapping[str, Interval]) -> list[str]:
    return [name for name, each in found.items() if each.high < INVERTED]


def _said(how: str, found: Mapping[str, Interval], blind: Mapping[str, Interval], enough: bool) -> Check:
    """What the AUCs on val mean.

    Args:
        how: they came about.
        found: by class, learnt from the real labels.
        blind: likewise from shuffled ones.
        enough: as much was learnt as the whole run would learn.
    """
    told = ", ".join(f"{name} {each.value:.2f} [{each.low:.2f}, {each.high:.2f}]" for name, each in list(found.items())[:4])
    other = [each.value for each in blind.values()]
    said = f"{how} tells in val, by AUC: {told}; from shuffled labels {_span(other)}"
    figures: dict[str, Any] = {"auc": {name: each.value for name, each in found.items()}, "shuffled": other}
    turned = _inverted(found)
    if turned:
        means = "What train calls positive val calls negative: labels or columns are turned round in one of the splits."
        more = ["print a few images of train and val with their labels side by side"]
        return failed(
            "inverted_scores", "critical", f"{said}. Surely below 0.5: {', '.join(turned)}.", means, actions=more, **figures
        )
    if _tells(found):
        return passed("labels", f"{said}: labels and images belong together.", **figures)
    if enough and max(each.high for each in found.values()) < ENOUGH:
        means = (
            "Labels may belong to other images (a table sorted otherwise than the files), or what they name is not to be seen at "
            "this size."
        )
        more = [
            "hold ids, images and labels of one batch against the source",
            "train a few epochs, and look at `osler diagnose`",
        ]
        return failed("not_learning", "warning", f"{said}: no class better than by chance.", means, actions=more, **figures)
    return not_assessed("labels", f"{said}: too few val samples, or too short a training, to tell.")


def _span(values: Sequence[float]) -> str:
    if not values:
        return "nothing was learnt"
    return f"{values[0]:.2f}" if len(values) == 1 else f"{min(values):.2f} to {max(values):.2f}"


# --- the probe ----------------------------------------------------------------------------------------------------------------


def _probed(patient: Patient, shuffled: bool) -> dict[str, Interval]:
    """AUC on val of each class by a linear probe of training images; empty for masks, and for inputs that are no images."""
    train = patient.plain or tuple(patient.batches(24))
    if patient.answers.of_masks or train[0].images.ndim != 4:
        return {}
    labels, held = (np.concatenate([patient.answers.labels(fed.targets) for fed in feds]) for feds in (train, patient.val))
    if shuffled:
        labels = np.random.default_rng(patient.seed).permutation(labels)
    features = [np.concatenate([features_of(fed.images) for fed in feds]) for feds in (train, patient.val)]
    scores = np.column_stack([judged(features[0], labels[:, k], features[1]) for k in range(labels.shape[1])])
    return _aucs(patient, held, scores, np.arange(len(held)))


# --- a short training ---------------------------------------------------------------------------------------------------------


def _trained(patient: Patient, until: float, shuffled: bool, most: int | None = None) -> tuple[dict[str, Interval], int, float]:
    """AUC of each class on val after short training from the start; steps taken, and their highest rate."""
    planned = patient.scale.steps if math.isfinite(patient.scale.steps) else USUAL_STEPS
    count = most or round(min(LONGEST, planned))
    feds = patient.batches(count)
    if shuffled:
        feds = _dealt_anew(feds, patient.seed)
    stage = patient.stages[-1]
    rate = patient.suggested if math.isfinite(patient.suggested) else min(stage.rate, 3e-3)
    with patient.kept():
        stage.enter()
        learning = [parameter for parameter in patient.model.parameters() if parameter.requires_grad]
        if not learning:
            return {}, 0, rate
        if math.isfinite(patient.seconds):  # the schedule must fit the time, or it would end at its highest rate
            left = until - time.perf_counter()
            count = max(1, min(count, int(left / (1.3 * patient.seconds))))
        rates = [rate * min(1.0, (step + 1) / 10) * (1 - 0.9 * step / count) for step in range(count)]
        losses = patient.fit(feds, torch.optim.AdamW(learning, lr=rate), rates, until)
        truths, scores, images = patient.answered(patient.val)
    return _aucs(patient, truths, scores, images), len(losses), rate


def _aucs(patient: Patient, truths: Floats, scores: Floats, images: NDArray[np.intp]) -> dict[str, Interval]:
    """Of each class with enough of both labels; the level leaves room for as many classes as there are."""
    names = patient.answers.classes[-truths.shape[1] :]
    val = patient.patients.get("val")
    known = None if val is None or len(val) != len(truths) else np.unique(val, return_inverse=True)[1].astype(np.intp)
    codes = images if patient.answers.of_masks else known
    found = {}
    for k, name in enumerate(names):
        some = np.isfinite(scores[:, k])
        positives, negatives = (int((truths[some, k] == label).sum()) for label in (1, 0))
        if min(positives, negatives) >= NEEDED:
            own = None if codes is None else codes[some]
            found[name] = auc_interval(truths[some, k], scores[some, k], own, 1 - FAMILY / len(names))
    return {name: each for name, each in found.items() if math.isfinite(each.value)}


def _dealt_anew(feds: Sequence[Fed], seed: int) -> list[Fed]:
    """The same batches with their targets dealt anew among all samples."""
    targets = torch.cat([fed.targets for fed in feds])
    mixed = targets[torch.from_numpy(np.random.default_rng(seed).permutation(len(targets))).to(targets.device)]
    edges = np.cumsum([0, *(len(fed) for fed in feds)])
    return [Fed(fed.images, mixed[edges[k] : edges[k + 1]], fed.rows) for k, fed in enumerate(feds)]
