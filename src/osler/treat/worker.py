"""The worker: a process that trains arms, one after another, so that an arm that crashes takes nothing with it.

    python -m osler.treat.worker

Jobs come as lines of JSON on stdin, answers go as lines of JSON to stdout; what training says goes to stderr. {"stop": true}
stops the job in hand after its step, resumable, and so does the end of stdin: a treatment that was killed leaves no orphan.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Queue
from typing import IO, Any

__all__ = ["do_job", "serve"]

Job = Mapping[str, Any]
Answer = dict[str, Any]
WAIT = 60.0
"""Seconds that a folder may still be held by a worker whose treatment was killed."""


def do_job(job: Job) -> Answer:
    """Does one job and says what became of it: "done", "diverged", "stopped" (resumable), or "failed", and why.

    Args:
        job: {"do": "train", "config": FILE, "folder": DIR}, or {"do": "test", "folder": DIR, "data": config FILE, "out": FILE}.
    """
    from osler.errors import OslerError
    from osler.train.fit import TrainingStoppedError

    try:
        JOBS[job["do"]](job)
    except TrainingStoppedError as error:
        if error.exit_code != 1:
            return {"status": "stopped", "reason": str(error)}
        return _settled(Path(job["folder"]), str(error))
    except OslerError as error:
        return {"status": "failed", "reason": str(error)}
    except Exception as error:  # a treatment goes on with its other arms, whatever one of them runs into
        return {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
    return {"status": "done", "reason": ""}


def _train(job: Job) -> None:
    from osler.config import load_config
    from osler.runs.folder import RunFolder
    from osler.train.fit import resume_run, train_run

    folder = Path(job["folder"])
    if (folder / "config.yaml").is_file():
        _wait_for(RunFolder(folder))
        resume_run(folder)
        return
    if folder.is_dir():  # begun, and killed before its configuration was written
        shutil.rmtree(folder)
    train_run(load_config(Path(job["config"])), folder)


def _wait_for(run: Any) -> None:
    from osler.errors import RunError

    end = time.monotonic() + WAIT
    while True:
        try:
            with run.in_use():
                return
        except RunError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def _settled(folder: Path, reason: str) -> Answer:
    """Ends a run whose loss was not finite with the best weights that it had: they are what it would be used with."""
    import torch

    from osler.errors import OslerError
    from osler.files import write_atomic
    from osler.train.fit import resume_run
    from osler.train.state import load_checkpoint

    last = folder / "checkpoints" / "last.pt"
    try:
        if last.is_file() and (folder / "checkpoints" / "best.pt").is_file():
            content = load_checkpoint(last)
            content["progress"]["stop_reason"] = "stopped: the loss was not finite"
            write_atomic(last, lambda file: torch.save(content, file))
            resume_run(folder)
    except OslerError as error:  # weights that give no finite output: a constant prediction stands for them
        reason = f"{reason} {error}"
    return {"status": "diverged", "reason": reason}


def _test(job: Job) -> None:
    from osler.treat.held_out import predict_test

    predict_test(Path(job["folder"]), Path(job["data"]), Path(job["out"]))


JOBS: dict[str, Callable[[Job], None]] = {"train": _train, "test": _test}


def serve(jobs: IO[str], answers: IO[str]) -> None:
    """Answers jobs until there are no more."""
    queue: Queue[Job | None] = Queue()
    busy = threading.Event()

    def listen() -> None:
        for line in jobs:
            job = json.loads(line)
            if not job.get("stop"):
                queue.put(job)
            elif busy.is_set():
                os.kill(os.getpid(), signal.SIGTERM)
        queue.put(None)
        if busy.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    # Between jobs a signal that came too late must not end the worker.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    threading.Thread(target=listen, daemon=True).start()
    while (job := queue.get()) is not None:
        busy.set()
        answer = do_job(job)
        busy.clear()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    serve(sys.stdin, stdout)
