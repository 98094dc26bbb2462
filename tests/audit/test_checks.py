"""Checks of masks, of folders and origins, and that every check is in the table and every finding has a title."""

from __future__ import annotations

import ast
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

import osler.audit
from osler.audit.checks import CHECKS, TITLES
from osler.audit.command import Audit, audit_source
from osler.init.sources import draft_of

SOURCE = Path(osler.audit.__file__).parent


@pytest.fixture
def masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of 60 images with a mask each; some masks are empty."""
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (tmp_path / "set" / part).mkdir(parents=True)
    for number in range(60):
        image = cv2.GaussianBlur(rng.integers(0, 255, (64, 64), np.uint8), (0, 0), 2)
        mask = np.zeros((64, 64), np.uint8)
        if number % 6:
            cv2.circle(mask, tuple(int(value) for value in rng.integers(12, 52, 2)), 7, 255, -1)
        cv2.imwrite(str(tmp_path / "set" / "images" / f"{number:02d}.png"), image)
        cv2.imwrite(str(tmp_path / "set" / "masks" / f"{number:02d}.png"), mask)
    return tmp_path / "set"


def write_mask(folder: Path, name: str, mask: np.ndarray) -> None:
    cv2.imwrite(str(folder / "masks" / name), mask)


def by_id(audit: Audit) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {one.id: (one.severity, one.rows) for one in audit.findings}


def test_empty_masks_are_a_note(masked: Path) -> None:
    found = by_id(audit_source(masked, draft_of, workers=1))
    assert found == {"empty_masks": ("note", tuple(range(0, 60, 6)))}


def test_full_exchanged_and_speckled_masks(masked: Path) -> None:
    write_mask(masked, "07.png", np.full((64, 64), 255, np.uint8))
    turned = np.full((64, 64), 255, np.uint8)
    turned[20:40, 20:40] = 0
    write_mask(masked, "08.png", turned)
    speckled = np.zeros((64, 64), np.uint8)
    speckled[::8, ::8] = 255
    write_mask(masked, "09.png", speckled)
    found = by_id(audit_source(masked, draft_of, workers=1))
    assert found["full_masks"] == ("warning", (7,))
    assert found["masks_exchanged"] == ("warning", (8,))
    assert found["specks"] == ("note", (9,))


def test_masks_that_are_exchanged_in_the_whole_set(masked: Path) -> None:
    for path in (masked / "masks").iterdir():
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert mask is not None
        cv2.imwrite(str(path), 255 - mask)
    audit = audit_source(masked, draft_of, workers=1)
    assert by_id(audit)["masks_exchanged"][0] == "warning"
    assert "in the whole set" in audit.text()


def test_the_outlines_are_on_the_page(masked: Path, tmp_path: Path) -> None:
    write_mask(masked, "07.png", np.full((64, 64), 255, np.uint8))
    page = audit_source(masked, draft_of, workers=1).write(tmp_path / "out").read_text(encoding="utf-8")
    assert "Full masks" in page
    assert page.count("data:image/svg+xml") >= 2


def test_origins_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(1)
    rows = []
    for number in range(180):
        site = "abroad" if number >= 140 else ("north", "south")[number % 2]
        split = "train" if number < 100 else "val" if number < 140 else "test"
        film = cv2.GaussianBlur(rng.integers(0, 200, (48, 48), np.uint8), (0, 0), 3) + (40 if site == "north" else 0)
        folder = tmp_path / "films" / site
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number}.png"), film.astype(np.uint8))
        rows.append({"path": f"{site}/{number}.png", "label": ("ill", "well")[number // 2 % 2], "site": site, "split": split})
    pd.DataFrame(rows).to_csv(tmp_path / "films" / "labels.csv", index=False)
    audit = audit_source(tmp_path / "films" / "labels.csv", draft_of, workers=1)
    found = {one.id: one for one in audit.findings}
    assert "north" in found["origins_differ"].sentence
    assert found["origin_not_in_train"].figures["images"] == 40
    assert {(one.column, one.value): one.images for one in audit.case.origins}["site", "abroad"] == 40
    assert not [one for one in audit.findings if one.severity != "note"]


def test_class_folders_are_no_origin_and_no_shortcut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(2)
    for number in range(120):
        folder = tmp_path / "films" / ("ill", "well")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.GaussianBlur(rng.integers(0, 255, (48, 48), np.uint8), (0, 0), 3))
    audit = audit_source(tmp_path / "films", draft_of, workers=1)
    assert audit.findings == ()
    assert audit.case.origins == ()


def test_every_check_is_in_the_table_and_every_finding_has_a_title_and_a_line_in_the_docs() -> None:
    nodes = [node for path in SOURCE.glob("*.py") for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.returns is not None]
    checks = {one.name for one in functions if one.returns and ast.unparse(one.returns) == "Iterator[Finding]"}
    assert {name for name in checks if not name.startswith("_")} == {check.__name__ for check in CHECKS.values()}
    makers = ("Finding", "_of_rows", "_of_pixels", "_minority")
    calls = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) in makers]
    texts = {each.value for call in calls for each in ast.walk(call) if isinstance(each, ast.Constant)}
    assert set(TITLES) <= texts
    docs = (SOURCE.parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    assert [id for id in TITLES if f"`{id}`" not in docs] == []
