"""`osler init` on images with masks: what is proposed loads, whatever the masks hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from osler.config import Config, DataConfig, load_config
from osler.data.load import Data, load_data
from osler.data.phantom import phantom_samples
from osler.init import write_config


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path / "cache"))


def written(source: Path, folder: Path) -> tuple[str, Config, Data]:
    """The text, its configuration, and the data that this reads."""
    path = write_config(source, folder / "written.yaml")
    config = load_config(path)
    return path.read_text(encoding="utf-8"), config, load_data(config.data)


def write(path: Path, pixels: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def write_set(folder: Path, values: list[int], count: int = 20, size: int = 96) -> Path:
    for number in range(count):
        mask = np.zeros((size, size), np.uint8)
        for place, value in enumerate(values):
            mask[20 + number : 30 + number, 10 + 20 * place : 20 + 20 * place] = value
        write(folder / "images" / f"{number}.png", np.full((size, size), 10 * number, np.uint8))
        write(folder / "masks" / f"{number}.png", mask)
    return folder


def test_an_exported_phantom(tmp_path: Path) -> None:
    phantom = {"samples": 60, "size": 64, "findings": ["nodule"], "lesion_area": [0.001, 0.02], "prevalence": 0.5}
    samples = phantom_samples(DataConfig.model_validate({"task": "segmentation", "phantom": phantom}))
    assert samples.masks is not None
    assert samples.patients is not None
    for row in range(60):
        name = f"{samples.patients[row]}_{row:03d}.png"
        write(tmp_path / "set/images" / name, samples.images.read(row).pixels)
        write(tmp_path / "set/masks" / name, samples.masks.read(row)[0] * np.uint8(255))
    text, config, data = written(tmp_path / "set", tmp_path)
    assert (config.data.source, config.data.task) == ("masks", "segmentation")
    assert config.data.patient_pattern is not None
    assert config.preparation.size == 64
    assert (config.model.architecture, config.loss.type) == ("compact", "combined")
    assert data.source.patients is not None
    assert len(set(data.source.patients)) == len(set(samples.patients))
    assert "60 masks" in text


def test_several_values_get_names_to_be_changed(tmp_path: Path) -> None:
    text, config, data = written(write_set(tmp_path / "set", [1, 2]), tmp_path)
    assert config.data.masks.values == {"value_1": (1,), "value_2": (2,)}
    assert data.source.classes == ("value_1", "value_2")
    assert "give the values their names" in text


def test_an_ignore_value_is_proposed_beside_a_run_of_labels(tmp_path: Path) -> None:
    _, config, _ = written(write_set(tmp_path / "set", [1, 2, 255]), tmp_path)
    assert config.data.masks.ignore == 255


def test_blurred_masks_get_a_threshold(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", [255])
    for path in (folder / "masks").iterdir():
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        path.unlink()
        assert cv2.imwrite(str(path.with_suffix(".jpg")), cv2.GaussianBlur(mask, (5, 5), 1))
    text, config, _ = written(folder, tmp_path)
    assert config.data.masks.threshold == 0.5
    assert "shares, not labels" in text


def test_classes_in_folders(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", [255])
    for number in range(20):
        mask = cv2.imread(str(folder / f"masks/{number}.png"), cv2.IMREAD_GRAYSCALE)
        write(folder / f"masks/liver/{number}.png", mask)
        write(folder / f"masks/spleen/{number}.png", mask[::-1].copy())
        (folder / f"masks/{number}.png").unlink()
    _, config, data = written(folder, tmp_path)
    assert config.data.masks.per_class
    assert data.source.classes == ("liver", "spleen")


def test_a_table_of_masks(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", [255])
    rows = "".join(f"images/{n}.png,masks/{n}.png,p{n // 2}\n" for n in range(20))
    (folder / "set.csv").write_text("image,mask,patient\n" + rows)
    text, config, data = written(folder / "set.csv", tmp_path)
    assert (config.data.source, config.data.task) == ("csv", "segmentation")
    assert data.source.patients is not None
    assert "combined" in text


def test_rare_foreground_of_large_images_gets_patches(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for number in range(12):
        mask = np.zeros((600, 600), np.uint8)
        mask[100 : 120 + number, 300:330] = 255
        write(folder / "images" / f"{number}.png", mask // 2)
        write(folder / "masks" / f"{number}.png", mask)
    _, config, _ = written(folder, tmp_path)
    assert config.data.patches is not None
    assert isinstance(config.preparation.size, int)
    assert config.data.patches.size * 2 == config.preparation.size


@pytest.mark.parametrize("name", ["ms_lesions", "fundus_exudates", "breast_ultrasound", "vessels_chase"])
def test_real_sets(real_sets: Path, tmp_path: Path, name: str) -> None:
    _, config, data = written(real_sets / name, tmp_path)
    assert config.data.source == "masks"
    assert {"train", "val", "test"} == set(data.rows)
    if data.source.patients is not None:
        held = [set(data.source.patients[rows]) for rows in data.rows.values()]
        assert not held[0] & held[1]
        assert not (held[0] | held[1]) & held[2]
