"""Figures of masks with intervals: their values, who is drawn, and when there is no interval."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import ndimage

from osler.metrics.cases import CaseTable, measure_case
from osler.metrics.mask_figures import MASK_FIGURES, summarise_masks
from osler.metrics.mask_vitals import mask_vitals
from osler.metrics.overlap import OVERLAPS, level_of

IDS = np.array([f"c{number}" for number in range(24)])
PATIENTS = np.array([f"p{number // 3}" for number in range(24)])


def table_of(cases: int = 24, seed: int = 0, empty: int = 4, **measured: bool) -> CaseTable:
    """Cases of two classes; the first few have none of the first class."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(cases, 2, 40, 40)), (0, 0, 3, 3)) * 10
    truth = (field > 1.3).astype(np.uint8)
    truth[:empty, 0] = 0
    logits = 3 * (field - 1.2) + rng.normal(size=field.shape) * 1.5 + rng.normal(size=(cases, 2, 1, 1))
    measures = [measure_case(level_of(z), y, [128, 131], **measured) for z, y in zip(logits, truth, strict=True)]
    return CaseTable.of(measures, [128, 131])


def plain(cases: np.ndarray) -> CaseTable:
    """A table of counts [tp, fp, fn, tn] alone: (N, 4)."""
    histograms = np.zeros((len(cases), 1, 2, 256), np.uint32)
    histograms[:, 0, 1, 150], histograms[:, 0, 0, 150] = cases[:, 0], cases[:, 1]
    histograms[:, 0, 1, 90], histograms[:, 0, 0, 90] = cases[:, 2], cases[:, 3]
    return CaseTable(histograms, np.array([128], np.uint8), np.full((len(cases), 2), np.nan, np.float32))


def test_values_are_those_of_the_vitals() -> None:
    table = table_of()
    figures, vitals = summarise_masks(table, ("a", "b"), IDS, PATIENTS, bootstrap=50), mask_vitals(table, ("a", "b"))
    for part, other in (
        *((figures["classes"][name], vitals["classes"][name]) for name in "ab"),
        (figures["macro"], vitals["macro"]),
    ):
        for name in (*OVERLAPS, "auc", "ap", "hd95", "surface_dice", "lesion_sensitivity", "false_positives_per_image"):
            assert part[name]["value"] == pytest.approx(other[name]), name
        assert part["dice_case"]["value"] == pytest.approx(other["dice_case"]["mean"])
        assert part["empty_predictions"]["value"] == pytest.approx(other["empty_predictions"])
    assert figures["classes"]["a"]["confusion"] == vitals["classes"]["a"]["confusion"]
    assert figures["classes"]["a"]["false_alarms"]["value"] == vitals["classes"]["a"]["empty_cases"]["false_alarms"]
    assert figures["classes"]["a"]["cases"]["empty"] == 4


def test_every_figure_has_an_interval_around_it_and_is_strict_json() -> None:
    figures = summarise_masks(table_of(), ("a", "b"), IDS, PATIENTS, bootstrap=100)
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert (figures["n"], figures["patients"], figures["unit"]) == (24, 8, "patient")
    for part in (figures["classes"]["a"], figures["macro"]):
        for name in MASK_FIGURES:
            entry = part[name]
            assert entry["n_patients"] == 8
            if name != "false_alarms":  # four cases of two patients
                assert entry["low"] <= entry["value"] <= entry["high"], name
                assert entry["low"] < entry["high"], name
    assert figures["overall"]["dice"]["low"] < figures["overall"]["dice"]["value"] < figures["overall"]["dice"]["high"]


def test_overall_counts_the_pixels_of_all_classes() -> None:
    table = table_of()
    counts = table.at_thresholds.counts.sum(axis=(0, 1))
    found = summarise_masks(table, ("a", "b"), IDS, PATIENTS, bootstrap=20)["overall"]
    assert {name: entry["value"] for name, entry in found.items()} == pytest.approx(
        {name: float(score(counts)) for name, score in OVERLAPS.items()}
    )


def test_cases_of_one_patient_say_less_than_as_many_strangers() -> None:
    rng = np.random.default_rng(3)
    counts = []
    for _ in range(12):
        skill = rng.uniform(0.3, 0.9)
        counts += [[int(skill * 1000), 300, 1000 - int(skill * 1000), 9000]] * 6
    table, ids = plain(np.array(counts)), np.arange(72).astype(str)
    patients = np.repeat(np.arange(12).astype(str), 6)
    alone = summarise_masks(table, ["a"], ids, None)["classes"]["a"]["dice"]
    grouped = summarise_masks(table, ["a"], ids, patients)["classes"]["a"]["dice"]
    assert alone["value"] == grouped["value"]
    assert "n_patients" not in alone
    assert alone["method"] == "bootstrap by case, logit"
    assert (grouped["high"] - grouped["low"]) > 2 * (alone["high"] - alone["low"])


def test_the_bootstrap_finds_the_error_of_a_ratio() -> None:
    """Against the linearised variance of pooled Dice over many independent cases."""
    rng = np.random.default_rng(4)
    size = rng.integers(200, 2000, 400)
    true = rng.binomial(size, rng.beta(6, 3, 400))
    cases = np.stack([true, rng.poisson(200, 400), size - true, np.full(400, 9000)], axis=1)
    found = summarise_masks(plain(cases), ["a"], np.arange(400).astype(str), bootstrap=2000)["classes"]["a"]["dice"]
    numerator, denominator = 2 * cases[:, 0], 2 * cases[:, 0] + cases[:, 1] + cases[:, 2]
    residuals = numerator - found["value"] * denominator
    error = math.sqrt((residuals**2).sum() * 400 / 399) / denominator.sum()
    assert (found["high"] - found["low"]) / (2 * 1.966) == pytest.approx(error, rel=0.06)


