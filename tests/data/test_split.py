"""Splits and subsets: what is kept, what is drawn, how even it is, and that no patient is ever divided."""

from __future__ import annotations

import collections
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from osler.config import SplitConfig
from osler.data.samples import SPLITS, Images, Samples
from osler.data.split import named_splits, split_hash, split_notes, split_samples, stratified_subset
from osler.errors import DataError
from osler.imaging.read import ImageInfo, RawImage


@dataclass(frozen=True)
class NoImages:
    """Images that nobody may look at."""

    rows: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, row: int) -> RawImage:
        raise NotImplementedError

    def probe(self, row: int) -> ImageInfo:
        raise NotImplementedError

    def identity(self, row: int) -> str:
        raise NotImplementedError

    def take(self, rows: NDArray[np.intp]) -> Images:
        return NoImages(self.rows[rows])


def make(targets: Any, patients: Any = None, split: Any = None, task: Any = "multilabel") -> Samples:
    values = np.asarray(targets, dtype=np.float32)
    return Samples(
        ids=np.array([f"{row:06d}" for row in range(len(values))]),
        targets=values,
        classes=tuple(f"c{k}" for k in range(values.shape[1])),
        task=task,
        images=NoImages(np.arange(len(values))),
        patients=None if patients is None else np.asarray(patients).astype(str),
        split=None if split is None else np.asarray(split, dtype="<U5"),
    )


def random_samples(number: int, patients: int | None, prevalences: tuple[float, ...], seed: int = 0) -> Samples:
    random = np.random.default_rng(seed)
    targets = random.random((number, len(prevalences))) < prevalences
    return make(targets, None if patients is None else random.integers(0, patients, number))


def worst(samples: Samples, split: NDArray[np.str_], ratio: tuple[float, ...]) -> tuple[float, float]:
    """Largest distance, in images, of any split's size and of any label's count from its share."""
    sizes, labels = [], []
    for name, share in zip(SPLITS, ratio, strict=True):
        rows = split == name
        sizes.append(abs(rows.sum() - share * len(samples)))
        labels.append(np.abs(samples.targets[rows].sum(axis=0) - share * samples.targets.sum(axis=0)).max())
    return max(sizes), max(labels)


def shared_patients(samples: Samples, split: NDArray[np.str_]) -> int:
    assert samples.patients is not None
    splits = collections.defaultdict(set)
    for patient, name in zip(samples.patients.tolist(), split.tolist(), strict=True):
        splits[patient].add(name)
    return sum(len(names) > 1 for names in splits.values())


