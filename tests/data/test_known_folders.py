"""Chest radiographs in class folders: found in the folder around them, masks passed over, a val of 16 images undone."""

from __future__ import annotations

import collections
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from osler.config import Config, DataConfig
from osler.data.known import known_set
from osler.data.known_table import find_files
from osler.data.load import load_data
from osler.data.samples import Samples
from osler.data.sources import load_source
from osler.errors import DataError

PIXELS = cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes()


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PIXELS)


def load(path: Path, **options: Any) -> Samples:
    return load_source(DataConfig(source="chest_xray_folders", path=path, **options))


def kermany(folder: Path, train: int = 400, val: int = 4, test: int = 60) -> Path:
    """Two images of each patient."""
    for split, number in (("train", train), ("val", val), ("test", test)):
        for image in range(number):
            patient = 10000 * ("train", "val", "test").index(split) + image // 4
            kind = f"NORMAL/IM-{patient:05d}-000{image // 2}.png" if image % 2 else f"PNEUMONIA/person{patient}_virus_{image}.png"
            touch(folder, f"{split}/{kind}")
    return folder


def test_a_val_of_a_few_images_is_drawn_anew_from_train(tmp_path: Path) -> None:
    folder = kermany(tmp_path / "chest_xray")
    assert known_set(folder) == "chest_xray_folders"
    samples = load(folder)
    assert samples.split is not None
    assert collections.Counter(samples.split.tolist()) == {"train": 404, "test": 60}
    assert any("val has 4 images beside 400 in train" in note for note in samples.notes)
    data = load_data(DataConfig(source="chest_xray_folders", path=folder))
    assert len(data.rows["val"]) == pytest.approx(404 * 0.15 / 0.85, abs=3)
    assert len(data.rows["test"]) == 60
    assert samples.patients is not None
    held = [set(samples.patients[rows]) for rows in data.rows.values()]
    assert not held[0] & held[1]


def test_a_val_that_is_one_is_kept(tmp_path: Path) -> None:
    samples = load(kermany(tmp_path / "set", train=60, val=20, test=20))
    assert samples.split is not None
    assert collections.Counter(samples.split.tolist()) == {"train": 60, "val": 20, "test": 20}
    assert (samples.classes, samples.negative, samples.task) == (("PNEUMONIA",), "NORMAL", "binary")


def test_the_folder_that_an_archive_puts_around(tmp_path: Path) -> None:
    kermany(tmp_path / "download" / "chest_xray", 60, 20, 20)
    touch(tmp_path / "download", "__MACOSX/chest_xray/._x.png")
    assert known_set(tmp_path / "download") == "chest_xray_folders"
    assert len(load(tmp_path / "download")) == 100


def test_three_folders_without_splits(tmp_path: Path) -> None:
    for name in ("COVID", "NORMAL", "Viral Pneumonia"):
        touch(tmp_path / "set", *(f"{name}/{name} ({number}).png" for number in range(8)))
    assert known_set(tmp_path / "set") == "chest_xray_folders"
    samples = load(tmp_path / "set")
    assert (samples.classes, samples.task, samples.split) == (("COVID", "NORMAL", "Viral Pneumonia"), "multiclass", None)


def test_masks_beside_the_images_of_a_class_are_no_images_of_it(tmp_path: Path) -> None:
    for name in ("COVID", "Normal", "Lung_Opacity", "Viral Pneumonia"):
        touch(tmp_path / "set", *(f"{name}/{kind}/{name}-{number}.png" for kind in ("images", "masks") for number in range(5)))
    (tmp_path / "set" / "README.md.txt").write_text("a set")
    assert known_set(tmp_path / "set") == "chest_xray_folders"
    samples = load(tmp_path / "set")
    assert len(samples) == 20
    assert samples.ids[0] == "COVID/images/COVID-0.png"
    assert any("Masks beside images left out" in note for note in samples.notes)


@pytest.mark.parametrize("names", [("cats", "dogs"), ("NORMAL", "cats"), ("NORMAL", "ABNORMAL"), ("COVID", "PNEUMONIA")])
def test_other_folders_are_not_taken_for_one(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        touch(tmp_path / "set", f"{name}/1.png")
    assert known_set(tmp_path / "set") is None


def test_faults_are_those_of_folders(tmp_path: Path) -> None:
    folder = kermany(tmp_path / "set", 60, 20, 20)
    (folder / "extra").mkdir()
    for file in (folder / "val").rglob("*.png"):
        file.unlink()
    for file in (folder / "train/NORMAL").iterdir():
        file.unlink()
    for file in (folder / "test/NORMAL").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="class folders without images"):
        load(folder)
    (tmp_path / "a.csv").touch()
    with pytest.raises(DataError, match="is a file; source chest_xray_folders needs the folder"):
        load(tmp_path / "a.csv")


def test_the_real_set(real_sets: Path) -> None:
    samples = load(real_sets / "chest_xray")
    assert samples.split is not None
    assert collections.Counter(samples.split.tolist()) == {"train": 677, "val": 144, "test": 139}
    assert samples.patients is not None


ByInit = Callable[[Path], tuple[str, Config, Samples]]


def test_init_on_folders(tmp_path: Path, by_init: ByInit) -> None:
    _, config, samples = by_init(kermany(tmp_path / "chest_xray"))
    assert (config.data.source, config.data.classes) == ("chest_xray_folders", ("NORMAL", "PNEUMONIA"))
    assert samples.task == "binary"


def test_init_on_three_folders_with_masks(tmp_path: Path, by_init: ByInit) -> None:
    for name in ("COVID", "Normal", "Viral Pneumonia"):
        touch(tmp_path / "set", *(f"{name}/{kind}/{name}-{number}.png" for kind in ("images", "masks") for number in range(12)))
    _, config, samples = by_init(tmp_path / "set")
    assert (config.data.source, samples.task, len(samples)) == ("chest_xray_folders", "multiclass", 36)


def test_a_link_that_goes_in_a_circle_does_not_hide_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "Data_Entry_2017.csv").write_text("x")
    assert [path.name for path in find_files(tmp_path, r"data_entry_2017.*\.csv")] == ["Data_Entry_2017.csv"]
