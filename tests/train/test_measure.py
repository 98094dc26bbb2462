"""What is measured of the pixels that the network receives."""

from __future__ import annotations

import math

import pytest
import torch

from osler.train.measure import likeness, pixel_figures


def test_mean_and_spread_are_of_an_image_and_their_errors_over_images() -> None:
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    images[0, :, :2] = 100  # mean 50, spread 50
    images[1] = 70  # mean 70, spread 0
    found = pixel_figures(images)
    assert found["mean"] == pytest.approx(60.0)
    assert found["sd"] == pytest.approx(25.0)
    assert found["mean_se"] == pytest.approx(10.0)  # ± 10 around 60 over two images: SD 14.1 / √2
    assert found["sd_se"] == pytest.approx(25.0)


def test_one_image_has_no_error_over_images() -> None:
    found = pixel_figures(torch.full((1, 3, 4, 4), 9.0))
    assert found["mean"] == 9.0
    assert math.isnan(found["mean_se"])


def test_likeness_is_that_of_the_mean_images_whatever_their_size() -> None:
    ramp = torch.linspace(0, 200, 32).repeat(32, 1)[None, None]
    films = ramp + 20 * torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    larger = torch.nn.functional.interpolate(ramp, size=48, mode="bilinear")
    assert likeness(films, larger) > 0.99
    assert likeness(films, 255 - larger) < -0.99
    assert abs(likeness(films, larger.transpose(2, 3))) < 0.1


def test_likeness_of_one_shade_is_not_known() -> None:
    assert math.isnan(likeness(torch.full((2, 1, 8, 8), 5.0), torch.rand(2, 1, 8, 8)))
