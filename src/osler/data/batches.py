"""Batches: the order of an epoch, and the images (and masks) of each batch gathered, augmented and placed one ahead.

Order and draws are pure functions of (seed, epoch): no generator is kept, so a run that starts at batch k of an epoch sees what
the uninterrupted run saw from there, and a rank knows its share without asking.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from osler.config import PatchConfig
from osler.data.augment import DRAW, ORDER, Augmenter, hashes, on_scale, uniforms
from osler.data.patches import Cutter
from osler.errors import DataError
from osler.imaging.depth import Levels

__all__ = ["Batch", "EvalBatches", "Gather", "TrainBatches", "draw", "micro_batches", "one_ahead", "order"]

T = TypeVar("T")
Gather = Callable[[NDArray[np.intp]], Levels]
"""Source rows (B,) to prepared images (B, C, H, W), or images and masks (B, C + K, H, W), as `PackedCache.gather`."""


@dataclass(frozen=True)
class Batch:
    """Some samples, on the device.

    Attributes:
        images: (B, C, H, W), 0 to 255: float32 in training; in evaluation uint8, or float32 where images have more than 8 bits.
        targets: (B, K) float32 in {0, 1, NaN}.
        rows: (B,) rows of the source.
        positions: (B,) places in the epoch's global order.
        index: number of the batch among those of this rank, from 0; training goes on after it with `start=index + 1`.
        masks: (B, K, H, W) uint8, 1 foreground, 0 not, IGNORED unknown, pixel by pixel over `images`; None where there are none.
            The targets of a patch stay those of its whole image.
    """

    images: Tensor
    targets: Tensor
    rows: NDArray[np.intp]
    positions: NDArray[np.intp]
    index: int
    masks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)


# --- order ------------------------------------------------------------------------------------------------------------------


def order(seed: int, epoch: int, n: int) -> NDArray[np.intp]:
    """The permutation of n samples that an epoch goes through.

    >>> order(42, 0, 5).tolist() == order(42, 0, 5).tolist(), sorted(order(42, 1, 5).tolist())
    (True, [0, 1, 2, 3, 4])
    """
    return np.argsort(hashes(seed, epoch, ORDER, np.arange(n)), kind="stable")


def draw(weights: NDArray[np.float64], seed: int, epoch: int) -> NDArray[np.intp]:
    """As many independent draws with replacement as there are weights; (n,) indices in the order drawn.

    Args:
        weights: (n,) finite, at least 0, not all 0; chances are in their proportion.
        seed: of the run.
        epoch: from 0.

    >>> sorted(set(draw(np.array([0.0, 1.0, 1.0, 0.0]), 42, 0).tolist()) - {1, 2})
    []
    """
    assert np.isfinite(weights).all(), weights
    assert 0 <= weights.min() <= weights.max() != 0, weights
    bounds = np.cumsum(weights, dtype=np.float64)
    lots = uniforms(seed, epoch, DRAW, np.arange(len(weights))) * bounds[-1]
    found: NDArray[np.intp] = np.searchsorted(bounds, lots, side="right")
    # The product can round up to the total itself; that draw belongs to the last sample that has a weight.
    last = np.flatnonzero(weights)[-1]
    found[found > last] = last
    return found


def micro_batches(n: int, batch_size: int, group: int = 1) -> NDArray[np.intp]:
    """Edges of the batches that an order of n samples is cut into: batch m is `edges[m]:edges[m + 1]`.

    A step takes `group` batches: ranks times accumulation. What is left for the last step is dealt evenly over its batches, so
    every rank sees the same number of them and no step is cut short; where that leaves fewer than two samples a batch, which
    BatchNorm cannot use, they are left out of this epoch (another order, another left out).

    Returns:
        (M + 1,), M a multiple of `group`.

    >>> micro_batches(10, 4).tolist(), micro_batches(9, 4).tolist(), micro_batches(13, 4, group=2).tolist()
    ([0, 4, 8, 10], [0, 4, 8], [0, 4, 8, 10, 13])
    """
    steps, left = divmod(n, batch_size * group)
    edges = np.arange(steps * group + 1, dtype=np.intp) * batch_size
    if left < 2 * group:
        return edges
    return np.concatenate([edges, edges[-1] + left * np.arange(1, group + 1, dtype=np.intp) // group])


# --- one ahead --------------------------------------------------------------------------------------------------------------


def one_ahead(prepare: Callable[[int], T], numbers: Iterable[int]) -> Generator[T]:
    """`prepare(number)` for each number, the next one worked out by a thread while the caller uses this one.

    An exception in the thread is raised to the caller where that result was due. The thread ends with the generator: at its
    end, when it is closed, and when the caller's loop is left by `break`, an exception or Ctrl-C.

    >>> list(one_ahead(lambda number: number * number, range(4)))
    [0, 1, 4, 9]
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="osler-batches")
    due: Future[T] | None = None
    try:
        _keep_to_one_core(pool)
        for number in numbers:
            following = pool.submit(prepare, number)
            if due is not None:
                yield due.result()
            due = following
        if due is not None:
            yield due.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _keep_to_one_core(pool: ThreadPoolExecutor) -> None:
    """Lets torch use one core in the pool's thread, and as many as before in the others.

    Two teams of OpenMP threads, the trainer's and this one, would wait for each other at every operation.
    """

    def settle() -> None:
        torch.get_num_threads()  # A thread's first use of torch gives it the common number: that must come before its own.
        torch.set_num_threads(1)

    threads = torch.get_num_threads()
    pool.submit(settle).result()
    # What the pool's thread set is also what threads to come would begin with.
    torch.set_num_threads(threads)


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    # One for the process: memory is pooled by stream, and a new stream for each epoch would fill as many pools.
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _delivered(prepare: Callable[[int], Batch], numbers: Iterable[int], device: torch.device) -> Generator[Batch]:
    """Batches one ahead; on CUDA they are copied and augmented on a stream beside the caller's."""
    if device.type != "cuda":
        yield from one_ahead(prepare, numbers)
        return
    side = _side_stream(device)

    def prepare_aside(number: int) -> tuple[Batch, torch.cuda.Event]:
        with torch.cuda.device(device), torch.cuda.stream(side):
            return prepare(number), side.record_event()

    with closing(one_ahead(prepare_aside, numbers)) as batches:
        for batch, ready in batches:
            current = torch.cuda.current_stream(device)
            current.wait_event(ready)
            for tensor in (batch.images, batch.targets, batch.masks):
                # The memory belongs to the side stream; it must not be used again there before the caller has read it.
                if tensor is not None:
                    tensor.record_stream(current)
            yield batch


