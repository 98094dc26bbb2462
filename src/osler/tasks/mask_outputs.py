"""What a segmenter said of the images of an epoch: counts of pixels while weights move, whole cases in an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from osler.data.batches import Batch
from osler.data.samples import IGNORED
from osler.losses import LossTerms
from osler.metrics.cases import Case, PixelCounts, measure_case
from osler.metrics.overlap import class_logits, level_of
from osler.tasks.task import Arrays, Outputs

__all__ = ["PART", "CaseOutputs", "CountOutputs", "mask_probabilities", "pixel_counts"]

PART = "part."
"""Before the names of a loss's parts, among the arrays."""
WORKERS = 4


def mask_probabilities(logits: Tensor, exclusive: bool) -> Tensor:
    """(B, K, H, W) probabilities of logits of that shape: softmax beside a background of logit 0, or a sigmoid each."""
    logits = logits.float()
    if not exclusive or logits.shape[1] == 1:
        return torch.sigmoid(logits)
    background = torch.zeros_like(logits[:, :1])
    return torch.softmax(torch.cat([background, logits], dim=1), dim=1)[:, 1:]


class _MaskOutputs(Outputs):
    """Keeps the parts of the loss too, those of a batch for each of its images."""

    def _keep(self, batch: Batch, terms: LossTerms, **tensors: Tensor) -> None:
        parts = {f"{PART}{name}": value.expand(len(batch)) for name, value in (terms.parts or {}).items()}
        super()._keep(batch, terms, **tensors, **parts)


class CountOutputs(_MaskOutputs):
    """Counts of pixels at probability 0.5 and sums of probabilities; nothing is kept of a pixel."""

    def __init__(self, exclusive: bool) -> None:
        super().__init__()
        self.exclusive = exclusive

    def add(self, logits: Tensor, batch: Batch, terms: LossTerms) -> None:
        assert batch.masks is not None, "a segmenter is trained on masks"
        known, true = batch.masks != IGNORED, batch.masks == 1
        probabilities = mask_probabilities(logits, self.exclusive)
        called = (probabilities >= 0.5) & known
        hits, calls, positives, cells = (plane.sum(dim=(2, 3)) for plane in (called & true, called, true, known))
        counts = torch.stack([hits, calls - hits, positives - hits, cells - calls - positives + hits], dim=2)
        self._keep(batch, terms, counts=counts, probabilities=(probabilities * known).sum(dim=(2, 3)))


def pixel_counts(arrays: Arrays) -> PixelCounts:
    """The counts that `CountOutputs` gathered."""
    return PixelCounts(arrays["counts"].astype(np.int64), arrays["probabilities"].astype(np.float64))


class CaseOutputs(_MaskOutputs):
    """Each image's masks measured against the true ones, beside the network, by a few threads.

    Args:
        exclusive: a pixel is of one class at most.
        thresholds: (K,) levels from which on a pixel is called.
        spacing: height and width in millimetres of a prepared pixel of a source row; None where unknown.
    """

    def __init__(
        self,
        exclusive: bool,
        thresholds: NDArray[np.uint8],
        spacing: Callable[[int], Sequence[float] | None],
    ) -> None:
        super().__init__()
        self.exclusive = exclusive
        self.thresholds = thresholds
        self.spacing = spacing
        self.pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="osler-cases")
        self.room = BoundedSemaphore(4 * WORKERS)
        self.cases: list[Future[Case]] = []

    def add(self, logits: Tensor, batch: Batch, terms: LossTerms) -> None:
        assert batch.masks is not None, "a segmenter is evaluated on masks"
        self._keep(batch, terms)
        pixels, truths = logits.float().cpu().numpy(), batch.masks.cpu().numpy()
        for row, image, truth in zip(batch.rows.tolist(), pixels, truths, strict=True):
            levels = level_of(class_logits(image, self.exclusive))
            self.room.acquire()  # the network may be faster than the threads: only so many images wait
            case = self.pool.submit(measure_case, levels, truth, self.thresholds, self.spacing(row), exclusive=self.exclusive)
            case.add_done_callback(lambda _: self.room.release())
            self.cases.append(case)

    def arrays(self) -> Arrays:
        arrays = super().arrays()
        with self.pool:
            measured = [case.result() for case in self.cases]
        cases = np.empty(len(measured), dtype=object)
        cases[:] = measured
        return arrays | {"cases": cases}
