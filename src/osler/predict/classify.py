"""Predictor: from image files to probabilities and decisions.

    predictor = Predictor(session, card)
    for prediction in predictor.predict(paths):
        print(prediction.name, prediction.probabilities, prediction.positive)

The session runs the network (a checkpoint, an exported model); the card says how images are prepared, what the outputs mean
and from which threshold on a class is called positive.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from osler.errors import ModelError
from osler.imaging.depth import Fed
from osler.imaging.read import RawImage
from osler.metrics.decision import decide
from osler.metrics.weights import Kind
from osler.predict.preparing import Prepared, Preparing
from osler.predict.table import note_of, write_table
from osler.runs.card import Card

__all__ = ["Prediction", "Predictor", "Session", "probabilities_of", "write_predictions_csv"]


class Session(Protocol):
    """A network ready to run."""

    def run(self, images: Fed) -> NDArray[np.float32]:
        """Logits float32 of prepared images (B, C, H, W), 0 to 255 as uint8 or float32: (B, K), or (B, K, H, W) of masks."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Attributes:
        name: the file's path, or what the caller named the image.
        logits: class to logit, in the card's order; empty where there is an error.
        probabilities: class to probability.
        positive: class to whether it is called: at or above its threshold, or the most probable of exclusive classes; None
            where no threshold could be chosen.
        error: why there is no prediction, or None.
        notes: what was adapted while the image was read.
    """

    name: str
    logits: dict[str, float]
    probabilities: dict[str, float]
    positive: dict[str, bool | None]
    error: str | None = None
    notes: tuple[str, ...] = ()


def probabilities_of(logits: NDArray[np.floating[Any]], task: str) -> NDArray[np.float32]:
    """Probabilities (B, K) of logits (B, K): softmax over exclusive classes (multiclass), else a sigmoid each.

    NaN logits give NaN, as does a logit of +∞ among exclusive classes; no finite logit overflows. Worked out in float64 and
    rounded to float32, so that equal logits fall on the same side of a threshold here and in the predictions it was chosen on.

    >>> probabilities_of(np.array([[0.0, -800.0]]), "multilabel").tolist()
    [[0.5, 0.0]]
    >>> probabilities_of(np.array([[2.0, 2.0]]), "multiclass").tolist()
    [[0.5, 0.5]]
    """
    values = logits.astype(np.float64)
    if task == "multiclass":
        with np.errstate(invalid="ignore"):  # infinity less infinity is NaN, as it should be
            powers = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)
    small = np.exp(-np.abs(values))
    return (np.where(values >= 0, 1.0, small) / (1.0 + small)).astype(np.float32)


class Predictor:
    """Images in, predictions out, by a model's card.

    Args:
        session: runs the network.
        card: how to feed it and how to read what it says.
        batch_size: images run at once.
        workers: threads that read and prepare images; None: the cores, at most four.

    Raises:
        ModelError: images would be prepared in another way than in training.
    """

    def __init__(self, session: Session, card: Card, batch_size: int = 32, workers: int | None = None) -> None:
        self.session = session
        self.card = card
        self.kind = cast(Kind, card.task)
        # A class without positives or negatives in val has no threshold; the card holds null.
        known = {name: card.thresholds.get(name) for name in card.classes}
        self.thresholds = [math.nan if limit is None else limit for limit in known.values()]
        self.decided = {name: card.task == "multiclass" or limit is not None for name, limit in known.items()}
        self.preparing = Preparing(card, batch_size, workers)
        self.preparation = self.preparing.preparation

    def predict(self, images: Iterable[Path | str | RawImage], names: Iterable[str] | None = None) -> Iterator[Prediction]:
        """Predictions in the order of the images, a batch at a time; an image that cannot be read gives one with an error.

        Args:
            images: files, or pixels already read.
            names: what to call them; None: the path, or "image N" counted from 1.
        """
        for batch in self.preparing.batches(images, names):
            yield from self._run(batch)

    def _run(self, batch: Sequence[Prepared]) -> Iterator[Prediction]:
        pixels = [one.pixels for one in batch if one.pixels is not None]
        classes = self.card.classes
        logits = self.session.run(np.stack(pixels)) if pixels else np.empty((0, len(classes)), dtype=np.float32)
        if logits.shape != (len(pixels), len(classes)):
            raise ModelError(
                f"the model gave logits of shape {logits.shape} for {len(pixels)} images, but its card names {len(classes)} "
                f"classes ({', '.join(classes)}): the card and the weights belong to different models."
            )
        probabilities = probabilities_of(logits, self.card.task)
        decisions = decide(probabilities, self.thresholds, self.kind)
        rows = iter(zip(logits.tolist(), probabilities.tolist(), decisions.tolist(), strict=True))
        for one in batch:
            if one.pixels is None:
                yield Prediction(one.name, {}, {}, {}, one.error)
                continue
            row_logits, row_probabilities, row_decisions = next(rows)
            if not np.isfinite(row_logits).all():
                yield Prediction(one.name, {}, {}, {}, "the model's output is not finite", one.notes)
                continue
            yield Prediction(
                one.name,
                logits=dict(zip(classes, row_logits, strict=True)),
                probabilities=dict(zip(classes, row_probabilities, strict=True)),
                positive={name: call if self.decided[name] else None for name, call in zip(classes, row_decisions, strict=True)},
                notes=one.notes,
            )


def write_predictions_csv(path: Path, predictions: Iterable[Prediction], card: Card) -> int:
    """Writes predictions as a table, and beside it (same name, .json) how to read them.

    Columns: `image`; for each class `probability CLASS`, and `positive CLASS` (1 or 0) by its threshold, or one column
    `predicted` where classes exclude each other; `error`; `note`. The note repeats in every row what the results may be used
    for, since rows get copied out of tables.

    Returns:
        How many images have an error.

    Raises:
        RunError: the folder is read-only, or the disk is full.
    """
    exclusive = card.task == "multiclass"
    decisions = ["predicted"] if exclusive else [f"positive {name}" for name in card.classes]
    columns = ["image", *(f"probability {name}" for name in card.classes), *decisions, "error", "note"]
    rows = []
    failed = 0
    for one in predictions:
        failed += one.error is not None
        rows.append([one.name, *_cells(one, card, exclusive), one.error or "", note_of(one.notes)])
    write_table(path, columns, rows, card, {"images": len(rows), "errors": failed})
    return failed


def _cells(one: Prediction, card: Card, exclusive: bool) -> list[str]:
    if one.error is not None:
        return [""] * (len(card.classes) + (1 if exclusive else len(card.classes)))
    probabilities = [f"{one.probabilities[name]:.7g}" for name in card.classes]
    if exclusive:
        return [*probabilities, *(name for name in card.classes if one.positive[name])]
    words = {None: "", False: "0", True: "1"}
    return [*probabilities, *(words[one.positive[name]] for name in card.classes)]
