"""Batches beside a bare loop over tensors in memory, and the resampling beside its alternatives; both sides in one run.

    python benchmarks/batches.py [--seconds 1.5] [--threads N]

"read" is iteration alone; "train" puts a training step of a small network behind each batch, so that what the thread does
one ahead can hide. Ratios are to the bare loop: index a permutation, make float, no augmentation. "CPU ms" is the processor
time of reading a batch, all threads together; it holds on a busy machine, where the rates do not. The last table is what masks
and patches add: images and masks moved together, and patches of 256² cut from 1024², with and without foreground to be found.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from osler.config import AugmentationConfig, PatchConfig
from osler.data.augment import Augmenter, transform
from osler.data.batches import TrainBatches

SETTINGS = {"28² × 1, batch 128": (28, 1, 128, 12), "128² × 1, batch 64": (128, 1, 64, 4), "224² × 3, batch 32": (224, 3, 32, 4)}
"""Name: side, channels, batch size, batches in an epoch."""

MASKED = {"256²": (256, None), "patches of 256² from 1024²": (1024, 256)}
"""Name: side of the images, side of the patches; three channels and one mask, batches of 16."""

WITHOUT_NOISE = AugmentationConfig()
WITH_NOISE = AugmentationConfig(noise=0.05)

Pairs = Iterable[tuple[Tensor, Tensor]]


def network(channels: int) -> nn.Module:
    """Three convolutions: light, so that what batches cost shows."""
    widths = [channels, 16, 32, 64]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 1))


def bare_loop(images: Tensor, targets: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """What one would write in a notebook."""
    permutation = torch.randperm(len(images))
    for first in range(0, len(images), batch_size):
        chosen = permutation[first : first + batch_size]
        yield images[chosen].float(), targets[chosen]


def bare_loop_augmented(images: Tensor, targets: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The same with the moves and tones of the default augmentation, in plain torch."""
    for epoch, (batch, labels) in enumerate(bare_loop(images, targets, batch_size)):
        changes = Augmenter(WITHOUT_NOISE, 0).draw(epoch, np.arange(len(batch)))
        assert changes.matrices is not None
        moved = by_grid_sample(batch, changes.matrices)
        mean = moved.mean(dim=(1, 2, 3), keepdim=True)
        contrast, brightness = (
            torch.from_numpy(values).float()[:, None, None, None] for values in (changes.contrast, changes.brightness)
        )
        yield ((moved - mean) * contrast + mean + 255 * brightness).clamp(0, 255), labels


def osler_loop(batches: TrainBatches) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in batches.epoch(0):
        yield batch.images, batch.targets


