"""Preparation: each step against an independent computation, the golden image, and the fingerprint."""

from __future__ import annotations

import hashlib
import json
import pickle
import threading
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from osler.config import ClaheConfig, PercentileRange, PreparationConfig
from osler.errors import DataError
from osler.imaging import scaling
from osler.imaging.depth import for_eye, for_network
from osler.imaging.preparation import Preparation, golden_image
from osler.imaging.raw import RawImage

NAN = float("nan")
RNG = np.random.default_rng(3)
GRAY = RNG.integers(0, 256, (32, 32)).astype(np.uint8)
RGB = RNG.integers(0, 256, (32, 32, 3)).astype(np.uint8)


def prepare(pixels: NDArray[Any], low: float = NAN, high: float = NAN, **options: Any) -> NDArray[Any]:
    options = {"size": 32, "channels": 1, **options}
    return Preparation(PreparationConfig.model_validate(options)).apply(RawImage(pixels, low, high))


# --- the steps --------------------------------------------------------------------------------------------------------------


def test_an_8_bit_image_of_the_right_size_passes_unchanged() -> None:
    np.testing.assert_array_equal(prepare(GRAY), GRAY[None])
    np.testing.assert_array_equal(prepare(RGB, channels=3), RGB.transpose(2, 0, 1))
    np.testing.assert_array_equal(prepare(GRAY, channels=3), np.stack([GRAY] * 3))


def test_the_result_is_contiguous_and_does_not_alias_the_input() -> None:
    for pixels, channels in ((GRAY, 1), (GRAY, 3), (RGB, 1), (RGB, 3)):
        result = prepare(pixels, channels=channels)
        assert result.dtype == np.uint8
        assert result.shape == (channels, 32, 32)
        assert result.flags.c_contiguous
        assert not np.shares_memory(result, pixels)


def test_gray_has_the_weights_of_bt_601() -> None:
    expected = RGB @ np.array([0.299, 0.587, 0.114])
    assert abs(prepare(RGB)[0] - expected).max() <= 1
    deep = RGB.astype(np.uint16) * 257
    assert abs(prepare(deep, 0, 65535, range="dtype")[0] - expected).max() <= 1


def test_range_dtype_is_the_stated_range() -> None:
    ramp = np.linspace(0, 65535, 1024).astype(np.uint16).reshape(32, 32)
    np.testing.assert_array_equal(prepare(ramp, 0, 65535, range="dtype")[0], np.rint(ramp / 257.0))
    signed = np.linspace(-32768, 32767, 1024).astype(np.float32).reshape(32, 32)
    result = prepare(signed, -32768, 32767, range="dtype")[0]
    assert (result[0, 0], result[-1, -1]) == (0, 255)
    np.testing.assert_array_equal(prepare(GRAY, 0, 255, range="dtype")[0], GRAY)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_range_low_high_clips(dtype: type) -> None:
    values = np.linspace(0, 4000, 1024).reshape(32, 32).astype(dtype)
    expected = np.rint(np.clip((values.astype(float) - 1000) / 2000, 0, 1) * 255)
    np.testing.assert_array_equal(prepare(values, range=[1000, 3000])[0], expected)


def test_range_percentile_is_each_images_own() -> None:
    values = RNG.normal(1000, 300, (32, 32)).astype(np.float32)
    low, high = np.percentile(values, [5, 95])
    expected = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255)
    assert abs(prepare(values, range={"percentile": [5, 95]})[0] - expected).max() <= 1
    shifted = prepare(values * 2 + 500, range={"percentile": [5, 95]})
    assert abs(shifted.astype(int) - prepare(values, range={"percentile": [5, 95]})).max() <= 1


def test_a_constant_image_becomes_black_under_percentiles() -> None:
    assert not prepare(np.full((32, 32), 700, np.uint16), range={"percentile": [1, 99]}).any()


