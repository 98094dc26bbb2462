"""Known sets of chest radiographs: each in the layout in which it is published, tiny, with what goes wrong in it."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from osler.config import Config, DataConfig
from osler.data.known import known_set
from osler.data.known_chest import NIH_CLASSES
from osler.data.load import load_data
from osler.data.samples import Samples
from osler.data.sources import load_source
from osler.errors import DataError
from osler.init import suggest

PIXELS = cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes()


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PIXELS)


def load(source: str, path: Path, **options: Any) -> Samples:
    return load_source(DataConfig(source=source, path=path, **options))  # type: ignore[arg-type]


def row_of(samples: Samples, name: str) -> int:
    return [str(item).rpartition("/")[2] for item in samples.ids].index(name)


def found(samples: Samples, name: str) -> set[str]:
    """The findings of an image."""
    row = samples.targets[row_of(samples, name)]
    return {label for label, value in zip(samples.classes, row, strict=True) if value == 1}


# --- NIH ----------------------------------------------------------------------------------------------------------------------

NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
WORDS = ["No Finding", "Cardiomegaly|Emphysema", "Hernia", "No Finding", "Pleural_Thickening|Mass|Nodule", "Edema"]


def nih(folder: Path, patients: int = 20, films: int = 2, lists: bool = True) -> Path:
    """Films of several folders; the last fifth of the patients are the official test."""
    lines, sides = [NIH_HEADER], {"train_val_list.txt": [], "test_list.txt": []}  # type: ignore[var-annotated]
    for patient in range(patients):
        for film in range(films):
            name = f"{patient + 1:08d}_{film:03d}.png"
            words = WORDS[(patient * films + film) % len(WORDS)]
            lines.append(f"{name},{words},{film},{patient + 1},{50 + patient:03d}Y,M,PA,2682,2749,0.143,0.143,")
            touch(folder, f"images_{patient % 3 + 1:03d}/images/{name}")
            sides["test_list.txt" if patient >= 0.8 * patients else "train_val_list.txt"].append(name)
    folder.mkdir(exist_ok=True)
    (folder / "Data_Entry_2017.csv").write_text("\n".join(lines), encoding="utf-8")
    if lists:
        for name, names in sides.items():
            (folder / name).write_text("\n".join(names), encoding="utf-8")
    return folder


class TestNih:
    def test_all_that_the_set_says_is_known(self, tmp_path: Path) -> None:
        folder = nih(tmp_path / "nih")
        assert known_set(folder) == known_set(folder / "Data_Entry_2017.csv") == "nih_cxr14"
        samples = load("nih_cxr14", folder)
        assert (len(samples), samples.classes, samples.task) == (40, NIH_CLASSES, "multilabel")
        assert samples.negative == "No Finding"
        assert samples.ids[0] == "images_001/images/00000001_000.png"
        assert found(samples, "00000001_001.png") == {"Cardiomegaly", "Emphysema"}
        assert found(samples, "00000001_000.png") == set()
        assert samples.patients is not None
        assert samples.patients[:3].tolist() == ["1", "1", "2"]
        assert samples.metadata is not None
        assert samples.metadata["Patient Age"].tolist()[:3] == [50, 50, 51]
        assert {"View Position", "Patient Gender"} <= set(samples.metadata)
        assert not {"Finding Labels", "No Finding", "Hernia"} & set(samples.metadata)

    def test_test_is_the_official_one_and_val_is_drawn_by_patients(self, tmp_path: Path) -> None:
        folder = nih(tmp_path / "nih", patients=60)
        config = DataConfig(source="nih_cxr14", path=folder, classes=("Cardiomegaly", "Hernia", "Edema"))
        data = load_data(config)
        official = set((folder / "test_list.txt").read_text().split())
        assert {str(name).rpartition("/")[2] for name in data.source.ids[data.rows["test"]]} == official
        assert data.source.patients is not None
        held = [set(data.source.patients[data.rows[split]]) for split in ("train", "val", "test")]
        assert not held[0] & held[1]
        assert not (held[0] | held[1]) & held[2]
        assert len(data.rows["val"]) == pytest.approx(96 * 0.15 / 0.85, abs=3)
        assert any("val was cut from train" in note for note in data.notes)

    @pytest.mark.parametrize("gone", ["train_val_list.txt", "test_list.txt"])
    def test_one_list_tells_the_other(self, tmp_path: Path, gone: str) -> None:
        folder = nih(tmp_path / "nih")
        before = load("nih_cxr14", folder).split
        (folder / gone).unlink()
        np.testing.assert_array_equal(load("nih_cxr14", folder).split, before)

    def test_without_lists_all_is_open(self, tmp_path: Path) -> None:
        samples = load("nih_cxr14", nih(tmp_path / "nih", lists=False))
        assert samples.split is None
        assert any("official lists" in note and "not there" in note for note in samples.notes)

    def test_films_in_no_list_stay_with_their_patient(self, tmp_path: Path) -> None:
        folder = nih(tmp_path / "nih")
        for name in ("train_val_list.txt", "test_list.txt"):
            kept = (folder / name).read_text().split()[1:]
            (folder / name).write_text("\n".join(kept))
        samples = load("nih_cxr14", folder)
        assert samples.split is not None
        assert samples.patients is not None
        assert samples.split[row_of(samples, "00000001_000.png")] == "train"
        assert samples.split[row_of(samples, "00000017_000.png")] == "test"
        assert any("2 films in neither list" in note for note in samples.notes)

    def test_a_film_in_both_lists_is_refused(self, tmp_path: Path) -> None:
        folder = nih(tmp_path / "nih")
        shutil.copy(folder / "test_list.txt", folder / "train_val_list.txt")
        with pytest.raises(DataError, match="8 films in both official lists"):
            load("nih_cxr14", folder)

    def test_absent_films_are_counted_at_once_and_left_out_only_when_asked(self, tmp_path: Path) -> None:
        folder = nih(tmp_path / "nih")
        shutil.rmtree(folder / "images_002")
        with pytest.raises(DataError, match=r"14 of 40 images.*do not exist below.*data\.unreadable: skip"):
            load("nih_cxr14", folder)
        samples = load("nih_cxr14", folder, unreadable="skip")
        assert len(samples) == 26
        assert any("14 rows left out as the file does not exist" in note for note in samples.notes)

    def test_a_smaller_copy_in_jpeg_elsewhere(self, tmp_path: Path) -> None:
        folder = nih(tmp_path / "nih")
        for file in folder.rglob("*.png"):
            touch(tmp_path / "small", f"{file.stem}.jpg")
        samples = load("nih_cxr14", folder, image_root=tmp_path / "small")
        assert samples.ids[0] == "00000001_000.jpg"

    def test_some_of_the_findings_or_one(self, tmp_path: Path) -> None:
        folder = nih(tmp_path / "nih")
        two = load("nih_cxr14", folder, classes=("Hernia", "Edema"))
        assert (two.classes, two.task) == (("Hernia", "Edema"), "multilabel")
        one = load("nih_cxr14", folder, classes=("Hernia",))
        assert (one.task, one.targets.sum(), one.negative) == ("binary", two.targets[:, 0].sum(), "No Finding")
        with pytest.raises(DataError, match=r"the set has no label 'Hernea' \(did you mean 'Hernia'"):
            load("nih_cxr14", folder, classes=("Hernea",))

    def test_settings_that_are_not_read_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"data\.label_column is not read by source nih_cxr14"):
            load("nih_cxr14", nih(tmp_path / "nih"), label_column="Finding Labels")

    def test_strange_words_and_contradictions_come_together_with_absent_films(self, tmp_path: Path) -> None:
        folder = nih(tmp_path / "nih")
        table = folder / "Data_Entry_2017.csv"
        text = table.read_text().replace(",Hernia,", ",Hernie,").replace(",Edema,", ",No Finding|Edema,")
        table.write_text(text)
        shutil.rmtree(folder / "images_001")
        with pytest.raises(DataError) as caught:
            load("nih_cxr14", folder)
        for words in ("'Hernie'", "'No Finding' together with a finding in", "do not exist below"):
            assert words in str(caught.value)

    def test_the_newer_table_and_the_sample_of_the_set(self, tmp_path: Path) -> None:
        folder = nih(tmp_path / "nih")
        text = (folder / "Data_Entry_2017.csv").read_text()
        (folder / "Data_Entry_2017.csv").write_text(NIH_HEADER + "\n")
        (folder / "Data_Entry_2017_v2020.csv.gz").write_bytes(gzip.compress(text.encode()))
        assert len(load("nih_cxr14", folder)) == 40
        (folder / "Data_Entry_2017_v2020.csv.gz").unlink()
        (folder / "Data_Entry_2017.csv").unlink()
        (folder / "sample_labels.csv").write_text(text)
        assert known_set(folder) == "nih_cxr14"
        assert len(load("nih_cxr14", folder)) == 40

    def test_no_table(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"has no Data_Entry_2017\*\.csv"):
            load("nih_cxr14", tmp_path)

    def test_the_whole_table_with_the_films_that_are_there(self, real_sets: Path, tmp_path: Path) -> None:
        (tmp_path / "images_001").mkdir()
        shutil.copy(real_sets / "nih_metadata/Data_Entry_2017_v2020.csv.gz", tmp_path)
        (tmp_path / "images_001/images").symlink_to(real_sets / "nih_cxr14/images")
        with pytest.raises(DataError, match="111,499 of 112,120 images"):
            load("nih_cxr14", tmp_path)
        samples = load("nih_cxr14", tmp_path, unreadable="skip")
        assert len(samples) == 621
        assert any("111,499 rows left out" in note for note in samples.notes)
        assert load("csv", real_sets / "nih_cxr14/labels.csv", classes=samples.classes).targets.sum() == samples.targets.sum()


# --- CheXpert -----------------------------------------------------------------------------------------------------------------

CHEXPERT_HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,"
    "Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
ROWS = {
    "train/patient00001/study1/view1_frontal.jpg": "Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0",
    "train/patient00002/study1/view1_frontal.jpg": "Male,30,Frontal,PA,,,-1.0,-1.0,,1.0,,,,,1.0,,,",
    "train/patient00002/study1/view2_lateral.jpg": "Male,30,Lateral,,,,-1.0,-1.0,,1.0,,,,,1.0,,,",
    "train/patient00002/study2/view1_frontal.jpg": "Male,31,Frontal,AP,,,1.0,,,,,,,,,,,",
    "valid/patient64541/study1/view1_frontal.jpg": "Male,73,Frontal,AP,0.0,1.0,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
}
POLICIES = {"unknown": "negative", "uncertain": "ignore"}


def chexpert(folder: Path, top: str = "CheXpert-v1.0-small") -> Path:
    for split in ("train", "valid"):
        rows = [f"{top}/{name},{cells}" for name, cells in ROWS.items() if name.startswith(split)]
        folder.mkdir(exist_ok=True)
        (folder / f"{split}.csv").write_text("\n".join([CHEXPERT_HEADER, *rows]), encoding="utf-8")
    touch(folder, *ROWS)
    return folder


class TestChexpert:
    def test_paths_patients_splits_and_views(self, tmp_path: Path) -> None:
        folder = chexpert(tmp_path / "any name")
        assert known_set(folder) == "chexpert"
        samples = load("chexpert", folder, **POLICIES)
        assert samples.ids.tolist() == list(ROWS)
        assert samples.patients is not None
        assert samples.patients.tolist() == [name.split("/")[1] for name in ROWS]
        assert samples.split is not None
        assert samples.split.tolist() == ["train"] * 4 + ["val"]
        assert (len(samples.classes), samples.task, samples.negative) == (13, "multilabel", "No Finding")
        assert samples.metadata is not None
        assert samples.metadata["Frontal/Lateral"].tolist()[1:3] == ["Frontal", "Lateral"]
        assert any("4 frontal, 1 lateral" in note for note in samples.notes)

    @pytest.mark.parametrize(("policy", "value"), [("ignore", np.nan), ("negative", 0.0), ("positive", 1.0)])
    def test_uncertain_and_blank_are_different_things(self, tmp_path: Path, policy: str, value: float) -> None:
        samples = load("chexpert", chexpert(tmp_path / "c"), unknown="negative", uncertain=policy)
        row, heart = row_of(samples, "view2_lateral.jpg"), samples.classes.index("Cardiomegaly")
        np.testing.assert_equal(samples.targets[row, heart], np.float32(value))
        assert samples.targets[row, samples.classes.index("Fracture")] == 0
        assert samples.targets[row, samples.classes.index("Edema")] == 1
        opposite = load("chexpert", tmp_path / "c", unknown="ignore", uncertain=policy)
        assert np.isnan(opposite.targets[row, opposite.classes.index("Fracture")])
        np.testing.assert_equal(opposite.targets[row, heart], np.float32(value))

    def test_both_must_be_said(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            load("chexpert", chexpert(tmp_path / "c"))
        assert "data.unknown: ignore" in str(caught.value)
        assert "labels are uncertain in 2 rows (Cardiomegaly 2, Lung Opacity 2; first: train.csv line 3" in str(caught.value)
        assert "data.uncertain: ignore" in str(caught.value)

    def test_the_large_set_in_batches(self, tmp_path: Path) -> None:
        folder = chexpert(tmp_path / "c", "CheXpert-v1.0")
        first = folder / "CheXpert-v1.0 batch 1 (validate & csv)"
        first.mkdir()
        for name in ("train.csv", "valid.csv", "valid"):
            shutil.move(folder / name, first / name)
        shutil.move(folder / "train", folder / "CheXpert-v1.0 batch 2 (train 1)")
        assert known_set(folder) == "chexpert"
        samples = load("chexpert", folder, **POLICIES)
        assert samples.ids[0] == "CheXpert-v1.0 batch 2 (train 1)/patient00001/study1/view1_frontal.jpg"
        assert samples.ids[4] == f"{first.name}/valid/patient64541/study1/view1_frontal.jpg"

    def test_absent_images_and_strange_paths_are_one_error(self, tmp_path: Path) -> None:
        folder = chexpert(tmp_path / "c")
        (folder / "train/patient00002/study2/view1_frontal.jpg").unlink()
        with (folder / "train.csv").open("a") as file:
            file.write(f"\nelsewhere.jpg,{ROWS['train/patient00001/study1/view1_frontal.jpg']}")
        with pytest.raises(DataError) as caught:
            load("chexpert", folder, **POLICIES)
        assert "names no patient in 1 row: train.csv line 6" in str(caught.value)
        assert "1 of 6 images in column 'image' do not exist" in str(caught.value)

    def test_no_finding_may_be_a_class(self, tmp_path: Path) -> None:
        samples = load("chexpert", chexpert(tmp_path / "c"), classes=("No Finding", "Edema"), **POLICIES)
        assert samples.targets[:2].tolist() == [[1, 0], [0, 1]]

    def test_another_table_called_train(self, tmp_path: Path) -> None:
        (tmp_path / "train.csv").write_text("image,label\na.png,1\n")
        assert known_set(tmp_path) is None
        with pytest.raises(DataError, match=r"has no train\.csv or valid\.csv with the columns Path and No Finding"):
            load("chexpert", tmp_path)


# --- RSNA and SIIM ------------------------------------------------------------------------------------------------------------

FILMS = {"aa-1": "Lung Opacity", "bb-2": "Normal", "cc-3": "No Lung Opacity / Not Normal", "dd-4": "Normal"}


def rsna(folder: Path, mapping: bool = True) -> Path:
    folder.mkdir()
    boxes = ["patientId,x,y,width,height,Target", "aa-1,264.0,152.0,213.0,379.0,1", "aa-1,562.0,152.0,256.0,453.0,1"]
    boxes += [f"{film},,,,,0" for film in list(FILMS)[1:]]
    (folder / "stage_2_train_labels.csv").write_text("\n".join(boxes))
    details = ["patientId,class", *(f"{film},{word}" for film, word in FILMS.items()), "aa-1,Lung Opacity"]
    (folder / "stage_2_detailed_class_info.csv").write_text("\n".join(details))
    touch(
        folder,
        *(f"stage_2_train_images/{film}.dcm" for film in FILMS),
        "stage_2_test_images/ee-5.dcm",
        "stage_2_test_images/aa-1.dcm",
    )
    if mapping:
        named = [
            {"subset_img_id": film, "img_id": f"0000001{min(number, 2)}_00{number}.png"} for number, film in enumerate(FILMS)
        ]
        (folder / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(named))
    return folder


class TestRsna:
    def test_boxes_of_a_film_are_one_sample_of_a_patient(self, tmp_path: Path) -> None:
        folder = rsna(tmp_path / "rsna")
        assert known_set(folder) == "rsna_pneumonia"
        samples = load("rsna_pneumonia", folder)
        assert samples.ids.tolist() == [f"stage_2_train_images/{film}.dcm" for film in FILMS]
        assert (samples.classes, samples.task, samples.negative) == (("Pneumonia",), "binary", "no pneumonia")
        assert samples.targets[:, 0].tolist() == [1, 0, 0, 0]
        assert samples.patients is not None
        assert samples.patients.tolist() == ["00000010", "00000011", "00000012", "00000012"]
        assert samples.metadata is None
        assert "5 rows of boxes are 4 films." in samples.notes

    def test_without_the_mapping_patients_are_unknown_and_that_is_said(self, tmp_path: Path) -> None:
        samples = load("rsna_pneumonia", rsna(tmp_path / "rsna", mapping=False))
        assert samples.patients is None
        assert any("pneumonia-challenge-dataset-mappings_2018.json" in note for note in samples.notes)

    def test_a_mapping_that_lacks_films_or_is_damaged(self, tmp_path: Path) -> None:
        folder = rsna(tmp_path / "rsna")
        mapping = folder / "pneumonia-challenge-dataset-mappings_2018.json"
        mapping.write_text(json.dumps(json.loads(mapping.read_text())[:2]))
        with pytest.raises(DataError, match="does not say whose 2 films are: cc-3, dd-4"):
            load("rsna_pneumonia", folder)
        mapping.write_text("[1]")
        with pytest.raises(DataError, match="cannot be read as RSNA's mapping"):
            load("rsna_pneumonia", folder)

    def test_the_three_classes_of_the_detailed_table(self, tmp_path: Path) -> None:
        words = ("Normal", "No Lung Opacity / Not Normal", "Lung Opacity")
        samples = load("rsna_pneumonia", rsna(tmp_path / "rsna"), classes=words)
        assert (samples.task, samples.classes) == ("multiclass", words)
        assert samples.targets.argmax(axis=1).tolist() == [2, 0, 1, 0]

    def test_rows_that_contradict_each_other(self, tmp_path: Path) -> None:
        folder = rsna(tmp_path / "rsna")
        with (folder / "stage_2_train_labels.csv").open("a") as file:
            file.write("\naa-1,,,,,0")
        with pytest.raises(DataError, match="rows of 1 film contradict each other in 'Target': aa-1"):
            load("rsna_pneumonia", folder)


def test_siim_films_lie_in_folders_of_their_own(tmp_path: Path) -> None:
    rows = ["ImageId, EncodedPixels", "1.2.3, 89 2 100", "1.2.3, 400 1", "1.2.4, -1", "1.2.5,-1"]
    (tmp_path / "train-rle.csv").write_text("\n".join(rows))
    touch(tmp_path, *(f"dicom-images-train/1.9.{n}/1.8.{n}/1.2.{n}.dcm" for n in (3, 4, 5)))
    assert known_set(tmp_path) == "siim_pneumothorax"
    samples = load("siim_pneumothorax", tmp_path)
    assert samples.ids[0] == "dicom-images-train/1.9.3/1.8.3/1.2.3.dcm"
    assert samples.targets[:, 0].tolist() == [1, 0, 0]
    (tmp_path / "train-rle.csv").write_text("\n".join([*rows, "1.2.4, 7 7"]))
    with pytest.raises(DataError, match="rows of 1 film contradict each other in 'Pneumothorax'"):
        load("siim_pneumothorax", tmp_path)


# --- proposals ----------------------------------------------------------------------------------------------------------------

ByInit = Callable[[Path], tuple[str, Config, Samples]]


def test_init_on_nih(tmp_path: Path, by_init: ByInit) -> None:
    text, config, samples = by_init(nih(tmp_path / "nih", patients=120))
    assert (config.data.source, config.data.unreadable) == ("nih_cxr14", "error")
    assert set(config.data.classes or ()) == {word for words in WORDS for word in words.split("|")} - {"No Finding"}
    assert "others that the set has are in no image here" in text
    assert "source: nih_cxr14  # NIH ChestX-ray14, as it is published" in text
    assert "label_column" not in text
    assert len(samples) == 240


def test_init_on_a_part_of_nih_says_what_is_not_there(tmp_path: Path, by_init: ByInit) -> None:
    folder = nih(tmp_path / "nih", patients=120)
    shutil.rmtree(folder / "images_002")
    text, config, samples = by_init(folder)
    assert config.data.unreadable == "skip"
    assert len(samples) == 160
    assert "# 80 rows left out as the file does not exist" in text
    shutil.rmtree(folder / "images_001")
    shutil.rmtree(folder / "images_003")
    with pytest.raises(DataError, match="240 of 240 images"):
        suggest(folder)


def test_init_on_chexpert_names_both_policies(tmp_path: Path, by_init: ByInit) -> None:
    folder = tmp_path / "c"
    lines = [CHEXPERT_HEADER]
    random = np.random.default_rng(0)
    for patient in range(60):
        name = f"train/patient{patient:05d}/study1/view1_frontal.jpg"
        cells = random.choice(["1.0", "0.0", "-1.0", ""], 14)
        lines.append(f"CheXpert-v1.0-small/{name},Male,50,Frontal,AP,{','.join(cells)}")
        touch(folder, name)
    (folder / "train.csv").write_text("\n".join(lines))
    text, config, samples = by_init(folder)
    assert (config.data.unknown, config.data.uncertain) == ("negative", "ignore")
    assert np.isnan(samples.targets).any()
    assert "U-Ignore" in text
    assert text.count("\n  unknown:") == text.count("\n  uncertain:") == 1


@pytest.mark.parametrize("mapping", [True, False])
def test_init_on_rsna(tmp_path: Path, by_init: ByInit, mapping: bool) -> None:
    folder = rsna(tmp_path / "rsna", mapping=False)
    films = [f"film-{number}" for number in range(30)]
    rows = [f"{film},,,,,{number % 2}" for number, film in enumerate(films)]
    (folder / "stage_2_train_labels.csv").write_text("\n".join(["patientId,x,y,width,height,Target", *rows]))
    (folder / "stage_2_detailed_class_info.csv").unlink()
    touch(folder, *(f"stage_2_train_images/{film}.dcm" for film in films))
    if mapping:
        named = [{"subset_img_id": film, "img_id": f"{number // 2:08d}_000.png"} for number, film in enumerate(films)]
        (folder / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(named))
    _, config, samples = by_init(folder)
    assert config.data.source == "rsna_pneumonia"
    assert (samples.patients is not None) == mapping
