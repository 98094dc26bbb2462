"""`osler treat`: a plan, the arms, the proof, and the test set once, at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from osler.config import Config
from osler.data.load import load_data
from osler.doctor.command import diagnose_sources
from osler.errors import ConfigError, DataError, RequestError, RunError, lookup
from osler.metrics.intervals import FEWEST
from osler.runs.folder import RunFolder
from osler.runs.looks import log_look, read_looks
from osler.runs.mask_predictions import MaskPredictions
from osler.runs.predictions import Predictions
from osler.runs.vitals import VITALS_SCHEMA, read_vitals
from osler.train.resolve import load_same_data
from osler.treat.arms import arm_config, has_model
from osler.treat.course import BUDGET, RERUN, Course, first_prescription
from osler.treat.cures import Halves, cures_of, halves_of
from osler.treat.found import Outcome, Plan
from osler.treat.outcome import Treatment, overall
from osler.treat.plan import Budget, proving, trial_for
from osler.treat.proof import Comparison, compare
from osler.treat.record import Attempt, Record, TreatmentFolder, run_digest
from osler.treat.runner import Inline, Runner, Worker
from osler.treat.scores import AnyPredictions, measure_for, score

__all__ = ["Treatment", "ask", "treat_run"]

Confirm = Callable[[Treatment], bool]
Say = Callable[[str], None]
CONTROLS = {"plain": False, "full": True}
NEEDED_POSITIVES = 30
"""With so many patients of the rarer label a rise of the AUC from 0.70 to 0.80 is seen in four of five experiments (Hanley and
McNeil 1982, two models that agree on half of the variance)."""


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def treat_run(
    run: Path | str,
    *,
    controls: Literal["plain", "full"] | str = "plain",
    minutes: float = 30.0,
    attempts: int = 3,
    seeds: int | None = None,
    confirm: Confirm | None = None,
    say: Say = _to_stderr,
    inline: bool = False,
) -> Treatment:
    """Treats a run: applies what its findings prescribe, and proves or disproves it against a plain re-run.

    Everything is kept in RUN/treatment, and a treatment that was stopped goes on from there.

    Args:
        run: a run folder that `osler train` made.
        controls: "plain": a re-run with a new seed; "full": a random change of equal budget too.
        minutes: of training in all.
        attempts: prescriptions at most; verdicts are corrected for as many.
        seeds: trainings of each arm; None: three where the minutes allow, else fewer.
        confirm: is shown the plan; false leaves it a plan. None: go on.
        say: takes a line of progress.
        inline: train in this process, not in one of its own: for small runs, and for who debugs.

    Raises:
        RequestError: minutes, attempts, seeds or controls that make no sense.
        RunError: no run of Osler's, one of another version, or one whose data changed; or the re-run cannot be trained.
        DataError: the data cannot be read.
    """
    budget = _budget(controls, minutes, attempts, seeds)
    folder, config = _opened(run)
    treatment = TreatmentFolder(folder)
    diagnosis = diagnose_sources([folder.path]).runs[0]
    if diagnosis.verdict == "refused":
        raise RunError(f"{folder.path}: cannot be diagnosed: {diagnosis.error}")
    patch, refused = first_prescription(diagnosis, config)
    record, seconds = _record(folder, treatment, config, patch, budget, seeds)
    trial = load_data(arm_config(config, record.trial, 1).data)
    halves, notes = _halves(folder, config, trial)
    measure = measure_for(patch.finding if patch else "", str(config.data.task))
    plan = Plan(patch, measure, refused, budget, proving(trial), record, seconds, notes)
    cures = tuple(cures_of(diagnosis, config, halves, budget.level)) if halves is not None else ()
    planned = Treatment(folder, config, diagnosis, plan, cures)
    if patch is not None and plan.proving.rarest < FEWEST and not record.attempts:
        return _finished(planned, (), None, (), *_too_few(plan))
    if patch is None and not record.attempts:
        return _finished(planned, (), None, (), *overall((), None, cures))
    if confirm is not None and not confirm(planned):
        return planned
    treatment.make()
    runner: Runner = Inline() if inline else Worker(treatment.log)
    with treatment.in_use():
        try:
            return _treated(planned, halves, runner, say)
        finally:
            runner.close()


def ask(yes: bool) -> Confirm:
    """How the command line asks whether to go on: not at all with --yes, and never without a terminal."""

    def confirm(plan: Treatment) -> bool:
        if yes:
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        _to_stderr(plan.text())
        print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    return confirm


# --- before -----------------------------------------------------------------------------------------------------------------


def _budget(controls: str, minutes: float, attempts: int, seeds: int | None) -> Budget:
    random = lookup(CONTROLS, controls, "--controls", RequestError)
    faults = [
        f"{name} {value}: give {allowed}"
        for name, value, wrong, allowed in (
            ("--minutes", minutes, not minutes > 0, "a number above 0"),
            ("--attempts", attempts, attempts < 1, "1 or more"),
            ("--seeds", seeds, seeds is not None and seeds < 1, "1 or more"),
        )
        if wrong
    ]
    if faults:
        raise RequestError("; ".join(faults) + ".")
    return Budget(minutes, attempts, random)


def _opened(path: Path | str) -> tuple[RunFolder, Config]:
    """The run and its configuration.

    Raises:
        RunError: it cannot be treated, and why.
    """
    if Path(path).is_file():
        raise RunError(
            f"{path}: is a log, not a run folder. `osler diagnose` reads it; to treat, Osler must train the run again, "
            "which takes a folder that `osler train` made."
        )
    run = RunFolder.open(path)
    try:
        config = run.config()
    except ConfigError as error:
        raise RunError(f"{run.config_file}: cannot be used by this version: {error}") from error
    if run.vitals_file.is_file():
        schemas = {epoch.get("schema") for epoch in read_vitals(run.vitals_file)} - {VITALS_SCHEMA}
        if schemas:
            seen = schemas.pop()
            raise RunError(f"{run.vitals_file}: of schema {seen!r}, and this version reads {VITALS_SCHEMA!r}. Train again.")
    if config.data.trial is not None:
        raise RunError(f"{run.path}: is an arm of a treatment (data.trial is set). Treat the run that it is an arm of.")
    try:
        load_same_data(run, config)
    except DataError as error:
        raise RunError(f"{run.path}: its data cannot be read as they were when it was trained: {error}") from error
    return run, config


def _record(
    run: RunFolder, folder: TreatmentFolder, config: Config, patch: Any, budget: Budget, seeds: int | None
) -> tuple[Record, float]:
    """The record that goes on, or a new one, and about how many seconds an arm takes."""
    trial, seconds = trial_for(run, config, patch, budget, seeds)
    record, digest = Record.load(folder), run_digest(run)
    if record is None:
        return Record(digest, trial), seconds
    if record.digest != digest:
        raise RunError(
            f"{folder.path}: is of this run as it was before it trained on. Remove that folder to treat the run as it is now."
        )
    if seeds is not None and seeds != record.trial.seeds:
        raise RequestError(
            f"--seeds {seeds}: this treatment was begun with {record.trial.seeds}. Leave it out, or remove {folder.path} to "
            "begin anew."
        )
    if not budget.random and any(name.startswith("random-") for name in record.groups):
        raise RequestError(f"--controls plain: this treatment was begun with full. Add --controls full, or remove {folder.path}.")
    if budget.random and record.attempts and not any(name.startswith("random-") for name in record.groups):
        raise RequestError(f"--controls full: this treatment was begun with plain. Leave it out, or remove {folder.path}.")
    return record, seconds


def _halves(run: RunFolder, config: Config, trial: Any) -> tuple[Halves | None, tuple[str, ...]]:
    """The run's predictions of val in two parts; None, and why, where it has none."""
    path = run.predictions / "val.npz"
    if not path.is_file():
        why = (
            "The run has no predictions (it did not end): the run as it was is not compared, and no cure without training tried."
        )
        return None, (why,)
    val: AnyPredictions = MaskPredictions.load(path) if config.data.task == "segmentation" else Predictions.load(path)
    halves = halves_of(val, trial)
    if halves is None:
        return None, ("The run's predictions are of other samples than its data have now: the run as it was is not compared.",)
    return halves, ()


