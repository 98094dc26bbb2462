"""DICOM files made for one trap each: what is read, what is noted, what is refused, and that nobody is named."""

from __future__ import annotations

import io
import random
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")

from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.sequence import Sequence  # noqa: E402
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian  # noqa: E402

from osler.config import PreparationConfig  # noqa: E402
from osler.errors import DataError  # noqa: E402
from osler.imaging import dicom_codecs, dicom_file, dicom_isolation, dicom_pixels, read  # noqa: E402
from osler.imaging.dicom import probe_dicom, read_dicom  # noqa: E402
from osler.imaging.dicom_isolation import DecoderError, decode_isolated  # noqa: E402
from osler.imaging.preparation import Preparation  # noqa: E402
from osler.imaging.raw import RawImage  # noqa: E402
from osler.imaging.read import decode_image, probe_image, read_image  # noqa: E402

CT = "1.2.840.10008.5.1.4.1.1.2"
RAMP = np.arange(12 * 16, dtype=np.uint16).reshape(12, 16) * 20


def dataset(pixels: Any, **elements: Any) -> Dataset:
    """A minimal image around these pixels; elements override or, being None, remove."""
    pixels = np.asarray(pixels)
    ds = Dataset()
    ds.SOPClassUID, ds.Modality = CT, "CT"
    ds.PatientName, ds.PatientID = "Doe^Jane", "MRN-4711"
    ds.Rows, ds.Columns = pixels.shape[-2:] if pixels.shape[-1] != 3 else pixels.shape[-3:-1]
    ds.SamplesPerPixel = 3 if pixels.shape[-1] == 3 else 1
    ds.PhotometricInterpretation = "RGB" if ds.SamplesPerPixel == 3 else "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = pixels.itemsize * 8
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(pixels.dtype.kind == "i")
    if ds.SamplesPerPixel == 3:
        ds.PlanarConfiguration = 0
    ds.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    ds["PixelData"].VR = "OW" if pixels.itemsize > 1 else "OB"
    for keyword, value in elements.items():
        if keyword == "BitsStored" and "HighBit" not in elements:
            ds.HighBit = value - 1
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def dicom(pixels: Any, syntax: str = ExplicitVRLittleEndian, **elements: Any) -> bytes:
    return written(dataset(pixels, **elements), syntax)