def test_of_three_patients_each_is_shown_and_no_interval_is_made() -> None:
    table = table_of(9, empty=0)
    patients = np.repeat(["x", "y", "z"], 3)
    figures = summarise_masks(table, ("a", "b"), IDS[:9], patients, bootstrap=50)
    for part in (figures["classes"]["a"], figures["classes"]["b"], figures["macro"], figures["overall"]):
        entry = part["dice"]
        assert entry["value"] is not None
        assert (entry["low"], entry["high"], entry["method"]) == (None, None, "none")
        assert "3 patients" in entry["reason"]
    assert list(figures["per_unit"]) == ["x", "y", "z"]
    for number, name in enumerate("xyz"):
        rows = np.arange(3 * number, 3 * number + 3)
        alone = mask_vitals(table.take(rows), ("a", "b"))["classes"]
        shown = figures["per_unit"][name]
        assert shown["cases"] == 3
        for label in "ab":
            for figure in ("dice", "precision", "auc", "lesion_sensitivity", "hd95"):
                assert shown["classes"][label][figure] == pytest.approx(alone[label][figure])


def test_many_patients_are_not_listed() -> None:
    ids = np.arange(24).astype(str)
    assert "per_unit" not in summarise_masks(table_of(), ("a", "b"), ids, None, bootstrap=10)


def test_a_class_that_never_occurs_is_not_scored() -> None:
    table = table_of(24, empty=24)
    figures = summarise_masks(table, ("a", "b"), IDS, PATIENTS, bootstrap=30)
    assert figures["not_scored"] == {"a": "no foreground in the true masks"}
    assert figures["macro"]["classes_scored"] == 1
    assert figures["macro"]["dice"]["value"] == figures["classes"]["b"]["dice"]["value"]
    assert figures["macro"]["dice"]["reason"] == "mean over 1 of 2 classes; undefined for a"
    assert figures["classes"]["a"]["false_alarms"]["n"] == 24
    assert figures["classes"]["a"]["hd95"]["value"] is None


def test_what_was_not_measured_says_so() -> None:
    found = summarise_masks(table_of(lesions=False, surfaces=False), ("a", "b"), IDS, PATIENTS, bootstrap=10)["macro"]
    assert found["hd95"] == {
        "value": None, "low": None, "high": None, "n": 0, "method": "none", "n_patients": 8, "reason": "undefined for every class"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "name", "wanted"),
    [
        ([100, 0, 0, 900], "dice", (1.0, 1.0)),
        ([0, 0, 100, 900], "dice", (0.0, 0.0)),
        ([50, 0, 50, 900], "precision", (1.0, 1.0)),
    ],
)
def test_at_the_ends_the_interval_is_never_empty(counts: list[int], name: str, wanted: tuple[float, float]) -> None:
    entry = summarise_masks(plain(np.array([counts] * 8)), ["a"], IDS[:8], bootstrap=20)["classes"]["a"][name]
    assert entry["value"] == wanted[0]
    assert entry["high"] - entry["low"] > 0.2
    assert entry["method"] == "Wilson, of the cases"


def test_no_false_alarm_leaves_a_bound() -> None:
    truth = np.zeros((1, 16, 16), np.uint8)
    truth[0, 4:8, 4:8] = 1
    cases = [measure_case(np.where(truth == 1, 200, 20).astype(np.uint8), truth, [128])] * 10
    found = summarise_masks(CaseTable.of(cases, [128]), ["a"], IDS[:10], bootstrap=20)["classes"]["a"]
    alarms = found["false_positives_per_image"]
    assert (alarms["value"], alarms["low"]) == (0.0, 0.0)
    assert alarms["high"] == pytest.approx(-math.log(0.025) / 10)
    assert found["hd95"]["value"] == 0.0
    assert found["hd95"]["low"] is None
    assert "no spread" in found["hd95"]["reason"]


@pytest.mark.long
def test_intervals_of_few_patients_cover() -> None:
    """Heavy-tailed lesions of 8 patients with 3 cases each: 95 % intervals cover at least 90 % of the time."""
    rng = np.random.default_rng(1)

    def draw(people: int, per: int) -> np.ndarray:
        found = []
        for _ in range(people):
            skill, alarms, size = (
                1 / (1 + math.exp(-rng.normal(1, 0.8))),
                math.exp(rng.normal(4.9, 0.7)),
                math.exp(rng.normal(5.5, 0.8)),
            )
            for _ in range(per):
                n = rng.poisson(size) + 1
                true = rng.binomial(n, skill)
                found.append([true, rng.poisson(alarms), n - true, 20_000])
        return np.array(found)

    truth = float(OVERLAPS["dice"](draw(20_000, 1).sum(axis=0)))
    patients, hits = np.repeat(np.arange(8).astype(str), 3), 0
    for seed in range(300):
        found = summarise_masks(plain(draw(8, 3)), ["a"], IDS, patients, bootstrap=200, seed=seed)["classes"]["a"]["dice"]
        hits += found["low"] <= truth <= found["high"]
    assert hits / 300 > 0.89
