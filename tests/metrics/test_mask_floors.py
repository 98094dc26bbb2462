from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from osler.metrics.floors import floor, skill, skill_reason
from osler.metrics.mask_floors import mask_floor, overlap_floors
from osler.metrics.mask_loss import COMBINATIONS, MaskCounts, MaskLossSpec
from osler.metrics.mask_twins import mask_constant_loss
from osler.metrics.weights import LossSpec

Floats = NDArray[np.float64]


def counts(shares: Any, known: float = 1e5, batch: int | None = None, **options: Any) -> MaskCounts:
    values = np.asarray(shares, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    return MaskCounts(options.pop("exclusive", True), values, np.full(len(values), known), batch, **options)


def plain(name: str, **options: Any) -> MaskLossSpec:
    return MaskLossSpec(name, {name: 1.0}, **options)


@pytest.fixture
def rare() -> Floats:
    """Shares of foreground of 60 images, 20 of them without any; 0.3 % on average."""
    random = np.random.default_rng(4)
    return np.concatenate([np.zeros(20), random.gamma(0.8, 0.0055, 40)])


def test_bce_is_the_entropy_of_the_share() -> None:
    found = mask_floor(plain("bce"), counts([0.1, 0.3]))
    assert found.loss == pytest.approx(-(0.2 * np.log(0.2) + 0.8 * np.log(0.8)))
    assert found.loss_at_half == pytest.approx(np.log(2))
    assert found.probabilities.tolist() == pytest.approx([0.2])
    assert found.logits.tolist() == pytest.approx([np.log(0.25)])
    assert found.loss_at_start == pytest.approx(found.loss)
    assert found.loss_at_empty == found.loss_at_full == np.inf


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_pixel_terms_have_the_floor_of_labels(gamma: float) -> None:
    masks = counts([[0.1, 0.02], [0.3, 0.0]], exclusive=False)
    spec = plain("focal", gamma=gamma, alpha=np.array([0.25, 0.9]), exclusive=False)
    of_labels = floor(LossSpec("focal", gamma=gamma, alpha=spec.alpha), masks.labels)
    found = mask_floor(spec, masks)
    assert found.loss == pytest.approx(of_labels.loss)
    assert found.logits == pytest.approx(of_labels.logits, abs=1e-5)
    assert found.per_class == pytest.approx(of_labels.per_class)


def test_pooled_dice_is_best_full_at_the_textbooks_figure() -> None:
    found = mask_floor(plain("dice", smooth=0.0), counts([0.2, 0.2]))
    assert found.loss == pytest.approx(1 - 2 * 0.2 / 1.2)
    assert found.loss_at_full == pytest.approx(found.loss)
    assert found.loss_at_empty == 1
    assert found.loss_at_half == pytest.approx(1 - 2 * 0.5 * 0.2 / (0.5 + 0.2))
    assert found.probabilities == pytest.approx([1.0])


def test_an_overlap_alone_starts_at_the_share_and_not_at_its_best_constant() -> None:
    """At p = 1 no gradient leads back."""
    found = mask_floor(plain("dice"), counts([0.2, 0.2]))
    assert found.logits == pytest.approx([np.log(0.25)])
    assert found.loss_at_start > found.loss


def test_by_case_images_without_foreground_make_empty_the_best(rare: Floats) -> None:
    by_case, pooled = (mask_floor(plain("dice", pooled=pooled), counts(rare, batch=8)) for pooled in (False, True))
    assert by_case.probabilities == pytest.approx([0.0], abs=1e-6)
    assert by_case.loss == pytest.approx(by_case.loss_at_empty)
    assert by_case.loss_at_empty < 40 / 60 < by_case.loss_at_full
    assert pooled.probabilities == pytest.approx([1.0])
    assert pooled.loss > 0.98


def test_a_combination_that_is_best_empty_still_starts_where_it_can_learn(rare: Floats) -> None:
    spec = MaskLossSpec("combined", COMBINATIONS["combined"], pooled=False)
    found = mask_floor(spec, counts(rare))
    assert found.probabilities[0] < 1e-3
    assert found.probabilities[0] < 0.1 / (1 + np.exp(-found.logits[0]))
    assert found.loss <= found.loss_at_start < found.loss_at_half


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("name", ["combined", "enhanced"])
def test_combinations_are_minimised_in_one_dimension_as_scipy_does(name: str, pooled: bool, rare: Floats) -> None:
    spec, masks = MaskLossSpec(name, COMBINATIONS[name], pooled=pooled), counts(rare, batch=16)
    found = mask_floor(spec, masks)
    starts = np.linspace(-16, 8, 9)
    oracle = min(
        minimize_scalar(lambda z: mask_constant_loss(spec, masks, [z]), bounds=(low, high), method="bounded").fun
        for low, high in itertools.pairwise(starts)
    )
    assert found.loss == pytest.approx(oracle, abs=1e-7)


def test_classes_that_do_not_exclude_each_other_are_minimised_apart() -> None:
    shares = np.array([[0.3, 0.01], [0.1, 0.0]])
    spec = MaskLossSpec("combined", COMBINATIONS["combined"], exclusive=False)
    both = mask_floor(spec, counts(shares, exclusive=False))
    assert both.per_class is not None
    for row in range(2):
        assert mask_floor(spec, counts(shares[:, row])).loss == pytest.approx(both.per_class[row])
    assert both.loss == pytest.approx(both.per_class.mean())


def test_exclusive_cross_entropy_is_the_entropy_of_all_classes() -> None:
    found = mask_floor(plain("bce"), counts([[0.2, 0.1], [0.4, 0.1]]))
    shares = np.array([0.3, 0.1, 0.6])
    assert found.loss == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-9)
    assert found.probabilities == pytest.approx([0.3, 0.1], abs=1e-4)
    assert found.loss_at_half == pytest.approx(np.log(3))
    assert found.per_class is None


