"""Evaluation of a classifier: figures with intervals, thresholds chosen on val, subgroups, and a page with pictures."""

from __future__ import annotations

from osler.evaluate.command import evaluate_run
from osler.evaluate.figures import Evaluation, SplitFigures, evaluate

__all__ = ["Evaluation", "SplitFigures", "evaluate", "evaluate_run"]
