"""What is particular to segmentation: its network, loss and schedule of losses, and the figures of masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from osler.config import Config, LossConfig, LossName, PredictionConfig
from osler.data.batches import Batch
from osler.data.cache import PackedCache
from osler.data.load import Data
from osler.data.masks_prepared import PreparedMasks
from osler.data.samples import IGNORED, Samples
from osler.data.unaugmented import drawn_pixels, plain_batches
from osler.imaging.depth import Fed
from osler.imaging.preparation import Preparation
from osler.losses import DeepSupervision, LossTerms, build_mask_loss
from osler.metrics.cases import CaseTable, PixelCounts
from osler.metrics.floors import skill, skill_reason
from osler.metrics.mask_floors import MaskFloor, mask_floor
from osler.metrics.mask_loss import OVERLAP_PARTS, MaskCounts, MaskLossSpec, resolve_mask_loss
from osler.metrics.mask_vitals import mask_vitals
from osler.metrics.overlap import HALF
from osler.models.segmenters import Segmenter, SegmenterSpec, build_segmenter
from osler.predict.tiles import logit_maps
from osler.tasks.mask_outputs import PART, CaseOutputs, CountOutputs, mask_probabilities, pixel_counts
from osler.tasks.task import Means, Outputs, Task, mean_and_error, shown

__all__ = ["Segmentation", "Spacing", "StagedLoss", "build_segmentation", "eval_batch_size", "spacing_of", "stages"]

Spacing = Callable[[int], Sequence[float] | None]
"""Source row to the height and width, in millimetres, of a pixel of its prepared image; None where unknown."""

HEADLINE = {"Dice": "dice", "precision": "precision", "recall": "recall", "IoU": "iou"}
"""An epoch's line: its words, and the macro figures they stand for."""


class StagedLoss(nn.Module):
    """The losses of a run in turn; with one stage, that loss.

    Attributes:
        stages: the losses.
        ends: last epoch of each stage but the last, counted from 1.
        current: index of the stage in force.
    """

    def __init__(self, stages: Sequence[tuple[MaskLossSpec, int | None]]) -> None:
        super().__init__()
        self.specs = [spec for spec, _ in stages]
        self.stages = nn.ModuleList(DeepSupervision(build_mask_loss(spec)) for spec in self.specs)
        self.ends = np.cumsum([epochs for _, epochs in stages if epochs is not None]).astype(int).tolist()
        self.current = 0

    def begin_epoch(self, epoch: int) -> None:
        """Puts the stage of this epoch in force."""
        self.current = int(np.searchsorted(self.ends, epoch))

    @property
    def spec(self) -> MaskLossSpec:
        """Of the stage in force."""
        return self.specs[self.current]

    def forward(self, levels: Sequence[Tensor], masks: Tensor) -> LossTerms:
        """The loss of a network's levels, the finest first, against masks (B, K, H, W)."""
        stage = self.stages[self.current]
        assert isinstance(stage, DeepSupervision)
        terms, parts = stage.with_parts(levels, masks)
        return terms._replace(parts=parts)


