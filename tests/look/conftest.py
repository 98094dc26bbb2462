"""A small set of synthetic films in folders, with one inverted film, one blank one and two swapped labels where asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from osler.config import Config, load_config, merge
from osler.data.load import load_data

MakeFilms = Callable[..., Config]


@pytest.fixture(scope="module")
def films() -> tuple[np.ndarray, np.ndarray]:
    """(n, 48, 48) films and whether each shows a large heart; easy ones."""
    phantom = {"samples": 160, "size": 48, "findings": ["cardiomegaly"], "prevalence": 0.5, "difficulty": 0.0}
    data = load_data(load_config({"data": {"phantom": phantom}}).data)
    images = np.stack([data.source.images.read(row).pixels for row in range(len(data.source))])
    return images, data.source.targets[:, 0] == 1


@pytest.fixture
def make_films(films: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> MakeFilms:
    """make_films(inverted=[3], blank=[5], swapped=[7, 9], data={...}): writes the films, named by number, and a configuration."""

    def make(
        *, inverted: tuple[int, ...] = (), blank: tuple[int, ...] = (), swapped: tuple[int, ...] = (), **sections: Any
    ) -> Config:
        for number, (image, large) in enumerate(zip(*films, strict=True)):
            name = "large" if large != (number in swapped) else "normal"
            shown = 255 - image if number in inverted else np.full_like(image, 90) if number in blank else image
            folder = tmp_path / "films" / name
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{number:03d}.png"), shown)
        base = {
            "data": {
                "source": "folder",
                "path": str(tmp_path / "films"),
                "cache": str(tmp_path / "cache"),
                "workers": 1,
                "classes": ["normal", "large"],
            },
            "preparation": {"size": 48},
            "training": {"batch_size": 8, "device": "cpu", "threads": 1},
        }
        return load_config(merge(base, sections))

    return make
