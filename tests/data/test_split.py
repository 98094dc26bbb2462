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
from hypothesis import given, settings
from hypothesis import strategies as st
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
        note = split_notes(samples, split_samples(samples, SplitConfig()), SplitConfig())[0]
        assert note.startswith("The splits were drawn, stratified by label, patients kept whole (train 2")


class TestKept:
    def test_all_given(self) -> None:
        given = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
        samples = make([[0], [1]] * 5, split=given)
        split = split_samples(samples, SplitConfig())
        assert split.tolist() == given
        assert "those of the source (train 6, val 2, test 2)" in split_notes(samples, split, SplitConfig())[0]

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
        assert "val was cut from train" in split_notes(samples, split, SplitConfig())[0]

    def test_test_is_cut_too_unless_its_ratio_is_0(self) -> None:
        samples = make([[0], [1]] * 50, split=["train"] * 80 + ["val"] * 20)
        assert (split_samples(samples, SplitConfig())[:80] == "test").sum() == pytest.approx(80 * 0.15 / 0.85, abs=1)
        assert (split_samples(samples, SplitConfig(ratio=(0.8, 0.2, 0))) == samples.split).all()

    def test_open_samples_go_to_the_splits_that_the_source_does_not_name(self) -> None:
        samples = make([[0], [1]] * 50, split=["test"] * 20 + [""] * 80)
        split = split_samples(samples, SplitConfig(ratio=(0.6, 0.2, 0.2)))
        assert collections.Counter(split.tolist()) == {"test": 20, "train": 60, "val": 20}
        assert "drawn from what the source leaves open" in split_notes(samples, split, SplitConfig())[0]

    def test_an_open_image_goes_with_its_patient(self) -> None:
        patients = ["a"] * 10 + [f"p{row}" for row in range(90)]
        samples = make([[0], [1]] * 50, patients, ["test"] * 5 + [""] * 95)
        split = split_samples(samples, SplitConfig())
        assert (split[:10] == "test").all()

    def test_patients_in_two_given_splits_are_kept_and_told(self) -> None:
        samples = make([[0], [1], [0], [1]], ["a", "b", "a", "c"], ["train", "train", "val", "test"])
        split = split_samples(samples, SplitConfig())
        assert split.tolist() == ["train", "train", "val", "test"]
        assert any("Images of 1 patient are in several splits (a)" in note for note in split_notes(samples, split, SplitConfig()))

    def test_classes_absent_from_a_split_are_told(self) -> None:
        samples = make([[0, 1], [1, 0], [0, 1], [0, 0]], split=["train", "train", "val", "test"])
        notes = split_notes(samples, split_samples(samples, SplitConfig()), SplitConfig())
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


