"""Which mask belongs to which image, over the ways in which people lay out folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from osler.config import DataConfig
from osler.data.masks_layout import Pairs, find_pairs
from osler.errors import DataError


def pairs_of(folder: Path, names: str, **settings: Any) -> Pairs:
    """Pairs in a folder of empty files: no pixel is looked at."""
    for name in names.split(";"):
        path = folder / name.strip()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return find_pairs(folder, DataConfig.model_validate({"source": "masks", "path": folder, **settings}))


def plainly(pairs: Pairs) -> dict[str, list[str]]:
    return {image: [name for name, _ in files] for image, files in zip(pairs.images, pairs.masks, strict=True)}


LAYOUTS = {
    "equal names, other suffix": ("images/a.jpg; masks/a.png", {"images/a.jpg": ["masks/a.png"]}),
    "suffixed names": ("images/a.png; masks/a_mask.png", {"images/a.png": ["masks/a_mask.png"]}),
    "words exchanged": ("images/img_1.png; labels/mask_1.png", {"images/img_1.png": ["labels/mask_1.png"]}),
    "nnU-Net": ("imagesTr/c_1_0000.png; labelsTr/c_1.png", {"imagesTr/c_1_0000.png": ["labelsTr/c_1.png"]}),
    "one folder": ("X.png; X_mask.png; Y.png; Y_mask.png", {"X.png": ["X_mask.png"], "Y.png": ["Y_mask.png"]}),
    "CHASE_DB1": ("Image_01L.jpg; Image_01L_1stHO.png", {"Image_01L.jpg": ["Image_01L_1stHO.png"]}),
    "a suffix without a word": (
        "a.png; a_les.png; b.png; b_les.png",
        {"a.png": ["a_les.png"], "b.png": ["b_les.png"]},
    ),
    "BUSI": (
        "benign/benign (1).png; benign/benign (1)_mask.png; benign/benign (1)_mask_1.png; normal/n.png; normal/n_mask.png",
        {
            "benign/benign (1).png": ["benign/benign (1)_mask.png", "benign/benign (1)_mask_1.png"],
            "normal/n.png": ["normal/n_mask.png"],
        },
    ),
    "ISIC": (
        "ISIC_Training_Input/I_1.jpg; ISIC_Training_GroundTruth/I_1_segmentation.png",
        {"ISIC_Training_Input/I_1.jpg": ["ISIC_Training_GroundTruth/I_1_segmentation.png"]},
    ),
    "masks below the images": ("images/a.png; images/masks/a.png", {"images/a.png": ["images/masks/a.png"]}),
    "folders of patients": ("images/p1/1.png; masks/p1/1.png; images/p2/1.png; masks/p2/1.png", None),
    "patients on one side": ("images/p1/a.png; masks/a.png", {"images/p1/a.png": ["masks/a.png"]}),
    "names that begin alike": ("images/a.png; images/a_b.png; masks/a_mask.png; masks/a_b_mask.png", None),
}


@pytest.mark.parametrize(("names", "wanted"), LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(tmp_path: Path, names: str, wanted: dict[str, list[str]] | None) -> None:
    found = pairs_of(tmp_path, names)
    assert found.faults == ()
    assert found.kinds == ()
    if wanted is not None:
        assert plainly(found) == wanted
    assert found.paired == len(found.images) == (names.count(";") + 1 - names.count("_mask_1")) // 2


@pytest.mark.parametrize(
    "names",
    [
        "train/images/a.png; train/masks/a.png; val/images/a.png; val/masks/a.png",
        "images/train/a.png; masks/train/a.png; images/val/a.png; masks/val/a.png",
        "train_images/a.png; train_masks/a.png; val_images/a.png; val_masks/a.png",
        "train/a.png; train/a_mask.png; valid/a.png; valid/a_mask.png",
    ],
)
def test_splits_are_read_at_any_level(tmp_path: Path, names: str) -> None:
    found = pairs_of(tmp_path, names)
    assert sorted(found.split) == ["train", "val"]
    assert found.faults == ()
    for image, masks in plainly(found).items():
        assert ("train" in image) == ("train" in masks[0])


def test_what_is_missing_and_what_is_too_much_is_counted(tmp_path: Path) -> None:
    found = pairs_of(tmp_path, "images/a.png; images/b.png; masks/a.png; masks/c.png")
    assert found.faults == (
        "1 mask without an image: masks/c.png; remove them, or give the image",
        "1 of 2 images have no mask: images/b.png; give one, or set data.masks.missing: empty if there is nothing to find in "
        "them",
    )


def test_images_without_a_mask_may_be_empty(tmp_path: Path) -> None:
    found = pairs_of(tmp_path, "images/a.png; images/b.png; masks/a.png", masks={"missing": "empty"})
    assert found.faults == ()
    assert plainly(found)["images/b.png"] == []
    assert "taken as empty" in found.notes[0]


DRIVE = "images/21.tif; images/22.tif; 1st_manual/21.tif; 1st_manual/22.tif; mask/21_mask.tif; mask/22_mask.tif"


def test_two_kinds_of_masks_are_asked_about(tmp_path: Path) -> None:
    found = pairs_of(tmp_path, DRIVE)
    assert found.kinds == ("1st_manual", "mask")
    assert "1st_manual (2), mask (2)" in found.faults[0]
    assert "data.masks.per_class" in found.faults[0]


def test_a_folder_of_masks_is_chosen_by_its_name_or_its_path(tmp_path: Path) -> None:
    for path in ("1st_manual", str(tmp_path / "1st_manual")):
        found = pairs_of(tmp_path, DRIVE, masks={"path": path})
        assert found.faults == ()
        assert plainly(found)["images/21.tif"] == ["1st_manual/21.tif"]


def test_two_observers_in_one_folder_are_told_apart_by_suffix(tmp_path: Path) -> None:
    names = "a.jpg; a_1stHO.png; a_2ndHO.png; b.jpg; b_1stHO.png; b_2ndHO.png"
    assert "_1stho (2), _2ndho (2)" in pairs_of(tmp_path, names).faults[0]
    found = pairs_of(tmp_path, names, masks={"suffix": "_2ndHO"})
    assert plainly(found) == {"a.jpg": ["a_2ndHO.png"], "b.jpg": ["b_2ndHO.png"]}
    assert found.faults == ()


def test_classes_by_folder_or_by_name(tmp_path: Path) -> None:
    by_folder = (
        "images/a.png; images/b.png; masks/1. Hard Exudates/a_EX.png; masks/2. Bleeding/a_HE.png; masks/2. Bleeding/b_HE.png"
    )
    settings = {"classes": ["Bleeding", "Hard Exudates"], "masks": {"per_class": True}}
    found = pairs_of(tmp_path / "one", by_folder, **settings)
    assert found.masks == (
        (("masks/1. Hard Exudates/a_EX.png", 1), ("masks/2. Bleeding/a_HE.png", 0)),
        (("masks/2. Bleeding/b_HE.png", 0),),
    )
    found = pairs_of(
        tmp_path / "two", "a.png; a_mask_liver.png; a_mask_tumor.png", classes=["liver", "tumor"], masks={"per_class": True}
    )
    assert found.masks == ((("a_mask_liver.png", 0), ("a_mask_tumor.png", 1)),)
    assert pairs_of(tmp_path / "two", "a.png", classes=["liver"], masks={"per_class": True}).faults == (
        "a_mask_tumor.png: neither folder nor suffix names one of data.classes (liver)",
    )


def test_masks_outside_the_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a_seg.png").touch()
    found = pairs_of(tmp_path / "set", "a.png", masks={"path": tmp_path / "elsewhere"})
    assert plainly(found) == {"a.png": [str(tmp_path / "elsewhere/a_seg.png")]}


def test_a_folder_without_masks_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 images, and no masks among them.*data\.masks\.suffix"):
        pairs_of(tmp_path, "NORMAL/a.png; NORMAL/b.png")


def test_slices_out_of_order_are_samples_of_their_own(tmp_path: Path) -> None:
    found = pairs_of(tmp_path, "images/p_z10.png; images/p_z2.png; masks/p_z2.png; masks/p_z10.png")
    assert plainly(found) == {"images/p_z10.png": ["masks/p_z10.png"], "images/p_z2.png": ["masks/p_z2.png"]}
