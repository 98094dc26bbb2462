"""NIfTI volumes against nibabel, in every orientation, type and version; and what is refused."""

from __future__ import annotations

import gzip
import itertools
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osler.errors import DataError
from osler.imaging.nifti import MAX_VOXELS, read_slice, read_volume
from osler.imaging.read import probe_image, read_image

RNG = np.random.default_rng(4)
VOXELS = RNG.integers(0, 200, (5, 7, 9))


def bare(shape: tuple[int, ...], datatype: int = 2, body: bytes = b"", **at: tuple[str, int, float]) -> bytes:
    """A NIfTI-1 header, little-endian, and what follows it; each of `at` is written over it: format, offset, value."""
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<h", head, 70, datatype)
    struct.pack_into("<8f", head, 76, 1, 1, 2, 3, 1, 1, 1, 1)
    struct.pack_into("<3f", head, 108, 352, 0, 0)
    head[344:348] = b"n+1\0"
    for kind, place, value in at.values():
        struct.pack_into("<" + kind, head, place, value)
    return bytes(head) + body


def nib() -> Any:
    return pytest.importorskip("nibabel", reason="nibabel is not installed")


def written(path: Path, voxels: Any, affine: Any, version: int = 1, scale: tuple[float, float] | None = None) -> Any:
    kind = nib().Nifti1Image if version == 1 else nib().Nifti2Image
    image = kind(voxels, affine)
    if scale is not None:
        image.header.set_slope_inter(*scale)
    nib().save(image, path)
    return nib().load(path)


def axial(image: Any) -> Any:
    """nibabel's canonical array, R A S, as (slices to the head, rows to the back, columns to the left)."""
    return np.asarray(nib().as_closest_canonical(image).dataobj)[::-1, ::-1, :].transpose(2, 1, 0)


ORIENTATIONS = [(order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)]


@pytest.mark.parametrize("form", ["sform", "qform"])
def test_every_orientation_is_turned_as_nibabel_turns_it(form: str, tmp_path: Path) -> None:
    spacing = np.array([0.8, 1.5, 4.0])
    for order, signs in ORIENTATIONS:
        rotation = np.zeros((3, 3))
        rotation[list(order), range(3)] = signs
        tilt = np.array([[1, 0, 0], [0, np.cos(0.3), -np.sin(0.3)], [0, np.sin(0.3), np.cos(0.3)]])
        affine = np.eye(4)
        affine[:3, :3] = tilt @ rotation * spacing
        path = tmp_path / "x.nii"
        image = nib().Nifti1Image(VOXELS.astype(np.uint8), affine)
        image.set_sform(affine, 1 if form == "sform" else 0)
        image.set_qform(affine, 0 if form == "sform" else 1)
        nib().save(image, path)
        image = nib().load(path)
        volume = read_volume(path)
        np.testing.assert_array_equal(volume.pixels, axial(image))
        assert volume.orientation == "".join(nib().aff2axcodes(image.affine))
        zooms = nib().as_closest_canonical(image).header.get_zooms()
        np.testing.assert_allclose(volume.spacing, zooms[::-1], rtol=1e-6)
        for z in (0, len(volume.pixels) - 1, 2):
            raw = read_slice(path, z)
            np.testing.assert_array_equal(raw.pixels, volume.pixels[z])
            assert raw.spacing == volume.spacing[1:]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "i8", "f4", "f8", ">i2", ">u2", ">f4"])
