"""Files that are whole or not there."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from osler.errors import RunError
from osler.files import strict_json, write_atomic, write_json, write_text


def test_a_write_that_fails_leaves_the_old_content_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")

    def full_disk(file: IO[bytes]) -> None:
        file.write(b"new")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(RunError, match="No space left on device"):
        write_atomic(path, full_disk)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be written"):
        write_text(tmp_path / "none" / "file", "x")


def test_json_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"auc": math.nan, "n": np.int64(3), "values": np.array([1.0, np.inf]), "where": Path("a")})
    assert json.loads(path.read_text()) == {"auc": None, "n": 3, "values": [1.0, None], "where": "a"}


def test_strict_json_keeps_what_json_knows() -> None:
    assert strict_json([1, "a", True, None, {"b": 0.5}]) == [1, "a", True, None, {"b": 0.5}]
