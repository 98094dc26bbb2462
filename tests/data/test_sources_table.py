"""The csv source: columns found and given, labels in every form, files wherever they lie, and every fault at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from osler.config import DataConfig
from osler.data.samples import Samples
from osler.data.sources import load_source
from osler.errors import DataError

nan = np.nan


def write(folder: Path, text: str, images: str = "a b c d", suffix: str = ".png") -> Path:
    for name in images.split():
        target = folder / f"{name}{suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(target), np.zeros((8, 8), np.uint8))
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def load(path: Path, **options: Any) -> Samples:
    return load_source(DataConfig.model_validate({"source": "csv", "path": path, **options}))


def columns(samples: Samples) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in samples.targets]


class TestColumns:
    def test_found_by_name_and_said_so(self, tmp_path: Path) -> None:
        path = write(
            tmp_path,
            "Image Path,Finding Labels,Patient ID,Split,Age,Sex\n"
            "a.png,Mass,007,train,61,F\nb.png,Mass|Nodule,8,VALID,,M\nc.png,No Finding,8,test,40,\nd.png,Nodule,9,,3,F\n",
        )
        samples = load(path)
        assert (samples.task, samples.classes, samples.negative) == ("multilabel", ("Mass", "Nodule"), "No Finding")
        assert columns(samples) == [[1, 0], [1, 1], [0, 0], [0, 1]]
        assert samples.patients is not None
        assert samples.patients.tolist() == ["007", "8", "8", "9"]
        assert samples.split is not None
        assert samples.split.tolist() == ["train", "val", "test", ""]
        assert samples.metadata is not None
        assert samples.metadata["Age"].fillna(-1).tolist() == [61, -1, 40, 3]
        assert samples.metadata["Sex"].isna().tolist() == [False, False, True, False]
        for name in ("Image Path", "Finding Labels", "Patient ID", "Split"):
            assert any(repr(name) in note and "by its name" in note for note in samples.notes)

    def test_given_columns_win(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,scan,label,kind,who\nx,a.png,1,dog,7\ny,b.png,1,cat,7\n")
        samples = load(path, image_column="scan", label_column="kind", patient_column="who")
        assert samples.ids.tolist() == ["a.png", "b.png"]
        assert samples.classes == ("dog",)
        assert samples.patients is not None

    def test_every_missing_column_at_once_with_the_nearest(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,Hernia,Mass,patient_id\na.png,1,0,1\n")
        with pytest.raises(DataError) as caught:
            load(path, classes=["Hernea", "Mass", "Edema"], patient_column="patientid", image_column="imag", split_column="fold")
        message = str(caught.value)
        assert "'Hernea' (did you mean 'Hernia'?)" in message
        assert "'Edema'" in message
        assert "data.patient_column: there is no column 'patientid' (did you mean 'patient_id'?)" in message
        assert "data.image_column: there is no column 'imag' (did you mean 'image'?)" in message
        assert "data.split_column: there is no column 'fold'" in message

    def test_no_image_and_no_label_column(self, tmp_path: Path) -> None:
        path = write(tmp_path, "scan,kind\na.png,1\n")
        with pytest.raises(DataError) as caught:
            load(path)
        assert "no column of image paths" in str(caught.value)
        assert "no label column" in str(caught.value)

    def test_the_image_column_is_the_one_whose_files_exist(self, tmp_path: Path) -> None:
        path = write(tmp_path, "path,image,label\nold/a.png,a.png,0\nold/b.png,b.png,1\n")
        assert load(path).ids.tolist() == ["a.png", "b.png"]

    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    def test_separators_byte_order_mark_and_blank_lines(self, tmp_path: Path, separator: str) -> None:
        text = "\ufeffimage,label\na.png , cat\n\n b.png,dog\n,\n".replace(",", separator)
        samples = load(write(tmp_path, text))
        assert samples.ids.tolist() == ["a.png", "b.png"]
        assert samples.classes == ("dog",)

    def test_columns_that_repeat_the_labels_are_no_metadata(self, tmp_path: Path) -> None:
        path = write(
            tmp_path, "image,finding_labels,Mass,Edema,No_Finding,view\na.png,Mass,1,0,0,PA\nb.png,No Finding,0,0,1,AP\n"
        )
        samples = load(path, classes=["Mass", "Edema"])
        assert samples.metadata is not None
        assert list(samples.metadata.columns) == ["view"]


class TestLabelColumns:
    def test_cells_may_be_0_1_true_false(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,Mass,Edema\na.png,1,FALSE\nb.png,1.0,true\nc.png,0,0\n")
        samples = load(path, classes=["Mass", "Edema"])
        assert samples.task == "multilabel"
        assert columns(samples) == [[1, 0], [1, 1], [0, 0]]

    def test_one_column_is_binary(self, tmp_path: Path) -> None:
        samples = load(write(tmp_path, "image,sick\na.png,1\nb.png,0\n"), classes=["sick"])
        assert (samples.task, samples.classes) == ("binary", ("sick",))
        assert columns(samples) == [[1], [0]]

    def test_columns_of_which_one_is_always_set_exclude_each_other(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,x,y,z\na.png,1,0,0\nb.png,0,1,0\nc.png,0,0,1\n")
        assert load(path, classes=["x", "y", "z"]).task == "multiclass"
        assert load(path, classes=["x", "y", "z"], task="multilabel").task == "multilabel"

    def test_a_multiclass_task_needs_one_label_a_row(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,x,y,z\na.png,1,1,0\nb.png,0,0,0\n")
        with pytest.raises(DataError, match="2 rows have none or several"):
            load(path, classes=["x", "y", "z"], task="multiclass")

    def test_other_values_are_listed_with_columns_and_lines(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,Mass,Edema\na.png,-2,0\nb.png,1,yes\nc.png,-2,-1\n")
        with pytest.raises(DataError) as caught:
            load(path, classes=["Mass", "Edema"])
        message = str(caught.value)
        assert "label column 'Mass' holds '-2' in 2 rows (line 2, line 4)" in message
        assert "label column 'Edema' holds 'yes' in 1 row (line 3)" in message
        assert "labels are uncertain in 1 row (Edema 1; first: line 4). Say what that means by data.uncertain: ignore" in message

    @pytest.mark.parametrize(
        ("policy", "expected"),
        [("ignore", [[None, 0], [1, None]]), ("negative", [[0, 0], [1, 0]]), ("positive", [[1, 0], [1, 1]])],
    )
    def test_uncertain_cells_mean_what_the_config_says_and_blank_ones_something_else(
        self, tmp_path: Path, policy: str, expected: list[list[float]]
    ) -> None:
        path = write(tmp_path, "image,x,y\na.png,-1,\nb.png,1,-1.0\n")
        samples = load(path, classes=["x", "y"], uncertain=policy, unknown="negative")
        assert columns(samples) == expected
        meaning = "unknown" if policy == "ignore" else policy
        assert f"2 uncertain labels taken as {meaning} (data.uncertain: {policy})." in samples.notes
        assert "1 blank label taken as negative (data.unknown: negative)." in samples.notes

    def test_lines_are_those_of_the_file(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,Mass\n\na.png,1\n\n,\nb.png,5\n")
        with pytest.raises(DataError, match=r"holds '5' in 1 row \(line 6\)"):
            load(path, classes=["Mass"])

    @pytest.mark.parametrize(
        ("policy", "expected"), [("ignore", [[None, 0], [1, 1]]), ("negative", [[0, 0], [1, 1]]), ("positive", [[1, 0], [1, 1]])]
    )
    def test_blank_cells_mean_what_the_config_says(self, tmp_path: Path, policy: str, expected: list[list[float]]) -> None:
        samples = load(write(tmp_path, "image,x,y\na.png,,0\nb.png,1,1\n"), classes=["x", "y"], task="multilabel", unknown=policy)
        assert columns(samples) == expected
        assert any("1 blank label taken as" in note for note in samples.notes)

    def test_blank_cells_are_an_error_otherwise(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,x,y\na.png,,0\nb.png,1,\nc.png,,1\n")
        with pytest.raises(
            DataError, match=r"blank in 3 rows \(x 2, y 1; first: line 2, line 3, line 4\).*data\.unknown: ignore"
        ):
            load(path, classes=["x", "y"])


class TestLabelWords:
    def test_two_words_are_binary_three_are_multiclass(self, tmp_path: Path) -> None:
        two = load(write(tmp_path, "image,label\na.png,benign\nb.png,malignant\n"))
        assert (two.task, two.classes, two.negative) == ("binary", ("malignant",), "benign")
        three = load(write(tmp_path, "image,label\na.png,benign\nb.png,malignant\nc.png,normal\n"))
        assert (three.task, three.classes) == ("multiclass", ("benign", "malignant", "normal"))
        assert columns(three) == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]

    def test_the_config_orders_the_classes(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,label\na.png,benign\nb.png,malignant\n")
        assert load(path, classes=["malignant", "benign"]).classes == ("benign",)

    def test_a_negative_word_beside_one_class(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,label\na.png,clear\nb.png,mass\n")
        samples = load(path, classes=["mass"], negative_label="clear")
        assert (samples.task, samples.classes, samples.negative) == ("binary", ("mass",), "clear")
        assert columns(samples) == [[0], [1]]

    def test_a_negative_word_beside_several_listed_classes_says_that_they_are_findings(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,label\na.png,No Finding\nb.png,mass\nc.png,edema\n")
        samples = load(path, classes=["mass", "edema"])
        assert samples.task == "multilabel"
        assert columns(samples) == [[0, 0], [1, 0], [0, 1]]

    def test_a_separator_can_be_switched_off(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,label\na.png,x|y\nb.png,z\n")
        assert load(path, label_separator=None).classes == ("z",)
        assert load(path).classes == ("x", "y", "z")

    def test_words_outside_the_list(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,label\na.png,mass|Hernea\nb.png,mass\nc.png,other\n")
        with pytest.raises(DataError) as caught:
            load(path, classes=["mass", "Hernia"])
        message = str(caught.value)
        assert "in 2 rows (line 2, line 4)" in message
        assert "'Hernea' (did you mean 'Hernia'?)" in message
        assert "'other'" in message

    def test_a_finding_beside_no_finding(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,label\na.png,No Finding|mass\nb.png,mass\n")
        with pytest.raises(DataError, match=r"together with a finding: 'No Finding\|mass'"):
            load(path)

    def test_several_labels_in_a_binary_task(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,label\na.png,x|y\nb.png,x\n")
        with pytest.raises(DataError, match="several labels: use multilabel"):
            load(path, task="multiclass")

    def test_a_column_of_free_text_is_no_label_column(self, tmp_path: Path) -> None:
        names = [f"n{number}" for number in range(1001)]
        path = write(tmp_path, "image,label\n" + "".join(f"{name}.png,text {name}\n" for name in names), images="n0")
        with pytest.raises(DataError, match="1,001 different labels"):
            load(path)

    def test_one_word_only(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="only one class, x"):
            load(write(tmp_path, "image,label\na.png,x\nb.png,x\n"))

    @pytest.mark.parametrize(("policy", "value"), [("ignore", None), ("negative", 0.0), ("positive", 1.0)])
    def test_blank_words(self, tmp_path: Path, policy: str, value: float | None) -> None:
        path = write(tmp_path, "image,label\na.png,normal\nb.png,sick\nc.png,\n")
        with pytest.raises(DataError, match=r"blank in 1 row \(label 1; first: line 4\)"):
            load(path)
        assert columns(load(path, unknown=policy))[2] == [value]

    def test_a_policy_without_a_meaning(self, tmp_path: Path) -> None:
        three = write(tmp_path, "image,label\na.png,x\nb.png,y\nc.png,z\nd.png,\n")
        with pytest.raises(DataError, match="no meaning"):
            load(three, unknown="positive")
        assert columns(load(three, unknown="ignore"))[3] == [None, None, None]
        with pytest.raises(DataError, match="every label"):
            load(three, unknown="positive", task="multilabel")


class TestFiles:
    def test_files_that_do_not_exist_how_many_and_the_first(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,label\na.png,x\n" + "".join(f"gone{number}.png,y\n" for number in range(9)))
        with pytest.raises(DataError) as caught:
            load(path)
        message = str(caught.value)
        assert "9 of 10 images in column 'image' do not exist" in message
        assert "gone0.png, gone1.png" in message
        assert "gone8.png" not in message
        assert "data.image_root" in message

    def test_they_can_be_left_out(self, tmp_path: Path) -> None:
        samples = load(write(tmp_path, "image,label\na.png,x\ngone.png,y\nb.png,y\n"), unreadable="skip")
        assert samples.ids.tolist() == ["a.png", "b.png"]
        assert any("1 row left out as the file does not exist" in note for note in samples.notes)

    def test_all_gone_is_an_error_even_so(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="2 of 2 images"):
            load(write(tmp_path, "image,label\ng.png,x\nh.png,y\n"), unreadable="skip")

    def test_image_root_absolute_paths_and_backslashes(self, tmp_path: Path) -> None:
        table = tmp_path / "tables"
        table.mkdir()
        absolute = tmp_path / "pictures/sub/a.png"
        path = write(table, f"image,label\n{absolute},x\nsub\\b.png,y\n", images="")
        write(tmp_path / "pictures" / "sub", "", images="a b")
        samples = load(path, image_root=tmp_path / "pictures")
        assert samples.ids.tolist() == [str(absolute), "sub/b.png"]
        assert samples.images.read(1).pixels.shape == (8, 8)

    def test_ids_without_a_suffix_are_looked_up_in_images_not_among_masks(self, tmp_path: Path) -> None:
        path = write(tmp_path, "id,label\na,x\nb,y\n", images="images/a images/b masks/a masks/b")
        samples = load(path)
        assert samples.ids.tolist() == ["images/a.png", "images/b.png"]
        assert any("2 images were found" in note and "'a' is 'images/a.png'" in note for note in samples.notes)

    def test_names_are_looked_up_in_several_folders(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,label\na.png,x\nb.png,y\n", images="images_001/images/a images_002/images/b")
        assert load(path).ids.tolist() == ["images_001/images/a.png", "images_002/images/b.png"]

    def test_a_name_that_fits_several_files(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,label\na,x\nb,y\n", images="p/a q/a p/b")
        with pytest.raises(DataError, match=r"1 image could be several files, such as 'a': .*p/a\.png.*data\.image_root"):
            load(path)

    def test_another_suffix_is_another_file(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,label\na.png,x\nb.png,y\n", images="a b", suffix=".jpg")
        with pytest.raises(DataError, match="2 of 2 images"):
            load(path)


class TestRows:
    def test_repeated_rows_are_left_out_and_counted(self, tmp_path: Path) -> None:
        samples = load(write(tmp_path, "image,label\na.png,x\nb.png,y\na.png,x\n"))
        assert samples.ids.tolist() == ["a.png", "b.png"]
        assert any("1 row left out that repeat another row: a.png" in note for note in samples.notes)

    @pytest.mark.parametrize("second", ["y,1,train", "x,2,train", "x,1,test"])
    def test_one_image_with_different_statements_is_refused(self, tmp_path: Path, second: str) -> None:
        path = write(tmp_path, f"image,label,patient,split\na.png,x,1,train\nb.png,y,1,train\na.png,{second}\n")
        with pytest.raises(DataError, match=r"several rows for 1 image differ.*a\.png \(line 2\), a\.png \(line 4\)"):
            load(path)

    def test_blank_patients_splits_unknown_and_paths(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,label,patient,split\na.png,x,,train\n,y,2,train\nb.png,y,3,fold1\n")
        with pytest.raises(DataError) as caught:
            load(path)
        message = str(caught.value)
        assert "3 faults" in message
        assert "column 'patient' is blank in 1 row (line 2)" in message
        assert "column 'image' is blank in 1 row (line 3)" in message
        assert "column 'split' holds 'fold1' in 1 row" in message

    def test_faults_of_labels_and_files_come_together(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,x,y\na.png,2,0\ngone.png,1,\n")
        with pytest.raises(DataError) as caught:
            load(path, classes=["x", "y"])
        for part in ("holds '2'", "blank in 1 row", "do not exist"):
            assert part in str(caught.value)


class TestUnreadableTables:
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "cannot be read as a table"),
            (b"image,label\n", "no rows"),
            (b"image,label\na.png,x\nb.png,y,z,w\n", "cannot be read as a table"),
            (b"image,label\n\xff\xfe.png,x\n", "cannot be read as a table"),
            (b"\x89PNG\r\n\x1a\n\x00\x00\xff", "cannot be read as a table"),
        ],
    )
    def test_one_clear_error(self, tmp_path: Path, content: bytes, said: str) -> None:
        path = tmp_path / "labels.csv"
        path.write_bytes(content)
        with pytest.raises(DataError, match=said):
            load(path)

    def test_a_missing_table_and_root(self, tmp_path: Path) -> None:
        path = write(tmp_path, "image,label\na.png,x\n")
        with pytest.raises(DataError, match=r"Did you mean .*labels\.csv"):
            load(tmp_path / "label.csv")
        with pytest.raises(DataError, match=r"data\.image_root: .* does not exist"):
            load(path, image_root=tmp_path / "pics")
