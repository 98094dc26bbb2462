"""Augmentation of a whole batch at once: one resampling, then tones and noise; no per-sample Python.

Every number drawn is a hash of (seed, epoch, position in the epoch's global order), so a sample is changed in the same way
whatever the batch size, the rank, or the batch that a resumed run begins with (`hashing`).

Rotation, shift, zoom and flips become one affine map, so that pixels are interpolated once (`geometry`). The same map moves
an image (bilinear) and its masks (nearest: a class is not a colour, and `IGNORED` has no mean with foreground).
"""

from __future__ import annotations

from osler.data.augment.augmenter import Augmenter, Changes, Cut, on_scale
from osler.data.augment.geometry import affine, transform
from osler.data.augment.hashing import CHANGE, DRAW, NOISE, ORDER, PATCH, hashes, uniforms

__all__ = [
    "CHANGE",
    "DRAW",
    "NOISE",
    "ORDER",
    "PATCH",
    "Augmenter",
    "Changes",
    "Cut",
    "affine",
    "hashes",
    "on_scale",
    "transform",
    "uniforms",
]
