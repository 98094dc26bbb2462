"""What 16 bits cost beside 8: preparing, disk, a gathered batch and a batch as training gets it; both in one run, taking turns.

    python benchmarks/depth.py [--images 256] [--size 224] [--batch 32] [--rounds 15]

Images are 1024² of 12 bits in 16-bit PNG files, made here: soft shapes and grain. Both depths read the same files by the same
range, with CLAHE 2.0 on 8 × 8 tiles and without. Times are medians of the rounds, of one process and one thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from calibration import calibration_seconds
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from osler.config import AugmentationConfig, ClaheConfig, PreparationConfig
from osler.data.augment import Augmenter
from osler.data.batches import TrainBatches
from osler.data.cache import PackedCache, open_cache
from osler.data.files import FileImages
from osler.data.samples import Samples
from osler.imaging.depth import Depth
from osler.imaging.preparation import Preparation
from osler.imaging.read import read_image

DEPTHS: tuple[Depth, ...] = ("uint8", "uint16")
SIDE = 1024
FILES = 16


def draw(folder: Path) -> list[Path]:
    """`FILES` images of 12 bits."""
    random = np.random.default_rng(0)
    paths = []
    for number in range(FILES):
        shapes = cv2.GaussianBlur(random.random((SIDE, SIDE), np.float32), (0, 0), 40)
        shapes = cv2.normalize(shapes, shapes, 300, 3800, cv2.NORM_MINMAX)
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), np.clip(shapes + random.normal(0, 20, shapes.shape), 0, 4095).astype(np.uint16))
        paths.append(path)
    return paths


def seconds(rounds: int, ways: dict[Depth, Callable[[], object]]) -> dict[Depth, float]:
    """Median of each way; the ways take turns."""
    times: dict[Depth, list[float]] = {depth: [] for depth in ways}
    for _ in range(rounds):
        for depth, way in ways.items():
            start = time.perf_counter()
            way()
            times[depth].append(time.perf_counter() - start)
    return {depth: float(np.median(found)) for depth, found in times.items()}


def preparation_of(size: int, depth: Depth, clahe: bool) -> Preparation:
    section = ClaheConfig() if clahe else None
    return Preparation(PreparationConfig(size=size, channels=1, range=(0.0, 4095.0), clahe=section, dtype=depth))


def filled(paths: list[Path], count: int, preparation: Preparation, folder: Path) -> PackedCache:
    """A cache of so many rows, which share the files."""
    ids = np.array([f"{row % len(paths)}.png#{row}" for row in range(count)])
    names = np.array([paths[row % len(paths)].name for row in range(count)])
    images = FileImages(paths[0].parent, names)
    cache = open_cache(Samples(ids, np.zeros((count, 1), np.float32), ("none",), "binary", images), preparation, folder)
    cache.ensure(np.arange(count))
    return cache


def batches_of(cache: PackedCache, count: int, batch: int, augmenter: Augmenter | None) -> Callable[[], object]:
    """Every batch of one epoch, as training gets it."""
    targets = np.zeros((count, 1), np.float32)
    loader = TrainBatches(cache.gather, np.arange(count), targets, batch, seed=1, augmenter=augmenter)
    return lambda: sum(float(one.images[0, 0, 0, 0]) for one in loader.epoch(0))


def gathering(cache: PackedCache, count: int, batch: int) -> Callable[[], object]:
    orders: list[NDArray[np.intp]] = np.split(np.random.default_rng(0).permutation(count), range(batch, count, batch))
    return lambda: [int(cache.gather(rows)[:, :, ::16, 0].max()) for rows in orders]


def main() -> None:
    """Times both depths and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    console, table = Console(width=110), Table("", "8 bit", "16 bit", "times")
    with tempfile.TemporaryDirectory(prefix="osler-depth-") as scratch:
        paths = draw(Path(scratch))
        raws = [read_image(path) for path in paths]
        caches = {}
        for depth in DEPTHS:
            caches[depth] = filled(paths, options.images, preparation_of(options.size, depth, False), Path(scratch) / "cache")
        some = options.rounds // 5 + 1

        def add(name: str, found: dict[Depth, float], unit: str, scale: float) -> None:
            one, two = (found[depth] * scale for depth in DEPTHS)
            table.add_row(name, f"{one:,.2f} {unit}", f"{two:,.2f} {unit}", f"{two / one:.2f}")

        add("a row in the cache", {depth: caches[depth].store.geometry.row_bytes for depth in DEPTHS}, "kB", 1e-3)
        for clahe in (False, True):
            ways = {depth: preparation_of(options.size, depth, clahe) for depth in DEPTHS}
            found = seconds(some, {depth: lambda way=way: [way.apply(raw) for raw in raws] for depth, way in ways.items()})  # type: ignore[misc]
            add(f"preparing 1024², decoded{', CLAHE' if clahe else ''}, an image", found, "ms", 1e3 / FILES)
        count = -(-options.images // options.batch)
        found = seconds(options.rounds, {depth: gathering(caches[depth], options.images, options.batch) for depth in DEPTHS})
        add(f"gathering {options.batch} images", found, "ms", 1e3 / count)
        for name, augmenter in (("plain", None), ("augmented", Augmenter(AugmentationConfig(), 1))):
            ways_of = {depth: batches_of(caches[depth], options.images, options.batch, augmenter) for depth in DEPTHS}
            add(f"a batch of training, {name}", seconds(options.rounds, ways_of), "ms", 1e3 / count)
    console.print(table)
    console.print(f"calibration: {calibration_seconds():.2f} s")


if __name__ == "__main__":
    main()
