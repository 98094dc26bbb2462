"""MedMNIST by name: classes in words, the positive one of two where a test looks for it, files that its package keeps."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osler.config import Config, DataConfig
from osler.data.known import known_set
from osler.data.known_medmnist import MEDMNIST
from osler.data.samples import Samples
from osler.data.sources import load_source
from osler.errors import DataError


def load(path: Path, **options: Any) -> Samples:
    return load_source(DataConfig(source="medmnist", path=path, **options))


def write(path: Path, several: bool = False) -> Path:
    name = path.name.split("_")[0].removesuffix(".npz")
    kinds = len(MEDMNIST[name])
    arrays: dict[str, Any] = {}
    for split, number in (("train", 3 * kinds), ("val", kinds), ("test", kinds)):
        numbers = np.arange(number) % kinds
        labels = (np.eye(kinds, dtype=np.uint8)[numbers] + np.eye(kinds, dtype=np.uint8)[0]) % 2 if several else numbers[:, None]
        arrays |= {f"{split}_images": np.zeros((number, 28, 28), np.uint8), f"{split}_labels": labels}
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("name", [name for name in MEDMNIST if name not in ("chestmnist", "breastmnist")])
def test_classes_have_their_names(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / f"{name}_64.npz")
    assert known_set(path) == "medmnist"
    samples = load(path)
    names = MEDMNIST[name]
    if len(names) == 2:
        assert (samples.task, samples.classes, samples.negative) == ("binary", names[1:], names[0])
    else:
        assert (samples.task, samples.classes) == ("multiclass", names)
        assert samples.targets[: len(names)].argmax(axis=1).tolist() == list(range(len(names)))
    assert samples.split is not None


def test_malignant_is_what_breastmnist_looks_for(tmp_path: Path) -> None:
    path = write(tmp_path / "breastmnist.npz")
    samples = load(path)
    assert (samples.classes, samples.negative) == (("malignant",), "normal or benign")
    assert samples.targets[:2, 0].tolist() == [1, 0]  # number 0 is malignant
    assert "The positive class is 'malignant'." in samples.notes
    other = load(path, classes=("malignant", "normal or benign"))
    assert other.classes == ("normal or benign",)
    np.testing.assert_array_equal(other.targets, 1 - samples.targets)
    again = load(path, classes=samples.listed, task="binary")
    np.testing.assert_array_equal(again.targets, samples.targets)


def test_some_findings_of_chestmnist(tmp_path: Path) -> None:
    path = write(tmp_path / "chestmnist.npz", several=True)
    samples = load(path)
    assert (samples.task, samples.classes) == ("multilabel", MEDMNIST["chestmnist"])
    two = load(path, classes=("hernia", "edema"))
    assert two.classes == ("hernia", "edema")
    np.testing.assert_array_equal(two.targets, samples.targets[:, [13, 9]])


def test_classes_in_another_order(tmp_path: Path) -> None:
    path = write(tmp_path / "octmnist.npz")
    names = MEDMNIST["octmnist"][::-1]
    samples = load(path, classes=names)
    assert samples.classes == names
    assert samples.targets[:4].argmax(axis=1).tolist() == [3, 2, 1, 0]


def test_classes_that_it_has_not(tmp_path: Path) -> None:
    path = write(tmp_path / "octmnist.npz")
    with pytest.raises(DataError, match=r"there is no 'norml' \(did you mean 'normal'\?\).*source npz"):
        load(path, classes=("norml", "drusen"))
    with pytest.raises(DataError, match="all of its classes must be listed"):
        load(path, classes=("normal", "drusen"))


def test_the_file_that_the_package_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "pneumoniamnist_64.npz")
    info = types.ModuleType("medmnist.info")
    info.DEFAULT_ROOT = str(tmp_path)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "medmnist", types.ModuleType("medmnist"))
    monkeypatch.setitem(sys.modules, "medmnist.info", info)
    assert load(Path("pneumoniamnist_64")).classes == ("pneumonia",)
    assert load(Path("/elsewhere/pneumoniamnist_64")).classes == ("pneumonia",)  # as a run's configuration resolves the name
    with pytest.raises(DataError, match=r"bloodmnist\.npz neither\. Fetch it by `python -m medmnist download --flag=bloodmnist`"):
        load(Path("bloodmnist_28"))


def test_without_the_package_the_file_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "medmnist", None)
    monkeypatch.setitem(sys.modules, "medmnist.info", None)
    with pytest.raises(DataError, match="package medmnist, which may keep it, is not installed"):
        load(Path("pneumoniamnist"))


@pytest.mark.parametrize("name", ["pneumonia.npz", "bloodmnits", "nodulemnist3d.npz", "pneumoniamnist_9to1.npz"])
def test_other_files_belong_to_npz(name: str) -> None:
    assert known_set(Path(name)) is None
    with pytest.raises(DataError, match="is no set of MedMNIST"):
        load(Path(name))


def test_the_real_file(real_sets: Path) -> None:
    samples = load(real_sets / "pneumoniamnist.npz")
    assert samples.targets.mean() == pytest.approx(0.73, abs=0.01)


ByInit = Callable[[Path], tuple[str, Config, Samples]]


@pytest.mark.parametrize("name", ["breastmnist", "bloodmnist_64"])
def test_init_on_a_file(tmp_path: Path, by_init: ByInit, name: str) -> None:
    _, config, samples = by_init(write(tmp_path / f"{name}.npz"))
    assert config.data.source == "medmnist"
    assert config.data.classes == (samples.listed or samples.classes)
