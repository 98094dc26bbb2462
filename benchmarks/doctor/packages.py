"""Other packages that diagnose training, asked themselves: each fed a chart as its own documentation feeds it, at its defaults.

    pip install -e ".[baselines]" -c constraints.txt

What is not installed is left out. A package flags a run where it says something that it calls a warning or worse itself; what it
calls information is kept as a note. Causes and advice are read generously: a problem counts as every finding that it may be taken
for, and a sentence of advice as the nearest setting.

sk-autod         `diagnose(train_loss, val_loss)`: ten rules on the two loss curves. It refuses curves of fewer than five epochs,
                 which counts as nothing said, and curves with a figure that is not finite, which counts as having said so.
training-doctor  `Doctor().log(step, loss=, lr=, grad_norm=, eval_loss=)`. Made for a figure each step: a rate too low needs
                 100 losses, overfitting 50, a plateau 200; on a log by epochs only a rate too high and unstable gradients are
                 within its reach.
trainpulse       `Monitor().log(name, step, value)`. Made for steps too: spikes are seen from 50 losses on, a plateau from 100;
                 on a log by epochs it sees what is not finite, gradients above 100 or below 1e-7, and jumps of the rate, which
                 it is given for each step. It gives no advice.
finetune-doctor  reads the state that a Hugging Face Trainer leaves, and is given one with the same figures and with the figure
                 that the run was chosen by as its `best_metric`. From 20 logged losses on it judges whether a run learns.
torchmortem      works by hooks on a living model, and cannot read a log: its rules on activations, gradients by layer, ranks,
                 curvature and norms of weights are not run. What a log can feed is given to its own collector of losses and,
                 as one layer, to its rule on the size of updates.
train-doctor     times the parts of a step, and is not asked: it says nothing of whether a run learns.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from opinion import Opinion, Opinions

from osler.doctor.chart import Chart
from osler.doctor.findings import Change

__all__ = ["HOW", "PACKAGES", "Package", "installed", "missing"]

HOW = 'pip install -e ".[baselines]" -c constraints.txt'
Meaning = tuple[frozenset[str], tuple[Change, ...]]
RATE = "training.learning_rate"
LOWER = Change(RATE, None, "a tenth", "")
HIGHER = Change(RATE, None, "10 times as much", "")
WARM_UP = Change("training.warmup_epochs", None, 1.0, "")
CLIP = Change("training.clip_norm", None, 1.0, "")
DROPOUT = Change("model.dropout", None, 0.3, "")
DECAY = Change("training.weight_decay", None, 0.01, "")
AUGMENT = Change("augmentation", None, "on", "")
LONGER = Change("training.epochs", 50.0, 100.0, "")
SHORTER = Change("training.epochs", 100.0, 50.0, "")
STOP_EARLY = Change("training.early_stopping", None, 3, "")
LARGER_BATCH = Change("training.batch_size", 16, 32, "")
TRAIN_ALL = Change("training.phases", None, "all", "")
SPLIT_AGAIN = Change("data.split.by_patient", None, True, "")

NOT_LEARNING = ("not_learning", "stuck_loss", "frozen_network")
EXPLODES = ("learning_rate_too_high", "exploding_gradients", "diverging_loss", "non_finite")
OVERFITS = ("overfitting", "overconfidence")
LEAKS = ("leakage", "leakage_suspected", "validation_differs")


def _means(*causes: str, advice: Iterable[Change] = ()) -> Meaning:
    return frozenset(causes), tuple(advice)


def _opinion(problems: Iterable[tuple[str, bool]], means: Mapping[str, Meaning]) -> Opinion:
    """The opinion that these problems make, each once, in the package's order; with each whether it is more than information."""
    grave: dict[str, bool] = {}
    for name, bad in problems:
        grave[name] = grave.get(name, False) or bad
    found = [means[name] for name in grave]
    return Opinion(any(grave.values()), tuple(each[0] for each in found), tuple(each[1] for each in found), tuple(grave.values()))


# --- what a chart holds, as a log would -----------------------------------------------------------------------------------------


def _column(chart: Chart, name: str) -> list[float | None]:
    """A series as it was logged: NaN where the log holds a figure that is not finite, None where it holds none."""
    series = chart.series.get(name)
    if series is None:
        return [None] * len(chart)
    rows = zip(series.values.tolist(), series.finite.tolist(), series.nonfinite.tolist(), strict=True)
    return [value if finite else math.nan if broken else None for value, finite, broken in rows]


def _steps(chart: Chart) -> list[int]:
    """The step at the end of each epoch; the epoch's number where steps are not logged."""
    steps = chart.values("step")
    known = bool(np.isfinite(steps).all()) and bool((np.diff(steps) > 0).all())
    return [int(step) for step in (steps if known else chart.ordinals)]


