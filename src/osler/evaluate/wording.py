"""Words and figures as the page and the terminal show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from osler.report.page import Cell, Span

__all__ = ["NAMES", "Entry", "count", "figure_cell", "figure_text", "listing", "number", "percent"]

Entry = dict[str, Any]
"""A figure as `evaluation.json` holds it: value, low, high, n, method, and a reason where it is undefined or limited."""

NAMES = {
    "auc": "AUC",
    "ap": "AP (area under precision and recall)",
    "sensitivity": "Sensitivity (recall)",
    "specificity": "Specificity",
    "precision": "Precision (PPV)",
    "npv": "NPV",
    "accuracy": "Accuracy",
    "exact_match": "All labels right",
    "balanced_accuracy": "Balanced accuracy",
    "f1": "F1",
    "mcc": "Matthews correlation",
    "brier": "Brier score",
    "ece": "Calibration error (ECE)",
}


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash where there is none.

    >>> number(0.81234), number(0.00012), number(None)
    ('0.812', '0.00012', '–')
    """
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if value == 0 or abs(value) >= 10**-digits else f"{value:.2g}"


def figure_text(entry: Entry | None, digits: int = 3) -> str:
    """A figure and its interval.

    >>> figure_text({"value": 0.8123, "low": 0.7, "high": 0.9})
    '0.812 [0.700, 0.900]'
    >>> figure_text({"value": None}), figure_text({"value": 0.5, "low": None, "high": None})
    ('–', '0.500')
    """
    if entry is None or entry.get("value") is None:
        return "–"
    if entry["low"] is None:
        return f"{entry['value']:.{digits}f}"
    return f"{entry['value']:.{digits}f} [{entry['low']:.{digits}f}, {entry['high']:.{digits}f}]"


def figure_cell(
    entry: Entry | None, *, bar: bool = False, floor: float | None = None, digits: int = 2, stacked: bool = False
) -> Cell:
    """The same as a table cell; with its method, or why it is undefined, on hovering.

    Args:
        entry: the figure.
        bar: draw the interval, for figures between 0 and 1.
        floor: drawn in the bar: what no model at all reaches.
        digits: after the point.
        stacked: the interval below the figure, in narrow tables.
    """
    if entry is None or entry["value"] is None:
        return Cell("–", entry or {"value": None}, hint=(entry or {}).get("reason", ""))
    span = Span(entry["value"], entry["low"], entry["high"], floor) if bar and entry["low"] is not None else None
    hint = f"n = {entry['n']:,}; {entry['method'] if entry['low'] is not None else entry.get('reason', 'no interval')}"
    text = figure_text(entry, digits)
    figure, _, interval = text.partition(" ")
    return Cell(figure, entry, span, interval, hint) if stacked else Cell(text, entry, span, hint=hint)


def percent(value: float) -> str:
    """A share as a person says it.

    >>> percent(0.0123), percent(0.37), percent(0.99987), percent(1.0)
    ('1.2 %', '37 %', '99.99 %', '100 %')
    """
    if value in (0.0, 1.0):
        return f"{value:.0%}".replace("%", " %")
    digits = 0 if 0.1 <= value <= 0.95 else 1 if 0.001 <= value <= 0.999 else 2
    return f"{100 * value:.{digits}f} %"


def listing(words: Sequence[str], most: int = 6) -> str:
    """Words as a sentence lists them.

    >>> listing(["a"]), listing(["a", "b", "c"]), listing(["a", "b", "c", "d"], most=2)
    ('a', 'a, b and c', 'a, b and 2 more')
    """
    words = list(words)
    if len(words) > most:
        words = [*words[:most], f"{len(words) - most} more"]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def count(amount: int, word: str, plural: str | None = None) -> str:
    """A number and its noun.

    >>> count(1, "sample"), count(2000, "sample"), count(2, "class", "classes")
    ('1 sample', '2,000 samples', '2 classes')
    """
    return f"{amount:,} {word if amount == 1 else plural or f'{word}s'}"
