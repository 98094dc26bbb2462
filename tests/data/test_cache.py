"""The cache: what it gives back, and what kills, damage, full disks, changed files and other processes do to it."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from osler.config import PreparationConfig
from osler.data import filling, geometry, records, shards
from osler.data.cache import PackedCache, cache_folder, open_cache
from osler.data.samples import Samples
from osler.errors import DataError
from osler.imaging.preparation import Preparation
from osler.imaging.read import ImageInfo, RawImage, probe_image, read_image


@dataclass(frozen=True)
class Files:
    """Images in files, each read taking `delay` seconds and noted in `log` by its process."""

    paths: tuple[str, ...]
    delay: float = 0.0
    log: str | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, row: int) -> RawImage:
        time.sleep(self.delay)
        if self.log is not None:
            with open(self.log, "a", encoding="utf-8") as file:
                file.write(f"{os.getpid()} {row}\n")
        return read_image(self.paths[row])

    def probe(self, row: int) -> ImageInfo:
        return probe_image(self.paths[row])

    def identity(self, row: int) -> str:
        try:
            status = os.stat(self.paths[row])
        except OSError as error:
            raise DataError(f"{self.paths[row]}: {error.strerror}") from error
        return f"{self.paths[row]} {status.st_size} {status.st_mtime_ns}"

    def take(self, rows: NDArray[np.intp]) -> Files:
        return Files(tuple(self.paths[row] for row in rows), self.delay, self.log)


@dataclass(frozen=True)
class Arrays:
    """Images in memory."""

    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, row: int) -> RawImage:
        return RawImage(self.pixels[row], 0.0, 255.0)

    def probe(self, row: int) -> ImageInfo:
        return ImageInfo(self.pixels.shape[2], self.pixels.shape[1], 1, 8, "array", "gray")

    def identity(self, row: int) -> str:
        return self.pixels[row].tobytes().hex()

    def take(self, rows: NDArray[np.intp]) -> Arrays:
        return Arrays(self.pixels[rows])


SIZE = 16
GRAY = Preparation(PreparationConfig(size=SIZE, channels=1))
COLOUR = Preparation(PreparationConfig(size=SIZE, channels=3))
DEEP = Preparation(PreparationConfig(size=SIZE, channels=1, range="dtype", dtype="uint16"))


def samples_of(images: Any) -> Samples:
    count = len(images)
    ids = np.array([f"image-{row}" for row in range(count)])
    return Samples(ids, np.zeros((count, 1), np.float32), ("finding",), "binary", images)


def array_samples(count: int, seed: int = 0, size: int = SIZE) -> Samples:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, size, size)).astype(np.uint8)
    return samples_of(Arrays(pixels))


def file_samples(folder: Path, count: int, delay: float = 0.0, log: Path | None = None) -> Samples:
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(1)
    paths = [folder / f"{row}.png" for row in range(count)]
    for path in paths:
        if not path.exists():
            cv2.imwrite(str(path), generator.integers(0, 256, (SIZE, SIZE)).astype(np.uint8))
    return samples_of(Files(tuple(map(str, paths)), delay, str(log) if log else None))


def deep_samples(folder: Path, count: int, log: Path | None = None) -> Samples:
    """The same with 16 bits."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(2)
    for row in range(count):
        cv2.imwrite(str(folder / f"{row}.png"), generator.integers(0, 65536, (SIZE, SIZE)).astype(np.uint16))
    return file_samples(folder, count, log=log)


def truth(samples: Samples, rows: Any, preparation: Preparation = GRAY) -> NDArray[Any]:
    return np.stack([preparation.apply(samples.images.read(int(row))) for row in rows])


def reads(log: Path) -> list[int]:
    return [int(line.split()[1]) for line in log.read_text().splitlines()] if log.exists() else []


def filled(samples: Samples, folder: Path, preparation: Preparation = GRAY, **options: Any) -> PackedCache:
    cache = open_cache(samples, preparation, folder)
    cache.ensure(np.arange(len(samples)), **options)
    return cache


def test_checksums_are_those_of_the_prepared_bytes(tmp_path: Path) -> None:
    """In any order, repeats allowed, whatever the order in which the rows were prepared."""
    samples = array_samples(9)
    cache = open_cache(samples, GRAY, tmp_path)
    cache.ensure([7, 2])
    cache.ensure(np.arange(9))
    rows = np.array([8, 0, 7, 2, 2])
    assert cache.checksums(rows).tolist() == [zlib.crc32(cache.gather([row])[0].tobytes()) for row in rows.tolist()]


