"""Mask predictions on disk: whole or refused, and maps that come back as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from osler.errors import RunError
from osler.runs.mask_predictions import LevelMaps, MaskPredictions


def table(size: int = 3, classes: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "histograms": rng.integers(0, 9, (size, classes, 2, 256)).astype(np.uint32),
        "thresholds": np.full(classes, 128, np.uint8),
        "spacing": np.full((size, 2), np.nan, np.float32),
        "tolerance": np.array(2.0),
        "lesions": np.zeros((4, 5), np.int64),
        "calls": np.zeros((2, 4), np.int64),
        "hd95": np.full((size, classes), np.nan, np.float32),
        "surface_dice": np.zeros((size, classes), np.float32),
    }


def predictions(**changes: object) -> MaskPredictions:
    given = {"ids": np.array(["a", "b", "c"]), "classes": ("lesion", "organ"), "table": table(), **changes}
    return MaskPredictions(**given)  # type: ignore[arg-type]


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    one = predictions(patients=np.array(["p", "p", "q"]))
    one.save(tmp_path / "test.npz")
    again = MaskPredictions.load(tmp_path / "test.npz")
    assert again.ids.tolist() == ["a", "b", "c"]
    assert again.classes == ("lesion", "organ")
    assert again.patients is not None
    assert again.patients.tolist() == ["p", "p", "q"]
    assert again.table.keys() == one.table.keys()
    for name, array in one.table.items():
        np.testing.assert_array_equal(again.table[name], array)
        assert again.table[name].dtype == array.dtype
    assert again.digest() == one.digest()
    assert again.maps is None
    assert [path.name for path in tmp_path.iterdir()] == ["test.npz"]


def test_what_was_not_measured_stays_so(tmp_path: Path) -> None:
    bare = {name: array for name, array in table().items() if name not in ("lesions", "calls", "hd95", "surface_dice")}
    predictions(table=bare).save(tmp_path / "val.npz")
    again = MaskPredictions.load(tmp_path / "val.npz")
    assert again.table.keys() == bare.keys()
    assert again.patients is None


def test_maps_lie_beside_their_file(tmp_path: Path) -> None:
    levels = np.random.default_rng(1).integers(0, 256, (2, 20, 31)).astype(np.uint8)
    maps = LevelMaps(tmp_path / "test")
    maps.write(12, levels)
    predictions().save(tmp_path / "test.npz")
    again = MaskPredictions.load(tmp_path / "test.npz")
    assert again.maps == maps
    for k in range(2):
        np.testing.assert_array_equal(again.levels(12, k), levels[k])
    assert sorted(path.name for path in (tmp_path / "test").iterdir()) == ["00012-0.png", "00012-1.png"]


def test_maps_that_are_not_there_or_damaged_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="a: no map of this prediction was kept"):
        predictions().levels(0, 0)
    maps = LevelMaps(tmp_path / "test")
    maps.write(0, np.zeros((1, 4, 4), np.uint8))
    one = predictions(maps=maps)
    with pytest.raises(RunError, match=r"00001-0\.png: the map of this prediction cannot be read"):
        one.levels(1, 0)
    for content in (b"", b"no picture"):
        maps.path(0, 0).write_bytes(content)
        with pytest.raises(RunError, match="is damaged"):
            one.levels(0, 0)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test").write_text("a file")
    with pytest.raises(RunError, match="maps of predictions cannot be written"):
        LevelMaps(tmp_path / "test").write(0, np.zeros((1, 4, 4), np.uint8))


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("ids", np.array(["a"]), "histograms"),
        ("table.thresholds", np.zeros(5, np.uint8), r"thresholds \(5,\), not \(2,\)"),
        ("table.hd95", np.zeros((3, 9), np.float32), r"hd95 \(3, 9\), not \(3, 2\)"),
        ("patients", np.array(["p", "q"]), r"patients \(2,\), not \(3,\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, name: str, array: np.ndarray, said: str) -> None:
    path = tmp_path / "test.npz"
    predictions().save(path)
    with np.load(path) as loaded:
        arrays = dict(loaded)
    np.savez(path, **{**arrays, name: array})
    with pytest.raises(RunError, match=said):
        MaskPredictions.load(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "test.npz"
    with pytest.raises(RunError, match="is not there"):
        MaskPredictions.load(path)
    np.savez(path, ids=np.array(["a"]), targets=np.zeros((1, 1)))
    with pytest.raises(RunError, match=r"lacks patients, classes, table\.histograms"):
        MaskPredictions.load(path)


def test_metadata_comes_from_the_splits_table() -> None:
    known = pd.DataFrame({"id": ["c", "a", "b"], "split": "test", "metadata.sex": ["F", "M", "M"]})
    found = predictions().with_metadata(known).metadata
    assert found is not None
    assert found["sex"].tolist() == ["M", "M", "F"]
    with pytest.raises(RunError, match="lacks 1 of 3"):
        predictions().with_metadata(known[known["id"] != "b"])


def test_the_digest_sees_thresholds_and_pixels() -> None:
    one = predictions()
    other = table()
    other["histograms"][0, 0, 0, 0] += 1
    lower = {**table(), "thresholds": np.full(2, 99, np.uint8)}
    assert len({one.digest(), predictions(table=other).digest(), predictions(table=lower).digest()}) == 3
