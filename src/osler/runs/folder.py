"""The run folder: the one interface between commands.

runs/<name>_<timestamp>/
  config.yaml        resolved and complete: running it again is the same run
  env.json           versions, git commit, device, threads, seed, data fingerprint
  facts.json         what is known once per run: counts, prevalences, the loss and sampler in force, split hashes
  card.json          how to feed and read the model
  splits.csv         id, split, patient and metadata of every sample
  vitals.jsonl       one object per epoch
  metrics.csv        the same for a spreadsheet
  checkpoints/       best.pt, last.pt
  predictions/       val.npz, test.npz
  logs/              train.log, TensorBoard events
  evaluation.json  findings.json  report.html  report.md
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from osler.config import Config, config_to_yaml, load_config
from osler.errors import RunError
from osler.files import in_one_process, write_json, write_text

__all__ = ["RunFolder"]


class RunFolder:
    """Paths of a run and what is written there.

    run = RunFolder.create(config)          # runs/<name>_<timestamp>
    run = RunFolder.create(config, path)    # a folder that is absent or empty
    run = RunFolder.open(path)              # one that training began
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.config_file = self.path / "config.yaml"
        self.env_file = self.path / "env.json"
        self.facts_file = self.path / "facts.json"
        self.card_file = self.path / "card.json"
        self.splits_file = self.path / "splits.csv"
        self.vitals_file = self.path / "vitals.jsonl"
        self.metrics_file = self.path / "metrics.csv"
        self.evaluation_file = self.path / "evaluation.json"
        self.checkpoints = self.path / "checkpoints"
        self.predictions = self.path / "predictions"
        self.logs = self.path / "logs"

    @classmethod
    def create(cls, config: Config, path: Path | None = None) -> RunFolder:
        """Makes the folder of a new run.

        Raises:
            RunError: the folder is there and not empty, or cannot be made.
        """
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        wanted = path or config.run.folder / f"{config.run.name}_{stamp}"
        if wanted.exists() and (not wanted.is_dir() or any(wanted.iterdir())):
            if path is not None:
                raise RunError(
                    f"{wanted}: is there and not empty. A new run needs an absent or empty folder; to go on with the run "
                    f"in it, use `osler resume {wanted}`."
                )
            wanted = next(new for n in range(2, 1000) if not (new := wanted.with_name(f"{wanted.name}-{n}")).exists())
        run = cls(wanted)
        try:
            for folder in (run.path, run.checkpoints, run.predictions, run.logs):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{wanted}: cannot be made: {error.strerror}. Choose another folder with --run DIR.") from error
        return run

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """The folder of a run that was begun.

        Raises:
            RunError: it is not there, or is no run folder.
        """
        run = cls(Path(path))
        if not run.path.is_dir():
            raise RunError(f"{path}: no such run folder.")
        if not run.config_file.is_file():
            raise RunError(
                f"{path}: is not a run folder: it has no config.yaml. A run folder is what `osler train` prints last, "
                "such as runs/run_20260101-120000."
            )
        return run

    def config(self) -> Config:
        """The resolved configuration of this run."""
        return load_config(self.config_file)

    def write_config(self, config: Config) -> None:
        write_text(self.config_file, config_to_yaml(config))

    def write(self, path: Path, value: Any) -> None:
        """Writes strict JSON to one of the run's files."""
        write_json(path, value)

    def read(self, path: Path) -> Any:
        """Reads one of the run's JSON files.

        Raises:
            RunError: it is not there yet, or damaged.
        """
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(
                f"{path}: is not there. The run may have stopped before its end: `osler resume {self.path}`."
            ) from None
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: cannot be read: {error}") from error

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Holds the run for writing; RunError where another process trains in it."""
        said = f"{self.path}: another process is training in this run. Wait for it, or stop it first."
        with in_one_process(self.path / ".lock", said):
            yield
