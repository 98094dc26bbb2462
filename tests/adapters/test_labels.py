from __future__ import annotations

import numpy as np
import pytest
import torch

from osler.adapters.labels import aligned, as_logits, losses_by_sample
from osler.errors import DataError
from osler.losses import build_loss
from osler.metrics.weights import LossSpec

RANDOM = np.random.default_rng(3)
LOGITS = RANDOM.normal(size=(40, 3))
MANY = np.where(RANDOM.random((40, 3)) < 0.1, np.nan, RANDOM.random((40, 3)) < 0.3).astype(float)
ONE_HOT = np.eye(3)[RANDOM.integers(0, 3, 40)]


@pytest.mark.parametrize(
    ("spec", "targets"),
    [
        (LossSpec("bce"), MANY),
        (LossSpec("bce", pos_weight=np.array([4.4, 1.0, 2.0]), label_smoothing=0.1), MANY),
        (LossSpec("focal", alpha=np.array([0.25, 0.5, 0.9]), gamma=2.0), MANY),
        (LossSpec("cross_entropy"), ONE_HOT),
        (LossSpec("cross_entropy", class_weights=np.array([1.0, 3.0, 0.5]), label_smoothing=0.1), ONE_HOT),
        (LossSpec("cross_entropy"), np.where(np.arange(40)[:, None] % 5 == 0, np.nan, ONE_HOT)),
    ],
)
def test_stated_losses_are_those_of_the_torch_losses(spec: LossSpec, targets: np.ndarray) -> None:
    terms = build_loss(spec)(torch.tensor(LOGITS), torch.tensor(targets))
    values, weights = losses_by_sample(spec, LOGITS, targets)
    np.testing.assert_allclose(values, terms.values.numpy(), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(weights, terms.weights.numpy(), rtol=1e-9)


def test_a_softmax_of_two_is_the_sigmoid_of_the_difference() -> None:
    pair = np.array([[1.0, 3.0], [0.5, -1.0]])
    logits, labels = aligned(pair, np.array([1, 0]), "binary", 1, False)
    shares = np.exp(pair) / np.exp(pair).sum(1, keepdims=True)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits[:, 0])), shares[:, 1])
    assert labels.tolist() == [[1.0], [0.0]]
    again, _ = aligned(shares, np.array([[1, 0], [0, 1]]), "binary", 1, True)
    np.testing.assert_allclose(again, logits)


def test_class_numbers_become_rows_and_minus_100_is_unknown() -> None:
    _, labels = aligned(np.zeros((3, 3)), np.array([2, -100, 0]), "multiclass", 3, False)
    np.testing.assert_array_equal(labels, [[0, 0, 1], [np.nan] * 3, [1, 0, 0]])


def test_probabilities_become_finite_logits_that_keep_their_order() -> None:
    p = np.array([0.0, 1e-6, 0.5, 1.0, np.nan])
    logits = as_logits(p)
    assert np.isfinite(logits[:4]).all()
    assert (np.diff(logits[:4]) > 0).all()
    assert np.isnan(logits[4])
    many, _ = aligned(np.array([[0.2, 0.5, 0.3]]), np.array([1]), "multiclass", 3, True)
    powers = np.exp(many)
    np.testing.assert_allclose(powers / powers.sum(), [[0.2, 0.5, 0.3]])


@pytest.mark.parametrize(
    ("outputs", "targets", "kind", "classes", "probabilities", "message"),
    [
        (np.zeros((4, 3)), np.zeros(4), "binary", 1, False, "do not fit a binary task of 1 class"),
        (np.zeros((4, 2)), np.zeros((4, 3)), "multilabel", 2, False, "3 labels a sample for 2 classes"),
        (np.zeros(4), np.full(4, 0.3), "binary", 1, False, "0.3 are no labels"),
        (np.zeros((4, 3)), np.array([0, 1, 2, 3]), "multiclass", 3, False, "3 are no class numbers"),
        (np.array([1.7]), np.zeros(1), "binary", 1, True, 'logits need outputs="logits"'),
        (np.zeros(3), np.zeros(4), "binary", 1, False, "do not fit"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_was_seen(
    outputs: np.ndarray, targets: np.ndarray, kind: str, classes: int, probabilities: bool, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        aligned(outputs, targets, kind, classes, probabilities)  # type: ignore[arg-type]
