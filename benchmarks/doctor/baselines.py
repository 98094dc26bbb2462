"""The rules of other tools, restated on the same charts: as far as a chart can feed them, and read generously.

SageMaker Debugger   built-in rules at their documented defaults (docs.aws.amazon.com, "List of Debugger built-in rules").
AutoTrainer          Zhang et al., ICSE 2021; thresholds of their code (utils/monitor.py): judgement from 30 % of the epochs
                     on, ζ 0.03, η 0.2, δ 0.01, Θ 0.7.
UMLAUT               Schoop et al., CHI 2021; thresholds of their code (umlaut/heuristics.py).

A chart has one figure an epoch, no tensors of layers. Not assessed therefore: of SageMaker Debugger VanishingGradient by layer
(the norm of all is used), DeadRelu, PoorWeightInitialization, SaturatedActivation, TensorVariance, NotNormalizedImages; of
AutoTrainer vanishing, exploding and dying ReLU by layer; of UMLAUT the shape, type and range of inputs, missing activations and
the missing softmax. Where a rule names a problem and no setting, the advice that its documentation or its authors give with it
is written down as the nearest setting.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from opinion import Opinion, Opinions

from osler.doctor.chart import Chart
from osler.doctor.faults import FAULTS as KNOWN
from osler.doctor.findings import Change

__all__ = ["BASELINES", "always_rate", "autotrainer", "random_cause", "sagemaker", "umlaut"]

Floats = NDArray[np.float64]
RATE = "training.learning_rate"
LOWER = (Change(RATE, None, "a tenth", ""),)
HIGHER = (Change(RATE, None, "10 times as much", ""),)
REGULARISE = (Change("training.weight_decay", None, 0.01, ""), Change("augmentation", None, "on", ""))
BALANCE = (Change("data.sampler", None, "balanced", ""), Change("loss.pos_weight", None, 10.0, ""))
MEANS: Mapping[str, tuple[frozenset[str], tuple[Change, ...]]] = {
    "overfit": (frozenset({"overfitting", "overconfidence"}), REGULARISE),
    "loss not decreasing": (frozenset({"not_learning", "stuck_loss", "learning_rate_too_high", "diverging_loss"}), LOWER),
    "overtraining": (frozenset({"overfitting"}), (Change("training.epochs", 100.0, 50.0, ""),)),
    "class imbalance": (frozenset({"pos_weight_inverted", "sampler_starves_findings", "batches_without_positives"}), BALANCE),
    "confusion": (frozenset({"single_class_prediction", "threshold_mismatch"}), ()),
    "not finite": (frozenset({"non_finite", "learning_rate_too_high", "exploding_gradients"}), LOWER),
    "vanishing gradient": (frozenset({"frozen_network", "vanishing_gradients"}), ()),
    "updates too large": (frozenset({"learning_rate_too_high"}), LOWER),
    "updates too small": (frozenset({"learning_rate_too_low", "frozen_network"}), HIGHER),
    "weights unchanged": (frozenset({"frozen_network", "learning_rate_too_low"}), HIGHER),
    "oscillating": (
        frozenset({"learning_rate_too_high", "unstable_validation", "batch_too_small"}),
        (*LOWER, Change("training.batch_size", 16, 32, "")),
    ),
    "slow convergence": (frozenset({"learning_rate_too_low", "not_learning", "still_improving"}), HIGHER),
    "rate high": (frozenset({"learning_rate_too_high"}), LOWER),
    "rate low": (frozenset({"learning_rate_too_low"}), HIGHER),
    "validation too good": (frozenset({"leakage", "validation_differs"}), ()),
}
"""What the problems of these tools may be taken for, and the settings they point to."""


def _opinion(problems: list[str]) -> Opinion:
    """The opinion that these problems make, in the order found."""
    found = [MEANS[problem] for problem in dict.fromkeys(problems)]
    causes, changes = tuple(cause for cause, _ in found), tuple(change for _, change in found)
    return Opinion(bool(found), causes, changes, (True,) * len(found))


def sagemaker(chart: Chart) -> Opinion:
    """SageMaker Debugger's built-in rules."""
    train, val = chart.values("train.loss"), chart.values("val.loss")
    problems: list[str] = []
    if any(len(chart.nonfinite_epochs(name)) for name in chart.series):
        problems.append("not finite")
    ratio, norm = chart.points("update_ratio.median")[1], chart.points("gradient_norm.median")[1]
    if (norm < 1e-7).any():
        problems.append("vanishing gradient")
    if (ratio > 10.0).any():
        problems.append("updates too large")
    if (ratio < 1e-8).any():
        problems.append("updates too small")
    if len(ratio) >= 3 and (ratio[-3:] < 1e-8).all():
        problems.append("weights unchanged")
    known = np.isfinite(train) & np.isfinite(val)
    # LossNotDecreasing: ten steps are less than an epoch here, so an epoch is held against the one before; 0.1 % is asked for.
    steps = train[known]
    if (np.diff(steps) > -0.001 * np.abs(steps[:-1])).any():
        problems.append("loss not decreasing")
    # Overfit: ratio_threshold 0.1, patience 1.
    if (np.abs(train[known] - val[known]) / np.maximum(np.abs(val[known]), 1e-12) > 0.1).any():
        problems.append("overfit")
    if _stands_still(train, 5) or _stands_still(val, 10):
        problems.append("overtraining")
    problems += _imbalance(chart)
    return _opinion(problems)


