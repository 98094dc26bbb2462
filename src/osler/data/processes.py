"""Work shared out to other processes, which end with the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from osler.errors import DataError

__all__ = ["share_out"]

Shared = TypeVar("Shared")
Key = TypeVar("Key")
Task = TypeVar("Task")
Result = TypeVar("Result")


def share_out(
    work: Callable[[Shared, Task], Result], shared: Shared, tasks: Iterable[tuple[Key, Task]], workers: int, died: str
) -> Generator[tuple[Key, Result]]:
    """Does each task in one of several processes; yields its key and its result as they come, in any order.

    Args:
        work: a module's function.
        shared: what all tasks need; sent to each process once.
        tasks: a key, which stays here, and what is sent. Taken as they are needed.
        workers: processes.
        died: said where a process dies.

    Raises:
        DataError: a process died.
    """
    # Fresh processes: forked ones would inherit locks and threads of OpenCV, of a progress bar, or of torch.
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(work, shared))
    left, under_way = iter(tasks), dict[Future[Any], Key]()
    try:
        while True:
            # Two tasks a worker keep all of them busy, and few results wait in memory.
            while len(under_way) < 2 * workers and (task := next(left, None)) is not None:
                under_way[pool.submit(_work, task[1])] = task[0]
            if not under_way:
                return
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                yield under_way.pop(future), future.result()
    except BrokenProcessPool as error:
        raise DataError(died) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


# --- in the other processes -------------------------------------------------------------------------------------------------

_doing: tuple[Callable[[Any, Any], Any], Any] | None = None


def _start(work: Callable[[Any, Any], Any], shared: Any) -> None:
    import cv2

    global _doing
    _doing = work, shared
    cv2.setNumThreads(1)  # as many processes as cores are at work already
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent cannot end its workers, which would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "runs in a worker"
    parent.join()
    os._exit(1)


def _work(task: Any) -> Any:
    assert _doing is not None, "the initializer ran"
    work, shared = _doing
    return work(shared, task)
