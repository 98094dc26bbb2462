"""Lesions and calls against scipy's labels and a search by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from osler.metrics.lesions import components, lesion_dice, match_lesions

EIGHT = np.ones((3, 3))


def random_masks(seed: int, size: int = 48) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    field = [ndimage.gaussian_filter(rng.normal(size=(size, size)), 2) for _ in range(2)]
    return field[0] > 0.12, (0.6 * field[0] + 0.6 * field[1]) > 0.12


@pytest.mark.parametrize("seed", range(6))
def test_matches_equal_a_search_by_hand(seed: int) -> None:
    truth, called = random_masks(seed)
    lesions, calls = match_lesions(truth, called)
    ones, count = ndimage.label(truth, EIGHT)
    twos, claimed = ndimage.label(called, EIGHT)
    assert (len(lesions), len(calls)) == (count, claimed)
    wanted = []
    for number in range(1, count + 1):
        lesion = ones == number
        touching = [other for other in range(1, claimed + 1) if (lesion & (twos == other)).any()]
        wanted.append([lesion.sum(), (lesion & called).sum(), sum((twos == other).sum() for other in touching)])
    assert sorted(lesions.tolist()) == sorted([int(value) for value in row] for row in wanted)
    hits = [[(twos == other).sum(), ((twos == other) & truth).sum()] for other in range(1, claimed + 1)]
    assert sorted(calls.tolist()) == sorted([int(value) for value in row] for row in hits)


def test_diagonal_neighbours_are_one_component() -> None:
    labels, areas = components(np.eye(4, dtype=bool)[::-1])
    assert areas.tolist() == [0, 4]
    assert (labels[np.eye(4, dtype=bool)[::-1]] == 1).all()


def test_empty_masks_have_no_lesion_and_no_call() -> None:
    nothing, something = np.zeros((5, 5), bool), np.ones((5, 5), bool)
    for truth, called, shapes in ((nothing, nothing, (0, 0)), (something, nothing, (1, 0)), (nothing, something, (0, 1))):
        lesions, calls = match_lesions(truth, called)
        assert (len(lesions), len(calls)) == shapes
        assert lesions.shape[1:] == (3,)
        assert calls.shape[1:] == (2,)
    assert match_lesions(something, nothing)[0].tolist() == [[25, 0, 0]]
    assert match_lesions(nothing, something)[1].tolist() == [[25, 0]]


def test_dice_of_a_lesion_is_that_of_its_pixels_and_calls() -> None:
    truth, called = np.zeros((2, 12, 12), bool)
    truth[1:4, 1:4] = True
    called[2:5, 2:5] = True
    called[8:10, 8:10] = True  # touches nothing, and counts against no lesion
    lesions, calls = match_lesions(truth, called)
    assert lesion_dice(lesions).tolist() == [2 * 4 / (9 + 9)]
    assert sorted(calls.tolist()) == [[4, 0], [9, 4]]


def test_one_call_over_two_lesions_counts_against_both() -> None:
    truth, called = np.zeros((2, 5, 9), bool)
    truth[1:4, 1:4] = truth[1:4, 5:8] = True
    called[1:4, 1:8] = True
    lesions, calls = match_lesions(truth, called)
    assert lesion_dice(lesions) == pytest.approx(2 * 9 / (9 + 21))
    assert calls.tolist() == [[21, 18]]
