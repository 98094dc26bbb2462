"""How far it is, how fast it goes and when it ends: a line that moves on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TextIO

__all__ = ["Meter", "duration"]

_WINDOW = 30.0
"""Seconds over which the rate is taken: long enough for an even figure, short enough to follow a change."""
_REDRAWN = 0.2
_LOGGED = 10.0


def duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> duration(7.6), duration(3725)
    ('0:08', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@dataclass
class Meter:
    """Told how many images are done, it shows that with the rate and the time left; a context that clears its line at the end.

    Attributes:
        stream: where it shows; None: stderr.
        clock: seconds that only rise.
    """

    stream: TextIO | None = None
    clock: Callable[[], float] = time.monotonic
    _seen: deque[tuple[float, int]] = field(default_factory=deque)
    _shown: float | None = None
    _wide: int = 0

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._wide:
            self._put("\r" + " " * self._wide + "\r")

    def __call__(self, done: int, total: int) -> None:
        """Shows it, where the last time was long enough ago or this is the end."""
        now = self.clock()
        if self._seen and done < self._seen[-1][1]:  # another round began
            self._seen.clear()
        self._seen.append((now, done))
        while now - self._seen[0][0] > _WINDOW and len(self._seen) > 2:
            self._seen.popleft()
        moves = self._out.isatty()
        if self._shown is None:
            self._shown = now  # nothing can be said yet of the rate
        if done < total and now - self._shown < (_REDRAWN if moves else _LOGGED):
            return
        self._shown = now
        text = self.line(done, total)
        self._put(f"\r{text.ljust(self._wide)}" if moves else f"{text}\n")
        self._wide = len(text) if moves else 0

    def line(self, done: int, total: int) -> str:
        """What is shown; without rate and time left until both can be told."""
        said = f"{done:,} of {total:,} images"
        rate = self.rate
        if rate > 0:
            said += f" · {rate:,.0f}/s" if rate >= 10 else f" · {rate:.1f}/s"
            said += f" · {duration((total - done) / rate)} left" if done < total else ""
        return said

    @property
    def rate(self) -> float:
        """Images a second of late; 0 where nothing can be said yet."""
        if len(self._seen) < 2:
            return 0.0
        (since, before), (now, done) = self._seen[0], self._seen[-1]
        return (done - before) / (now - since) if now > since else 0.0

    @property
    def _out(self) -> TextIO:
        return self.stream or sys.stderr

    def _put(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
