"""Prepared images of a whole source in memory-mapped shards, masks beside them, made on demand, shared by runs and processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.data.filling import Job, Outcome, fill
from osler.data.geometry import Geometry, rows_per_shard
from osler.data.records import digest
from osler.data.samples import Samples
from osler.data.shards import SCHEMA, ShardStore, storage_error
from osler.errors import DataError
from osler.imaging.depth import Fed, Levels, for_eye, for_network
from osler.imaging.preparation import Preparation

__all__ = ["PackedCache", "Progress", "cache_folder", "open_cache"]

Progress = Callable[[int, int], None]
"""Called with the number of images done and of all that this call waits for."""

MASK_SCHEMA = "osler.planes/1"
"""Of how masks are resampled; part of a cache's name where there are masks."""
_LISTED = 20


@dataclass
class PackedCache:
    """Prepared images of a source, by its rows, each with its mask where the source has masks.

    Attributes:
        samples: the whole source, not a subset: rows are its rows.
        preparation: what was done to every image.
        unreadable: row → why its image cannot be used; what to do with it is the caller's decision. Tried anew by each process.
        changed: rows whose image is no longer what it was when it was last prepared; they were prepared again.
        moving: rows whose image changed between the first look at it here and its preparation; it is the newer one.
    """

    samples: Samples
    preparation: Preparation
    store: ShardStore
    unreadable: dict[int, str] = field(default_factory=dict)
    changed: set[int] = field(default_factory=set)
    moving: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._identities = np.zeros((len(self.samples), 2), np.uint64)
        self._identified = np.zeros(len(self.samples), bool)
        self._slots = np.full(len(self.samples), -1, np.int64)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one row; (C + K, H, W) where the K planes of a mask follow the C of the image."""
        return _row_shape(self.samples, self.preparation)

    @property
    def channels(self) -> int:
        """C: the planes of a row from here on are its mask."""
        return self.preparation.channels

    @property
    def fingerprint(self) -> str:
        """Of the preparation."""
        return self.preparation.fingerprint()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found damaged, or changed since, and put right; one sentence each."""
        said = list(self.store.notes)
        if self.changed:
            said.append(
                f"{len(self.changed)} image(s) are not what they were when last prepared (changed, moved, or of another set of "
                "the same names); they were prepared again"
            )
        if self.moving:
            shown = ", ".join(str(self.samples.ids[row]) for row in sorted(self.moving)[:5])
            said.append(f"{len(self.moving)} image(s) changed while the set was prepared; the newer ones are used ({shown})")
        return tuple(said)

    @property
    def job(self) -> Job:
        """What a process needs to prepare any row of this cache."""
        source = self.samples
        return Job(source.images, self.preparation, self.store.geometry, source.masks, source.exclusive)

    def ensure(
        self,
        rows: ArrayLike,
        workers: int = 1,
        progress: Progress | None = None,
        *,
        lane: int = 0,
        most_unreadable: int | None = None,
    ) -> None:
        """Prepares those of these rows that are not prepared yet; the rest costs a look at each file's time and size.

        May be killed at any moment and called again; where another process prepares the same rows, waits for it. Images that
        cannot be used are collected in `unreadable`.

        Args:
            rows: of the source, in any order, repeats allowed.
            workers: the most processes to use; few or quick images are prepared in this one.
            progress: told how far it is.
            lane: of the store; machines that prepare parts of one set at once have one each, from 1.
            most_unreadable: stop where more of these rows than this cannot be used; None: never.

        Raises:
            DataError: the disk is full, the folder cannot be written, or too many images cannot be used.
        """
        wanted = np.unique(np.asarray(rows, np.int64))
        if len(self.find_missing(wanted)):
            with self._storing("preparing images"), self.store.lock(lane, self._watcher(wanted, progress)):
                self._find(wanted)
                self._fill(wanted, workers, progress, lane, most_unreadable)
            self._find(wanted)
        self.require_readable(wanted, most_unreadable)

    def find_missing(self, rows: NDArray[np.int64], everything: bool = False) -> NDArray[np.int64]:
        """Those of these rows that are not prepared, or not as their sources are now, or damaged; less the unreadable ones.

        Args:
            rows: of the source, ascending, each once.
            everything: read all bytes that are prepared, also of shards that were found sound before.

        Raises:
            DataError: what is damaged cannot be taken out, as the folder cannot be written.
        """
        with self._storing("checking prepared images"):
            self._identify(rows)
            self._find(rows)
            found = self._slots[rows]
            if not self.store.check(found[found >= 0], everything):
                self._slots[rows] = -1
                self._find(rows)
        return self._missing(rows)

    def require_readable(self, rows: NDArray[np.int64], most: int | None) -> None:
        """DataError, with the first of them and why, where more of these rows than `most` cannot be used."""
        if most is None or len(self.unreadable) <= most:
            return
        bad = [row for row in rows.tolist() if row in self.unreadable]
        if len(bad) > most:
            shown = "\n".join(f"  {self.unreadable[row]}" for row in bad[:_LISTED])
            more = f"\n  and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
            raise DataError(
                f"{len(bad)} images cannot be used, more than the {most} of {len(rows)} that data.unreadable_limit allows:\n"
                f"{shown}{more}\nMend or remove them, or raise data.unreadable_limit. What was finished is kept."
            )

    def gather(self, rows: ArrayLike, out: Levels | None = None) -> Levels:
        """The images of these rows, copied at once, as they are kept.

        Args:
            rows: (B,) of the source, in any order, repeats allowed; all of them were given to `ensure` and are readable.
            out: (B, *shape) of the preparation's type, contiguous, to be filled; null: a new one.

        Returns:
            (B, C, H, W), uint8 from 0 to 255 or uint16 from 0 to 65535; with masks (B, C + K, H, W), the last K of 0, 1 and
            `IGNORED` in the same type.

        Raises:
            DataError: a row is not prepared, or a shard cannot be opened.
        """
        asked = np.asarray(rows, np.int64)
        slots = self._slots[asked]
        if len(slots) and slots.min() < 0:
            row = int(asked[int(slots.argmin())])
            why = self.unreadable.get(row, "it is not prepared: call ensure with its row first")
            raise DataError(f"{self.samples.ids[row]}: no pixels in the cache: {why}")
        images = np.empty((len(slots), *self.shape), self.preparation.dtype) if out is None else out
        assert images.shape == (len(slots), *self.shape), f"out is {images.shape}"
        assert images.dtype == self.preparation.dtype, f"out is {images.dtype}"
        self.store.gather(slots, images)
        return images

    def images(self, rows: ArrayLike) -> Fed:
        """(B, C, H, W) of these rows as a network receives them, 0 to 255, contiguous; as `gather`."""
        planes = self.gather(rows)
        return for_network(planes if self.samples.masks is None else np.ascontiguousarray(planes[:, : self.channels]))

    def pictures(self, rows: ArrayLike) -> NDArray[np.uint8]:
        """(B, C, H, W) of these rows for the eye, in bytes; as `gather`."""
        return for_eye(self.gather(rows)[:, : self.channels])

    def masks(self, rows: ArrayLike) -> NDArray[np.uint8]:
        """(B, K, H, W) of these rows, of 0, 1 and `IGNORED`; as `gather`."""
        return self.gather(rows)[:, self.channels :].astype(np.uint8, copy=False)

    def checksums(self, rows: ArrayLike) -> NDArray[np.uint32]:
        """(B,) CRC-32 of these rows' prepared bytes, from the index: nothing is read. All of them were given to `ensure`."""
        records = self.store.records()
        order = np.argsort(records["slot"], kind="stable")
        places = np.searchsorted(records["slot"][order], self._slots[np.asarray(rows, np.int64)])
        return np.asarray(records["crc"][order[places]])

    def states(self, rows: ArrayLike) -> NDArray[np.uint64]:
        """(n, 2) digests of the state that each row's image and mask had when `ensure` first looked at it."""
        return np.asarray(self._identities[np.asarray(rows, np.int64)])

    def look_again(self, rows: ArrayLike) -> None:
        """Forgets the state that these rows' sources had, so that the next `ensure` takes them as they are then."""
        self._identified[np.asarray(rows, np.int64)] = False

    def ready(self, rows: NDArray[np.int64]) -> int:
        """How many of these rows are prepared, by whomever; whether their sources have changed since is not looked at."""
        return int(np.isin(rows, self.store.records()["row"]).sum())

    # --- which rows are where ---

    def _identify(self, rows: NDArray[np.int64]) -> None:
        """Looks once at the state of each row's source."""
        job = self.job
        for row in rows[~self._identified[rows]].tolist():
            try:
                self._identities[row] = digest(job.identity(row))
            except DataError as error:
                self.refuse(row, str(error))
            self._identified[row] = True

    def refuse(self, row: int, why: str) -> None:
        """Puts a row down as unreadable."""
        name = str(self.samples.ids[row])
        self.unreadable[row] = why if name in why else f"{name}: {why}"

    def _find(self, rows: NDArray[np.int64]) -> None:
        """Looks the rows up in the index by their state, and holds their shards."""
        records = self.store.records()
        records = records[records["row"] < len(self.samples)]
        known = records["row"]
        current = self._identified[known] & (self._identities[known] == records["identity"]).all(axis=1)
        self._slots[known[current]] = records["slot"][current]
        missing = self._missing(rows)
        self.changed.update(missing[np.isin(missing, known)].tolist())
        slots = self._slots[rows]
        self.store.hold(slots[slots >= 0])

    def _missing(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        absent = rows[self._slots[rows] < 0]
        return absent[~np.isin(absent, np.fromiter(self.unreadable, np.int64, len(self.unreadable)))]

    def _watcher(self, rows: NDArray[np.int64], progress: Progress | None) -> Callable[[], None] | None:
        """Shows the progress of the other process while this one waits for it."""
        if progress is None:
            return None
        total = len(self._missing(rows))

        def look() -> None:
            self._find(rows)
            progress(total - len(self._missing(rows)), total)

        return look

    # --- preparing ---

    @contextmanager
    def _storing(self, doing: str) -> Iterator[None]:
        """Words what the disk refuses."""
        try:
            yield
        except OSError as error:
            raise storage_error(self.store.folder, error, doing) from error

    def _fill(
        self, wanted: NDArray[np.int64], workers: int, progress: Progress | None, lane: int, most_unreadable: int | None
    ) -> None:
        rows = self._missing(wanted)
        if not len(rows):
            return
        done = 0
        with closing(fill(self.store, self.job, rows, workers, lane)) as parts:
            for positions, outcome in parts:
                self._take(rows[positions], outcome)
                done += len(positions)
                if progress is not None:
                    progress(done, len(rows))
                self.require_readable(wanted, most_unreadable)

    def _take(self, rows: NDArray[np.int64], outcome: Outcome) -> None:
        """Remembers which rows cannot be used, and in which state the others were read."""
        good = np.array([why is None for why in outcome.why])
        for row, why in zip(rows.tolist(), outcome.why, strict=True):
            if why is not None:
                self.refuse(row, why)
        moved = good & (self._identities[rows] != outcome.identities).any(axis=1)
        self.moving.update(rows[moved].tolist())
        self._identities[rows[moved]] = outcome.identities[moved]


def cache_folder(configured: Path | None) -> Path:
    """`data.cache`, else the environment variable OSLER_CACHE, else ~/.cache/osler."""
    return configured or Path(os.environ.get("OSLER_CACHE") or Path.home() / ".cache" / "osler")


def open_cache(samples: Samples, preparation: Preparation, folder: Path) -> PackedCache:
    """The cache of a source under a preparation; made where there is none, rebuilt where it is damaged.

    Its folder is named by the source's ids and the preparation's fingerprint: another preparation or set is another cache.

    Args:
        samples: the whole source, before any subset or split is taken.
        preparation: what is done to every image.
        folder: holds the caches of all sources.

    Raises:
        DataError: the folder can be neither read nor written.
    """
    ids = hashlib.sha256("\0".join(samples.ids.tolist()).encode("utf-8", "surrogatepass")).hexdigest()
    shape = _row_shape(samples, preparation)
    said = f"{SCHEMA} {ids} {shape} {preparation.fingerprint()}"
    description: dict[str, Any] = {"samples": len(samples), "ids": ids, "preparation": preparation.describe()}
    if samples.masks is not None:
        description["masks"] = {"schema": MASK_SCHEMA, "classes": list(samples.classes), "exclusive": samples.exclusive}
        said += f" {description['masks']}"
    key = hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:24]
    row_bytes = int(np.prod(shape)) * preparation.dtype.itemsize
    rows = rows_per_shard(row_bytes, len(samples))
    geometry = Geometry(Path(folder).expanduser().resolve() / key, shape, preparation.dtype.name, rows)
    store = ShardStore(geometry, description)
    store.open()
    return PackedCache(samples, preparation, store)


def _row_shape(samples: Samples, preparation: Preparation) -> tuple[int, int, int]:
    channels, height, width = preparation.shape
    return channels + (0 if samples.masks is None else len(samples.classes)), height, width
