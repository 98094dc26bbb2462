"""Two processes that train together reproduce one process that accumulates the same two micro-batches."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from osler.config import Config, config_to_yaml
from osler.runs.vitals import read_vitals
from osler.train.fit import train_run
from osler.train.state import load_checkpoint

# Momentum without Adam's division by near-zero second moments, which would magnify rounding.
SETTINGS = {
    "training": {"epochs": 2, "batch_size": 8, "optimizer": "sgd", "learning_rate": 0.01, "ema": 0.9},
    "model": {"dropout": 0.2},
}


@pytest.mark.long
def test_two_ranks_equal_one_that_accumulates(tiny: Callable[..., Config], tmp_path: Path) -> None:
    train_run(tiny(**{**SETTINGS, "training": {**SETTINGS["training"], "accumulate": 2}}), tmp_path / "alone")
    config = tmp_path / "config.yaml"
    config.write_text(config_to_yaml(tiny(**SETTINGS)))
    # The launcher would take --run for an abbreviation of its own --run-path but for the two dashes.
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "--", "osler"]
    done = subprocess.run(
        [*launcher, "train", str(config), "--run", str(tmp_path / "together")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    alone, together = (load_checkpoint(tmp_path / name / "checkpoints" / "last.pt") for name in ("alone", "together"))
    for part in ("model", "average"):
        # BatchNorm's stored statistics are averaged over ranks, which one process that accumulates updates one after the other.
        learned = [name for name in alone[part] if "running" not in name and "num_batches" not in name]
        for name in learned:
            torch.testing.assert_close(alone[part][name], together[part][name], rtol=1e-4, atol=1e-5)
    first, second = (read_vitals(tmp_path / name / "vitals.jsonl") for name in ("alone", "together"))
    assert [epoch["train"]["n"] for epoch in first] == [epoch["train"]["n"] for epoch in second]
    assert first[0]["train"]["loss"]["value"] == pytest.approx(second[0]["train"]["loss"]["value"], rel=1e-4)
