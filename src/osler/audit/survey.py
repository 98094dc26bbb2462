"""Survey: every image read and measured once, in several processes, with what was measured before left as it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from osler.audit.measures import RECORD, Measured, measured_image
from osler.audit.progress import Progress
from osler.audit.store import MeasureStore, measure_store
from osler.data.processes import share_out
from osler.data.samples import Images, Samples
from osler.data.shards import digest
from osler.errors import DataError

__all__ = ["survey_images"]

_CHUNK = 64
_COMMIT_SECONDS = 5.0
"""How much work a kill may cost."""
_TRIAL = 128
"""So many images are measured here and timed before other processes, which take a second to start, are thought of."""
_WORTH_SECONDS = 4.0
_DIED = (
    "a process that measured images died, most likely because memory ran out. What was measured is kept: start again "
    "with --workers 1 to see which image does it"
)

Answer = tuple[NDArray[np.intp], list[NDArray[np.void] | str]]
"""Rows, and of each its record or why it cannot be read."""


def survey_images(samples: Samples, cache: Path, workers: int, progress: Progress) -> Measured:
    """Measures all images of a source; at any time no more than a few are in memory.

    Args:
        samples: the source.
        cache: folder that remembers what was measured, by the state of each image.
        workers: the most processes to use.
        progress: told how far it is.

    Raises:
        DataError: a process died.
    """
    records = np.zeros(len(samples), RECORD)
    unreadable: dict[int, str] = {}
    store = measure_store(samples, cache)
    for row in range(len(samples)):
        try:
            records["identity"][row] = digest(samples.images.identity(row))
        except DataError as error:
            unreadable[row] = str(error)
    places = store.recall(records["identity"])
    known = places >= 0
    known[list(unreadable)] = False
    records[known] = store.records[places[known]]
    missing = np.setdiff1d(np.flatnonzero(~known), np.fromiter(unreadable, np.intp, len(unreadable)))
    progress.begin("Measuring images", len(missing))
    _take(samples.images, missing, workers, records, unreadable, store, progress)
    progress.end()
    return Measured(records, unreadable, len(missing))


def _take(
    images: Images,
    rows: NDArray[np.intp],
    workers: int,
    records: NDArray[np.void],
    unreadable: dict[int, str],
    store: MeasureStore,
    progress: Progress,
) -> None:
    """Puts what is measured into the arrays, and every few seconds into the store."""
    waiting: list[NDArray[np.intp]] = []
    committed = time.monotonic()
    try:
        for done, answers in _answers(images, rows, workers):
            good = []
            for row, answer in zip(done.tolist(), answers, strict=True):
                if isinstance(answer, str):
                    unreadable[row] = answer
                    continue
                answer["identity"] = records["identity"][row]
                records[row] = answer
                good.append(row)
            waiting.append(np.array(good, np.intp))
            progress.advance(len(done))
            if time.monotonic() - committed > _COMMIT_SECONDS:
                _commit(waiting, records, store)
                committed = time.monotonic()
    finally:
        _commit(waiting, records, store)


def _commit(waiting: list[NDArray[np.intp]], records: NDArray[np.void], store: MeasureStore) -> None:
    rows = np.concatenate(waiting) if waiting else np.empty(0, np.intp)
    waiting.clear()
    store.add(records[rows])


def _answers(images: Images, rows: NDArray[np.intp], workers: int) -> Iterator[Answer]:
    """The first few here; the others in processes, where there is enough to do."""
    started = time.perf_counter()
    for start in range(0, min(_TRIAL, len(rows)), _CHUNK // 4):
        chunk = rows[start : min(start + _CHUNK // 4, _TRIAL)]
        yield chunk, _measure(images, chunk)
    rest = rows[_TRIAL:]
    seconds = (time.perf_counter() - started) / _TRIAL * len(rest)
    chunks = np.split(rest, range(_CHUNK, len(rest), _CHUNK)) if len(rest) else []
    if workers > 1 and seconds > _WORTH_SECONDS:
        yield from share_out(_measure, images, ((chunk, chunk) for chunk in chunks), min(workers, len(chunks)), _DIED)
        return
    for chunk in chunks:
        yield chunk, _measure(images, chunk)


def _measure(images: Images, rows: NDArray[np.intp]) -> list[NDArray[np.void] | str]:
    answers: list[NDArray[np.void] | str] = []
    for row in rows.tolist():
        try:
            answers.append(measured_image(images, row))
        except DataError as error:
            answers.append(str(error))
    return answers
