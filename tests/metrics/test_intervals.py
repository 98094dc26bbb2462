"""Intervals: their formulas, their fallbacks, and that they cover."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from osler.metrics.intervals import (
    Interval,
    auc_interval,
    f1_interval,
    hanley_mcneil_se,
    logit_interval,
    mean_interval,
    mover_interval,
    patients_of,
    rate_interval,
    standard_error,
    undefined,
)
from osler.metrics.proportion import wilson
from osler.metrics.ranking import rank

NAN = math.nan


def test_json_is_strict_and_holds_what_is_known() -> None:
    entry = Interval(0.8, 0.7, 0.9, 40, "Wilson", n_patients=30).to_json()
    assert entry == {"value": 0.8, "low": 0.7, "high": 0.9, "n": 40, "method": "Wilson", "n_patients": 30}
    missing = undefined(0, "no positives").to_json()
    assert json.loads(json.dumps(missing, allow_nan=False))["value"] is None
    assert missing["reason"] == "no positives"


def test_patients_matter_only_where_one_has_two_samples() -> None:
    assert patients_of(None) is None
    assert patients_of(["a", "b"]) is None
    codes = patients_of(["b", "a", "b"])
    assert codes is not None
    assert codes.tolist() == [1, 0, 1]


def test_delong_on_the_logit_scale_with_satterthwaites_freedom() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([1.0, 0.0], [20, 60])
    s = rng.normal(size=80) + y
    found = auc_interval(y, s)
    of_positives, of_negatives = rank(y, s).placements
    parts = of_positives.var(ddof=1) / 20, of_negatives.var(ddof=1) / 60
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 19 + parts[1] ** 2 / 59)
    step = stats.t.ppf(0.975, freedom) * math.sqrt(sum(parts)) / (found.value * (1 - found.value))
    centre = math.log(found.value / (1 - found.value))
    assert found.low == pytest.approx(1 / (1 + math.exp(step - centre)))
    assert found.high == pytest.approx(1 / (1 + math.exp(-step - centre)))
    assert (found.n, found.method, found.n_patients) == (80, "DeLong, logit", None)


@pytest.mark.parametrize(
    ("positives", "negatives", "shift"),
    [(30, 50, 100.0), (30, 50, -100.0), (4, 200, 0.5), (200, 4, 0.5), (1, 1, 9.0), (1, 3, 0.0)],
)
def test_where_no_variance_can_be_had_the_interval_is_wide_not_empty(positives: int, negatives: int, shift: float) -> None:
    y = np.repeat([1.0, 0.0], [positives, negatives])
    found = auc_interval(y, np.random.default_rng(1).normal(size=len(y)) + shift * y)
    fewest = min(positives, negatives)
    low, high = wilson(found.value * fewest, fewest)
    assert (found.low, found.high) == (float(low), float(high))
    assert found.high - found.low > 1 / (fewest + 4)
    assert found.method.startswith("Wilson")
    assert found.n == positives + negatives


def test_all_scores_equal_is_chance_with_a_wide_interval() -> None:
    found = auc_interval([0, 1] * 10, [0.5] * 20)
    assert found.value == 0.5
    assert found.low < 0.3
    assert found.high > 0.7


@pytest.mark.parametrize(
    ("labels", "scores", "reason"),
    [
        ([0, 0, NAN], [0.1, 0.2, 0.3], "no positives"),
        ([1, NAN], [0.1, 0.2], "no negatives"),
        ([NAN], [0.1], "no known label"),
        ([], [], "no known label"),
        ([0, 1], [NAN, 0.2], "a probability is NaN"),
    ],
)
def test_an_undefined_auc_says_why(labels: list[float], scores: list[float], reason: str) -> None:
    found = auc_interval(labels, scores)
    assert math.isnan(found.value)
    assert found.reason == reason


def test_fewer_than_five_patients_with_the_finding_is_few() -> None:
    rng = np.random.default_rng(2)
    y = np.repeat([1.0, 0.0], [40, 100])
    patients = np.concatenate([np.arange(40) % 4, 10 + np.arange(100)])
    found = auc_interval(y, rng.normal(size=140) + y, patients_of(patients))
    assert found.method.startswith("Wilson")
    assert found.n_patients == 104
    assert found.high - found.low > 0.4


@pytest.mark.parametrize(("auc", "positives", "negatives"), [(0.5, 20, 380), (0.5, 50, 950), (0.5, 200, 3800)])
def test_hanley_mcneil_at_chance_is_the_null_error(auc: float, positives: int, negatives: int) -> None:
    expected = math.sqrt((positives + negatives + 1) / (12 * positives * negatives))
    assert float(hanley_mcneil_se(auc, positives, negatives)) == pytest.approx(expected)


def test_hanley_mcneil_is_near_delong_and_nan_without_a_label() -> None:
    rng = np.random.default_rng(3)
    y = np.repeat([1.0, 0.0], [400, 400])
    ranked = rank(y, rng.normal(size=800) + 1.2 * y)
    expected = math.sqrt(ranked.auc_variance)
    assert float(hanley_mcneil_se(ranked.auc, 400, 400)) == pytest.approx(expected, rel=0.12)
    assert np.isnan(hanley_mcneil_se([0.7, 0.8], [0, 4], [9, 9])).tolist() == [True, False]


def test_rates_are_wilsons_and_by_patient_wider() -> None:
    rng = np.random.default_rng(4)
    patients = np.repeat(np.arange(60), 5)
    success = (rng.random(60) < 0.7)[patients]
    among = np.ones(300, dtype=bool)
    alone = rate_interval(success, among, None)
    expected = stats.binomtest(int(success.sum()), 300).proportion_ci(method="wilson")
    assert (alone.low, alone.high) == pytest.approx((expected.low, expected.high))
    together = rate_interval(success, among, patients_of(patients))
    assert together.high - together.low == pytest.approx((alone.high - alone.low) * math.sqrt(5), rel=0.1)
    assert together.n_patients == 60
    assert rate_interval(success, ~among, None).reason is not None


def test_within_the_rate_every_patient_may_have_one_sample() -> None:
    success, among = np.array([True, False, True]), np.array([True, True, False])
    codes = patients_of(["a", "b", "a"])
    assert rate_interval(success, among, codes).method == "Wilson"


def test_f1_comes_from_the_jaccard_share() -> None:
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0], dtype=bool)
    called = np.array([1, 1, 0, 1, 0, 0, 0, 0], dtype=bool)
    found = f1_interval(labels, called, None)
    low, high = wilson(2, 4)
    assert found.value == pytest.approx(2 / 3)
    assert (found.low, found.high) == pytest.approx((2 * low / (1 + low), 2 * high / (1 + high)))
    assert f1_interval(labels, labels, None).low < 1
    nobody = f1_interval(labels & False, called & False, None)
    assert nobody.reason == "no positives, and none called"


def test_square_and_add_of_a_difference_is_newcombes() -> None:
    # Newcombe (1998), table II, 56/70 against 48/80, method 10: 0.0524 to 0.3339.
    first, second = (rate_interval(np.arange(n) < k, np.ones(n, dtype=bool), None) for k, n in ((56, 70), (32, 80)))
    low, high = mover_interval(0.2, lambda a, b: a + b - 1, first, second)
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_means_by_sample_and_by_patient() -> None:
    values = np.random.default_rng(5).random(50)
    found = mean_interval(values, None)
    low, high = stats.t.interval(0.95, 49, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))
    tripled = mean_interval(np.repeat(values, 3), np.repeat(np.arange(50), 3))
    assert (tripled.low, tripled.high) == pytest.approx((low, high))
    single = mean_interval(values[:1], None)
    assert (single.low, single.high) == (0.0, 1.0)
    assert mean_interval(values[:0], None).reason == "no known label"
    assert math.isnan(standard_error(np.zeros(1), None))


def test_the_logit_interval_stays_inside() -> None:
    low, high = logit_interval(0.99, 0.2)
    assert 0 < low < 0.99 < high < 1


@pytest.mark.parametrize(
    ("positives", "negatives", "shift", "least"), [(40, 40, 1.2, 0.93), (20, 200, 0.8, 0.925), (4, 60, 1.2, 0.95)]
)
def test_aucs_of_strangers_are_covered(positives: int, negatives: int, shift: float, least: float) -> None:
    rng = np.random.default_rng(6)
    truth = stats.norm.cdf(shift / math.sqrt(2))
    y = np.repeat([1.0, 0.0], [positives, negatives])
    hits = 0
    for _ in range(600):
        found = auc_interval(y, rng.normal(size=len(y)) + shift * y)
        hits += found.low <= truth <= found.high
    assert hits / 600 >= least
