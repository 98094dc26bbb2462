"""SegmentationPredictor: from image files to masks in the geometry of the files.

    predictor = SegmentationPredictor(session, card)
    for prediction in predictor.predict(paths):
        print(prediction.name, prediction.planes.sum(axis=(1, 2)))

Logits are worked out on the prepared image, whole or in tiles as the card says, brought back to the file's own pixels, and
only then compared with the card's thresholds: a border is smooth in the image it is drawn on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from osler.errors import ModelError
from osler.imaging.depth import Fed, for_eye
from osler.imaging.preparation import Preparation
from osler.imaging.read import RawImage
from osler.metrics.overlap import class_logits, one_class
from osler.predict.classify import Session
from osler.predict.preparing import Prepared, Preparing
from osler.predict.tiles import logit_maps
from osler.runs.card import Card

__all__ = ["MaskPrediction", "SegmentationPredictor", "called_masks", "restored"]

STRIP = 1 << 22
"""Pixels of a large image that are decided at once."""


@dataclass(frozen=True)
class MaskPrediction:
    """What the model says of one image.

    Attributes:
        name: the file's path, or what the caller named the image.
        planes: (K, H, W) uint8, 1 where the class is called, in the pixels of the file; None where there is an error. Of
            exclusive classes a pixel has one at most.
        peaks: class to its largest probability in the image; empty where there is an error.
        picture: (H, W) or (H, W, 3) uint8, the image for the eye: as it is in the file where that has plain 8 bits, else as it
            was prepared, in the file's geometry.
        spacing: height and width of a pixel of the file in millimetres; None where unknown.
        error: why there are no masks, or None.
        notes: what was adapted while the image was read, and classes without a threshold, which are never called.
    """

    name: str
    planes: NDArray[np.uint8] | None = None
    peaks: dict[str, float] = field(default_factory=dict)
    picture: NDArray[np.uint8] | None = None
    spacing: tuple[float, float] | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()


class SegmentationPredictor:
    """Images in, masks out, by a model's card.

    Args:
        session: runs the network: logits (B, K, H, W) of images (B, C, H, W).
        card: how to feed it and how to read what it says.
        batch_size: images, or tiles, run at once.
        workers: threads that read and prepare images; None: the cores, at most four.

    Raises:
        ModelError: images would be prepared in another way than in training.
    """

    def __init__(self, session: Session, card: Card, batch_size: int = 8, workers: int | None = None) -> None:
        self.session = session
        self.card = card
        self.batch_size = batch_size
        self.limits = _logits_of([card.thresholds.get(name) for name in card.classes])
        undecided = [name for name, limit in zip(card.classes, self.limits, strict=True) if np.isnan(limit)]
        self.notes = tuple(f"{name}: no threshold could be chosen, so no pixel is called" for name in undecided)
        self.preparing = Preparing(card, batch_size, workers, keep_raw=True)
        self.preparation = self.preparing.preparation

    def predict(self, images: Iterable[Path | str | RawImage], names: Iterable[str] | None = None) -> Iterator[MaskPrediction]:
        """Masks in the order of the images, a batch at a time; an image that cannot be read gives one with an error.

        Args:
            images: files, or pixels already read.
            names: what to call them; None: the path, or "image N" counted from 1.
        """
        for batch in self.preparing.batches(images, names):
            yield from self._run(batch)

    def _run(self, batch: Sequence[Prepared]) -> Iterator[MaskPrediction]:
        pixels = [one.pixels for one in batch if one.pixels is not None]
        maps: Iterator[NDArray[np.float32]] = iter(self._logits(np.stack(pixels)) if pixels else ())
        for one in batch:
            if one.pixels is None or one.raw is None:
                yield MaskPrediction(one.name, error=one.error)
                continue
            logits = next(maps)
            if not np.isfinite(logits).all():
                yield MaskPrediction(one.name, error="the model's output is not finite", notes=one.notes)
                continue
            size = (one.raw.pixels.shape[0], one.raw.pixels.shape[1])
            planes, peaks = called_masks(restored(logits, size, self.preparation), self.limits, self.card.exclusive)
            yield MaskPrediction(
                one.name,
                planes,
                peaks=dict(zip(self.card.classes, peaks.tolist(), strict=True)),
                picture=_picture(one.raw, one.pixels, self.preparation),
                spacing=one.raw.spacing,
                notes=(*one.notes, *_notes_on(one.raw), *self.notes),
            )

    def _logits(self, images: Fed) -> NDArray[np.float32]:
        """(B, K, size, size) of prepared images."""
        logits = logit_maps(self.session.run, images, **self.card.prediction, batch=self.batch_size)
        expected = (len(images), len(self.card.classes), *images.shape[2:])
        if logits.shape != expected:
            raise ModelError(
                f"the model gave logits of shape {logits.shape} for {len(images)} images, but its card, with "
                f"{len(self.card.classes)} classes ({', '.join(self.card.classes)}), calls for {expected}: the card and the "
                "weights belong to different models."
            )
        return logits


def restored(planes: NDArray[Any], size: tuple[int, int], preparation: Preparation) -> NDArray[Any]:
    """Planes over a prepared image, bilinearly on the pixels of the image it was made of.

    Args:
        planes: (K, size, size) uint8 or float32.
        size: height and width of the image as it was read.
        preparation: what was done to it; what it added beside the image is cut off.

    Returns:
        (K, H, W) of the same type.
    """
    top, left, height, width = preparation.placed(*size)
    inner = planes[:, top : top + height, left : left + width]
    if inner.shape[1:] == size:
        return inner
    return np.stack([cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR) for plane in inner])


def called_masks(
    logits: NDArray[np.float32], limits: NDArray[np.float64], exclusive: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Where each class is called, and its largest probability.

    A class is called where its probability reaches its threshold; where several exclusive classes do, the most probable one.

    Args:
        logits: (K, H, W) finite.
        limits: (K,) logits of the thresholds; NaN calls nothing.
        exclusive: a pixel has one class at most: probabilities are a softmax beside a background of logit 0, else a sigmoid each.

    Returns:
        (K, H, W) uint8 in {0, 1}, and (K,) probabilities.

    >>> logits = np.array([2.0, 3.0, -1.0, -1.0], np.float32).reshape(2, 1, 2)
    >>> masks, peaks = called_masks(logits, np.zeros(2), exclusive=True)
    >>> masks.tolist(), peaks.round(2).tolist()
    ([[[1, 1]], [[0, 0]]], [0.94, 0.04])
    """
    classes, height, width = logits.shape
    planes = np.zeros(logits.shape, np.uint8)
    peaks = np.full(classes, -np.inf)
    step = max(1, STRIP // width)
    for first in range(0, height, step):
        rows = np.s_[:, first : first + step]
        strip = class_logits(logits[rows], exclusive)
        peaks = np.maximum(peaks, strip.max(axis=(1, 2)))
        called = strip >= limits[:, None, None]
        planes[rows] = one_class(called, strip) if exclusive else called
    return planes, 1 / (1 + np.exp(-peaks))


def _logits_of(thresholds: Sequence[float | None]) -> NDArray[np.float64]:
    """Logits of probabilities, infinite at 0 and 1; NaN for None.

    >>> _logits_of([0.5, 0.0, 1.0, None]).tolist()
    [0.0, -inf, inf, nan]
    """
    known = np.array([np.nan if limit is None else limit for limit in thresholds], dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(known) - np.log1p(-known))


def _notes_on(raw: RawImage) -> tuple[str, ...]:
    """What areas in mm² are not, where the spacing is not one in the patient."""
    if raw.spacing is None or raw.spacing_kind in ("patient", "calibrated"):
        return ()
    where = {"detector": "on the detector", "scanned": "on the scanned film"}.get(str(raw.spacing_kind), "in a plane not stated")
    return (f"areas are {where}, not in the patient",)


def _picture(raw: RawImage, pixels: Fed, preparation: Preparation) -> NDArray[np.uint8]:
    if raw.pixels.dtype == np.uint8 and raw.window is None and not raw.inverted:
        return np.asarray(raw.pixels)
    planes = restored(for_eye(pixels), (raw.pixels.shape[0], raw.pixels.shape[1]), preparation)
    return np.ascontiguousarray(planes.transpose(1, 2, 0)) if len(planes) == 3 else np.asarray(planes[0])
