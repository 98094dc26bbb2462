"""Predictor: the only inference path, from image files to decisions. Numpy over a session that is handed in; no torch.

    predictor = Predictor(session, card)
    for prediction in predictor.predict(paths):
        print(prediction.name, prediction.probabilities, prediction.positive)

The session runs the network (a checkpoint, an exported model); the card says how images are prepared, what the outputs mean
and from which threshold on a class is called positive. Training, service and the command line all come through here, so
that an image gets one answer.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from osler.errors import DataError, ModelError, RequestError, RunError
from osler.files import write_json, write_text
from osler.imaging.preparation import Preparation
from osler.imaging.read import IMAGE_SUFFIXES, RawImage, read_image
from osler.metrics.decision import decide
from osler.metrics.weights import Kind
from osler.runs.card import Card

__all__ = ["Prediction", "Predictor", "Session", "predict_files", "probabilities_of", "write_predictions_csv"]

RESEARCH_ONLY = "for research; not a medical device"


class Session(Protocol):
    """A network ready to run."""

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits (B, K) float32 of prepared images (B, C, H, W) uint8."""


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


@dataclass(frozen=True)
class _Prepared:
    name: str
    pixels: NDArray[np.uint8] | None
    error: str | None
    notes: tuple[str, ...]


def probabilities_of(logits: NDArray[np.floating[Any]], task: str) -> NDArray[np.float32]:
    """Probabilities (B, K) of logits (B, K): softmax over exclusive classes (multiclass), else a sigmoid each.

    NaN logits give NaN; no finite logit overflows. Worked out in float64 and rounded to float32, so that equal logits fall on
    the same side of a threshold here and in the predictions it was chosen on.

    >>> probabilities_of(np.array([[0.0, -800.0]]), "multilabel").tolist()
    [[0.5, 0.0]]
    >>> probabilities_of(np.array([[2.0, 2.0]]), "multiclass").tolist()
    [[0.5, 0.5]]
    """
    values = logits.astype(np.float64)
    if task == "multiclass":
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
        self.batch_size = batch_size
        self.workers = workers or min(4, os.cpu_count() or 1)
        self.kind = cast(Kind, card.task)
        # A class without positives or negatives in val has no threshold; the card holds null.
        known = {name: card.thresholds.get(name) for name in card.classes}
        self.thresholds = [math.nan if limit is None else limit for limit in known.values()]
        self.decided = {name: card.task == "multiclass" or limit is not None for name, limit in known.items()}
        self.preparation = Preparation.from_description(card.preparation)
        mine = self.preparation.fingerprint()
        if mine != card.fingerprint:
            raise ModelError(
                f"the model's card says that images were prepared as {card.fingerprint}, but this installation would prepare "
                f"them as {mine} (another version of Osler or of OpenCV, or an edited card). Predictions on differently prepared "
                "images are not those that were evaluated: install the versions in the run's env.json, or train again."
            )

    def predict(self, images: Iterable[Path | str | RawImage], names: Iterable[str] | None = None) -> Iterator[Prediction]:
        """Predictions in the order of the images, a batch at a time; an image that cannot be read gives one with an error.

        Args:
            images: files, or pixels already read.
            names: what to call them; None: the path, or "image N" counted from 1.
        """
        for batch in self._prepared_batches(images, names):
            yield from self._run(batch)

    def _prepared_batches(
        self, images: Iterable[Path | str | RawImage], names: Iterable[str] | None
    ) -> Iterator[list[_Prepared]]:
        """Batches in order; the next one is being prepared while the caller works on this one."""
        given = iter(names) if names is not None else None
        with ThreadPoolExecutor(self.workers) as pool:
            ready: list[Future[_Prepared]] = []
            coming: list[Future[_Prepared]] = []
            for number, image in enumerate(images, start=1):
                name = next(given) if given else f"image {number}" if isinstance(image, RawImage) else str(image)
                coming.append(pool.submit(self._prepare, name, image))
                if len(coming) == self.batch_size:
                    if ready:
                        yield [future.result() for future in ready]
                    ready, coming = coming, []
            for futures in (ready, coming):
                if futures:
                    yield [future.result() for future in futures]

    def _prepare(self, name: str, image: Path | str | RawImage) -> _Prepared:
        try:
            raw = image if isinstance(image, RawImage) else read_image(Path(image))
            return _Prepared(name, self.preparation.apply(raw), None, raw.notes)
        except DataError as error:
            return _Prepared(name, None, str(error), ())

    def _run(self, batch: Sequence[_Prepared]) -> Iterator[Prediction]:
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


def predict_files(predictor: Predictor, images: Sequence[Path], out: Path) -> Path:
    """Predicts files, and folders of them, into `OUT/predictions.csv`.

    Returns:
        The table's path, absolute. Images that could not be read stand in it with their error.

    Raises:
        RequestError: a path does not exist, or there is no image in what was given; nothing is written.
        DataError: none of the images could be read; nothing is written.
        RunError: the folder cannot be written to.
    """
    paths = _image_files(images)
    predictions = list(predictor.predict(paths))
    errors = [one.error for one in predictions if one.error is not None]
    if len(errors) == len(predictions):
        shown = "\n".join(f"  {error}" for error in errors[:5])
        raise DataError(f"none of {len(errors)} images could be read, so nothing was predicted:\n{shown}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out}: cannot be made: {error.strerror}. Choose another folder with --out DIR.") from error
    table = out.absolute() / "predictions.csv"
    write_predictions_csv(table, predictions, predictor.card)
    return table


def _image_files(images: Sequence[Path]) -> list[Path]:
    """Files as given, and the images of folders and their subfolders in the order of their names."""
    absent = [str(path) for path in images if not path.exists()]
    if absent:
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        raise RequestError(f"no such file or folder: {', '.join(absent[:5])}{more}")
    found: list[Path] = []
    for path in images:
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
        found += inside if path.is_dir() else [path]
    if not found:
        raise RequestError(f"no images in {', '.join(map(str, images))}: from a folder, {', '.join(IMAGE_SUFFIXES)} are taken.")
    return found


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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    total = failed = 0
    for one in predictions:
        total += 1
        failed += one.error is not None
        writer.writerow([one.name, *_cells(one, card, exclusive), one.error or "", "; ".join((RESEARCH_ONLY, *one.notes))])
    write_text(path, text.getvalue())
    write_json(path.with_suffix(".json"), {"schema": "osler.predictions/1", "images": total, "errors": failed, **_reading(card)})
    return failed


def _cells(one: Prediction, card: Card, exclusive: bool) -> list[str]:
    if one.error is not None:
        return [""] * (len(card.classes) + (1 if exclusive else len(card.classes)))
    probabilities = [f"{one.probabilities[name]:.7g}" for name in card.classes]
    if exclusive:
        return [*probabilities, *(name for name in card.classes if one.positive[name])]
    words = {None: "", False: "0", True: "1"}
    return [*probabilities, *(words[one.positive[name]] for name in card.classes)]


def _reading(card: Card) -> dict[str, Any]:
    return {
        "intended_use": card.intended_use,
        "task": card.task,
        "classes": card.classes,
        "thresholds": card.thresholds,
        "threshold_rule": card.threshold_rule,
        "architecture": card.architecture,
        "fingerprint": card.fingerprint,
        "trained_on": card.data,
    }
