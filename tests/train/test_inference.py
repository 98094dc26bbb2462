"""A run trained on 16 bits: what it learned from, and that files, evaluation and the run itself predict the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from osler.config import Config
from osler.data.load import load_data
from osler.errors import ConfigError, ModelError
from osler.metrics.overlap import level_of
from osler.predict import Predictor, SegmentationPredictor
from osler.runs.card import Card
from osler.runs.folder import RunFolder
from osler.runs.mask_predictions import MaskPredictions
from osler.runs.predictions import Predictions
from osler.train.fit import train_run
from osler.train.inference import load_predictor, predict_again
from osler.train.setup import prepare_images

Tiny = Callable[..., Config]
FAINT = {"range": "dtype", "dtype": "uint16", "size": 32}
SIDE = 32


def faint_films(folder: Path, count: int = 60) -> Path:
    """16-bit films whose finding is a disc of half a step of bytes: with bytes there is nothing to see."""
    random = np.random.default_rng(0)
    for number in range(count):
        name = ("normal", "sick")[number % 2]
        film = 30000 + random.integers(0, 12, (SIDE, SIDE))
        if name == "sick":
            film += 110 * cv2.circle(np.zeros((SIDE, SIDE), np.uint8), (int(random.integers(9, 23)), 16), 7, 1, -1)
        (folder / name).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name / f"{number:03d}.png"), film.astype(np.uint16))
    return folder


def on_films(tiny: Tiny, folder: Path, **sections: Any) -> Config:
    data = {"source": "folder", "path": str(folder), "classes": ["normal", "sick"]}
    return tiny(**{"data": data, "preparation": FAINT, **sections})


def test_what_bytes_cannot_hold_is_in_16_bits_alone(tiny: Tiny, tmp_path: Path) -> None:
    films = faint_films(tmp_path / "films", 8)
    told = {}
    for dtype in ("uint8", "uint16"):
        config = on_films(tiny, films, preparation={**FAINT, "dtype": dtype, "channels": 1})
        data, cache = prepare_images(config, load_data(config.data), None)
        told[dtype] = np.array([np.ptp(cache.images([row])) for row in range(8)])
        sick = data.source.targets[:, 0] == 1
    assert (told["uint8"] == 0).all()
    assert told["uint16"][sick].min() > 4 * told["uint16"][~sick].max()


@pytest.fixture
def run(tiny: Tiny, tmp_path: Path) -> RunFolder:
    training = {"epochs": 2, "batch_size": 8}
    return train_run(on_films(tiny, faint_films(tmp_path / "films"), preparation={**FAINT, "clahe": {}}, training=training))


def test_files_are_predicted_as_the_run_was_evaluated(run: RunFolder) -> None:
    card = Card.from_json(run.read(run.card_file), "card")
    assert card.preparation["dtype"] == "uint16"
    assert card.preparation["output"]["high"] == 65535
    predictor = load_predictor(run.path)
    assert isinstance(predictor, Predictor)
    kept = Predictions.load(run.predictions / "test.npz")
    folder = Path(str(run.config().data.path))
    found = list(predictor.predict([folder / str(name) for name in kept.ids]))
    assert [one.error for one in found] == [None] * len(kept.ids)
    np.testing.assert_array_equal([one.probabilities["sick"] for one in found], kept.probabilities[:, 0])
    again = predict_again(run, "best", None)["test"]
    assert isinstance(again, Predictions)
    np.testing.assert_array_equal(again.probabilities, kept.probabilities)
    np.testing.assert_allclose(again.logits, kept.logits, rtol=1e-6)
    assert kept.logits.std() > 0


def test_a_card_whose_depth_was_edited_is_refused(run: RunFolder) -> None:
    said = json.loads(run.card_file.read_text())
    said["preparation"]["dtype"] = "uint8"
    run.card_file.write_text(json.dumps(said))
    with pytest.raises(ModelError, match="images were prepared as"):
        load_predictor(run.path)


def test_masks_of_files_are_those_of_the_run(tiny: Tiny, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("images", "masks"):
        (tmp_path / "set" / name).mkdir(parents=True)
    for number in range(30):
        mask = cv2.circle(np.zeros((48, 48), np.uint8), tuple(random.integers(10, 38, 2).tolist()), 6, 255, -1)
        image = (30000 + random.integers(0, 200, (48, 48)) + 4000 * (mask > 0)).astype(np.uint16)
        cv2.imwrite(str(tmp_path / "set" / "images" / f"{number:03d}.png"), image)
        cv2.imwrite(str(tmp_path / "set" / "masks" / f"{number:03d}.png"), mask)
    run = train_run(
        tiny(
            data={"source": "masks", "path": str(tmp_path / "set"), "task": "segmentation", "patches": {"size": 16}},
            preparation={"size": 48, "range": [28000, 38000], "dtype": "uint16"},
            model={"architecture": "compact", "width": 4, "levels": 2},
            training={"epochs": 2, "batch_size": 6},
            prediction={"tile": 32},
        )
    )
    kept = MaskPredictions.load(run.predictions / "test.npz")
    predictor = load_predictor(run.path)
    assert isinstance(predictor, SegmentationPredictor)
    files = [tmp_path / "set" / "images" / str(name).rpartition("/")[2] for name in kept.ids]
    limit = level_of(predictor.limits.astype(np.float32)).tolist()
    for number, one in enumerate(predictor.predict(files)):
        assert one.error is None
        assert one.planes is not None
        assert one.picture is not None
        assert one.picture.dtype == np.uint8
        assert np.ptp(one.picture) > 50
        assert (one.planes[0] != (kept.levels(number, 0) >= limit[0])).mean() < 0.02, "but for the rounding of levels"
    assert kept.levels(0, 0).shape == (48, 48)


@pytest.mark.parametrize("value", ["uint12", "float32", 16, None])
def test_another_depth_is_one_clear_error(tiny: Tiny, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"preparation\.dtype.*uint8.*uint16") as found:
        tiny(preparation={"dtype": value})
    assert len(str(found.value).splitlines()) <= 2
