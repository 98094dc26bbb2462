"""Doses: how much of a cure a fault calls for, as changes of the configuration, and these as YAML and as overrides."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.doctor.case import Case
from osler.doctor.findings import Change

__all__ = ["overrides", "peak_rate", "positive_weights", "scale_rate", "set_fact", "two_digits", "yaml_text"]

# Above this a weight hands the gradient to a handful of samples.
WEIGHT_CAP = 50.0


def two_digits(value: float) -> float:
    """A dose rounded to two significant digits.

    >>> two_digits(0.00033333), two_digits(8.872)
    (0.00033, 8.9)
    """
    return float(f"{value:.2g}")


def peak_rate(case: Case) -> float:
    """The largest learning rate of the run: as logged, else as stated; NaN where neither is known."""
    logged = case.chart.points("learning_rate")[1]
    stated = case.facts.number("training.learning_rate")
    return float(logged.max()) if len(logged) and logged.max() > 0 else stated


def scale_rate(case: Case, factor: float, why: str) -> tuple[Change, ...]:
    """The learning rate times a factor; nothing to the number where the rate is not known, only the direction."""
    stated = case.facts.number("training.learning_rate")
    rate = stated if math.isfinite(stated) else peak_rate(case)
    if not rate > 0:
        word = "a tenth" if factor <= 0.1 else "a third" if factor < 1 else f"{factor:g} times as much"
        return (Change("training.learning_rate", None, word, why),)
    return (Change("training.learning_rate", rate, two_digits(rate * factor), why),)


def set_fact(case: Case, key: str, value: Any, why: str) -> tuple[Change, ...]:
    """One key set to a value, from what is stated; nothing where that is its value already."""
    if key in case.facts and case.facts.get(key) == value:
        return ()
    return (Change(key, case.facts.get(key), value, why),)


def positive_weights(case: Case) -> NDArray[np.float64] | None:
    """(K,) negatives / positives of the training labels, within [1, 50]; None where these are not known."""
    labels = case.labels("train") or case.labels("val")
    if labels is None or not ((labels.share > 0) & (labels.share < 1)).all():
        return None
    return np.clip((1.0 - labels.share) / labels.share, 1.0, WEIGHT_CAP)


def overrides(changes: Iterable[Change]) -> tuple[str, ...]:
    """Changes as `osler train` takes them on its command line.

    >>> overrides([Change("training.learning_rate", 1e-3, 1e-4, "")])
    ('training.learning_rate=0.0001',)
    """
    return tuple(f"{change.key}={_yaml_value(change.after)}" for change in changes if _is_setting(change))


def yaml_text(changes: Iterable[Change]) -> str:
    """Changes as a piece of YAML, with what stood there before.

    >>> print(yaml_text([Change("training.learning_rate", 1e-3, 1e-4, "")]), end="")
    training:
      learning_rate: 0.0001  # was 0.001
    """
    sections: dict[str, list[str]] = {}
    for change in changes:
        section, _, key = change.key.partition(".")
        was = "" if change.before is None else f"  # was {_yaml_value(change.before)}"
        comment = "" if _is_setting(change) else "# "
        line = f"{comment}{key or section}: {_yaml_value(change.after)}{was}"
        sections.setdefault(section if key else "", []).append(line)
    lines: list[str] = []
    for section, entries in sections.items():
        lines += [f"{section}:", *(f"  {entry}" for entry in entries)] if section else entries
    return "\n".join(lines) + "\n" if lines else ""


def _is_setting(change: Change) -> bool:
    """Whether the new value can be written into a configuration; "a third" is advice."""
    return not (isinstance(change.after, str) and " " in change.after)


def _yaml_value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_yaml_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
