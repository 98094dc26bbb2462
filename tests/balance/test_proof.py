"""What is proved: shares, intervals, empty batches, repeats; and a loader that draws otherwise is caught."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from osler.balance.draws import Draws, take_draws
from osler.balance.proof import prove, variation
from osler.data.balance import NO_FINDING
from osler.data.unaugmented import plain_batches

TARGETS = np.array([[1, 0]] * 120 + [[0, 1]] * 20 + [[1, 1]] * 10 + [[0, 0]] * 450)


def draws_of(made: tuple, batches: int) -> Draws:
    config, data = made
    return take_draws(plain_batches(config, data), config, data, batches)


def test_everything_drawn_is_counted(make_data) -> None:  # type: ignore[no-untyped-def]
    made = make_data(TARGETS, "multilabel", ("common", "rare"), data={"sampler": "balanced"})
    draws = draws_of(made, 300)
    proof = prove(made[1], draws)
    rows = TARGETS[draws.samples]
    assert [one.name for one in proof.classes] == ["common", "rare", NO_FINDING]
    assert [one.samples for one in proof.classes] == [130, 30, 450]
    assert [one.drawn for one in proof.classes] == pytest.approx([*rows.mean(axis=0), (rows.sum(axis=1) == 0).mean()])
    assert proof.none is not None
    assert proof.none.expected == pytest.approx(1 / 3)
    for one in proof.classes:
        assert one.low < one.expected < one.high
        assert not one.far
    assert proof.variation.natural == pytest.approx(variation(np.array([130.0, 30.0])))
    assert proof.variation.low <= proof.variation.drawn <= proof.variation.high
    assert proof.variation_all is not None
    assert proof.variation_all.over == 3


def test_repeats_and_distinct_samples_add_up(make_data) -> None:  # type: ignore[no-untyped-def]
    made = make_data(TARGETS, "multilabel", ("common", "rare"), data={"sampler": "balanced"})
    draws = draws_of(made, 19)
    proof = prove(made[1], draws)
    times = np.bincount(draws.samples, minlength=600)
    assert (proof.distinct, proof.repeats, proof.most) == ((times > 0).sum(), len(draws) - (times > 0).sum(), times.max())
    assert times[int(proof.most_id.removeprefix("s"))] == times.max()
    seen = [len(np.unique(draws_of_epoch)) / 600 for draws_of_epoch in epochs(made, 40)]
    assert proof.epoch_share == pytest.approx(np.mean(seen), abs=0.02)


def epochs(made: tuple, count: int) -> list[np.ndarray]:
    loader = plain_batches(*made)
    return [loader.samples(epoch) for epoch in range(count)]


@pytest.mark.parametrize("sampler", ["none", "balanced"])
def test_empty_batches_come_as_often_as_expected(make_data, sampler: str) -> None:  # type: ignore[no-untyped-def]
    made = make_data(TARGETS, "multilabel", ("common", "rare"), data={"sampler": sampler}, training={"batch_size": 8})
    proof = prove(made[1], draws_of(made, 2000))
    for one in proof.classes:
        assert one.batches_without == pytest.approx(one.batches_without_expected, abs=0.035)
    rare = proof.classes[1]
    assert rare.batches_without_natural == pytest.approx(0.66, abs=0.01)


def test_a_loader_that_draws_otherwise_is_caught(make_data) -> None:  # type: ignore[no-untyped-def]
    made = make_data(TARGETS, "multilabel", ("common", "rare"), data={"sampler": "balanced"})
    draws = draws_of(made, 300)
    unweighted = replace(draws, samples=np.random.default_rng(0).integers(0, 600, len(draws)))
    assert all(one.far for one in prove(made[1], unweighted).classes)


def test_right_loaders_are_hardly_ever_called_wrong(make_data) -> None:  # type: ignore[no-untyped-def]
    wrong = 0
    for seed in range(200):
        made = make_data(
            TARGETS, "multilabel", ("common", "rare"), data={"sampler": "inverse"}, training={"seed": seed, "batch_size": 50}
        )
        wrong += any(one.far for one in prove(made[1], draws_of(made, 12)).classes)
    assert wrong <= 2


def test_the_range_of_the_cv_holds_nineteen_of_twenty(make_data) -> None:  # type: ignore[no-untyped-def]
    inside = 0
    for seed in range(200):
        made = make_data(
            TARGETS, "multilabel", ("common", "rare"), data={"sampler": "balanced"}, training={"seed": seed, "batch_size": 50}
        )
        spread = prove(made[1], draws_of(made, 12)).variation_all
        assert spread is not None
        inside += spread.low <= spread.drawn <= spread.high
    assert 178 <= inside <= 199


def test_binary_counts_both_sides_and_multiclass_only_classes(make_data) -> None:  # type: ignore[no-untyped-def]
    binary = make_data(TARGETS[:, :1], "binary", ("sick",))
    proof = prove(binary[1], draws_of(binary, 10))
    assert [one.name for one in proof.classes] == ["sick", "negative"]
    assert proof.variation.over == 2
    assert proof.variation_all is None
    several = make_data(np.eye(3)[[0] * 50 + [1] * 30 + [2] * 20], "multiclass", ("a", "b", "c"))
    proof = prove(several[1], draws_of(several, 8))
    assert proof.none is None
    assert [one.drawn for one in proof.classes] == pytest.approx([0.5, 0.3, 0.2])


def test_draws_of_which_nothing_is_known_are_counted(make_data) -> None:  # type: ignore[no-untyped-def]
    targets = TARGETS.astype(float)
    targets[500:] = np.nan
    made = make_data(targets, "multilabel", ("common", "rare"))
    assert prove(made[1], draws_of(made, len(plain_batches(*made)))).unknown == pytest.approx(1 / 6, abs=0.01)
    weighted = make_data(targets, "multilabel", ("common", "rare"), data={"sampler": "sqrt"})
    assert prove(weighted[1], draws_of(weighted, 30)).unknown == 0
