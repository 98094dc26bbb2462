"""How the model of a run was trained, and what the run is: pictures from its vitals, facts from its files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.evaluate.wording import count
from osler.report.history import Series, history_picture
from osler.report.page import Block, CellValue, Facts, Gallery, Paragraph, Picture
from osler.runs.card import Card
from osler.runs.folder import RunFolder
from osler.runs.vitals import Vitals, read_vitals

__all__ = ["run_facts", "training_blocks"]

FACTS = {
    "Architecture": "model.architecture",
    "Parameters": "model.parameters",
    "Encoder": "model.encoder",
    "Pretrained": "model.pretrained",
    "Loss": "loss.type",
    "Weight of positives": "loss.pos_weight",
    "Class weights": "loss.class_weights",
    "Focal alpha": "loss.alpha",
    "Focal gamma": "loss.gamma",
    "Parts of the loss": "loss.weights",
    "Tversky beta": "loss.tversky_beta",
    "Patches": "data.patches",
    "Sampler": "data.sampler",
    "Optimiser": "training.optimizer",
    "Learning rate": "training.learning_rate",
    "Schedule": "training.schedule",
    "Batch size": "training.batch_size",
    "Epochs planned": "training.epochs",
    "Stopped because": "stop_reason",
    "Training samples": "samples.train",
    "Validation samples": "samples.val",
    "Test samples": "samples.test",
    "Data fingerprint": "data.fingerprint",
}


@dataclass(frozen=True)
class Score:
    """The score drawn by epoch: its key among a split's means over classes, its name, and what to know of it."""

    key: str
    name: str
    caption: str


SCORES = {
    "binary": Score("auc", "AUC", "0.5 is chance."),
    "segmentation": Score("dice", "Dice", "Dice (which is F1) of pooled pixels at p = 0.5."),
}
"""By task; the others have that of "binary"."""
ENVIRONMENT = {"Device": "device", "Device name": "device_name", "Precision": "precision", "Seed": "seed", "Commit": "git_commit"}


def training_blocks(run: RunFolder, card: Card) -> list[Block]:
    """Loss with its floors, AUC and learning rate by epoch; nothing where the run has no vitals."""
    epochs = read_vitals(run.vitals_file) if run.vitals_file.is_file() else []
    if not epochs:
        return []
    best = card.best_epoch
    text = (
        f"{count(len(epochs), 'epoch')}; the weights of epoch {best} are used. A floor is the loss of the best constant "
        "prediction: a loss that does not fall below it has learned nothing from the images. Training figures are taken on "
        "augmented samples as drawn, while the weights move; validation figures at the epoch's end."
    )
    return [Paragraph(text), Gallery(list(_pictures(epochs, best, SCORES.get(card.task, SCORES["binary"]))))]


def _pictures(epochs: Sequence[Vitals], best: int, score: Score) -> Iterator[Picture]:
    numbers = [int(epoch["epoch"]) for epoch in epochs]
    marks: dict[str, Any] = {"best": best if best in numbers else None, "phases": _phases(epochs)}
    losses = [
        Series(name, _values(epochs, name, "loss", "value"), _errors(epochs, name), _last(_values(epochs, name, "floor")))
        for name in ("train", "val")
    ]
    scores = [Series(name, _values(epochs, name, "macro", score.key)) for name in ("train", "val")]
    rates = _values(epochs, "learning_rate", "end")
    at = numbers.index(best) if best in numbers else -1
    yield Picture(
        history_picture(numbers, losses, "loss", **marks),
        "Bands: ± 1.96 standard errors. Dotted: floors.",
        f"Loss at epoch {numbers[at]}: train {losses[0].values[at]:.3g}, val {losses[1].values[at]:.3g}.",
        title="Loss",
    )
    yield Picture(
        history_picture(numbers, scores, f"{score.name} (mean over classes)", **marks),
        score.caption,
        f"{score.name} at epoch {numbers[at]}: train {scores[0].values[at]:.3g}, val {scores[1].values[at]:.3g}.",
        title=score.name,
    )
    if np.isfinite(rates).any() and np.nanmin(rates) > 0:
        yield Picture(
            history_picture(numbers, [Series("learning rate", rates)], "learning rate", log=True, **marks),
            "At each epoch's end.",
            f"Learning rate from {rates[0]:.2g} to {rates[-1]:.2g}.",
            title="Learning rate",
        )


