"""Checks of masks: empty and full ones, foreground and background exchanged, masks of another size, specks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from osler.audit.case import Case, percent
from osler.audit.findings import Finding, Fix
from osler.data.masks import MaskFiles
from osler.data.masks_survey import MaskSurvey
from osler.data.messages import count

__all__ = ["empty_masks", "exchanged_masks", "full_masks", "mask_sizes", "specks"]

FULL, MOSTLY = 0.98, 0.6
SPECK = 4
"""Pixels of a connected piece that a slip of the pen makes."""
MANY = 0.05
SHOWN = 16


def _survey(case: Case) -> MaskSurvey | None:
    """What was found of every mask when the set was loaded; None where there are none in files."""
    masks = case.samples.masks
    return masks.survey if isinstance(masks, MaskFiles) else None


def empty_masks(case: Case) -> Iterator[Finding]:
    """Masks without foreground, and how many of each split."""
    survey = _survey(case)
    if survey is None:
        return
    empty = (survey.foreground == 0).all(axis=1) & (survey.known > 0)
    rows = tuple(np.flatnonzero(empty).tolist())
    if not rows:
        return
    parts = [f"{percent(float(empty[case.of_split(name)].mean()))} of {name}" for name in case.used]
    yield Finding(
        "empty_masks",
        "note",
        f"{count(len(rows), 'mask')} of {len(survey):,} {'is' if len(rows) == 1 else 'are'} empty: "
        f"{', '.join(parts) or 'no split'}.",
        "Is there nothing to find in these images, or were they never drawn? The first teaches, the second lies.",
        rows,
        shown=tuple((row, "empty") for row in rows[:SHOWN]),
        figures={"masks": len(rows)},
    )


def full_masks(case: Case) -> Iterator[Finding]:
    """Masks that cover the whole image."""
    survey = _survey(case)
    if survey is None:
        return
    shares = np.nan_to_num(survey.shares).max(axis=1)
    rows = tuple(np.flatnonzero(shares > FULL).tolist())
    if not rows:
        return
    yield Finding(
        "full_masks",
        "warning",
        f"{count(len(rows), 'mask')} of {len(survey):,} {'covers' if len(rows) == 1 else 'cover'} all of the image: "
        f"{case.names(rows)}.",
        "Draw them again, or drop the images.",
        rows,
        tuple(Fix(row, "draw the mask again, or drop") for row in rows),
        tuple((row, f"{percent(float(shares[row]))} foreground") for row in rows[:SHOWN]),
        {"masks": len(rows)},
    )


def exchanged_masks(case: Case) -> Iterator[Finding]:
    """Classes that cover most of all pixels, and single masks that do where the others cover little."""
    survey = _survey(case)
    if survey is None:
        return
    total = max(1, int(survey.known.sum()))
    for k, name in enumerate(case.samples.classes):
        whole = float(survey.foreground[:, k].sum() / total)
        shares = np.nan_to_num(survey.shares[:, k])
        rows = tuple(np.flatnonzero((shares > MOSTLY) & (shares <= FULL)).tolist())
        if whole > MOSTLY:
            sentence = (
                f"{name} covers {percent(whole)} of all pixels: foreground and background may be exchanged in the whole set."
            )
        elif rows and len(rows) <= MANY * len(survey):
            sentence = (
                f"{name} covers more than {percent(MOSTLY)} of {count(len(rows), 'image')} and {percent(whole)} of all pixels: "
                f"{case.names(rows)}. Foreground and background may be exchanged there."
            )
        else:
            continue
        yield Finding(
            "masks_exchanged",
            "warning",
            sentence,
            "Look at the outlines; turn the values round, or correct data.masks.values.",
            rows,
            tuple(Fix(row, "look at the mask, turn it round") for row in rows) if whole <= MOSTLY else (),
            tuple((row, f"{percent(float(shares[row]))} foreground") for row in rows[:SHOWN]),
            {"class": name, "share": whole, "masks": len(rows)},
        )


def mask_sizes(case: Case) -> Iterator[Finding]:
    """Masks of another size than their image."""
    survey = _survey(case)
    if survey is None:
        return
    sizes = np.stack([case.measured["height"], case.measured["width"]], axis=1)
    other = (survey.sizes != sizes).any(axis=1) & case.measured.readable & (survey.known > 0)
    rows = tuple(np.flatnonzero(other).tolist())
    if not rows:
        return
    yield Finding(
        "mask_of_other_size",
        "critical",
        f"{count(len(rows), 'mask')} of {len(survey):,} {'has' if len(rows) == 1 else 'have'} another size than the image: "
        f"{case.names(rows)}. Training leaves such pairs out, or stops.",
        "Pair images and masks anew, or bring the masks to the size of the images.",
        rows,
        tuple(Fix(row, "pair image and mask anew") for row in rows),
        tuple((row, f"mask {survey.sizes[row, 1]} × {survey.sizes[row, 0]}") for row in rows[:SHOWN]),
        {"masks": len(rows)},
    )


def specks(case: Case) -> Iterator[Finding]:
    """Connected pieces of a few pixels."""
    survey = _survey(case)
    if survey is None or not len(survey.lesion_areas):
        return
    small = survey.lesion_areas <= SPECK
    if small.sum() < MANY * len(small):
        return
    rows, counts = np.unique(survey.lesion_rows[small], return_counts=True)
    most = rows[np.argsort(-counts, kind="stable")]
    times = dict(zip(rows.tolist(), counts.tolist(), strict=True))
    yield Finding(
        "specks",
        "note",
        f"{int(small.sum()):,} of {len(small):,} connected pieces ({percent(float(small.mean()))}) have {SPECK} pixels or fewer, "
        f"in {count(len(rows), 'image')}: slips of the pen, or lesions that the preparation will erase.",
        "Decide which; figures by lesion count each of them, and osler look shows them as prepared.",
        tuple(rows.tolist()),
        shown=tuple((int(row), f"{times[int(row)]:,} specks") for row in most[:SHOWN]),
        figures={"pieces": int(small.sum()), "of": len(small), "images": len(rows)},
    )
