"""`osler init`: what is found in data of every form, what is proposed and why, and that the proposal loads and reads the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from osler.config import Config, PercentileRange, load_config
from osler.data.samples import Samples
from osler.data.sources import load_source
from osler.errors import ConfigError, DataError
from osler.init import suggest, write_config


def write_image(path: Path, size: tuple[int, ...] = (70, 100), dtype: Any = np.uint8, value: int = 3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full(size, value, dtype))


def loaded(source: Path | str, folder: Path) -> tuple[str, Config, Samples]:
    """The text, the configuration it makes, and the samples that this configuration reads."""
    path = write_config(source, folder / "written.yaml")
    config = load_config(path)
    return path.read_text(encoding="utf-8"), config, load_source(config.data)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for number in range(60):
        name = "PNEUMONIA" if number % 10 == 0 else "NORMAL"
        write_image(tmp_path / "set" / name / f"{number}.png", value=number)
    return tmp_path / "set"


class TestFolder:
    def test_what_was_found_is_said(self, folders: Path, tmp_path: Path) -> None:
        text, config, samples = loaded(folders, tmp_path)
        assert "60 images, binary. Of 60 looked at: 100 × 70 pixels; png, 8 bit, gray." in text
        assert "# images                     42" in text
        assert "4 (9.5 %)" in text
        assert config.data.classes == ("NORMAL", "PNEUMONIA")
        assert samples.classes == ("PNEUMONIA",)
        assert config.run.name == "set"

    def test_rare_positives_get_a_weight_and_the_reason(self, folders: Path, tmp_path: Path) -> None:
        text, config, _ = loaded(folders, tmp_path)
        assert config.loss.pos_weight == "auto"
        assert "9.5 % of train is positive" in text

    def test_frequent_ones_get_none(self, folders: Path, tmp_path: Path) -> None:
        for number in range(40):
            write_image(folders / "PNEUMONIA" / f"more{number}.png")
        assert loaded(folders, tmp_path)[1].loss.pos_weight is None

    def test_given_splits_are_counted_each(self, tmp_path: Path) -> None:
        for split, number in (("train", 6), ("val", 2), ("test", 4)):
            for row in range(number):
                write_image(tmp_path / "s" / split / "ab"[row % 2] / f"{row}.png")
        text, _, samples = loaded(tmp_path / "s", tmp_path)
        assert "The splits are those of the source (train 6, val 2, test 4)." in text
        assert samples.split is not None

    def test_three_classes_far_from_even_are_weighted(self, tmp_path: Path) -> None:
        for name, number in (("a", 30), ("b", 30), ("c", 6)):
            for row in range(number):
                write_image(tmp_path / "s" / name / f"{row}.png")
        _, config, samples = loaded(tmp_path / "s", tmp_path)
        assert (config.loss.type, config.loss.class_weights) == ("cross_entropy", "auto")
        assert samples.task == "multiclass"


class TestImages:
    @pytest.mark.parametrize(
        ("size", "proposed", "pretrained"),
        [
            ((28, 28), 28, None),
            ((63, 50), 63, None),
            ((64, 64), 64, "embedded"),
            ((70, 100), 128, "embedded"),
            ((500, 400), 224, "embedded"),
        ],
    )
    def test_size_and_network_follow_the_images(
        self, tmp_path: Path, size: tuple[int, int], proposed: int, pretrained: str | None
    ) -> None:
        for row in range(12):
            write_image(tmp_path / "s" / "ab"[row % 2] / f"{row}.png", size)
        config = loaded(tmp_path / "s", tmp_path)[1]
        assert config.preparation.size == proposed
        assert config.model.pretrained == pretrained
        assert bool(config.training.phases) == (pretrained is not None)

    @pytest.mark.parametrize(("value", "expected"), [(4000, (0, 4095)), (900, (0, 1023)), (200, (0, 255)), (60_000, "dtype")])
    def test_16_bit_images_get_a_range_from_the_bits_they_use(self, tmp_path: Path, value: int, expected: Any) -> None:
        for row in range(12):
            write_image(tmp_path / "s" / "ab"[row % 2] / f"{row}.png", dtype=np.uint16, value=value)
        text, config, _ = loaded(tmp_path / "s", tmp_path)
        assert config.preparation.range == expected
        assert not isinstance(config.preparation.range, PercentileRange)
        assert f"values up to {value}" in text
        assert ("# dtype: uint16 keeps more than 8 of these bits" in text) == (value > 255)
        assert config.preparation.dtype == "uint8"

    def test_8_and_16_bit_together_get_the_range_of_their_types(self, tmp_path: Path) -> None:
        for row in range(12):
            write_image(tmp_path / "s" / "ab"[row % 2] / f"{row}.png", dtype=(np.uint8, np.uint16)[row % 2])
        assert loaded(tmp_path / "s", tmp_path)[1].preparation.range == "dtype"

    def test_long_images_are_padded(self, tmp_path: Path) -> None:
        for row in range(12):
            write_image(tmp_path / "s" / "ab"[row % 2] / f"{row}.png", (100, 300))
        assert loaded(tmp_path / "s", tmp_path)[1].preparation.fit == "pad"

    def test_unreadable_ones_are_counted(self, folders: Path, tmp_path: Path) -> None:
        (folders / "NORMAL/1.png").write_bytes(b"")
        assert "1 of these cannot be read, such as" in loaded(folders, tmp_path)[0]

    def test_none_readable_is_an_error(self, tmp_path: Path) -> None:
        for name in "ab":
            for row in range(3):
                write_image(tmp_path / "s" / name / f"{row}.png")
                (tmp_path / "s" / name / f"{row}.png").write_bytes(b"no image")
        with pytest.raises(DataError, match="none of the 6 images looked at can be read"):
            suggest(tmp_path / "s")


class TestTable:
    def rows(self, tmp_path: Path, header: str, *cells: str, number: int = 20) -> Path:
        """A table with `number` rows, `cells` in turn behind the path of an image and its patient."""
        lines = [f"image,patient_id,{header}"]
        for row in range(number):
            write_image(tmp_path / "s" / f"{row}.png")
            lines.append(f"{row}.png,p{row // 2},{cells[row % len(cells)]}")
        path = tmp_path / "s" / "labels.csv"
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    def test_columns_of_0_and_1(self, tmp_path: Path) -> None:
        path = self.rows(tmp_path, "Mass,Edema,No_Finding,age,always", "1,0,0,61,1", "1,1,0,3,1", "0,0,1,9,1", "0,1,0,8,1")
        text, config, samples = loaded(path, tmp_path)
        assert config.data.classes == samples.classes == ("Mass", "Edema")
        assert config.data.task == "multilabel"
        assert (config.data.image_column, config.data.patient_column) == ("image", "patient_id")
        assert "Further columns, for subgroups: age, always." in text
        assert config.run.name == "s"

    def test_columns_that_a_word_column_repeats(self, tmp_path: Path) -> None:
        header = "finding_labels,Mass,Pleural_Thickening,smoker"
        path = self.rows(tmp_path, header, "Mass|Pleural Thickening,1,1,0", "No Finding,0,0,1", "Mass,1,0,1")
        assert loaded(path, tmp_path)[1].data.classes == ("Mass", "Pleural_Thickening")

    def test_words_win_where_columns_say_something_else(self, tmp_path: Path) -> None:
        path = self.rows(tmp_path, "label,n_masks", "benign,1", "malignant,1", "normal,0")
        text, config, samples = loaded(path, tmp_path)
        assert (config.data.label_column, samples.task) == ("label", "multiclass")
        assert "for subgroups: n_masks" in text

    def test_several_words_a_cell(self, tmp_path: Path) -> None:
        path = self.rows(tmp_path, "findings", "Mass|Edema", "Mass", "No Finding", "Edema")
        _, config, samples = loaded(path, tmp_path)
        assert config.data.negative_label == "No Finding"
        assert samples.classes == ("Edema", "Mass")
        assert samples.targets.sum() == 20

    @pytest.mark.parametrize("header", ["label", "sick"])
    def test_one_column_of_0_and_1(self, tmp_path: Path, header: str) -> None:
        _, config, samples = loaded(self.rows(tmp_path, header, "1", "0", "0"), tmp_path)
        assert (config.data.classes, samples.task) == ((header,), "binary")
        assert samples.targets.sum() == 7

    def test_blank_labels_are_proposed_to_be_ignored(self, tmp_path: Path) -> None:
        text, config, samples = loaded(self.rows(tmp_path, "x,y", "1,0", ",1", "0,"), tmp_path)
        assert config.data.unknown == "ignore"
        assert np.isnan(samples.targets).sum() == 13
        assert "Decide" in text

    def test_without_blanks_they_stay_an_error(self, tmp_path: Path) -> None:
        assert loaded(self.rows(tmp_path, "x,y", "1,0", "0,0", "1,1"), tmp_path)[1].data.unknown == "error"

    def test_a_folder_with_one_table_is_that_table(self, tmp_path: Path) -> None:
        path = self.rows(tmp_path, "x,y", "1,0", "0,0", "1,1")
        assert loaded(path.parent, tmp_path)[1].data.path == path
        (path.parent / "other.csv").touch()
        with pytest.raises(DataError, match="has 2 tables"):
            suggest(path.parent)

    def test_no_labels(self, tmp_path: Path) -> None:
        path = self.rows(tmp_path, "age,coverage", "3,0.5", "4,0.7")
        with pytest.raises(DataError, match=r"no labels were found.*the columns are image, patient_id, age, coverage"):
            suggest(path)

    def test_names_that_yaml_would_misread_are_quoted(self, tmp_path: Path) -> None:
        path = self.rows(tmp_path, "label", "no", "yes", '"a: b, #c"')
        assert loaded(path, tmp_path)[2].classes == ("a: b, #c", "no", "yes")


def test_an_npz_file(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = np.zeros((8, 28, 28), np.uint8)
        arrays[f"{split}_labels"] = np.arange(8)[:, None] % 2
    np.savez(tmp_path / "somemnist.npz", **arrays)
    np.savez(tmp_path / "pneumoniamnist.npz", **arrays)
    text, config, samples = loaded(tmp_path / "somemnist.npz", tmp_path)
    assert config.data.classes == ("class 0", "class 1")
    assert "the file has no names: write them here" in text
    assert samples.classes == ("class 1",)
    assert "classes: [normal, pneumonia]" in suggest(tmp_path / "pneumoniamnist.npz")


def test_the_phantom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text, config, samples = loaded("phantom", tmp_path)
    assert len(samples) == config.data.phantom.samples
    assert "synthetic" in text.lower()


class TestWritten:
    def test_by_default_beside_the_user_under_the_name_of_the_source(
        self, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert write_config(Path("set")) == tmp_path / "set.yaml"
        assert load_config("set.yaml").data.path == Path("set")

    def test_nothing_is_overwritten(self, folders: Path, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text("mine", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"mine\.yaml: exists already"):
            write_config(folders, tmp_path / "mine.yaml")
        assert (tmp_path / "mine.yaml").read_text(encoding="utf-8") == "mine"

    def test_a_folder_that_does_not_exist(self, folders: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="does not exist"):
            write_config(folders, tmp_path / "nowhere" / "c.yaml")


class TestRefused:
    def test_a_missing_source(self, folders: Path) -> None:
        with pytest.raises(DataError, match=r"SOURCE: .*sets does not exist. Did you mean .*set\?"):
            suggest(folders.parent / "sets")

    def test_a_file_of_another_kind(self, folders: Path) -> None:
        with pytest.raises(DataError, match=r"give a folder of class folders, a table"):
            suggest(folders / "NORMAL/1.png")


@pytest.mark.parametrize(
    ("source", "task", "classes"),
    [
        ("pneumoniamnist.npz", "binary", 1),
        ("chest_xray", "binary", 1),
        ("nih_cxr14/labels.csv", "multilabel", 14),
        ("nih_cxr14", "multilabel", 14),
        ("breast_ultrasound/labels.csv", "multiclass", 3),
    ],
)
def test_real_sets(real_sets: Path, tmp_path: Path, source: str, task: str, classes: int) -> None:
    _, config, samples = loaded(real_sets / source, tmp_path)
    assert (samples.task, len(samples.classes)) == (task, classes)
    assert config.preparation.size == (28 if source.endswith("npz") else 224)
    assert samples.images.read(0).pixels.size > 0
    if "nih" in source:
        assert samples.metadata is not None
        assert {"view", "age", "sex"} <= set(samples.metadata.columns)
        assert samples.patients is not None
