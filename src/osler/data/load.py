"""Which samples a run uses, in which split, and what the labels say."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osler.config import DataConfig
from osler.data.balance import draw_weights, expected_counts
from osler.data.samples import SPLITS, Samples
from osler.data.sources import load_source
from osler.data.split import split_hash, split_notes, split_samples, stratified_subset
from osler.errors import DataError
from osler.metrics.weights import LabelCounts, count_labels

__all__ = ["Data", "check_data", "load_data"]


@dataclass(frozen=True)
class Data:
    """The samples of a source and the rows that each split takes of them.

    Attributes:
        source: every sample that the source has; the cache is shared by all runs over it.
        rows: split name to source rows, ascending; a split without samples is absent.
        sampler: how training samples are drawn.
        notes: what was adapted or assumed, one sentence each.
    """

    source: Samples
    rows: dict[str, NDArray[np.intp]]
    sampler: str
    notes: tuple[str, ...]

    def targets(self, split: str) -> NDArray[np.float32]:
        """(n, K) in {0, 1, NaN}."""
        return self.source.targets[self.rows[split]]

    def counts(self, split: str) -> LabelCounts:
        """Known labels of a split, as they are."""
        return count_labels(self.targets(split), self.source.task)

    @cached_property
    def draw_weights(self) -> NDArray[np.float64] | None:
        """(n,) chances, up to a factor, with which training samples are drawn; None: each once an epoch."""
        return None if self.sampler == "none" else draw_weights(self.targets("train"), self.source.task)

    @cached_property
    def drawn_counts(self) -> LabelCounts:
        """Labels of an epoch as the sampler draws them, in expectation; the loss and its floor see these."""
        if self.draw_weights is None:
            return self.counts("train")
        return expected_counts(self.targets("train"), self.draw_weights, self.source.task)

    def hashes(self) -> dict[str, str]:
        """A digest of each split's ids; two runs with equal digests used the same samples."""
        return {split: split_hash(self.source.ids[rows]) for split, rows in self.rows.items()}

    def fingerprint(self) -> str:
        """A digest of the classes, and of ids and targets in every split."""
        digest = hashlib.sha256(repr((self.source.task, self.source.classes)).encode())
        for split, rows in self.rows.items():
            digest.update(split.encode())
            digest.update("\n".join(self.source.ids[rows]).encode())
            digest.update(np.ascontiguousarray(self.source.targets[rows]).tobytes())
        return digest.hexdigest()[:16]

    def without(self, unreadable: set[int]) -> Data:
        """The same data less these source rows."""
        kept = {split: rows[~np.isin(rows, list(unreadable))] for split, rows in self.rows.items()}
        left_out = sum(len(rows) for rows in self.rows.values()) - sum(len(rows) for rows in kept.values())
        note = f"{left_out} unreadable image{'s' if left_out != 1 else ''} left out (data.unreadable: skip)."
        return Data(self.source, {split: rows for split, rows in kept.items() if len(rows)}, self.sampler, (*self.notes, note))

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
    """Reads a source, divides it, and takes the configured subset; no pixel is touched.

    Raises:
        DataError: the source cannot be read, or a split that training needs has no samples.
    """
    source = load_source(config)
    split = split_samples(source, config.split)
    keep = np.arange(len(source))
    notes = [*source.notes, *split_notes(source, split)]
    for amount in (config.subset, config.dev_samples):
        if amount is not None and not (isinstance(amount, int) and amount >= len(keep)):
            chosen = replace(source.take(keep), split=split[keep])
            keep = keep[stratified_subset(chosen, amount, config.split.seed)]
            notes.append(f"A stratified subset of {len(keep)} of {len(source)} samples is used.")
    rows = {name: keep[split[keep] == name] for name in SPLITS if np.any(split[keep] == name)}
    data = Data(source, rows, config.sampler, tuple(notes))
    check_data(data)
    return data


def check_data(data: Data) -> None:
    """DataError where a split that training needs is empty, or a class cannot be learned from train."""
    faults = [f"the {split} split has no samples" for split in ("train", "val") if split not in data.rows]
    if "train" in data.rows:
        counts = data.counts("train")
        for name, positives, negatives in zip(data.source.classes, counts.positives, counts.negatives, strict=True):
            if positives == 0 or negatives == 0:
                lacks = "positive" if positives == 0 else "negative"
                faults.append(f"class {name!r} has no {lacks} sample in train: nothing can be learned of it")
    if faults:
        raise DataError(
            "data: " + "; ".join(faults) + ". Give more samples, leave the class out with data.classes, or change data.split "
            "(ratio, seed), data.subset or data.dev_samples."
        )
