"""Markdown tables by epoch, as people keep them in notes and READMEs."""

from __future__ import annotations

import re

from osler.doctor.chart import Chart
from osler.doctor.readers.assemble import charts_of
from osler.doctor.readers.delimited import table_of_rows
from osler.doctor.readers.source import NotThisError, Source
from osler.doctor.readers.vocabulary import find_meaning
from osler.errors import DataError

__all__ = ["read_markdown"]

RULE = re.compile(r"\s*\|?(\s*:?-+:?\s*\|)+\s*:?-*:?\s*")
LONGEST_RULE = 4_000
MARKUP = re.compile(r"[*`_]{1,3}(?=\S)|(?<=\S)[*`]{1,3}")


def read_markdown(source: Source) -> list[Chart]:
    """The charts of all tables that have a column of epochs, and figures beside it.

    Raises:
        NotThisError: there is no Markdown table.
        DataError: there are tables, none of them by epoch.
    """
    lines = source.lines
    rules = [
        index for index, line in enumerate(lines) if index and len(line) < LONGEST_RULE and "-" in line and RULE.fullmatch(line)
    ]
    rules = [index for index in rules if "|" in lines[index - 1]]
    if not rules:
        raise NotThisError("no Markdown table")
    charts: list[Chart] = []
    for rule in rules:
        rows = [_cells(lines[rule - 1])]
        for line in lines[rule + 1 :]:
            if "|" not in line:
                break
            rows.append(_cells(line))
        kinds = [find_meaning(cell).kind for cell in rows[0][:200]]
        if len(rows) < 2 or "epoch" not in kinds or "figure" not in kinds:
            continue
        suffix = f"#line {rule}" if len(rules) > 1 else ""
        try:
            charts += charts_of(table_of_rows(rows, f"{source.name}{suffix}", "markdown"))
        except DataError:
            continue
    if not charts:
        raise DataError(
            f"{source.name}: has {len(rules)} Markdown tables, none with a column of epochs and columns of losses or scores."
        )
    return charts


def _cells(line: str) -> list[str]:
    line = line.strip().removeprefix("|").removesuffix("|")
    return [MARKUP.sub("", cell.strip()) for cell in line.split("|")]
