"""Preparing beside the bare loop that does the same, in one run; peak memory at N and 4 N images; the cost of a hospital's set.

    python benchmarks/prepare.py [--images 960] [--rounds 3] [--processes N] [--memory 150]

Half of the images are PNG, half JPEG, of 1024², drawn by the phantom: 16 drawn ones, each shifted and with grain of its own, so
that no file is another's copy. Both sides decode, equalise (CLAHE 2.0 on 8 × 8 tiles) and resize to 224², in as many processes as
cores with one OpenCV thread each. The bare loop keeps nothing: it sums the pixels and returns. Ours also reads headers, refuses
what is cut short, writes the shards with checksums, waits for the disk at each commit and keeps the index. Of both the pace is
taken from the moment half is done to the end, so that the start of processes, which a hospital's set does not notice, is
left out; the time of that first half beyond the pace is shown as "start". Of few images the last tasks, for which one
process waits for the other, would be most of what is timed. Rounds take turns; figures are medians, and the
ratio is the median of the rounds' own. Where others use the machine too, the ratio of CPU times in one process is the safer
figure.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from calibration import calibration_seconds
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from osler.config import ClaheConfig, DataConfig, PhantomConfig, PreparationConfig
from osler.data.cache import PackedCache, open_cache
from osler.data.files import FileImages
from osler.data.phantom import phantom_samples
from osler.data.samples import Samples
from osler.imaging.preparation import Preparation

SIDE, SIZE = 1024, 224
DRAWN = 16
NIH = 112_120
CHUNK = 8


def draw(folder: Path, count: int) -> list[Path]:
    """Radiograph-like files, PNG and JPEG in turn."""
    folder.mkdir()
    phantom = phantom_samples(DataConfig(phantom=PhantomConfig(samples=DRAWN, size=SIDE)))
    films = [phantom.images.read(row).pixels for row in range(DRAWN)]
    rng = np.random.default_rng(0)
    grain = rng.normal(0, 3, (SIDE, SIDE))
    paths = []
    for number in range(count):
        noise = np.roll(grain, rng.integers(0, SIDE, 2), axis=(0, 1))
        film = np.clip(np.roll(films[number % DRAWN], int(rng.integers(-20, 20)), axis=1) + noise, 0, 255).astype(np.uint8)
        paths.append(folder / f"{number:05}.{'png' if number % 2 else 'jpg'}")
        cv2.imwrite(str(paths[-1]), film)
    return paths


def samples_of(paths: list[Path]) -> Samples:
    ids = np.array([str(path) for path in paths])
    return Samples(ids, np.zeros((len(ids), 1), np.float32), ("none",), "binary", FileImages(Path("/"), ids))


PREPARATION = Preparation(PreparationConfig(size=SIZE, channels=1, clahe=ClaheConfig()))


# --- the bare loop ----------------------------------------------------------------------------------------------------------


def bare(path: str) -> NDArray[np.uint8]:
    """Decode, CLAHE and resize as one would write it."""
    gray = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    assert gray is not None, path
    equal = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(gray)
    return np.asarray(cv2.resize(equal, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8)


def bare_chunk(paths: list[str]) -> int:
    cv2.setNumThreads(1)
    return sum(int(bare(path)[::16].sum()) for path in paths)


def bare_seconds(paths: list[Path], processes: int) -> tuple[float, float]:
    """As `pace`, of the loop over all."""
    names = [str(path) for path in paths]
    chunks = [names[at : at + CHUNK] for at in range(0, len(names), CHUNK)]
    start = time.perf_counter()
    news: list[tuple[float, int]] = []
    with get_context("forkserver").Pool(processes) as pool:
        for number, total in enumerate(pool.imap_unordered(bare_chunk, chunks), start=1):
            assert total > 0
            news.append((time.perf_counter() - start, min(number * CHUNK, len(paths))))
    return pace(news, news[-1][0])


def pace(news: list[tuple[float, int]], end: float) -> tuple[float, float]:
    """Seconds an image after half was done, and by how much the first half took longer than at that pace.

    Args:
        news: seconds since the start, and how many were done by then.
        end: seconds until all was done.
    """
    total = news[-1][1]
    begun, done = next(one for one in news if one[1] >= total / 2)
    each = (end - begun) / (total - done)
    return each, begun - done * each


# --- ours -------------------------------------------------------------------------------------------------------------------


@contextmanager
def fresh(paths: list[Path]) -> Iterator[PackedCache]:
    with tempfile.TemporaryDirectory(prefix="osler-prepare-", dir=paths[0].parent.parent) as folder:
        yield open_cache(samples_of(paths), PREPARATION, Path(folder))


def our_seconds(paths: list[Path], processes: int) -> tuple[float, float]:
    """As `pace`, of the cache; its end is when the last image is committed to the disk."""
    news: list[tuple[float, int]] = []
    with fresh(paths) as cache:
        start = time.perf_counter()
        cache.ensure(np.arange(len(paths)), processes, lambda done, total: news.append((time.perf_counter() - start, done)))
        end = time.perf_counter() - start
        assert not cache.unreadable
    return pace(news, end)


def alone(paths: list[Path], rounds: int) -> list[tuple[float, float]]:
    """CPU seconds an image of both sides in this one process, ours first: what others do on the machine does not count."""
    cv2.setNumThreads(1)
    pairs = []
    for number in range(rounds):
        took = {}
        for side in ("ours", "bare") if number % 2 else ("bare", "ours"):
            with fresh(paths) as cache:
                start = time.process_time()
                if side == "ours":
                    cache.ensure(np.arange(len(paths)), 1)
                else:
                    bare_chunk([str(path) for path in paths])
                took[side] = (time.process_time() - start) / len(paths)
        pairs.append((took["ours"], took["bare"]))
    return pairs


# --- memory -----------------------------------------------------------------------------------------------------------------


def fill_and_say(folder: str, processes: int) -> None:
    """Run by itself: prepares all of a folder and prints its own peak memory and the largest of its processes', in MB."""
    import resource

    paths = sorted(Path(folder).iterdir())
    with fresh(paths) as cache:
        cache.ensure(np.arange(len(paths)), processes)
        assert len(cache.store.records()) == len(paths)
    own, child = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"images": len(paths), "own": own, "child": child}))


