"""Augmentation of a whole batch at once: one resampling, then tones and noise; no per-sample Python.

Every number drawn is a hash of (seed, epoch, position in the epoch's global order), so a sample is changed in the same way
whatever the batch size, the rank, or the batch that a resumed run begins with. Hashes are computed on the CPU; only the noise
field, which is as large as the images, is hashed where the images are, from keys that come from the CPU.

Rotation, shift, zoom and flips become one affine map, so that pixels are interpolated once. On the CPU, OpenCV's remap reads
the batch as one tall picture, in a half to a quarter of the time of torch's affine_grid and grid_sample
(`benchmarks/batches.py`); elsewhere torch gathers the four neighbours. Both read zero outside the image, and both give an image
back bit for bit under the identity, and mirrored bit for bit under a flip, which grid_sample with its normalised coordinates
does not.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from osler.config import AugmentationConfig

__all__ = ["CHANGE", "DRAW", "NOISE", "ORDER", "Augmenter", "Changes", "affine", "hashes", "transform", "uniforms"]

ORDER, DRAW, CHANGE, NOISE = range(4)
"""What a hash is for; part of every key, so that no two purposes share a number."""

FULL = 255.0
"""Images are 0 to this."""

_GOLDEN = -7046029254386353131
"""SplitMix64's increment, 2^64 divided by the golden ratio, as int64."""

_TALLEST = (1 << 14) - 1
"""Rows of the tallest picture that OpenCV is given; it takes up to 2^15 - 1."""

_ROUNDER = 12288.0
"""Added to a float32 from -1 to 4096 it leaves multiples of 2^-10, which are exact for every row of the tallest picture."""

_Words = TypeVar("_Words", NDArray[np.int64], Tensor)


# --- numbers ----------------------------------------------------------------------------------------------------------------


