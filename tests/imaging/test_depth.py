"""Depth: one scale for networks whatever the depth, and bytes for the eye."""

from __future__ import annotations

import numpy as np

from osler.imaging.depth import STEPS, for_eye, for_network

EVERY = np.arange(65536, dtype=np.uint16)


def test_bytes_are_given_to_networks_and_eyes_as_they_are() -> None:
    images = np.arange(256, dtype=np.uint8)
    assert for_network(images) is not None
    assert np.shares_memory(for_network(images), images)
    assert np.shares_memory(for_eye(images), images)


def test_every_value_of_16_bits_has_a_place_of_its_own_between_0_and_255() -> None:
    values = for_network(EVERY)
    assert values.dtype == np.float32
    assert (np.diff(values) > 0).all()
    np.testing.assert_array_equal(values[::STEPS], np.arange(256))
    np.testing.assert_array_equal(np.rint(values.astype(np.float64) * STEPS), EVERY)


def test_eyes_see_the_nearest_byte_of_either_scale() -> None:
    nearest = np.rint(EVERY / 257.0)
    np.testing.assert_array_equal(for_eye(EVERY), nearest)
    np.testing.assert_array_equal(for_eye(for_network(EVERY)), nearest)
    assert for_eye(EVERY).dtype == for_eye(for_network(EVERY)).dtype == np.uint8


def test_the_input_is_not_changed() -> None:
    images = EVERY.copy()
    for_network(images)
    for_eye(images)
    np.testing.assert_array_equal(images, EVERY)
