"""Files that are whole or not there: atomic writes, strict JSON, and locks."""

from __future__ import annotations

import fcntl
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from osler.errors import RunError

__all__ = ["in_one_process", "make_out_folder", "strict_json", "write_atomic", "write_bytes", "write_json", "write_text"]


def write_atomic(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Writes a file so that a reader sees the old content or the new, never a part, whenever the process dies.

    Args:
        path: the file; its folder must exist.
        write: is called once with an open binary file.

    Raises:
        RunError: the folder is read-only, or the disk is full; what stood at `path` before is still there.
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written: {error.strerror or error}. What stood there before is unchanged; "
            "free some space or choose another folder, then resume."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes bytes atomically."""
    write_atomic(path, lambda file: file.write(content))


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    write_bytes(path, text.encode())


def make_out_folder(folder: Path) -> None:
    """Makes the folder that `--out` names.

    Raises:
        RunError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"--out: {folder} cannot be made: {error.strerror}. Choose another folder.") from error


def write_json(path: Path, value: Any) -> None:
    """Writes strict, indented JSON atomically."""
    write_text(path, json.dumps(strict_json(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def strict_json(value: Any) -> Any:
    """The same value in what JSON knows: NaN and infinities become None, numpy numbers plain ones, arrays lists.

    >>> strict_json({"auc": float("nan"), "n": (1, 2)})
    {'auc': None, 'n': [1, 2]}
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):  # a numpy float64 too
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): strict_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [strict_json(item) for item in value]
    if hasattr(value, "tolist"):  # numpy arrays and scalars, without importing numpy here
        return strict_json(value.tolist())
    return str(value)


@contextmanager
def in_one_process(path: Path, otherwise: str) -> Iterator[None]:
    """Holds a lock file; RunError, which says `otherwise`, where another process holds it. A process that dies lets it go."""
    with open(path, "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(otherwise) from None
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield
