"""The course of a treatment, top to bottom: control, prescription, proof; and the next prescription until one is proved."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from osler.config import Config, config_to_yaml
from osler.doctor.command import diagnose_sources
from osler.doctor.faults import FAULTS
from osler.doctor.findings import Diagnosis
from osler.errors import ConfigError, RunError
from osler.files import write_text
from osler.runs.folder import RunFolder
from osler.treat.arms import Arm, Group, arm_config, best_monitored, epochs_of, hopeless, new_group, predictions_of_arm
from osler.treat.chance import random_patch
from osler.treat.further import further_patch
from osler.treat.patch import Edit, Patch, apply_patch, next_patch
from osler.treat.plan import Budget
from osler.treat.proof import Evidence, Proof, compare, judge
from osler.treat.record import Attempt, Record, TreatmentFolder
from osler.treat.runner import Runner
from osler.treat.scores import AnyPredictions, measure_for, score

__all__ = ["RERUN", "Course", "first_prescription"]

RERUN = "rerun"
BUDGET = "the budget ended"
DOSES = {fault.id: fault.dose for fault in FAULTS.values()}
LEFT_FOR_AN_ARM = 0.7
"""An arm is begun where this share of what it is thought to take is left of the budget."""
Say = Callable[[str], None]


class StoppedError(RunError):
    """A treatment that a signal stopped while it trained in this process; the same command goes on."""

    exit_code = 143


def first_prescription(diagnosis: Diagnosis, config: Config) -> tuple[Patch | None, tuple[str, ...]]:
    """What the run's findings ask for first, and why others give nothing."""
    return next_patch(diagnosis, config, DOSES, (config,))


