"""Checks of single images: unreadable, constant, blank, tiny, of another size, shape or depth, with text burned in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.audit.case import Case, percent
from osler.audit.findings import Finding, Fix, Severity
from osler.data.messages import count

__all__ = ["blank", "burned_in", "constant", "odd_depths", "odd_shapes", "odd_sizes", "tiny", "unreadable"]

Kind = tuple[Any, ...]
SHOWN = 16
FAINT = 0.02
"""A blank image spreads over less than this share of what the median image spreads over."""
SMALLEST = 16
SMALL = 0.25
"""An image is tiny with a side below 16 pixels, or below a quarter of the median."""
MAIN, RARE = 0.9, 0.05
"""A set has one size, or one kind, where so many images have it; others are odd where they are at most so few."""
STRETCHED = 2.0
"""An image is of another shape where its sides' ratio differs by this factor from the median."""


def unreadable(case: Case) -> Iterator[Finding]:
    """Images that cannot be decoded."""
    bad = sorted(case.measured.unreadable)
    if not bad:
        return
    why = case.measured.unreadable[bad[0]]
    yield Finding(
        "unreadable",
        "critical",
        f"{count(len(bad), 'image')} of {len(case.samples):,} cannot be read; the first: {why}",
        "Replace them by good copies, or drop their rows; data.unreadable: skip leaves them out and says so.",
        tuple(bad),
        tuple(Fix(row, "replace or drop") for row in bad),
        figures={"images": len(bad)},
    )


def constant(case: Case) -> Iterator[Finding]:
    """Images of one value."""
    found = case.measured.readable & (case.measured["low"] == case.measured["high"])
    yield from _of_rows(
        case, found, "constant", "warning", "hold one value and nothing else", "Replace or drop them: nothing is in them.", "drop"
    )


def blank(case: Case) -> Iterator[Finding]:
    """Images with next to nothing in them."""
    sd, measured = case.measured["sd"], case.measured
    varied = measured.readable & (measured["low"] < measured["high"])
    if not varied.any():
        return
    usual = float(np.median(sd[varied]))
    yield from _of_rows(
        case,
        varied & (sd < FAINT * usual),
        "blank",
        "warning",
        f"are all but blank (their values spread less than {percent(FAINT)} of what the median image's do)",
        "Look at them; replace or drop what shows nothing.",
        "look, then drop",
    )


def tiny(case: Case) -> Iterator[Finding]:
    """Images that are much smaller than the others, or too small for anything."""
    sides = np.minimum(case.measured["width"], case.measured["height"])
    readable = case.measured.readable
    if not readable.any():
        return
    usual = float(np.median(sides[readable]))
    limit = max(SMALLEST, SMALL * usual)
    yield from _of_rows(
        case,
        readable & (sides < limit),
        "tiny",
        "warning",
        f"are tiny: a side below {limit:.0f} pixels, where the median has {usual:.0f}",
        "Thumbnails and icons get into sets: get the full images, or drop these.",
        "replace or drop",
    )


def odd_shapes(case: Case) -> Iterator[Finding]:
    """Images that are much wider, or much taller, than the others."""
    readable = case.measured.readable
    if not readable.any():
        return
    ratio = np.log(np.maximum(case.measured["width"], 1) / np.maximum(case.measured["height"], 1))
    far = readable & (np.abs(ratio - np.median(ratio[readable])) > np.log(STRETCHED))
    if far.sum() > RARE * readable.sum():
        return  # not an oddity, but how the set is
    yield from _of_rows(
        case,
        far,
        "odd_shapes",
        "note",
        f"are of another shape: their sides' ratio differs from the median by a factor of {STRETCHED:g} or more",
        "Scouts, strips and crops look like this; see whether they belong.",
        "look",
    )


