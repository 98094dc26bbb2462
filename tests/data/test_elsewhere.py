"""Other data than a run's own, read as the run reads its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from osler.config import Config, config_to_yaml, load_config
from osler.data.elsewhere import load_elsewhere
from osler.errors import DataError, RequestError


def write_set(folder: Path, count: int, values: tuple[int, ...] = (255,)) -> Path:
    """Images and masks in folders side by side, each mask with a square of every value."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for row in range(count):
        mask = np.zeros((24, 24), np.uint8)
        for place, value in enumerate(values):
            mask[2 : 4 + row, 6 * place : 6 * place + 4] = value
        cv2.imwrite(str(folder / "images" / f"{row}.png"), np.full((24, 24), 40 + row, np.uint8))
        cv2.imwrite(str(folder / "masks" / f"{row}.png"), mask)
    return folder


def config_of(path: Path, **data: Any) -> Config:
    return load_config({"data": {"source": "masks", "path": str(path), **data}})


def test_another_folder_is_read_with_the_runs_names_and_values(tmp_path: Path) -> None:
    run = config_of(
        write_set(tmp_path / "own", 3, (1, 2)), classes=["wide", "thin"], masks={"values": {"wide": [1], "thin": [2]}}
    )
    samples = load_elsewhere(run, write_set(tmp_path / "other", 5, (1, 2)))
    assert (len(samples), samples.classes, samples.task) == (5, ("wide", "thin"), "segmentation")
    assert samples.masks is not None
    assert (samples.masks.read(1) == 1).sum((1, 2)).tolist() == [12, 12]


def test_folders_of_the_runs_own_images_and_masks_are_not_looked_into(tmp_path: Path) -> None:
    own, other = write_set(tmp_path / "own", 3), write_set(tmp_path / "other", 2)
    run = config_of(own / "images", classes=["lesion"], masks={"path": str(own / "masks")})
    samples = load_elsewhere(run, other)
    assert samples.masks is not None
    cv2.imwrite(str(own / "masks" / "0.png"), np.zeros((24, 24), np.uint8))
    assert (samples.masks.read(0) == 1).sum() == 8, "equal names, and yet the other set's mask"


def test_a_configuration_gives_its_data_section_alone(tmp_path: Path) -> None:
    run = config_of(write_set(tmp_path / "own", 3), classes=["lesion"])
    other = tmp_path / "other.yaml"
    other.write_text(config_to_yaml(config_of(write_set(tmp_path / "other", 4), classes=["spot"])))
    samples = load_elsewhere(run, other)
    assert (len(samples), samples.classes) == (4, ("lesion",))


def test_what_cannot_be_read_so_is_refused(tmp_path: Path) -> None:
    synthetic = load_config({"data": {"source": "phantom", "task": "segmentation"}})
    with pytest.raises(RequestError, match="lie in no file; give a config"):
        load_elsewhere(synthetic, tmp_path)
    own = config_of(write_set(tmp_path / "own", 3), classes=["lesion"])
    with pytest.raises(DataError):
        load_elsewhere(own, tmp_path / "nowhere")