def test_clahe_is_opencvs_on_gray_and_on_lightness_alone_on_colour() -> None:
    clahe = cv2.createCLAHE(clipLimit=3.0, tileGridSize=(4, 4))
    options = {"clahe": {"clip_limit": 3.0, "tiles": 4}}
    np.testing.assert_array_equal(prepare(GRAY, **options)[0], clahe.apply(GRAY))
    smooth = cv2.GaussianBlur(RGB, (0, 0), 3)
    before = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB).astype(int)
    after = cv2.cvtColor(np.ascontiguousarray(prepare(smooth, channels=3, **options).transpose(1, 2, 0)), cv2.COLOR_RGB2LAB)
    assert abs(after[..., 0].astype(int) - before[..., 0]).mean() > 10
    assert np.median(abs(after[..., 1:].astype(int) - before[..., 1:])) <= 1


def test_clahe_comes_before_resize_and_range_before_clahe() -> None:
    big = RNG.integers(0, 4096, (64, 64)).astype(np.uint16)
    clahe = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8))
    ranged = np.rint(np.clip(big / 4095 * 255, 0, 255)).astype(np.uint8)
    expected = cv2.resize(clahe.apply(ranged), (32, 32), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(prepare(big, range=[0, 4095], clahe={})[0], expected)


def test_shrinking_averages_and_growing_interpolates() -> None:
    big = RNG.integers(0, 256, (96, 64)).astype(np.uint8)
    means = big.reshape(32, 3, 32, 2).mean(axis=(1, 3))
    assert abs(prepare(big)[0] - means).max() <= 0.5 + 1e-6
    small = np.array([[0, 200]], np.uint8).repeat(2, axis=0)
    grown = prepare(small)[0]
    assert (np.diff(grown[0].astype(int)) >= 0).all()
    assert len(np.unique(grown[0])) > 10


def test_one_side_may_shrink_while_the_other_grows() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), 64)[None].repeat(16, axis=0)  # (16, 128): linear sampling would alias
    result = prepare(stripes)[0]
    assert abs(result.astype(int) - 128).max() <= 1


def test_pad_keeps_the_aspect_ratio_and_centres_on_black() -> None:
    wide = np.full((10, 40), 200, np.uint8)
    result = prepare(wide, fit="pad")[0]
    np.testing.assert_array_equal(result[12:20], np.full((8, 32), 200))
    assert not result[:12].any()
    assert not result[20:].any()
    tall = prepare(np.dstack([wide.T] * 3), fit="pad", channels=3)
    np.testing.assert_array_equal(tall[:, :, 12:20], np.full((3, 32, 8), 200))
    assert int((tall > 0).sum()) == 3 * 32 * 8


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    colour=st.booleans(),
    channels=st.sampled_from([1, 3]),
    fit=st.sampled_from(["stretch", "pad"]),
    clahe=st.sampled_from([None, {"tiles": 1}, {"tiles": 16, "clip_limit": 40.0}]),
)
def test_every_shape_is_prepared(height: int, width: int, colour: bool, channels: int, fit: str, clahe: Any) -> None:
    pixels = np.full((height, width, 3)[: 3 if colour else 2], 90, np.uint8)
    result = prepare(pixels, size=24, channels=channels, fit=fit, clahe=clahe)
    assert result.shape == (channels, 24, 24)


# --- 16 bits ----------------------------------------------------------------------------------------------------------------

RAMP = np.linspace(0, 65535, 1024).astype(np.uint16).reshape(32, 32)
DEEP = {"dtype": "uint16"}


def test_16_bits_pass_unchanged_where_the_whole_range_is_kept() -> None:
    result = prepare(RAMP, 0, 65535, range="dtype", **DEEP)
    assert result.dtype == np.uint16
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, RAMP[None])
    np.testing.assert_array_equal(prepare(RAMP, 0, 65535, range="dtype", channels=3, **DEEP), np.stack([RAMP] * 3))


def test_8_bits_are_on_the_same_scale() -> None:
    for pixels, channels in ((GRAY, 1), (RGB, 3)):
        deep = prepare(pixels, 0, 255, channels=channels, **DEEP)
        np.testing.assert_array_equal(for_network(deep), prepare(pixels, 0, 255, channels=channels).astype(np.float32))
        np.testing.assert_array_equal(prepare(pixels, 0, 255, channels=channels, range="dtype", **DEEP), deep)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("limits", [[1000, 3000], {"percentile": [5, 95]}])
