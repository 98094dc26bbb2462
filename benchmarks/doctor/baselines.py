"""The rules of other tools, restated on the same charts: as far as a chart can feed them, and read generously.

SageMaker Debugger   built-in rules at their documented defaults: "List of Debugger built-in rules" in the last Markdown edition
                     of the developer guide (awsdocs/amazon-sagemaker-developer-guide, commit 29f3276, February 2023). The
                     package smdebug-rulesconfig 1.0.1 sends a rule's name without any parameter: the defaults stand in the
                     service, and in that list alone.
AutoTrainer          Zhang et al., ICSE 2021; thresholds of their code (utils/monitor.py): judgement from 30 % of the epochs
                     on, ζ 0.03, η 0.2, δ 0.01, Θ 0.7.
UMLAUT               Schoop et al., CHI 2021; thresholds of their code (umlaut/heuristics.py).
two lines            what anybody can check without a tool: accuracy at the majority's share, AUC at chance.

Tools that can be installed are asked themselves, in `packages.py`. Lightning's EarlyStopping and lr_find are left out: the one
ends a run and names nothing (after the fact it is the tail of the curve), the other trains the model that it is asked about.

A chart has one figure an epoch, no tensors of layers. Not assessed therefore: of SageMaker Debugger VanishingGradient by layer
(the norm of all is used), DeadRelu, PoorWeightInitialization, SaturatedActivation, TensorVariance (no default), CheckInputImages
(it asks for the mean of what enters the network, a chart has the grey levels before), AllZero; of
AutoTrainer vanishing, exploding and dying ReLU by layer; of UMLAUT the shape, type and range of inputs, missing activations and
the missing softmax. Where a rule names a problem and no setting, the advice that its documentation or its authors give with it
is written down as the nearest setting.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from opinion import Opinion, Opinions

from osler.doctor.chart import Chart
from osler.doctor.faults import FAULTS as KNOWN
from osler.doctor.findings import Change
from osler.metrics.intervals import hanley_mcneil_se
from osler.metrics.proportion import wilson

__all__ = ["BASELINES", "always_rate", "autotrainer", "random_cause", "sagemaker", "two_lines", "umlaut"]

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
        frozenset({"learning_rate_too_high", "unstable_validation", "small_norm_batches"}),
        (*LOWER, Change("training.batch_size", 16, 32, "")),
    ),
    "slow convergence": (frozenset({"learning_rate_too_low", "not_learning", "still_improving"}), HIGHER),
    "rate high": (frozenset({"learning_rate_too_high"}), LOWER),
    "rate low": (frozenset({"learning_rate_too_low"}), HIGHER),
    "validation too good": (frozenset({"leakage", "validation_differs"}), ()),
    "accuracy of the majority": (
        frozenset({"accuracy_is_majority", "single_class_prediction", "not_learning", "stuck_loss", "empty_masks"}),
        (),
    ),
    "chance": (frozenset({"chance_auc", "not_learning", "stuck_loss", "labels_shuffled"}), ()),
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
    # UnchangedTensor: num_steps 3, rtol 1e-5.
    if any((ratio[start : start + 3] <= 1e-5).all() for start in range(len(ratio) - 2)):
        problems.append("weights unchanged")
    if _not_decreasing(train[np.isfinite(train)], chart.facts.number("training.steps_per_epoch")):
        problems.append("loss not decreasing")
    # Overfit: ratio_threshold 0.1 of the training loss, patience 1.
    known = np.isfinite(train) & np.isfinite(val)
    if ((val - train)[known] > 0.1 * np.abs(train[known])).any():
        problems.append("overfit")
    if _stands_still(train, 5) or _stands_still(val, 10):
        problems.append("overtraining")
    problems += _imbalance(chart)
    return _opinion(problems)


def _not_decreasing(losses: Floats, steps_per_epoch: float) -> bool:
    """LossNotDecreasing: num_steps 10, diff_percent 0.1, increase_threshold_percent 5.

    Of the two limits the milder reading is taken: a fall has to be of 0.1 % at least, a rise is forgiven up to 5 %.
    """
    behind = max(1, math.ceil(10 / steps_per_epoch)) if steps_per_epoch > 0 else 1
    checked = losses[::behind]
    change = np.diff(checked) / np.maximum(np.abs(checked[:-1]), 1e-12)
    return bool((((change > -0.001) & (change <= 0)) | (change > 0.05)).any())


def _stands_still(losses: Floats, patience: int, delta: float = 0.01) -> bool:
    """Overtraining: no loss lower by `delta` for so many evaluations."""
    best, waited = np.inf, 0
    for loss in losses[np.isfinite(losses)]:
        best, waited = (loss, 0) if loss < best - delta else (best, waited + 1)
        if waited >= patience:
            return True
    return False


def _imbalance(chart: Chart) -> list[str]:
    """ClassImbalance (ratio 10, mispredictions 0.7) and Confusion (0.9 on the diagonal).

    By its formula Confusion asks that each class hold 0.9 of all that is right, which no two classes can; it is taken for a
    share of the class's own samples.
    """
    problems: list[str] = []
    shares = chart.facts.get("prevalence.drawn")
    values = np.array(list(shares.values()) if isinstance(shares, dict) else [], dtype=np.float64)
    if chart.facts.get("task") != "multiclass":
        values = np.stack([values, 1 - values], axis=1)
    if values.size and (values.max(axis=-1) > 10 * values.min(axis=-1)).any():
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


def two_lines(chart: Chart) -> Opinion:
    """Accuracy at the majority's share, or the AUC of a class at chance, in the last epoch, within their sampling error.

    Pixels are so many that they have none: of masks the accuracy must lie above the background's share, and the AUC above 0.5.
    """
    task, n, accuracy = chart.facts.get("task"), _last(chart, "val.n"), _last(chart, "val.accuracy")
    known = chart.facts.get("foreground.val" if task == "segmentation" else "prevalence.val")
    shares = {str(name): float(share) for name, share in known.items()} if isinstance(known, dict) else {}
    aucs = {name: _last(chart, f"val.auc[{name}]") for name in shares}
    larger = [max(share, 1 - share) for share in shares.values()] or [math.nan]
    most = max(shares.values(), default=math.nan) if task == "multiclass" else float(np.mean(larger))
    if task == "segmentation":
        majority = accuracy <= most + 1e-5  # charts are kept with five digits
        chance = any(auc <= 0.5 for auc in aucs.values())
    else:
        low, high = wilson(accuracy * n, n)
        majority = bool(low <= most <= high)
        errors = {name: float(hanley_mcneil_se(aucs[name], share * n, (1 - share) * n)) for name, share in shares.items()}
        chance = any(abs(aucs[name] - 0.5) <= 1.96 * error for name, error in errors.items())
    return _opinion(["chance"] * chance + ["accuracy of the majority"] * majority)


def _last(chart: Chart, name: str) -> float:
    """The last figure of a series; NaN where it has none."""
    values = chart.points(name)[1]
    return float(values[-1]) if len(values) else math.nan


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
    "accuracy and AUC, two lines": two_lines,
    "always the learning rate": always_rate,
}
