"""The worker: jobs, what becomes of them, and a treatment that is killed and goes on."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from osler.config import Config, config_to_yaml
from osler.runs.folder import RunFolder
from osler.runs.predictions import Predictions
from osler.treat.runner import Worker
from osler.treat.worker import do_job, serve

Tiny = Callable[..., Config]


def job_of(folder: Path, config: Config) -> dict[str, str]:
    asked = folder / "arm.yaml"
    asked.write_text(config_to_yaml(config))
    return {"do": "train", "config": str(asked), "folder": str(folder / "arm")}


def test_a_job_trains_an_ordinary_run_and_predicts_the_test_set(tiny: Tiny, tmp_path: Path) -> None:
    whole = tiny()
    job = job_of(tmp_path, tiny(data={"trial": {}}))
    (tmp_path / "arm").mkdir()  # killed before its configuration was written
    (tmp_path / "arm" / "logs").mkdir()
    assert do_job(job) == {"status": "done", "reason": ""}
    arm = RunFolder.open(tmp_path / "arm")
    proving = Predictions.load(arm.predictions / "test.npz")
    assert do_job(job)["status"] == "done"  # again: nothing is left to do
    original, out = tmp_path / "whole.yaml", tmp_path / "test.npz"
    original.write_text(config_to_yaml(whole))
    test = {"do": "test", "folder": job["folder"], "data": str(original), "out": str(out)}
    assert do_job(test)["status"] == "done"
    held = Predictions.load(out)
    assert len(held) > 0
    assert not {*held.ids.tolist()} & {*proving.ids.tolist()}


def test_a_loss_that_is_not_finite_ends_an_arm_with_its_best_weights(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from osler.train import loop

    true_step, steps = loop._step, 0

    def diverging(state: Any, measure: bool) -> None:
        nonlocal steps
        steps += 1
        if steps > 8:
            raise loop.NonFiniteLossError("the loss is nan")
        true_step(state, measure)

    monkeypatch.setattr(loop, "_step", diverging)
    job = job_of(tmp_path, tiny(data={"trial": {}}, training={"epochs": 3}))
    answer = do_job(job)
    assert answer["status"] == "diverged"
    assert "the loss is nan" in answer["reason"]
    arm = RunFolder.open(tmp_path / "arm")
    assert len(Predictions.load(arm.predictions / "test.npz")) > 0
    assert arm.read(arm.facts_file)["stop_reason"] == "stopped: the loss was not finite"


def test_what_fails_is_said(tiny: Tiny, tmp_path: Path) -> None:
    answer = do_job(job_of(tmp_path, tiny(training={"warmup_epochs": 50.0})))
    assert answer["status"] == "failed"
    assert "warm-up" in answer["reason"]
    assert do_job({"do": "train", "config": str(tmp_path / "none.yaml"), "folder": str(tmp_path / "x")})["status"] == "failed"


def test_jobs_come_as_lines_and_answers_go_as_lines(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    answers = io.StringIO()
    lines = [{"stop": True}, {"do": "train", "config": str(tmp_path / "none.yaml"), "folder": str(tmp_path / "x")}]
    try:
        serve(io.StringIO("".join(json.dumps(line) + "\n" for line in lines)), answers)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert json.loads(answers.getvalue())["status"] == "failed"


@pytest.mark.long
def test_a_worker_that_is_killed_or_stopped_says_so_and_the_next_job_is_done(tiny: Tiny, tmp_path: Path) -> None:
    worker = Worker(tmp_path / "worker.log")
    config = tiny(data={"trial": {}}, training={"epochs": 60, "early_stopping": None})
    job, vitals = job_of(tmp_path, config), tmp_path / "arm" / "vitals.jsonl"

    def kill() -> bool:
        if vitals.exists() and worker._process is not None:
            worker._process.send_signal(signal.SIGKILL)
        return False

    try:
        answer = worker.run(job, kill)
        assert answer["status"] == "killed"
        assert "signal 9" in answer["reason"]
        epochs = vitals.read_text().count("\n")
        answer = worker.run(job, lambda: vitals.read_text().count("\n") > epochs)
        assert answer["status"] == "stopped"
        assert "SIGTERM" in answer["reason"]
        missing = {"do": "train", "config": str(tmp_path / "none.yaml"), "folder": str(tmp_path / "x")}
        assert worker.run(missing, lambda: False)["status"] == "failed"
    finally:
        worker.close()
    assert worker._process is None


@pytest.mark.long
def test_a_treatment_killed_at_any_time_goes_on(sick: RunFolder) -> None:
    arguments = [sys.executable, "-c", "from osler.cli import main; main()", "treat", str(sick.path)]
    arguments += ["--yes", "--json", "--seeds", "1", "--attempts", "1"]
    arms = sick.path / "treatment" / "arms"
    for name in ("rerun-seed1", "treated-1-seed1"):
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        vitals = arms / name / "vitals.jsonl"
        while process.poll() is None and not vitals.exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert [arm["status"] for arm in value["arms"]] == ["done", "done"]
    assert value["attempts"][0]["proof"] is not None
    assert value["test"]["read"] is True


@pytest.mark.long
def test_the_end_of_stdin_stops_a_job(tiny: Tiny, tmp_path: Path) -> None:
    """As when the treatment is killed: the worker must not go on alone."""
    config = tiny(data={"trial": {}}, training={"epochs": 200, "early_stopping": None})
    worker = Worker(tmp_path / "worker.log")
    threading.Thread(target=worker.run, args=(job_of(tmp_path, config), lambda: False), daemon=True).start()
    vitals = tmp_path / "arm" / "vitals.jsonl"
    while not vitals.exists():
        time.sleep(0.05)
    process = worker._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(120) == 0
    assert vitals.read_text().count("\n") < 200
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
