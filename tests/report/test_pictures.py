"""Pictures: each is a self-contained SVG that shows what it was given, and follows the theme."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import numpy as np
import pytest

from osler.report.history import Flag, Series, _draw_flags, history_picture
from osler.report.ink import BLUE, CRITICAL, DARK, WARNING, panel, themed
from osler.report.pictures import (
    Bins,
    Curve,
    ForestRow,
    Mark,
    ThresholdCurves,
    confusion_picture,
    forest_picture,
    precision_recall_picture,
    reliability_picture,
    roc_picture,
    threshold_picture,
)
from osler.report.sheet import contact_sheet

RAMP = np.linspace(0.0, 1.0, 21)
EMPTY = np.empty(0)
MARK = Mark(0.2, 0.8, (0.15, 0.26), (0.7, 0.88), "threshold 0.31")


def svg_of(uri: str) -> str:
    head, _, body = uri.partition(",")
    assert head == "data:image/svg+xml;base64"
    text = base64.b64decode(body).decode()
    ElementTree.fromstring(text)
    return text


def curve(name: str = "Hernia") -> Curve:
    return Curve(name, RAMP, np.sqrt(RAMP), "AUC 0.667 [0.6, 0.7]", MARK, floor=0.2)


def bins(name: str = "Hernia") -> Bins:
    return Bins(name, RAMP, RAMP**2, RAMP**2 * 0.8, np.minimum(RAMP**2 + 0.1, 1), np.full(21, 12.0), "ECE 0.03")


def thresholds(name: str = "Hernia") -> ThresholdCurves:
    spans = np.stack([RAMP * 0.9, RAMP])
    return ThresholdCurves(name, RAMP, 1 - RAMP, RAMP, spans, spans, 0.31)


PICTURES: dict[str, Callable[[list[str]], str]] = {
    "roc": lambda names: roc_picture([curve(name) for name in names]),
    "precision_recall": lambda names: precision_recall_picture([curve(name) for name in names]),
    "reliability": lambda names: reliability_picture([bins(name) for name in names]),
    "thresholds": lambda names: threshold_picture([thresholds(name) for name in names]),
    "confusion": lambda names: confusion_picture(np.arange(len(names) ** 2).reshape(len(names), -1), names),
    "forest": lambda names: forest_picture([ForestRow(name, 0.7, 0.6, 0.8, "20 of 200") for name in names], "AUC", 0.5),
}


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_every_picture_names_its_classes_and_follows_the_theme(draw: Callable[[list[str]], str]) -> None:
    text = svg_of(draw(["Hernia", "Mass & <more>", "Edema", "Nodule", "Fibrosis", "Effusion"]))
    assert "Hernia" in text
    assert "Mass &amp; &lt;more&gt;" in text
    assert "prefers-color-scheme:dark" in text
    assert "http://www.w3.org/2000/svg" in text
    assert 'xlink:href="http' not in text
    body = text[text.index("</style>") :]
    assert not [colour for colour in DARK if body.replace(f", {colour})", "").count(colour)]


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_equal_pictures_have_equal_bytes(draw: Callable[[list[str]], str]) -> None:
    assert draw(["a", "b"]) == draw(["a", "b"])


def test_a_single_class_is_drawn_large_with_its_figure_and_threshold() -> None:
    text = svg_of(roc_picture([curve()]))
    assert "AUC 0.667 [0.6, 0.7]" in text
    assert "threshold 0.31" in text


def test_a_class_without_a_curve_says_why() -> None:
    text = svg_of(roc_picture([curve(), Curve("Edema", EMPTY, EMPTY, "not scored: no positives")]))
    assert "not scored: no positives" in text


def test_a_class_without_bins_says_why() -> None:
    empty = Bins("Edema", EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, "no known labels")
    assert "no known labels" in svg_of(reliability_picture([empty]))


def test_a_forest_keeps_the_class_that_cannot_be_scored() -> None:
    nan = float("nan")
    rows = [ForestRow("Hernia", nan, nan, nan, "0 of 80"), ForestRow("macro", 0.7, 0.6, 0.8, summary=True)]
    text = svg_of(forest_picture(rows, "AUC", 0.5))
    assert "not scored" in text
    assert "0 of 80" in text


def test_a_forest_of_nothing_scored_can_be_drawn() -> None:
    nan = float("nan")
    assert "not scored" in svg_of(forest_picture([ForestRow("Hernia", nan, nan, nan)], "AUC"))


def test_a_confusion_matrix_shows_counts_and_shares_of_rows() -> None:
    text = svg_of(confusion_picture(np.array([[30, 10], [0, 0]]), ["negative", "positive"]))
    assert ">30<" in text
    assert ">75%<" in text
    assert ">0%<" in text


def test_long_names_are_cut() -> None:
    text = svg_of(roc_picture([curve("a" * 40), curve("b")]))
    assert "a" * 19 + "…" in text
    assert "a" * 20 not in text


def test_history_marks_floor_phases_and_best_epoch() -> None:
    epochs = list(range(1, 9))
    values = np.linspace(0.6, 0.2, 8)
    series = [Series("train", values, floor=0.42), Series("val", values, np.full(8, 0.02), floor=0.38)]
    text = svg_of(history_picture(epochs, series, "loss", best=7, phases=[(1, "head"), (4, "all")]))
    for words in ("floor of train: 0.42", "floor of val: 0.38", "best: epoch 7", "head ▸", "all ▸"):
        assert words in text


def test_history_flags_what_was_found() -> None:
    series = [Series("val", np.linspace(0.6, 0.2, 8))]
    flags = [Flag(3, "1", "critical"), Flag(3, "2", "note"), Flag(8, "12", "warning")]
    text = svg_of(history_picture(list(range(1, 9)), series, "loss", best=7, flags=flags))
    plain = svg_of(history_picture(list(range(1, 9)), series, "loss", best=7))
    assert all(f">{flag.text}<" in text for flag in flags)
    for colour in (CRITICAL, WARNING):
        drawn = f"fill: var(--c{list(DARK).index(colour)}, {colour})"
        assert drawn in text
        assert drawn not in plain


def test_flags_of_neighbouring_epochs_stand_above_one_another() -> None:
    with panel(4.6, 3.3) as (_, axes):
        axes.set_xlim(0, 100)
        _draw_flags(axes, [Flag(10, "1"), Flag(11, "2"), Flag(50, "3"), Flag(50, "4")], 0)
        offsets = {text.get_text(): text.xyann for text in axes.texts}
    assert offsets["2"][1] > offsets["1"][1] == offsets["3"][1] == offsets["4"][1]
    assert offsets["3"][0] < 0 < offsets["4"][0]


def test_history_draws_one_epoch_and_gaps() -> None:
    nan = float("nan")
    assert svg_of(history_picture([1], [Series("val", np.array([0.5]))], "AUC"))
    assert svg_of(history_picture([1, 2, 3], [Series("val", np.array([0.5, nan, 0.6]))], "AUC"))
    assert svg_of(history_picture([1, 2], [Series("val", np.array([nan, nan]))], "AUC"))
    assert svg_of(history_picture([1, 2], [Series("learning rate", np.array([1e-3, 1e-5]))], "learning rate", log=True))


def test_a_contact_sheet_holds_every_image_and_caption() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((40, 30), (1, 300, 200), (3, 20, 20))]
    text = svg_of(contact_sheet(images, ["one", ("two", "nodule 0.83"), "<three>"], columns=2, side=64))
    assert text.count("<image ") == 3
    assert "nodule 0.83" in text
    assert "&lt;three&gt;" in text


def test_images_of_a_sheet_are_shrunk_and_keep_their_colours() -> None:
    cv2 = pytest.importorskip("cv2")
    red = np.zeros((3, 200, 100), dtype=np.uint8)
    red[0] = 255
    text = svg_of(contact_sheet([red], ["red"], side=50))
    png = base64.b64decode(text.split("data:image/png;base64,")[1].split('"')[0])
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (50, 25, 3)
    assert pixels[0, 0].tolist() == [0, 0, 255]


def test_themed_keeps_a_colour_for_viewers_without_variables() -> None:
    assert f", {BLUE})" in themed(f'<svg><path style="stroke: {BLUE}"/></svg>')
