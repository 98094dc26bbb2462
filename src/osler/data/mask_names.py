"""What names of files and folders say about images and masks."""

from __future__ import annotations

import re

__all__ = ["IMAGE_WORDS", "MASK_WORDS", "SUFFIX_WORDS", "bare_name", "ends_of", "name_words", "without_number"]

MASK_WORDS = frozenset((
    "mask", "masks", "msk", "label", "labels", "lbl", "annotation", "annotations", "annot", "gt", "groundtruth", "groundtruths",
    "truth", "truths", "segmentation", "segmentations", "seg", "segs", "manual", "contour", "contours", "target", "targets",
))  # fmt: skip
SUFFIX_WORDS = MASK_WORDS | frozenset(("ho", "observer", "expert", "rater", "reader"))
"""Words that make the end of a name a mask's; "1stHO" is the first human observer of CHASE_DB1."""
IMAGE_WORDS = frozenset((
    "image", "images", "img", "imgs", "input", "inputs", "scan", "scans", "photo", "photos", "original", "originals", "picture",
    "pictures",
))  # fmt: skip


def name_words(name: str) -> list[str]:
    """Words of a name in lower case: runs of letters, parted at capitals, and runs of digits.

    >>> name_words("Image_01L_1stHO"), name_words("imagesTr")
    (['image', '01', 'l', '1', 'st', 'ho'], ['images', 'tr'])
    """
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def ends_of(stem: str) -> list[str]:
    """What may be a suffix of a name, the shortest first: it begins with a sign, or is a word for masks.

    >>> ends_of("a_b_mask"), ends_of("amask")
    (['_mask', '_b_mask', 'mask'], ['mask'])
    """
    parted = [stem[at:] for at in range(len(stem) - 1, 0, -1) if not stem[at].isalnum()]
    words = [stem[-len(word) :] for word in sorted(MASK_WORDS) if len(word) > 3 and stem.lower().endswith(word)]
    return [*parted, *(word for word in words if len(word) < len(stem))]


def without_number(text: str) -> str:
    """A suffix without the number that tells several masks of one image apart.

    >>> without_number("_mask_1"), without_number("_mask (2)"), without_number("_1stHO")
    ('_mask', '_mask', '_1stHO')
    """
    return re.sub(r"[\W_]*\(?\d+\)?$", "", text)


def bare_name(stem: str) -> str:
    """A name without words for image and mask, and without nnU-Net's number of a channel.

    >>> bare_name("img_012"), bare_name("mask-012"), bare_name("case_7_0000")
    ('012', '012', 'case 7')
    """
    words = [word for word in re.split(r"[\W_]+", re.sub(r"_0000$", "", stem)) if word]
    return " ".join(word for word in words if word.lower() not in MASK_WORDS | IMAGE_WORDS)
