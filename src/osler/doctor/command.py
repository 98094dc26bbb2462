"""What `osler diagnose` and `osler faults` do: read, diagnose, and give it as text, JSON or pages."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from osler.doctor.diagnose import diagnose
from osler.doctor.facts import Facts, facts_from_file, facts_from_texts
from osler.doctor.faults import FAULTS
from osler.doctor.findings import SCHEMA, SEVERITIES, Diagnosis
from osler.doctor.readers.choose import read_charts
from osler.doctor.readers.folders import is_run, look_through
from osler.errors import OslerError, RequestError, nearest

__all__ = ["Diagnoses", "describe_faults", "diagnose_sources"]

FAULTS_SCHEMA = "osler.faults/1"


@dataclass(frozen=True)
class Diagnoses:
    """The diagnoses of all runs that the inputs hold, in their order."""

    runs: tuple[Diagnosis, ...]

    def json_text(self) -> str:
        """The object of the contract, strict JSON."""
        value = {"schema": SCHEMA, "runs": [run.to_json() for run in self.runs]}
        return jsonlib.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)

    def text(self) -> str:
        """What a person reads in a terminal."""
        from osler.doctor.report.text import overview_text, run_text

        if len(self.runs) == 1:
            return run_text(self.runs[0])
        return "\n\n".join([*(run_text(run) for run in self.runs if run.findings), overview_text(self.runs)])

    def write_pages(self, out: Path) -> Path:
        """Writes an HTML page and its Markdown for each run, and for several an overview; returns the page to open first."""
        from osler.doctor.report.pages import write_pages

        return write_pages(self.runs, out, self.json_text())

    def exit_code(self, fail_on: str | None = None) -> int:
        """2 where an input was refused; else 1 where a finding reaches `fail_on`; else 0.

        Raises:
            RequestError: `fail_on` is no severity.
        """
        if fail_on is not None and fail_on not in SEVERITIES:
            guess = nearest(fail_on, SEVERITIES)
            hint = f" Did you mean {guess!r}?" if guess else ""
            raise RequestError(f"--fail-on: {fail_on!r} is no severity.{hint} Choose one of: {', '.join(SEVERITIES)}.")
        if any(run.verdict == "refused" for run in self.runs):
            return 2
        worst = [SEVERITIES.index(run.worst) for run in self.runs if run.worst is not None]
        return int(fail_on is not None and any(each >= SEVERITIES.index(fail_on) for each in worst))


def diagnose_sources(sources: Sequence[Path | str], facts: Iterable[str] = (), facts_file: Path | None = None) -> Diagnoses:
    """Diagnoses every run of every input; one that cannot be read is refused, and the others go on.

    Args:
        sources: run folders, logs, or folders of logs.
        facts: `key=value` texts; they win over the file, which wins over what the logs say.
        facts_file: more facts.

    Raises:
        ConfigError: a fact is not known or has a wrong value; this concerns all inputs.
    """
    stated = facts_from_file(facts_file) if facts_file is not None else Facts()
    stated = stated.over(facts_from_texts(facts))
    return Diagnoses(tuple(run for source in sources for run in _diagnose_source(source, stated)))


def _diagnose_source(source: Path | str, facts: Facts) -> list[Diagnosis]:
    """The diagnoses of one input: of a folder, those of each run folder below, and then of its other logs."""
    folder = _folder(source)
    if folder is None:
        return _diagnose_one(source, facts)
    found = look_through(folder)
    runs = [run for path in found.runs for run in _diagnose_one(path, facts)]
    if not runs:
        return _diagnose_one(source, facts)
    others = _diagnose_one(source, facts) if found.logs or found.events else []
    # Notes that lie beside runs are no logs, and no input that was refused.
    return runs + [each for each in others if each.verdict != "refused"]


def _folder(source: Path | str) -> Path | None:
    """An input that is a folder and no run itself."""
    path = Path(source)
    try:
        return path if path.is_dir() and not is_run(path) else None
    except (OSError, ValueError):
        return None


def _diagnose_one(source: Path | str, facts: Facts) -> list[Diagnosis]:
    try:
        charts = read_charts(source, facts)
    except (OslerError, OSError) as error:
        return [Diagnosis(str(source), None, "refused", error=str(error))]
    return [diagnose(chart) for chart in charts]


def describe_faults(json: bool = False) -> str:
    """The vocabulary of faults: a table, or JSON with all that an entry holds."""
    if not json:
        from osler.doctor.report.vocabulary import faults_table

        return faults_table(FAULTS)
    entries = [
        {
            "id": fault.id,
            "name": fault.name,
            "family": fault.family,
            "level": fault.level,
            "means": fault.means,
            "needs": fault.needs,
            "explains": list(fault.explains),
            "look_alikes": [{"id": each.id, "separates": each.separates} for each in fault.lookalikes],
            "severity": fault.severity,
            "dose": fault.dose,
            "would_harm": list(fault.harmful),
            "source": fault.source,
        }
        for fault in FAULTS.values()
    ]
    return jsonlib.dumps({"schema": FAULTS_SCHEMA, "faults": entries}, indent=1, ensure_ascii=False)
