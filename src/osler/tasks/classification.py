"""What is particular to classification: its model, loss, decoding and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from osler.config import Config
from osler.data.batches import Batch
from osler.data.load import Data
from osler.losses import Loss, LossTerms, build_loss
from osler.metrics.floors import floor, skill, skill_reason
from osler.metrics.label_vitals import label_vitals
from osler.metrics.weights import LossSpec, count_labels, resolve_loss
from osler.models.classifier import Classifier, ModelSpec, build_model
from osler.predict import probabilities_of
from osler.tasks.task import Arrays, Means, Outputs, Task, mean_and_error, shown

__all__ = ["Classification", "LogitOutputs", "build_classification"]

Kind = Literal["binary", "multiclass", "multilabel"]


class LogitOutputs(Outputs):
    """Logits (B, K) and targets (B, K) of every sample."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind

    def add(self, logits: Tensor, batch: Batch, terms: LossTerms) -> None:
        self._keep(batch, terms, logits=logits.float(), targets=batch.targets)

    def gathered(self) -> Arrays:
        """Also the probabilities (n, K)."""
        arrays = super().gathered()
        return arrays | {"probabilities": probabilities_of(arrays["logits"], self.kind)}


class Classification(Task):
    """One label a sample, or several.

    Attributes:
        loss_spec: the loss's parameters in force, `auto` derived.
    """

    def __init__(self, kind: Kind, classes: tuple[str, ...], model: Classifier, loss_spec: LossSpec, loss: Loss) -> None:
        self.kind: Kind = kind
        self.classes = classes
        self.model = model
        self.loss_spec = loss_spec
        self.loss = loss

    def forward(self, model: nn.Module, batch: Batch) -> tuple[Tensor, LossTerms]:
        logits = model(batch.images)
        return logits, self.loss(logits, batch.targets)

    def outputs(self, training: bool) -> LogitOutputs:
        return LogitOutputs(self.kind)

    def means(self, logits: Tensor, batch: Batch) -> Means:
        logits, targets = logits.float(), batch.targets
        predicted = torch.softmax(logits, 1) if self.kind == "multiclass" else torch.sigmoid(logits)
        known = ~torch.isnan(targets)
        return Means((predicted * known).sum(0), torch.nan_to_num(targets).sum(0), known.sum(0))

    def without_positives(self, batch: Batch) -> Tensor:
        return (torch.nan_to_num(batch.targets).sum(dim=0) == 0).float()

    def headline(self, train: Mapping[str, Any], val: Mapping[str, Any]) -> Sequence[str]:
        auc = "/".join(shown(figures["macro"]["auc"]) for figures in (train, val))
        return (f"AUC {auc}", f"F1 {shown(val['macro']['f1'])}")

    def facts(self) -> dict[str, Any]:
        spec = self.loss_spec
        return {
            "loss.type": spec.type,
            "loss.pos_weight": spec.pos_weight,
            "loss.class_weights": spec.class_weights,
            "loss.alpha": spec.alpha,
            "loss.gamma": spec.gamma if spec.type == "focal" else None,
            "loss.label_smoothing": spec.label_smoothing,
        }

    def figures(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        targets, logits = arrays["targets"], arrays["logits"]
        loss, error = mean_and_error(arrays["values"], arrays["weights"])
        lowest = floor(self.loss_spec, count_labels(targets, self.kind))
        return {
            "n": len(targets),
            "loss": {"value": loss, "se": error, "n": int((arrays["weights"] > 0).sum())},
            "floor": lowest.loss,
            "skill": skill(loss, lowest),
            "skill_reason": skill_reason(loss, lowest),
            **label_vitals(targets, logits, self.kind, self.classes),
        }

    def monitored(self, name: str, figures: Mapping[str, Any]) -> float:
        if name == "loss":
            return -float(figures["loss"]["value"])
        if name == "accuracy":
            return float(figures["accuracy"])
        return float(figures["macro"][name.removeprefix("macro_")])


def build_classification(config: Config, data: Data) -> Classification:
    """The task of a resolved configuration over these data; the output starts at the best constant prediction."""
    source = data.source
    size, channels = config.preparation.size, config.preparation.channels
    assert size != "auto", "the configuration is resolved before a task is built"
    assert channels != "auto", "the configuration is resolved before a task is built"
    drawn = data.drawn_counts
    spec = resolve_loss(config.loss, drawn)
    kind = cast(Kind, source.task)
    model = build_model(config.model, ModelSpec(kind, len(source.classes), channels, size))
    if config.model.output_bias == "floor" and not model.output_loaded:
        model.set_output_bias(torch.as_tensor(floor(spec, drawn).logits, dtype=torch.float32))
    return Classification(kind, source.classes, model, spec, build_loss(spec))
