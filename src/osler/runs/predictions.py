"""Predictions of one split: what a model said, beside what was true. Kept in the run as `predictions/SPLIT.npz`."""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osler.errors import RunError
from osler.files import write_atomic

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Predictions", "metadata_of", "read_arrays"]

METADATA = "metadata."
ARRAYS = ("ids", "targets", "logits", "probabilities", "patients")


@dataclass(frozen=True)
class Predictions:
    """What a model said of N samples.

    Attributes:
        ids: (N,) texts.
        targets: (N, K) float32 in {0, 1, NaN}; NaN is unknown.
        logits: (N, K) float32.
        probabilities: (N, K) float32 in 0..1; NaN only where the model's output was.
        patients: (N,) texts, or None where patients are unknown.
        metadata: N rows of what else is known of the samples, or None. Not stored: the run's splits.csv holds it.
    """

    ids: NDArray[np.str_]
    targets: NDArray[np.float32]
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    patients: NDArray[np.str_] | None = None
    metadata: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        shapes = {self.targets.shape, self.logits.shape, self.probabilities.shape}
        assert len(shapes) == 1, f"targets, logits and probabilities differ in shape: {sorted(shapes)}"
        assert self.targets.shape[:-1] == (len(self.ids),), f"{len(self.ids)} ids, targets {self.targets.shape}"
        assert self.patients is None or len(self.patients) == len(self.ids), "one patient a sample"
        assert self.metadata is None or len(self.metadata) == len(self.ids), "one row of metadata a sample"

    def __len__(self) -> int:
        return len(self.ids)

    def save(self, path: Path) -> None:
        """Writes ids, targets, logits, probabilities and patients to an .npz file, atomically.

        Raises:
            RunError: the folder is read-only, or the disk is full.
        """
        patients = np.empty(0, dtype=np.str_) if self.patients is None else self.patients
        arrays: dict[str, Any] = {
            "ids": np.asarray(self.ids, dtype=np.str_),
            "targets": self.targets.astype(np.float32, copy=False),
            "logits": self.logits.astype(np.float32, copy=False),
            "probabilities": self.probabilities.astype(np.float32, copy=False),
            "patients": np.asarray(patients, dtype=np.str_),
        }

        def write(file: IO[bytes]) -> None:
            np.savez_compressed(file, **arrays)

        write_atomic(path, write)

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Reads what `save` wrote.

        Raises:
            RunError: the file is not there, damaged, or its arrays do not fit together.
        """
        arrays = read_arrays(path, ARRAYS)
        missing = [name for name in ARRAYS if name not in arrays]
        if missing:
            raise RunError(f"{path}: lacks {', '.join(missing)}; a predictions file holds {', '.join(ARRAYS)}")
        shape = arrays["targets"].shape
        wrong = [name for name in ("logits", "probabilities") if arrays[name].shape != shape]
        if len(shape) != 2 or wrong or len(arrays["ids"]) != shape[0] or len(arrays["patients"]) not in (0, shape[0]):
            seen = ", ".join(f"{name} {arrays[name].shape}" for name in ARRAYS)
            raise RunError(f"{path}: its arrays do not fit together: {seen}")
        patients = arrays["patients"] if len(arrays["patients"]) else None
        return cls(arrays["ids"], arrays["targets"], arrays["logits"], arrays["probabilities"], patients)

    def with_metadata(self, table: pd.DataFrame) -> Predictions:
        """The same with what `splits.csv` knows of the samples: its columns `metadata.NAME`, under NAME.

        Raises:
            RunError: the table lacks some of the ids.
        """
        return replace(self, metadata=metadata_of(self.ids, table))

    def digest(self) -> str:
        """A short hash of ids, targets and probabilities: equal for equal predictions.

        >>> one = np.ones((1, 1), dtype=np.float32)
        >>> len(Predictions(np.array(["a"]), one, one, one).digest())
        16
        """
        content = hashlib.sha256("\n".join(self.ids).encode())
        for array in (self.targets, self.probabilities):
            content.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
        return content.hexdigest()[:16]


def metadata_of(ids: NDArray[np.str_], table: pd.DataFrame) -> pd.DataFrame:
    """What `splits.csv` knows of these samples: its columns `metadata.NAME`, under NAME.

    Raises:
        RunError: the table lacks some of the ids.
    """
    known = table.set_index(table["id"].astype(str)).filter(regex=rf"^{re.escape(METADATA)}")
    lacking = [str(name) for name in ids if name not in known.index]
    if lacking:
        raise RunError(f"splits.csv lacks {len(lacking)} of {len(ids)} predicted samples, such as {', '.join(lacking[:3])}")
    rows = known.loc[list(ids)].reset_index(drop=True)
    return rows.rename(columns=lambda name: name.removeprefix(METADATA))


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Those of the named arrays that a predictions file holds.

    Raises:
        RunError: the file is not there, holds something else, or is damaged.
    """
    try:
        # Opened here, since numpy leaves a damaged archive open.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise RunError(f"{path}: holds a single array; a predictions file holds {', '.join(names)}")
            with loaded:
                return {name: loaded[name] for name in names if name in loaded}
    except FileNotFoundError:
        raise RunError(
            f"{path}: is not there. Training writes it at its end; if the run was stopped, `osler resume` finishes it."
        ) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{path}: is no predictions file, or is damaged: {error}") from error
