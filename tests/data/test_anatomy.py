"""The chest in numbers: what a heart may measure, and what sex, age and view change."""

from __future__ import annotations

import numpy as np
import pytest

from osler.data.anatomy import Chest, Person, diaphragm, draw_chest, frame_of, lung_shape, silhouette
from osler.data.lesions import enlarged_ratio


def chest_of(patient: int, person: Person | None = None, enlarged: float | None = None) -> Chest:
    person = person or Person(sex="FM"[patient % 2], age=20 + patient % 70, view=("PA", "AP")[patient % 3 == 0])
    return draw_chest(person, enlarged, np.random.default_rng([patient, 0]), np.random.default_rng([patient, 1]))


def test_normal_hearts_stay_below_half_of_the_thorax() -> None:
    ratios = np.array([chest_of(patient).ratio for patient in range(800)])
    assert ratios.max() <= 0.4851
    assert ratios.min() >= 0.3599
    assert 0.42 < ratios.mean() < 0.45
    assert ratios.std() > 0.015


def test_crowded_normal_hearts_draw_near_the_limit_and_stay_below() -> None:
    draws = [[np.random.default_rng([patient, stream]) for stream in (0, 1)] for patient in range(300)]
    ratios = np.array([draw_chest(Person("F", 40, "PA"), None, *pair, crowding=1.0).ratio for pair in draws])
    assert ratios.max() <= 0.4851
    assert 0.455 < ratios.mean() < 0.48


@pytest.mark.parametrize("difficulty", [0.0, 0.4, 1.0])
def test_enlarged_hearts_exceed_half_of_the_thorax_at_every_difficulty(difficulty: float) -> None:
    draws = (enlarged_ratio(difficulty, np.random.default_rng([patient, 2])) for patient in range(400))
    ratios = np.array([chest_of(patient, enlarged=ratio).ratio for patient, ratio in enumerate(draws)])
    assert ratios.min() > 0.5
    assert ratios.max() < 0.67


def test_an_enlarged_heart_changes_nothing_else() -> None:
    normal, large = chest_of(7), chest_of(7, enlarged=0.6)
    assert large.heart != normal.heart
    others = set(vars(normal)) - {"heart"}
    assert {name for name in others if getattr(normal, name) != getattr(large, name)} == set()


def test_women_have_breasts_and_narrower_chests_and_supine_films_higher_diaphragms() -> None:
    women = [chest_of(patient, Person("F", 50, "PA")) for patient in range(100)]
    men = [chest_of(patient, Person("M", 50, "PA")) for patient in range(100)]
    supine = [chest_of(patient, Person("M", 50, "AP")) for patient in range(100)]
    assert min(chest.breast for chest in women) > 0
    assert max(chest.breast for chest in men) == 0
    assert np.mean([chest.width for chest in women]) < np.mean([chest.width for chest in men])
    assert np.mean([chest.domes for chest in supine]) < np.mean([chest.domes for chest in men])


def test_bone_thins_and_the_aorta_widens_with_age() -> None:
    young, old = chest_of(3, Person("M", 25, "PA")), chest_of(3, Person("M", 85, "PA"))
    assert old.bone < young.bone
    assert old.knob > young.knob


@pytest.mark.parametrize("size", [32, 33, 128])
def test_the_frame_covers_the_picture_with_a_margin_on_all_sides(size: int) -> None:
    frame = frame_of(size)
    assert frame is frame_of(size)
    assert frame.side % 2 == 0
    assert frame.down.shape == (frame.side, 1)
    assert frame.across.shape == (1, frame.side // 2)
    assert frame.across.min() > 0
    assert -frame.down.min() == frame.down.max() >= 1.15


def test_lungs_lie_inside_the_thorax_above_the_diaphragm() -> None:
    frame = frame_of(128)
    for patient in range(20):
        chest = chest_of(patient)
        lung = lung_shape(frame, chest, 1, 0.0, 0.0) > 0.5
        rows, columns = np.nonzero(lung)
        assert frame.across[0, columns].max() <= chest.width + 0.01
        assert np.all(frame.down[rows, 0] <= diaphragm(frame, chest, 1)[0, columns] + 0.01)
        assert frame.down[rows, 0].min() >= chest.apex


def test_a_collapsed_lung_lies_inside_the_whole_one() -> None:
    frame, chest = frame_of(64), chest_of(4)
    whole, collapsed = lung_shape(frame, chest, 0, 0.0, 0.0), lung_shape(frame, chest, 0, 0.1, 0.12)
    assert np.all(collapsed <= whole + 1e-6)
    assert collapsed.sum() < 0.9 * whole.sum()


def test_the_drawn_heart_is_as_wide_as_its_numbers_say() -> None:
    frame = frame_of(512)
    for enlarged in (None, 0.62):
        chest = chest_of(5, enlarged=enlarged)
        lower = (frame.down[:, 0] > -0.1) & (frame.down[:, 0] < max(chest.domes) + 0.1)
        widths = (silhouette(frame, chest)[:, lower] > 0.5).sum(2).max(1) / frame.unit
        assert sum(widths) == pytest.approx(sum(chest.heart), rel=0.05)
