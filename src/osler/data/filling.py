"""Prepares images, and masks with them, and puts them into a store's slots: a few in this process, many in several at once."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.data.geometry import Geometry
from osler.data.processes import share_out
from osler.data.records import digest
from osler.data.samples import Images, Masks
from osler.data.shards import ShardStore
from osler.errors import DataError
from osler.imaging.depth import Levels
from osler.imaging.preparation import Preparation

__all__ = ["Done", "Filling", "Job", "Outcome", "fill"]

_COMMIT_SECONDS = 2.0
"""How much work a power cut may cost; each commit waits for the disk."""
_TRIAL_SECONDS = 0.4
"""For so long rows are prepared here and timed, before it is decided whether other processes are worth their start."""
_WORTH_SECONDS = 3.0
"""Work of fewer seconds than this is finished in this process: others take about a second to start."""
_CHUNK_SECONDS = 0.25
"""About how long one task of a process lasts: often enough for a moving bar, seldom enough to cost nothing."""
_MOST_ROWS = 256
_DIED = (
    "a process that prepared images died, most likely because memory ran out. What was finished is kept: start again "
    "with fewer data.workers, or data.workers=1 to see which image does it. (In a script of your own, this "
    'also happens where its work does not stand under `if __name__ == "__main__":`.)'
)
_TRIES = 3
"""So often an image is prepared that changes while it is."""


@dataclass(frozen=True)
class Outcome:
    """What became of some rows.

    Attributes:
        why: for each None, or why its image cannot be used.
        crcs: (n,) checksums of the bytes that were written; 0 where none were.
        identities: (n, 2) digests of the state in which each source was read; 0 where it was not.
    """

    why: list[str | None]
    crcs: NDArray[np.uint32]
    identities: NDArray[np.uint64]


Done = tuple[NDArray[np.intp], Outcome]
"""Positions in the list of rows, and what became of them."""


@dataclass(frozen=True)
class Job:
    """What a process needs to prepare any row: where images and masks are, how they are prepared, where they go. Picklable.

    Attributes:
        images: of the source.
        preparation: what is done to each.
        geometry: where rows lie: C planes of the image, then K of the mask where there are masks.
        masks: of the source, or None.
        exclusive: a pixel is of one class at most.
    """

    images: Images
    preparation: Preparation
    geometry: Geometry
    masks: Masks | None = None
    exclusive: bool = True

    def do(self, rows: Sequence[int], slots: Sequence[int]) -> Outcome:
        """Prepares rows of the images into slots."""
        outcome = Outcome([None] * len(rows), np.zeros(len(rows), np.uint32), np.zeros((len(rows), 2), np.uint64))
        for at, (row, slot) in enumerate(zip(rows, slots, strict=True)):
            try:
                prepared, outcome.identities[at] = self._settled(row)
            except DataError as error:
                outcome.why[at] = str(error)
            else:
                outcome.crcs[at] = self.geometry.write(slot, prepared)
        return outcome

    def identity(self, row: int) -> str:
        """Of the state of a row's image, and of its mask; DataError where they are gone."""
        image = self.images.identity(row)
        return image if self.masks is None else f"{image}\n{self.masks.identity(row)}"

    def _settled(self, row: int) -> tuple[Levels, tuple[int, int]]:
        """A prepared row, and the state that its source had before and after it was read."""
        state = digest(self.identity(row))
        for _ in range(_TRIES):
            prepared, before = self._prepared(row), state
            state = digest(self.identity(row))
            if state == before:
                return prepared, state
        raise DataError(
            f"the file changed while it was being read, {_TRIES} times in a row. Wait until it is complete (a copy under way?), "
            "then start again."
        )

    def _prepared(self, row: int) -> Levels:
        raw = self.images.read(row)
        prepared = self.preparation.apply(raw)
        if self.masks is None:
            return prepared
        planes = self.masks.read(row)
        (height, width), (rows, columns) = raw.pixels.shape[:2], planes.shape[1:]
        if (height, width) != (rows, columns):
            raise DataError(f"the image has {width} × {height} pixels, its mask {columns} × {rows}: they do not belong together")
        # The planes of a row are of one type; values of masks are the same in both.
        return np.concatenate([prepared, self.preparation.apply_mask(planes, self.exclusive).astype(prepared.dtype, copy=False)])


