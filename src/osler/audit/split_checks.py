"""Checks of splits: patients in several, classes absent or of another share, unknown labels, a table against its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from osler.audit.case import Case, percent
from osler.audit.findings import Finding, Fix
from osler.audit.prevalence import differences
from osler.data.messages import count, some

__all__ = ["absent_classes", "declared_files", "patients_across", "prevalence_differs", "unknown_labels"]

SURE, GRAVE_P = 0.05, 0.01
MUCH, SOME = 1.5, 1.2
"""Ratios of odds: where prevalences are further apart it is a warning, or a note."""


def patients_across(case: Case) -> Iterator[Finding]:
    """Patients with images in more than one split. Their ids are not printed: the rows tell."""
    if case.samples.patients is None or len(case.used) < 2:
        return
    codes = np.unique(case.samples.patients, return_inverse=True)[1]
    seen = np.stack([np.bincount(codes[case.of_split(name)], minlength=int(codes.max()) + 1) > 0 for name in case.used])
    shared = seen.sum(axis=0) > 1
    if not shared.any():
        return
    rows = np.flatnonzero(shared[codes] & (case.splits != ""))
    parts = []
    for place, one in enumerate(case.used):
        for other_place in range(place + 1, len(case.used)):
            number = int((seen[place] & seen[other_place]).sum())
            parts += [f"{number:,} in {one} and {case.used[other_place]}"] if number else []
    yield Finding(
        "patients_across_splits",
        "critical",
        f"{count(int(shared.sum()), 'patient')} of {int(codes.max()) + 1:,} {'has' if shared.sum() == 1 else 'have'} images in "
        f"several splits: {', '.join(parts)}. A model that knows the person looks better than it is.",
        "Split by patient: data.split.by_patient: true, and leave out the split column of the table.",
        tuple(rows.tolist()),
        tuple(Fix(int(row), "move to the split of its patient, or drop") for row in rows),
        figures={"patients": int(shared.sum()), "images": len(rows)},
    )


def absent_classes(case: Case) -> Iterator[Finding]:
    """Classes without a positive, or without a negative, in a split."""
    for name in case.used:
        targets = case.samples.targets[case.of_split(name)]
        kinds = (("positive", 1), ("negative", 0))[: 1 if case.samples.masks is not None else 2]
        for kind, value in kinds:
            absent = [label for label, column in zip(case.samples.classes, targets.T, strict=True) if not (column == value).any()]
            if not absent:
                continue
            training = name == "train"
            word = "sample" if case.samples.masks is None else "mask"
            yield Finding(
                "class_absent",
                "critical" if training else "warning",
                f"{name} has no {kind} {word} of {some(absent, 8)}: "
                + ("nothing can be learned of it." if training else "it cannot be scored there."),
                "Get more samples, or leave the class out by data.classes; a split drawn by Osler is stratified.",
                figures={"split": name, "kind": kind, "classes": absent},
            )


def prevalence_differs(case: Case) -> Iterator[Finding]:
    """Classes whose share in val or test is not that of train."""
    found = [one for one in differences(case) if one.p < SURE and one.odds_ratio >= SOME]
    if not found:
        return
    grave = [one for one in found if one.p < GRAVE_P and one.odds_ratio >= MUCH]
    worst = sorted(grave or found, key=lambda one: -one.odds_ratio)
    said = "; ".join(
        f"{one.name} {percent(one.train)} in train, {percent(one.other)} in {one.split} ({_p_text(one.p)})" for one in worst[:4]
    )
    more = f"; and {len(worst) - 4} more" if len(worst) > 4 else ""
    yield Finding(
        "prevalence_differs",
        "warning" if grave else "note",
        f"Prevalence differs between splits by more than chance: {said}{more}. Thresholds, calibration, precision and accuracy "
        "do not carry over; AUC, sensitivity and specificity may.",
        "Find out how the splits were made; report at the prevalence of use, or split anew, stratified.",
        figures={
            "differences": [
                {"class": one.name, "split": one.split, "train": one.train, "other": one.other, "p": one.p} for one in found
            ]
        },
    )


def _p_text(p: float) -> str:
    """A p-value as people write it.

    >>> _p_text(0.00001), _p_text(0.0312)
    ('p < 0.001', 'p = 0.031')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def unknown_labels(case: Case) -> Iterator[Finding]:
    """Labels that are blank."""
    unknown = np.isnan(case.samples.targets)
    if not unknown.any():
        return
    rows = np.flatnonzero(unknown.any(axis=1))
    refused = case.loaded.config.data.unknown == "error"
    parts = [
        f"{name} {percent(float(column.mean()))}"
        for name, column in zip(case.samples.classes, unknown.T, strict=True)
        if column.any()
    ]
    yield Finding(
        "unknown_labels",
        "warning" if refused else "note",
        f"{count(len(rows), 'sample')} of {len(case.samples):,} {'has' if len(rows) == 1 else 'have'} unknown labels: "
        f"{some(parts, 6)}.",
        "Say what a blank means by data.unknown: ignore, negative or positive; training refuses them as it stands."
        if refused
        else f"They count as data.unknown: {case.loaded.config.data.unknown} says.",
        tuple(rows.tolist()),
        tuple(Fix(int(row), "fill in the label, or say data.unknown") for row in rows) if refused else (),
        figures={"samples": len(rows)},
    )


def declared_files(case: Case) -> Iterator[Finding]:
    """Rows of a table without a file, and files in its folders without a row."""
    declared = case.loaded.declared
    if declared is None:
        return
    if declared.without_image:
        yield Finding(
            "rows_without_image",
            "warning",
            f"{count(len(declared.without_image), 'row')} of {declared.rows:,} without an image that exists: "
            f"{some(declared.without_image)}.",
            "Get the files, or take the rows out; data.unreadable: skip leaves them out and says so.",
            figures={
                "rows": len(declared.without_image),
                "declared": declared.rows,
                "names": list(declared.without_image[:1000]),
            },
        )
    if declared.without_row:
        kinds = Counter(name.rpartition(".")[2].lower() for name in declared.without_row)
        yield Finding(
            "images_without_row",
            "note",
            f"{count(len(declared.without_row), 'image file')} in the table's folders without a row ("
            f"{some((f'{number:,} {kind}' for kind, number in kinds.most_common()), 4)}): {some(declared.without_row)}.",
            "Was the table cut, or the folder shared with another set? Nothing of them is used.",
            figures={"files": len(declared.without_row), "names": list(declared.without_row[:1000])},
        )
