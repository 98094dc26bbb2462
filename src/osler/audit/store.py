"""Store: what an audit measured, kept in the cache folder, so that a killed audit goes on where it was."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.audit.measures import RECORD, schema
from osler.data.samples import Samples
from osler.errors import RunError
from osler.files import write_atomic

__all__ = ["MeasureStore", "measure_store"]

MOST_PARTS = 16
"""With more files than this they are written anew as one."""


class MeasureStore:
    """Records in files that are only ever added whole; a file that is damaged costs its records and nothing else.

    Attributes:
        folder: holds them.
        kept: whether the folder could be written; where it cannot, the audit goes on and remembers nothing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept = True
        self._parts = self._readable_parts()

    def recall(self, identities: NDArray[np.uint64]) -> NDArray[np.intp]:
        """(N,) place of each identity (N, 2) among `records`, -1 where it was never measured."""
        known = self.records["identity"]
        if not len(known):
            return np.full(len(identities), -1, np.intp)
        keys, places = np.unique(_keys(known), return_index=True)
        wanted = _keys(identities)
        spots = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[spots] == wanted, places[spots], -1)

    @property
    def records(self) -> NDArray[np.void]:
        """All that is kept."""
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts)]
        return self._parts[0] if self._parts else np.empty(0, RECORD)

    def add(self, records: NDArray[np.void]) -> None:
        """Keeps further records."""
        if not len(records) or not self.kept:
            return
        files = sorted(self.folder.glob("*.npy"))
        merging = len(files) >= MOST_PARTS
        content = np.concatenate([self.records, records]) if merging else records
        name = hashlib.sha256(content["identity"].tobytes()).hexdigest()[:24]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self.folder / f"{name}.npy", lambda file: np.save(file, content))
        except (OSError, RunError):
            self.kept = False
            return
        self._parts.append(records)
        if merging:
            for path in files:
                if path.name != f"{name}.npy":
                    path.unlink(missing_ok=True)

    def _readable_parts(self) -> list[NDArray[np.void]]:
        parts: list[NDArray[Any]] = []
        for path in sorted(self.folder.glob("*.npy")):
            try:
                part = np.load(path, allow_pickle=False)
            except (OSError, ValueError, EOFError):
                continue
            if part.dtype == RECORD:
                parts.append(part)
        return parts


def measure_store(samples: Samples, cache: Path) -> MeasureStore:
    """The store of a source; another set, or another way of measuring, is another store."""
    ids = "\0".join(samples.ids.tolist()).encode("utf-8", "surrogatepass")
    key = hashlib.sha256(schema().encode() + hashlib.sha256(ids).digest()).hexdigest()[:24]
    return MeasureStore(Path(cache).expanduser().resolve() / f"audit-{key}")


def _keys(identities: NDArray[np.uint64]) -> NDArray[np.void]:
    """(N,) of 16 bytes, which compare as a whole."""
    return np.ascontiguousarray(identities.astype(">u8")).view("V16").ravel()