def written(ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = CT, "1.2.3"
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def sequence(**elements: Any) -> Sequence:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return Sequence([item])


def shown(raw: RawImage) -> Any:
    """As `preparation.range: window` shows it."""
    assert raw.pixels.shape[0] == raw.pixels.shape[1]
    return Preparation(PreparationConfig(size=raw.pixels.shape[0], channels=1, range="window")).apply(raw)[0]


# --- stored values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, "1.2.840.10008.1.2.1.99"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.uint32])
def test_plain_values_come_back(dtype: type, syntax: str) -> None:
    truth = (RAMP.astype(np.int64) - (1000 if dtype == np.int16 else 0)).astype(dtype)
    raw = decode_image(dicom(truth, syntax), "x")
    assert raw.pixels.dtype == {np.uint8: np.uint8, np.uint16: np.uint16}.get(dtype, np.float32)
    np.testing.assert_array_equal(raw.pixels, truth)
    limits = np.iinfo(dtype)
    assert (raw.low, raw.high) == (limits.min, limits.max)


def test_big_endian_values_come_back() -> None:
    ds = dataset(RAMP)
    ds.PixelData = RAMP.astype(">u2").tobytes()
    np.testing.assert_array_equal(decode_image(written(ds, ExplicitVRBigEndian), "x").pixels, RAMP)


@pytest.mark.parametrize("stored", [8, 10, 12, 14])
@pytest.mark.parametrize("signed", [False, True])
def test_bits_that_are_not_stored_are_not_read(stored: int, signed: bool) -> None:
    """Old overlays lie in the unused bits, and signs do not always reach into them."""
    low = -(2 ** (stored - 1)) if signed else 0
    truth = np.linspace(low, low + 2**stored - 1, 192).astype(np.int32).reshape(12, 16)
    noise = np.random.default_rng(2).integers(0, 2**16, truth.shape)
    held = ((truth & (2**stored - 1)) | (noise << stored)).astype(np.uint16)
    elements = {"BitsStored": stored, "PixelRepresentation": int(signed)}
    raw = decode_image(dicom(held, **elements), "x")
    np.testing.assert_array_equal(raw.pixels, truth)
    assert (raw.low, raw.high) == (low, low + 2**stored - 1)
    assert raw.pixels.dtype == (np.float32 if signed else np.uint8 if stored == 8 else np.uint16)
    high = ((truth & (2**stored - 1)) << (16 - stored) | noise >> stored).astype(np.uint16)  # the value in the topmost bits
    np.testing.assert_array_equal(decode_image(dicom(high, **elements, HighBit=15), "x").pixels, truth)


def test_impossible_bits_are_refused() -> None:
    for elements in ({"BitsStored": 17}, {"BitsStored": 12, "HighBit": 3}, {"HighBit": 16}, {"BitsAllocated": 12}):
        with pytest.raises(DataError, match="bits"):
            decode_image(dicom(RAMP, **elements), "x")


def test_slope_and_intercept_give_hounsfield_units() -> None:
    raw = decode_image(dicom(RAMP, BitsStored=12, RescaleSlope=2, RescaleIntercept=-1024), "x")
    np.testing.assert_array_equal(raw.pixels, RAMP * 2.0 - 1024)
    assert (raw.pixels.dtype, raw.low, raw.high) == (np.float32, -1024, 4095 * 2 - 1024)
    falling = decode_image(dicom(RAMP, BitsStored=12, RescaleSlope=-1, RescaleIntercept=0), "x")
    assert (falling.low, falling.high) == (-4095, 0)


def test_a_modality_table_is_looked_up_with_its_ends_beyond_its_ends() -> None:
    entries = np.array([1000, 1100, 1300], np.uint16)
    table = sequence(LUTDescriptor=[3, 20, 16], ModalityLUTType="US", LUTData=entries.tobytes())
    table[0]["LUTData"].VR = table[0]["LUTDescriptor"].VR = "OW"
    table[0]["LUTDescriptor"].VR = "US"
    stored = np.array([[0, 20, 21, 22, 4000, 19]], np.uint16)
    raw = decode_image(dicom(stored, ModalityLUTSequence=table), "x")
    assert raw.pixels.tolist() == [[1000, 1000, 1100, 1300, 1300, 1000]]
    assert (raw.low, raw.high) == (1000, 1300)
    assert "a modality lookup table was applied" in raw.notes


@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
def test_floating_point_pixels(keyword: str) -> None:
    dtype = np.float32 if keyword == "FloatPixelData" else np.float64
    truth = (RAMP / 7 - 100).astype(dtype)
    ds = dataset(truth, PixelData=None, BitsStored=None, HighBit=None, PixelRepresentation=None)
    setattr(ds, keyword, truth.tobytes())
    raw = decode_image(written(ds), "x")
    np.testing.assert_array_equal(raw.pixels, truth.astype(np.float32))
    assert np.isnan([raw.low, raw.high]).all()
    assert raw.window is not None
    assert raw.window.shades(np.array([truth.min(), truth.max()])).tolist() == [0, 255]


def test_a_scale_that_makes_all_the_same_or_is_no_number_is_refused() -> None:
    with pytest.raises(DataError, match="RescaleSlope is 0"):
        decode_image(dicom(RAMP, RescaleSlope=0, RescaleIntercept=5), "x")
    data = dicom(RAMP, RescaleSlope="1.5 ", RescaleIntercept=0).replace(b"1.5 ", b"Doe ")
    with pytest.raises(DataError, match="its RescaleSlope cannot be read") as caught:
        decode_image(data, "x")
    assert "Doe" not in str(caught.value)


# --- what is shown ----------------------------------------------------------------------------------------------------------

SQUARE = np.arange(256, dtype=np.uint16).reshape(16, 16) * 16


@pytest.mark.parametrize(("function", "shape"), [(None, "linear"), ("LINEAR_EXACT", "linear_exact"), ("SIGMOID", "sigmoid")])
def test_the_first_window_is_taken_on_modality_values(function: str | None, shape: str) -> None:
    elements = {"RescaleSlope": 1, "RescaleIntercept": -1000, "WindowCenter": [40, 300], "WindowWidth": [400, 1500]}
    raw = decode_image(dicom(SQUARE, **elements, **({"VOILUTFunction": function} if function else {})), "x")
    assert raw.window is not None
    assert (raw.window.shape, raw.window.center, raw.window.width) == (shape, 40, 400)
    assert "the first of 2 windows was taken" in raw.notes


def test_an_unknown_function_is_refused_without_quoting_it() -> None:
    with pytest.raises(DataError, match="none of LINEAR") as caught:
        decode_image(dicom(SQUARE, WindowCenter=5, WindowWidth=5, VOILUTFunction="DOE_JANE"), "x")
    assert "DOE" not in str(caught.value)


@pytest.mark.parametrize("width", [0, -5, 0.5])
def test_a_window_of_impossible_width_counts_as_none(width: float) -> None:
    raw = decode_image(dicom(SQUARE, WindowCenter=5, WindowWidth=width), "x")
    assert any("no window is stated" in note for note in raw.notes)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_table_comes_before_a_window(bits: int) -> None:
    entries = np.array([0, 2 ** (bits - 1), 2**bits - 1], np.uint16)
    item = sequence(LUTDescriptor=[3, 100, bits], LUTData=entries.tobytes())
    item[0]["LUTDescriptor"].VR, item[0]["LUTData"].VR = "US", "OW"
    raw = decode_image(dicom(SQUARE, VOILUTSequence=item, WindowCenter=5, WindowWidth=5), "x")
    assert raw.window is not None
    middle = round(2 ** (bits - 1) / (2**bits - 1) * 255)
    assert raw.window.shades(np.array([0, 100, 101, 102, 999])).tolist() == [0, 0, middle, 255, 255]
    assert "the window is a lookup table" in raw.notes


def test_eight_bit_entries_packed_into_words() -> None:
    item = sequence(LUTDescriptor=[4, 0, 8], LUTData=bytes([0, 85, 170, 255]))
    item[0]["LUTDescriptor"].VR, item[0]["LUTData"].VR = "US", "OW"
    raw = decode_image(dicom(SQUARE, VOILUTSequence=item), "x")
    assert raw.window is not None
    assert raw.window.shades(np.arange(4)).tolist() == [0, 85, 170, 255]


def test_where_no_window_is_stated_8_bits_stay_and_others_span_their_own_values() -> None:
    eight = decode_image(dicom((SQUARE // 32).astype(np.uint8)), "x")
    np.testing.assert_array_equal(shown(eight), eight.pixels)
    assert eight.notes == ()
    deep = decode_image(dicom(SQUARE + 700), "x")
    assert deep.notes == ("no window is stated: the image's own smallest and largest value are black and white",)
    assert (shown(deep).min(), shown(deep).max()) == (0, 255)


def test_monochrome_1_is_inverted_last() -> None:
    elements = {"WindowCenter": 1000, "WindowWidth": 800, "BitsStored": 12}
    bright = shown(decode_image(dicom(SQUARE, **elements), "x"))
    raw = decode_image(dicom(SQUARE, PhotometricInterpretation="MONOCHROME1", **elements), "x")
    assert raw.inverted
    np.testing.assert_array_equal(raw.pixels, SQUARE)
    np.testing.assert_array_equal(shown(raw), 255 - bright)
    assert any(note.startswith("MONOCHROME1") for note in raw.notes)


def test_a_contradiction_is_noted() -> None:
    raw = decode_image(dicom(SQUARE, PresentationLUTShape="INVERSE"), "x")
    assert not raw.inverted
    assert any("contradicts" in note for note in raw.notes)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_dark_and_out_of_the_window(photometric: str) -> None:
    stored = (SQUARE.astype(np.int32) - 500).astype(np.int16)
    stored[:2] = -2000
    stored[2, :4] = -1990
    ds = dataset(stored, PhotometricInterpretation=photometric)
    ds.PixelPaddingValue, ds.PixelPaddingRangeLimit = 63536, -1990  # −2000, written as if unsigned
    ds["PixelPaddingValue"].VR, ds["PixelPaddingRangeLimit"].VR = "US", "SS"
    raw = decode_image(written(ds), "x")
    inside = stored[stored > -1990]
    assert raw.pixels[0, 0] == (inside.max() if photometric == "MONOCHROME1" else inside.min())
    assert not shown(raw)[:2].any()
    assert (raw.pixels.min(), raw.pixels.max()) == (inside.min(), inside.max())
    assert any("PixelPaddingValue" in note for note in raw.notes)


# --- colour -----------------------------------------------------------------------------------------------------------------

COLOUR = np.random.default_rng(5).integers(0, 256, (12, 16, 3)).astype(np.uint8)


def test_colour_by_pixel_and_by_plane() -> None:
    np.testing.assert_array_equal(decode_image(dicom(COLOUR), "x").pixels, COLOUR)
    ds = dataset(COLOUR, PlanarConfiguration=1)
    ds.PixelData = np.moveaxis(COLOUR, -1, 0).tobytes()
    np.testing.assert_array_equal(decode_image(written(ds), "x").pixels, COLOUR)
    deep = COLOUR.astype(np.uint16) * 257
    raw = decode_image(dicom(deep), "x")
    np.testing.assert_array_equal(raw.pixels, deep)
    assert (raw.low, raw.high) == (0, 65535)


def to_ybr(rgb: Any) -> Any:
    """PS3.3, C.7.6.3.1.2."""
    matrix = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    return np.clip(np.rint(rgb @ matrix.T + [0, 128, 128]), 0, 255).astype(np.uint8)


def test_luminance_and_colour_differences_become_rgb() -> None:
    raw = decode_image(dicom(to_ybr(COLOUR), PhotometricInterpretation="YBR_FULL"), "x")
    assert np.abs(raw.pixels.astype(int) - COLOUR).max() <= 3
    assert any("converted to RGB" in note for note in raw.notes)
    smooth = np.repeat(COLOUR[:, ::2], 2, axis=1)  # colour differences are stored for two pixels at once
    ybr = to_ybr(smooth)
    packed = np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], axis=-1)
    ds = dataset(smooth, PhotometricInterpretation="YBR_FULL_422", PixelData=packed.tobytes())
    assert np.abs(decode_image(written(ds), "x").pixels.astype(int) - smooth).max() <= 3


@pytest.mark.parametrize(("bits", "factor"), [(8, 1), (16, 257), (16, 1)])
def test_palettes_are_expanded(bits: int, factor: int) -> None:
    """The last: 16 bits stated, 8 stored."""
    entries = np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) // 2], axis=-1)
    indices = np.random.default_rng(3).integers(0, 256, (12, 16)).astype(np.uint8)
    ds = dataset(indices, PhotometricInterpretation="PALETTE COLOR")
    for place, colour in enumerate(("Red", "Green", "Blue")):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, bits])
        data = (entries[:, place] * factor).astype(np.uint8 if bits == 8 else np.uint16).tobytes()
        setattr(ds, f"{colour}PaletteColorLookupTableData", data)
        ds[f"{colour}PaletteColorLookupTableDescriptor"].VR = "US"
    raw = decode_image(written(ds), "x")
    np.testing.assert_array_equal(raw.pixels, entries[indices])
    assert raw.notes == ("the palette was expanded to colour",)


