"""The curves of an evaluation, ready to be drawn: ROC, precision and recall, reliability, rates by threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.evaluate.figures import Evaluation
from osler.evaluate.wording import Entry, figure_text, number
from osler.metrics.calibration import reliability_curve
from osler.metrics.intervals import patients_of, rate_interval
from osler.metrics.ranking import PrCurve, pr_curve, roc_curve
from osler.report.pictures import Bins, Curve, Mark, ThresholdCurves

__all__ = ["pr_curves", "rates_at", "reliability_curves", "roc_curves", "threshold_curves"]

STEPS = 50
HISTOGRAM_BINS = 20
MOST_BINS = 10


def roc_curves(evaluation: Evaluation, split: str, order: list[str]) -> list[Curve]:
    """Sensitivity against 1 − specificity of these classes."""
    found = []
    for name in order:
        entry, targets, probabilities = _class(evaluation, split, name)
        curve = roc_curve(targets, probabilities)
        detail = _detail("AUC", entry["auc"])
        mark = _mark(evaluation, name, _flipped(entry["specificity"]), entry["sensitivity"], single=len(order) == 1)
        found.append(Curve(name, curve.false_positive_rate, curve.true_positive_rate, detail, mark))
    return found


def pr_curves(evaluation: Evaluation, split: str, order: list[str]) -> list[Curve]:
    """Precision against recall of these classes; the floor is the prevalence."""
    found = []
    for name in order:
        entry, targets, probabilities = _class(evaluation, split, name)
        recall, precision = _steps(pr_curve(targets, probabilities))
        detail = _detail("AP", entry["ap"])
        mark = _mark(evaluation, name, entry["sensitivity"], entry["precision"], single=len(order) == 1)
        known = int(np.isfinite(targets).sum())
        floor = entry["positives"] / known if known else None
        found.append(Curve(name, recall, precision, detail, mark, floor))
    return found


def reliability_curves(evaluation: Evaluation, split: str, order: list[str]) -> list[Bins]:
    """Observed share against predicted probability of these classes."""
    found = []
    for name in order:
        entry, targets, probabilities = _class(evaluation, split, name)
        known = probabilities[~np.isnan(targets)]
        # Bins of fewer than a few positives would show noise alone.
        rarer = min(entry["positives"], len(known) - entry["positives"])
        curve = reliability_curve(targets, probabilities, int(np.clip(rarer // 3, 2, MOST_BINS)), evaluation.config.level)
        histogram = np.histogram(known, HISTOGRAM_BINS, (0.0, 1.0))[0].astype(np.float64)
        detail = _detail("ECE", entry["ece"])
        found.append(Bins(name, curve.predicted, curve.observed, curve.low, curve.high, histogram, detail))
    return found


def threshold_curves(evaluation: Evaluation, split: str, order: list[str]) -> list[ThresholdCurves]:
    """Sensitivity and specificity of these classes at thresholds from 0 to 1, with their intervals."""
    thresholds = np.linspace(0.0, 1.0, STEPS + 1)
    found = []
    for name in order:
        rows = [rates_at(evaluation, split, name, float(threshold)) for threshold in thresholds]
        values = {
            rate: np.array([[row[rate][part] for row in rows] for part in ("value", "low", "high")], dtype=np.float64)
            for rate in ("sensitivity", "specificity")
        }
        chosen = evaluation.thresholds.get(name)
        found.append(
            ThresholdCurves(
                name,
                thresholds,
                values["sensitivity"][0],
                values["specificity"][0],
                values["sensitivity"][1:],
                values["specificity"][1:],
                None if chosen is None or np.isnan(chosen) else chosen,
                "no threshold" if chosen is None or np.isnan(chosen) else f"threshold {number(chosen)}",
            )
        )
    return found


def rates_at(evaluation: Evaluation, split: str, name: str, threshold: float) -> dict[str, Entry]:
    """Sensitivity, specificity, precision, NPV and the share called, if this threshold were used; entries as in the JSON."""
    _, targets, probabilities = _class(evaluation, split, name)
    patients = evaluation.splits[split].predictions.patients
    known = ~np.isnan(targets)
    codes = patients_of(None if patients is None else patients[known])
    positive = targets[known] == 1
    called = probabilities[known] >= np.asarray(threshold, dtype=probabilities.dtype)
    parts = {
        "sensitivity": (called, positive),
        "specificity": (~called, ~positive),
        "precision": (positive, called),
        "npv": (~positive, ~called),
        "called": (called, np.ones(len(called), dtype=bool)),
    }
    level = evaluation.config.level
    return {rate: rate_interval(success, among, codes, level).to_json() for rate, (success, among) in parts.items()}


def _class(evaluation: Evaluation, split: str, name: str) -> tuple[Entry, Any, Any]:
    """Its figures, (N,) targets and (N,) probabilities."""
    found = evaluation.splits[split]
    column = evaluation.card.classes.index(name)
    targets = found.predictions.targets
    if evaluation.card.task == "multiclass":  # a sample with any unknown is unknown, as in `summarise`
        targets = np.where(np.isnan(targets).any(axis=1, keepdims=True), np.nan, targets)
    return found.figures["classes"][name], targets[:, column], found.predictions.probabilities[:, column]


def _steps(curve: PrCurve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The curve as steps whose area is the AP: each gain in recall at the precision where it is reached."""
    gains = np.flatnonzero(np.diff(curve.recall, prepend=0.0) > 0)
    recall, precision = curve.recall[gains], curve.precision[gains]
    return np.repeat(np.concatenate([[0.0], recall]), 2)[1:-1], np.repeat(precision, 2)


def _detail(metric: str, entry: Entry) -> str:
    if entry["value"] is None:
        return f"not scored: {entry.get('reason', 'undefined')}"
    return f"{metric} {figure_text(entry, 2)}"


def _flipped(entry: Entry) -> Entry:
    """The entry of 1 − rate."""
    if entry["value"] is None:
        return entry
    return {"value": 1 - entry["value"], "low": 1 - entry["high"], "high": 1 - entry["low"]}


def _mark(evaluation: Evaluation, name: str, x: Entry, y: Entry, *, single: bool) -> Mark | None:
    if x["value"] is None or y["value"] is None:
        return None
    threshold = evaluation.thresholds.get(name)
    label = f"threshold {number(threshold)}" if single and threshold is not None else ""
    return Mark(x["value"], y["value"], (x["low"], x["high"]), (y["low"], y["high"]), label)
