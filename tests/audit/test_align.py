"""Two images laid over each other: crop, scale and brightness are allowed for, other content is not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from osler.audit.align import aligned_correlation, confirm_on, detail_correlation
from osler.audit.hashes import hash_image, shrink

Image = NDArray[np.uint8]


def film(seed: int, side: int = 256) -> Image:
    """Shared anatomy, own detail on every scale."""
    draws = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    lungs = sum(np.exp(-(((x - at) / 0.3) ** 2 + (y / 0.6) ** 2) * 2) for at in (-0.45, 0.45))
    own = sum(cv2.GaussianBlur(draws.normal(size=(256, 256)), (0, 0), blur) * blur for blur in (1.5, 3, 6, 12, 24))
    image = 170 - 110 * lungs + 12 * own / own.std()
    return np.clip(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), 0, 255).astype(np.uint8)


def jpeg(image: Image, quality: int) -> Image:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 0))


COPIES = {
    "smaller": lambda image: cv2.resize(image, (110, 90), interpolation=cv2.INTER_AREA),
    "jpeg": lambda image: jpeg(image, 50),
    "corner": lambda image: image[:243, 13:],
    "edges": lambda image: image[12:-12, 12:-12],
    "brighter": lambda image: np.clip(image * 1.15 + 10.0, 0, 255).astype(np.uint8),
    "sixteen bit": lambda image: image.astype(np.uint16) * 200 + 1000,
    "colour": lambda image: np.dstack([image, image, np.maximum(image, 2) - 2]),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_correlates(name: str) -> None:
    images = [film(3), COPIES[name](film(3))]
    assert confirm_on(lambda row: images[row])(0, 1) > 0.85
    thumbs = [hash_image(image).thumb[None] for image in images]
    assert aligned_correlation(thumbs[0], thumbs[1])[0] > 0.985


def test_another_film_of_the_same_kind_does_not() -> None:
    images = [film(seed) for seed in range(12)]
    confirm = confirm_on(lambda row: images[row])
    assert max(confirm(0, row) for row in range(1, 12)) < 0.5
    thumbs = np.array([hash_image(image).thumb for image in images])
    assert aligned_correlation(thumbs[:-1], thumbs[1:]).max() < 0.985


def test_without_alignment_a_crop_would_be_missed() -> None:
    one, other = (cv2.resize(image, (128, 128)).astype(np.float32) for image in (film(3), film(3)[:243, 13:]))
    plain = [image - cv2.GaussianBlur(image, (0, 0), 2) for image in (one, other)]
    assert np.corrcoef(plain[0].ravel(), plain[1].ravel())[0, 1] < 0.5 < 0.85 < detail_correlation(one, other)


def test_at_28_pixels_too_another_film_is_no_copy() -> None:
    """There is little detail in which two such films could differ, so what does not agree weighs more."""
    images = [film(seed, 28) for seed in range(10)]
    confirm = confirm_on(lambda row: images[row])
    assert max(confirm(0, row) for row in range(1, 10)) < 0.8
    images[1] = np.clip(images[0] * 0.9 + 12, 0, 255).astype(np.uint8)
    images[2] = jpeg(images[0], 85)
    confirm = confirm_on(lambda row: images[row])
    assert min(confirm(0, 1), confirm(0, 2)) > 0.8
    plain = detail_correlation(shrink(images[0], 128), shrink(images[2], 128), 28)
    assert 1 - confirm(0, 2) == pytest.approx((1 - plain) * 128 / 28, abs=1e-6)


def test_what_cannot_be_laid_over_is_no_copy() -> None:
    flat, image = np.zeros((128, 128), np.float32), film(0, 128).astype(np.float32)
    assert detail_correlation(flat, image) == 0
    assert detail_correlation(flat, flat) == 0
    assert detail_correlation(image, np.ascontiguousarray(image[::-1])) < 0.5


def test_pairs_are_aligned_in_any_number() -> None:
    thumbs = np.array([hash_image(film(seed, 64)).thumb for seed in range(5)])
    first, second = np.divmod(np.arange(600) % 25, 5)
    many = aligned_correlation(thumbs[first], thumbs[second])
    one_by_one = [
        aligned_correlation(thumbs[[one]], thumbs[[other]])[0] for one, other in zip(first[:25], second[:25], strict=True)
    ]
    np.testing.assert_allclose(many, np.tile(one_by_one, 24), atol=1e-5)
    assert many[first == second].min() > 0.9999
    assert aligned_correlation(thumbs[:0], thumbs[:0]).shape == (0,)
