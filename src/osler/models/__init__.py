"""Networks: backbones by name, heads, weights, the classifier that joins them, and the segmenters."""

from __future__ import annotations

from osler.models.classifier import Classifier, ModelSpec, build_model
from osler.models.describe import describe_models
from osler.models.segmenters import Segmenter, SegmenterSpec, build_segmenter

__all__ = [
    "Classifier",
    "ModelSpec",
    "Segmenter",
    "SegmenterSpec",
    "build_model",
    "build_segmenter",
    "describe_models",
]