def peak_memory(paths: list[Path], processes: int) -> dict[str, float]:
    """Of a process of its own over these images, by links so that no more need to be drawn."""
    with tempfile.TemporaryDirectory(dir=paths[0].parent.parent) as folder:
        for number, path in enumerate(paths):
            (Path(folder) / f"{number:06}{path.suffix}").symlink_to(path)
        command = [sys.executable, __file__, "--fill", folder, "--processes", str(processes)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found: dict[str, float] = json.loads(said)
        return found


# --- all of it --------------------------------------------------------------------------------------------------------------


def compare(paths: list[Path], rounds: int, processes: int, console: Console) -> float:
    """Prints both sides; our images a second."""
    pairs = []
    for number in range(rounds):
        sides = {"ours": our_seconds, "bare": bare_seconds}
        order = list(sides) if number % 2 else list(sides)[::-1]
        pairs.append({name: sides[name](paths, processes) for name in order})
    table = Table("", "images/s", "ms an image and core", "start, s")
    for name, label in (("bare", "bare loop"), ("ours", "osler")):
        seconds = statistics.median(pair[name][0] for pair in pairs)
        start = statistics.median(pair[name][1] for pair in pairs)
        table.add_row(label, f"{1 / seconds:.1f}", f"{seconds * processes * 1e3:.1f}", f"{start:.1f}")
    console.print(table)
    ratios = [pair["bare"][0] / pair["ours"][0] for pair in pairs]
    ratio = statistics.median(ratios)
    console.print(
        f"target: at least 0.9 × the rate of the bare loop: {ratio:.2f} ({'met' if ratio >= 0.9 else 'missed'}; "
        f"rounds {', '.join(f'{one:.2f}' for one in ratios)})"
    )
    cpu = alone(paths, rounds)
    ours, theirs = (statistics.median(pair[side] for pair in cpu) * 1e3 for side in (0, 1))
    console.print(
        f"CPU time in one process: {theirs:.2f} ms an image in the bare loop, {ours:.2f} here: "
        f"{statistics.median(bare / own for own, bare in cpu):.2f} × its rate, whatever else the machine does"
    )
    return 1 / statistics.median(pair["ours"][0] for pair in pairs)


def main() -> None:
    """Draws the images, times both sides, measures memory, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=960)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--memory", type=int, default=150, help="N of the memory test, which prepares N and 4 N images")
    parser.add_argument("--fill", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fill:
        fill_and_say(options.fill, options.processes)
        return
    console = Console(width=110)
    with tempfile.TemporaryDirectory(prefix="osler-prepare-") as scratch:
        paths = draw(Path(scratch) / "films", options.images)
        size = statistics.mean(path.stat().st_size for path in paths) / 1024
        console.print(f"{len(paths)} images of {SIDE}² ({size:.0f} KB each, half PNG, half JPEG), {options.processes} processes")
        rate = compare(paths, options.rounds, options.processes, console)
        hours = NIH / rate / 3600
        console.print(
            f"{NIH:,} films at this pace: {hours * 60:.0f} min on {options.processes} cores, {hours * options.processes:.1f} "
            f"core hours; {NIH * SIZE * SIZE / 1e9:.1f} GB of cache; once"
        )
        few = [paths[number % len(paths)] for number in range(options.memory)]
        peaks = [peak_memory(few * times, options.processes) for times in (1, 4)]
    table = Table("images", "peak memory of the command, MB", "of its largest process, MB")
    for peak in peaks:
        table.add_row(f"{peak['images']:.0f}", f"{peak['own']:.0f}", f"{peak['child']:.0f}")
    console.print(table)
    grown = max(peaks[1][who] - peaks[0][who] for who in ("own", "child"))
    console.print(
        f"target: independent of the set's size: {grown:+.0f} MB for 4 × the images ({'met' if grown < 16 else 'missed'})"
    )
    console.print(f"calibration: {calibration_seconds():.2f} s")


if __name__ == "__main__":
    main()