# --- what it gives back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preparation", [GRAY, COLOUR])
def test_gather_gives_what_preparation_gives(preparation: Preparation, tmp_path: Path) -> None:
    samples = array_samples(50)
    cache = open_cache(samples, preparation, tmp_path)
    cache.ensure(np.arange(50))
    assert cache.shape == preparation.shape
    assert cache.fingerprint == preparation.fingerprint()
    for rows in (np.arange(50), np.array([7, 3, 3, 49, 0]), np.array([11]), np.empty(0, int)):
        images = cache.gather(rows)
        assert images.dtype == np.uint8
        assert images.shape == (len(rows), *preparation.shape)
        if len(rows):
            np.testing.assert_array_equal(images, truth(samples, rows, preparation))


@pytest.mark.parametrize("rows_each", [1, 3, 7, 50])
def test_rows_of_several_shards_come_in_the_order_asked(rows_each: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry, "_SHARD_BYTES", rows_each * SIZE * SIZE)
    samples = array_samples(50)
    cache = filled(samples, tmp_path)
    assert len(list(cache.store.folder.glob("image-*.bin"))) == -(-50 // rows_each)
    rows = np.random.default_rng(2).integers(0, 50, 64)
    out = np.empty((64, *cache.shape), np.uint8)
    assert cache.gather(rows, out) is out
    np.testing.assert_array_equal(out, truth(samples, rows))


def test_only_what_is_asked_for_is_prepared_and_only_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    samples = file_samples(tmp_path / "images", 12, log=log)
    cache = open_cache(samples, GRAY, tmp_path / "cache")
    cache.ensure([5, 3, 5])
    assert sorted(reads(log)) == [3, 5]
    cache.ensure([3, 4, 5])
    assert sorted(reads(log)) == [3, 4, 5]
    again = open_cache(samples, GRAY, tmp_path / "cache")
    again.ensure(range(12))
    assert sorted(reads(log)) == list(range(12))
    np.testing.assert_array_equal(again.gather(range(12)), truth(samples, range(12)))
    with pytest.raises(DataError, match=r"image-0: no pixels in the cache: it is not prepared"):
        cache.gather([0])


def test_progress_is_told_and_ends_at_the_total(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    cache = open_cache(array_samples(300), GRAY, tmp_path)
    cache.ensure(np.arange(100, 300), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (200, 200)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    told.clear()
    cache.ensure(np.arange(100, 300), progress=lambda done, total: told.append((done, total)))
    assert told == []


def test_another_preparation_or_set_is_another_cache(tmp_path: Path) -> None:
    samples = array_samples(5)
    folders = {
        open_cache(samples, GRAY, tmp_path).store.folder,
        open_cache(samples, COLOUR, tmp_path).store.folder,
        open_cache(samples.take(np.arange(4)), GRAY, tmp_path).store.folder,
    }
    assert len(folders) == 3
    assert open_cache(samples, GRAY, tmp_path).store.folder in folders


def test_sets_with_equal_ids_do_not_overwrite_each_other(tmp_path: Path) -> None:
    one, two = array_samples(20, seed=1), array_samples(20, seed=2)
    first = filled(one, tmp_path)
    second = filled(two, tmp_path)
    assert first.store.folder == second.store.folder
    np.testing.assert_array_equal(first.gather(range(20)), truth(one, range(20)))
    np.testing.assert_array_equal(second.gather(range(20)), truth(two, range(20)))
    back = filled(one, tmp_path)
    assert back.changed == set()  # its rows are still there
    np.testing.assert_array_equal(back.gather(range(20)), truth(one, range(20)))


def test_shards_hold_about_64_mb_and_never_grow_many() -> None:
    assert geometry.rows_per_shard(224 * 224, 112_120) == 1337
    assert 112_120 / geometry.rows_per_shard(512 * 512 * 3, 112_120) <= 256
    assert geometry.rows_per_shard(28 * 28, 100) == 100
    assert geometry.rows_per_shard(4096 * 4096 * 8, 3) == 1


def test_the_folder_is_the_configured_one_else_the_environments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path))
    assert cache_folder(Path("here")) == Path("here")
    assert cache_folder(None) == tmp_path
    monkeypatch.delenv("OSLER_CACHE")
    assert cache_folder(None) == Path.home() / ".cache" / "osler"


# --- several processes ------------------------------------------------------------------------------------------------------


def test_long_work_goes_to_other_processes_with_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "_TRIAL_SECONDS", 0.05)
    monkeypatch.setattr(filling, "_WORTH_SECONDS", 0.1)
    log = tmp_path / "log"
    samples = file_samples(tmp_path / "images", 60, delay=0.02, log=log)
    Path(samples.images.paths[40]).write_bytes(b"no image")  # type: ignore[attr-defined]
    told: list[tuple[int, int]] = []
    cache = filled(samples, tmp_path / "cache", workers=2, progress=lambda done, total: told.append((done, total)))
    processes = {line.split()[0] for line in log.read_text().splitlines()}
    assert len(processes - {str(os.getpid())}) >= 1
    assert sorted(reads(log)) == list(range(60))
    assert told[-1] == (60, 60)
    assert list(cache.unreadable) == [40]
    rows = np.delete(np.arange(60), 40)
    np.testing.assert_array_equal(cache.gather(rows), truth(samples, rows))


