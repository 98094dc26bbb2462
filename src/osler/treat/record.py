"""The record of a treatment, in RUN/treatment: what was decided and what became of it, so that any kill is only a pause.

treatment/
  state.json         trial, attempts, arms, time spent, the test set's figures; written after every step
  arms/NAME/         a run folder for each arm
  arms/NAME.yaml     its configuration, as it was asked for
  test/NAME.npz      predictions of the test set, made at the end
  worker.log         what the arms' trainings said
  treated.yaml       the best proven configuration, with its history
  treatment.json  report.html  report.md
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from osler.config import Config, load_config
from osler.errors import RunError
from osler.files import in_one_process, write_json
from osler.runs.folder import RunFolder
from osler.treat.arms import Group, Trial, restored
from osler.treat.patch import Patch, patch_from_json

__all__ = ["Attempt", "Record", "TreatmentFolder"]

STATE_SCHEMA = "osler.treatment-state/1"


class TreatmentFolder:
    """Paths of a treatment."""

    def __init__(self, run: RunFolder) -> None:
        self.path = run.path / "treatment"
        self.state = self.path / "state.json"
        self.arms = self.path / "arms"
        self.test = self.path / "test"
        self.log = self.path / "worker.log"
        self.treated = self.path / "treated.yaml"
        self.page = self.path / "report.html"

    def arm(self, name: str) -> Path:
        """The run folder of an arm."""
        return self.arms / name

    def make(self) -> None:
        """Makes the folders.

        Raises:
            RunError: they cannot be made.
        """
        try:
            for folder in (self.path, self.arms, self.test):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.path}: cannot be made: {error.strerror}. Make the run folder writable.") from error

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Holds the treatment; RunError where another process does."""
        said = f"{self.path}: another process is treating this run. Wait for it, or stop it first."
        with in_one_process(self.path / ".lock", said):
            yield


@dataclass
class Attempt:
    """One prescription that is tried.

    Attributes:
        number: from 1.
        patch: the prescription.
        onto: group whose configuration it was laid over: "rerun" is the run's own.
        measure: name of the figure that it is judged by.
        group: the treated group's name.
        ended: why it went no further, where an arm failed or was hopeless; "" else.
    """

    number: int
    patch: Patch
    onto: str
    measure: str
    group: str
    ended: str = ""


@dataclass
class Record:
    """Everything that was decided; the arms' folders hold the rest.

    Attributes:
        digest: of the run's configuration and vitals, so that a run that went on is not treated by its old findings.
        trial: how arms are trained.
        groups: by name.
        attempts: in order.
        refused: why findings gave no prescription.
        spent: seconds of training.
        why_ended: why no further prescription was tried; "" while the treatment is not at its end.
        test: figures of the test set; None before it is read.
    """

    digest: str
    trial: Trial
    groups: dict[str, Group] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    spent: float = 0.0
    why_ended: str = ""
    test: dict[str, Any] | None = None

    def save(self, folder: TreatmentFolder) -> None:
        """Writes the state, atomically."""
        groups = {
            name: {
                "config": group.config.model_dump(mode="json"),
                "what": group.what,
                "arms": [vars(arm) for arm in group.arms],
            }
            for name, group in self.groups.items()
        }
        attempts = [{**vars(one), "patch": one.patch.to_json()} for one in self.attempts]
        rest = {name: getattr(self, name) for name in ("digest", "refused", "spent", "why_ended", "test")}
        write_json(
            folder.state, {"schema": STATE_SCHEMA, "trial": asdict(self.trial), "groups": groups, "attempts": attempts, **rest}
        )

    @classmethod
    def load(cls, folder: TreatmentFolder) -> Record | None:
        """The state that was saved; None where there is none.

        Raises:
            RunError: it is damaged, or of another version.
        """
        if not folder.state.is_file():
            return None
        again = f"Remove {folder.path} to begin anew; the run itself is not touched."
        try:
            value = json.loads(folder.state.read_text(encoding="utf-8"))
            if value["schema"] != STATE_SCHEMA:
                raise RunError(
                    f"{folder.state}: of schema {value['schema']!r}, and this version writes {STATE_SCHEMA!r}. {again}"
                )
            groups = {
                name: restored(Group(name, _config(one["config"]), one["what"]), one["arms"])
                for name, one in value["groups"].items()
            }
            attempts = [Attempt(**{**one, "patch": patch_from_json(one["patch"])}) for one in value["attempts"]]
            rest = {name: value[name] for name in ("digest", "refused", "spent", "why_ended", "test")}
            return cls(trial=Trial(**value["trial"]), groups=groups, attempts=attempts, **rest)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{folder.state}: is damaged ({type(error).__name__}: {error}). {again}") from error


def _config(values: dict[str, Any]) -> Config:
    return load_config(values)


def run_digest(run: RunFolder) -> str:
    """Changes when the run's configuration or vitals do."""
    content = hashlib.sha256(run.config_file.read_bytes())
    content.update(run.vitals_file.read_bytes() if run.vitals_file.is_file() else b"")
    return content.hexdigest()[:16]
