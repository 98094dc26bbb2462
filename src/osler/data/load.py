"""Which samples a run uses, in which split, and what the labels say."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osler.config import DataConfig
from osler.data.balance import DrawSettings, draw_weights, expected_counts
from osler.data.samples import SPLITS, Samples
from osler.data.sources import load_source
from osler.data.split import named_splits, split_hash, split_notes, split_samples, stratified_subset
from osler.data.trial import trial_rows
from osler.errors import DataError
from osler.metrics.weights import Kind, LabelCounts, count_labels

__all__ = ["Data", "check_data", "load_data"]


@dataclass(frozen=True)
class Data:
    """The samples of a source and the rows that each split takes of them.

    Attributes:
        source: every sample that the source has; the cache is shared by all runs over it.
        rows: split name to source rows, ascending; a split without samples is absent.
        sampler: how training samples are drawn: "none", or a name of `osler.data.balance.STRATEGIES`.
        notes: what was adapted or assumed, one sentence each.
        drawing: what the sampler reads besides the labels.
    """

    source: Samples
    rows: dict[str, NDArray[np.intp]]
    sampler: str
    notes: tuple[str, ...]
    drawing: DrawSettings = field(default_factory=DrawSettings)

    def targets(self, split: str) -> NDArray[np.float32]:
        """(n, K) in {0, 1, NaN}."""
        return self.source.targets[self.rows[split]]

    def counts(self, split: str) -> LabelCounts:
        """Known labels of a split, as they are; of masks, in how many images each class occurs."""
        return count_labels(self.targets(split), self._kind)

    @property
    def _kind(self) -> Kind:
        """How targets are counted: the classes of masks occur in an image as labels of a multilabel set do."""
        return "multilabel" if self.source.task == "segmentation" else self.source.task

    @cached_property
    def draw_weights(self) -> NDArray[np.float64] | None:
        """(n,) chances, up to a factor, with which training samples are drawn; None: each once an epoch."""
        if self.sampler == "none":
            return None
        return draw_weights(self.targets("train"), self._kind, self.sampler, self.drawing)

    @cached_property
    def drawn_counts(self) -> LabelCounts:
        """Labels of an epoch as the sampler draws them, in expectation; the loss and its floor see these."""
        if self.draw_weights is None:
            return self.counts("train")
        return expected_counts(self.targets("train"), self.draw_weights, self._kind)

    def hashes(self) -> dict[str, str]:
        """A digest of each split's ids; two runs with equal digests used the same samples."""
        return {split: split_hash(self.source.ids[rows]) for split, rows in self.rows.items()}

    def fingerprint(self) -> str:
        """A digest of the classes, and of ids, targets and what masks hold in every split."""
        digest = hashlib.sha256(repr((self.source.task, self.source.classes)).encode())
        for split, rows in self.rows.items():
            digest.update(split.encode())
            digest.update("\n".join(self.source.ids[rows]).encode())
            digest.update(np.ascontiguousarray(self.source.targets[rows]).tobytes())
            if self.source.masks is not None:
                digest.update(self.source.masks.take(rows).content().encode())
        return digest.hexdigest()[:16]

    def without(self, unreadable: set[int]) -> Data:
        """The same data less these source rows."""
        kept = {split: rows[~np.isin(rows, list(unreadable))] for split, rows in self.rows.items()}
        left_out = sum(len(rows) for rows in self.rows.values()) - sum(len(rows) for rows in kept.values())
        note = f"{left_out} unreadable image{'s' if left_out != 1 else ''} left out (data.unreadable: skip)."
        rows = {split: rows for split, rows in kept.items() if len(rows)}
        return Data(self.source, rows, self.sampler, (*self.notes, note), self.drawing)

    def table(self) -> pd.DataFrame:
        """A row for each sample in use: id, split, patient, targets and metadata, as `splits.csv` holds them."""
        names = np.concatenate([np.full(len(rows), split) for split, rows in self.rows.items()])
        rows = np.concatenate(list(self.rows.values()))
        columns: dict[str, object] = {"id": self.source.ids[rows], "split": names}
        if self.source.patients is not None:
            columns["patient"] = self.source.patients[rows]
        for k, name in enumerate(self.source.classes):
            columns[f"target.{name}"] = self.source.targets[rows, k]
        table = pd.DataFrame(columns)
        if self.source.metadata is not None:
            metadata = self.source.metadata.iloc[rows].reset_index(drop=True).add_prefix("metadata.")
            table = pd.concat([table, metadata], axis=1)
        return table


