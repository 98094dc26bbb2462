"""Pictures of masks: that they hold what they are given, and stand what is missing."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from osler.report.mask_pictures import (
    CaseScores,
    DiceCurve,
    LesionSizes,
    case_scores_picture,
    dice_by_threshold_picture,
    lesion_size_picture,
)


def svg_of(uri: str) -> str:
    assert uri.startswith("data:image/svg+xml;base64,")
    return base64.b64decode(uri.partition(",")[2]).decode()


@pytest.mark.parametrize("count", [1, 3])
def test_cases_of_every_class_have_a_row(count: int) -> None:
    rng = np.random.default_rng(0)
    classes = [CaseScores(f"class {k}", np.append(rng.random(20), np.nan), f"mean 0.{k}") for k in range(count)]
    svg = svg_of(case_scores_picture(classes))
    for k in range(count):
        assert f"class {k}" in svg
        assert f"mean 0.{k}" in svg


def test_a_class_without_cases_keeps_its_row() -> None:
    svg = svg_of(
        case_scores_picture([CaseScores("rare", np.full(4, np.nan), "–"), CaseScores("usual", np.array([0.4]), "mean 0.40")])
    )
    assert "no case with foreground" in svg
    assert "usual" in svg


def test_thresholds_are_drawn_of_each_split() -> None:
    thresholds = np.linspace(0, 1, 20)
    curves = [
        DiceCurve("lesion", thresholds, {"val": thresholds, "test": np.full(20, np.nan)}, 0.4, "0.7 at 0.4"),
        DiceCurve("vessel", thresholds, {"val": thresholds, "test": thresholds}, 0.5, "0.8 at 0.5"),
    ]
    svg = svg_of(dice_by_threshold_picture(curves))
    for text in ("lesion", "vessel", "0.7 at 0.4", "val", "test"):
        assert text in svg


@pytest.mark.parametrize("steps", [0, 2])
def test_lesions_are_drawn_by_size(steps: int) -> None:
    edges, shares = np.array([1.0, 10, 100])[: steps + 1 if steps else 0], np.full((3, steps), 0.5)
    sizes = LesionSizes(
        "lesion", np.array([2.0, 50, 90]), np.array([0, 0.5, 0.8]), np.array([False, True, True]), "mm²", edges, shares, "2 of 3"
    )
    nothing = LesionSizes("none", np.empty(0), np.empty(0), np.empty(0, bool), "mm²", np.empty(0), np.empty((3, 0)), "")
    svg = svg_of(lesion_size_picture([nothing, sizes]))
    for text in ("area of a lesion (mm²)", "2 of 3", "no lesion", "missed"):
        assert text in svg
    assert ("share found" in svg) == bool(steps)
