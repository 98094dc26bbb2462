"""`osler look`: a planted inverted film, a blank one and swapped labels are found; sheets show what training receives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from osler.config import Config, load_config
from osler.data.load import load_data
from osler.errors import ConfigError, DataError, RunError
from osler.look import Look, look_config
from osler.look.command import look_data
from osler.look.pixels import first_batch
from osler.train.machine import Machine, pick_device, ranks
from osler.train.setup import build_batches


def finding(found: Look, name: str) -> tuple[str, tuple[str, ...]]:
    """Tone and ids of a finding; fails where there is none."""
    return next((one.tone, one.ids) for one in found.findings if one.id == name)


def sheet_ids(found: Look, name: str) -> tuple[str, ...]:
    return next(sheet.ids for sheet in found.sheets if sheet.name == name)


def numbers(ids: tuple[str, ...]) -> list[int]:
    return [int(Path(one).stem) for one in ids]


def test_an_inverted_and_a_blank_film_are_named_and_shown_first(make_films: Callable[..., Config]) -> None:
    found = look_config(make_films(inverted=(3, 90), blank=(41,)), 1000)
    tone, ids = finding(found, "inverted")
    assert (tone, sorted(numbers(ids))) == ("warning", [3, 90])
    assert sorted(numbers(sheet_ids(found, "unlike")[:2])) == [3, 90]
    tone, ids = finding(found, "constant")
    assert (tone, numbers(ids)) == ("critical", [41])
    assert found.findings[0].id == "constant"
    assert "negative of the others" in found.text()


def test_swapped_labels_are_among_the_first_to_look_at(make_films: Callable[..., Config]) -> None:
    found = look_config(make_films(swapped=(10, 77)), 1000)
    assert {10, 77} <= set(numbers(sheet_ids(found, "doubts")[:6]))
    assert {10, 77} <= set(numbers(finding(found, "labels_doubtful")[1]))


def test_a_sound_set_is_called_sound(make_films: Callable[..., Config]) -> None:
    found = look_config(make_films(), 1000)
    assert found.findings[0].id == "nothing_odd"
    assert [one.tone for one in found.findings if one.tone in ("warning", "critical")] == []
    assert found.text().endswith("160 of 160 images were looked at.")


def test_brighter_splits_and_classes_are_named(make_films: Callable[..., Config], tmp_path: Path) -> None:
    config = make_films()
    for file in (tmp_path / "films" / "large").iterdir():
        cv2.imwrite(str(file), np.minimum(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE).astype(int) + 60, 255).astype(np.uint8))
    found = look_config(config, 1000)
    assert "large brighter by" in next(one.text for one in found.findings if one.id == "brightness_tells")
    data = load_data(config.data)
    parts = [data.source.targets[np.concatenate(list(data.rows.values())), 0] == value for value in (0, 1)]
    rows = np.sort(np.concatenate(list(data.rows.values())))
    both = {"train": rows[data.source.targets[rows, 0] == 0], "val": rows[data.source.targets[rows, 0] == 1]}
    assert min(part.sum() for part in parts) >= 30
    moved = type(data)(data.source, both, "none", ())
    tone, _ = finding(look_data(config, moved, 1000), "splits_differ")
    assert tone == "warning"


def test_unreadable_images_are_named_and_left_out(make_films: Callable[..., Config], tmp_path: Path) -> None:
    config = make_films()
    victim = sorted((tmp_path / "films" / "large").iterdir())[4]
    victim.write_bytes(victim.read_bytes()[:60])
    found = look_config(config, 1000)
    assert found.findings[0].id == "unreadable"
    assert victim.name in found.findings[0].text
    assert len(found.ready.chosen) == 159
    for file in (tmp_path / "films").rglob("*.png"):
        file.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"none of the .* images that were to be shown can be read"):
        look_config(config, 1000)


def test_page_sheets_and_json_are_written(make_films: Callable[..., Config], tmp_path: Path) -> None:
    found = look_config(make_films(inverted=(3,)), 100)
    page = found.write(tmp_path / "out")
    names = {"look.html", "look.json", "histograms.png", "batch.png", "classes.png", "stages.png", "unlike.png"}
    assert names <= {file.name for file in page.parent.iterdir()}
    for file in page.parent.glob("*.png"):
        assert min(cv2.imread(str(file)).shape[:2]) > 150
    said = json.loads((page.parent / "look.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert said == json.loads(found.json_text())
    assert said["schema"] == "osler.look/1"
    assert sum(said["histograms"]["By split"]["train"]["shares"]) == pytest.approx(1)
    html = page.read_text()
    assert found.findings[0].text in html
    assert html.count("<h2") >= 6
    assert "http://" not in html.replace("http://www.w3.org", "")


def test_what_cannot_be_is_said(make_films: Callable[..., Config], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--samples: 0 is too few"):
        look_config(make_films(), 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be made"):
        look_config(make_films(), 60).write(tmp_path / "file" / "out")


@pytest.mark.parametrize("sampler", ["none", "balanced"])
def test_the_first_batch_is_the_one_that_training_begins_with(make_films: Callable[..., Config], sampler: str) -> None:
    found = look_config(make_films(data={"sampler": sampler}), 60)
    found.ready.cache.ensure(np.concatenate(list(found.ready.data.rows.values())))
    machine = Machine(pick_device("cpu", ranks()), "fp32", ranks())
    run = next(build_batches(found.config, found.ready.data, found.ready.cache, machine).train.epoch(0))
    shown = first_batch(found.config, found.ready)
    assert [one.row for one in shown] == run.rows.tolist()
    assert sheet_ids(found, "batch") == tuple(found.ready.data.source.ids[run.rows])
    for one, image in zip(shown, run.images.numpy(), strict=True):
        np.testing.assert_allclose(one.image, image, atol=0.5)


@pytest.mark.parametrize("patches", [None, {"size": 16, "per_image": 2}])
def test_masks_are_outlined_at_every_stage(tiny: Callable[..., Config], tmp_path: Path, patches: Any) -> None:
    data = {"task": "segmentation", "patches": patches, "phantom": {"findings": ["cardiomegaly"], "difficulty": 0.0}}
    found = look_config(tiny(data=data, model={"architecture": "compact"}), 60)
    stages = next(sheet for sheet in found.sheets if sheet.name == "stages")
    assert [name for _, name in stages.legend] == ["cardiomegaly"]
    with_heart = next(row for row in stages.rows if row.title.startswith("cardiomegaly"))
    colour = np.array(stages.legend[0][0])[:, None, None]
    outlines = [int((np.abs(image.astype(int) - colour).max(axis=0) == 0).sum()) for image in with_heart.images]
    assert min(outlines[:2]) > 100
    if patches is None:
        assert min(outlines) > 100
    assert "doubts" not in {sheet.name for sheet in found.sheets}
    assert found.write(tmp_path).exists()


class TestRealFilms:
    def test_inverted_films_of_the_nih_sample_are_found(self, real_sets: Path, tmp_path: Path) -> None:
        labels = "Atelectasis Cardiomegaly Consolidation Edema Effusion Emphysema Fibrosis Hernia Infiltration Mass Nodule"
        classes = [*labels.split(), "Pleural_Thickening", "Pneumonia", "Pneumothorax"]
        source = {"source": "csv", "path": str(real_sets / "nih_cxr14" / "labels.csv"), "image_column": "file"}
        more = {"patient_column": "patient_id", "classes": classes, "cache": str(tmp_path), "workers": 1}
        config = load_config({"data": {**source, **more}, "preparation": {"size": 64}, "training": {"device": "cpu"}})
        found = look_config(config, 621)
        assert [Path(one).stem for one in finding(found, "inverted")[1]] == ["00017999_000", "00017625_000"]
        assert any(panel == "By view" for panel in found.data()["histograms"])
