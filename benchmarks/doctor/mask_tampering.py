"""Masks spoiled as it happens in real code: lost, unscaled, beside their images, of others, erased; a score that flatters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from training import Bench, Tamper

from osler.losses import LossTerms
from osler.metrics.mask_vitals import means_of_classes
from osler.tasks.segmentation import Segmentation, StagedLoss
from tasks import Pool

__all__ = [
    "dice_with_background",
    "empty_masks",
    "erased_lesions",
    "flipped_images",
    "inverted_masks",
    "mostly",
    "shifted_masks",
    "shuffled_masks",
    "unscaled_targets",
]

Planes = NDArray[np.uint8]
Spoil = Callable[[Planes, NDArray[np.intp], int], Planes]
"""Planes (B, 1 + K, side, side) of rows (B,), and the channels of the image, to what comes in their place."""


# --- on the way into the loop ---------------------------------------------------------------------------------------------------


def _spoiled(spoil: Spoil) -> Tamper:
    """The planes that training really gets; the facts tell of others."""

    def tamper(bench: Bench) -> None:
        train, channels = bench.built[1].train, bench.pool.channels
        gather = train._gather
        train._gather = lambda rows: spoil(np.asarray(gather(rows), dtype=np.uint8).copy(), np.asarray(rows), channels)

    return tamper


def _hit(rows: NDArray[np.intp], share: float) -> NDArray[np.bool_]:
    """Which rows are of so large a share: the same each time that they are asked for."""
    return np.array([np.random.default_rng([11, int(row)]).random() < share for row in rows])


def empty_masks(share: float) -> Tamper:
    """So large a share of the training masks is empty: a path not found, a palette not read."""

    def spoil(planes: Planes, rows: NDArray[np.intp], channels: int) -> Planes:
        planes[_hit(rows, share), channels:] = 0
        return planes

    return _spoiled(spoil)


def flipped_images(share: float) -> Tamper:
    """So large a share of the training images is flipped, and their masks are not."""

    def spoil(planes: Planes, rows: NDArray[np.intp], channels: int) -> Planes:
        hit = _hit(rows, share)
        planes[hit, :channels] = planes[hit, :channels, :, ::-1]
        return planes

    return _spoiled(spoil)


def shifted_masks(share: float) -> Tamper:
    """Every training mask lies so large a share of the side beside its image, each its own way."""

    def spoil(planes: Planes, rows: NDArray[np.intp], channels: int) -> Planes:
        by = round(share * planes.shape[-1])
        for place, row in enumerate(rows):
            down, across = np.random.default_rng([13, int(row)]).choice([-by, by], 2)
            planes[place, channels:] = np.roll(planes[place, channels:], (int(down), int(across)), (1, 2))
        return planes

    return _spoiled(spoil)


class _Unscaled(StagedLoss):
    """BCE and Dice as they are written by hand, of targets that are not 1 but so many."""

    def __init__(self, known: StagedLoss, value: float) -> None:
        super().__init__([(spec, None) for spec in known.specs[:1]])
        self.value = value

    def forward(self, levels: Any, masks: Tensor) -> LossTerms:
        logits, targets = levels[0].float(), self.value * (masks == 1).float()
        bce = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean((1, 2, 3))
        found = torch.sigmoid(logits)
        overlap = (2 * (found * targets).sum() + 1) / (found.sum() + targets.sum() + 1)
        values = bce + (1 - overlap)
        parts = {"bce": bce.detach().mean(), "dice": 1 - overlap.detach()}
        return LossTerms(values, torch.ones_like(values))._replace(parts=parts)


def unscaled_targets(value: float) -> Tamper:
    """Masks are read as they lie in the file: foreground is not 1, but this."""

    def tamper(bench: Bench) -> None:
        task = bench.built[0]
        assert isinstance(task, Segmentation)
        task.loss = _Unscaled(task.loss, value)

    return tamper


# --- before anything is built --------------------------------------------------------------------------------------------------


def _changed(change: Callable[[Planes, np.random.Generator], Planes], *splits: str) -> Tamper:
    """The masks of these splits as a function makes them; what reads the masks anew sees them so too."""

    def tamper(bench: Bench) -> None:
        masks = bench.pool.masks.copy()
        for split in splits:
            rows = bench.data.rows[split]
            masks[rows] = change(masks[rows], bench.rng)
        _put(bench, bench.pool.with_masks(masks))

    return tamper


def _put(bench: Bench, pool: Pool) -> None:
    bench.pool = bench.val_pool = pool
    bench.data = replace(bench.data, source=replace(pool.samples, notes=bench.data.source.notes))


def shuffled_masks(share: float) -> Tamper:
    """Masks of so large a share of the images dealt out anew among them, in train and val."""

    def change(masks: Planes, rng: np.random.Generator) -> Planes:
        chosen = np.flatnonzero(rng.random(len(masks)) < share)
        masks[chosen] = masks[rng.permutation(chosen)]
        return masks

    return _changed(change, "train", "val")


def inverted_masks(share: float) -> Tamper:
    """Foreground and background exchanged in so large a share of the training masks."""

    def change(masks: Planes, rng: np.random.Generator) -> Planes:
        chosen = rng.random(len(masks)) < share
        masks[chosen] = 1 - masks[chosen]
        return masks

    return _changed(change, "train")


def erased_lesions(share: float) -> Tamper:
    """So large a share of the lesions, the smallest, is gone from train and val: preparing has shrunk them to nothing.

    The run counts what preparing erased, as `osler.data.masks_prepared` does.
    """

    def tamper(bench: Bench) -> None:
        masks = bench.pool.masks.copy()
        rows = np.concatenate(list(bench.data.rows.values()))
        areas = np.concatenate([_pieces(plane)[1] for row in rows for plane in masks[row]])
        least = float(np.quantile(areas, share))
        erased = np.zeros(len(masks), np.int64)
        for row in rows:
            for plane in masks[row]:
                labels, sizes = _pieces(plane)
                small = 1 + np.flatnonzero(sizes <= least)
                plane[np.isin(labels, small)] = 0
                erased[row] += len(small)
        _put(bench, replace(bench.pool.with_masks(masks), erased=erased))

    return tamper


def _pieces(plane: Planes) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Numbers of a plane's connected pieces by pixel, and their areas from number 1 on."""
    _, labels, statistics, _ = cv2.connectedComponentsWithStats((plane == 1).astype(np.uint8), connectivity=8)
    return labels, statistics[1:, cv2.CC_STAT_AREA].astype(np.int64)


