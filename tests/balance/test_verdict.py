"""The verdict in words: drowned, starved, corrected twice, held down, or as it should be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from osler.balance.command import Balance, balance_data
from osler.balance.odds import odds_in_force

RNG = np.random.default_rng(3)
SHARES = (0.12, 0.05, 0.02)
TARGETS = (RNG.random((4000, 3)) < SHARES).astype(float)
CLASSES = ("common", "uncommon", "rare")


def judged(
    make_data: Any, targets: np.ndarray = TARGETS, task: str = "multilabel", batches: int = 300, **sections: Any
) -> Balance:
    config, data = make_data(targets, task, CLASSES[: targets.shape[1]], **sections)
    return balance_data(config, data, batches)


def ids(found: Balance) -> list[str]:
    return [one.id for one in found.verdict]


def test_findings_that_drown_are_the_first_sentence(make_data: Any) -> None:
    found = judged(make_data, data={"sampler": "inverse", "no_finding_weight": 0.05})
    first = found.verdict[0]
    assert (first.id, first.tone) == ("findings_drowned", "critical")
    none = found.proof.none
    assert none is not None
    assert none.drawn > 0.97
    assert first.text.startswith(
        f"{100 * none.drawn:.0f} % of what is drawn has no finding (81 % of the samples): a batch of 32 holds "
    )
    assert "The balance over the 3 labels alone looks fine and cannot show it" in first.text


def test_the_weight_it_names_restores_the_natural_share(make_data: Any) -> None:
    first = judged(make_data, data={"sampler": "inverse", "no_finding_weight": 0.05}).verdict[0].text
    weight = float(first.split("smaller: ")[1].split(" would")[0])
    found = judged(make_data, data={"sampler": "inverse", "no_finding_weight": weight})
    assert found.proof.none is not None
    assert found.proof.none.expected == pytest.approx(found.proof.none.natural, abs=0.01)
    assert "findings_drowned" not in ids(found)


def test_a_draw_without_any_normal_is_critical(make_data: Any) -> None:
    found = judged(make_data, data={"sampler": "inverse", "no_finding_weight": 0.0})
    assert (found.verdict[0].id, found.verdict[0].tone) == ("no_finding_starved", "critical")
    assert "is never drawn" in found.verdict[0].text


@pytest.mark.parametrize("sampler", ["balanced", "inverse", "sqrt", "effective_number"])
def test_a_sound_sampler_is_called_sound(make_data: Any, sampler: str) -> None:
    found = judged(make_data, data={"sampler": sampler})
    assert found.verdict[0].tone == "good"
    assert found.verdict[0].id == "as_weighted"


def test_no_sampler_is_named_with_its_rarest_class_and_empty_batches(make_data: Any) -> None:
    found = judged(make_data, training={"batch_size": 16})
    assert ids(found) == ["unweighted", "batches_without_positives"]
    assert "the rarest, rare" in found.verdict[0].text
    assert "rare" in found.verdict[1].text


def test_sampler_and_weights_together_are_priced_step_by_step(make_data: Any) -> None:
    found = judged(make_data, data={"sampler": "balanced"}, loss={"pos_weight": [5.0, 20.0, 45.0]})
    first = found.verdict[0]
    assert (first.id, first.tone) == ("corrected_twice", "critical")
    rare = found.odds.classes[2]
    natural = TARGETS[:, 2].mean() / (1 - TARGETS[:, 2].mean())
    assert rare.natural == pytest.approx(natural)
    assert rare.in_force == pytest.approx(rare.natural * rare.sampler * 45)
    drawn = found.proof.classes[2].expected
    assert rare.drawn == pytest.approx(drawn / (1 - drawn))
    assert "Keep one: loss.pos_weight: null or auto" in first.text


def test_auto_weights_share_the_work_with_the_sampler(make_data: Any) -> None:
    found = judged(make_data, data={"sampler": "balanced"}, loss={"pos_weight": "auto"})
    assert found.verdict[0].tone == "good"
    assert "corrected_by_both" in ids(found)
    assert [one.in_force for one in found.odds.classes] == pytest.approx([1, 1, 1])


def test_weights_below_one_hold_positives_down(make_data: Any) -> None:
    found = judged(make_data, loss={"pos_weight": [0.05, 0.07, 0.11]})
    assert found.verdict[0].id == "held_down"
    assert "common" in found.verdict[0].text


def test_one_correction_may_overshoot_by_itself(make_data: Any) -> None:
    found = judged(make_data, loss={"pos_weight": 40.0})
    assert found.verdict[0].id == "overcorrected"
    assert found.verdict[0].text.startswith("loss.pos_weight overshoots in common")


def test_a_rare_positive_of_a_binary_task_may_be_starved(make_data: Any) -> None:
    found = judged(make_data, TARGETS[:, :1], "binary", data={"sampler": "inverse", "no_finding_weight": 0.1})
    assert found.verdict[0].id == "findings_drowned"
    assert "is negative" in found.verdict[0].text
    assert "rare_starved" in ids(found)


def test_half_and_half_is_no_drowning_of_a_majority(make_data: Any) -> None:
    found = judged(make_data, 1 - TARGETS[:, :1], "binary", data={"sampler": "balanced"})
    assert found.verdict[0].id == "as_weighted"


@pytest.mark.parametrize("weights", ["auto", None])
def test_classes_that_exclude_each_other(make_data: Any, weights: str | None) -> None:
    targets = np.eye(3)[[0] * 700 + [1] * 250 + [2] * 50]
    config, data = make_data(targets, "multiclass", CLASSES, loss={"class_weights": weights})
    odds = odds_in_force(config, data)
    assert odds.fair == 0.5
    expected = [0.5, 0.5, 0.5] if weights else [7 / 3, 1 / 3, 1 / 19]
    assert [one.in_force for one in odds.classes] == pytest.approx(expected)


def test_focal_alpha_is_a_factor_of_the_odds(make_data: Any) -> None:
    config, data = make_data(TARGETS, "multilabel", CLASSES, loss={"type": "focal", "alpha": 0.25})
    odds = odds_in_force(config, data)
    assert [one.loss for one in odds.classes] == pytest.approx([1 / 3] * 3)
    assert odds.key == "alpha"
