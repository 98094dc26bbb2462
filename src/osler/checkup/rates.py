"""Rates: the learning-rate range test, repeated, and a short trial at the rate in use."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from osler.checkup.check import Check, failed, not_assessed, passed
from osler.checkup.drawings import range_picture
from osler.checkup.patient import Fed, Patient, Stage
from osler.doctor.findings import Change, Severity

__all__ = ["check_rate", "range_test", "suggestion"]

Floats = NDArray[np.float64]
REPEATS = 3
STEPS = 64
LOW, HIGH = 3e-6, 1.0
SGD = 10.0
"""Plain gradient steps take rates so many times higher."""
CYCLED = 2
"""Batches gone through in turn: few, so that a sound rate shows within the few steps that a sweep spends on it."""
SMOOTHING = 0.8
"""Weight of what was seen before in the running mean of the losses."""
TURNED = 4.0
"""Times the fall so far by which the loss must rise again for the test to end."""
TRIAL = 40
BELOW_LEAST = 0.1
"""The suggestion is so far left of the rate at which the loss was least, a third for SGD, whose valley is narrow."""
TOO_HIGH, TOO_LOW = 25.0, 50.0
"""Times the suggestion, and times below it, within which a rate is not even suspected."""


@dataclass(frozen=True)
class Sweep:
    """One range test: rates, smoothed losses, the rate it suggests (NaN: the loss never fell), and where it broke out."""

    rates: Floats
    losses: Floats
    suggested: float
    broke: float


def check_rate(patient: Patient, until: float) -> Sequence[Check]:
    """The loss while the rate rises, from the same start over different batches; the rate in use is then tried itself."""
    stage = max(patient.stages, key=lambda each: each.rate)
    sweeps: list[Sweep] = []
    started = time.perf_counter()
    for number in range(REPEATS):
        spent = (time.perf_counter() - started) / max(1, number)
        if number and time.perf_counter() + spent > until:
            break
        with patient.kept():
            sweeps.append(range_test(patient, stage, number))
    usable = [sweep.suggested for sweep in sweeps if math.isfinite(sweep.suggested)]
    middle = float(np.exp(np.median(np.log(usable)))) if usable else math.nan
    patient.suggested = middle
    floor = patient_floor(patient)
    curves = [(sweep.rates, sweep.losses) for sweep in sweeps if len(sweep.rates) > 1]
    picture = (range_picture(curves, usable, middle, stage.rate, floor),) if curves else ()
    if not usable:
        return [not_assessed("rate", "The loss falls at no learning rate of the range test; see what else failed.", *picture)]
    said = f"{_suggested(usable, middle)}; {stage.rate:.2g} is in use"
    figures: dict[str, Any] = {"suggested": middle, "low": min(usable), "high": max(usable), "in_use": stage.rate}
    change = Change("training.learning_rate", stage.rate, _round(middle), "what the range test suggests")
    if stage.rate > TOO_HIGH * middle:
        ends = _tried(patient, stage, middle, until)
        if ends is None:
            why = f"{said}, {stage.rate / middle:.2g} times that, and there was no time to try it; give more --minutes."
            return [not_assessed("rate", why, *picture)]
        severity, told = _judged(*ends)
        said += f"; {told}"
        if severity is not None:
            means = "Steps overshoot: the loss jumps, and early damage is not repaired."
            return [failed("learning_rate_too_high", severity, f"{said}.", means, [change], pictures=picture, **figures)]
    low = _too_little(patient, stage, sweeps) if stage.rate < middle / TOO_LOW else None
    if low is not None:
        means = "The weights hardly move in the whole run: the loss falls too slowly to arrive anywhere."
        return [failed("learning_rate_too_low", low[0], f"{said}; {low[1]}.", means, [change], pictures=picture, **figures)]
    return [passed("rate", f"{said}.", *picture, **figures)]


def patient_floor(patient: Patient) -> float:
    """The best constant's loss on the first batches; NaN where unknown."""
    return patient.start(patient.batches(6)).floor


def range_test(patient: Patient, stage: Stage, number: int) -> Sweep:
    """One sweep of rising rates, over batches of its own.

    Args:
        patient: from its start.
        stage: whose optimiser is used.
        number: of the repeat; each has other batches.
    """
    stage.enter()
    optimizer = stage.optimizer()
    plain = isinstance(optimizer, torch.optim.SGD)
    scale = SGD if plain else 1.0
    rates = np.geomspace(LOW * scale, HIGH * scale, STEPS)
    turned = patient.batches(REPEATS * CYCLED)[number * CYCLED : (number + 1) * CYCLED]
    first = _own_losses(patient, turned)
    losses = patient.fit(turned, optimizer, rates.tolist(), stop=lambda so_far: _has_turned(_leveled(so_far, first)))
    return suggestion(rates[: len(losses)], _leveled(losses, first), BELOW_LEAST if not plain else 1 / 3)


def _own_losses(patient: Patient, feds: Sequence[Fed]) -> Floats:
    """Each batch's loss before any step."""
    patient.model.train()
    with torch.no_grad():
        return np.array([float(patient.loss_of(fed)) for fed in feds])


def _leveled(losses: Sequence[float], first: Floats) -> Floats:
    """Losses less what each batch cost before any step, plus the mean of that: a batch with many positives is no learning."""
    place = np.arange(len(losses)) % len(first)
    return np.asarray(np.array(losses) - first[place] + first.mean())


def _has_turned(losses: Floats) -> bool:
    smooth = smoothed(losses)
    fall = max(smooth[0] - smooth.min(), 0.05 * abs(smooth[0]))
    return len(losses) > 10 and bool(smooth[-1] > smooth.min() + TURNED * fall)


