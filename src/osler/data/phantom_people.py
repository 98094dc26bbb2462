"""Who is imaged in the phantom, and with what, by random numbers that follow from their keys alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from osler.config import FINDINGS, PhantomConfig
from osler.errors import ConfigError

__all__ = ["MASK", "STREAMS", "exclusive_findings", "independent_findings", "prevalences", "uniform", "visits"]

STAYS = {"nodule": 0.9, "mass": 0.95, "effusion": 0.8, "cardiomegaly": 0.97, "consolidation": 0.7, "pneumothorax": 0.7}
"""Share of images that show their patient's state of a finding; the others have it drawn anew, at the same prevalence."""
STAYS_EXCLUSIVE = 0.85
"""The same, where a patient has one state among several."""
MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15
STREAMS = {
    name: index
    for index, name in enumerate(
        (
            "count",
            "sex",
            "age",
            "years",
            "view",
            "state",
            "stays",
            "chest",
            "vessels",
            "tissue",
            "heart",
            "pose",
            "grain",
            *FINDINGS,
            "area",
        )
    )
}
"""Numbers of the independent streams of random numbers."""


def uniform(seed: int, stream: str, *keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) numbers in [0, 1) that follow from the keys of each row alone (SplitMix64: Steele, Lea and Flood 2014)."""
    start = (seed + STREAMS[stream] * GOLDEN) & MASK
    state = _mix(np.full(len(keys[0]), start, np.uint64))
    for key in keys:
        state = _mix(state ^ (key.astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + np.uint64(GOLDEN)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def visits(config: PhantomConfig) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(N,) patient of each row and (N,) its number among the patient's images; counts are geometric, as in hospitals."""
    mean = config.images_per_patient
    everyone = np.arange(config.samples)
    chance = uniform(config.seed, "count", everyone)
    more = 0.0 if mean == 1 else np.floor(np.log1p(-chance) / math.log1p(-1 / mean))
    counts = np.minimum(1 + more, config.samples).astype(np.int64) + np.zeros_like(everyone)
    patient = np.repeat(everyone, counts)[: config.samples]
    first = np.cumsum(counts) - counts
    return patient, np.arange(config.samples) - first[patient]


def independent_findings(config: PhantomConfig, patient: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N, K) findings, each with its prevalence and independent of the others."""
    columns = []
    for name, prevalence in zip(config.findings, prevalences(config), strict=True):
        stays = uniform(config.seed, "stays", patient, number, np.full_like(patient, STREAMS[name])) < STAYS[name]
        usual, today = uniform(config.seed, name, patient), uniform(config.seed, name, patient, number)
        columns.append(np.where(stays, usual, today) < prevalence)
    return np.stack(columns, 1)


def exclusive_findings(config: PhantomConfig, patient: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N, K) findings, at most one in each image."""
    shares = prevalences(config)
    if sum(shares) > 1 + 1e-9:
        raise ConfigError(
            f"data.phantom.prevalence: the shares of exclusive findings add up to {sum(shares):g}; "
            "with task multiclass they may reach 1 at most, and what is left of 1 is normal"
        )
    stays = uniform(config.seed, "stays", patient, number) < STAYS_EXCLUSIVE
    usual, today = uniform(config.seed, "state", patient), uniform(config.seed, "state", patient, number)
    state = np.searchsorted(np.cumsum(shares), np.where(stays, usual, today), side="right")
    return np.asarray(state[:, None] == np.arange(len(shares)))


def prevalences(config: PhantomConfig) -> tuple[float, ...]:
    given = config.prevalence
    return given if isinstance(given, tuple) else (given,) * len(config.findings)
