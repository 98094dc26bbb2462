"""Rows: the list of images to drop or to fix, as a table that a script can read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from osler.audit.case import Case
from osler.audit.findings import Finding
from osler.data.files import FileImages

__all__ = ["COLUMNS", "path_of", "rows_csv"]

COLUMNS = ("id", "path", "split", "finding", "severity", "action", "keep")


def rows_csv(case: Case, findings: Iterable[Finding]) -> str:
    """A line for each image that something is to be done about, finding by finding.

    `keep` is the id of the image that stays in place of one that is dropped. Ids are those of the source.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for finding in findings:
        for fix in finding.fixes:
            keep = "" if fix.keep is None else str(case.samples.ids[fix.keep])
            told = (str(case.splits[fix.row]), finding.id, finding.severity, fix.action, keep)
            writer.writerow((str(case.samples.ids[fix.row]), path_of(case, fix.row), *told))
    return text.getvalue()


def path_of(case: Case, row: int) -> str:
    """Where an image lies; "" where it has no file of its own."""
    images = case.samples.images
    return str(images.path(row)) if isinstance(images, FileImages) else ""
