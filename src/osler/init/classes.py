"""What is proposed for labels of whole images: classes, size, network, loss and training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from osler.data.samples import Samples
from osler.imaging.preparation import SMALL_BELOW, USUAL_SIZE, suggested_size
from osler.init.look import Look
from osler.init.text import yaml_line

__all__ = ["learning_lines", "size_of"]

RARE = 0.3
LARGE_SET = 20_000


def size_of(look: Look) -> tuple[int, str]:
    side = int(np.median(look.sides().max(axis=1)))
    if side < SMALL_BELOW:
        why = f"as the images are; a network for small images is used below {SMALL_BELOW} pixels"
    elif side >= USUAL_SIZE:
        why = f"the median side is {side}; {USUAL_SIZE} is what the pretrained weights were trained on"
    else:
        why = f"the median side is {side}, rounded up to a multiple of the network's stride, 32"
    return suggested_size(side), why


def learning_lines(samples: Samples, split: NDArray[np.str_], look: Look) -> Iterator[str]:
    train = samples.targets[split == "train"]
    small = size_of(look)[0] < SMALL_BELOW
    yield "model:"
    if small:
        yield yaml_line("architecture", "small", f"the images are under {SMALL_BELOW} pixels")
        yield yaml_line("pretrained", None, "its few weights are learned from the start")
    else:
        yield yaml_line("architecture", "efficientnet_lite0")
        yield yaml_line("pretrained", "embedded", "ImageNet weights that come with osler[train]; nothing is fetched")
    yield ""
    yield from _loss(samples, train)
    yield ""
    yield from _training(len(train), small)
    yield ""
    yield "evaluation:"
    yield yaml_line("threshold", "youden", "chosen on val, applied to test; or f1, a number, {sensitivity: 0.9}")


def _loss(samples: Samples, train: NDArray[np.float32]) -> Iterator[str]:
    positives = np.nansum(train, axis=0)
    prevalence = positives / np.maximum((~np.isnan(train)).sum(axis=0), 1)
    yield "loss:"
    if samples.task == "multiclass":
        yield yaml_line("type", "cross_entropy", "each sample has one class")
        uneven = positives.min() < RARE * positives.max()
        said = f"the rarest class has {int(positives.min()):,} images in train, the most frequent {int(positives.max()):,}"
        yield yaml_line("class_weights", "auto" if uneven else None, f"{said}{': rare ones weigh more' if uneven else ''}")
        return
    yield yaml_line("type", "bce")
    if samples.task == "binary":
        rare = 0 < prevalence[0] < RARE
        share = f"{100 * prevalence[0]:.1f} % of train is positive"
        why = f"{share}: positives weigh as much as negatives" if rare else f"{share}: no weight is needed"
        yield yaml_line("pos_weight", "auto" if rare else None, why)
        return
    why = (
        f"train holds {100 * prevalence.min():.1f} to {100 * prevalence.max():.1f} % positives; each class gets a threshold "
        "of its own, so rare ones are called without a weight; auto: neg/pos of each"
    )
    yield yaml_line("pos_weight", None, why)


def _training(images: int, small: bool) -> Iterator[str]:
    large = images >= LARGE_SET
    yield "training:"
    yield yaml_line("batch_size", 64 if large or small else 32 if images >= 300 else 16)
    yield yaml_line("weight_decay", 1e-2 if small else 1e-3)
    if small:
        yield yaml_line("epochs", 10 if large else 30 if images >= 1000 else 60)
        yield yaml_line("learning_rate", 2e-3)
        yield yaml_line("schedule", "one_cycle", "up and down once; reaches its best at the end")
    else:
        yield yaml_line("warmup_epochs", 0.5)
        yield yaml_line("schedule", "cosine")
        yield "  phases:  # first the new output alone, so that it does not tear the pretrained layers; then everything, gently"
        yield f"    - {{train: head, epochs: {1 if large else 3 if images >= 1000 else 5}, learning_rate: 0.002}}"
        yield "    - {train: all}"
        yield yaml_line("epochs", 8 if large else 15 if images >= 1000 else 25, "of the phase that trains all")
        yield yaml_line("learning_rate", 3e-4)
    if small:
        yield yaml_line("early_stopping", None, "the schedule ends the training; stopped before, it is not at its best")
    else:
        yield yaml_line("early_stopping", 4 if large else 10, "epochs without a better macro AUC on val")
    yield yaml_line("seed", 42)
