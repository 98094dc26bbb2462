"""Confusion counts, their scores, and chosen thresholds, against scikit-learn and brute force."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from osler.config import SensitivityTarget
from osler.metrics.decision import SCORES, best_f1, choose_threshold, choose_thresholds, confusion, decide, scores
from osler.metrics.ranking import rank

NAN = math.nan


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, called = rng.random(300) < 0.2, rng.random(300) < 0.4
    table = confusion(y[:, None].astype(float), called[:, None])[0]
    assert table.tolist() == sk.confusion_matrix(y, called).tolist()
    found = {name: float(value) for name, value in scores(table).items()}
    expected = {
        "sensitivity": sk.recall_score(y, called),
        "specificity": sk.recall_score(~y, ~called),
        "precision": sk.precision_score(y, called),
        "npv": sk.precision_score(~y, ~called),
        "f1": sk.f1_score(y, called),
        "mcc": sk.matthews_corrcoef(y, called),
        "accuracy": sk.accuracy_score(y, called),
        "balanced_accuracy": sk.balanced_accuracy_score(y, called),
    }
    assert found == pytest.approx(expected, abs=1e-14)


def test_undefined_scores_are_nan_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nothing_called = {name: float(value) for name, value in scores(np.array([[90, 0], [10, 0]])).items()}
        nobody = {name: float(value) for name, value in scores(np.zeros((2, 2), dtype=int)).items()}
    assert math.isnan(nothing_called["precision"])
    assert math.isnan(nothing_called["mcc"])
    assert (nothing_called["f1"], nothing_called["sensitivity"], nothing_called["npv"]) == (0.0, 0.0, 0.9)
    assert all(math.isnan(value) for value in nobody.values())
    assert nobody.keys() == SCORES.keys()


def test_scores_of_many_tables_at_once() -> None:
    tables = np.random.default_rng(0).integers(1, 50, (7, 3, 2, 2))
    for name, score in SCORES.items():
        assert score(tables).shape == (7, 3)
        assert score(tables)[4, 2] == pytest.approx(float(score(tables[4, 2]))), name


def test_unknown_labels_stay_out_of_the_counts() -> None:
    table = confusion(np.array([[1, NAN], [0, 0], [NAN, 1]]), np.array([[True, True], [True, False], [True, True]]))
    assert table.tolist() == [[[0, 1], [0, 1]], [[1, 0], [0, 1]]]


def test_a_probability_at_its_threshold_is_positive() -> None:
    probabilities = np.array([[0.3], [0.29]], dtype=np.float32)
    # 0.3 as float64 is above 0.3 as float32: compared in the probabilities' precision they are equal.
    assert decide(probabilities, [0.3], "binary").tolist() == [[True], [False]]
    assert decide(probabilities, NAN, "binary").tolist() == [[False], [False]]


def test_multiclass_calls_the_most_probable_class_once() -> None:
    called = decide([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]], None, "multiclass")
    assert called.tolist() == [[False, True, False], [True, False, False]]
    assert decide(np.empty((0, 3)), None, "multiclass").shape == (0, 3)


labelled = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=40).filter(
    lambda cells: len({label for label, _ in cells}) == 2
)


@settings(max_examples=150, deadline=None)
@given(labelled)
def test_no_threshold_is_better_than_the_chosen_one(cells: list[tuple[bool, int]]) -> None:
    y, p = np.array([label for label, _ in cells]), np.array([score for _, score in cells]) / 8

    def youden(threshold: float) -> float:
        called = p >= threshold
        return float(called[y].mean() - called[~y].mean())

    def f1(threshold: float) -> float:
        called = p >= threshold
        return float(2 * (called & y).sum() / (called.sum() + y.sum()))

    everywhere = [*np.unique(p), 2.0]
    at = choose_threshold("youden", y, p)
    # Never worse than calling nobody, unless every threshold is.
    assert youden(at) == pytest.approx(max(youden(t) for t in np.unique(p[y])))
    assert at == max(t for t in p[y] if youden(t) >= youden(at) - 1e-12)
    at, value = best_f1(rank(y, p))
    assert value == pytest.approx(max(f1(t) for t in everywhere))
    assert f1(at) == pytest.approx(value)
    assert choose_threshold("f1", y, p) == at


@settings(max_examples=150, deadline=None)
@given(labelled, st.floats(0.01, 1))
def test_the_sensitivity_is_reached_by_the_largest_threshold(cells: list[tuple[bool, int]], target: float) -> None:
    y, p = np.array([label for label, _ in cells]), np.array([score for _, score in cells]) / 8
    threshold = choose_threshold(SensitivityTarget(sensitivity=target), y, p)
    assert (p[y] >= threshold).mean() >= target - 1e-9
    higher = p[p > threshold]
    assert not len(higher) or (p[y] >= higher.min()).mean() < target


@pytest.mark.parametrize("target", [0.1, 0.3, 0.6, 0.7, 0.9])
def test_rounding_asks_for_no_extra_positive(target: float) -> None:
    p = np.linspace(0.1, 1, 10)
    threshold = choose_threshold(SensitivityTarget(sensitivity=target), np.append(np.ones(10), 0), np.append(p, 0))
    assert (p >= threshold).sum() == round(10 * target)


def test_where_nothing_tells_the_threshold_is_nan_and_a_number_stays() -> None:
    assert choose_threshold(0.3, [NAN], [0.5]) == 0.3
    for rule in ("youden", "f1", SensitivityTarget()):
        assert math.isnan(choose_threshold(rule, [1, 1, NAN], [0.2, 0.3, 0.4]))
        assert math.isnan(choose_threshold(rule, [], []))
    assert all(math.isnan(value) for value in best_f1(rank([0, 0], [0.1, 0.2])))


def test_thresholds_of_several_classes() -> None:
    targets = np.array([[0, 1], [1, 1], [1, NAN]])
    found = choose_thresholds("youden", targets, [[0.1, 0.2], [0.6, 0.3], [0.7, 0.4]])
    assert found[0] == 0.6
    assert math.isnan(found[1])
