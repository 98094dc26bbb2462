"""The search for copies: what it costs beside decoding, how it grows, what it finds, and what it takes for a copy and is none.

    OSLER_TEST_DATA=... python benchmarks/audit.py [--search 100000 1000000] [--planted 120] [--workers 2] [--rounds 5]

Hashing: the films of nih_cxr14 at 224², as JPEG and as PNG files, decoded by OpenCV alone and decoded and hashed, the two sides
taking turns, in one process and in as many as cores, as the audit works; medians over rounds. Target: at least 0.8 of its rate.
The same ratio of processor seconds stands beside it, which other work on the machine does not touch.
Search: small images drawn with the mean and covariance of those films, one in a hundred a copy of another (cropped by up to 10 %
of each side, brighter or darker); pixels are not looked at, for there are none. Target: 100,000 in under 30 s.
Copies: to each set a copy of each of some of its images is added, and the whole is searched, pixels included. Found is what ends
up in one group with its original. Target: at least 0.95, and at most one pair of different films of nih_cxr14 taken for copies.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path

import cv2
import numpy as np
from calibration import calibration_seconds
from numpy.typing import NDArray

from osler.audit.copies import Copy, confirm_on, find_copies, groups
from osler.audit.hashes import SIDE, Hashes, hash_image, stack

Image = NDArray[np.uint8]
SIZE = 224
CHUNK = 32
REPEATS = 4


def window(image: Image, share: float, draws: np.random.Generator) -> Image:
    """A window of this share of each side, anywhere."""
    height, width = (round(side * share) for side in image.shape)
    top, left = (int(draws.integers(all_ - part + 1)) for all_, part in zip(image.shape, (height, width), strict=True))
    return np.asarray(image[top : top + height, left : left + width])


def resized(image: Image, draws: np.random.Generator) -> Image:
    share = float(draws.choice([0.35, 0.5, 0.75, 1.5]))
    return np.asarray(
        cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA if share < 1 else cv2.INTER_LINEAR)
    )


def squared(image: Image, draws: np.random.Generator) -> Image:
    return np.asarray(cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR))


def as_jpeg(image: Image, draws: np.random.Generator) -> Image:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(draws.integers(50, 91))])[1], 0))


def brighter(image: Image, draws: np.random.Generator) -> Image:
    return np.asarray(np.clip(image * draws.uniform(0.8, 1.25) + draws.uniform(-30, 30), 0, 255), np.uint8)


def everything(image: Image, draws: np.random.Generator) -> Image:
    return as_jpeg(resized(brighter(window(image, 0.95, draws), draws), draws), draws)


CHANGES: dict[str, Callable[[Image, np.random.Generator], Image]] = {
    "resized to 0.35–1.5": resized,
    "resized to 224², aspect lost": squared,
    "JPEG, quality 50–90": as_jpeg,
    "cropped to 95 % of each side": lambda image, draws: window(image, 0.95, draws),
    "5 % off each edge": lambda image, draws: image[(e := image.shape[0] // 20) : -e, (f := image.shape[1] // 20) : -f],
    "contrast × 0.8–1.25, brightness ± 30": brighter,
    "gamma 0.6–1.6": lambda image, draws: (255 * (image / 255) ** draws.uniform(0.6, 1.6)).astype(np.uint8),
    "cropped, brighter, resized and JPEG": everything,
}


def read_set(folder: Path) -> list[Image]:
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".jpeg", ".png") and "masks" not in path.parts)
    return [np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)) for path in files]


def hashing(films: list[Image], options: argparse.Namespace, folder: Path) -> None:
    """Prints the rates of bare decoding and of decoding and hashing."""
    print(f"\n| {SIZE}² | processes | decode, images/s | decode and hash, images/s | ratio | of processor seconds |")
    print("|--|--|--|--|--|--|")
    for suffix in (".jpg", ".png"):
        files = [str(folder / f"{row}{suffix}") for row in range(len(films))]
        for film, file in zip(films, files, strict=True):
            cv2.imwrite(file, cv2.resize(film, (SIZE, SIZE), interpolation=cv2.INTER_AREA))
        for workers in sorted({1, options.workers}):
            with get_context("forkserver").Pool(workers, cv2.setNumThreads, (1,)) as pool:
                rounds = [race(files * REPEATS, pool) for _ in range(options.rounds + 1)][1:]  # the first warms up
            bare, osler = (REPEATS * len(files) / statistics.median(side[number] for side in rounds) for number in (0, 1))
            ratio, busy = (statistics.median(side[one] / side[one + 1] for side in rounds) for one in (0, 2))
            print(f"| {suffix[1:].upper()} | {workers} | {bare:,.0f} | {osler:,.0f} | {ratio:.2f} | {busy:.2f} |", flush=True)


def decode(files: list[str]) -> tuple[float, int]:
    """Processor seconds of this process, and how many images were decoded."""
    start = time.process_time()
    read = sum(cv2.imread(file, cv2.IMREAD_UNCHANGED) is not None for file in files)
    return time.process_time() - start, read


def decode_and_hash(files: list[str]) -> tuple[float, Hashes]:
    """Processor seconds of this process, and what it sends back, in arrays as the audit's own processes do it."""
    start = time.process_time()
    made = stack([hash_image(np.asarray(cv2.imread(file, cv2.IMREAD_UNCHANGED))) for file in files])
    return time.process_time() - start, made


