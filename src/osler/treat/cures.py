"""Cures that need no training: a threshold, a calibration, samples that leaked, a figure that says more."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from osler.config import Config
from osler.data.load import Data, load_data
from osler.doctor.findings import Diagnosis, Finding
from osler.metrics.decision import choose_thresholds
from osler.metrics.intervals import FEWEST
from osler.metrics.paired import PairedDifference, paired_difference
from osler.metrics.ranking import average_precision
from osler.metrics.scaling import fit_scaling
from osler.runs.predictions import Predictions
from osler.treat.proof import Verdict
from osler.treat.scores import MEASURES, AnyPredictions, part, score

__all__ = ["Cure", "Halves", "cures_of", "halves_of"]

CALIBRATED = ("overconfidence", "pos_weight_too_large", "pos_weight_inverted", "double_correction", "weight_not_in_force")


@dataclass(frozen=True)
class Halves:
    """The run's own predictions of val, divided as the arms' are."""

    choose: AnyPredictions
    prove: AnyPredictions


@dataclass(frozen=True)
class Cure:
    """What was done without training, and what it did on the patients that prove.

    Attributes:
        finding: id of the fault.
        name: of the fault.
        done: what was done, in a sentence.
        label: the figure that shows it; "" where none does.
        before, after: the figure.
        difference: after less before; None where the two are of different samples, or there is one figure alone.
        settings: what was found: thresholds, slopes and shifts.
        level: of the difference's interval.
    """

    finding: str
    name: str
    done: str
    label: str
    before: float
    after: float
    difference: PairedDifference | None
    settings: dict[str, Any]

    @property
    def verdict(self) -> Verdict | None:
        """As of an attempt; None where nothing was compared."""
        one = self.difference
        if one is None:
            return None
        if not math.isfinite(one.value) or one.fewest < FEWEST:
            return "cannot be shown"
        return "helped" if one.low > 0 else "harmed" if one.high < 0 else "not shown"

    def to_json(self) -> dict[str, Any]:
        """As in `osler.treatment/1`."""
        found = {"finding": self.finding, "name": self.name, "done": self.done, "measure": self.label, "settings": self.settings}
        figures = {"before": self.before, "after": self.after, "verdict": self.verdict}
        difference = None if self.difference is None else self.difference.interval.to_json()
        return {**found, **figures, "difference": difference}


def halves_of(val: AnyPredictions, trial: Data) -> Halves | None:
    """The parts of val that choose and that prove; None where the predictions are of other samples."""
    places = {str(name): k for k, name in enumerate(val.ids)}
    parts = []
    for split in ("val", "test"):
        ids = trial.source.ids[trial.rows[split]]
        if not all(str(name) in places for name in ids):
            return None
        parts.append(part(val, np.array([places[str(name)] for name in ids], dtype=np.intp)))
    return Halves(*parts)


def cures_of(diagnosis: Diagnosis, config: Config, halves: Halves, level: float) -> list[Cure]:
    """Every cure without training that the findings ask for, measured on the patients that prove; none of masks.

    Args:
        diagnosis: of the run.
        config: of the run.
        halves: its predictions of val.
        level: of all intervals together; each is Bonferroni's.
    """
    if not isinstance(halves.choose, Predictions) or not isinstance(halves.prove, Predictions):
        return []
    labels = Labelled(halves.choose, halves.prove)
    findings = [one for finding in diagnosis.findings for one in (finding, *finding.symptoms)]
    wanted: list[tuple[Finding, Maker]] = []
    for finding in findings:
        keys = {change.key for change in finding.signs.changes}
        makers = [maker for asked, maker in MAKERS if asked(finding, keys)]
        wanted += [(finding, maker) for maker in makers if maker not in [known for _, known in wanted]]
    each = 1 - (1 - level) / max(1, len(wanted))
    made = [maker(finding, config, labels, each) for finding, maker in wanted]
    return [cure for cure in made if cure is not None]


@dataclass(frozen=True)
class Labelled:
    """The two parts of a classifier's predictions."""

    choose: Predictions
    prove: Predictions


Maker = Callable[[Finding, Config, Labelled, float], Cure | None]