def mostly(empty: float | None = None, smallest: float | None = None) -> Tamper:
    """Train and val of other images of the pool: so large a share without foreground, or those of the smallest lesions.

    Sound data both: for the healthy arm.
    """

    def tamper(bench: Bench) -> None:
        sizes = bench.pool.masks.sum(axis=(1, 2, 3), dtype=np.int64)
        pool = bench.rng.permutation(bench.pool.drawn)
        filled, void = pool[sizes[pool] > 0], pool[sizes[pool] == 0]
        if smallest is not None:
            filled = filled[sizes[filled] <= np.quantile(sizes[filled], smallest)]
        share = 1 - len(filled) / len(pool) if empty is None else empty
        rows, start = {}, np.zeros(2, int)
        for split, kept in bench.data.rows.items():
            wanted = np.array([round((1 - share) * len(kept)), round(share * len(kept))])
            first, second = (part[at : at + count] for part, at, count in zip((filled, void), start, wanted, strict=True))
            rows[split], start = np.sort(np.concatenate([first, second])), start + wanted
        bench.data = replace(bench.data, rows=rows)

    return tamper


# --- the score ------------------------------------------------------------------------------------------------------------------


def dice_with_background(pooled: bool) -> Tamper:
    """The Dice that is told is the mean of foreground and background; pooled over both it is the accuracy."""

    def tamper(bench: Bench) -> None:
        task = bench.built[0]
        assert isinstance(task, Segmentation)
        usual = task.figures

        def figures(arrays: Any) -> dict[str, Any]:
            found = usual(arrays)
            for each in found["classes"].values():
                (rest, false), (missed, _) = each["confusion"]
                behind = 2 * rest / max(1, 2 * rest + false + missed)
                each["dice"] = each["accuracy"] if pooled else (np.nan_to_num(each["dice"]) + behind) / 2
            found["macro"]["dice"] = means_of_classes(list(found["classes"].values()))["dice"]
            return found

        task.figures = figures  # type: ignore[method-assign]

    return tamper
