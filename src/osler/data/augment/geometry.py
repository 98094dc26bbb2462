"""One affine map a sample, and one interpolation.

On the CPU, OpenCV's remap reads the batch as one tall picture, in a half to a quarter of the time of torch's affine_grid and
grid_sample (`benchmarks/batches.py`); elsewhere torch gathers the four neighbours. Both read zero outside the image, and both
give an image back bit for bit under the identity, and mirrored bit for bit under a flip, which grid_sample with its normalised
coordinates does not.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["affine", "parts", "pixel_maps", "places", "sample", "transform"]

_TALLEST = (1 << 14) - 1
"""Rows of the tallest picture that OpenCV is given; it takes up to 2^15 - 1."""

_ROUNDER = 12288.0
"""Added to a float32 from -1 to 4096 it leaves multiples of 2^-10, which are exact for every row of the tallest picture."""


def affine(
    rotation: NDArray[np.float64], shift: NDArray[np.float64], zoom: NDArray[np.float64], flip: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Matrices for `transform`: flip, then zoom, then rotate about the centre, then shift.

    Args:
        rotation: (B,) degrees, counterclockwise as seen.
        shift: (B, 2) shares of width and height, to the right and down.
        zoom: (B,) factors; 2 shows everything twice as large.
        flip: (B, 2) whether to mirror left-right, and up-down.

    Returns:
        (B, 2, 3). The left part takes a place of the result, in pixels from its centre, to its place in the source; the right
        column is the shift, in shares of the sides. The size of the image is not in it: the same matrices move a mask of
        another resolution.

    >>> affine(np.zeros(1), np.zeros((1, 2)), np.ones(1), np.array([[True, False]]))[0].tolist()
    [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    angle = np.deg2rad(rotation)
    cosine, sine = np.cos(angle) / zoom, np.sin(angle) / zoom
    mirror = np.where(flip, -1.0, 1.0)
    across = np.stack([cosine * mirror[:, 0], -sine * mirror[:, 0], shift[:, 0]], axis=-1)
    down = np.stack([sine * mirror[:, 1], cosine * mirror[:, 1], shift[:, 1]], axis=-1)
    # Adding zero turns -0.0 into 0.0.
    return np.stack([across, down], axis=1) + 0.0


def transform(images: Tensor, matrices: NDArray[np.float64], nearest: bool = False, fill: float | None = None) -> Tensor:
    """Moves each image by its matrix, interpolating once.

    Args:
        images: (B, C, H, W) uint8 or float32, on any device; sides up to 4096.
        matrices: (B, 2, 3) as `affine` gives them.
        nearest: takes the nearest pixel instead of a bilinear mean, for masks and label maps.
        fill: value of what lies outside an image, such as a mask's ignore value; None: its edge goes on.

    Returns:
        (B, C, H, W) float32, or of the images' own type with `nearest`.
    """
    assert len(matrices) == len(images), (matrices.shape, images.shape)
    result = torch.empty_like(images, dtype=images.dtype if nearest else torch.float32, memory_format=torch.contiguous_format)
    height, width = images.shape[2:]
    maps = pixel_maps(matrices, (height, width))
    for part in parts(images):
        x, y = places(maps[part], (height, width), (height, width), images.device, outside=fill is not None)
        sample(images[part], x, y, nearest, fill or 0.0, result[part])
    return result


def pixel_maps(
    matrices: NDArray[np.float64], size: tuple[int, int], centres: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Matrices of `affine` in pixels: a column and row of the result, and 1, become a column and row of the source.

    Args:
        matrices: (B, 2, 3).
        size: height and width of the result.
        centres: (B, 2) column and row of the source that the middle of the result shows; None: the middle of a source of the
            same size.

    Returns:
        (B, 2, 3).

    >>> pixel_maps(np.array([[[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]), (3, 5))[0].tolist()
    [[-1.0, 0.0, 4.0], [0.0, 1.0, 0.0]]
    """
    sides = np.array(size[::-1], dtype=np.float64)
    middle = (sides - 1) / 2
    linear = matrices[:, :, :2]
    offset = (middle if centres is None else centres) - np.einsum("bij,bj->bi", linear, middle + matrices[:, :, 2] * sides)
    return np.concatenate([linear, offset[:, :, None]], axis=2)