def _stands_still(losses: Floats, patience: int, delta: float = 0.01) -> bool:
    """Overtraining: no loss lower by `delta` for so many evaluations."""
    best, waited = np.inf, 0
    for loss in losses[np.isfinite(losses)]:
        best, waited = (loss, 0) if loss < best - delta else (best, waited + 1)
        if waited >= patience:
            return True
    return False


def _imbalance(chart: Chart) -> list[str]:
    """ClassImbalance (ratio 10, mispredictions 0.7) and Confusion (0.9 on the diagonal)."""
    problems: list[str] = []
    shares = chart.facts.get("prevalence.drawn")
    values = np.array(list(shares.values()) if isinstance(shares, dict) else [], dtype=np.float64)
    if len(values) and (np.maximum(values, 1 - values) > 10 * np.minimum(values, 1 - values)).any():
        problems.append("class imbalance")
    recall, specificity = chart.by_class("val.recall"), chart.by_class("val.specificity")
    if recall.size and (np.nan_to_num(1 - recall[-1]) > 0.7).any():
        problems.append("class imbalance")
    last = np.concatenate([recall[-1], specificity[-1]]) if recall.size and specificity.size else np.empty(0)
    if (last < 0.9).any():
        problems.append("confusion")
    return problems


def autotrainer(chart: Chart) -> Opinion:
    """AutoTrainer's symptoms, from 30 % of the planned epochs on."""
    planned = chart.facts.number("training.epochs")
    problems: list[str] = []
    if any(len(chart.nonfinite_epochs(name)) for name in ("train.loss", "val.loss")) or (chart.values("val.loss") >= 1e5).any():
        problems.append("not finite")
    train, val = chart.points("train.accuracy")[1], chart.points("val.accuracy")[1]
    if len(val) < max(2.0, 0.3 * planned) or len(train) < 2 or problems:
        return _opinion(problems)
    failed = max(val.max(), train.max()) < 0.7 or val.max() < 0.7 or train.max() < 0.7
    slow = max(_largest_gain(train), _largest_gain(val)) < 0.01
    if (failed or slow) and (chart.points("gradient_norm.median")[1] < 1e-4).any():
        problems.append("vanishing gradient")
    elif slow:
        problems.append("slow convergence")
    elif not failed and _oscillates(train):
        problems.append("oscillating")
    return _opinion(problems)


def _largest_gain(accuracy: Floats) -> float:
    return float(np.maximum(np.diff(accuracy), 0).max())


def _oscillates(accuracy: Floats, height: float = 0.03, share: float = 0.2) -> bool:
    """So many pairs of a local maximum and a local minimum that lie so far apart."""
    middle, before, after = accuracy[1:-1], accuracy[:-2], accuracy[2:]
    highs, lows = middle[(middle >= before) & (middle >= after)], middle[(middle <= before) & (middle <= after)]
    count = min(len(highs), len(lows))
    return int((highs[:count] - lows[:count] >= height).sum()) >= max(1.0, share * len(accuracy))


def umlaut(chart: Chart) -> Opinion:
    """UMLAUT's heuristics of an epoch."""
    problems: list[str] = []
    if len(chart.nonfinite_epochs("train.loss")):
        problems.append("not finite")
    rates = chart.points("learning_rate")[1]
    if (rates > 0.01).any():
        problems.append("rate high")
    elif (rates < 1e-7).any():
        problems.append("rate low")
    train, val = np.diff(chart.values("train.loss")), np.diff(chart.values("val.loss"))
    if ((val > 0) & (train <= 0)).any():
        problems.append("overfit")
    accuracy, trained = chart.values("val.accuracy")[3:], chart.values("train.accuracy")[3:]
    if ((accuracy > 0.95) | (accuracy > trained)).any():
        problems.append("validation too good")
    return _opinion(problems)


def always_rate(chart: Chart) -> Opinion:
    """Whatever it is, it is the learning rate, and it is too high."""
    return _opinion(["rate high"])


def random_cause(rate: float) -> Opinions:
    """A coin that flags so large a share of the runs, and three causes drawn from those that the doctor knows."""

    def opinion(chart: Chart) -> Opinion:
        # By the run's own figures: the same run gets the same lots each time.
        rng = np.random.default_rng(zlib.crc32(chart.values("train.loss").tobytes()))
        if rng.random() >= rate:
            return Opinion(False)
        names = rng.permutation(sorted(KNOWN))[:3]
        changes = ((LOWER, HIGHER)[int(rng.integers(2))], (), ())
        return Opinion(True, tuple(frozenset({str(name)}) for name in names), changes, (True,) * 3)

    return opinion


BASELINES: dict[str, Callable[[Chart], Opinion]] = {
    "SageMaker Debugger rules": sagemaker,
    "AutoTrainer rules": autotrainer,
    "UMLAUT rules": umlaut,
    "always the learning rate": always_rate,
}