def _too_few(plan: Plan) -> tuple[Outcome, str]:
    return "cannot be shown", (
        f"Nothing was trained: {plan.proving.rarest} patients that prove have the rarer label of {plan.proving.name}; {FEWEST} "
        f"are the fewest, and to show an AUC that rises by 0.1 needs about {NEEDED_POSITIVES}. Give val more patients "
        "(data.split.ratio)."
    )


# --- and after --------------------------------------------------------------------------------------------------------------


def _treated(plan: Treatment, halves: Halves | None, runner: Runner, say: Say) -> Treatment:
    """Goes through the course, reads the test set once, and writes everything."""
    course = Course(
        plan.run, plan.config, plan.diagnosis, plan.folder, plan.record, plan.plan.budget, plan.plan.seconds, runner, say
    )
    course.go()
    proofs = tuple(course.proofs())
    winner = course.winner()
    record = plan.record
    if record.test is None and any(proof is not None for proof in proofs):
        last = next(one for one, proof in reversed([*zip(record.attempts, proofs, strict=True)]) if proof is not None)
        record.test = _test(course, winner or last)
        record.save(plan.folder)
    before = tuple(_before(course, attempt, halves) for attempt in record.attempts)
    outcome, reason = overall(proofs, winner, plan.cures)
    if not any(proof is not None for proof in proofs):
        ended = "; ".join(one.ended for one in record.attempts if one.ended)
        outcome, reason = "not shown", f"No attempt gave a whole comparison: {ended or record.why_ended}."
    if record.why_ended.startswith(BUDGET) and record.test is None:
        reason = f"{reason} The same command with more --minutes goes on from here."
    return _finished(plan, proofs, winner, before, outcome, reason)