def load_data(config: DataConfig) -> Data:
    """Reads a source, divides it, and takes the configured subset; no pixel is touched but those of masks.

    Raises:
        DataError: the source cannot be read, or a split that training needs has no samples.
    """
    source = named_splits(load_source(config), config.split)
    split = split_samples(source, config.split)
    keep = np.arange(len(source))
    notes = [*source.notes, *split_notes(source, split, config.split)]
    for amount in (config.subset, config.dev_samples):
        if amount is not None and not (isinstance(amount, int) and amount >= len(keep)):
            kept, said = _subset(replace(source.take(keep), split=split[keep]), amount, config.split.seed)
            keep = keep[kept]
            notes.append(f"A stratified subset of {len(keep)} of {len(source)} samples is used{said}.")
    rows = {name: keep[split[keep] == name] for name in SPLITS if np.any(split[keep] == name)}
    if config.trial is not None and {"train", "val"} <= rows.keys():
        rows, said = trial_rows(source, rows, config.trial)
        notes.append(said)
    drawing = DrawSettings(config.sampler_reduce, config.no_finding_weight, config.sampler_beta)
    data = Data(source, rows, config.sampler, tuple(notes), drawing)
    check_data(data)
    return data


def _subset(samples: Samples, amount: int | float, seed: int) -> tuple[NDArray[np.intp], str]:
    """Rows of a stratified subset of divided samples, and what to add to its note.

    Few patients of many images, as volumes in slices are, can leave a split without any: then images are taken one by one.
    Each patient being in its split already, none can come into two.
    """
    assert samples.split is not None
    rows = stratified_subset(samples, amount, seed)
    if set(samples.split[rows]) == set(samples.split):
        return rows, ""
    share = amount if isinstance(amount, float) else amount / len(samples)
    parts = []
    for split in np.unique(samples.split):
        of_split = np.flatnonzero(samples.split == split)
        alone = replace(samples.take(of_split), patients=None)
        parts.append(of_split[stratified_subset(alone, max(1, int(share * len(of_split))), seed)])
    rows = np.sort(np.concatenate(parts))
    return rows, ", images one by one: whole patients would have left a split without samples"


def check_data(data: Data) -> None:
    """DataError where a split that training needs is empty, or a class cannot be learned from train."""
    faults = [f"the {split} split has no samples" for split in ("train", "val") if split not in data.rows]
    if "train" in data.rows:
        counts = data.counts("train")
        for name, positives, negatives in zip(data.source.classes, counts.positives, counts.negatives, strict=True):
            if positives == 0 and data.source.masks is not None:
                faults.append(f"class {name!r} occurs in no mask of train: nothing can be learned of it")
            elif positives == 0 or (negatives == 0 and data.source.masks is None):
                lacks = "positive" if positives == 0 else "negative"
                faults.append(f"class {name!r} has no {lacks} sample in train: nothing can be learned of it")
    if data.source.masks is not None and "val" in data.rows and not data.counts("val").positives.any():
        faults.append(
            f"every one of the {len(data.rows['val'])} masks of val is empty: Dice is undefined there, and no epoch could be "
            "told to be better than another"
        )
    if faults:
        raise DataError(
            "data: " + "; ".join(faults) + ". Give more samples, leave the class out with data.classes, or change data.split "
            "(ratio, seed), data.subset or data.dev_samples."
        )
