"""The whole configuration, and what its sections must agree on."""

from __future__ import annotations

from pydantic import model_validator

from osler.config.base import Section
from osler.config.data import AugmentationConfig, DataConfig, PreparationConfig
from osler.config.model import OVERLAP_LOSSES, SEGMENTERS, LossConfig, ModelConfig
from osler.config.training import DoctorConfig, EvaluationConfig, PredictionConfig, RunConfig, TrainingConfig


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
    prediction: PredictionConfig = PredictionConfig()
    doctor: DoctorConfig = DoctorConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> Config:
        task, loss = self.data.task, self.loss
        masks = task == "segmentation" or (task == "auto" and self.data.source == "masks")
        stated = task != "auto" and not masks
        of_masks = [name for name in (loss.type, *(stage.type for stage in loss.schedule)) if name in OVERLAP_LOSSES]
        if stated and of_masks:
            raise ValueError(f"loss.type {of_masks[0]} is for masks; the task is {task}: use bce, focal or cross_entropy")
        if stated and self.model.architecture in SEGMENTERS:
            raise ValueError(f"model.architecture {self.model.architecture} gives masks; the task is {task}: see `osler models`")
        if masks and self.model.architecture not in ("auto", *SEGMENTERS):
            raise ValueError(
                f"model.architecture {self.model.architecture} gives no masks: use one of {', '.join(SEGMENTERS)}, with "
                f"model.encoder {self.model.architecture}"
            )
        if loss.type == "cross_entropy" and task in ("binary", "multilabel"):
            raise ValueError(
                f"loss.type cross_entropy needs classes that exclude each other; the task is {task}: use bce or focal"
            )
        if loss.type in ("bce", "focal") and task == "multiclass":
            raise ValueError(f"loss.type {loss.type} treats classes as independent; the task is multiclass: use cross_entropy")
        if self.model.architecture == "deeplabv3plus" and self.training.batch_size == 1:
            raise ValueError(
                "training.batch_size 1: deeplabv3plus normalises one mean of each image over the batch, which takes two images: "
                "use 2 or more, or another architecture"
            )
        backbone = self.model.encoder if self.model.architecture in SEGMENTERS else self.model.architecture
        if self.model.pretrained == "embedded" and backbone not in ("auto", "efficientnet_lite0"):
            raise ValueError(
                f"model.pretrained: the embedded weights are those of efficientnet_lite0, and the network is {backbone!r}: use "
                "that, or pretrained true (from timm's hub) or a path"
            )
        return self
