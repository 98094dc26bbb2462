"""Tiles: the whole image's logits away from the borders, weights that add up, and memory that follows the tile."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from osler.predict import tiles
from osler.predict.tiles import logit_maps, tiled

Images = NDArray[np.uint8]
Maps = NDArray[np.float32]
RADIUS = 4
KERNELS = np.random.default_rng(0).normal(0, 0.1, (2, 3, 2 * RADIUS + 1, 2 * RADIUS + 1)).astype(np.float32)


def picture(height: int, width: int, channels: int = 3) -> Images:
    return np.random.default_rng(1).integers(0, 256, (channels, height, width), dtype=np.uint8)


def convolution(images: Images) -> Maps:
    """Two classes; a logit depends on the pixels within RADIUS; beyond the border there is black, as in most networks."""
    import cv2

    found = np.zeros((len(images), 2, *images.shape[2:]), np.float32)
    for number, image in enumerate(images):
        for k, kernels in enumerate(KERNELS):
            for plane, kernel in zip(image.astype(np.float32), kernels, strict=True):
                found[number, k] += cv2.filter2D(plane, cv2.CV_32F, kernel, borderType=cv2.BORDER_CONSTANT)
    return found


def inner(side: int, tile: int, overlap: float, radius: int = RADIUS) -> NDArray[np.bool_]:
    """Places along a side further than the radius from the ends of every tile over them.

    The image's own ends do not count, but where it was continued to fill the last tile.
    """
    good = np.ones(side, bool)
    for start in tiles._starts(side, tile, overlap):
        stop = start + tile
        if start > 0:
            good[start : start + radius] = False
        if stop < side or (stop > side > tile):
            good[min(stop, side) - radius : stop] = False
    return good


class Counted:
    """A session that remembers the shapes it was given."""

    def __init__(self, run: Callable[[Images], Maps]) -> None:
        self.run_inside, self.shapes = run, []

    def __call__(self, images: Images) -> Maps:
        assert images.flags.c_contiguous
        self.shapes.append(images.shape)
        return self.run_inside(images)


class TestTiled:
    @pytest.mark.parametrize(("height", "width"), [(128, 128), (100, 131), (64, 97), (65, 64), (200, 40)])
    @pytest.mark.parametrize("overlap", [0.0, 0.5, 0.7])
    @pytest.mark.parametrize("flips", [False, True])
    def test_is_the_whole_images_away_from_borders(self, height: int, width: int, overlap: float, flips: bool) -> None:
        image = picture(height, width)
        whole = logit_maps(convolution, image[None], flips=flips)[0]
        found = tiled(convolution, image, 64, overlap, flips, batch=3)
        assert found.dtype == np.float32
        assert found.shape == (2, height, width)
        good = np.outer(inner(height, 64, overlap), inner(width, 64, overlap))
        assert good.mean() > 0.2
        np.testing.assert_allclose(found[:, good], whole[:, good], atol=2e-3)
        if not good.all():
            assert np.abs(found - whole)[:, ~good].max() > 0.01  # the borders do differ, so the test can fail

    @pytest.mark.parametrize("side", [64, 63, 10])
    def test_a_tile_as_large_as_the_image_is_one_pass(self, side: int) -> None:
        run = Counted(convolution)
        image = picture(side, side)
        assert np.array_equal(tiled(run, image, 64), convolution(image[None])[0])
        assert np.array_equal(logit_maps(run, image[None], 64), convolution(image[None]))
        assert run.shapes == [(1, 3, side, side)] * 2

    @pytest.mark.parametrize("batch", [1, 4, 100])
    def test_the_batch_changes_nothing(self, batch: int) -> None:
        run, image = Counted(convolution), picture(150, 150)
        assert np.array_equal(tiled(run, image, 64, batch=batch), tiled(convolution, image, 64, batch=7))
        assert max(shape[0] for shape in run.shapes) == min(batch, 16)
        assert sum(shape[0] for shape in run.shapes) == 16

    def test_every_pixel_is_covered_and_neighbours_overlap(self) -> None:
        for side in range(1, 300, 7):
            for tile in (8, 32, 64, 100):
                for overlap in (0.0, 0.25, 0.5, 0.89):
                    starts = tiles._starts(side, tile, overlap)
                    assert starts[0] == 0
                    assert max(0, side - tile) <= starts[-1] < max(1, side - tile + tiles.GRID)
                    gaps = np.diff(starts)
                    assert (gaps > 0).all()
                    assert (gaps <= tile - int(tile * overlap)).all()

    def test_tiles_begin_on_the_grid_of_halved_resolutions(self) -> None:
        assert tiles._starts(1024, 256, 0.4) == [*range(0, 768, 128), 768]
        assert tiles._starts(999, 256, 0.4) == [*range(0, 768, 128), 768]

    def test_weights_fall_as_nnunets(self) -> None:
        weights = tiles._weights(64)
        assert np.array_equal(weights, weights[::-1])
        assert (np.diff(weights[:32]) > 0).all()
        # A Gaussian of SD 8: one SD from the middle it has fallen to exp(-1/2).
        np.testing.assert_allclose(np.interp(31.5 + 8, np.arange(64), weights), np.exp(-0.5), atol=0.002)
        assert weights.min() > 0

    def test_the_middle_of_a_tile_outweighs_its_border(self) -> None:
        def by_place(images: Images) -> Maps:
            """1 in the outer eighth of each tile, else 0."""
            border = np.ones(images.shape[2:], np.float32)
            border[8:-8, 8:-8] = 0
            return np.broadcast_to(border, (len(images), 1, *images.shape[2:])).copy()

        # Two tiles cover the columns from 32 to 63: at 34 the second is at its border and the first almost in its middle.
        found = tiled(by_place, picture(64, 96), 64)[0, 32]
        assert found[34] < 0.01
        assert found[0] == 1

    def test_constant_logits_stay_constant(self) -> None:
        found = tiled(lambda images: np.full((len(images), 3, *images.shape[2:]), 7.25, np.float32), picture(97, 211), 40, 0.6)
        np.testing.assert_allclose(found, 7.25, rtol=1e-5)


class TestFlips:
    def test_each_mirror_image_is_turned_back(self) -> None:
        run = Counted(lambda images: images[:, :1].astype(np.float32))
        image = picture(50, 70)
        np.testing.assert_allclose(tiled(run, image, 32, flips=True)[0], image[0], rtol=1e-5)
        assert np.array_equal(logit_maps(run, image[None], flips=True)[0, 0], image[0])

    def test_the_mean_of_four_is_symmetric(self) -> None:
        """A network that leans to the left gives, averaged over mirror images, the mirrored answer for a mirrored image."""
        images = picture(40, 44)[None]
        found = logit_maps(convolution, images, flips=True)
        for axes in tiles.FLIPS:
            mirrored = logit_maps(convolution, np.ascontiguousarray(np.flip(images, axes)), flips=True)
            np.testing.assert_allclose(np.flip(mirrored, axes), found, atol=1e-2)
        assert np.abs(found - convolution(images)).max() > 10

    def test_four_passes(self) -> None:
        run = Counted(convolution)
        logit_maps(run, picture(40, 44)[None], flips=True)
        assert run.shapes == [(1, 3, 40, 44)] * 4


def test_memory_is_that_of_tiles_and_accumulators() -> None:
    """One image of 1500 x 1500: K + 1 = 3 float32 planes of it are 27 MB; eight tiles of 128 add little."""
    image = picture(1500, 1500, channels=1)

    def two(tiles: Images) -> Maps:
        return np.repeat(tiles, 2, axis=1).astype(np.float32)

    tracemalloc.start()
    try:
        tiled(two, image, 128, batch=8)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    planes = 3 * 4 * 1536**2  # the image is continued to fill the last tiles
    assert peak < planes + 8 * 128 * 128 * 40
    assert peak > planes


def test_a_batch_of_images_is_each_image() -> None:
    images = np.stack([picture(100, 90), picture(100, 90)[:, ::-1]])
    found = logit_maps(convolution, images, tile=48)
    for one, image in zip(found, images, strict=True):
        assert np.array_equal(one, tiled(convolution, image, 48))


class TestTorch:
    """The same of networks as they are used; the compact segmenter where its room is there."""

    def test_small_convolutional_network(self) -> None:
        torch = pytest.importorskip("torch")
        torch.manual_seed(0)
        layers = [torch.nn.Conv2d(1, 6, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(6, 2, 5, padding=2)]
        network = torch.nn.Sequential(*layers).eval()
        image = picture(133, 150, 1)
        whole, found = run_torch(network, image[None])[0], tiled(lambda x: run_torch(network, x), image, 64)
        good = np.outer(inner(133, 64, 0.5, 3), inner(150, 64, 0.5, 3))
        np.testing.assert_allclose(found[:, good], whole[:, good], rtol=1e-4, atol=1e-3)

    @pytest.mark.parametrize(("height", "width"), [(256, 320), (250, 207)])
    def test_compact_segmenter(self, height: int, width: int) -> None:
        """Three resolutions; BatchNorm with statistics of its own; sides that are no multiples of its stride."""
        torch = pytest.importorskip("torch")
        from osler.config import ModelConfig
        from osler.models.segmenters import SegmenterSpec, build_segmenter

        torch.manual_seed(0)
        network = build_segmenter(ModelConfig(architecture="compact", width=4, levels=3), SegmenterSpec(2, 1, 128))
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        image = picture(height, width, 1)
        whole, found = run_torch(network.eval(), image[None])[0], tiled(lambda x: run_torch(network, x), image, 128)
        good = np.outer(inner(height, 128, 0.5, 44), inner(width, 128, 0.5, 44))
        assert good.mean() > 0.1
        np.testing.assert_allclose(found[:, good], whole[:, good], rtol=1e-4, atol=1e-4)


def run_torch(network, images: Images) -> Maps:
    import torch

    with torch.inference_mode():
        return network(torch.from_numpy(images).float()).numpy()
