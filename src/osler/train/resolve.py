"""What `auto` means for these data on this machine; decided once, written to the run, used again by resume and by every arm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from osler.config import Config, ModelConfig, load_config
from osler.data.load import Data, load_data
from osler.data.unaugmented import drawn_pixels, masks_alone
from osler.errors import ConfigError, DataError, RunError
from osler.imaging.masks import IGNORED
from osler.imaging.preparation import USUAL_MASK_SIZE, USUAL_SIZE, suggested_size
from osler.imaging.read import ImageInfo
from osler.metrics.mask_loss import MaskCounts, resolve_mask_loss, unused_mask_settings
from osler.metrics.weights import resolve_loss, unused_settings
from osler.models.backbones import resolve_architecture
from osler.models.segmenters import resolve_encoder, resolve_segmenter
from osler.runs.folder import RunFolder
from osler.tasks.segmentation import stages
from osler.train.machine import pick_device, pick_precision, ranks, usable_cores

__all__ = ["check_monitor", "load_same_data", "resolve"]

PROBED = 64
MASKS_READ = 200


MONITORED = {"segmentation": "dice"}
"""What is watched where `training.monitor` is "auto"; macro_auc elsewhere."""
THRESHOLDS = {"segmentation": "f1"}
"""The rule where `evaluation.threshold` is "auto"; youden elsewhere."""


def resolve(config: Config, data: Data) -> Config:
    """The configuration with every `auto` replaced by what it means here; resolving it again changes nothing.

    Raises:
        ConfigError: the images need a choice that must not be guessed, such as the range of 16-bit pixels.
    """
    infos = _probe(data)
    _check_depth(config, infos)
    values = config.model_dump(mode="python")
    preparation, training, section = values["preparation"], values["training"], values["data"]
    if config.preparation.size == "auto":
        preparation["size"] = _size(infos, USUAL_MASK_SIZE if data.source.task == "segmentation" else USUAL_SIZE)
    if config.preparation.channels == "auto":
        preparation["channels"] = 3 if any(info.channels >= 3 for info in infos) else 1
    masks = data.source.task == "segmentation"
    _check_settings(config, masks)
    if masks:
        values["model"]["architecture"] = resolve_segmenter(config.model)
        values["model"]["encoder"] = resolve_encoder(config.model)
    else:
        values["model"]["architecture"] = resolve_architecture(config.model, preparation["size"])
        values["model"]["encoder"] = None
    sized = config.preparation.model_copy(update={key: preparation[key] for key in ("size", "channels")})
    loss = _mask_loss_in_force(config.model_copy(update={"preparation": sized}), data) if masks else _loss_in_force(config, data)
    values["loss"].update(loss)
    section["classes"] = config.data.classes or data.source.listed or data.source.classes
    section["task"] = data.source.task
    if section["masks"]["values"] == "auto":
        section["masks"]["values"] = None
    if training["monitor"] == "auto":
        training["monitor"] = MONITORED.get(data.source.task, "macro_auc")
    if config.evaluation.threshold == "auto":
        values["evaluation"]["threshold"] = THRESHOLDS.get(data.source.task, "youden")
    for key in ("path", "image_root", "cache"):
        section[key] = None if section[key] is None else Path(section[key]).absolute()
    if config.data.masks.path is not None:
        section["masks"]["path"] = config.data.masks.path.absolute()
    if isinstance(config.model.pretrained, Path):
        values["model"]["pretrained"] = config.model.pretrained.absolute()
    place = ranks()
    device = pick_device(config.training.device, place)
    training["device"] = device.type if config.training.device == "auto" else config.training.device
    training["precision"] = pick_precision(config.training.precision, device, alone=place.world == 1)
    if config.training.threads == "auto":
        training["threads"] = max(1, usable_cores() // int(place.world if device.type == "cpu" else 1))
    if config.data.workers == "auto":
        section["workers"] = usable_cores()
    return load_config(values)


def check_monitor(config: Config, data: Data) -> None:
    """Refuses a monitored figure that the task does not have, or that val cannot give: all epochs would be alike. (Masks of
    val without any foreground are refused by `check_data`.)

    Raises:
        ConfigError: the task has no such figure.
        DataError: no class has both a positive and a negative sample in val.
    """
    name, kind = config.training.monitor, data.source.task
    monitored = MONITORED.get(kind, "macro_auc") if name == "auto" else name
    of_masks = monitored in ("dice", "iou")
    if of_masks != (kind == "segmentation") and monitored not in ("accuracy", "loss"):
        raise ConfigError(
            f"training.monitor {monitored}: a {kind} task has no such figure; use "
            + ("dice, iou, accuracy or loss." if kind == "segmentation" else "macro_auc, macro_ap, macro_f1, accuracy or loss.")
        )
    counts = data.counts("val")
    ways = "Give val more samples (data.split.ratio, data.subset, data.dev_samples), or set training.monitor: loss."
    n = len(data.rows["val"])
    if monitored.startswith("macro_") and not np.any((counts.positives > 0) & (counts.negatives > 0)):
        raise DataError(
            f"data: val has {n} samples, and no class has both positives and negatives among them, so training.monitor "
            f"{monitored} is undefined. {ways}"
        )


def load_same_data(run: RunFolder, config: Config) -> Data:
    """The data of a run, as they were when it began.

    Raises:
        RunError: samples, labels or splits differ from then.
    """
    data = load_data(config.data)
    if run.facts_file.exists():
        before = run.read(run.facts_file)["data.fingerprint"]
        if before != data.fingerprint():
            raise RunError(
                f"{run.path}: the data changed since this run began (fingerprint {before} then, {data.fingerprint()} now): "
                "samples, labels or splits differ, and what was train could now be test. Put them back, or train a new run."
            )
    return data


def _probe(data: Data) -> list[ImageInfo]:
    """Headers of up to `PROBED` images spread over all splits; unreadable ones are met, and reported, when prepared."""
    rows = np.sort(np.concatenate(list(data.rows.values())))
    found = []
    for row in rows[np.linspace(0, len(rows) - 1, min(PROBED, len(rows))).astype(int)]:
        try:
            found.append(data.source.images.probe(int(row)))
        except DataError:
            continue
    return found


def _check_depth(config: Config, infos: list[ImageInfo]) -> None:
    deep = [info for info in infos if info.bits > 8]
    if deep and config.preparation.range is None:
        of_dicom = all(info.format == "dicom" for info in deep)
        ways = "window (as the DICOM file asks viewers to show it), " if of_dicom else "dtype (the type's full range), "
        raise ConfigError(
            f"preparation.range: {len(deep)} of {len(infos)} images looked at have {deep[0].bits} bits a channel, and how their "
            f"values become 0–255 must be said: {ways}[low, high], or {{percentile: [0.5, 99.5]}}. `osler init` proposes one "
            "from the pixels."
        )
    without = sorted({info.format for info in deep} - {"dicom"})
    if config.preparation.range == "window" and without:
        raise ConfigError(
            "preparation.range window: only DICOM files say how they are to be shown, and images of more than 8 bits are "
            f"{' and '.join(without)} too. Use dtype, [low, high], or {{percentile: [0.5, 99.5]}}."
        )


def _size(infos: list[ImageInfo], most: int) -> int:
    return suggested_size(int(np.median([max(info.width, info.height) for info in infos])), most) if infos else most


def _check_settings(config: Config, masks: bool) -> None:
    """ConfigError for settings that this kind of task does not read, and for losses whose turn never comes."""
    of_masks = {
        "data.patches": config.data.patches is not None,
        "model.deep_supervision": config.model.deep_supervision,
        "prediction.tile": config.prediction.tile is not None,
        "prediction.flips": config.prediction.flips,
        "loss.schedule": bool(config.loss.schedule),
    }
    of_labels = {
        "model.head": bool(config.model.head),
        "model.attention": config.model.attention,
        "model.dropout": _changed(config.model, "dropout"),
    }
    idle = [key for key, given in (of_labels if masks else of_masks).items() if given]
    if idle:
        kind = "classification" if masks else "segmentation"
        raise ConfigError(f"{', '.join(idle)}: only of use in {kind}, which this task is not. Leave out.")
    own = [f"model.{name}" for name in ("width", "levels") if _changed(config.model, name)]
    if own and (not masks or resolve_segmenter(config.model) != "compact"):
        raise ConfigError(f"{', '.join(own)}: only of use in model.architecture compact, a segmenter. Leave out.")
    patches, size = config.data.patches, config.preparation.size
    if patches is not None and size != "auto" and patches.size > size:
        raise ConfigError(f"data.patches.size {patches.size}: larger than the images, of preparation.size {size}. Make one fit.")
    if not config.loss.schedule:
        return
    if config.training.monitor == "loss":
        raise ConfigError(
            "training.monitor loss: with loss.schedule the epochs have different losses, which cannot be compared. Use dice or "
            "iou."
        )
    first = sum(stage.epochs or 0 for stage in config.loss.schedule)
    planned = sum(phase.epochs or config.training.epochs for phase in config.training.phases) or config.training.epochs
    if first >= planned:
        raise ConfigError(
            f"loss.schedule: its first stages take {first} epochs, and {planned} are planned: the last loss would never be in "
            "force. Plan more epochs, or shorten the stages."
        )


def _mask_loss_in_force(config: Config, data: Data) -> dict[str, Any]:
    """Type and weights of the loss as numbers; "auto" weights come from masks of train, cut and drawn as training will."""
    counts = _mask_counts(config, data, "auto" in (config.loss.pos_weight, config.loss.alpha))
    specs = [resolve_mask_loss(config.loss, counts, name) for name, _ in stages(config.loss)]
    idle = unused_mask_settings(config.loss, specs)
    if idle:
        used = " and ".join(spec.type for spec in specs)
        raise ConfigError(
            f"{', '.join(idle)}: set, but not read by the loss in use, {used}. Leave out, or choose another loss.type."
        )
    resolved: dict[str, Any] = {} if config.loss.schedule else {"type": specs[0].type}
    for name in ("pos_weight", "alpha"):
        if getattr(config.loss, name) == "auto":
            weights = next((found for spec in specs if (found := getattr(spec, name)) is not None), None)
            resolved[name] = None if weights is None else tuple(round(float(weight), 6) for weight in weights)
    return resolved


def _changed(section: ModelConfig, name: str) -> bool:
    return bool(getattr(section, name) != ModelConfig.model_fields[name].default)


def _mask_counts(config: Config, data: Data, many: bool) -> MaskCounts:
    """Of masks of train: one of them, or, where weights depend on them, up to `MASKS_READ`, or as many patches as they give."""
    masks, rows = data.source.masks, data.rows["train"]
    assert masks is not None, "a segmentation has masks"
    if many and (config.data.patches is not None or data.draw_weights is not None):
        foreground, known = drawn_pixels(masks_alone(config, data), MASKS_READ)
    else:
        some = rows[np.unique(np.linspace(0, len(rows) - 1, MASKS_READ if many else 1).astype(int))]
        planes = [masks.read(int(row)) for row in some]
        foreground, known = (
            np.array([[(plane == 1).sum() for plane in mask] for mask in planes]),
            np.array([[(plane != IGNORED).sum() for plane in mask] for mask in planes]),
        )
    return MaskCounts.of(data.source.exclusive, foreground, known, config.training.batch_size)


def _loss_in_force(config: Config, data: Data) -> dict[str, Any]:
    """Type and weights of the loss as numbers."""
    spec = resolve_loss(config.loss, data.drawn_counts)
    idle = unused_settings(config.loss, spec)
    if idle:
        raise ConfigError(
            f"{', '.join(idle)}: set, but not read by the loss in use, {spec.type}. Leave out, or choose another loss.type."
        )
    resolved: dict[str, Any] = {"type": spec.type}
    for name in ("pos_weight", "class_weights", "alpha"):
        if getattr(config.loss, name) == "auto":
            weights = getattr(spec, name)
            resolved[name] = None if weights is None else tuple(round(float(weight), 6) for weight in weights)
    return resolved
