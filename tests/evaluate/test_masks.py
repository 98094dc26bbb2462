"""`osler evaluate` of a segmenter: its JSON, its page, which cases are shown, and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from osler.config import EvaluationConfig, load_config
from osler.errors import DataError, RunError
from osler.evaluate import MaskEvaluation, evaluate_masks, evaluate_run
from osler.evaluate.images import read_cases
from osler.evaluate.mask_cases import choose_cases
from osler.metrics.cases import CaseTable
from osler.metrics.overlap import OVERLAPS
from osler.runs.card import Card
from osler.runs.folder import RunFolder
from osler.runs.looks import read_looks
from osler.runs.mask_predictions import MaskPredictions

MakeMaskRun = Callable[..., Any]
SECTIONS = ("summary", "figures", "cases", "lesions", "threshold", "subgroups", "splits", "training", "the-run", "use-and-limits")


def never(run: RunFolder, checkpoint: str, data: Path | None) -> Mapping[str, MaskPredictions]:
    raise AssertionError("the run holds what is asked for")


def unreadable(ids: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    raise DataError("the disk with the images is not there")


def evaluated(run: Any, read: Any = None) -> MaskEvaluation:
    found = evaluate_run(run.folder.path, "best", None, never, read or run.read)
    assert isinstance(found, MaskEvaluation)
    return found


# --- the object -------------------------------------------------------------------------------------------------------------


def test_the_object_is_the_contracts(make_mask_run: MakeMaskRun) -> None:
    run = make_mask_run(["lesion", "vessel"])
    found = evaluated(run)
    written = json.loads(run.folder.evaluation_file.read_text(encoding="utf-8"))
    assert written == json.loads(found.json_text())
    assert (written["schema"], written["task"], written["checkpoint"]) == ("osler.evaluation/1", "segmentation", "best")
    assert written["threshold_rule"] == "the largest Dice of pooled pixels on val"
    test = written["splits"]["test"]
    assert (test["n"], test["patients"]) == (16, 8)
    assert test["macro"]["classes_scored"] == 2
    for entry in (*test["classes"].values(), test["macro"]):
        for name in (*OVERLAPS, "auc", "ap", "hd95", "surface_dice", "lesion_sensitivity", "false_positives_per_image"):
            assert {"value", "low", "high", "n", "method", "n_patients"} <= entry[name].keys()
    lesion = test["classes"]["lesion"]
    (tn, fp), (fn, tp) = lesion["confusion"]
    assert lesion["positives"] == tp + fn
    assert tn + fp + fn + tp == 16 * 64 * 64
    assert lesion["dice"]["value"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert test["subgroups"]["sex"].keys() == {"F", "M"}
    assert sum(group["n"] for group in test["subgroups"]["sex"].values()) == 16


def test_one_class_is_its_own_mean(make_mask_run: MakeMaskRun) -> None:
    test = evaluated(make_mask_run()).data()["splits"]["test"]
    assert test["macro"]["dice"] == test["classes"]["lesion"]["dice"]
    assert test["overall"]["dice"]["value"] == test["macro"]["dice"]["value"]


def test_looks_are_counted(make_mask_run: MakeMaskRun) -> None:
    run = make_mask_run()
    assert (evaluated(run).looks, evaluated(run).looks) == ({"test": 1}, {"test": 2})
    looks = read_looks(run.folder, "test")
    assert {look["predictions"] for look in looks} == {MaskPredictions.load(run.folder.predictions / "test.npz").digest()}


def test_of_three_patients_there_are_three_figures_and_no_interval(make_mask_run: MakeMaskRun) -> None:
    run = make_mask_run(test=9, per_patient=3)
    found = evaluated(run)
    test = found.data()["splits"]["test"]
    dice = test["classes"]["lesion"]["dice"]
    assert dice["value"] is not None
    assert (dice["low"], dice["high"]) == (None, None)
    own = [one["classes"]["lesion"]["dice"] for one in test["per_unit"].values()]
    assert len(own) == 3
    html, summary = found.page.read_text(encoding="utf-8"), found.summary()
    assert "Few patients" in html
    for value in own:
        assert f"{value:.3f}" in html
        assert f"{value:.3f}" in summary
    assert "no interval: 3 patients" in summary


def test_unknown_patients_are_said_to_be(make_mask_run: MakeMaskRun) -> None:
    run = make_mask_run(per_patient=None)
    found = evaluated(run)
    assert found.data()["splits"]["test"]["unit"] == "case"
    assert found.data()["splits"]["test"]["patients"] is None
    assert "intervals are too narrow if some patients have several images" in found.page.read_text(encoding="utf-8")


# --- the page ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [["lesion"], ["a", "b", "c", "d"]])
def test_the_page_has_every_section_and_needs_nothing_else(make_mask_run: MakeMaskRun, classes: list[str]) -> None:
    run = make_mask_run(classes, epochs=3)
    found = evaluated(run)
    html, markdown = found.page.read_text(encoding="utf-8"), (run.folder.path / "report.md").read_text(encoding="utf-8")
    for section in SECTIONS:
        assert f'<section id="{section}">' in html
    assert all(name in html for name in classes)
    assert not re.search(r'(src|href)="(?!data:image/|#)', html)
    assert "<script" not in html
    value = found.data()["splits"]["test"]["macro"]["dice"]["value"]
    for text in (html, markdown, found.summary()):
        assert f"{value:.3f}" in text
    for text in (html, markdown):
        assert "Not a medical device" in text
    shown = len(re.findall("worst, median and best cases", html, re.IGNORECASE))
    assert shown >= min(3, len(classes))
    assert ("1 further class not shown here" in html) == (len(classes) > 3)


def test_without_images_the_page_goes_on_and_says_so(make_mask_run: MakeMaskRun) -> None:
    html = evaluated(make_mask_run(), unreadable).page.read_text(encoding="utf-8")
    assert "No overlays" in html
    assert "the disk with the images is not there" in html
    assert '<section id="lesions">' in html


def test_masks_that_changed_since_are_not_shown(make_mask_run: MakeMaskRun) -> None:
    run = make_mask_run()
    run.images = {name: (image, 1 - truth) for name, (image, truth) in run.images.items()}
    html = evaluated(run).page.read_text(encoding="utf-8")
    assert "is not the one that was evaluated: it changed since" in html


def test_maps_that_are_gone_leave_the_figures(make_mask_run: MakeMaskRun) -> None:
    run = make_mask_run()
    for path in (run.folder.predictions / "test").iterdir():
        path.unlink()
    html = evaluated(run).page.read_text(encoding="utf-8")
    assert "the map of this prediction cannot be read" in html


def test_empty_masks_cannot_be_missed(make_mask_run: MakeMaskRun) -> None:
    run = make_mask_run(skill=0.001)
    for split in ("val", "test"):
        one = MaskPredictions.load(run.folder.predictions / f"{split}.npz")
        table = CaseTable.from_arrays(one.table)
        emptied = np.zeros_like(table.histograms)
        emptied[..., 3] = table.histograms.sum(axis=-1)
        replace(one, table={**one.table, "histograms": emptied}).save(run.folder.predictions / f"{split}.npz")
    html = evaluated(run, unreadable).page.read_text(encoding="utf-8")
    assert "Empty masks" in html
    assert "lesion: next to no pixel is called" in html
    assert "Not shown to be better than a constant mask" in html


def test_a_good_model_is_not_warned_of(make_mask_run: MakeMaskRun) -> None:
    html = evaluated(make_mask_run()).page.read_text(encoding="utf-8")
    assert "Empty masks" not in html
    assert "better than a constant" not in html


def test_a_class_without_foreground_in_test_is_on_the_page(make_mask_run: MakeMaskRun) -> None:
    run = make_mask_run(["a", "b"])
    path = run.folder.predictions / "test.npz"
    one = MaskPredictions.load(path)
    one.table["histograms"][:, 1, 0] += one.table["histograms"][:, 1, 1]
    one.table["histograms"][:, 1, 1] = 0
    one.save(path)
    html = evaluated(run, unreadable).page.read_text(encoding="utf-8")
    assert "b: no foreground in the true masks on test. Means leave it out." in html


def test_a_run_without_test_vitals_or_splits_has_a_page(make_mask_run: MakeMaskRun) -> None:
    run = make_mask_run(test=None)
    run.folder.splits_file.unlink()
    html = evaluated(run).page.read_text(encoding="utf-8")
    assert "Nothing was held out" in html
    assert '<section id="training">' not in html


def test_tables_without_lesions_and_distances_have_a_page(make_mask_run: MakeMaskRun) -> None:
    run = make_mask_run()
    for split in ("val", "test"):
        one = MaskPredictions.load(run.folder.predictions / f"{split}.npz")
        bare = {name: array for name, array in one.table.items() if name not in ("lesions", "calls", "hd95", "surface_dice")}
        replace(one, table=bare).save(run.folder.predictions / f"{split}.npz")
    html = evaluated(run).page.read_text(encoding="utf-8")
    assert '<section id="lesions">' not in html
    assert "not measured" in html


# --- what is shown, what is refused -----------------------------------------------------------------------------------------


def test_no_case_is_shown_twice_and_all_kinds_are_there() -> None:
    rng = np.random.default_rng(0)
    for size in range(12):
        dice = rng.random(size)
        dice[rng.random(size) < 0.3] = np.nan
        alarms = np.where(np.isnan(dice), rng.integers(0, 5, size), 0)
        chosen = choose_cases(dice, alarms)
        rows = [one.row for one in chosen]
        assert len(rows) == len(set(rows))
        known = np.flatnonzero(np.isfinite(dice))
        assert sum(one.kind != "false alarm" for one in chosen) == min(6, len(known))
        if len(known) >= 6:
            order = [one.row for one in chosen if one.kind == "worst"] + [one.row for one in chosen if one.kind == "best"]
            assert dice[order].tolist() == [*np.sort(dice[known])[:2], *np.sort(dice[known])[-2:]]
        assert all(alarms[one.row] > 0 for one in chosen if one.kind == "false alarm")


def test_predictions_of_other_classes_or_thresholds_are_refused(make_mask_run: MakeMaskRun) -> None:
    run = make_mask_run()
    card = Card.from_json(run.folder.read(run.folder.card_file), "card.json")
    splits = {name: MaskPredictions.load(run.folder.predictions / f"{name}.npz") for name in ("val", "test")}
    with pytest.raises(RunError, match="of lesion, the card's classes are tumour"):
        evaluate_masks(run.folder.path, replace(card, classes=("tumour",)), EvaluationConfig(), splits)
    other = replace(splits["val"], table={**splits["val"].table, "thresholds": np.array([90], np.uint8)})
    with pytest.raises(RunError, match="different thresholds"):
        evaluate_masks(run.folder.path, card, EvaluationConfig(), {**splits, "val": other})


def test_other_checkpoints_are_predicted_again(make_mask_run: MakeMaskRun) -> None:
    run = make_mask_run()
    kept = {name: MaskPredictions.load(run.folder.predictions / f"{name}.npz") for name in ("val", "test")}
    found = evaluate_run(run.folder.path, "last", None, lambda folder, checkpoint, data: kept, run.read)
    assert found.checkpoint == "last"
    other = evaluate_run(run.folder.path, "best", Path("more"), lambda folder, checkpoint, data: {"data": kept["test"]})
    assert (other.source, other.main) == ("more", "data")
    assert "No overlays" in other.page.read_text(encoding="utf-8")


def test_images_come_from_the_runs_own_data(tmp_path: Path) -> None:
    """The phantom's images and masks, through the cache, in the order that is asked for."""
    values = {
        "data": {"source": "phantom", "task": "segmentation", "cache": str(tmp_path / "cache"), "phantom": {"samples": 12}},
        "preparation": {"size": 64, "channels": 1},
    }
    config = load_config(values)
    run = RunFolder.create(config, tmp_path / "run")
    run.write_config(config)
    from osler.data.sources import load_source

    samples = load_source(config.data)
    ids = [str(samples.ids[row]) for row in (5, 2)]
    shown = read_cases(run, None)(ids)
    assert [(image.shape, masks.shape[1:]) for image, masks in shown] == [((1, 64, 64), (64, 64))] * 2
    assert [bool((masks == 1).any()) for _, masks in shown] == [bool(samples.targets[row].any()) for row in (5, 2)]
    with pytest.raises(DataError, match="no mask of nobody"):
        read_cases(run, None)(["nobody"])


def test_images_of_another_set_are_that_sets_though_names_are_equal(tmp_path: Path) -> None:
    for number, name in enumerate(("own", "other")):
        for kind, value in (("images", 60 + 90 * number), ("masks", 255 * number)):
            (tmp_path / name / kind).mkdir(parents=True)
            cv2.imwrite(str(tmp_path / name / kind / "a.png"), np.full((64, 64), value, np.uint8))
    masks = {"source": "masks", "path": str(tmp_path / "own"), "classes": ["lesion"], "cache": str(tmp_path / "cache")}
    config = load_config({"data": {**masks, "task": "segmentation"}, "preparation": {"size": 64, "channels": 1}})
    run = RunFolder.create(config, tmp_path / "run")
    run.write_config(config)
    ((image, truth),) = read_cases(run, tmp_path / "other")(["images/a.png"])
    assert (image.shape, int(image.min()), int(image.max()), truth.tolist() == np.ones((1, 64, 64)).tolist()) == (
        (1, 64, 64),
        150,
        150,
        True,
    )