class TestFolds:
    def test_every_sample_is_test_once_and_val_once(self) -> None:
        samples = random_samples(600, 300, (0.3, 0.1))
        splits = [split_samples(samples, SplitConfig(folds=5, fold=fold)) for fold in range(5)]
        for name in ("test", "val"):
            assert (np.sum([split == name for split in splits], axis=0) == 1).all()
        for fold, split in enumerate(splits):
            np.testing.assert_array_equal(split == "val", splits[(fold + 1) % 5] == "test")
            assert shared_patients(samples, split) == 0

    @settings(max_examples=60, deadline=None)
    @given(data=st.data(), folds=st.integers(3, 8), seed=st.integers(0, 10**6), classes=st.integers(1, 6))
    def test_folds_are_even_in_every_label_whatever_the_patients(self, data: Any, folds: int, seed: int, classes: int) -> None:
        number = data.draw(st.integers(60, 400))
        most = data.draw(st.integers(1, 4))
        random = np.random.default_rng(seed)
        patients = np.repeat(np.arange(number), random.integers(1, most + 1, number))
        prevalence = random.uniform(0.02, 0.7, classes)
        samples = make(random.random((len(patients), classes)) < prevalence, patients)
        parts = [split_samples(samples, SplitConfig(folds=folds, fold=fold, seed=seed)) == "test" for fold in range(folds)]
        assert (np.sum(parts, axis=0) == 1).all()
        assert sum(len(set(patients[part])) for part in parts) == number
        sizes = np.array([part.sum() for part in parts])
        labels = np.array([samples.targets[part].sum(axis=0) for part in parts])
        # A patient cannot be cut: no share can be nearer than the images of one.
        assert np.abs(sizes - len(patients) / folds).max() <= 2 * most + 1
        assert np.abs(labels - labels.mean(axis=0)).max() <= 2 * most + 1

    def test_repeats_divide_differently_and_the_first_is_repeat_0(self) -> None:
        samples = random_samples(300, 150, (0.3, 0.2))
        first = split_samples(samples, SplitConfig(folds=4))
        np.testing.assert_array_equal(first, split_samples(samples, SplitConfig(folds=4, fold=0, repeat=0)))
        other = split_samples(samples, SplitConfig(folds=4, repeat=1))
        assert (first != other).mean() > 0.3
        assert (first != split_samples(samples, SplitConfig(folds=4, seed=7))).any()

    def test_the_test_split_of_the_source_stays_and_folds_take_turns_as_val(self) -> None:
        patients = np.repeat(np.arange(100), 4)
        given_ = ["train"] * 240 + ["val"] * 80 + ["test"] * 80
        samples = make(np.random.default_rng(0).random((400, 2)) < 0.3, patients, given_)
        configs = [SplitConfig(folds=4, fold=fold) for fold in range(4)]
        splits = [split_samples(samples, config) for config in configs]
        assert all((split[320:] == "test").all() and (split[:320] != "test").all() for split in splits)
        assert (np.sum([split[:320] == "val" for split in splits], axis=0) == 1).all()
        note = split_notes(samples, splits[1], configs[1])[0]
        assert note.startswith("Fold 1 of 4 (counted from 0) is val; test stays as it is given; drawn stratified by label")

    def test_two_folds_without_test(self) -> None:
        samples = random_samples(200, None, (0.5,))
        with pytest.raises(DataError, match="2 leaves nothing to train on"):
            split_samples(samples, SplitConfig(folds=2))
        split = split_samples(samples, SplitConfig(folds=2, ratio=(0.5, 0.5, 0)))
        assert collections.Counter(split.tolist()) == {"train": 100, "val": 100}

    def test_named_test_patients_stay_out_of_the_folds(self) -> None:
        samples = make(np.eye(40) % 2, patients=[f"p{number // 2}" for number in range(40)])
        config = SplitConfig(folds=3, test=("p3",))
        split = split_samples(named_splits(samples, config), config)
        assert np.flatnonzero(split == "test").tolist() == [6, 7]

    def test_without_regard_to_patients(self) -> None:
        samples = random_samples(400, 60, (0.3,))
        assert shared_patients(samples, split_samples(samples, SplitConfig(folds=4, by_patient=False))) > 10

    def test_fewer_patients_than_folds(self) -> None:
        samples = make([[0], [1]] * 5, patients=["a", "b", "c", "d"] * 2 + ["a", "b"])
        with pytest.raises(
            DataError, match=r"4 patients cannot be divided into 5 folds\. Add patients, lower data\.split\.folds"
        ):
            split_samples(samples, SplitConfig(folds=5))
        assert set(split_samples(samples, SplitConfig(folds=4))) == set(SPLITS)

    def test_notes_say_which_fold_is_what(self) -> None:
        samples, config = random_samples(300, 150, (0.3,)), SplitConfig(folds=5, fold=4, repeat=2)
        note = split_notes(samples, split_samples(samples, config), config)[0]
        assert note.startswith(
            "Fold 4 of 5 (counted from 0, repeat 2) is test, fold 0 is val; drawn stratified by label, patients"
        )

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"fold": 1}, "fold and repeat are read where folds says"),
            ({"repeat": 1}, "fold and repeat are read where folds says"),
            ({"folds": 5, "fold": 5}, "fold 5: the 5 folds are counted from 0, up to 4"),
            ({"folds": 5, "val": ("a",)}, "each fold is val in its turn"),
            ({"folds": 1}, "greater than or equal to 2"),
        ],
    )
    def test_settings_that_make_no_sense(self, values: dict[str, Any], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            SplitConfig(**values)


class TestSubset:
    @settings(max_examples=60, deadline=None)
    @given(seed=st.integers(0, 10**6), number=st.integers(30, 300), share=st.floats(0.05, 0.95), most=st.integers(1, 8))
    def test_no_patient_is_ever_cut(self, seed: int, number: int, share: float, most: int) -> None:
        random = np.random.default_rng(seed)
        patients = np.repeat(np.arange(number), random.integers(1, most + 1, number))
        samples = make(random.random((len(patients), 2)) < (0.4, 0.1), random.permutation(patients))
        assert samples.patients is not None
        rows = stratified_subset(samples, share, seed)
        inside = np.isin(samples.patients, samples.patients[rows])
        np.testing.assert_array_equal(np.flatnonzero(inside), rows)
        wanted = round(share * len(samples))
        assert len(rows) <= max(wanted, most)
        assert len(rows) >= wanted - most

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


@pytest.fixture(scope="module")
def nih(real_sets: Path) -> Samples:
    """112,120 films of 30,805 patients, 14 labels of which the rarest, Hernia, has 227; no images."""
    table = pd.read_csv(real_sets / "nih_metadata" / "Data_Entry_2017_v2020.csv.gz")
    labels = table["Finding Labels"].str.get_dummies("|").drop(columns="No Finding")
    return make(labels.to_numpy(), table["Patient ID"])


def test_the_whole_nih_table(nih: Samples) -> None:
    """Even to an image or two, in seconds."""
    samples = nih
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
    chosen = samples.take(part)
    assert chosen.patients is not None
    assert samples.patients is not None
    assert np.isin(samples.patients, chosen.patients).sum() == len(part)  # whole patients
    assert (np.abs(samples.targets[part].mean(axis=0, dtype=float) / natural - 1) < 0.03).all()


@pytest.mark.parametrize("folds", [5, 10])
def test_folds_of_the_whole_nih_table(nih: Samples, folds: int) -> None:
    """Every fold has its share of each label to two images, and its size to a few."""
    started = time.process_time()
    splits = [split_samples(nih, SplitConfig(folds=folds, fold=fold)) for fold in range(0, folds, 2)]
    assert (time.process_time() - started) / len(splits) < 5
    parts = [split == name for split in splits for name in ("test", "val")][:folds]
    assert (np.sum(parts, axis=0) == 1).all()
    assert shared_patients(nih, splits[0]) == 0
    natural, shares = nih.targets.sum(axis=0, dtype=float), nih.targets.mean(axis=0, dtype=float)
    for part in parts:
        assert abs(part.mean() - 1 / folds) < 0.001
        assert np.abs(nih.targets[part].sum(axis=0, dtype=float) - natural / folds).max() <= 2
        assert np.abs(nih.targets[part].mean(axis=0, dtype=float) - shares).max() < 0.001


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
