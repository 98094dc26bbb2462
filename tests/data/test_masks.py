"""The source `masks`: what masks mean, every fault at once, what is remembered, and the real sets."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from osler.config import DataConfig
from osler.data import masks as masks_module
from osler.data.cache import open_cache
from osler.data.load import load_data
from osler.data.masks import MaskFiles, mask_samples
from osler.data.masks_prepared import prepared_masks
from osler.data.samples import Samples
from osler.errors import DataError
from osler.imaging.preparation import Preparation, PreparationConfig


def drawn(values: list[int], size: tuple[int, int] = (24, 32)) -> NDArray[np.uint8]:
    """A mask with a square of 4 × 4 pixels of each value."""
    plane = np.zeros(size, np.uint8)
    for place, value in enumerate(values):
        plane[2:6, 2 + 6 * place : 6 + 6 * place] = value
    return plane


def write(path: Path, pixels: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def write_set(folder: Path, masks: dict[str, NDArray[Any]], size: tuple[int, int] = (24, 32)) -> Path:
    """Images with the masks given; images are gray noise of one size."""
    rng = np.random.default_rng(0)
    for name, mask in masks.items():
        write(folder / "images" / f"{name}.png", rng.integers(0, 256, size, dtype=np.uint8))
        write(folder / "masks" / f"{name}.png", mask)
    return folder


def load(folder: Path, **settings: Any) -> Samples:
    values = {"source": "masks", "path": folder, "cache": folder.parent / "cache", **settings}
    return mask_samples(DataConfig.model_validate(values))


def refused(folder: Path, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(folder, **settings)
    return str(caught.value)


def survey(samples: Samples) -> Any:
    assert isinstance(samples.masks, MaskFiles)
    return samples.masks.survey


# --- what values mean -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, 255, 7])
def test_one_value_besides_0_is_the_one_class(tmp_path: Path, value: int) -> None:
    samples = load(write_set(tmp_path / "s", {"a": drawn([value]), "b": drawn([])}))
    assert samples.task == "segmentation"
    assert samples.classes == ("foreground",)
    assert samples.targets.tolist() == [[1], [0]]
    assert samples.masks is not None
    assert samples.masks.read(0).sum() == 16
    assert survey(samples).foreground.tolist() == [[16], [0]]
    assert survey(samples).lesion_areas.tolist() == [16]


def test_several_values_need_names_and_are_listed_with_an_example(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", {"a": drawn([1, 2]), "b": drawn([2])})
    said = refused(folder)
    assert "2 values besides 0: 1 (1 image, 16 pixels), 2 (2 images, 32 pixels)" in said
    assert "data.masks.values: {name_of_1: [1], name_of_2: [2]}" in said
    assert "{liver: [1], tumor: [2]}" in refused(folder, classes=["liver", "tumor"])
    samples = load(folder, classes=["tumor", "liver"], masks={"values": {"liver": [1], "tumor": [2]}})
    assert samples.classes == ("tumor", "liver")
    assert samples.targets.tolist() == [[1, 1], [1, 0]]
    assert samples.exclusive


def test_values_that_never_meet_may_mean_the_same(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", {"a": drawn([1]), "b": drawn([255])})
    assert "No mask holds two of them: if they mean the same, {foreground: [1, 255]}" in refused(folder)
    assert load(folder, masks={"values": {"foreground": [1, 255]}}).targets.tolist() == [[1], [1]]
    assert load(folder, masks={"values": None}).targets.tolist() == [[1], [1]]


def test_unknown_values_are_counted_over_all_files(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", {"a": drawn([1, 9]), "b": drawn([1, 9]), "c": drawn([1])})
    assert "without a meaning: 9 (2 images, 32 pixels)" in refused(folder, masks={"values": {"lesion": [1]}})


def test_an_ignored_value_is_unknown(tmp_path: Path) -> None:
    samples = load(
        write_set(tmp_path / "s", {"a": drawn([1, 255]), "b": np.full((24, 32), 255, np.uint8)}), masks={"ignore": 255}
    )
    assert samples.masks is not None
    assert np.bincount(samples.masks.read(0).ravel(), minlength=256)[[0, 1, 255]].tolist() == [24 * 32 - 32, 16, 16]
    assert survey(samples).known.tolist() == [24 * 32 - 16, 0]
    assert np.isnan(samples.targets[1, 0])


def test_values_in_conflict_are_refused(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", {"a": drawn([1, 2])})
    assert "1 has several meanings" in refused(folder, masks={"values": {"x": [1], "y": [1, 2]}})
    assert "0 is background" in refused(folder, masks={"values": {"x": [0, 1], "y": [2]}})
    assert "must be the same" in refused(folder, classes=["x"], masks={"values": {"x": [1], "y": [2]}})
    notes = load(folder, masks={"values": {"background": [0], "x": [1], "y": [2]}}).notes
    assert any("'background' is value 0" in note for note in notes)


def test_probabilities_need_a_threshold(tmp_path: Path) -> None:
    soft = np.clip(np.arange(24 * 32).reshape(24, 32) // 3, 0, 255).astype(np.uint8)
    folder = write_set(tmp_path / "s", {"a": soft, "b": drawn([255])})
    assert "1 mask of 2 hold no labels, such as masks/a.png: 256 different values" in refused(folder)
    samples = load(folder, masks={"threshold": 0.5})
    assert survey(samples).foreground[:, 0].tolist() == [int((soft >= 127.5).sum()), 16]


def test_masks_kept_as_jpeg_are_recognised(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", {"a": drawn([255])})
    mask = np.zeros((96, 128), np.uint8)
    cv2.circle(mask, (50, 50), 30, 255, -1)
    write(folder / "images/b.png", mask)
    write(folder / "masks/b.jpg", mask)
    said = refused(folder)
    assert "as JPEG leaves them" in said
    assert "data.masks.threshold: 0.5" in said
    assert survey(load(folder, masks={"threshold": 0.5})).foreground[1, 0] == pytest.approx((mask > 0).sum(), rel=0.01)


def test_masks_blurred_by_resizing_are_recognised(tmp_path: Path) -> None:
    mask = np.zeros((96, 128), np.uint8)
    cv2.circle(mask, (50, 50), 30, 255, -1)
    blurred = cv2.resize(cv2.resize(mask, (61, 47), interpolation=cv2.INTER_AREA), (128, 96), interpolation=cv2.INTER_LINEAR)
    folder = write_set(tmp_path / "s", {"a": blurred}, mask.shape)
    assert "near 0 and 255, as resizing or JPEG leave them" in refused(folder)


def test_palettes_that_differ_from_file_to_file_are_refused(tmp_path: Path) -> None:
    red, green = np.zeros((24, 32, 3), np.uint8), np.zeros((24, 32, 3), np.uint8)
    red[:4, :4, 2], green[:4, :4, 1] = 200, 200
    folder = write_set(tmp_path / "s", {"a": red, "b": green})
    assert "label 255 is (200, 0, 0) in 1 mask, (0, 200, 0) in 1 mask" in refused(folder)


def test_all_empty_is_an_error_and_so_is_a_class_that_never_occurs(tmp_path: Path) -> None:
    assert "every mask is empty" in refused(write_set(tmp_path / "s", {"a": drawn([]), "b": drawn([])}))
    folder = write_set(tmp_path / "t", {"a": drawn([1]), "b": drawn([])})
    assert "y occurs in no mask" in refused(folder, masks={"values": {"x": [1], "y": [2]}})


def test_every_fault_is_reported_at_once(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", {"a": drawn([1, 5]), "b": drawn([1], (12, 16)), "c": drawn([1])})
    write(folder / "masks/extra.png", drawn([1]))
    write(folder / "images/lonely.png", drawn([]))
    (folder / "masks/c.png").write_bytes((folder / "masks/c.png").read_bytes()[:40])
    said = refused(folder, masks={"values": {"lesion": [1]}})
    for part in (
        "extra.png",
        "lonely.png",
        "5 (1 image",
        "b.png 16 × 12, its image 32 × 24",
        "1 mask cannot be read",
        "5 faults",
    ):
        assert part in said, said


def test_a_transposed_mask_is_called_so(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", {"a": drawn([1], (32, 24))})
    assert "height and width are exchanged" in refused(folder)


def test_unreadable_masks_may_be_skipped(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", {"a": drawn([1]), "b": drawn([1])})
    (folder / "masks/b.png").write_bytes(b"no image")
    samples = load(folder, unreadable="skip")
    assert samples.targets[0] == 1
    assert np.isnan(samples.targets[1])
    cache = open_cache(samples, Preparation(PreparationConfig(size=16, channels=1)), tmp_path / "cache")
    cache.ensure([0, 1])
    assert list(cache.unreadable) == [1]


# --- several files ----------------------------------------------------------------------------------------------------------


def test_several_files_of_one_class_are_united(tmp_path: Path) -> None:
    for name, mask in {"a": drawn([]), "a_mask": drawn([255]), "a_mask_1": drawn([0, 255])}.items():
        write(tmp_path / "s" / f"{name}.png", mask)
    samples = load(tmp_path / "s")
    assert samples.masks is not None
    assert samples.masks.read(0).sum() == 32
    assert any("united" in note for note in samples.notes)


def test_a_file_for_each_class_may_overlap(tmp_path: Path) -> None:
    for name, mask in {"images/a": drawn([]), "masks/liver/a": drawn([255, 255]), "masks/tumor/a": drawn([255])}.items():
        write(tmp_path / "s" / f"{name}.png", mask)
    assert "several kinds" in refused(tmp_path / "s")
    samples = load(tmp_path / "s", classes=["liver", "tumor"], masks={"per_class": True})
    assert not samples.exclusive
    assert samples.masks is not None
    assert samples.masks.read(0).sum(axis=(1, 2)).tolist() == [32, 16]


# --- patients, splits, tables -----------------------------------------------------------------------------------------------


def test_patients_come_from_the_pattern_the_table_or_the_names(tmp_path: Path) -> None:
    names = [f"patient{number // 2}_z{number}" for number in range(6)]
    folder = write_set(tmp_path / "s", {name: drawn([1]) for name in names})
    by_name = load(folder).patients
    assert by_name is not None
    assert by_name.tolist() == ["patient0"] * 2 + ["patient1"] * 2 + ["patient2"] * 2
    by_pattern = load(folder, patient_pattern=r"_z(\d+)").patients
    assert by_pattern is not None
    assert len(set(by_pattern)) == 6
    assert "is not found in 6 paths" in refused(folder, patient_pattern="(nobody)")
    rows = "\n".join(f"{name},p{number % 2},{'train' if number < 4 else 'test'},{number}" for number, name in enumerate(names))
    (folder / "labels.csv").write_text(f"id,patient,split,age\n{rows}\n")
    samples = load(folder)
    assert samples.patients is not None
    assert samples.split is not None
    assert samples.metadata is not None
    assert samples.patients.tolist() == ["p0", "p1"] * 3
    assert samples.split.tolist() == ["train"] * 4 + ["test"] * 2
    assert samples.metadata["age"].tolist() == list(range(6))
    assert "has no column 'pateint' (did you mean 'patient'?)" in refused(folder, patient_column="pateint")


def test_a_table_that_lacks_images_is_a_fault_where_it_names_patients(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", {name: drawn([1]) for name in "abc"})
    (folder / "labels.csv").write_text("id,patient\na,1\nb,2\n")
    assert "labels.csv has no row for 1 image: images/c.png" in refused(folder)


def test_a_split_without_any_lesion_is_refused(tmp_path: Path) -> None:
    masks = {f"{split}{number}": drawn([1] if split == "train" else []) for split in ("train", "val") for number in range(3)}
    for name, mask in masks.items():
        split = name[:-1]
        write(tmp_path / "s" / split / "images" / f"{name}.png", drawn([]))
        write(tmp_path / "s" / split / "masks" / f"{name}.png", mask)
    config = DataConfig.model_validate(
        {"source": "masks", "path": tmp_path / "s", "cache": tmp_path / "c", "split": {"ratio": [0.5, 0.5, 0]}}
    )
    with pytest.raises(DataError, match="every one of the 3 masks of val is empty"):
        load_data(config)


def test_a_class_in_every_image_can_be_learned_and_one_in_no_train_image_cannot(tmp_path: Path) -> None:
    values = {"classes": ["x", "y"], "masks": {"values": {"x": [1], "y": [2]}}, "split": {"ratio": [0.5, 0.5, 0]}}
    for split, shown in (("train", [1]), ("val", [1, 2])):
        for number in range(2):
            write(tmp_path / "s" / split / "images" / f"{number}.png", drawn([]))
            write(tmp_path / "s" / split / "masks" / f"{number}.png", drawn(shown))
    config = {"source": "masks", "path": tmp_path / "s", "cache": tmp_path / "c", **values}
    with pytest.raises(DataError, match="class 'y' occurs in no mask of train"):
        load_data(DataConfig.model_validate(config))
    for number in range(2):
        write(tmp_path / "s" / "train" / "masks" / f"{number}.png", drawn([1, 2]))
        write(tmp_path / "s" / "val" / "masks" / f"{number}.png", drawn([1]))
    data = load_data(DataConfig.model_validate(config))
    assert any("val has no positive sample of y" in note for note in data.notes)
    assert not any("negative sample" in note for note in data.notes)


# --- remembered, moved, changed ---------------------------------------------------------------------------------------------


def test_a_second_start_reads_no_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_set(tmp_path / "s", {"a": drawn([1, 1]), "b": drawn([1]), "c": drawn([])})
    first = survey(load(folder))
    reads: list[str] = []
    original = masks_module.read_mask
    monkeypatch.setattr(masks_module, "read_mask", lambda path: reads.append(str(path)) or original(path))
    again = survey(load(folder))
    assert reads == []
    for name in vars(first):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    write(folder / "masks/b.png", drawn([1, 1, 1]))
    assert survey(load(folder)).foreground.tolist() == [[32], [48], [0]]
    assert len(reads) == 1


def test_moving_the_folder_does_not_change_the_fingerprint_and_another_mask_does(tmp_path: Path) -> None:
    masks = {f"p{number}": drawn([1] * (number % 3)) for number in range(12)}
    prints = []
    for folder in (write_set(tmp_path / "one" / "s", masks), Path(shutil.copytree(tmp_path / "one", tmp_path / "two")) / "s"):
        prints.append(
            load_data(DataConfig.model_validate({"source": "masks", "path": folder, "cache": tmp_path / "c"})).fingerprint()
        )
    assert prints[0] == prints[1]
    write(tmp_path / "two/s/masks/p1.png", drawn([1, 0, 1]))
    changed = DataConfig.model_validate({"source": "masks", "path": tmp_path / "two/s", "cache": tmp_path / "c"})
    assert load_data(changed).fingerprint() != prints[0]


def test_the_survey_follows_its_rows(tmp_path: Path) -> None:
    samples = load(write_set(tmp_path / "s", {"a": drawn([1, 1]), "b": drawn([]), "c": drawn([1])}))
    part = samples.take(np.array([2, 0]))
    assert survey(part).foreground.tolist() == [[16], [32]]
    assert survey(part).lesion_rows.tolist() == [1, 1, 0]
    assert part.masks is not None
    assert part.masks.read(0).sum() == 16


def test_the_cache_holds_image_and_mask_and_sees_a_mask_that_changed(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", {"a": drawn([1]), "b": drawn([])})
    preparation = Preparation(PreparationConfig(size=32, channels=3))
    cache = open_cache(load(folder), preparation, tmp_path / "cache")
    cache.ensure([0, 1])
    assert cache.shape == (4, 32, 32)
    assert cache.channels == 3
    rows = cache.gather([1, 0])
    assert rows.shape == (2, 4, 32, 32)
    assert rows[0, 3].sum() == 0
    assert samples_equal(rows[1, :3], preparation.apply(load(folder).images.read(0)))
    write(folder / "masks/a.png", drawn([1, 1]))
    os.utime(folder / "masks/a.png", ns=(1, 1))
    again = open_cache(load(folder), preparation, tmp_path / "cache")
    again.ensure([0, 1])
    assert again.changed == {0}
    assert again.gather([0])[0, 3].sum() == pytest.approx(2 * rows[1, 3].sum(), rel=0.3)


def test_masks_beside_16_bits_are_what_they_are_beside_bytes(tmp_path: Path) -> None:
    samples = load(write_set(tmp_path / "s", {"a": drawn([1]), "b": drawn([])}))
    plain, deep = (
        open_cache(samples, Preparation(PreparationConfig(size=24, channels=3, fit="pad", dtype=dtype)), tmp_path / "cache")
        for dtype in ("uint8", "uint16")
    )
    for cache in (plain, deep):
        cache.ensure([0, 1])
    assert (plain.gather([0]).dtype, deep.gather([0]).dtype) == (np.uint8, np.uint16)
    assert plain.masks([1, 0]).dtype == deep.masks([1, 0]).dtype == np.uint8
    assert samples_equal(plain.masks([1, 0]), deep.masks([1, 0]))
    assert set(np.unique(deep.gather([0, 1])[:, 3:]).tolist()) <= {0, 1, 255}
    assert abs(deep.images([1, 0]) - plain.images([1, 0])).max() <= 1
    assert plain.images([1]).flags.c_contiguous
    np.testing.assert_array_equal(prepared_masks(deep, [0, 1]).shares, prepared_masks(plain, [0, 1]).shares)


def samples_equal(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return bool((one == other).all())


# --- real sets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "images", "empty", "patients", "share"),
    [
        ("ms_lesions", 304, 92, 3, 0.0049),
        ("fundus_exudates", 168, 47, 20, 0.020),
        ("breast_ultrasound", 135, 50, None, 0.064),
        ("vessels_chase", 28, 0, 14, 0.069),
    ],
)
def test_real_sets_load_from_their_path_alone(
    real_sets: Path, tmp_path: Path, name: str, images: int, empty: int, patients: int | None, share: float
) -> None:
    samples = mask_samples(DataConfig(source="masks", path=real_sets / name, cache=tmp_path))
    assert len(samples) == images
    assert int((samples.targets == 0).sum()) == empty
    assert (None if samples.patients is None else len(set(samples.patients))) == patients
    found = survey(samples)
    assert found.foreground.sum() / found.known.sum() == pytest.approx(share, rel=0.02)
