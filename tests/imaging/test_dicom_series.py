"""Folders and DICOMDIRs: files of a series together and in order, and patients by hash alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")

from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian  # noqa: E402

from osler.errors import DataError  # noqa: E402
from osler.imaging.dicom_series import hash_patient, list_series  # noqa: E402

EXPORT = Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests"
SALT = "a secret of this project"


def write(path: Path, series: str, **elements: Any) -> None:
    ds = Dataset()
    ds.SOPClassUID, ds.Modality, ds.SeriesInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "CT", series
    ds.PatientName, ds.PatientID = "Doe^Jane", "MRN-4711"
    ds.Rows = ds.Columns = 4
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = bytes(16)
    ds["PixelData"].VR = "OB"
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, "1.2.3"
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, ds, enforce_file_format=True)


def test_slices_are_ordered_along_their_normal_whatever_their_names_and_numbers(tmp_path: Path) -> None:
    tilted = np.array([1, 0, 0, 0, np.cos(0.4), -np.sin(0.4)])
    normal = np.cross(tilted[:3], tilted[3:])
    places = np.random.default_rng(1).permutation(12)
    for number, place in enumerate(places):
        position = list(np.round(normal * place * 2.5 + tilted[:3] * number, 6))  # a shift within the plane does not count
        elements = {"ImagePositionPatient": position, "ImageOrientationPatient": list(np.round(tilted, 6))}
        write(tmp_path / "a" / f"{number}", "1.2", InstanceNumber=number, **elements)
    (series,) = list_series(tmp_path).series
    assert [int(file.name) for file in series.files] == list(np.argsort(places))
    assert (series.ordered_by, series.modality, series.uid) == ("position", "CT", "1.2")


def test_without_positions_numbers_order_and_without_numbers_names(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        write(tmp_path / f"{number}.dcm", "1.1", InstanceNumber=number)
        write(tmp_path / f"n{number}.dcm", "1.2", InstanceNumber=7)
    write(tmp_path / "loop.dcm", "1.3", NumberOfFrames=3, PixelData=bytes(48))
    first, second, third = list_series(tmp_path).series
    assert ([file.name for file in first.files], first.ordered_by) == (["1.dcm", "9.dcm", "10.dcm"], "number")
    assert ([file.name for file in second.files], second.ordered_by) == (["n1.dcm", "n10.dcm", "n9.dcm"], "name")
    assert third.frames == (3,)


def test_what_is_no_image_is_counted_and_what_is_damaged_named(tmp_path: Path) -> None:
    write(tmp_path / "good", "1.1")
    (tmp_path / "notes.txt").write_text("nothing")
    shutil.copy(EXPORT.parent / "rtplan.dcm", tmp_path / "plan")
    (tmp_path / "damaged").write_bytes((tmp_path / "good").read_bytes()[:160])
    write(tmp_path / "odd", "1.1", NumberOfFrames=2)
    data = (tmp_path / "odd").read_bytes()
    (tmp_path / "odd").write_bytes(data.replace(b"IS\x02\x002 ", b"IS\x02\x002A"))
    (tmp_path / "loop").symlink_to(tmp_path)
    listing = list_series(tmp_path)
    assert [len(series.files) for series in listing.series] == [1]
    assert (listing.without_pixels + len(listing.unreadable), listing.others) == (3, 1)
    assert "NumberOfFrames cannot be read" in listing.unreadable[tmp_path / "odd"]


def test_patients_are_hashed_with_the_salt_and_never_shown(tmp_path: Path) -> None:
    write(tmp_path / "a", "1.1")
    plain, salted = list_series(tmp_path), list_series(tmp_path, SALT)
    assert plain.series[0].patient == "MRN-4711"
    assert salted.series[0].patient == hash_patient("MRN-4711", SALT)
    assert "4711" not in repr(plain) + repr(salted) + salted.series[0].patient
    assert "Doe" not in repr(plain)
    assert hash_patient("MRN-4711", SALT + "2") != hash_patient("MRN-4711", SALT)
    assert len({hash_patient(str(number), SALT) for number in range(5000)}) == 5000
    with pytest.raises(DataError, match="at least 16"):
        hash_patient("MRN-4711", "short")


@pytest.mark.parametrize("index", ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit", "DICOMDIR-reordered", "DICOMDIR-nooffset"])
def test_a_dicomdir_lists_what_its_folder_holds(index: str) -> None:
    by_index, by_folder = list_series(EXPORT / index), list_series(EXPORT)
    listed = {series.uid: series.files for series in by_index.series}
    on_disc = [path for path in EXPORT.rglob("*") if path.is_file() and path.parts[-3].isdigit()]
    assert {file for files in listed.values() for file in files} == set(on_disc)
    assert set(listed) == {str(pydicom.dcmread(path, stop_before_pixels=True).SeriesInstanceUID) for path in on_disc}
    assert listed.items() <= {series.uid: series.files for series in by_folder.series}.items()
    assert by_index.unreadable == {}


def test_the_exports_series_are_in_pydicoms_order() -> None:
    for series in list_series(EXPORT / "DICOMDIR").series:
        headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in series.files]
        assert {header.SeriesInstanceUID for header in headers} == {series.uid}
        assert len({header.PatientID for header in headers}) == 1
        if series.ordered_by == "position":
            cosines = np.array(headers[0].ImageOrientationPatient, float)
            along = [np.cross(cosines[:3], cosines[3:]) @ np.array(header.ImagePositionPatient, float) for header in headers]
            assert (np.diff(along) > 0).all()


def test_a_dicomdir_in_lower_case_or_that_points_out_of_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "disc"
    folder.mkdir()
    for path in EXPORT.rglob("*"):
        if path.is_file() and path.parts[-3].isdigit():
            copy = folder / str(path.relative_to(EXPORT)).lower()
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    data = (EXPORT / "DICOMDIR").read_bytes()
    outside = data.replace(b"77654033\\CR1\\6154", b"..\\..\\secret.dcm ")
    assert outside != data
    write(tmp_path.parent / "secret.dcm", "9.9")
    (folder / "dicomdir").write_bytes(outside)
    listing = list_series(folder / "dicomdir")
    assert sum(len(series.files) for series in listing.series) == 30
    assert "9.9" not in {series.uid for series in listing.series}
    assert len(listing.unreadable) == 1
    assert "not in its folder" in next(iter(listing.unreadable.values()))


def test_what_is_neither(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("hello")
    write(tmp_path / "one.dcm", "1.1")
    for path, message in (("absent", "no such folder"), ("x.txt", "neither a folder"), ("one.dcm", "no DICOMDIR")):
        with pytest.raises(DataError, match=message):
            list_series(tmp_path / path)
