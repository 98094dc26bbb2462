"""Folders of DICOM files as hospitals export them: which files belong together, in which order, and of whom, unnamed."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np

from osler.errors import DataError
from osler.imaging.dicom_file import DICOMDIR_CLASS, DicomHeader, is_dicom, read_header
from osler.imaging.dicom_pixels import frame_count

__all__ = ["Series", "SeriesListing", "hash_patient", "list_series"]

_MORE = ("SeriesInstanceUID", "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "PatientID")
_SHORTEST_SALT = 16


@dataclass(frozen=True)
class Series:
    """Images that were taken together.

    Attributes:
        uid: the SeriesInstanceUID.
        modality: such as "CT" or "DX"; "" where none is stated.
        patient: the patient's id, hashed where a salt was given; never shown by `repr`.
        files: its images, by position along the slices' normal, else by instance number, else by name.
        frames: of each file.
        ordered_by: "position", "number" or "name".
    """

    uid: str
    modality: str
    patient: str = field(repr=False)
    files: tuple[Path, ...]
    frames: tuple[int, ...]
    ordered_by: str


@dataclass(frozen=True)
class SeriesListing:
    """What a folder holds.

    Attributes:
        series: ordered by uid.
        without_pixels: DICOM files that hold no image, such as plans and reports.
        others: files that are no DICOM.
        unreadable: path to what is wrong with it.
    """

    series: tuple[Series, ...]
    without_pixels: int
    others: int
    unreadable: dict[Path, str]


def hash_patient(patient: str, salt: str) -> str:
    """A name for a patient that is the same within a project and tells nothing outside of it: 16 hex digits of an HMAC-SHA-256.

    The salt must be kept secret and kept at all: who has it can find out whether a known id is in the set.

    Raises:
        DataError: the salt is too short to protect ids, which are few enough to be tried one by one.

    >>> hash_patient("12345", "a salt of the project") == hash_patient(" 12345", "a salt of the project")
    True
    >>> hash_patient("12345", "a salt of the project") == hash_patient("12345", "another salt of another")
    False
    """
    if len(salt) < _SHORTEST_SALT:
        raise DataError(f"the salt for patient ids has {len(salt)} characters; give a secret one of at least {_SHORTEST_SALT}.")
    return hmac.new(salt.encode(), patient.strip().encode(), hashlib.sha256).hexdigest()[:16]


def list_series(path: str | PathLike[str], salt: str | None = None) -> SeriesListing:
    """The series below a folder, or of a DICOMDIR, from the headers of their files.

    Files are told by their content, not by their name. Links to folders are not followed.

    Args:
        path: a folder; where it has a DICOMDIR, that is passed over and the files are looked at. Or the DICOMDIR itself: then
            the files that it lists, as far as they lie in its folder.
        salt: hashes patients' ids (`hash_patient`).

    Raises:
        DataError: the folder or DICOMDIR cannot be read, or pydicom is not installed.
    """
    found: dict[str, list[tuple[Path, DicomHeader]]] = defaultdict(list)
    without_pixels, others, unreadable = 0, 0, dict[Path, str]()
    for file in _files(Path(path), unreadable):
        try:
            header = _header(file)
        except DataError as error:
            unreadable[file] = str(error)
            continue
        if header is None:
            others += 1
        elif header.place is None:
            without_pixels += header.kind != DICOMDIR_CLASS
        else:
            found[header.text("SeriesInstanceUID")].append((file, header))
    series = []
    for uid, members in sorted(found.items()):
        try:
            series.append(_series(uid, members, salt))
        except DataError as error:
            unreadable |= {file: str(error) for file, _ in members}
    return SeriesListing(tuple(series), without_pixels, others, unreadable)


def _header(path: Path) -> DicomHeader | None:
    """The header of a DICOM file; None for other files."""
    try:
        with open(path, "rb") as file:
            if not is_dicom(file.read(256)):
                return None
            header = read_header(file, str(path), _MORE)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened: {error.strerror or error}. Check its permissions and its disk.") from error
    header.integer("InstanceNumber")  # what cannot be read is this file's fault, not its series'
    frame_count(header)
    return header


def _series(uid: str, members: list[tuple[Path, DicomHeader]], salt: str | None) -> Series:
    members = sorted(members, key=lambda member: member[0])
    headers = [header for _, header in members]
    keys, ordered_by = _positions(headers), "position"
    if keys is None:
        keys, ordered_by = _numbers(headers), "number"
    if keys is None:
        keys, ordered_by = [0.0] * len(members), "name"
    members = [members[place] for place in np.argsort(keys, kind="stable")]
    first = members[0][1]
    patient = first.text("PatientID")
    return Series(
        uid,
        first.text("Modality"),
        hash_patient(patient, salt) if salt is not None and patient else patient,
        tuple(file for file, _ in members),
        tuple(frame_count(header) for _, header in members),
        ordered_by,
    )


def _numbers(headers: list[DicomHeader]) -> list[float] | None:
    """The instance numbers; None unless all are stated and no two the same."""
    numbers = [header.integer("InstanceNumber") for header in headers]
    told = [float(number) for number in numbers if number is not None]
    return told if len(set(told)) == len(headers) else None


def _positions(headers: list[DicomHeader]) -> list[float] | None:
    """How far each slice lies along the normal of the first; None unless all are parallel and no two at one place."""
    places, normals = [], []
    for header in headers:
        position, directions = header.numbers("ImagePositionPatient"), header.numbers("ImageOrientationPatient")
        if len(position) != 3 or len(directions) != 6:
            return None
        normals.append(np.cross(directions[:3], directions[3:]))
        places.append(float(np.dot(position, normals[0])))
    parallel = all(float(np.dot(normal, normals[0])) > 0.99 for normal in normals)
    return places if parallel and len(set(places)) == len(places) else None


# --- files ------------------------------------------------------------------------------------------------------------------


def _files(path: Path, unreadable: dict[Path, str]) -> Iterator[Path]:
    if path.is_file():
        yield from _listed(path, unreadable)
        return
    if not path.is_dir():
        raise DataError(f"{path}: no such folder. Name a folder of DICOM files, or a DICOMDIR.")

    def fail(error: OSError) -> None:
        unreadable[Path(error.filename)] = f"{error.filename}: cannot be listed: {error.strerror}"

    for folder, folders, names in os.walk(path, onerror=fail):
        folders.sort()
        yield from (Path(folder) / name for name in sorted(names))


def _listed(index: Path, unreadable: dict[Path, str]) -> Iterator[Path]:
    """The files that a DICOMDIR lists."""
    with open(index, "rb") as file:
        if not is_dicom(file.read(256)):
            raise DataError(f"{index}: neither a folder nor a DICOMDIR.")
        header = read_header(file, str(index), ("DirectoryRecordSequence",))
    if header.kind != DICOMDIR_CLASS:
        raise DataError(f"{index}: a DICOM file, but no DICOMDIR. Name its folder.")
    for record in header.items(header.elements, "DirectoryRecordSequence"):
        parts = header.data("ReferencedFileID", record)
        if not parts:
            continue
        parts = [parts] if isinstance(parts, str) else [str(part) for part in parts]
        path = _below(index.parent, parts)
        if path is None:
            unreadable[index.parent / "/".join(map(ascii, parts))] = f"{index}: lists a file that is not in its folder"
        else:
            yield path


def _below(folder: Path, parts: list[str]) -> Path | None:
    """The file of these parts below a folder, whatever the case of its name; None where it is not there, or not below."""
    path = folder
    for part in parts:
        if part in ("", ".", "..") or "/" in part or "\\" in part or "\0" in part:
            return None
        if not (path / part).exists():
            try:
                part = next((name for name in os.listdir(path) if name.lower() == part.lower()), part)
            except OSError:
                return None
        path = path / part
    return path if path.is_file() else None
