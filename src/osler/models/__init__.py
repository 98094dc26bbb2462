"""Networks: backbones by name, heads, weights, and the classifier that joins them."""

from __future__ import annotations

from osler.models.backbones import describe_models
from osler.models.classifier import Classifier, ModelSpec, build_model

__all__ = ["Classifier", "ModelSpec", "build_model", "describe_models"]