@pytest.mark.parametrize("photometric", ["HSV", "CMYK", "YBR_PARTIAL_422", "DOEJANE"])
def test_other_colours_are_refused(photometric: str) -> None:
    with pytest.raises(DataError, match="Convert it") as caught:
        decode_image(dicom(COLOUR, PhotometricInterpretation=photometric), "x")
    assert "DOE" not in str(caught.value)


# --- frames -----------------------------------------------------------------------------------------------------------------


def test_the_middle_frame_is_read_unless_one_is_named(tmp_path: Path) -> None:
    frames = np.stack([RAMP + frame for frame in range(5)])
    path = tmp_path / "loop"
    path.write_bytes(dicom(frames, NumberOfFrames=5))
    raw = read_image(path)
    np.testing.assert_array_equal(raw.pixels, RAMP + 2)
    assert "of 5 frames the one in the middle, 3, was read" in raw.notes
    named = read_image(f"{path}#frame=1")
    np.testing.assert_array_equal(named.pixels, RAMP)
    assert not any("middle" in note for note in named.notes)
    for number in (0, 6):
        with pytest.raises(DataError, match=f"frame {number} is asked for; it has 5, counted from 1"):
            read_image(f"{path}#frame={number}")
    with pytest.raises(DataError, match="#z= names a slice of a NIfTI volume, and this is a DICOM"):
        read_image(f"{path}#z=1")
    assert probe_image(f"{path}#frame=1").width == 16


