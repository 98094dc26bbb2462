"""Real logs whose outcome is known: the healthy ones are not flagged, and how many of the others are is printed as counts."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from osler.doctor.command import diagnose_sources
from osler.doctor.findings import Diagnosis

ROOT = Path(os.environ.get("OSLER_TEST_DATA", "/nowhere")) / "training_logs"
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="OSLER_TEST_DATA does not name a folder with training_logs")


def outcomes() -> Iterator[tuple[str, list[Diagnosis]]]:
    with (ROOT / "outcomes.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            yield row["outcome"], list(diagnose_sources([ROOT / row["file"]]).runs)


def test_no_healthy_log_is_flagged(capsys: pytest.CaptureFixture[str]) -> None:
    counts: dict[str, list[int]] = {"healthy": [0, 0], "faulty": [0, 0]}
    for outcome, runs in outcomes():
        if "recovers" in outcome:  # the name says one thing, the curve another
            continue
        kind = "healthy" if outcome.startswith("healthy") else "faulty"
        counts[kind][0] += any(run.flagged for run in runs)
        counts[kind][1] += 1
    with capsys.disabled():
        print("\n" + "; ".join(f"{kind}: {flagged} of {total} flagged" for kind, (flagged, total) in counts.items()))
    assert counts["healthy"][0] == 0
    assert counts["faulty"][0] >= 10


def test_every_log_is_read_or_refused_with_a_reason() -> None:
    for path in sorted(ROOT.rglob("*")):
        if path.is_file():
            for run in diagnose_sources([path]).runs:
                assert run.verdict != "refused" or run.error
                assert not [each for each in run.not_assessed if "this rule can work with" in each.needs]
