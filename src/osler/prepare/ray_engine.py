"""Preparation by tasks of a Ray cluster: each writes a part of the rows into a lane of the store, in a folder all nodes share.

Nothing but numbers and messages comes back: pixels go from the node that prepared them to the folder. A part is resumed where it
was, by whichever node gets it next, because what is finished stands in the lane's index.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.data.cache import PackedCache
from osler.data.filling import Job, fill
from osler.data.records import digest
from osler.data.shards import ShardStore, storage_error
from osler.errors import DataError
from osler.prepare.shares import divide
from osler.prepare.work import Work

__all__ = ["Part", "PartDone", "prepare_on_ray"]

_LOOK_SECONDS = 0.5
_PATIENCE = 60.0
"""So long a network file system may hide from one machine what another has written."""
_RETRIES = 3


@dataclass(frozen=True)
class PartDone:
    """What a task hands back.

    Attributes:
        unreadable: row → why its image cannot be used.
        moving: rows whose file changed since the driver looked at it.
        error: why the part could not be done, or None.
    """

    unreadable: dict[int, str]
    moving: tuple[int, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Part:
    """Rows that one task prepares. Picklable; it carries what these rows need and no more.

    Attributes:
        job: of the images of these rows alone.
        rows: (n,) their numbers in the whole source.
        identities: (n, 2) digests of the state in which the driver saw them.
        description: of the store.
        lane: of the store; no other task writes there.
    """

    job: Job
    rows: NDArray[np.int64]
    identities: NDArray[np.uint64]
    description: Mapping[str, Any]
    lane: int

    def run(self) -> PartDone:
        """Prepares what the store lacks of these rows."""
        import cv2

        cv2.setNumThreads(1)  # as many tasks as cores are at work already
        store = ShardStore(self.job.geometry, self.description)
        try:
            self._require_shared(store)
            with store.lock(self.lane):
                return self._fill(store)
        except OSError as error:
            return PartDone({}, error=str(storage_error(store.folder, error, f"preparing images on {socket.gethostname()}")))
        except DataError as error:
            return PartDone({}, error=str(error))

    def _require_shared(self, store: ShardStore) -> None:
        """DataError where this node does not see the driver's folder; made here, it would be a folder of this node alone."""
        until = time.monotonic() + _PATIENCE
        while not store.is_there():
            if time.monotonic() > until or not store.folder.parent.exists():
                raise DataError(
                    f"{store.folder}: the node {socket.gethostname()} does not see this cache. Set data.cache to a folder that "
                    "all nodes of the cluster share, by the same path."
                )
            time.sleep(_LOOK_SECONDS)

    def _fill(self, store: ShardStore) -> PartDone:
        unreadable: dict[int, str] = {}
        moving: list[int] = []
        lacking = self._lacking(store, unreadable)
        if not len(lacking):
            return PartDone(unreadable)
        with closing(fill(store, self.job, lacking, 1, self.lane, self.rows[lacking])) as parts:
            for positions, outcome in parts:
                for at, why, state in zip(lacking[positions].tolist(), outcome.why, outcome.identities.tolist(), strict=True):
                    if why is not None:
                        unreadable[int(self.rows[at])] = why
                    elif state != self.identities[at].tolist():
                        moving.append(int(self.rows[at]))
        return PartDone(unreadable, tuple(moving))

    def _lacking(self, store: ShardStore, unreadable: dict[int, str]) -> NDArray[np.int64]:
        """Positions of the rows that are not in the store as they are now, as after a task that died."""
        records = store.records()
        records = records[np.isin(records["row"], self.rows)]
        there = {(row, *state) for row, state in zip(records["row"].tolist(), records["identity"].tolist(), strict=True)}
        lacking = []
        for at, row in enumerate(self.rows.tolist()):
            try:
                if (row, *digest(self.job.identity(at))) not in there:
                    lacking.append(at)
            except DataError as error:
                unreadable[row] = str(error)
        return np.array(lacking, np.int64)


def prepare_on_ray(work: Work) -> None:
    """Prepares the rows of a piece of work on the cluster that RAY_ADDRESS names, or that runs here, else on one started here.

    Raises:
        DataError: Ray is not installed, a node does not share the folder, tasks died, or too many images cannot be used.
    """
    cache, rows = work.cache, work.rows
    missing = cache.find_missing(rows)
    if len(missing):
        ray = _import_ray()
        with _connected(ray) as cores:
            _run(ray, work, missing, cores)
        _settle(cache, rows)
    cache.require_readable(rows, work.most_unreadable)


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report over the network
    try:
        import ray
    except ImportError as error:
        raise DataError(
            f"--engine ray: Ray cannot be imported ({error}). Install it on every node: pip install 'osler[ray]'; or use --shard "
            "i/n, which needs nothing but the folder."
        ) from error
    return ray


@contextmanager
def _connected(ray: Any) -> Iterator[int]:
    """The cores of the cluster; a connection that was there before is left as it was."""
    mine = not ray.is_initialized()
    if mine:
        try:
            ray.init(log_to_driver=False, logging_level="ERROR", include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise DataError(f"--engine ray: no cluster can be reached or started: {error}. Check RAY_ADDRESS.") from error
    try:
        yield max(1, int(ray.cluster_resources().get("CPU", 1)))
    finally:
        if mine:
            ray.shutdown()


def _run(ray: Any, work: Work, missing: NDArray[np.int64], cores: int) -> None:
    cache = work.cache
    todo = list(enumerate(divide(missing, cores), start=max(1, work.share.lane)))
    task = ray.remote(num_cpus=1, max_retries=_RETRIES)(Part.run)
    under_way: list[Any] = []
    before = cache.store.count()
    try:
        while todo or under_way:
            # Two tasks a core keep all of them busy; a part is made when its turn comes, so that few are in memory.
            while todo and len(under_way) < 2 * cores:
                lane, rows = todo.pop(0)
                under_way.append(task.remote(_part(cache, rows, lane)))
            ready, under_way = ray.wait(under_way, timeout=_LOOK_SECONDS)
            for done in ray.get(ready):
                _take(cache, done)
            work.progress(min(cache.store.count() - before + len(cache.unreadable), len(missing)), len(missing))
            cache.require_readable(work.rows, work.most_unreadable)
    except ray.exceptions.RayError as error:
        raise DataError(
            f"--engine ray: a task died {_RETRIES + 1} times, or its node was lost ({type(error).__name__}), most likely because "
            "memory ran out. What was finished is kept: start again."
        ) from error
    finally:
        for running in under_way:
            ray.cancel(running)


def _part(cache: PackedCache, rows: NDArray[np.int64], lane: int) -> Part:
    job = cache.job
    masks = None if job.masks is None else job.masks.take(rows)
    return Part(replace(job, images=job.images.take(rows), masks=masks), rows, cache.states(rows), cache.store.description, lane)


def _take(cache: PackedCache, done: PartDone) -> None:
    if done.error is not None:
        raise DataError(done.error)
    for row, why in done.unreadable.items():
        cache.refuse(row, why)
    cache.moving.update(done.moving)


def _settle(cache: PackedCache, rows: NDArray[np.int64]) -> None:
    """Finds what the tasks have written, once this machine sees it."""
    cache.look_again(sorted(cache.moving))
    until = time.monotonic() + _PATIENCE
    while len(left := cache.find_missing(rows)):
        if time.monotonic() > until:
            raise DataError(
                f"{cache.store.folder}: {len(left)} images that the tasks have prepared are not to be seen here. Is data.cache "
                "one folder that all nodes share? Start again: what is there is kept."
            )
        time.sleep(_LOOK_SECONDS)
