"""What a run leaves behind: predictions of the best weights, thresholds, and the card."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.config import Config
from osler.data.cache import PackedCache
from osler.data.load import Data
from osler.metrics.decision import choose_thresholds
from osler.runs.card import Card
from osler.runs.folder import RunFolder
from osler.runs.predictions import Predictions
from osler.tasks.classification import Classification
from osler.train.inference import predictions_of
from osler.train.loop import evaluate
from osler.train.setup import Batches
from osler.train.state import TrainingState, load_checkpoint, model_weights

__all__ = ["finish"]


def finish(
    config: Config, data: Data, task: Classification, batches: Batches, state: TrainingState, cache: PackedCache, run: RunFolder
) -> None:
    """Predicts val and test with the best weights, chooses thresholds on val, and writes predictions and card.

    Test is predicted, and not looked at: no figure of it is computed here.
    """
    content = load_checkpoint(run.checkpoints / "best.pt", state.machine.device)
    task.model.load_state_dict(model_weights(content))
    state.average = None
    # As every later prediction: thresholds chosen in half precision would not fit what a service computes.
    state.machine = replace(state.machine, precision="fp32")
    predictions = {}
    for split, split_batches in (("val", batches.val), ("test", batches.test)):
        if split_batches is not None:
            arrays = evaluate(task, split_batches, state).gathered()
            predictions[split] = _predictions(data, task, arrays)
    if not state.machine.ranks.first:
        return
    for split, predicted in predictions.items():
        predicted.save(run.predictions / f"{split}.npz")
    card = _card(config, data, task, cache, predictions["val"], int(content["epoch"]))
    run.write(run.card_file, card.to_json())
    facts = run.read(run.facts_file)
    run.write(run.facts_file, {**facts, "stop_reason": state.progress.stop_reason, "best_epoch": int(content["epoch"])})


def _predictions(data: Data, task: Classification, arrays: dict[str, NDArray[Any]]) -> Predictions:
    order = np.argsort(arrays["rows"], kind="stable")
    return predictions_of(data.source, arrays["rows"][order], arrays["logits"][order])


def _card(config: Config, data: Data, task: Classification, cache: PackedCache, val: Predictions, epoch: int) -> Card:
    rule = config.evaluation.threshold
    thresholds: dict[str, float | None] = {}
    if task.kind != "multiclass":
        thresholds.update(zip(task.classes, choose_thresholds(rule, val.targets, val.probabilities).tolist(), strict=True))
    if isinstance(rule, str):
        said = f"{rule}, chosen on val"
    elif isinstance(rule, (int, float)):
        said = f"{rule}, as configured"
    else:
        said = f"sensitivity {rule.sensitivity}, reached on val"
    return Card(
        task=task.kind,
        classes=task.classes,
        negative=data.source.negative,
        architecture=config.model.architecture,
        preparation=cache.preparation.describe(),
        fingerprint=cache.preparation.fingerprint(),
        thresholds=thresholds,
        threshold_rule="most probable class" if task.kind == "multiclass" else said,
        weights="raw" if config.training.ema is None else "ema",
        best_epoch=epoch,
        data={
            "source": config.data.source,
            "samples": {split: len(rows) for split, rows in data.rows.items()},
            "synthetic": config.data.source == "phantom",
            "fingerprint": data.fingerprint(),
        },
    )
