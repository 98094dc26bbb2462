"""Pictures of the offenders: contact sheets of images as a viewer shows them, with the outlines of their masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from osler.audit.case import Case
from osler.audit.findings import Finding
from osler.audit.measures import scaled_gray
from osler.errors import DataError
from osler.imaging.raw import RawImage
from osler.report.outlines import legend_of, outlined
from osler.report.sheet import contact_sheet

__all__ = ["finding_sheet"]

Pixels = NDArray[np.uint8]
SIDE, COLUMNS = 150, 8
ENDS = (0.5, 99.5)


def finding_sheet(case: Case, finding: Finding) -> str | None:
    """A data URI of the images that a finding shows; None where none of them can be shown."""
    images, captions = [], []
    for row, note in finding.shown:
        try:
            images.append(_drawn(case, row))
        except DataError:
            continue  # told as unreadable
        name = str(case.samples.ids[row])
        captions.append([f"{case.place(row)}: {case.label(row)}", note, name.rsplit("/", 1)[-1] if len(name) > 24 else name])
    if not images:
        return None
    legend = () if case.samples.masks is None else legend_of(case.samples.classes)
    return contact_sheet(images, captions, columns=COLUMNS, side=SIDE, legend=legend)


def _drawn(case: Case, row: int) -> Pixels:
    image = as_seen(case.samples.images.read(row))
    masks = case.samples.masks
    if masks is None:
        return image
    try:
        planes = masks.read(row)
    except DataError:
        return image
    same = planes.shape[1:] == image.shape[1:]
    return outlined(image, planes, 2 * SIDE) if same else image


def as_seen(raw: RawImage) -> Pixels:
    """(1 or 3, H, W) the pixels as a viewer would show them: 8 bit as they are, others stretched over their usual values.

    >>> as_seen(RawImage(np.array([[0, 4095]], np.uint16), 0.0, 65535.0)).tolist()
    [[[0, 255]]]
    """
    if raw.pixels.dtype == np.uint8:
        shown = raw.pixels[None] if raw.pixels.ndim == 2 else raw.pixels.transpose(2, 0, 1)
        return np.ascontiguousarray(255 - shown if raw.inverted else shown)
    gray = scaled_gray(raw)
    low, high = (float(end) for end in np.percentile(gray, ENDS))
    spread = np.clip((gray - low) / max(high - low, 1e-12), 0.0, 1.0)
    return np.asarray(np.rint(255 * spread)[None], dtype=np.uint8)