@pytest.mark.parametrize("rest", [0.0, 0.3])
def test_exclusive_dice_shares_one_probability_among_classes(rest: float) -> None:
    shares = np.array([[0.5, 0.5 - rest]])
    spec = plain("dice", smooth=0.0)
    p = np.linspace(0, 1, 2001)
    dice = (2 * p * shares[0, 0] / (p + shares[0, 0]) + 2 * (1 - p) * shares[0, 1] / (1 - p + shares[0, 1])) / 2
    assert mask_floor(spec, counts(shares)).loss == pytest.approx(1 - dice.max(), abs=1e-5)


# --- batches ------------------------------------------------------------------------------------------------------------------


def test_the_floor_depends_on_who_shares_a_batch(rare: Floats) -> None:
    spec = plain("dice")
    ordered = [mask_constant_loss(spec, counts(rare, batch=batch, shuffled=False), [0.0]) for batch in (1, 4, 60)]
    assert ordered[2] == pytest.approx(mask_constant_loss(spec, counts(rare), [0.0]))
    assert ordered[0] == pytest.approx(mask_constant_loss(plain("dice", pooled=False), counts(rare), [0.0]))
    assert ordered[0] != pytest.approx(ordered[1], abs=1e-5)


def test_random_batches_are_the_mean_over_epochs_and_the_same_each_time(rare: Floats) -> None:
    spec, masks = plain("dice"), counts(rare, batch=8)
    random = np.random.default_rng(123)
    epochs = [mask_constant_loss(spec, counts(random.permutation(rare), batch=8, shuffled=False), [-3.0]) for _ in range(300)]
    found = mask_constant_loss(spec, masks, [-3.0])
    assert found == pytest.approx(np.mean(epochs), abs=4 * np.std(epochs) / np.sqrt(64))
    assert found == mask_constant_loss(spec, masks, [-3.0])


