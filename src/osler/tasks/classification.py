"""What is particular to classification: its model, loss, decoding and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from osler.config import Config
from osler.data.load import Data
from osler.data.samples import TaskKind
from osler.losses import Loss, LossTerms, build_loss
from osler.metrics.floors import floor, skill, skill_reason
from osler.metrics.summary import accuracy, class_vitals
from osler.metrics.weights import LossSpec, count_labels, resolve_loss
from osler.models.classifier import Classifier, ModelSpec, build_model
from osler.predict import probabilities_of

__all__ = ["Classification", "build_task"]


@dataclass(frozen=True)
class Classification:
    """A classification task: the loop knows no more of it than this.

    Attributes:
        kind: binary, multiclass or multilabel.
        classes: K names.
        model: images to logits (B, K); images are uint8 or float in 0–255.
        loss_spec: the loss's parameters in force, `auto` derived.
        loss: logits and targets to loss terms.
    """

    kind: TaskKind
    classes: tuple[str, ...]
    model: Classifier
    loss_spec: LossSpec
    loss: Loss

    def forward(self, model: torch.nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, LossTerms]:
        """Logits (B, K) and loss terms of a batch; `model` is `self.model`, or that wrapped for several processes."""
        logits = model(images)
        return logits, self.loss(logits, targets)

    def probabilities(self, logits: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Logits (n, K) to probabilities (n, K)."""
        return probabilities_of(logits, self.kind)

    def figures(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """The figures of one split for the vitals, from what `Outputs.gathered` returns."""
        targets, logits = arrays["targets"], arrays["logits"]
        loss, error = _mean_and_error(arrays["values"], arrays["weights"])
        lowest = floor(self.loss_spec, count_labels(targets, self.kind))
        classes = dict(zip(self.classes, class_vitals(targets, logits, self.kind), strict=True))
        for figures in classes.values():
            figures["reasons"] = _reasons(figures)
        return {
            "n": len(targets),
            "loss": {"value": loss, "se": error, "n": int((arrays["weights"] > 0).sum())},
            "floor": lowest.loss,
            "skill": skill(loss, lowest),
            "skill_reason": skill_reason(loss, lowest),
            "accuracy": accuracy(targets, logits, self.kind),
            "macro": self._macro(classes),
            "classes": classes,
        }

    @staticmethod
    def _macro(classes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        means = {name: _mean_of_known(classes, name) for name in ("auc", "ap", "f1")}
        scored = sum(math.isfinite(figures["auc"]) for figures in classes.values())
        reasons = {name: "defined for no class" for name, value in means.items() if math.isnan(value)}
        return {**means, "classes_scored": scored, "reasons": reasons}

    def monitored(self, name: str, figures: Mapping[str, Any]) -> float:
        """The figure that decides what is best, turned so that higher is better; NaN where it is undefined."""
        if name == "loss":
            return -float(figures["loss"]["value"])
        if name == "accuracy":
            return float(figures["accuracy"])
        return float(figures["macro"][name.removeprefix("macro_")])


UNDEFINED = {
    "auc": "needs a positive and a negative sample",
    "ap": "needs a positive sample",
    "precision": "no sample is called positive",
    "recall": "no positive sample",
    "specificity": "no negative sample",
    "f1": "no sample is positive or called positive",
    "best_f1_threshold": "needs a positive sample",
    "best_f1": "needs a positive sample",
    "prevalence": "no known label",
    "positive_rate": "no known label",
    "ece": "no known label",
}


def _reasons(figures: Mapping[str, Any]) -> dict[str, str]:
    """Why each undefined figure of a class is undefined."""
    missing = [name for name in UNDEFINED if isinstance(figures[name], float) and math.isnan(figures[name])]
    if figures["not_finite"]:
        return dict.fromkeys(missing, f"{figures['not_finite']} logits are not finite")
    return {name: UNDEFINED[name] for name in missing}


def _mean_of_known(classes: Mapping[str, Mapping[str, float]], name: str) -> float:
    known = [figures[name] for figures in classes.values() if math.isfinite(figures[name])]
    return float(np.mean(known)) if known else math.nan


def _mean_and_error(values: NDArray[Any], weights: NDArray[Any]) -> tuple[float, float]:
    """The weighted mean loss of an epoch and its standard error over samples (ratio estimator, Cochran 1977, eq. 6.13)."""
    total = float(weights.sum(dtype=np.float64))
    if total == 0:
        return math.nan, math.nan
    mean = float(values.sum(dtype=np.float64)) / total
    n = int((weights > 0).sum())
    residuals = values.astype(np.float64) - mean * weights
    error = math.sqrt(float((residuals**2).sum()) * n / (n - 1)) / total if n > 1 else math.nan
    return mean, error


def build_task(config: Config, data: Data) -> Classification:
    """The task of a resolved configuration over these data; the output starts at the best constant prediction."""
    source = data.source
    size, channels = config.preparation.size, config.preparation.channels
    assert size != "auto", "the configuration is resolved before a task is built"
    assert channels != "auto", "the configuration is resolved before a task is built"
    drawn = data.drawn_counts
    spec = resolve_loss(config.loss, drawn)
    model = build_model(config.model, ModelSpec(source.task, len(source.classes), channels, size))
    if config.model.output_bias == "floor" and not model.output_loaded:
        model.set_output_bias(torch.as_tensor(floor(spec, drawn).logits, dtype=torch.float32))
    return Classification(source.task, source.classes, model, spec, build_loss(spec))