def parts(images: Tensor) -> Iterator[slice]:
    """Slices of a batch: as many images as stay in a core's cache, or, on an accelerator, use little of its memory."""
    count, _, height, width = images.shape
    size = max(1, (1 << 23) // (height * width))
    if images.device.type == "cpu":
        size = max(1, min(_TALLEST // (height + 2), (1 << 18) // (height * width)))
    return (slice(first, first + size) for first in range(0, count, size))


def places(
    maps: NDArray[np.float64], size: tuple[int, int], source: tuple[int, int], device: torch.device, outside: bool
) -> tuple[Tensor, Tensor]:
    """Where each pixel of the result lies in the source.

    Args:
        maps: (B, 2, 3) of `pixel_maps`.
        size: height and width of the result.
        source: height and width of the source, up to 4096.
        device: where the places are worked out.
        outside: a place beyond the edge becomes -1 or the side; else the edge.

    Returns:
        x and y, each (B, H, W) float32 in pixels.
    """
    assert max(source) <= 4096, source
    beyond = 1 if outside else 0
    terms = torch.from_numpy(maps.astype(np.float32)).to(device)
    rows, columns = (torch.arange(side, dtype=torch.float32, device=device) for side in size)
    found = []
    for axis, side in enumerate(source[::-1]):
        along = terms[:, axis, 0, None] * columns
        down = terms[:, axis, 1, None] * rows + terms[:, axis, 2, None]
        found.append((along[:, None, :] + down[:, :, None]).clamp_(-beyond, side - 1 + beyond))
    return found[0], found[1]


def sample(images: Tensor, x: Tensor, y: Tensor, nearest: bool, fill: float, result: Tensor) -> None:
    """Reads images at the places of `places` into `result`.

    Args:
        images: (B, C, H, W) uint8, uint16 or float32.
        x: (B, h, w) columns.
        y: (B, h, w) rows.
        nearest: takes the nearest pixel instead of a bilinear mean.
        fill: what stands outside the images.
        result: (B, C, h, w) float32, or of the images' own type with `nearest`; overwritten.
    """
    way = _sample_opencv if images.device.type == "cpu" else _sample_torch
    way(images, x, y, nearest, fill, result)


def _sample_opencv(images: Tensor, x: Tensor, y: Tensor, nearest: bool, fill: float, result: Tensor) -> None:
    """Reads the images as one tall picture with a row of `fill` above and below each, so that one call serves all."""
    count, channels, height, width = images.shape
    first = torch.arange(count, dtype=torch.float32)[:, None, None] * (height + 2) + 1
    # Without rounding, a float32 row number would keep fewer bits the lower its image stands in the tall picture, and
    # a sample would look different, in the last bits, in another batch.
    y = y.add(_ROUNDER).sub_(_ROUNDER - first)
    across, down = x.flatten(0, 1).numpy(), y.flatten(0, 1).numpy()
    tall = np.full((count, height + 2, width), fill, dtype=images.numpy().dtype if nearest else np.float32)
    interpolation = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    for channel in range(channels):
        tall[:, 1:-1] = images[:, channel].numpy()
        moved = cv2.remap(tall.reshape(-1, width), across, down, interpolation, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
        result[:, channel] = torch.from_numpy(moved).view(x.shape)


def _sample_torch(images: Tensor, x: Tensor, y: Tensor, nearest: bool, fill: float, result: Tensor) -> None:
    """Gathers the neighbours of each place, on any device."""
    if nearest:
        result.copy_(_pick(images, y.round(), x.round(), fill))
        return
    top, left = y.floor(), x.floor()
    lower, right = (y - top)[:, None], (x - left)[:, None]
    images = images.float()
    above = _pick(images, top, left, fill) * (1 - right) + _pick(images, top, left + 1, fill) * right
    below = _pick(images, top + 1, left, fill) * (1 - right) + _pick(images, top + 1, left + 1, fill) * right
    torch.add(above * (1 - lower), below * lower, out=result)


def _pick(images: Tensor, rows: Tensor, columns: Tensor, fill: float) -> Tensor:
    """The pixels at whole (B, H, W) places, `fill` outside: (B, C, H, W)."""
    channels, height, width = images.shape[1:]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    index = rows.clamp(0, height - 1).long() * width + columns.clamp(0, width - 1).long()
    picked = images.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, channels, -1))
    return picked.view(-1, channels, *rows.shape[1:]).masked_fill(~inside[:, None], fill)