def _rows(chart: Chart, names: Mapping[str, str]) -> list[tuple[int, dict[str, float]]]:
    """Step and figures of each epoch, under the names that a package gives them; what was not logged is left out.

    Args:
        names: the series of the chart by the package's name.
    """
    columns = {name: _column(chart, series) for name, series in names.items()}
    rows = [{name: value for name, values in columns.items() if (value := values[row]) is not None} for row in range(len(chart))]
    return list(zip(_steps(chart), rows, strict=True))


# --- sk-autod -------------------------------------------------------------------------------------------------------------------

SK_AUTOD: Mapping[str, Meaning] = {
    "Classic overfitting": _means(*OVERFITS, advice=(DROPOUT, DECAY)),
    "Exploding gradient": _means(*EXPLODES, advice=(CLIP, LOWER)),
    "LR too high": _means("learning_rate_too_high", advice=(LOWER, WARM_UP)),
    "LR too low": _means("learning_rate_too_low", "updates_underflow", advice=(HIGHER, WARM_UP)),
    "Underfitting": _means("underfitting", "too_few_epochs", "still_improving", *NOT_LEARNING, advice=(LONGER,)),
    "Dying ReLU proxy": _means(
        "input_out_of_range", *NOT_LEARNING, advice=(Change("preparation.range", None, "normalised", ""),)
    ),
    "Noisy training": _means(
        "unstable_validation", "small_norm_batches", "learning_rate_too_high", advice=(LARGER_BATCH, LOWER, CLIP)
    ),
    "Data leakage": _means(*LEAKS, "shifted_splits", advice=(SPLIT_AGAIN,)),
    "Missed early stopping": _means("overfitting", "best_from_noise", "late_collapse", advice=(STOP_EARLY, SHORTER)),
    "Label noise floor": _means(
        "label_noise", "labels_shuffled", *NOT_LEARNING, advice=(Change("loss.label_smoothing", None, 0.1, ""),)
    ),
    "not finite": _means(*EXPLODES),
}
"""By the name of the detector; the last is the refusal."""


def sk_autod(chart: Chart) -> Opinion:
    """What sk-autod makes of the losses of the epochs that have both."""
    pairs = zip(_column(chart, "train.loss"), _column(chart, "val.loss"), strict=True)
    both = [(train, val) for train, val in pairs if train is not None and val is not None]
    if any(not math.isfinite(loss) for pair in both for loss in pair):
        return _opinion([("not finite", True)], SK_AUTOD)
    try:
        report = importlib.import_module("sk_autod").diagnose([train for train, _ in both], [val for _, val in both])
    except ValueError:  # it refuses: fewer than five epochs
        return Opinion(False)
    return _opinion([(each.detector_name, each.severity.value != "INFO") for each in report.findings], SK_AUTOD)


# --- training-doctor ------------------------------------------------------------------------------------------------------------

TRAINING_DOCTOR: Mapping[str, Meaning] = {
    "lr_too_high": _means(*EXPLODES, advice=(LOWER, WARM_UP, CLIP)),
    "lr_too_low": _means("learning_rate_too_low", *NOT_LEARNING, advice=(HIGHER,)),
    "plateau": _means("small_norm_batches", *NOT_LEARNING, advice=(LARGER_BATCH, LOWER)),
    "overfitting": _means(*OVERFITS, advice=(DROPOUT, DECAY, AUGMENT, STOP_EARLY, LOWER)),
    "gradient_instability": _means(*EXPLODES, advice=(CLIP, LOWER)),
    "vanishing gradients": _means("vanishing_gradients", *NOT_LEARNING),
}
"""By the name of the detector; vanishing gradients it reports as instability too, with other advice."""
TRAINING_DOCTOR_LOG = {
    "loss": "train.loss",
    "lr": "learning_rate",
    "grad_norm": "gradient_norm.median",
    "eval_loss": "val.loss",
}


def training_doctor(chart: Chart) -> Opinion:
    """What training-doctor says while it is logged to, an epoch at a time."""
    asked = importlib.import_module("training_doctor").Doctor()
    told = [each for step, figures in _rows(chart, TRAINING_DOCTOR_LOG) if figures for each in asked.log(step, **figures)]
    return _opinion([(_doctors_name(each), each.severity.value != "info") for each in told], TRAINING_DOCTOR)


def _doctors_name(diagnosis: Any) -> str:
    seen = [each.observation for each in diagnosis.evidence]
    return "vanishing gradients" if all(text.startswith("Vanishing") for text in seen) else str(diagnosis.detector_name)


