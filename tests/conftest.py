"""What several rooms' tests share: a small configuration that trains in a second, and the folder of real sets."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from osler.config import Config, load_config, merge

TINY: dict[str, Any] = {
    "data": {
        "phantom": {"samples": 72, "size": 32, "findings": ["cardiomegaly"], "prevalence": 0.5, "difficulty": 0.0},
        "split": {"ratio": [0.6, 0.2, 0.2]},
        "workers": 1,
    },
    "model": {"architecture": "small"},
    "training": {"epochs": 2, "batch_size": 8, "learning_rate": 2e-3, "device": "cpu", "threads": 1},
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """And denormals, which a training before may have flushed in this thread."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(False)


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Config]:
    """A configuration that trains in a second; keyword arguments are sections laid over it."""

    def make(**sections: Any) -> Config:
        values = merge(TINY, {"data": {"cache": str(tmp_path / "cache")}, "run": {"folder": str(tmp_path / "runs")}})
        return load_config(merge(values, sections))

    return make


@pytest.fixture(scope="session")
def real_sets() -> Path:
    """The folder of real sets; tests that need it skip without it."""
    folder = os.environ.get("OSLER_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("OSLER_TEST_DATA names no folder of real sets")
    return Path(folder)
