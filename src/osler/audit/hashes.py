"""Fingerprints of images: a digest that the same pixels share, and a small image that a copy keeps when it is saved another way.

The small image is the perceptual hash before it is cut into bits: which bits tell the images of a set apart is learned from
the set itself (`osler.audit.codes`), since a hash that is fixed beforehand sees one chest film in every chest film.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cv2
import numpy as np
import xxhash
from numpy.typing import NDArray

__all__ = ["SIDE", "Fingerprint", "Hashes", "gray_of", "hash_image", "shrink", "stack"]

SIDE = 24
"""Pixels on a side of the small image that is kept of each image."""

_FINER = 2
"""Times as many pixels on a side of the step before; images below that are enlarged."""

_FLAT = 1 / 255
"""Standard deviation of the small image, as a share of its range, below which an image is blank."""


class Fingerprint(NamedTuple):
    """What is kept of one image: about 700 bytes, which can be pickled, so that a worker process can send it back.

    Attributes:
        digest: 16 bytes; equal for equal pixels, and for others with a chance of one in 10³⁸.
        thumb: (SIDE, SIDE) uint8, the image made small and stretched from its least value to its greatest.
        blank: without structure; such an image has no copies.
    """

    digest: bytes
    thumb: NDArray[np.uint8]
    blank: bool


@dataclass(frozen=True)
class Hashes:
    """The fingerprints of N images, row by row: 593 bytes an image.

    Attributes:
        digests: (N, 2) uint64.
        thumbs: (N, SIDE, SIDE) uint8.
        blank: (N,) bool: without structure, or unreadable; has no copies.
        unreadable: why, of each row that could not be read.
    """

    digests: NDArray[np.uint64]
    thumbs: NDArray[np.uint8]
    blank: NDArray[np.bool_]
    unreadable: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.digests)


def hash_image(pixels: NDArray[Any]) -> Fingerprint:
    """The fingerprint of an image, (H, W) or (H, W, 3) of uint8, uint16 or float32.

    A gray image that is stored in three equal channels has the fingerprint of the gray one. NaN counts as 0.

    >>> ramp = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    >>> one, brighter = hash_image(ramp), hash_image(ramp + 500)
    >>> one.digest == brighter.digest, np.array_equal(one.thumb, brighter.thumb), one.blank
    (False, True, False)
    >>> hash_image(np.full((64, 64, 3), 7, np.uint8)).blank
    True
    """
    gray = gray_of(pixels)
    small = shrink(gray)
    low, high = cv2.minMaxLoc(small)[:2]
    scale = 255.0 if pixels.dtype == np.uint8 else max(abs(low), abs(high))
    spread = float(cv2.meanStdDev(small)[1][0, 0])  # OpenCV's, since NumPy's costs a tenth of decoding
    blank = spread < _FLAT * scale or high == low
    thumb = np.empty((SIDE, SIDE), np.uint8)
    cv2.normalize(small, thumb, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
    plain = gray if pixels.ndim == 3 and _in_equal_channels(pixels, gray) else pixels
    return Fingerprint(_digest(plain), thumb, blank)


def gray_of(pixels: NDArray[Any]) -> NDArray[Any]:
    """(H, W) the brightness of an image, of the same dtype; NaN becomes 0.

    >>> gray_of(np.full((1, 2, 3), 9, np.uint8)).tolist()
    [[9, 9]]
    """
    assert pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3), f"an image of shape {pixels.shape}"
    if pixels.dtype == np.float32:
        pixels = np.nan_to_num(pixels, nan=0.0, posinf=0.0, neginf=0.0)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels)


def shrink(gray: NDArray[Any], side: int = SIDE, finer: int = _FINER) -> NDArray[np.float32]:
    """(side, side) the means of blocks, nearly, at a tenth of the cost where the sides are no multiples of `side`.

    Halving by linear interpolation averages 2 × 2 pixels, so that no pixel is left out as in one long step.

    >>> shrink(np.arange(16, dtype=np.uint8).reshape(4, 4), 2, 2).tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """
    fine = finer * side
    height, width = gray.shape
    while max(height, width) >= 2 * fine:
        height = height // 2 if height >= 2 * fine else height
        width = width // 2 if width >= 2 * fine else width
        gray = cv2.resize(gray, (width, height), interpolation=cv2.INTER_LINEAR)
    gray = cv2.resize(gray, (fine, fine), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    return np.asarray(cv2.resize(gray, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def _in_equal_channels(pixels: NDArray[Any], gray: NDArray[Any]) -> bool:
    """Whether three channels are one gray image; the first row settles it for most colour images."""
    return np.array_equal(pixels[0], gray[0, :, None].repeat(3, 1)) and np.array_equal(pixels, cv2.merge([gray] * 3))


def _digest(pixels: NDArray[Any]) -> bytes:
    """16 bytes of XXH3: nobody forges a film, and a cryptographic digest of 224² costs a fifth of decoding them."""
    digest = xxhash.xxh3_128(repr((pixels.shape, pixels.dtype.str)).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def stack(fingerprints: Sequence[Fingerprint]) -> Hashes:
    """Fingerprints, made in one process or in many, as arrays.

    >>> image = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    >>> len(stack([hash_image(image), hash_image(image + 500)]))
    2
    """
    n = len(fingerprints)
    return Hashes(
        np.frombuffer(b"".join(one.digest for one in fingerprints), np.uint64).reshape(n, 2),
        np.array([one.thumb for one in fingerprints], np.uint8).reshape(n, SIDE, SIDE),
        np.array([one.blank for one in fingerprints], np.bool_),
    )
