"""Pixels: what the model really receives, and whether train and val are prepared alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from osler.checkup.check import Check, failed, not_assessed, passed
from osler.checkup.drawings import batch_picture
from osler.checkup.patient import Fed, Patient
from osler.doctor.findings import Change, Severity
from osler.metrics.intervals import auc_interval

__all__ = ["check_inputs", "check_leak", "check_splits", "first_layer"]

Floats = NDArray[np.float64]
LOOKED_AT = 6
"""Batches looked at."""
BLANK = 0.02
"""Standard deviation of an image, as a share of the range of all, below which there is next to nothing in it."""
BLANK_SHARE, MOST_BLANK = 0.05, 0.5
SATURATED = 0.5
"""Share of an image's pixels at the range's upper end, from which on it is said to be saturated."""
NARROW, WIDE = 0.1, 10.0
"""Standard deviation of what the first layer receives, outside which training is slow or unstable (TheDeepChecker, 2022)."""
FAR_NARROW, FAR_WIDE = 0.03, 50.0
APART, FAR_APART = 0.2, 0.4
"""How far the AUC of a figure of the images, train against val, must surely be from 0.5."""
EMPTY_MASKS = 0.9
HASHED = 4000


# --- what arrives -------------------------------------------------------------------------------------------------------------


def check_inputs(patient: Patient) -> Sequence[Check]:
    """Blank, saturated and broken images, their scale where the first layer reads them, and empty masks; with the batch."""
    feds = patient.batches(LOOKED_AT)
    images = torch.cat([fed.images.detach().float().flatten(1).cpu() for fed in feds])
    picture = batch_picture(patient, feds[0])
    found = [*_not_finite(images), *_blank(images, patient.full), *_scale(patient, feds), *_empty(patient, feds)]
    if found:
        return [_with(found[0], picture), *found[1:]]
    mean, sd = float(images.mean()), float(images.std())
    given = first_layer(patient, feds[0])
    read = "" if given is None else f"; the first layer reads mean {given[0]:.2f}, SD {given[1]:.2f}"
    said = f"{len(images)} training images arrive with mean {mean:.4g} and SD {sd:.4g}, none blank or saturated{read}."
    return [passed("inputs", said, *picture, mean=mean, sd=sd)]


def _with(check: Check, pictures: Sequence[Any]) -> Check:
    return Check(**{**vars(check), "pictures": (*pictures, *check.pictures)})


def _not_finite(images: Tensor) -> list[Check]:
    broken = int((~torch.isfinite(images)).any(1).sum())
    if not broken:
        return []
    return [
        failed(
            "non_finite",
            "critical",
            f"{broken} of {len(images)} images hold values that are not finite.",
            "The first of them makes every weight NaN.",
            [],
            ["find the step of the preparation that divides by zero or reads past the data"],
            broken=broken,
        )
    ]


def _blank(images: Tensor, full: float | None) -> list[Check]:
    values = torch.nan_to_num(images)
    low, high = (0.0, full) if full is not None else (float(values.min()), float(values.max()))
    spread = max(high - low, 1e-12)
    blank = float((values.std(1) < BLANK * spread).float().mean())
    saturated = float(((values >= high - 1e-3 * spread).float().mean(1) > SATURATED).float().mean())
    if blank <= BLANK_SHARE and saturated <= BLANK_SHARE:
        return []
    severity: Severity = "critical" if max(blank, saturated) > MOST_BLANK else "warning"
    return [
        failed(
            "input_out_of_range",
            severity,
            f"{blank:.0%} of {len(images)} images are blank (SD under {BLANK:.0%} of the range {low:.4g} to {high:.4g}), and "
            f"{saturated:.0%} have most pixels saturated at {high:.4g}.",
            "There is little or nothing in these images that a model could learn from.",
            [Change("preparation.range", None, {"percentile": [0.5, 99.5]}, "each image's own range becomes 0–255")],
            ["look at the picture of the batch, and at `osler look`"],
            blank=blank,
            saturated=saturated,
        )
    ]


def _scale(patient: Patient, feds: Sequence[Fed]) -> list[Check]:
    given = first_layer(patient, feds[0])
    if given is None or not math.isfinite(given[1]):
        return []
    mean, sd = given
    off = sd < NARROW or sd > WIDE or abs(mean) > WIDE
    if not off:
        return []
    far = sd < FAR_NARROW or sd > FAR_WIDE
    return [
        failed(
            "input_out_of_range",
            "critical" if far else "warning",
            f"The first layer reads values of mean {mean:.4g} and SD {sd:.3g}, after all normalisation; about 0 and 1 is sound.",
            "Pixels are scaled twice, or not at all: the signal drowns in the layer's bias, or floods it.",
            [Change("preparation.range", None, "dtype", "the whole range of the pixels becomes 0–255")],
            ["normalise images once, to a mean near 0 and an SD near 1"],
            mean=mean,
            sd=sd,
        )
    ]


@torch.no_grad()
def first_layer(patient: Patient, fed: Fed) -> tuple[float, float] | None:
    """Mean and standard deviation of what the first layer with weights reads; None where no such layer is met."""
    seen: list[Tensor] = []

    def hear(_: nn.Module, given: tuple[Any, ...]) -> None:
        if not seen and given and isinstance(given[0], Tensor) and given[0].is_floating_point():
            seen.append(given[0].detach().float())

    kinds = (nn.modules.conv._ConvNd, nn.Linear)
    hooks = [module.register_forward_pre_hook(hear) for module in patient.model.modules() if isinstance(module, kinds)]
    try:
        patient.model.eval()
        patient.outputs(fed)
    finally:
        for hook in hooks:
            hook.remove()
    return (float(seen[0].mean()), float(seen[0].std())) if seen else None


def _empty(patient: Patient, feds: Sequence[Fed]) -> list[Check]:
    """Masks that arrive without any foreground."""
    if not patient.answers.of_masks:
        return []
    labels = np.concatenate([patient.answers.labels(fed.targets) for fed in feds])
    empty, n = float((labels != 1).all(axis=1).mean()), len(labels)
    if empty <= EMPTY_MASKS:
        return []
    return [
        failed(
            "empty_masks",
            "critical" if empty == 1 else "warning",
            f"{empty:.0%} of {n} masks arrive without a pixel of foreground.",
            "Nothing can be learned of what is never there; predicting empty masks will look nearly perfect.",
            [Change("data.patches", None, {"size": 128, "foreground": 0.33}, "a third of the patches on foreground")],
            ["check the values of the mask files (0/1 or 0/255), and whether resizing erases small lesions"],
            empty=empty,
        )
    ]


# --- train against val --------------------------------------------------------------------------------------------------------


def check_splits(patient: Patient) -> Sequence[Check]:
    """Whether figures of the images tell train from val further than sampling error allows."""
    train = patient.plain or tuple(patient.batches(LOOKED_AT))
    if not patient.val:
        return [not_assessed("splits", "There is no validation loader to compare with; give `val_loader`.")]
    here, there = _figures(train, patient.full), _figures(patient.val, patient.full)
    n = len(next(iter(here.values()))), len(next(iter(there.values())))
    which = np.repeat([0.0, 1.0], n)
    codes = _codes(patient, n)
    level = 1 - 0.05 / len(here)  # Bonferroni: one of several figures may be odd by chance
    found = {name: auc_interval(which, np.concatenate([here[name], there[name]]), codes, level) for name in here}
    sure = {name: max(each.low - 0.5, 0.5 - each.high) for name, each in found.items() if math.isfinite(each.low)}
    name = max(sure, key=lambda key: sure[key], default=None)
    if name is None:
        return [not_assessed("splits", "All images have the same figures; nothing can be compared.")]
    one = found[name]
    means = float(here[name].mean()), float(there[name].mean())
    said = (
        f"{name} of {n[0]} train and {n[1]} val images: mean {means[0]:.4g} and {means[1]:.4g}; it tells the splits apart with "
        f"an AUC of {one.value:.2f} [{one.low:.2f}, {one.high:.2f}]"
    )
    figures: dict[str, Any] = {"figure": name, "auc": one.value, "low": one.low, "high": one.high}
    if sure[name] > APART:
        return [
            failed(
                "validation_differs",
                "critical" if sure[name] > FAR_APART else "warning",
                f"{said}, where alike splits have 0.5.",
                "Train and val are not prepared alike, or come from different sources: val says nothing of what was learned.",
                [],
                ["compare the preparation of both loaders step by step: range, normalisation, inversion, channels, resize"],
                **figures,
            )
        ]
    return [passed("splits", f"{said}: no more than this of {len(here)} figures compared.", **figures)]


def _figures(feds: Sequence[Fed], full: float | None) -> dict[str, Floats]:
    """Figures (n,) of each image."""
    images = torch.cat([fed.images.detach().float().cpu() for fed in feds])
    flat = torch.nan_to_num(images).flatten(1).double()
    edges = (images[..., 1:] - images[..., :-1]).abs().flatten(1).double().mean(1)
    figures: dict[str, Any] = {
        "mean": flat.mean(1),
        "SD": flat.std(1),
        "minimum": flat.amin(1),
        "maximum": flat.amax(1),
        "contrast of edges": edges,
    }
    if full is not None:
        figures |= {"share of black": (flat <= 0).double().mean(1), "share of white": (flat >= full).double().mean(1)}
    return {name: values.numpy() for name, values in figures.items()}


def _codes(patient: Patient, n: tuple[int, int]) -> NDArray[np.intp] | None:
    """Numbers of patients, where every image of both splits is there and its patient known."""
    parts = [patient.patients.get(split) for split in ("train", "val")]
    if any(part is None or len(part) != count for part, count in zip(parts, n, strict=True)):
        return None
    both = np.concatenate([part for part in parts if part is not None])
    return np.asarray(np.unique(both, return_inverse=True)[1], dtype=np.intp)


# --- the same images in both --------------------------------------------------------------------------------------------------


def check_leak(patient: Patient) -> Sequence[Check]:
    """Images, and patients, that stand in train and val."""
    if not patient.val:
        return [not_assessed("leak", "There is no validation loader to compare with; give `val_loader`.")]
    known = [set(patient.patients.get(split, np.empty(0)).tolist()) for split in ("train", "val")]
    shared = known[0] & known[1]
    train = _hashes(patient.plain or patient.batches(LOOKED_AT))
    val = _hashes(patient.val)
    twins = sum(each in train for each in val if each is not None)
    share = twins / max(1, len(val))
    of = "" if patient.plain else " (of the training images drawn so far; augmentation hides others)"
    said = f"{twins} of {len(val)} val images stand in train, pixel by pixel{of}; {len(shared)} patients are in both"
    if share > 0.005 or shared:
        return [
            failed(
                "leakage",
                "critical" if share > 0.05 or shared else "warning",
                f"{said}.",
                "What was learned by heart is taken for what was understood: validation figures are too good.",
                [Change("data.split.by_patient", None, True, "keep all samples of a patient in one split")],
                ["remove duplicates from one of the splits"],
                images=twins,
                patients=len(shared),
            )
        ]
    return [passed("leak", f"{said}.", images=twins, patients=0)]


def _hashes(feds: Sequence[Fed]) -> list[bytes | None]:
    """The bytes of each image's pixels, hashed; None for a blank one, which is like any other."""
    import hashlib

    found: list[bytes | None] = []
    for fed in feds:
        for image in fed.images.cpu():
            pixels = image.numpy() if image.dtype != torch.bfloat16 else image.float().numpy()
            blank = pixels.size and float(np.ptp(pixels.astype(np.float32))) == 0.0
            found.append(None if blank else hashlib.blake2b(pixels.tobytes(), digest_size=12).digest())
        if len(found) > HASHED:
            break
    return found
