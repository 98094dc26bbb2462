"""`osler evaluate`: reads a run's predictions, records the look, and writes figures and page into the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from osler.errors import RunError
from osler.evaluate.figures import Evaluation, evaluate
from osler.evaluate.images import ReadCases, read_cases
from osler.evaluate.mask_page import mask_page
from osler.evaluate.masks import MaskEvaluation, evaluate_masks
from osler.evaluate.page import evaluation_page
from osler.evaluate.splits import held_out
from osler.files import write_text
from osler.report.page import Page
from osler.runs.card import Card
from osler.runs.folder import RunFolder
from osler.runs.looks import log_look, read_looks
from osler.runs.mask_predictions import MaskPredictions
from osler.runs.predictions import Predictions

__all__ = ["PredictAgain", "evaluate_run", "page_of_evaluation"]

AnyPredictions = Predictions | MaskPredictions
PredictAgain = Callable[[RunFolder, str, Path | None], Mapping[str, Predictions] | Mapping[str, MaskPredictions]]
"""(run, checkpoint, data) to predictions of each split, for what the run does not hold; it may load torch."""


def evaluate_run(
    folder: Path | str,
    checkpoint: str = "best",
    data: Path | None = None,
    predict_again: PredictAgain | None = None,
    read: ReadCases | None = None,
) -> Evaluation | MaskEvaluation:
    """Evaluates a run and writes `evaluation.json`, `report.html` and `report.md` into it.

    Each look at held-out samples is recorded before any figure of theirs is computed.

    Args:
        folder: the run.
        checkpoint: "best", whose predictions the run holds, or "last".
        data: other data than the run's own, or None.
        predict_again: makes predictions that the run does not hold; None: with torch, from the run's checkpoint.
        read: images of cases for the overlays of a segmenter; None: from the run's data, where they are at hand.

    Raises:
        RunError: no run, one that did not finish, or a folder that cannot be written to.
    """
    run = RunFolder.open(folder)
    card = Card.from_json(run.read(run.card_file), str(run.card_file))
    config = run.config().evaluation
    kept = checkpoint == "best" and data is None
    masks = card.task == "segmentation"
    again = predict_again or _with_torch
    predictions: Mapping[str, AnyPredictions] = _kept(run, masks) if kept else again(run, checkpoint, data)
    command = f"evaluate --checkpoint {checkpoint}" + (f" --data {data}" if data is not None else "")
    looks = {}
    for split, predicted in predictions.items():
        if held_out(split):
            log_look(run, command=command, split=split, checkpoint=checkpoint, predictions=predicted.digest())
            looks[split] = len(read_looks(run, split))
    about: dict[str, Any] = {"checkpoint": checkpoint, "source": None if data is None else str(data), "looks": looks}
    found: Evaluation | MaskEvaluation
    if masks:
        found = evaluate_masks(run.path, card, config, cast(Mapping[str, MaskPredictions], predictions), **about)
    else:
        found = evaluate(run.path, card, config, cast(Mapping[str, Predictions], predictions), **about)
    page = page_of_evaluation(found, run, read or read_cases(run, data))
    run.write(run.evaluation_file, found.data())
    write_text(found.page, page.html())
    write_text(run.path / "report.md", page.markdown())
    return found


def page_of_evaluation(evaluation: Evaluation | MaskEvaluation, run: RunFolder, read: ReadCases) -> Page:
    """The page that shows it; nothing is looked at anew but the images of a few cases of a segmenter."""
    if isinstance(evaluation, MaskEvaluation):
        return mask_page(evaluation, run, read)
    return evaluation_page(evaluation, run)


def _with_torch(run: RunFolder, checkpoint: str, data: Path | None) -> Mapping[str, AnyPredictions]:
    # Imported only here: the figures of predictions that the run holds need no torch.
    from osler.train.inference import predict_again

    return predict_again(run, checkpoint, data)


def _kept(run: RunFolder, masks: bool) -> dict[str, AnyPredictions]:
    """What training predicted at its end, with the samples' metadata; val first."""
    files = sorted(run.predictions.glob("*.npz"), key=lambda path: (held_out(path.stem), path.stem))
    if not files:
        raise RunError(
            f"{run.predictions}: there are no predictions. Training writes them at its end; if the run was stopped, "
            f"`osler resume {run.path}` finishes it."
        )
    load = MaskPredictions.load if masks else Predictions.load
    predictions: dict[str, AnyPredictions] = {path.stem: load(path) for path in files}
    if not run.splits_file.is_file():
        return predictions
    import pandas as pd

    table = pd.read_csv(run.splits_file, dtype={"id": str, "patient": str}, low_memory=False)
    return {split: predicted.with_metadata(table) for split, predicted in predictions.items()}
