"""Work in several processes: every task once, and one message where a process dies."""

from __future__ import annotations

import os

import pytest

from osler.data.processes import share_out
from osler.errors import DataError


def times(shared: int, task: int) -> int:
    return shared * task


def dies(shared: int, task: int) -> int:
    if task == shared:
        os._exit(3)
    return task


def test_every_task_is_done_once_with_what_is_shared() -> None:
    found = dict(share_out(times, 3, ((f"task {number}", number) for number in range(9)), 2, "died"))
    assert found == {f"task {number}": 3 * number for number in range(9)}


def test_no_task_needs_no_process() -> None:
    assert list(share_out(times, 3, [], 2, "died")) == []


def test_a_process_that_dies_is_said() -> None:
    with pytest.raises(DataError, match="memory ran out"):
        list(share_out(dies, 1, enumerate(range(4)), 1, "memory ran out"))
