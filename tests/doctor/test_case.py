"""What follows from a chart: labels, floors, skill, one-sided predictions, and whether anything was learned."""

from __future__ import annotations

import math

import numpy as np
import pytest

from osler.doctor.case import Case
from osler.doctor.chance import AtChance, at_chance, one_sided
from osler.doctor.chart import Chart
from osler.doctor.findings import Lacking
from osler.metrics.floors import floor
from osler.metrics.weights import LabelCounts, LossSpec


def test_labels_come_measured_before_stated_before_betrayed() -> None:
    stated = Chart.of({"val.accuracy": [0.1, 0.1], "val.recall": [1, 1], "val.precision": [0.1, 0.1]}, {"prevalence": 0.3})
    labels = Case(stated).labels("val")
    assert labels is not None
    assert labels.single == 0.3
    seen = Case(stated).seen_labels("val")
    assert seen is not None
    assert seen.single == pytest.approx(0.1)
    measured = Case(Chart.of({"val.prevalence": [0.2]}, {"prevalence": 0.3})).labels("val")
    assert measured is not None
    assert measured.single == 0.2


def test_labels_of_classes_are_named() -> None:
    chart = Chart.of({"val.auc": [0.6]}, {"classes": ["a", "b"], "prevalence.val": {"b": 0.2, "a": 0.1}, "samples.val": 100})
    labels = Case(chart).labels("val")
    assert labels is not None
    assert dict(zip(labels.names, labels.share.tolist(), strict=True)) == {"a": 0.1, "b": 0.2}


@pytest.mark.parametrize("weight", [1.0, 4.0])
def test_floor_is_that_of_the_stated_loss(weight: float) -> None:
    chart = Chart.of({"val.loss": [0.5]}, {"loss.type": "bce", "loss.pos_weight": weight, "prevalence": 0.1})
    expected = floor(LossSpec("bce", np.array([weight])), LabelCounts("binary", np.array([1.0]), np.array([9.0]))).loss
    assert Case(chart).floor("val") == pytest.approx(expected)
    assert Case(chart).skill("val")[0] == pytest.approx(1 - 0.5 / expected)


def test_a_logged_floor_wins() -> None:
    chart = Chart.of({"val.loss": [0.5], "val.floor": [0.4]}, {"loss.type": "bce", "prevalence": 0.1})
    assert Case(chart).floor("val") == 0.4


def test_an_unresolved_weight_gives_no_floor() -> None:
    chart = Chart.of({"val.loss": [0.5]}, {"loss.type": "bce", "loss.pos_weight": "auto", "prevalence": 0.1})
    assert math.isnan(Case(chart).floor("val"))


def test_names_of_losses_are_read_loosely() -> None:
    terms = [
        Case(Chart.of({}, {"loss.type": name})).loss_terms for name in ("BCEWithLogitsLoss", "Focal Loss", "dice_bce", "MSE")
    ]
    assert terms == [("bce",), ("focal",), ("dice", "bce"), ()]


def test_sides_by_rate_and_by_recall() -> None:
    assert Case(Chart.of({"val.positive_rate": [1, 0, 0.3]})).sides("val").tolist() == [1, -1, 0]
    chart = Chart.of({"val.recall": [1, 0, 1], "val.precision": [0.1, 0, 0.4], "val.accuracy": [0.1, 0.9, 0.8]})
    assert Case(chart).sides("val").tolist() == [1, -1, 0]


def test_macro_recall_of_several_classes_says_nothing() -> None:
    chart = Chart.of({"val.recall": [0.0], "val.precision": [0.0], "val.accuracy": [0.9]}, {"task": "multilabel"})
    assert one_sided(Case(chart)) is None


def test_chance_needs_power() -> None:
    weak = Chart.of({"val.auc": [0.5, 0.52, 0.48]}, {"samples.val": 60, "prevalence": 0.2})
    assert isinstance(at_chance(Case(weak), "val"), Lacking)
    strong = Chart.of({"val.auc": [0.5, 0.52, 0.48]}, {"samples.val": 2000, "prevalence": 0.2})
    assert isinstance(at_chance(Case(strong), "val"), AtChance)
    better = Chart.of({"val.auc": [0.5, 0.52, 0.58]}, {"samples.val": 2000, "prevalence": 0.2})
    assert at_chance(Case(better), "val") is None


def test_the_best_of_many_coins_is_a_coin() -> None:
    generator = np.random.default_rng(0)
    error = float(np.sqrt(1001 / (12 * 100 * 900)))
    alarms = 0
    for _ in range(300):
        aucs = 0.5 + error * generator.standard_normal(40)
        alarms += Case(Chart.of({"val.auc": aucs}, {"samples.val": 1000, "prevalence": 0.1})).above_chance("val")
    assert alarms <= 0.07 * 300


def test_an_accuracy_that_found_the_majority_is_no_learning() -> None:
    found = Case(Chart.of({"val.accuracy": [0.4, 0.67, 0.67, 0.67, 0.67, 0.67]}))
    assert not found.learned
    assert Case(Chart.of({"val.accuracy": [0.4, 0.67, 0.7, 0.72, 0.75, 0.74]})).learned
