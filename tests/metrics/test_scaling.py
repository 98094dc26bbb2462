"""Recalibration against scikit-learn's logistic regression, and where there is nothing to fit."""

from __future__ import annotations

import numpy as np
import pytest

from osler.metrics.scaling import fit_scaling


def drawn(slope: float, shift: float, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(5)
    logits = generator.normal(0, 2, n)
    return (generator.random(n) < 1 / (1 + np.exp(-(slope * logits + shift)))).astype(float), logits


@pytest.mark.parametrize(("slope", "shift"), [(0.3, -1.0), (1.0, 0.0), (2.0, 1.5)])
def test_finds_the_line_and_agrees_with_scikit_learn(slope: float, shift: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    targets, logits = drawn(slope, shift)
    found = fit_scaling(targets, logits)
    assert found is not None
    oracle = linear_model.LogisticRegression(C=1e6).fit(logits[:, None], targets)
    assert found.slope == pytest.approx(float(oracle.coef_[0, 0]), rel=0.02)
    assert found.shift == pytest.approx(float(oracle.intercept_[0]), abs=0.03)
    assert found.slope == pytest.approx(slope, rel=0.15)


def test_a_perfect_ranking_has_a_finite_slope() -> None:
    found = fit_scaling([0, 0, 1, 1], [-1.0, -2.0, 1.0, 2.0])
    assert found is not None
    assert 0 < found.slope <= 50
    assert np.all(np.diff(found.probabilities([-1.0, 0.0, 1.0])) > 0)


def test_nothing_to_fit() -> None:
    assert fit_scaling([1, 1], [0.0, 1.0]) is None
    assert fit_scaling([0, 1], [0.0, float("nan")]) is None
    assert fit_scaling([float("nan")], [0.0]) is None
