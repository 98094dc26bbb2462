"""Units and whole figures: percentages become shares, an error an accuracy, parts of a loss and classes a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from osler.doctor.chart import Series, split_name
from osler.doctor.readers.vocabulary import SHARES, SIGNED_SHARES

__all__ = ["settle_units"]

SPLITS = ("train", "val", "test")
# A share above 1 by rounding is still one; the Dice of masks of 0 and 255 stays below 2; percentages rarely do.
ROUNDING = 1e-3
LARGEST_ODD_SHARE = 2.0
LARGEST_PERCENTAGE = 100.5


def settle_units(series: Mapping[str, Series], percents: Mapping[str, str]) -> dict[str, Series]:
    """Series in the units of vitals.jsonl, with the whole figures that follow from their parts.

    Args:
        series: by canonical name, as logged.
        percents: names with a percent sign beside the numbers ("sign") or in the label ("label").
    """
    done = {name: _as_share(name, each, percents.get(name)) for name, each in series.items()}
    for split in SPLITS:
        _add_accuracy(done, split)
        _add_loss(done, split)
        _add_macro(done, split)
    if "seconds.epoch" in done:
        done["seconds.epoch"] = _per_epoch(done["seconds.epoch"])
    return done


def _as_share(name: str, series: Series, percent: str | None) -> Series:
    """Divides percentages by 100, by their sign or, failing that, by their size."""
    figure = split_name(name)[0].partition(".")[2]
    if (figure not in SHARES and figure not in SIGNED_SHARES) or not series.finite.any():
        return series
    largest = float(np.nanmax(np.abs(series.values)))
    if percent == "sign" or (percent == "label" and largest > 1.0 + ROUNDING):
        return replace(series, values=series.values / 100.0)
    if percent == "label":
        return _assuming(series, "its label says per cent, its values are shares")
    if LARGEST_ODD_SHARE < largest <= LARGEST_PERCENTAGE and (figure in SIGNED_SHARES or float(np.nanmin(series.values)) >= 0):
        return _assuming(replace(series, values=series.values / 100.0), f"values up to {largest:.4g} are read as percentages")
    lowest = float(np.nanmin(series.values))
    if largest > 1.0 + ROUNDING or (lowest < -ROUNDING and figure not in SIGNED_SHARES):
        odd = lowest if lowest < -ROUNDING else largest
        return _assuming(series, f"{odd:.4g} lies outside the range of such a figure: it may be a sum, or of another kind")
    return series


def _assuming(series: Series, text: str) -> Series:
    return replace(series, assumed=(*series.assumed, text))


def _add_accuracy(series: dict[str, Series], split: str) -> None:
    error = series.get(f"{split}.error")
    if error is not None and f"{split}.accuracy" not in series and float(np.nanmax(error.values, initial=0.0)) <= 1.0 + ROUNDING:
        series[f"{split}.accuracy"] = _assuming(replace(error, values=1.0 - error.values), "1 − error")


def _add_loss(series: dict[str, Series], split: str) -> None:
    """The whole loss where only parts are logged: the only part, or their sum."""
    whole = f"{split}.loss"
    parts = [(part, each) for name, each in series.items() for stem, part in (split_name(name),) if stem == whole and part]
    if whole in series or not parts:
        return
    if len(parts) == 1:
        series[whole] = parts[0][1]
        return
    total = np.sum([each.values for _, each in parts], axis=0)
    names = ", ".join(part for part, _ in parts)
    series[whole] = Series(
        total,
        np.any([each.nonfinite for _, each in parts], axis=0),
        " + ".join(each.label for _, each in parts),
        parts[0][1].where,
        (f"the log has no whole loss: the sum of {names}, unweighted",),
    )


def _add_macro(series: dict[str, Series], split: str) -> None:
    """The mean over classes where only classes are logged; of one class, that class."""
    by_figure: dict[str, list[Series]] = {}
    for name, each in series.items():
        stem, part = split_name(name)
        figure = stem.removeprefix(f"{split}.")
        if part is not None and stem.startswith(f"{split}.") and figure in SHARES | SIGNED_SHARES and stem not in series:
            by_figure.setdefault(stem, []).append(each)
    for stem, classes in by_figure.items():
        if len(classes) == 1:
            series[stem] = classes[0]
            continue
        values = np.stack([each.values for each in classes])
        known = np.isfinite(values)
        counts = known.sum(axis=0)
        mean = np.full(values.shape[1], np.nan)
        np.divide(np.where(known, values, 0.0).sum(axis=0), counts, out=mean, where=counts > 0)
        label = ", ".join(each.label for each in classes[:4]) + (" ..." if len(classes) > 4 else "")
        series[stem] = Series(
            mean, np.zeros(len(mean), dtype=np.bool_), label, classes[0].where, (f"mean over {len(classes)} classes",)
        )


def _per_epoch(series: Series) -> Series:
    """Seconds since the beginning become seconds of each epoch."""
    known = np.flatnonzero(series.finite)
    values = series.values[known]
    # Epochs do not grow longer without end; a clock that always advances counts from the start.
    if len(known) < 5 or np.any(np.diff(values) <= 0) or values[-1] < 3.0 * values[0]:
        return series
    spent = np.full(series.values.shape, np.nan)
    spent[known] = np.diff(values, prepend=0.0)
    return _assuming(replace(series, values=spent), "the clock is taken to run on from epoch to epoch")
