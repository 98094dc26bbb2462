"""What `auto` means for these data on this machine; decided once, written to the run, used again by resume and by every arm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from osler.config import Config, load_config
from osler.data.load import Data
from osler.errors import ConfigError
from osler.imaging.read import ImageInfo
from osler.metrics.weights import resolve_loss
from osler.models.backbones import resolve_architecture
from osler.train.machine import pick_device, pick_precision, ranks, usable_cores

__all__ = ["resolve"]

PROBED = 64
SMALL = 64
USUAL = 224


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
    section["classes"], section["task"] = data.source.classes, data.source.task
    for key in ("path", "image_root", "cache"):
        section[key] = None if section[key] is None else Path(section[key]).absolute()
    place = ranks()
    device = pick_device(config.training.device, place)
    training["device"] = device.type if config.training.device == "auto" else config.training.device
    if config.training.precision == "auto":
        training["precision"] = pick_precision("auto", device)
    if config.training.threads == "auto":
        training["threads"] = max(1, usable_cores() // int(place.world if device.type == "cpu" else 1))
    if config.data.workers == "auto":
        section["workers"] = usable_cores()
    return load_config(values)


def _probe(data: Data) -> list[ImageInfo]:
    """Headers of up to `PROBED` images spread over all splits; unreadable ones are met, and reported, when prepared."""
    from osler.errors import DataError

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
    """The images' own side below 64 pixels; else the usual 224, or the nearest multiple of 32 below for smaller images."""
    if not infos:
        return USUAL
    side = int(np.median([max(info.width, info.height) for info in infos]))
    if side < SMALL:
        return max(8, side)
    return min(USUAL, side // 32 * 32)


def _loss_in_force(config: Config, data: Data) -> dict[str, Any]:
    """Type and weights of the loss as numbers."""
    spec = resolve_loss(config.loss, data.drawn_counts)
    resolved: dict[str, Any] = {"type": spec.type}
    for name in ("pos_weight", "class_weights", "alpha"):
        if getattr(config.loss, name) == "auto":
            weights = getattr(spec, name)
            resolved[name] = None if weights is None else tuple(round(float(weight), 6) for weight in weights)
    return resolved