def race(files: list[str], pool: Pool) -> tuple[float, float, float, float]:
    """Seconds of bare decoding, and of decoding and hashing; then processor seconds of the two."""
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    start = time.perf_counter()
    bare = pool.map(decode, chunks, 1)
    middle = time.perf_counter()
    osler = pool.map(decode_and_hash, chunks, 1)
    end = time.perf_counter()
    assert sum(read for _, read in bare) == sum(len(made) for _, made in osler) == len(files)
    return middle - start, end - middle, sum(used for used, _ in bare), sum(used for used, _ in osler)


def drawn(films: list[Image], n: int) -> tuple[Hashes, NDArray[np.intp]]:
    """Hashes of n images that never were, the last hundredth of them copies, and the rows that those are copies of."""
    real = np.array([hash_image(film).thumb for film in films], np.float32).reshape(len(films), -1)
    draws = np.random.default_rng(0)
    _, sizes, ways = np.linalg.svd(real - real.mean(axis=0), full_matrices=False)
    ways = (ways * sizes[:, None] / np.sqrt(len(films))).astype(np.float32)
    thumbs = np.empty((n, SIDE, SIDE), np.uint8)
    for start in range(0, n, 8192):
        images = draws.standard_normal((min(8192, n - start), len(ways)), np.float32) @ ways + real.mean(axis=0)
        low, high = images.min(axis=1, keepdims=True), images.max(axis=1, keepdims=True)
        thumbs[start : start + 8192] = np.rint((images - low) * (255 / (high - low))).reshape(-1, SIDE, SIDE)
    first = draws.choice(n - n // 100, n // 100, replace=False)
    for row, one in enumerate(first, start=n - n // 100):
        thumbs[row] = small_copy(thumbs[one], draws)
    return Hashes(draws.integers(0, 1 << 63, (n, 2), dtype=np.uint64), thumbs, np.zeros(n, bool)), first


def small_copy(thumb: Image, draws: np.random.Generator) -> Image:
    share = 1 - draws.uniform(0, 0.1, 2)
    start = draws.uniform(0, 1, 2) * SIDE * (1 - share) + (share - 1) / 2
    warp = np.array([[share[0], 0, start[0]], [0, share[1], start[1]]])
    cropped = cv2.warpAffine(thumb.astype(np.float32), warp, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return np.asarray(np.clip(cropped * draws.uniform(0.9, 1.1) + draws.uniform(-10, 10), 0, 255), np.uint8)


def searching(films: list[Image], options: argparse.Namespace) -> None:
    """Prints the seconds that the search takes."""
    print("\n| images searched | seconds | processor seconds | copies found | other pairs | peak memory of the process |")
    print("|--|--|--|--|--|--|")
    for n in options.search:
        hashes, first = drawn(films, n)
        start, busy = time.perf_counter(), time.process_time()
        copies = find_copies(hashes, workers=options.workers)
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        group = group_of(copies)
        found = sum(group.get(int(one), -1) == group.get(n - n // 100 + place, -2) for place, one in enumerate(first))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"| {n:,} | {seconds:.1f} | {busy:.1f} | {found / len(first):.3f} | {len(copies) - found:,} | {peak:.2f} GiB |",
            flush=True,
        )


def group_of(copies: list[Copy]) -> dict[int, int]:
    return {row: number for number, rows in enumerate(groups(copies)) for row in rows}


def searched(images: list[Image], workers: int) -> list[Copy]:
    hashes = stack([hash_image(image) for image in images])
    return find_copies(hashes, confirm_on(lambda row: images[row]), workers=workers)


def finding(sets: dict[str, list[Image]], options: argparse.Namespace) -> None:
    """Prints what is found of planted copies, and what is found where nothing was planted."""
    print(f"\n| found of {options.planted} planted copies | {' | '.join(sets)} |")
    print("|--|" + "--|" * len(sets))
    for name, change in CHANGES.items():
        cells = []
        for images in sets.values():
            chosen = np.random.default_rng(5).permutation(len(images))[: options.planted].tolist()
            copies = [change(images[row], np.random.default_rng(row)) for row in chosen]
            group = group_of(searched([*images, *copies], options.workers))
            found = [group.get(row, -1) == group.get(len(images) + place, -2) for place, row in enumerate(chosen)]
            cells.append(f"{np.mean(found):.3f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    asis = [searched(images, options.workers) for images in sets.values()]
    for kind, said in (("exact", "pairs of the same pixels, nothing planted"), ("near", "near pairs, nothing planted")):
        print(f"| {said} | {' | '.join(str(sum(copy.kind == kind for copy in copies)) for copies in asis)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--search", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--planted", type=int, default=120)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    folder = Path(os.environ["OSLER_TEST_DATA"])
    sets = {name: read_set(folder / name) for name in ("nih_cxr14", "chest_xray", "breast_ultrasound")}
    print(f"calibration: {calibration_seconds():.2f} s")
    with tempfile.TemporaryDirectory() as temporary:
        hashing(sets["nih_cxr14"], options, Path(temporary))
    finding(sets, options)
    searching(sets["nih_cxr14"], options)


if __name__ == "__main__":
    main()
