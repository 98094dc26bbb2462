"""Paired differences against independent ways to the same numbers, and their promises by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

from osler.metrics.bootstrap import bootstrap_ranking
from osler.metrics.paired import (
    Influence,
    auc_influence,
    f1_influence,
    mean_influence,
    paired_difference,
    rates_influence,
)
from osler.metrics.ranking import auc, delong, delong_test


def scores(generator: np.random.Generator, n: int, gain: float, share: float = 0.3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, and two scores that have a part in common; the first is better by `gain`."""
    targets = (generator.random(n) < share).astype(float)
    common = generator.normal(size=n)
    one, other = (common + generator.normal(size=n) + shift * targets for shift in (0.8 + gain, 0.8))
    return targets, one, other


def difference_of_aucs(targets: np.ndarray, one: np.ndarray, other: np.ndarray, codes: np.ndarray, level: float = 0.95):  # type: ignore[no-untyped-def]
    parts = [auc_influence(targets[:, None], values[:, None], codes) for values in (one, other)]
    return paired_difference([parts[0]], [parts[1]], level)


@pytest.mark.parametrize("patients", [None, 120])
def test_one_class_is_delong(patients: int | None) -> None:
    generator = np.random.default_rng(1)
    targets, one, other = scores(generator, 300, 0.3)
    codes = np.arange(300) if patients is None else generator.integers(0, patients, 300)
    codes = np.unique(codes, return_inverse=True)[1]
    found = difference_of_aucs(targets, one, other, codes)
    oracle = delong_test(targets, one, other, None if patients is None else codes)
    assert found.value == pytest.approx(oracle.difference)
    assert found.p == pytest.approx(oracle.p, abs=0.01)
    assert found.low == pytest.approx(oracle.low, abs=0.003)
    variance = delong(targets, one[:, None], codes).covariance[0, 0]
    own = auc_influence(targets[:, None], one[:, None], codes)
    assert float((own.moves**2).sum()) == pytest.approx(float(variance), rel=0.02)


def test_several_classes_agree_with_the_bootstrap_by_patient() -> None:
    generator = np.random.default_rng(2)
    columns = [scores(generator, 400, 0.2) for _ in range(3)]
    targets, one, other = (np.column_stack([column[k] for column in columns]) for k in range(3))
    patients = np.unique(generator.integers(0, 250, 400), return_inverse=True)[1]
    found = paired_difference([auc_influence(targets, one, patients)], [auc_influence(targets, other, patients)])
    draws = [bootstrap_ranking(targets, values, patients, 2000, seed=7)[0].mean(axis=1) for values in (one, other)]
    assert found.error == pytest.approx(float((draws[0] - draws[1]).std()), rel=0.1)


def test_means_are_the_paired_t_test() -> None:
    generator = np.random.default_rng(3)
    one, other = generator.random(40), generator.random(40)
    found = paired_difference([mean_influence(one, np.arange(40))], [mean_influence(other, np.arange(40))])
    oracle = ttest_rel(one, other)
    assert found.p == pytest.approx(float(oracle.pvalue))
    interval = oracle.confidence_interval()
    assert (found.low, found.high) == pytest.approx((float(interval.low), float(interval.high)))


@pytest.mark.parametrize("influence", [rates_influence, f1_influence])
def test_rates_and_f1_agree_with_the_bootstrap(influence) -> None:  # type: ignore[no-untyped-def]
    generator = np.random.default_rng(4)
    targets, one, other = scores(generator, 400, 0.5)
    codes = np.arange(400)
    pair = [influence(targets[:, None], values[:, None] > 0.5, codes) for values in (one, other)]
    found = paired_difference([pair[0]], [pair[1]])
    draws = []
    for _ in range(600):
        rows = generator.integers(0, 400, 400)
        parts = [influence(targets[rows, None], values[rows, None] > 0.5, codes).value for values in (one, other)]
        draws.append(parts[0] - parts[1])
    assert found.error == pytest.approx(float(np.std(draws)), rel=0.12)


def test_equal_predictions_differ_by_nothing() -> None:
    targets, one, _ = scores(np.random.default_rng(5), 100, 0.0)
    found = difference_of_aucs(targets, one, one, np.arange(100))
    assert (found.value, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_two_perfect_extremes_have_an_interval_with_a_width() -> None:
    targets = np.array([0.0] * 20 + [1.0] * 10)
    found = difference_of_aucs(targets, targets, 1 - targets, np.arange(30))
    assert found.value == 1.0
    assert 0.3 < found.low < 0.95
    assert found.p < 0.01


def test_an_undefined_figure_gives_no_difference() -> None:
    found = difference_of_aucs(np.ones(10), np.arange(10.0), np.arange(10.0), np.arange(10))
    assert math.isnan(found.value)
    assert found.reason == "no class has both labels"
    assert found.interval.to_json()["value"] is None


def test_few_patients_are_said() -> None:
    targets = np.array([1.0] * 3 + [0.0] * 40)
    generator = np.random.default_rng(6)
    found = difference_of_aucs(targets, generator.random(43), generator.random(43), np.arange(43))
    assert found.reason is not None
    assert found.fewest == 3


def test_unknown_labels_stay_out() -> None:
    targets = np.array([[0.0], [1.0], [np.nan], [1.0], [0.0]])
    values = np.array([[0.1], [0.9], [0.5], [0.2], [0.3]])
    assert auc_influence(targets, values, np.arange(5)).value == auc(targets[:, 0], values[:, 0])


def test_more_patients_are_asked_for_where_the_error_is_larger() -> None:
    generator = np.random.default_rng(7)
    small, large = (difference_of_aucs(*scores(generator, n, 0.1), np.arange(n)) for n in (60, 600))
    assert small.needs(0.02) > 100
    assert small.needs(0.02) == pytest.approx(large.needs(0.02), rel=0.7)
    assert large.needs(0.5) <= large.fewest


@pytest.mark.parametrize("seeds", [1, 3])
def test_false_alarms_are_as_rare_as_stated(seeds: int) -> None:
    """Two trainings alike: patients vary, and with several seeds the seeds do too."""
    generator = np.random.default_rng(8)
    alarms = []
    for _ in range(600):
        targets = (generator.random(120) < 0.3).astype(float)
        common = generator.normal(size=120)
        sides = []
        for _ in range(2):
            made = []
            for _ in range(seeds):
                strength = 1.0 + (0.4 * generator.normal() if seeds > 1 else 0.0)
                made.append(
                    auc_influence(
                        targets[:, None], (strength * targets + common + generator.normal(size=120))[:, None], np.arange(120)
                    )
                )
            sides.append(made)
        found = paired_difference(*sides)
        alarms.append(found.low > 0 or found.high < 0)
    assert np.mean(alarms) < 0.075


def test_seeds_that_disagree_widen_the_interval() -> None:
    moves = np.zeros(50)
    moves[:2] = 0.01, -0.01
    alike = [Influence(0.8, moves, 20), Influence(0.8, moves, 20)]
    apart = [Influence(0.7, moves, 20), Influence(0.9, moves, 20)]
    control = [Influence(0.6, -moves, 20), Influence(0.6, -moves, 20)]
    narrow, wide = paired_difference(alike, control), paired_difference(apart, control)
    assert narrow.value == pytest.approx(wide.value)
    assert narrow.low > 0 > wide.low