@dataclass
class Course:
    """A treatment that goes on from wherever its record stands.

    Attributes:
        run: that is treated.
        config: its own, resolved.
        diagnosis: of it.
        folder: of the treatment.
        record: what was decided so far.
        budget: how much may be spent.
        seconds: that an arm takes, about.
        runner: trains the arms.
        say: tells the person.
    """

    run: RunFolder
    config: Config
    diagnosis: Diagnosis
    folder: TreatmentFolder
    record: Record
    budget: Budget
    seconds: float
    runner: Runner
    say: Say
    _clock: float = field(default_factory=time.monotonic)
    _took: list[float] = field(default_factory=list)

    @property
    def task(self) -> str:
        """Kind of the targets."""
        return str(self.config.data.task)

    # --- attempts -----------------------------------------------------------------------------------------------------------

    def go(self) -> None:
        """Tries prescriptions until one is proved and the run is healthy, or none is left, or the budget is spent.

        Raises:
            RunError: the re-run cannot be trained.
        """
        if self.record.test is not None or (self.record.why_ended and not self.record.why_ended.startswith(BUDGET)):
            return
        self.record.why_ended = ""
        for number in range(1, self.budget.attempts + 1):
            if number > len(self.record.attempts) and not self._prescribe(number):
                break
            attempt = self.record.attempts[number - 1]
            if not self._train(attempt):
                self._end(f"{BUDGET}: {self.budget.minutes:g} minutes are spent")
                return
            if self._cured(number):
                break
        count = self.budget.attempts
        tried = "one prescription was tried" if count == 1 else f"{count} prescriptions were tried"
        self._end(self.record.why_ended or tried)

    def _end(self, why: str) -> None:
        self.record.why_ended = why
        self.record.save(self.folder)

    def _prescribe(self, number: int) -> bool:
        """Decides on the next prescription and its arms; False where there is none."""
        onto, diagnosis = self._ground(number)
        base = self.record.groups[onto].config if onto in self.record.groups else self.config
        tried = [group.config for group in self.record.groups.values()] + [self.config]
        patch, refused = next_patch(diagnosis, base, DOSES, tried)
        if patch is None and diagnosis.verdict == "refused":
            patch = _slower(base, tried)
        if patch is None and number > 1:
            patch = self._further(self.record.attempts[-1])
        self.record.refused += [one for one in refused if one not in self.record.refused]
        if patch is None:
            self.record.why_ended = "no further prescription: " + (
                "the treated run has no finding that a setting cures" if number > 1 else "no finding that a setting cures"
            )
            return False
        group = f"treated-{number}"
        self._add(new_group(RERUN, self.config, "nothing but the seed", self.record.trial))
        self._add(new_group(group, apply_patch(base, patch), _said(patch), self.record.trial))
        if self.budget.random:
            self._add(self._random(number, patch))
        attempt = Attempt(number, patch, onto, measure_for(patch.finding, self.task), group)
        self.record.attempts.append(attempt)
        self.record.save(self.folder)
        self.say(f"Attempt {number}: {patch.name}. {_said(patch)}")
        return True

    def _further(self, attempt: Attempt) -> Patch | None:
        """More of what an attempt did, where its run asks for it, and where more of it did not already do less."""
        group = self.record.groups[attempt.group]
        earlier = self.record.attempts[: attempt.number - 1]
        before = [one for one in earlier if one.patch.finding == attempt.patch.finding]
        gained = not before or self._chosen(attempt.group, attempt.measure) > self._chosen(before[-1].group, attempt.measure)
        if attempt.ended or self._did_worse(attempt) or not gained:
            return None
        tried = [one.config for one in self.record.groups.values()]
        return further_patch(attempt.patch, group.config, self.config, epochs_of(self.folder.arm(group.arms[0].name)), tried)

    def _ground(self, number: int) -> tuple[str, Diagnosis]:
        """What the next prescription is laid over: the last treated configuration, unless it did worse than the re-run.

        Two arms at chance are above or below each other as a coin falls: worse is what lies below by more than chance.
        """
        if number == 1:
            return RERUN, self.diagnosis
        last = self.record.attempts[-1]
        if not (self._did_worse(last) or last.ended.startswith("failed")):
            return last.group, _diagnosis_of(self.folder.arm(self.record.groups[last.group].arms[0].name))
        return last.onto, self.diagnosis if last.onto == RERUN else _diagnosis_of(
            self.folder.arm(self.record.groups[last.onto].arms[0].name)
        )

    def _did_worse(self, attempt: Attempt) -> bool:
        """Whether, on the part that chooses, its arms lie below the re-run's with the whole interval."""
        treated, control = self.record.groups[attempt.group].arms, self.record.groups[RERUN].arms
        places = [k for k in range(self.record.trial.seeds) if treated[k].measurable and control[k].measurable]
        if not places:
            return False
        said, ran = (self._said_of(name, places, "val") for name in (attempt.group, RERUN))
        return compare(attempt.measure, self.task, "the re-run", said, ran, self.budget.level).difference.interval.high < 0

    def _random(self, number: int, patch: Patch) -> Group:
        drawn = random_patch(self.config, patch.keys, 1000 * self.record.trial.first_seed + number)
        return new_group(f"random-{number}", apply_patch(self.config, drawn), _said(drawn), self.record.trial)

    def _add(self, group: Group) -> None:
        self.record.groups.setdefault(group.name, group)

    def _cured(self, number: int) -> bool:
        """Whether the attempt is proved and the doctor has nothing more to say of its run."""
        if number < len(self.record.attempts):
            return False  # it was decided that another follows
        proof = self.proofs()[number - 1]
        if proof is None:
            self.say(f"Attempt {number}: {self.record.attempts[number - 1].ended}")
            return False
        self.say(f"Attempt {number}: {proof.verdict}. {proof.reason}")
        if proof.verdict != "helped":
            return False
        arm = self.record.groups[self.record.attempts[number - 1].group].arms[0]
        if _diagnosis_of(self.folder.arm(arm.name)).flagged:
            return False
        if number < self.budget.attempts and self._further(self.record.attempts[number - 1]) is not None:
            return False
        self.record.why_ended = "proved, and the treated run has no finding left"
        return True

    # --- arms ---------------------------------------------------------------------------------------------------------------

    def _train(self, attempt: Attempt) -> bool:
        """Trains what the attempt needs, seed by seed, so that each seed gives a whole comparison; False when time is up."""
        names = [RERUN, attempt.group, *([f"random-{attempt.number}"] if self.budget.random else [])]
        for place in range(self.record.trial.seeds):
            for name in names:
                group = self.record.groups[name]
                arm = group.arms[place]
                if attempt.ended or arm.ended:
                    continue
                if not self._has_time(arm) or not self._train_arm(group, arm):
                    return place > 0 and not attempt.ended and bool(self.pairs(attempt))
                self._after(attempt, group, arm)
        return True

    def _after(self, attempt: Attempt, group: Group, arm: Arm) -> None:
        """What an arm's end means for its attempt."""
        if arm.status in ("failed", "killed") and group.name == RERUN and arm.seed == 1:
            reason = arm.reason
            self._forget(arm)
            raise RunError(f"{self.run.path}: the plain re-run could not be trained: {reason}")
        if arm.status == "hopeless":
            attempt.ended = f"hopeless: {arm.reason}"
        if arm.seed == 1 and not attempt.ended and arm.ended and not arm.measurable:
            attempt.ended = f"failed: {arm.name} gave no run: {arm.reason}"
        self.record.save(self.folder)

    def _forget(self, arm: Arm) -> None:
        """Lets the same command try an arm again, once what stopped it is mended."""
        arm.status, arm.reason = "planned", ""
        self.record.save(self.folder)

    def _has_time(self, arm: Arm) -> bool:
        expected = float(np.median(self._took)) if self._took else self.seconds
        started = self.folder.arm(arm.name).is_dir()
        first = not any(other.ended for group in self.record.groups.values() for other in group.arms)
        return first or started or self._left() > LEFT_FOR_AN_ARM * expected

    def _left(self) -> float:
        return 60 * self.budget.minutes - self.record.spent - (time.monotonic() - self._clock)

    def _train_arm(self, group: Group, arm: Arm) -> bool:
        """Trains one arm, or goes on with it; False where the budget ended first."""
        config = arm_config(group.config, self.record.trial, arm.seed)
        folder, asked = self.folder.arm(arm.name), self.folder.arms / f"{arm.name}.yaml"
        write_text(asked, config_to_yaml(config))
        arm.status = "running"
        self.record.save(self.folder)
        planned = sum(phase.epochs or config.training.epochs for phase in config.training.phases) or config.training.epochs
        watch = Watch(self, arm, folder, planned)
        self.say(f"{arm.name}: {group.what}; {planned} epochs")
        begun = self._clock = time.monotonic()
        try:
            answer = self.runner.run({"do": "train", "config": str(asked), "folder": str(folder)}, watch)
        finally:
            now = time.monotonic()
            arm.seconds += now - begun
            self.record.spent += now - self._clock
            self._clock = now
            self.record.save(self.folder)
        return self._settle(arm, answer, watch, now - begun)

    def _settle(self, arm: Arm, answer: dict[str, Any], watch: Watch, seconds: float) -> bool:
        status, arm.reason = answer["status"], answer["reason"]
        if status == "stopped" and watch.hopeless:
            arm.status, arm.reason = "hopeless", watch.hopeless
        elif status == "stopped":
            arm.status = "out of time" if watch.late else "planned"
            if not watch.late:
                raise StoppedError(f"{arm.name}: {arm.reason} The same command goes on from here.")
            return False
        else:
            arm.status = status
        if arm.status == "done":
            self._took.append(seconds)
        self.say(f"{arm.name}: {arm.status} after {seconds:.0f} s{f': {arm.reason}' if arm.reason else ''}")
        return True

    # --- what was found -----------------------------------------------------------------------------------------------------

    def pairs(self, attempt: Attempt) -> list[int]:
        """Places of the seeds for which treated arm and all controls ended."""
        names = [RERUN, attempt.group, *([f"random-{attempt.number}"] if self.budget.random else [])]
        groups = [self.record.groups[name] for name in names]
        return [k for k in range(self.record.trial.seeds) if all(group.arms[k].measurable for group in groups)]

    def evidence(self, attempt: Attempt) -> Evidence | None:
        """What the attempt can be judged by; None where it has no whole comparison."""
        places = self.pairs(attempt)
        if attempt.ended or not places:
            return None
        controls = {"the re-run": self._said_of(RERUN, places, "test")}
        if self.budget.random:
            controls["the random change"] = self._said_of(self._best_random(attempt), places, "test")
        treated = self._said_of(attempt.group, places, "test")
        return Evidence(attempt.measure, self.task, treated, controls)

    def _best_random(self, attempt: Attempt) -> str:
        """Of the random changes so far the best on the part that chooses: as many tries as the prescriptions had."""
        names = [
            f"random-{one.number}"
            for one in self.record.attempts[: attempt.number]
            if f"random-{one.number}" in self.record.groups
        ]
        trained = [name for name in names if all(self.record.groups[name].arms[k].measurable for k in self.pairs(attempt))]
        return max(trained, key=lambda name: _or_lowest(self._chosen(name, attempt.measure)))

    def proofs(self) -> list[Proof | None]:
        """The verdict of every attempt so far; None for one without a whole comparison."""
        found = [self.evidence(attempt) for attempt in self.record.attempts]
        known = iter(judge([one for one in found if one is not None], self.budget.attempts, self.budget.level))
        return [None if one is None else next(known) for one in found]

    def _said_of(self, name: str, places: Sequence[int], split: str) -> list[AnyPredictions | None]:
        arms = self.record.groups[name].arms
        return [predictions_of_arm(self.folder.arm(arms[k].name), split, self.task) for k in places]

    def _chosen(self, name: str, measure: str) -> float:
        """A group's figure on the part of val that chooses, mean over its seeds; NaN where it left no model."""
        said = self._said_of(name, range(self.record.trial.seeds), "val")
        values = [score(measure, one, self.task).value for one in said if one is not None]
        return float(np.mean(values)) if values else math.nan

    def winner(self) -> Attempt | None:
        """The best proven attempt: of those that helped, the one with the best figure on the part that chooses."""
        proofs = self.proofs()
        helped = [one for one, proof in zip(self.record.attempts, proofs, strict=True) if proof and proof.verdict == "helped"]
        return max(helped, key=lambda one: _or_lowest(self._chosen(one.group, one.measure)), default=None)


