"""Prediction: the only inference path, from image files to decisions and masks. Numpy over a session that is handed in.

The session runs the network (a checkpoint, an exported model); the card says how images are prepared and how to read what the
network says. Training, service and the command line all come through here, so that an image gets one answer. No torch.
"""

from __future__ import annotations

from osler.predict.classify import Prediction, Predictor, Session, probabilities_of, write_predictions_csv
from osler.predict.files import predict_files
from osler.predict.masks import MaskPrediction, SegmentationPredictor
from osler.predict.tiles import logit_maps, tiled

__all__ = [
    "MaskPrediction",
    "Prediction",
    "Predictor",
    "SegmentationPredictor",
    "Session",
    "logit_maps",
    "predict_files",
    "probabilities_of",
    "tiled",
    "write_predictions_csv",
]