class Segmentation(Task):
    """One mask a class for each image.

    Attributes:
        exclusive: a pixel is of one class at most.
        loss: with its schedule.
        batch_sizes: of training and of evaluation; overlap losses pool over batches, and so do their floors.
        prediction: how the network goes over an image in evaluation.
        spacing: size of prepared pixels.
    """

    loss: StagedLoss

    def __init__(
        self,
        classes: tuple[str, ...],
        exclusive: bool,
        model: Segmenter,
        loss: StagedLoss,
        batch_sizes: tuple[int, int],
        prediction: PredictionConfig,
        spacing: Spacing,
    ) -> None:
        self.kind = "segmentation"
        self.classes = classes
        self.exclusive = exclusive
        self.model = model
        self.loss = loss
        self.batch_sizes = batch_sizes
        self.prediction = prediction
        self.spacing = spacing
        self._val_floors: dict[int, MaskFloor] = {}

    def begin_epoch(self, epoch: int) -> None:
        self.loss.begin_epoch(epoch)

    def forward(self, model: nn.Module, batch: Batch) -> tuple[Tensor, LossTerms]:
        assert batch.masks is not None, "a segmenter is trained on masks"
        if model.training:
            levels = model(batch.images)
            levels = levels if isinstance(levels, list) else [levels]
        else:
            levels = [self.logits(model, batch.images)]
        return levels[0], self.loss(levels, batch.masks)

    def logits(self, model: nn.Module, images: Tensor, flips: bool = False) -> Tensor:
        """Logits (B, K, H, W) of whole images, in tiles where `prediction.tile` says so."""
        tile = self.prediction.tile
        if tile is None and not flips:
            whole: Tensor = model(images)
            return whole

        def run(tiles: Fed) -> NDArray[np.float32]:
            found: NDArray[np.float32] = model(torch.from_numpy(tiles).to(images.device)).float().cpu().numpy()
            return found

        maps = logit_maps(run, images.cpu().numpy(), tile=tile, overlap=self.prediction.overlap, flips=flips)
        return torch.from_numpy(maps).to(images.device)

    def outputs(self, training: bool) -> Outputs:
        return CountOutputs(self.exclusive) if training else CaseOutputs(self.exclusive, self._half, self.spacing)

    def figures(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        training = "counts" in arrays
        table = pixel_counts(dict(arrays)) if training else CaseTable.of(arrays["cases"].tolist(), self._half)
        counts = table if isinstance(table, PixelCounts) else table.at_thresholds
        loss, error = mean_and_error(arrays["values"], arrays["weights"])
        spec = self.loss.spec
        batch = self.batch_sizes[not training]
        if spec.pooled and not {*spec.parts}.isdisjoint(OVERLAP_PARTS):
            error *= float(np.sqrt(batch))  # all images of a batch have one value: they are one observation, not so many
        if training or self.loss.current not in self._val_floors:
            lowest = mask_floor(spec, self._mask_counts(counts, training))
            if not training:  # val's masks are the same every epoch
                self._val_floors[self.loss.current] = lowest
        else:
            lowest = self._val_floors[self.loss.current]
        figures = mask_vitals(table, self.classes)
        return {
            "n": len(counts.counts),
            "loss": {"value": loss, "se": error, "n": int((arrays["weights"] > 0).sum())},
            "loss_parts": {
                name.removeprefix(PART): float(values.mean(dtype=np.float64))
                for name, values in arrays.items()
                if name.startswith(PART)
            },
            "floor": lowest.loss,
            "skill": skill(loss, lowest),
            "skill_reason": skill_reason(loss, lowest),
            "accuracy": figures["macro"]["accuracy"],
            **figures,
        }

    @property
    def _half(self) -> NDArray[np.uint8]:
        return np.full(len(self.classes), HALF, np.uint8)

    def _mask_counts(self, counts: PixelCounts, training: bool) -> MaskCounts:
        return MaskCounts.of(self.exclusive, counts.foreground, counts.known, self.batch_sizes[not training], shuffled=training)

    def monitored(self, name: str, figures: Mapping[str, Any]) -> float:
        if name == "loss":
            return -float(figures["loss"]["value"])
        return float(figures["macro"][name])

    def means(self, logits: Tensor, batch: Batch) -> Means:
        assert batch.masks is not None, "a segmenter is trained on masks"
        known = batch.masks != IGNORED
        predicted = mask_probabilities(logits, self.exclusive) * known
        return Means(predicted.sum(dim=(0, 2, 3)), (batch.masks == 1).sum(dim=(0, 2, 3)).float(), known.sum(dim=(0, 2, 3)))

    def without_positives(self, batch: Batch) -> Tensor:
        assert batch.masks is not None, "a segmenter is trained on masks"
        return (~(batch.masks == 1).any(dim=3).any(dim=2).any(dim=0)).float()

    def headline(self, train: Mapping[str, Any], val: Mapping[str, Any]) -> Sequence[str]:
        return [
            f"{word} " + "/".join(shown(figures["macro"][name]) for figures in (train, val)) for word, name in HEADLINE.items()
        ]

    def facts(self) -> dict[str, Any]:
        specs, ends = self.loss.specs, [*self.loss.ends, None]
        last = specs[-1]
        reads = {part for spec in specs for part in spec.parts}
        tversky = bool({"tversky", "focal_tversky"} & reads)
        return {
            "loss.type": last.type,
            "loss.weights": dict(last.parts),
            "loss.schedule": [{"type": spec.type, "until_epoch": end} for spec, end in zip(specs, ends, strict=True)]
            if len(specs) > 1
            else None,
            "loss.pos_weight": last.pos_weight,
            "loss.alpha": last.alpha,
            "loss.gamma": last.gamma if "focal" in reads else None,
            "loss.tversky_alpha": last.tversky_alpha if tversky else None,
            "loss.tversky_beta": last.tversky_beta if tversky else None,
            "loss.tversky_gamma": last.tversky_gamma if "focal_tversky" in reads else None,
            "loss.smooth": last.smooth,
            "loss.pooled": "batch" if last.pooled else "case",
            "masks.exclusive": self.exclusive,
        }


def build_segmentation(config: Config, data: Data, cache: PackedCache, masks: Mapping[str, PreparedMasks]) -> Segmentation:
    """The segmenter of a resolved configuration over these data; its output starts at the best constant prediction.

    Args:
        config: resolved.
        data: whose train split decides the output's start.
        cache: the prepared images.
        masks: of each split, as they were prepared.
    """
    source, patches = data.source, config.data.patches
    size, channels = config.preparation.size, config.preparation.channels
    assert size != "auto", "the configuration is resolved before a task is built"
    assert channels != "auto", "the configuration is resolved before a task is built"
    batch = config.training.batch_size
    counts = _drawn_counts(config, data, cache, masks["train"])
    loss = StagedLoss([(resolve_mask_loss(config.loss, counts, name), epochs) for name, epochs in stages(config.loss)])
    seen = patches.size if patches is not None else size
    model = build_segmenter(config.model, SegmenterSpec(len(source.classes), channels, seen, source.exclusive))
    model.check_sizes(seen, config.prediction.tile or size)
    if (config.prediction.tile is not None or patches is not None) and model.has_global_operation:
        model.notes = (
            *model.notes,
            f"{config.model.architecture} has operations over the whole image: it sees a patch or tile otherwise than the image, "
            "so the size of patches and tiles is part of the model",
        )
    if config.model.output_bias == "floor" and not model.output_loaded:
        model.set_output_bias(mask_floor(loss.spec, counts).logits)
    return Segmentation(
        source.classes,
        source.exclusive,
        model,
        loss,
        (batch, eval_batch_size(config)),
        config.prediction,
        spacing_of(source, cache.preparation),
    )


def _drawn_counts(config: Config, data: Data, cache: PackedCache, train: PreparedMasks) -> MaskCounts:
    """Of the masks as training sees them: all of train, or, cut or drawn by weight, those of the first batches."""
    exclusive, batch = data.source.exclusive, config.training.batch_size
    if config.data.patches is None and data.draw_weights is None:
        return MaskCounts(exclusive, train.shares, train.known.astype(np.float64), batch)
    drawn = drawn_pixels(plain_batches(config, data, cache.gather, cache.channels))
    return MaskCounts.of(exclusive, *drawn, batch)


def stages(config: LossConfig) -> list[tuple[LossName | None, int | None]]:
    """The losses in turn, each with the epochs that it lasts; None for the type of the section, and for what lasts.

    >>> stages(LossConfig(type="dice"))
    [(None, None)]
    """
    return [(stage.type, stage.epochs) for stage in config.schedule] or [(None, None)]


def eval_batch_size(config: Config) -> int:
    """Whole images of a batch in evaluation: what fits where a training batch with its gradients did."""
    training, patches, size = config.training, config.data.patches, config.preparation.size
    assert size != "auto", "the configuration is resolved before batches are built"
    return max(1, training.batch_size * min(size, patches.size if patches else size) ** 2 // size**2)


def spacing_of(source: Samples, preparation: Preparation) -> Spacing:
    """What is known of the size of prepared pixels: a file's own spacing, times how much it was shrunk."""

    def spacing(row: int) -> Sequence[float] | None:
        info = source.images.probe(row)
        if info.spacing is None:
            return None
        _, _, height, width = preparation.placed(info.height, info.width)
        return info.spacing[0] * info.height / height, info.spacing[1] * info.width / width

    return spacing
