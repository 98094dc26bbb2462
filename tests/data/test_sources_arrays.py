"""The npz source: MedMNIST's layout, gray and colour, one label or several, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osler.config import DataConfig
from osler.data import arrays
from osler.data.samples import Samples
from osler.data.sources import load_source
from osler.errors import DataError


def write(folder: Path, shape: tuple[int, ...] = (28, 28), dtype: str = "uint8", **arrays: Any) -> Path:
    """An .npz file with 6, 3 and 3 random images, and labels 0 and 1; `arrays` replaces (None removes) some."""
    random = np.random.default_rng(0)
    content: dict[str, Any] = {}
    for split, number in (("train", 6), ("val", 3), ("test", 3)):
        content[f"{split}_images"] = random.integers(0, 256, (number, *shape)).astype(dtype)
        content[f"{split}_labels"] = (np.arange(number) % 2)[:, None].astype(np.uint8)
    content |= arrays
    path = folder / "set.npz"
    np.savez_compressed(path, **{name: array for name, array in content.items() if array is not None})
    return path


def load(path: Path, **options: Any) -> Samples:
    return load_source(DataConfig.model_validate({"source": "npz", "path": path, **options}))


def test_one_column_of_0_and_1_is_binary(tmp_path: Path) -> None:
    samples = load(write(tmp_path))
    assert (samples.task, samples.classes, samples.negative) == ("binary", ("class 1",), "class 0")
    assert samples.ids[[0, 6, 11]].tolist() == ["train/0", "val/0", "test/2"]
    assert samples.split is not None
    assert samples.split.tolist() == ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    assert samples.targets[:, 0].tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 1, 0]


def test_names_come_from_the_config(tmp_path: Path) -> None:
    samples = load(write(tmp_path), classes=["normal", "pneumonia"])
    assert (samples.classes, samples.negative) == (("pneumonia",), "normal")


@pytest.mark.parametrize("shape", [(28, 28), (64, 32, 3), (30, 30, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_images_come_back_as_they_are(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    path = write(tmp_path, shape, dtype)
    images = load(path).images.take(np.array([7, 2]))
    with np.load(path) as file:
        expected = file["val_images"][1].squeeze()
    raw = images.read(0)
    np.testing.assert_array_equal(raw.pixels, expected)
    assert raw.pixels.dtype == dtype
    assert (raw.low, raw.high) == (0, np.iinfo(dtype).max)
    info = images.probe(0)
    assert (info.width, info.height, info.channels) == (shape[1], shape[0], 3 if shape[-1] == 3 else 1)
    assert info.bits == np.dtype(dtype).itemsize * 8


def test_an_identity_follows_the_pixels(tmp_path: Path) -> None:
    pixels = np.zeros((6, 28, 28), np.uint8)
    pixels[3, 5, 5] = 1
    images = load(write(tmp_path, train_images=pixels)).images
    assert images.identity(0) == images.identity(1)
    assert images.identity(0) != images.identity(3)


def test_pickled_it_is_small_and_still_reads(tmp_path: Path) -> None:
    images = load(write(tmp_path, shape=(224, 224))).images
    data = pickle.dumps(images)
    assert len(data) < 5000
    np.testing.assert_array_equal(pickle.loads(data).read(4).pixels, images.read(4).pixels)


def test_a_file_changed_since_it_was_listed_is_refused(tmp_path: Path) -> None:
    data = pickle.dumps(load(write(tmp_path)).images)
    write(tmp_path, shape=(30, 30))
    arrays._images.cache_clear()  # as in another process, which has read nothing yet
    with pytest.raises(DataError, match="has changed"):
        pickle.loads(data).read(0)


def test_several_classes_in_one_column(tmp_path: Path) -> None:
    samples = load(write(tmp_path, train_labels=np.array([0, 1, 2, 2, 1, 0])))
    assert (samples.task, samples.classes) == ("multiclass", ("class 0", "class 1", "class 2"))
    assert samples.targets[:3].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_several_columns_are_labels_of_their_own(tmp_path: Path) -> None:
    labels = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 1]])
    samples = load(write(tmp_path, train_labels=np.vstack([labels, labels]), val_labels=labels, test_labels=labels))
    assert samples.task == "multilabel"
    np.testing.assert_array_equal(samples.targets[6:9], labels)


def test_unknown_labels(tmp_path: Path) -> None:
    path = write(tmp_path, train_labels=np.array([0, 1, np.nan, 1, 0, 1]))
    with pytest.raises(DataError, match=r"blank in 1 row \(labels 1; first: train/2\)"):
        load(path)
    assert np.isnan(load(path, unknown="ignore").targets[2, 0])
    assert load(path, unknown="positive").targets[2, 0] == 1


def test_splits_that_are_absent_stay_open_to_be_cut(tmp_path: Path) -> None:
    samples = load(write(tmp_path, val_images=None, val_labels=None))
    assert samples.split is not None
    assert set(samples.split) == {"train", "test"}


class TestRefused:
    def test_arrays_that_are_missing_all_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            load(write(tmp_path, train_labels=None, test_images=None))
        assert "there is no array train_labels" in str(caught.value)
        assert "there is no array test_images" in str(caught.value)

    def test_another_layout(self, tmp_path: Path) -> None:
        path = tmp_path / "x.npz"
        np.savez(path, X=np.zeros(3), y=np.zeros(3))
        with pytest.raises(DataError, match=r"needed are train_images.*there are X, y"):
            load(path)

    def test_shapes_types_and_lengths_all_at_once(self, tmp_path: Path) -> None:
        path = write(
            tmp_path,
            train_images=np.zeros((6, 28, 28, 28), np.uint8),
            val_images=np.zeros((3, 28, 28), np.float64),
            test_labels=np.zeros(2, int),
        )
        with pytest.raises(DataError) as caught:
            load(path)
        message = str(caught.value)
        assert "train_images has the shape (6, 28, 28, 28)" in message
        assert "val_images is of type float64" in message
        assert "test has 3 images and 2 labels" in message

    def test_labels_out_of_range(self, tmp_path: Path) -> None:
        path = write(tmp_path, train_labels=np.array([0, 1, 5, 1, 0, -1]))
        with pytest.raises(DataError, match=r"2 labels are none of 0 to 1: -1.0, 5.0 \(train/2, train/5\)"):
            load(path, classes=["a", "b"])

    def test_names_that_do_not_fit_the_columns(self, tmp_path: Path) -> None:
        labels = {f"{split}_labels": np.zeros((number, 3), int) for split, number in (("train", 6), ("val", 3), ("test", 3))}
        with pytest.raises(DataError, match="lists 2 classes, but the labels have 3 columns"):
            load(write(tmp_path, **labels), classes=["a", "b"])

    @pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short"])
    def test_files_that_are_damaged(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "x.npz"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"cannot be read as an \.npz file"):
            load(path)

    def test_a_damaged_array(self, tmp_path: Path) -> None:
        path = write(tmp_path)
        data = bytearray(path.read_bytes())
        data[200:260] = bytes(60)
        path.write_bytes(bytes(data))
        with pytest.raises(DataError, match="cannot be read"):
            load(path)

    def test_pickled_objects_are_not_loaded(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="cannot be read"):
            load(write(tmp_path, train_labels=np.array([{}] * 6, dtype=object)))

    def test_a_single_array(self, tmp_path: Path) -> None:
        path = tmp_path / "x.npz"
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
        with pytest.raises(DataError, match="single array"):
            load(path)
