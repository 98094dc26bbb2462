"""Decodes compressed DICOM frames in a process of their own.

The decoders for lossless JPEG, JPEG-LS and JPEG 2000 are native code that damaged or hostile data bring to crash, to spin, or
to take gigabytes. One bad file must not end a night of preparation or a service, so they run beside us: a process a thread,
started with the first such file, ended with us, with bounded memory, and killed and replaced when it takes too long.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from osler.imaging.dicom_codecs import FrameLayout, read_message, write_message

__all__ = ["DecoderError", "decode_isolated"]

_SECONDS = 1.0
_PIXELS_PER_SECOND = 2_000_000
_PATIENCE = 10.0
"""Seconds by the clock for one of computing: a good file must not be lost because the machine is busy."""
_START_SECONDS = 60.0
_THIS_THREAD = threading.local()


class DecoderError(Exception):
    """Why a frame could not be decoded, in words that fit into "its pixels cannot be decoded (…)"."""


class _Decoder:
    """A decoder process, ready for work."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "osler.imaging.dicom_codecs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.requests: BinaryIO = self.process.stdin  # type: ignore[assignment]
        self.answers: BinaryIO = self.process.stdout  # type: ignore[assignment]
        self.stop = weakref.finalize(self, _end, self.process, self.owner)
        try:
            self._answer(_START_SECONDS, lambda: None)
        except DecoderError:
            raise DecoderError("no decoder process could be started") from None

    def ask(self, head: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """One request and its answer; `DecoderError` where the process crashed or was too slow, and is gone now."""
        return self._answer(head["seconds"] * _PATIENCE, lambda: write_message(self.requests, head, data))

    def _answer(self, seconds: float, send: Callable[[], None]) -> tuple[dict[str, Any], bytes]:
        timer = threading.Timer(seconds, self.process.kill)
        timer.daemon = True
        timer.start()
        try:
            send()
            return read_message(self.answers)
        except (OSError, EOFError, ValueError):
            late = timer.finished.is_set() or _ran_out_of_time(self.process)
            self.stop()
            raise DecoderError("the decoder does not come to an end" if late else "the decoder crashed") from None
        finally:
            timer.cancel()


def _ran_out_of_time(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process was ended by its limit of computing time."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(1.0) == -getattr(signal, "SIGXCPU", 0) != 0
    return False


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    """Ends a decoder process; in a fork of the process that started it, only our ends of the pipes are closed."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    if os.getpid() == owner:
        process.kill()
        process.wait()
    else:
        process.returncode = 0  # not ours to wait for


def decode_isolated(data: bytes, syntax: str, plugin: str, layout: FrameLayout) -> tuple[NDArray[Any], str]:
    """As `dicom_codecs.decode_frame`, in another process.

    A frame may take 1 s of computing, rounded up, and another second for each 2 million pixels it claims to have.

    Raises:
        DecoderError: the data cannot be decoded, or broke the decoder.
    """
    decoder: _Decoder | None = getattr(_THIS_THREAD, "decoder", None)
    if decoder is None or not decoder.stop.alive or decoder.owner != os.getpid():
        decoder = _THIS_THREAD.decoder = _Decoder()
    seconds = _SECONDS + layout.rows * layout.columns / _PIXELS_PER_SECOND
    request = {"syntax": syntax, "plugin": plugin, "layout": asdict(layout), "seconds": seconds}
    head, body = decoder.ask(request, data)
    if "error" in head:
        raise DecoderError(f"the decoder says {head['error']}")
    return np.frombuffer(bytearray(body), np.dtype(head["dtype"])).reshape(head["shape"]), str(head["photometric"])
