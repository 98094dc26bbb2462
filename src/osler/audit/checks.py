"""Checks: everything that an audit looks for, by the order in which findings of one severity are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from osler.audit.case import Case
from osler.audit.copy_checks import conflicting_labels, copies_across, copies_of_other_patients, copies_within, near_copies
from osler.audit.findings import Finding, ranked
from osler.audit.image_checks import blank, burned_in, constant, odd_depths, odd_shapes, odd_sizes, tiny, unreadable
from osler.audit.mask_checks import empty_masks, exchanged_masks, full_masks, mask_sizes, specks
from osler.audit.origins import origins_differ, origins_of_splits
from osler.audit.shortcut_checks import columns_tell, made_tells, marks_tell, repeated_labels, tones_tell
from osler.audit.split_checks import absent_classes, declared_files, patients_across, prevalence_differs, unknown_labels

__all__ = ["CHECKS", "TITLES", "find"]

CHECKS: dict[str, Callable[[Case], Iterator[Finding]]] = {
    "patients_across": patients_across,
    "copies_across": copies_across,
    "unreadable": unreadable,
    "absent_classes": absent_classes,
    "mask_sizes": mask_sizes,
    "conflicting_labels": conflicting_labels,
    "near_copies": near_copies,
    "made_tells": made_tells,
    "marks_tell": marks_tell,
    "prevalence_differs": prevalence_differs,
    "declared_files": declared_files,
    "constant": constant,
    "blank": blank,
    "tiny": tiny,
    "full_masks": full_masks,
    "exchanged_masks": exchanged_masks,
    "copies_of_other_patients": copies_of_other_patients,
    "copies_within": copies_within,
    "unknown_labels": unknown_labels,
    "odd_depths": odd_depths,
    "tones_tell": tones_tell,
    "columns_tell": columns_tell,
    "origins_of_splits": origins_of_splits,
    "origins_differ": origins_differ,
    "empty_masks": empty_masks,
    "specks": specks,
    "odd_sizes": odd_sizes,
    "odd_shapes": odd_shapes,
    "burned_in": burned_in,
    "repeated_labels": repeated_labels,
}

TITLES: dict[str, str] = {
    "patients_across_splits": "Patients in several splits",
    "copies_across_splits": "Copies across splits",
    "near_copies_across_splits": "Near copies across splits",
    "copies_within_split": "Copies within a split",
    "near_copies_within_split": "Near copies within a split",
    "alike_within_patient": "Alike within a patient",
    "conflicting_labels": "One image, two labels",
    "copies_of_other_patients": "One image, two patients",
    "unreadable": "Not to be read",
    "class_absent": "A class is absent",
    "mask_of_other_size": "Image and mask do not fit",
    "metadata_tells_labels": "Told without the image",
    "columns_tell_labels": "Told by the table",
    "column_says_label": "The label again",
    "pixels_tell_labels": "Told by frame or marker",
    "brightness_tells_labels": "Told by brightness",
    "prevalence_differs": "Prevalence differs",
    "rows_without_image": "Rows without an image",
    "images_without_row": "Images without a row",
    "constant": "Constant images",
    "blank": "Blank images",
    "tiny": "Tiny images",
    "full_masks": "Full masks",
    "masks_exchanged": "Exchanged masks",
    "empty_masks": "Empty masks",
    "specks": "Specks",
    "unknown_labels": "Unknown labels",
    "odd_sizes": "Odd sizes",
    "odd_shapes": "Odd shapes",
    "odd_depths": "Odd kinds",
    "mixed_depths": "Mixed bit depths",
    "origins_differ": "Origins differ",
    "origin_not_in_train": "An origin that train lacks",
    "burned_in_text": "Text burned in",
}
"""What each finding is called on a page; the order is that within a severity."""


def find(case: Case) -> tuple[Finding, ...]:
    """What every check found, the gravest first."""
    return ranked((finding for check in CHECKS.values() for finding in check(case)), list(TITLES))
