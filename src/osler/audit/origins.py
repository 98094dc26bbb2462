"""Origins: how sites, devices, views and folders differ, and whether the splits hold the same of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from osler.audit.case import Case, percent
from osler.audit.evidence import Origin
from osler.audit.features import ACQUISITION, folders_of
from osler.audit.findings import Finding

__all__ = ["origins", "origins_differ", "origins_of_splits"]

MOST_VALUES, MOST_COLUMNS = 12, 6
FEWEST = 30
APART = 1.0
"""Standard deviations of brightness between an origin and the others that are named."""
UNSEEN = 0.1
"""A split is named where train has nothing of the origin of so many of its images."""


def origins(case: Case) -> list[Origin]:
    """Every value of every column that says where an image comes from, the commonest first."""
    return [
        _origin(case, column, str(value), values == value)
        for column, values in _columns(case).items()
        for value in sorted(set(values.tolist()) - {""}, key=lambda value: -int((values == value).sum()))
    ]


def _columns(case: Case) -> dict[str, NDArray[np.str_]]:
    found: dict[str, NDArray[np.str_]] = {}
    metadata = case.samples.metadata
    for name in [] if metadata is None else [str(name) for name in metadata.columns if ACQUISITION.search(str(name))]:
        assert metadata is not None
        found[name] = metadata[name].astype("string").fillna("").to_numpy(str)
    folders = folders_of(case)
    if folders is not None:
        found["folder"] = folders
    kept = {name: values for name, values in found.items() if 2 <= len(set(values.tolist()) - {""}) <= MOST_VALUES}
    return dict(list(kept.items())[:MOST_COLUMNS])


def _origin(case: Case, column: str, value: str, has: NDArray[np.bool_]) -> Origin:
    readable, means = case.measured.readable, case.measured["mean"].astype(np.float64)
    inside, outside = means[has & readable], means[~has & readable]
    apart = float("nan")
    if min(len(inside), len(outside)) >= FEWEST:
        spread = np.sqrt((inside.var() * len(inside) + outside.var() * len(outside)) / (len(inside) + len(outside)))
        apart = float((inside.mean() - outside.mean()) / max(float(spread), 1e-9))
    targets = case.samples.targets[has]
    known = ~np.isnan(targets)
    shares = [float(targets[known[:, k], k].mean()) if known[:, k].any() else float("nan") for k in range(targets.shape[1])]
    sizes = [
        float(np.median(case.measured[side][has & readable])) if len(inside) else float("nan") for side in ("width", "height")
    ]
    return Origin(
        column,
        value,
        int(has.sum()),
        {name: int((has & case.of_split(name)).sum()) for name in case.used},
        tuple(shares),
        float(inside.mean()) if len(inside) else float("nan"),
        apart,
        (sizes[0], sizes[1]),
    )


def origins_differ(case: Case) -> Iterator[Finding]:
    """Origins whose images are brighter or darker than the others."""
    far = sorted((one for one in case.origins if abs(one.apart) > APART), key=lambda one: -abs(one.apart))
    if far:
        parts = [
            f"{one.column} {one.value} ({one.images:,} images) is {'brighter' if one.apart > 0 else 'darker'} by "
            f"{abs(one.apart):.1f} SD"
            for one in far[:4]
        ]
        yield Finding(
            "origins_differ",
            "note",
            f"Images differ by where they come from: {'; '.join(parts)}.",
            "Prepare them alike (preparation.range: percentile, clahe), and report figures by origin.",
            figures={"origins": [{"column": one.column, "value": one.value, "apart": one.apart} for one in far]},
        )


def origins_of_splits(case: Case) -> Iterator[Finding]:
    """Splits that come from where train does not."""
    for column in dict.fromkeys(one.column for one in case.origins):
        for split in case.used:
            alone = [one for one in case.origins if one.column == column and one.splits[split] and not one.splits.get("train")]
            number = sum(one.splits[split] for one in alone)
            size = int(case.of_split(split).sum())
            if split == "train" or "train" not in case.used or number < UNSEEN * size:
                continue
            yield Finding(
                "origin_not_in_train",
                "note",
                f"{percent(number / size)} of {split} ({number:,} images) have the {column} "
                f"{', '.join(one.value for one in alone[:4])}, which train has none of.",
                "Good as a test at another place, and to be reported as such; as a validation set it steers by strangers.",
                figures={"column": column, "split": split, "images": number},
            )
