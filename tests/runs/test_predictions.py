"""Predictions: kept and read back to the bit; a file that is no such thing says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from osler.errors import RunError
from osler.runs.predictions import Predictions


def example(patients: bool = True) -> Predictions:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (6, 2)).astype(np.float32)
    targets[2, 1] = np.nan
    logits = rng.normal(size=(6, 2)).astype(np.float32)
    ids = np.array([f"films/{n}.png" for n in range(6)])
    names = np.array(["p1", "p1", "p2", "p3", "p3", "p3"]) if patients else None
    return Predictions(ids, targets, logits, (1 / (1 + np.exp(-logits))).astype(np.float32), names)


@pytest.mark.parametrize("patients", [True, False])
def test_saved_and_loaded_are_equal(tmp_path: Path, patients: bool) -> None:
    first = example(patients)
    first.save(tmp_path / "test.npz")
    second = Predictions.load(tmp_path / "test.npz")
    for name in ("ids", "targets", "logits", "probabilities"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    if patients:
        np.testing.assert_array_equal(first.patients, second.patients)
    else:
        assert second.patients is None
    assert first.digest() == second.digest()
    assert [path.name for path in tmp_path.iterdir()] == ["test.npz"]


def test_the_digest_sees_every_change() -> None:
    one = example()
    other = one.probabilities.copy()
    other[0, 0] += 1e-3
    assert replace(one, probabilities=other).digest() != one.digest()
    assert replace(one, ids=one.ids[::-1]).digest() != one.digest()


def test_a_missing_file_says_what_writes_it(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"osler resume"):
        Predictions.load(tmp_path / "val.npz")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "val.npz"
    example().save(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RunError, match="damaged"):
        Predictions.load(path)
    path.write_bytes(b"")
    with pytest.raises(RunError, match="damaged"):
        Predictions.load(path)


def test_pickles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "val.npz"
    with path.open("wb") as file:
        np.savez(
            file, **{name: np.array([{}], dtype=object) for name in ("ids", "targets", "logits", "probabilities", "patients")}
        )
    with pytest.raises(RunError, match="no predictions file"):
        Predictions.load(path)


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "val.npz"
    arrays = {"ids": np.array(["a"]), "targets": np.zeros((1, 2)), "logits": np.zeros((1, 2)), "patients": np.empty(0, str)}
    np.savez(path, **arrays)
    with pytest.raises(RunError, match="lacks probabilities"):
        Predictions.load(path)
    np.savez(path, **arrays, probabilities=np.zeros((1, 3)))
    with pytest.raises(RunError, match="do not fit"):
        Predictions.load(path)


def test_metadata_is_joined_by_id() -> None:
    table = pd.DataFrame(
        {"id": [f"films/{n}.png" for n in range(9, -1, -1)], "metadata.age": list(range(9, -1, -1)), "split": "test"}
    )
    found = example().with_metadata(table).metadata
    assert list(found.columns) == ["age"]
    assert found["age"].tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(RunError, match=r"lacks 1 of 6 .*films/5\.png"):
        example().with_metadata(table[table["id"] != "films/5.png"])