class TestDrawn:
    @pytest.mark.parametrize("seed", range(3))
    def test_sizes_and_labels_are_even_and_patients_whole(self, seed: int) -> None:
        samples = random_samples(2000, 1200, (0.3, 0.1, 0.02), seed)
        split = split_samples(samples, SplitConfig(seed=seed))
        size, label = worst(samples, split, (0.7, 0.15, 0.15))
        assert size <= 4
        assert label <= 2
        assert shared_patients(samples, split) == 0

    def test_without_patients_each_image_stands_alone(self) -> None:
        samples = random_samples(1000, None, (0.5,))
        size, label = worst(samples, split_samples(samples, SplitConfig()), (0.7, 0.15, 0.15))
        assert size < 1
        assert label < 1

    def test_exclusive_classes(self) -> None:
        classes = np.eye(4)[np.random.default_rng(1).choice(4, 400, p=[0.6, 0.3, 0.08, 0.02])]
        samples = make(classes, task="multiclass")
        assert worst(samples, split_samples(samples, SplitConfig()), (0.7, 0.15, 0.15))[1] <= 1

    @pytest.mark.parametrize("seed", range(4))
    def test_unknown_labels_are_spread_too(self, seed: int) -> None:
        targets = (np.random.default_rng(2).random((1000, 1)) < 0.3).astype(float)
        targets[:200] = np.nan
        split = split_samples(make(targets, task="binary"), SplitConfig(seed=seed))
        assert abs((split[:200] == "val").sum() - 30) <= 1

    def test_seed_decides_and_repeats(self) -> None:
        samples = random_samples(300, 150, (0.3, 0.2))
        first = split_samples(samples, SplitConfig(seed=1))
        np.testing.assert_array_equal(first, split_samples(samples, SplitConfig(seed=1)))
        assert (first != split_samples(samples, SplitConfig(seed=2))).any()

    def test_by_patient_can_be_switched_off(self) -> None:
        samples = random_samples(400, 60, (0.3,))
        assert shared_patients(samples, split_samples(samples, SplitConfig(by_patient=False))) > 10

    def test_large_patients_do_not_all_land_in_train(self) -> None:
        patients = np.repeat(np.arange(130), [20] * 30 + [1] * 100)
        samples = make(np.random.default_rng(0).random((len(patients), 1)) < 0.5, patients)
        split = split_samples(samples, SplitConfig())
        large = [name for name in SPLITS if (split[: 30 * 20] == name).any()]
        assert large == list(SPLITS)

    def test_ratio_of_0_makes_no_split(self) -> None:
        split = split_samples(random_samples(100, None, (0.5,)), SplitConfig(ratio=(8, 2, 0)))
        assert collections.Counter(split.tolist()) == {"train": 80, "val": 20}

    def test_as_many_patients_as_splits(self) -> None:
        samples = make([[1], [0], [1], [0], [1]], patients=["a", "a", "b", "b", "c"])
        split = split_samples(samples, SplitConfig())
        assert set(split) == set(SPLITS)
        assert shared_patients(samples, split) == 0

    def test_notes(self) -> None:
        samples = random_samples(300, 150, (0.3,))
        note = split_notes(samples, split_samples(samples, SplitConfig()))[0]
        assert note.startswith("The splits were drawn, stratified by label, patients kept whole (train 2")


class TestKept:
    def test_all_given(self) -> None:
        given = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
        samples = make([[0], [1]] * 5, split=given)
        split = split_samples(samples, SplitConfig())
        assert split.tolist() == given
        assert "those of the source (train 6, val 2, test 2)" in split_notes(samples, split)[0]

    def test_val_is_cut_from_train_by_patient_where_only_test_is_given(self) -> None:
        patients = np.repeat(np.arange(100), 4)
        given = ["train"] * 320 + ["test"] * 80
        samples = make(np.random.default_rng(0).random((400, 2)) < 0.3, patients, given)
        split = split_samples(samples, SplitConfig())
        assert (split[320:] == "test").all()
        counts = collections.Counter(split[:320].tolist())
        assert set(counts) == {"train", "val"}
        assert abs(counts["val"] - 320 * 0.15 / 0.85) <= 4
        assert shared_patients(samples, split) == 0
        assert "val was cut from train" in split_notes(samples, split)[0]

    def test_test_is_cut_too_unless_its_ratio_is_0(self) -> None:
        samples = make([[0], [1]] * 50, split=["train"] * 80 + ["val"] * 20)
        assert (split_samples(samples, SplitConfig())[:80] == "test").sum() == pytest.approx(80 * 0.15 / 0.85, abs=1)
        assert (split_samples(samples, SplitConfig(ratio=(0.8, 0.2, 0))) == samples.split).all()

    def test_open_samples_go_to_the_splits_that_the_source_does_not_name(self) -> None:
        samples = make([[0], [1]] * 50, split=["test"] * 20 + [""] * 80)
        split = split_samples(samples, SplitConfig(ratio=(0.6, 0.2, 0.2)))
        assert collections.Counter(split.tolist()) == {"test": 20, "train": 60, "val": 20}
        assert "drawn from what the source leaves open" in split_notes(samples, split)[0]

    def test_an_open_image_goes_with_its_patient(self) -> None:
        patients = ["a"] * 10 + [f"p{row}" for row in range(90)]
        samples = make([[0], [1]] * 50, patients, ["test"] * 5 + [""] * 95)
        split = split_samples(samples, SplitConfig())
        assert (split[:10] == "test").all()

    def test_patients_in_two_given_splits_are_kept_and_told(self) -> None:
        samples = make([[0], [1], [0], [1]], ["a", "b", "a", "c"], ["train", "train", "val", "test"])
        split = split_samples(samples, SplitConfig())
        assert split.tolist() == ["train", "train", "val", "test"]
        assert any("Images of 1 patient are in several splits (a)" in note for note in split_notes(samples, split))

    def test_classes_absent_from_a_split_are_told(self) -> None:
        samples = make([[0, 1], [1, 0], [0, 1], [0, 0]], split=["train", "train", "val", "test"])
        notes = split_notes(samples, split_samples(samples, SplitConfig()))
        assert "val has no positive sample of c0: it cannot be scored there." in notes
        assert "val has no negative sample of c1: it cannot be scored there." in notes
        assert "test has no positive sample of c0, c1: it cannot be scored there." in notes


