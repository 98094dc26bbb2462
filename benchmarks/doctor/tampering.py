"""Data spoiled as it happens in real code, where no configuration can express it: labels, images, splits, draws.

A function here makes a `Tamper`. Those that change data, images or the plan go before the run is built, so that the facts
which the run writes tell of them as far as real facts would; the others go after, behind its back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from training import Bench, Tamper

from osler.data.load import Data

__all__ = [
    "changed_images",
    "changed_labels",
    "declared",
    "draw_by",
    "first_validation",
    "flipped",
    "inverted",
    "leaked",
    "lost",
    "nan_from",
    "relabelled_behind",
    "repeated_draws",
    "scaled_images",
    "shifted",
    "shuffled",
    "sorted_order",
    "starving",
]

Labels = NDArray[np.float32]
Images = NDArray[np.uint8]
Split = Literal["train", "val"]
Relabel = Callable[[Labels, np.random.Generator], Labels]


def _exclusive(labels: Labels) -> bool:
    """Whether each sample has exactly one of several classes, the first being that of no finding."""
    return labels.shape[1] > 1 and bool((labels.sum(1) == 1).all())


# --- labels -------------------------------------------------------------------------------------------------------------------


def changed_labels(change: Relabel, *splits: Split) -> Tamper:
    """The labels of these splits as a function makes them, before the run is built."""

    def tamper(bench: Bench) -> None:
        targets = bench.data.source.targets.copy()
        for split in splits:
            rows = bench.data.rows[split]
            targets[rows] = change(targets[rows], bench.rng)
        bench.data = replace(bench.data, source=replace(bench.data.source, targets=targets))

    return tamper


def relabelled_behind(change: Relabel) -> Tamper:
    """The training labels that the loop really gets; the facts tell of others."""

    def tamper(bench: Bench) -> None:
        train = bench.built[1].train
        train._targets = change(train._targets, bench.rng)

    return tamper


def shuffled(share: float) -> Relabel:
    """Labels of so large a share of the samples dealt out anew among them."""

    def change(labels: Labels, rng: np.random.Generator) -> Labels:
        labels = labels.copy()
        chosen = np.flatnonzero(rng.random(len(labels)) < share)
        labels[chosen] = labels[rng.permutation(chosen)]
        return labels

    return change


def flipped(share: float) -> Relabel:
    """A share of the samples with another label: the opposite one, or another class."""

    def change(labels: Labels, rng: np.random.Generator) -> Labels:
        labels = labels.copy()
        if _exclusive(labels):
            chosen = np.flatnonzero(rng.random(len(labels)) < share)
            for row, turn in zip(chosen, rng.integers(1, labels.shape[1], len(chosen)), strict=True):
                labels[row] = np.roll(labels[row], turn)
            return labels
        return np.where(rng.random(labels.shape) < share, 1 - labels, labels)

    return change


def inverted(share: float) -> Relabel:
    """The opposite labels, for a share of the samples; of classes that exclude each other the order turned round."""

    def change(labels: Labels, rng: np.random.Generator) -> Labels:
        chosen = rng.random(len(labels)) < share
        return np.where(chosen[:, None], labels[:, ::-1] if _exclusive(labels) else 1 - labels, labels)

    return change


def lost(share: float) -> Tamper:
    """A share of the positives lost on the way from the table to the loop: read from another column, or an id not matched."""

    def change(labels: Labels, rng: np.random.Generator) -> Labels:
        labels = labels.copy()
        if not _exclusive(labels):
            return np.where((labels == 1) & (rng.random(labels.shape) < share), 0, labels).astype(np.float32)
        chosen = (labels[:, 0] == 0) & (rng.random(len(labels)) < share)
        labels[chosen] = 0
        labels[chosen, 0] = 1
        return labels

    return relabelled_behind(change)


# --- images -------------------------------------------------------------------------------------------------------------------


def changed_images(change: Callable[[Images], Images], *splits: Split) -> Tamper:
    """Images as a function makes them, for train, val or both."""

    def tamper(bench: Bench) -> None:
        changed = bench.pool.with_images(change(bench.pool.images[:, : bench.pool.channels]))
        if "val" in splits:
            bench.val_pool = changed
        if "train" in splits:
            bench.pool = changed

    return tamper


def scaled_images(factor: float, offset: float = 0.0) -> Callable[[Images], Images]:
    """Pixels times a factor plus an offset, cut off at 0 and 255."""
    return lambda images: np.clip(images * np.float32(factor) + offset, 0, 255).astype(np.uint8)


def nan_from(epoch: int) -> Tamper:
    """From an epoch on, one image in fifty is not a number."""

    def tamper(bench: Bench) -> None:
        task, _, state = bench.built
        forward = task.model.forward

        def spoiled(images: Tensor) -> Tensor:
            images = images.float()
            if task.model.training and state.position.epoch >= epoch and torch.rand(()) < len(images) / 50:
                images = images.clone()
                images[0] = torch.nan
            return forward(images)

        task.model.forward = spoiled  # type: ignore[method-assign]

    return tamper


# --- splits and order -----------------------------------------------------------------------------------------------------------


def leaked(share: float) -> Tamper:
    """A share of the validation samples stands in train too, under other names, in place of training samples."""

    def tamper(bench: Bench) -> None:
        train, val = bench.data.rows["train"], bench.data.rows["val"]
        copied = bench.rng.permutation(val)[: round(share * len(val))]
        kept = bench.rng.permutation(train)[: len(train) - len(copied)]
        bench.data = replace(bench.data, rows={"train": np.concatenate([np.sort(kept), np.sort(copied)]), "val": val})

    return tamper


def shifted(factor: float) -> Tamper:
    """Validation samples with any finding are kept, those without thinned out until their odds are so many times higher."""

    def tamper(bench: Bench) -> None:
        val, targets = bench.data.rows["val"], bench.data.targets("val")
        first = 1 if bench.data.source.task == "multiclass" else 0
        found = (targets[:, first:] == 1).any(axis=1)
        kept = found | (bench.rng.random(len(val)) < 1 / factor)
        bench.data = replace(bench.data, rows={**bench.data.rows, "val": val[kept]})

    return tamper


def first_validation(count: int) -> Tamper:
    """So few validation samples, with both labels among them; the rest goes to train."""

    def tamper(bench: Bench) -> None:
        val, targets = bench.data.rows["val"], bench.data.targets("val")
        order = bench.rng.permutation(len(val))
        firsts = [int(order[np.argmax(column[order] == value)]) for column in targets.T for value in (1, 0)]
        some = list(dict.fromkeys([*firsts, *order.tolist()]))[:count]
        rest = np.setdiff1d(val, val[some])
        train = np.sort(np.concatenate([bench.data.rows["train"], rest]))
        bench.data = replace(bench.data, rows={"train": train, "val": np.sort(val[some])})

    return tamper


class _Drawn(Data):
    """Data whose training samples are drawn by weights of one's own making."""

    weigh: Callable[[Labels], NDArray[np.float64]]

    @cached_property
    def draw_weights(self) -> NDArray[np.float64] | None:
        weights: NDArray[np.float64] = self.weigh(self.targets("train"))
        return weights


