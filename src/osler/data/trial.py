"""A trial's samples: a part of train to learn from, and val divided into what chooses and what proves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from osler.config import SplitConfig, TrialConfig
from osler.data.samples import Samples
from osler.data.split import split_samples, stratified_subset
from osler.errors import DataError

__all__ = ["trial_rows"]


def trial_rows(
    samples: Samples, rows: Mapping[str, NDArray[np.intp]], trial: TrialConfig
) -> tuple[dict[str, NDArray[np.intp]], str]:
    """The rows of a trial, and a note on them: val divided by patient, the second part in place of test; a part of train.

    Args:
        samples: of the source.
        rows: source rows of train and val; those of test are left out.
        trial: shares and seed.

    Raises:
        DataError: val has a single patient.
    """
    val, train = rows["val"], rows["train"]
    within = replace(samples.take(val), split=None)
    if len(np.unique(within.ids if within.patients is None else within.patients)) < 2:
        raise DataError("data.trial: val has a single patient; one part that chooses and one that proves need two at least.")
    divided = split_samples(within, SplitConfig(ratio=(1 - trial.prove, trial.prove, 0.0), seed=trial.seed))
    if trial.train < 1.0:
        train = train[stratified_subset(replace(samples.take(train), split=None), float(trial.train), trial.seed)]
    parts = {"train": train, "val": val[divided == "train"], "test": val[divided == "val"]}
    return parts, (
        f"A trial: {len(train):,} of {len(rows['train']):,} samples of train; val divided by patient, {len(parts['val']):,} that "
        f"choose and {len(parts['test']):,} that prove, which stand as test. The test set is left alone."
    )
