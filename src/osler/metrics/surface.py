"""Distances between the borders of two masks: HD95 and surface Dice, in millimetres where the spacing of pixels is known.

The border of a mask are its pixels with one of four neighbours outside; beyond the image is outside. Distances are between
centres of pixels. HD95 is the larger of the two directed 95th percentiles (as in MONAI and Metrics Reloaded, Maier-Hein et
al. 2024), not the percentile of both together, which a small mask beside a large one would hide in. Surface Dice (Nikolov et
al. 2018) is the share of both borders that lies within a tolerance of the other, by counts of border pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["TOLERANCE", "Surface", "border", "border_distances", "surface_figures"]

Mask = NDArray[np.bool_]
Distances = NDArray[np.float32]

TOLERANCE = 2.0
"""Of surface Dice: millimetres where the spacing is known, else pixels."""
PERCENTILE = 0.95


@dataclass(frozen=True)
class Surface:
    """How far apart two masks' borders are.

    Attributes:
        hd95: NaN where either mask is empty: there is no distance to nothing.
        dice: surface Dice; 0 where only the predicted mask is empty, NaN where the true one is.
    """

    hd95: float
    dice: float


def surface_figures(truth: Mask, called: Mask, spacing: Sequence[float] = (1.0, 1.0), tolerance: float = TOLERANCE) -> Surface:
    """HD95 and surface Dice of two masks.

    Args:
        truth: (H, W) foreground.
        called: (H, W) predicted foreground.
        spacing: height and width of a pixel; in pixels, (1, 1).
        tolerance: in the same unit.

    >>> truth, called = np.zeros((2, 8, 8), bool)
    >>> truth[1:5, 1:5], called[1:5, 2:6] = True, True
    >>> surface_figures(truth, called, tolerance=0.5)
    Surface(hd95=1.0, dice=0.5)
    """
    if not truth.any():
        return Surface(math.nan, math.nan)
    if not called.any():
        return Surface(math.nan, 0.0)
    there, back = border_distances(truth, called, spacing)
    within = int((there <= tolerance).sum()) + int((back <= tolerance).sum())
    hd95 = max(_percentile(there), _percentile(back))
    return Surface(hd95, within / (len(there) + len(back)))


def border_distances(truth: Mask, called: Mask, spacing: Sequence[float] = (1.0, 1.0)) -> tuple[Distances, Distances]:
    """Distance of each border pixel of either mask to the other's border.

    Args:
        truth: (H, W), not empty.
        called: (H, W), not empty.
        spacing: height and width of a pixel.

    Returns:
        (T,) from the true border to the predicted, and (P,) back.
    """
    box = _box(truth | called)
    first, second = border(truth[box]), border(called[box])
    height, width = spacing
    if math.isclose(height, width, rel_tol=1e-6):
        there, back = (_exact(_distances_to(second)[first]), _exact(_distances_to(first)[second]))
        return there * np.float32(height), back * np.float32(height)
    return _nearest(first, second, spacing), _nearest(second, first, spacing)


def border(mask: Mask) -> Mask:
    """(H, W) the pixels of a mask that have one of four neighbours outside it; beyond the image is outside.

    >>> border(np.ones((3, 3), bool)).astype(int).tolist()
    [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    """
    inside = np.zeros_like(mask)
    if min(mask.shape) > 2:
        inside[1:-1, 1:-1] = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    return mask & ~inside


def _box(mask: Mask) -> tuple[slice, slice]:
    """The smallest box around a mask, and a pixel more, so that its border keeps its outside."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (
        slice(max(0, int(rows[0]) - 1), int(rows[-1]) + 2),
        slice(max(0, int(columns[0]) - 1), int(columns[-1]) + 2),
    )


def _distances_to(pixels: Mask) -> Distances:
    """(H, W) distance of each pixel to the nearest of some, in pixels; exact but for the last bits, which vary by call."""
    import cv2

    return np.asarray(cv2.distanceTransform((~pixels).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))


def _exact(distances: Distances) -> Distances:
    """The same as roots of whole numbers, which distances between centres of pixels are: equal masks have equal figures."""
    return np.asarray(np.sqrt(np.rint(np.square(distances, dtype=np.float64))), dtype=np.float32)


def _nearest(start: Mask, end: Mask, spacing: Sequence[float]) -> Distances:
    """(n,) distance of each of some pixels to the nearest of others, where pixels are not square."""
    from scipy.spatial import KDTree

    scale = np.asarray(spacing, dtype=np.float64)
    tree = KDTree(np.argwhere(end) * scale, balanced_tree=False, compact_nodes=False)
    return np.asarray(tree.query(np.argwhere(start) * scale)[0], dtype=np.float32)


def _percentile(distances: Distances) -> float:
    return float(np.quantile(distances.astype(np.float64), PERCENTILE))
