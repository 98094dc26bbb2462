"""The doctor's watch: a finding once, again only if it worsens, and a stop where that is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from osler.config import Config
from osler.runs.folder import RunFolder
from osler.train.fit import TrainingStoppedError, train_run
from osler.train.state import TrainingState
from osler.train.watch import DoctorWatch
from osler.train.watchers import Console

NO_STATE = cast(TrainingState, None)


def stuck(epoch: int) -> dict[str, Any]:
    """An epoch of a run that predicts one class: all positive in odd epochs, none in even ones; 1,000 validation samples."""
    everyone = epoch % 2 == 1
    table = [[0, 900], [0, 100]] if everyone else [[900, 0], [100, 0]]
    figures = {
        "n": 1000,
        "positives": 100,
        "prevalence": 0.1,
        "confusion": table,
        "positive_rate": 1.0 if everyone else 0.0,
        "auc": 0.5,
        "recall": 1.0 if everyone else 0.0,
        "precision": 0.1 if everyone else None,
        "f1": 2 * 0.1 / 1.1 if everyone else 0.0,
    }
    split = {
        "n": 1000,
        "loss": {"value": 0.3251, "se": 0.01, "n": 1000},
        "floor": 0.3251,
        "skill": 0.0,
        "accuracy": 0.1 if everyone else 0.9,
        "macro": {"auc": 0.5, "f1": figures["f1"], "classes_scored": 1},
        "classes": {"sick": figures},
    }
    rates = {"start": 1e-3, "end": 1e-3}
    return {"epoch": epoch, "phase": {"index": 0, "train": "all"}, "learning_rate": rates, "train": split, "val": split}


@pytest.fixture
def run(tmp_path: Path, tiny: Callable[..., Config]) -> RunFolder:
    run = RunFolder.create(tiny(), tmp_path / "run")
    facts = {"task": "binary", "classes": ["sick"], "loss.type": "bce", "samples.val": 1000, "prevalence.val": {"sick": 0.1}}
    run.write(run.facts_file, {**facts, "training.epochs": 20, "training.learning_rate": 1e-3})
    return run


def watch(run: RunFolder, epochs: range, on_critical: Any, before: int = 0) -> tuple[DoctorWatch, list[str]]:
    console = Console(run.logs / "train.log")
    doctor = DoctorWatch(run, [stuck(epoch) for epoch in range(1, before + 1)], on_critical, console)
    for epoch in epochs:
        doctor.epoch_done(NO_STATE, stuck(epoch), {})
    console.close()
    return doctor, [line for line in (run.logs / "train.log").read_text().splitlines() if "finding after epoch" in line]


def test_a_run_that_does_not_learn_is_said_once(run: RunFolder) -> None:
    doctor, lines = watch(run, range(1, 9), "warn")
    assert lines
    names = [line.split("finding after epoch")[1].split(":")[1] for line in lines]
    severities = [line.split("warning: ")[1].split(" ")[0] for line in lines]
    assert len(set(zip(names, severities, strict=True))) == len(lines)
    assert not doctor.wants_stop
    written = json.loads((run.path / "findings.json").read_text())
    assert written["schema"] == "osler.diagnosis/1"
    assert written["runs"][0]["verdict"] == "findings"


def test_a_resumed_run_does_not_say_it_again(run: RunFolder) -> None:
    _, first = watch(run, range(1, 9), "warn")
    _, again = watch(run, range(9, 10), "warn", before=8)
    assert again == first


def test_a_critical_finding_stops_where_that_is_asked_for(run: RunFolder) -> None:
    doctor, lines = watch(run, range(1, 9), "stop")
    assert any("critical" in line for line in lines)
    assert doctor.wants_stop
    assert doctor.reason


def test_the_doctor_stops_a_run_with_exit_code_1(tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    true_init = DoctorWatch.__init__

    def already_sure(self: DoctorWatch, *arguments: Any) -> None:
        true_init(self, *arguments)
        self.wants_stop, self.reason = True, "it does not learn"

    monkeypatch.setattr(DoctorWatch, "__init__", already_sure)
    with pytest.raises(TrainingStoppedError, match="stopped by the doctor") as stopped:
        train_run(tiny(training={"epochs": 3}, doctor={"on_critical": "stop"}))
    assert stopped.value.exit_code == 1
    assert (stopped.value.run.checkpoints / "last.pt").exists()
