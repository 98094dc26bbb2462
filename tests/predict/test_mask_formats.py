"""Masks in the format of their image: NIfTI in the axes of the file, DICOM as a segmentation of the image."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from osler.config import PreparationConfig
from osler.errors import DataError
from osler.imaging.preparation import Preparation
from osler.predict import SegmentationPredictor, predict_files
from osler.runs.card import Card

ORIENTATIONS = ["RAS", "LPS", "LAS", "SRA", "PIR", "ASL"]


class Bright:
    """Calls what is bright; a second class what is brighter."""

    def __init__(self, classes: int = 1) -> None:
        self.classes = classes

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        values = images[:, 0].astype(np.float32)
        return np.stack([(values - 128 - 64 * k) / 10 for k in range(self.classes)], axis=1)


def predictor(classes: tuple[str, ...] = ("lesion",), exclusive: bool = True, **preparation: object) -> SegmentationPredictor:
    prepared = Preparation(PreparationConfig(size=64, channels=1, fit="pad", **preparation))  # type: ignore[arg-type]
    card = Card(
        task="segmentation",
        classes=classes,
        negative="background",
        architecture="compact",
        preparation=prepared.describe(),
        fingerprint=prepared.fingerprint(),
        thresholds=dict.fromkeys(classes, 0.5),
        threshold_rule="f1 on val",
        weights="raw",
        best_epoch=3,
        data={"source": "phantom"},
        exclusive=exclusive,
    )
    return SegmentationPredictor(Bright(len(classes)), card)


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


class TestNifti:
    @pytest.fixture
    def nibabel(self):
        return pytest.importorskip("nibabel")

    def volume(self, nibabel, path: Path, axes: str, dtype: type = np.uint8) -> NDArray[np.uint8]:
        """Writes a volume whose axes point as said, with two bright boxes; gives its voxels as they lie in the file."""
        canonical = np.full((40, 50, 7), 20, np.uint8)
        canonical[5:15, 30:45, 2] = 220
        canonical[25:30, 8:20, 5] = 240
        affine = np.diag([0.5, 0.8, 3.0, 1.0])
        affine[:3, 3] = -10, 20, 30
        turns = nibabel.orientations
        way = turns.ornt_transform(turns.axcodes2ornt("RAS"), turns.axcodes2ornt(axes))
        stored = turns.apply_orientation(canonical, way)
        affine = affine @ turns.inv_ornt_aff(way, canonical.shape)
        nibabel.Nifti1Image(stored.astype(dtype), affine).to_filename(path)
        return stored

    @pytest.mark.parametrize("axes", ORIENTATIONS)
    def test_a_volumes_mask_lies_on_its_voxels(self, nibabel, axes: str, tmp_path: Path) -> None:
        stored = self.volume(nibabel, tmp_path / "brain.nii.gz", axes)
        rows = rows_of(predict_files(predictor(), [tmp_path / "brain.nii.gz"], tmp_path / "out"))
        assert [row["image"] for row in rows] == [f"{tmp_path / 'brain.nii.gz'}#z={z}" for z in range(7)]
        assert {row["mask"] for row in rows} == {"masks/brain.nii.gz"}
        image, mask = nibabel.load(tmp_path / "brain.nii.gz"), nibabel.load(tmp_path / "out/masks/brain.nii.gz")
        assert np.array_equal(mask.affine, image.affine)
        assert mask.header.get_zooms() == image.header.get_zooms()
        found = np.asarray(mask.dataobj)
        assert found.dtype == np.uint8
        true = stored > 128
        assert 2 * (found.astype(bool) & true).sum() / (found.sum() + true.sum()) > 0.9
        assert [int(row["pixels"]) > 0 for row in rows] == [z in (2, 5) for z in range(7)]
        assert sum(int(row["pixels"]) for row in rows) == found.sum()
        assert float(rows[2]["area_mm2"]) == pytest.approx(int(rows[2]["pixels"]) * 0.5 * 0.8, rel=1e-5)

    def test_a_slice_that_was_named_is_written_alone_in_its_place(self, nibabel, tmp_path: Path) -> None:
        self.volume(nibabel, tmp_path / "brain.nii.gz", "LPS")
        (row,) = rows_of(predict_files(predictor(), [Path(f"{tmp_path}/brain.nii.gz#z=5")], tmp_path / "out"))
        image, mask = nibabel.load(tmp_path / "brain.nii.gz"), nibabel.load(tmp_path / "out" / row["mask"])
        assert row["mask"] == "masks/brain_z5.nii.gz"
        assert mask.shape == (40, 50, 1)
        # A voxel of the mask and the voxel of the image that it stands for are one place in the patient.
        voxel = np.argwhere(np.asarray(mask.dataobj) == 1).mean(axis=0)
        place = (mask.affine @ [*voxel, 1])[:3]
        back = np.linalg.solve(image.affine, [*place, 1])[:3].round().astype(int)
        assert np.asarray(image.dataobj)[tuple(back)] == 240

    def test_classes_that_may_overlap_have_a_volume_each(self, nibabel, tmp_path: Path) -> None:
        for name in ("a", "b"):
            self.volume(nibabel, tmp_path / f"{name}.nii.gz", "RAS")
        two = predictor(("bright", "brighter"), exclusive=False)
        rows = rows_of(predict_files(two, [tmp_path], tmp_path / "out"))
        assert [row["mask"] for row in rows] == [
            f"masks/{name}_{part}.nii.gz" for name in ("a", "b") for _ in range(7) for part in ("bright", "brighter")
        ]
        masks = [np.asarray(nibabel.load(tmp_path / "out/masks" / f"b_{part}.nii.gz").dataobj) for part in ("bright", "brighter")]
        assert set(np.unique(masks).tolist()) == {0, 1}
        assert (masks[0] & masks[1]).any()

    def test_a_broken_volume_costs_nobody_elses_masks(self, nibabel, tmp_path: Path) -> None:
        self.volume(nibabel, tmp_path / "good.nii.gz", "RAS")
        (tmp_path / "bad.nii.gz").write_bytes((tmp_path / "good.nii.gz").read_bytes()[:60])
        rows = rows_of(predict_files(predictor(), [tmp_path], tmp_path / "out"))
        assert len(rows) == 8
        assert rows[0]["image"].endswith("bad.nii.gz")
        assert rows[0]["error"]
        assert not any(row["error"] for row in rows[1:])

    def test_without_nibabel_one_error_names_it(self, nibabel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.volume(nibabel, tmp_path / "brain.nii.gz", "RAS")
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(DataError, match=r"nibabel, which is not installed.*osler\[dicom\]"):
            predict_files(predictor(), [tmp_path / "brain.nii.gz"], tmp_path / "out")


class TestDicom:
    @pytest.fixture
    def film(self, tmp_path: Path) -> Path:
        """The CT slice that comes with pydicom, in a folder of its own."""
        pydicom = pytest.importorskip("pydicom")
        pytest.importorskip("highdicom")
        from pydicom.data import get_testdata_file

        path = tmp_path / "ct.dcm"
        pydicom.dcmread(get_testdata_file("CT_small.dcm")).save_as(path)
        return path

    def segmentation(self, path: Path):
        import highdicom

        return highdicom.seg.segread(path)

    @pytest.mark.parametrize("exclusive", [True, False])
    def test_a_segmentation_of_the_image(self, film: Path, tmp_path: Path, exclusive: bool) -> None:
        import pydicom

        one = predictor(("dense", "bone and metal"), exclusive, range=(0.0, 1500.0))
        rows = rows_of(predict_files(one, [film], tmp_path / "out"))
        assert [row["mask"] for row in rows] == ["masks/ct.dcm"] * 2
        found, image = self.segmentation(tmp_path / "out/masks/ct.dcm"), pydicom.dcmread(film)
        assert found.Modality == "SEG"
        assert (found.PatientID, found.StudyInstanceUID) == (image.PatientID, image.StudyInstanceUID)
        assert [segment.SegmentLabel for segment in found.SegmentSequence] == ["dense", "bone and metal"]
        planes = found.get_pixels_by_source_instance([image.SOPInstanceUID], assert_missing_frames_are_empty=True)[0]
        (expected,) = one.predict([film])
        assert expected.planes is not None
        assert np.array_equal(planes.transpose(2, 0, 1), expected.planes)
        assert [int(row["pixels"]) for row in rows] == expected.planes.sum(axis=(1, 2)).tolist()
        assert int(rows[0]["pixels"]) > 0
        area = int(rows[0]["pixels"]) * float(image.PixelSpacing[0]) * float(image.PixelSpacing[1])
        assert float(rows[0]["area_mm2"]) == pytest.approx(area, rel=1e-5)

    def test_nothing_called_is_a_segmentation_too(self, film: Path, tmp_path: Path) -> None:
        predict_files(predictor(range=(5000.0, 6000.0)), [film], tmp_path / "out")
        found = self.segmentation(tmp_path / "out/masks/ct.dcm")
        assert not found.pixel_array.any()

    def test_without_highdicom_the_image_has_an_error_that_names_it(
        self, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cv2.imwrite(str(tmp_path / "plain.png"), np.full((40, 40), 200, np.uint8))
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "highdicom" else find(name))
        one = predictor(range=(0.0, 255.0))
        rows = rows_of(predict_files(one, [film, tmp_path / "plain.png"], tmp_path / "out"))
        assert "highdicom, which is not installed" in rows[0]["error"]
        assert rows[1]["mask"] == "masks/plain.png"

    def test_of_several_frames_the_one_read_is_written_as_png(self, film: Path, tmp_path: Path) -> None:
        import pydicom

        image = pydicom.dcmread(film)
        image.NumberOfFrames = 3
        image.PixelData = image.PixelData * 3
        image.save_as(film)
        (row,) = rows_of(predict_files(predictor(range=(0.0, 1500.0)), [film], tmp_path / "out"))
        assert row["mask"] == "masks/ct.png"
        assert "of 3 frames the one in the middle, 2, was read" in row["note"]
