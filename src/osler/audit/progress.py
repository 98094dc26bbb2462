"""Progress: how far a long task is, how fast, and how long it will take, on stderr."""

from __future__ import annotations

import sys
import time
from typing import TextIO

__all__ = ["Progress"]

ON_TERMINAL, ELSEWHERE = 0.2, 30.0
"""Seconds between two lines: often on a terminal, where the line is written over; seldom in a log."""


class Progress:
    """A line that says how far it is. Short tasks say nothing."""

    def __init__(self, stream: TextIO | None = None, every: float | None = None) -> None:
        self._stream = stream or sys.stderr
        self._over = self._stream.isatty()
        self._every = every if every is not None else ON_TERMINAL if self._over else ELSEWHERE
        self._name, self._total, self._done = "", 0, 0
        self._started = self._shown = time.monotonic()
        self._written = 0

    def begin(self, name: str, total: int) -> None:
        """Starts a task of so many steps."""
        self._name, self._total, self._done = name, total, 0
        self._started = self._shown = time.monotonic()

    def advance(self, steps: int) -> None:
        """So many more are done."""
        self._done += steps
        now = time.monotonic()
        if now - self._shown >= self._every:
            self._shown = now
            self._write(progress_line(self._name, self._done, self._total, now - self._started))

    def end(self) -> None:
        """Clears the line."""
        if self._over and self._written:
            self._stream.write("\r" + " " * self._written + "\r")
            self._stream.flush()
        self._written = 0

    def _write(self, line: str) -> None:
        text = f"\r{line.ljust(self._written)}" if self._over else f"{line}\n"
        self._written = max(self._written, len(line))
        self._stream.write(text)
        self._stream.flush()


def progress_line(name: str, done: int, total: int, seconds: float) -> str:
    """What is shown.

    >>> progress_line("Measuring images", 2000, 10000, 4.0)
    'Measuring images: 2,000 of 10,000 · 500/s · 0:16 left'
    """
    rate = done / max(seconds, 1e-9)
    left = round((total - done) / rate) if done else 0
    clock = f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}" if left >= 3600 else f"{left // 60}:{left % 60:02d}"
    speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
    return f"{name}: {done:,} of {total:,} · {speed}/s · {clock} left"