def test_many_images_are_shuffled_too() -> None:
    """In order, every batch would be of one kind."""
    spec, shares = plain("dice"), np.repeat([0.0, 0.3], 3000)
    ordered, random = (mask_constant_loss(spec, counts(shares, batch=8, shuffled=shuffled), [60.0]) for shuffled in (False, True))
    assert ordered == pytest.approx((1 + 1 - 0.6 / 1.3) / 2, abs=1e-3)
    assert random == pytest.approx(1 - 0.3 / 1.15, abs=0.02)


def test_the_last_batch_counts_by_its_images() -> None:
    spec = plain("dice", smooth=0.0)
    shares = np.array([0.5, 0.5, 0.1])
    found = mask_constant_loss(spec, counts(shares, batch=2, shuffled=False), [60.0])
    assert found == pytest.approx(1 - (2 * (2 * 0.5 / 1.5) + 2 * 0.1 / 1.1) / 3)


def test_images_of_unequal_size_weigh_alike_in_pixels_and_by_pixels_in_a_pool() -> None:
    masks = MaskCounts(True, np.array([[0.5], [0.1]]), np.array([100.0, 900.0]))
    assert mask_floor(plain("bce"), masks).probabilities == pytest.approx([0.3], abs=1e-6)
    pooled = mask_constant_loss(plain("dice", smooth=0.0), masks, [60.0])
    assert pooled == pytest.approx(1 - 2 * 140 / (1000 + 140))


# --- what is undefined --------------------------------------------------------------------------------------------------------


def test_a_boundary_loss_has_no_floor_and_says_why() -> None:
    found = mask_floor(MaskLossSpec("enhanced", {"bce": 0.5, "boundary": 0.5}), counts([0.2]))
    assert np.isnan(found.loss)
    assert np.isnan(skill(0.3, found))
    assert skill_reason(0.3, found) == f"there is no floor: {found.reason}"
    assert "shapes" in str(found.reason)
    assert found.logits == pytest.approx([np.log(0.25)], abs=1e-5)


def test_without_a_known_pixel_everything_is_undefined_but_the_start() -> None:
    masks = MaskCounts(True, np.full((2, 1), np.nan), np.zeros(2))
    found = mask_floor(plain("dice"), masks)
    assert np.isnan(found.loss)
    assert found.logits.tolist() == [0.0]
    assert skill_reason(0.3, found) == "there is no floor: no label is known"
    assert np.isnan(mask_constant_loss(plain("dice"), masks, [0.0]))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_masks_that_are_all_alike_have_a_finite_start(share: float) -> None:
    for name in ("bce", "dice"):
        found = mask_floor(plain(name), counts([share, share]))
        assert found.logits.tolist() == [-20.0 if share == 0 else 20.0]
        assert found.loss == pytest.approx(0, abs=1e-6)
    assert skill_reason(0.0, found) is not None


def test_ignored_images_are_left_out() -> None:
    some = MaskCounts(True, np.array([[0.2], [np.nan], [0.4]]), np.array([100.0, 0.0, 100.0]), batch=2, shuffled=False)
    for name in ("bce", "dice"):
        spec = plain(name, pooled=False)
        assert mask_floor(spec, some).loss == pytest.approx(mask_floor(spec, counts([0.2, 0.4], 100.0)).loss)


# --- scores -------------------------------------------------------------------------------------------------------------------


def test_scores_of_full_and_empty_masks() -> None:
    shares = np.array([[0.2, 0.0], [0.0, 0.0], [0.6, 0.0]])
    found = overlap_floors(counts(shares, exclusive=False))
    pooled = shares[:, 0].mean()
    full = {name: values[0] for name, values in found["all_foreground"].items()}
    assert full["dice"] == pytest.approx(2 * pooled / (1 + pooled))
    assert full["iou"] == pytest.approx(pooled)
    assert full["dice_per_case"] == pytest.approx((2 * 0.2 / 1.2 + 2 * 0.6 / 1.6) / 2), "over the images that have the class"
    assert full["iou_per_case"] == pytest.approx(0.4)
    assert all(values[0] == 0 for values in found["all_empty"].values())
    assert all(np.isnan(values[1]) for scores in found.values() for values in scores.values()), "a class that never occurs"
