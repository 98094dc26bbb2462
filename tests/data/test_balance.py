"""The balanced sampler: how much of every class, and of none, is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.data.balance import NO_FINDING, describe_draw, draw_weights, expected_counts
from osler.errors import DataError
from osler.metrics.weights import count_labels

nan = np.nan


def test_binary_is_half_and_half() -> None:
    targets = np.array([1.0] * 3 + [0.0] * 97)[:, None]
    weights = draw_weights(targets, "binary")
    counts = expected_counts(targets, weights, "binary")
    assert weights.sum() == pytest.approx(1)
    assert counts.positives[0] == pytest.approx(50)
    assert counts.negatives[0] == pytest.approx(50)


def test_multiclass_gives_each_class_the_same() -> None:
    targets = np.eye(3)[[0] * 70 + [1] * 25 + [2] * 5]
    counts = expected_counts(targets, draw_weights(targets, "multiclass"), "multiclass")
    np.testing.assert_allclose(counts.positives, 100 / 3)
    np.testing.assert_allclose(counts.negatives, 200 / 3)


def test_a_class_without_samples_leaves_the_rest_even() -> None:
    targets = np.eye(3)[[0] * 90 + [2] * 10]
    np.testing.assert_allclose(expected_counts(targets, draw_weights(targets, "multiclass"), "multiclass").positives, [50, 0, 50])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), st.floats(0.01, 0.6))
def test_samples_without_a_finding_share_one_part_of_k_plus_1(seed: int, labels: int, prevalence: float) -> None:
    targets = (np.random.default_rng(seed).random((400, labels)) < prevalence).astype(float)
    used = int(targets.any(axis=0).sum())
    free = ~targets.any(axis=1)
    weights = draw_weights(targets, "multilabel")
    if used and free.any():
        assert weights[free].sum() == pytest.approx(1 / (used + 1))
    assert weights.sum() == pytest.approx(1)
    assert (weights > 0).all()


def test_labels_that_never_meet_are_drawn_evenly() -> None:
    targets = np.vstack([np.repeat([[1, 0], [0, 1]], [90, 10], axis=0), np.zeros((900, 2))])
    shares = describe_draw(targets, draw_weights(targets, "multilabel"), ["common", "rare"])
    assert [share.drawn for share in shares.values()] == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    assert [share.natural for share in shares.values()] == pytest.approx([0.09, 0.01, 0.9])


def test_the_binary_rule_is_the_multilabel_rule_of_one_label() -> None:
    targets = np.array([1.0] * 7 + [0.0] * 40)[:, None]
    np.testing.assert_allclose(draw_weights(targets, "binary"), draw_weights(targets, "multilabel"))


class TestUnknown:
    def test_a_sample_of_which_nothing_is_known_is_never_drawn(self) -> None:
        for task, targets in (
            ("binary", [[1], [0], [nan]]),
            ("multiclass", [[1, 0], [0, 1], [nan, nan]]),
            ("multilabel", [[1, 0], [0, 0], [nan, nan]]),
        ):
            weights = draw_weights(targets, task)  # type: ignore[arg-type]
            assert weights[2] == 0
            assert weights[:2].min() > 0

    def test_half_known_counts_half_among_those_without_a_finding(self) -> None:
        weights = draw_weights([[1, 0], [0, 1], [0, 0], [0, nan]], "multilabel")
        assert weights[3] == pytest.approx(weights[2] / 2)

    def test_no_label_known(self) -> None:
        with pytest.raises(DataError, match=r"data\.sampler: balanced needs known labels"):
            draw_weights([[nan], [nan]], "binary")

    def test_expected_counts_leave_them_out(self) -> None:
        targets = [[1, nan], [0, 1], [nan, nan]]
        counts = expected_counts(targets, [1, 1, 1], "multilabel")
        np.testing.assert_allclose((counts.positives, counts.negatives), ([1, 1], [1, 0]))
        whole = expected_counts(targets, [1, 1, 1], "multiclass")
        np.testing.assert_allclose((whole.positives, whole.negatives), ([0, 1], [1, 0]))


def test_equal_weights_expect_the_natural_counts() -> None:
    targets = (np.random.default_rng(0).random((50, 3)) < 0.3).astype(float)
    targets[3, 1] = nan
    for kind in ("multilabel", "multiclass"):
        expected, natural = expected_counts(targets, np.ones(50), kind), count_labels(targets, kind)  # type: ignore[arg-type]
        np.testing.assert_allclose(expected.positives, natural.positives)
        np.testing.assert_allclose(expected.negatives, natural.negatives)


def test_what_is_expected_is_what_is_drawn() -> None:
    random = np.random.default_rng(7)
    targets = (random.random((300, 4)) < [0.3, 0.1, 0.05, 0.02]).astype(float)
    weights = draw_weights(targets, "multilabel")
    drawn = targets[random.choice(300, size=40_000, p=weights)]
    expected = expected_counts(targets, weights, "multilabel").positives / 300
    np.testing.assert_allclose(drawn.mean(axis=0), expected, atol=4 * np.sqrt(0.25 / 40_000))


class TestRealTable:
    @pytest.fixture
    def labels(self, real_sets: Path) -> pd.DataFrame:
        table = pd.read_csv(real_sets / "nih_metadata" / "Data_Entry_2017_v2020.csv.gz")
        return table["Finding Labels"].str.get_dummies("|").drop(columns="No Finding")

    def test_every_label_is_drawn_often_and_no_finding_is_not_forgotten(self, labels: pd.DataFrame) -> None:
        targets = labels.to_numpy(float)
        shares = describe_draw(targets, draw_weights(targets, "multilabel"), list(labels.columns))
        assert shares["Hernia"].natural == pytest.approx(0.002, abs=1e-4)
        assert min(share.drawn for share in shares.values()) > 0.06
        assert shares[NO_FINDING].drawn == pytest.approx(1 / 15)

    def test_a_fixed_weight_for_no_finding_is_seen_to_drown_all_else(self, labels: pd.DataFrame) -> None:
        targets = labels.to_numpy(float)
        per_class = 1 / (targets.sum(axis=0) + 1)
        findings = targets.sum(axis=1)
        mean = np.divide(targets @ per_class, findings, out=np.full(len(targets), 0.01), where=findings > 0)
        assert describe_draw(targets, mean, list(labels.columns))[NO_FINDING].drawn > 0.97
