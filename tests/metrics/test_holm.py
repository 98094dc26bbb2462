"""Holm's correction: by hand, and its promise by simulation."""

from __future__ import annotations

import numpy as np

from osler.metrics.holm import holm, holm_levels


def test_by_hand() -> None:
    assert np.allclose(holm([0.02, 0.001, 0.5]), [0.04, 0.003, 0.5])
    assert np.allclose(holm([0.04, 0.04]), [0.08, 0.08])
    assert np.allclose(holm([0.9, 0.8]), [1.0, 1.0])


def test_a_question_not_asked_counts() -> None:
    assert holm([0.03])[0] == 0.03
    assert np.isclose(holm([0.03, 1.0, float("nan")])[0], 0.09)


def test_levels_follow_the_steps() -> None:
    assert np.allclose(holm_levels([0.2, 0.001, 1.0]), [1 - 0.05 / 2, 1 - 0.05 / 3, 0.95])


def test_false_alarms_stay_rare() -> None:
    draws = np.random.default_rng(3).random((4000, 3))
    assert np.mean([holm(row).min() <= 0.05 for row in draws]) < 0.06
