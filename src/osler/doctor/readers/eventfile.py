"""TensorBoard event files: records and protocol-buffer fields read by hand, so that no TensorBoard need be installed.

A file is a sequence of records: length (8 bytes, little endian), CRC of the length (4), the data, CRC of the data (4); the
CRCs are masked CRC-32C. Each record is an `Event` message (tensorflow/core/util/event.proto), whose summaries hold scalars
as `simple_value` or as a tensor of one number (summary.proto, tensor.proto).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from osler.errors import DataError

__all__ = ["Events", "is_event_file", "read_events"]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
LARGEST_RECORD = 1 << 28
MOST_DAMAGED = 100

# DataType of tensor.proto → NumPy type of tensor_content, and the field of TensorProto that else holds the values.
TENSOR_TYPES: dict[int, tuple[str, int]] = {
    1: ("<f4", 5), 2: ("<f8", 6), 3: ("<i4", 7), 9: ("<i8", 10), 10: ("?", 11), 19: ("<f2", 13), 17: ("<u2", 7), 4: ("<u1", 7),
    5: ("<i2", 7), 6: ("<i1", 7), 22: ("<u4", 16), 23: ("<u8", 17),
}  # fmt: skip
BFLOAT16 = 14
# Plugins whose summaries are pictures, graphs and texts.
SCALARS = ("", "scalars")


@dataclass(frozen=True)
class Events:
    """What an event file logs.

    Attributes:
        scalars: tag → (step, wall time in seconds, value) in the order of the file.
        others: names of what it holds besides: graphs, images, histograms.
        notes: damage that was passed over.
    """

    scalars: dict[str, list[tuple[int, float, float]]]
    others: tuple[str, ...]
    notes: tuple[str, ...]


def is_event_file(data: bytes) -> bool:
    """Whether the first record's length carries its right checksum; no other file begins so.

    >>> is_event_file(b"epoch,loss")
    False
    """
    return len(data) >= 12 and struct.unpack_from("<I", data, 8)[0] == _masked_crc(data[:8])


def read_events(data: bytes, name: str) -> Events:
    """The scalars of an event file; a last record cut short is left out, a damaged one passed over.

    Raises:
        DataError: it is no event file, or damaged throughout.
    """
    scalars: dict[str, list[tuple[int, float, float]]] = {}
    others: dict[str, None] = {}
    notes: list[str] = []
    damaged = 0
    for event in _records(data, name, notes):
        try:
            step, wall_time, summaries, rest = _event(event)
            for summary in summaries:
                tag, value, plugin = _summary(summary)
                if value is None:
                    others.setdefault(plugin or "other summaries")
                else:
                    scalars.setdefault(tag, []).append((step, wall_time, value))
            others.update(dict.fromkeys(rest))
        except (ValueError, IndexError, struct.error):
            damaged += 1
            if damaged > MOST_DAMAGED:
                raise DataError(
                    f"{name}: more than {MOST_DAMAGED} of its events are damaged; it is no usable event file."
                ) from None
    if damaged:
        notes.append(f"{damaged} damaged events were passed over")
    return Events(scalars, tuple(others), tuple(notes))


def _records(data: bytes, name: str, notes: list[str]) -> Iterator[bytes]:
    place, size = 0, len(data)
    while place < size:
        if place + 12 > size:
            notes.append(f"the file breaks off within its last record, {size - place} bytes from the end")
            return
        length = struct.unpack_from("<Q", data, place)[0]
        if struct.unpack_from("<I", data, place + 8)[0] != _masked_crc(data[place : place + 8]) or length > LARGEST_RECORD:
            if place == 0:
                raise DataError(f"{name}: is named like a TensorBoard event file, and is none: its first checksum is wrong.")
            notes.append(f"damaged at byte {place} of {size}: what follows is left out")
            return
        end = place + 12 + length
        if end + 4 > size:
            notes.append(f"the file breaks off within its last record, {size - place} bytes from the end")
            return
        yield data[place + 12 : end]
        place = end + 4


def _fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Number, wire type and value of each field of a message (developers.google.com/protocol-buffers/docs/encoding)."""
    place, size = 0, len(data)
    while place < size:
        key, place = _varint(data, place)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, place = _varint(data, place)
            yield number, wire, value
            continue
        if wire == BYTES:
            length, place = _varint(data, place)
        elif wire in (FIXED64, FIXED32):
            length = 8 if wire == FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if place + length > size:
            raise ValueError("a field reaches beyond its message")
        yield number, wire, data[place : place + length]
        place += length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _event(data: bytes) -> tuple[int, float, list[bytes], list[str]]:
    """Step, wall time, the summaries' bytes, and names of what else the event holds."""
    step, wall_time = 0, math.nan
    summaries: list[bytes] = []
    rest: list[str] = []
    for number, wire, value in _fields(data):
        if number == 1 and wire == FIXED64 and isinstance(value, bytes):
            wall_time = struct.unpack("<d", value)[0]
        elif number == 2 and isinstance(value, int):
            step = value - (1 << 64) if value >= 1 << 63 else value
        elif number == 5 and isinstance(value, bytes):
            summaries += [item for inner, _, item in _fields(value) if inner == 1 and isinstance(item, bytes)]
        elif number in (4, 9):
            rest.append("a graph")
    return step, wall_time, summaries, rest


