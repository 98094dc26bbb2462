"""What is done to each sample of an epoch, and doing it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from osler.config import AugmentationConfig
from osler.data.augment.geometry import affine, parts, pixel_maps, places, sample
from osler.data.augment.hashing import CHANGE, NOISE, hashes, normal_fields, uniforms
from osler.imaging.depth import STEPS

__all__ = ["Augmenter", "Changes", "Cut", "on_scale"]

FULL = 255.0
"""Images are 0 to this."""


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


@dataclass(frozen=True)
class Cut:
    """Which square is shown of each of B images, when not all of it.

    Attributes:
        size: side of the square in pixels.
        centres: (B, 2) column and row of the image that the middle of the square shows before any shift.
    """

    size: int
    centres: NDArray[np.float64]

    def take(self, part: slice) -> Cut:
        """The cuts of some of the images."""
        return Cut(self.size, self.centres[part])


class Augmenter:
    """Changes training images at random, the same sample of an epoch always in the same way.

    Args:
        config: the largest changes; None changes nothing.
        seed: of the run.
    """

    def __init__(self, config: AugmentationConfig | None, seed: int) -> None:
        self._config = config or _NOTHING
        self._seed = seed

    @property
    def reach(self) -> float:
        """The largest side of the upright square in the source that a square of side 1 comes from, over all turns and zooms."""
        turn = math.radians(min(self._config.rotation, 45.0))
        return (math.cos(turn) + math.sin(turn)) / (1 - self._config.zoom)

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
            images: (B, C, H, W) uint8 or uint16 on any device; not modified.
            epoch: of the run, from 0.
            positions: (B,) places in the epoch's global order.

        Returns:
            (B, C, H, W) float32, 0 to 255 of either type, on the images' device. Beyond an image its edge goes on: black
            corners would be a mark of training images alone. The noise is the same in all channels, so that gray stays gray.
        """
        if self._config == _NOTHING:
            return on_scale(images)
        return self.change(images, None, self.draw(epoch, positions))[0]

    def change(
        self, images: Tensor, masks: Tensor | None, changes: Changes, cut: Cut | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Images as `apply` changes them, and masks moved by the same maps, never otherwise changed.

        Args:
            images: (B, C, H, W) uint8 or uint16 on any device; not modified.
            masks: (B, K, H, W) uint8 in {0, 1, IGNORED} on the same device, or None; not modified. Each pixel of the result is
                one of these: beyond an image the mask's edge goes on, as the image's does.
            changes: of `draw`.
            cut: which square of each image is shown; None: all of it. Contrast is around the mean of all of what is given.

        Returns:
            Images (B, C, h, w) float32, 0 to 255, and masks (B, K, h, w) uint8, or None.
        """
        height, width = images.shape[2:] if cut is None else (cut.size, cut.size)
        new_images = torch.empty((*images.shape[:2], height, width), dtype=torch.float32, device=images.device)
        new_masks = None if masks is None else masks.new_empty((*masks.shape[:2], height, width))
        for part in parts(images):
            pairs = [(images[part], False, new_images[part])]
            if masks is not None and new_masks is not None:
                pairs.append((masks[part], True, new_masks[part]))
            some = changes.take(part)
            _move(pairs, some.matrices, None if cut is None else cut.take(part))
            if images.dtype == torch.uint16:
                new_images[part].div_(STEPS)
            self._recolour(new_images[part], images[part], some)
        return new_images, new_masks

    def _recolour(self, result: Tensor, images: Tensor, changes: Changes) -> None:
        """Tones and noise, in place."""
        if self._config.contrast or self._config.brightness:
            _change_tones(result, images, changes)
        if self._config.noise:
            fields = normal_fields(changes.noise_keys, (result.shape[2], result.shape[3]), images.device)
            result.add_(fields.mul_(_per_image(FULL * changes.noise, images.device)))
        result.clamp_(0, FULL)


def on_scale(images: Tensor) -> Tensor:
    """Prepared images, uint8 or uint16, as float32 from 0 to 255; as `osler.imaging.depth.for_network` reads them.

    >>> on_scale(torch.tensor([0, 257, 65535], dtype=torch.uint16)).tolist()
    [0.0, 1.0, 255.0]
    """
    return images.float() / STEPS if images.dtype == torch.uint16 else images.float()


_NOTHING = AugmentationConfig(rotation=0, shift=0, zoom=0, horizontal_flip=0, vertical_flip=0, brightness=0, contrast=0, noise=0)


def _move(pairs: list[tuple[Tensor, bool, Tensor]], matrices: NDArray[np.float64] | None, cut: Cut | None) -> None:
    """Reads each source, nearest or not, into its result; all at the same places."""
    first, _, result = pairs[0]
    source, size = (first.shape[2], first.shape[3]), (result.shape[2], result.shape[3])
    if matrices is None:
        assert source == size, "without any move, an image is cut before it comes here"
        for images, _, moved in pairs:
            moved.copy_(images)
        return
    maps = pixel_maps(matrices, size, None if cut is None else cut.centres)
    x, y = places(maps, size, source, first.device, outside=False)
    for images, nearest, moved in pairs:
        sample(images, x, y, nearest, 0.0, moved)


def _change_tones(result: Tensor, images: Tensor, changes: Changes) -> None:
    """Contrast around the source image's mean, then brightness, in place."""
    # The sum of whole numbers is exact, so it cannot depend on how a batch is cut or how many threads add.
    total = images.sum(dim=3, dtype=torch.int32, keepdim=True).sum(dim=(1, 2), keepdim=True)
    mean = total.float() / (images[0].numel() * (STEPS if images.dtype == torch.uint16 else 1))
    contrast = _per_image(changes.contrast, images.device)
    result.mul_(contrast).add_(mean * (1 - contrast) + _per_image(FULL * changes.brightness, images.device))


def _per_image(values: NDArray[np.float64], device: torch.device) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(device)[:, None, None, None]
