"""Rows of one fixed shape in memory-mapped files, safe against kills, full disks, damage and other processes.

A store is a folder:

    manifest.json      what the rows are; with a checksum of itself
    index.bin          one record a finished row: slot, row, identity (16 bytes), check; only ever appended to
    image-00000.bin    shards: `rows_per_shard` rows of the array "image" each, row after row, all of one size
    lock               held while rows are added

Rows lie in slots, in the order in which they were asked for; `index.bin` says which row of the source, in which state (its
identity), is in which slot. A record is written after the bytes it speaks of have reached the disk, so a kill at any moment costs
the rows under way and nothing else. A finished slot is never overwritten: where a row's source has changed the row gets a new
slot, and a process that reads the old one goes on undisturbed. Readers take no lock and write nothing.

The manifest names its arrays, each with dtype, shape and layout, so that a mask beside the image, or rows of varying shape with
offsets in the index, are further entries rather than another format.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import mmap
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.errors import DataError

__all__ = ["RECORD", "Geometry", "ShardStore", "digest", "storage_error"]

SCHEMA = "osler.cache/1"
RECORD = np.dtype([("slot", "<i8"), ("row", "<i8"), ("identity", "<u8", (2,)), ("check", "<u8")])
_SALT = np.uint64(0x6F736C65722F3031)
"""Makes the check of a record of zeros, as a power cut may leave, wrong."""
_SHARD_BYTES = 1 << 26
_MOST_SHARDS = 256
"""Shards grow where there would be more: each is an open file of every reader."""


def digest(identity: str) -> tuple[int, int]:
    """128 bits of a row's identity, as an index record keeps it.

    >>> digest("a.png 10 1") == digest("a.png 10 2")
    False
    """
    value = hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(value[:8], "little"), int.from_bytes(value[8:], "little")


def storage_error(folder: Path, error: OSError, doing: str) -> DataError:
    """What a failed write means to the person who started it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(
            f"{folder}: the disk is full (while {doing}). What was finished is kept. "
            "Free some space and start again, or set data.cache to a folder on a larger disk."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return DataError(
            f"{folder}: prepared images cannot be written here (while {doing}: {error.strerror}). "
            "Set data.cache, or the environment variable OSLER_CACHE, to a folder that can be written."
        )
    return DataError(f"{folder}: {doing} failed: {error.strerror or error}. Check the disk, or set data.cache to another folder.")


@dataclass(frozen=True)
class Geometry:
    """How the rows of one array lie in its shard files. Picklable: other processes write by it.

    Attributes:
        folder: of the store.
        shape: of one row, such as (C, H, W).
        dtype: NumPy's name of the element type.
        rows_per_shard: rows of each file.
        name: of the array.
    """

    folder: Path
    shape: tuple[int, ...]
    dtype: str
    rows_per_shard: int
    name: str = "image"

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def shard_bytes(self) -> int:
        return self.row_bytes * self.rows_per_shard

    def path(self, shard: int) -> Path:
        return self.folder / f"{self.name}-{shard:05d}.bin"

    def is_whole(self, shard: int) -> bool:
        """Whether the shard's file is there and has its full size."""
        try:
            return self.path(shard).stat().st_size == self.shard_bytes
        except FileNotFoundError:
            return False

    def write(self, slot: int, row: NDArray[Any]) -> None:
        """Puts one row into its slot. By pwrite, not through a map: a full disk is then an error and not a signal."""
        assert row.shape == self.shape, f"a row of {row.shape} for {self.shape}"
        assert row.dtype == self.dtype, f"a row of {row.dtype} for {self.dtype}"
        shard, place = divmod(slot, self.rows_per_shard)
        rest = memoryview(row.tobytes())
        at = place * self.row_bytes
        file = os.open(self.path(shard), os.O_WRONLY | os.O_CLOEXEC)
        try:
            while rest:
                written = os.pwrite(file, rest, at)
                rest, at = rest[written:], at + written
        finally:
            os.close(file)


def rows_per_shard(row_bytes: int, samples: int) -> int:
    """About 64 MB a shard; fewer rows where the source has no more, and more where there would be too many shards.

    >>> rows_per_shard(224 * 224, 100_000), rows_per_shard(28 * 28, 4708)
    (1337, 4708)
    """
    usual = max(1, _SHARD_BYTES // row_bytes, -(-samples // _MOST_SHARDS))
    return max(1, min(usual, samples))


@dataclass
class ShardStore:
    """One open store.

    Attributes:
        geometry: where rows lie.
        description: what else the manifest states, such as the preparation; it must agree with the store found.
        notes: what was found damaged and dropped, one sentence each.
    """

    geometry: Geometry
    description: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)
    _maps: dict[int, _Mapped] = field(default_factory=dict, repr=False)

    @property
    def folder(self) -> Path:
        return self.geometry.folder

    # --- opening ---

    def open(self) -> None:
        """Makes the store where it is absent, and rebuilds what is damaged; an intact one may be read-only.

        Raises:
            DataError: the folder can be neither read nor written.
        """
        try:
            self._open()
        except OSError as error:
            raise storage_error(self.folder, error, "opening the cache") from error

    def _open(self) -> None:
        if self._manifest_agrees() and self._damaged_shards(self.records()) == []:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.lock():
            if not self._manifest_agrees():
                self._start_afresh()
            self._drop_damaged_shards()

    def _manifest(self) -> dict[str, Any]:
        arrays = {
            self.geometry.name: {
                "dtype": self.geometry.dtype,
                "shape": list(self.geometry.shape),
                "layout": "fixed",
                "row_bytes": self.geometry.row_bytes,
                "rows_per_shard": self.geometry.rows_per_shard,
                "files": f"{self.geometry.name}-{{shard:05d}}.bin",
            }
        }
        index = {"file": "index.bin", "record": [list(map(str, entry)) for entry in RECORD.descr]}
        content = {"schema": SCHEMA, "arrays": arrays, "index": index, **self.description}
        return {**content, "checksum": _checksum(content)}

    def _manifest_agrees(self) -> bool:
        try:
            found = json.loads((self.folder / "manifest.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return False
        if not isinstance(found, dict) or found.pop("checksum", None) != _checksum(found):
            return False
        wanted = self._manifest()
        return bool(found == {key: value for key, value in wanted.items() if key != "checksum"})

    def _start_afresh(self) -> None:
        # Files are unlinked, never cut: a process that still maps them keeps its pages.
        rows = list(self.folder.glob("*.bin"))
        if rows:
            self.notes.append(f"{self.folder}: the cache's manifest was damaged; its images are prepared again")
        for path in rows:
            path.unlink()
        _write_atomically(self.folder / "manifest.json", json.dumps(self._manifest(), indent=1).encode())

    # --- the index ---

    def records(self) -> NDArray[Any]:
        """(n,) of `RECORD`: the rows finished so far, by any process; records that are torn or damaged are left out."""
        try:
            data = (self.folder / "index.bin").read_bytes()
        except FileNotFoundError:
            return np.empty(0, RECORD)
        records = np.frombuffer(data, RECORD, count=len(data) // RECORD.itemsize)
        sound = (records["check"] == _check(records)) & (records["slot"] >= 0) & (records["row"] >= 0)
        return np.asarray(records[sound])

    def _damaged_shards(self, records: NDArray[Any]) -> list[int]:
        return [int(s) for s in np.unique(records["slot"] // self.geometry.rows_per_shard) if not self.geometry.is_whole(int(s))]

    def _drop_damaged_shards(self) -> None:
        """Forgets the rows of shards that are missing or of the wrong size, before a new shard can take their place."""
        records = self.records()
        damaged = self._damaged_shards(records)
        if not damaged:
            return
        kept = records[~np.isin(records["slot"] // self.geometry.rows_per_shard, damaged)]
        _write_atomically(self.folder / "index.bin", kept.tobytes())
        for shard in damaged:
            self.geometry.path(shard).unlink(missing_ok=True)
        lost = len(records) - len(kept)
        self.notes.append(f"{self.folder}: {len(damaged)} shard(s) were missing or cut short; {lost} images are prepared again")

    # --- adding rows, under the lock ---

    @contextmanager
    def lock(self, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Held by the one process that adds rows; the system frees it when that process ends, however it ends.

        Args:
            waiting: called about five times a second while another process holds it.
        """
        file = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if waiting is not None:
                        waiting()
                    time.sleep(0.2)
            yield
        finally:
            os.close(file)

    def reserve(self, count: int) -> NDArray[np.int64]:
        """(count,) slots behind all finished ones, in shard files that are there; the lock must be held."""
        self._mend_index()
        records = self.records()
        first = int(records["slot"].max()) + 1 if len(records) else 0
        slots = np.arange(first, first + count, dtype=np.int64)
        for shard in np.unique(slots // self.geometry.rows_per_shard):
            self._make_shard(int(shard))
        _sync(self.folder)
        return slots

    def _mend_index(self) -> None:
        """Rewrites the index where a kill left half a record, so that what is appended starts where a record may."""
        path = self.folder / "index.bin"
        if path.exists() and path.stat().st_size != len(self.records()) * RECORD.itemsize:
            _write_atomically(path, self.records().tobytes())

    def _make_shard(self, shard: int) -> None:
        if self.geometry.is_whole(shard):
            return
        path = self.geometry.path(shard)
        path.unlink(missing_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            os.ftruncate(file, self.geometry.shard_bytes)  # sparse: what no row fills takes no space
        finally:
            os.close(file)

    def commit(self, slots: NDArray[np.int64], rows: NDArray[np.int64], identities: NDArray[np.uint64]) -> None:
        """Declares rows finished that were written to their slots: bytes to disk first, then their records."""
        for shard in np.unique(slots // self.geometry.rows_per_shard):
            _sync(self.geometry.path(int(shard)))
        records = np.zeros(len(slots), RECORD)
        records["slot"], records["row"], records["identity"] = slots, rows, identities
        records["check"] = _check(records)
        with (self.folder / "index.bin").open("ab", buffering=0) as file:
            rest = memoryview(records.tobytes())
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())

    # --- reading ---

    def gather(self, slots: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Copies the rows of these slots into `out` (B, *shape): all at once where they lie in one shard."""
        shards, places = np.divmod(slots, self.geometry.rows_per_shard)
        if not len(slots):
            return
        if (shards == shards[0]).all():
            # "clip" lets NumPy copy into `out` without a buffer between; the slots are known to lie inside.
            np.take(self._map(int(shards[0])).rows, places, axis=0, out=out, mode="clip")
            return
        # Of many shards a batch has one or two rows each: copying those straight to their places takes half the time of an
        # indexed copy a shard, which goes through a temporary. Announced first, rows that are not in memory are read together.
        order = np.lexsort((places, shards))
        lying = [
            (at, self._map(shard), place) for at, shard, place in np.stack([order, shards[order], places[order]], 1).tolist()
        ]
        for _, shard, place in lying:
            shard.announce(place)
        for at, shard, place in lying:
            out[at] = shard.rows[place]

    def hold(self, slots: NDArray[np.int64]) -> None:
        """Maps the shards of these slots now: what is mapped stays readable whatever becomes of the folder."""
        for shard in np.unique(slots // self.geometry.rows_per_shard):
            self._map(int(shard))

    def _map(self, shard: int) -> _Mapped:
        if shard not in self._maps:
            try:
                self._maps[shard] = _Mapped(self.geometry, shard)
            except (OSError, ValueError) as error:
                raise DataError(
                    f"{self.geometry.path(shard)}: a shard of the cache cannot be opened ({error}). "
                    f"Delete {self.folder} and start again: the images are prepared anew."
                ) from error
        return self._maps[shard]


class _Mapped:
    """A shard in memory, read-only."""

    def __init__(self, geometry: Geometry, shard: int) -> None:
        with geometry.path(shard).open("rb") as file:
            self._map = mmap.mmap(file.fileno(), geometry.shard_bytes, access=mmap.ACCESS_READ)
        self._row_bytes = geometry.row_bytes
        self.rows: NDArray[Any] = np.frombuffer(self._map, geometry.dtype).reshape(geometry.rows_per_shard, *geometry.shape)

    def announce(self, place: int) -> None:
        """Has the system read a row ahead, where it knows how."""
        if hasattr(mmap, "MADV_WILLNEED"):
            start = place * self._row_bytes
            page = start // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, page, start + self._row_bytes - page)


def _check(records: NDArray[Any]) -> NDArray[np.uint64]:
    numbers = records["slot"].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + records["row"].astype(np.uint64)
    check: NDArray[np.uint64] = numbers ^ records["identity"][:, 0] ^ (records["identity"][:, 1] << np.uint64(1)) ^ _SALT
    return check


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _write_atomically(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
