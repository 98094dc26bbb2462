"""Every DICOM file at hand against pydicom's own steps and highdicom's: read as they read it, or refused as they refuse it."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")

from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut  # noqa: E402
from pydicom.pixels.utils import pixel_array  # noqa: E402

from osler.errors import DataError  # noqa: E402
from osler.imaging.dicom import read_dicom  # noqa: E402
from osler.imaging.dicom_file import is_dicom  # noqa: E402
from osler.imaging.raw import RawImage  # noqa: E402

WHEEL = Path(pydicom.__file__).parent / "data"
NO_ORACLE = {"JPEG-lossy.dcm", "JPGExtended.dcm"}
"""12-bit JPEG, for which pydicom has a decoder under the GPL alone; held against the same picture in JPEG 2000 below."""


@contextmanager
def unheard() -> Iterator[None]:
    """The oracles warn of what is odd in their own test files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def files() -> list[Path]:
    folders = [WHEEL / "test_files", WHEEL / "charset_files", WHEEL / "palettes"]
    real = os.environ.get("OSLER_TEST_DATA")
    folders += [Path(real) / "dicom"] if real else []
    every = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    return [path for path in every if is_dicom(path.read_bytes()[:200])]


def ours(path: Path, frame: int | None = None) -> RawImage | DataError:
    with open(path, "rb") as file:
        try:
            return read_dicom(file, path.name, frame)
        except DataError as error:
            return error


def theirs(path: Path, frame: int | None = None) -> Any:
    """(data set, stored values, modality's values) of the frame that we read, by pydicom; the error where it cannot."""
    with unheard():
        try:
            ds = pydicom.dcmread(path, force=True)
            if "Rows" not in ds:
                return ValueError("no image")
            frames = int(ds.get("NumberOfFrames") or 1)
            stored = pixel_array(ds, index=frames // 2 if frame is None else frame - 1)
            return ds, stored, apply_modality_lut(stored, ds)
        except Exception as error:
            return error


def compare(name: str, raw: RawImage, ds: Any, stored: Any, values: Any) -> str:
    """What was compared; fails where it differs."""
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        colours = apply_color_lut(stored, ds)
        np.testing.assert_array_equal(raw.pixels, colours if colours.dtype == np.uint8 else colours >> 8, name)
        return "palette"
    if stored.ndim == 3:
        np.testing.assert_array_equal(raw.pixels, stored.astype(raw.pixels.dtype), name)
        return "colour"
    seen = stored != ds.get("PixelPaddingValue", 10**9)
    np.testing.assert_allclose(raw.pixels[seen], values[seen].astype(np.float32), rtol=1e-6, err_msg=name)
    assert raw.inverted == (ds.PhotometricInterpretation == "MONOCHROME1")
    assert raw.window is not None
    if "WindowWidth" not in ds and "VOILUTSequence" not in ds:
        return "gray without a window"
    shades = raw.window.shades(raw.pixels)[seen]
    with unheard():
        ends = apply_voi_lut(np.array([-(10.0**9), 10.0**9]), ds)
        expected = (apply_voi_lut(values, ds)[seen] - ends[0]) / (ends[1] - ends[0]) * 255
    assert np.abs(shades - expected).max() <= 0.5 + 1e-3, name
    return "gray with a window"


def test_every_file_is_read_as_pydicom_reads_it_or_refused_with_it() -> None:
    counts: Counter[str] = Counter()
    for path in files():
        raw, oracle = ours(path), theirs(path)
        if isinstance(raw, DataError):
            assert isinstance(oracle, Exception), f"{path}: refused, and pydicom reads it: {raw}"
            counts["refused: " + ("no pixels" if "without pixels" in str(raw) else str(raw))] += 1
        elif path.name in NO_ORACLE:
            counts["no oracle"] += 1
        else:
            assert not isinstance(oracle, Exception), f"{path}: read, and pydicom does not: {oracle}"
            counts[compare(str(path), raw, *oracle)] += 1
    for what, count in sorted(counts.items()):
        print(f"{count:4}  {what}")
    read = sum(count for what, count in counts.items() if not what.startswith("refused"))
    assert read >= 75
    assert min(counts["colour"], counts["gray with a window"], counts["gray without a window"], counts["palette"]) >= 1
    assert counts["no oracle"] == len(NO_ORACLE)


def test_every_frame_of_the_multi_frame_files() -> None:
    for name in ("SC_rgb_rle_16bit_2frame.dcm", "rtdose.dcm", "rtdose_rle.dcm", "rtdose_expb.dcm", "examples_ybr_color.dcm"):
        path = WHEEL / "test_files" / name
        frames = int(pydicom.dcmread(path, stop_before_pixels=True).NumberOfFrames)
        for frame in range(1, frames + 1):
            raw = ours(path, frame)
            assert isinstance(raw, RawImage)
            compare(f"{name} {frame}", raw, *theirs(path, frame))


def test_12_bit_jpeg_shows_the_same_picture_as_its_jpeg_2000_sibling() -> None:
    """Which keeps little more than its coarse shape."""

    def coarse(name: str) -> Any:
        raw = ours(WHEEL / "test_files" / name)
        assert isinstance(raw, RawImage)
        return raw.pixels.reshape(64, 16, 16, 16).mean(axis=(1, 3)).ravel()

    for name in NO_ORACLE:
        assert np.corrcoef(coarse(name), coarse("JPEG2000.dcm"))[0, 1] > 0.97
        assert np.abs(coarse(name) - coarse("JPEG2000.dcm")).mean() < 4


def test_the_whole_chain_is_highdicoms() -> None:
    highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed")
    compared: Counter[str] = Counter()
    for path in files():
        raw = ours(path, 1)
        if isinstance(raw, DataError) or raw.pixels.ndim == 3:
            continue
        with unheard():
            try:
                image = highdicom.imread(path)
                windowed = "WindowWidth" in image or "VOILUTSequence" in image
                options = {"apply_voi_transform": True, "voi_output_range": (0, 255)} if windowed else {}
                frame = image.get_frame(1, apply_presentation_lut=windowed, **options)
            except Exception as error:  # it is stricter with files than we are
                compared[f"not read by highdicom: {type(error).__name__}"] += 1
                continue
        seen = np.ones(raw.pixels.shape, bool)
        if "PixelPaddingValue" in image:
            seen = image.get_stored_frame(1) != image.PixelPaddingValue
        assert raw.window is not None
        if windowed:
            shades = raw.window.shades(raw.pixels)
            shades = 255 - shades if raw.inverted else shades
            # It takes the window's half pixels before the slope, not after it as the standard and pydicom do.
            assert np.abs(shades[seen] - frame[seen]).max() <= 0.5 + 0.05, path
        else:
            np.testing.assert_allclose(raw.pixels[seen], frame[seen], rtol=1e-6, err_msg=str(path))
        compared["windowed" if windowed else "values"] += 1
    print(compared)
    assert compared["windowed"] >= 10
    assert compared["values"] >= 10
