"""The audit as a whole: nothing on a healthy set, each planted fault found, real sets, files, resuming, the command line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from osler.audit import measures, survey
from osler.audit.command import SCHEMA, Audit, audit_loaded, audit_source
from osler.audit.findings import SEVERITIES
from osler.cli import main
from osler.config import load_config
from osler.data.load import load_data
from osler.errors import ConfigError, DataError, RequestError
from osler.init.sources import draft_of

MakeAudit = Callable[..., Audit]
Table = pd.DataFrame


def found(audit: Audit) -> dict[str, str]:
    return {one.id: one.severity for one in audit.findings}


def one(audit: Audit, id: str) -> Any:
    return next(finding for finding in audit.findings if finding.id == id)


# --- healthy sets -----------------------------------------------------------------------------------------------------------


def test_a_healthy_table_has_no_finding(make_audit: MakeAudit) -> None:
    audit = make_audit()
    assert found(audit) == {}
    assert "No warning: 160 images" in audit.text()
    assert audit.exit_code("note") == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_a_healthy_phantom_has_no_warning(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "c.yaml").write_text(f"data: {{phantom: {{samples: 200, size: 64, seed: {seed}}}}}\n")
    audit = audit_source(tmp_path / "c.yaml", draft_of, workers=1)
    assert not [each for each in audit.findings if each.severity != "note"], audit.text()


# --- planted faults ---------------------------------------------------------------------------------------------------------


def test_copies_are_found_and_test_is_kept(make_audit: MakeAudit) -> None:
    def spoil(table: Table, root: Path) -> Table:
        for source, target in ((0, 140), (1, 100), (10, 11), (128, 129)):
            (root / f"images/{target:03d}.png").write_bytes((root / f"images/{source:03d}.png").read_bytes())
        table["sick"] = np.arange(len(table)) // 2 % 2
        return table

    audit = make_audit(spoil)
    across, within = one(audit, "copies_across_splits"), one(audit, "copies_within_split")
    assert across.severity == "critical"
    assert across.figures["between"] == {"train/test": 1, "train/val": 1}
    assert {(fix.row, fix.keep) for fix in across.fixes} == {(0, 140), (1, 100)}
    assert within.figures["within"] == {"train": 1, "test": 1}
    assert {(fix.row, fix.keep) for fix in within.fixes} == {(11, 10), (129, 128)}
    assert found(audit)["copies_of_other_patients"] == "warning"


def test_one_image_with_two_labels(make_audit: MakeAudit) -> None:
    def spoil(table: Table, root: Path) -> Table:
        (root / "images/011.png").write_bytes((root / "images/010.png").read_bytes())
        table.loc[10, "sick"], table.loc[11, "sick"] = 1, 0
        return table

    audit = make_audit(spoil)
    conflict = one(audit, "conflicting_labels")
    assert set(conflict.rows) == {10, 11}
    assert "negative" in conflict.sentence
    assert "sick" in conflict.sentence


def test_a_copy_saved_another_way_is_found_across_splits(make_audit: MakeAudit) -> None:
    def spoil(table: Table, root: Path) -> Table:
        film = cv2.imread(str(root / "images/004.png"), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(root / "images/150.png"), np.clip(film.astype(int) + 12, 0, 255).astype(np.uint8))
        return table

    audit = make_audit(spoil)
    assert set(one(audit, "near_copies_across_splits").rows) == {4, 150}
    assert "copies_across_splits" not in found(audit)


def test_patients_in_several_splits_are_counted_and_not_named(make_audit: MakeAudit) -> None:
    def spoil(table: Table, root: Path) -> Table:
        table.loc[[100, 130], "patient"] = ["P003", "P004"]
        return table

    audit = make_audit(spoil)
    shared = one(audit, "patients_across_splits")
    assert shared.severity == "critical"
    assert shared.figures == {"patients": 2, "images": 6}
    assert "1 in train and val, 1 in train and test" in shared.sentence
    assert "P003" not in json.dumps(audit.data()["findings"])


def test_files_that_are_broken_blank_constant_and_tiny(make_audit: MakeAudit) -> None:
    def spoil(table: Table, root: Path) -> Table:
        (root / "images/005.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
        cv2.imwrite(str(root / "images/006.png"), np.full((40, 40), 80, np.uint8))
        film = np.full((40, 40), 80, np.uint8)
        film[3, 3] = 81
        cv2.imwrite(str(root / "images/007.png"), film)
        cv2.imwrite(str(root / "images/008.png"), np.random.default_rng(0).integers(0, 255, (9, 9), np.uint8))
        cv2.imwrite(str(root / "images/009.png"), np.random.default_rng(1).integers(0, 65535, (40, 40), np.uint16))
        cv2.imwrite(str(root / "images/010.png"), np.random.default_rng(2).integers(0, 255, (40, 120), np.uint8))
        return table

    audit = make_audit(spoil)
    rows = {each.id: each.rows for each in audit.findings}
    assert rows["unreadable"] == (5,)
    assert rows["constant"] == (6,)
    assert rows["blank"] == (7,)
    assert rows["tiny"] == (8,)
    assert rows["odd_depths"] == (9,)
    assert rows["odd_shapes"] == (10,)
    assert rows["odd_sizes"] == (8, 10)
    assert found(audit)["unreadable"] == "critical"
    assert found(audit)["mixed_depths"] == "warning"


def test_rows_and_files_that_do_not_meet(make_audit: MakeAudit) -> None:
    def spoil(table: Table, root: Path) -> Table:
        (root / "images/020.png").unlink()
        cv2.imwrite(str(root / "images/extra.png"), np.zeros((40, 40), np.uint8))
        return table

    audit = make_audit(spoil)
    assert one(audit, "rows_without_image").figures["names"] == ["images/020.png"]
    assert one(audit, "images_without_row").figures["names"] == ["images/extra.png"]
    assert len(audit.case.samples) == 159


def test_blank_labels_and_an_absent_class(make_audit: MakeAudit) -> None:
    def spoil(table: Table, root: Path) -> Table:
        table["sick"] = table["sick"].astype(object)
        table.loc[table["split"] == "val", "sick"] = 0
        table.loc[[1, 2], "sick"] = ""
        return table

    audit = make_audit(spoil)
    assert one(audit, "unknown_labels").severity == "warning"
    assert one(audit, "unknown_labels").rows == (1, 2)
    absent = one(audit, "class_absent")
    assert (absent.severity, absent.figures["split"], absent.figures["kind"]) == ("warning", "val", "positive")
    assert "unknown_labels" in found(make_audit(spoil, {"unknown": "ignore"}))
    assert one(make_audit(spoil, {"unknown": "ignore"}), "unknown_labels").severity == "note"


def test_a_site_that_tells_the_label(make_audit: MakeAudit) -> None:
    def spoil(table: Table, root: Path) -> Table:
        table["site"] = np.where(table["sick"] == 1, "north", "south")
        table.loc[::16, "site"] = "south"
        return table

    audit = make_audit(spoil)
    told = one(audit, "metadata_tells_labels")
    assert told.severity == "warning"
    assert "site" in told.sentence
    assert audit.data()["facts"]["audit.metadata_auc_low"] > 0.75


def test_a_marker_that_tells_the_label(make_audit: MakeAudit) -> None:
    def spoil(table: Table, root: Path) -> Table:
        for path, sick in zip(table["path"], table["sick"], strict=True):
            film = cv2.imread(str(root / path), cv2.IMREAD_GRAYSCALE)
            if sick:
                film[1:5, 1:4] = 255
            cv2.imwrite(str(root / path), film)
        return table

    told = one(make_audit(spoil), "pixels_tell_labels")
    assert told.severity == "warning"
    assert "markers in the corners" in told.sentence
    assert len(told.shown) == 16


def test_prevalence_that_differs(make_audit: MakeAudit) -> None:
    def spoil(table: Table, root: Path) -> Table:
        table["patient"] = [f"P{number:03d}" for number in range(len(table))]
        table.loc[table["split"] == "test", "sick"] = (np.arange(32) < 29).astype(int)
        return table

    differs = one(make_audit(spoil), "prevalence_differs")
    assert differs.severity == "warning"
    assert [each["split"] for each in differs.figures["differences"]] == ["test"]


# --- what is written --------------------------------------------------------------------------------------------------------


def test_page_json_and_rows(make_audit: MakeAudit, tmp_path: Path) -> None:
    def spoil(table: Table, root: Path) -> Table:
        (root / "images/140.png").write_bytes((root / "images/000.png").read_bytes())
        (root / "images/005.png").write_bytes(b"nothing")
        return table

    audit = make_audit(spoil)
    page = audit.write(tmp_path / "out").read_text(encoding="utf-8")
    assert "Copies across splits" in page
    assert "data:image/svg+xml" in page
    stored = json.loads((tmp_path / "out" / "audit.json").read_text(encoding="utf-8"))
    assert stored == json.loads(audit.json_text())
    assert (stored["schema"], stored["images"], stored["readable"], stored["worst"]) == (SCHEMA, 160, 159, "critical")
    assert stored["facts"]["audit.copies_across_splits"] == 1
    ranks = [SEVERITIES.index(each["severity"]) for each in stored["findings"]]
    assert ranks == sorted(ranks, reverse=True)
    with (tmp_path / "out" / "rows.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    copies = [row for row in rows if row["finding"] == "copies_across_splits"]
    assert [(row["id"], row["action"], row["keep"]) for row in copies] == [("images/000.png", "drop", "images/140.png")]
    assert Path(copies[0]["path"]).is_file()


def test_the_fingerprint_is_that_of_a_run(make_audit: MakeAudit, tmp_path: Path) -> None:
    audit = make_audit()
    assert audit.case.loaded.fingerprint == load_data(load_config(tmp_path / "audit.yaml").data).fingerprint()


def test_an_audit_goes_on_where_it_was_killed(make_audit: MakeAudit, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = measures.measured_image, 0

    def dies(images: Any, row: int) -> Any:
        nonlocal calls
        calls += 1
        if calls > 100:
            raise KeyboardInterrupt
        return whole(images, row)

    monkeypatch.setattr(survey, "measured_image", dies)
    with pytest.raises(KeyboardInterrupt):
        make_audit()
    monkeypatch.setattr(survey, "measured_image", whole)

    # What was measured before the kill is not decoded again.
    audit = make_audit(films_are_there=True)
    assert audit.case.measured.fresh == 160 - 96
    assert found(audit) == {}
    assert audit_loaded(audit.case.loaded, workers=1).case.measured.fresh == 0


# --- the command line -------------------------------------------------------------------------------------------------------


def test_the_command(
    make_audit: MakeAudit, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(table: Table, root: Path) -> Table:
        table.loc[100, "patient"] = "P003"
        return table

    make_audit(spoil)
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path / "cache"))
    for source in (tmp_path / "audit.yaml", tmp_path / "set" / "labels.csv", tmp_path / "set"):
        with pytest.raises(SystemExit) as stopped:
            main(["audit", str(source), "--json", "--fail-on", "critical", "--out", str(tmp_path / "page"), "--workers", "1"])
        assert stopped.value.code == 1
        captured = capsys.readouterr()
        assert json.loads(captured.out)["findings"][0]["id"] == "patients_across_splits"
        assert "index.html" in captured.err
    with pytest.raises(SystemExit) as stopped:
        main(["audit", str(tmp_path / "set"), "--workers", "1"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("CRITICAL: 1 patient of")


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="Did you mean 'warning'"):
        audit_source(tmp_path, draft_of, fail_on="warnings")
    with pytest.raises(ConfigError, match="--workers"):
        audit_source(tmp_path, draft_of, workers=0)
    with pytest.raises(ConfigError, match="overrides"):
        audit_source(tmp_path, draft_of, ["data.split.seed=1"])
    with pytest.raises(DataError, match="does not exist"):
        audit_source(tmp_path / "absent", draft_of)


# --- real sets --------------------------------------------------------------------------------------------------------------


def test_the_known_copies_of_pneumoniamnist(real_sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path))
    audit = audit_source(real_sets / "pneumoniamnist.npz", draft_of, workers=1)
    assert one(audit, "copies_within_split").figures["within"] == {"train": 18, "test": 3}
    across = one(audit, "copies_across_splits")
    assert (across.figures["between"], across.severity) == ({"train/val": 8}, "critical")
    assert "near_copies_across_splits" not in found(audit)
    assert found(audit)["prevalence_differs"] == "warning"


@pytest.mark.parametrize("name", ["ms_lesions", "vessels_chase"])
def test_sound_sets_of_masks_have_no_warning(real_sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path))
    audit = audit_source(real_sets / name, draft_of, workers=1)
    assert not [each for each in audit.findings if each.severity != "note"], audit.text()
