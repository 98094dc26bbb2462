"""Ten runs killed at random moments and resumed: the same bits as the uninterrupted run's."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from osler.config import Config, config_to_yaml
from osler.runs.vitals import read_vitals
from osler.train.state import load_checkpoint

SETTINGS = {
    "training": {
        "epochs": 6,
        "ema": 0.9,
        "checkpoint_every": 0.003,
        "batch_size": 4,
        "accumulate": 2,
        "warmup_epochs": 0.5,
        "phases": [{"train": "head", "epochs": 1}, {"train": "all", "epochs": 5}],
    },
    "data": {"sampler": "balanced", "phantom": {"samples": 240, "prevalence": 0.3}},
    "model": {"dropout": 0.3},
    "augmentation": {"noise": 0.05},
}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from osler.cli import main; main()", *map(str, arguments)]


def run_to_the_end(*arguments: object) -> None:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def killed_while_training(arguments: list[object], run: Path, epoch: int, delay: float) -> None:
    """Starts a command and kills it `delay` seconds after the run's vitals have `epoch` lines."""
    process = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    vitals = run / "vitals.jsonl"
    while process.poll() is None and not (epoch == 0 and (run / "config.yaml").exists()):
        if vitals.exists() and vitals.read_text().count("\n") >= epoch:
            break
        time.sleep(0.005)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.long
def test_ten_kills_change_no_bit(tiny: Callable[..., Config], tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(config_to_yaml(tiny(**SETTINGS)))
    run_to_the_end("train", config, "--run", tmp_path / "whole")
    whole = load_checkpoint(tmp_path / "whole" / "checkpoints" / "last.pt")
    chance = random.Random(20)
    for number in range(10):
        run = tmp_path / f"killed-{number}"
        killed_while_training(["train", config, "--run", run], run, chance.randrange(0, 5), chance.uniform(0.0, 1.0))
        run_to_the_end("resume", run)
        again = load_checkpoint(run / "checkpoints" / "last.pt")
        for part in ("model", "average"):
            different = [name for name, tensor in whole[part].items() if not torch.equal(tensor, again[part][name])]
            assert not different, f"run {number}: {part}: {different}"
        assert [epoch["epoch"] for epoch in read_vitals(run / "vitals.jsonl")] == [1, 2, 3, 4, 5, 6]
