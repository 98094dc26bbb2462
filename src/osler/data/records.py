"""The records of a store's index: which row of the source, in which state, lies in which slot, and the checksum of its bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RECORD", "digest", "make_records", "read_records"]

RECORD = np.dtype([("slot", "<i8"), ("row", "<i8"), ("identity", "<u8", (2,)), ("crc", "<u4"), ("check", "<u4")])
"""`crc` is the CRC-32 (zlib's) of the row's bytes as they lie in the shard; `check` is of the record itself."""
_SALT = np.uint64(0x6F736C65722F3032)
"""Makes the check of a record of zeros, as a power cut may leave, wrong."""


def digest(identity: str) -> tuple[int, int]:
    """128 bits of a row's identity, as an index record keeps it.

    >>> digest("a.png 10 1") == digest("a.png 10 2")
    False
    """
    value = hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(value[:8], "little"), int.from_bytes(value[8:], "little")


def make_records(
    slots: NDArray[np.int64], rows: NDArray[np.int64], identities: NDArray[np.uint64], crcs: NDArray[np.uint32]
) -> NDArray[Any]:
    """(n,) of `RECORD`.

    Args:
        slots: (n,) where the rows lie.
        rows: (n,) of the source.
        identities: (n, 2) digests of the state of each.
        crcs: (n,) of their bytes.
    """
    records = np.zeros(len(slots), RECORD)
    records["slot"], records["row"], records["identity"], records["crc"] = slots, rows, identities, crcs
    records["check"] = _check(records)
    return records


def read_records(path: Path) -> NDArray[Any]:
    """(n,) of `RECORD` from an index file, those that are torn or damaged left out; none where there is no file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return np.empty(0, RECORD)
    records = np.frombuffer(data, RECORD, count=len(data) // RECORD.itemsize)
    sound = (records["check"] == _check(records)) & (records["slot"] >= 0) & (records["row"] >= 0)
    return np.asarray(records[sound])


def _check(records: NDArray[Any]) -> NDArray[np.uint32]:
    mixed = records["slot"].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + records["row"].astype(np.uint64)
    mixed ^= records["identity"][:, 0] ^ (records["identity"][:, 1] * np.uint64(0x9FB21C651E98DF25)) ^ _SALT
    mixed += records["crc"].astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    # Both halves count: one alone would not see a bit that is lost in the other.
    folded: NDArray[np.uint32] = ((mixed ^ (mixed >> np.uint64(32))) & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    return folded
