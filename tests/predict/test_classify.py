"""Predict: an image gets one answer, whatever batch it comes in, and a bad file costs nobody else's prediction."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from osler.config import PreparationConfig
from osler.errors import DataError, ModelError, RequestError, RunError
from osler.imaging.depth import Fed
from osler.imaging.preparation import Preparation
from osler.imaging.read import RawImage
from osler.predict import Predictor, predict_files, probabilities_of, write_predictions_csv
from osler.runs.card import Card

CLASSES = ("nodule", "effusion")
PREPARATION = Preparation(PreparationConfig(size=16, channels=1))


class Brightness:
    """A session whose logits are simple functions of the mean pixel; it counts the batches it is given."""

    def __init__(self, classes: int = 2) -> None:
        self.classes = classes
        self.batches: list[int] = []

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert images.dtype == np.uint8
        assert images.shape[1:] == (1, 16, 16)
        self.batches.append(len(images))
        mean = images.mean(axis=(1, 2, 3)) / 255
        return np.stack([4 * mean - 2 + k for k in range(self.classes)], axis=1).astype(np.float32)


def card_of(task: str = "multilabel", classes: tuple[str, ...] = CLASSES, **fields: object) -> Card:
    card = Card(
        task=task,
        classes=classes,
        negative="negative",
        architecture="small",
        preparation=PREPARATION.describe(),
        fingerprint=PREPARATION.fingerprint(),
        thresholds={} if task == "multiclass" else dict.fromkeys(classes, 0.5),
        threshold_rule="youden on val",
        weights="raw",
        best_epoch=3,
        data={"source": "phantom"},
    )
    return replace(card, **fields)  # type: ignore[arg-type]


@pytest.fixture
def films(tmp_path: Path) -> list[Path]:
    """Seven images of rising brightness."""
    paths = []
    for number in range(7):
        path = tmp_path / f"film {number}.png"
        cv2.imwrite(str(path), np.full((20, 24), 36 * number, dtype=np.uint8))
        paths.append(path)
    return paths


def test_predictions_come_in_order_and_do_not_depend_on_the_batch(films: list[Path]) -> None:
    sessions = [Brightness(), Brightness()]
    small = list(Predictor(sessions[0], card_of(), batch_size=3).predict(films))
    large = list(Predictor(sessions[1], card_of(), batch_size=64).predict(films))
    assert small == large
    assert sessions[0].batches == [3, 3, 1]
    assert sessions[1].batches == [7]
    assert [one.name for one in small] == [str(path) for path in films]
    brightness = [one.probabilities["nodule"] for one in small]
    assert brightness == sorted(brightness)


def test_16_bits_reach_the_session_as_floats_of_the_same_scale(tmp_path: Path) -> None:
    deep = Preparation(PreparationConfig(size=16, channels=1, range="dtype", dtype="uint16"))
    given: list[NDArray[np.float32]] = []

    class Listening:
        def run(self, images: Fed) -> NDArray[np.float32]:
            assert images.dtype == np.float32
            given.append(images.astype(np.float32))
            return np.zeros((len(images), 2), np.float32)

    pixels = (30000 + np.arange(256)).astype(np.uint16).reshape(16, 16)
    cv2.imwrite(str(tmp_path / "film.png"), pixels)
    card = card_of(preparation=deep.describe(), fingerprint=deep.fingerprint())
    (one,) = Predictor(Listening(), card).predict([tmp_path / "film.png"])
    assert one.error is None
    np.testing.assert_array_equal(given[0], pixels[None, None] / np.float32(257))


def test_decisions_follow_the_cards_thresholds(films: list[Path]) -> None:
    first = next(iter(Predictor(Brightness(), card_of()).predict(films[:1])))
    exactly = first.probabilities["nodule"]
    for threshold, called in ((exactly, True), (float(np.nextafter(np.float32(exactly), np.float32(1))), False)):
        card = card_of(thresholds={"nodule": threshold, "effusion": 0.99})
        one = next(iter(Predictor(Brightness(), card).predict(films[:1])))
        assert one.positive == {"nodule": called, "effusion": False}


def test_exclusive_classes_call_the_most_probable(films: list[Path]) -> None:
    classes = ("benign", "malignant", "normal")
    found = list(Predictor(Brightness(3), card_of("multiclass", classes)).predict(films))
    assert all(one.positive == {"benign": False, "malignant": False, "normal": True} for one in found)
    assert all(abs(sum(one.probabilities.values()) - 1) < 1e-6 for one in found)


def test_a_bad_file_has_an_error_and_its_neighbours_have_predictions(films: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(films[0].read_bytes()[:40])
    found = list(Predictor(Brightness(), card_of(), batch_size=2).predict([films[0], broken, tmp_path / "absent.png", films[1]]))
    assert [one.error is None for one in found] == [True, False, False, True]
    assert "broken.png" in (found[1].error or "")
    assert found[1].probabilities == {}
    assert found[3] == next(iter(Predictor(Brightness(), card_of()).predict(films[1:2])))


def test_only_bad_files_run_nothing(tmp_path: Path) -> None:
    session = Brightness()
    found = list(Predictor(session, card_of()).predict([tmp_path / "a.png", tmp_path / "b.png"]))
    assert [one.error is None for one in found] == [False, False]
    assert session.batches == []


def test_pixels_can_be_given_and_named() -> None:
    raw = RawImage(np.full((16, 16), 200, dtype=np.uint8), 0, 255, ("alpha channel dropped",))
    predictor = Predictor(Brightness(), card_of())
    assert [one.name for one in predictor.predict([raw, raw])] == ["image 1", "image 2"]
    (one,) = predictor.predict([raw], names=["upload"])
    assert one.name == "upload"
    assert one.notes == ("alpha channel dropped",)
    assert list(predictor.predict([])) == []


def test_output_that_is_not_finite_is_an_error(films: list[Path]) -> None:
    class Broken(Brightness):
        def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
            logits = super().run(images)
            logits[0, 1] = np.nan
            return logits

    found = list(Predictor(Broken(), card_of()).predict(films[:2]))
    assert found[0].error == "the model's output is not finite"
    assert found[1].error is None


def test_another_preparation_is_refused() -> None:
    with pytest.raises(ModelError, match="prepare"):
        Predictor(Brightness(), card_of(fingerprint="0" * 16))


def test_a_card_of_another_model_is_refused(films: list[Path]) -> None:
    with pytest.raises(ModelError, match="different models"):
        list(Predictor(Brightness(3), card_of()).predict(films))


def test_logits_that_are_not_finite_give_no_probability_and_no_warning() -> None:
    logits = np.array([[np.inf, 1.0, -np.inf], [np.nan, 0.0, 0.0], [1.0, 1.0, 1.0]], dtype=np.float32)
    exclusive = probabilities_of(logits, "multiclass")
    assert np.isnan(exclusive[0]).any()
    assert np.isnan(exclusive[1]).all()
    assert exclusive[2] == pytest.approx(1 / 3)
    assert probabilities_of(logits, "multilabel")[0].tolist() == pytest.approx([1.0, 0.7310586, 0.0])


def test_probabilities_stay_finite_at_the_ends() -> None:
    logits = np.array([[-1e4, 0.0, 1e4], [np.nan, 1.0, 2.0]])
    sigmoid = probabilities_of(logits, "multilabel")
    np.testing.assert_array_equal(sigmoid[0], [0.0, 0.5, 1.0])
    assert np.isnan(sigmoid[1]).tolist() == [True, False, False]
    np.testing.assert_array_equal(probabilities_of(logits[:1], "multiclass"), [[0.0, 0.0, 1.0]])
    assert np.isnan(probabilities_of(logits[1:], "multiclass")).all()


def test_the_table_holds_probabilities_decisions_errors_and_the_note(films: list[Path], tmp_path: Path) -> None:
    predictor = Predictor(Brightness(), card_of())
    failed = write_predictions_csv(
        tmp_path / "out.csv", predictor.predict([films[6], tmp_path / "absent, or lost.png"]), card_of()
    )
    assert failed == 1
    with (tmp_path / "out.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = ["image", "probability nodule", "probability effusion", "positive nodule", "positive effusion", "error", "note"]
    assert list(rows[0]) == columns
    assert rows[0]["positive nodule"] == "1"
    assert 0.5 < float(rows[0]["probability nodule"]) < 1
    assert rows[0]["error"] == ""
    assert rows[1]["image"].endswith("absent, or lost.png")
    assert [rows[1][name] for name in columns[1:5]] == ["", "", "", ""]
    assert "absent, or lost.png" in rows[1]["error"]
    assert all(row["note"].startswith("for research; not a medical device") for row in rows)
    reading = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert (reading["images"], reading["errors"], reading["thresholds"]) == (2, 1, {"nodule": 0.5, "effusion": 0.5})
    assert "Not a medical device" in reading["intended_use"]


def test_the_table_of_exclusive_classes_names_the_one_called(films: list[Path], tmp_path: Path) -> None:
    card = card_of("multiclass", ("benign", "malignant"))
    write_predictions_csv(tmp_path / "out.csv", Predictor(Brightness(), card).predict([films[0], tmp_path / "absent.png"]), card)
    with (tmp_path / "out.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["predicted"] for row in rows] == ["malignant", ""]


def test_a_folder_that_is_not_there_is_the_users_mistake(films: list[Path], tmp_path: Path) -> None:
    predictions = Predictor(Brightness(), card_of()).predict(films)
    with pytest.raises(RunError, match="cannot be written"):
        write_predictions_csv(tmp_path / "absent" / "out.csv", predictions, card_of())


def test_a_class_without_a_threshold_gets_no_decision(films: list[Path], tmp_path: Path) -> None:
    card = card_of(thresholds={"nodule": 0.5, "effusion": None})
    predictions = list(Predictor(Brightness(), card).predict(films[6:]))
    assert predictions[0].positive == {"nodule": True, "effusion": None}
    write_predictions_csv(tmp_path / "out.csv", predictions, card)
    with (tmp_path / "out.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["positive nodule"], row["positive effusion"]) == ("1", "")


def test_folders_are_searched_and_the_table_is_returned(films: list[Path], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    table = predict_files(Predictor(Brightness(), card_of()), [tmp_path, films[0]], tmp_path / "out" / "here")
    assert table == tmp_path / "out" / "here" / "predictions.csv"
    with table.open(encoding="utf-8") as file:
        names = [row["image"] for row in csv.DictReader(file)]
    assert names == [*map(str, films), str(films[0])]


def test_paths_that_are_not_there_or_hold_nothing_are_refused(films: list[Path], tmp_path: Path) -> None:
    predictor = Predictor(Brightness(), card_of())
    with pytest.raises(RequestError, match=r"no such file or folder: .*absent\.png"):
        predict_files(predictor, [films[0], tmp_path / "absent.png"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="no images in"):
        predict_files(predictor, [tmp_path / "empty"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_when_no_image_can_be_read_nothing_is_written(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    with pytest.raises(DataError, match=r"none of 1 images could be read.*\n.*broken\.png"):
        predict_files(Predictor(Brightness(), card_of()), [broken], tmp_path / "out")
    assert not (tmp_path / "out").exists()
