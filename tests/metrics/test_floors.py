"""Floors: against losses written out sample by sample, and against a numeric minimum."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn import metrics as sk

from osler.metrics.floors import (
    BEST_CONSTANTS,
    LOSS_TWINS,
    constant_loss,
    floor,
    score_floors,
    skill,
    skill_reason,
)
from osler.metrics.weights import LabelCounts, LossSpec, count_labels

Floats = NDArray[np.float64]


def binary(positives: float, negatives: float) -> LabelCounts:
    return LabelCounts("binary", np.array([positives]), np.array([negatives]))


def loss_by_sample(spec: LossSpec, targets: Floats, logits: Floats) -> float:
    """The definitions, cell by cell, in plain Python."""
    total = weight = 0.0
    classes = targets.shape[1]
    for row in targets:
        if spec.type == "cross_entropy":
            if np.isnan(row).any():
                continue
            shares = np.exp(logits) / np.exp(logits).sum()
            true = int(row.argmax())
            w = 1.0 if spec.class_weights is None else float(spec.class_weights[true])
            soft = row * (1 - spec.label_smoothing) + spec.label_smoothing / classes
            total += w * -float((soft * np.log(shares)).sum())
            weight += w
            continue
        for k, cell in enumerate(row):
            if math.isnan(cell):
                continue
            p = 1 / (1 + math.exp(-logits[k]))
            t = cell * (1 - spec.label_smoothing) + spec.label_smoothing / 2
            up, down = -math.log(p), -math.log(1 - p)
            if spec.type == "focal":
                a = (1.0, 1.0) if spec.alpha is None else (float(spec.alpha[k]), 1 - float(spec.alpha[k]))
                up, down = a[0] * (1 - p) ** spec.gamma * up, a[1] * p**spec.gamma * down
            elif spec.pos_weight is not None:
                up *= float(spec.pos_weight[k])
            total += t * up + (1 - t) * down
            weight += 1
    return total / weight


def labels(kind: str, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    if kind == "multiclass":
        targets = np.eye(3)[rng.choice(3, 60, p=[0.6, 0.3, 0.1])]
    else:
        targets = (rng.random((60, 3)) < [0.1, 0.4, 0.8]).astype(float)
    targets[rng.random(targets.shape) < 0.1] = np.nan
    return targets


SPECS = [
    LossSpec("bce"),
    LossSpec("bce", pos_weight=np.array([2.0, 4.4, 0.3])),
    LossSpec("bce", pos_weight=np.array([2.0, 4.4, 0.3]), label_smoothing=0.1),
    LossSpec("focal", gamma=2.0),
    LossSpec("focal", gamma=0.0, alpha=np.array([0.25, 0.5, 0.9])),
    LossSpec("focal", gamma=0.5, alpha=np.array([0.25, 0.5, 0.9])),
    LossSpec("focal", gamma=5.0, alpha=np.array([0.25, 0.5, 0.9]), label_smoothing=0.2),
    LossSpec("cross_entropy"),
    LossSpec("cross_entropy", class_weights=np.array([0.5, 1.0, 4.0])),
    LossSpec("cross_entropy", class_weights=np.array([0.5, 1.0, 4.0]), label_smoothing=0.15),
]


def kind_of(spec: LossSpec) -> str:
    return "multiclass" if spec.type == "cross_entropy" else "multilabel"


@pytest.mark.parametrize("spec", SPECS)
def test_the_twin_is_the_loss_of_constant_logits(spec: LossSpec) -> None:
    targets = labels(kind_of(spec))
    counts = count_labels(targets, kind_of(spec))  # type: ignore[arg-type]
    for logits in (np.zeros(3), np.array([-2.0, 0.5, 3.0]), np.array([4.0, -6.0, 0.1])):
        assert constant_loss(spec, counts, logits) == pytest.approx(loss_by_sample(spec, targets, logits), abs=1e-12)


@pytest.mark.parametrize("spec", SPECS)
def test_no_constant_is_better_than_the_floor(spec: LossSpec) -> None:
    targets = labels(kind_of(spec), seed=1)
    counts = count_labels(targets, kind_of(spec))  # type: ignore[arg-type]
    found = floor(spec, counts)
    best = minimize(lambda z: constant_loss(spec, counts, z), np.zeros(3), method="BFGS", options={"gtol": 1e-9})
    assert found.loss == pytest.approx(best.fun, abs=1e-10)
    assert found.loss <= best.fun + 1e-12
    assert constant_loss(spec, counts, found.logits) == pytest.approx(found.loss, abs=1e-12)
    assert found.loss_at_half == pytest.approx(loss_by_sample(spec, targets, np.zeros(3)), abs=1e-12)


def test_the_tables_know_the_same_losses() -> None:
    assert LOSS_TWINS.keys() == BEST_CONSTANTS.keys() == {"bce", "cross_entropy", "focal"}


@pytest.mark.parametrize(("share", "entropy"), [(0.5, 0.693), (0.1, 0.325), (0.05, 0.199), (0.02, 0.098), (0.01, 0.056)])
def test_plain_bce_has_the_entropy_as_its_floor(share: float, entropy: float) -> None:
    counts = binary(1000 * share, 1000 * (1 - share))
    found = floor(LossSpec("bce"), counts)
    assert found.loss == pytest.approx(entropy, abs=5e-4)
    assert found.probabilities[0] == pytest.approx(share)
    assert found.loss_at_half == pytest.approx(math.log(2))


@pytest.mark.parametrize("share", [0.5, 0.1013, 0.05, 0.01])
def test_balanced_bce_has_its_chance_level_as_its_floor(share: float) -> None:
    weight = np.array([(1 - share) / share])
    found = floor(LossSpec("bce", pos_weight=weight), binary(share * 1e4, (1 - share) * 1e4))
    assert found.loss == pytest.approx(2 * (1 - share) * math.log(2))
    assert found.logits[0] == pytest.approx(0.0, abs=1e-12)


def test_focal_floor_is_above_the_prior_where_easy_negatives_are_muted() -> None:
    found = floor(LossSpec("focal", gamma=2.0), binary(10, 90))
    assert 0.1 < found.probabilities[0] < 0.5
    plain = floor(LossSpec("bce"), binary(10, 90))
    assert floor(LossSpec("focal", gamma=0.0), binary(10, 90)).loss == pytest.approx(plain.loss, abs=1e-14)


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[3], SPECS[6]])
def test_a_class_of_one_label_has_a_floor_of_zero_and_finite_logits(spec: LossSpec) -> None:
    counts = LabelCounts("multilabel", np.array([0.0, 8.0, 0.0]), np.array([8.0, 0.0, 0.0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = floor(spec, counts)
    assert np.isfinite(found.logits).all()
    assert found.logits[0] < 0 < found.logits[1]
    assert found.logits[2] == 0
    assert found.per_class is not None
    assert np.isnan(found.per_class[2])
    if not spec.label_smoothing:
        assert found.loss == 0
        assert constant_loss(spec, counts, found.logits) < 1e-8
    else:
        assert 0 < found.loss < found.loss_at_half


def test_an_absent_class_of_several_takes_nothing() -> None:
    found = floor(LossSpec("cross_entropy"), LabelCounts("multiclass", np.array([3.0, 1.0, 0.0]), np.array([1.0, 3.0, 4.0])))
    assert found.loss == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert np.isfinite(found.logits).all()
    np.testing.assert_allclose(found.probabilities, [0.75, 0.25, 0], atol=1e-8)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_an_alpha_that_drops_a_label_leaves_nothing_to_lose(alpha: float) -> None:
    found = floor(LossSpec("focal", gamma=2.0, alpha=np.array([alpha])), binary(5, 5))
    assert found.loss == 0
    assert np.isfinite(found.logits).all()


def test_no_labels_no_floor() -> None:
    for spec in (LossSpec("bce"), LossSpec("focal", gamma=2.0), LossSpec("cross_entropy")):
        kind = "multiclass" if spec.type == "cross_entropy" else "multilabel"
        found = floor(spec, LabelCounts(kind, np.zeros(2), np.zeros(2)))  # type: ignore[arg-type]
        assert math.isnan(found.loss)
        assert found.logits.tolist() == [0, 0]
        assert math.isnan(skill(0.3, found))
        assert "no label is known" in str(skill_reason(0.3, found))


@settings(max_examples=60, deadline=None)
@given(
    positives=st.floats(0, 1e6),
    negatives=st.floats(0, 1e6),
    gamma=st.floats(0, 10),
    alpha=st.floats(0, 1),
    smoothing=st.floats(0, 0.49),
)
def test_focal_floors_are_minima_everywhere(
    positives: float, negatives: float, gamma: float, alpha: float, smoothing: float
) -> None:
    spec = LossSpec("focal", gamma=gamma, alpha=np.array([alpha]), label_smoothing=smoothing)
    counts = binary(positives, negatives)
    found = floor(spec, counts)
    assert np.isfinite(found.logits).all()
    if positives + negatives > 0:
        grid = min(constant_loss(spec, counts, [z]) for z in np.linspace(-15, 15, 61))
        assert found.loss <= grid + 1e-12 * (1 + grid)
        assert found.loss >= 0


def test_skill_is_zero_at_the_floor_and_nan_where_it_means_nothing() -> None:
    assert skill(0.5, 0.5) == 0
    assert skill(0.0, 0.5) == 1
    assert skill(0.6, 0.5) < 0
    assert math.isnan(skill(0.1, 5e-4))
    assert "0.0005" in str(skill_reason(0.1, 5e-4))
    assert math.isnan(skill(math.inf, 0.5))
    assert skill_reason(math.nan, 0.5) == "the loss is not finite"
    assert skill_reason(0.1, 0.5) is None


@pytest.mark.parametrize("share", [0.1013, 0.5, 0.02])
def test_score_floors_are_what_scikit_learn_gives_such_predictions(share: float) -> None:
    y = np.zeros(10_000, dtype=int)
    y[: int(10_000 * share)] = 1
    found = score_floors(share)
    for name, calls in (("all_positive", np.ones_like(y)), ("all_negative", np.zeros_like(y))):
        scores = found[name]
        assert float(scores["f1"]) == pytest.approx(sk.f1_score(y, calls))
        assert float(scores["accuracy"]) == pytest.approx(sk.accuracy_score(y, calls))
        assert float(scores["sensitivity"]) == pytest.approx(sk.recall_score(y, calls))
        assert float(scores["balanced_accuracy"]) == pytest.approx(sk.balanced_accuracy_score(y, calls))
        assert float(scores["auc"]) == pytest.approx(sk.roc_auc_score(y, calls))
        assert float(scores["ap"]) == pytest.approx(sk.average_precision_score(y, calls))
        assert float(scores["brier"]) == pytest.approx(sk.brier_score_loss(y, calls))
        assert math.isnan(float(scores["mcc"]))
    assert float(found["all_positive"]["f1"]) == pytest.approx(2 * share / (1 + share))
    assert math.isnan(float(found["all_negative"]["precision"]))
    assert math.isnan(float(found["all_positive"]["npv"]))


def test_random_scores_are_those_of_a_coin() -> None:
    rng = np.random.default_rng(0)
    y, calls = rng.random(400_000) < 0.2, rng.random(400_000) < 0.3
    found = {name: float(value) for name, value in score_floors(0.2, rate=0.3)["random"].items()}
    assert found["f1"] == pytest.approx(sk.f1_score(y, calls), abs=5e-3)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, calls), abs=5e-3)
    assert found["precision"] == pytest.approx(sk.precision_score(y, calls), abs=5e-3)
    assert found["npv"] == pytest.approx(sk.precision_score(~y, ~calls), abs=5e-3)
    assert found["specificity"] == pytest.approx(0.7)
    assert found["brier"] == pytest.approx(sk.brier_score_loss(y, calls), abs=5e-3)
    assert (found["mcc"], found["auc"]) == (0, 0.5)


def test_score_floors_of_absent_labels_and_classes_at_once() -> None:
    found = score_floors(np.array([0.0, 0.3, 1.0, np.nan]))
    assert found["all_positive"]["f1"].shape == (4,)
    assert np.isnan(found["all_negative"]["f1"]).tolist() == [True, False, False, True]
    assert np.isnan(found["random"]["auc"]).tolist() == [True, False, True, True]
