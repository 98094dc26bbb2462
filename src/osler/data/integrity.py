"""Whether shards still hold what was written: checksums of their rows, and a memory of which were found sound.

Reading every byte of a large cache takes seconds to minutes, so a shard is read once and its size and time of change are put down
in `sound.json`; it is read again when these differ. Bits that a disk loses by itself change neither: `osler prepare` reads all.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.data.geometry import Geometry
from osler.errors import RunError
from osler.files import write_json

__all__ = ["damaged", "prove", "unproved"]

MARKS = "sound.json"
_THREADS = 4

State = list[int]
"""Size and time of change of a shard's file."""


def unproved(geometry: Geometry, shards: Iterable[int]) -> list[int]:
    """Those of these shards that were not yet found sound as they are now."""
    marks = _marks(geometry.folder)
    return [shard for shard in shards if marks.get(geometry.path(shard).name) != _state(geometry.path(shard))]


def prove(geometry: Geometry, shards: Iterable[int]) -> None:
    """Puts down that these shards are sound as they are now; in a folder that cannot be written they are read again next time."""
    _write_marks(geometry, {shard: _state(geometry.path(shard)) for shard in shards})


def damaged(geometry: Geometry, records: NDArray[Any], shards: Iterable[int]) -> NDArray[np.int64]:
    """Slots in these shards whose bytes are not those that were written; shards without any are put down as sound.

    Args:
        geometry: of the store.
        records: (n,) of `RECORD`, of all rows.
        shards: to be read.
    """
    numbers = records["slot"] // geometry.rows_per_shard
    before = {shard: _state(geometry.path(shard)) for shard in shards}

    def look(shard: int) -> NDArray[np.int64]:
        here = records[numbers == shard]
        found = geometry.checksums(shard, here["slot"] % geometry.rows_per_shard)
        return np.asarray(here["slot"][found != here["crc"]])

    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as threads:
        bad = dict(zip(before, threads.map(look, before), strict=True))
    # A shard that changed meanwhile, as one does that is being filled, is read again.
    _write_marks(geometry, {shard: state for shard, state in before.items() if not len(bad[shard])})
    return np.concatenate([np.empty(0, np.int64), *bad.values()])


def _state(path: Path) -> State | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _marks(folder: Path) -> dict[str, State]:
    try:
        found = json.loads((folder / MARKS).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_marks(geometry: Geometry, states: dict[int, State | None]) -> None:
    new = {geometry.path(shard).name: state for shard, state in states.items() if state is not None}
    # Two that write at once may lose a mark, which costs a reading and no more.
    with contextlib.suppress(OSError, RunError):
        if new:
            write_json(geometry.folder / MARKS, {**_marks(geometry.folder), **new})
