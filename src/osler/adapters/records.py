"""What a loop handed over in an epoch, batch after batch, and the figures that are made of it at the epoch's end."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from osler.adapters.arrays import Array, host, is_tensor, kept, kept_loss, loss_values, on_host
from osler.adapters.figures import (
    NO_LOSS,
    Figures,
    Loss,
    loss_figures,
    mask_counts,
    mask_figures,
    mean_loss,
)
from osler.adapters.labels import aligned, classes_of, losses_by_sample
from osler.adapters.masks import count_pixels, histograms, planes
from osler.adapters.stated import Statement
from osler.errors import ConfigError, DataError
from osler.metrics.cases import CaseTable, PixelCounts
from osler.metrics.floors import Floor, floor
from osler.metrics.label_vitals import label_vitals
from osler.metrics.mask_floors import MaskFloor, mask_floor
from osler.metrics.mask_loss import MaskCounts, resolve_mask_loss
from osler.metrics.overlap import HALF
from osler.metrics.weights import Kind, LabelCounts, LossSpec, count_labels, resolve_loss

__all__ = ["LabelSplit", "MaskSplit", "Split", "Watched"]

Floats = NDArray[np.float64]


@dataclass
class Watched:
    """What all splits of a loop share.

    Attributes:
        task: of the loop.
        classes: names; None until the first batch shows how many there are.
        probabilities: outputs are within 0 and 1.
        statement: of the loss.
        exclusive: masks: a pixel is of one class at most.
    """

    task: str
    classes: tuple[str, ...] | None
    probabilities: bool
    statement: Statement
    exclusive: bool = False

    def named(self, count: int) -> tuple[str, ...]:
        """The classes, which the first batch counts.

        Raises:
            ConfigError: other names were given.
        """
        if self.classes is None:
            single = "positive" if self.task == "binary" else "foreground"
            self.classes = (single,) if count == 1 else tuple(str(k) for k in range(count))
        if len(self.classes) != count:
            raise ConfigError(
                f"osler.watch: {len(self.classes)} classes are named ({', '.join(self.classes)}), and the outputs have {count}"
                + (": the name of the positive class alone" if self.task == "binary" else "")
            )
        return self.classes

    @cached_property
    def label_loss(self) -> LossSpec | None:
        """The stated loss of labels, resolved; None where it is not known. A softmax of two logits has two classes."""
        if self.statement.loss is None:
            return None
        assert self.classes is not None, "the first batch named the classes"
        pair = self.task == "binary" and self.statement.loss.type == "cross_entropy"
        nothing = np.zeros(2 if pair else len(self.classes))
        return resolve_loss(self.statement.loss, LabelCounts("multiclass" if pair else cast(Kind, self.task), nothing, nothing))


@dataclass
class Split:
    """Batches of a split in one epoch.

    Attributes:
        watched: what all splits share.
        training: weights move while it is recorded.
    """

    watched: Watched
    training: bool
    losses: list[Array] = field(default_factory=list)
    loss_sizes: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    patients: set[Hashable] = field(default_factory=set)

    def clear(self) -> None:
        """For the next epoch; the patients are known for good."""
        self.losses, self.loss_sizes, self.sizes = [], [], []

    @property
    def begun(self) -> bool:
        """Whether anything was recorded."""
        return bool(self.losses or self.sizes)

    def add(self, outputs: Any, targets: Any, loss: Any, patients: Iterable[Hashable] | None) -> None:
        """A batch; any part may be missing, but outputs and targets come together.

        Raises:
            DataError: outputs or targets alone, or what cannot be aligned.
        """
        if (outputs is None) != (targets is None):
            raise DataError("osler.watch: outputs and targets come together; one of them is missing")
        size = 1
        if outputs is not None:
            self._keep(outputs, targets)
            size = len(outputs)
            self.sizes.append(size)
        if loss is not None:
            self.losses.append(kept_loss(loss))
            self.loss_sizes.append(size)
        if patients is not None:
            self.patients.update(on_host(patients).tolist() if is_tensor(patients) else np.asarray(patients).tolist())

    def _keep(self, outputs: Any, targets: Any) -> None:
        raise NotImplementedError

    def figures(self, given: float | None) -> Figures:
        """The figures of the split; `given` is its mean loss, where the loop states it."""
        raise NotImplementedError

    @property
    def samples(self) -> int:
        """Samples recorded with their outputs."""
        return sum(self.sizes)

    def loss_of(self, given: float | None) -> Loss:
        """The mean loss: stated, else that of the batches."""
        if given is not None:
            return Loss(given, float("nan"), self.samples)
        if not self.losses:
            return NO_LOSS
        weights = np.array(self.loss_sizes, dtype=np.float64)
        return mean_loss(loss_values(self.losses) * weights, weights, int(weights.sum()))

    def without_positives(self) -> dict[str, float]:
        """Share of batches without a positive of each class."""
        raise NotImplementedError


@dataclass
class LabelSplit(Split):
    """Labels: outputs and targets are kept as they come."""

    outputs: list[Array] = field(default_factory=list)
    targets: list[Array] = field(default_factory=list)
    _pair: bool = False
    _checked: bool = False

    def clear(self) -> None:
        super().clear()
        self.outputs, self.targets = [], []
        self.__dict__.pop("arrays", None)

    def _keep(self, outputs: Any, targets: Any) -> None:
        first, second = kept(outputs), kept(targets)
        if not first.ndim or not second.ndim or len(first) != len(second):
            raise DataError(f"osler.watch: outputs {tuple(first.shape)} and targets {tuple(second.shape)} are not of one batch")
        if not self._checked:  # once, since it waits for the device: a mistake must not take an epoch to show
            count = classes_of(first.shape, cast(Kind, self.watched.task))
            self.watched.named(count)
            _ = self.watched.label_loss  # a list of other length than the classes is refused here
            aligned(*self._rows([first], [second]), cast(Kind, self.watched.task), count, self.watched.probabilities)
            self._checked = True
        self.outputs.append(first)
        self.targets.append(second)

    @staticmethod
    def _rows(outputs: list[Array], targets: list[Array]) -> tuple[NDArray[Any], NDArray[Any]]:
        return host(outputs), host(targets)

    @cached_property
    def arrays(self) -> tuple[Floats, Floats]:
        """Logits and targets (N, K) of the epoch."""
        names = self.watched.classes
        assert names is not None, "the first batch named the classes"
        kind = cast(Kind, self.watched.task)
        return aligned(*self._rows(self.outputs, self.targets), kind, len(names), self.watched.probabilities)

    def figures(self, given: float | None) -> Figures:
        loss = self.loss_of(given)
        if not self.sizes:
            return {"n": loss.n, **loss_figures(loss, None, "no outputs were handed over")}
        logits, targets = self.arrays
        spec, kind = self.watched.label_loss, cast(Kind, self.watched.task)
        lowest = None
        if spec is not None:
            lowest = self._floor(spec, targets)
            loss = loss if loss.given else self._stated_loss(spec)
        assert self.watched.classes is not None, "the first batch named the classes"
        return {
            "n": len(targets),
            **loss_figures(loss, lowest, self.watched.statement.no_floor),
            **label_vitals(targets, logits, kind, self.watched.classes),
        }

    def stated_mean(self) -> float:
        """The mean loss that the stated loss makes of what was handed over; NaN where it is not known."""
        spec = self.watched.label_loss if self.sizes else None
        return float("nan") if spec is None else self._stated_loss(spec).value

    def _stated_loss(self, spec: LossSpec) -> Loss:
        values, weights = losses_by_sample(spec, *self._two_classes(spec, *self.arrays))
        return mean_loss(values, weights, int((weights > 0).sum()))

    def _floor(self, spec: LossSpec, targets: Floats) -> Floor:
        both = self._two_classes(spec, targets, targets)[1]
        kind = "multiclass" if spec.type == "cross_entropy" else cast(Kind, self.watched.task)
        return floor(spec, count_labels(both, kind))

    def _two_classes(self, spec: LossSpec, logits: Floats, targets: Floats) -> tuple[Floats, Floats]:
        """A binary task under a softmax as its loss sees it."""
        if spec.type != "cross_entropy" or self.watched.task != "binary":
            return logits, targets
        return np.hstack([np.zeros_like(logits), logits]), np.hstack([1 - targets, targets])

    def without_positives(self) -> dict[str, float]:
        targets, names = self.arrays[1], self.watched.classes or ()
        starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        positives = np.add.reduceat(np.nan_to_num(targets), starts, axis=0)
        return dict(zip(names, (positives == 0).mean(axis=0).tolist(), strict=True))


@dataclass
class MaskSplit(Split):
    """Masks: while weights move, pixels are counted at 0.5; of validation, histograms of levels are kept."""

    counted: list[tuple[Array, Array]] = field(default_factory=list)
    cases: list[Array] = field(default_factory=list)
    _floor: tuple[Floats, MaskFloor] | None = None

    def clear(self) -> None:
        super().clear()
        self.counted, self.cases = [], []

    def _keep(self, outputs: Any, targets: Any) -> None:
        batch = planes(outputs, targets, self.watched.probabilities)
        self.watched.named(int(batch.logits.shape[1]))
        self.watched.exclusive = self.watched.exclusive or batch.exclusive
        batch = batch._replace(exclusive=self.watched.exclusive)
        if self.training:
            self.counted.append(count_pixels(batch))
        else:
            self.cases.append(histograms(batch))

    def table(self) -> CaseTable | PixelCounts:
        """What was counted."""
        if self.training:
            counts, sums = zip(*self.counted, strict=True)
            return PixelCounts(host(counts).astype(np.int64), host(sums).astype(np.float64))
        found = host(self.cases).astype(np.uint32)
        limits = np.full(found.shape[1], HALF, np.uint8)
        return CaseTable(found, limits, np.full((len(found), 2), np.nan, np.float32))

    def figures(self, given: float | None) -> Figures:
        loss = self.loss_of(given)
        if not self.sizes:
            return {"n": loss.n, **loss_figures(loss, None, "no outputs were handed over")}
        table = self.table()
        counts = table if isinstance(table, PixelCounts) else table.at_thresholds
        assert self.watched.classes is not None, "the first batch named the classes"
        lowest = self._lowest(mask_counts(counts, self.watched.exclusive, max(self.sizes), self.training))
        return {
            "n": self.samples,
            **loss_figures(loss, lowest, self.watched.statement.no_floor),
            **mask_figures(table, self.watched.classes),
        }

    def _lowest(self, counts: MaskCounts) -> MaskFloor | None:
        """The floor, worked out anew only where other masks were seen: in another order they have the same one."""
        config = self.watched.statement.loss
        if config is None:
            return None
        # Batches drawn anew are any batches of these images; those that follow the order are as they stand.
        key = np.column_stack([counts.known, np.nan_to_num(counts.shares, nan=-1.0)])
        key = key[np.lexsort(key.T)] if counts.shuffled else key
        if self._floor is None or not np.array_equal(self._floor[0], key):
            self._floor = key, mask_floor(resolve_mask_loss(config, counts), counts)
        return self._floor[1]

    def without_positives(self) -> dict[str, float]:
        table = self.table()
        counts = table if isinstance(table, PixelCounts) else table.at_thresholds
        starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        empty = np.add.reduceat(counts.foreground, starts, axis=0) == 0
        return dict(zip(self.watched.classes or (), empty.mean(axis=0).tolist(), strict=True))
