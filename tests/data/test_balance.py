"""The balanced sampler: how much of every class, and of none, is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.config import DataConfig, load_config
from osler.data.balance import NO_FINDING, STRATEGIES, DrawSettings, describe_draw, draw_weights, expected_counts
from osler.data.load import load_data
from osler.errors import ConfigError, DataError
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


class TestStrategies:
    TARGETS = np.array([[1, 0]] * 60 + [[0, 1]] * 4 + [[1, 1]] * 4 + [[0, 0]] * 100, dtype=float)
    COUNTS = np.array([64.0, 8.0])

    def weights(self, strategy: str, **settings: object) -> np.ndarray:
        """Up to a factor: of a sample with the first, the second, both and no finding."""
        found = draw_weights(self.TARGETS, "multilabel", strategy, DrawSettings(**settings))  # type: ignore[arg-type]
        assert found.sum() == pytest.approx(1)
        return found[[0, 60, 64, 68]] / found[0]

    @pytest.mark.parametrize(
        ("strategy", "rule"),
        [
            ("inverse", lambda n: 1 / n),
            ("sqrt", lambda n: n**-0.5),
            ("effective_number", lambda n: (1 - 0.9) / (1 - 0.9**n)),
        ],
    )
    def test_a_class_weighs_by_its_count_and_no_finding_is_a_class(self, strategy: str, rule: object) -> None:
        common, rare, none = (rule(n) for n in (64.0, 8.0, 100.0))  # type: ignore[operator]
        expected = np.array([common, rare, (common + rare) / 2, none]) / common
        np.testing.assert_allclose(self.weights(strategy, beta=0.9), expected)

    @pytest.mark.parametrize(("reduce", "value"), [("mean", 4.5), ("max", 8.0), ("sum", 9.0)])
    def test_how_the_weights_of_several_findings_become_one(self, reduce: str, value: float) -> None:
        assert self.weights("inverse", reduce=reduce)[2] == pytest.approx(value)

    def test_a_stated_weight_stands_beside_the_class_weights_as_they_are(self) -> None:
        assert self.weights("inverse", no_finding=0.01)[3] == pytest.approx(0.01 * 64)
        assert self.weights("inverse", no_finding=0.0)[3] == 0

    def test_the_effective_number_lies_between_no_weights_and_the_inverse(self) -> None:
        np.testing.assert_allclose(self.weights("effective_number", beta=0.0), [1, 1, 1, 1])
        np.testing.assert_allclose(self.weights("effective_number", beta=1 - 1e-9), self.weights("inverse"), rtol=1e-5)

    def test_balanced_is_the_inverse_by_the_mean_with_a_set_share_for_none(self) -> None:
        balanced = draw_weights(self.TARGETS, "multilabel")
        assert balanced[68:].sum() == pytest.approx(1 / 3)
        np.testing.assert_allclose(balanced[[0, 60, 64]] / balanced[0], self.weights("inverse")[:3])

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_classes_that_exclude_each_other(self, strategy: str) -> None:
        targets = np.eye(3)[[0] * 70 + [1] * 25 + [2] * 5]
        targets[0] = nan
        weights = draw_weights(targets, "multiclass", strategy)
        assert weights[0] == 0
        assert weights[-1] > weights[80] > weights[1] > 0
        with pytest.raises(ConfigError, match="every sample of a multiclass set has a class"):
            draw_weights(targets, "multiclass", strategy, DrawSettings(no_finding=1.0))

    def test_masks_are_drawn_by_what_they_hold(self) -> None:
        np.testing.assert_allclose(draw_weights(self.TARGETS, "segmentation"), draw_weights(self.TARGETS, "multilabel"))

    def test_an_unknown_name_is_answered_with_the_known_ones(self) -> None:
        with pytest.raises(ConfigError, match="sqrt"):
            draw_weights(self.TARGETS, "multilabel", "square_root")


class TestConfig:
    def test_the_names_are_those_of_the_table(self) -> None:
        choices = DataConfig.model_fields["sampler"].annotation.__args__  # type: ignore[union-attr]
        assert set(choices) == {"none", *STRATEGIES}

    @pytest.mark.parametrize("sampler", ["none", "balanced"])
    def test_a_weight_that_nothing_reads_is_refused(self, sampler: str) -> None:
        with pytest.raises(ConfigError, match="no_finding_weight is not read by sampler"):
            load_config({"data": {"sampler": sampler, "no_finding_weight": 0.1}})

    def test_settings_reach_the_weights_and_outlive_unreadable_images(self) -> None:
        settings = {
            "phantom": {"samples": 60, "size": 32},
            "sampler": "inverse",
            "sampler_reduce": "max",
            "no_finding_weight": 0.5,
        }
        data = load_data(load_config({"data": settings}).data)
        expected = draw_weights(data.targets("train"), "multilabel", "inverse", DrawSettings("max", 0.5))
        assert data.draw_weights is not None
        np.testing.assert_allclose(data.draw_weights, expected)
        assert data.without({int(data.rows["train"][0])}).drawing == DrawSettings("max", 0.5)


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


@pytest.fixture(scope="module")
def labels(real_sets: Path) -> pd.DataFrame:
    """Labels of the 112,120 films of the real table."""
    table = pd.read_csv(real_sets / "nih_metadata" / "Data_Entry_2017_v2020.csv.gz")
    return table["Finding Labels"].str.get_dummies("|").drop(columns="No Finding")


class TestRealTable:
    def test_every_label_is_drawn_often_and_no_finding_is_not_forgotten(self, labels: pd.DataFrame) -> None:
        targets = labels.to_numpy(float)
        shares = describe_draw(targets, draw_weights(targets, "multilabel"), list(labels.columns))
        assert shares["Hernia"].natural == pytest.approx(0.002, abs=1e-4)
        assert min(share.drawn for share in shares.values()) > 0.06
        assert shares[NO_FINDING].drawn == pytest.approx(1 / 15)

    @pytest.mark.parametrize(("reduce", "cv"), [("max", 0.42), ("mean", 0.36), ("sum", 0.46)])
    def test_the_maximum_favours_rare_classes_less_than_the_mean_but_favours_them(
        self, labels: pd.DataFrame, reduce: str, cv: float
    ) -> None:
        targets = labels.to_numpy(float)
        weights = draw_weights(targets, "multilabel", "inverse", DrawSettings(reduce, 0.0))  # type: ignore[arg-type]
        drawn, natural = weights @ targets, targets.mean(axis=0)
        assert drawn.std() / drawn.mean() == pytest.approx(cv, abs=0.006)
        assert natural.std() / natural.mean() == pytest.approx(0.92, abs=0.006)

    def test_a_fixed_weight_for_no_finding_is_seen_to_drown_all_else(self, labels: pd.DataFrame) -> None:
        targets = labels.to_numpy(float)
        per_class = 1 / (targets.sum(axis=0) + 1)
        findings = targets.sum(axis=1)
        mean = np.divide(targets @ per_class, findings, out=np.full(len(targets), 0.01), where=findings > 0)
        assert describe_draw(targets, mean, list(labels.columns))[NO_FINDING].drawn > 0.97
