"""Calibration: does what is called 30 % occur in 30 %? Brier score, ECE without its bias, reliability curve.

Bins hold equally many samples, since the probabilities of a rare finding crowd near zero and bins of equal width would put
nearly all of them into one. Targets are in {0, 1, NaN}; NaN is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.metrics.proportion import normal_quantile, wilson
from osler.metrics.ranking import Ranked, rank

__all__ = [
    "Bins",
    "Gaps",
    "ReliabilityCurve",
    "bin_edges",
    "brier",
    "ece",
    "gaps_of",
    "joined",
    "make_bins",
    "reliability_curve",
    "unbiased_ece",
]

Floats = NDArray[np.float64]

BINS = 15
# A share of fewer samples than this is hardly a share; small sets get fewer bins.
SMALLEST_BIN = 10
# No probability is taken for quite 0 or 1, so that no deviation is 0.
TINY = 1e-9
# How often a factor is doubled to find one that is large enough, and halved to find the smallest.
DOUBLINGS, HALVINGS = 60, 40


@dataclass(frozen=True)
class Bins:
    """Sums over bins of samples with like probabilities.

    Attributes:
        counts: (..., J) samples, or their weights.
        positives: (..., J) positive ones among them.
        predicted: (..., J) sum of their probabilities.
    """

    counts: Floats
    positives: Floats
    predicted: Floats


@dataclass(frozen=True)
class ReliabilityCurve:
    """Predicted against observed shares; empty where nothing is known.

    Attributes:
        predicted: (J,) mean probability of each bin, rising.
        observed: (J,) share of positives in it.
        low: (J,) lower end of Wilson's interval of that share.
        high: (J,) upper end.
        counts: (J,) samples.
    """

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats
    counts: Floats


def brier(targets: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared difference of probability and outcome (Brier 1950); NaN where nothing is known.

    Args:
        targets: (N,) in {0, 1, NaN}.
        probabilities: (N,) in [0, 1].

    >>> brier([1, 0, float("nan")], [0.5, 0.0, 0.9])
    0.125
    """
    labels, values = np.asarray(targets, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    known = ~np.isnan(labels)
    return float(np.mean((values[known] - labels[known]) ** 2)) if known.any() else float("nan")


def ece(targets: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error less its bias, in [0, 1]; NaN where nothing is known. See `Gaps`.

    Args:
        targets: (N,) in {0, 1, NaN}.
        probabilities: (N,) in [0, 1].
        bins: at most so many; fewer where they would hold under ten samples.

    >>> round(ece([0, 1] * 50, [0.9] * 100), 6)
    0.4
    """
    ranked = rank(targets, probabilities)
    return unbiased_ece(make_bins(ranked, bins))


def reliability_curve(targets: ArrayLike, probabilities: ArrayLike, bins: int = BINS, level: float = 0.95) -> ReliabilityCurve:
    """Observed share of positives by predicted probability, with Wilson's intervals.

    Args:
        targets: (N,) in {0, 1, NaN}.
        probabilities: (N,) in [0, 1].
        bins: at most so many, of equally many samples.
        level: of the intervals.

    >>> reliability_curve([0, 1] * 50, [0.9] * 100).observed.tolist()
    [0.5]
    """
    sums = make_bins(rank(targets, probabilities), bins)
    low, high = wilson(sums.positives, sums.counts, level)
    return ReliabilityCurve(sums.predicted / sums.counts, sums.positives / sums.counts, low, high, sums.counts)


def bin_edges(ranked: Ranked, bins: int = BINS) -> NDArray[np.floating[Any]]:
    """(J - 1,) inner edges; a bin holds the samples from its edge up to, not including, the next. Equal samples stay together."""
    values = ranked.everything
    bins = max(1, min(bins, len(values) // SMALLEST_BIN))
    if not len(values):
        return values
    edges = np.unique(values[np.arange(1, bins) * len(values) // bins])
    return np.asarray(edges[edges > values[0]])


def make_bins(ranked: Ranked, bins: int = BINS) -> Bins:
    """Sums over bins of equally many samples; no bin is empty, and there is none where nothing is known."""
    values = ranked.everything
    if not len(values):
        return Bins(np.empty(0), np.empty(0), np.empty(0))
    edges = bin_edges(ranked, bins)
    starts = np.concatenate([[0], np.searchsorted(values, edges, side="left")])
    below = np.concatenate([[0], np.searchsorted(ranked.positives, edges, side="left"), [len(ranked.positives)]])
    return Bins(
        counts=np.diff(starts, append=len(values)).astype(np.float64),
        positives=np.diff(below).astype(np.float64),
        predicted=np.add.reduceat(values, starts, dtype=np.float64),
    )


def unbiased_ece(sums: Bins) -> float:
    """ECE less its bias for independent samples, in [0, 1]; NaN without samples or where a probability is NaN. See `Gaps`."""
    return gaps_of(sums).ece()


@dataclass(frozen=True)
class Gaps:
    """Distances of observed and predicted share, and the noise in them.

    The plug-in ECE, the mean distance over samples, takes the noise of each bin's share for miscalibration, and is far above 0
    for a perfect model of a small set. What is wanted is the miscalibration whose expected plug-in ECE, noise added, is the
    one seen (each bin's distance then is a folded normal's mean). Ferro and Fricker (2012) and Kumar, Liang and Ma (2019,
    arXiv 1909.10155) subtract the noise bin by bin, which leaves over half of it in an absolute distance; here the true
    distances are taken to be those seen, or the noise where that is larger, all scaled by one factor, and the factor is
    solved for. Interval ends are the factors whose expected plug-in ECE lies that many standard errors away.

    Attributes:
        weights: (J,) share of samples; they add up to 1.
        seen: (J,) distance in each bin.
        noise: (J,) standard deviation of the observed share if the predicted one is true, scaled so that a normal's mean
            distance is the binomial's, which is far smaller where less than one positive is expected.
        spread: (J,) standard deviation of the observed share at the predicted or the observed one, whichever is larger.
        across: variance of the sum over bins, as a multiple of that of independent bins.
    """

    weights: Floats
    seen: Floats
    noise: Floats
    spread: Floats
    across: float = 1.0

    @property
    def plugin(self) -> float:
        """The mean distance seen."""
        return float((self.weights * self.seen).sum())

    def ece(self) -> float:
        """The expected calibration error less its bias; NaN where undefined."""
        return self._solve(0.0)

    def ends(self, level: float) -> tuple[float, float]:
        """Interval of the expected calibration error; NaN where undefined."""
        return self._solve(normal_quantile(level)), self._solve(-normal_quantile(level))

    def _solve(self, steps: float) -> float:
        """The ECE whose expected plug-in value, plus so many standard errors of it, is the one seen; 0 if none is so small."""
        plugin, profile = self.plugin, np.maximum(self.seen, self.noise)
        if not len(self.seen) or not math.isfinite(plugin):
            return math.nan

        def above(factor: float) -> bool:
            distances = factor * profile
            mean = (self.weights * _folded_mean(distances, self.noise)).sum()
            if not steps:  # the estimate itself, asked for every class of every epoch, needs no error
                return bool(mean >= plugin)
            variance = distances**2 + self.spread**2 - _folded_mean(distances, self.spread) ** 2
            error = math.sqrt(self.across * float((self.weights**2 * variance).sum()))
            return bool(mean + steps * error >= plugin)

        low, high = 0.0, 1.0
        if above(low):
            return 0.0
        for _ in range(DOUBLINGS):
            if above(high):
                break
            high *= 2
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if above(middle) else (middle, high)
        return min(1.0, high * float((self.weights * profile).sum()))


def gaps_of(sums: Bins, within: float = 1.0) -> Gaps:
    """The gaps of bins.

    Args:
        sums: (J,) bins of one class.
        within: variance of a bin's share as a multiple of that of independent samples; above 1 where patients have several.
    """
    counts = sums.counts
    predicted = np.clip(sums.predicted / counts, TINY, 1 - TINY)
    # Half a sample to either side, so that a bin without positives is not sure to have none.
    observed = (sums.positives + 0.5) / (counts + 1)
    return Gaps(
        weights=counts / counts.sum() if len(counts) else counts,
        seen=np.abs(sums.positives - sums.predicted) / counts,
        noise=np.sqrt(within * np.pi / 2) * _mean_deviation(counts, predicted),
        spread=np.sqrt(within * np.maximum(predicted * (1 - predicted), observed * (1 - observed)) / counts),
    )


def joined(parts: Sequence[Gaps], across: float) -> Gaps:
    """The gaps of several classes as those of their mean."""
    weights, seen, noise, spread = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("weights", "seen", "noise", "spread")
    )
    return Gaps(weights / len(parts), seen, noise, spread, across)


def _mean_deviation(counts: Floats, share: Floats) -> Floats:
    """Mean distance of a binomial share from its expectation (de Moivre): 2 q^(n-k) p^(k+1) n! / (k! (n-k-1)!) / n, k = [n p]."""
    from scipy.special import gammaln

    k = np.floor(counts * share)
    logarithm = (counts - k) * np.log1p(-share) + (k + 1) * np.log(share)
    logarithm += gammaln(counts + 1) - gammaln(k + 1) - gammaln(counts - k)
    return np.asarray(2 * np.exp(logarithm) / counts)


def _folded_mean(mean: Floats, deviation: Floats) -> Floats:
    """Mean of |x| for x normal with this mean, not below 0, and this deviation, above 0."""
    # Imported here: scipy.special costs more at start than all of this room.
    from scipy.special import ndtr

    steps = mean / deviation
    return np.asarray(deviation * np.sqrt(2 / np.pi) * np.exp(-(steps**2) / 2) + mean * (1 - 2 * ndtr(-steps)))
