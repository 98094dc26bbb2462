"""Overlays: which pixel gets which colour, that readers with any colour vision can tell them apart, and what is zoomed."""

from __future__ import annotations

import base64
import itertools

import numpy as np
import pytest

from osler.report.overlays import FALSE_ALARM, FOUND, LEGEND, MISSED, OPACITY, OverlayCase, overlay, overlay_sheet, zoom_box

# Machado, Oliveira and Fernandes (2009), full severity, on linear RGB.
VISIONS = {
    "usual": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: np.ndarray) -> np.ndarray:
    share = colour / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB."""
    scaled = TO_XYZ @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    x, y, z = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("ground", [0, 90, 180, 255])
def test_colours_can_be_told_apart_by_every_eye_on_every_ground(vision: str, ground: int) -> None:
    """A difference of 10 is plain to see; the paint is mixed with the gray below it."""
    painted = [(1 - OPACITY) * ground + OPACITY * np.array(colour) for colour, _ in LEGEND]
    seen = [lab(VISIONS[vision] @ linear(colour)) for colour in (*painted, np.full(3, float(ground)))]
    for one, two in itertools.combinations(seen, 2):
        assert np.linalg.norm(one - two) > 15


def test_every_pixel_has_the_colour_of_what_became_of_it() -> None:
    truth = np.array([[1, 1, 0, 0, 255, 255]], np.uint8)
    called = np.array([[True, False, True, False, True, False]])
    painted = overlay(np.full((1, 1, 6), 100, np.uint8), truth, called)[:, 0].T
    for pixel, colour in zip(painted[:3], (FOUND, MISSED, FALSE_ALARM), strict=True):
        np.testing.assert_allclose(pixel, (1 - OPACITY) * 100 + OPACITY * np.array(colour), atol=0.51)
    assert painted[3].tolist() == [100, 100, 100]
    assert (painted[4:] == 45).all(), "unknown pixels are darkened, and neither right nor wrong"


def test_a_red_image_is_gray_below_the_paint() -> None:
    red = np.zeros((3, 2, 2), np.uint8)
    red[0] = 200
    painted = overlay(red, np.zeros((2, 2), np.uint8), np.zeros((2, 2), bool))
    assert (painted == round(0.299 * 200)).all()


def test_small_findings_are_zoomed_and_large_ones_are_not() -> None:
    spot = np.zeros((300, 200), bool)
    assert zoom_box(spot) is None
    spot[2:5, 195:200] = True
    box = zoom_box(spot)
    assert box is not None
    rows, columns = box
    assert (rows.start, columns.stop) == (0, 200)
    assert rows.stop - rows.start == columns.stop - columns.start == 48
    assert spot[box].sum() == spot.sum()
    spot[:] = True
    assert zoom_box(spot) is None


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_holds_a_pair_for_each_case_and_its_legend(channels: int) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (channels, 160, 160)).astype(np.uint8)
    truth, called = np.zeros((160, 160), np.uint8), np.zeros((160, 160), bool)
    truth[60:66, 60:66], called[62:68, 60:66] = 1, True
    kept = image.copy()
    uri = overlay_sheet([OverlayCase(image, truth, called, ["worst: a <b>", "Dice 0.5"])] * 2)
    svg = base64.b64decode(uri.partition(",")[2]).decode()
    assert svg.count("<image ") == 4
    assert "worst: a &lt;b&gt;" in svg
    assert "48 × 48 pixels, framed at left" in svg
    for (red, green, blue), word in LEGEND:
        assert f"rgb({red},{green},{blue})" in svg
        assert f">{word}</text>" in svg
    np.testing.assert_array_equal(image, kept)
