"""CLAHE (Zuiderveld 1994) of prepared pixels: OpenCV's on bytes, and the same curves without steps on 16 bits.

OpenCV's own CLAHE of 16 bits counts pixels in 65,536 bins. A tile has fewer pixels than that, so each bin holds one or none, the
clip limit, which is at least one pixel a bin, no longer means what it means on bytes, and the result depends on how many bits
the camera had. Here histograms have 256 bins whatever the depth, and clip limits their usual meaning; a tile's curve is linear
within each bin, so that values which bytes would make equal stay apart. From OpenCV's curve on bytes it differs by about half a
bin's height: of 255, clip_limit / 2.
"""

from __future__ import annotations

import threading
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from osler.config import ClaheConfig
from osler.imaging.depth import STEPS, TOPS, Levels

__all__ = ["equalise"]

BINS = 256
_THIS_THREAD = threading.local()
Floats = NDArray[np.float32]


def equalise(image: Levels, config: ClaheConfig) -> Levels:
    """CLAHE of a gray image (H, W), or of the lightness (L of CIELAB) of a colour one (H, W, 3), whose hues it keeps."""
    if image.dtype == np.uint8:
        return _equalise_bytes(image.astype(np.uint8, copy=False), config)
    deep = image.astype(np.uint16, copy=False)
    if deep.ndim == 2:
        return _equalise_deep(deep, config)
    lab = cv2.cvtColor(deep.astype(np.float32) / np.float32(TOPS["uint16"]), cv2.COLOR_RGB2LAB)
    lightness = np.rint(np.clip(lab[..., 0] / 100, 0, 1) * TOPS["uint16"]).astype(np.uint16)
    lab[..., 0] = _equalise_deep(lightness, config) * np.float32(100 / TOPS["uint16"])
    return _rounded(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB) * np.float32(TOPS["uint16"]))


def _equalise_bytes(image: NDArray[np.uint8], config: ClaheConfig) -> NDArray[np.uint8]:
    clahe = _clahe(config.clip_limit, config.tiles)
    if image.ndim == 2:
        return np.asarray(clahe.apply(image), np.uint8)
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = clahe.apply(np.ascontiguousarray(lab[..., 0]))
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


def _clahe(clip_limit: float, tiles: int) -> Any:
    """One object a thread and setting: making it costs more than small images do, and it is not safe between threads."""
    made: dict[tuple[float, int], Any] = _THIS_THREAD.__dict__.setdefault("clahe", {})
    if (clip_limit, tiles) not in made:
        made[clip_limit, tiles] = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=(tiles, tiles))
    return made[clip_limit, tiles]


# --- 16 bits ----------------------------------------------------------------------------------------------------------------


def _equalise_deep(image: NDArray[np.uint16], config: ClaheConfig) -> NDArray[np.uint16]:
    """(H, W): each pixel by the curves of the four tiles around it, in the proportions of bilinear interpolation."""
    tile = _tile_size(image.shape, config.tiles)
    low, height = _curves(image, tile, config)
    down, across = (_stretches(image.shape[axis], tile[axis], config.tiles) for axis in (0, 1))
    result = np.empty(image.shape, np.uint16)
    for rows, above, below, down_share in down:
        for columns, left, right, across_share in across:
            bins, within = _places(image[rows, columns])
            beside = [
                [low[row, column].take(bins) + height[row, column].take(bins) * within for column in (left, right)]
                for row in (above, below)
            ]
            upper, lower = (_blended(one, other, across_share) for one, other in beside)
            result[rows, columns] = _rounded(_blended(upper, lower, down_share[:, None]))
    return result


def _places(values: NDArray[np.uint16]) -> tuple[NDArray[np.intp], Floats]:
    """The bin of each value, and how far into it the value lies; bins are centred on the values that bytes have."""
    raised = values.astype(np.intp) + STEPS // 2
    bins = raised // STEPS
    return bins, ((raised - bins * STEPS).astype(np.float32) + np.float32(0.5)) / np.float32(STEPS)


def _tile_size(shape: tuple[int, ...], tiles: int) -> tuple[int, int]:
    """Height and width of a tile in pixels, the image being continued where the tiles do not fit it, as OpenCV does it.

    >>> _tile_size((64, 64), 8), _tile_size((64, 65), 8)
    ((8, 8), (9, 9))
    """
    more = any(side % tiles for side in shape[:2])
    rows, columns = ((side + tiles - side % tiles if more else side) // tiles for side in shape[:2])
    return rows, columns


def _curves(image: NDArray[np.uint16], tile: tuple[int, int], config: ClaheConfig) -> tuple[Floats, Floats]:
    """(T, T, BINS) shade at which each bin of each tile begins, and by how much it rises to the next."""
    tiles, (rows, columns) = config.tiles, tile
    beyond = tiles * rows - image.shape[0], tiles * columns - image.shape[1]
    if any(beyond):
        image = np.asarray(cv2.copyMakeBorder(image, 0, beyond[0], 0, beyond[1], cv2.BORDER_REFLECT_101), np.uint16)
    # Tile by tile, as all other steps are: what is small stays in the core's cache.
    pieces = (piece for strip in np.split(image, tiles) for piece in np.split(strip, tiles, axis=1))
    counts = np.stack([np.bincount(_places(piece)[0].ravel(), minlength=BINS) for piece in pieces])
    clipped = _clipped(counts, max(1, int(config.clip_limit * rows * columns / BINS)))
    height = clipped.reshape(tiles, tiles, BINS) * (TOPS["uint16"] / (rows * columns))
    return (np.cumsum(height, axis=2) - height).astype(np.float32), height.astype(np.float32)


def _clipped(counts: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """(n, BINS) pixels a bin, those above `most` dealt evenly over all bins, what is left over one by one from the darkest on.

    Dealt as OpenCV deals them: in a small tile what is left over moves a curve far, and a film has to look the same at any depth.

    >>> _clipped(np.array([[300, *[0] * 255]]), 40)[0, [0, 1, 64, 65]].tolist()
    [42, 1, 2, 1]
    """
    kept = np.minimum(counts, most)
    each, left = np.divmod((counts - kept).sum(axis=1), BINS)
    kept += each[:, None]
    for row, more in zip(kept, left.tolist(), strict=True):
        if more:
            row[:: max(1, BINS // more)][:more] += 1
    return kept


def _stretches(side: int, tile: int, tiles: int) -> list[tuple[slice, int, int, Floats]]:
    """Runs of rows, or columns, between the middles of two tiles: which, the tiles before and after, and the share of the latter.

    >>> [(run.start, run.stop, before, after, share.tolist()) for run, before, after, share in _stretches(4, 2, 2)]
    [(0, 1, 0, 0, [0.5]), (1, 3, 0, 1, [0.0, 0.5]), (3, 4, 1, 1, [0.0])]
    """
    places = np.arange(side) / tile - 0.5
    before = np.floor(places).astype(np.intp)
    edges = np.flatnonzero(np.r_[True, np.diff(before) > 0, True])
    runs = []
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        first = int(before[start])
        share = (places[start:stop] - first).astype(np.float32)
        runs.append((slice(start, stop), max(first, 0), min(first + 1, tiles - 1), share))
    return runs


def _blended(one: Floats, other: Floats, share: Floats) -> Floats:
    return one + (other - one) * share


def _rounded(shades: Floats) -> NDArray[np.uint16]:
    return np.clip(np.rint(shades), 0, TOPS["uint16"]).astype(np.uint16)
