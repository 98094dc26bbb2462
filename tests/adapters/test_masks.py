from __future__ import annotations

import numpy as np
import pytest
import torch

from osler.adapters.masks import count_pixels, histograms, histograms_on_device, planes
from osler.errors import DataError
from osler.metrics.overlap import HALF, counts_at
from osler.tasks.mask_outputs import mask_probabilities

RANDOM = np.random.default_rng(5)


def test_a_softmax_with_its_background_is_one_beside_a_background_of_zero() -> None:
    outputs = RANDOM.normal(size=(2, 4, 5, 6)).astype(np.float32) * 3
    numbers = RANDOM.integers(0, 4, (2, 5, 6))
    batch = planes(outputs, numbers, False)
    assert batch.exclusive
    shares = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    found = mask_probabilities(torch.from_numpy(np.asarray(batch.logits)), True).numpy()
    np.testing.assert_allclose(found, shares[:, 1:], rtol=1e-4, atol=1e-7)
    again = planes(shares, numbers, True)
    np.testing.assert_allclose(again.logits, batch.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("exclusive", [False, True])
def test_counts_and_levels_agree_in_numpy_in_torch_and_on_a_device(exclusive: bool) -> None:
    outputs = RANDOM.normal(size=(3, 2, 8, 9)).astype(np.float32) * 4
    targets = RANDOM.choice([0, 1, 255], size=(3, 2, 8, 9), p=[0.7, 0.2, 0.1])
    plain = planes(outputs, targets, False)._replace(exclusive=exclusive)
    tensors = planes(torch.from_numpy(outputs), torch.from_numpy(targets), False)._replace(exclusive=exclusive)
    counts, sums = count_pixels(plain)
    other, other_sums = count_pixels(tensors)
    np.testing.assert_array_equal(counts, other.numpy())
    np.testing.assert_allclose(sums, other_sums.numpy(), rtol=1e-5)
    known = targets != 255
    p = mask_probabilities(torch.from_numpy(outputs), exclusive).numpy()
    np.testing.assert_allclose(sums, (p * known).sum((2, 3)), rtol=1e-5)
    levels = np.asarray(histograms(plain))
    np.testing.assert_array_equal(levels, histograms(tensors))
    on_device = histograms_on_device(tensors).numpy()
    # A logit at the edge of a level may fall to either side by rounding where a softmax is taken.
    assert np.abs(on_device.astype(int) - levels.astype(int)).sum() <= (4 if exclusive else 0)
    np.testing.assert_array_equal(counts_at(levels, HALF), counts)


def test_unknown_pixels_and_broken_outputs_are_counted_nowhere() -> None:
    outputs = torch.tensor([[[1.0, float("nan")], [2.0, -1.0]]])
    targets = torch.tensor([[[1.0, 1.0], [float("nan"), 0.0]]])
    batch = planes(outputs, targets, False)
    assert int(batch.known.sum()) == 2
    assert count_pixels(batch)[0].tolist() == [[[1, 0, 0, 1]]]
    assert int(np.asarray(histograms(batch)).sum()) == 2


@pytest.mark.parametrize(("outputs", "targets"), [((2, 2, 4, 4), (2, 3, 4, 4)), ((2, 1, 4, 4), (2, 8, 8)), ((4,), (4,))])
def test_shapes_that_are_no_masks_are_refused(outputs: tuple[int, ...], targets: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="no masks of one batch"):
        planes(np.zeros(outputs), np.zeros(targets), False)


def test_one_class_with_and_without_its_axis_is_the_same() -> None:
    outputs, targets = RANDOM.normal(size=(2, 1, 4, 4)), RANDOM.integers(0, 2, (2, 4, 4))
    first, second = planes(outputs, targets, False), planes(outputs[:, 0], targets[:, None], False)
    np.testing.assert_array_equal(count_pixels(first)[0], count_pixels(second)[0])
