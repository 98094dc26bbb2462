"""Codes of images, 256 bits each, learned from the set: bits on which its images differ and a copy does not.

Chest films look alike, and a hash that is fixed beforehand spends its bits on what they share: at a radius that finds films
cropped by 5 %, it takes 1 to 2 % of all pairs of different films for copies. Here the directions come from the set itself, as
in linear discriminant analysis (Fisher 1936): much variance between images, little between an image and the copies that are
made of it. The same copies tell how far apart two codes may be. On the same films 0.01 % of the pairs are left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft, linalg

from osler.audit.hashes import SIDE

__all__ = ["ANYWHERE", "WORDS", "Codes", "Reach", "encode"]

WORDS = 4
"""Words of 64 bits in a code."""

_WAVES = 12
"""Cosines along each side that describe a small image."""

_DIRECTIONS = 48
"""Directions that are kept of the (_WAVES² - 1) that there are."""

_SAMPLE = 2048
"""Images that the directions are learned from."""

_COPIES = 4096
"""Copies that are made of them, and as many again to measure how far apart copies lie."""

_PRIOR = 64
"""Images that what is known of all photographs counts for, so that two images are enough."""

_CROP = 0.1
"""The greatest share that a learned copy loses of a side."""

_SHARE = 0.98
"""Share of the learned copies that is within reach."""

_FEW = 256
"""Images up to which every pair is within reach: too few to learn from, and few enough to look at all."""

_BLOCK = 8192
"""Images described at once: 19 MB."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Reach:
    """How far apart a copy may be from its image.

    Attributes:
        first: in the first direction.
        bits: in the bits of the first word.
        all_bits: in the bits of all words.
        square: the square of the distance in all directions.
    """

    first: float
    bits: int
    all_bits: int
    square: float


ANYWHERE = Reach(np.inf, 64, 64 * WORDS, np.inf)


@dataclass(frozen=True)
class Codes:
    """The codes of N images.

    Attributes:
        places: (N, _DIRECTIONS) float32, the images in the learned directions; 1 is the standard deviation of a copy.
        bits: (N, WORDS) uint64, on which side of random planes through the mean an image lies.
        reach: how far apart copies may be.
    """

    places: Vectors
    bits: NDArray[np.uint64]
    reach: Reach


def encode(thumbs: NDArray[np.uint8]) -> Codes:
    """The codes of small images (N, SIDE, SIDE), none of them blank: 224 bytes an image."""
    assert len(thumbs)
    rows = np.unique(np.linspace(0, len(thumbs) - 1, _SAMPLE).astype(np.intp))
    of = np.repeat(rows, -(-_COPIES // len(rows)))
    mean, directions = _learn(_describe(thumbs[rows]), _describe(_copies(thumbs[of], 0)))
    planes = np.random.default_rng(0).normal(size=(directions.shape[1], 64 * WORDS)).astype(np.float32)
    places = np.empty((len(thumbs), directions.shape[1]), np.float32)
    bits = np.empty((len(thumbs), WORDS), np.uint64)
    for start in range(0, len(thumbs), _BLOCK):
        part = slice(start, start + _BLOCK)
        places[part] = (_describe(thumbs[part]) - mean) @ directions
        bits[part] = _sides(places[part], planes)
    moved = np.asarray(
        (_describe(_copies(thumbs[of], 1)) - mean) @ directions, np.float32
    )  # others than were learned from: they lie further off
    reach = _reach(moved - places[of], _sides(moved, planes) ^ bits[of])
    return Codes(places, bits, reach if len(thumbs) > _FEW else ANYWHERE)


def _describe(thumbs: NDArray[Any]) -> Vectors:
    """(N, _WAVES² - 1) the low cosines of each small image, of mean 0 and length 1 before the high ones are left out."""
    found = np.empty((len(thumbs), _WAVES**2 - 1), np.float32)
    waves = fft.dct(np.eye(SIDE, dtype=np.float32), axis=0, norm="ortho")[:_WAVES]
    for start in range(0, len(thumbs), _BLOCK):
        images = np.asarray(thumbs[start : start + _BLOCK], np.float32)
        cosines = (waves @ images @ waves.T).reshape(len(images), -1)[:, 1:]
        spread = images.std(axis=(1, 2)) * SIDE
        found[start : start + _BLOCK] = cosines / np.maximum(spread, 1e-6)[:, None]
    return found


def _copies(thumbs: NDArray[np.uint8], seed: int) -> Vectors:
    """A copy of each small image: cropped, of another brightness and contrast, cut off where that leaves the range."""
    draws = np.random.default_rng(seed)
    n = len(thumbs)
    share = 1 - draws.uniform(0, _CROP, (n, 2))
    start = draws.uniform(0, 1, (n, 2)) * SIDE * (1 - share) + (share - 1) / 2  # of pixel centres
    gain, lift = (draws.uniform(low, high, n).astype(np.float32) for low, high in ((0.8, 1.25), (-30, 30)))
    windows = np.zeros((n, 2, 3))
    windows[:, 0, 0], windows[:, 1, 1], windows[:, :, 2] = share[:, 0], share[:, 1], start
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    found = np.empty((n, SIDE, SIDE), np.float32)
    for row, thumb in enumerate(thumbs.astype(np.float32)):
        cv2.warpAffine(thumb, windows[row], (SIDE, SIDE), dst=found[row], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    found *= gain[:, None, None]
    found += lift[:, None, None]
    return np.clip(found, 0, 255, out=found) + draws.standard_normal(found.shape, np.float32)


def _learn(images: Vectors, copies: Vectors) -> tuple[Vectors, Vectors]:
    """The mean, and the directions (cosines, _DIRECTIONS) of most variance between images over that of copies, which is 1."""
    n = len(images)
    mean = images.mean(axis=0)
    across = np.add.outer(np.arange(_WAVES) ** 2, np.arange(_WAVES) ** 2).reshape(-1)[1:]
    photographs = np.diag(1 / across) / (1 / across).sum()  # the power of photographs falls with the square of frequency
    between = ((images - mean).T @ (images - mean) + _PRIOR * photographs) / (n + _PRIOR)
    moved = copies - np.repeat(images, len(copies) // n, axis=0)
    within = moved.T @ moved / len(moved)
    within += np.eye(len(within)) * (1e-3 * np.trace(within) / len(within) + 1e-12)
    _, vectors = linalg.eigh(between, within)
    return mean, np.ascontiguousarray(vectors[:, ::-1][:, :_DIRECTIONS], np.float32)


def _sides(places: Vectors, planes: Vectors) -> NDArray[np.uint64]:
    return np.ascontiguousarray(np.packbits(places @ planes > 0, axis=1)).view(np.uint64)


def _reach(moved: Vectors, flipped: NDArray[np.uint64]) -> Reach:
    counts = np.bitwise_count(flipped)
    return Reach(
        float(np.quantile(np.abs(moved[:, 0]), _SHARE)),
        int(np.quantile(counts[:, 0], _SHARE)),
        int(np.quantile(counts.sum(axis=1, dtype=np.int64), _SHARE)),
        float(np.quantile(np.square(moved).sum(axis=1), _SHARE)),
    )
