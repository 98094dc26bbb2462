"""What an audit of the data found, as facts of a run over them: `audit.json` beside the log, or in a folder `audit` there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from osler.doctor.facts import Facts, read_settings
from osler.errors import ConfigError

__all__ = ["audit_beside"]

# As in `osler.audit.command`, which a test holds equal; the audit needs libraries that a diagnosis does without.
AUDIT_SCHEMA = "osler.audit/1"
PLACES = ("audit.json", "audit/audit.json")


def audit_beside(folder: Path, fingerprint: object = None) -> tuple[Facts, tuple[str, ...]]:
    """The facts of the audit that lies in a folder, and what is to be said of it.

    Args:
        folder: of a run, or of a log.
        fingerprint: of the data that the run was made with; None where it is not known. An audit of other data is left out.
    """
    for place in PLACES:
        if not (folder / place).is_file():
            continue
        try:
            stored = read_settings(folder / place)
        except ConfigError as error:
            return Facts(), (f"{place} cannot be read and is left out: {error}",)
        facts = stored.get("facts")
        if stored.get("schema") != AUDIT_SCHEMA or not isinstance(facts, Mapping):
            continue  # somebody else's file of that name
        of_audit = stored.get("data_fingerprint")
        if fingerprint is not None and of_audit is not None and of_audit != fingerprint:
            said = (
                f"{place} is left out: it is of other data, or another part of them (fingerprint {of_audit}, here {fingerprint})"
            )
            return Facts(), (said,)
        return Facts.of(facts, place, strict=False), ()
    return Facts(), ()
