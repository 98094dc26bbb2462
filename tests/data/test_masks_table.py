"""Tables of images and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from osler.config import DataConfig
from osler.data.samples import Samples
from osler.data.sources import load_source
from osler.errors import DataError


def write(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((8, 12), np.uint8)
    pixels[:4, :4] = value
    assert cv2.imwrite(str(path), pixels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        write(tmp_path / f"images/{number}.png", 100)
        write(tmp_path / f"masks/{number}.png", 255 if number % 2 else 0)
        write(tmp_path / f"tumors/{number}.png", 255)
    return tmp_path


def load(folder: Path, text: str, **settings: Any) -> Samples:
    (folder / "set.csv").write_text(text)
    values = {"source": "csv", "path": folder / "set.csv", "cache": folder / "cache", **settings}
    return load_source(DataConfig.model_validate(values))


PLAIN = "image,mask,patient,split,age\n" + "".join(
    f"images/{n}.png,masks/{n}.png,p{n // 2},{'test' if n > 3 else 'train'},{40 + n}\n" for n in range(6)
)


def test_a_table_of_images_and_masks(folder: Path) -> None:
    samples = load(folder, PLAIN)
    assert samples.task == "segmentation"
    assert samples.targets[:, 0].tolist() == [0, 1] * 3
    assert samples.patients is not None
    assert samples.split is not None
    assert samples.metadata is not None
    assert samples.patients.tolist() == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert samples.split.tolist() == ["train"] * 4 + ["test"] * 2
    assert samples.metadata["age"].tolist() == list(range(40, 46))


def test_bare_names_are_looked_for_among_masks_and_not_among_images(folder: Path) -> None:
    text = "image,mask\n" + "".join(f"{n}.png,{n}.png\n" for n in range(6))
    samples = load(folder, text)
    assert samples.targets[:, 0].tolist() == [0, 1] * 3


def test_a_column_for_each_class(folder: Path) -> None:
    text = "image,mask:liver,mask:tumor\n" + "".join(f"images/{n}.png,masks/{n}.png,tumors/{n}.png\n" for n in range(6))
    samples = load(folder, text)
    assert samples.classes == ("liver", "tumor")
    assert not samples.exclusive
    assert samples.targets.sum(axis=0).tolist() == [3, 6]
    assert load(folder, text, classes=["tumor"]).targets.sum(axis=0).tolist() == [6]


def test_blank_masks(folder: Path) -> None:
    text = PLAIN.replace("masks/4.png", "")
    with pytest.raises(DataError, match=r"1 of 6 images have no mask: images/4\.png"):
        load(folder, text)
    assert load(folder, text, masks={"missing": "empty"}).targets[4, 0] == 0


def test_faults_of_a_table_come_together(folder: Path) -> None:
    write(folder / "masks/1.png", 9)
    text = PLAIN.replace("masks/4.png", "masks/44.png").replace("masks/2.png", "images/2.png")
    with pytest.raises(DataError) as caught:
        load(folder, text)
    said = str(caught.value)
    for part in ("masks/44.png (line 6)", "names the image itself in 1 row", "besides 0"):
        assert part in said, said


def test_classification_of_such_a_table_is_still_possible(folder: Path) -> None:
    text = PLAIN.replace(",age", ",label").replace(",40\n", ",a\n").replace(",41\n", ",b\n")
    rows = [line.rpartition(",")[0] + f",{'a' if n % 2 else 'b'}" for n, line in enumerate(text.splitlines()[1:])]
    samples = load(folder, "\n".join(["image,mask,patient,split,label", *rows]), task="binary")
    assert samples.task == "binary"
    assert samples.masks is None


def test_segmentation_without_a_column_of_masks_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"data\.masks\.column: there is no column of masks"):
        load(folder, "image,label\nimages/0.png,a\nimages/1.png,b\n", task="segmentation")
    with pytest.raises(DataError, match="there is no column 'msk'"):
        load(folder, PLAIN, masks={"column": "msk"})
