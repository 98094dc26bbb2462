"""What a run leaves behind: predictions of the best weights, thresholds, and the card."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch.distributed as dist

from osler.config import Config
from osler.data.cache import PackedCache
from osler.data.load import Data
from osler.metrics.decision import choose_thresholds
from osler.metrics.overlap import HALF, probability_at
from osler.runs.card import Card
from osler.runs.folder import RunFolder
from osler.runs.mask_predictions import LevelMaps
from osler.tasks.segmentation import Segmentation
from osler.tasks.task import Task
from osler.train.inference import TorchSession, predictions_of
from osler.train.loop import evaluate
from osler.train.masks import choose_levels, measure_levels, write_levels
from osler.train.setup import Batches
from osler.train.state import TrainingState, load_checkpoint, model_weights

__all__ = ["finish"]


def finish(
    config: Config, data: Data, task: Task, batches: Batches, state: TrainingState, cache: PackedCache, run: RunFolder
) -> None:
    """Predicts val and test with the best weights, chooses thresholds on val, and writes predictions and card.

    Test is predicted, and not looked at: what is measured of its masks is written, and shown by `evaluate` alone.
    """
    content = load_checkpoint(run.checkpoints / "best.pt", state.machine.device)
    task.model.load_state_dict(model_weights(content))
    state.average = None
    # As every later prediction: thresholds chosen in half precision would not fit what a service computes.
    state.machine = replace(state.machine, precision="fp32")
    keep = keep_masks if isinstance(task, Segmentation) else keep_labels
    thresholds = keep(config, data, task, batches, state, cache, run)
    if thresholds is None:
        return
    card = _card(config, data, task, cache, thresholds, int(content["epoch"]))
    run.write(run.card_file, card.to_json())
    facts = run.read(run.facts_file)
    run.write(run.facts_file, {**facts, "stop_reason": state.progress.stop_reason, "best_epoch": int(content["epoch"])})


def keep_labels(
    config: Config, data: Data, task: Task, batches: Batches, state: TrainingState, cache: PackedCache, run: RunFolder
) -> dict[str, float | None] | None:
    """Writes the predictions of a classifier and gives each class its threshold; None on ranks after the first."""
    predictions = {}
    for split, split_batches in (("val", batches.val), ("test", batches.test)):
        if split_batches is not None:
            arrays = evaluate(task, split_batches, state).gathered()
            predictions[split] = predictions_of(data.source, arrays["rows"], arrays["logits"])
    if not state.machine.ranks.first:
        return None
    for split, predicted in predictions.items():
        predicted.save(run.predictions / f"{split}.npz")
    if task.kind == "multiclass":
        return {}
    val = predictions["val"]
    rule = config.evaluation.threshold
    assert rule != "auto", "the configuration is resolved before a run"
    return dict(zip(task.classes, choose_thresholds(rule, val.targets, val.probabilities).tolist(), strict=True))


def keep_masks(
    config: Config, data: Data, task: Task, batches: Batches, state: TrainingState, cache: PackedCache, run: RunFolder
) -> dict[str, float | None] | None:
    """Writes the masks of a segmenter and gives each class its threshold; None on ranks after the first."""
    place = state.machine.ranks
    session = TorchSession(task.model, state.machine.device)
    splits = [split for split in ("val", "test") if split in data.rows]
    for split in splits:
        numbers = np.arange(len(data.rows[split]))[place.rank :: place.world]
        write_levels(session, config, data, split, numbers, cache, LevelMaps(run.predictions / split))
    if dist.is_initialized():
        dist.barrier()
    if not place.first:
        return None
    chosen = choose_levels(config, data, cache, LevelMaps(run.predictions / "val"))
    levels = [HALF if level is None else level for level in chosen]  # a class that val lacks is called at 0.5
    for split in splits:
        measured = measure_levels(data, split, cache, LevelMaps(run.predictions / split), levels)
        measured.save(run.predictions / f"{split}.npz")
    return dict(zip(task.classes, (float(probability_at(level)) for level in levels), strict=True))


def _card(config: Config, data: Data, task: Task, cache: PackedCache, thresholds: dict[str, float | None], epoch: int) -> Card:
    masks = task.kind == "segmentation"
    return Card(
        task=task.kind,
        classes=task.classes,
        negative=data.source.negative,
        architecture=config.model.architecture,
        preparation=cache.preparation.describe(),
        fingerprint=cache.preparation.fingerprint(),
        thresholds=thresholds,
        threshold_rule="most probable class" if task.kind == "multiclass" else _rule(config, masks),
        weights="raw" if config.training.ema is None else "ema",
        best_epoch=epoch,
        data={
            "source": config.data.source,
            "samples": {split: len(rows) for split, rows in data.rows.items()},
            "synthetic": config.data.source == "phantom",
            "fingerprint": data.fingerprint(),
        },
        exclusive=data.source.exclusive if masks else False,
        prediction=config.prediction.model_dump() if masks else {},
    )


def _rule(config: Config, masks: bool) -> str:
    """How thresholds were chosen, in words."""
    rule = config.evaluation.threshold
    if isinstance(rule, str):
        of_masks = "largest Dice of val's pooled pixels; 0.5 for a class that val lacks"
        return of_masks if masks and rule == "f1" else f"{rule}, chosen on val"
    if isinstance(rule, (int, float)):
        return f"{rule}, as configured"
    return f"sensitivity {rule.sensitivity}, reached on val"
