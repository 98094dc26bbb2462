"""Running arms: in a worker process, watched from here; or, for small runs, in this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import IO, Any, Protocol

from osler.treat.worker import do_job

__all__ = ["Inline", "Runner", "Worker"]

Job = Mapping[str, Any]
Answer = dict[str, Any]
Watch = Callable[[], bool]
POLL = 0.25
PATIENCE = 120.0
"""Seconds that a job has to stop after being asked to, before its process is ended."""


class Runner(Protocol):
    """Does jobs; whatever becomes of one, the next can be done."""

    def run(self, job: Job, watch: Watch) -> Answer:
        """The job's answer; `watch` is asked now and then, and true means: stop it, resumable.

        A job whose process died is answered with status "killed".
        """

    def close(self) -> None:
        """Ends what was started."""


class Inline:
    """In this process: no job can be watched, or outlive a crash."""

    def run(self, job: Job, watch: Watch) -> Answer:
        return do_job(job)

    def close(self) -> None:
        pass


class Worker:
    """In one process of its own, started when first needed and again after it died.

    Args:
        log: takes what the arms' trainings say.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self._process: subprocess.Popen[str] | None = None
        self._answers: Queue[Answer | None] = Queue()

    def run(self, job: Job, watch: Watch) -> Answer:
        process = self._started()
        if not self._send(process, job):
            return self._died(process)
        asked: float | None = None
        while True:
            try:
                answer = self._answers.get(timeout=POLL)
            except Empty:
                if asked is None and watch():
                    asked = time.monotonic()
                    self._send(process, {"stop": True})
                elif asked is not None and time.monotonic() - asked > PATIENCE:
                    process.kill()
                continue
            return self._died(process) if answer is None else answer

    def close(self) -> None:
        """Lets a job in hand stop after its step, and ends the process."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None, "the worker was started with a pipe"
        with suppress(OSError):  # it may be gone already
            process.stdin.close()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _started(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        root = str(Path(__file__).resolve().parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        with self.log.open("a", encoding="utf-8") as log:
            # A session of its own: Ctrl-C reaches the treatment alone, which then ends this in good order.
            process = subprocess.Popen(
                [sys.executable, "-m", "osler.treat.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8",
                start_new_session=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            )  # fmt: skip
        self._process, self._answers = process, Queue()
        assert process.stdout is not None, "the worker was started with a pipe"
        threading.Thread(target=_listen, args=(process.stdout, self._answers), daemon=True).start()
        return process

    @staticmethod
    def _send(process: subprocess.Popen[str], job: Job) -> bool:
        assert process.stdin is not None, "the worker was started with a pipe"
        try:
            process.stdin.write(json.dumps(dict(job)) + "\n")
            process.stdin.flush()
        except OSError:
            return False
        return True

    def _died(self, process: subprocess.Popen[str]) -> Answer:
        code = process.wait()
        self._process = None
        if process.stdin is not None:
            with suppress(OSError):  # what was written and not taken is lost with the process
                process.stdin.close()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        guess = "; it may have run out of memory" if code == -9 else ""
        return {"status": "killed", "reason": f"its process ended by {how}{guess}. What it said last is in {self.log}"}


def _listen(stdout: IO[str], answers: Queue[Answer | None]) -> None:
    with stdout:
        for line in stdout:
            answers.put(json.loads(line))
    answers.put(None)
