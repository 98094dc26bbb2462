"""What a run uses of a source: splits, subsets, and what is missing said at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from osler.config import Config, DataConfig
from osler.data.load import load_data
from osler.errors import DataError

Tiny = Callable[..., Config]


def phantom(**settings: object) -> DataConfig:
    values = {"samples": 400, "size": 32, "findings": ["cardiomegaly", "effusion"], "prevalence": 0.3}
    return DataConfig.model_validate({"phantom": values, **settings})


def test_splits_share_no_patient_and_cover_everything() -> None:
    data = load_data(phantom())
    assert sum(len(rows) for rows in data.rows.values()) == len(data.source)
    patients = data.source.patients
    assert patients is not None
    groups = [set(patients[rows]) for rows in data.rows.values()]
    assert len(set.union(*groups)) == sum(len(group) for group in groups)


def test_a_subset_keeps_the_proportions_and_is_recorded() -> None:
    whole, part = load_data(phantom()), load_data(phantom(subset=0.5))
    for split, rows in whole.rows.items():
        assert len(part.rows[split]) == pytest.approx(len(rows) / 2, abs=3)
        assert set(part.rows[split]) <= set(rows)
    assert part.counts("train").prevalence == pytest.approx(whole.counts("train").prevalence, abs=0.05)
    assert any("stratified subset" in note for note in part.notes)


@pytest.mark.parametrize("folds", [None, 4])
def test_a_subset_keeps_patients_whole_and_in_one_split(folds: int | None) -> None:
    data = load_data(phantom(split={"folds": folds}, subset=0.4))
    patients = data.source.patients
    assert patients is not None
    used = np.concatenate(list(data.rows.values()))
    assert len(used) == pytest.approx(160, abs=3)
    held = [set(patients[rows]) for rows in data.rows.values()]
    assert sum(map(len, held)) == len(set().union(*held))
    assert np.isin(patients, patients[used]).sum() == len(used)
    assert any(note.startswith("A stratified subset of") for note in data.notes)
    assert any(note.startswith("Fold 0 of 4") for note in data.notes) == (folds is not None)


def test_development_mode_takes_at_most_so_many() -> None:
    data = load_data(phantom(dev_samples=60))
    assert sum(len(rows) for rows in data.rows.values()) <= 60
    assert load_data(phantom(dev_samples=10_000)).hashes() == load_data(phantom()).hashes()


def test_fingerprints_follow_labels_and_splits() -> None:
    prints = {load_data(phantom(split={"seed": seed})).fingerprint() for seed in (1, 2)}
    assert len(prints) == 2
    assert load_data(phantom()).fingerprint() == load_data(phantom()).fingerprint()


def test_the_balanced_sampler_changes_what_is_drawn_in_expectation() -> None:
    plain, balanced = load_data(phantom()), load_data(phantom(sampler="balanced"))
    assert plain.draw_weights is None
    assert plain.drawn_counts.prevalence == pytest.approx(plain.counts("train").prevalence)
    assert np.all(balanced.drawn_counts.prevalence > plain.drawn_counts.prevalence)


def test_a_class_without_positives_in_train_is_refused_by_name() -> None:
    values = {"samples": 40, "size": 32, "findings": ["cardiomegaly", "effusion"], "prevalence": [0.4, 0.0]}
    with pytest.raises(DataError, match="class 'effusion' has no positive sample in train"):
        load_data(DataConfig.model_validate({"phantom": values}))


def test_the_table_of_splits_holds_every_sample_once() -> None:
    data = load_data(phantom())
    table = data.table()
    assert len(table) == len(data.source)
    assert table["id"].is_unique
    assert {"id", "split", "patient", "target.cardiomegaly", "metadata.age"} <= set(table.columns)


def test_development_mode_leaves_no_split_empty_where_patients_have_many_images() -> None:
    values = {"samples": 300, "size": 32, "findings": ["nodule"], "prevalence": 0.5, "images_per_patient": 60}
    config = DataConfig.model_validate({"phantom": values, "task": "segmentation", "dev_samples": 30, "split": {"seed": 2}})
    data = load_data(config)
    assert set(data.rows) == set(load_data(config.model_copy(update={"dev_samples": None})).rows)
    assert sum(len(rows) for rows in data.rows.values()) <= 30
    assert any("one by one" in note for note in data.notes)
    patients = data.source.patients
    assert patients is not None
    groups = [set(patients[rows]) for rows in data.rows.values()]
    assert len(set.union(*groups)) == sum(len(group) for group in groups)