@pytest.mark.parametrize("scale", [None, (2.5, -100.0)])
def test_every_type_is_read_as_nibabel_reads_it(
    dtype: str, suffix: str, version: int, scale: tuple[float, float] | None, tmp_path: Path
) -> None:
    path = tmp_path / f"x{suffix}"
    voxels = (VOXELS - (50 if "u" not in dtype else 0)).astype(np.dtype(dtype).newbyteorder("="))
    kind = nib().Nifti1Image if version == 1 else nib().Nifti2Image
    header = (nib().Nifti1Header if version == 1 else nib().Nifti2Header)(endianness=">" if ">" in dtype else "<")
    image = kind(voxels, np.diag([-1.0, -2.0, 3.0, 1.0]), header, dtype=voxels.dtype)
    if scale is not None and "f" not in dtype:
        image.header.set_slope_inter(*scale)
    nib().save(image, path)
    image = nib().load(path)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.pixels, axial(image), rtol=1e-6, atol=2.5)
    plain = float(image.dataobj.slope) == 1.0 and float(image.dataobj.inter) == 0.0
    if plain:
        np.testing.assert_array_equal(volume.pixels, axial(image))
    assert volume.pixels.dtype == (np.dtype(dtype).newbyteorder("=") if plain and dtype[-2:] in ("u1", "u2") else np.float32)
    assert volume.pixels.flags.c_contiguous
    assert np.isnan(volume.low) == ("f" in dtype)


def test_a_file_without_orientation_is_taken_as_nibabel_takes_it_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(bare((5, 7, 9), body=VOXELS.astype(np.uint8).tobytes("F")))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.pixels, axial(nib().load(path)))
    assert volume.orientation == "LAS"
    assert volume.notes == ("the file states no orientation: its axes were taken to run to the left, the front and the head",)


def test_a_volume_is_no_image_unless_a_slice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ct scan.nii.gz"
    path.write_bytes(gzip.compress(bare((5, 7, 9), body=VOXELS.astype(np.uint8).tobytes("F"))))
    with pytest.raises(DataError, match=r"a volume of 9 axial slices.*ct scan.nii.gz#z=4"):
        read_image(path)
    raw = read_image(f"{path}#z=4")
    np.testing.assert_array_equal(raw.pixels, read_volume(path).pixels[4])
    assert (raw.spacing, raw.spacing_kind, raw.low, raw.high) == ((2, 1), "patient", 0, 255)
    info = probe_image(f"{path}#z=4")
    assert (info.width, info.height, info.bits, info.format) == (5, 7, 8, "nifti")
    assert (info.spacing, info.spacing_kind) == (raw.spacing, raw.spacing_kind)
    assert raw.pixels.shape == (7, 5)
    for z in (9, 99):
        with pytest.raises(DataError, match=f"slice {z} is asked for; it has 9, counted from 0"):
            read_image(f"{path}#z={z}")
    with pytest.raises(DataError, match="#frame= names a frame of a DICOM file, and this is a NIFTI"):
        read_image(f"{path}#frame=1")


def test_a_volume_of_one_slice_is_an_image(tmp_path: Path) -> None:
    for shape in ((5, 7), (5, 7, 1), (5, 7, 1, 1)):
        (tmp_path / "x").write_bytes(bare(shape, body=bytes(range(35))))
        assert read_image(tmp_path / "x").pixels.shape == (7, 5)


@pytest.mark.parametrize("form", ["RAS", "LPS", "PIR", "SAL"])
def test_probing_tells_the_spacing_of_rows_and_columns_whatever_the_order_in_the_file(form: str, tmp_path: Path) -> None:
    sides = {"R": 0.5, "L": 0.5, "A": 0.75, "P": 0.75, "I": 3.0, "S": 3.0}
    start = nib().orientations.axcodes2ornt(form)
    affine = np.zeros((4, 4))
    for column, (axis, sign) in enumerate(start):
        affine[int(axis), column] = sign * sides[form[column]]
    affine[3, 3] = 1
    path = tmp_path / "x.nii.gz"
    nib().save(nib().Nifti1Image(VOXELS.astype(np.uint8), affine), path)
    info = probe_image(f"{path}#z=0")
    assert (info.spacing, info.spacing_kind) == ((0.75, 0.5), "patient")
    raw = read_image(f"{path}#z=0")
    assert (raw.spacing, raw.spacing_kind) == (info.spacing, info.spacing_kind)
    assert raw.pixels.shape == (info.height, info.width)


