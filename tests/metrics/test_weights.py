"""Counts and resolved loss parameters."""

from __future__ import annotations

import numpy as np
import pytest

from osler.config import LossConfig
from osler.errors import ConfigError
from osler.metrics.weights import LabelCounts, LossSpec, count_labels, resolve_loss, unused_settings

NAN = np.nan


def counts_of(positives: list[float], negatives: list[float], kind: str = "multilabel") -> LabelCounts:
    return LabelCounts(kind, np.array(positives), np.array(negatives))  # type: ignore[arg-type]


def test_unknown_labels_are_counted_nowhere() -> None:
    counts = count_labels(np.array([[1, NAN], [0, 1], [NAN, NAN], [1, 0]]), "multilabel")
    assert counts.positives.tolist() == [2, 1]
    assert counts.negatives.tolist() == [1, 1]
    assert counts.known.tolist() == [3, 2]


def test_a_multiclass_row_with_an_unknown_is_left_out_whole() -> None:
    counts = count_labels(np.array([[1, 0, 0], [0, NAN, 0], [0, 0, 1]]), "multiclass")
    assert counts.positives.tolist() == [1, 0, 1]
    assert counts.negatives.tolist() == [1, 2, 1]


def test_prevalence_of_nothing_is_nan() -> None:
    counts = count_labels(np.full((3, 1), NAN), "binary")
    assert counts.known.tolist() == [0]
    assert np.isnan(counts.prevalence).all()
    assert count_labels(np.empty((0, 2)), "multilabel").positives.tolist() == [0, 0]


def test_auto_type_follows_the_task() -> None:
    assert resolve_loss(LossConfig(), counts_of([1, 2], [2, 1], "multiclass")).type == "cross_entropy"
    assert resolve_loss(LossConfig(), counts_of([1], [2], "binary")).type == "bce"
    assert resolve_loss(LossConfig(), counts_of([1, 1], [2, 2])).type == "bce"


@pytest.mark.parametrize(("kind", "loss"), [("multiclass", "bce"), ("multiclass", "focal"), ("binary", "cross_entropy")])
def test_a_loss_that_does_not_fit_the_task_is_refused(kind: str, loss: str) -> None:
    with pytest.raises(ConfigError, match=rf"loss.type: {loss} .* use "):
        resolve_loss(LossConfig(type=loss), counts_of([1], [1], kind))  # type: ignore[arg-type]


def test_pos_weight_auto_is_negatives_per_positive_up_to_its_cap() -> None:
    counts = counts_of([10, 1, 90, 0, 5, 0], [90, 99, 10, 100, 0, 0])
    weight = resolve_loss(LossConfig(pos_weight="auto", pos_weight_cap=50), counts).pos_weight
    assert weight is not None
    # A class with one label only has no ratio to correct.
    np.testing.assert_allclose(weight, [9, 50, 10 / 90, 1, 1, 1])


def test_numbers_become_one_for_each_class_and_lists_stay() -> None:
    counts = counts_of([1, 1], [1, 1])
    assert resolve_loss(LossConfig(pos_weight=4.4), counts).pos_weight.tolist() == [4.4, 4.4]  # type: ignore[union-attr]
    assert resolve_loss(LossConfig(pos_weight=(2, 3)), counts).pos_weight.tolist() == [2, 3]  # type: ignore[union-attr]
    assert resolve_loss(LossConfig(), counts).pos_weight is None
    focal = resolve_loss(LossConfig(type="focal", alpha=0.25), counts)
    assert focal.alpha is not None
    assert (focal.alpha.tolist(), focal.gamma) == ([0.25, 0.25], 2.0)


@pytest.mark.parametrize(
    ("config", "key", "kind"),
    [
        (LossConfig(type="bce", pos_weight=(1, 2, 3)), "loss.pos_weight", "multilabel"),
        (LossConfig(type="focal", alpha=(0.5,)), "loss.alpha", "multilabel"),
        (LossConfig(type="cross_entropy", class_weights=(1, 2, 3)), "loss.class_weights", "multiclass"),
    ],
)
def test_lists_need_one_value_a_class(config: LossConfig, key: str, kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}: \d values for 2 classes"):
        resolve_loss(config, counts_of([1, 1], [1, 1], kind))


def test_class_weights_auto_even_the_classes_out_within_the_cap() -> None:
    counts = counts_of([50, 25, 25], [50, 75, 75], "multiclass")
    weights = resolve_loss(LossConfig(class_weights="auto"), counts).class_weights
    assert weights is not None
    np.testing.assert_allclose(weights, [2 / 3, 4 / 3, 4 / 3])
    assert np.allclose(weights * counts.positives, 100 / 3)
    skewed = counts_of([10_000, 1, 0], [1, 10_000, 10_001], "multiclass")
    capped = resolve_loss(LossConfig(class_weights="auto", pos_weight_cap=50), skewed).class_weights
    assert capped is not None
    assert capped.max() == pytest.approx(50 * capped.min())
    assert capped[2] == 1.0


def test_alpha_auto_is_the_share_of_negatives_within_limits() -> None:
    alpha = resolve_loss(LossConfig(type="focal", alpha="auto"), counts_of([20, 1, 90, 0], [80, 999, 10, 7])).alpha
    assert alpha is not None
    np.testing.assert_allclose(alpha, [0.8, 0.95, 0.5, 0.5])


def test_parameters_of_other_losses_are_dropped_and_named() -> None:
    config = LossConfig(type="bce", alpha=0.25, gamma=3, class_weights=(1, 2, 3))
    spec = resolve_loss(config, counts_of([1], [1], "binary"))
    assert (spec.alpha, spec.class_weights, spec.gamma) == (None, None, 0.0)
    assert unused_settings(config, spec) == ("loss.class_weights", "loss.alpha", "loss.gamma")
    assert unused_settings(LossConfig(pos_weight=2), LossSpec("bce")) == ()