def test_small_work_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a pool was made")

    monkeypatch.setattr(filling, "share_out", fail)
    samples = array_samples(3000, size=28)
    started = time.perf_counter()
    filled(samples, tmp_path, workers=8)
    assert time.perf_counter() - started < 5


@dataclass(frozen=True)
class Deadly(Files):
    """Ends the process that reads row 30."""

    def read(self, row: int) -> RawImage:
        if row == 30 and multiprocessing.parent_process() is not None:
            os._exit(9)
        return super().read(row)


def test_a_worker_that_dies_is_one_clear_error_and_what_was_done_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "_TRIAL_SECONDS", 0.05)
    monkeypatch.setattr(filling, "_WORTH_SECONDS", 0.1)
    log = tmp_path / "log"
    plain = file_samples(tmp_path / "images", 60, delay=0.02, log=log)
    deadly = samples_of(Deadly(plain.images.paths, 0.02, str(log)))  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"process that prepared images died.*data.workers"):
        filled(deadly, tmp_path / "cache", workers=2)
    records = open_cache(plain, GRAY, tmp_path / "cache").store.records()
    assert 0 < len(records) < 60
    log.unlink()
    filled(plain, tmp_path / "cache")
    assert set(reads(log)) == set(range(60)) - set(records["row"].tolist())


FILL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import osler.data.filling
import test_cache
from test_cache import file_samples, open_cache
def main():
    osler.data.filling._COMMIT_SECONDS = 0.2
    folder = Path(sys.argv[2])
    samples = file_samples(folder / "images", int(sys.argv[3]), float(sys.argv[4]), folder / "log")
    cache = open_cache(samples, getattr(test_cache, sys.argv[6]), folder / "cache")
    print("started", flush=True)
    cache.ensure(range(len(samples)), workers=int(sys.argv[5]))
    print(int(cache.gather(range(len(samples))).sum()), flush=True)
if __name__ == "__main__":
    main()