def _finished(
    plan: Treatment,
    proofs: tuple[Any, ...],
    winner: Attempt | None,
    before: tuple[Comparison | None, ...],
    outcome: Outcome,
    reason: str,
) -> Treatment:
    treatment = Treatment(plan.run, plan.config, plan.diagnosis, plan.plan, plan.cures, proofs, before, winner, outcome, reason)
    treatment.write()
    return treatment


def _before(course: Course, attempt: Attempt, halves: Halves | None) -> Comparison | None:
    """The treated arms against the run as it was, where arms learned from as much."""
    evidence = course.evidence(attempt)
    if evidence is None or halves is None:
        return None
    was = [halves.prove] * len(evidence.treated)
    return compare(attempt.measure, course.task, "the run as it was", evidence.treated, was, course.budget.level)


def _test(course: Course, attempt: Attempt) -> dict[str, Any]:
    """The test set, once: the treated arms and the re-run on it, and the run as it was."""
    run, folder, level = course.run, course.folder, course.budget.level
    own = run.predictions / "test.npz"
    if "test" not in load_data(course.config.data).rows:
        return {"read": False, "reason": "the data have no test set"}
    places = course.pairs(attempt)
    said: dict[str, list[AnyPredictions | None]] = {}
    load = MaskPredictions.load if course.task == "segmentation" else Predictions.load
    for name in (attempt.group, RERUN):
        said[name] = []
        for k in places:
            arm = course.record.groups[name].arms[k]
            out = folder.test / f"{arm.name}.npz"
            if not out.is_file() and has_model(folder.arm(arm.name)):
                job = {"do": "test", "folder": str(folder.arm(arm.name)), "data": str(run.config_file), "out": str(out)}
                answer = course.runner.run(job, lambda: False)
                if answer["status"] != "done":
                    return {"read": False, "reason": f"{arm.name}: {answer['reason']}"}
            said[name].append(load(out) if out.is_file() else None)
    for name, predictions in said.items():
        for one in predictions:
            if one is not None:
                log_look(run, command=f"treat: {name}", split="test", checkpoint="best", predictions=one.digest())
    found = compare(attempt.measure, course.task, "the re-run", said[attempt.group], said[RERUN], level)
    result: dict[str, Any] = {
        "read": True,
        "attempt": attempt.number,
        "measure": attempt.measure,
        "looks": len(read_looks(run, "test")),
    }
    result["comparison"] = found.to_json()
    if own.is_file():
        was = load(own)
        result["as_it_was"] = float(score(attempt.measure, was, course.task).value)
        if all(one is None or np.array_equal(one.ids, was.ids) for one in said[attempt.group]):
            against = compare(attempt.measure, course.task, "the run as it was", said[attempt.group], [was] * len(places), level)
            result["against_as_it_was"] = against.to_json()
    return result