def _values(epochs: Sequence[Vitals], *keys: str) -> NDArray[np.float64]:
    """(E,) of one figure, NaN where it is undefined or was not measured."""
    found = []
    for epoch in epochs:
        value: Any = epoch
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        found.append(math.nan if value is None else float(value))
    return np.array(found)


def _errors(epochs: Sequence[Vitals], name: str) -> NDArray[np.float64] | None:
    errors = _values(epochs, name, "loss", "se")
    return errors if np.isfinite(errors).any() else None


def _last(values: NDArray[np.float64]) -> float | None:
    return None if math.isnan(values[-1]) else float(values[-1])


def _phases(epochs: Sequence[Vitals]) -> list[tuple[int, str]]:
    """First epoch and trained part of each phase."""
    firsts: dict[int, tuple[int, str]] = {}
    for epoch in epochs:
        phase = epoch.get("phase") or {}
        firsts.setdefault(int(phase.get("index", 0)), (int(epoch["epoch"]), str(phase.get("train", ""))))
    return list(firsts.values())


def run_facts(run: RunFolder, card: Card) -> Facts:
    """What the run is, from its card, facts and environment; what is off or unknown is left out."""
    facts = run.read(run.facts_file) if run.facts_file.is_file() else {}
    env = run.read(run.env_file) if run.env_file.is_file() else {}
    items: dict[str, CellValue] = {"Run": run.path.name, "Task": card.task, "Classes": ", ".join(card.classes)}
    items |= {name: _fact(facts.get(key)) for name, key in FACTS.items() if _is_said(facts.get(key))}
    items["Best epoch"] = card.best_epoch
    items["Weights"] = {"raw": "as trained", "ema": "moving average"}.get(card.weights, card.weights)
    items["Preparation"] = _preparation(card.preparation)
    items["Preparation fingerprint"] = card.fingerprint
    items |= {name: _fact(env.get(key)) for name, key in ENVIRONMENT.items() if _is_said(env.get(key))}
    versions = env.get("versions") or {}
    if versions:
        items["Versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Facts(items)


def _is_said(value: Any) -> bool:
    return value is not None and value != "none" and value is not False


def _fact(value: Any) -> CellValue:
    if isinstance(value, (list, tuple)):
        return ", ".join(f"{item:.3g}" if isinstance(item, float) else str(item) for item in value)
    return f"{value:.3g}" if isinstance(value, float) else value if isinstance(value, int) else str(value)


def _preparation(description: Mapping[str, Any]) -> str:
    """A preparation in a few words.

    >>> _preparation({"size": 224, "channels": 3, "fit": "stretch", "clahe": {"clip_limit": 2.0, "tiles": 8}})
    '224 × 224, 3 channels, stretch, CLAHE (clip 2, 8 tiles a side)'
    >>> _preparation({"size": 64, "channels": 1, "fit": "pad", "range": "dtype", "dtype": "uint16"})
    '64 × 64, 1 channel, pad, range dtype, 16 bit'
    """
    size, channels = description.get("size", "?"), int(description.get("channels", 1))
    parts = [f"{size} × {size}", count(channels, "channel"), str(description.get("fit", ""))]
    if (values := description.get("range")) is not None:
        parts.append(f"range {values}")
    if description.get("dtype") == "uint16":
        parts.append("16 bit")
    if clahe := description.get("clahe"):
        parts.append(f"CLAHE (clip {clahe['clip_limit']:g}, {clahe['tiles']} tiles a side)")
    return ", ".join(part for part in parts if part)
