"""Checks of copies: the same image twice, within a split and in two, and what is said of it each time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from osler.audit.case import Case, percent
from osler.audit.copies import Copy, groups
from osler.audit.findings import Finding, Fix, Severity
from osler.data.messages import count

__all__ = ["conflicting_labels", "copies_across", "copies_of_other_patients", "copies_within", "exact_groups", "near_copies"]

Group = tuple[int, ...]
KEPT_FIRST = ("test", "val", "train", "")
"""Of images in several splits the one in the first of these is kept: a test set stays what others compare with."""
GRAVE = 0.01
"""Shared by train and so much of val or test, a leak moves figures by more than their own error."""
SURE = 0.93
"""Correlation of pixels from which two images are taken for one; below it they are only to be looked at."""
DETAIL, SURER = 128, 0.98
"""Images with a side below so many pixels have little detail, and all chest films are alike: they are copies from there on."""
SHOWN = 24
KINDS: dict[str, str] = {"exact": "the same pixels", "near": "the same image saved another way"}


def exact_groups(case: Case) -> list[Group]:
    """Images of the same pixels, each group with two or more."""
    return groups(copy for copy in case.copies if copy.kind == "exact")


def copies_across(case: Case) -> Iterator[Finding]:
    """The same pixels in two splits."""
    found = [group for group in exact_groups(case) if len(_splits(case, group)) > 1]
    if found:
        yield _across(case, found, "exact")


def near_copies(case: Case) -> Iterator[Finding]:
    """The same image saved another way, in two splits or in one."""
    found = [copy for copy in case.copies if copy.kind == "near" and (copy.correlation >= SURER or _detailed(case, copy))]
    pairs = [(copy.first, copy.second) for copy in found]
    sure = {(copy.first, copy.second) for copy in found if copy.correlation >= SURE}
    # Films and slices of one patient are alike without being copies; where they matter, the patient is in both splits.
    apart = [pair for pair in pairs if not _one_patient(case, pair)]
    across = [pair for pair in apart if len(_splits(case, pair)) > 1]
    within = [pair for pair in apart if len(_splits(case, pair)) == 1]
    if across:
        finding = _across(case, across, "near")
        yield finding if sure & set(across) else replace(finding, severity="note")
    if within:
        yield _within(case, within, "near")
    if len(pairs) > len(apart):
        number = len(pairs) - len(apart)
        yield Finding(
            "alike_within_patient",
            "note",
            f"{count(number, 'pair')} of images of one patient look alike, as neighbouring slices and repeated films do.",
            "Nothing, as long as the patient stays in one split: these images count as less than so many patients would.",
            figures={"pairs": number},
        )


def copies_within(case: Case) -> Iterator[Finding]:
    """The same pixels twice in one split."""
    found = [part for group in exact_groups(case) for part in _by_split(case, group)]
    if found:
        yield _within(case, found, "exact")


def conflicting_labels(case: Case) -> Iterator[Finding]:
    """The same pixels with different labels."""
    targets = case.samples.targets
    found = []
    for group in exact_groups(case):
        some = targets[list(group)]
        # Unknown is no contradiction.
        if (np.nanmax(some, axis=0, initial=0) > np.nanmin(some, axis=0, initial=1)).any():
            found.append(group)
    if not found:
        return
    rows = tuple(row for group in found for row in group)
    example = found[0]
    said = " and ".join(dict.fromkeys(case.label(row) for row in example))
    yield Finding(
        "conflicting_labels",
        "warning",
        f"{count(len(found), 'image')} {'stands' if len(found) == 1 else 'stand'} there more than once with different labels, "
        f"such as {case.names(example)}: {said}.",
        "Find out which label is true; drop the image where nobody can tell.",
        rows,
        tuple(Fix(row, "correct the label, or drop") for row in rows),
        _shown(case, found),
        {"images": len(found), "rows": len(rows)},
    )


def copies_of_other_patients(case: Case) -> Iterator[Finding]:
    """The same pixels under two patients."""
    found = [group for group in exact_groups(case) if case.samples.patients is not None and not _one_patient(case, group)]
    if not found:
        return
    rows = tuple(row for group in found for row in group)
    yield Finding(
        "copies_of_other_patients",
        "warning",
        f"{count(len(found), 'image')} {'stands' if len(found) == 1 else 'stand'} there under different patients, such as "
        f"{case.names(found[0])}: one of the two ids is wrong, or one person has two.",
        "Correct the ids; a split by patient is only as good as they are.",
        rows,
        tuple(Fix(row, "correct the patient") for row in rows),
        _shown(case, found),
        {"images": len(found)},
    )


# --- wording ----------------------------------------------------------------------------------------------------------------


def _across(case: Case, found: Sequence[Group], kind: Literal["exact", "near"]) -> Finding:
    """Copies that stand in several splits: which are shared, and what share of val and test that is."""
    between = Counter(pair for group in found for pair in _pairs_of_splits(case, group))
    parts = [f"{number:,} by {one} and {other}" for (one, other), number in between.most_common()]
    shares = {
        split: len({row for group in found for row in group if case.splits[row] == split and "train" in _splits(case, group)})
        / max(int(case.of_split(split).sum()), 1)
        for split in ("val", "test")
    }
    worst = max(shares, key=lambda split: shares[split])
    told = f"; {percent(shares[worst])} of {worst} was trained on" if shares[worst] else ""
    severity: Severity = "critical" if kind == "exact" and shares[worst] >= GRAVE else "warning"
    fixes, rows = _fixes(case, found, "drop"), tuple(row for group in found for row in group)
    few = len(found) == 1
    what = "image is shared" if few else "images are shared"
    near = "" if kind == "exact" else f" ({KINDS['near']}: resized, cropped, another format or brightness)"
    return Finding(
        "copies_across_splits" if kind == "exact" else "near_copies_across_splits",
        severity,
        f"{len(found):,} {what} by splits{near}: {', '.join(parts)}{told}. Figures on what was trained on are too good.",
        "Drop what rows.csv lists: test is kept before val, and val before train. Then find out how the copies came in.",
        rows,
        fixes if kind == "exact" else tuple(Fix(fix.row, f"look, then {fix.action}", fix.keep) for fix in fixes),
        _shown(case, found),
        {"images": len(found), "between": {f"{one}/{other}": n for (one, other), n in between.items()}, "share": shares},
    )


def _within(case: Case, found: Sequence[Group], kind: Literal["exact", "near"]) -> Finding:
    """Copies that stand in one split."""
    surplus = Counter(case.place(group[0]) for group in found for _ in group[1:])
    parts = [f"{surplus[split]:,} within {split}" for split in (*case.used, "no split") if surplus[split]]
    total = sum(surplus.values())
    rows = tuple(row for group in found for row in group)
    fixes = _fixes(case, found, "drop" if kind == "exact" else "look, then drop")
    # A few copies change nothing; many weigh some patients more, and make intervals too narrow.
    many = total >= GRAVE * len(case.samples)
    said = "are copies of another" if total > 1 else "is a copy of another"
    return Finding(
        "copies_within_split" if kind == "exact" else "near_copies_within_split",
        "warning" if many and kind == "exact" else "note",
        f"{count(total, 'image')} {said} in the same split ({KINDS[kind]}): {', '.join(parts)}.",
        "Drop all but one of each: they count twice, and intervals take them for different patients.",
        rows,
        fixes,
        _shown(case, found),
        {"images": total, "within": dict(surplus)},
    )


def _fixes(case: Case, found: Sequence[Group], action: str) -> tuple[Fix, ...]:
    """Which image of each group stays, and that the others go."""
    fixes = []
    for group in found:
        keep = min(group, key=lambda row: (KEPT_FIRST.index(str(case.splits[row])), row))
        fixes += [Fix(row, action, keep) for row in group if row != keep]
    return tuple(fixes)


def _shown(case: Case, found: Sequence[Group]) -> tuple[tuple[int, str], ...]:
    """The first groups, whole, each image with the number of its group."""
    shown: list[tuple[int, str]] = []
    for number, group in enumerate(found, 1):
        if shown and len(shown) + len(group) > SHOWN:
            break
        shown += [(row, f"copy {number}") for row in group[:SHOWN]]
    return tuple(shown)


def _splits(case: Case, rows: Sequence[int]) -> set[str]:
    return {str(case.splits[row]) for row in rows if case.splits[row]}


def _pairs_of_splits(case: Case, rows: Sequence[int]) -> list[tuple[str, str]]:
    """The pairs of splits that share these images, in order."""
    there = [name for name in case.used if name in _splits(case, rows)]
    return [(one, other) for place, one in enumerate(there) for other in there[place + 1 :]]


def _by_split(case: Case, group: Group) -> list[Group]:
    """The parts of a group that are in one split, where they are several."""
    parts: dict[str, list[int]] = {}
    for row in group:
        parts.setdefault(str(case.splits[row]), []).append(row)
    return [tuple(rows) for rows in parts.values() if len(rows) > 1]


def _detailed(case: Case, copy: Copy) -> bool:
    sides = [int(case.measured[side][row]) for side in ("width", "height") for row in (copy.first, copy.second)]
    return min(sides) >= DETAIL


def _one_patient(case: Case, rows: Sequence[int]) -> bool:
    patients = case.samples.patients
    return patients is not None and len({str(patients[row]) for row in rows}) == 1