def draw_by(weigh: Callable[[Labels], NDArray[np.float64]]) -> Tamper:
    """A sampler that draws by these weights, one for each training sample."""

    def tamper(bench: Bench) -> None:
        drawn = _Drawn(bench.data.source, bench.data.rows, "balanced", bench.data.notes)
        object.__setattr__(drawn, "weigh", weigh)  # a frozen dataclass; the subclass is the bench's own
        bench.data = drawn

    return tamper


def starving(share: float) -> Callable[[Labels], NDArray[np.float64]]:
    """Weights under which so large a share of the draws has no finding, as a fixed weight beside inverse counts makes."""

    def weigh(labels: Labels) -> NDArray[np.float64]:
        empty = labels[:, 0] == 1 if _exclusive(labels) else (labels == 0).all(axis=1)
        weights: NDArray[np.float64] = np.where(empty, share / empty.sum(), (1 - share) / (~empty).sum())
        return weights

    return weigh


def repeated_draws(count: int) -> Tamper:
    """Weights per class taken for weights per sample: only the first few samples are ever drawn."""

    def weigh(labels: Labels) -> NDArray[np.float64]:
        weights = np.zeros(len(labels))
        weights[:count] = 1.0
        return weights

    return draw_by(weigh)


def sorted_order(blocks: int) -> Tamper:
    """No shuffling: samples come sorted by label, in so many blocks an epoch."""

    def tamper(bench: Bench) -> None:
        train = bench.built[1].train
        label = train._targets @ (1 + np.arange(train._targets.shape[1]))

        def samples(epoch: int) -> NDArray[np.intp]:
            parts = np.array_split(np.arange(len(label)), blocks)
            return np.concatenate([part[np.argsort(label[part], kind="stable")] for part in parts])

        train.samples = samples  # type: ignore[method-assign]

    return tamper


def declared(factor: float) -> Tamper:
    """The declared prevalence of the whole set is so many times that of the samples loaded."""

    def tamper(bench: Bench) -> None:
        share = float(np.mean(bench.data.targets("train")[:, -1]))
        bench.stated["prevalence.set"] = min(0.95, factor * share)
        bench.stated["samples.set"] = sum(len(rows) for rows in bench.data.rows.values())

    return tamper