def test_a_file_that_is_really_called_so_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "film.dcm#frame=9"
    path.write_bytes(dicom(RAMP))
    np.testing.assert_array_equal(read_image(path).pixels, RAMP)


def test_each_frames_own_scale_and_window() -> None:
    frames = np.stack([RAMP, RAMP])
    shared = sequence(PixelMeasuresSequence=sequence(PixelSpacing=[0.7, 0.8]))
    own = Sequence(
        [
            sequence(
                PixelValueTransformationSequence=sequence(RescaleSlope=slope, RescaleIntercept=-5),
                FrameVOILUTSequence=sequence(WindowCenter=center, WindowWidth=50),
            )[0]
            for slope, center in ((1, 100), (3, 300))
        ]
    )
    elements = {"SharedFunctionalGroupsSequence": shared, "PerFrameFunctionalGroupsSequence": own, "NumberOfFrames": 2}
    data = dicom(frames, **elements)
    for frame, slope, center in ((1, 1, 100), (2, 3, 300)):
        raw = read_dicom(io.BytesIO(data), "x", frame)
        np.testing.assert_array_equal(raw.pixels, RAMP * float(slope) - 5)
        assert raw.window is not None
        assert raw.window.center == center
        assert (raw.spacing, raw.spacing_kind) == ((0.7, 0.8), "patient")
        info = probe_dicom(io.BytesIO(data), "x", frame)
        assert (info.spacing, info.spacing_kind) == ((0.7, 0.8), "patient")


