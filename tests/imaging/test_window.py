"""Windows against the formulas of DICOM PS3.3, C.11.2.1.2, written out value by value, and in preparation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.config import PreparationConfig
from osler.errors import DataError
from osler.imaging.preparation import Preparation
from osler.imaging.raw import RawImage
from osler.imaging.window import Window

SHAPES = ("linear", "linear_exact", "sigmoid")


def by_the_book(shape: str, x: float, center: float, width: float) -> float:
    """0 to 255, as the standard's text says, branch by branch."""
    if shape == "linear":
        if x <= center - 0.5 - (width - 1) / 2:
            return 0.0
        if x > center - 0.5 + (width - 1) / 2:
            return 255.0
        return ((x - (center - 0.5)) / (width - 1) + 0.5) * 255.0
    if shape == "linear_exact":
        if x <= center - width / 2:
            return 0.0
        if x > center + width / 2:
            return 255.0
        return ((x - center) / width + 0.5) * 255.0
    exponent = -4.0 * (x - center) / width
    return 0.0 if exponent > 700 else 255.0 / (1.0 + math.exp(exponent))


@given(
    shape=st.sampled_from(SHAPES),
    center=st.floats(-2000, 2000, allow_subnormal=False),
    width=st.one_of(st.just(1.0), st.floats(1.0, 5000)),
    # Some library of another test may have told the processor to flush subnormal numbers.
    values=st.lists(st.floats(-5000, 5000, allow_subnormal=False), min_size=1, max_size=20),
)
def test_windows_follow_the_standard(shape: str, center: float, width: float, values: list[float]) -> None:
    window = Window(shape, center, width)  # type: ignore[arg-type]
    expected = [by_the_book(shape, value, center, width) for value in values]
    found = window.shades(np.array(values))
    assert np.abs(found - np.array(expected)).max() <= 0.5 + 1e-6


def test_a_table_gives_its_ends_beyond_its_ends() -> None:
    window = Window("table", -10, table=np.array([255.0, 128.0, 0.0]))
    assert window.shades(np.array([-99, -10, -9, -8, 99])).tolist() == [255, 255, 128, 0, 0]


def test_a_window_of_no_width_is_a_step() -> None:
    assert Window.between(7, 7).shades(np.array([6.0, 7.0, 8.0])).tolist() == [0, 128, 255]


# --- in preparation ---------------------------------------------------------------------------------------------------------


def prepare(raw: RawImage, **options: object) -> np.ndarray:
    config = PreparationConfig.model_validate({"size": 16, "channels": 1, **options})
    return Preparation(config).apply(raw)[0]


HOUNSFIELD = np.linspace(-1024, 3071, 256).astype(np.float32).reshape(16, 16)
LUNG = Window("linear", -600, 1500)


def test_range_window_shows_what_a_viewer_shows_and_low_high_works_on_values() -> None:
    raw = RawImage(HOUNSFIELD, -1024, 3071, window=LUNG)
    np.testing.assert_array_equal(prepare(raw, range="window"), LUNG.shades(HOUNSFIELD))
    expected = np.rint(np.clip((HOUNSFIELD.astype(float) + 160) / 400, 0, 1) * 255)
    np.testing.assert_array_equal(prepare(raw, range=[-160, 240]), expected)


@pytest.mark.parametrize("choice", ["window", "dtype", [-500, 500], {"percentile": [5, 95]}])
def test_inversion_comes_last_whatever_the_range(choice: object) -> None:
    plain = RawImage(HOUNSFIELD, -1024, 3071, window=LUNG)
    inverted = RawImage(HOUNSFIELD, -1024, 3071, window=LUNG, inverted=True)
    np.testing.assert_array_equal(prepare(inverted, range=choice), 255 - prepare(plain, range=choice))


def test_inversion_needs_no_range_and_comes_before_padding() -> None:
    gray = np.arange(128, dtype=np.uint8).reshape(8, 16)
    result = prepare(RawImage(gray, 0, 255, inverted=True), fit="pad")
    np.testing.assert_array_equal(result[4:12], 255 - gray)
    assert not result[:4].any()


def test_integer_pixels_are_windowed_as_their_values() -> None:
    deep = np.linspace(0, 4095, 256).astype(np.uint16).reshape(16, 16)
    window = Window("sigmoid", 2000, 900)
    np.testing.assert_array_equal(prepare(RawImage(deep, 0, 4095, window=window), range="window"), window.shades(deep))


def test_images_that_have_no_window() -> None:
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(prepare(RawImage(gray, 0, 255), range="window"), gray)
    with pytest.raises(DataError, match=r"range is window, which DICOM files have and this image has not.*dtype"):
        prepare(RawImage(gray.astype(np.uint16), 0, 65535), range="window")
