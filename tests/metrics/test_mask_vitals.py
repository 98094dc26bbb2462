"""The figures of masks for the vitals, against scikit-learn and by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import ndimage

from osler.files import strict_json
from osler.metrics.cases import CaseTable, PixelCounts, measure_case
from osler.metrics.mask_vitals import UNDEFINED, mask_vitals
from osler.metrics.overlap import IGNORED, level_of

sklearn_metrics = pytest.importorskip("sklearn.metrics")

CLASSES = ("exudate", "vessel")


def split(seed: int = 0, cases: int = 6, size: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2, H, W) logits and truth; the first case has no exudate, and a corner of the last is unknown."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(cases, 2, size, size)), (0, 0, 3, 3)) * 10
    truth = (field > 1.2).astype(np.uint8)
    truth[0, 0] = 0
    truth[-1, :, :8, :8] = IGNORED
    return (3 * (field - 1.1) + rng.normal(size=field.shape)).astype(np.float32), truth


def table_of(logits: np.ndarray, truth: np.ndarray, **measured: bool) -> CaseTable:
    cases = [measure_case(level_of(z), y, [128, 128], **measured) for z, y in zip(logits, truth, strict=True)]
    return CaseTable.of(cases, [128, 128])


def test_pooled_figures_equal_scikit_learn() -> None:
    logits, truth = split()
    figures = mask_vitals(table_of(logits, truth), CLASSES)["classes"]
    for k, name in enumerate(CLASSES):
        known = truth[:, k] != IGNORED
        labels, scores = truth[:, k][known], logits[:, k][known]
        found = figures[name]
        assert found["dice"] == pytest.approx(sklearn_metrics.f1_score(labels, scores >= 0))
        assert found["iou"] == pytest.approx(sklearn_metrics.jaccard_score(labels, scores >= 0))
        assert found["precision"] == pytest.approx(sklearn_metrics.precision_score(labels, scores >= 0))
        assert found["recall"] == pytest.approx(sklearn_metrics.recall_score(labels, scores >= 0))
        assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, scores >= 0))
        assert found["confusion"] == sklearn_metrics.confusion_matrix(labels, scores >= 0).tolist()
        assert found["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=1e-3)
        assert found["foreground"] == pytest.approx({"true": labels.mean(), "predicted": (scores >= 0).mean()})
        assert found["probability"]["mean"] == pytest.approx((1 / (1 + np.exp(-scores))).mean(), abs=1e-3)
        assert found["reasons"].keys() <= {"empty_cases.false_alarms", "empty_cases.false_positive_pixels"}


def test_cases_without_foreground_stand_apart() -> None:
    logits, truth = split()
    found = mask_vitals(table_of(logits, truth), CLASSES)["classes"]["exudate"]
    dice = [
        sklearn_metrics.f1_score(y[y != IGNORED], z[y != IGNORED] >= 0) for z, y in zip(logits[1:, 0], truth[1:, 0], strict=True)
    ]
    assert found["dice_case"] == pytest.approx({"mean": np.mean(dice), "n": 5})
    alarms = int((logits[0, 0] >= 0).sum())
    assert alarms > 0
    assert found["empty_cases"] == {"n": 1, "false_alarms": 1.0, "false_positive_pixels": alarms}


def test_plain_counts_give_the_same_as_the_table() -> None:
    logits, truth = split()
    table = table_of(logits, truth)
    plain = mask_vitals(PixelCounts(table.at_thresholds.counts, table.at_thresholds.probabilities), CLASSES)
    full = mask_vitals(table, CLASSES)
    for name in CLASSES:
        for figure, value in plain["classes"][name].items():
            if figure != "reasons":
                assert full["classes"][name][figure] == value
    assert plain["macro"]["dice"] == full["macro"]["dice"]
    assert "hd95" not in plain["macro"]


def test_a_model_that_predicts_nothing_is_said_to() -> None:
    logits, truth = split()
    found = mask_vitals(table_of(np.full_like(logits, -9), truth), CLASSES)["classes"]["vessel"]
    assert found["empty_predictions"] == 1.0
    assert found["foreground"]["predicted"] == 0.0
    assert (found["dice"], found["recall"], found["lesion_sensitivity"], found["surface_dice"]) == (0.0, 0.0, 0.0, 0.0)
    assert math.isnan(found["hd95"])
    assert math.isnan(found["precision"])
    assert found["probability"]["mean"] == pytest.approx(1 / (1 + math.exp(9)), rel=0.06)
    assert found["reasons"]["hd95"] == UNDEFINED["hd95"]


def test_a_class_that_never_occurs_has_no_overlap_and_no_part_in_the_means() -> None:
    logits, truth = split()
    truth[:, 0] = 0
    vitals = mask_vitals(table_of(logits, truth), CLASSES)
    found = vitals["classes"]["exudate"]
    for name in ("dice", "iou", "recall", "auc", "ap", "hd95", "surface_dice", "lesion_sensitivity"):
        assert math.isnan(found[name]), name
        assert found["reasons"][name] == UNDEFINED[name]
    assert found["empty_cases"]["n"] == 6
    assert vitals["macro"]["dice"] == vitals["classes"]["vessel"]["dice"]
    assert vitals["macro"]["classes_scored"] == 1


def test_what_was_not_measured_says_so() -> None:
    vitals = mask_vitals(table_of(*split(), lesions=False, surfaces=False), CLASSES)
    reasons = vitals["classes"]["vessel"]["reasons"]
    assert {reasons[name] for name in ("hd95", "surface_dice", "lesion_sensitivity", "false_positives_per_image")} == {
        "not measured"
    }


def test_nothing_known_is_nothing_scored_and_strict_json() -> None:
    logits, truth = split()
    vitals = mask_vitals(table_of(logits, np.full_like(truth, IGNORED)), CLASSES)
    text = json.dumps(strict_json(vitals), allow_nan=False)
    assert json.loads(text)["macro"]["dice"] is None
    assert vitals["macro"]["reasons"]["accuracy"] == "defined for no class"
    assert mask_vitals(CaseTable.of([], [128]), ["one"])["classes"]["one"]["n"] == 0
