"""Evaluation of a classifier or a segmenter: figures with intervals, thresholds chosen on val, and a page with pictures."""

from __future__ import annotations

from osler.evaluate.command import evaluate_run
from osler.evaluate.figures import Evaluation, SplitFigures, evaluate
from osler.evaluate.masks import MaskEvaluation, evaluate_masks

__all__ = ["Evaluation", "MaskEvaluation", "SplitFigures", "evaluate", "evaluate_masks", "evaluate_run"]
