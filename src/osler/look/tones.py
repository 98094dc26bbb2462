"""Tones: what the pixels of many prepared images are like, and which images are unlike the rest."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from osler.data.cache import PackedCache
from osler.imaging.depth import STEPS, Fed, Levels, for_eye, for_network

__all__ = ["BINS", "Tones", "likeness", "measure_tones"]

Floats = NDArray[np.float64]
BINS = 64
THUMB = 24
_AT_ONCE = 1 << 26
"""Bytes of images in memory at a time."""


@dataclass(frozen=True)
class Tones:
    """What n prepared images are like.

    Attributes:
        histogram: (n, BINS) share of the pixels in each part of 0 to 255, all channels together.
        mean, sd: (n,) of the pixel values.
        black, white: (n,) share of the pixels at 0, and at 255; as are all shares, of bytes.
        thumbs: (n, THUMB * THUMB) the images in gray, very small, each with mean 0 and length 1; 0 where it is constant.
    """

    histogram: Floats
    mean: Floats
    sd: Floats
    black: Floats
    white: Floats
    thumbs: Floats

    def __len__(self) -> int:
        return len(self.mean)


def measure_tones(cache: PackedCache, rows: NDArray[np.intp]) -> Tones:
    """The tones of prepared images; a few are in memory at a time."""
    step = max(1, _AT_ONCE // cache.store.geometry.row_bytes)
    parts = [_measure(cache.gather(rows[start : start + step])[:, : cache.channels]) for start in range(0, len(rows), step)]
    return Tones(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in Tones.__dataclass_fields__})


def _measure(images: Levels) -> Tones:
    counts = np.stack([np.bincount(for_eye(image).ravel(), minlength=256) for image in images]).astype(np.float64)
    shares = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(256.0)
    mean = shares @ values
    sd = np.sqrt(np.maximum(shares @ values**2 - mean**2, 0.0))
    if images.dtype != np.uint8:  # what is within one step of bytes is no constant image
        sd = np.array([image.std(dtype=np.float64) for image in images]) / STEPS
    small = np.stack([_thumb(for_network(image)) for image in images])
    return Tones(shares.reshape(len(images), BINS, -1).sum(axis=2), mean, sd, shares[:, 0], shares[:, 255], small)


def _thumb(image: Fed) -> Floats:
    gray = image.mean(axis=0) if len(image) > 1 else image[0]
    small = cv2.resize(gray.astype(np.float32), (THUMB, THUMB), interpolation=cv2.INTER_AREA).astype(np.float64).ravel()
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return np.asarray(small / length if length > 1e-6 else np.zeros_like(small))


def likeness(thumbs: Floats) -> Floats:
    """(n,) correlation of each image with what the images have in common; the negative of a film has the opposite sign.

    What they have in common is the first principal direction of the thumbnails, uncentred, which stands even where half of
    the films are inverted; its sign is that of the majority.

    >>> likeness(np.array([[1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]) / 2**0.5).round(6).tolist()
    [1.0, 1.0, -1.0]
    """
    _, vectors = np.linalg.eigh(thumbs.T @ thumbs)
    found = thumbs @ vectors[:, -1]
    return np.asarray(-found if (found < 0).sum() > (found > 0).sum() else found)
