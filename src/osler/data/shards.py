"""Rows of one fixed shape in memory-mapped files, safe against kills, full disks, damage and other processes.

A store is a folder:

    manifest.json      what the rows are; with a checksum of itself
    index.bin          one record a finished row: slot, row, identity (16 bytes), CRC-32, check; only ever appended to
    image-00000.bin    shards: `rows_per_shard` rows of the array "image" each, row after row, all of one size
    lock               held while rows are added
    sound.json         which shards were read and found sound, by their time of change (`integrity`)

    index-2.bin, image-2-00000.bin, lock-2: the same of lane 2

Rows lie in slots, in the order in which they were asked for; `index.bin` says which row of the source, in which state (its
identity), is in which slot. A record is written after the bytes it speaks of have reached the disk, so a kill at any moment costs
the rows under way and nothing else. A finished slot is never overwritten: where a row's source has changed the row gets a new
slot, and a process that reads the old one goes on undisturbed. Readers take no lock and write nothing but what they found sound.

Several machines write at once in lanes: each lane has an index, shards and a lock of its own, and no file has two writers.
Readers take all indexes together, so nothing is ever moved. Lane 0 is that of a process which prepares alone; its lock is that
of all lanes.

The manifest names its arrays, each with dtype, shape and layout, so that a mask beside the image, or rows of varying shape with
offsets in the index, are further entries rather than another format.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.data.geometry import LANE_SHARDS, Geometry, Mapped
from osler.data.integrity import damaged, prove, unproved
from osler.data.records import RECORD, digest, make_records, read_records
from osler.errors import DataError

__all__ = ["Geometry", "ShardStore", "digest", "storage_error"]

SCHEMA = "osler.cache/2"
_INDEX = re.compile(r"index(?:-(\d+))?\.bin")


def storage_error(folder: Path, error: OSError, doing: str) -> DataError:
    """What a failed write means to the person who started it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(
            f"{folder}: the disk is full (while {doing}). What was finished is kept. "
            "Free some space and start again, or set data.cache to a folder on a larger disk."
        )
    if error.errno == errno.EFBIG:
        return DataError(
            f"{folder}: a file may not grow further (while {doing}): a limit of this account (`ulimit -f`) or file system. "
            "What was finished is kept. Raise the limit and start again, or set data.cache to another folder."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return DataError(
            f"{folder}: prepared images cannot be written here (while {doing}: {error.strerror}). "
            "Set data.cache, or the environment variable OSLER_CACHE, to a folder that can be written."
        )
    return DataError(f"{folder}: {doing} failed: {error.strerror or error}. Check the disk, or set data.cache to another folder.")


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
    _maps: dict[int, Mapped] = field(default_factory=dict, repr=False)

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
        if self.is_there() and self._broken_shards(self.records()) == []:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.lock():
            if not self.is_there():
                self._start_afresh()
            self._drop_broken_shards()

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

    def is_there(self) -> bool:
        """Whether the folder holds a store, and one of what this one is to hold."""
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
        """(n,) of `RECORD`: the rows finished so far, by any process; a row may be there twice."""
        return np.concatenate([np.empty(0, RECORD), *(read_records(self._index(lane)) for lane in self._lanes())])

    def count(self) -> int:
        """About how many rows are finished, without reading them."""
        return sum(self._index(lane).stat().st_size for lane in self._lanes()) // RECORD.itemsize

    def _index(self, lane: int) -> Path:
        return self.folder / (f"index-{lane}.bin" if lane else "index.bin")

    def _lanes(self) -> list[int]:
        try:
            found = [_INDEX.fullmatch(name) for name in os.listdir(self.folder)]
        except FileNotFoundError:
            return []
        return sorted(int(match[1] or 0) for match in found if match)

    def _broken_shards(self, records: NDArray[Any]) -> list[int]:
        return [shard for shard in self.geometry.shards_of(records["slot"]).tolist() if not self.geometry.is_whole(shard)]

    def _drop_broken_shards(self) -> None:
        """Forgets the rows of shards that are missing or of the wrong size, before a new shard can take their place."""
        records = self.records()
        broken = self._broken_shards(records)
        if not broken:
            return
        lost = self._forget(records["slot"][np.isin(records["slot"] // self.geometry.rows_per_shard, broken)])
        for shard in broken:
            self.geometry.path(shard).unlink(missing_ok=True)
        self.notes.append(f"{self.folder}: {len(broken)} shard(s) were missing or cut short; {lost} images are prepared again")

    def _forget(self, slots: NDArray[np.int64]) -> int:
        """Takes these slots out of the indexes; how many there were. The lock of all lanes must be held."""
        lost = 0
        for lane in self._lanes():
            records = read_records(self._index(lane))
            gone = np.isin(records["slot"], slots)
            if gone.any():
                _write_atomically(self._index(lane), records[~gone].tobytes())
                lost += int(gone.sum())
        return lost

    def check(self, slots: NDArray[np.int64], everything: bool = False) -> bool:
        """Reads the shards of these slots where they were not yet found sound, and forgets rows that are damaged.

        Args:
            slots: of finished rows.
            everything: read them also where they were found sound, as a disk may have lost bits since.

        Returns:
            Whether all was sound.
        """
        shards = self.geometry.shards_of(slots).tolist()
        doubtful = shards if everything else unproved(self.geometry, shards)
        if not doubtful:
            return True
        bad = damaged(self.geometry, self.records(), doubtful)
        if not len(bad):
            return True
        with self.lock():
            lost = self._forget(bad)
        if lost:
            self.notes.append(
                f"{self.folder}: {lost} prepared image(s) were damaged on the disk (checksum); they are prepared again"
            )
        return False

    # --- adding rows, under the lock ---

    @contextmanager
    def lock(self, lane: int = 0, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Held by the one process that adds rows to a lane; the system frees it when that process ends, however it ends.

        Args:
            lane: 0 waits for all lanes that there are, and holds them.
            waiting: called about five times a second while another process holds it.
        """
        with ExitStack() as held:
            held.enter_context(self._locked(self.folder / (f"lock-{lane}" if lane else "lock"), waiting))
            # One process waits for several locks, and always in this order; those that hold one of them wait for none.
            for path in sorted(self.folder.glob("lock-*")) if not lane else []:
                held.enter_context(self._locked(path, waiting))
            yield

    @contextmanager
    def _locked(self, path: Path, waiting: Callable[[], None] | None) -> Iterator[None]:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if waiting is not None:
                        waiting()
                    time.sleep(0.2)
                except OSError as error:
                    if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                        raise
                    self.notes.append(
                        f"{self.folder}: the file system knows no locks; do not prepare one set twice at a time there"
                    )
                    break
            yield
        finally:
            os.close(file)

    def reserve(self, count: int, lane: int = 0) -> NDArray[np.int64]:
        """(count,) slots behind all finished ones of a lane, in shard files that are there; its lock must be held."""
        records = self._mended_index(lane)
        first = int(records["slot"].max()) + 1 if len(records) else self.geometry.first_slot(lane)
        slots = np.arange(first, first + count, dtype=np.int64)
        made = [shard for shard in self.geometry.shards_of(slots).tolist() if not self.geometry.is_whole(shard)]
        for shard in made:
            self.geometry.make(shard)
        prove(self.geometry, made)  # nothing lies in them yet
        _sync(self.folder)
        return slots

    def _mended_index(self, lane: int) -> NDArray[Any]:
        """Its records; rewritten where a kill left half a record, so that what is appended starts where a record may."""
        path = self._index(lane)
        records = read_records(path)
        if path.exists() and path.stat().st_size != len(records) * RECORD.itemsize:
            _write_atomically(path, records.tobytes())
        return records

    def commit(
        self, slots: NDArray[np.int64], rows: NDArray[np.int64], identities: NDArray[np.uint64], crcs: NDArray[np.uint32]
    ) -> None:
        """Declares rows finished that were written to their slots of one lane: bytes to disk first, then their records."""
        shards = self.geometry.shards_of(slots)
        for shard in shards.tolist():
            _sync(self.geometry.path(shard))
        with self._index(int(shards[0]) // LANE_SHARDS).open("ab", buffering=0) as file:
            rest = memoryview(make_records(slots, rows, identities, crcs).tobytes())
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())

    @contextmanager
    def proving(self, slots: NDArray[np.int64]) -> Iterator[None]:
        """Puts the shards of these slots down as sound once rows were added, where all that lay in them before was."""
        shards = self.geometry.shards_of(slots).tolist()
        sound = set(shards) - set(unproved(self.geometry, shards))
        try:
            yield
        finally:
            prove(self.geometry, sound)

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
        for shard in self.geometry.shards_of(slots).tolist():
            self._map(shard)

    def _map(self, shard: int) -> Mapped:
        if shard not in self._maps:
            try:
                self._maps[shard] = Mapped(self.geometry, shard)
            except (OSError, ValueError) as error:
                raise DataError(
                    f"{self.geometry.path(shard)}: a shard of the cache cannot be opened ({error}). "
                    f"Delete {self.folder} and start again: the images are prepared anew."
                ) from error
        return self._maps[shard]


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
