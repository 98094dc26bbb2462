"""A trained run put to use: its model as a session, a predictor for files, and predictions that the run does not hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from osler.config import Config
from osler.data.cache import PackedCache
from osler.data.elsewhere import load_elsewhere
from osler.data.load import Data
from osler.data.samples import Samples
from osler.errors import RequestError
from osler.imaging.depth import Fed
from osler.metrics.overlap import level_at
from osler.models.classifier import ModelSpec, build_model
from osler.models.network import Network
from osler.models.segmenters import SegmenterSpec, build_segmenter
from osler.predict import Predictor, SegmentationPredictor, probabilities_of
from osler.runs.card import Card
from osler.runs.folder import RunFolder
from osler.runs.mask_predictions import LevelMaps, MaskPredictions
from osler.runs.predictions import Predictions
from osler.train.machine import pick_device, ranks
from osler.train.masks import measure_levels, write_levels
from osler.train.resolve import load_same_data
from osler.train.setup import prepare_images
from osler.train.state import load_checkpoint, model_weights

__all__ = ["TorchSession", "load_predictor", "predict_again", "predictions_of"]

BATCH = 64


class TorchSession:
    """A model behind the `Session` protocol: images (B, C, H, W), 0 to 255, to float32 logits (B, K); of masks (B, K, H, W)."""

    def __init__(self, model: Network, device: torch.device) -> None:
        self.model = model.to(device).eval()
        self.device = device

    @torch.inference_mode()
    def run(self, images: Fed) -> NDArray[np.float32]:
        """Logits of prepared images."""
        assert images.dtype != np.uint16, "16 bits come by osler.imaging.depth.for_network, on the scale of 0 to 255"
        logits: NDArray[np.float32] = self.model(torch.from_numpy(images).to(self.device)).float().cpu().numpy()
        return logits


def load_predictor(folder: Path | str, checkpoint: str = "best", device: str = "auto") -> Predictor | SegmentationPredictor:
    """A run's model, ready for files.

    Args:
        folder: the run.
        checkpoint: "best" or "last".
        device: auto, cpu, cuda or cuda:N.

    Raises:
        RunError: no run, or one that did not finish.
    """
    run = RunFolder.open(folder)
    card = Card.from_json(run.read(run.card_file), str(run.card_file))
    kind = SegmentationPredictor if card.task == "segmentation" else Predictor
    return kind(_session(run, checkpoint, device, card.exclusive), card)


def _session(run: RunFolder, checkpoint: str, device: str, exclusive: bool) -> TorchSession:
    where = pick_device(device, ranks())
    content = load_checkpoint(run.checkpoints / f"{checkpoint}.pt", where)
    model = _network(run.config(), exclusive)
    model.load_state_dict(model_weights(content))
    return TorchSession(model, where)


def _network(config: Config, exclusive: bool) -> Network:
    """The run's network at random weights, which the checkpoint replaces."""
    size, channels, task = config.preparation.size, config.preparation.channels, config.data.task
    assert size != "auto", "a run's configuration is resolved"
    assert channels != "auto", "a run's configuration is resolved"
    assert task != "auto", "a run's configuration is resolved"
    random = config.model.model_copy(update={"pretrained": None})
    outputs = 1 if task == "binary" else len(config.data.classes or ())
    if task == "segmentation":
        return build_segmenter(random, SegmenterSpec(outputs, channels, size, exclusive))
    return build_model(random, ModelSpec(task, outputs, channels, size))


def predict_again(run: RunFolder, checkpoint: str, source: Path | None) -> dict[str, Predictions] | dict[str, MaskPredictions]:
    """Predictions that the run does not hold: of another checkpoint, or of other data.

    Args:
        run: a run that has a checkpoint.
        checkpoint: "best" or "last".
        source: a config (.yaml) whose data section is used; or data of the run's own kind at another path, all of which is
            one split named "data"; None: the run's own val and test.

    Raises:
        RequestError: no such checkpoint name.
        DataError: the classes of the other data are not the run's.
    """
    if checkpoint not in ("best", "last"):
        raise RequestError(f"--checkpoint {checkpoint!r}: a run has best and last.")
    config = run.config()
    data, cache = prepare_images(config, _data(run, config, source), None)
    session = _session(run, checkpoint, "auto", data.source.exclusive)
    if data.source.task == "segmentation":
        return _predict_masks(run, config, data, cache, session)
    return {split: _predict(data, split, cache, session) for split in data.rows}


def _predict_masks(
    run: RunFolder, config: Config, data: Data, cache: PackedCache, session: TorchSession
) -> dict[str, MaskPredictions]:
    """Masks at the run's own thresholds; their maps lie beside the run's, until they are predicted again."""
    card = Card.from_json(run.read(run.card_file), str(run.card_file))
    known = [card.thresholds.get(name) for name in card.classes]
    levels = [level_at(0.5 if limit is None else limit) for limit in known]
    predictions = {}
    for split, rows in data.rows.items():
        maps = LevelMaps(run.predictions / f"{split}-again")
        write_levels(session, config, data, split, np.arange(len(rows)), cache, maps)
        predictions[split] = measure_levels(data, split, cache, maps, levels)
    return predictions


def _data(run: RunFolder, config: Config, source: Path | None) -> Data:
    """The run's own val and test, or all samples of another source, with the run's classes."""
    if source is None:
        own = load_same_data(run, config)
        return replace(own, rows={split: rows for split, rows in own.rows.items() if split != "train"})
    samples = load_elsewhere(config, source)
    return Data(samples, {"data": np.arange(len(samples))}, "none", samples.notes)


def _predict(data: Data, split: str, cache: PackedCache, session: TorchSession) -> Predictions:
    rows = data.rows[split]
    parts = [session.run(cache.images(rows[start : start + BATCH])) for start in range(0, len(rows), BATCH)]
    return predictions_of(data.source, rows, np.concatenate(parts))


def predictions_of(samples: Samples, rows: NDArray[np.intp], logits: NDArray[np.float32]) -> Predictions:
    """Predictions of the source's rows from their logits (n, K), with what is known of the samples."""
    return Predictions(
        ids=samples.ids[rows],
        targets=samples.targets[rows],
        logits=logits,
        probabilities=probabilities_of(logits, samples.task),
        patients=None if samples.patients is None else samples.patients[rows],
        metadata=None if samples.metadata is None else samples.metadata.iloc[rows].reset_index(drop=True),
    )
