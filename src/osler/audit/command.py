"""`osler audit`: reads every image of a set once, and says what is wrong before a night is spent on it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from osler.audit.case import Case
from osler.audit.checks import find
from osler.audit.copies import confirm_on, find_copies
from osler.audit.facts import audit_facts
from osler.audit.findings import SEVERITIES, Finding
from osler.audit.origins import origins
from osler.audit.page import audit_page
from osler.audit.prevalence import differences, prevalences
from osler.audit.progress import Progress
from osler.audit.rows import rows_csv
from osler.audit.shortcuts import find_told
from osler.audit.source import Loaded, load_audited
from osler.audit.survey import survey_images
from osler.audit.text import audit_text
from osler.config import DataConfig
from osler.data.cache import cache_folder
from osler.errors import ConfigError, RequestError, nearest
from osler.files import make_out_folder, strict_json, write_json, write_text

__all__ = ["SCHEMA", "Audit", "audit_loaded", "audit_source"]

SCHEMA = "osler.audit/1"
MOST_IDS = 1000


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        case: the set and what was measured of it.
        findings: the gravest first.
    """

    case: Case
    findings: tuple[Finding, ...]

    def text(self) -> str:
        """What was found, for a terminal."""
        return audit_text(self.case, self.findings)

    def data(self) -> dict[str, Any]:
        """The same as strict JSON, schema `osler.audit/1`; what is undefined is null."""
        case, ids = self.case, self.case.samples.ids
        found = {
            "schema": SCHEMA,
            "source": case.loaded.name,
            "data_fingerprint": case.loaded.fingerprint,
            "task": case.samples.task,
            "classes": list(case.samples.classes),
            "images": len(case.samples),
            "readable": int(case.measured.readable.sum()),
            "splits": {name: int(case.of_split(name).sum()) for name in case.used},
            "splits_drawn": case.loaded.drawn,
            "worst": self.findings[0].severity if self.findings else None,
            "findings": [
                {
                    "rank": rank,
                    "id": one.id,
                    "severity": one.severity,
                    "sentence": one.sentence,
                    "action": one.action,
                    "images": len(one.rows),
                    "ids": [str(ids[row]) for row in one.rows[:MOST_IDS]],
                    "figures": one.figures,
                }
                for rank, one in enumerate(self.findings, 1)
            ],
            "facts": audit_facts(case, self.findings),
            "prevalence": [{**asdict(one), "share": one.share} for one in prevalences(case)],
            "differences": [{**asdict(one), "odds_ratio": one.odds_ratio} for one in differences(case)],
            "shortcuts": [
                {"class": one.label, "by": one.feature, "kind": one.kind, "auc": one.auc.to_json()} for one in case.told
            ],
            "origins": [asdict(one) for one in case.origins],
            "notes": list(case.loaded.notes),
        }
        plain: dict[str, Any] = strict_json(found)
        return plain

    def json_text(self) -> str:
        """The same as a text of JSON."""
        return json.dumps(self.data(), indent=2, allow_nan=False, ensure_ascii=False)

    def write(self, folder: Path) -> Path:
        """Writes index.html, audit.json and rows.csv; where the page is."""
        make_out_folder(folder)
        write_json(folder / "audit.json", self.data())
        write_text(folder / "rows.csv", rows_csv(self.case, self.findings))
        write_text(folder / "index.html", audit_page(self.case, self.findings).html())
        return (folder / "index.html").absolute()

    def exit_code(self, fail_on: str | None = None) -> int:
        """1 where a finding reaches `fail_on`, else 0."""
        if fail_on is None:
            return 0
        least = SEVERITIES.index(require_severity(fail_on))
        return int(any(SEVERITIES.index(one.severity) >= least for one in self.findings))


def require_severity(fail_on: str) -> str:
    """The severity that `--fail-on` names.

    Raises:
        RequestError: it is none.
    """
    if fail_on in SEVERITIES:
        return fail_on
    guess = nearest(fail_on, SEVERITIES)
    hint = f" Did you mean {guess!r}?" if guess else ""
    raise RequestError(f"--fail-on: {fail_on!r} is no severity.{hint} Choose one of: {', '.join(SEVERITIES)}.")


def audit_source(
    source: Path | str,
    draft: Callable[[Path | str], DataConfig],
    overrides: Sequence[str] = (),
    workers: int | None = None,
    fail_on: str | None = None,
) -> Audit:
    """Audits a configuration's data, or a folder, table or .npz file.

    What was measured of each image is kept in the cache folder: an audit that was killed goes on where it was.

    Args:
        source: a YAML file, or data.
        draft: reads plain data: which section `data` would read them.
        overrides: of a configuration, as "data.split.seed=1".
        workers: processes that read images; None: as `data.workers` says.
        fail_on: checked before anything is read.

    Raises:
        ConfigError: the configuration cannot be used, or workers is below 1.
        DataError: nothing is there that can be read as samples.
        RequestError: `fail_on` is no severity.
    """
    if fail_on is not None:
        require_severity(fail_on)
    if workers is not None and workers < 1:
        raise ConfigError(f"--workers: {workers} is too few; give 1 or more, or leave it out for all cores")
    return audit_loaded(load_audited(source, overrides, draft), workers)


def audit_loaded(loaded: Loaded, workers: int | None = None, progress: Progress | None = None) -> Audit:
    """The same for a set that is loaded already."""
    section = loaded.config.data
    number = workers or (len(os.sched_getaffinity(0)) if section.workers == "auto" else section.workers)
    measured = survey_images(loaded.samples, cache_folder(section.cache), number, progress or Progress())
    images = loaded.samples.images
    confirm = confirm_on(lambda row: images.read(row).pixels)
    copies = find_copies(measured.hashes, confirm, workers=number)
    case = Case(loaded, measured, tuple(copies))
    case = replace(case, told=tuple(find_told(case)), origins=tuple(origins(case)))
    return Audit(case, find(case))
