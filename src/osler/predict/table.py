"""The table that predictions are written to, and beside it how to read it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from osler.files import write_json, write_text
from osler.runs.card import Card

__all__ = ["RESEARCH_ONLY", "note_of", "write_table"]

RESEARCH_ONLY = "for research; not a medical device"


def note_of(notes: Iterable[str]) -> str:
    """The note of a row: what the results may be used for, since rows get copied out of tables, and what was adapted.

    >>> note_of(["the alpha channel was dropped"])
    'for research; not a medical device; the alpha channel was dropped'
    """
    return "; ".join((RESEARCH_ONLY, *notes))


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], card: Card, facts: dict[str, Any]) -> None:
    """Writes a CSV file, and beside it (same name, .json) how to read it.

    Args:
        path: of the CSV file.
        columns: their names.
        rows: their cells.
        card: of the model.
        facts: further entries of the JSON file.

    Raises:
        RunError: the folder is read-only, or the disk is full.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, text.getvalue())
    reading = {
        "intended_use": card.intended_use,
        "task": card.task,
        "classes": card.classes,
        "thresholds": card.thresholds,
        "threshold_rule": card.threshold_rule,
        "architecture": card.architecture,
        "fingerprint": card.fingerprint,
        "trained_on": card.data,
    }
    write_json(path.with_suffix(".json"), {"schema": "osler.predictions/1", **facts, **reading})
