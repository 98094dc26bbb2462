"""The whole configuration, and what its sections must agree on."""

from __future__ import annotations

from pydantic import model_validator

from osler.config.base import Section
from osler.config.data import AugmentationConfig, DataConfig, PreparationConfig
from osler.config.model import LossConfig, ModelConfig
from osler.config.training import DoctorConfig, EvaluationConfig, RunConfig, TrainingConfig


class Config(Section):
    """A whole configuration."""

    run: RunConfig = RunConfig()
    data: DataConfig = DataConfig()
    preparation: PreparationConfig = PreparationConfig()
    augmentation: AugmentationConfig | None = AugmentationConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    doctor: DoctorConfig = DoctorConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> Config:
        task, loss = self.data.task, self.loss
        if loss.type == "cross_entropy" and task in ("binary", "multilabel"):
            raise ValueError(
                f"loss.type cross_entropy needs classes that exclude each other; the task is {task}: use bce or focal"
            )
        if loss.type in ("bce", "focal") and task == "multiclass":
            raise ValueError(f"loss.type {loss.type} treats classes as independent; the task is multiclass: use cross_entropy")
        if self.model.pretrained == "embedded" and self.model.architecture not in ("auto", "efficientnet_lite0"):
            raise ValueError(
                "model.pretrained: the embedded weights are those of efficientnet_lite0, and model.architecture is "
                f"{self.model.architecture!r}: use that, or pretrained true (from timm's hub) or a path"
            )
        return self
