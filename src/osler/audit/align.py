"""Two images laid over each other: how alike they are when crop, scale, brightness and contrast are allowed for.

Small images first, many pairs at once, by one linear step; then pixels, pair by pair, by the iteration of Evangelidis and
Psarakis (2008) in OpenCV.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from osler.audit.hashes import SIDE, gray_of, shrink

__all__ = ["aligned_correlation", "confirm_on", "detail_correlation"]

Image = NDArray[np.float32]

_PAIRS = 256
"""Pairs of small images aligned at once: 4 MB, which stays in a processor's cache."""

_EDGE = 2
"""Pixels of a small image's edge that are left out: a crop has no counterpart there."""

_FULL = 128
"""Pixels on a side of the images that are compared in the end."""

_COARSE = 4
"""Times smaller images that the iteration begins with, so that it finds its way from a tenth of the frame."""

_STEPS = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-5)
"""When the iteration ends: after so many steps, or when one gains less."""

_EVERYWHERE = np.ones((_FULL, _FULL), np.uint8)

_BAND = 3.0
"""Detail is what lies between a blur and one that is so many times as wide."""

_FURTHEST = 0.2
"""The most that scale, shear or shift of a copy's frame may be, as a share of the frame."""


def aligned_correlation(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Image:
    """(P,) the correlation of pairs of small images (P, SIDE, SIDE) once shift, scale along each side, gain and lift are fitted.

    The fit is one linear step about the mean of the two, so that its error is of third order in the shift: it holds for a
    tenth of the frame on images that are smoothed first.

    >>> ramp = np.add.outer(np.arange(24), 3 * np.arange(24)).astype(np.uint8)[None]
    >>> aligned_correlation(ramp, ramp + 100).round(3).tolist()
    [1.0]
    """
    found = np.empty(len(first), np.float32)
    for at in range(0, len(first), _PAIRS):
        part = slice(at, at + _PAIRS)
        found[part] = _aligned(first[part], second[part])
    return found


def _aligned(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Image:
    one, other = _smooth(first), _smooth(second)
    middle: Image = (one + other) / np.float32(2)
    along_x, along_y = middle @ _SLOPE.T, _SLOPE @ middle
    moves = (along_x, along_y, along_x * _RAMP, along_y * _RAMP[:, None], middle, np.ones_like(middle))
    basis = np.stack([_inner(move) for move in moves], axis=1)  # (P, 6, pixels)
    change = _inner(other - one)[:, :, None]
    square = basis @ basis.transpose(0, 2, 1) + 1e-6 * np.eye(len(moves), dtype=np.float32)
    towards = basis @ change
    explained = (towards * np.linalg.solve(square, towards)).sum(axis=(1, 2))
    rest = np.square(change).sum(axis=(1, 2)) - explained
    total = sum(_inner(each).var(axis=1) for each in (one, other)) * change.shape[1]
    return np.asarray(1 - rest / np.maximum(total, 1e-12), np.float32)


_RAMP = np.linspace(-1, 1, SIDE, dtype=np.float32)
_SLOPE: Image = np.asarray(np.gradient(np.eye(SIDE, dtype=np.float32), axis=0))
_BLUR: Image = np.asarray(
    cv2.GaussianBlur(np.eye(SIDE, dtype=np.float32), (1, 7), 1.0, borderType=cv2.BORDER_REPLICATE), np.float32
)


def _inner(images: Image) -> Image:
    return images[:, _EDGE:-_EDGE, _EDGE:-_EDGE].reshape(len(images), -1)


def _smooth(thumbs: NDArray[np.uint8]) -> Image:
    """Small images of mean 0 and length 1, smoothed by a Gaussian of one pixel."""
    images = _BLUR @ thumbs.astype(np.float32) @ _BLUR.T
    images -= images.mean(axis=(1, 2), keepdims=True)
    length = np.sqrt(np.square(images).sum(axis=(1, 2), keepdims=True))
    return np.asarray(images / np.maximum(length, 1e-6), np.float32)


def confirm_on(read: Callable[[int], NDArray[Any]], keep: int = 1024) -> Callable[[int, int], float]:
    """What tells `find_copies` how alike two images are in their pixels.

    Args:
        read: a row → its pixels, (H, W) or (H, W, 3) of uint8, uint16 or float32.
        keep: images, made small, that are kept for the next pair: 64 KB each.

    Returns:
        Two rows → the correlation of the images' detail (`detail_correlation`). Where an image has fewer than 128 pixels on a
        side, what it falls short of 1 is multiplied by 128 / pixels: at 28 pixels different chest films reach 0.95, since
        there is hardly any detail in which they could differ.
    """

    @lru_cache(keep)
    def ready(row: int) -> tuple[Image, int]:
        gray = gray_of(read(row))
        return shrink(gray, _FULL), min(*gray.shape, _FULL)

    def correlation(first: int, second: int) -> float:
        (one, pixels), (other, pixels_too) = ready(first), ready(second)
        sharp = min(pixels, pixels_too)
        return 1 - (1 - detail_correlation(one, other, sharp)) * _FULL / sharp

    return correlation


def detail_correlation(one: Image, other: Image, sharp: int = _FULL) -> float:
    """The correlation, in [-1, 1], of the detail of two images (128, 128) where they overlap once laid over each other.

    What two films of a kind share is broad: the lungs, the heart, the exposure. What only copies share is fine.

    Args:
        one: an image.
        other: another.
        sharp: pixels on a side that the less detailed of the two had before it was enlarged; finer detail is left out.

    Returns:
        The correlation; 0 where the two cannot be laid over each other within a fifth of the frame.

    >>> noise = np.random.default_rng(0).normal(size=(2, 128, 128)).astype(np.float32)
    >>> round(detail_correlation(noise[0], 3 * noise[0] + 5), 3), abs(detail_correlation(noise[0], noise[1])) < 0.1
    (1.0, True)
    """
    warp = _laid_over(one, other)
    if warp is None:
        return 0.0
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(other, warp, (_FULL, _FULL), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    seen = cv2.warpAffine(np.ones_like(other), warp, (_FULL, _FULL), flags=flags) > 0.99
    blur = 0.6 * _FULL / sharp
    kept, kept_too = (_detail(image, blur)[seen] for image in (one, np.asarray(moved, np.float32)))
    spread = float(kept.std()) * float(kept_too.std())
    return float(((kept - kept.mean()) * (kept_too - kept_too.mean())).mean()) / spread if spread > 0 else 0.0


def _detail(image: Image, blur: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), blur) - cv2.GaussianBlur(image, (0, 0), blur * _BAND), np.float32)


def _laid_over(one: Image, other: Image) -> NDArray[np.float32] | None:
    """(2, 3) the affine map from `one` to `other` of greatest correlation near no change, or None where there is none."""
    warp = np.eye(2, 3, dtype=np.float32)
    try:
        for side in (_FULL // _COARSE, _FULL):
            warp[:, 2] *= side / _FULL
            small, small_too = (cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in (one, other))
            found = cv2.findTransformECC(small, small_too, warp, cv2.MOTION_AFFINE, _STEPS, _EVERYWHERE[:side, :side], 5)
            warp = np.asarray(found[1], np.float32)
            warp[:, 2] *= _FULL / side
    except cv2.error:  # no structure, or the iteration left the frame
        return None
    moved = np.abs(warp - np.eye(2, 3, dtype=np.float32)) / (1, 1, _FULL)
    return warp if np.isfinite(moved).all() and float(moved.max()) <= _FURTHEST else None
