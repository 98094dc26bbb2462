"""Predicted masks: in the geometry of the file, called by the card's thresholds, and written so that they can be read back."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from osler.config import PreparationConfig
from osler.errors import DataError, ModelError, RunError
from osler.imaging.preparation import Preparation
from osler.imaging.read import RawImage
from osler.predict import MaskPrediction, SegmentationPredictor, predict_files
from osler.predict.mask_files import MaskFolder
from osler.predict.masks import called_masks, restored
from osler.predict.overlay import COLOURS, LARGEST, colour_of, overlay
from osler.runs.card import Card

SIZE = 64
WHOLE = {"tile": None, "overlap": 0.5, "flips": False}


class Bright:
    """A session that calls what is bright: the logit of the first class is 0 at 128, of the second at 192."""

    def __init__(self, classes: int = 1) -> None:
        self.classes = classes
        self.shapes: list[tuple[int, ...]] = []

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.shapes.append(images.shape)
        values = images[:, 0].astype(np.float32)
        return np.stack([(values - 128 - 64 * k) / 10 for k in range(self.classes)], axis=1)


def card_of(classes: tuple[str, ...] = ("lesion",), fit: str = "stretch", size: int = SIZE, **fields: object) -> Card:
    preparation = Preparation(PreparationConfig(size=size, channels=1, fit=fit))  # type: ignore[arg-type]
    settings: dict[str, object] = {
        "task": "segmentation",
        "classes": classes,
        "negative": "background",
        "architecture": "compact",
        "preparation": preparation.describe(),
        "fingerprint": preparation.fingerprint(),
        "thresholds": dict.fromkeys(classes, 0.5),
        "threshold_rule": "f1 on val",
        "weights": "raw",
        "best_epoch": 3,
        "data": {"source": "phantom"},
        "exclusive": True,
        "prediction": WHOLE,
        **fields,
    }
    return Card(**settings)  # type: ignore[arg-type]


def disc(height: int, width: int, radius: float = 0.25, value: int = 230) -> NDArray[np.uint8]:
    """A bright ellipse in the middle of a dark image."""
    rows, columns = np.mgrid[0:height, 0:width]
    inside = ((rows - height / 2) / height) ** 2 + ((columns - width / 2) / width) ** 2 < radius**2
    return np.where(inside, value, 20).astype(np.uint8)


def save(folder: Path, name: str, pixels: NDArray[np.uint8]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / name), pixels)
    return folder / name


def one_of(predictor: SegmentationPredictor, pixels: NDArray[np.uint8]) -> MaskPrediction:
    (found,) = predictor.predict([RawImage(pixels, 0, 255)])
    assert found.planes is not None
    return found


def dice(first: NDArray[np.uint8], second: NDArray[np.bool_]) -> float:
    return float(2 * (first.astype(bool) & second).sum() / (first.sum() + second.sum()))


class TestGeometry:
    @pytest.mark.parametrize("fit", ["stretch", "pad"])
    @pytest.mark.parametrize(("height", "width"), [(64, 64), (200, 120), (37, 90), (50, 300)])
    def test_masks_lie_where_the_content_does(self, fit: str, height: int, width: int) -> None:
        picture = disc(height, width)
        found = one_of(SegmentationPredictor(Bright(), card_of(fit=fit)), picture)
        assert found.planes is not None
        assert found.planes.shape == (1, height, width)
        assert found.planes.dtype == np.uint8
        assert dice(found.planes[0], picture > 128) > 0.95
        assert np.array_equal(found.picture, picture)

    def test_an_image_of_the_models_size_is_not_resampled(self) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
        found = one_of(SegmentationPredictor(Bright(), card_of()), noise)
        assert np.array_equal(found.planes, [noise >= 128])

    def test_borders_are_smooth_since_logits_are_resized(self) -> None:
        """Eight times enlarged, a staircase of masks would have steps of eight pixels; that of logits has none."""
        picture = disc(512, 512)
        found = one_of(SegmentationPredictor(Bright(), card_of()), picture)
        assert found.planes is not None
        steps = np.flatnonzero(np.diff(found.planes[0].argmax(axis=1)[200:312]))
        assert np.diff(steps).min() < 8

    def test_what_padding_added_is_cut_off(self) -> None:
        preparation = Preparation(PreparationConfig(size=100, channels=1, fit="pad"))
        planes = np.zeros((1, 100, 100), np.float32)
        planes[:, 25:75] = 1
        assert (restored(planes, (40, 80), preparation) == 1).all()

    def test_of_sixteen_bits_the_prepared_image_is_shown(self) -> None:
        config = PreparationConfig(size=SIZE, channels=1, range=(0, 4095), fit="pad")
        card = card_of(preparation=Preparation(config).describe(), fingerprint=Preparation(config).fingerprint())
        pixels = (disc(80, 160).astype(np.uint16) * 16).astype(np.uint16)
        (found,) = SegmentationPredictor(Bright(), card).predict([RawImage(pixels, 0, 65535)])
        assert found.picture is not None
        assert found.picture.shape == (80, 160)
        assert found.picture.dtype == np.uint8
        assert abs(int(found.picture[40, 80]) - 230) <= 2


class TestCalls:
    def test_thresholds_are_probabilities(self) -> None:
        logits = np.array([-1.0, 0.0, 1.0, 2.0], np.float32).reshape(1, 1, 4)
        for threshold, called in (
            (0.5, [0, 1, 1, 1]),
            (0.25, [1, 1, 1, 1]),
            (0.85, [0, 0, 0, 1]),
            (0.0, [1] * 4),
            (1.0, [0] * 4),
        ):
            with np.errstate(divide="ignore"):
                limit = np.log(np.array([threshold])) - np.log1p(-np.array([threshold]))
            assert called_masks(logits, limit, True)[0].ravel().tolist() == called

    def test_exclusive_classes_never_overlap_and_the_likelier_wins(self) -> None:
        logits = np.random.default_rng(0).normal(0, 3, (4, 30, 40)).astype(np.float32)
        low = np.full(4, np.log(0.1 / 0.9))
        planes, peaks = called_masks(logits, low, exclusive=True)
        powers = np.exp(np.concatenate([np.zeros((1, 30, 40)), logits]).astype(float))
        probabilities = (powers / powers.sum(axis=0))[1:]
        assert planes.sum(axis=0).max() == 1
        assert np.array_equal(planes.sum(axis=0), (probabilities.max(axis=0) >= 0.1))
        assert np.array_equal(planes.argmax(axis=0)[planes.any(axis=0)], probabilities.argmax(axis=0)[planes.any(axis=0)])
        np.testing.assert_allclose(peaks, probabilities.max(axis=(1, 2)), rtol=1e-5)

    def test_a_likelier_class_below_its_threshold_leaves_the_pixel_to_another(self) -> None:
        logits = np.array([1.0, 1.5], np.float32).reshape(2, 1, 1)
        planes, _ = called_masks(logits, np.array([-1.0, 3.0]), exclusive=True)
        assert planes.ravel().tolist() == [1, 0]

    def test_other_classes_may_overlap(self) -> None:
        found = one_of(SegmentationPredictor(Bright(2), card_of(("bright", "brighter"), exclusive=False)), disc(64, 64))
        assert found.planes is not None
        assert (found.planes[0] & found.planes[1]).any()

    def test_strips_change_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        logits = np.random.default_rng(0).normal(0, 3, (3, 31, 40)).astype(np.float32)
        whole = called_masks(logits, np.zeros(3), exclusive=True)
        monkeypatch.setattr("osler.predict.masks.STRIP", 100)
        strips = called_masks(logits, np.zeros(3), exclusive=True)
        assert np.array_equal(whole[0], strips[0])
        assert np.array_equal(whole[1], strips[1])

    def test_a_class_without_a_threshold_is_never_called_and_says_so(self) -> None:
        card = card_of(("bright", "brighter"), exclusive=False, thresholds={"bright": 0.5, "brighter": None})
        found = one_of(SegmentationPredictor(Bright(2), card), disc(64, 64))
        assert found.planes is not None
        assert found.planes.any(axis=(1, 2)).tolist() == [True, False]
        assert found.notes == ("brighter: no threshold could be chosen, so no pixel is called",)


class TestPredictor:
    def test_batches_and_tiles_change_nothing(self) -> None:
        pictures = [RawImage(disc(90 + 10 * number, 100), 0, 255) for number in range(5)]
        whole, tiles = Bright(), Bright()
        plain = list(SegmentationPredictor(whole, card_of(), batch_size=2).predict(pictures))
        card = card_of(prediction={"tile": 32, "overlap": 0.5, "flips": True})
        cut = list(SegmentationPredictor(tiles, card, batch_size=4).predict(pictures))
        for first, second in zip(plain, cut, strict=True):
            assert np.array_equal(first.planes, second.planes)
        assert whole.shapes == [(2, 1, 64, 64), (2, 1, 64, 64), (1, 1, 64, 64)]
        assert {shape[1:] for shape in tiles.shapes} == {(1, 32, 32)}
        assert max(shape[0] for shape in tiles.shapes) == 4

    def test_a_bad_file_costs_nobody_elses_masks(self, tmp_path: Path) -> None:
        paths = [save(tmp_path, "a.png", disc(40, 40)), tmp_path / "absent.png", save(tmp_path, "b.png", disc(40, 40))]
        found = list(SegmentationPredictor(Bright(), card_of()).predict(paths))
        assert [one.error is None for one in found] == [True, False, True]
        assert "absent.png" in (found[1].error or "")
        assert np.array_equal(found[0].planes, found[2].planes)

    def test_output_that_is_not_finite_is_an_error(self) -> None:
        class Broken(Bright):
            def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
                logits = super().run(images)
                logits[0, 0, 5, 5] = np.nan
                return logits

        found = list(SegmentationPredictor(Broken(), card_of()).predict([RawImage(disc(40, 40), 0, 255)] * 2))
        assert found[0].error == "the model's output is not finite"
        assert found[0].planes is None
        assert found[1].error is None

    def test_a_card_of_another_model_or_preparation_is_refused(self) -> None:
        with pytest.raises(ModelError, match="different models"):
            one_of(SegmentationPredictor(Bright(3), card_of()), disc(40, 40))
        with pytest.raises(ModelError, match="prepare"):
            SegmentationPredictor(Bright(), card_of(fingerprint="0" * 16))


class TestFiles:
    def rows(self, table: Path) -> list[dict[str, str]]:
        with table.open(encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def test_masks_overlays_and_figures(self, tmp_path: Path) -> None:
        pixels = disc(80, 100)
        pixels[5:9, 5:9] = 240
        path = save(tmp_path / "in", "eye 1.png", pixels)
        table = predict_files(SegmentationPredictor(Bright(2), card_of(("vessel", "drusen"))), [path], tmp_path / "out")
        assert table == tmp_path / "out" / "predictions.csv"
        vessel, drusen = self.rows(table)
        assert (vessel["image"], vessel["class"], drusen["class"]) == (str(path), "vessel", "drusen")
        written = cv2.imread(str(tmp_path / "out" / vessel["mask"]), cv2.IMREAD_UNCHANGED)
        assert vessel["mask"] == drusen["mask"] == "masks/eye_1.png"
        assert written.shape == (80, 100)
        assert written.dtype == np.uint8
        assert set(np.unique(written).tolist()) <= {0, 1, 2}
        assert int(vessel["pixels"]) == (written == 1).sum()
        assert float(vessel["share"]) == pytest.approx((written == 1).mean(), rel=1e-6)
        assert int(vessel["lesions"]) == cv2.connectedComponents((written == 1).astype(np.uint8))[0] - 1 == 2
        assert (vessel["area_mm2"], vessel["error"], vessel["threshold"]) == ("", "", "0.5")
        assert 0.9 < float(vessel["largest_probability"]) <= 1
        assert vessel["note"].startswith("for research; not a medical device")
        drawn = cv2.imread(str(tmp_path / "out" / vessel["overlay"]))
        assert drawn.shape == (80, 100, 3)
        reading = json.loads(table.with_suffix(".json").read_text(encoding="utf-8"))
        assert reading["labels"] == {"vessel": 1, "drusen": 2}
        assert reading["colours"] == {"vessel": COLOURS[0], "drusen": COLOURS[1]}
        assert (reading["images"], reading["errors"], reading["prediction"]) == (1, 0, WHOLE)
        assert "Not a medical device" in reading["intended_use"]

    def test_classes_that_may_overlap_have_a_file_each(self, tmp_path: Path) -> None:
        path = save(tmp_path / "in", "scan.png", disc(40, 40))
        card = card_of(("hard exudate", "hard/exudate"), exclusive=False)
        table = predict_files(SegmentationPredictor(Bright(2), card), [path], tmp_path / "out")
        files = [row["mask"] for row in self.rows(table)]
        assert files == ["masks/scan_hard_exudate.png", "masks/scan_hard_exudate_2.png"]
        for row in self.rows(table):
            written = cv2.imread(str(tmp_path / "out" / row["mask"]), cv2.IMREAD_UNCHANGED)
            assert set(np.unique(written).tolist()) == {0, 255}
            assert (written == 255).sum() == int(row["pixels"])

    def test_equal_names_do_not_overwrite_each_other(self, tmp_path: Path) -> None:
        for number, folder in enumerate(("left", "right", "third")):
            save(tmp_path / "in" / folder, "EYE.png" if number else "eye.png", disc(40, 40 + number))
        table = predict_files(SegmentationPredictor(Bright(), card_of()), [tmp_path / "in"], tmp_path / "out")
        files = [row["mask"] for row in self.rows(table)]
        assert files == ["masks/eye.png", "masks/EYE_2.png", "masks/EYE_3.png"]
        widths = [cv2.imread(str(tmp_path / "out" / file), cv2.IMREAD_UNCHANGED).shape[1] for file in files]
        assert widths == [40, 41, 42]

    def test_a_bad_file_has_its_row(self, tmp_path: Path) -> None:
        good = save(tmp_path / "in", "good.png", disc(40, 40))
        broken = tmp_path / "in" / "broken.png"
        broken.write_bytes(good.read_bytes()[:50])
        rows = self.rows(predict_files(SegmentationPredictor(Bright(), card_of()), [tmp_path / "in"], tmp_path / "out"))
        assert [row["error"] == "" for row in rows] == [False, True]
        assert "broken.png" in rows[0]["error"]
        assert (rows[0]["class"], rows[0]["mask"]) == ("", "")

    def test_when_no_image_can_be_read_nothing_is_written(self, tmp_path: Path) -> None:
        broken = tmp_path / "broken.png"
        broken.write_bytes(b"")
        with pytest.raises(DataError, match="none of 1 images could be read"):
            predict_files(SegmentationPredictor(Bright(), card_of()), [broken], tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        path = save(tmp_path / "in", "a.png", disc(40, 40))
        (tmp_path / "out").write_text("a file")
        with pytest.raises(RunError, match=r"cannot be made.*--out"):
            predict_files(SegmentationPredictor(Bright(), card_of()), [path], tmp_path / "out")

    @pytest.mark.parametrize(
        ("kind", "note"), [("patient", ()), ("detector", ("areas are on the detector, not in the patient",))]
    )
    def test_the_spacing_of_the_file_is_kept(self, kind: str, note: tuple[str, ...]) -> None:
        raw = RawImage(disc(40, 50), 0, 255, spacing=(0.5, 0.4), spacing_kind=kind)  # type: ignore[arg-type]
        (found,) = SegmentationPredictor(Bright(), card_of()).predict([raw])
        assert found.spacing == (0.5, 0.4)
        assert found.notes == note

    def test_area_where_the_spacing_is_known(self, tmp_path: Path) -> None:
        planes = np.zeros((1, 10, 20), np.uint8)
        planes[0, 2:4, 5:10] = 1
        one = MaskPrediction("scan.png", planes, {"lesion": 0.75}, np.zeros((10, 20), np.uint8), (0.5, 0.25))
        record = MaskFolder(tmp_path, card_of()).save(one)
        assert record.classes["lesion"].area == pytest.approx(10 * 0.125)


class TestOverlay:
    def test_outside_is_the_image_inside_is_tinted_and_the_outline_is_the_colour(self) -> None:
        picture = np.full((40, 50), 100, np.uint8)
        planes = np.zeros((1, 40, 50), np.uint8)
        planes[0, 10:20, 10:30] = 1
        drawn = overlay(picture, planes)
        colour = np.array([int(COLOURS[0][i : i + 2], 16) for i in (1, 3, 5)])
        assert drawn[0, 0].tolist() == [100] * 3
        np.testing.assert_allclose(drawn[15, 20], 0.75 * 100 + 0.25 * colour, atol=0.51)
        assert drawn[9, 20].tolist() == colour.tolist()
        assert (drawn == 100).all(axis=2).sum() == 40 * 50 - 200 - (12 * 22 - 200 - 4)

    def test_a_large_image_is_shown_smaller_and_its_smallest_lesion_still_there(self) -> None:
        planes = np.zeros((1, 3000, 6000), np.uint8)
        planes[0, 1501, 2999] = 1
        drawn = overlay(np.zeros((3000, 6000), np.uint8), planes)
        assert drawn.shape == (LARGEST // 2, LARGEST, 3)
        assert drawn.any()

    def test_the_picture_is_not_changed(self) -> None:
        picture = np.zeros((20, 20, 3), np.uint8)
        overlay(picture, np.ones((2, 20, 20), np.uint8))
        assert not picture.any()

    def test_colours_begin_anew(self) -> None:
        assert colour_of(len(COLOURS)) == colour_of(0)