# --- trainpulse -----------------------------------------------------------------------------------------------------------------

TRAINPULSE: Mapping[str, Meaning] = {
    "nan_detector": _means(*EXPLODES),
    "loss_spike": _means("learning_rate_too_high", "diverging_loss", "late_collapse", "class_late_collapse"),
    "gradient explosion": _means(*EXPLODES),
    "vanishing gradient": _means("vanishing_gradients", *NOT_LEARNING),
    "learning_rate": _means("learning_rate_too_high", "late_collapse", "class_late_collapse", "rate_spent_early"),
    "plateau": _means("learning_rate_too_low", *NOT_LEARNING),
    "step_time": _means("slow_data"),
}
"""By the name of the detector; that of gradients has two things to say."""
TRAINPULSE_LOG = {"loss": "train.loss", "grad_norm": "gradient_norm.median"}


def trainpulse(chart: Chart) -> Opinion:
    """What trainpulse's monitor reports of training loss, gradient norm and learning rate; its plateau knows one loss only."""
    monitor = importlib.import_module("trainpulse").Monitor()
    for step, figures in _rows(chart, TRAINPULSE_LOG):
        for name, value in figures.items():
            monitor.log(name, step, value)
    for step, rate in _rates(chart):
        monitor.log("learning_rate", step, rate)
    return _opinion([(_pulse_name(each), each.severity.value != "info") for each in monitor.report().alerts], TRAINPULSE)


def _rates(chart: Chart) -> list[tuple[int, float]]:
    """The rate at each step, from the first to the last of each epoch by even ratios: a jump is one within a step."""
    ends = _steps(chart)
    rates: list[tuple[int, float]] = []
    for begin, end, first, last in zip(
        [0, *ends], ends, chart.values("learning_rate.start"), chart.values("learning_rate"), strict=False
    ):
        count = max(2, end - begin)
        between = np.geomspace(first, last, count) if first > 0 and last > 0 else np.array([first, last])
        rates += [(end, float(rate)) for rate in between if np.isfinite(rate)]
    return rates


def _pulse_name(alert: Any) -> str:
    if alert.detector != "gradient":
        return str(alert.detector)
    return "vanishing gradient" if alert.message.startswith("Vanishing") else "gradient explosion"


# --- finetune-doctor ------------------------------------------------------------------------------------------------------------

FINETUNE_DOCTOR: Mapping[str, Meaning] = {
    "No evaluation": _means(),
    "Too few evaluations": _means("too_few_epochs"),
    "Overfitting": _means(*OVERFITS, advice=(SHORTER, STOP_EARLY)),
    "Final checkpoint slightly worse": _means(*OVERFITS, advice=(SHORTER, STOP_EARLY)),
    "Stopped improving early": _means("rate_spent_early", advice=(SHORTER, STOP_EARLY)),
    "Eval loss and your metric disagree": _means("overconfidence"),
    "NaN loss": _means(*EXPLODES, advice=(LOWER, CLIP)),
    "Loss is exactly zero": _means("loss_at_zero", "labels_not_loaded", "masks_not_loaded"),
    "Not learning": _means("learning_rate_too_low", *NOT_LEARNING, advice=(TRAIN_ALL,)),
    "Training loss went up": _means("learning_rate_too_high", "diverging_loss", "not_learning", advice=(TRAIN_ALL,)),
    "Loss spikes": _means("learning_rate_too_high", "unstable_validation", advice=(CLIP,)),
    "Loss jumps at every epoch boundary": _means("samples_sorted"),
    "Periodic loss spikes": _means("samples_sorted"),
    "Training at zero learning rate": _means("rate_spent_early", advice=(Change("training.schedule", None, "whole run", ""),)),
    "Occasional overflowing gradients": _means("steps_skipped"),
    "NaN gradients": _means(*EXPLODES, advice=(LOWER, CLIP)),
    "Zero gradients": _means("frozen_network", "vanishing_gradients", advice=(TRAIN_ALL,)),
    "Gradient spikes": _means("exploding_gradients", "learning_rate_too_high", advice=(CLIP,)),
    "Eval loss below training loss": _means(*LEAKS, advice=(SPLIT_AGAIN,)),
    "Run did not finish": _means("premature_stopping"),
}
"""By the title of the finding."""
TRAINER_LOG = {"loss": "train.loss", "learning_rate": "learning_rate", "grad_norm": "gradient_norm.median"}
EVALUATION_LOG = {"eval_loss": "val.loss", "eval_accuracy": "val.accuracy"}


