"""Shortcuts: how well labels are told by what is not the content of the image, on patients that the model has not seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from osler.audit.case import Case
from osler.audit.evidence import Told
from osler.audit.features import Feature, file_features, metadata_features, pixel_features
from osler.audit.logistic import held_out_auc

__all__ = ["ALL", "find_told"]

FEWEST = 20
"""Positives, and negatives, below which no model is made."""
MOST_POSITIVES, MOST_NEGATIVES = 4_000, 8_000
"""A set is drawn down to so many of each for a model: AUC does not depend on how many there are, its cost does."""
ALL = "file and acquisition"
"""Name of all features together that say how an image was made."""


def find_told(case: Case) -> list[Told]:
    """Every class by every feature, and by all that say how the image was made together."""
    features = list(_features(case))
    trials = [(k, *chosen) for k in range(len(case.samples.classes)) if (chosen := _chosen(case, k)) is not None]
    level = 1 - 0.05 / max(1, len(trials) * len(features))
    found = []
    for k, rows, labels in trials:
        patients = None if case.patients is None else case.patients[rows]
        for feature in features:
            columns = feature.columns[rows]
            columns = columns[:, np.ptp(columns, axis=0) > 0]
            if columns.shape[1]:
                auc, scores = held_out_auc(columns, labels, patients, level)
                found.append(Told(case.samples.classes[k], feature.name, feature.kind, auc, rows, scores))
    return found


def _features(case: Case) -> Iterator[Feature]:
    of_file, of_table = file_features(case), metadata_features(case)
    made = [one for one in (*of_file, *of_table) if one.kind == "acquisition"]
    yield from made
    if len(made) > 1:
        yield Feature(ALL, "acquisition", np.column_stack([one.columns for one in made]))
    yield from (one for one in of_table if one.kind == "other")
    # A lesion is in the pixels: that an image's tones tell whether it has one is no shortcut.
    if case.samples.masks is None:
        yield from pixel_features(case)


def _chosen(case: Case, k: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]] | None:
    """Rows and labels of one class that a model is made from; None where there are too few of either label."""
    column = case.samples.targets[:, k]
    rng = np.random.default_rng(k)
    parts: list[NDArray[np.intp]] = []
    for value, most in ((1, MOST_POSITIVES), (0, MOST_NEGATIVES)):
        rows = np.flatnonzero((column == value) & case.measured.readable)
        if len(rows) < FEWEST or _patients(case, rows) < FEWEST // 2:
            return None
        parts.append(rng.permutation(rows)[:most])
    rows = np.sort(np.concatenate(parts))
    return rows, column[rows] == 1


def _patients(case: Case, rows: Sequence[int] | NDArray[np.intp]) -> int:
    return len(rows) if case.patients is None else len(np.unique(case.patients[rows]))
