"""`osler checkup`: tests a configuration, or a person's own loop, in minutes before a night is spent on it."""

from __future__ import annotations

import json
import math
import textwrap
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn, optim

from osler.checkup.check import Check, failed, not_assessed, worst
from osler.checkup.from_config import built, patient_of
from osler.checkup.from_loop import patient_of_loop
from osler.checkup.page import checkup_page, shown
from osler.checkup.patient import LossFailureError, Patient
from osler.checkup.table import TESTS, Test
from osler.config import Config
from osler.data.load import load_data
from osler.doctor.facts import facts_from_texts
from osler.doctor.findings import SEVERITIES, Severity
from osler.errors import OslerError, RequestError, lookup
from osler.files import make_out_folder, strict_json, write_bytes, write_json, write_text

__all__ = ["Checkup", "CheckupFailedError", "check_loop", "checkup_config", "examine", "pass_quick_checkup"]

SCHEMA = "osler.checkup/1"
MINUTES = 2.0
WIDTH = 110
# What a test may stumble over in a model that no one has run yet; it is then reported as not assessed.
STUMBLES = (OslerError, ArithmeticError, ValueError, IndexError, KeyError, TypeError, RuntimeError, AttributeError)


class CheckupFailedError(OslerError):
    """A checkup that found something critical; training was not begun."""

    exit_code = 1


@dataclass(frozen=True)
class Checkup:
    """What all tests say.

    Attributes:
        subject: what was tested.
        checks: in the order of the tests.
        seconds: that each test took.
        minutes: that were granted.
        quick: only the quick half was run.
    """

    subject: str
    checks: tuple[Check, ...]
    seconds: dict[str, float]
    minutes: float
    quick: bool = False

    @property
    def failures(self) -> list[Check]:
        """Failed checks, the gravest first."""
        found = [check for check in self.checks if check.severity is not None]
        return sorted(found, key=lambda check: -SEVERITIES.index(check.severity or "note"))

    @property
    def worst(self) -> Severity | None:
        """The gravest severity; None where nothing failed."""
        return worst(self.checks)

    def summary(self) -> str:
        """One sentence: how many tests passed, failed, have a note and no more, and could not be held."""
        found = {check.test for check in self.failures}
        failed_tests = {check.test for check in self.failures if check.severity != "note"}
        left = {check.test for check in self.checks if check.outcome == "not_assessed"} - found
        total, noted = len(self.seconds), len(found - failed_tests)
        parts = [f"{total - len(found) - len(left)} passed"]
        parts += [f"{len(failed_tests)} failed"] if failed_tests else []
        parts += [f"{noted} passed with a note"] if noted else []
        parts += [f"{len(left)} could not be assessed"] if left else []
        return f"{total} tests in {sum(self.seconds.values()):.0f} s: {', '.join(parts)}."

    def text(self) -> str:
        """The report for a terminal: failures with what to do, then what passed, then what is not known."""
        lines = [f"Checkup of {self.subject}. {self.summary()}"]
        for check in self.failures:
            lines += ["", *_wrapped(f"{(check.severity or '').upper()} {check.id}: {check.sentence}")]
            lines += _wrapped(check.means, "  ")
            lines += [line for change in check.changes for line in _wrapped(_said(change), "  → ")]
            lines += [line for action in check.actions for line in _wrapped(action, "  · ")]
        for outcome, title in (("passed", "Passed"), ("not_assessed", "Not assessed")):
            some = [check for check in self.checks if check.outcome == outcome]
            lines += ["", f"{title}:"] if some else []
            lines += [line for check in some for line in _wrapped(f"{check.test}: {check.sentence}", "  ")]
        return "\n".join(lines)

    def data(self) -> dict[str, Any]:
        """The same as strict JSON, schema `osler.checkup/1`."""
        tests = {name: {"asks": TESTS[name].asks, "seconds": round(spent, 3)} for name, spent in self.seconds.items()}
        found: dict[str, Any] = strict_json(
            {
                "schema": SCHEMA,
                "subject": self.subject,
                "verdict": "failed" if self.worst in ("warning", "critical") else "passed",
                "worst": self.worst,
                "quick": self.quick,
                "minutes": self.minutes,
                "tests": tests,
                "checks": [check.to_json() for check in self.checks],
            }
        )
        return found

    def json_text(self) -> str:
        """The same as a text of JSON."""
        return json.dumps(self.data(), indent=2, allow_nan=False, ensure_ascii=False)

    def write(self, folder: Path) -> Path:
        """Writes checkup.html, checkup.md, checkup.json and a PNG for each picture; where the page is."""
        make_out_folder(folder)
        page = checkup_page(self.subject, self.summary(), self.checks, self.seconds)
        for check in self.checks:
            for picture in check.pictures:
                write_bytes(folder / f"{picture.name}.png", picture.png)
        write_json(folder / "checkup.json", self.data())
        write_text(folder / "checkup.md", page.markdown())
        write_text(folder / "checkup.html", page.html())
        return (folder / "checkup.html").absolute()

    def exit_code(self, fail_on: str | None = None) -> int:
        """1 where a failure reaches `fail_on`, else 0.

        Raises:
            RequestError: `fail_on` is no severity.
        """
        if fail_on is None:
            return 0
        least = lookup({name: place for place, name in enumerate(SEVERITIES)}, fail_on, "--fail-on", RequestError)
        return int(self.worst is not None and SEVERITIES.index(self.worst) >= least)


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=" " * max(2, len(indent)))


