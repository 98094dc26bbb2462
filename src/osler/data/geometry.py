"""How rows of one fixed shape lie in shard files, and how one is written and read."""

from __future__ import annotations

import mmap
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LANE_SHARDS", "Geometry", "Mapped", "rows_per_shard"]

LANE_SHARDS = 1 << 20
"""Shards of lane L are numbered from L × this on, so that writers of different lanes never meet in a file."""
_SHARD_BYTES = 1 << 26
_MOST_SHARDS = 256
"""Shards grow where there would be more: each is an open file of every reader."""


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

    def first_slot(self, lane: int) -> int:
        """Where the slots of a lane begin."""
        return lane * LANE_SHARDS * self.rows_per_shard

    def shards_of(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """The shards that these slots lie in, ascending, each once."""
        return np.unique(slots // self.rows_per_shard)

    def path(self, shard: int) -> Path:
        lane, number = divmod(shard, LANE_SHARDS)
        return self.folder / (f"{self.name}-{lane}-{number:05d}.bin" if lane else f"{self.name}-{number:05d}.bin")

    def is_whole(self, shard: int) -> bool:
        """Whether the shard's file is there and has its full size."""
        try:
            return self.path(shard).stat().st_size == self.shard_bytes
        except FileNotFoundError:
            return False

    def make(self, shard: int) -> None:
        """Makes the shard's file anew; sparse: what no row fills takes no space."""
        path = self.path(shard)
        path.unlink(missing_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            os.ftruncate(file, self.shard_bytes)
        finally:
            os.close(file)

    def write(self, slot: int, row: NDArray[Any]) -> int:
        """Puts one row into its slot; the CRC-32 of its bytes. By pwrite, not through a map: a full disk is then an error and
        not a signal."""
        assert row.shape == self.shape, f"a row of {row.shape} for {self.shape}"
        assert row.dtype == self.dtype, f"a row of {row.dtype} for {self.dtype}"
        shard, place = divmod(slot, self.rows_per_shard)
        rest = memoryview(row.tobytes())
        crc = zlib.crc32(rest)
        at = place * self.row_bytes
        file = os.open(self.path(shard), os.O_WRONLY | os.O_CLOEXEC)
        try:
            while rest:
                written = os.pwrite(file, rest, at)
                rest, at = rest[written:], at + written
        finally:
            os.close(file)
        return crc

    def checksums(self, shard: int, places: NDArray[np.int64]) -> NDArray[np.uint32]:
        """(n,) CRC-32 of the bytes at these places of a shard; read, not mapped, so that memory stays as it is."""
        crcs = np.zeros(len(places), np.uint32)
        with self.path(shard).open("rb", buffering=0) as file:
            for at in np.argsort(places).tolist():
                crcs[at] = zlib.crc32(os.pread(file.fileno(), self.row_bytes, int(places[at]) * self.row_bytes))
        return crcs


def rows_per_shard(row_bytes: int, samples: int) -> int:
    """About 64 MB a shard; fewer rows where the source has no more, and more where there would be too many shards.

    >>> rows_per_shard(224 * 224, 100_000), rows_per_shard(28 * 28, 4708)
    (1337, 4708)
    """
    usual = max(1, _SHARD_BYTES // row_bytes, -(-samples // _MOST_SHARDS))
    return max(1, min(usual, samples))


class Mapped:
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
