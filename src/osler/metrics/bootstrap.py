"""The bootstrap, by patient, without re-sorting: a resample is a weight for each patient, and sums of weights say the rest.

Scores are sorted once. Between two neighbouring positives nothing can happen but negatives, so their weights are summed at
once, by one sparse matrix for each class, and AUC and AP of many resamples follow from a few rows of sums. Counts of resamples
are one matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.metrics.ranking import Ranked, cluster_codes

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["RankedRows", "bootstrap_figures", "bootstrap_ranking", "rank_rows", "resample", "weighted_ranking"]

Floats = NDArray[np.float64]
Weights = NDArray[np.float32]

# Elements of one block of weights: 4 MB stay in the cache while every class is scored.
BLOCK = 1 << 20


@dataclass(frozen=True)
class RankedRows:
    """The scores of one class, sorted, and whose they are; what one resample needs of them.

    Attributes:
        positives: (G, P) how many positives of each patient are in each run of equal positives, by rising score.
        negatives: (S, P) how many negatives of each patient are in each stretch that no positive interrupts, by rising score.
        below: (G,) stretches lower than each run.
        upto: (G,) stretches no higher than each run.
    """

    positives: csr_array[np.float32]
    negatives: csr_array[np.float32]
    below: NDArray[np.intp]
    upto: NDArray[np.intp]


def resample(clusters: int, bootstraps: int, seed: int) -> Iterator[Weights]:
    """Blocks (P, b) of how often each of P patients is drawn in each resample; the b add up to `bootstraps`.

    Args:
        clusters: P, patients, or samples where each is its own.
        bootstraps: resamples in all.
        seed: the same seed draws the same resamples, so figures of several classes or models can be paired.

    >>> [block.sum(axis=0).tolist() for block in resample(3, 2, seed=0)]
    [[3.0, 3.0]]
    """
    generator = np.random.default_rng(seed)
    size = int(np.clip(BLOCK // max(clusters, 1), 16, 512))
    for start in range(0, bootstraps, size):
        count = min(size, bootstraps - start)
        drawn = generator.integers(0, clusters, size=(count, clusters), dtype=np.int32)
        times = np.array([np.bincount(row, minlength=clusters) for row in drawn])
        yield np.ascontiguousarray(times.T, dtype=np.float32)


def bootstrap_ranking(
    targets: ArrayLike, scores: ArrayLike, patients: ArrayLike | None = None, bootstraps: int = 1000, seed: int = 0
) -> tuple[Floats, Floats]:
    """(R, K) AUC and (R, K) AP of each class in each resample; NaN where a resample lacks a label of the class.

    Args:
        targets: (N, K) in {0, 1, NaN}.
        scores: (N, K).
        patients: (N,) ids; all samples of a patient are drawn together. None: each sample is its own.
        bootstraps: R.
        seed: of the draw.

    >>> area, precision = bootstrap_ranking([[0], [1], [0], [1]], [[0.1], [0.4], [0.35], [0.8]], bootstraps=8)
    >>> area.shape, float(np.nanmin(area))
    ((8, 1), 1.0)
    """
    labels, values = np.asarray(targets), np.asarray(scores)
    codes = np.arange(len(labels)) if patients is None else cluster_codes(patients)
    clusters = int(codes.max(initial=-1)) + 1
    columns = [rank_rows(labels[:, k], values[:, k], codes, clusters) for k in range(labels.shape[1])]
    nothing = np.empty((clusters, 0))
    areas, averages, _ = bootstrap_figures(columns, nothing, bootstraps, seed)
    return areas, averages


def bootstrap_figures(
    columns: Sequence[RankedRows | None], rows: NDArray[Any], bootstraps: int, seed: int
) -> tuple[Floats, Floats, Floats]:
    """(R, K) AUC and (R, K) AP of sorted classes, and (R, F) sums of counts, all under the same resamples of patients.

    Args:
        columns: K classes by `rank_rows`; None gives NaN.
        rows: (P, F) whole numbers that each patient adds to each sum.
        bootstraps: R.
        seed: of the draw.
    """
    counts = np.asarray(rows, dtype=np.float32)
    areas, averages = np.full((2, bootstraps, len(columns)), np.nan)
    sums = np.zeros((bootstraps, counts.shape[1]))
    start = 0
    for weights in resample(len(counts), bootstraps, seed) if len(counts) else ():
        stop = start + weights.shape[1]
        sums[start:stop] = weights.T @ counts
        for k, column in enumerate(columns):
            if column is not None:
                areas[start:stop, k], averages[start:stop, k] = weighted_ranking(column, weights)
        start = stop
    return areas, averages, sums


def rank_rows(targets: ArrayLike, scores: ArrayLike, codes: NDArray[np.intp], clusters: int) -> RankedRows | None:
    """Sorts one class; None where a label is absent or a score is NaN.

    Args:
        targets: (N,) in {0, 1, NaN}.
        scores: (N,).
        codes: (N,) patient numbers.
        clusters: P, of all patients, those without a known label of this class too.
    """
    labels, values = np.asarray(targets), np.asarray(scores)
    ones, zeros = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    ones, zeros = ones[np.argsort(values[ones])], zeros[np.argsort(values[zeros])]
    ranked = Ranked(values[ones], values[zeros])
    if not ranked.scored:
        return None
    groups = ranked.group_starts
    below, upto = ranked.below[groups], ranked.upto[groups]
    bounds = np.unique(np.concatenate([below, upto, [0, len(zeros)]]))
    return RankedRows(
        positives=_stretches(codes[ones], np.append(groups, len(ones)), clusters),
        negatives=_stretches(codes[zeros], bounds, clusters),
        below=np.searchsorted(bounds, below),
        upto=np.searchsorted(bounds, upto),
    )


def _stretches(codes: NDArray[np.intp], bounds: NDArray[np.intp], clusters: int) -> csr_array[np.float32]:
    """(len(bounds) - 1, P) how often each patient occurs between two bounds."""
    # Imported here: it costs more than the rest of this room, and only the bootstrap needs it.
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(codes), np.float32), codes, bounds), shape=(len(bounds) - 1, clusters))


def weighted_ranking(rows: RankedRows, weights: Weights) -> tuple[Floats, Floats]:
    """(b,) AUC and (b,) AP of one class under each column of weights; NaN where a label has no weight.

    Args:
        rows: the class, sorted.
        weights: (P, b) whole numbers.
    """
    # Sums of whole numbers under 2**24 are exact in single precision; products are taken in double.
    gains = rows.positives @ weights
    passed = np.zeros((rows.negatives.shape[0] + 1, weights.shape[1]))
    np.cumsum(rows.negatives @ weights, axis=0, out=passed[1:])
    true = np.cumsum(gains[::-1], axis=0, dtype=np.float64)[::-1]
    negatives, positives = passed[-1], true[0]
    below = passed[rows.below]
    pairs = np.einsum("gb,gb->b", gains, below + passed[rows.upto]) / 2
    called = true + (negatives - below)
    precision = np.divide(true, called, out=called, where=called > 0)
    steps = np.einsum("gb,gb->b", gains, precision)
    # A resample without a label: 0 / 0.
    with np.errstate(invalid="ignore", divide="ignore"):
        area, average = pairs / (positives * negatives), steps / positives
    return area, np.where(negatives > 0, average, np.nan)