def _said(change: Any) -> str:
    before = "" if change.before is None else f" (now {shown(change.before)})"
    return f"{change.key}: {shown(change.after)}{before}: {change.why}"


# --- running ------------------------------------------------------------------------------------------------------------------


def examine(patient: Patient, subject: str, minutes: float = MINUTES, quick: bool = False) -> Checkup:
    """Runs the tests in order of worth while there is time; each begins with the patient as it was.

    Args:
        patient: left as it was.
        subject: its name in the report.
        minutes: for all tests together.
        quick: the quick half alone.

    Raises:
        RequestError: no time was given.
    """
    if not 0 < minutes < math.inf:
        raise RequestError(f"--minutes: {minutes:g} is no time; give more than 0, {MINUTES:g} by default")
    checks: list[Check] = []
    seconds: dict[str, float] = {}
    end = time.perf_counter() + 60 * minutes
    for number, (name, test) in enumerate(TESTS.items()):
        if quick and not test.quick:
            continue
        started = time.perf_counter()
        found = [Check(**{**vars(check), "test": name}) for check in _held(patient, name, test, number, end)]
        checks += [check for check in found if not _repeats(check, checks)]
        seconds[name] = time.perf_counter() - started
    return Checkup(subject, tuple(checks), seconds, minutes, quick)


def _repeats(check: Check, before: Iterable[Check]) -> bool:
    """Whether a broken loss was reported already: every test after the first would say it again."""
    return check.id == "loss_fails" and any(other.id == "loss_fails" for other in before)


def _held(patient: Patient, name: str, test: Test, number: int, end: float) -> list[Check]:
    left = end - time.perf_counter()
    needed = test.steps * patient.seconds if math.isfinite(patient.seconds) else 0.0
    if left < needed or left <= 0:
        need = f"It needs about {needed:.0f} s, and " if needed >= 1 else ""
        rest = f"{left:.0f} s of the time given are left" if left >= 1 else "no time is left of that given"
        why = f"{need}{rest}; give more --minutes."
        return [not_assessed(name, why[0].upper() + why[1:])]
    with patient.kept(number):
        try:
            return list(test.run(patient, time.perf_counter() + test.share * left))
        except LossFailureError as error:
            means = "Model and loss do not fit the loader's batches: training would stop at its first step."
            more = ["compare shapes and types of outputs and targets with what the loss expects"]
            return [
                failed("loss_fails", "critical", f"The loss of a real batch cannot be computed: {error}", means, actions=more)
            ]
        except STUMBLES as error:
            return [
                not_assessed(name, f"The test could not be held: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
            ]


def checkup_config(config: Config, minutes: float = MINUTES, facts: Iterable[str] = (), quick: bool = False) -> Checkup:
    """Tests what `osler train` would run: its data, loss, model, phases and loader.

    Args:
        config: `auto` is resolved as training does.
        minutes: for all tests together, after images are prepared.
        facts: what is declared of the data, `samples.set=5000` or `prevalence.set=0.1`, to be held against what is loaded.
        quick: the quick half alone.

    Raises:
        OslerError: for everything that would keep `osler train` from beginning.
    """
    stated = facts_from_texts(facts)
    with built(config, load_data(config.data), stated) as parts:
        return examine(patient_of(parts), config.run.name, minutes, quick)


def pass_quick_checkup(config: Config, minutes: float = MINUTES) -> Checkup:
    """The quick half, before training.

    Raises:
        CheckupFailedError: something critical was found; with the report.
    """
    found = checkup_config(config, minutes, quick=True)
    if found.worst == "critical":
        names = ", ".join(dict.fromkeys(check.id for check in found.failures if check.severity == "critical"))
        raise CheckupFailedError(
            f"training was not begun: the checkup found something critical: {names}. Mend it, or train without --checkup.\n\n"
            f"{found.text()}"
        )
    return found


def check_loop(
    model: nn.Module,
    loss: Callable[[Any, Any], Any],
    loader: Iterable[Any],
    optimizer: optim.Optimizer | None = None,
    val_loader: Iterable[Any] | None = None,
    *,
    epochs: float | None = None,
    minutes: float = MINUTES,
    facts: Iterable[str] = (),
    quick: bool = False,
) -> Checkup:
    """The same tests on a person's own torch model, loss and loader; all are left as they were.

        found = osler.check_loop(model, nn.BCEWithLogitsLoss(), loader, optimizer, val_loader)
        print(found.text())

    Args:
        model: images to outputs: a tensor, or a list of tensors with the finest level first. On its device already.
        loss: called with outputs and targets; gives the mean loss, a scalar.
        loader: gives (images, targets): labels (B,) or (B, K), class indices (B,), or masks.
        optimizer: of the loop; None: AdamW at torch's own rate stands in.
        val_loader: likewise (images, targets); without it, what needs val is not assessed.
        epochs: planned; without it, time and total way of the weights are not forecast.
        minutes: for all tests together.
        facts: what is declared of the data, as `--fact` of the command line.
        quick: the quick half alone.

    Raises:
        RequestError: what was given is of no form that a checkup knows.
    """
    with torch.random.fork_rng(devices=[]):  # a shuffling loader draws from the common generator
        torch.manual_seed(0)
        patient = patient_of_loop(model, loss, loader, optimizer, val_loader, epochs)
        patient.facts = patient.facts.over(facts_from_texts(facts))
        return examine(patient, type(model).__name__, minutes, quick)