def _placed(array: Levels | NDArray[np.float32], device: torch.device) -> Tensor:
    # A slice of a memory-mapped file is read-only, which torch cannot express; such an array is copied.
    tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _divided(planes: Tensor, channels: int | None) -> tuple[Tensor, Tensor | None]:
    """Image planes, and mask planes in bytes, of gathered ones; without `channels` all are the image's."""
    if channels is None:
        return planes, None
    return planes[:, :channels], planes[:, channels:].to(torch.uint8)


# --- training and evaluation ------------------------------------------------------------------------------------------------


class TrainBatches:
    """The train split in a new order each epoch, augmented.

    The epoch's global order is cut into micro-batches (`micro_batches`), and micro-batch m goes to rank m % world. So `world`
    ranks see, step by step, what one process with `accumulate=world` sees. Where samples are drawn by weight, an epoch is as
    many draws with replacement as there are samples. With patches, every sample has `patches.per_image` places in the epoch's
    order, each a patch of its own.

    Args:
        gather: reads prepared images, or images and masks.
        rows: (n,) rows of the source that are the train split.
        targets: (n, K) float32, one for each of `rows`.
        batch_size: samples of a micro-batch.
        seed: of the run.
        draw_weights: (n,) chances, or None for every sample once.
        augmenter: changes the images; None only makes them float.
        device: where batches are delivered.
        rank: of this process.
        world: processes that train together.
        accumulate: micro-batches of one rank that make a step.
        channels: planes of what is gathered that are the image; those after them are masks. None: all are the image.
        patches: what to cut out of each image and its masks; None: nothing, the whole image is given.

    Raises:
        DataError: where the samples do not fill one step.
        ConfigError: patches are larger than the images.
    """

    def __init__(
        self,
        gather: Gather,
        rows: NDArray[np.intp],
        targets: NDArray[np.float32],
        batch_size: int,
        seed: int,
        draw_weights: NDArray[np.float64] | None = None,
        augmenter: Augmenter | None = None,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
        channels: int | None = None,
        patches: PatchConfig | None = None,
    ) -> None:
        assert len(rows) == len(targets)
        assert draw_weights is None or len(draw_weights) == len(rows)
        assert 0 <= rank < world, (rank, world)
        self._each = 1 if patches is None else patches.per_image
        edges = micro_batches(len(rows) * self._each, batch_size, world * accumulate)
        if len(edges) == 1:
            there = f"{len(rows)} samples" if patches is None else f"{len(rows) * self._each} patches"
            raise DataError(
                f"train split: {there} do not fill one step of {world} processes x {accumulate} batches, at least "
                "2 samples each. Give more samples, fewer processes, or a smaller training.accumulate."
            )
        self._gather = gather
        self._rows = rows
        self._targets = targets
        self._seed = seed
        self._draw_weights = draw_weights
        self._augmenter = augmenter or Augmenter(None, seed)
        self._device = torch.device(device)
        self._starts, self._stops = edges[:-1][rank::world], edges[1:][rank::world]
        self._channels = channels
        self._cutter = None if patches is None else self._build_cutter(patches)

    def _build_cutter(self, patches: PatchConfig) -> Cutter:
        assert self._channels is not None, "patches are cut by the masks"
        one = self._gather(self._rows[:1])
        planes, height, width = one.shape[1:]
        return Cutter(patches, self._seed, (planes, height, width), self._channels, self._augmenter.reach, one.dtype)

    def __len__(self) -> int:
        """Batches of this rank in an epoch; the same for every rank and epoch."""
        return len(self._starts)

    def samples(self, epoch: int) -> NDArray[np.intp]:
        """(n,) indices into `rows` and `targets` in the epoch's global order; a few at its end may be in no batch.

        With patches, (n x per_image,).
        """
        if self._draw_weights is None:
            places = order(self._seed, epoch, len(self._rows) * self._each)
        else:
            places = draw(np.repeat(self._draw_weights, self._each), self._seed, epoch)
        return places // self._each

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from batch `start` on; from there they are, bit for bit, those of the whole epoch."""
        assert 0 <= start <= len(self), (start, len(self))
        samples = self.samples(epoch)

        def prepare(index: int) -> Batch:
            positions = np.arange(self._starts[index], self._stops[index])
            chosen = samples[positions]
            rows = self._rows[chosen]
            images, masks = self._pixels(rows, epoch, positions)
            return Batch(images, _placed(self._targets[chosen], self._device), rows, positions, index, masks)

        return _delivered(prepare, range(start, len(self)), self._device)

    def plain(self, epoch: int, most: int) -> Batch:
        """Up to so many of the samples as validation gets its own: whole and unchanged.

        Others in each epoch, the same on each rank; drawn evenly, whatever weights training draws by.
        """
        chosen = np.sort(order(self._seed, epoch + 1, len(self._rows))[:most])
        rows, targets = self._rows[chosen], self._targets[chosen]
        return next(iter(EvalBatches(self._gather, rows, targets, len(chosen), self._device, self._channels)))

    def _pixels(self, rows: NDArray[np.intp], epoch: int, positions: NDArray[np.intp]) -> tuple[Tensor, Tensor | None]:
        """Images, or patches, as training sees them, and their masks."""
        if self._channels is None:
            return self._augmenter.apply(_placed(self._gather(rows), self._device), epoch, positions), None
        changes, cut = self._augmenter.draw(epoch, positions), None
        if self._cutter is None:
            planes = self._gather(rows)
        else:
            patches = self._cutter.cut(self._gather, rows, changes, epoch, positions)
            planes, cut = patches.windows, patches.cut
        images, masks = _divided(_placed(planes, self._device), self._channels)
        return self._augmenter.change(images, masks, changes, cut)


class EvalBatches:
    """Samples in their order, every one once, unchanged: images, whole, as they were prepared, and their masks.

    Batch m of the split goes to rank m % world: which samples share a batch, over which a loss may pool, does not depend on the
    number of ranks.

    Args:
        gather: reads prepared images, or images and masks.
        rows: (n,) rows of the source.
        targets: (n, K) float32, one for each of `rows`.
        batch_size: samples of a batch; the last may be smaller.
        device: where batches are delivered.
        channels: planes of what is gathered that are the image; those after them are masks. None: all are the image.
        rank: of this process.
        world: processes that evaluate together.
    """

    def __init__(
        self,
        gather: Gather,
        rows: NDArray[np.intp],
        targets: NDArray[np.float32],
        batch_size: int,
        device: torch.device | str = "cpu",
        channels: int | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        assert len(rows) == len(targets)
        assert 0 <= rank < world, (rank, world)
        self._gather = gather
        self._rows = rows
        self._targets = targets
        self._batch_size = batch_size
        self._starts = range(rank * batch_size, len(rows), world * batch_size)
        self._device = torch.device(device)
        self._channels = channels

    def __len__(self) -> int:
        """Batches of this rank; one more or less than another's, and none where the split has fewer than ranks."""
        return len(self._starts)

    def __iter__(self) -> Iterator[Batch]:
        def prepare(index: int) -> Batch:
            start = self._starts[index]
            positions = np.arange(start, min(start + self._batch_size, len(self._rows)))
            rows = self._rows[positions]
            images, masks = _divided(_placed(self._gather(rows), self._device), self._channels)
            images = images if images.dtype == torch.uint8 else on_scale(images)
            return Batch(images, _placed(self._targets[positions], self._device), rows, positions, index, masks)

        return _delivered(prepare, range(len(self)), self._device)
