"""Batches: pure orders and draws, exact shares of ranks, exact resume, and a thread that leaves nothing behind."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from osler.config import AugmentationConfig, PatchConfig, PreparationConfig
from osler.data.augment import Augmenter
from osler.data.batches import Batch, EvalBatches, TrainBatches, draw, micro_batches, one_ahead, order
from osler.data.cache import open_cache
from osler.data.files import FileImages
from osler.data.samples import IGNORED, Samples
from osler.errors import DataError
from osler.imaging.depth import for_network
from osler.imaging.preparation import Preparation

STRONG = AugmentationConfig(rotation=20, shift=0.1, zoom=0.2, noise=0.1, brightness=0.2, contrast=0.2)
POOL = np.random.default_rng(0).integers(0, 256, (200, 1, 12, 12), dtype=np.uint8)


def gather(rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    return POOL[rows]


def train(n: int = 50, batch_size: int = 8, **options) -> TrainBatches:
    rows = np.arange(100, 100 + n)
    targets = np.stack([rows % 2, rows % 3 == 0], axis=1).astype(np.float32)
    return TrainBatches(gather, rows, targets, batch_size, seed=42, augmenter=Augmenter(STRONG, 42), **options)


def same(first: Batch, second: Batch) -> bool:
    return (
        torch.equal(first.images, second.images)
        and torch.equal(first.targets, second.targets)
        and (first.rows == second.rows).all()
        and (first.positions == second.positions).all()
    )


def worker_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("osler-batches")]


def test_training_samples_come_as_validation_gets_its_own() -> None:
    batches = train(50, draw_weights=np.arange(50, dtype=np.float64))
    first, again, other = (batches.plain(epoch, 16) for epoch in (0, 0, 1))
    assert same(first, again)
    assert set(first.rows.tolist()) != set(other.rows.tolist())
    assert len(set(first.rows.tolist())) == 16
    assert set(first.rows.tolist()) <= set(range(100, 150))
    assert torch.equal(first.images, torch.from_numpy(POOL[first.rows]))
    assert first.targets[:, 0].tolist() == (first.rows % 2).tolist()
    assert len(batches.plain(0, 1000)) == 50


class TestOrder:
    def test_is_a_permutation_of_seed_and_epoch(self) -> None:
        orders = {(seed, epoch): order(seed, epoch, 100) for seed in (0, 1, -5) for epoch in (0, 1)}
        assert all((np.sort(found) == np.arange(100)).all() for found in orders.values())
        assert len({found.tobytes() for found in orders.values()}) == 6
        assert (order(1, 1, 100) == orders[1, 1]).all()

    def test_every_place_is_equally_likely(self) -> None:
        places = np.stack([order(7, epoch, 10) for epoch in range(4000)])
        counts = np.stack([np.bincount(places[:, k], minlength=10) for k in range(10)])
        assert np.abs(counts - 400).max() < 4.5 * np.sqrt(4000 * 0.1 * 0.9)

    def test_is_what_it_was(self) -> None:
        # A changed order would break the resume of every run begun before.
        assert order(42, 3, 10).tolist() == [4, 3, 9, 1, 6, 0, 8, 5, 7, 2]


class TestDraw:
    def test_shares_follow_the_weights(self) -> None:
        weights = np.random.default_rng(3).uniform(0, 2, 400) ** 3
        counts = sum(np.bincount(draw(weights, 42, epoch), minlength=400) for epoch in range(100))
        chance = weights / weights.sum()
        spread = np.sqrt(40000 * chance * (1 - chance))
        assert counts.sum() == 40000
        assert (np.abs(counts - 40000 * chance) < 4.5 * spread + 1).all()

    def test_balanced_weights_balance_classes(self) -> None:
        positive = np.arange(5000) % 20 == 0
        weights = np.where(positive, 1 / positive.sum(), 1 / (~positive).sum())
        share = positive[draw(weights, 0, 0)].mean()
        assert abs(share - 0.5) < 4 * np.sqrt(0.25 / 5000)

    def test_weight_zero_is_never_drawn(self) -> None:
        weights = np.zeros(1000)
        weights[[3, 998]] = 1e-300, 1e-300
        assert set(draw(weights, 1, 0).tolist()) == {3, 998}

    def test_is_pure_and_changes_by_epoch(self) -> None:
        weights = np.ones(50)
        assert (draw(weights, 1, 2) == draw(weights, 1, 2)).all()
        assert (draw(weights, 1, 2) != draw(weights, 1, 3)).any()
        assert (draw(weights, 1, 2) != draw(weights, 2, 2)).any()


class TestMicroBatches:
    @pytest.mark.parametrize("group", [1, 2, 3, 8])
    @pytest.mark.parametrize("batch_size", [1, 2, 5, 32])
    def test_every_step_is_whole_and_no_batch_is_tiny(self, group, batch_size) -> None:
        for n in range(200):
            sizes = np.diff(micro_batches(n, batch_size, group))
            assert len(sizes) % group == 0
            assert n - sizes.sum() < 2 * group
            if len(sizes):
                assert sizes.max() <= batch_size
                assert sizes.min() >= min(2, batch_size)

    def test_one_process_keeps_all_but_a_single_sample(self) -> None:
        assert [int(micro_batches(n, 4)[-1]) for n in (8, 9, 10, 11)] == [8, 8, 10, 11]


class TestTrainBatches:
    def test_an_epoch_holds_every_sample_once(self) -> None:
        batches = train(50, 8)
        seen = list(batches.epoch(0))
        assert len(seen) == len(batches) == 7
        assert [len(batch) for batch in seen] == [8] * 6 + [2]
        assert np.sort(np.concatenate([batch.rows for batch in seen])).tolist() == list(range(100, 150))
        assert np.concatenate([batch.positions for batch in seen]).tolist() == list(range(50))
        assert [batch.index for batch in seen] == list(range(7))

    def test_images_and_targets_are_those_of_the_rows(self) -> None:
        batches = TrainBatches(gather, np.arange(50), np.arange(50, dtype=np.float32)[:, None], 8, seed=1)
        for batch in batches.epoch(0):
            assert batch.images.dtype == torch.float32
            assert np.array_equal(batch.images.numpy(), POOL[batch.rows])
            assert batch.targets[:, 0].tolist() == batch.rows.tolist()

    def test_unknown_targets_stay_unknown(self) -> None:
        targets = np.full((20, 2), np.nan, dtype=np.float32)
        batch = next(iter(TrainBatches(gather, np.arange(20), targets, 8, seed=1).epoch(0)))
        assert torch.isnan(batch.targets).all()

    @pytest.mark.parametrize("weights", [None, np.linspace(0, 1, 50)])
    @pytest.mark.parametrize("start", [0, 1, 3, 6, 7])
    def test_resume_gives_the_rest_bit_for_bit(self, weights, start) -> None:
        whole = list(train(50, 8, draw_weights=weights).epoch(3))
        rest = list(train(50, 8, draw_weights=weights).epoch(3, start=start))
        assert [batch.index for batch in rest] == list(range(start, 7))
        assert all(same(*pair) for pair in zip(whole[start:], rest, strict=True))

    def test_a_sample_is_augmented_alike_at_any_batch_size(self) -> None:
        small, large = (torch.cat([batch.images for batch in train(50, size).epoch(2)]) for size in (2, 25))
        assert torch.equal(small, large)

    @pytest.mark.parametrize("n", [48, 50, 53, 61])
    @pytest.mark.parametrize("world", [2, 3])
    def test_ranks_together_see_what_one_accumulating_process_sees(self, n, world) -> None:
        alone = list(train(n, 4, accumulate=world).epoch(1))
        ranks = [list(train(n, 4, rank=rank, world=world).epoch(1)) for rank in range(world)]
        assert {len(batches) for batches in ranks} == {len(alone) // world}
        for number, batch in enumerate(alone):
            assert same(batch, ranks[number % world][number // world])

    def test_epochs_differ(self) -> None:
        batches = train()
        first, second = next(iter(batches.epoch(0))), next(iter(batches.epoch(1)))
        assert (first.rows != second.rows).any()

    def test_draws_come_by_weight_and_are_reported(self) -> None:
        weights = np.where(np.arange(50) < 5, 1.0, 0.0)
        batches = train(50, 8, draw_weights=weights)
        drawn = np.concatenate([batch.rows for batch in batches.epoch(0)])
        assert set(drawn.tolist()) <= set(range(100, 105))
        assert (batches.samples(0) + 100 == drawn).all()

    def test_too_few_samples_are_an_error_that_says_so(self) -> None:
        with pytest.raises(DataError, match=r"3 samples do not fill one step of 2 processes"):
            train(3, 8, world=2)
        with pytest.raises(DataError, match="1 samples"):
            train(1, 8)

    def test_a_read_only_gather_is_taken(self) -> None:
        frozen = POOL.copy()
        frozen.flags.writeable = False
        targets = np.zeros((20, 1), dtype=np.float32)
        batches = TrainBatches(lambda rows: frozen[rows[0] : rows[0] + len(rows)], np.arange(20), targets, 8, seed=1)
        assert len(list(batches.epoch(0))) == 3


class TestMasks:
    POOL = np.concatenate([POOL, (POOL > 128).astype(np.uint8), np.full_like(POOL, 255)], axis=1)

    def test_masks_come_beside_images(self) -> None:
        changing = {"augmenter": Augmenter(AugmentationConfig(brightness=0, contrast=0), 42), "channels": 1}
        batches = TrainBatches(self.POOL.__getitem__, np.arange(200), np.zeros((200, 2), np.float32), 32, 42, **changing)
        plain = TrainBatches(gather, np.arange(200), np.zeros((200, 2), np.float32), 32, 42, augmenter=changing["augmenter"])
        for batch, other in zip(batches.epoch(1), plain.epoch(1), strict=True):
            assert batch.masks is not None
            assert batch.masks.shape == (len(batch), 2, 12, 12)
            assert torch.equal(batch.images, other.images)  # the masks change nothing about the images
            assert set(batch.masks[:, 0].unique().tolist()) == {0, 1}
            assert (batch.masks[:, 1] == 255).all()
            assert other.masks is None

    @pytest.mark.parametrize("start", [0, 2, 6])
    def test_resume_gives_the_same_masks(self, start: int) -> None:
        def masked() -> TrainBatches:
            targets = np.zeros((50, 1), np.float32)
            return TrainBatches(self.POOL.__getitem__, np.arange(50), targets, 8, 42, augmenter=Augmenter(STRONG, 42), channels=1)

        whole, rest = list(masked().epoch(3)), list(masked().epoch(3, start=start))
        for first, second in zip(whole[start:], rest, strict=True):
            assert same(first, second)
            assert torch.equal(first.masks, second.masks)

    def test_evaluation_gives_them_as_they_are(self) -> None:
        rows = np.array([7, 3, 150])
        seen = list(EvalBatches(self.POOL.__getitem__, rows, np.zeros((3, 2), np.float32), 2, channels=1))
        assert np.array_equal(torch.cat([batch.images for batch in seen]).numpy(), POOL[rows])
        assert np.array_equal(torch.cat([batch.masks for batch in seen]).numpy(), self.POOL[rows, 1:])


class TestEvalBatches:
    def test_in_order_unchanged_and_complete(self) -> None:
        rows = np.array([7, 3, 150, 3, 9])
        targets = np.arange(5, dtype=np.float32)[:, None]
        batches = EvalBatches(gather, rows, targets, batch_size=2)
        seen = list(batches)
        assert len(batches) == len(seen) == 3
        assert seen[0].images.dtype == torch.uint8
        assert np.array_equal(torch.cat([batch.images for batch in seen]).numpy(), POOL[rows])
        assert np.concatenate([batch.rows for batch in seen]).tolist() == rows.tolist()
        assert torch.cat([batch.targets for batch in seen])[:, 0].tolist() == [0, 1, 2, 3, 4]
        assert [len(batch) for batch in batches] == [2, 2, 1]

    @pytest.mark.parametrize("world", [1, 2, 3, 5])
    def test_ranks_share_out_the_batches_that_one_would_see(self, world: int) -> None:
        rows, targets = np.arange(11), np.zeros((11, 1), np.float32)
        alone = [batch.rows.tolist() for batch in EvalBatches(gather, rows, targets, 3)]
        assert alone == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10]]
        for rank in range(world):
            batches = EvalBatches(gather, rows, targets, 3, rank=rank, world=world)
            seen = list(batches)
            assert len(batches) == len(seen)
            assert [batch.rows.tolist() for batch in seen] == alone[rank::world]
            assert [batch.positions.tolist() for batch in seen] == alone[rank::world]
            assert [batch.index for batch in seen] == list(range(len(seen)))

    def test_nothing_gives_nothing(self) -> None:
        assert list(EvalBatches(gather, np.arange(0), np.zeros((0, 1), dtype=np.float32), 4)) == []


class TestOneAhead:
    def test_the_next_is_made_while_the_caller_holds_this_one(self) -> None:
        begun = [threading.Event() for _ in range(4)]

        def prepare(number: int) -> int:
            begun[number].set()
            return number

        numbers = one_ahead(prepare, range(4))
        for number in range(3):
            assert next(numbers) == number
            assert begun[number + 1].wait(timeout=10)
            assert not any(event.wait(timeout=0.02) for event in begun[number + 2 :])
        numbers.close()

    def test_the_thread_keeps_to_one_core_and_leaves_the_others_theirs(self) -> None:
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(2)
            assert list(one_ahead(lambda _: torch.get_num_threads(), range(2))) == [1, 1]
            assert torch.get_num_threads() == 2
            with ThreadPoolExecutor(1) as later:
                assert later.submit(torch.get_num_threads).result() == 2
        finally:
            torch.set_num_threads(before)

    def test_an_exception_is_raised_where_its_batch_was_due(self) -> None:
        def prepare(number: int) -> int:
            if number == 2:
                raise DataError("image 2 is cut short")
            return number

        numbers = one_ahead(prepare, range(5))
        assert [next(numbers), next(numbers)] == [0, 1]
        with pytest.raises(DataError, match="image 2"):
            next(numbers)
        assert not worker_threads()

    def test_the_thread_ends_with_the_loop(self) -> None:
        for batch in train().epoch(0):
            assert len(worker_threads()) == 1
            if batch.index == 2:
                break
        assert not worker_threads()
        assert len(list(train().epoch(0))) == 7
        assert not worker_threads()

    def test_the_thread_ends_when_it_is_interrupted(self) -> None:
        def interrupted() -> None:
            for _ in train().epoch(0):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert not worker_threads()

    def test_no_thread_is_left_for_an_epoch_that_is_never_begun(self) -> None:
        train().epoch(0)
        assert not worker_threads()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestCuda:
    def test_batches_are_the_same_as_on_the_cpu_within_rounding(self) -> None:
        for here, there in zip(train().epoch(0), train(device="cuda").epoch(0), strict=True):
            assert there.images.is_cuda
            assert (here.rows == there.rows).all()
            assert torch.equal(here.targets, there.targets.cpu())
            # Rows are rounded to 2^-10 of a pixel on the CPU; neighbouring random pixels differ by up to 255.
            torch.testing.assert_close(here.images, there.images.cpu(), atol=0.6, rtol=0)

    def test_resume_gives_the_rest_bit_for_bit(self) -> None:
        whole, rest = list(train(device="cuda").epoch(3)), list(train(device="cuda").epoch(3, start=4))
        assert all(same(*pair) for pair in zip(whole[4:], rest, strict=True))


class TestDeep:
    """Images of 16 bits: floats of the same scale in training and evaluation; masks in bytes."""

    POOL = np.random.default_rng(1).integers(0, 65536, (40, 1, 24, 24)).astype(np.uint16)

    def planes(self, rows: NDArray[np.intp]) -> NDArray[np.uint16]:
        masks = (self.POOL[rows] % 3).astype(np.uint16)
        masks[masks == 2] = IGNORED
        return np.concatenate([self.POOL[rows], masks], axis=1)

    def test_training_and_evaluation_give_the_same_floats(self) -> None:
        rows, targets = np.arange(40), np.zeros((40, 1), np.float32)
        seen = {}
        for batch in TrainBatches(self.POOL.__getitem__, rows, targets, 8, seed=1).epoch(0):
            seen.update(zip(batch.rows.tolist(), batch.images, strict=True))
        for batch in EvalBatches(self.POOL.__getitem__, rows, targets, 7):
            assert batch.images.dtype == torch.float32
            for row, image in zip(batch.rows.tolist(), batch.images, strict=True):
                assert torch.equal(image, seen[row])
                np.testing.assert_array_equal(image.numpy(), for_network(self.POOL[row]))
        assert len(seen) == 40

    def test_bytes_stay_bytes_in_evaluation(self) -> None:
        batch = next(iter(EvalBatches(gather, np.arange(5), np.zeros((5, 1), np.float32), 5)))
        assert batch.images.dtype == torch.uint8

    @pytest.mark.parametrize("patches", [None, PatchConfig(size=16)])
    def test_masks_are_bytes(self, patches: PatchConfig | None) -> None:
        rows, targets = np.arange(40), np.zeros((40, 1), np.float32)
        train = TrainBatches(self.planes, rows, targets, 8, seed=1, augmenter=Augmenter(STRONG, 1), channels=1, patches=patches)
        for batch in (next(train.epoch(0)), next(iter(EvalBatches(self.planes, rows, targets, 8, channels=1)))):
            assert batch.masks is not None
            assert batch.masks.dtype == torch.uint8
            assert set(batch.masks.unique().tolist()) == {0, 1, IGNORED}
            assert 0 <= float(batch.images.min()) <= float(batch.images.max()) <= 255
            assert batch.images.dtype == torch.float32

    @pytest.mark.parametrize("kind", ["png", "tiff", "nifti", "dicom"])
    def test_what_bytes_would_make_equal_stays_apart_from_the_file_to_the_batch(self, kind: str, tmp_path: Path) -> None:
        """A ramp of 400 of 4096 values, through preparation, cache and loader."""
        ramp = np.repeat(np.arange(1000, 1400, dtype=np.uint16), 4).reshape(40, 40)
        path = WRITERS[kind](tmp_path, ramp)
        shown = {}
        for dtype in ("uint8", "uint16"):
            preparation = Preparation(PreparationConfig(size=40, channels=1, range=(0.0, 4095.0), dtype=dtype))
            names = np.array([path.name, path.name])
            samples = Samples(names, np.zeros((2, 1), np.float32), ("none",), "binary", FileImages(tmp_path, names))
            cache = open_cache(samples, preparation, tmp_path / "cache")
            cache.ensure([0, 1])
            assert not cache.unreadable
            batch = next(TrainBatches(cache.gather, np.arange(2), np.zeros((2, 1), np.float32), 2, seed=1).epoch(0))
            shown[dtype] = batch.images[0, 0].numpy()
        assert len(np.unique(shown["uint8"])) <= 27
        assert len(np.unique(shown["uint16"])) == 400
        np.testing.assert_allclose(shown["uint16"], ramp * 255.0 / 4095, atol=0.5 / 257 + 1e-4)
        np.testing.assert_array_equal(np.rint(shown["uint16"]), shown["uint8"])


def write_png(folder: Path, pixels: NDArray[np.uint16]) -> Path:
    cv2.imwrite(str(folder / "ramp.png"), pixels)
    return folder / "ramp.png"


def write_tiff(folder: Path, pixels: NDArray[np.uint16]) -> Path:
    tifffile.imwrite(folder / "ramp.tif", pixels)
    return folder / "ramp.tif"


def write_nifti(folder: Path, pixels: NDArray[np.uint16]) -> Path:
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed")
    # Rows run to the back and columns to the left, as an axial slice is shown.
    nibabel.save(nibabel.Nifti1Image(pixels.T[..., None].astype(np.int16), np.diag([-1, -1, 1, 1])), folder / "ramp.nii.gz")
    return folder / "ramp.nii.gz#z=0"


def write_dicom(folder: Path, pixels: NDArray[np.uint16]) -> Path:
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
    ct = "1.2.840.10008.5.1.4.1.1.2"
    image = pydicom.Dataset()
    image.SOPClassUID, image.SOPInstanceUID, image.Modality = ct, "1.2.3", "CT"
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.PixelData = pixels.tobytes()
    image["PixelData"].VR = "OW"
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID, image.file_meta.MediaStorageSOPInstanceUID = ct, "1.2.3"
    image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    pydicom.dcmwrite(folder / "ramp.dcm", image, enforce_file_format=True)
    return folder / "ramp.dcm"


WRITERS = {"png": write_png, "tiff": write_tiff, "nifti": write_nifti, "dicom": write_dicom}