def fill(
    store: ShardStore, job: Job, rows: NDArray[np.int64], workers: int, lane: int = 0, numbers: NDArray[np.int64] | None = None
) -> Generator[Done]:
    """Prepares rows into a lane of a store, whose lock is held; yields what is done as it comes, in any order.

    What is done is committed every two seconds and at the end, however it ends.

    Args:
        store: open.
        job: of the store.
        rows: (n,) of the job's images.
        workers: the most processes to use.
        lane: where they go.
        numbers: (n,) rows of the whole source, where the job has a part of its images; None: `rows`.

    Raises:
        DataError: a process died.
        OSError: a row could not be written.
    """
    named = rows if numbers is None else numbers
    slots = store.reserve(len(rows), lane)
    waiting: list[Done] = []
    committed = time.monotonic()

    def commit() -> None:
        if waiting:
            positions = np.concatenate([part for part, _ in waiting])
            good = np.array([why is None for _, said in waiting for why in said.why])
            crcs = np.concatenate([said.crcs for _, said in waiting])
            identities = np.concatenate([said.identities for _, said in waiting])
            waiting.clear()
            if good.any():
                positions = positions[good]
                store.commit(slots[positions], named[positions], identities[good], crcs[good])

    with store.proving(slots):
        try:
            with closing(Filling(job, rows, slots, workers).run()) as parts:
                for done in parts:
                    waiting.append(done)
                    if time.monotonic() - committed > _COMMIT_SECONDS:
                        commit()
                        committed = time.monotonic()
                    yield done
        finally:
            commit()


@dataclass(frozen=True)
class Filling:
    """One round of preparing rows into slots.

    Attributes:
        job: what to do.
        rows: (n,) rows of the source.
        slots: (n,) where each goes.
        workers: the most processes to use.
    """

    job: Job
    rows: NDArray[np.int64]
    slots: NDArray[np.int64]
    workers: int

    def run(self) -> Generator[Done]:
        """Yields what is written, not yet flushed, as it comes; in any order.

        Raises:
            DataError: a process died.
            OSError: a row could not be written.
        """
        position, alone, started = 0, self.workers == 1, time.perf_counter()
        each = _CHUNK_SECONDS  # seconds a row; a guess until one is timed
        while position < len(self.rows):
            if not alone and time.perf_counter() - started > _TRIAL_SECONDS:
                if each * (len(self.rows) - position) > _WORTH_SECONDS:
                    yield from self._in_processes(position, each)
                    return
                alone = True
            stop = min(position + _rows_a_task(each), len(self.rows))
            yield self._here(np.arange(position, stop))
            position = stop
            each = (time.perf_counter() - started) / position

    def _here(self, positions: NDArray[np.intp]) -> Done:
        return positions, self.job.do(self.rows[positions].tolist(), self.slots[positions].tolist())

    def _in_processes(self, first: int, seconds_each: float) -> Generator[Done]:
        size = _rows_a_task(seconds_each)
        chunks = np.split(np.arange(first, len(self.rows)), range(size, len(self.rows) - first, size))
        tasks = ((chunk, (self.rows[chunk].tolist(), self.slots[chunk].tolist())) for chunk in chunks)
        yield from share_out(_do, self.job, tasks, min(self.workers, len(chunks)), _DIED)


def _do(job: Job, task: tuple[list[int], list[int]]) -> Outcome:
    return job.do(*task)


def _rows_a_task(seconds_each: float) -> int:
    return int(np.clip(_CHUNK_SECONDS / seconds_each, 1, _MOST_ROWS))