@pytest.mark.parametrize("side", [0.0, float("nan")])
def test_a_spacing_that_is_not_stated_is_none_and_not_a_millimetre(side: float, tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(bare((5, 7, 1), body=bytes(35), width=("f", 80, side)))
    assert (probe_image(path).spacing, read_image(path).spacing, read_image(path).spacing_kind) == (None, None, None)
    path.write_bytes(bare((5, 7, 1), body=bytes(35), thickness=("f", 88, side)))
    assert probe_image(path).spacing == read_image(path).spacing == (2, 1)


def test_units_become_millimetres(tmp_path: Path) -> None:
    for units, spacing in ((1, (3000, 2000, 1000)), (2, (3, 2, 1)), (3, (0.003, 0.002, 0.001)), (0, (3, 2, 1))):
        (tmp_path / "x").write_bytes(bare((2, 2, 2), body=bytes(8), units=("B", 123, units)))
        np.testing.assert_allclose(read_volume(tmp_path / "x").spacing, spacing)


FULL = bare((5, 7, 9), body=bytes(315))
NOISE = bare((5, 7, 9), body=np.random.default_rng(0).bytes(315))
REFUSED = {
    "cut header": (FULL[:300], "not a PNG"),
    "cut voxels": (FULL[:-1], "cut short: its voxels reach to byte 667 of 666"),
    "cut gzip": (gzip.compress(FULL)[:-12], "cut short"),
    "damaged gzip": (gzip.compress(NOISE)[:250] + bytes(300), "damaged or cut short"),
    "plain gzip": (gzip.compress(b"hello" * 100), "a gzip archive"),
    "pair": (FULL[:344] + b"ni1\0", "pair"),
    "volumes": (bare((5, 7, 9, 4)), "4 volumes"),
    "colour": (bare((5, 7, 9), 128), "RGB voxels"),
    "complex": (bare((5, 7, 9), 32), "complex voxels"),
    "unknown type": (bare((5, 7, 9), 77), "kind 77"),
    "no size": (bare((5, 0, 9)), "dimensions"),
    "dimensions": (bare((5, 7, 9), dim=("h", 40, 9)), "dimensions"),
    "bomb": (gzip.compress(bare((32767, 32767, 9))), f"more than the {MAX_VOXELS:,} voxels"),
    "wide bomb": (bare((1000, 1000, 100), 64), "536,870,912 bytes"),
    "offset": (bare((5, 7, 9), offset=("f", 108, 1e30)), "voxels begin at byte"),
    "offset is nan": (bare((5, 7, 9), offset=("f", 108, float("nan"))), "voxels begin at byte"),
    "intercept": (bare((5, 7, 9), slope=("f", 112, 1.0), inter=("f", 116, float("inf"))), "scl_inter"),
    "flat sform": (bare((5, 7, 9), sform=("h", 254, 1)), "orientation makes no sense"),
    "skewed sform": (
        bare((5, 7, 9), sform=("h", 254, 1), a=("f", 280, 1), b=("f", 284, 1), c=("f", 304, 1)), "orientation makes no sense"
    ),
    "nan qform": (bare((5, 7, 9), qform=("h", 252, 1), b=("f", 256, float("nan"))), "orientation makes no sense"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_bad_files_give_one_clear_error(kind: str, tmp_path: Path) -> None:
    data, message = REFUSED[kind]
    path = tmp_path / "bad file.nii"
    path.write_bytes(data)
    start = time.process_time()
    with pytest.raises(DataError, match=message) as caught:
        read_image(f"{path}#z=8")
    assert time.process_time() - start < 2
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_an_absent_file() -> None:
    with pytest.raises(DataError, match="cannot be opened"):
        read_volume("absent.nii")


def test_a_slice_of_a_large_volume_takes_the_memory_of_a_slice(tmp_path: Path) -> None:
    path = tmp_path / "large.nii"
    with open(path, "wb") as file:
        file.write(bare((512, 512, 400), 4))
        file.truncate(352 + 512 * 512 * 400 * 2)  # 210 MB, all of it a hole
    script = (
        "import resource; from osler.imaging.read import read_image\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"read_image({str(path)!r} + '#z=399'); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20_000  # kB
