"""The folder source: layouts, what is ignored, which class is positive, patients from names, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from osler.config import DataConfig
from osler.data.files import list_images
from osler.data.samples import Samples
from osler.data.sources import SOURCES, load_source
from osler.errors import DataError


def write_images(folder: Path, names: list[str], size: tuple[int, int] = (10, 12)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), np.full(size, number, np.uint8))


def load(path: Path, **options: object) -> Samples:
    return load_source(DataConfig.model_validate({"source": "folder", "path": path, **options}))


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    write_images(tmp_path / "PNEUMONIA", ["b.png", "a.jpg"])
    write_images(tmp_path / "NORMAL", ["c.png"])
    return tmp_path


def test_the_table_of_sources_is_what_the_config_offers() -> None:
    assert set(SOURCES) == set(DataConfig.model_fields["source"].annotation.__args__)  # type: ignore[union-attr]


def test_class_folders_become_a_binary_task(two_classes: Path) -> None:
    samples = load(two_classes)
    assert samples.ids.tolist() == ["NORMAL/c.png", "PNEUMONIA/a.jpg", "PNEUMONIA/b.png"]
    assert samples.targets.tolist() == [[0], [1], [1]]
    assert (samples.task, samples.classes, samples.negative) == ("binary", ("PNEUMONIA",), "NORMAL")
    assert samples.split is None
    assert samples.patients is None
    assert any("'NORMAL' names what is negative" in note for note in samples.notes)


def test_images_are_read_probed_and_identified_also_in_another_process(two_classes: Path) -> None:
    images = pickle.loads(pickle.dumps(load(two_classes).images))
    assert images.read(0).pixels.shape == (10, 12)
    info = images.probe(2)
    assert (info.width, info.height, info.bits) == (12, 10, 8)
    before = images.identity(0)
    assert before == images.identity(0) != images.identity(1)
    write_images(two_classes / "NORMAL", ["c.png"], size=(20, 20))
    assert images.identity(0) != before
    assert images.take(np.array([2, 0])).path(0).name == "b.png"


def test_a_file_gone_since_it_was_listed_is_named(two_classes: Path) -> None:
    images = load(two_classes).images
    (two_classes / "NORMAL/c.png").unlink()
    with pytest.raises(DataError, match=r"c\.png: cannot be read"):
        images.identity(0)


@pytest.mark.parametrize(
    ("names", "positive"),
    [
        (("benign", "malignant"), "malignant"),
        (("tumor", "no_tumor"), "tumor"),
        (("normal", "abnormal"), "abnormal"),
        (("cat", "dog"), "dog"),
        (("nodule", "mass"), "nodule"),
        (("No Finding", "Effusion"), "Effusion"),
        (("Healthy", "COVID"), "COVID"),
    ],
)
def test_the_positive_of_two_classes(tmp_path: Path, names: tuple[str, str], positive: str) -> None:
    for name in names:
        write_images(tmp_path / name, ["a.png"])
    assert load(tmp_path).classes == (positive,)


def test_the_config_decides_which_class_is_positive(two_classes: Path) -> None:
    samples = load(two_classes, classes=["PNEUMONIA", "NORMAL"])
    assert (samples.classes, samples.negative) == (("NORMAL",), "PNEUMONIA")
    assert samples.targets[:, 0].tolist() == [1, 0, 0]


def test_three_classes_are_one_hot_and_order_follows_the_config(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_images(tmp_path / name, ["x.png"])
    samples = load(tmp_path, classes=["c", "a", "b"])
    assert samples.task == "multiclass"
    assert samples.classes == ("c", "a", "b")
    assert samples.targets.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_multilabel_drops_the_class_without_a_finding(tmp_path: Path) -> None:
    for name in ("effusion", "mass", "normal"):
        write_images(tmp_path / name, ["x.png"])
    samples = load(tmp_path, task="multilabel")
    assert samples.classes == ("effusion", "mass")
    assert samples.targets.tolist() == [[1, 0], [0, 1], [0, 0]]


def test_split_folders_are_normalised_and_kept(tmp_path: Path) -> None:
    for split in ("train", "validation", "TEST"):
        for name in ("a", "b"):
            write_images(tmp_path / split / name, [f"{split}.png"])
    write_images(tmp_path / "masks", ["m.png"])
    samples = load(tmp_path)
    assert samples.split is not None
    assert samples.split.tolist() == ["train", "train", "val", "val", "test", "test"]
    assert samples.ids[0] == "train/a/train.png"
    assert any("masks" in note for note in samples.notes)
    assert any("'validation' is read as val" in note for note in samples.notes)


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    for split in ("val", "validation"):
        write_images(tmp_path / split / "a", ["x.png"])
    with pytest.raises(DataError, match="name the same split"):
        load(tmp_path)


def test_hidden_and_other_files_are_counted_not_read(two_classes: Path) -> None:
    (two_classes / "NORMAL/.DS_Store").touch()
    (two_classes / "NORMAL/Thumbs.db").touch()
    (two_classes / "NORMAL/notes.txt").touch()
    (two_classes / "NORMAL/scan.gif").touch()
    (two_classes / "__MACOSX/NORMAL").mkdir(parents=True)
    write_images(two_classes, ["loose.png"])
    samples = load(two_classes)
    assert len(samples) == 3
    text = " ".join(samples.notes)
    assert "2 hidden files or folders ignored" in text
    assert "2 files ignored as no image by the name (1 .txt, 1 .gif)" in text
    assert "1 image beside the class folders ignored" in text


def test_images_in_folders_below_a_class_are_found(tmp_path: Path) -> None:
    write_images(tmp_path / "a" / "patient 1", ["x.png", "y.png"])
    write_images(tmp_path / "b" / "deep" / "er", ["z.TIF"])
    assert load(tmp_path).ids.tolist() == ["a/patient 1/x.png", "a/patient 1/y.png", "b/deep/er/z.TIF"]


def test_a_linked_folder_that_leads_back_ends(two_classes: Path) -> None:
    (two_classes / "NORMAL/again").symlink_to(two_classes / "NORMAL", target_is_directory=True)
    samples = load(two_classes)
    assert len(samples) == 3
    assert any("1 linked folder not followed" in note for note in samples.notes)


def test_linked_folders_are_followed_once_each(two_classes: Path, tmp_path: Path) -> None:
    far = tmp_path / "another disk"
    write_images(far / "inner", ["x.png", "y.png"])
    (far / "back").symlink_to(far)
    (far / "up").symlink_to(two_classes.parent)
    for name in ("here", "there"):
        (two_classes / "NORMAL" / name).symlink_to(far)
    listing = list_images(two_classes / "NORMAL")
    assert [name for name in listing.names if "/" in name] == ["here/inner/x.png", "here/inner/y.png"]
    assert listing.links == 3  # `there`, `back` and `up`


def test_a_folder_within_a_linked_one_is_not_read_twice(two_classes: Path, tmp_path: Path) -> None:
    far = tmp_path / "another disk"
    write_images(far / "inner", ["x.png"])
    write_images(far, ["y.png"])
    (two_classes / "NORMAL/a").symlink_to(far / "inner")
    (two_classes / "NORMAL/b").symlink_to(far)
    listing = list_images(two_classes / "NORMAL")
    assert [name for name in listing.names if "/" in name] == ["a/x.png", "b/y.png"]
    assert listing.links == 1


class TestPatientsFromNames:
    def test_kermany(self, tmp_path: Path) -> None:
        write_images(tmp_path / "PNEUMONIA", ["person1_bacteria_2.jpeg", "person1_virus_3.jpeg", "person12_virus_1.jpeg"])
        write_images(tmp_path / "NORMAL", ["IM-0117-0001.jpeg", "IM-0117-0001-0002.jpeg", "NORMAL2-IM-0117-0001.jpeg"])
        samples = load(tmp_path)
        assert samples.patients is not None
        expected = ["IM-0117", "IM-0117", "NORMAL2-IM-0117", "person12", "person1", "person1"]
        assert samples.patients.tolist() == expected
        assert any("Patients are read from file names" in note for note in samples.notes)

    def test_one_odd_name_leaves_patients_unknown(self, tmp_path: Path) -> None:
        write_images(tmp_path / "PNEUMONIA", ["person1_bacteria_2.jpeg", "scan.jpeg"])
        write_images(tmp_path / "NORMAL", ["IM-0117-0001.jpeg"])
        assert load(tmp_path).patients is None


class TestRefused:
    def test_a_path_that_is_missing_with_the_nearest_name(self, tmp_path: Path) -> None:
        (tmp_path / "chest_xray").mkdir()
        with pytest.raises(DataError, match=r"data\.path: .*chest_xrays/train does not exist. Did you mean .*chest_xray\?"):
            load(tmp_path / "chest_xrays" / "train")

    def test_a_file(self, tmp_path: Path) -> None:
        write_images(tmp_path, ["a.png"])
        with pytest.raises(DataError, match="is a file"):
            load(tmp_path / "a.png")

    def test_a_folder_without_class_folders(self, tmp_path: Path) -> None:
        write_images(tmp_path, ["a.png"])
        with pytest.raises(DataError, match="has no class folders"):
            load(tmp_path)

    def test_empty_class_folders_all_at_once(self, two_classes: Path) -> None:
        (two_classes / "empty").mkdir()
        (two_classes / "texts").mkdir()
        (two_classes / "texts/readme.md").touch()
        with pytest.raises(DataError, match=r"class folders without images: .*empty, .*texts"):
            load(two_classes)

    def test_one_class_folder(self, tmp_path: Path) -> None:
        write_images(tmp_path / "images", ["a.png"])
        with pytest.raises(DataError, match=r"only one class folder, images.*data\.source: csv"):
            load(tmp_path)

    def test_a_folder_too_high(self, tmp_path: Path) -> None:
        for split in ("train", "test"):
            write_images(tmp_path / "chest_xray" / split / "a", ["a.png"])
        with pytest.raises(DataError, match=r"data\.path should be .*chest_xray"):
            load(tmp_path)

    def test_classes_that_do_not_fit_the_folders_every_fault_at_once(self, two_classes: Path) -> None:
        with pytest.raises(DataError) as caught:
            load(two_classes, classes=["NORMAL", "PNEUMONA"])
        message = str(caught.value)
        assert "2 faults" in message
        assert "no folder for 'PNEUMONA' (did you mean 'PNEUMONIA'?)" in message
        assert "the folder 'PNEUMONIA' is not in data.classes" in message

    def test_a_binary_task_of_three_classes(self, two_classes: Path) -> None:
        write_images(two_classes / "OTHER", ["a.png"])
        with pytest.raises(DataError, match="binary, but there are 3 classes"):
            load(two_classes, task="binary")


def test_a_class_absent_from_a_split_is_kept_as_given(tmp_path: Path) -> None:
    write_images(tmp_path / "train/a", ["1.png"])
    write_images(tmp_path / "train/b", ["2.png"])
    write_images(tmp_path / "val/a", ["3.png"])
    (tmp_path / "val/b").mkdir()
    samples = load(tmp_path)
    assert samples.targets[:, 0].tolist() == [0, 1, 0]