def _summary(data: bytes) -> tuple[str, float | None, str]:
    """Tag, number and plugin of a `Summary.Value`; None where it is no scalar."""
    tag = plugin = ""
    value: float | None = None
    tensor: bytes | None = None
    other = ""
    for number, wire, item in _fields(data):
        if number == 1 and isinstance(item, bytes):
            tag = item.decode("utf-8", errors="replace")
        elif number == 2 and wire == FIXED32 and isinstance(item, bytes):
            value = struct.unpack("<f", item)[0]
        elif number == 8 and isinstance(item, bytes):
            tensor = item
        elif number == 9 and isinstance(item, bytes):
            plugin = _plugin(item)
        elif number in (4, 5, 6):
            other = {4: "images", 5: "histograms", 6: "audio"}[number]
    if value is None and tensor is not None and plugin in SCALARS:
        value = _scalar_of_tensor(tensor)
    return tag, value, plugin or other


def _plugin(metadata: bytes) -> str:
    """Name of the plugin in a `SummaryMetadata`."""
    for number, _, item in _fields(metadata):
        if number == 1 and isinstance(item, bytes):
            for inner, _, name in _fields(item):
                if inner == 1 and isinstance(name, bytes):
                    return name.decode("utf-8", errors="replace")
    return ""


def _scalar_of_tensor(data: bytes) -> float | None:
    """The number of a `TensorProto` that holds just one."""
    fields: dict[int, int | bytes] = {}
    for number, _, value in _fields(data):
        fields[number] = value
    kind = fields.get(1, 0)
    if kind not in TENSOR_TYPES and kind != BFLOAT16:
        return None
    content = fields.get(4)
    if kind == BFLOAT16:
        return _bfloat16(content if isinstance(content, bytes) else fields.get(13))
    dtype, own_field = TENSOR_TYPES[int(kind)] if isinstance(kind, int) else ("", 0)
    if isinstance(content, bytes) and content:
        values = np.frombuffer(content, dtype=dtype) if len(content) % np.dtype(dtype).itemsize == 0 else np.empty(0)
        return float(values[0]) if len(values) == 1 else None
    return _scalar_of_field(fields.get(own_field), dtype)


def _scalar_of_field(value: int | bytes | None, dtype: str) -> float | None:
    """One number of a repeated field, packed or not."""
    if isinstance(value, bytes) and dtype in ("<f4", "<f8"):
        return struct.unpack("<f" if dtype == "<f4" else "<d", value)[0] if len(value) == np.dtype(dtype).itemsize else None
    if isinstance(value, bytes):
        number, end = _varint(value, 0)
        if end != len(value):
            return None
        value = number
    if value is None:
        return None
    if dtype == "<f2":
        return float(np.array([value & 0xFFFF], dtype="<u2").view("<f2")[0])
    return float(value - (1 << 64) if value >= 1 << 63 else value)


def _bfloat16(value: int | bytes | None) -> float | None:
    """bfloat16 is the upper half of a float32."""
    if isinstance(value, bytes):
        number = int.from_bytes(value, "little") if len(value) == 2 else _varint(value, 0)[0]
    elif value is None:
        return None
    else:
        number = value
    return float(struct.unpack("<f", struct.pack("<I", (number & 0xFFFF) << 16))[0])


def _crc_table() -> tuple[int, ...]:
    table = []
    for index in range(256):
        value = index
        for _ in range(8):
            value = (value >> 1) ^ 0x82F63B78 if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


CRC_TABLE = _crc_table()


def _masked_crc(data: bytes) -> int:
    """CRC-32C (Castagnoli), rotated and shifted as TensorFlow stores it (core/lib/hash/crc32c.h).

    >>> hex(_masked_crc(b"123456789"))
    '0xc78ab0e5'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
