"""A sick run that a treatment starts from: trained once, copied for each test."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from osler.config import load_config
from osler.runs.folder import RunFolder
from osler.train.fit import train_run

sys.path.insert(0, str(Path(__file__).parent))

SICK = {
    "data": {
        "phantom": {"samples": 360, "size": 32, "findings": ["cardiomegaly"], "prevalence": 0.5, "difficulty": 0.0},
        "split": {"ratio": [0.2, 0.5, 0.3]},
        "workers": 1,
    },
    "model": {"architecture": "small"},
    "training": {"epochs": 3, "batch_size": 8, "learning_rate": 1e-7, "device": "cpu", "threads": 1},
}


@pytest.fixture(scope="session")
def sick_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose learning rate is ten thousand times too low."""
    folder = tmp_path_factory.mktemp("sick")
    config = load_config({**SICK, "data": {**SICK["data"], "cache": str(folder / "cache")}})
    return train_run(config, folder / "run").path


@pytest.fixture
def sick(sick_run: Path, tmp_path: Path) -> RunFolder:
    """A copy of that run."""
    shutil.copytree(sick_run, tmp_path / "run")
    return RunFolder.open(tmp_path / "run")
