"""What is measured: an accuracy that only knows the majority, thresholds that do not fit."""

from __future__ import annotations

import math

import numpy as np

from osler.doctor.case import Case
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.findings import Evidence, Lacking, Signs, figure
from osler.doctor.prescribe import set_fact

__all__ = ["MEASURES"]


def accuracy_is_majority(case: Case) -> Signs | Lacking | None:
    """An accuracy that is the share of the more frequent label, or less."""
    labels = case.labels("val")
    if labels is None or not math.isfinite(labels.single) or not case.chart.has("val.accuracy"):
        return Lacking("a binary run with val.accuracy and the prevalence of val")
    epochs, values = case.chart.points("val.accuracy")
    majority = max(labels.single, 1 - labels.single)
    error = math.sqrt(majority * (1 - majority) / labels.n) if labels.n > 0 else 0.0
    if majority < 0.6 or values.max() > majority + max(1.96 * error, 1e-3) or case.above_chance("val") or len(values) < 2:
        return None
    row = int(np.argmax(values))
    text = (
        f"Validation accuracy is {figure(float(values.max()))} at best; always calling the more frequent label gives "
        f"{figure(majority)}."
    )
    evidence = (
        Evidence(
            "val.accuracy", float(values[row]), float(epochs[row]), expected=majority, basis="the more frequent label for all"
        ),
    )
    return Signs(
        text,
        evidence,
        "note",
        0.9,
        set_fact(case, "training.monitor", "macro_ap", "accuracy is blind where one label is rare; average precision is not"),
        epochs=(float(epochs[row]),),
    )


def threshold_mismatch(case: Case) -> Signs | Lacking | None:
    """The scores rank, and the calls at the threshold are worth less than calling everything positive."""
    epochs, f1 = case.chart.points("val.f1")
    if not len(f1) or not case.chart.has("val.auc"):
        return Lacking("val.f1 at the threshold in use, and val.auc")
    if not case.above_chance("val"):
        return None
    last, labels = float(f1[-1]), case.labels("val")
    floor = float(np.mean(2 * labels.share / (1 + labels.share))) if labels is not None else math.nan
    best = _last_best_f1(case)
    least = 0.5 * best if math.isfinite(best) else floor if math.isfinite(floor) else 0.02
    if last >= least or len(f1) < 2:
        return None
    auc_epochs, auc = case.chart.points("val.auc")
    against = best if math.isfinite(best) else floor
    basis = "the best threshold's on the same samples" if math.isfinite(best) else "calling every sample positive"
    evidence = (
        Evidence("val.f1", last, float(epochs[-1]), expected=against if math.isfinite(against) else None, basis=basis),
        Evidence("val.auc", float(auc[-1]), float(auc_epochs[-1]), *_auc_ends(case, auc[-1]), 0.5, "ranking"),
    )
    text = f"The scores rank (AUC {figure(float(auc[-1]))}), and F1 at the threshold in use is {figure(last)}"
    text += f", where {basis} gives {figure(against)}" if math.isfinite(against) else ""
    text += ": the threshold does not fit the scores; the ranking is not at fault."
    chosen = case.chart.reader == "osler" or str(case.facts.get("evaluation.threshold")) in ("f1", "youden")
    changes = set_fact(
        case, "evaluation.threshold", "f1", "choose each class's threshold on the validation samples; no new training is needed"
    )
    return Signs(text, evidence, "note" if chosen else "warning", 0.85, changes, (), (float(epochs[-1]),))


def _last_best_f1(case: Case) -> float:
    whole = case.chart.points("val.best_f1")[1]
    if len(whole):
        return float(whole[-1])
    parts = case.chart.by_class("val.best_f1")
    last = parts[-1][np.isfinite(parts[-1])] if parts.size else np.empty(0)
    return float(last.mean()) if len(last) else math.nan


def _auc_ends(case: Case, value: float) -> tuple[float, float]:
    error = case.null_error("val")
    return (float(value) - 1.96 * error, float(value) + 1.96 * error) if math.isfinite(error) else (math.nan, math.nan)


MEASURES: dict[str, Fault] = {
    "threshold_mismatch": Fault(
        id="threshold_mismatch",
        scope="classification",
        name="The threshold does not fit the scores",
        family="measures",
        level="syndrome",
        means="The scores rank the samples, and the calls at a fixed threshold are worse than calling everything positive.",
        needs="val.auc, and val.f1 at the threshold in use; better with val.best_f1 or the prevalence",
        signature=threshold_mismatch,
        severity="warning; a note where thresholds are chosen on validation afterwards",
        dose="evaluation.threshold: f1 (or youden), chosen on validation, never on test",
        explains=("single_class_prediction",),
        lookalikes=(
            Lookalike("focal_alpha_low", "loss.alpha under 0.5 with rare positives pushes all probabilities down"),
            Lookalike("not_learning", "the AUC: at chance there is nothing to cut"),
        ),
        harmful=("another loss or architecture for a ranking that is sound", "a threshold tuned on the test set"),
        source="the all-positive F1, 2π/(1+π), is the least a threshold must give",
    ),
    "accuracy_is_majority": Fault(
        id="accuracy_is_majority",
        scope="classification",
        name="Accuracy is the majority's",
        family="measures",
        level="symptom",
        means="The accuracy is what calling the more frequent label for everybody gives.",
        needs="a binary run with val.accuracy and the prevalence of val",
        signature=accuracy_is_majority,
        severity="note",
        dose="training.monitor: macro_ap",
        lookalikes=(Lookalike("a good ranking with a poor threshold", "the AUC"),),
        harmful=("reporting it",),
        source="Metrics Reloaded (2024): accuracy is blind at high imbalance",
    ),
}
