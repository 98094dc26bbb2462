"""Lesions: connected components of masks, which are found, which are missed, and which calls touch none.

Pixels are connected with their eight neighbours. A lesion is found when at least `LEAST` of its pixels are called; a call (a
component of the predicted mask) that touches fewer lesion pixels than that is a false alarm. Unknown pixels belong to
neither mask.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CALL_COLUMNS", "LEAST", "LESION_COLUMNS", "components", "lesion_dice", "match_lesions"]

Table = NDArray[np.int64]

LEAST = 1
"""Pixels of a lesion that must be called for it to be found."""
LESION_COLUMNS = ("area", "called", "touching")
"""Of a lesion: its pixels; how many of them are called; the area of all calls that touch it."""
CALL_COLUMNS = ("area", "hit")
"""Of a call: its pixels; how many of them lie in a lesion."""


def components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], Table]:
    """(H, W) the number of each pixel's component, 0 outside; and (C + 1,) the pixels of each, from 1. Eight neighbours.

    >>> components(np.eye(3, dtype=bool))[1].tolist()
    [0, 3]
    """
    import cv2

    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    numbers = np.asarray(labels, dtype=np.int32)
    return numbers, np.bincount(numbers.ravel()[np.flatnonzero(mask)], minlength=int(count))


def match_lesions(truth: NDArray[np.bool_], called: NDArray[np.bool_]) -> tuple[Table, Table]:
    """Every lesion and every call with what they share.

    Args:
        truth: (H, W) foreground.
        called: (H, W) predicted foreground.

    Returns:
        (L, 3) lesions by `LESION_COLUMNS`, and (M, 2) calls by `CALL_COLUMNS`.

    >>> truth, called = np.zeros((2, 5, 5), bool)
    >>> truth[:2, :2], called[1, 1:3], called[4, 4] = True, True, True
    >>> [table.tolist() for table in match_lesions(truth, called)]
    [[[4, 1, 2]], [[2, 1], [1, 0]]]
    """
    lesions, areas = components(truth)
    calls, call_areas = components(called)
    both = np.flatnonzero(truth & called)
    # Each pair that touches, once, with its shared pixels.
    pairs, shared = np.unique(lesions.ravel()[both] * np.int64(len(call_areas)) + calls.ravel()[both], return_counts=True)
    lesion, call = pairs // len(call_areas), pairs % len(call_areas)
    covered = np.bincount(lesion, shared, minlength=len(areas))
    touching = np.bincount(lesion, call_areas[call], minlength=len(areas))
    hits = np.bincount(call, shared, minlength=len(call_areas))
    found = np.stack([areas, covered, touching], axis=1)[1:], np.stack([call_areas, hits], axis=1)[1:]
    return found[0].astype(np.int64), found[1].astype(np.int64)


def lesion_dice(lesions: NDArray[Any]) -> NDArray[np.float64]:
    """(L,) Dice of each lesion with all calls that touch it; 0 where none does.

    A call over two lesions counts against both: the model did not tell them apart.

    Args:
        lesions: (L, 3) by `LESION_COLUMNS`.

    >>> lesion_dice(np.array([[4, 1, 2], [9, 0, 0]])).round(3).tolist()
    [0.333, 0.0]
    """
    return np.asarray(2 * lesions[:, 1] / (lesions[:, 0] + lesions[:, 2]))
