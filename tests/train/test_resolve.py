"""What `auto` becomes, and that it is decided once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from osler.config import Config, load_config
from osler.data.load import load_data
from osler.train.resolve import resolve


def films(folder: Path, side: tuple[int, int], colour: bool = False) -> Path:
    rng = np.random.default_rng(0)
    for name in ("normal", "sick"):
        (folder / name).mkdir(parents=True)
        for i in range(8):
            shape = (*side, 3) if colour else side
            cv2.imwrite(str(folder / name / f"{i}.png"), rng.integers(0, 255, shape, np.uint8))
    return folder


def resolved(folder: Path, **sections: object) -> Config:
    config = load_config({"data": {"source": "folder", "path": str(folder)}, **sections})
    return resolve(config, load_data(config.data))


@pytest.mark.parametrize(
    ("side", "size", "architecture"), [(28, 28, "small"), (130, 160, "efficientnet_lite0"), (600, 224, "efficientnet_lite0")]
)
def test_size_and_network_follow_the_images(tmp_path: Path, side: int, size: int, architecture: str) -> None:
    config = resolved(films(tmp_path / "films", (side, side)))
    assert (config.preparation.size, config.preparation.channels, config.model.architecture) == (size, 1, architecture)


def test_colour_images_keep_their_colour(tmp_path: Path) -> None:
    assert resolved(films(tmp_path / "films", (40, 40), colour=True)).preparation.channels == 3


def test_weights_become_numbers(tiny: Callable[..., Config]) -> None:
    config = tiny(loss={"pos_weight": "auto"}, data={"phantom": {"samples": 200, "prevalence": 0.2}})
    data = load_data(config.data)
    positives = float(np.nansum(data.targets("train")))
    weight = resolve(config, data).loss.pos_weight
    assert weight == pytest.approx(((len(data.rows["train"]) - positives) / positives,), rel=1e-5)


def test_a_balanced_sampler_leaves_no_imbalance_to_weigh(tiny: Callable[..., Config]) -> None:
    config = tiny(loss={"pos_weight": "auto"}, data={"sampler": "balanced", "phantom": {"samples": 200, "prevalence": 0.2}})
    assert resolve(config, load_data(config.data)).loss.pos_weight == pytest.approx((1.0,), rel=1e-5)


def test_nothing_is_left_open_and_resolving_again_changes_nothing(tiny: Callable[..., Config]) -> None:
    config = tiny(training={"device": "auto", "threads": "auto"}, data={"workers": "auto"})
    data = load_data(config.data)
    once = resolve(config, data)
    left = [
        value
        for section in once.model_dump(exclude={"evaluation"}).values()
        if isinstance(section, dict)
        for value in section.values()
    ]
    assert "auto" not in left
    assert resolve(once, data) == once


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films(tmp_path / "films", (40, 40))
    monkeypatch.chdir(tmp_path)
    assert resolved(Path("films")).data.path == tmp_path / "films"
