"""Source: one file, read once, as bytes or as text, with what it cannot be refused early and by name."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from osler.errors import DataError

__all__ = ["NotThisError", "Source", "open_source"]

LARGEST_FILE = 1 << 29
HEAD = 1 << 16

# What people hand over by mistake: how such a file begins, what it is, and what to do instead.
STRANGERS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x80\x02", "a pickle", "pickles are not opened, since they can run code; write the history as JSON"),
    (b"\x80\x03", "a pickle", "pickles are not opened, since they can run code; write the history as JSON"),
    (b"\x80\x04", "a pickle", "pickles are not opened, since they can run code; write the history as JSON"),
    (b"\x80\x05", "a pickle", "pickles are not opened, since they can run code; write the history as JSON"),
    (b"PK\x03\x04", "a zip archive (.npz, .pt, .xlsx and .keras are such)", "give the log itself, as text, CSV or JSON"),
    (b"\x1f\x8b", "gzip-compressed", "unpack it first: gunzip FILE"),
    (b"BZh", "bzip2-compressed", "unpack it first: bunzip2 FILE"),
    (b"\xfd7zXZ", "xz-compressed", "unpack it first: unxz FILE"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed", "unpack it first: unzstd FILE"),
    (b"\x89HDF", "an HDF5 file", "it holds weights; give the log of the training, as text, CSV or JSON"),
    (b"\x89PNG", "an image", "give the numbers behind the picture, as text, CSV or JSON"),
    (b"\xff\xd8\xff", "an image", "give the numbers behind the picture, as text, CSV or JSON"),
    (b"GIF8", "an image", "give the numbers behind the picture, as text, CSV or JSON"),
    (b"%PDF", "a PDF", "give the log itself, as text, CSV or JSON"),
    (b"\x93NUMPY", "a NumPy array", "give a table with named columns, as CSV or JSON"),
    (b"SQLite format 3", "an SQLite database", "export the metrics of the run as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Office file", "save the table as CSV"),
)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


class NotThisError(Exception):
    """What a reader raises when a file is not of its kind, with the reason; another reader may know it."""


@dataclass(frozen=True)
class Source:
    """A file's content.

    Attributes:
        path: the file.
        name: how the user named it, for reports.
        data: all of its bytes.
    """

    path: Path
    name: str
    data: bytes

    @cached_property
    def text(self) -> str:
        """The content as text, without terminal colours.

        Raises:
            DataError: it is binary.
        """
        text = _decoded(self)
        return ESCAPES.sub("", text) if "\x1b" in text else text

    @cached_property
    def lines(self) -> list[str]:
        """The lines as a table has them: any of the three line ends."""
        text = self.text
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return text.split("\n")


def open_source(path: Path, name: str | None = None) -> Source:
    """Reads a file whole.

    Raises:
        DataError: it is not there, no regular file, empty, too large, or of a kind that is known not to be a log.
    """
    shown = name or str(path)
    try:
        if not path.is_file():
            raise DataError(f"{shown}: {'is not a regular file' if path.exists() else 'no such file'}.")
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise DataError(
                f"{shown}: {size / 2**20:.0f} MiB; at most {LARGEST_FILE >> 20} MiB are read. Keep the lines with epochs, "
                "such as: grep -i epoch FILE > short.log"
            )
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{shown}: cannot be read: {error.strerror or error}.") from error
    except ValueError as error:  # a NUL in the name
        raise DataError(f"{shown!r}: cannot be a file's name: {error}.") from error
    if not data.strip():
        raise DataError(f"{shown}: is empty. The run may not have reached its first epoch.")
    for beginning, kind, advice in STRANGERS:
        if data.startswith(beginning):
            raise DataError(f"{shown}: is {kind}; {advice}.")
    return Source(path, shown, data)


def _decoded(source: Source) -> str:
    data = source.data
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    head = data[:HEAD]
    if b"\x00" in head:
        # UTF-16 without a mark, as some shells redirect: every second byte of Latin text is 0.
        for encoding, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[0::2])):
            if zeros.count(0) > 0.6 * len(zeros):
                return data.decode(encoding, errors="replace")
    _refuse_binary(source, head)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _refuse_binary(source: Source, head: bytes) -> None:
    """Control signs other than those of terminals and line ends do not stand in texts."""
    odd = sum(head.count(bytes([value])) for value in range(32) if value not in (8, 9, 10, 11, 12, 13, 27))
    if odd > 0.02 * len(head) + 2:
        raise DataError(
            f"{source.name}: is binary and of no kind that is known. Logs are text, CSV, JSON or TensorBoard event files."
        )