def test_values_that_bytes_make_equal_stay_apart(dtype: type, limits: Any) -> None:
    values = np.arange(1500, 1500 + 1024).reshape(32, 32).astype(dtype)
    low, high = limits if isinstance(limits, list) else np.percentile(values, limits["percentile"])
    deep = prepare(values, range=limits, **DEEP)[0]
    expected = np.rint(np.clip((values.astype(float) - low) / (high - low), 0, 1) * 65535)
    assert abs(deep - expected).max() <= 1
    inside = (values > low) & (values < high)
    assert len(np.unique(deep[inside])) == inside.sum() > 3 * len(np.unique(prepare(values, range=limits)))


@pytest.mark.parametrize("options", [{"range": "dtype"}, {"range": [500, 60000]}, {"range": {"percentile": [1, 99]}}])
@pytest.mark.parametrize(("channels", "fit"), [(1, "stretch"), (3, "pad")])
def test_16_bits_rounded_are_8_bits(options: dict[str, Any], channels: int, fit: str) -> None:
    for shape in ((90, 70), (20, 24), (50, 61, 3)):
        pixels = RNG.integers(0, 65536, shape).astype(np.uint16)
        given = {**options, "channels": channels, "fit": fit}
        deep, plain = prepare(pixels, 0, 65535, **given, **DEEP), prepare(pixels, 0, 65535, **given)
        assert abs(for_network(deep) - plain).max() <= 1.25  # half a step by range, half a step by resizing, and its fractions
        assert (for_eye(deep) == plain).mean() > 0.7


def test_16_bits_are_turned_round_where_low_values_are_bright() -> None:
    config = PreparationConfig(size=32, channels=1, range="dtype", dtype="uint16")
    result = Preparation(config).apply(RawImage(RAMP, 0, 65535, inverted=True))
    np.testing.assert_array_equal(result, 65535 - RAMP[None])


def test_bytes_go_without_saying_and_16_bits_are_said() -> None:
    """What was prepared before there was a choice has the same fingerprint, the same card, and is found again."""
    parameters = {name: value for name, value in BASE.model_dump(mode="json").items() if name != "dtype"}
    plain, deep = Preparation(BASE), Preparation(BASE.model_copy(update=DEEP))
    said = json.dumps(["osler.preparation/1", parameters, int(cv2.__version__[0]), plain.golden], sort_keys=True)
    assert plain.fingerprint() == hashlib.sha256(said.encode()).hexdigest()[:32]
    assert set(plain.describe()) == {"schema", *parameters, "order", "output", "opencv", "golden", "fingerprint"}
    assert plain.describe()["output"]["dtype"] == "uint8"
    assert deep.describe()["output"] == plain.describe()["output"] | {
        "dtype": "uint16",
        "high": 65535,
        "network": {"dtype": "float32", "divided_by": 257},
    }


def test_16_bits_need_a_range_too() -> None:
    with pytest.raises(DataError, match=r"from 5 to 900, and preparation.range is null"):
        prepare(np.linspace(5, 900, 1024).reshape(32, 32).astype(np.uint16), **DEEP)


# --- what is refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_more_than_8_bits_need_a_range(dtype: type) -> None:
    with pytest.raises(DataError, match=r"from 5 to 900, and preparation.range is null.*dtype.*\[low, high\].*percentile"):
        prepare(np.linspace(5, 900, 1024).reshape(32, 32).astype(dtype))


def test_floating_point_has_no_dtype_range() -> None:
    with pytest.raises(DataError, match=r"no full range.*\[low, high\]"):
        prepare(np.zeros((4, 4), np.float32), range="dtype")


def test_values_that_are_not_finite_are_refused() -> None:
    pixels = np.zeros((4, 4), np.float32)
    pixels[0, :2] = np.nan, np.inf
    with pytest.raises(DataError, match="2 of 16 pixel values are NaN or infinite"):
        prepare(pixels, range=[0, 1])


def test_an_unresolved_config_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        Preparation(PreparationConfig(channels=1))
    with pytest.raises(AssertionError):
        Preparation(PreparationConfig(size=32))


# --- identity ---------------------------------------------------------------------------------------------------------------

