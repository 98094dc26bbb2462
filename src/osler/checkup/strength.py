"""Strength: whether a frozen probe still tells the classes apart after augmentation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from osler.checkup.check import Check, failed, not_assessed, passed
from osler.checkup.patient import Fed, Patient
from osler.doctor.findings import Change
from osler.metrics.intervals import Interval, auc_interval

__all__ = ["check_augmentation", "features_of", "judged", "probe"]

Floats = NDArray[np.float64]
SAMPLES = 600
SIDE = 12
COMPONENTS = 40
FOLDS = 5
RIDGE = 0.05
FEWEST = 12
TOLD = 0.6
"""A probe whose AUC on plain images is not surely above this tells nothing that augmentation could take away."""
KEPT = 0.35
"""Share of the probe's excess over 0.5 that must be left."""


def check_augmentation(patient: Patient) -> Sequence[Check]:
    """A linear probe of simple features, cross-validated on plain training images and on the same images augmented."""
    if patient.facts.get("augmentation", "") is None or not _augmented(patient):
        return [not_assessed("augmentation", _why(patient))]
    if patient.answers.of_masks:
        return [not_assessed("augmentation", "Masks move with the image; a probe of whole images would not tell.")]
    count = max(1, -(-SAMPLES // max(1, len(patient.batches(1)[0]))))
    plain, changed = _whole(patient.plain), _whole(patient.batches(count, 1 << 28))
    found = {}
    for k, name in enumerate(patient.answers.classes):
        pair = [probe(features_of(fed.images), patient.answers.labels(fed.targets)[:, k], fed.rows) for fed in (plain, changed)]
        if pair[0] is not None and pair[1] is not None and pair[0].low > TOLD:
            found[name] = (pair[0], pair[1])
    if not found:
        return [
            not_assessed(
                "augmentation", "Simple features do not tell the classes apart even in plain images: the probe is blind."
            )
        ]
    name = max(found, key=lambda each: found[each][0].low)
    before, after = found[name]
    said = (
        f"A linear probe tells {name} with an AUC of {before.value:.2f} [{before.low:.2f}, {before.high:.2f}] in plain training "
        f"images and of {after.value:.2f} [{after.low:.2f}, {after.high:.2f}] in augmented ones"
    )
    figures: dict[str, Any] = {"plain": before.value, "augmented": after.value, "low": after.low, "high": after.high}
    if after.high < 0.5 + KEPT * (before.low - 0.5) or (after.low <= 0.5 and after.high < 0.5 + 0.6 * (before.low - 0.5)):
        return [
            failed(
                "augmentation_too_strong",
                "warning",
                f"{said}.",
                "What tells the classes apart is rotated, cropped or drowned away before the model sees it.",
                _weaker(patient),
                ["look at the picture of the batch: can you still tell the classes?"],
                **figures,
            )
        ]
    return [passed("augmentation", f"{said}.", **figures)]


def _augmented(patient: Patient) -> bool:
    return bool(patient.plain) and any(key.startswith("augmentation.") for key in patient.facts)


def _why(patient: Patient) -> str:
    if not patient.plain:
        return "Only the loader's own images are known, not the same without augmentation."
    return "There is no augmentation."


def _weaker(patient: Patient) -> list[Change]:
    """Each change that is far above its usual strength brought back to it."""
    usual = {"rotation": 10, "shift": 0.05, "zoom": 0.1, "brightness": 0.1, "contrast": 0.1, "noise": 0.0, "vertical_flip": 0.0}
    changes = []
    for name, value in usual.items():
        given = patient.facts.number(f"augmentation.{name}")
        if math.isfinite(given) and given > 1.5 * value + 1e-9:
            changes.append(Change(f"augmentation.{name}", given, value, "its usual strength"))
    return changes


def _whole(feds: Sequence[Fed]) -> Fed:
    distinct = list({id(fed): fed for fed in feds}.values())
    rows = [fed.rows for fed in distinct if fed.rows is not None]
    images = torch.cat([fed.images.float().cpu() for fed in distinct])[:SAMPLES]
    targets = torch.cat([fed.targets.cpu() for fed in distinct])[:SAMPLES]
    return Fed(images, targets, np.concatenate(rows)[:SAMPLES] if len(rows) == len(distinct) else None)


def features_of(images: torch.Tensor) -> Floats:
    """(n, F) simple features: a thumbnail, and the tones of the whole."""
    gray = images.float().mean(1).cpu().numpy()
    thumbs = np.stack([cv2.resize(each, (SIDE, SIDE), interpolation=cv2.INTER_AREA).ravel() for each in gray])
    flat = gray.reshape(len(gray), -1)
    tones = np.quantile(flat, [0.05, 0.25, 0.5, 0.75, 0.95], axis=1).T
    return np.concatenate([thumbs, tones], axis=1).astype(np.float64)


def probe(features: Floats, labels: Floats, rows: NDArray[np.intp] | None) -> Interval | None:
    """AUC of a ridge regression on principal components for samples outside its fold; None with too few of a label.

    Args:
        features: (n, F).
        labels: (n,) in {0, 1, NaN}.
        rows: (n,) of the source; a row that was drawn twice stays in one fold. None: all are different.
    """
    known = np.isfinite(labels)
    features, has = features[known], labels[known] == 1
    codes = np.arange(len(has)) if rows is None else np.unique(rows[known], return_inverse=True)[1]
    if min(int(has.sum()), int((~has).sum())) < FEWEST:
        return None
    parts = _components(features, features)
    fold = np.random.default_rng(0).permutation(int(codes.max()) + 1)[codes] % FOLDS
    scores = np.zeros(len(has))
    for number in range(FOLDS):
        inside, outside = fold != number, fold == number
        if has[inside].any() and not has[inside].all():
            scores[outside] = _ridge(parts[inside], has[inside], parts[outside])
    return auc_interval(has.astype(float), scores, codes if len(np.unique(codes)) < len(codes) else None)


def judged(train: Floats, labels: Floats, held: Floats) -> Floats:
    """(m,) scores of held features (m, F) by a ridge regression on training ones (n, F) and labels (n,); NaN without both."""
    known = np.flatnonzero(np.isfinite(labels))
    has = labels[known] == 1
    if not has.any() or has.all():
        return np.full(len(held), np.nan)
    return _ridge(_components(train, train)[known], has, _components(train, held))


def _components(train: Floats, given: Floats) -> Floats:
    """(m, C) principal components of training features, of given features (m, F)."""
    mean, scale = train.mean(0), np.maximum(train.std(0), 1e-9)
    _, _, axes = np.linalg.svd((train - mean) / scale, full_matrices=False)
    return np.asarray(((given - mean) / scale) @ axes[:COMPONENTS].T)


def _ridge(train: Floats, labels: NDArray[np.bool_], test: Floats) -> Floats:
    """Scores of a ridge regression in which both labels weigh the same."""
    weights = np.where(labels, 0.5 / labels.mean(), 0.5 / (1 - labels.mean()))
    design = np.column_stack([train, np.ones(len(train))])
    weighted = design * weights[:, None]
    strength = RIDGE * np.trace(weighted.T @ design) / design.shape[1]
    solution = np.linalg.solve(weighted.T @ design + strength * np.eye(design.shape[1]), weighted.T @ labels)
    return np.asarray(np.column_stack([test, np.ones(len(test))]) @ solution)
