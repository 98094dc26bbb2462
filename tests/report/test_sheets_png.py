"""Sheets as PNG, outlines, and the pictures of draws and tones."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from osler.report.balance_pictures import DrawnRow, ImbalanceRow, drawn_picture, imbalance_picture
from osler.report.outlines import COLOURS, legend_of, outlined
from osler.report.raster import SheetRow, sheet_png
from osler.report.tone_pictures import ToneGroup, TonePanel, tone_picture

NAN = float("nan")


def pixels_of(png: bytes) -> np.ndarray:
    """(H, W, 3) RGB of a PNG file."""
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_images_stand_in_rows_unstretched_in_their_colours() -> None:
    red = np.zeros((3, 20, 40), np.uint8)
    red[0] = 200
    gray = np.full((1, 40, 20), 90, np.uint8)
    rows = [
        SheetRow("First", [red, gray], [["a", "1"], ["b", "2"]]),
        SheetRow("Second", [gray], [["a very long caption " * 5, "3"]]),
    ]
    png = sheet_png(rows, columns=2, side=80, legend=[((1, 2, 3), "class")])
    page = pixels_of(png)
    assert png == sheet_png(rows, columns=2, side=80, legend=[((1, 2, 3), "class")])
    assert int((page == [200, 0, 0]).all(axis=2).sum()) == 80 * 40
    assert int((page == [90, 90, 90]).all(axis=2).sum()) == pytest.approx(2 * 80 * 40, abs=10)
    assert (page == [1, 2, 3]).all(axis=2).any()
    assert page.shape[1] == 2 * 12 + 2 * 90 - 10


def test_a_sheet_breaks_after_its_columns() -> None:
    row = SheetRow("", [np.zeros((8, 8), np.uint8)] * 5, [["x"]] * 5)
    heights = [pixels_of(sheet_png([row], columns=columns, side=40)).shape[0] for columns in (5, 2)]
    assert heights[1] - heights[0] == 2 * (40 + 10 + 4 + 15)


def test_outlines_leave_the_inside_to_be_seen_and_darken_the_unknown() -> None:
    image = np.full((1, 64, 64), 100, np.uint8)
    masks = np.zeros((2, 64, 64), np.uint8)
    masks[0, 10:30, 10:30] = 1
    masks[1, 40:50, 40:50] = 1
    masks[:, :, 60:] = 255
    drawn = outlined(image, masks, 64).transpose(1, 2, 0)
    assert drawn[20, 20].tolist() == [100, 100, 100]
    assert drawn[10, 20].tolist() == list(COLOURS[0])
    assert drawn[45, 40].tolist() == list(COLOURS[1])
    assert drawn[5, 62].tolist() == [45, 45, 45]
    assert outlined(np.repeat(image, 3, axis=0), masks, 128).shape == (3, 128, 128)
    assert [name for _, name in legend_of([str(k) for k in range(9)])] == [str(k) for k in range(9)]


def test_four_panels_show_numbers_also_where_a_figure_is_missing_or_zero() -> None:
    rows = [
        ImbalanceRow("many", 4000, 1.0, 0.2, 0.5, 0.6, 0.6),
        ImbalanceRow("few & <rare>", 3, 50.0, 40.0, 0.001, 0.2, 10.0),
        ImbalanceRow("(no finding)", 900, NAN, 0.0, 3.0, 0.0, 0.0),
    ]
    uri, png = imbalance_picture(rows, "pos_weight of bce")
    again = imbalance_picture(rows, "pos_weight of bce")
    assert (uri, png) == again
    assert uri.startswith("data:image/svg+xml;base64,")
    height, width = pixels_of(png).shape[:2]
    assert width == 1440
    assert height > 500
    imbalance_picture([ImbalanceRow("one", 5, NAN, 1.0, NAN, NAN, NAN)], "alpha of focal")


def test_drawn_shares_of_zero_and_one_are_drawn() -> None:
    uri, png = drawn_picture([DrawnRow("a", 0.5, 0.0, 0.0, 0.0, 0.01), DrawnRow("b", 0.5, 1.0, 1.0, 0.99, 1.0)])
    assert uri.startswith("data:image/svg+xml")
    assert pixels_of(png).shape[1] == 1110


def test_of_many_groups_those_that_differ_most_are_drawn() -> None:
    flat = np.full(64, 1 / 64)
    groups = [ToneGroup(f"g{k}", 10, flat) for k in range(9)]
    odd = np.zeros(64)
    odd[40] = 1.0
    groups[7] = ToneGroup("odd one", 10, odd)
    import base64

    uri, png = tone_picture([TonePanel("By class", groups), TonePanel("By split", groups[:2])])
    svg = base64.b64decode(uri.split(",")[1]).decode()
    assert "odd one (10)" in svg
    assert "the 6 that differ most" in svg
    assert pixels_of(png).size > 0
    tone_picture([TonePanel("Black", [ToneGroup("all", 1, np.eye(64)[0])])])
