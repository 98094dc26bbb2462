"""What an audit found reaches the chart of a run, and the faults that it proves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osler.audit import command
from osler.audit.command import audit_loaded
from osler.audit.source import load_audited
from osler.doctor.diagnose import diagnose
from osler.doctor.facts import FACTS
from osler.doctor.readers.audited import AUDIT_SCHEMA, audit_beside
from osler.doctor.readers.choose import read_charts
from osler.init.sources import draft_of


def write_run(folder: Path, fingerprint: str = "abc") -> Path:
    """A run of Osler's own that looks good."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for epoch in range(1, 9):
        train, val = (
            {"loss": {"value": loss - 0.02 * epoch}, "classes": {"sick": {"auc": auc + 0.001 * epoch}}}
            for loss, auc in ((0.3, 0.9895), (0.31, 0.991))
        )
        lines.append(json.dumps({"schema": "osler.vitals/1", "epoch": epoch, "train": train, "val": val}))
    (folder / "vitals.jsonl").write_text("\n".join(lines) + "\n")
    facts = {"schema": "osler.facts/1", "task": "binary", "classes": ["sick"], "data.fingerprint": fingerprint}
    (folder / "facts.json").write_text(json.dumps(facts))
    return folder


def write_audit(folder: Path, facts: dict[str, Any], fingerprint: str | None = "abc") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stored = {"schema": AUDIT_SCHEMA, "data_fingerprint": fingerprint, "facts": facts}
    (folder / "audit.json").write_text(json.dumps(stored))


def ids(folder: Path) -> dict[str, str]:
    (chart,) = read_charts(folder)
    return {finding.id: finding.severity for finding in diagnose(chart).findings}


def test_the_schema_is_that_of_the_audit() -> None:
    assert AUDIT_SCHEMA == command.SCHEMA


@pytest.mark.parametrize("place", [".", "audit"])
def test_copies_that_an_audit_found_are_leakage(tmp_path: Path, place: str) -> None:
    run = write_run(tmp_path / "run")
    assert "leakage" not in ids(run)
    write_audit(run / place, {"audit.copies_across_splits": 8, "audit.patients_across_splits": 0})
    (chart,) = read_charts(run)
    origin = chart.facts.origin("audit.copies_across_splits")
    assert origin is not None
    assert origin.source.endswith("audit.json")
    finding = next(each for each in diagnose(chart).findings if each.id == "leakage")
    assert finding.severity == "critical"
    assert "8 images" in json.dumps(finding.to_json(1))


def test_a_clean_audit_answers_the_question(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (chart,) = read_charts(run)
    assert "leakage" in {each.id for each in diagnose(chart).not_assessed}
    write_audit(run, {"audit.copies_across_splits": 0, "audit.patients_across_splits": 0})
    (chart,) = read_charts(run)
    assert "leakage" not in {each.id for each in diagnose(chart).not_assessed}
    assert "leakage" not in ids(run)


def test_an_audit_of_other_data_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    write_audit(run, {"audit.copies_across_splits": 8}, "another")
    (chart,) = read_charts(run)
    assert "leakage" not in ids(run)
    assert any("fingerprint another, here abc" in note for note in chart.notes)


def test_beside_the_log_of_another_framework(tmp_path: Path) -> None:
    rows = [f"{epoch},{0.7 - 0.02 * epoch},{0.72 - 0.02 * epoch}" for epoch in range(1, 9)]
    (tmp_path / "results.csv").write_text("\n".join(["epoch,train_loss,val_loss", *rows]) + "\n")
    write_audit(tmp_path, {"audit.patients_across_splits": 3}, None)
    assert ids(tmp_path)["leakage"] == "critical"


def test_told_labels_explain_figures_that_are_too_good(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert ids(run)["leakage_suspected"] == "note"
    write_audit(run, {"audit.metadata_auc": 0.97, "audit.metadata_auc_low": 0.94, "audit.copies_across_splits": 0})
    (chart,) = read_charts(run)
    finding = next(each for each in diagnose(chart).findings if each.id == "leakage_suspected")
    assert finding.severity == "warning"


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"schema": "other/1", "facts": {"audit.unreadable": 1}}', '{"facts": 3}'])
def test_files_that_are_no_audit_are_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "audit.json").write_text(content)
    assert not len(audit_beside(tmp_path)[0])


def test_what_an_audit_writes_is_known_to_the_doctor(tiny: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"data: {{phantom: {{samples: 120, size: 32}}, cache: {tmp_path / 'cache'}}}\n")
    facts = audit_loaded(load_audited(tmp_path / "c.yaml", [], draft_of), workers=1).data()["facts"]
    assert set(facts) <= set(FACTS)
    assert facts["audit.copies_across_splits"] == 0
    assert np.isfinite(facts["audit.pixels_auc_low"])