class TestRefused:
    def test_one_patient_only(self) -> None:
        with pytest.raises(DataError, match=r"1 patient cannot be divided into 3 splits.*data\.split\.by_patient: false"):
            split_samples(make([[0], [1]] * 5, patients=["a"] * 10), SplitConfig())

    def test_fewer_patients_than_splits(self) -> None:
        samples = make([[0], [1]] * 5, patients=["a", "b"] * 5)
        with pytest.raises(DataError, match=r"2 patients cannot be divided into 3 splits \(train, val, test\)"):
            split_samples(samples, SplitConfig())
        assert set(split_samples(samples, SplitConfig(ratio=(1, 1, 0)))) == {"train", "val"}

    def test_fewer_samples_than_splits(self) -> None:
        with pytest.raises(DataError, match="2 samples cannot be divided"):
            split_samples(make([[0], [1]]), SplitConfig())

    def test_open_samples_though_all_is_assigned(self) -> None:
        with pytest.raises(DataError, match=r"no split is given for 1 sample \(000003\)"):
            split_samples(make([[0], [1], [0], [1]], split=["train", "val", "test", ""]), SplitConfig())

    def test_nothing_to_train_on(self) -> None:
        with pytest.raises(DataError, match="assigns no sample to train, only to test"):
            split_samples(make([[0], [1]], split=["test", "test"]), SplitConfig())


class TestSubset:
    def test_a_share_keeps_labels_even_and_patients_whole(self) -> None:
        samples = random_samples(3000, 1500, (0.3, 0.05))
        rows = stratified_subset(samples, 0.2, seed=3)
        assert len(rows) == 600
        assert (np.diff(rows) > 0).all()
        np.testing.assert_allclose(samples.targets[rows].sum(axis=0), 0.2 * samples.targets.sum(axis=0), atol=2)
        assert samples.patients is not None
        chosen = np.isin(samples.patients, samples.patients[rows])
        np.testing.assert_array_equal(np.flatnonzero(chosen), rows)

    @pytest.mark.parametrize("count", [1, 7, 40, 200, 299])
    def test_a_count_is_never_passed(self, count: int) -> None:
        samples = random_samples(300, None, (0.2,))
        assert len(stratified_subset(samples, count, seed=0)) == count

    def test_all_of_it(self) -> None:
        samples = random_samples(30, 10, (0.2,))
        np.testing.assert_array_equal(stratified_subset(samples, 30, 0), np.arange(30))
        np.testing.assert_array_equal(stratified_subset(samples, 1.0, 0), np.arange(30))
        assert len(stratified_subset(samples, 1, 0)) < 30

    def test_a_few_samples_still_have_both_labels_of_a_rare_class(self) -> None:
        targets = np.zeros((1000, 2))
        targets[:3, 0] = 1
        targets[:997, 1] = 1
        rows = stratified_subset(make(targets), 12, seed=5)
        assert len(rows) == 12
        chosen = targets[rows]
        assert ((chosen == 1).any(axis=0) & (chosen == 0).any(axis=0)).all()

    def test_every_assigned_split_gives_its_share(self) -> None:
        samples = make([[0], [1]] * 500, split=["train"] * 600 + ["val"] * 300 + ["test"] * 100)
        assert samples.split is not None
        counts = collections.Counter(samples.split[stratified_subset(samples, 100, 1)].tolist())
        assert counts == {"train": 60, "val": 30, "test": 10}

    def test_one_patient_is_taken_even_where_all_are_larger(self) -> None:
        samples = make([[0], [1]] * 20, patients=np.repeat(np.arange(8), 5))
        assert len(stratified_subset(samples, 2, 0)) == 5

    def test_seed_decides_and_repeats(self) -> None:
        samples = random_samples(300, 150, (0.3, 0.2))
        first = stratified_subset(samples, 0.3, 1)
        np.testing.assert_array_equal(first, stratified_subset(samples, 0.3, 1))
        assert set(first) != set(stratified_subset(samples, 0.3, 2))