BASE = PreparationConfig(size=64, channels=3, range=(0.0, 255.0), clahe=ClaheConfig())
VARIANTS = {
    "base": BASE,
    "size": BASE.model_copy(update={"size": 65}),
    "channels": BASE.model_copy(update={"channels": 1}),
    "fit": BASE.model_copy(update={"fit": "pad"}),
    "range off": BASE.model_copy(update={"range": None}),
    "range dtype": BASE.model_copy(update={"range": "dtype"}),
    "range window": BASE.model_copy(update={"range": "window"}),
    "range high": BASE.model_copy(update={"range": (0.0, 256.0)}),
    "range low": BASE.model_copy(update={"range": (1.0, 255.0)}),
    "range percentile": BASE.model_copy(update={"range": PercentileRange()}),
    "range percentile high": BASE.model_copy(update={"range": PercentileRange(percentile=(0.5, 99.0))}),
    "clahe off": BASE.model_copy(update={"clahe": None}),
    "clahe limit": BASE.model_copy(update={"clahe": ClaheConfig(clip_limit=2.5)}),
    "clahe tiles": BASE.model_copy(update={"clahe": ClaheConfig(tiles=7)}),
    "dtype uint16": BASE.model_copy(update={"dtype": "uint16"}),
}


def test_every_parameter_changes_the_fingerprint_and_the_golden_image() -> None:
    prepared = {name: Preparation(config) for name, config in VARIANTS.items()}
    assert len({preparation.fingerprint() for preparation in prepared.values()}) == len(VARIANTS)
    assert len({preparation.golden for preparation in prepared.values()}) == len(VARIANTS)
    assert {name.split()[0] for name in VARIANTS} >= set(PreparationConfig.model_fields), "a new field needs a variant here"


def test_opencvs_major_version_and_the_arithmetic_change_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Preparation(BASE).fingerprint()
    assert Preparation(BASE).fingerprint() == known
    with monkeypatch.context() as patch:
        patch.setattr(cv2, "__version__", "3.4.0")
        assert Preparation(BASE).fingerprint() != known
    resize = cv2.resize

    def other_resize(*args: Any, **kwargs: Any) -> Any:
        return resize(*args, **kwargs) ^ 1

    monkeypatch.setattr(scaling.cv2, "resize", other_resize)
    assert Preparation(BASE).fingerprint() != known


def test_the_golden_image_is_fixed_and_shows_something() -> None:
    golden = golden_image(PreparationConfig(size=224, channels=1))
    assert golden.pixels.shape == (337, 451, 3)
    assert golden.pixels.dtype == np.uint8
    assert golden.pixels.std(axis=(0, 1)).min() > 20
    # Sums of the integer arithmetic it is made of: these hold on every machine.
    assert [int(golden.pixels[..., channel].sum(dtype=np.int64)) for channel in range(3)] == [16659214, 16668159, 17737799]
    wide = golden_image(BASE.model_copy(update={"range": (100.0, 200.0)}))
    assert wide.pixels.min() < 100
    assert wide.pixels.max() > 190


@pytest.mark.parametrize("name", VARIANTS)
def test_a_card_gives_the_same_preparation_back(name: str) -> None:
    preparation = Preparation(VARIANTS[name])
    card = json.loads(json.dumps(preparation.describe(), allow_nan=False))
    again = Preparation.from_description(card)
    assert again == preparation
    assert again.fingerprint() == card["fingerprint"]
    raw = golden_image(VARIANTS[name])
    np.testing.assert_array_equal(again.apply(raw), preparation.apply(raw))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "osler.preparation/9"}, "this version reads 'osler.preparation/1'"),
        ({"size": "auto"}, "must be numbers"),
        ({"size": -3}, "size"),
        ({"fit": "squeeze"}, "fit"),
        ({"dtype": "float64"}, "dtype"),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Preparation.from_description(Preparation(BASE).describe() | change)


def test_a_card_that_lacks_a_parameter_is_refused() -> None:
    card = Preparation(BASE).describe()
    del card["clahe"]
    with pytest.raises(DataError, match="'clahe' is missing"):
        Preparation.from_description(card)


def test_it_travels_to_other_processes_and_works_in_threads() -> None:
    preparation = Preparation(BASE)
    raw = golden_image(BASE)
    expected = preparation.apply(raw)
    assert pickle.loads(pickle.dumps(preparation)) == preparation
    wrong: list[int] = []

    def work() -> None:
        wrong.extend(step for step in range(20) if not np.array_equal(preparation.apply(raw), expected))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
