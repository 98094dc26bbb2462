"""Tests of prevalence: their error where nothing differs, patients counted as patients, and their correction."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from osler.audit.case import Case
from osler.audit.prevalence import Difference, differences, holm, prevalences


def case_of(targets: np.ndarray, splits: np.ndarray, patients: np.ndarray | None = None) -> Case:
    samples: Any = SimpleNamespace(
        targets=targets.astype(np.float32), classes=tuple(f"c{k}" for k in range(targets.shape[1])), patients=patients
    )
    return Case(cast(Any, SimpleNamespace(samples=samples, splits=splits)), cast(Any, None))


def test_p_is_that_of_the_chi_square_test() -> None:
    splits = np.repeat(["train", "test"], [300, 120])
    targets = np.concatenate([np.arange(300) < 90, np.arange(120) < 55])[:, None]
    (found,) = differences(case_of(targets, splits))
    theirs = chi2_contingency([[90, 210], [55, 65]], correction=False).pvalue
    assert found.p == pytest.approx(theirs, rel=1e-6)
    assert found.odds_ratio == pytest.approx((55 / 65) / (90 / 210))


def test_patients_of_several_images_are_not_taken_for_many() -> None:
    rng = np.random.default_rng(0)
    alone = together = 0
    for _ in range(200):
        patients = np.repeat(np.arange(60), 8)
        sick = np.repeat(rng.random(60) < 0.4, 8)
        splits = np.repeat(np.where(np.arange(60) < 30, "train", "test"), 8)
        targets = sick[:, None]
        alone += differences(case_of(targets, splits))[0].p < 0.05
        together += differences(case_of(targets, splits, patients.astype(str)))[0].p < 0.05
    assert together <= 22  # 10 are to be expected
    assert alone > 80


def test_few_positives_or_patients_are_not_tested() -> None:
    splits = np.repeat(["train", "test"], [100, 100])
    few = (np.arange(200) % 100 < 2)[:, None]
    assert math.isnan(differences(case_of(few, splits))[0].p)
    two = np.repeat(["a", "b"], 100)
    assert math.isnan(differences(case_of((np.arange(200) % 2)[:, None], splits, two))[0].p)


def test_unknown_labels_are_left_out() -> None:
    targets = np.array([[1, np.nan], [0, 1], [1, 0], [np.nan, np.nan]], float)
    found = {(one.name, one.split): one for one in prevalences(case_of(targets, np.array(["train"] * 3 + ["val"])))}
    assert (found["c0", "train"].positives, found["c0", "train"].known) == (2, 3)
    assert (found["c1", "train"].positives, found["c1", "train"].known) == (1, 2)
    assert math.isnan(found["c0", "val"].share)


def test_holm_never_falls_and_never_passes_one() -> None:
    assert holm([0.2, 0.001, 0.04]) == pytest.approx([0.2, 0.003, 0.08])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_odds_at_the_ends() -> None:
    assert Difference("a", "val", 0.0, 0.5, 0.1).odds_ratio == math.inf
    assert Difference("a", "val", 0.5, 1.0, 0.1).odds_ratio == math.inf
    assert Difference("a", "val", 0.5, 0.5, 0.1).odds_ratio == 1.0
