"""`osler prepare`: what it leaves for training, what it says, and what bad files, kills and full disks do to it."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from osler.cli import main
from osler.config import Config, load_config
from osler.data import filling
from osler.data.load import load_data
from osler.errors import ConfigError, DataError
from osler.prepare import Prepared, prepare_config
from osler.prepare.shares import Share, divide, parse_share
from osler.train.resolve import resolve
from osler.train.setup import prepare_images, survey_masks

SIDE = 24


def films(folder: Path, each: int = 20, classes: tuple[str, ...] = ("healthy", "sick")) -> Path:
    """Class folders of small films."""
    rng = np.random.default_rng(3)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            image = rng.integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
            # By its bytes: OpenCV's own writer does not know every name.
            (folder / name / f"{number}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return folder


def config_of(folder: Path, cache: Path, **data: Any) -> Config:
    return load_config({"data": {"source": "folder", "path": str(folder), "cache": str(cache), "workers": 1, **data}})


def table_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def refuse(*args: Any, **options: Any) -> Any:
    raise AssertionError("nothing was left to prepare")


# --- what is there afterwards -----------------------------------------------------------------------------------------------


def test_training_finds_everything_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(films(tmp_path / "films"), tmp_path / "cache")
    found = prepare_config(config)
    assert (found.images, found.made, found.ready, found.whole, found.unreadable) == (40, 40, 40, 40, ())
    assert found.folder.parent == tmp_path / "cache"
    assert found.quarantine is None
    data = load_data(config.data)
    monkeypatch.setattr(filling.Job, "do", refuse)
    _, cache = prepare_images(resolve(config, data), data, None)
    assert cache.store.folder == found.folder
    again = prepare_config(config)
    assert (again.made, again.ready) == (0, 40)
    assert "0 of 40 images prepared" in again.text()
    assert "40 were already" in again.text()


def test_lesions_of_masks_are_counted_beforehand_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(
        {
            "data": {"phantom": {"samples": 24, "size": 48}, "task": "segmentation", "cache": str(tmp_path), "workers": 1},
            "preparation": {"size": 32},
        }
    )
    found = prepare_config(config)
    assert (found.made, found.ready) == (24, 24)
    data = load_data(config.data)
    monkeypatch.setattr(filling.Job, "do", refuse)
    data, cache = prepare_images(resolve(config, data), data, None)
    monkeypatch.setattr("osler.data.masks_prepared._pieces", refuse)
    assert set(survey_masks(data, cache, None)) == {"train", "val", "test"}


def test_the_command_prints_the_folder_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    films(tmp_path / "films")
    path = tmp_path / "c.yaml"
    path.write_text(f"data: {{source: folder, path: {tmp_path / 'films'}, cache: {tmp_path / 'cache'}}}\n")
    with pytest.raises(SystemExit) as ended:
        main(["prepare", str(path)])
    assert ended.value.code == 0
    said = capsys.readouterr()
    assert Path(said.out.strip()).parent == tmp_path / "cache"
    assert said.out.count("\n") == 1
    assert re.search(r"40 of 40 images prepared in 0:0\d", said.err)


def test_names_of_any_script_and_looping_links_are_prepared(tmp_path: Path) -> None:
    root = films(tmp_path / "Röntgen aufnahmen · 胸部", classes=("gesund ☼", "Lungenentzündung"))
    (root / "gesund ☼" / "zurück").symlink_to(root, target_is_directory=True)
    (root / "gesund ☼" / "selbst.png").symlink_to(root / "gesund ☼" / "selbst.png")
    found = prepare_config(config_of(root, tmp_path / "Zwischenspeicher für Bilder"))
    assert found.made == 40
    assert any("linked folder" in note for note in found.notes)
    assert len(found.unreadable) == 1
    assert "selbst.png" in found.unreadable[0]
    assert found.quarantine is not None
    assert table_of(found.quarantine)[1][0] == "gesund ☼/selbst.png"


# --- bad files --------------------------------------------------------------------------------------------------------------


def test_one_bad_file_is_put_down_with_its_reason_and_stops_nothing(tmp_path: Path) -> None:
    root = films(tmp_path / "films")
    bad = root / "sick" / "7.png"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:90])
    config = config_of(root, tmp_path / "cache")
    found = prepare_config(config)
    assert (found.made, found.ready) == (39, 39)
    assert found.quarantine is not None
    rows = table_of(found.quarantine)
    assert rows[0] == ["id", "why"]
    assert rows[1][0] == "sick/7.png"
    assert "cut short" in rows[1][1]
    assert "1 image cannot be used" in found.text()
    assert "data.unreadable: skip" in found.text()
    bad.write_bytes(whole)
    mended = prepare_config(config)
    assert (mended.made, mended.ready, mended.unreadable) == (1, 40, ())
    assert not found.quarantine.exists()


def test_more_bad_files_than_the_limit_stop_with_a_list(tmp_path: Path) -> None:
    root = films(tmp_path / "films")
    for number in range(3):
        (root / "sick" / f"{number}.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"(?s)3 images cannot be used, more than the 2 of 40 that data.unreadable_limit.*sick/2\.png"
    ):
        prepare_config(config_of(root, tmp_path / "cache"))
    table = next((tmp_path / "cache").rglob("quarantine.csv"))
    assert len(table.read_text().splitlines()) == 4
    assert prepare_config(config_of(root, tmp_path / "cache", unreadable_limit=0.1)).ready == 37
    (root / "sick" / "1.png").unlink()
    with pytest.raises(DataError, match="more than the 0 of 39"):
        prepare_config(config_of(root, tmp_path / "cache", unreadable_limit=0))


def test_check_reads_everything_again(tmp_path: Path) -> None:
    config = config_of(films(tmp_path / "films"), tmp_path / "cache")
    shard = next(prepare_config(config).folder.glob("image-*.bin"))
    status, data = shard.stat(), bytearray(shard.read_bytes())
    data[100] ^= 0x80
    shard.write_bytes(data)
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))  # as where a disk loses bits by itself
    assert prepare_config(config).made == 0
    found = prepare_config(config, check=True)
    assert found.made == 1
    assert "1 prepared image(s) were damaged" in " ".join(found.notes)


# --- parts ------------------------------------------------------------------------------------------------------------------


def test_parts_together_are_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(films(tmp_path / "films"), tmp_path / "cache")
    parts = [prepare_config(config, f"{part}/3") for part in (2, 1, 3)]
    assert [part.made for part in parts] == [13, 14, 13]
    assert [part.ready for part in parts] == [13, 27, 40]
    assert "Part 2 of 3; of the whole set 13 of 40 are ready." in parts[0].text()
    assert len({part.folder for part in parts}) == 1
    monkeypatch.setattr(filling.Job, "do", refuse)
    assert prepare_config(config).made == 0


def test_each_part_has_its_own_table_of_bad_files(tmp_path: Path) -> None:
    root = films(tmp_path / "films")
    (root / "healthy" / "0.png").write_bytes(b"")
    config = config_of(root, tmp_path / "cache")
    first, second = (prepare_config(config, f"{part}/2") for part in (1, 2))
    assert first.quarantine is not None
    assert first.quarantine.name == "quarantine-1-of-2.csv"
    assert second.quarantine is None


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/2/3", "", "1/99999"])
def test_what_names_no_part_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--shard.*give i/n"):
        parse_share(text)


def test_lanes_of_parts_do_not_overlap() -> None:
    lanes = [set(range(Share(i, 5).lane, Share(i, 5).lane + 256)) for i in range(1, 6)]
    assert len(set.union(*lanes)) == 5 * 256
    assert Share().lane == 0
    assert 0 not in set.union(*lanes)


def test_divided_rows_are_all_rows() -> None:
    for count, cores in ((0, 4), (1, 4), (100, 2), (5000, 3), (70_000, 200)):
        parts = divide(np.arange(count), cores)
        assert sorted(np.concatenate([np.empty(0, int), *parts])) == list(range(count))
        assert len(parts) <= 256
        assert all(len(part) for part in parts)


def test_an_unknown_engine_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--engine: 'rey' is not known. Did you mean 'ray'"):
        prepare_config(config_of(films(tmp_path / "films"), tmp_path / "cache"), engine="rey")


# --- real processes ---------------------------------------------------------------------------------------------------------


def start(config: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "osler", "prepare", str(config), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def slow_set(folder: Path, each: int) -> Path:
    """A configuration of images that take a while each: phantoms, drawn when they are read."""
    path = folder / "c.yaml"
    path.write_text(
        f"data: {{phantom: {{samples: {each}, size: 192}}, cache: {folder / 'cache'}, workers: 2}}\npreparation: {{size: 64}}\n"
    )
    return path


@pytest.mark.long
def test_two_commands_at_once_share_one_cache(tmp_path: Path) -> None:
    config = slow_set(tmp_path, 60)
    running = [start(config) for _ in range(2)]
    ended = [process.communicate(timeout=900) for process in running]
    assert [process.returncode for process in running] == [0, 0], ended
    folders = {out.strip() for out, _ in ended}
    assert len(folders) == 1
    index = Path(folders.pop()) / "index.bin"
    assert index.stat().st_size == 60 * 40  # each image once


@pytest.mark.long
def test_a_command_killed_again_and_again_ends_whole(tmp_path: Path) -> None:
    config = slow_set(tmp_path, 400)
    kills, until = 0, time.monotonic() + 900
    sizes = [0]
    while kills < 3:
        process = start(config)
        while process.poll() is None:
            size = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("index*.bin"))
            if size > sizes[-1]:
                process.send_signal(signal.SIGKILL)
                kills += 1
                sizes.append(size)
                break
            assert time.monotonic() < until
            time.sleep(0.05)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it was done before it could be killed"
    assert sizes == sorted(set(sizes))
    found = prepare_config(load_config(config), check=True)
    assert found.ready == 400
    assert 0 < found.made < 400
    fresh = prepare_config(load_config(config, [f"data.cache={tmp_path / 'other'}"]))
    assert pixels_of(config, found) == pixels_of(config, fresh)


def pixels_of(config: Path, found: Prepared) -> bytes:
    loaded = load_config(config, [f"data.cache={found.folder.parent}"])
    data = load_data(loaded.data)
    _, cache = prepare_images(resolve(loaded, data), data, None)
    return cache.gather(np.arange(found.whole)).tobytes()
