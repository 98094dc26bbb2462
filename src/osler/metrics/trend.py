"""Trends of a figure over the epochs, the size of a validation set by its steps, and the weight that a loss betrays.

Epochs are no independent samples: what lifts a validation score in one lifts it in the next. `trend` widens the error of a
slope by the autocorrelation of what the line leaves over. `smallest_set` reads from scores printed as k/n how few samples
they can rest on. `weight_in_force` inverts the weighted BCE of a constant prediction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.metrics.proportion import normal_quantile

__all__ = [
    "Grid",
    "Trend",
    "Weighting",
    "prevalence_from_constants",
    "smallest_set",
    "trend",
    "weight_from_probability",
    "weight_in_force",
]

Floats = NDArray[np.float64]

FEWEST_POINTS = 4
# The exact variance needs the (n, n) correlations; beyond this the limit for long series is as good.
EXACT_UP_TO = 400
HIGHEST_CORRELATION = 0.95
FEWEST_DEGREES = 1.0


@dataclass(frozen=True)
class Trend:
    """The slope of a figure over the epochs.

    Attributes:
        slope: change an epoch; NaN with a reason where it cannot be told.
        low, high: its interval.
        se: standard error of the slope, autocorrelation included.
        n: figures used.
        autocorrelation: of what the line leaves over, from one figure to the next, corrected for small n; at least 0.
        effective: how many independent figures these are worth.
        reason: why there is no slope; None where there is.
    """

    slope: float
    low: float
    high: float
    se: float
    n: int
    autocorrelation: float
    effective: float
    reason: str | None = None

    @property
    def rises(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.low > 0.0

    @property
    def falls(self) -> bool:
        """Whether the whole interval lies below zero."""
        return self.high < 0.0


def trend(values: ArrayLike, times: ArrayLike | None = None, level: float = 0.95) -> Trend:
    """The slope of a series by least squares, with an interval that knows its autocorrelation.

    The residuals are taken as AR(1). Their lag-one correlation, which detrending biases by about −(2 + 4ρ)/n (Kendall 1954),
    is corrected; the slope's variance and the residuals' expected sum follow exactly from it, and degrees of freedom from
    the effective number n(1 − ρ)/(1 + ρ) (Bayley and Hammersley 1946). A negative correlation is taken as none. In
    simulation the 95 % interval covers 90 % or more from 12 figures on for ρ up to 0.7; on fewer figures that are strongly
    correlated it is too narrow (84 % at 5 and 0.7), since such a series cannot tell its own correlation.

    Args:
        values: (N,) a figure by epoch; NaN is left out.
        times: (N,) epochs; 0, 1 ... where not given.
        level: of the interval.

    >>> falling = trend([0.9, 0.8, 0.72, 0.6, 0.52, 0.4, 0.31, 0.2])
    >>> falling.falls, round(falling.slope, 3)
    (True, -0.1)
    """
    y = np.asarray(values, dtype=np.float64).ravel()
    x = np.arange(len(y), dtype=np.float64) if times is None else np.asarray(times, dtype=np.float64).ravel()
    known = np.isfinite(y) & np.isfinite(x)
    x, y = x[known], y[known]
    n = len(y)
    if n < FEWEST_POINTS:
        return _no_trend(n, f"{n} figures: a slope with an error needs at least {FEWEST_POINTS}")
    centred = x - x.mean()
    spread = float(centred @ centred)
    if spread == 0.0:
        return _no_trend(n, "all figures are of the same epoch")
    scale = float(np.abs(y).max()) or 1.0  # squares of exploding losses overflow
    slope = float(centred @ (y / scale)) / spread
    left = y / scale - float((y / scale).mean()) - slope * centred
    squares = float(left @ left)
    slope *= scale
    if squares <= 1e-24:
        return Trend(slope, slope, slope, 0.0, n, 0.0, float(n))  # an exact line, such as a constant
    rho = _autocorrelation(left, squares)
    variance, lost = _slope_variance(centred / spread, rho)
    se = scale * math.sqrt(squares / max(n - lost, 1.0) * variance)
    effective = n * (1.0 - rho) / (1.0 + rho)
    half = _student_quantile(level, max(effective - 2.0, FEWEST_DEGREES)) * se
    return Trend(slope, slope - half, slope + half, se, n, rho, effective)


def _no_trend(n: int, reason: str) -> Trend:
    return Trend(math.nan, math.nan, math.nan, math.nan, n, math.nan, math.nan, reason)


def _student_quantile(level: float, freedom: float) -> float:
    """Student's t by Hill's algorithm 396 (1970), within 0.1 % from 2 degrees of freedom on, up to 4 % wide below.

    `metrics.proportion` has the exact one, from scipy.special, whose import alone takes half the time of a diagnosis.

    >>> round(_student_quantile(0.95, 10), 4), round(_student_quantile(0.95, 1), 3)
    (2.2281, 12.706)
    """
    tails = 1.0 - level
    if freedom <= 2.0:
        # Closed forms at 1 and 2; between them the logarithm is nearly linear in 1/n.
        one, two = 1.0 / math.tan(tails * math.pi / 2.0), math.sqrt(2.0 / (tails * (2.0 - tails)) - 2.0)
        share = 2.0 / freedom - 1.0
        return math.exp(share * math.log(one) + (1.0 - share) * math.log(two))
    a = 1.0 / (freedom - 0.5)
    b = 48.0 / a**2
    c = ((20700.0 * a / b - 98.0) * a - 16.0) * a + 96.36
    d = ((94.5 / (b + c) - 3.0) / b + 1.0) * math.sqrt(a * math.pi / 2.0) * freedom
    y = (d * tails) ** (2.0 / freedom)
    if y > 0.05 + a:
        x = -normal_quantile(level)
        c += 0.3 * (freedom - 4.5) * (x + 0.6) if freedom < 5.0 else 0.0
        c += (((0.05 * d * x - 5.0) * x - 7.0) * x - 2.0) * x + b
        square = x * x
        y = (((((0.4 * square + 6.3) * square + 36.0) * square + 94.5) / c - square - 3.0) / b + 1.0) * x
        y = math.expm1(a * y * y)
    else:
        tail = 1.0 / (((freedom + 6.0) / (freedom * y) - 0.089 * d - 0.822) * (freedom + 2.0) * 3.0)
        y = ((tail + 0.5 / (freedom + 4.0)) * y - 1.0) * (freedom + 1.0) / (freedom + 2.0) + 1.0 / y
    return math.sqrt(freedom * y)


def _autocorrelation(left: Floats, squares: float) -> float:
    """Lag-one correlation of the residuals of a line, without its bias, from 0 to HIGHEST_CORRELATION."""
    n = len(left)
    raw = float(left[:-1] @ left[1:]) / squares
    return min(max((n * raw + 2.0) / max(n - 4.0, 1.0), 0.0), HIGHEST_CORRELATION) if n > 5 else max(raw, 0.0)


def _slope_variance(weights: Floats, rho: float) -> tuple[float, float]:
    """Variance of the slope for residuals of variance 1, and how much of their squares the line takes up.

    Args:
        weights: (n,) by which the slope is the weighted sum of the values.
        rho: of the residuals, R_ij = rho^|i−j|.

    Returns:
        w'Rw, and the trace of HR with H the projection on the line.
    """
    n = len(weights)
    own = float(weights @ weights)
    if rho == 0.0:
        return own, 2.0
    if n > EXACT_UP_TO:
        inflation = (1.0 + rho) / (1.0 - rho)
        return own * inflation, 2.0 * inflation
    lags = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    correlation = rho**lags
    variance = float(weights @ correlation @ weights)
    return variance, float(correlation.sum()) / n + variance / own


# --- tiny validation sets -----------------------------------------------------------------------------------------------------

# Scores on n samples fit the grid of n by chance too: so improbable must that be, over all sizes that were tried.
CHANCE = 1e-3
LARGEST_SIZE = 2_000


@dataclass(frozen=True)
class Grid:
    """The step of scores that are shares of n samples.

    Attributes:
        n: the smallest number of samples that gives all of these scores; 0 with a reason where none can be told.
        largest: the largest multiple of n that would have shown finer steps with less than 95 % probability.
        step: 1/n.
        distinct: different scores seen.
        reason: why no size can be told; None where it can.
    """

    n: int
    largest: int
    step: float
    distinct: int
    reason: str | None = None


def smallest_set(scores: ArrayLike, decimals: int | None = None) -> Grid:
    """The number of samples that scores such as accuracy betray by moving in steps of 1/n.

    A score of a set of n samples is k/n. The smallest n on whose grid all scores lie, within their rounding, is taken when
    that many distinct scores would hardly lie there by chance. A larger set has it too if it is a multiple of n, but then
    all scores would have fallen on the coarser grid: m times larger, with probability m^−distinct.

    Args:
        scores: shares from 0 to 1; NaN, 0 and 1, which lie on every grid, are left out.
        decimals: to which the scores are rounded; None: as many as the longest of them has.

    >>> smallest_set([0.8125, 0.625, 0.75, 0.6875, 0.5625, 0.9375]).n
    16
    >>> smallest_set([0.8132, 0.6251, 0.7519, 0.6877]).reason
    'the scores lie on no grid of up to 2000 samples'
    """
    values = np.asarray(scores, dtype=np.float64).ravel()
    values = np.sort(values[np.isfinite(values) & (values > 0.0) & (values < 1.0)])
    values = values[np.diff(values, prepend=-1.0) > 0.0]  # np.unique imports numpy.ma
    if len(values) < 2:
        return Grid(0, 0, math.nan, len(values), "fewer than two different scores between 0 and 1")
    # Scores are often kept as float32, whose own rounding comes on top.
    rounding = 0.5 * 10.0 ** -(_decimals(values) if decimals is None else decimals) + 6e-8
    sizes = np.arange(2, LARGEST_SIZE + 1, dtype=np.float64)
    away = np.abs(np.outer(sizes, values) - np.round(np.outer(sizes, values))) / sizes[:, None]
    fitting = np.flatnonzero(np.all(away <= rounding * 1.000001, axis=1))
    if not len(fitting):
        return Grid(0, 0, math.nan, len(values), f"the scores lie on no grid of up to {LARGEST_SIZE} samples")
    n = int(sizes[fitting[0]])
    # Each score lies within rounding of a grid of n with probability 2·n·rounding, and n − 1 sizes were tried.
    by_chance = (n - 1) * min(1.0, 2.0 * n * rounding) ** len(values)
    if by_chance > CHANCE:
        reason = f"the scores lie on no grid of up to {LARGEST_SIZE} samples that chance would not give"
        return Grid(0, 0, math.nan, len(values), reason)
    largest = n * max(1, math.floor(20.0 ** (1.0 / len(values))))
    return Grid(n, largest, 1.0 / n, len(values))


def _decimals(values: Floats) -> int:
    """The decimals of the longest of these numbers as they are printed, at most 9, since few logs keep more that count."""
    texts = [f"{value:.9f}".rstrip("0") for value in values.tolist()]
    return max(len(text.partition(".")[2]) for text in texts)


# --- the weight in force ------------------------------------------------------------------------------------------------------

# Losses of all-positive and all-negative epochs are the same if they differ by no more than this share.
SAME_LOSS = 0.02
# How far from 0 the common logit of a prediction that changes sides from epoch to epoch is taken to lie, at most.
BAND = 0.25
# A prediction is constant if its logits spread by no more than this.
CONSTANT_SD = 0.1


@dataclass(frozen=True)
class Weighting:
    """The weight of positives with which a loss was computed.

    Attributes:
        value: NaN with a reason where it cannot be told.
        low, high: what else the losses allow.
        basis: what it follows from.
        reason: why it is not told; None where it is.
    """

    value: float
    low: float
    high: float
    basis: str
    reason: str | None = None


def weight_in_force(losses: ArrayLike, positive_rates: ArrayLike, prevalence: float) -> Weighting:
    """The positive weight of a BCE whose network predicts one class for all samples, now this one and now that.

    At a constant probability p the loss is −(πw·ln p + (1 − π)·ln(1 − p)). Epochs that call all samples positive have
    p > 0.5, those that call all negative p < 0.5; where both have the same loss, p stays by 0.5, and the loss is
    ln 2·(1 + π(w − 1)). With losses of one side only, a probability could make up for any weight, and nothing is told.

    Args:
        losses: (E,) mean loss of an epoch, unweighted samples in the denominator (mean reduction).
        positive_rates: (E,) share of samples that are called positive; recall does as well, being 1 or 0 with it.
        prevalence: share of positives among the samples of that loss.

    >>> round(weight_in_force([1.2599, 1.2604, 1.2593], [1, 0, 1], 0.1013).value, 2)
    9.07
    """
    loss = np.asarray(losses, dtype=np.float64).ravel()
    rate = np.asarray(positive_rates, dtype=np.float64).ravel()
    known = np.isfinite(loss) & np.isfinite(rate)
    loss, rate = loss[known], rate[known]
    if not 0.0 < prevalence < 1.0:
        return _no_weight("the prevalence is not known, or is 0 or 1")
    positive, negative = loss[rate == 1.0], loss[rate == 0.0]
    if not len(positive) or not len(negative):
        return _no_weight(
            "needs epochs that call all samples positive and others that call all negative, or the mean probability"
        )
    both = np.concatenate([positive, negative])
    middle = _middle(both)
    if middle <= 0.0 or float(both.max() - both.min()) > SAME_LOSS * middle:
        return _no_weight("the loss differs between all-positive and all-negative epochs: the probability need not be near 0.5")
    value = _weight(_middle(np.array([_middle(positive), _middle(negative)])), 0.0, prevalence)
    if value < 0.0:
        return _no_weight(
            "the loss is lower than that of the negatives alone at p = 0.5: it is no weighted BCE, or p is not near 0.5"
        )
    ends = [_weight(level, logit, prevalence) for level in (both.min(), both.max()) for logit in (-BAND, 0.0, BAND)]
    basis = f"{len(positive)} all-positive and {len(negative)} all-negative epochs with the same loss"
    return Weighting(value, max(0.0, min(ends)), max(ends), basis)


def weight_from_probability(loss: float, mean_probability: float, logit_sd: float, prevalence: float) -> Weighting:
    """The positive weight of a BCE from the mean probability of a prediction that is nearly constant.

    Args:
        loss: mean loss of an epoch.
        mean_probability: of the same samples.
        logit_sd: their spread of logits; above CONSTANT_SD the prediction is not constant, and nothing is told.
        prevalence: share of positives among them.

    >>> round(weight_from_probability(1.2599, 0.5, 0.01, 0.1013).value, 2)
    9.07
    """
    if not 0.0 < prevalence < 1.0 or not 0.0 < mean_probability < 1.0 or not math.isfinite(loss):
        return _no_weight("needs a loss, a mean probability and a prevalence strictly between 0 and 1")
    if not logit_sd <= CONSTANT_SD:
        return _no_weight(f"the logits spread by {logit_sd:.3g}, more than {CONSTANT_SD}: the prediction is not constant")
    logit = math.log(mean_probability / (1.0 - mean_probability))
    value = _weight(loss, logit, prevalence)
    if value < 0.0:
        return _no_weight("the loss is lower than that of the negatives alone: it is no weighted BCE of these samples")
    ends = [_weight(loss, logit + shift, prevalence) for shift in (-logit_sd, logit_sd)]
    return Weighting(value, max(0.0, min(ends)), max(*ends, value), f"a constant prediction of {mean_probability:.4g}")


def _weight(loss: float, logit: float, prevalence: float) -> float:
    """The w of loss = −(πw·ln p + (1 − π)·ln(1 − p)), at p = sigmoid(logit)."""
    positive, negative = math.log1p(math.exp(-logit)), math.log1p(math.exp(logit))  # −ln p and −ln(1 − p)
    return (float(loss) - (1.0 - prevalence) * negative) / (prevalence * positive)


def _no_weight(reason: str) -> Weighting:
    return Weighting(math.nan, math.nan, math.nan, "", reason)


def _middle(values: Floats) -> float:
    """The median, by sorting: np.median imports numpy.ma, a tenth of what a diagnosis may take."""
    ordered = np.sort(values)
    return 0.5 * float(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2])


def prevalence_from_constants(
    accuracy: ArrayLike, recall: ArrayLike | None = None, precision: ArrayLike | None = None, specificity: ArrayLike | None = None
) -> Sequence[tuple[int, float, str]]:
    """What epochs with a one-sided prediction say about the share of positives in the set that was really scored.

    All called positive: precision and accuracy are the prevalence. All called negative: accuracy is 1 − prevalence.

    Args:
        accuracy, recall, precision, specificity: (E,) of the same set; NaN where unknown.

    Returns:
        Row, prevalence, and what it is read from, for each epoch that says something.

    >>> prevalence_from_constants([0.1013, 0.8987], recall=[1.0, 0.0], precision=[0.1013, 0.0])[1]
    (1, 0.1013, 'accuracy of an all-negative epoch')
    """
    given = [np.asarray(accuracy, dtype=np.float64).ravel()]
    nothing = np.full(given[0].shape, np.nan)
    given += [
        nothing if each is None else np.asarray(each, dtype=np.float64).ravel() for each in (recall, precision, specificity)
    ]
    found: list[tuple[int, float, str]] = []
    for row, (correct, sensitive, precise, specific) in enumerate(zip(*(each.tolist() for each in given), strict=True)):
        all_positive = sensitive == 1.0 and (specific == 0.0 or (math.isnan(specific) and abs(correct - precise) < 5e-4))
        all_negative = sensitive == 0.0 and (specific == 1.0 or (math.isnan(specific) and not precise > 0.0))
        if all_positive and math.isfinite(correct):
            found.append((row, correct, "accuracy of an all-positive epoch"))
        elif all_negative and math.isfinite(correct):
            found.append((row, round(1.0 - correct, 12), "accuracy of an all-negative epoch"))
    return found
