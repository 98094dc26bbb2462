"""Floors: the best loss, and the scores, that a constant or random prediction reaches on given labels.

A loss means nothing until it is compared with what a model that looks at no image would get. `floor` computes that figure
for each loss of `osler.losses`; `skill` is 1 - loss / floor: 0 for a model that knows the class counts only, 1 for a perfect
one. `LOSS_TWINS` says in numpy what each loss does to a constant prediction; a contract test holds it to the torch losses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.metrics.weights import LabelCounts, LossSpec

__all__ = [
    "BEST_CONSTANTS",
    "LOGIT_LIMIT",
    "LOSS_TWINS",
    "Floor",
    "constant_loss",
    "floor",
    "log_sigmoid",
    "score_floors",
    "skill",
    "skill_reason",
    "times",
]

Floats = NDArray[np.float64]
Twin = Callable[[LossSpec, LabelCounts, Floats], tuple[Floats, Floats]]

# A class whose labels are all equal has its best constant at infinity. An output bias must be finite, and at 20 what is left
# of the loss is exp(-20) = 2e-9.
LOGIT_LIMIT = 20.0
# Below this the labels are so nearly constant that a share of the floor is a share of rounding and of single samples.
SMALLEST_FLOOR = 1e-3
# The bracket that holds focal's best logit, within what exp can tell from 0, and how often it is halved: 1400 / 2**70 = 1e-18.
BRACKET = 700.0
HALVINGS = 70


@dataclass(frozen=True)
class Floor:
    """The best constant prediction under a loss.

    Attributes:
        loss: its mean loss, the infimum; NaN where no label is known.
        logits: (K,) the constant output that reaches it, within ±20, never NaN; 0 for a class without known labels.
        probabilities: (K,) sigmoid of the logits (bce, focal) or their softmax (cross_entropy).
        loss_at_half: mean loss at logits of zero: p = 0.5, or 1/K for cross_entropy. NaN where no label is known.
        per_class: (K,) floor of each class by itself, NaN where none of its labels is known; None for cross_entropy, whose
            classes share one constant.
        reason: why there is no floor; None where there is one, or where no label is known.
    """

    loss: float
    logits: Floats
    probabilities: Floats
    loss_at_half: float
    per_class: Floats | None
    reason: str | None = None


def floor(spec: LossSpec, counts: LabelCounts) -> Floor:
    """The best constant prediction under this loss for labels with these counts.

    Args:
        spec: the loss with its parameters resolved.
        counts: of the labels on which the loss is taken, as drawn: counts of training labels under the sampler in use for
            the training loss, plain counts for the validation loss.

    >>> counts = LabelCounts("binary", np.array([1013.0]), np.array([8987.0]))
    >>> found = floor(LossSpec("bce", pos_weight=np.array([2.0])), counts)
    >>> round(found.loss, 3), round(found.loss_at_half, 3), round(float(found.probabilities[0]), 3)
    (0.526, 0.763, 0.184)
    """
    best = BEST_CONSTANTS[spec.type](spec, counts)
    values, weights = LOSS_TWINS[spec.type](spec, counts, best)
    logits = np.clip(best, -LOGIT_LIMIT, LOGIT_LIMIT)
    joint = spec.type == "cross_entropy"
    return Floor(
        loss=_mean(values, weights),
        logits=logits,
        probabilities=np.exp(_log_softmax(logits)) if joint else np.exp(log_sigmoid(logits)),
        loss_at_half=constant_loss(spec, counts, np.zeros_like(best)),
        per_class=None if joint else np.divide(values, weights, out=np.full(values.shape, np.nan), where=weights > 0),
    )


def constant_loss(spec: LossSpec, counts: LabelCounts, logits: ArrayLike) -> float:
    """Mean loss of a model that gives these (K,) logits for every sample; NaN where no label is known.

    >>> counts = LabelCounts("binary", np.array([1.0]), np.array([3.0]))
    >>> round(constant_loss(LossSpec("bce"), counts, [0.0]), 4)
    0.6931
    """
    return _mean(*LOSS_TWINS[spec.type](spec, counts, np.asarray(logits, dtype=np.float64)))


def skill(loss: float, floor: Floor | float) -> float:
    """1 - loss / floor: 0 for the best constant, 1 for a perfect model, below 0 for worse than a constant.

    NaN where it is undefined; `skill_reason` says why.

    >>> skill(0.25, 0.5)
    0.5
    """
    return float("nan") if skill_reason(loss, floor) else 1.0 - loss / _loss_of(floor)


def skill_reason(loss: float, floor: Floor | float) -> str | None:
    """Why skill is undefined, or None where it is defined.

    >>> skill_reason(0.1, 2e-4)
    'the floor, 0.0002, is under 0.001: the labels are nearly constant'
    """
    least = _loss_of(floor)
    if not np.isfinite(least):
        why = floor.reason if isinstance(floor, Floor) else None
        return f"there is no floor: {why or 'no label is known'}"
    if least < SMALLEST_FLOOR:
        return f"the floor, {least:.2g}, is under {SMALLEST_FLOOR:g}: the labels are nearly constant"
    return None if np.isfinite(loss) else "the loss is not finite"


def score_floors(prevalence: ArrayLike, rate: float = 0.5) -> dict[str, dict[str, Floats]]:
    """What predictions that look at no image score, by name of the prediction and of the score.

    Args:
        prevalence: share of positives, a number or (K,); NaN gives NaN.
        rate: share of samples that the random prediction calls positive.

    Returns:
        For "all_positive", "all_negative" and "random": each score at this prevalence, in the shape of `prevalence`. The
        random ones are limits for many samples. NaN: the score is undefined, such as the precision of no positive call.

    >>> float(score_floors(0.1013)["all_positive"]["f1"].round(3))
    0.184
    """
    share = np.asarray(prevalence, dtype=np.float64)
    return {
        "all_positive": _scores_of_rate(share, 1.0),
        "all_negative": _scores_of_rate(share, 0.0),
        "random": _scores_of_rate(share, rate),
    }


def _scores_of_rate(share: Floats, rate: float) -> dict[str, Floats]:
    """Scores of calls that are positive at this rate, whatever the label."""
    nan = np.full(share.shape, np.nan)
    one = np.where(np.isnan(share), np.nan, 1.0)
    # Undefined where a class is absent: nothing to find, or nothing to call free.
    some, others = np.where(share > 0, one, nan), np.where(share < 1, one, nan)
    mistakes = share * (1 - rate) + (1 - share) * rate
    constant = rate in (0.0, 1.0)
    return {
        "sensitivity": rate * some,
        "specificity": (1 - rate) * others,
        "precision": share if rate > 0 else nan,
        "npv": 1 - share if rate < 1 else nan,
        "f1": np.divide(2 * share * rate, share + rate, out=nan.copy(), where=share + rate > 0),
        "mcc": nan if constant else 0.0 * some * others,
        "accuracy": 1 - mistakes,
        "balanced_accuracy": 0.5 * some * others,
        "auc": 0.5 * some * others,
        "ap": share * some,
        "brier": mistakes,
        "ece": np.abs(share - rate) if constant else mistakes,
    }


def _bce_sums(spec: LossSpec, counts: LabelCounts, logits: Floats) -> tuple[Floats, Floats]:
    up, down = _pulls(spec, counts)
    return times(up, -log_sigmoid(logits)) + times(down, -log_sigmoid(-logits)), counts.known


def _focal_sums(spec: LossSpec, counts: LabelCounts, logits: Floats) -> tuple[Floats, Floats]:
    up, down = _pulls(spec, counts)
    yes, no = log_sigmoid(logits), log_sigmoid(-logits)
    # 0 * inf stands for x**gamma * log x at 0, whose limit is 0; so does the infinite term of a pull that is 0.
    of_positives = times(up, times(_power(no, spec.gamma), -yes))
    of_negatives = times(down, times(_power(yes, spec.gamma), -no))
    return of_positives + of_negatives, counts.known


def _cross_entropy_sums(spec: LossSpec, counts: LabelCounts, logits: Floats) -> tuple[Floats, Floats]:
    weights = counts.positives if spec.class_weights is None else counts.positives * spec.class_weights
    surprise = -_log_softmax(logits)
    spread = spec.label_smoothing / len(weights)
    elsewhere = spread * surprise.sum() if spread else 0.0
    return times(weights, (1 - spec.label_smoothing) * surprise + elsewhere), weights


LOSS_TWINS: dict[str, Twin] = {"bce": _bce_sums, "cross_entropy": _cross_entropy_sums, "focal": _focal_sums}
"""Loss → the sums that constant logits give: (K,) values and (K,) weights by class of the label's column (cross_entropy: by
true class), so that the mean loss is values.sum() / weights.sum(). Logits may be infinite where no label speaks against it."""


def _best_bce(spec: LossSpec, counts: LabelCounts) -> Floats:
    up, down = _pulls(spec, counts)
    return _log_ratio(up, down)


def _best_cross_entropy(spec: LossSpec, counts: LabelCounts) -> Floats:
    # The mean target under the weights is the constant with the least cross-entropy (Gibbs' inequality).
    weights = counts.positives if spec.class_weights is None else counts.positives * spec.class_weights
    if weights.sum() == 0:
        return np.zeros_like(weights)
    mean_target = (1 - spec.label_smoothing) * weights / weights.sum() + spec.label_smoothing / len(weights)
    logits = np.full(weights.shape, -np.inf)
    np.log(mean_target, out=logits, where=mean_target > 0)
    return logits


def _best_focal(spec: LossSpec, counts: LabelCounts) -> Floats:
    """The root of the derivative, by halving: both terms are convex in p for every gamma >= 0, so there is one.

    With q = 1 - p, d/dz of q**g * -log p is -q**g * (g p (-log p) + q); the two sides are compared as logarithms.
    """
    up, down = _pulls(spec, counts)
    if spec.gamma == 0:
        return _log_ratio(up, down)
    balance = _log_ratio(up, down)
    inside = np.isfinite(balance) & (up + down > 0)
    low, high = np.full(up.shape, -BRACKET), np.full(up.shape, BRACKET)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        yes, no = log_sigmoid(middle), log_sigmoid(-middle)
        rising = spec.gamma * no + np.log(spec.gamma * np.exp(yes) * -yes + np.exp(no))
        falling = spec.gamma * yes + np.log(spec.gamma * np.exp(no) * -no + np.exp(yes))
        too_low = np.where(inside, balance, 0.0) + rising > falling
        low, high = np.where(too_low, middle, low), np.where(too_low, high, middle)
    return np.where(inside, (low + high) / 2, balance)


BEST_CONSTANTS: dict[str, Callable[[LossSpec, LabelCounts], Floats]] = {
    "bce": _best_bce,
    "cross_entropy": _best_cross_entropy,
    "focal": _best_focal,
}
"""Loss → its best constant logits (K,); infinite where the best probability is 0 or 1, 0 where no label is known."""


def _pulls(spec: LossSpec, counts: LabelCounts) -> tuple[Floats, Floats]:
    """(K,) total factors of the positive and of the negative term, smoothing and weights included."""
    half = spec.label_smoothing / 2
    up = (1 - half) * counts.positives + half * counts.negatives
    down = (1 - half) * counts.negatives + half * counts.positives
    if spec.type == "bce":
        return (up if spec.pos_weight is None else up * spec.pos_weight), down
    return (up, down) if spec.alpha is None else (up * spec.alpha, down * (1 - spec.alpha))


def _log_ratio(up: Floats, down: Floats) -> Floats:
    """log(up / down): ±inf where one is zero, 0 where both are."""
    with np.errstate(divide="ignore"):
        tops, bottoms = np.log(up), np.log(down)
    return np.subtract(tops, bottoms, out=np.zeros_like(up), where=(up > 0) | (down > 0))


def _mean(values: Floats, weights: Floats) -> float:
    total = float(weights.sum())
    return float(values.sum()) / total if total > 0 else float("nan")


def times(left: Floats, right: Floats | float) -> Floats:
    """left * right with 0 * inf = 0, the limit where a term without weight meets an infinite logit."""
    right = np.broadcast_to(np.asarray(right, dtype=np.float64), left.shape)
    product = np.zeros(left.shape)
    np.multiply(left, right, out=product, where=(left != 0) & (right != 0))
    return product


def _power(logarithm: Floats, exponent: float) -> Floats:
    return np.ones_like(logarithm) if exponent == 0 else np.exp(exponent * logarithm)


def log_sigmoid(logits: Floats) -> Floats:
    """The log of the sigmoid, exact in both tails; -inf at -inf."""
    return np.asarray(-np.logaddexp(0.0, -logits))


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


def _loss_of(floor: Floor | float) -> float:
    return floor.loss if isinstance(floor, Floor) else float(floor)
