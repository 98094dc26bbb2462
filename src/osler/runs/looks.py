"""Looks: every time that figures of held-out samples are computed, one line in `logs/test_looks.jsonl`.

A test set answers once. Whoever looks, changes something and looks again has begun to fit to it, and nobody can see that in
the last figure alone; the number of looks stands on every page instead.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from osler.errors import RunError
from osler.runs.folder import RunFolder

__all__ = ["log_look", "looks_file", "read_looks"]


def looks_file(run: RunFolder) -> Path:
    """Where the looks of a run are kept."""
    return run.logs / "test_looks.jsonl"


def log_look(run: RunFolder, *, command: str, split: str, checkpoint: str, predictions: str) -> None:
    """Adds one look and waits until it is on the disk.

    Args:
        run: the run looked at.
        command: what was asked for.
        split: the samples looked at.
        checkpoint: whose predictions.
        predictions: `Predictions.digest()`, so that a repeated look at the same predictions can be told from a new one.

    Raises:
        RunError: the folder is read-only, or the disk is full; figures are not shown then.
    """
    look = {
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command,
        "split": split,
        "checkpoint": checkpoint,
        "predictions": predictions,
    }
    path = looks_file(run)
    try:
        path.parent.mkdir(exist_ok=True)
        with path.open("a+b") as file:
            # A line that a kill cut short must not swallow this one.
            start = b"" if _ends_a_line(file) else b"\n"
            file.write(start + json.dumps(look, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(
            f"{path}: this look at the {split} split cannot be recorded: {error.strerror}. Make the run folder writable, or "
            "evaluate a copy of it."
        ) from error


def read_looks(run: RunFolder, split: str) -> Sequence[Mapping[str, Any]]:
    """The looks at a split so far, oldest first; a line cut short by a kill counts, without its particulars."""
    path = looks_file(run)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from error
    looks = [_parsed(line, split) for line in lines]
    return [look for look in looks if look.get("split") == split]


def _ends_a_line(file: IO[bytes]) -> bool:
    """Whether the next byte written begins a line."""
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _parsed(line: str, split: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {"split": split}
    return value if isinstance(value, dict) else {"split": split}
