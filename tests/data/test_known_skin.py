"""Known sets of skin lesions, tiny, in the layouts in which they are published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from osler.config import Config, DataConfig
from osler.data.known import known_set
from osler.data.known_skin import HAM_CLASSES
from osler.data.load import load_data
from osler.data.samples import Samples
from osler.data.sources import load_source
from osler.errors import DataError

PIXELS = cv2.imencode(".jpg", np.zeros((4, 4, 3), np.uint8))[1].tobytes()


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PIXELS)


def load(source: str, path: Path, **options: Any) -> Samples:
    return load_source(DataConfig(source=source, path=path, **options))  # type: ignore[arg-type]


def ham(folder: Path, number: int = 70) -> Path:
    """Two images of each lesion, in both parts; the kinds in turn."""
    lines = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for image in range(number):
        lines.append(f"HAM_{image // 2:07d},ISIC_{image:07d},{HAM_CLASSES[image // 2 % 7]},histo,60.0,male,back")
        touch(folder, f"HAM10000_images_part_{image % 2 + 1}/ISIC_{image:07d}.jpg")
    (folder / "HAM10000_metadata.csv").write_text("\n".join(lines))
    (folder / "hmnist_28_28_L.csv").write_text("pixel0000,label\n0,1\n")
    return folder


class TestHam:
    def test_lesions_are_the_groups(self, tmp_path: Path) -> None:
        folder = ham(tmp_path / "ham")
        assert known_set(folder) == "ham10000"
        samples = load("ham10000", folder)
        assert (samples.classes, samples.task) == (HAM_CLASSES, "multiclass")
        assert samples.targets[:4].argmax(axis=1).tolist() == [0, 0, 1, 1]
        assert samples.patients is not None
        assert samples.patients[:3].tolist() == ["HAM_0000000", "HAM_0000000", "HAM_0000001"]
        assert samples.metadata is not None
        assert list(samples.metadata) == ["dx_type", "age", "sex", "localization"]
        assert any("one patient may be in two splits" in note for note in samples.notes)
        data = load_data(DataConfig(source="ham10000", path=folder))
        lesions = [set(samples.patients[rows]) for rows in data.rows.values()]
        assert not lesions[0] & (lesions[1] | lesions[2])

    def test_the_file_without_a_suffix_and_the_test_set_of_the_challenge(self, tmp_path: Path) -> None:
        folder = ham(tmp_path / "ham")
        (folder / "HAM10000_metadata.csv").rename(folder / "HAM10000_metadata")
        rows = ["lesion_id,image_id,dx,dx_type,age,sex,localization,dataset", "T_1,ISIC_9000000,mel,histo,5,f,arm,x"]
        (folder / "ISIC2018_Task3_Test_GroundTruth.csv").write_text("\n".join(rows))
        touch(folder, "ISIC2018_Task3_Test_Images/ISIC_9000000.jpg")
        assert known_set(folder) == "ham10000"
        samples = load("ham10000", folder)
        assert samples.split is not None
        assert samples.ids[samples.split == "test"].tolist() == ["ISIC2018_Task3_Test_Images/ISIC_9000000.jpg"]
        assert (samples.split == "train").sum() == 70

    def test_one_kind_against_all_others(self, tmp_path: Path) -> None:
        samples = load("ham10000", ham(tmp_path / "ham"), classes=("mel",))
        assert (samples.task, samples.targets.sum()) == ("binary", 10)

    def test_a_kind_that_no_image_is_of_is_left_out_and_told(self, tmp_path: Path) -> None:
        samples = load("ham10000", ham(tmp_path / "ham", 8))
        assert samples.classes == ("akiec", "bcc", "bkl", "df")
        assert any("No image is of mel, nv, vasc" in note for note in samples.notes)

    def test_faults_come_together(self, tmp_path: Path) -> None:
        folder = ham(tmp_path / "ham")
        (folder / "HAM10000_metadata.csv").write_text(
            (folder / "HAM10000_metadata.csv").read_text().replace(",mel,", ",melanoma,")
        )
        (folder / "HAM10000_images_part_1/ISIC_0000000.jpg").unlink()
        with pytest.raises(DataError) as caught:
            load("ham10000", folder)
        assert "'melanoma' in 10 rows" in str(caught.value)
        assert "1 of 70 images" in str(caught.value)
        with pytest.raises(DataError, match="has no HAM10000_metadata"):
            load("ham10000", tmp_path / "ham" / "HAM10000_images_part_2")


def one_hot(names: tuple[str, ...], count: int, first: int, code: str = "1.0") -> list[str]:
    rows = []
    for image in range(count):
        cells = [code if place == image % (len(names) - 1) else "0.0" for place in range(len(names))]
        rows.append(f"ISIC_{first + image:07d},{','.join(cells)}")
    return rows


NAMES = ("MEL", "NV", "BCC", "AK", "UNK")


class TestIsic:
    def test_2019_one_hot_with_lesions_of_the_table_beside(self, tmp_path: Path) -> None:
        (tmp_path / "ISIC_2019_Training_GroundTruth.csv").write_text(
            "\n".join([f"image,{','.join(NAMES)}", *one_hot(NAMES, 12, 0)])
        )
        rows = [f"ISIC_{n:07d},55,back,{'' if n == 5 else f'L{n // 2}'},male" for n in range(12)]
        (tmp_path / "ISIC_2019_Training_Metadata.csv").write_text(
            "\n".join(["image,age_approx,anatom_site_general,lesion_id,sex", *rows])
        )
        touch(tmp_path, *(f"ISIC_2019_Training_Input/ISIC_{n:07d}.jpg" for n in range(12)))
        assert known_set(tmp_path) == "isic"
        samples = load("isic", tmp_path)
        assert (samples.classes, samples.task) == (("MEL", "NV", "BCC", "AK"), "multiclass")
        assert samples.targets.argmax(axis=1).tolist() == [n % 4 for n in range(12)]
        assert samples.patients is not None
        assert samples.patients[3:7].tolist() == ["L1", "L2", "ISIC_0000005", "L3"]
        assert samples.metadata is not None
        assert list(samples.metadata) == ["age_approx", "anatom_site_general", "sex"]
        assert any("1 image without lesion_id" in note for note in samples.notes)
        assert any("No image is of UNK" in note for note in samples.notes)
        assert samples.split is None or set(samples.split) == {""}

    def test_2018_official_parts_in_folders_of_their_own(self, tmp_path: Path) -> None:
        for number, (part, count) in enumerate((("Training", 12), ("Validation", 4), ("Test", 8))):
            folder = tmp_path / f"ISIC2018_Task3_{part}_GroundTruth"
            folder.mkdir()
            text = "\n".join([f"image,{','.join(NAMES)}", *one_hot(NAMES, count, 100 * number)])
            (folder / f"{folder.name}.csv").write_text(text)
            touch(tmp_path, *(f"ISIC2018_Task3_{part}_Input/ISIC_{100 * number + n:07d}.jpg" for n in range(count)))
        assert known_set(tmp_path) == "isic"
        samples = load("isic", tmp_path)
        assert samples.split is not None
        assert [int((samples.split == split).sum()) for split in ("train", "val", "test")] == [12, 4, 8]
        assert any("Patients and lesions are unknown" in note for note in samples.notes)

    def test_2017_two_questions_are_two_labels(self, tmp_path: Path) -> None:
        rows = ["ISIC_0000000,0.0,0.0", "ISIC_0000001,1.0,0.0", "ISIC_0000002,0.0,1.0"]
        (tmp_path / "ISIC-2017_Training_Part3_GroundTruth.csv").write_text(
            "\n".join(["image_id,melanoma,seborrheic_keratosis", *rows])
        )
        touch(tmp_path, *(f"ISIC-2017_Training_Data/ISIC_{n:07d}.jpg" for n in range(3)))
        samples = load("isic", tmp_path)
        assert (samples.classes, samples.task) == (("melanoma", "seborrheic_keratosis"), "multilabel")
        assert samples.targets.tolist() == [[0, 0], [1, 0], [0, 1]]

    def test_2020_has_patients_and_words_that_repeat_the_label(self, tmp_path: Path) -> None:
        header = "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target"
        rows = [
            f"ISIC_{n:07d},IP_{n // 2},female,40,torso,unknown,{'malignant' if n == 3 else 'benign'},{int(n == 3)}"
            for n in range(6)
        ]
        (tmp_path / "ISIC_2020_Training_GroundTruth.csv").write_text("\n".join([header, *rows]))
        touch(tmp_path, *(f"train/ISIC_{n:07d}.dcm" for n in range(6)))
        samples = load("isic", tmp_path)
        assert (samples.classes, samples.task, samples.negative) == (("target",), "binary", "benign")
        assert samples.patients is not None
        assert samples.patients.tolist() == ["IP_0", "IP_0", "IP_1", "IP_1", "IP_2", "IP_2"]
        assert samples.metadata is not None
        assert list(samples.metadata) == ["sex", "age_approx", "anatom_site_general_challenge"]

    def test_2024_is_a_table_of_crops_without_what_a_diagnosis_fills(self, tmp_path: Path) -> None:
        header = (
            "isic_id,target,patient_id,sex,clin_size_long_diam_mm,iddx_full,mel_thick_mm,lesion_id,tbp_lv_dnn_lesion_confidence"
        )
        rows = [
            f"ISIC_{n:07d},{int(n == 3)},IP_{n // 2},female,{n + 1.5},{'Melanoma' if n == 3 else 'Benign'},,,97.5"
            for n in range(6)
        ]
        (tmp_path / "train-metadata.csv").write_text("\n".join([header, *rows]))
        touch(tmp_path, *(f"train-image/image/ISIC_{n:07d}.jpg" for n in range(6)))
        assert known_set(tmp_path) == "isic"
        samples = load("isic", tmp_path)
        assert (samples.classes, samples.task, samples.negative) == (("target",), "binary", "benign")
        assert samples.targets[:, 0].tolist() == [0, 0, 0, 1, 0, 0]
        assert samples.patients is not None
        assert samples.patients.tolist() == ["IP_0", "IP_0", "IP_1", "IP_1", "IP_2", "IP_2"]
        assert samples.metadata is not None
        assert list(samples.metadata) == ["sex", "clin_size_long_diam_mm"]
        assert any("only a diagnosis fills" in note for note in samples.notes)

    def test_2024_with_a_table_of_answers_beside_it(self, tmp_path: Path) -> None:
        (tmp_path / "train-metadata.csv").write_text("isic_id,target,patient_id\nISIC_1,0,IP_1\nISIC_2,1,IP_2\n")
        (tmp_path / "ISIC_2024_Training_GroundTruth.csv").write_text("isic_id,malignant\nISIC_1,0\nISIC_2,1\n")
        touch(tmp_path, "image/ISIC_1.jpg", "image/ISIC_2.jpg")
        assert load("isic", tmp_path).targets[:, 0].tolist() == [0, 1]

    def test_two_challenges_in_a_folder(self, tmp_path: Path) -> None:
        for year in (2018, 2019):
            name = f"ISIC{'_' if year == 2019 else ''}{year}_{'Task3_' if year == 2018 else ''}Training_GroundTruth.csv"
            (tmp_path / name).write_text("\n".join([f"image,{','.join(NAMES)}", *one_hot(NAMES, 4, 0)]))
        with pytest.raises(DataError, match=r"tables of several challenges \(2018, 2019\)"):
            load("isic", tmp_path)
        with pytest.raises(DataError, match="GroundTruth"):
            load("isic", Path(__file__).parent)


ByInit = Callable[[Path], tuple[str, Config, Samples]]


def test_init_on_ham(tmp_path: Path, by_init: ByInit) -> None:
    _, config, samples = by_init(ham(tmp_path / "ham", 140))
    assert (config.data.source, config.data.classes, samples.task) == ("ham10000", HAM_CLASSES, "multiclass")


def test_init_on_isic(tmp_path: Path, by_init: ByInit) -> None:
    names = ("MEL", "NV", "BCC", "UNK")
    (tmp_path / "ISIC_2019_Training_GroundTruth.csv").write_text("\n".join([f"image,{','.join(names)}", *one_hot(names, 60, 0)]))
    touch(tmp_path, *(f"ISIC_2019_Training_Input/ISIC_{n:07d}.jpg" for n in range(60)))
    _, config, samples = by_init(tmp_path)
    assert (config.data.source, config.data.classes) == ("isic", ("MEL", "NV", "BCC"))
    assert len(samples) == 60
