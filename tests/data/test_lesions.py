"""The findings: each changes the film where it says, the way its illness does."""

from __future__ import annotations

import numpy as np
import pytest

from osler.config import FINDINGS
from osler.data.anatomy import Person, draw_chest, frame_of
from osler.data.lesions import FINDERS, enlarged_ratio
from osler.data.radiograph import Film, draw_film

SIZE = 96


def film_of(patient: int, enlarged: float | None = None) -> Film:
    chest = draw_chest(Person("M", 50, "PA"), enlarged, np.random.default_rng([patient, 0]), np.random.default_rng([patient, 1]))
    return draw_film(frame_of(SIZE), chest, np.random.default_rng([patient, 2]))


def find(name: str, patient: int, difficulty: float) -> tuple[Film, Film, np.ndarray]:
    """The film before, after, and the extent of the finding."""
    before, after = film_of(patient), film_of(patient)
    extent = FINDERS[name](after, difficulty, np.random.default_rng([patient, 3]), np.random.default_rng([patient, 4]))
    return before, after, extent


def test_every_finding_of_the_config_can_be_drawn() -> None:
    assert set(FINDERS) == set(FINDINGS)


@pytest.mark.parametrize("name", [name for name in FINDINGS if name != "cardiomegaly"])
@pytest.mark.parametrize("difficulty", [0.0, 1.0])
def test_a_finding_lies_in_one_lung_and_the_other_is_left_alone(name: str, difficulty: float) -> None:
    for patient in range(8):
        before, after, extent = find(name, patient, difficulty)
        sides = extent.max((1, 2)) > 0.5
        assert sides.sum() == 1
        other = int(np.flatnonzero(~sides)[0])
        for layer in ("air", "vessels", "added"):
            np.testing.assert_array_equal(getattr(before, layer)[other], getattr(after, layer)[other])
        inside = after.lung > 0.02
        assert (extent > 0.5)[inside].sum() > 0.9 * (extent > 0.5).sum()


@pytest.mark.parametrize("name", ["effusion", "consolidation"])
def test_fluid_takes_air(name: str) -> None:
    before, after, extent = find(name, 1, 0.2)
    core = (extent > 0.9) & (before.air > 0.5)
    assert (after.air[core] < 0.6 * before.air[core]).mean() > 0.9


def test_an_effusion_climbs_the_chest_wall() -> None:
    for patient in range(10):
        _, after, extent = find("effusion", patient, 0.0)
        side = int(extent.max((1, 2)).argmax())
        tops = np.where((extent[side] > 0.5).any(0), (extent[side] > 0.5).argmax(0), 10_000)
        wall = int(np.flatnonzero(tops < 10_000)[-1])
        assert abs(wall - after.chest.width * after.frame.unit) < 2
        assert tops[wall - 5 : wall + 1].min() == tops.min()
        assert tops.min() < tops[wall // 2]


def test_a_pneumothorax_is_dark_has_no_vessels_and_is_bounded_by_a_bright_line() -> None:
    for patient in range(10):
        before, after, extent = find("pneumothorax", patient, 0.2)
        core = extent > 0.95
        assert core.any()
        assert np.abs(after.vessels[core]).max() < 0.1 * np.abs(before.vessels[core]).max()
        assert after.air[core].mean() > before.air[core].mean()
        edge = (extent > 0.3) & (extent < 0.7)
        assert after.added[edge].max() > 0.08
        assert after.added[edge].mean() > 0.03
        assert np.abs(after.added[core]).max() < 0.05


def test_a_nodule_is_under_three_centimetres_and_a_mass_over() -> None:
    centimetre = frame_of(SIZE).unit / 18
    for patient in range(20):
        spans = {}
        for name in ("nodule", "mass"):
            side, down, across = np.nonzero(find(name, patient, 0.4)[2] > 0.5)
            assert len(side) > 0
            spans[name] = max(np.ptp(down) + 1, np.ptp(across) + 1) / centimetre
        assert spans["nodule"] < 3.6  # three, and the pixel at either end
        assert spans["mass"] > 3.0


def test_a_larger_difficulty_leaves_less_of_a_finding() -> None:
    for name in FINDINGS:
        if name == "cardiomegaly":
            continue
        changes = []
        for difficulty in (0.0, 0.5, 1.0):
            before, after, _ = find(name, 5, difficulty)
            changes.append(np.abs(after.air - before.air).sum() + np.abs(after.added - before.added).sum())
        assert changes[0] > changes[1] > changes[2] > 0


def test_cardiomegaly_shrinks_towards_normal_with_difficulty() -> None:
    ratios = [enlarged_ratio(difficulty, np.random.default_rng(0)) for difficulty in (0.0, 0.5, 1.0)]
    assert ratios == sorted(ratios, reverse=True)


def test_a_nodule_finds_a_place_even_where_fluid_fills_both_lungs() -> None:
    film = film_of(0)
    film.air[:] = 0
    extent = FINDERS["nodule"](film, 0.4, np.random.default_rng(0), np.random.default_rng(1))
    assert (extent > 0.5).any()
