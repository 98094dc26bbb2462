"""Fitting: one batch learnt by heart."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from osler.checkup.check import Check, failed, not_assessed, passed
from osler.checkup.constants import best_constant
from osler.checkup.patient import Fed, Patient
from osler.doctor.findings import Severity

__all__ = ["check_overfit"]

LEARNT_BY_HEART = 16
RATES = (1e-3, 1e-2, 1e-4)
STEPS = 90
NEAR = 0.9
"""Share of the way from the best constant's loss to the least loss possible that counts as near zero."""
FAR = 0.5


# --- one batch ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Learnt:
    """What came of learning a batch by heart: losses before, after, and on blank images, and the rate used."""

    first: float
    last: float
    blank: float
    rate: float
    steps: int


def check_overfit(patient: Patient, until: float) -> Sequence[Check]:
    """One batch learnt by heart, without dropout, by Adam at a sound rate: model, loss and gradient can learn at all."""
    fed = _mixed(patient)
    floor, _ = best_constant(patient.loss, patient.answers, [fed])
    least = _least(patient, fed)
    if not math.isfinite(floor) or floor - least < 1e-6:
        return [
            not_assessed("overfit", f"A constant already has the least loss on this batch, {least:.4g}: it has one label alone.")
        ]
    best = None
    for rate in RATES:
        with patient.kept():
            tried = _learn(patient, fed, rate, floor - (NEAR + 0.02) * (floor - least), until)
        best = tried if best is None or tried.last < best.last else best
        if (floor - best.last) / (floor - least) >= NEAR or time.perf_counter() > until:
            break
    assert best is not None
    share, blind = ((floor - loss) / (floor - least) for loss in (best.last, best.blank))
    said = (
        f"{len(fed)} samples learnt by heart: loss {best.first:.4g} to {best.last:.4g} in {best.steps} steps at {best.rate:g} "
        f"(floor {floor:.4g}, least possible {least:.4g}): {share:.0%} of the way"
    )
    figures: dict[str, Any] = {
        "floor": floor,
        "least": least,
        "last": best.last,
        "blank": best.blank,
        "share": share,
        "rate": best.rate,
    }
    if share < NEAR and time.perf_counter() > until:
        return [not_assessed("overfit", f"{said}; there was no time for more steps.")]
    if share < NEAR:
        means = "A sound network learns a handful of samples by heart. Where it cannot, model, loss or gradient is broken."
        more = [
            "look at `gradients`, `activation` and `inputs`; two equal images with different labels cannot be told apart either"
        ]
        severity: Severity = "critical" if share < FAR else "warning" if share < 0.75 else "note"
        return [failed("not_learning", severity, f"{said}.", means, actions=more, **figures)]
    if blind > 0.5 * share:
        means = "What it learnt does not come from the image."
        return [failed("frozen_network", "critical", f"{said}; with blank images it is {blind:.0%}.", means, **figures)]
    return [passed("overfit", f"{said}; with blank images the loss is {best.blank:.4g}.", **figures)]


def _mixed(patient: Patient) -> Fed:
    """Some samples of the first batches, of each label where that can be."""
    feds = patient.batches(4)
    whole = Fed(torch.cat([fed.images for fed in feds]), torch.cat([fed.targets for fed in feds]))
    labels = np.nan_to_num(patient.answers.labels(whole.targets))
    groups = np.unique(labels, axis=0, return_inverse=True)[1].ravel()
    # Every label pattern in turn: a batch of one label alone could be learnt by the bias.
    turn = np.array([int((groups[:place] == groups[place]).sum()) for place in range(len(groups))])
    size = min(LEARNT_BY_HEART, max(2, len(feds[0])))
    return whole.take(np.sort(np.lexsort((np.arange(len(groups)), turn))[:size]))


def _least(patient: Patient, fed: Fed) -> float:
    with torch.no_grad():
        losses = [
            float(patient.loss(patient.answers.right(fed.targets, each), fed.targets)) for each in (0.999, 2.0, 4.0, 8.0, 12.0)
        ]
    return float(np.nanmin(losses))


def _learn(patient: Patient, fed: Fed, rate: float, enough: float, until: float) -> _Learnt:
    patient.stages[-1].enter()
    learning = [parameter for parameter in patient.model.parameters() if parameter.requires_grad]
    if not learning:
        return _Learnt(math.inf, math.inf, math.inf, rate, STEPS)
    optimizer = torch.optim.Adam(learning, lr=rate)
    losses = patient.fit([fed], optimizer, [rate] * STEPS, until, stop=lambda so_far: so_far[-1] < enough, dropout=False)
    blank = patient.mean_loss([Fed(torch.zeros_like(fed.images), fed.targets)])
    last = losses[-1] if math.isfinite(losses[-1]) else math.inf
    return _Learnt(losses[0], last, blank, rate, len(losses))