def test_a_hash_knows_the_set_of_ids() -> None:
    ids = np.array(["b", "a", "ü"])
    assert split_hash(ids) == split_hash(ids[::-1]) == split_hash(np.sort(ids))
    assert split_hash(ids) != split_hash(ids[:2])
    assert len(split_hash(ids)) == 16
    assert split_hash(np.array(["a\udcff"])) != split_hash(np.array(["a"]))


def test_the_whole_nih_table(real_sets: Path) -> None:
    """112,120 films of 30,805 patients, 14 labels of which the rarest has 227: even to an image or two, in seconds."""
    table = pd.read_csv(real_sets / "nih_metadata" / "Data_Entry_2017_v2020.csv.gz")
    labels = table["Finding Labels"].str.get_dummies("|").drop(columns="No Finding")
    samples = make(labels.to_numpy(), table["Patient ID"])
    started = time.process_time()
    split = split_samples(samples, SplitConfig())
    assert time.process_time() - started < 5
    assert shared_patients(samples, split) == 0
    natural = samples.targets.mean(axis=0, dtype=float)
    for name, share in zip(SPLITS, (0.7, 0.15, 0.15), strict=True):
        rows = split == name
        assert abs(rows.mean() - share) < 0.001
        off = np.abs(samples.targets[rows].mean(axis=0, dtype=float) - natural)
        assert off.max() < 0.001
        assert (off / natural).max() < 0.03
        assert samples.patients is not None
        assert abs(len(set(samples.patients[rows])) / 30_805 - share) < 0.002
    part = stratified_subset(samples, 0.2, 42)
    assert len(part) == 22_424
    assert (np.abs(samples.targets[part].mean(axis=0, dtype=float) / natural - 1) < 0.03).all()


def test_patients_that_the_configuration_names_go_where_it_says() -> None:
    samples = make(np.eye(12) % 2, patients=[f"p{number // 2}" for number in range(12)])
    config = SplitConfig(val=("p1",), test=("p4", "p5"))
    split = split_samples(named_splits(samples, config), config)
    assert collections.Counter(split.tolist()) == {"train": 6, "val": 2, "test": 4}
    assert samples.patients is not None
    assert set(samples.patients[split == "test"]) == {"p4", "p5"}
    tested = SplitConfig(test=("p4",))
    drawn = split_samples(named_splits(samples, tested), tested)
    assert set(samples.patients[drawn == "test"]) == {"p4"}
    assert (drawn == "val").any()


def test_a_name_that_is_no_patient_or_is_assigned_elsewhere_is_one_error() -> None:
    samples = make([[0], [1], [1]], patients=["a1", "b2", "c3"], split=["train", "", ""])
    with pytest.raises(
        DataError, match=r"test: no patient is called 'b3' \(did you mean 'b2'.*val: the source|val: the source.*b3"
    ):
        named_splits(samples, SplitConfig(val=("a1",), test=("b3",)))
    with pytest.raises(ValueError, match="c3: given for val and for test"):
        SplitConfig(val=("c3",), test=("c3",))
