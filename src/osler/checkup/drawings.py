"""Drawings: the batch that the model receives, and the loss over rising learning rates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from osler.checkup.check import Illustration
from osler.checkup.patient import Fed, Patient
from osler.data.samples import IGNORED
from osler.report.ink import BLUE, GREEN, ORANGE, SKY, panel, svg_and_png
from osler.report.outlines import legend_of, outlined
from osler.report.raster import SheetRow, sheet_png
from osler.report.sheet import contact_sheet

__all__ = ["batch_picture", "range_picture"]

SHOWN = 24
COLUMNS = 8
SIDE = 160
Floats = NDArray[np.float64]


def batch_picture(patient: Patient, fed: Fed) -> tuple[Illustration, ...]:
    """The first images of a batch with their labels, masks outlined; none where the inputs are no images."""
    if fed.images.ndim != 4 or fed.images.shape[1] not in (1, 3):
        return ()
    images = [_shown(image, patient.full) for image in fed.images[:SHOWN].detach().float().cpu().numpy()]
    labels = patient.answers.labels(fed.targets[:SHOWN])
    classes = patient.answers.classes[-labels.shape[1] :]
    legend = legend_of(classes) if patient.answers.of_masks else ()
    if patient.answers.of_masks:
        truth = patient.answers.truth(fed.targets[:SHOWN]).cpu().numpy()[:, -len(classes) :]
        masks = np.where(np.isnan(truth), IGNORED, truth).astype(np.uint8)
        images = [outlined(image, mask, max(SIDE, image.shape[-1])) for image, mask in zip(images, masks, strict=True)]
    captions = [_caption(row, classes, fed, patient, place) for place, row in enumerate(labels)]
    uri = contact_sheet(images, captions, columns=COLUMNS, side=SIDE, legend=legend)
    png = sheet_png([SheetRow("", images, captions)], columns=COLUMNS, side=SIDE, legend=legend)
    span = "0 black, 255 white" if patient.full is not None else "each image stretched from its least value to its greatest"
    caption = f"The first {len(images)} samples of the first batch, as the model receives them ({span})."
    return (Illustration("batch", uri, png, caption, f"{len(images)} images with their labels, side by side."),)


def _shown(image: NDArray[np.float32], full: float | None) -> NDArray[np.uint8]:
    values = np.nan_to_num(image.astype(np.float64))
    low, high = (0.0, full) if full is not None else (float(values.min()), float(values.max()))
    return np.clip((values - low) * (255 / max(high - low, 1e-12)), 0, 255).round().astype(np.uint8)


def _caption(labels: Floats, classes: Sequence[str], fed: Fed, patient: Patient, place: int) -> list[str]:
    has = [name for name, value in zip(classes, labels, strict=True) if value == 1]
    unknown = [f"{name}?" for name, value in zip(classes, labels, strict=True) if np.isnan(value)]
    lines = [", ".join([*has, *unknown]) or ("empty mask" if patient.answers.of_masks else "negative")]
    if fed.rows is not None and patient.ids is not None:
        lines.append(patient.ids(fed.rows[place : place + 1])[0])
    return lines


def range_picture(
    curves: Sequence[tuple[Floats, Floats]], suggested: Sequence[float], middle: float, configured: float, floor: float
) -> Illustration:
    """Smoothed loss over the learning rate, a line a repeat.

    Args:
        curves: rates and smoothed losses of each repeat.
        suggested: the rate that each repeat suggests.
        middle: of these.
        configured: the rate in use.
        floor: best constant's loss; NaN: unknown.
    """
    with panel(6.6, 3.6) as (figure, axes):
        for number, (rates, losses) in enumerate(curves):
            axes.plot(rates, losses, color=BLUE, alpha=0.75, linewidth=1.4, label="smoothed loss" if number == 0 else None)
        if len(suggested) > 1:
            axes.axvspan(min(suggested), max(suggested), color=SKY, alpha=0.45, label="suggestions")
        if np.isfinite(middle):
            axes.axvline(middle, color=GREEN, label=f"suggested {middle:.2g}")
        axes.axvline(configured, color=ORANGE, linestyle="--", label=f"in use {configured:.2g}")
        if np.isfinite(floor):
            axes.axhline(floor, color=ORANGE, linewidth=1.0, linestyle=":", label=f"floor {floor:.3g}")
        low = min(float(losses.min()) for _, losses in curves)
        start = float(np.median([losses[0] for _, losses in curves]))
        top = max(start, floor if np.isfinite(floor) else start)
        axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
        axes.set_ylim(low - 0.15 * (top - low) - 1e-3, top + 0.6 * (top - low) + 1e-3)
        axes.legend(fontsize=7.5, loc="upper left")
        uri, png = svg_and_png(figure)
    times = "once" if len(curves) == 1 else f"{len(curves)} times, each from the same start"
    caption = (
        f"Loss while the learning rate rises step by step, {times}. Sound rates lie where it falls, well left of where it turns "
        "up."
    )
    alt = f"Learning-rate range test: suggested {middle:.2g}, in use {configured:.2g}."
    return Illustration("learning_rate_range", uri, png, caption, alt)
