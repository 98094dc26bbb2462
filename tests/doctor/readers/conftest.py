"""What the tests of readers share: a log file of a given text, read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from osler.doctor.chart import Chart
from osler.doctor.readers.choose import read_charts

Read = Callable[..., list[Chart]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Writes a log of this text under this name, and reads it."""

    def write_and_read(text: str | bytes, name: str = "log") -> list[Chart]:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_charts(path)

    return write_and_read
