"""Tables of cases: what they keep, take apart and give back, and the speed of measuring one."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import ndimage

from osler.metrics.cases import Case, CaseTable, PixelCounts, measure_case
from osler.metrics.mask_figures import summarise_masks
from osler.metrics.overlap import IGNORED, counts_at, histogram, level_of, level_probabilities
from osler.metrics.surface import surface_figures

LIMITS = [128, 100]


def planes(seed: int, size: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """(2, H, W) levels and truth with some unknown pixels; the second class of every third case is empty."""
    rng = np.random.default_rng(seed)
    field = np.stack([ndimage.gaussian_filter(rng.normal(size=(size, size)), 3) for _ in range(2)])
    truth = (field > 0.1).astype(np.uint8)
    if seed % 3 == 0:
        truth[1] = 0
    truth[:, :3] = IGNORED
    return level_of(40 * (field - 0.09) + rng.normal(size=field.shape)), truth


def table_of(seeds: list[int]) -> CaseTable:
    return CaseTable.of([measure_case(*planes(seed), LIMITS, (0.5, 1.0)) for seed in seeds], LIMITS)


def same(one: CaseTable, two: CaseTable) -> bool:
    first, second = one.arrays(), two.arrays()
    assert first.keys() == second.keys()
    return all(np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind == "f") for name in first)


def test_a_case_holds_what_its_planes_say() -> None:
    levels, truth = planes(1)
    case = measure_case(levels, truth, LIMITS, (0.5, 1.0))
    assert case.lesions is not None
    assert case.calls is not None
    assert case.hd95 is not None
    assert case.surface_dice is not None
    for k, limit in enumerate(LIMITS):
        known = truth[k] != IGNORED
        positive, called = truth[k] == 1, (levels[k] >= limit) & known
        assert (case.histograms[k] == histogram(levels[k], truth[k])).all()
        assert case.histograms[k].sum() == known.sum()
        assert case.lesions[case.lesions[:, 0] == k, 1].sum() == positive.sum()
        assert case.calls[case.calls[:, 0] == k, 1].sum() == called.sum()
        surface = surface_figures(positive, called, (0.5, 1.0))
        assert (case.hd95[k], case.surface_dice[k]) == pytest.approx((surface.hd95, surface.dice))


def test_counts_and_probabilities_follow_from_the_table() -> None:
    table = table_of([1, 2, 3])
    counts = table.at_thresholds
    for row, seed in enumerate((1, 2, 3)):
        levels, truth = planes(seed)
        for k, limit in enumerate(LIMITS):
            known, called = truth[k] != IGNORED, levels[k] >= limit
            cells = [truth[k] == 1, truth[k] == 0]
            wanted = [(cell & known & call).sum() for call in (called, ~called) for cell in cells]
            assert counts.counts[row, k].tolist() == wanted
            assert counts.probabilities[row, k] == pytest.approx(level_probabilities()[levels[k][known]].sum())
            assert counts.foreground[row, k] == (cells[0]).sum()
            assert counts.called[row, k] == (called & known).sum()
            assert counts.known[row, k] == known.sum()
    assert (table.pooled == table.histograms.sum(axis=0)).all()
    assert (table.counts([10, 250]).counts == counts_at(table.histograms, np.array([10, 250]))).all()


def test_taking_cases_is_measuring_those_alone() -> None:
    table = table_of([0, 1, 2, 3, 4])
    assert same(table.take([3, 0, 4]), table_of([3, 0, 4]))
    assert same(table.take(np.arange(5)), table)
    assert len(table.take([])) == 0


def test_arrays_bring_the_table_back() -> None:
    table = table_of([0, 1])
    assert same(CaseTable.from_arrays(table.arrays()), table)
    bare = CaseTable.of([measure_case(*planes(1), LIMITS, lesions=False, surfaces=False)], LIMITS)
    again = CaseTable.from_arrays(bare.arrays())
    assert (again.lesions, again.calls, again.hd95, again.surface_dice) == (None, None, None, None)


def test_a_table_of_no_case_is_empty() -> None:
    table = CaseTable.of([], LIMITS)
    assert len(table) == 0
    assert table.pooled.shape == (2, 2, 256)
    assert table.at_thresholds.counts.shape == (0, 2, 4)


def test_distances_in_millimetres_and_in_pixels_are_not_mixed() -> None:
    cases: list[Case] = [measure_case(*planes(seed), LIMITS, spacing) for seed, spacing in ((1, None), (2, (0.5, 0.5)))]
    both = CaseTable.of(cases, LIMITS)
    assert both.distances_unit == "mm"
    assert both.in_unit.tolist() == [False, True]
    unknown = CaseTable.of(cases[:1], LIMITS)
    assert unknown.distances_unit == "pixels"
    assert unknown.in_unit.tolist() == [True]


def test_counts_and_probabilities_must_fit() -> None:
    with pytest.raises(AssertionError):
        PixelCounts(np.zeros((3, 2, 4), np.int64), np.zeros((3, 1)))


@pytest.mark.parametrize(("size", "limit"), [(256, 0.03), (1024, 0.6)])
def test_a_case_is_measured_quickly(size: int, limit: float) -> None:
    """A tenth of these times is usual on one quiet core; a slow method would miss them by far."""
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.normal(size=(1, size, size)), (0, size / 40, size / 40))
    field /= field.std()
    truth, levels = (field > 1.5).astype(np.uint8), level_of(4 * (field - 1.4))
    measure_case(levels, truth, [128])
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        measure_case(levels, truth, [128])
        times.append(time.perf_counter() - begun)
    assert min(times) < limit


def test_an_exclusive_class_hides_another_that_also_reaches_its_threshold() -> None:
    """Figures count what predicted masks hold: one class a pixel, the most probable of those that reach their thresholds."""
    levels = np.full((2, 4, 4), 20, np.uint8)
    levels[0, :2], levels[1, 1:3] = 125, 126  # both reach 120 in the second row, where the second class is more probable
    truth = np.zeros((2, 4, 4), np.uint8)
    truth[0, :2], truth[1, 2:3] = 1, 1
    truth[:, 1, 3] = IGNORED
    case = measure_case(levels, truth, [120, 120], exclusive=True)
    table = CaseTable.of([case, case], [120, 120])
    assert table.at_thresholds.counts[0].tolist() == [[4, 0, 3, 8], [4, 3, 0, 8]]
    alone = CaseTable.of([measure_case(levels, truth, [120, 120])], [120, 120])
    assert alone.at_thresholds.counts[0].tolist() == [[7, 0, 0, 8], [4, 3, 0, 8]]
    assert table.take([1]).at_thresholds.counts.tolist() == table.at_thresholds.counts[1:].tolist()
    again = CaseTable.from_arrays(table.arrays())
    assert (again.at_thresholds.counts == table.at_thresholds.counts).all()
    found = summarise_masks(table, ["a", "b"], ["1", "2"], bootstrap=5)["classes"]
    assert found["a"]["confusion"] == [[16, 0], [6, 8]]
    assert found["a"]["recall"]["value"] == pytest.approx(4 / 7)
