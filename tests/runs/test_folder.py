"""The run folder: made once, opened only where there is a run, written atomically, held by one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.config import Config, load_config
from osler.errors import RunError
from osler.runs.folder import RunFolder


def config(tmp_path: Path) -> Config:
    return load_config({"run": {"folder": str(tmp_path / "runs"), "name": "try"}})


def test_two_runs_of_one_second_get_folders_of_their_own(tmp_path: Path) -> None:
    first, second = RunFolder.create(config(tmp_path)), RunFolder.create(config(tmp_path))
    first.write_config(config(tmp_path))
    third = RunFolder.create(config(tmp_path))
    assert first.path.name.startswith("try_")
    assert len({first.path, second.path, third.path}) == 3


def test_the_config_survives_the_round_trip(tmp_path: Path) -> None:
    run = RunFolder.create(config(tmp_path))
    run.write_config(config(tmp_path))
    assert RunFolder.open(run.path).config() == config(tmp_path)


def test_a_named_folder_must_be_absent_or_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert RunFolder.create(config(tmp_path), tmp_path / "empty").path == tmp_path / "empty"
    with pytest.raises(RunError, match="osler resume"):
        RunFolder.create(config(tmp_path), tmp_path / "empty")


def test_a_read_only_place_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be made"):
        RunFolder.create(config(tmp_path), tmp_path / "file" / "run")


def test_only_a_run_folder_opens(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run folder"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(RunError, match=r"no config\.yaml"):
        RunFolder.open(tmp_path)


def test_reading_what_is_missing_or_damaged_says_so(tmp_path: Path) -> None:
    run = RunFolder.create(config(tmp_path))
    with pytest.raises(RunError, match="osler resume"):
        run.read(run.card_file)
    run.card_file.write_text("{half")
    with pytest.raises(RunError, match="cannot be read"):
        run.read(run.card_file)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    run = RunFolder.create(config(tmp_path))
    with run.in_use(), pytest.raises(RunError, match="another process"), run.in_use():
        pass
    with run.in_use():
        pass
