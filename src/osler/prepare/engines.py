"""Who does the work: the processes of this machine, or the tasks of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable

from osler.prepare.work import Work

__all__ = ["ENGINES", "Engine"]

Engine = Callable[[Work], None]
"""Prepares the rows of a piece of work; DataError where that cannot be done, or too many images cannot be used."""


def in_processes(work: Work) -> None:
    """By processes of this machine, each with one thread of OpenCV."""
    work.cache.ensure(work.rows, work.workers, work.progress, lane=work.share.lane, most_unreadable=work.most_unreadable)


def on_ray(work: Work) -> None:
    """By the tasks of a Ray cluster."""
    from osler.prepare.ray_engine import prepare_on_ray  # Ray takes seconds to import, and is optional

    prepare_on_ray(work)


ENGINES: dict[str, Engine] = {"processes": in_processes, "ray": on_ray}
