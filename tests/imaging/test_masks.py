"""Masks: files as labels, labels as planes, planes at another size; held against drawings and exact areas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from osler.config import PreparationConfig
from osler.errors import DataError
from osler.imaging.masks import IGNORED, MaskMeaning, RawMask, read_mask, resample_planes
from osler.imaging.preparation import Preparation
from osler.imaging.raw import RawImage

LABELS = np.array([[0, 0, 1, 2], [0, 1, 2, 2]], np.uint8)


def saved(path: Path, pixels: NDArray[Any]) -> Path:
    assert cv2.imwrite(str(path), pixels)
    return path


def palette_png(path: Path, labels: NDArray[np.uint8], colours: list[int]) -> Path:
    image = Image.fromarray(labels, "P")
    image.putpalette(colours)
    image.save(path)
    return path


class TestFiles:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_gray_values_are_labels(self, tmp_path: Path, dtype: Any) -> None:
        found = read_mask(saved(tmp_path / "a.png", LABELS.astype(dtype) * 100)).pixels
        np.testing.assert_array_equal(found, LABELS.astype(dtype) * 100)
        assert found.dtype == dtype

    @pytest.mark.parametrize(("bits", "values"), [(1, [0, 255]), (2, [0, 1, 2]), (4, [0, 1, 2])])
    def test_few_bits_keep_their_values_and_one_bit_is_0_and_255(self, tmp_path: Path, bits: int, values: list[int]) -> None:
        labels = np.minimum(LABELS, 2**bits - 1)
        Image.fromarray(labels * (255 // (2**bits - 1))).convert("1" if bits == 1 else "L").save(tmp_path / "a.png", bits=bits)
        if bits > 1:  # Pillow writes 8 bits; a hand-made header gives what it does not
            write_gray_png(tmp_path / "a.png", labels, bits)
        assert np.unique(read_mask(tmp_path / "a.png").pixels).tolist() == values

    def test_a_palette_gives_its_indices(self, tmp_path: Path) -> None:
        mask = read_mask(palette_png(tmp_path / "a.png", LABELS, [0, 0, 0, 128, 0, 0, 0, 128, 0]))
        np.testing.assert_array_equal(mask.pixels, LABELS)
        assert mask.colours == {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0)}

    def test_a_palette_of_grays_gives_their_values(self, tmp_path: Path) -> None:
        mask = read_mask(palette_png(tmp_path / "a.png", LABELS, [255, 255, 255, 0, 0, 0, 7, 7, 7]))
        np.testing.assert_array_equal(mask.pixels, np.array([255, 0, 7], np.uint8)[LABELS])

    def test_a_palette_whose_background_is_not_first_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="which is background cannot be known"):
            read_mask(palette_png(tmp_path / "a.png", LABELS, [200, 0, 0, 0, 0, 0, 0, 128, 0]))

    def test_one_colour_on_black_is_one_label(self, tmp_path: Path) -> None:
        red = np.zeros((2, 4, 3), np.uint8)
        red[LABELS == 1] = (0, 0, 200)  # OpenCV writes BGR
        mask = read_mask(saved(tmp_path / "a.png", red))
        np.testing.assert_array_equal(mask.pixels, (LABELS == 1) * np.uint8(255))
        assert mask.colours == {255: (200, 0, 0)}

    def test_a_picture_in_colours_is_refused_with_its_colours(self, tmp_path: Path) -> None:
        picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        with pytest.raises(DataError, match=r"a colour picture of 64 colours .*not a mask"):
            read_mask(saved(tmp_path / "a.png", picture))

    def test_gray_kept_as_a_colour_jpeg_is_gray(self, tmp_path: Path) -> None:
        plane = np.zeros((32, 32), np.uint8)
        plane[8:24, 8:24] = 255
        mask = read_mask(saved(tmp_path / "a.jpg", np.repeat(plane[..., None], 3, axis=2)))
        assert mask.lossy
        assert mask.pixels.shape == (32, 32)

    def test_whole_floating_point_numbers_are_labels(self, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "a.tif", LABELS.astype(np.float32))
        planes = MaskMeaning(((1,), (2,))).planes(read_mask(tmp_path / "a.tif"), "a.tif")
        np.testing.assert_array_equal(planes, [LABELS == 1, LABELS == 2])


def write_gray_png(path: Path, labels: NDArray[np.uint8], bits: int) -> None:
    """A gray PNG of 2 or 4 bits, made by hand from the specification."""
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = labels.shape
    rows = b""
    for row in labels.tolist():
        packed = "".join(f"{value:0{bits}b}" for value in row)
        packed += "0" * (-len(packed) % 8)
        rows += b"\0" + int(packed, 2).to_bytes(len(packed) // 8, "big")
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


class TestMeaning:
    def test_values_ignored_and_grouped(self) -> None:
        mask = RawMask(np.array([[0, 1, 2, 3, 9]], np.uint8))
        planes = MaskMeaning(((1, 3), (2,)), ignore=9).planes(mask, "a")
        assert planes.tolist() == [[[0, 1, 0, 1, 255]], [[0, 0, 1, 0, 255]]]

    def test_values_without_a_meaning_are_counted(self) -> None:
        with pytest.raises(DataError, match=r"a.png: pixel values without a meaning: 7 \(2 pixels\), 9 \(1 pixels\)"):
            MaskMeaning(((1,),)).planes(RawMask(np.array([[0, 7, 7, 9]], np.uint8)), "a.png")

    def test_16_bit_labels(self) -> None:
        planes = MaskMeaning(((40_000,),)).planes(RawMask(np.array([[0, 40_000]], np.uint16)), "a")
        assert planes.tolist() == [[[0, 1]]]

    @pytest.mark.parametrize(
        "pixels",
        [
            np.array([[0.0, 0.49, 0.5, 1.0]], np.float32),
            np.array([[0, 127, 128, 255]], np.uint8),
            np.array([[0, 32767, 32768, 65535]], np.uint16),
        ],
    )
    def test_a_threshold_is_a_share_of_the_types_range(self, pixels: NDArray[Any]) -> None:
        assert MaskMeaning(threshold=0.5).planes(RawMask(pixels), "a").tolist() == [[[0, 0, 1, 1]]]

    def test_probabilities_without_a_threshold_are_refused(self) -> None:
        with pytest.raises(DataError, match=r"data\.masks\.threshold"):
            MaskMeaning().planes(RawMask(np.array([[0.25]], np.float32)), "a")


class TestResampling:
    def test_whole_blocks_follow_the_majority_of_their_area(self) -> None:
        rng = np.random.default_rng(3)
        plane = rng.integers(0, 2, (60, 60), dtype=np.uint8)
        found = resample_planes(plane[None], 20, 20)[0]
        np.testing.assert_array_equal(found, plane.reshape(20, 3, 20, 3).sum(axis=(1, 3)) > 4)

    def test_half_is_foreground(self) -> None:
        stripes = np.tile(np.array([[0, 1]], np.uint8), (4, 2))[None]
        assert resample_planes(stripes, 2, 2).all()

    @given(
        hnp.arrays(np.uint8, st.tuples(st.just(3), st.integers(2, 24), st.integers(2, 24)), elements=st.integers(0, 1)), st.data()
    )
    @settings(max_examples=60, deadline=None)
    def test_exclusive_classes_stay_exclusive(self, noise: NDArray[np.uint8], data: st.DataObject) -> None:
        planes = noise * (np.cumsum(noise, axis=0) == 1)
        height, width = data.draw(st.tuples(st.integers(1, 30), st.integers(1, 30)))
        found = resample_planes(planes, height, width)
        assert found.shape == (3, height, width)
        assert set(np.unique(found)) <= {0, 1}
        assert found.sum(axis=0).max() <= 1

    def test_the_largest_area_wins_and_no_hole_opens_between_classes(self) -> None:
        labels = np.array([[0, 0, 1], [0, 1, 1], [2, 2, 2]])
        planes = (labels[None] == np.arange(3)[:, None, None]).astype(np.uint8)
        assert resample_planes(planes, 1, 1).sum() == 1
        assert resample_planes(planes, 1, 1, exclusive=False).sum() == 0

    def test_overlapping_classes_are_each_their_own(self) -> None:
        planes = np.ones((2, 4, 4), np.uint8)
        assert resample_planes(planes, 2, 2, exclusive=False).all()

    def test_ignored_wins_at_half_and_leaves_the_rest_to_decide_below(self) -> None:
        half = np.array([[[255, 255], [1, 1]]], np.uint8)
        assert resample_planes(half, 1, 1).tolist() == [[[IGNORED]]]
        quarter = np.array([[[255, 1], [1, 0]]], np.uint8)
        assert resample_planes(quarter, 1, 1).tolist() == [[[1]]]

    @pytest.mark.parametrize("size", [5, 13, 31, 64])
    def test_values_are_never_mixed(self, size: int) -> None:
        plane = np.random.default_rng(1).choice(np.array([0, 1, 255], np.uint8), (1, 31, 47))
        assert set(np.unique(resample_planes(plane, size, size))) <= {0, 1, 255}

    def test_the_area_of_a_disc_is_kept(self) -> None:
        rows, columns = np.mgrid[:400, :400]
        disc = ((rows - 190) ** 2 + (columns - 210) ** 2 < 90**2).astype(np.uint8)[None]
        assert resample_planes(disc, 113, 113).mean() == pytest.approx(disc.mean(), rel=0.01)


class TestPreparation:
    @pytest.mark.parametrize("fit", ["stretch", "pad"])
    @pytest.mark.parametrize("shape", [(90, 140), (140, 90), (20, 33), (64, 64)])
    def test_the_mask_lies_on_its_image(self, fit: str, shape: tuple[int, int]) -> None:
        plane = np.zeros(shape, np.uint8)
        plane[shape[0] // 4 : shape[0] // 2, shape[1] // 3 :] = 1
        preparation = Preparation(PreparationConfig.model_validate({"size": 64, "channels": 1, "fit": fit}))
        image = preparation.apply(RawImage(plane * np.uint8(255), 0, 255))
        mask = preparation.apply_mask(plane[None])
        known = mask != IGNORED
        np.testing.assert_array_equal(mask[known], (image >= 128)[known])
        top, left, height, width = preparation.placed(*shape)
        assert known.sum() == height * width
        assert known[0, top : top + height, left : left + width].all()

    def test_beside_a_padded_image_nothing_is_known(self) -> None:
        preparation = Preparation(PreparationConfig(size=64, channels=1, fit="pad"))
        mask = preparation.apply_mask(np.zeros((2, 32, 64), np.uint8))
        assert (mask == IGNORED).mean() == 0.5