def _mix(words: _Words) -> _Words:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014, variant 13) of int64 words; the masks make the shifts logical."""
    words = words ^ ((words >> 30) & ((1 << 34) - 1))
    words = words * -4658895280553007687
    words = words ^ ((words >> 27) & ((1 << 37) - 1))
    words = words * -7723592293110705685
    return words ^ ((words >> 31) & ((1 << 33) - 1))


def hashes(*parts: int | NDArray[np.integer]) -> NDArray[np.int64]:
    """One random 64-bit word for each combination of `parts`, which are broadcast against each other.

    Returns:
        int64 of the broadcast shape, at least one dimension; uniform over all 64-bit values.

    >>> bool((hashes(42, 3, np.arange(5)) == hashes(42, 3, np.arange(8))[:5]).all())
    True
    """
    state = np.array([len(parts)], dtype=np.int64)
    for part in parts:
        words = np.array([part & (2**64 - 1)], dtype=np.uint64) if isinstance(part, int) else np.atleast_1d(part)
        state = _mix(state + (words.astype(np.int64) + 1) * _GOLDEN)
    return state


def uniforms(*parts: int | NDArray[np.integer]) -> NDArray[np.float64]:
    """`hashes` as numbers in [0, 1), of 53 bits.

    >>> values = uniforms(0, np.arange(1000))
    >>> bool(0 <= values.min() and values.max() < 1 and 0.45 < values.mean() < 0.55)
    True
    """
    top = (hashes(*parts) >> 11) & ((1 << 53) - 1)
    return top.astype(np.float64) * 2.0**-53


@functools.cache
def _normal_table(device: torch.device) -> Tensor:
    """(65536,) standard normal quantiles at the middle of each 16-bit value; the largest is 4.32."""
    shares = (torch.arange(1 << 16, dtype=torch.float64) + 0.5) / (1 << 16)
    table: Tensor = torch.special.ndtri(shares).float().to(device)
    return table


def _normal_fields(keys: NDArray[np.int64], size: tuple[int, int], device: torch.device) -> Tensor:
    """(B, 1, H, W) standard normal values, four of each hashed word; a field depends on its key alone."""
    height, width = size
    pixels = height * width
    counter = torch.arange(-(-pixels // 4), device=device) * _GOLDEN
    words = _mix(torch.from_numpy(keys).to(device)[:, None] + counter)
    levels = words.view(torch.int16).int() + (1 << 15)
    values = _normal_table(device).index_select(0, levels.flatten()).view(len(keys), -1)
    return values[:, :pixels].view(-1, 1, height, width)


# --- geometry ---------------------------------------------------------------------------------------------------------------


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
    for part in _parts(images):
        _move(images[part], matrices[part], nearest, fill, result[part])
    return result


def _parts(images: Tensor) -> Iterator[slice]:
    """Slices of a batch: as many images as stay in a core's cache, or, on an accelerator, use little of its memory."""
    count, _, height, width = images.shape
    size = max(1, (1 << 23) // (height * width))
    if images.device.type == "cpu":
        size = max(1, min(_TALLEST // (height + 2), (1 << 18) // (height * width)))
    return (slice(first, first + size) for first in range(0, count, size))


def _move(images: Tensor, matrices: NDArray[np.float64], nearest: bool, fill: float | None, result: Tensor) -> None:
    """`transform` of one part, into `result`."""
    height, width = images.shape[2:]
    assert max(height, width) <= 4096, images.shape
    x, y = _coordinates(matrices, height, width, images.device, outside=fill is not None)
    sample = _sample_opencv if images.device.type == "cpu" else _sample_torch
    sample(images, x, y, nearest, fill or 0.0, result)


def _coordinates(
    matrices: NDArray[np.float64], height: int, width: int, device: torch.device, outside: bool
) -> tuple[Tensor, Tensor]:
    """Where each pixel of the result lies in the source: x and y, each (B, H, W) float32 in pixels.

    A place beyond the edge becomes -1 or the side where `outside` is true, else the edge.
    """
    beyond = 1 if outside else 0
    size = np.array([width, height], dtype=np.float64)
    centre = (size - 1) / 2
    linear = matrices[:, :, :2]
    offset = centre - np.einsum("bij,bj->bi", linear, centre + matrices[:, :, 2] * size)
    terms = torch.from_numpy(np.concatenate([linear, offset[:, :, None]], axis=2).astype(np.float32)).to(device)
    columns = torch.arange(width, dtype=torch.float32, device=device)
    rows = torch.arange(height, dtype=torch.float32, device=device)
    places = []
    for axis, side in enumerate((width, height)):
        along = terms[:, axis, 0, None] * columns
        down = terms[:, axis, 1, None] * rows + terms[:, axis, 2, None]
        places.append((along[:, None, :] + down[:, :, None]).clamp_(-beyond, side - 1 + beyond))
    return places[0], places[1]


def _sample_opencv(images: Tensor, x: Tensor, y: Tensor, nearest: bool, fill: float, result: Tensor) -> None:
    """Reads the images as one tall picture with a row of `fill` above and below each, so that one call serves all."""
    count, channels, height, width = images.shape
    first = torch.arange(count, dtype=torch.float32)[:, None, None] * (height + 2) + 1
    # Without rounding, a float32 row number would keep fewer bits the lower its image stands in the tall picture, and
    # a sample would look different, in the last bits, in another batch.
    y = y.add_(_ROUNDER).sub_(_ROUNDER - first)
    across, down = x.view(-1, width).numpy(), y.view(-1, width).numpy()
    tall = np.full((count, height + 2, width), fill, dtype=images.numpy().dtype if nearest else np.float32)
    interpolation = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    for channel in range(channels):
        tall[:, 1:-1] = images[:, channel].numpy()
        moved = cv2.remap(tall.reshape(-1, width), across, down, interpolation, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
        result[:, channel] = torch.from_numpy(moved).view(count, height, width)


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
    return picked.view_as(images).masked_fill(~inside[:, None], fill)


# --- the augmenter ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Changes:
    """What is done to each of B samples.

    Attributes:
        matrices: (B, 2, 3) for `transform`, or None where nothing moves.
        contrast: (B,) factors around the image's mean.
        brightness: (B,) shares of the full range, added.
        noise: (B,) standard deviations as shares of the full range.
        noise_keys: (B,) words that the noise fields are hashed from.
    """

    matrices: NDArray[np.float64] | None
    contrast: NDArray[np.float64]
    brightness: NDArray[np.float64]
    noise: NDArray[np.float64]
    noise_keys: NDArray[np.int64]

    def take(self, part: slice) -> Changes:
        """The changes of some of the samples."""
        matrices = None if self.matrices is None else self.matrices[part]
        return Changes(matrices, self.contrast[part], self.brightness[part], self.noise[part], self.noise_keys[part])


class Augmenter:
    """Changes training images at random, the same sample of an epoch always in the same way.

    Args:
        config: the largest changes; None changes nothing.
        seed: of the run.
    """

    def __init__(self, config: AugmentationConfig | None, seed: int) -> None:
        self._config = config or _NOTHING
        self._seed = seed

    def draw(self, epoch: int, positions: NDArray[np.integer]) -> Changes:
        """The changes of the samples at these positions of the epoch's global order; (B,) positions."""
        limits = self._config
        lot = uniforms(self._seed, epoch, CHANGE, positions[:, None], np.arange(9))
        either = 2 * lot - 1
        moves = limits.rotation or limits.shift or limits.zoom or limits.horizontal_flip or limits.vertical_flip
        matrices = affine(
            rotation=limits.rotation * either[:, 0],
            shift=limits.shift * either[:, 1:3],
            zoom=1 + limits.zoom * either[:, 3],
            flip=lot[:, 4:6] < [limits.horizontal_flip, limits.vertical_flip],
        )
        return Changes(
            matrices=matrices if moves else None,
            contrast=1 + limits.contrast * either[:, 6],
            brightness=limits.brightness * either[:, 7],
            noise=limits.noise * lot[:, 8],
            noise_keys=hashes(self._seed, epoch, NOISE, positions),
        )

    def apply(self, images: Tensor, epoch: int, positions: NDArray[np.integer]) -> Tensor:
        """The images changed: flip, zoom, rotation, shift; contrast, brightness; noise; clipped.

        Args:
            images: (B, C, H, W) uint8 on any device; not modified.
            epoch: of the run, from 0.
            positions: (B,) places in the epoch's global order.

        Returns:
            (B, C, H, W) float32, 0 to 255, on the images' device. Beyond an image its edge goes on: black
            corners would be a mark of training images alone. The noise is the same in all channels, so that gray stays gray.
        """
        if self._config == _NOTHING:
            return images.float()
        changes = self.draw(epoch, positions)
        result = torch.empty_like(images, dtype=torch.float32, memory_format=torch.contiguous_format)
        for part in _parts(images):
            self._change(images[part], changes.take(part), result[part])
        return result

    def _change(self, images: Tensor, changes: Changes, result: Tensor) -> None:
        if changes.matrices is None:
            result.copy_(images)
        else:
            _move(images, changes.matrices, False, None, result)
        if self._config.contrast or self._config.brightness:
            _change_tones(result, images, changes)
        if self._config.noise:
            fields = _normal_fields(changes.noise_keys, (images.shape[2], images.shape[3]), images.device)
            result.add_(fields.mul_(_per_image(FULL * changes.noise, images.device)))
        result.clamp_(0, FULL)


_NOTHING = AugmentationConfig(rotation=0, shift=0, zoom=0, horizontal_flip=0, vertical_flip=0, brightness=0, contrast=0, noise=0)


def _change_tones(result: Tensor, images: Tensor, changes: Changes) -> None:
    """Contrast around the source image's mean, then brightness, in place."""
    # The sum of whole numbers is exact, so it cannot depend on how a batch is cut or how many threads add.
    total = images.sum(dim=3, dtype=torch.int32, keepdim=True).sum(dim=(1, 2), keepdim=True)
    mean = total.float() / images[0].numel()
    contrast = _per_image(changes.contrast, images.device)
    result.mul_(contrast).add_(mean * (1 - contrast) + _per_image(FULL * changes.brightness, images.device))


def _per_image(values: NDArray[np.float64], device: torch.device) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(device)[:, None, None, None]
