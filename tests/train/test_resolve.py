"""What `auto` becomes, and that it is decided once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from osler.config import Config, load_config
from osler.data.load import load_data
from osler.errors import ConfigError
from osler.init import write_config
from osler.train.resolve import resolve


def films(folder: Path, side: tuple[int, int], colour: bool = False) -> Path:
    rng = np.random.default_rng(0)
    for name in ("normal", "sick"):
        (folder / name).mkdir(parents=True)
        for i in range(8):
            shape = (*side, 3) if colour else side
            cv2.imwrite(str(folder / name / f"{i}.png"), rng.integers(0, 255, shape, np.uint8))
    return folder


def resolved(folder: Path, **sections: object) -> Config:
    config = load_config({"data": {"source": "folder", "path": str(folder)}, **sections})
    return resolve(config, load_data(config.data))


@pytest.mark.parametrize(
    ("side", "size", "architecture"), [(28, 28, "small"), (130, 160, "efficientnet_lite0"), (600, 224, "efficientnet_lite0")]
)
def test_size_and_network_follow_the_images(tmp_path: Path, side: int, size: int, architecture: str) -> None:
    config = resolved(films(tmp_path / "films", (side, side)))
    assert (config.preparation.size, config.preparation.channels, config.model.architecture) == (size, 1, architecture)


def test_colour_images_keep_their_colour(tmp_path: Path) -> None:
    assert resolved(films(tmp_path / "films", (40, 40), colour=True)).preparation.channels == 3


def dicoms(folder: Path, bits: int = 12) -> Path:
    """Films in two classes, of as many bits as stated, with a window."""
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
    rng = np.random.default_rng(0)
    for number in range(16):
        ds = pydicom.Dataset()
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = pydicom.uid.DigitalXRayImageStorageForPresentation, f"1.2.{number}", "DX"
        ds.Rows = ds.Columns = 40
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8 if bits == 8 else 16, bits, bits - 1
        ds.WindowCenter, ds.WindowWidth = 2**bits / 4, 2**bits / 8
        ds.PixelData = rng.integers(0, 2**bits, (40, 40)).astype(np.uint8 if bits == 8 else np.uint16).tobytes()
        path = folder / ("normal", "sick")[number % 2] / f"{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        ds.save_as(path, enforce_file_format=True)
    return folder


def test_deep_dicom_images_are_advised_the_window_that_they_state(tmp_path: Path) -> None:
    folder = dicoms(tmp_path / "films")
    with pytest.raises(ConfigError, match=r"16 of 16 images .* have 16 bits a channel.*must be said: window \(as the DICOM"):
        resolved(folder)
    assert resolved(folder, preparation={"range": "window"}).preparation.range == "window"


def test_a_window_is_refused_where_deep_images_state_none(tmp_path: Path) -> None:
    folder = dicoms(tmp_path / "films")
    cv2.imwrite(str(folder / "sick" / "a.png"), np.full((40, 40), 900, np.uint16))
    with pytest.raises(ConfigError, match=r"range window: only DICOM files say how.*more than 8 bits are png too"):
        resolved(folder, preparation={"range": "window"})
    with pytest.raises(ConfigError, match=r"must be said: dtype \(the type's full range\)"):
        resolved(folder)
    cv2.imwrite(str(folder / "sick" / "a.png"), np.full((40, 40), 90, np.uint8))  # of 8 bits, as they are
    assert resolved(folder, preparation={"range": "window"}).preparation.range == "window"


@pytest.mark.parametrize("bits", [8, 12])
def test_init_proposes_the_window_for_dicom_and_it_is_accepted(tmp_path: Path, bits: int) -> None:
    path = write_config(dicoms(tmp_path / "films", bits), tmp_path / "c.yaml")
    config = load_config(path)
    assert config.preparation.range == "window"
    assert "range: window  # as the files ask viewers to show them" in path.read_text(encoding="utf-8")
    assert resolve(config, load_data(config.data)).preparation.range == "window"


def test_init_proposes_no_window_beside_other_deep_images(tmp_path: Path) -> None:
    folder = dicoms(tmp_path / "films")
    for number in range(8):
        cv2.imwrite(str(folder / "sick" / f"a{number}.png"), np.full((40, 40), 900, np.uint16))
    assert load_config(write_config(folder, tmp_path / "c.yaml")).preparation.range == (0, 4095)


def test_weights_become_numbers(tiny: Callable[..., Config]) -> None:
    config = tiny(loss={"pos_weight": "auto"}, data={"phantom": {"samples": 200, "prevalence": 0.2}})
    data = load_data(config.data)
    positives = float(np.nansum(data.targets("train")))
    weight = resolve(config, data).loss.pos_weight
    assert weight == pytest.approx(((len(data.rows["train"]) - positives) / positives,), rel=1e-5)


def test_a_balanced_sampler_leaves_no_imbalance_to_weigh(tiny: Callable[..., Config]) -> None:
    config = tiny(loss={"pos_weight": "auto"}, data={"sampler": "balanced", "phantom": {"samples": 200, "prevalence": 0.2}})
    assert resolve(config, load_data(config.data)).loss.pos_weight == pytest.approx((1.0,), rel=1e-5)


def test_nothing_is_left_open_and_resolving_again_changes_nothing(tiny: Callable[..., Config]) -> None:
    config = tiny(training={"device": "auto", "threads": "auto"}, data={"workers": "auto"})
    data = load_data(config.data)
    once = resolve(config, data)
    left = [
        value
        for section in once.model_dump(exclude={"evaluation"}).values()
        if isinstance(section, dict)
        for value in section.values()
    ]
    assert "auto" not in left
    assert resolve(once, data) == once


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films(tmp_path / "films", (40, 40))
    monkeypatch.chdir(tmp_path)
    assert resolved(Path("films")).data.path == tmp_path / "films"