def finetune_doctor(chart: Chart) -> Opinion:
    """What finetune-doctor reads from the run as a Trainer's state."""
    history = importlib.import_module("finetune_doctor.history").from_trainer_state(trainer_state(chart))
    found = importlib.import_module("finetune_doctor").diagnose(history)
    return _opinion([(each.title, each.severity.name not in ("OK", "INFO")) for each in found.problems], FINETUNE_DOCTOR)


def trainer_state(chart: Chart) -> dict[str, Any]:
    """The run as `trainer_state.json` would have it: a row of training and one of evaluation for each epoch."""
    monitored = f"eval_{chart.facts.get('training.monitor') or 'monitored'}"
    evaluated = {**EVALUATION_LOG, monitored: "monitor.value"}
    rows, steps = [], _steps(chart)
    for names in (TRAINER_LOG, evaluated):
        for epoch, (step, figures) in zip(chart.ordinals, _rows(chart, names), strict=True):
            rows.append({"step": step, "epoch": float(epoch), **figures})
    state = {"log_history": rows, "global_step": steps[-1] if steps else 0, "epoch": float(len(chart))}
    planned = chart.facts.number("training.epochs") * chart.facts.number("training.steps_per_epoch")
    if math.isfinite(planned):
        state["max_steps"] = int(planned)
    best = np.flatnonzero(chart.ordinals == chart.facts.number("best_epoch"))
    if len(best) and math.isfinite(value := float(chart.values("monitor.value")[best[0]])):
        state |= {"best_metric": value, "best_global_step": steps[best[0]]}
    return state


# --- torchmortem ----------------------------------------------------------------------------------------------------------------

TORCHMORTEM: Mapping[str, Meaning] = {
    "Training divergence detected": _means(*EXPLODES, "late_collapse", advice=(LOWER, CLIP, WARM_UP)),
    "Loss plateau detected": _means("learning_rate_too_low", *NOT_LEARNING, advice=(HIGHER,)),
    "Catapult phase detected": _means("learning_rate_too_high"),
    "Update ratio too low": _means("learning_rate_too_low", "frozen_network", "updates_underflow", advice=(HIGHER,)),
    "Update ratio too high": _means("learning_rate_too_high", advice=(LOWER, CLIP, WARM_UP)),
}
"""By the title of the finding, less the layer."""
LAYER = "network"


def torchmortem(chart: Chart) -> Opinion:
    """What torchmortem's detectors make of the losses and of the median update ratio, the worst first as in its report."""
    package, registry = importlib.import_module("torchmortem"), importlib.import_module("torchmortem.registry")
    collector = registry.get_all_collectors()["loss"]()
    collector.attach(None, None, package.SamplingConfig())
    for row, loss in enumerate(_column(chart, "train.loss")):
        collector.on_step(row, loss=loss)
    states, ratios = {"loss": collector.state()}, chart.values("update_ratio.median")
    known = np.flatnonzero(np.isfinite(ratios))
    if len(known):
        series = {"update_ratio": ratios[known, None]}
        states["weight"] = package.CollectorState(name="weight", steps=known, layers=[LAYER], series=series)
    metadata, findings = package.RunMetadata(total_steps=len(chart)), []
    with np.errstate(all="ignore"):
        for detector in (made() for made in registry.get_all_detectors().values()):
            if states.keys() >= set(detector.required_collectors):
                findings += detector.analyze(states, metadata)
    worst_first = sorted(findings, key=lambda each: each.severity, reverse=True)
    titles = [(each.title.removesuffix(f" in {LAYER}"), each.severity.name != "INFO") for each in worst_first]
    return _opinion(titles, TORCHMORTEM)


# --- who is there ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Package:
    """A package that can be asked.

    Attributes:
        module: by which it is imported.
        opinion: what it makes of a chart.
        means: what its problems may be taken for, by the name under which `opinion` finds them.
    """

    module: str
    opinion: Callable[[Chart], Opinion]
    means: Mapping[str, Meaning]


PACKAGES: Mapping[str, Package] = {
    "sk-autod": Package("sk_autod", sk_autod, SK_AUTOD),
    "training-doctor": Package("training_doctor", training_doctor, TRAINING_DOCTOR),
    "trainpulse": Package("trainpulse", trainpulse, TRAINPULSE),
    "finetune-doctor": Package("finetune_doctor", finetune_doctor, FINETUNE_DOCTOR),
    "torchmortem": Package("torchmortem", torchmortem, TORCHMORTEM),
}
"""By the name under which they are installed."""


def installed() -> dict[str, Opinions]:
    """Those that are installed, by name and version."""
    return {f"{name} {version(name)}": each.opinion for name, each in PACKAGES.items() if find_spec(each.module)}


def missing() -> list[str]:
    """Names of those that are not installed."""
    return [name for name, each in PACKAGES.items() if not find_spec(each.module)]
