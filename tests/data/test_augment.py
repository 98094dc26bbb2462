"""Augmentation: exact where it can be, statistics where it is random, and the same for a sample in whatever batch."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from osler.config import AugmentationConfig
from osler.data.augment import Augmenter, Cut, affine, augmenter, geometry, hashes, hashing, transform, uniforms

OFF = {
    "rotation": 0,
    "shift": 0,
    "zoom": 0,
    "horizontal_flip": 0,
    "vertical_flip": 0,
    "brightness": 0,
    "contrast": 0,
    "noise": 0,
}
EVERYTHING = AugmentationConfig(
    rotation=40, shift=0.2, zoom=0.3, horizontal_flip=0.5, vertical_flip=0.5, brightness=0.2, contrast=0.3, noise=0.1
)


def only(**changes: float) -> AugmentationConfig:
    return AugmentationConfig(**{**OFF, **changes})


def pictures(count: int, channels: int = 1, height: int = 20, width: int | None = None, seed: int = 0) -> Tensor:
    shape = (count, channels, height, width or height)
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def smooth(count: int, size: int) -> Tensor:
    """Pictures without edges, in which interpolation by different formulas agrees closely."""
    place = np.linspace(0, 3, size)
    waves = [127 + 60 * np.sin(place * (1 + k / 3))[:, None] + 60 * np.cos(place + k)[None, :] for k in range(count)]
    return torch.from_numpy(np.stack(waves)[:, None].astype(np.uint8))


def matrices(
    count: int,
    rotation: float = 0,
    shift: tuple[float, float] = (0, 0),
    zoom: float = 1,
    flip: tuple[bool, bool] = (False, False),
) -> NDArray[np.float64]:
    return affine(np.full(count, float(rotation)), np.tile(shift, (count, 1)), np.full(count, zoom), np.tile(flip, (count, 1)))


def by_torch(images: Tensor, moves: NDArray[np.float64], nearest: bool = False, fill: float | None = None) -> Tensor:
    """What `transform` does off the CPU, worked out on the CPU."""
    size = (images.shape[2], images.shape[3])
    x, y = geometry.places(geometry.pixel_maps(moves, size), size, size, images.device, fill is not None)
    result = torch.empty_like(images, dtype=images.dtype if nearest else torch.float32)
    geometry._sample_torch(images, x, y, nearest, fill or 0.0, result)
    return result


BOTH_WAYS = pytest.mark.parametrize("move", [transform, by_torch], ids=["opencv", "torch"])


class TestHashes:
    def test_known_words_of_splitmix64(self) -> None:
        # The generator seeded with 0 gives these first (reference implementation by Vigna, as in Java's SplittableRandom).
        state = np.arange(1, 4) * hashing._GOLDEN
        assert [f"{int(word) % 2**64:016x}" for word in hashing._mix(state)] == [
            "e220a8397b1dcdaf",
            "6e789e6aa1b965f4",
            "06c45d188009454f",
        ]

    def test_numpy_and_torch_agree(self) -> None:
        words = np.random.default_rng(0).integers(-(2**63), 2**63, 1000)
        assert (hashing._mix(torch.from_numpy(words)).numpy() == hashing._mix(words)).all()

    def test_every_part_counts_and_their_order_too(self) -> None:
        words = [
            int(hashes(*parts)[0]) for parts in [(0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 0), (0, 0), (-1, 0, 0), (2**70 + 3, 0)]
        ]
        assert len(set(words)) == len(words)

    def test_parts_broadcast(self) -> None:
        table = hashes(5, np.arange(3)[:, None], np.arange(4))
        assert table.shape == (3, 4)
        assert table[2, 3] == hashes(5, 2, 3)[0]

    def test_uniforms_are_uniform_and_independent(self) -> None:
        table = uniforms(42, 7, np.arange(20000)[:, None], np.arange(4))
        counts = np.stack([np.histogram(table[:, k], bins=20, range=(0, 1))[0] for k in range(4)])
        chi_square = ((counts - 1000) ** 2 / 1000).sum(axis=1)
        assert chi_square.max() < 43.8  # 99.9th percentile for 19 degrees of freedom
        across = np.corrcoef(table.T)[np.triu_indices(4, 1)]
        along = [np.corrcoef(table[:-1, k], table[1:, k])[0, 1] for k in range(4)]
        assert np.abs([*across, *along]).max() < 4 / np.sqrt(20000)


class TestTransform:
    @BOTH_WAYS
    @pytest.mark.parametrize("shape", [(5, 1, 20, 20), (3, 3, 21, 34), (1, 1, 1, 7)])
    def test_identity_is_exact(self, move, shape) -> None:
        images = pictures(*shape)
        assert torch.equal(move(images, matrices(shape[0])), images.float())
        assert torch.equal(move(images, matrices(shape[0]), nearest=True), images)

    @BOTH_WAYS
    @pytest.mark.parametrize(("flip", "axes"), [((True, False), (3,)), ((False, True), (2,)), ((True, True), (2, 3))])
    def test_flips_are_exact(self, move, flip, axes) -> None:
        images = pictures(4, 3, 21, 34)
        assert torch.equal(move(images, matrices(4, flip=flip)), images.flip(axes).float())

    @BOTH_WAYS
    @pytest.mark.parametrize("quarters", [1, 2, 3])
    @pytest.mark.parametrize("size", [20, 21])
    def test_quarter_turns_are_rot90(self, move, quarters, size) -> None:
        images = pictures(3, 2, size)
        turned = move(images, matrices(3, rotation=90 * quarters))
        np.testing.assert_allclose(turned.numpy(), np.rot90(images.numpy(), quarters, axes=(2, 3)), atol=0.01)

    @BOTH_WAYS
    @pytest.mark.parametrize("fill", [None, 0.0])
    def test_shift_moves_right_and_down_and_the_edge_goes_on_or_fill_follows(self, move, fill) -> None:
        images = pictures(2, 1, 20, 40)
        moved = move(images, matrices(2, shift=(0.25, 0.1)), fill=fill)
        expected = torch.nn.functional.pad(images.float(), (10, 0, 2, 0), mode="replicate")[:, :, :20, :40]
        if fill is not None:
            expected[:, :, :2], expected[:, :, :, :10] = fill, fill
        torch.testing.assert_close(moved, expected, atol=0.01, rtol=0)

    @BOTH_WAYS
    def test_zoom_doubles_what_is_seen(self, move) -> None:
        images = smooth(1, 41)
        centre = images[0, 0, 10:31, 10:31]
        torch.testing.assert_close(move(images, matrices(1, zoom=2))[0, 0, ::2, ::2], centre.float(), atol=0.01, rtol=0)

    @BOTH_WAYS
    def test_outside_is_fill_and_edges_blend_with_it(self, move) -> None:
        images = torch.full((2, 1, 8, 8), 100, dtype=torch.uint8)
        moved = move(images, matrices(2, shift=(2.5 / 8, 0)), fill=20)
        torch.testing.assert_close(moved[0, 0, 4], torch.tensor([20.0, 20, 60, 100, 100, 100, 100, 100]))
        moved = move(images, matrices(2, shift=(0, -2.5 / 8)), fill=20)
        torch.testing.assert_close(moved[1, 0, :, 4], torch.tensor([100.0, 100, 100, 100, 100, 60, 20, 20]))

    def test_order_is_flip_zoom_rotation_shift(self) -> None:
        images = smooth(1, 33)
        once = transform(images, affine(np.array([90.0]), np.array([[0.25, 0.0]]), np.array([2.0]), np.array([[True, False]])))
        stepwise = images.float()
        for step in (
            matrices(1, flip=(True, False)),
            matrices(1, zoom=2),
            matrices(1, rotation=90),
            matrices(1, shift=(0.25, 0)),
        ):
            stepwise = transform(stepwise, step)
        torch.testing.assert_close(once[..., 9:], stepwise[..., 9:], atol=0.5, rtol=0)

    def test_rotation_agrees_with_scipy(self) -> None:
        ndimage = pytest.importorskip("scipy.ndimage")
        images = smooth(2, 40)
        expected = np.stack([ndimage.rotate(image[0].numpy().astype(float), 23, reshape=False, order=1) for image in images])
        inner = np.s_[:, 10:-10, 10:-10]
        np.testing.assert_allclose(transform(images, matrices(2, rotation=23)).numpy()[:, 0][inner], expected[inner], atol=0.1)

    @pytest.mark.parametrize("nearest", [False, True])
    def test_the_cpu_and_the_device_way_agree(self, nearest) -> None:
        images = pictures(6, 3, 37, 50) if nearest else torch.cat([smooth(6, 37)] * 3, dim=1)
        moves = Augmenter(EVERYTHING, 1).draw(0, np.arange(6)).matrices
        fast, plain = transform(images, moves, nearest, 7.0), by_torch(images, moves, nearest, 7.0)
        if nearest:  # places half way between two pixels may go either way
            assert (fast != plain).float().mean() < 0.003
        else:  # the fast way rounds rows to 2^-10 of a pixel
            torch.testing.assert_close(fast, plain, atol=0.3, rtol=0)

    @pytest.mark.parametrize(("fill", "padding"), [(0.0, "zeros"), (None, "border")])
    def test_agrees_with_grid_sample(self, fill, padding) -> None:
        images = smooth(4, 48).float()
        moves = Augmenter(only(rotation=30, shift=0.1, zoom=0.2, horizontal_flip=0.5), 3).draw(0, np.arange(4)).matrices
        theta = torch.from_numpy(moves.copy())
        # affine_grid works in units of half a side, and wants the shift on the source's side.
        theta[:, :, 2] = -2 * torch.einsum("bij,bj->bi", theta[:, :, :2], theta[:, :, 2])
        grid = torch.nn.functional.affine_grid(theta.float(), list(images.shape), align_corners=False)
        expected = torch.nn.functional.grid_sample(images, grid, padding_mode=padding, align_corners=False)
        torch.testing.assert_close(transform(images, moves, fill=fill), expected, atol=0.3, rtol=0)

    def test_a_mask_keeps_its_values_and_follows_its_image(self) -> None:
        mask = torch.zeros(4, 1, 64, 64, dtype=torch.uint8)
        mask[:, :, 20:44, 16:40] = 3
        moves = Augmenter(EVERYTHING, 5).draw(2, np.arange(4)).matrices
        moved = transform(mask, moves, nearest=True, fill=255)
        assert moved.dtype == torch.uint8
        assert set(moved.unique().tolist()) <= {0, 3, 255}
        image = transform(mask * 85, moves)
        assert ((image > 127) == (moved == 3)).float().mean() > 0.995

    def test_the_same_matrices_move_a_mask_of_half_the_size(self) -> None:
        large = torch.zeros(3, 1, 64, 64, dtype=torch.uint8)
        large[:, :, 16:48, 24:40] = 1
        moves = matrices(3, rotation=30, shift=(0.125, -0.0625), zoom=1.2)
        small = transform(large[:, :, ::2, ::2], moves, nearest=True)
        assert (transform(large, moves, nearest=True)[:, :, ::2, ::2] == small).float().mean() > 0.97

    @pytest.mark.parametrize("shape", [(70, 1, 256, 256), (9, 1, 40, 4096), (3, 1, 4096, 20)])
    def test_more_than_one_tall_picture(self, shape) -> None:
        images = pictures(1, *shape[1:]).expand(shape)
        moved = transform(images, matrices(shape[0], rotation=3, zoom=1.01))
        assert torch.equal(moved, moved[:1].expand(shape))
        assert not torch.equal(moved[0], images[0].float())


class TestAugmenter:
    @pytest.mark.parametrize("config", [None, only()])
    def test_off_is_a_plain_conversion(self, config) -> None:
        images = pictures(5, 3)
        result = Augmenter(config, 42).apply(images, 0, np.arange(5))
        assert result.dtype == torch.float32
        assert torch.equal(result, images.float())

    @pytest.mark.parametrize("cuts", [[0, 40], [0, 1, 2, 17, 40], [0, 13, 26, 39, 40]])
    def test_a_sample_is_the_same_in_whatever_batch(self, cuts) -> None:
        images, positions = pictures(40, 3, 33, 29), np.random.default_rng(1).permutation(1000)[:40]
        augmenter = Augmenter(EVERYTHING, 42)
        alone = torch.cat([augmenter.apply(images[k : k + 1], 4, positions[k : k + 1]) for k in range(40)])
        parts = [augmenter.apply(images[a:b], 4, positions[a:b]) for a, b in pairwise(cuts)]
        assert torch.equal(torch.cat(parts), alone)

    def test_the_same_at_any_number_of_threads(self) -> None:
        images, augmenter, before = pictures(64, 1, 96), Augmenter(EVERYTHING, 42), torch.get_num_threads()
        results = []
        try:
            for threads in (1, 2):
                torch.set_num_threads(threads)
                results.append(augmenter.apply(images, 0, np.arange(64)))
        finally:
            torch.set_num_threads(before)
        assert torch.equal(*results)

    @pytest.mark.parametrize("other", [(43, 0, 0), (42, 1, 0), (42, 0, 1)], ids=["seed", "epoch", "position"])
    def test_seed_epoch_and_position_matter(self, other) -> None:
        images = pictures(1)
        seed, epoch, position = other
        first = Augmenter(EVERYTHING, 42).apply(images, 0, np.array([0]))
        assert not torch.equal(first, Augmenter(EVERYTHING, seed).apply(images, epoch, np.array([position])))

    def test_source_is_not_modified(self) -> None:
        images = pictures(4)
        before = images.clone()
        for config in (EVERYTHING, only(brightness=0.5), only(noise=0.5)):
            Augmenter(config, 0).apply(images, 0, np.arange(4))
        assert torch.equal(images, before)

    def test_draws_fill_their_ranges(self) -> None:
        n = 20000
        chances = {"horizontal_flip": 0.3, "vertical_flip": 0.6}
        config = only(rotation=30, shift=0.2, zoom=0.25, brightness=0.2, contrast=0.4, noise=0.1, **chances)
        changes = Augmenter(config, 9).draw(3, np.arange(n))
        left = changes.matrices[:, :, :2]
        flips = left[:, [0, 1], [0, 1]] < 0  # the cosine of at most 30 degrees is positive
        unflipped = left * np.where(flips, -1, 1)[:, :, None]
        zoom = np.linalg.det(unflipped) ** -0.5
        angle = np.rad2deg(np.arctan2(unflipped[:, 1, 0], unflipped[:, 1, 1]))
        for flipped, chance in zip(flips.T, chances.values(), strict=True):
            assert abs(flipped.mean() - chance) < 4 * np.sqrt(chance * (1 - chance) / n)
        shift = changes.matrices[:, :, 2]
        for values, low, high in [
            (zoom, 0.75, 1.25),
            (angle, -30, 30),
            (shift[:, 0], -0.2, 0.2),
            (shift[:, 1], -0.2, 0.2),
            (changes.brightness, -0.2, 0.2),
            (changes.contrast, 0.6, 1.4),
            (changes.noise, 0, 0.1),
        ]:
            share = (values - low) / (high - low)
            assert 0 <= share.min() < 0.001
            assert 0.999 < share.max() <= 1
            assert abs(share.mean() - 0.5) < 4 / np.sqrt(12 * n)
        columns = np.stack([zoom, angle, *shift.T, changes.brightness, changes.contrast, changes.noise, *flips.T])
        assert np.abs(np.corrcoef(columns)[np.triu_indices(9, 1)]).max() < 4.5 / np.sqrt(n)

    def test_flip_alone_gives_the_image_or_its_mirror(self) -> None:
        images = pictures(200, 1, 9, 11)
        result = Augmenter(only(horizontal_flip=0.5), 42).apply(images, 0, np.arange(200))
        same = (result == images).flatten(1).all(1)
        mirrored = (result == images.flip(3)).flatten(1).all(1)
        assert (same ^ mirrored).all()
        assert 70 < mirrored.sum() < 130

    @pytest.mark.parametrize("config", [EVERYTHING, only(), only(contrast=0.3, brightness=0.2), only(rotation=20, zoom=0.2)])
    def test_16_bits_are_changed_as_bytes_are(self, config) -> None:
        """On the same scale; rounding apart, the same figures."""
        images = pictures(6, 3, 18, 25)
        deep = torch.from_numpy(images.numpy().astype(np.uint16) * 257)
        plain, fine = (Augmenter(config, 42).apply(each, 1, np.arange(6)) for each in (images, deep))
        assert fine.dtype == torch.float32
        torch.testing.assert_close(fine, plain, atol=2e-3, rtol=0)
        assert torch.equal(deep, torch.from_numpy(images.numpy().astype(np.uint16) * 257)), "the source is not modified"

    def test_tones_of_16_bits_have_no_steps_and_do_not_depend_on_the_batch(self) -> None:
        ramp = torch.from_numpy(np.arange(30000, 30000 + 1600, dtype=np.uint16).reshape(1, 1, 40, 40).repeat(9, axis=0))
        augmenter = Augmenter(only(contrast=0.3, brightness=0.1), 7)
        whole = augmenter.apply(ramp, 0, np.arange(9))
        for image in whole:
            assert len(torch.unique(image)) == 1600
        apart = torch.cat([augmenter.apply(ramp[k : k + 1], 0, np.array([k])) for k in range(9)])
        assert torch.equal(whole, apart)

    def test_brightness_adds_a_share_of_the_range(self) -> None:
        images, augmenter = torch.full((50, 1, 6, 6), 128, dtype=torch.uint8), Augmenter(only(brightness=0.2), 1)
        added = augmenter.apply(images, 0, np.arange(50))[:, 0, 0, 0] - 128
        np.testing.assert_allclose(added.numpy(), 255 * augmenter.draw(0, np.arange(50)).brightness, atol=1e-3)

    def test_contrast_keeps_the_mean_and_scales_the_spread(self) -> None:
        images, augmenter = pictures(50, 1, 16) // 4 + 90, Augmenter(only(contrast=0.3), 1)
        result, factors = augmenter.apply(images, 0, np.arange(50)), augmenter.draw(0, np.arange(50)).contrast
        plain = images.float().flatten(1)
        torch.testing.assert_close(result.flatten(1).mean(1), plain.mean(1), atol=1e-2, rtol=0)
        np.testing.assert_allclose((result.flatten(1).std(1) / plain.std(1)).numpy(), factors, rtol=1e-4)

    @pytest.mark.parametrize("value", [0, 255])
    def test_result_stays_in_range(self, value) -> None:
        config = only(brightness=1, contrast=0.9, noise=0.5, rotation=90, zoom=0.5)
        result = Augmenter(config, 0).apply(torch.full((30, 1, 12, 12), value, dtype=torch.uint8), 0, np.arange(30))
        assert result.min() >= 0
        assert result.max() <= 255
        assert torch.isfinite(result).all()


def blobs(count: int, size: int) -> Tensor:
    """(count, 2, size, size) uint8: smooth content in the first channel, in the second 255 in a third of the image, else 0."""
    coarse = np.random.default_rng(4).uniform(0, 255, (count, 7, 7)).astype(np.float32)
    grown = np.stack([cv2.resize(field, (size, size), interpolation=cv2.INTER_CUBIC) for field in coarse])
    unknown = np.zeros_like(grown)
    unknown[:, :, : size // 3] = 255
    return torch.from_numpy(np.stack([grown.clip(0, 255), unknown], axis=1).astype(np.uint8))


def beyond_a_pixel(first: Tensor, second: Tensor) -> int:
    """Pixels in which two (B, H, W) masks differ although no edge of the first runs through their 3 x 3 neighbourhood."""
    planes = first.float()[:, None]
    grown = torch.nn.functional.max_pool2d(planes, 3, 1, 1)[:, 0]
    shrunk = -torch.nn.functional.max_pool2d(-planes, 3, 1, 1)[:, 0]
    return int(((first != second) & (grown == shrunk)).sum())


class TestMasks:
    """A picture and the mask that is its own content above half: after any change the mask must still be that."""

    @pytest.fixture(params=["opencv", "torch"])
    def _way(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        if request.param == "torch":
            monkeypatch.setattr(augmenter, "sample", geometry._sample_torch)

    @pytest.mark.usefixtures("_way")
    @pytest.mark.parametrize(
        "changes",
        [
            {"rotation": 180},
            {"zoom": 0.5},
            {"shift": 0.3},
            {"horizontal_flip": 1},
            {"vertical_flip": 1},
            {"rotation": 40, "shift": 0.2, "zoom": 0.3, "horizontal_flip": 0.5, "vertical_flip": 0.5},
        ],
        ids=lambda changes: "+".join(changes),
    )
    @pytest.mark.parametrize("patch", [None, 40])
    def test_masks_follow_their_images(self, changes: dict[str, float], patch: int | None) -> None:
        images, changer = blobs(8, 96), Augmenter(only(**changes), 5)
        masks = torch.stack([images[:, 0] >= 128, images[:, 1] >= 128], dim=1).to(torch.uint8)
        cut = None if patch is None else Cut(patch, np.random.default_rng(1).uniform(20, 75, (8, 2)))
        moved, labels = changer.change(images, masks, changer.draw(0, np.arange(8)), cut)
        assert labels is not None
        assert labels.shape == moved.shape == (8, 2, patch or 96, patch or 96)
        assert 0.1 < labels[:, 0].float().mean() < 0.9
        for plane in range(2):
            content = (moved[:, plane] >= 127.5).to(torch.uint8)
            # A tip thinner than a pixel may be in one and not in the other; an offset of two pixels is all along the edges.
            assert beyond_a_pixel(labels[:, plane], content) <= 3
            assert beyond_a_pixel(labels[:, plane].roll((2, 2), (1, 2)), content) > 100
        if patch is not None:
            whole, _ = changer.change(images, masks, changer.draw(0, np.arange(8)))
            assert not torch.equal(moved[:, 0], whole[:, 0, 28:68, 28:68])

    @pytest.mark.usefixtures("_way")
    def test_unknown_stays_unknown_and_never_blends(self) -> None:
        images = blobs(8, 96)
        masks = torch.where(images[:, 1:] == 255, 255, (images[:, :1] >= 128).to(torch.uint8))
        changer = Augmenter(EVERYTHING, 2)
        _, labels = changer.change(images, masks, changer.draw(0, np.arange(8)))
        assert labels is not None
        assert set(labels.unique().tolist()) == {0, 1, 255}
        # Beyond the edge the edge goes on: what was unknown at the border is unknown beside it too.
        shifted = Augmenter(only(shift=0.3), 2)
        changes = shifted.draw(0, np.arange(8))
        _, labels = shifted.change(images, torch.full_like(masks, 255), changes)
        assert labels is not None
        assert (labels == 255).all()

    def test_masks_are_not_coloured(self) -> None:
        images, changer = blobs(4, 32), Augmenter(only(brightness=0.5, contrast=0.5, noise=0.3), 2)
        masks = (images >= 128).to(torch.uint8)
        moved, labels = changer.change(images, masks, changer.draw(0, np.arange(4)))
        assert torch.equal(labels, masks)
        assert torch.equal(moved, changer.apply(images, 0, np.arange(4)))


class TestNoise:
    def test_has_the_drawn_deviation_and_is_gaussian(self) -> None:
        images, augmenter = torch.full((20, 1, 100, 100), 128, dtype=torch.uint8), Augmenter(only(noise=0.1), 1)
        noise = (augmenter.apply(images, 0, np.arange(20)) - 128).flatten(1).double().numpy()
        drawn = augmenter.draw(0, np.arange(20)).noise * 255
        z = noise / drawn[:, None]
        np.testing.assert_allclose(z.std(axis=1), 1, atol=4 / np.sqrt(2 * 1e4))
        assert np.abs(z.mean(axis=1)).max() < 4 / 100
        share_beyond = [(np.abs(z) > bound).mean() for bound in (1, 2, 3)]
        np.testing.assert_allclose(share_beyond, [0.3173, 0.0455, 0.0027], rtol=0.05)

    def test_neighbours_and_samples_are_independent(self) -> None:
        fields = hashing.normal_fields(hashes(0, np.arange(6)), (101, 99), torch.device("cpu"))[:, 0].double().numpy()
        flat = fields.reshape(6, -1)
        lagged = [np.corrcoef(flat[0, :-lag], flat[0, lag:])[0, 1] for lag in (1, 2, 3, 4, 99)]
        assert np.abs([*lagged, *np.corrcoef(flat)[np.triu_indices(6, 1)]]).max() < 4.5 / np.sqrt(flat.shape[1])

    def test_is_one_field_for_all_channels(self) -> None:
        images = torch.full((3, 3, 15, 15), 128, dtype=torch.uint8)
        result = Augmenter(only(noise=0.1), 1).apply(images, 0, np.arange(3))
        assert torch.equal(result[:, :1].expand_as(result), result)
        assert not torch.equal(result[0], result[1])


def test_moved_images_keep_the_light_of_their_source() -> None:
    """Black corners made training images darker than validation images, and cost a run its calibration (LOG.md)."""
    images = torch.full((64, 1, 28, 28), 150, dtype=torch.uint8)
    images[:, :, 8:20, 8:20] = 90
    moved = Augmenter(only(rotation=15, shift=0.1, zoom=0.15, horizontal_flip=0.5), 7).apply(images, 1, np.arange(64))
    assert moved.min() >= 90
    assert abs(moved.mean() - images.float().mean()) < 2
