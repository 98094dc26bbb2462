"""Counting: what the loader gives, against what the source holds, was to be drawn, and chance makes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from osler.checkup.check import Check, failed, not_assessed, passed
from osler.checkup.patient import Patient
from osler.data.balance import NO_FINDING
from osler.doctor.findings import Change

__all__ = ["check_counts", "check_draw"]

Floats = NDArray[np.float64]
COMPARED = 8
"""Batches whose delivered targets are held against the source's."""
FEW_DISTINCT = 0.15
"""Share of the samples below which some epochs of draws are said to be of a few samples alone."""
NO_SIGNAL = 0.5
"""Share of the batches without any positive, above which too few tell anything."""
SORTED_Z = -6.0
"""Runs of equal labels fewer than chance makes, in standard errors."""


def check_counts(patient: Patient) -> Sequence[Check]:
    """Whether targets arrive as the source states them: the same count, the same labels, sample by sample."""
    if patient.stated is None:
        if patient.answers.of_masks:
            return [not_assessed("counts", "Masks are compared as pixels; their counts are in `osler balance`.")]
        return [not_assessed("counts", "The source of the loader is not known; nothing is declared that could be compared.")]
    given, stated = [], []
    for fed in patient.batches(COMPARED):
        given.append(fed.targets.float().cpu())
        stated.append(patient.stated(fed).float())
    here, there = torch.cat(given), torch.cat(stated)
    same = ((here == there) | (here.isnan() & there.isnan())).all(1)
    wrong, n = int((~same).sum()), len(same)
    positives = int(torch.nan_to_num(here).sum()), int(torch.nan_to_num(there).sum())
    figures: dict[str, Any] = {
        "compared": n,
        "different": wrong,
        "positives_delivered": positives[0],
        "positives_stated": positives[1],
    }
    said = f"Of {n} training samples drawn, {wrong} arrive with other labels than the source states"
    counted = f"{positives[0]} positives delivered, {positives[1]} stated"
    if wrong:
        return [
            failed(
                "declared_not_loaded",
                "critical",
                f"{said} ({counted}).",
                "Between the table of labels and the loss, labels are lost or taken from other rows or columns.",
                actions=("print ids and labels of one batch beside the source's rows, and follow where they part",),
                **figures,
            )
        ]
    return [
        passed("counts", f"All {n} training samples drawn arrive with the labels that the source states ({counted}).", **figures)
    ]


def check_draw(patient: Patient) -> Sequence[Check]:
    """What the first epochs of draws hold: each class and none, empty batches, repeats, order."""
    labels = np.concatenate(patient.draw.batches)
    has = np.nan_to_num(labels) == 1
    shares = np.array([*has.mean(axis=0), float((~has.any(axis=1)).mean())])
    found = [check for test in (_few, _starved, _empty, _sorted) for check in test(patient, has, shares)]
    if found:
        return found
    names = (*patient.answers.classes[-has.shape[1] :], NO_FINDING)
    told = ", ".join(f"{name} {share:.1%}" for name, share in zip(names, shares, strict=True))
    return [
        passed(
            "draw",
            f"{len(labels):,} draws in {len(patient.draw.batches)} batches: {told}; {_without(patient):.0%} of the batches hold "
            "no positive, and the order is as chance makes it.",
            shares=dict(zip(names, shares.tolist(), strict=True)),
            batches_without_positives=_without(patient),
        )
    ]


def _without(patient: Patient) -> float:
    return float(np.mean([not (batch == 1).any() for batch in patient.draw.batches]))


def _few(patient: Patient, has: NDArray[np.bool_], shares: Floats) -> Iterator[Check]:
    distinct, samples = patient.draw.distinct, patient.draw.samples
    if distinct is None or not samples or distinct >= FEW_DISTINCT * samples:
        return
    yield failed(
        "sampler_starves_findings",
        "critical",
        f"{len(has):,} draws over {patient.draw.epochs:g} epochs are of only {distinct} of {samples} samples.",
        "The sampler draws a few samples over and over; all others are never seen.",
        [Change("data.sampler", None, "none", "draw every sample once an epoch until the weights are one for each sample")],
        ["check that the sampler's weights are one for each sample, and not one for each class"],
        distinct=distinct,
        samples=samples,
    )


