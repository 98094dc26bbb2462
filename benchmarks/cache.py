"""A batch from the cache beside the ways to make one without it, all in one run.

    OSLER_TEST_DATA=... python benchmarks/cache.py [--images 600] [--size 224] [--batch 32] [--epochs 3]

Every contestant gives the same batches: uint8 (B, 1, size, size), gray, CLAHE 2.0 on 8 × 8 tiles, resized, in a random order
that is new in each epoch. Images are the films of nih_cxr14 or chest_xray below OSLER_TEST_DATA, else generated ones of
1024². "In memory": all files in the page cache. "From disk": after every file's pages were dropped, as happens where a set
exceeds the memory. The limit is copying the same rows out of one array in memory. Rounds of all contestants take turns; times
are medians of the rounds, and so are the ratios, each taken within its round. MONAI takes part where it can be imported;
OSLER_MONAI may name a folder that holds it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from calibration import calibration_seconds
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from osler.config import ClaheConfig, PreparationConfig
from osler.data.cache import PackedCache, open_cache
from osler.data.files import FileImages
from osler.data.samples import Samples
from osler.imaging.preparation import Preparation
from prepare import draw

Batches = Iterator[torch.Tensor]
DROPS_PAGES = hasattr(os, "posix_fadvise")


@dataclass(frozen=True)
class Setting:
    """What every contestant is given."""

    paths: list[Path]
    size: int
    batch: int
    scratch: Path

    def orders(self) -> list[NDArray[np.intp]]:
        """One epoch's batches of rows."""
        order = np.random.default_rng(time.perf_counter_ns()).permutation(len(self.paths))
        return np.split(order, range(self.batch, len(order), self.batch))


@dataclass(frozen=True)
class Contestant:
    """One way to batches.

    Attributes:
        name: for the table.
        epoch: gives nothing first, once what a run opens once is open, and then an epoch's batches.
        files: those it reads.
        reopen: lets go of what is held open, so that nothing stays in memory.
    """

    name: str
    epoch: Callable[[], Batches]
    files: Callable[[], list[Path]]
    reopen: Callable[[], None] = lambda: None


