"""Patches: placed by hashes alone, the set share of them on foreground, and read from the image itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from osler.config import AugmentationConfig, PatchConfig
from osler.data.augment import Augmenter
from osler.data.batches import Batch, TrainBatches
from osler.data.patches import Cutter, Patches
from osler.data.samples import IGNORED
from osler.errors import ConfigError, DataError

STILL = AugmentationConfig(rotation=0, shift=0, zoom=0, horizontal_flip=0, brightness=0, contrast=0)
MOVING = AugmentationConfig(rotation=25, shift=0.1, zoom=0.2, vertical_flip=0.5, brightness=0.1, contrast=0.1, noise=0.05)
SIDE = 96


def pool(count: int = 12, channels: int = 1, classes: int = 2, empty: tuple[int, ...] = ()) -> NDArray[np.uint8]:
    """(count, C + K, 96, 96): random pixels, and masks of a few squares; those of `empty` hold nothing."""
    draw = np.random.default_rng(0)
    planes = draw.integers(0, 256, (count, channels + classes, SIDE, SIDE), dtype=np.uint8)
    planes[:, channels:] = 0
    for number in range(count):
        for plane in range(channels, channels + classes) if number not in empty else ():
            top, left = draw.integers(0, SIDE - 4, 2)
            planes[number, plane, top : top + 3, left : left + 4] = 1
    return planes


def cut(
    planes: NDArray[np.uint8],
    draws: int,
    augmentation: AugmentationConfig | None = None,
    channels: int = 1,
    **config: float,
) -> Patches:
    augmenter = Augmenter(augmentation, 3)
    cutter = Cutter(PatchConfig(**config), 3, planes.shape[1:], channels, augmenter.reach)  # type: ignore[arg-type]
    positions = np.arange(draws)
    return cutter.cut(planes.__getitem__, positions % len(planes), augmenter.draw(0, positions), 0, positions)


class TestCutter:
    @pytest.mark.parametrize("share", [0.0, 0.33, 1.0])
    def test_the_share_on_foreground_is_the_one_set(self, share: float) -> None:
        n = 3000
        found = cut(pool(), n, size=16, foreground=share)
        assert abs(found.foreground.mean() - share) <= 4 * np.sqrt(share * (1 - share) / n)
        assert (found.windows[found.foreground, 1:] == 1).any(axis=(1, 2, 3)).all()

    def test_images_without_foreground_are_cut_anywhere(self) -> None:
        found = cut(pool(2, empty=(0, 1)), 4000, size=16, foreground=1.0)
        assert not found.foreground.any()

    def test_anywhere_is_anywhere(self) -> None:
        planes = pool(1, classes=1, empty=(0,))
        rows, columns = np.divmod(np.arange(SIDE * SIDE), SIDE)
        planes = np.concatenate([np.stack([rows, columns]).reshape(1, 2, SIDE, SIDE).astype(np.uint8), planes[:, 1:]], axis=1)
        n = 6000
        first = cut(planes, n, channels=2, size=20, foreground=0.0).windows[:, :2, 0, 0]
        places = SIDE - 20 + 1
        for axis in range(2):
            counts = np.bincount(first[:, axis], minlength=places)
            assert len(counts) == places
            assert ((counts - n / places) ** 2 / (n / places)).sum() < 76 + 4.5 * np.sqrt(2 * 76)
        assert abs(np.corrcoef(first.T)[0, 1]) < 4.5 / np.sqrt(n)

    def test_every_class_that_is_there_is_chosen_as_often(self) -> None:
        planes = np.zeros((1, 5, SIDE, SIDE), np.uint8)
        planes[0, 1, 48:80, 48:80] = 1  # a thousand pixels
        planes[0, 3, 10, 10] = 1  # a single one
        planes[0, 4, 60, 12] = IGNORED
        n = 2000
        windows = cut(planes, n, size=16, foreground=1.0).windows
        rare = (windows[:, 3] == 1).any(axis=(1, 2)).mean()
        assert abs(rare - 0.5) < 4 * np.sqrt(0.25 / n)

    def test_foreground_is_in_the_middle_unless_an_edge_is_near(self) -> None:
        planes = np.zeros((3, 2, SIDE, SIDE), np.uint8)
        for number, place in enumerate([(50, 60), (0, 0), (95, 3)]):
            planes[number, 1][place] = 1
        windows = cut(planes, 3, size=16, foreground=1.0).windows
        assert [tuple(np.argwhere(window[1] == 1)[0]) for window in windows] == [(8, 8), (0, 0), (15, 3)]

    def test_a_patch_anywhere_has_its_middle_where_something_is_known(self) -> None:
        planes = pool(1, classes=2, empty=(0,))
        planes[:, 1:, :, :40] = IGNORED  # as beside a padded image
        found = cut(planes, 1000, size=16, foreground=0.0)
        assert (found.windows[:, 1:, 8, 8] != IGNORED).all()
        planes[:, 1:] = IGNORED
        assert len(cut(planes, 5, size=16, foreground=0.5).windows) == 5

    def test_a_still_patch_is_a_part_of_its_image(self) -> None:
        planes = pool(4)
        found = cut(planes, 40, size=32, foreground=0.5)
        for index, window in enumerate(found.windows):
            views = np.lib.stride_tricks.sliding_window_view(planes[index % 4], (32, 32), axis=(1, 2))
            assert (views == window[:, None, None]).all(axis=(0, 3, 4)).any()

    def test_16_bits_are_cut_where_bytes_are(self) -> None:
        planes = pool(6)
        deep = planes.astype(np.uint16)
        deep[:, :1] *= 257
        augmenter, positions = Augmenter(MOVING, 3), np.arange(60)
        found = []
        for given in (planes, deep):
            cutter = Cutter(PatchConfig(size=24), 3, given.shape[1:], 1, augmenter.reach, given.dtype)  # type: ignore[arg-type]
            changes = augmenter.draw(0, positions)
            patches = cutter.cut(given.__getitem__, positions % len(given), changes, 0, positions)
            assert patches.windows.dtype == given.dtype
            found.append(patches)
        np.testing.assert_array_equal(found[0].cut.centres, found[1].cut.centres)
        np.testing.assert_array_equal(found[1].windows[:, :1] // 257, found[0].windows[:, :1])
        np.testing.assert_array_equal(found[1].windows[:, 1:], found[0].windows[:, 1:])

    def test_larger_than_the_image_is_refused(self) -> None:
        with pytest.raises(
            ConfigError, match=r"data\.patches\.size: 128 is more than the prepared images have, 96 x 96.*at most 96"
        ):
            cut(pool(), 1, size=128)
        assert cut(pool(), 3, MOVING, size=96).windows.shape == (3, 3, 96, 96)

    def test_nothing_inside_the_image_is_filled_in(self) -> None:
        """A moved patch equals the patch read from a copy whose surroundings are far larger, wherever the image reaches."""
        ramp = np.add.outer(np.arange(SIDE), 1.5 * np.arange(SIDE)).astype(np.uint8)
        planes = np.stack([ramp, np.zeros_like(ramp)])[None]
        n = 60
        augmenter, positions = (
            Augmenter(AugmentationConfig(rotation=40, shift=0.1, zoom=0.3, brightness=0, contrast=0), 3),
            np.arange(n),
        )
        changes = augmenter.draw(0, positions)
        config, zeros = PatchConfig(size=24, foreground=0), np.zeros(n, int)
        tight = Cutter(config, 3, planes.shape[1:], 1, augmenter.reach).cut(planes.__getitem__, zeros, changes, 0, positions)
        wide = Cutter(config, 3, planes.shape[1:], 1, 1000.0).cut(planes.__getitem__, zeros, changes, 0, positions)
        assert tight.windows.shape[2] < wide.windows.shape[2] == SIDE
        results = [augmenter.change(torch.from_numpy(one.windows[:, :1]), None, changes, one.cut)[0] for one in (tight, wide)]
        # Both are read at rows rounded to 2^-10 of a pixel; a neighbour differs by at most 255 where the ramp wraps.
        torch.testing.assert_close(*results, atol=0.6, rtol=0)


def batches(planes: NDArray[np.uint8], batch_size: int = 8, **options) -> TrainBatches:
    rows = np.arange(len(planes))[::-1].copy()
    targets = (planes[rows, 1:] == 1).any(axis=(2, 3)).astype(np.float32)
    settings = {"augmenter": Augmenter(MOVING, 42), "channels": 1, "patches": PatchConfig(size=32, per_image=3), **options}
    return TrainBatches(planes.__getitem__, rows, targets, batch_size, 42, **settings)


def same(first: Batch, second: Batch) -> bool:
    assert first.masks is not None
    assert second.masks is not None
    pairs = ((first.images, second.images), (first.masks, second.masks), (first.targets, second.targets))
    return all(torch.equal(*pair) for pair in pairs) and (first.rows == second.rows).all()


class TestBatchesOfPatches:
    def test_an_epoch_has_every_image_so_often(self) -> None:
        seen = list(batches(pool()).epoch(0))
        assert [len(batch) for batch in seen] == [8, 8, 8, 8, 4]
        assert np.bincount(np.concatenate([batch.rows for batch in seen])).tolist() == [3] * 12
        assert seen[0].images.shape == (8, 1, 32, 32)
        assert seen[0].images.dtype == torch.float32
        assert seen[0].masks is not None
        assert seen[0].masks.shape == (8, 2, 32, 32)
        assert seen[0].masks.dtype == torch.uint8
        assert set(torch.cat([batch.masks for batch in seen]).unique().tolist()) == {0, 1}

    def test_a_patch_is_the_same_at_any_batch_size(self) -> None:
        for still in (None, STILL, MOVING):
            augmenter = Augmenter(still, 42)
            small, large = (list(batches(pool(), size, augmenter=augmenter).epoch(2)) for size in (2, 36))
            assert torch.equal(torch.cat([batch.images for batch in small]), large[0].images)
            assert torch.equal(torch.cat([batch.masks for batch in small]), large[0].masks)

    @pytest.mark.parametrize("weights", [None, np.linspace(0, 1, 12)])
    @pytest.mark.parametrize("start", [0, 1, 4, 5])
    def test_resume_gives_the_rest_bit_for_bit(self, weights: NDArray[np.float64] | None, start: int) -> None:
        whole = list(batches(pool(), draw_weights=weights).epoch(3))
        rest = list(batches(pool(), draw_weights=weights).epoch(3, start=start))
        assert len(rest) == 5 - start
        assert all(same(*pair) for pair in zip(whole[start:], rest, strict=True))

    def test_ranks_together_see_what_one_accumulating_process_sees(self) -> None:
        alone = list(batches(pool(), 5, accumulate=2).epoch(1))
        ranks = [list(batches(pool(), 5, rank=rank, world=2).epoch(1)) for rank in range(2)]
        assert all(same(batch, ranks[number % 2][number // 2]) for number, batch in enumerate(alone))

    def test_an_epoch_is_as_many_draws_as_patches(self) -> None:
        weights = np.where(np.arange(12) < 2, 1.0, 0.0)
        drawn = np.concatenate([batch.rows for batch in batches(pool(), draw_weights=weights).epoch(0)])
        assert len(drawn) == 36
        assert set(drawn.tolist()) == {11, 10}

    def test_patches_of_one_image_and_epochs_differ(self) -> None:
        made = batches(pool(1), 3, augmenter=None)
        first, second = (next(iter(made.epoch(epoch))) for epoch in (0, 1))
        assert not torch.equal(first.images[0], first.images[1])
        assert not torch.equal(first.images, second.images)

    def test_few_images_fill_a_step_with_patches(self) -> None:
        assert len(batches(pool(1), 8)) == 1
        with pytest.raises(DataError, match="1 patches do not fill one step"):
            batches(pool(1), 8, patches=PatchConfig(size=32, per_image=1))

    def test_large_images_are_gathered_a_few_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from osler.data import patches

        planes, asked = pool(), []

        def gather(rows: NDArray[np.intp]) -> NDArray[np.uint8]:
            asked.append(len(rows))
            return planes[rows]

        monkeypatch.setattr(patches, "_AT_ONCE", 2 * planes[0].size)
        made = batches(planes)
        made._gather = gather
        few = next(iter(made.epoch(0)))
        assert max(asked) == 2
        monkeypatch.undo()
        assert same(few, next(iter(batches(planes).epoch(0))))
