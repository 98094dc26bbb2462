"""The small logistic regression against scikit-learn's, and its AUC where there is nothing to be told."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from osler.audit.features import _numbers
from osler.audit.logistic import fit_logistic, held_out_auc


@pytest.mark.parametrize("share", [0.5, 0.08])
def test_coefficients_are_those_of_scikit_learn(share: float) -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(400, 3))
    labels = rng.random(400) < share * 2 / (1 + np.exp(-features[:, 0]))
    theirs = LogisticRegression(C=1.0, class_weight="balanced", tol=1e-10, max_iter=1000).fit(features, labels)
    assert fit_logistic(features, labels) == pytest.approx([*theirs.coef_[0], *theirs.intercept_], abs=1e-5)


def test_separable_labels_come_to_an_end() -> None:
    features = np.repeat([[-1.0], [1.0]], 50, axis=0)
    beta = fit_logistic(features, features[:, 0] > 0, ridge=1e-6)
    assert np.isfinite(beta).all()
    assert beta[0] > 5


def test_noise_is_told_no_better_than_chance() -> None:
    rng = np.random.default_rng(2)
    above = 0
    for _ in range(100):
        labels = rng.permutation(np.arange(120) % 4 == 0)
        interval, _ = held_out_auc(rng.normal(size=(120, 4)), labels, None)
        above += interval.low > 0.5
    assert above <= 6  # 2.5 are to be expected


def test_a_patient_is_scored_by_a_model_that_has_not_seen_it() -> None:
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(60), 5)
    labels = np.repeat(rng.permutation(np.arange(60) % 2 == 0), 5)
    # A column for each patient tells every label where patients are in both parts, and nothing where they are not.
    marks = np.eye(60)[patients] + 1e-3 * rng.normal(size=(300, 60))
    apart, _ = held_out_auc(marks, labels, patients)
    mixed, _ = held_out_auc(marks, labels, None)
    assert apart.value < 0.65
    assert mixed.value > 0.95
    assert apart.n_patients == 60


def test_an_outlier_does_not_make_the_model() -> None:
    rng = np.random.default_rng(4)
    labels = np.arange(200) % 2 == 0
    values = labels + 0.3 * rng.normal(size=200)
    values[0] = -1e9
    interval, _ = held_out_auc(_numbers(values), labels, None)
    assert interval.value > 0.97
