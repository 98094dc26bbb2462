"""What is measured of one image, how it is kept, and how a survey tells its progress."""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from osler.audit import survey
from osler.audit.measures import EDGES, RECORD, measure, schema
from osler.audit.progress import Progress, progress_line
from osler.audit.store import MeasureStore
from osler.audit.survey import survey_images
from osler.data.files import FileImages
from osler.data.samples import Samples
from osler.imaging.raw import RawImage


def raw(pixels: np.ndarray, high: float = 255.0, inverted: bool = False) -> RawImage:
    return RawImage(pixels, 0.0, high, inverted=inverted)


def test_frames_are_measured_at_each_edge() -> None:
    film = np.full((96, 96), 120, np.uint8)
    film[:12] = 0
    film[:, -24:] = 2
    found = dict(zip(EDGES, measure(raw(film), "png", "gray", 8)["border"].tolist(), strict=True))
    assert found == pytest.approx({"top": 12 / 96, "bottom": 0, "left": 0, "right": 24 / 96})


def test_a_marker_is_in_its_corner() -> None:
    film = np.full((60, 60), 90, np.uint8)
    film[50:60, :5] = 255
    marker = measure(raw(film), "png", "gray", 8)["marker"]
    assert marker.tolist() == pytest.approx([0, 0, 0.5, 0])


def test_an_inverted_image_is_measured_as_it_is_shown() -> None:
    film = np.full((20, 20), 255, np.uint8)
    film[:5] = 0
    shown, negative = measure(raw(film), "png", "gray", 8), measure(raw(255 - film, inverted=True), "png", "gray", 8)
    for name in ("mean", "sd", "at_low", "at_high"):
        assert float(shown[name]) == pytest.approx(float(negative[name])), name


def test_sixteen_bit_colour_and_float() -> None:
    deep = measure(raw(np.full((8, 8), 32768, np.uint16), 65535.0), "png", "gray", 16)
    assert float(deep["mean"]) == pytest.approx(0.5, abs=1e-4)
    colour = measure(raw(np.full((8, 8, 3), 51, np.uint8)), "jpeg", "rgb", 8)
    assert (int(colour["channels"]), round(float(colour["mean"]), 3)) == (3, 0.2)
    values = np.linspace(-1000, 1000, 64, dtype=np.float32).reshape(8, 8)
    values[0, 0] = np.nan
    free = measure(RawImage(values, float("nan"), float("nan")), "nifti", "gray", 32)
    assert np.isfinite(free["mean"])
    assert float(free["high"]) == 1000.0


def test_the_schema_is_one_name_for_one_way_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    before = schema()
    assert before == schema()
    monkeypatch.setattr("osler.audit.measures.WHITE", 0.5)
    assert schema() != before


def records(numbers: range) -> np.ndarray:
    found = np.zeros(len(numbers), RECORD)
    found["identity"][:, 1] = list(numbers)
    found["width"] = list(numbers)
    return found


def test_a_store_gives_back_what_it_was_given(tmp_path: Path) -> None:
    store = MeasureStore(tmp_path / "a")
    for start in range(0, 200, 10):  # more parts than are kept apart
        store.add(records(range(start, start + 10)))
    again = MeasureStore(tmp_path / "a")
    wanted = np.array([[0, 150], [0, 999], [0, 3]], np.uint64)
    places = again.recall(wanted)
    assert again.records["width"][places[[0, 2]]].tolist() == [150, 3]
    assert places[1] == -1
    assert len(list((tmp_path / "a").glob("*.npy"))) < 17


def test_a_damaged_part_costs_itself(tmp_path: Path) -> None:
    store = MeasureStore(tmp_path)
    store.add(records(range(5)))
    store.add(records(range(5, 9)))
    victim = max(tmp_path.glob("*.npy"), key=lambda path: path.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:200])
    assert MeasureStore(tmp_path).records["width"].tolist() == [5, 6, 7, 8]
    (tmp_path / "other.npy").write_bytes(b"")
    assert len(MeasureStore(tmp_path).records) == 4


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = MeasureStore(tmp_path / "file" / "below")
    store.add(records(range(3)))
    assert not store.kept


def film_set(folder: Path, number: int) -> Samples:
    rng = np.random.default_rng(0)
    names = np.array([f"{row:03d}.png" for row in range(number)])
    for name in names:
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (24, 24), np.uint8))
    return Samples(names, np.zeros((number, 1), np.float32), ("a",), "binary", FileImages(folder, names))


def test_processes_measure_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = film_set(tmp_path, 200)
    (tmp_path / "150.png").write_bytes(b"no image")
    (tmp_path / "007.png").unlink()
    here = survey_images(samples, tmp_path / "one", 1, Progress(io.StringIO()))
    monkeypatch.setattr(survey, "_WORTH_SECONDS", 0.0)
    there = survey_images(samples, tmp_path / "two", 2, Progress(io.StringIO()))
    assert here.records.tobytes() == there.records.tobytes()
    assert here.unreadable == there.unreadable
    assert set(here.unreadable) == {7, 150}
    assert (here.fresh, int(here.readable.sum())) == (199, 198)


def test_a_changed_image_is_measured_anew(tmp_path: Path) -> None:
    samples = film_set(tmp_path, 12)
    survey_images(samples, tmp_path / "cache", 1, Progress(io.StringIO()))
    cv2.imwrite(str(tmp_path / "004.png"), np.full((30, 30), 9, np.uint8))
    os.utime(tmp_path / "004.png", ns=(1, 1))
    again = survey_images(samples, tmp_path / "cache", 1, Progress(io.StringIO()))
    assert (again.fresh, int(again["width"][4])) == (1, 30)


def test_progress_goes_to_its_stream() -> None:
    stream = io.StringIO()
    progress = Progress(stream, every=0.0)
    progress.begin("Measuring images", 40)
    progress.advance(10)
    progress.end()
    assert stream.getvalue().startswith("Measuring images: 10 of 40 · ")
    assert progress_line("x", 100, 100_000, 1.0) == "x: 100 of 100,000 · 100/s · 16:39 left"
    assert progress_line("x", 1, 36_001, 1.0).endswith("10:00:00 left")