@dataclass
class Watch:
    """Looks at an arm while it trains: says each epoch, with what is left, and asks to stop what is late or hopeless."""

    course: Course
    arm: Arm
    folder: Path
    planned: int
    hopeless: str = ""
    late: bool = False
    seen: int = 0
    begun: float = field(default_factory=time.monotonic)
    had: int | None = None

    def __call__(self) -> bool:
        value, epochs = best_monitored(self.folder)
        if self.had is None:
            self.had = self.seen = epochs
        if epochs > self.seen:
            self.seen = epochs
            left = (time.monotonic() - self.begun) / (epochs - self.had) * (self.planned - epochs)
            self.course.say(
                f"{self.arm.name}: epoch {epochs}/{self.planned}, best {value:.3f}; about {_duration(left)} left of this arm"
            )
            self._look()
        self.late = self.course._left() < 0
        return self.late or bool(self.hopeless)

    def _look(self) -> None:
        control = self.course.record.groups[RERUN].arms[0]
        if self.arm.group.startswith("treated") and self.arm.seed == 1 and control.status == "done":
            self.hopeless = hopeless(self.folder, self.course.folder.arm(control.name), self.planned)


def _duration(seconds: float) -> str:
    """
    >>> _duration(45), _duration(600)
    ('45 s', '10 min')
    """
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _or_lowest(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _said(patch: Patch) -> str:
    return ", ".join(f"{edit.key} {_short(edit.before)} → {_short(edit.after)}" for edit in patch.edits)


def _short(value: Any) -> str:
    text = "null" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _diagnosis_of(folder: Path) -> Diagnosis:
    return diagnose_sources([folder]).runs[0]


def _slower(config: Config, tried: Sequence[Config]) -> Patch | None:
    """A tenth of the rate for a run whose loss was not finite before its first epoch ended: there is nothing to diagnose."""
    rate = config.training.learning_rate
    edit = Edit("training.learning_rate", rate, float(f"{0.1 * rate:.2g}"), "the loss was not finite in the first epoch: a tenth")
    patch = Patch(
        "non_finite", FAULTS["non_finite"].name, "The loss was not finite in the first epoch.", DOSES["non_finite"], (edit,)
    )
    try:
        return patch if apply_patch(config, patch) not in tried else None
    except ConfigError:
        return None