def training(pairs: Pairs, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Trains on every pair; the number of samples seen."""
    seen = 0
    for images, targets in pairs:
        loss = nn.functional.binary_cross_entropy_with_logits(model(images / 255), targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seen += len(images)
    return seen


def reading(pairs: Pairs) -> int:
    return sum(len(images) for images, _ in pairs)


def rates(tasks: dict[str, Callable[[], int]], seconds: float) -> dict[str, tuple[float, float]]:
    """Each task's best samples per second and its least processor seconds; the tasks take turns, so a busy moment hurts all."""
    best = dict.fromkeys(tasks, (0.0, float("inf")))
    for task in tasks.values():
        task()
    until = time.perf_counter() + seconds * len(tasks)
    while time.perf_counter() < until:
        for name, task in tasks.items():
            begun, worked = time.perf_counter(), time.process_time()
            seen = task()
            took, work = time.perf_counter() - begun, time.process_time() - worked
            best[name] = max(best[name][0], seen / took), min(best[name][1], work)
    return best


def measure_batches(
    side: int, channels: int, batch_size: int, count: int, seconds: float
) -> dict[str, tuple[float, float, float]]:
    """Samples per second read, processor ms for a batch, samples per second trained, of bare loops and Osler's batches."""
    total = batch_size * count
    pool = np.random.default_rng(0).integers(0, 256, (total, channels, side, side), dtype=np.uint8)
    targets = (np.arange(total) % 2).astype(np.float32)[:, None]
    images, labels = torch.from_numpy(pool), torch.from_numpy(targets)
    model = network(channels)
    optimizer = torch.optim.AdamW(model.parameters())
    loops: dict[str, Callable[[], Pairs]] = {
        "bare loop": lambda: bare_loop(images, labels, batch_size),
        "bare loop, augmented": lambda: bare_loop_augmented(images, labels, batch_size),
    }
    for name, config in {"Osler, plain": None, "Osler, augmented": WITHOUT_NOISE, "Osler, and noise": WITH_NOISE}.items():
        batches = TrainBatches(pool.__getitem__, np.arange(total), targets, batch_size, 0, augmenter=Augmenter(config, 0))
        loops[name] = lambda batches=batches: osler_loop(batches)  # type: ignore[misc]
    read = rates({name: lambda loop=loop: reading(loop()) for name, loop in loops.items()}, seconds)  # type: ignore[misc]
    train = rates(
        {name: lambda loop=loop: training(loop(), model, optimizer) for name, loop in loops.items()},  # type: ignore[misc]
        seconds,
    )
    return {name: (read[name][0], 1e3 * read[name][1] / count, train[name][0]) for name in loops}


def measure_masks(side: int, patch: int | None, seconds: float) -> dict[str, tuple[float, float]]:
    """Samples per second, and processor ms for a batch of 16, of reading images and masks in the ways that there are."""
    total, size = 32, 16
    pool = np.random.default_rng(0).integers(0, 256, (total, 4, side, side), dtype=np.uint8)
    pool[:, 3] = 0
    pool[:, 3, side // 3 : side // 3 + 20, side // 2 : side // 2 + 20] = 1
    targets, augmenter = np.ones((total, 1), np.float32), Augmenter(WITHOUT_NOISE, 0)

    def reader(foreground: float, channels: int | None = 3) -> Callable[[], int]:
        patches = None if patch is None else PatchConfig(size=patch, per_image=1, foreground=foreground)
        source = pool if channels is not None else pool[:, :3].copy()
        batches = TrainBatches(
            source.__getitem__, np.arange(total), targets, size, 0, augmenter=augmenter, channels=channels, patches=patches
        )
        return lambda: sum(len(batch) for batch in batches.epoch(0))

    tasks = {"gathered alone": lambda: sum(len(pool[np.arange(first, first + size)]) for first in range(0, total, size))}
    if patch is None:
        tasks |= {"images moved": reader(0.0, None), "images and masks moved": reader(0.0)}
    else:
        tasks |= {"anywhere": reader(0.0), "all on foreground": reader(1.0)}
    return {name: (rate, 1e3 * work / (total / size)) for name, (rate, work) in rates(tasks, seconds).items()}


def by_grid_sample(images: Tensor, moves: NDArray[np.float64]) -> Tensor:
    theta = torch.from_numpy(moves).float()
    grid = nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images.float(), grid, align_corners=False)


def by_warp_affine(images: Tensor, moves: NDArray[np.float64]) -> int:
    """OpenCV in a loop over samples and channels."""
    count, channels, height, width = images.shape
    source, result = images.numpy(), np.empty(images.shape, dtype=np.uint8)
    for sample in range(count):
        for channel in range(channels):
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            cv2.warpAffine(source[sample, channel], moves[sample], (width, height), dst=result[sample, channel], flags=flags)
    return len(torch.from_numpy(result).float())


def measure_resampling(side: int, channels: int, batch_size: int, seconds: float) -> dict[str, tuple[float, float]]:
    """Samples per second, and processor seconds, of moving a batch, alone."""
    images = torch.randint(0, 256, (batch_size, channels, side, side), dtype=torch.uint8)
    moves = Augmenter(WITHOUT_NOISE, 0).draw(0, np.arange(batch_size)).matrices
    assert moves is not None
    ways: dict[str, Callable[[], int]] = {
        "osler.data.augment.transform": lambda: len(transform(images, moves)),
        "torch affine_grid + grid_sample": lambda: len(by_grid_sample(images, moves)),
        "cv2.warpAffine, sample by sample": lambda: by_warp_affine(images, moves),
    }
    return rates(ways, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.5, help="for each figure")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    console = Console()
    console.print(f"torch {torch.__version__}, OpenCV {cv2.__version__}, {options.threads} threads; samples per second")
    for name, (side, channels, batch_size, count) in SETTINGS.items():
        table = Table("batches", "read", "CPU ms", "train", "ratio", title=name)
        figures = measure_batches(side, channels, batch_size, count, options.seconds)
        for row, (read, work, train) in figures.items():
            table.add_row(row, f"{read:,.0f}", f"{work:.2f}", f"{train:,.0f}", f"{train / figures['bare loop'][2]:.3f}")
        console.print(table)
        table = Table("resampling alone", "samples / s", "CPU ms")
        for row, (rate, work) in measure_resampling(side, channels, batch_size, options.seconds / 3).items():
            table.add_row(row, f"{rate:,.0f}", f"{1e3 * work:.2f}")
        console.print(table)
    for name, (side, patch) in MASKED.items():
        table = Table("with a mask", "samples / s", "CPU ms", title=name)
        for row, (rate, work) in measure_masks(side, patch, options.seconds).items():
            table.add_row(row, f"{rate:,.0f}", f"{work:.2f}")
        console.print(table)


if __name__ == "__main__":
    main()
