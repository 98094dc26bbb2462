"""The test set, at the end: predictions of an arm on samples that no arm has seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from osler.config import load_config
from osler.data.load import load_data
from osler.errors import RunError
from osler.metrics.overlap import level_at
from osler.predict import Predictor
from osler.runs.card import Card
from osler.runs.folder import RunFolder
from osler.runs.mask_predictions import LevelMaps
from osler.train.inference import BATCH, load_predictor, predictions_of
from osler.train.masks import measure_levels, write_levels
from osler.train.setup import prepare_images

__all__ = ["predict_test"]


def predict_test(folder: Path, data_of: Path, out: Path) -> None:
    """Writes an arm's predictions of the test set that a configuration names.

    Args:
        folder: the arm.
        data_of: the configuration of the run that is treated.
        out: the .npz file.

    Raises:
        RunError: that configuration has no test set.
    """
    run = RunFolder.open(folder)
    config = run.config()
    data = load_data(load_config(data_of).data)
    if "test" not in data.rows:
        raise RunError(f"{data_of}: there is no test set.")
    data = replace(data, rows={"test": data.rows["test"]})
    data, cache = prepare_images(config, data, None)
    predictor, rows = load_predictor(folder), data.rows["test"]
    if isinstance(predictor, Predictor):
        parts = [predictor.session.run(cache.images(rows[start : start + BATCH])) for start in range(0, len(rows), BATCH)]
        predictions_of(data.source, rows, np.concatenate(parts)).save(out)
        return
    card = Card.from_json(run.read(run.card_file), str(run.card_file))
    levels = [level_at(0.5 if (limit := card.thresholds.get(name)) is None else limit) for name in card.classes]
    maps = LevelMaps(out.with_suffix(""))
    write_levels(predictor.session, config, data, "test", np.arange(len(rows)), cache, maps)
    measure_levels(data, "test", cache, maps, levels).save(out)