def test_tiles_of_a_slide_are_no_image_unless_one_is_named() -> None:
    data = dicom(np.stack([COLOUR] * 4), NumberOfFrames=4, TotalPixelMatrixColumns=32)
    with pytest.raises(DataError, match=r"microscopic slide.*#frame=1"):
        decode_image(data, "x")
    np.testing.assert_array_equal(read_dicom(io.BytesIO(data), "x", 2).pixels, COLOUR)
    with pytest.raises(DataError, match="microscopic slide"):
        probe_dicom(io.BytesIO(data), "x")
    info = probe_dicom(io.BytesIO(data), "x", 2)
    assert (info.height, info.width, info.mode) == (*COLOUR.shape[:2], "rgb")


def test_only_the_frame_that_is_read_is_taken_into_memory(tmp_path: Path) -> None:
    frame, frames = np.zeros((512, 512), np.uint16), 400
    data = dicom(frame, NumberOfFrames=frames)
    at = len(data) - frame.nbytes
    assert struct.unpack_from("<I", data, at - 4) == (frame.nbytes,)
    path = tmp_path / "many"
    with open(path, "wb") as file:
        file.write(data[: at - 4] + struct.pack("<I", frames * frame.nbytes))
        file.truncate(at + frames * frame.nbytes)  # 200 MB, all of it a hole
    script = (
        "import resource, sys; from osler.imaging.read import read_image\n"
        f"read_image({str(path)!r} + '#frame=1'); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"read_image({str(path)!r}); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20_000  # kB


# --- notes and spacing ------------------------------------------------------------------------------------------------------


def test_what_a_reader_should_know_is_noted() -> None:
    ds = dataset(SQUARE, BurnedInAnnotation="YES", RecognizableVisualFeatures="YES", PixelAspectRatio=[1, 2])
    ds.add_new(0x60000010, "US", 16)
    notes = " | ".join(decode_image(written(ds), "x").notes)
    for words in ("text is burned into its pixels", "recognised by sight", "not square", "overlays were left out"):
        assert words in notes


@pytest.mark.parametrize(
    ("elements", "spacing", "kind"),
    [
        ({"PixelSpacing": [0.5, 0.6]}, (0.5, 0.6), "patient"),
        ({"Modality": "DX", "ImagerPixelSpacing": [0.1, 0.2]}, (0.1, 0.2), "detector"),
        ({"Modality": "DX", "ImagerPixelSpacing": [0.1, 0.1], "PixelSpacing": [0.1, 0.1]}, (0.1, 0.1), "detector"),
        ({"Modality": "DX", "ImagerPixelSpacing": [0.1, 0.1], "PixelSpacing": [0.09, 0.09]}, (0.09, 0.09), "calibrated"),
        (
            {"Modality": "CR", "PixelSpacing": [0.1, 0.1], "PixelSpacingCalibrationType": "FIDUCIAL"},
            (0.1, 0.1),
            "calibrated",
        ),
        ({"Modality": "CR", "PixelSpacing": [0.1, 0.1]}, (0.1, 0.1), "unstated"),
        ({"Modality": "OT", "NominalScannedPixelSpacing": [0.2, 0.2]}, (0.2, 0.2), "scanned"),
        ({"PixelSpacing": [0, 1]}, None, None),
        ({}, None, None),
    ],
)
def test_spacing_and_what_it_measures(elements: dict[str, Any], spacing: Any, kind: Any, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(dicom(RAMP, **elements))
    raw, info = read_image(tmp_path / "x"), probe_image(tmp_path / "x")
    assert (raw.spacing, raw.spacing_kind) == (info.spacing, info.spacing_kind) == (spacing, kind)


@pytest.mark.parametrize(
    ("pixels", "elements", "bits", "mode"),
    [
        (RAMP.astype(np.uint8), {}, 8, "gray"),
        (RAMP, {"BitsStored": 12}, 16, "gray"),
        (RAMP, {"RescaleIntercept": -1024, "RescaleSlope": 1}, 32, "gray"),
        (RAMP.astype(np.int16), {}, 32, "gray"),
        (COLOUR, {}, 8, "rgb"),
    ],
)
def test_probing_tells_what_reading_gives(pixels: Any, elements: Any, bits: int, mode: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(dicom(pixels, **elements))
    info = probe_image(path)
    assert (info.width, info.height, info.bits, info.mode, info.format) == (16, 12, bits, mode, "dicom")
    assert read_image(path).pixels.itemsize * 8 == bits


# --- compressed -------------------------------------------------------------------------------------------------------------


def jpeg(pixels: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def compressed(stream: bytes, syntax: str, pixels: Any, **elements: Any) -> bytes:
    ds = dataset(pixels, PixelData=encapsulate([stream]), **elements)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    return written(ds, syntax)


GRAY = (SQUARE // 16).astype(np.uint8)


def test_a_missing_decoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = dicom_codecs.importlib.util.find_spec

    def without(name: str, *rest: Any) -> Any:
        return None if name in ("openjpeg", "gdcm", "jpeg_ls") else find(name, *rest)

    monkeypatch.setattr(dicom_codecs.importlib.util, "find_spec", without)
    for syntax, package in (("4.90", "pylibjpeg pylibjpeg-openjpeg"), ("4.70", "python-gdcm"), ("4.80", "pyjpegls")):
        data = compressed(b"\xff\xd8\xff\xd9", f"1.2.840.10008.1.2.{syntax}", GRAY)
        with pytest.raises(DataError, match=rf'pip install "osler\[dicom\]", or pip install {package}'):
            decode_image(data, "x")


def test_without_pydicom_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dicom(RAMP)
    find = dicom_codecs.importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "pydicom" else find(name, *rest))
    with pytest.raises(DataError, match=r'x: a DICOM file.*pip install "osler\[dicom\]"'):
        decode_image(data, "x")


def test_imaging_needs_no_optional_library() -> None:
    modules = ["read", "dicom", "dicom_series", "dicom_pixels", "dicom_isolation", "nifti", "preparation"]
    code = "import sys\n" + "\n".join(f"import osler.imaging.{module}" for module in modules)
    code += "\nprint(sorted({'pydicom', 'nibabel', 'gdcm', 'openjpeg', 'highdicom'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_codec_is_permissive_and_known_to_pydicom() -> None:
    assert all("libjpeg " not in f"{codec.packages} " or "pylibjpeg" in codec.packages for codec in dicom_codecs.CODECS.values())
    assert not any("pylibjpeg-libjpeg" in codec.packages for codec in dicom_codecs.CODECS.values())  # GPL
    for syntax in dicom_codecs.CODECS:
        assert UID(syntax).is_encapsulated


def test_a_stream_of_another_size_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("decoded")

    monkeypatch.setattr(dicom_pixels, "decode_frame", never)
    monkeypatch.setattr(dicom_pixels, "decode_isolated", never)
    data = compressed(jpeg(np.zeros((40, 50), np.uint8)), "1.2.840.10008.1.2.4.50", GRAY)
    with pytest.raises(DataError, match="16 × 16 pixels of 1 channels, its JPEG data say 50 × 40"):
        decode_image(data, "x")
    size = struct.pack(">HHIIIIIIIIH", 47, 0, 2**31, 2**31, 0, 0, 2**31, 2**31, 0, 0, 1)
    data = compressed(b"\xff\x4f\xff\x51" + size + bytes(30), "1.2.840.10008.1.2.4.90", GRAY)
    with pytest.raises(DataError, match="its JPEG 2000 data say 2147483648 × 2147483648"):
        decode_image(data, "x")


def test_a_stream_cut_short_is_refused() -> None:
    data = compressed(jpeg(GRAY)[:-40], "1.2.840.10008.1.2.4.50", GRAY)
    with pytest.raises(DataError, match="cut short: its JPEG data end"):
        decode_image(data, "x")


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.92"])
def test_other_transfer_syntaxes_are_refused(syntax: str) -> None:
    with pytest.raises(DataError, match=rf"transfer syntax {syntax}\).*Convert"):
        decode_image(compressed(jpeg(GRAY), syntax, GRAY), "x")


def test_what_a_decoder_refuses_is_one_clear_error() -> None:
    stream = jpeg(GRAY)
    for syntax, what in (("4.70", "lossless JPEG"), ("4.50", "JPEG")):
        data = compressed(stream[:100] + b"\xff\xda" + bytes(20) + b"\xff\xd9", f"1.2.840.10008.1.2.{syntax}", GRAY)
        with pytest.raises(DataError, match=rf"x: .*{what} data cannot be (decoded \(the decoder says|read)"):
            decode_image(data, "x")


LAYOUT = dicom_codecs.FrameLayout(16, 16, 1, "MONOCHROME2", 8, 8, 0, 0)


def test_a_decoder_that_crashes_or_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = ("1.2.840.10008.1.2.4.50", "pillow", LAYOUT)
    good, _ = decode_isolated(jpeg(GRAY), *decode)
    with pytest.raises(DecoderError, match="the decoder says"):
        decode_isolated(b"nonsense", *decode)
    process = dicom_isolation._THIS_THREAD.decoder.process
    process.kill()
    process.wait()
    with pytest.raises(DecoderError, match="crashed"):
        decode_isolated(jpeg(GRAY), *decode)
    np.testing.assert_array_equal(decode_isolated(jpeg(GRAY), *decode)[0], good)
    monkeypatch.setattr(dicom_isolation, "_PATIENCE", 0.3)
    stopped = dicom_isolation._THIS_THREAD.decoder.process
    stopped.send_signal(signal.SIGSTOP)  # it answers no more
    start = time.perf_counter()
    with pytest.raises(DecoderError, match="does not come to an end"):
        decode_isolated(jpeg(GRAY), *decode)
    assert time.perf_counter() - start < 5
    assert stopped.poll() is not None
    np.testing.assert_array_equal(decode_isolated(jpeg(GRAY), *decode)[0], good)


def test_a_decoder_that_computes_without_end_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By its own computing time, so that a busy machine costs no good file."""
    pytest.importorskip("resource", reason="a limit that this system has not")
    (tmp_path / "endless.py").write_text(
        "import osler.imaging.dicom_codecs as codecs, sys\n"
        "def forever(*_):\n    while True: pass\n"
        "codecs.decode_frame = forever\n"
        "codecs.serve(sys.stdin.buffer, sys.stdout.buffer)\n"
    )
    popen = subprocess.Popen

    def endless(command: list[str], **options: Any) -> Any:
        return popen([command[0], str(tmp_path / "endless.py")], **options)

    monkeypatch.setattr(dicom_isolation.subprocess, "Popen", endless)
    monkeypatch.setattr(dicom_isolation, "_SECONDS", 0.1)
    monkeypatch.setattr(dicom_isolation, "_PATIENCE", 1000.0)
    monkeypatch.setattr(dicom_isolation, "_THIS_THREAD", threading.local())
    with pytest.raises(DecoderError, match="does not come to an end"):
        decode_isolated(jpeg(GRAY), "1.2.840.10008.1.2.4.50", "pillow", LAYOUT)


def test_threads_have_decoders_of_their_own_that_end_with_them() -> None:
    found: list[Any] = []

    def work() -> None:
        decode_isolated(jpeg(GRAY), "1.2.840.10008.1.2.4.50", "pillow", LAYOUT)
        found.append(dicom_isolation._THIS_THREAD.decoder.process)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    deadline = time.monotonic() + 10
    while found[0].poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert found[0].poll() is not None


def test_a_fork_starts_a_decoder_of_its_own_and_leaves_ours_alone(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(jpeg(GRAY))
    script = (
        "import os; from osler.imaging.dicom_codecs import FrameLayout; from osler.imaging import dicom_isolation as isolation\n"
        f"data = open({str(tmp_path / 'x')!r}, 'rb').read(); layout = FrameLayout(16, 16, 1, 'MONOCHROME2', 8, 8, 0, 0)\n"
        "def decode(): return isolation.decode_isolated(data, '1.2.840.10008.1.2.4.50', 'pillow', layout)[0].sum()\n"
        "first = decode(); ours = isolation._THIS_THREAD.decoder.process.pid; child = os.fork()\n"
        "if child == 0: os._exit(0 if decode() == first and isolation._THIS_THREAD.decoder.process.pid != ours else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert decode() == first and isolation._THIS_THREAD.decoder.process.pid == ours"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


# --- damaged and hostile ----------------------------------------------------------------------------------------------------


def after_meta(data: bytes) -> int:
    """Where the data set begins: behind the group length, which is the first element of the meta information."""
    return 144 + int(struct.unpack_from("<I", data, 140)[0])


def deflated_bomb() -> bytes:
    head = dicom(RAMP, "1.2.840.10008.1.2.1.99")
    deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
    return head[: after_meta(head)] + b"".join(deflate.compress(bytes(2**24)) for _ in range(5)) + deflate.flush()


def nested(depth: int) -> bytes:
    """Sequences of undefined length, one in another."""
    meta = dicom(RAMP)
    opened = struct.pack("<HH2sHI", 0x5200, 0x9229, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    return meta[: after_meta(meta)] + opened * depth


HOSTILE = {
    "rows and columns": (lambda: dicom(RAMP, Rows=65535, Columns=65535), "decoded at most"),
    "bytes of a frame": (lambda: dicom(RAMP, Rows=8192, Columns=8192, BitsAllocated=32, BitsStored=32, SamplesPerPixel=3,
                                       PhotometricInterpretation="RGB", PlanarConfiguration=0), "decoded at most"),
    "no rows": (lambda: dicom(RAMP, Rows=0), "nothing is in it"),
    "frames": (lambda: dicom(RAMP, NumberOfFrames=2**31 - 1), "cut short"),
    "cut": (lambda: dicom(RAMP)[:-100], "cut short: the pixels of frame 1 reach to byte 384"),
    "no pixels": (lambda: dicom(RAMP, PixelData=None), "without pixels: CT Image Storage"),
    "no bits": (lambda: dicom(RAMP, BitsAllocated=None), "without BitsAllocated"),
    "signed twice": (lambda: dicom(RAMP, PixelRepresentation=2), "PixelRepresentation"),
    "deflated": (deflated_bomb, "larger than 67,108,864 bytes, the most that is inflated"),
    "nested": (lambda: nested(5000), "x: "),
    "length": (
        lambda: dicom(RAMP, WindowCenter="40", WindowWidth="400").replace(
            b"\x28\0\x50\x10DS\x02\0" + b"40", b"\x28\0\x50\x10OB\0\0\xfe\xff\xff\xff"
        ),
        r"\(0028,1050\) claims 4,294,967,294 bytes",
    ),
    "table": (lambda: dicom(RAMP, ModalityLUTSequence=short_table()), "lookup table of 2 entries"),
    "magic only": (lambda: bytes(128) + b"DICM", "without pixels"),
}  # fmt: skip


def short_table() -> Sequence:
    item = sequence(LUTDescriptor=[500, 0, 16], LUTData=b"\1\0")
    item[0]["LUTDescriptor"].VR, item[0]["LUTData"].VR = "US", "OW"
    return item


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_give_one_error_soon(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_file, "MAX_INFLATED", 2**26)
    make, message = HOSTILE[kind]
    data = make()
    start = time.process_time()
    with pytest.raises(DataError, match=message) as caught:
        decode_image(data, "x")
    assert time.process_time() - start < 2.0
    assert str(caught.value).startswith("x: ")
    assert "\n" not in str(caught.value)


def test_a_file_without_preamble_is_read_and_noted() -> None:
    data = dicom(RAMP)
    for bare in (data[132:], data[after_meta(data) :]):
        raw = decode_image(bare, "x")
        np.testing.assert_array_equal(raw.pixels, RAMP)
        assert any("lacks DICOM's preamble" in note for note in raw.notes)


def test_nobody_is_named(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """Whatever breaks, no message, note, log line or warning holds a part of the patient's name or id."""
    data = dicom(RAMP, WindowCenter="40", WindowWidth="400", RescaleSlope="1", RescaleIntercept="0")
    said: list[str] = [repr(decode_image(data, "x")), *decode_image(data, "x").notes]
    rng = random.Random(1)
    end = data.index(b"MRN-4711") + 400
    for _ in range(400):
        changed = bytearray(data)
        for _ in range(rng.choice((1, 2, 4))):
            place = rng.randrange(132, end)
            if rng.random() < 0.3:
                changed[place:place] = rng.choice((b"Doe^Jane", b"MRN-4711", b"\0"))
            else:
                changed[place] = rng.randrange(256)
        try:
            said += decode_image(bytes(changed), "x").notes
        except DataError as error:
            said += [str(error), repr(error), str(error.__cause__ or "")]
    said += [caplog.text, *capfd.readouterr()]
    for secret in ("Doe", "Jane", "MRN", "4711"):
        assert not [text for text in said if secret in text]


def test_reading_leaves_warnings_and_logging_as_they_were() -> None:
    import logging
    import warnings

    before = warnings.filters[:], logging.getLogger("pydicom").level
    threads = [threading.Thread(target=lambda: [decode_image(dicom(RAMP), "x") for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (warnings.filters[:], logging.getLogger("pydicom").level) == before
    assert read.IMAGE_SUFFIXES[-4:] == (".dcm", ".dicom", ".nii", ".nii.gz")
