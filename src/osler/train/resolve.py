"""What `auto` means for these data on this machine; decided once, written to the run, used again by resume and by every arm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from osler.config import Config, load_config
from osler.data.load import Data, load_data
from osler.errors import ConfigError, DataError, RunError
from osler.imaging.preparation import USUAL_SIZE, suggested_size
from osler.imaging.read import ImageInfo
from osler.metrics.weights import resolve_loss, unused_settings
from osler.models.backbones import resolve_architecture
from osler.runs.folder import RunFolder
from osler.train.machine import pick_device, pick_precision, ranks, usable_cores

__all__ = ["check_monitor", "load_same_data", "resolve"]

PROBED = 64


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
        preparation["size"] = _size(infos)
    if config.preparation.channels == "auto":
        preparation["channels"] = 3 if any(info.channels >= 3 for info in infos) else 1
    values["model"]["architecture"] = resolve_architecture(config.model, preparation["size"])
    values["loss"].update(_loss_in_force(config, data))
    section["classes"] = config.data.classes or data.source.listed or data.source.classes
    section["task"] = data.source.task
    for key in ("path", "image_root", "cache"):
        section[key] = None if section[key] is None else Path(section[key]).absolute()
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
    """Refuses a monitored figure that val cannot give: every epoch would be as good as every other.

    Raises:
        DataError: no class has both a positive and a negative sample in val.
    """
    counts = data.counts("val")
    if config.training.monitor.startswith("macro_") and not np.any((counts.positives > 0) & (counts.negatives > 0)):
        raise DataError(
            f"data: val has {len(data.rows['val'])} samples, and no class has both positives and negatives among them, so "
            f"training.monitor {config.training.monitor} is undefined. Give val more samples (data.split.ratio, data.subset, "
            "data.dev_samples), or set training.monitor: loss."
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
        raise ConfigError(
            f"preparation.range: {len(deep)} of {len(infos)} images looked at have {deep[0].bits} bits a channel, and how their "
            "values become 0–255 must be said: dtype (the type's full range), [low, high], or {percentile: [0.5, 99.5]}. "
            "`osler init` proposes one from the pixels."
        )


def _size(infos: list[ImageInfo]) -> int:
    return suggested_size(int(np.median([max(info.width, info.height) for info in infos]))) if infos else USUAL_SIZE


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