def odd_sizes(case: Case) -> Iterator[Finding]:
    """A few images of another size, where all others have one."""
    sizes = list(zip(case.measured["width"].tolist(), case.measured["height"].tolist(), strict=True))
    yield from _minority(case, sizes, "odd_sizes", lambda size: f"{size[0]} × {size[1]}", "size")


def odd_depths(case: Case) -> Iterator[Finding]:
    """A few images of another depth, mode or format."""
    columns = (case.measured[name].tolist() for name in ("bits", "channels", "mode", "format"))
    kinds = list(zip(*columns, strict=True))
    yield from _minority(case, kinds, "odd_depths", lambda kind: f"{kind[3]}, {kind[0]} bit, {kind[2]}", "kind")
    bits = Counter(case.measured["bits"][case.measured.readable].tolist())
    if len(bits) > 1:
        parts = ", ".join(f"{number:,} of {depth} bit" for depth, number in bits.most_common())
        yield Finding(
            "mixed_depths",
            "warning",
            f"Images of different bit depths are mixed: {parts}. One range of values cannot fit them all.",
            "Set preparation.range to a percentile, or dtype, so that each is scaled by itself; see also what else differs.",
            figures={str(depth): number for depth, number in bits.items()},
        )


def burned_in(case: Case) -> Iterator[Finding]:
    """Images whose file says that text is burned into the pixels."""
    yield from _of_rows(
        case,
        case.measured["burned_in"],
        "burned_in_text",
        "note",
        "say that text is burned into their pixels, which may name the patient and may tell the site",
        "Black the text out before the set is shared or trained on.",
        "black out the text",
    )


def _of_rows(
    case: Case, found: NDArray[np.bool_], id: str, severity: Severity, what: str, action: str, fix: str
) -> Iterator[Finding]:
    rows = tuple(np.flatnonzero(found).tolist())
    if not rows:
        return
    many = f"{len(rows):,} of {len(case.samples):,} images" if len(rows) > 1 else f"1 image of {len(case.samples):,}"
    said = what if len(rows) > 1 else _singular(what)
    yield Finding(
        id,
        severity,
        f"{many} {said}: {case.names(rows)}.",
        action,
        rows,
        tuple(Fix(row, fix) for row in rows),
        tuple((row, _size(case, row)) for row in rows[:SHOWN]),
        {"images": len(rows)},
    )


def _singular(what: str) -> str:
    """The predicate of one image.

    >>> _singular("are tiny: a side"), _singular("hold one value")
    ('is tiny: a side', 'holds one value')
    """
    verb, _, rest = what.partition(" ")
    single = {"are": "is", "hold": "holds", "say": "says", "have": "has"}[verb]
    return f"{single} {rest}".replace(" their ", " its ")


def _size(case: Case, row: int) -> str:
    one = case.measured.records[row]
    return f"{one['width']} × {one['height']}, {one['low']:g}–{one['high']:g}"


def _minority(case: Case, kinds: Sequence[Kind], id: str, wording: Callable[[Kind], str], what: str) -> Iterator[Finding]:
    """Images that are not of the kind that nearly all others are of."""
    readable = np.flatnonzero(case.measured.readable).tolist()
    counts = Counter(kinds[row] for row in readable)
    if len(counts) < 2:
        return
    main, number = counts.most_common(1)[0]
    rows = tuple(row for row in readable if kinds[row] != main)
    if number < MAIN * len(readable) or len(rows) > RARE * len(readable):
        return
    others = ", ".join(f"{wording(kind)} ({times:,})" for kind, times in counts.most_common(5)[1:])
    yield Finding(
        id,
        "note",
        f"{count(len(rows), 'image')} of {len(readable):,} {'are' if len(rows) > 1 else 'is'} of another {what} than the rest, "
        f"{wording(main)}: {others}.",
        "See where they come from: a second source often differs in more than this.",
        rows,
        tuple(Fix(row, "look") for row in rows),
        tuple((row, wording(kinds[row])) for row in rows[:SHOWN]),
        {"images": len(rows)},
    )
