"""Every kind of file that is read, against the pixels it was made from; and every kind that is refused."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from osler.errors import DataError
from osler.imaging.read import MAX_PIXELS, decode_image, probe_image, read_image

H, W = 40, 56
GRAY = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (H, W)).astype(np.uint8), (0, 0), 2)
RGB = np.stack([GRAY, 255 - GRAY, GRAY // 2], axis=-1)
GRAY16 = GRAY.astype(np.uint16) * 256 + 17
RGB16 = RGB.astype(np.uint16) * 256 + 17


def png(pixels: NDArray[Any], **options: Any) -> bytes:
    """Pillow writes up to 8 bits a channel and 16-bit gray; OpenCV the rest."""
    if pixels.dtype == np.uint16 and pixels.ndim == 3:
        order = [2, 1, 0] if pixels.shape[2] == 3 else [2, 1, 0, 3]
        return bytes(cv2.imencode(".png", np.ascontiguousarray(pixels[..., order]))[1])
    return pillow(Image.fromarray(pixels), "PNG", **options)


def pillow(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(pixels: NDArray[Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    options.setdefault("photometric", "rgb" if pixels.ndim == 3 else "minisblack")
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bare_png(width: int, height: int, rows: bytes, bits: int = 8, colour: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def with_orientation(image: Image.Image, orientation: int) -> Image.Exif:
    exif = image.getexif()
    exif[0x0112] = orientation
    return exif


# --- what is read -----------------------------------------------------------------------------------------------------------

ALPHA = np.dstack([RGB, GRAY])
GRAY_ALPHA = np.dstack([GRAY, 255 - GRAY])
ALPHA16 = np.dstack([RGB16, GRAY16])
LOSSLESS: dict[str, tuple[bytes, NDArray[Any]]] = {
    "png gray 8": (png(GRAY), GRAY),
    "png gray 16": (png(GRAY16), GRAY16),
    "png colour 8": (png(RGB), RGB),
    "png colour 16": (png(RGB16), RGB16),
    "png colour alpha": (png(ALPHA), RGB),
    "png colour alpha 16": (png(ALPHA16), RGB16),
    "png gray alpha": (png(GRAY_ALPHA), GRAY),
    "png gray one transparent": (png(GRAY, transparency=3), GRAY),
    "png colour one transparent": (png(RGB, transparency=(1, 2, 3)), RGB),
    "png 1 bit": (png(GRAY > 128), (GRAY > 128).astype(np.uint8) * 255),
    "png 2 bit": (bare_png(4, 1, b"\0\x1b", bits=2), np.array([[0, 85, 170, 255]], np.uint8)),
    "tiff gray 8": (tiff(GRAY), GRAY),
    "tiff gray 16": (tiff(GRAY16), GRAY16),
    "tiff gray 16 big-endian": (tiff(GRAY16, byteorder=">"), GRAY16),
    "tiff gray 32 float": (tiff(GRAY.astype(np.float32) - 7.5), GRAY.astype(np.float32) - 7.5),
    "tiff gray signed 16": (tiff(GRAY.astype(np.int16) - 100), GRAY.astype(np.float32) - 100),
    "tiff colour 8": (tiff(RGB), RGB),
    "tiff colour 16": (tiff(RGB16), RGB16),
    "tiff colour alpha": (tiff(ALPHA, extrasamples=["unassalpha"]), RGB),
    "tiff gray alpha": (tiff(GRAY_ALPHA, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]), GRAY),
    "tiff colour planes": (tiff(np.moveaxis(RGB, -1, 0).copy(), planarconfig="separate"), RGB),
    "tiff colour planes 16": (tiff(np.moveaxis(RGB16, -1, 0).copy(), planarconfig="separate"), RGB16),
    "tiff deflate": (tiff(RGB16, compression="zlib", predictor=True), RGB16),
    "tiff tiles": (tiff(GRAY16, tile=(16, 16)), GRAY16),
    "tiff big": (tiff(RGB, bigtiff=True), RGB),
    "tiff white is zero": (tiff(255 - GRAY, photometric="miniswhite"), GRAY),
    "tiff white is zero 16": (tiff(65535 - GRAY16, photometric="miniswhite"), GRAY16),
    "tiff lzw": (pillow(Image.fromarray(RGB), "TIFF", compression="tiff_lzw"), RGB),
    "tiff lzw gray alpha": (pillow(Image.fromarray(GRAY_ALPHA), "TIFF", compression="tiff_lzw"), GRAY),
    "tiff lzw 16": (pillow(Image.fromarray(GRAY16), "TIFF", compression="tiff_lzw"), GRAY16),
    "tiff lzw colour 16": (bytes(cv2.imencode(".tif", RGB16[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])[1]), RGB16),
    "tiff lzw colour alpha": (pillow(Image.fromarray(ALPHA), "TIFF", compression="tiff_lzw"), RGB),
    "tiff fax": (pillow(Image.fromarray(GRAY > 128), "TIFF", compression="group4"), (GRAY > 128).astype(np.uint8) * 255),
    "tiff 1 bit": (tiff(GRAY > 128), (GRAY > 128).astype(np.uint8) * 255),
    "tiff thumbnail": (tiff(GRAY), GRAY),
}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_files_give_their_pixels_back(kind: str, tmp_path: Path) -> None:
    data, truth = LOSSLESS[kind]
    path = tmp_path / "an image, größer ×2.img"  # a path with spaces and Unicode, and an extension that says nothing
    path.write_bytes(data)
    raw = read_image(path)
    assert raw.pixels.dtype == truth.dtype
    assert raw.pixels.flags.c_contiguous
    np.testing.assert_array_equal(raw.pixels, truth)
    info = probe_image(path)
    assert (info.height, info.width) == truth.shape[:2]
    assert info.channels == (1 if truth.ndim == 2 else 3)
    assert info.format == kind.split()[0]
    assert ("alpha" in kind or "transparent" in kind) == info.mode.endswith("+alpha")
    assert any("alpha" in note for note in raw.notes) == info.mode.endswith("+alpha")


@pytest.mark.parametrize(
    ("kind", "low", "high", "bits"),
    [
        ("png gray 8", 0, 255, 8),
        ("png gray 16", 0, 65535, 16),
        ("png 1 bit", 0, 255, 1),
        ("tiff gray signed 16", -32768, 32767, 16),
        ("tiff colour 16", 0, 65535, 16),
    ],
)
def test_the_range_is_the_types(kind: str, low: float, high: float, bits: int, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(LOSSLESS[kind][0])
    raw = read_image(path)
    assert (raw.low, raw.high, probe_image(path).bits) == (low, high, bits)


def test_floating_point_has_no_stated_range() -> None:
    raw = decode_image(LOSSLESS["tiff gray 32 float"][0], "x")
    assert np.isnan([raw.low, raw.high]).all()


@pytest.mark.parametrize("pixels", [GRAY, RGB])
def test_jpeg(pixels: NDArray[np.uint8]) -> None:
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 1}):
        data = pillow(Image.fromarray(pixels), "JPEG", quality=95, **options)
        raw = decode_image(data, "x")
        assert raw.pixels.shape == pixels.shape
        assert abs(raw.pixels.astype(int) - pixels).mean() < 3  # RGB, not BGR: the channels differ by far more
        assert raw.notes == ()


def test_jpeg_inside_tiff_is_rgb() -> None:
    raw = decode_image(pillow(Image.fromarray(RGB), "TIFF", compression="jpeg"), "x")
    assert abs(raw.pixels.astype(int) - RGB).mean() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "TIFF lzw", "TIFF 16"])
def test_orientation_is_applied_and_noted(kind: str, orientation: int, tmp_path: Path) -> None:
    pixels = GRAY16 if kind == "TIFF 16" else RGB
    image = Image.fromarray(pixels)
    if kind.startswith("TIFF"):
        tag = [(274, "H", 1, orientation, True)]
        lzw = pillow(image, "TIFF", compression="tiff_lzw", tiffinfo={274: orientation})
        data = lzw if "lzw" in kind else tiff(pixels, extratags=tag)
    else:
        data = pillow(image, kind, exif=with_orientation(image, orientation))
    raw = decode_image(data, "x")
    turned = Image.fromarray(pixels)
    turned.getexif()[0x0112] = orientation
    truth = np.asarray(ImageOps.exif_transpose(turned))
    assert raw.pixels.shape == truth.shape
    assert abs(raw.pixels.astype(int) - truth).mean() < (15 if kind == "JPEG" else 1e-9)
    assert any("orientation" in note for note in raw.notes) == (orientation != 1)
    (tmp_path / "x").write_bytes(data)
    assert (probe_image(tmp_path / "x").height, probe_image(tmp_path / "x").width) == truth.shape[:2]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_palettes_are_expanded_and_noted(kind: str, compression: str | None) -> None:
    options = {"compression": compression} if compression and kind == "TIFF" else {}
    colour = Image.fromarray(RGB).quantize(16)
    raw = decode_image(pillow(colour, kind, **options), "x")
    np.testing.assert_array_equal(raw.pixels, np.asarray(colour.convert("RGB")))
    assert raw.notes == ("the palette was expanded to colour",)
    gray = Image.fromarray(GRAY // 16)
    gray = gray.convert("P")
    gray.putpalette([value for level in range(256) for value in (level, level, level)])
    raw = decode_image(pillow(gray, kind, **options), "x")
    np.testing.assert_array_equal(raw.pixels, GRAY // 16)
    assert raw.notes == ("the palette was expanded to gray",)


def test_a_single_frame_animation_is_an_image() -> None:
    data = png(GRAY)
    at = 8 + 25  # behind the signature and IHDR
    one_frame = data[:at] + chunk(b"acTL", struct.pack(">II", 1, 0)) + data[at:]
    np.testing.assert_array_equal(decode_image(one_frame, "x").pixels, GRAY)


def test_a_thumbnail_page_is_not_a_second_image() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(GRAY)
        writer.write(np.ascontiguousarray(GRAY[::4, ::4]), subfiletype=1)
    np.testing.assert_array_equal(decode_image(buffer.getvalue(), "x").pixels, GRAY)


def test_the_primary_image_of_an_mpo_is_read_and_noted() -> None:
    data = pillow(Image.fromarray(GRAY), "MPO", save_all=True, append_images=[Image.fromarray(255 - GRAY)])
    raw = decode_image(data, "x")
    assert abs(raw.pixels.astype(int) - GRAY).mean() < 3
    assert raw.notes == ("the file holds 2 images (MPO); its primary one was read",)


def test_a_header_longer_than_the_first_read_is_followed(tmp_path: Path) -> None:
    image = Image.fromarray(RGB)
    for kind in ("PNG", "JPEG"):
        path = tmp_path / kind
        path.write_bytes(pillow(image, kind, icc_profile=os.urandom(200_000)))
        assert (probe_image(path).width, probe_image(path).height) == (W, H)
        assert read_image(path).pixels.shape == RGB.shape


def test_bytes_behind_the_end_do_no_harm() -> None:
    for data in (png(RGB), pillow(Image.fromarray(RGB), "JPEG")):
        np.testing.assert_array_equal(decode_image(data + bytes(100), "x").pixels, decode_image(data, "x").pixels)


def test_decoding_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    decode_image(pillow(Image.fromarray(RGB), "PNG", icc_profile=b"no profile" * 30), "x")
    broken = bytearray(tiff(GRAY16, compression="zlib"))
    broken[len(broken) // 2] ^= 255
    with pytest.raises(DataError):
        decode_image(bytes(broken), "x")
    assert capfd.readouterr() == ("", "")


# --- what is refused --------------------------------------------------------------------------------------------------------


def flipped(data: bytes) -> bytes:
    changed = bytearray(data)
    changed[len(data) // 2] ^= 0xFF
    return bytes(changed)


CMYK = Image.fromarray(RGB).convert("CMYK")
FRAMES = [Image.fromarray(255 - GRAY), Image.fromarray(GRAY // 2)]
JPEG = pillow(Image.fromarray(RGB), "JPEG", quality=95)
REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", r"empty \(0 bytes\)"),
    "zero bytes": (bytes(500), "nothing but zero bytes"),
    "text": (b"not an image at all\n" * 50, "text that begins with 'not an image"),
    "web page": (b"<!DOCTYPE html>\n<html>", "text that begins with '<!DOCTYPE html>"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "noise": (bytes(range(200, 256)) * 9, r"unknown format \(first bytes c8"),
    "bmp": (pillow(Image.fromarray(RGB), "BMP"), "a BMP, not a PNG.*Convert it to PNG"),
    "gif": (pillow(Image.fromarray(GRAY), "GIF", save_all=True, append_images=FRAMES), "a GIF of 3 frames"),
    "webp": (pillow(Image.fromarray(RGB), "WEBP"), "a WebP file"),
    "animated png": (pillow(Image.fromarray(GRAY), "PNG", save_all=True, append_images=FRAMES), "animated PNG of 3 frames"),
    "tiff of pages": (tiff(np.stack([GRAY, GRAY]), photometric="minisblack"), "TIFF of 2 pages"),
    "cmyk jpeg": (pillow(CMYK, "JPEG"), "CMYK JPEG.*profile"),
    "cmyk tiff": (pillow(CMYK, "TIFF"), "CMYK image.*profile"),
    "lab tiff": (pillow(Image.fromarray(RGB).convert("LAB"), "TIFF"), "LAB image"),
    "64-bit tiff": (tiff(GRAY.astype(np.float64)), "64-bit floating-point samples"),
    "32-bit tiff": (tiff(GRAY.astype(np.uint32)), "32-bit unsigned samples"),
    "two-channel tiff": (tiff(GRAY_ALPHA, photometric="minisblack", planarconfig="contig"), "gray TIFF of 2 channels"),
    "tiff of unknown compression": (
        pillow(Image.fromarray(RGB), "TIFF", compression="tiff_lzw").replace(
            b"\x03\x01\x03\0\x01\0\0\0\x05\0", b"\x03\x01\x03\0\x01\0\0\0\x99\x99"
        ),
        "compressed by method 39321",
    ),
    "png of no size": (bare_png(0, 0, b""), "0 × 0 pixels"),
    "png of no height": (bare_png(5, 0, b""), "5 × 0 pixels"),
    "bomb": (bare_png(60000, 60000, bytes(1000)), f"60000 × 60000 pixels are more than the {MAX_PIXELS:,}"),
    "png of 3 bits": (bare_png(5, 5, b"", bits=3), "3 bits does not exist"),
    "png without pixels": (bare_png(100, 100, bytes(1000)), "cannot be decoded"),
    "png signature": (b"\x89PNG\r\n\x1a\n", "cut short"),
    "png half": (png(RGB)[: len(png(RGB)) // 2], "cut short"),
    "png without end": (png(RGB)[:-12], "cut short"),
    "png damaged": (flipped(png(RGB)), "checksum of its IDAT chunk"),
    "jpeg start": (JPEG[:300], "cut short"),
    "jpeg half": (JPEG[: len(JPEG) * 4 // 5], "cut short: the JPEG ends after .* before its end marker"),
    "jpeg without end": (JPEG[:-2], "cut short"),
    "jpeg zero-filled": (JPEG[: len(JPEG) * 4 // 5] + bytes(200), "cut short: the JPEG"),
    "progressive half": ((p := pillow(Image.fromarray(RGB), "JPEG", progressive=True))[: len(p) // 2], "cut short"),
    "jpeg without pixels": (b"\xff\xd8\xff\xd9" + bytes(50), "damaged"),
    "tiff half": (tiff(GRAY)[: H * W // 2], "TIFF or one cut short"),
    "tiff header only": (tiff(GRAY)[:100], "TIFF or one cut short"),
    "tiff damaged": (flipped(tiff(GRAY, compression="zlib")), "TIFF or one cut short"),
    "tiff 16 damaged": (flipped(tiff(RGB16, compression="zlib")), "TIFF or one cut short"),
    "tiff lzw half": (
        (t := pillow(Image.fromarray(RGB), "TIFF", compression="tiff_lzw"))[: len(t) // 2],
        "TIFF or one cut short",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_bad_files_give_one_clear_error(kind: str, tmp_path: Path) -> None:
    data, message = REFUSED[kind]
    path = tmp_path / "bad file.png"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(DataError, match="a folder, where an image"):
        probe_image(tmp_path)


@pytest.mark.parametrize("kind", ["empty", "text", "animated png", "cmyk jpeg", "bomb", "tiff of pages", "png of no size"])
def test_probing_refuses_what_the_header_tells(kind: str, tmp_path: Path) -> None:
    data, message = REFUSED[kind]
    path = tmp_path / "x.png"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message):
        probe_image(path)


@settings(max_examples=150, deadline=None)
@given(
    data=st.sampled_from([png(RGB16), png(GRAY), JPEG, tiff(GRAY, compression="zlib"), tiff(RGB)]),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), max_size=4),
)
def test_damage_is_an_error_of_ours_or_still_an_image(data: bytes, cut: float, flips: list[tuple[float, int]]) -> None:
    changed = bytearray(data[: max(1, int(len(data) * (1 - cut * cut)))])
    for place, mask in flips:
        changed[int(place * len(changed))] ^= mask
    try:
        raw = decode_image(bytes(changed), "x")
    except DataError:  # any other exception fails the test
        return
    assert raw.pixels.dtype in (np.uint8, np.uint16, np.float32)
    assert raw.pixels.ndim == 2 or raw.pixels.shape[2] == 3
