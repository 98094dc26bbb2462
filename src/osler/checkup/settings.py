"""Settings: the doctor's own rules on what is known before the first step: weights, sampler, schedule, splits, phases."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from osler.checkup.check import Check, failed, passed
from osler.checkup.patient import Patient
from osler.doctor.chart import Chart
from osler.doctor.diagnose import diagnose
from osler.doctor.faults import FAULTS

__all__ = ["check_settings"]


def check_settings(patient: Patient) -> Sequence[Check]:
    """Every fault of the doctor that facts alone betray; the loaders' own counts stand against what is declared."""
    columns = {"learning_rate": [max(stage.rate for stage in patient.stages)], **_counted(patient)}
    diagnosis = diagnose(Chart.of(columns, patient.facts, source="checkup"))
    found = [
        failed(
            each.id,
            each.signs.severity,
            each.signs.summary,
            FAULTS[each.id].means,
            each.signs.changes,
            each.signs.actions,
        )
        for finding in diagnosis.findings
        for each in (finding, *finding.symptoms)
    ]
    if found:
        return found
    return [
        passed(
            "settings",
            f"{len(diagnosis.checked)} rules on weights, sampler, schedule, phases and splits find nothing.",
            rules=len(diagnosis.checked),
        )
    ]


def _counted(patient: Patient) -> dict[str, list[float]]:
    """The prevalence that the loaders really give, one class; several have none that could be declared as one number."""
    if patient.answers.of_masks or not patient.val:
        return {}
    labels = np.concatenate([patient.answers.labels(fed.targets) for fed in patient.val])
    if labels.shape[1] != 1 or np.isnan(labels).all():
        return {}
    share = float(np.nanmean(labels))
    return {"val.prevalence": [share], "val.n": [float(len(labels))]} if math.isfinite(share) else {}