def _starved(patient: Patient, has: NDArray[np.bool_], shares: Floats) -> Iterator[Check]:
    """A class, or all of them, drawn far less often than they occur."""
    natural = patient.draw.natural
    if natural is None:
        return
    error = np.sqrt(np.maximum(natural * (1 - natural), 1e-9) / len(has))
    lost = [k for k in range(len(shares) - 1) if shares[k] < 0.2 * natural[k] and natural[k] - shares[k] > 4 * error[k]]
    if not lost:
        return
    names = patient.answers.classes[-has.shape[1] :]
    told = ", ".join(f"{names[k]} {shares[k]:.2%} of the draws, {natural[k]:.2%} of the samples" for k in lost)
    yield failed(
        "sampler_starves_findings",
        "critical",
        f"The sampler hides findings instead of showing them more often: {told}; {shares[-1]:.1%} of the draws have none.",
        "What is drawn holds next to nothing to learn from.",
        [Change("data.sampler", None, "balanced", "every class, and none, about equally often")],
        [],
        drawn=shares.tolist(),
    )


def _empty(patient: Patient, has: NDArray[np.bool_], shares: Floats) -> Iterator[Check]:
    without, batches = _without(patient), patient.draw.batches
    some = 1 - shares[-1]
    expected = float(np.mean([(1 - some) ** len(batch) for batch in batches]))
    if without <= NO_SIGNAL or not some:
        return
    size = max(len(batch) for batch in batches)
    wanted = 2 ** math.ceil(math.log2(max(2.0, 3 / some)))
    change = Change("training.batch_size", size, wanted, "about three positives a batch") if wanted <= 256 else None
    yield failed(
        "batches_without_positives",
        "warning",
        f"{without:.0%} of {len(batches)} batches hold no positive (by chance {expected:.0%} at {some:.1%} positives and {size} "
        "a batch).",
        "Most steps learn only to say no; those that do not undo them.",
        [change or Change("data.sampler", "none", "balanced", "positives in most batches")],
        [],
        share=without,
        expected=expected,
    )


def _sorted(patient: Patient, has: NDArray[np.bool_], shares: Floats) -> Iterator[Check]:
    """Runs of equal labels against chance (Wald and Wolfowitz 1940), for the class that speaks loudest."""
    found = [(z, k) for k in range(has.shape[1]) if math.isfinite(z := _runs_z(has[:, k]))]
    z, k = min(found, default=(0.0, 0))
    if z > SORTED_Z or len(has) < 40:
        return
    name = patient.answers.classes[-has.shape[1] :][k]
    yield failed(
        "samples_sorted",
        "critical",
        f"Samples come sorted: labels of {name} follow their like {-z:.0f} standard errors more often than in a shuffled order.",
        "Each batch has one class, and each undoes what the one before it taught.",
        [],
        ["shuffle the training loader (shuffle=True, or a sampler that does)"],
        z=z,
    )


def _runs_z(labels: NDArray[np.bool_]) -> float:
    """How many standard errors the number of runs lies above what chance makes; NaN for one label alone.

    >>> round(_runs_z(np.array([True] * 20 + [False] * 20)), 1)
    -6.1
    """
    n, ones = len(labels), int(labels.sum())
    if not 0 < ones < n:
        return math.nan
    expected = 1 + 2 * ones * (n - ones) / n
    variance = (expected - 1) * (expected - 2) / (n - 1)
    runs = 1 + int((labels[1:] != labels[:-1]).sum())
    return (runs - expected) / math.sqrt(variance) if variance > 0 else math.nan