def clahe_and_resize(gray: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The same work as `Preparation`, as one would write it."""
    equal = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(gray)
    return np.asarray(cv2.resize(equal, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def read_and_prepare(path: str | Path, size: int) -> torch.Tensor:
    """(1, size, size) uint8 from a file."""
    gray = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert gray is not None, path
    return torch.from_numpy(clahe_and_resize(np.asarray(gray, np.uint8), size)[None])


# --- contestants ------------------------------------------------------------------------------------------------------------


def from_cache(setting: Setting) -> Contestant:
    """Ours."""
    folder = setting.scratch / "cache"
    ids = np.array([str(path) for path in setting.paths])
    samples = Samples(ids, np.zeros((len(ids), 1), np.float32), ("none",), "binary", FileImages(Path("/"), ids))
    preparation = Preparation(PreparationConfig(size=setting.size, channels=1, clahe=ClaheConfig()))
    held: list[PackedCache] = []

    def epoch() -> Batches:
        if not held:
            held.append(open_cache(samples, preparation, folder))
            held[0].ensure(np.arange(len(ids)), workers=os.cpu_count() or 1)
        yield torch.empty(0)
        for rows in setting.orders():
            yield torch.from_numpy(held[0].gather(rows))

    return Contestant("Osler cache", epoch, lambda: list(folder.rglob("*.bin")), held.clear)


def from_array(setting: Setting) -> Contestant:
    """Copying the same bytes: every prepared image in one array in memory, the rows of a batch taken from it."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (len(setting.paths), 1, setting.size, setting.size)).astype(np.uint8)

    def epoch() -> Batches:
        yield torch.empty(0)
        for rows in setting.orders():
            out = np.empty((len(rows), *images.shape[1:]), np.uint8)
            yield torch.from_numpy(np.take(images, rows, axis=0, out=out, mode="clip"))

    return Contestant("copy from one array: the limit", epoch, list)


def from_files(setting: Setting) -> Contestant:
    """Decode and CLAHE of each sample, in a plain loop."""

    def epoch() -> Batches:
        yield torch.empty(0)
        for rows in setting.orders():
            yield torch.stack([read_and_prepare(setting.paths[row], setting.size) for row in rows])

    return Contestant("decode + CLAHE, plain loop", epoch, lambda: setting.paths)


class FolderTransform:
    """Pillow image → (1, size, size) uint8; a class, so that workers can be sent it."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, image: Any) -> torch.Tensor:
        return torch.from_numpy(clahe_and_resize(np.asarray(image.convert("L"), np.uint8), self.size)[None])


def from_image_folder(setting: Setting, workers: int) -> Contestant:
    """torchvision's ImageFolder behind a DataLoader."""
    root = setting.scratch / "folder"
    if not root.exists():
        for row, path in enumerate(setting.paths):
            link = root / f"class{row % 2}" / f"{row}{path.suffix}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
    dataset = ImageFolder(str(root), transform=FolderTransform(setting.size))
    loader = loader_of(dataset, setting, workers)
    return Contestant(f"torchvision ImageFolder, {workers} workers", lambda: epoch_of(loader), lambda: setting.paths)


class Prepare:
    """Path → (1, size, size) uint8, for MONAI."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, path: str) -> torch.Tensor:
        return read_and_prepare(path, self.size)


def from_monai(setting: Setting, workers: int) -> Contestant | str:
    """MONAI's PersistentDataset, its cache filled beforehand, behind a DataLoader; or why it is left out."""
    if os.environ.get("OSLER_MONAI"):
        sys.path.append(os.environ["OSLER_MONAI"])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from monai.data import PersistentDataset
            from monai.transforms import Lambda
    except ImportError as error:
        return f"MONAI is left out: it cannot be imported ({error}). Install it, or set OSLER_MONAI to a folder that holds it."
    folder = setting.scratch / "monai"
    paths = [str(path) for path in setting.paths]
    dataset = PersistentDataset(paths, Lambda(Prepare(setting.size), track_meta=False), cache_dir=folder)
    for row in range(len(paths)):
        dataset[row]
    loader = loader_of(dataset, setting, workers)
    return Contestant(f"MONAI PersistentDataset, {workers} workers", lambda: epoch_of(loader), lambda: list(folder.rglob("*.pt")))


def loader_of(dataset: Any, setting: Setting, workers: int) -> DataLoader[Any]:
    return DataLoader(dataset, setting.batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0)


def epoch_of(loader: DataLoader[Any]) -> Batches:
    batches = iter(loader)
    yield torch.empty(0)
    for batch in batches:
        yield batch[0] if isinstance(batch, list) else batch


# --- timing -----------------------------------------------------------------------------------------------------------------


def seconds_a_batch(contestant: Contestant, setting: Setting, cold: bool) -> float:
    """One epoch's mean, every byte touched; `cold`: after the pages of its files were dropped."""
    if cold:
        contestant.reopen()
        drop_pages(contestant.files())
    batches = contestant.epoch()
    next(batches)
    start, seen, count = time.perf_counter(), 0, 0
    for images in batches:
        assert images.dtype == torch.uint8
        assert images.shape[1:] == (1, setting.size, setting.size), images.shape
        seen, count = seen + len(images), count + 1
        int(images.numpy()[:, :, ::16, 0].max())  # touches every page, and starts no team of threads that others may hold up
    took = time.perf_counter() - start
    assert seen == len(setting.paths), f"{contestant.name} gave {seen} of {len(setting.paths)} images"
    return took / count


def times_of(contestant: Contestant, setting: Setting) -> tuple[float, float]:
    """Seconds a batch from disk, then in memory; NaN from disk where the system cannot drop pages."""
    cold = seconds_a_batch(contestant, setting, cold=True) if DROPS_PAGES else float("nan")
    seconds_a_batch(contestant, setting, cold=False)  # brings all files back
    return seconds_a_batch(contestant, setting, cold=False), cold


def drop_pages(files: list[Path]) -> None:
    os.sync()
    for path in files:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def images_to_use(count: int, scratch: Path) -> tuple[list[Path], str]:
    """Real films where they are, else generated ones."""
    root = Path(os.environ.get("OSLER_TEST_DATA", "/nowhere"))
    for name in ("nih_cxr14", "chest_xray"):
        found = sorted(path for path in (root / name).rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
        if found:
            return found[:count], name
    return draw(scratch / "generated", min(count, 200)), "generated, 1024², PNG and JPEG"


def table_of(names: list[str], times: NDArray[np.float64]) -> Table:
    """Milliseconds a batch, and how many times longer than ours.

    Args:
        names: of the contestants, ours first.
        times: (rounds, contestants, 2) seconds a batch: in memory, from disk.
    """
    table = Table("", "in memory, ms a batch", "times ours", "from disk, ms a batch", "times ours")
    for name, (warm, cold), (warmer, colder) in zip(names, np.median(times, axis=0), ratios_of(times), strict=True):
        table.add_row(name, f"{warm * 1e3:.2f}", f"{warmer:.2f}", f"{cold * 1e3:.2f}", f"{colder:.2f}")
    return table


def ratios_of(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """(contestants, 2): how many times longer than ours, the median of the rounds' own ratios."""
    return np.asarray(np.median(times / times[:, :1], axis=0))


def targets_of(names: list[str], ratios: NDArray[np.float64]) -> list[str]:
    """What must be reached, and whether it is; in memory."""
    said = []
    wanted = {
        "copy": (0.5, "within 2 × of copying the same bytes"),
        "decode": (20, "at least 20 × decode + CLAHE per sample"),
        "torchvision": (1, "at least as fast as ImageFolder"),
        "MONAI": (5, "at least 5 × MONAI PersistentDataset"),
    }
    for start, (least, text) in wanted.items():
        # Of several settings of the same contestant, the one that serves it best.
        found = [ratio for name, (ratio, _) in zip(names, ratios.tolist(), strict=True) if name.startswith(start)]
        if found:
            said.append(f"target: {text}: {min(found):.2f} ({'met' if min(found) >= least else 'missed'})")
    return said


def main() -> None:
    """Times every contestant and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="of the data loaders; 0 is measured too")
    options = parser.parse_args()
    console = Console(width=110)
    with tempfile.TemporaryDirectory(prefix="osler-cache-") as scratch:
        paths, name = images_to_use(options.images, Path(scratch))
        setting = Setting(paths, options.size, options.batch, Path(scratch))
        console.print(f"{len(paths)} images ({name}), {options.size}², batches of {options.batch}, {os.cpu_count()} cores")
        makers: list[Callable[[], Contestant | str]] = [
            lambda: from_cache(setting), lambda: from_array(setting), lambda: from_files(setting)
        ]  # fmt: skip
        for workers in sorted({0, options.workers}):
            makers += [lambda w=workers: from_image_folder(setting, w), lambda w=workers: from_monai(setting, w)]  # type: ignore[misc]
        contestants = []
        for make in makers:
            contestant = make()
            if isinstance(contestant, str):
                console.print(contestant)
            else:
                contestants.append(contestant)
                seconds_a_batch(contestant, setting, cold=False)  # fills caches, starts workers
        times = np.array([[times_of(contestant, setting) for contestant in contestants] for _ in range(options.epochs)])
    names = [contestant.name for contestant in contestants]
    console.print(table_of(names, times))
    for line in targets_of(names, ratios_of(times)):
        console.print(line)
    console.print(f"calibration: {calibration_seconds():.2f} s")


if __name__ == "__main__":
    main()
