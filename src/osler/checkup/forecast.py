"""Forecast: time, memory and disk of the whole run, from a few of its own steps."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import torch

from osler.checkup.check import Check, failed, not_assessed, passed
from osler.checkup.patient import Patient
from osler.checkup.rates import batch_seconds
from osler.doctor.findings import Change
from osler.train.machine import peak_memory_mb

__all__ = ["check_forecast", "duration"]

STEPS = 4


def check_forecast(patient: Patient) -> Sequence[Check]:
    """Seconds of a step and of an evaluated batch, times what is planned; peak memory so far; bytes of the checkpoints."""
    feds = patient.batches(STEPS)
    step = batch_seconds(patient, feds)
    patient.seconds = step
    looked = _evaluation_seconds(patient)
    scale, device = patient.scale, feds[0].images.device
    memory = peak_memory_mb(device)
    disk = _checkpoint_bytes(patient)
    figures: dict[str, Any] = {"step_seconds": step, "memory_mb": memory, "disk_bytes": disk, "epochs": scale.epochs}
    held = f"{memory:,.0f} MB of memory at most so far, {disk / 2**20:,.0f} MB of checkpoints"
    if scale.batches is None or not math.isfinite(scale.epochs):
        return [
            not_assessed("forecast", f"A step takes {step:.3g} s; {held}. Nobody said how many batches and epochs there will be.")
        ]
    epoch = scale.batches * step + (scale.val_batches or 0) * looked
    total = scale.epochs * epoch
    said = (
        f"About {duration(total)} for {scale.epochs:g} epochs of {scale.batches:,} batches ({step:.3g} s a step, "
        f"{duration(epoch)} an epoch); {held}"
    )
    figures |= {"seconds": total, "epoch_seconds": epoch}
    if scale.disk is not None and disk > scale.disk:
        change = Change("run.folder", None, "a folder on a larger disk", f"{disk / 2**20:,.0f} MB are needed")
        means = "The run would stop when it writes its checkpoint."
        return [
            failed("disk_full", "critical", f"{said}; only {scale.disk / 2**20:,.0f} MB are free.", means, [change], **figures)
        ]
    return [passed("forecast", f"{said}.", **figures)]


@torch.no_grad()
def _evaluation_seconds(patient: Patient) -> float:
    if not patient.val:
        return 0.0
    patient.model.eval()
    patient.outputs(patient.val[0])
    started = time.perf_counter()
    patient.loss_of(patient.val[0])
    return time.perf_counter() - started


def _checkpoint_bytes(patient: Patient) -> int:
    """At most: `best` holds weights and their average, `last` two moments as well, and lies there twice while it is written."""
    learning = sum(each.nbytes for each in patient.model.parameters())
    weights = learning + sum(each.nbytes for each in patient.model.buffers())
    kept = weights * (2 if patient.scale.average else 1)
    return kept + 2 * (kept + 2 * learning)


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(42), duration(600), duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