def _threshold(finding: Finding, config: Config, halves: Labelled, level: float) -> Cure | None:
    """Thresholds chosen on the part that chooses, against 0.5."""
    if config.data.task == "multiclass":
        return None
    rule = next((change.after for change in finding.signs.changes if change.key == "evaluation.threshold"), "youden")
    rule = rule if rule in ("youden", "f1") else "youden"
    chosen = choose_thresholds(rule, halves.choose.targets, halves.choose.probabilities)
    classes = config.data.classes or ()
    names = classes[-len(chosen) :] if len(classes) >= len(chosen) else [str(k) for k in range(len(chosen))]
    thresholds: dict[str, float | None] = dict(zip(names, chosen.tolist(), strict=True))
    measure, task = ("f1" if rule == "f1" else "balanced_accuracy"), str(config.data.task)
    halfway = dict.fromkeys(thresholds, 0.5)
    before, after = (score(measure, halves.prove, task, limits) for limits in (halfway, thresholds))
    done = f"A threshold for each class by {rule}, chosen on {len(halves.choose):,} samples of val, instead of 0.5."
    label = MEASURES[measure].label
    difference = paired_difference([after], [before], level)
    return _cure(finding, done, label, before.value, after.value, difference, {"thresholds": thresholds})


def _calibration(finding: Finding, config: Config, halves: Labelled, level: float) -> Cure | None:
    """A line through the logits of each class, fitted on the part that chooses."""
    if config.data.task == "multiclass":
        return None
    lines = [fit_scaling(halves.choose.targets[:, k], halves.choose.logits[:, k]) for k in range(halves.choose.targets.shape[1])]
    if any(line is None for line in lines):
        return None
    mended = np.column_stack([line.probabilities(halves.prove.logits[:, k]) for k, line in enumerate(lines) if line is not None])
    task = str(config.data.task)
    before = score("brier_skill", halves.prove, task)
    after = score("brier_skill", replace(halves.prove, probabilities=mended.astype(np.float32)), task)
    done = f"Probabilities recalibrated by a line through the logits, fitted on {len(halves.choose):,} samples of val."
    settings = {"slope": [line.slope for line in lines if line], "shift": [line.shift for line in lines if line]}
    difference = paired_difference([after], [before], level)
    return _cure(finding, done, MEASURES["brier_skill"].label, before.value, after.value, difference, settings)


def _leakage(finding: Finding, config: Config, halves: Labelled, level: float) -> Cure | None:
    """The figure on samples whose patient is not in train, where some are."""
    data = load_data(config.data)
    patients = data.source.patients
    if patients is None:
        return None
    seen = {*patients[data.rows["train"]].tolist()}
    named = {str(name): str(patient) for name, patient in zip(data.source.ids, patients, strict=True)}
    fresh = np.array([named.get(str(name)) not in seen for name in halves.prove.ids])
    if fresh.all() or not fresh.any():
        return None
    task = str(config.data.task)
    before, after = score("auc", halves.prove, task), score("auc", part(halves.prove, np.flatnonzero(fresh)), task)
    done = f"{int((~fresh).sum()):,} of {len(fresh):,} samples left out, whose patients are in train: what is left is honest."
    return _cure(finding, done, "AUC", before.value, after.value, None, {"left_out": int((~fresh).sum())})


def _metric(finding: Finding, config: Config, halves: Labelled, level: float) -> Cure | None:
    """Average precision, beside the prevalence that a constant reaches."""
    targets, probabilities = halves.prove.targets, halves.prove.probabilities
    values = [average_precision(targets[:, k], probabilities[:, k]) for k in range(targets.shape[1])]
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return None
    done = "Measured by average precision, for which a constant prediction reaches the prevalence (the first figure)."
    floor = float(np.nanmean(targets))
    return _cure(finding, done, "average precision", floor, float(np.mean(known)), None, {})


def _cure(
    finding: Finding,
    done: str,
    label: str,
    before: float,
    after: float,
    difference: PairedDifference | None,
    settings: dict[str, Any],
) -> Cure:
    return Cure(finding.id, finding.name, done, label, before, after, difference, settings)


MAKERS: Sequence[tuple[Callable[[Finding, set[str]], bool], Maker]] = (
    (lambda finding, keys: "evaluation.threshold" in keys, _threshold),
    (lambda finding, keys: finding.id in CALIBRATED, _calibration),
    (lambda finding, keys: finding.id in ("leakage", "leakage_suspected") or "data.split.by_patient" in keys, _leakage),
    (lambda finding, keys: "training.monitor" in keys, _metric),
)