"""


def start_filling(folder: Path, count: int, delay: float, workers: int = 1, preparation: str = "GRAY") -> subprocess.Popen[str]:
    script = folder / "fill.py"
    script.write_text(FILL)
    arguments = [str(Path(__file__).parent), str(folder), str(count), str(delay), str(workers), preparation]
    process = subprocess.Popen([sys.executable, str(script), *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def wait_for(what: Any) -> None:
    until = time.monotonic() + 30
    while not what():
        assert time.monotonic() < until, "waited for too long"
        time.sleep(0.02)


def test_two_processes_at_once_share_the_work(tmp_path: Path) -> None:
    samples = file_samples(tmp_path / "images", 40)
    processes = [start_filling(tmp_path, 40, 0.01) for _ in range(2)]
    sums = set()
    for process in processes:
        assert process.stdout is not None
        with process.stdout as output:
            sums.add(output.read().strip())
    assert [process.wait() for process in processes] == [0, 0]
    assert sums == {str(int(truth(samples, range(40)).sum()))}
    assert sorted(reads(tmp_path / "log")) == list(range(40))  # each image once, by whichever was first


def test_the_waiting_process_shows_the_others_progress(tmp_path: Path) -> None:
    samples = file_samples(tmp_path / "images", 10)
    cache, other = (open_cache(samples, GRAY, tmp_path / "cache") for _ in range(2))
    locked = threading.Event()

    def work() -> None:
        with other.store.lock():
            locked.set()
            for rows in (np.arange(5), np.arange(5, 10)):
                time.sleep(0.5)
                other._fill(rows, 1, None, 0, None)
            time.sleep(0.5)

    other._identify(np.arange(10))
    thread = threading.Thread(target=work)
    thread.start()
    locked.wait()
    told: list[tuple[int, int]] = []
    cache.ensure(range(10), progress=lambda done, total: told.append((done, total)))
    thread.join()
    assert sorted(set(told)) == [(0, 10), (5, 10), (10, 10)]
    np.testing.assert_array_equal(cache.gather(range(10)), truth(samples, range(10)))


# --- 16 bits ----------------------------------------------------------------------------------------------------------------


def test_16_bits_are_kept_given_to_networks_on_the_scale_of_bytes_and_shown_in_bytes(tmp_path: Path) -> None:
    samples = deep_samples(tmp_path / "images", 9)
    cache = filled(samples, tmp_path / "cache", DEEP)
    rows, expected = [4, 0, 8, 4], truth(samples, [4, 0, 8, 4], DEEP)
    found = cache.gather(rows)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found[0, 0], cv2.imread(samples.images.paths[4], cv2.IMREAD_UNCHANGED))
    assert cache.images(rows).dtype == np.float32
    np.testing.assert_allclose(cache.images(rows), expected / 257, rtol=1e-6)
    np.testing.assert_array_equal(cache.pictures(rows), np.rint(expected / 257))
    out = np.empty((4, 1, SIZE, SIZE), np.uint16)
    assert cache.gather(rows, out) is out
    np.testing.assert_array_equal(out, expected)


def test_bytes_reach_networks_as_they_are(tmp_path: Path) -> None:
    cache = filled(array_samples(5), tmp_path)
    assert cache.images([3, 1]).dtype == np.uint8
    np.testing.assert_array_equal(cache.images([3, 1]), cache.gather([3, 1]))
    np.testing.assert_array_equal(cache.pictures([3, 1]), cache.gather([3, 1]))


def test_16_bits_take_a_cache_of_their_own_of_twice_the_size(tmp_path: Path) -> None:
    samples = deep_samples(tmp_path / "images", 9)
    plain = Preparation(DEEP.config.model_copy(update={"dtype": "uint8"}))
    one, two = (filled(samples, tmp_path / "cache", preparation) for preparation in (plain, DEEP))
    assert one.store.folder != two.store.folder
    assert two.store.geometry.row_bytes == 2 * one.store.geometry.row_bytes == 2 * SIZE * SIZE
    manifest = json.loads((two.store.folder / "manifest.json").read_text())
    assert manifest["arrays"]["image"]["dtype"] == "uint16"
    assert manifest["preparation"]["dtype"] == "uint16"
    assert abs(two.pictures(range(9)).astype(int) - one.gather(range(9))).max() <= 1


def test_a_cache_of_bytes_says_nothing_of_a_depth_that_could_be_chosen(tmp_path: Path) -> None:
    """Its manifest is that of before there was a choice: with another one it would be prepared anew."""
    cache = filled(array_samples(3), tmp_path)
    manifest = json.loads((cache.store.folder / "manifest.json").read_text())
    assert manifest["arrays"]["image"]["dtype"] == "uint8"
    assert "dtype" not in manifest["preparation"]
    assert manifest["preparation"]["output"]["dtype"] == "uint8"


def test_damaged_16_bits_are_prepared_anew(tmp_path: Path) -> None:
    samples = deep_samples(tmp_path / "images", 9)
    cache = filled(samples, tmp_path / "cache", DEEP)
    shard = cache.store.geometry.path(0)
    content = bytearray(shard.read_bytes())
    content[3 * cache.store.geometry.row_bytes + 5] ^= 1
    shard.write_bytes(bytes(content))
    again = filled(samples, tmp_path / "cache", DEEP)
    np.testing.assert_array_equal(again.gather(range(9)), truth(samples, range(9), DEEP))
    assert any("damaged" in note for note in again.notes)


# --- kills ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_killed_process_loses_only_what_was_under_way(workers: int, tmp_path: Path) -> None:
    count, log = 400, tmp_path / "log"
    samples = file_samples(tmp_path / "images", count, log=log)
    process = start_filling(tmp_path, count, 0.02, workers)
    index = open_cache(samples, GRAY, tmp_path / "cache").store
    wait_for(lambda: len(index.records()) > 60)  # with workers, these are at work by then
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    done = index.records()["row"].tolist()
    assert 0 < len(done) < count
    time.sleep(0.5 * workers)
    before = len(reads(log))
    time.sleep(0.3)
    assert len(reads(log)) == before, "workers end with their parent"
    log.unlink()
    cache = filled(samples, tmp_path / "cache")
    assert sorted(reads(log)) == sorted(set(range(count)) - set(done))
    np.testing.assert_array_equal(cache.gather(range(count)), truth(samples, range(count)))


def test_a_killed_process_goes_on_with_16_bits_too(tmp_path: Path) -> None:
    count, log = 150, tmp_path / "log"
    samples = deep_samples(tmp_path / "images", count, log)
    process = start_filling(tmp_path, count, 0.02, preparation="DEEP")
    index = open_cache(samples, DEEP, tmp_path / "cache").store
    wait_for(lambda: len(index.records()) > 20)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    done = index.records()["row"].tolist()
    assert 0 < len(done) < count
    log.unlink()
    cache = filled(samples, tmp_path / "cache", DEEP)
    assert sorted(reads(log)) == sorted(set(range(count)) - set(done))
    assert cache.find_missing(np.arange(count), everything=True).size == 0
    np.testing.assert_array_equal(cache.gather(range(count)), truth(samples, range(count), DEEP))


def test_an_interrupt_keeps_what_was_done(tmp_path: Path) -> None:
    log = tmp_path / "log"
    samples = file_samples(tmp_path / "images", 30, delay=0.03, log=log)

    def interrupt(done: int, total: int) -> None:
        if done >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        filled(samples, tmp_path / "cache", progress=interrupt)
    done = reads(log)
    assert 10 <= len(done) < 30
    log.unlink()
    cache = filled(samples, tmp_path / "cache")
    assert sorted(reads(log)) == list(range(len(done), 30))
    np.testing.assert_array_equal(cache.gather(range(30)), truth(samples, range(30)))


def test_half_a_record_at_the_end_of_the_index_is_dropped(tmp_path: Path) -> None:
    log = tmp_path / "log"
    samples = file_samples(tmp_path / "images", 10, log=log)
    cache = open_cache(samples, GRAY, tmp_path / "cache")
    cache.ensure(range(6))
    index = cache.store.folder / "index.bin"
    with index.open("ab") as file:
        file.write(b"\x01" * 17)
    log.unlink()
    again = filled(samples, tmp_path / "cache")
    assert sorted(reads(log)) == [6, 7, 8, 9]
    assert index.stat().st_size == 10 * records.RECORD.itemsize
    np.testing.assert_array_equal(again.gather(range(10)), truth(samples, range(10)))


def test_rows_are_recorded_only_after_their_bytes_are_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    sync, commit_check = os.fsync, records._check
    monkeypatch.setattr(shards.os, "fsync", lambda file: (events.append(os.readlink(f"/proc/self/fd/{file}")), sync(file))[1])
    monkeypatch.setattr(records, "_check", lambda found: (events.append("records"), commit_check(found))[1])
    cache = open_cache(array_samples(4), GRAY, tmp_path)
    events.clear()
    cache.ensure(range(4))
    names = [Path(event).name for event in events]
    assert names.index("image-00000.bin") < len(names) - 1 - names[::-1].index("index.bin")


# --- damage -----------------------------------------------------------------------------------------------------------------


def damage_manifest_text(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"schema": "osler.ca')


def damage_manifest_value(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"dtype": "uint8"', '"dtype": "uint9"', 1))


def remove_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def cut_shard(folder: Path) -> None:
    path = folder / "image-00001.bin"
    os.truncate(path, path.stat().st_size // 2)


def remove_shard(folder: Path) -> None:
    (folder / "image-00001.bin").unlink()


def scramble_index(folder: Path) -> None:
    path = folder / "index.bin"
    data = bytearray(path.read_bytes())
    data[5 * records.RECORD.itemsize + 3] ^= 0x10
    path.write_bytes(bytes(data))


def zero_index_end(folder: Path) -> None:
    path = folder / "index.bin"
    data = path.read_bytes()
    path.write_bytes(data[: -4 * records.RECORD.itemsize] + bytes(4 * records.RECORD.itemsize))


def remove_index(folder: Path) -> None:
    (folder / "index.bin").unlink()


@pytest.mark.parametrize(
    ("damage", "prepared_again", "noted"),
    [
        (damage_manifest_text, 12, "manifest was damaged"),
        (damage_manifest_value, 12, "manifest was damaged"),
        (remove_manifest, 12, "manifest was damaged"),
        (cut_shard, 4, r"1 shard\(s\) were missing or cut short; 4 images"),
        (remove_shard, 4, r"1 shard\(s\) were missing or cut short; 4 images"),
        (scramble_index, 1, None),
        (zero_index_end, 4, None),
        (remove_index, 12, None),
    ],
)
def test_what_is_damaged_is_found_on_opening_and_prepared_again(
    damage: Any, prepared_again: int, noted: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geometry, "_SHARD_BYTES", 4 * SIZE * SIZE)
    log = tmp_path / "log"
    samples = file_samples(tmp_path / "images", 12, log=log)
    before = filled(samples, tmp_path / "cache")
    kept = before.gather(range(12))
    damage(before.store.folder)
    log.unlink()
    again = open_cache(samples, GRAY, tmp_path / "cache")
    again.ensure(range(12))
    assert len(reads(log)) == prepared_again
    assert len(again.notes) == (noted is not None)
    if noted:
        assert re.search(noted, again.notes[0])
    np.testing.assert_array_equal(again.gather(range(12)), kept)
    log.unlink()
    filled(samples, tmp_path / "cache")
    assert reads(log) == []  # mended for good


def test_a_reader_goes_on_when_its_cache_is_deleted(tmp_path: Path) -> None:
    samples = array_samples(8)
    cache = filled(samples, tmp_path)
    for path in cache.store.folder.iterdir():
        path.unlink()
    np.testing.assert_array_equal(cache.gather(range(8)), truth(samples, range(8)))


def test_the_manifest_states_what_the_rows_are(tmp_path: Path) -> None:
    cache = filled(array_samples(8), tmp_path)
    manifest = json.loads((cache.store.folder / "manifest.json").read_text())
    assert manifest["schema"] == "osler.cache/2"
    assert manifest["samples"] == 8
    assert manifest["preparation"]["fingerprint"] == GRAY.fingerprint()
    image = manifest["arrays"]["image"]
    assert (image["dtype"], image["shape"], image["layout"], image["rows_per_shard"]) == ("uint8", [1, SIZE, SIZE], "fixed", 8)


# --- the source -------------------------------------------------------------------------------------------------------------


def test_a_changed_file_is_prepared_again_and_reported(tmp_path: Path) -> None:
    log = tmp_path / "log"
    samples = file_samples(tmp_path / "images", 10, log=log)
    running = filled(samples, tmp_path / "cache")
    before = running.gather(range(10))
    path = Path(samples.images.paths[4])  # type: ignore[attr-defined]
    cv2.imwrite(str(path), np.full((SIZE, SIZE), 77, np.uint8))
    log.unlink()
    cache = filled(samples, tmp_path / "cache")
    assert reads(log) == [4]
    assert cache.changed == {4}
    assert cache.notes[0].startswith("1 image(s) are not what they were when last prepared")
    assert (cache.gather([4]) == 77).all()
    np.testing.assert_array_equal(cache.gather([3, 5]), before[[3, 5]])
    np.testing.assert_array_equal(running.gather(range(10)), before)  # a run under way keeps what it began with
    assert filled(samples, tmp_path / "cache").changed == set()


def test_bad_files_are_collected_and_stop_nothing(tmp_path: Path) -> None:
    samples = file_samples(tmp_path / "images", 8)
    paths = [Path(path) for path in samples.images.paths]  # type: ignore[attr-defined]
    paths[1].write_bytes(b"")
    paths[3].write_bytes(paths[3].read_bytes()[:-40])
    paths[5].unlink()
    cv2.imwrite(str(paths[6]), np.full((SIZE, SIZE), 4000, np.uint16))
    cache = filled(samples, tmp_path / "cache")
    assert sorted(cache.unreadable) == [1, 3, 5, 6]
    assert "empty" in cache.unreadable[1]
    assert "cut short" in cache.unreadable[3]
    assert "No such file" in cache.unreadable[5]
    assert cache.unreadable[6].startswith("image-6: uint16 pixels from 4000 to 4000, and preparation.range is null")
    good = [0, 2, 4, 7]
    np.testing.assert_array_equal(cache.gather(good), truth(samples, good))
    with pytest.raises(DataError, match=r"image-1: no pixels in the cache: .*empty"):
        cache.gather([0, 1])
    cv2.imwrite(str(paths[1]), np.full((SIZE, SIZE), 9, np.uint8))
    mended = filled(samples, tmp_path / "cache")
    assert sorted(mended.unreadable) == [3, 5, 6]
    assert (mended.gather([1]) == 9).all()


# --- the disk ---------------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_one_clear_error_and_what_was_done_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    samples = file_samples(tmp_path / "images", 30, log=log)
    cache = open_cache(samples, GRAY, tmp_path / "cache")
    cache.ensure(range(10))
    write, left = os.pwrite, [5]

    def pwrite(file: int, data: Any, at: int) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data[:100], at)  # and writes come short before they fail

    with monkeypatch.context() as patch:
        patch.setattr(shards.os, "pwrite", pwrite)
        with pytest.raises(DataError, match=r"the disk is full.*What was finished is kept.*data.cache"):
            cache.ensure(range(30))
    log.unlink()
    again = filled(samples, tmp_path / "cache")
    assert set(reads(log)) >= set(range(12, 30))
    assert not set(reads(log)) & set(range(10))
    np.testing.assert_array_equal(again.gather(range(30)), truth(samples, range(30)))


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite
    monkeypatch.setattr(shards.os, "pwrite", lambda file, data, at: write(file, data[:77], at))
    samples = array_samples(3)
    np.testing.assert_array_equal(filled(samples, tmp_path).gather(range(3)), truth(samples, range(3)))


def test_a_full_disk_while_recording_loses_no_sound_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = array_samples(6)
    cache = open_cache(samples, GRAY, tmp_path)
    cache.ensure(range(3))

    def fsync(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(shards.os, "fsync", fsync)
        with pytest.raises(DataError, match="the disk is full"):
            cache.ensure(range(6))
    np.testing.assert_array_equal(filled(samples, tmp_path).gather(range(6)), truth(samples, range(6)))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_is_one_clear_error(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(shards.Path, "mkdir", refuse)
    with pytest.raises(DataError, match=r"cannot be written here.*OSLER_CACHE"):
        open_cache(array_samples(3), GRAY, tmp_path / "absent")


def test_a_file_in_place_of_the_folder_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written here.*data.cache"):
        open_cache(array_samples(3), GRAY, tmp_path / "file")


def test_a_finished_cache_is_read_without_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = array_samples(6)
    filled(samples, tmp_path)
    real_open = os.open

    def read_only(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real_open(path, flags, *rest, **options)

    monkeypatch.setattr(shards.os, "open", read_only)
    np.testing.assert_array_equal(filled(samples, tmp_path).gather(range(6)), truth(samples, range(6)))
    partial = open_cache(array_samples(6, seed=5), GRAY, tmp_path)
    with pytest.raises(DataError, match="cannot be written here"):
        partial.ensure(range(6))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(DataError, match="cannot be written here"):
            open_cache(array_samples(3), GRAY, tmp_path)
    finally:
        tmp_path.chmod(0o755)


def test_a_file_that_may_not_grow_is_one_clear_error_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry, "_SHARD_BYTES", 4 * SIZE * SIZE)
    samples = file_samples(tmp_path / "images", 30)
    open_cache(samples, GRAY, tmp_path / "cache").ensure(range(8))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10 * records.RECORD.itemsize, limit[1]))  # of the index, at ten rows
    try:
        with pytest.raises(DataError, match=r"may not grow further.*ulimit -f.*What was finished is kept"):
            open_cache(samples, GRAY, tmp_path / "cache").ensure(range(30))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    again = filled(samples, tmp_path / "cache")
    np.testing.assert_array_equal(again.gather(range(30)), truth(samples, range(30)))


# --- while a set is prepared ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moving(Files):
    """Its rows 3 and 5 are written anew while they are read: row 3 once, row 5 each time."""

    def read(self, row: int) -> RawImage:
        raw = super().read(row)
        path = Path(self.paths[row])
        if row == 5 or (row == 3 and not path.with_suffix(".seen").exists()):
            path.with_suffix(".seen").touch()
            cv2.imwrite(str(path), np.full((SIZE, SIZE), 200, np.uint8))
            os.utime(path, ns=(0, time.monotonic_ns()))
        return raw


def test_a_source_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    plain = file_samples(tmp_path / "images", 8)
    samples = samples_of(Moving(plain.images.paths))  # type: ignore[attr-defined]
    cache = filled(samples, tmp_path / "cache")
    assert (cache.gather([3]) == 200).all()  # what the file holds in the end
    assert cache.moving == {3}
    assert any("1 image(s) changed while the set was prepared" in note and "image-3" in note for note in cache.notes)
    assert list(cache.unreadable) == [5]
    assert "changed while it was being read, 3 times in a row" in cache.unreadable[5]
    again = open_cache(plain, GRAY, tmp_path / "cache")
    assert again.find_missing(np.arange(8)).tolist() == [5]


def test_a_source_that_changed_since_it_was_listed_is_prepared_as_it_is_now(tmp_path: Path) -> None:
    samples = file_samples(tmp_path / "images", 6)
    cache = open_cache(samples, GRAY, tmp_path / "cache")
    cache.find_missing(np.arange(6))  # the first look
    cv2.imwrite(samples.images.paths[2], np.full((SIZE, SIZE), 31, np.uint8))  # type: ignore[attr-defined]
    cache.ensure(range(6))
    assert (cache.gather([2]) == 31).all()
    assert cache.moving == {2}
    assert filled(samples, tmp_path / "cache").changed == set()


def test_too_many_bad_files_stop_with_a_list_and_what_was_done_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    samples = file_samples(tmp_path / "images", 30, log=log)
    for row in (2, 4, 6, 8):
        Path(samples.images.paths[row]).write_bytes(b"")  # type: ignore[attr-defined]
    cache = open_cache(samples, GRAY, tmp_path / "cache")
    with pytest.raises(
        DataError, match=r"4 images cannot be used, more than the 3 of 30 that data.unreadable_limit.*\n.*2\.png.*empty"
    ):
        cache.ensure(range(30), most_unreadable=3)
    log.unlink()
    cache = filled(samples, tmp_path / "cache", most_unreadable=4)
    assert sorted(cache.unreadable) == [2, 4, 6, 8]
    assert len(set(reads(log))) < 30


def test_a_damaged_row_is_prepared_again_and_said(tmp_path: Path) -> None:
    log = tmp_path / "log"
    samples = file_samples(tmp_path / "images", 12, log=log)
    kept = filled(samples, tmp_path / "cache").gather(range(12))
    shard = next((tmp_path / "cache").rglob("image-00000.bin"))
    data = bytearray(shard.read_bytes())
    data[7 * SIZE * SIZE + 11] ^= 1
    shard.write_bytes(data)
    log.unlink()
    cache = filled(samples, tmp_path / "cache")
    assert reads(log) == [7]
    assert "1 prepared image(s) were damaged" in cache.notes[0]
    assert cache.changed == set()
    np.testing.assert_array_equal(cache.gather(range(12)), kept)


def test_lanes_prepare_parts_that_any_process_finds(tmp_path: Path) -> None:
    log = tmp_path / "log"
    samples = file_samples(tmp_path / "images", 20, log=log)
    for part in (1, 2):
        open_cache(samples, GRAY, tmp_path / "cache").ensure(np.arange(20)[part - 1 :: 2], lane=part)
    assert sorted(reads(log)) == list(range(20))
    log.unlink()
    cache = filled(samples, tmp_path / "cache")
    assert reads(log) == []
    np.testing.assert_array_equal(cache.gather(range(20)), truth(samples, range(20)))
    assert cache.ready(np.arange(20)) == 20


@pytest.mark.long
def test_any_number_of_kills_ends_in_the_same_bytes(tmp_path: Path) -> None:
    count, log = 300, tmp_path / "log"
    samples = file_samples(tmp_path / "images", count, log=log)
    index, seen = open_cache(samples, GRAY, tmp_path / "cache").store, 0
    for kill in range(4):
        process = start_filling(tmp_path, count, 0.01, 1 + kill % 2)
        wait_for(lambda: len(index.records()) > seen + 20)  # noqa: B023
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        assert len(index.records()) > seen
        seen = len(index.records())
    assert seen < count
    time.sleep(1.0)  # workers end with their parent
    cache = filled(samples, tmp_path / "cache")
    assert cache.notes == ()
    np.testing.assert_array_equal(cache.gather(range(count)), truth(samples, range(count)))
    assert cache.store.check(cache.store.records()["slot"], everything=True)
