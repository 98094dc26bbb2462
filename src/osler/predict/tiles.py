"""Logits of an image larger than a network is to see at once: overlapping tiles, blended by Gaussian weights.

What is blended is logits, as nnU-Net does (Isensee et al. 2021): the same figures that losses and thresholds were made on, of
which a softmax is taken once, at the end. A tile's weight falls from its middle like a Gaussian whose SD is an eighth of its
side (as in nnU-Net), since a network knows least at the border of what it sees.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from osler.imaging.depth import Fed

__all__ = ["FLIPS", "Run", "logit_maps", "tiled"]

Run = Callable[[Fed], NDArray[np.float32]]
"""Prepared images (B, C, H, W), 0 to 255 in uint8 or float32, to logits (B, K, H, W) float32."""

FLIPS = ((), (3,), (2,), (2, 3))
"""Axes of a batch along which it is mirrored, with `flips`: not at all, left-right, up-down, both."""

SPREAD = 1 / 8
"""SD of the Gaussian weights as a share of the tile's side."""

GRID = 32
"""Tiles begin at multiples of this where they are this far apart: a network that halves the resolution five times then lays its
coarse grids over each tile as it lays them over the whole image. The image is continued by its last row and column until the
last tile is full."""


def logit_maps(
    run: Run,
    images: Fed,
    tile: int | None = None,
    overlap: float = 0.5,
    flips: bool = False,
    batch: int = 8,
) -> NDArray[np.float32]:
    """Logits (B, K, H, W) of images (B, C, H, W): of the whole images at once, or tile by tile where these are smaller.

    Args:
        run: the network.
        images: prepared.
        tile: side of the square tiles; None: the whole image.
        overlap: share of a tile that its neighbour covers too, at least.
        flips: average over the four mirror images.
        batch: tiles that are run at once.
    """
    if tile is None or tile >= max(images.shape[2:]):
        return _mirrored(run, images, flips)
    return np.stack([tiled(run, image, tile, overlap, flips, batch) for image in images])


def tiled(
    run: Run,
    image: Fed,
    tile: int,
    overlap: float = 0.5,
    flips: bool = False,
    batch: int = 8,
) -> NDArray[np.float32]:
    """Logits (K, H, W) of one image (C, H, W), from tiles.

    At one time there are in memory what `run` takes for `batch` tiles, and K + 1 float32 planes of the image's size. Further
    from the tiles' borders, and from ends where the image is continued, than the radius of what a pixel's logit depends on,
    the result is that of the whole image, where the network has no operation over all of it and halves the resolution five
    times at most. A side that is no longer than the tile is taken whole; a tile at least as large as the image means one pass.

    Args:
        run: the network.
        image: prepared.
        tile: side of the square tiles in pixels.
        overlap: share of a tile that its neighbour covers too, at least, in [0, 0.9); the last of a row may overlap more.
        flips: average over the four mirror images of every tile.
        batch: tiles that are run at once.

    >>> image = np.arange(35, dtype=np.uint8).reshape(1, 5, 7)
    >>> bool(np.allclose(tiled(lambda tiles: tiles.astype(np.float32), image, tile=4), image))
    True
    """
    height, width = image.shape[1:]
    if tile >= max(height, width):
        return np.asarray(_mirrored(run, image[None], flips)[0])
    rows, columns = _starts(height, tile, overlap), _starts(width, tile, overlap)
    window = (min(tile, height), min(tile, width))
    full = (rows[-1] + window[0], columns[-1] + window[1])
    image = np.pad(image, ((0, 0), (0, full[0] - height), (0, full[1] - width)), mode="edge")
    weight = np.outer(_weights(window[0]), _weights(window[1]))
    total: NDArray[np.float32] | None = None
    weights = np.zeros(full, np.float32)
    for corners in _batches(itertools.product(rows, columns), batch):
        places = [np.s_[top : top + window[0], left : left + window[1]] for top, left in corners]
        logits = _mirrored(run, np.stack([image[:, down, across] for down, across in places]), flips)
        total = np.zeros((logits.shape[1], *full), np.float32) if total is None else total
        for (down, across), one in zip(places, logits, strict=True):
            total[:, down, across] += one * weight
            weights[down, across] += weight
    assert total is not None, "an image has at least one tile"
    total /= weights
    return total[:, :height, :width]


def _mirrored(run: Run, images: Fed, flips: bool) -> NDArray[np.float32]:
    """Logits of a batch; with `flips` the mean over its mirror images, each turned back."""
    if not flips:
        return run(images)
    total: NDArray[np.float32] | None = None
    for axes in FLIPS:
        logits = np.flip(run(np.ascontiguousarray(np.flip(images, axes))), axes)
        total = logits.astype(np.float32) if total is None else np.add(total, logits, out=total)
    assert total is not None, "there are four mirror images"
    total /= len(FLIPS)
    return total


def _starts(side: int, tile: int, overlap: float) -> list[int]:
    """Where tiles begin along a side; the last one reaches its end, or up to `GRID` - 1 pixels beyond.

    >>> _starts(128, 64, 0.5), _starts(100, 64, 0.5), _starts(40, 64, 0.5), _starts(10, 4, 0.0)
    ([0, 32, 64], [0, 32, 64], [0], [0, 4, 6])
    """
    if side <= tile:
        return [0]
    step = max(1, int(tile * (1 - overlap)))
    grid = GRID if step >= GRID else 1
    last = -(-(side - tile) // grid) * grid
    return [*range(0, last, step // grid * grid), last]


def _weights(side: int) -> NDArray[np.float32]:
    """(side,) Gaussian weights, near 1 in the middle and above 0 at the ends.

    >>> _weights(4).round(2).astype(float).round(2).tolist()
    [0.01, 0.61, 0.61, 0.01]
    """
    places = np.arange(side) - (side - 1) / 2
    return np.asarray(np.exp(-0.5 * (places / (SPREAD * side)) ** 2), np.float32)


def _batches(corners: Iterator[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    while some := list(itertools.islice(corners, size)):
        yield some
