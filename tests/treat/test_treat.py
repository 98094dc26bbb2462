"""A treatment from end to end: the plan, the verdicts, what goes wrong, and going on after any stop."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted

from osler.config import Config, load_config
from osler.doctor.findings import Diagnosis
from osler.errors import RequestError, RunError
from osler.runs.folder import RunFolder
from osler.runs.looks import read_looks
from osler.train.fit import train_run
from osler.treat import Treatment, command, course, treat_run
from osler.treat.command import ask
from osler.treat.course import Course
from osler.treat.patch import Edit, Patch

Script = Callable[[str], Any]
QUIET = {"say": lambda text: None}


def helps(name: str) -> float:
    return 3.0 if name.startswith("treated") else 0.0


def treat(monkeypatch: pytest.MonkeyPatch, run: RunFolder, script: Script, **options: Any) -> tuple[Treatment, Scripted]:
    runner = Scripted(script)
    monkeypatch.setattr(command, "Inline", lambda: runner)
    return treat_run(run.path, inline=True, seeds=1, **QUIET, **options), runner


def test_a_plan_trains_nothing(sick: RunFolder) -> None:
    found = treat_run(sick.path, confirm=lambda plan: False, inline=True, **QUIET)
    assert found.outcome == "planned"
    assert found.plan.patch is not None
    assert "training.learning_rate" in found.plan.patch.keys
    text = found.text()
    assert "- training.learning_rate: 1e-07" in text
    assert "PLAN, nothing trained" in text
    assert found.plan.proving.choose + found.plan.proving.prove == sick.read(sick.facts_file)["samples.val"]
    assert not found.folder.path.exists()


def test_without_a_terminal_and_without_yes_it_stays_a_plan(sick: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert treat_run(sick.path, confirm=ask(False), **QUIET).outcome == "planned"
    assert ask(True)(None) is True  # type: ignore[arg-type]


def test_a_cure_is_proved_and_written(sick: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    found, runner = treat(monkeypatch, sick, helps)
    assert found.outcome == "helped"
    assert runner.trained[:2] == ["rerun-seed1", "treated-1-seed1"]
    assert runner.closed == 1
    value = json.loads((found.folder.path / "treatment.json").read_text())
    assert value["schema"] == "osler.treatment/1"
    assert value["outcome"] == "helped"
    first = value["attempts"][0]["proof"]
    assert first["comparisons"][0]["difference"]["low"] > 0
    treated = load_config(found.folder.treated)
    assert treated.training.learning_rate > 1e-5
    assert treated.data.trial is None
    assert treated.training.seed == sick.config().training.seed
    head = found.folder.treated.read_text()
    assert head.startswith("# Treated from run.")
    assert "helped" in head
    page = found.folder.page.read_text()
    assert page.count("<svg") + page.count("data:image/svg") >= 2
    assert "Paired differences" in page
    assert "Helped" in (found.folder.path / "report.md").read_text()


def test_the_test_set_is_read_once_and_reported(sick: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = treat(monkeypatch, sick, helps)
    test = found.data()["test"]
    assert test["read"] is True
    assert test["comparison"]["treated"] > 0.9
    assert test["as_it_was"] < 0.8
    looks = len(read_looks(sick, "test"))
    assert looks == 2
    again, runner = treat(monkeypatch, sick, lambda name: AssertionError(name))
    assert again.data()["test"] == test
    assert runner.trained == []
    assert len(read_looks(sick, "test")) == looks


def test_arms_never_hold_the_test_set(sick: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = treat(monkeypatch, sick, helps)
    from osler.data.load import load_data

    held = {*load_data(sick.config().data).source.ids[load_data(sick.config().data).rows["test"]]}
    for config in found.folder.arms.glob("*.yaml"):
        data = load_data(load_config(config).data)
        used = {str(name) for rows in data.rows.values() for name in data.source.ids[rows]}
        assert not used & held


def test_what_helps_nothing_is_not_shown(sick: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = treat(monkeypatch, sick, lambda name: 0.0, attempts=2)
    assert found.outcome in ("not shown", "cannot be shown")
    assert found.winner is None
    assert not found.folder.treated.exists()
    assert found.data()["test"]["read"] is True


def test_what_harms_is_said(sick: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = treat(monkeypatch, sick, lambda name: 0.0 if name.startswith("treated") else 3.0, attempts=1)
    assert found.outcome == "harmed"
    assert "HARMED" in found.text()


def test_a_random_change_is_a_control_too(sick: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    found, runner = treat(monkeypatch, sick, helps, controls="full", attempts=1)
    assert "random-1-seed1" in runner.trained
    proof = found.proofs[0]
    assert proof is not None
    assert [one.control for one in proof.comparisons] == ["the re-run", "the random change"]
    beaten, _ = treat(
        monkeypatch, fresh(sick), lambda name: 0.0 if name.startswith("rerun") else 3.0, controls="full", attempts=1
    )
    assert beaten.outcome != "helped"


def fresh(run: RunFolder) -> RunFolder:
    shutil.rmtree(run.path / "treatment")
    return run


def test_several_seeds_are_paired(sick: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Scripted(helps)
    monkeypatch.setattr(command, "Inline", lambda: runner)
    found = treat_run(sick.path, inline=True, seeds=2, attempts=1, **QUIET)
    proof = found.proofs[0]
    assert proof is not None
    assert proof.comparisons[0].difference.seeds == 2
    assert runner.trained == ["rerun-seed1", "treated-1-seed1", "rerun-seed2", "treated-1-seed2"]


def test_an_arm_that_fails_is_a_stated_verdict_and_costs_no_other(sick: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(name: str) -> Any:
        return {"status": "killed", "reason": "its process ended by signal 9"} if name == "treated-1-seed1" else helps(name)

    found, runner = treat(monkeypatch, sick, script)
    assert found.proofs[0] is None
    assert "signal 9" in found.data()["attempts"][0]["ended"]
    assert runner.trained[0] == "rerun-seed1"
    assert "killed" in found.folder.page.read_text()


def test_a_diverged_control_counts_as_a_constant(sick: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(name: str) -> Any:
        return {"status": "diverged", "reason": "the loss is nan"} if name == "rerun-seed1" else helps(name)

    found, _ = treat(monkeypatch, sick, script)
    assert found.outcome == "helped"
    assert found.proofs[0] is not None
    assert found.proofs[0].comparisons[0].second == 0.5


def test_a_control_that_cannot_be_trained_is_an_error_and_is_tried_again(
    sick: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match="re-run could not be trained: out of memory"):
        treat(monkeypatch, sick, lambda name: {"status": "failed", "reason": "out of memory"})
    found, _ = treat(monkeypatch, sick, helps)
    assert found.outcome == "helped"


@pytest.mark.parametrize("at", ["rerun-seed1", "treated-1-seed1"])
def test_a_stop_at_any_arm_goes_on(sick: RunFolder, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    stopped = [at]

    def script(name: str) -> Any:
        return KeyboardInterrupt() if stopped and stopped[0] == name and stopped.pop() else helps(name)

    with pytest.raises(KeyboardInterrupt):
        treat(monkeypatch, sick, script)
    found, runner = treat(monkeypatch, sick, script)
    assert found.outcome == "helped"
    assert ("rerun-seed1" in runner.trained) == (at == "rerun-seed1")


@pytest.mark.parametrize("at", ["treated-1-seed1", "treated-2-seed1", "treated-3-seed1", ""])
def test_a_larger_dose_goes_on_after_a_stop_and_the_best_is_kept(
    sick: RunFolder, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    def larger(patch: Patch, config: Config, *_: Any) -> Patch:
        rate = config.training.learning_rate
        return replace(patch, edits=(Edit("training.learning_rate", rate, 2 * rate, "more"),))

    def strength(name: str) -> float:
        return {"rerun-seed1": 0.0, "treated-1-seed1": 2.0, "treated-2-seed1": 4.0, "treated-3-seed1": 3.0}[name]

    stopped = [at]

    def script(name: str) -> Any:
        return KeyboardInterrupt() if stopped and stopped[0] == name and stopped.pop() else strength(name)

    monkeypatch.setattr(course, "further_patch", larger)
    monkeypatch.setattr(course, "_diagnosis_of", lambda folder: Diagnosis("run", "osler", "healthy", ()))
    if at:
        with pytest.raises(KeyboardInterrupt):
            treat(monkeypatch, sick, script)
    found, _ = treat(monkeypatch, sick, script)
    assert [attempt.number for attempt in found.record.attempts] == [1, 2, 3]
    assert found.winner is not None
    assert found.winner.number == 2
    rates = [found.record.groups[f"treated-{number}"].config.training.learning_rate for number in (1, 2, 3)]
    assert rates[1:] == pytest.approx([2 * rates[0], 4 * rates[0]])


def test_what_gained_nothing_is_not_gone_on_with(sick: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def larger(patch: Patch, config: Config, *_: Any) -> Patch:
        rate = config.training.learning_rate
        return replace(patch, edits=(Edit("training.learning_rate", rate, 2 * rate, "more"),))

    monkeypatch.setattr(course, "further_patch", larger)
    monkeypatch.setattr(course, "_diagnosis_of", lambda folder: Diagnosis("run", "osler", "healthy", ()))
    strength = {"rerun-seed1": 0.0, "treated-1-seed1": 3.0, "treated-2-seed1": 2.0}
    found, _ = treat(monkeypatch, sick, strength.__getitem__)
    assert len(found.record.attempts) == 2
    assert found.winner is not None
    assert found.winner.number == 1


def test_the_minutes_end_a_treatment_and_more_go_on(sick: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(name: str) -> Any:
        return {"status": "stopped", "reason": "stopped by SIGTERM"} if name.startswith("treated") else helps(name)

    found, _ = treat(monkeypatch, sick, script, minutes=1e-9)
    assert found.record.why_ended.startswith("the budget ended")
    assert found.record.test is None
    assert "--minutes" in found.text()
    more, runner = treat(monkeypatch, sick, helps, minutes=30)
    assert more.outcome == "helped"
    assert "rerun-seed1" not in runner.trained


def test_the_next_prescription_comes_from_the_treated_run(sick: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = treat(monkeypatch, sick, lambda name: 0.3 if name.startswith("treated") else 0.0)
    attempts = found.record.attempts
    configs = [found.record.groups[one.group].config for one in attempts]
    assert len({config.model_dump_json() for config in configs}) == len(configs)
    assert attempts[0].onto == "rerun"


# --- bad input --------------------------------------------------------------------------------------------------------------


def test_a_log_of_another_framework(tmp_path: Path) -> None:
    log = tmp_path / "history.csv"
    log.write_text("epoch,loss\n1,0.5\n")
    with pytest.raises(RunError, match="is a log, not a run folder"):
        treat_run(log)
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match=r"no config\.yaml"):
        treat_run(tmp_path / "folder")


def test_a_configuration_or_vitals_of_another_version(sick: RunFolder) -> None:
    text = sick.config_file.read_text()
    sick.config_file.write_text(text + "\nfrom_the_future: {a: 1}\n")
    with pytest.raises(RunError, match="cannot be used by this version"):
        treat_run(sick.path)
    sick.config_file.write_text(text)
    sick.vitals_file.write_text(sick.vitals_file.read_text().replace("osler.vitals/1", "osler.vitals/9"))
    with pytest.raises(RunError, match=r"osler\.vitals/9"):
        treat_run(sick.path)


def test_data_that_moved(sick: RunFolder) -> None:
    sick.config_file.write_text(sick.config_file.read_text().replace("samples: 360", "samples: 350"))
    with pytest.raises(RunError, match="data changed"):
        treat_run(sick.path)


def test_a_run_without_vitals_or_without_predictions(sick: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(sick.predictions)
    found, _ = treat(monkeypatch, sick, helps)
    assert found.outcome == "helped"
    assert any("no predictions" in note for note in found.plan.notes)
    sick.vitals_file.unlink()
    with pytest.raises(RunError, match=r"vitals\.jsonl"):
        treat_run(sick.path)


def test_a_run_that_trained_on_is_not_treated_by_its_old_findings(sick: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    treat(monkeypatch, sick, helps)
    lines = sick.vitals_file.read_text().splitlines()
    sick.vitals_file.write_text("\n".join([*lines, lines[-1].replace('"epoch": 3', '"epoch": 4')]) + "\n")
    with pytest.raises(RunError, match="before it trained on"):
        treat(monkeypatch, sick, helps)


def test_a_damaged_state_says_what_to_do(sick: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = treat(monkeypatch, sick, helps)
    found.folder.state.write_text('{"schema": "osler.treatment-state/1"}')
    with pytest.raises(RunError, match=r"is damaged.*Remove"):
        treat(monkeypatch, sick, helps)
    found.folder.state.write_text('{"schema": "osler.treatment-state/7"}')
    with pytest.raises(RunError, match=r"osler\.treatment-state/7"):
        treat(monkeypatch, sick, helps)


def test_options_that_make_no_sense(sick: RunFolder) -> None:
    with pytest.raises(RequestError, match=r"minutes.*attempts.*seeds"):
        treat_run(sick.path, minutes=0, attempts=0, seeds=0)
    with pytest.raises(RequestError, match="full"):
        treat_run(sick.path, controls="fulll")


def test_options_cannot_change_under_way(sick: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    treat(monkeypatch, sick, helps)
    with pytest.raises(RequestError, match="begun with 1"):
        treat_run(sick.path, seeds=2)
    with pytest.raises(RequestError, match="begun with plain"):
        treat_run(sick.path, controls="full")


def test_another_process_treats_it(sick: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = treat(monkeypatch, sick, helps)
    found.folder.state.unlink()
    with found.folder.in_use(), pytest.raises(RunError, match="another process"):
        treat(monkeypatch, sick, helps)


def test_too_few_positives_are_said_before_anything_is_trained(sick: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "FEWEST", 10_000)
    found, runner = treat(monkeypatch, sick, helps)
    assert found.outcome == "cannot be shown"
    assert "needs about" in found.reason
    assert runner.trained == []


def test_an_arm_is_not_treated(sick: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = treat(monkeypatch, sick, helps)
    arm = found.folder.arm("rerun-seed1")
    with pytest.raises(RunError, match="is an arm"):
        treat_run(arm)


@pytest.mark.parametrize(("rerun", "ground"), [(0.003, "treated-1"), (4.0, "rerun")])
def test_an_arm_is_gone_on_from_unless_it_is_worse_than_the_re_run_beyond_chance(
    sick: RunFolder, monkeypatch: pytest.MonkeyPatch, rerun: float, ground: str
) -> None:
    """A little stronger, the re-run is better by chance alone."""
    grounds: list[str] = []
    decide = Course._ground

    def noted(course: Course, number: int) -> tuple[str, Diagnosis]:
        ground, diagnosis = decide(course, number)
        grounds.append(ground)
        return ground, diagnosis

    monkeypatch.setattr(Course, "_ground", noted)
    treat(monkeypatch, sick, lambda name: rerun if name.startswith("rerun") else 0.0, attempts=2)
    assert grounds == ["rerun", ground]


def test_exclusive_classes_have_no_thresholds_and_their_test_set_is_read_all_the_same(sick: RunFolder, tmp_path: Path) -> None:
    values = sick.config().model_dump(mode="json")
    data = {**values["data"], "task": "multiclass", "classes": None, "cache": str(tmp_path / "cache")}
    run = train_run(load_config({**values, "data": data, "loss": {"type": "cross_entropy"}}), tmp_path / "multi")
    found = treat_run(run.path, minutes=5, attempts=1, seeds=1, inline=True, say=lambda text: None)
    test = found.record.test
    assert test is not None
    assert test["read"]
    assert test["comparison"]["difference"]["n_patients"] > 50
    assert test["comparison"]["treated"] > test["comparison"]["value"]