def smoothed(losses: Floats) -> Floats:
    """The running mean of losses, corrected for its start.

    >>> smoothed(np.array([2.0, 2.0])).round(9).tolist()
    [2.0, 2.0]
    """
    found, mean = np.empty(len(losses)), 0.0
    for step, loss in enumerate(losses):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found[step] = mean / (1 - SMOOTHING ** (step + 1))
    return found


def suggestion(rates: Floats, losses: Floats, below: float = BELOW_LEAST) -> Sweep:
    """The rate that one sweep suggests: so far below where the smoothed loss was least, but not where it had yet to fall.

    NaN where the fall is no more than the losses scatter.

    >>> rates = np.geomspace(1e-6, 1, 61); losses = 1 - 0.5 * (rates > 1e-3) + 9 * (rates > 0.2)
    >>> sweep = suggestion(rates, losses); 1e-3 < sweep.suggested < 0.03, sweep.broke > 0.2
    (True, True)
    """
    finite = np.isfinite(losses)
    last = len(losses) if finite.all() else int(np.argmin(finite))
    rates, losses = rates[:last], losses[:last]
    if last < 8:
        return Sweep(rates, losses, math.nan, math.nan)
    smooth = smoothed(losses)
    noise = float(np.std(np.diff(losses[: max(8, last // 3)]))) / math.sqrt(2) * math.sqrt((1 - SMOOTHING) / (1 + SMOOTHING))
    start = float(np.median(smooth[3 : max(5, last // 4)]))
    place = 3 + int(np.argmin(smooth[3:]))
    fall = start - float(smooth[place])
    after = np.flatnonzero(smooth[place:] > start + 0.5 * abs(fall))
    broke = float(rates[place + after[0]]) if len(after) else math.nan
    if fall < max(3 * noise, 0.02 * abs(start)):
        return Sweep(rates, smooth, math.nan, broke)
    begun = 3 + int(np.argmax(smooth[3:] < start - 0.2 * fall))
    return Sweep(rates, smooth, float(min(rates[place], max(below * rates[place], 0.1 * rates[begun]))), broke)


def _suggested(rates: Sequence[float], middle: float) -> str:
    """What the range tests suggest, and how far they differ."""
    if len(rates) == 1:
        return f"One range test suggests {middle:.2g}, and how far another would differ is not known"
    low, high = min(rates), max(rates)
    return f"{len(rates)} range tests suggest {middle:.2g} (from {low:.2g} to {high:.2g}, a factor of {high / low:.2g})"


def _tried(patient: Patient, stage: Stage, sound: float, until: float) -> tuple[float, float, float] | None:
    """Loss after a short training at the rate in use, after one at a sound rate, and before; None where there was no time."""
    ends = {}
    feds = patient.batches(24)
    for rate in (stage.rate, sound):
        with patient.kept():
            stage.enter()
            losses = patient.fit(feds, stage.optimizer(), [rate] * TRIAL, until)
        ends[rate] = _end(losses)
    start = patient.start(feds[:6]).loss
    here, there = ends[stage.rate], ends[sound]
    return None if math.isnan(here) or math.isnan(there) else (here, there, start)


def _judged(here: float, there: float, start: float) -> tuple[Severity | None, str]:
    """How grave it is that the rate in use ends worse than training began, None where it does not; and the losses in words.

    >>> _judged(9.0, 0.5, 0.7)[0], _judged(0.6, 0.5, 0.7)[0]
    ('critical', None)
    """
    told = "is not finite" if not math.isfinite(here) else f"is {here:.3g}"
    worst = max(start, there)
    severity: Severity | None = "critical" if not here <= 3 * worst else "warning" if here > 1.2 * worst else None
    return (
        severity,
        f"tried for {TRIAL} steps the loss {told} at the rate in use, {there:.3g} at the suggested one, {start:.3g} at the start",
    )


def _end(losses: Sequence[float]) -> float:
    """Mean of the last losses; infinite where one is not finite, NaN where too few steps were taken to tell."""
    if losses and not math.isfinite(losses[-1]):
        return math.inf
    return float(np.mean(losses[-10:])) if len(losses) >= TRIAL // 2 else math.nan


def _too_little(patient: Patient, stage: Stage, sweeps: Sequence[Sweep]) -> tuple[Severity, str] | None:
    """Severity and words where all steps of the run together go less far than the range test went before the loss fell."""
    distance = patient.scale.distance
    if not math.isfinite(distance):
        return "warning", "nobody said how many steps there will be"
    needed = []
    for sweep in sweeps:
        if math.isfinite(sweep.suggested):
            start = float(np.median(sweep.losses[3:8]))
            fallen = sweep.losses < start - 0.3 * (start - float(sweep.losses.min()))
            needed.append(float(sweep.rates[: int(np.argmax(fallen)) + 1].sum()))
    share = distance / float(np.median(needed))
    if share > 5:
        return None
    severity: Severity = "critical" if share < 0.5 else "warning"
    told = f"all {patient.scale.steps:.0f} steps together go {share:.2g} times as far as the range test went before its loss fell"
    return severity, told


def _round(value: float) -> float:
    return float(f"{value:.1e}")


def batch_seconds(patient: Patient, feds: Sequence[Fed]) -> float:
    """Seconds of a training step: the median of some, the first left out."""
    stage = patient.stages[-1]
    stage.enter()
    optimizer = stage.optimizer()
    times = []
    for fed in feds:
        started = time.perf_counter()
        patient.fit([fed], optimizer, [stage.rate])
        if fed.images.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return float(np.median(times[1:] or times))
