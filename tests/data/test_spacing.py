"""Millimetres reach the figures of masks: from the headers of DICOM and NIfTI files to HD95."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from osler.config import PreparationConfig
from osler.data.files import FileImages
from osler.data.samples import Samples
from osler.imaging.preparation import Preparation
from osler.metrics.cases import measure_case
from osler.tasks.segmentation import spacing_of


def source(folder: Path, name: str) -> Samples:
    ids = np.array([name])
    return Samples(ids, np.ones((1, 1), np.float32), ("lesion",), "segmentation", FileImages(folder, ids))


def write_dicom(path: Path) -> str:
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds = pydicom.Dataset()
    ds.file_meta = meta
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = pydicom.uid.CTImageStorage, pydicom.uid.generate_uid(), "CT"
    ds.Rows, ds.Columns, ds.PixelSpacing = 40, 80, [0.5, 0.25]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = bytes(40 * 80)
    ds.save_as(path / "a.dcm", enforce_file_format=True)
    return "a.dcm"


def write_nifti(path: Path) -> str:
    nib = pytest.importorskip("nibabel", reason="nibabel is not installed")
    volume = nib.Nifti1Image(np.zeros((80, 40, 3), np.uint8), np.diag([0.25, 0.5, 4.0, 1.0]))
    nib.save(volume, path / "a.nii.gz")
    return "a.nii.gz#z=1"


@pytest.mark.parametrize("write", [write_dicom, write_nifti])
def test_hd95_is_in_millimetres_of_the_patient(tmp_path: Path, write: object) -> None:
    assert callable(write)
    samples = source(tmp_path, write(tmp_path))
    # 40 rows of 0.5 mm and 80 columns of 0.25 mm, stretched to 20 × 20: a pixel is 1 × 1 mm.
    spacing = spacing_of(samples, Preparation(PreparationConfig(size=20, channels=1)))(0)
    assert spacing == pytest.approx((1.0, 1.0))
    truth = np.zeros((1, 20, 20), np.uint8)
    truth[0, 5:8, 5:8] = 1
    called = np.zeros((1, 20, 20), np.uint8)
    called[0, 5:8, 9:12] = 255
    case = measure_case(called, truth, np.array([128]), spacing)
    assert case.hd95 is not None
    assert case.hd95[0] == pytest.approx(4.0)
    wide = spacing_of(samples, Preparation(PreparationConfig(size=40, channels=1)))(0)
    assert wide == pytest.approx((0.5, 0.5))
    finer = measure_case(called, truth, np.array([128]), wide).hd95
    assert finer is not None
    assert finer[0] == pytest.approx(2.0)
