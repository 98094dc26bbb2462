"""Processes that train together: the figures of val do not depend on how many they are, nor does what is learned."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from osler.config import Config, config_to_yaml
from osler.data.load import load_data
from osler.runs.vitals import read_vitals
from osler.tasks.build import build_task
from osler.tasks.task import Outputs, Task
from osler.train.fit import train_run
from osler.train.machine import Machine, Ranks
from osler.train.resolve import resolve
from osler.train.setup import Batches, build_batches, prepare_images, survey_masks
from osler.train.state import load_checkpoint

# Momentum without Adam's division by near-zero second moments, which would magnify rounding.
SETTINGS = {
    "training": {"epochs": 2, "batch_size": 8, "optimizer": "sgd", "learning_rate": 0.01, "ema": 0.9},
    "model": {"dropout": 0.2},
}


Parts = tuple[Task, Callable[[int, int], Batches]]
MASKS: dict[str, Any] = {
    "data": {
        "task": "segmentation",
        "phantom": {"samples": 70, "size": 32, "findings": ["nodule"], "prevalence": 0.7, "lesion_area": [0.01, 0.2]},
        "split": {"ratio": [0.4, 0.3, 0.3]},
    },
    "preparation": {"size": 32},
    "model": {"architecture": "compact", "width": 4, "levels": 3},
    "training": {"batch_size": 4},
}


@pytest.fixture
def built(tiny: Callable[..., Config]) -> Callable[..., Parts]:
    """An untrained task, and the batches of a rank of so many; keyword arguments are sections of the configuration."""

    def build(**sections: Any) -> Parts:
        config = tiny(**sections)
        data = load_data(config.data)
        config = resolve(config, data)
        data, cache = prepare_images(config, data, None)
        torch.manual_seed(0)
        task = build_task(config, data, cache, survey_masks(data, cache, None))

        def batches(rank: int, world: int) -> Batches:
            return build_batches(config, data, cache, Machine(torch.device("cpu"), "fp32", Ranks(rank, world)))

        return task, batches

    return build


@torch.no_grad()
def evaluated(task: Task, batches: Batches) -> Outputs:
    """What one rank says of its share of val."""
    outputs = task.outputs(training=False)
    task.model.eval()
    for batch in batches.val:
        logits, terms = task.forward(task.model, batch)
        # Untrained, all images would be told about the same: each gets a level of its own.
        outputs.add(logits + torch.as_tensor(batch.rows % 7 - 3.0).float().view(-1, *[1] * (logits.ndim - 1)), batch, terms)
    return outputs


def together(ranks: list[Outputs], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `gathered` gives each of these ranks."""

    def all_gather(every: list[Any], own: Any) -> None:
        every[:] = [outputs.arrays() if outputs.rows else {} for outputs in ranks]

    with monkeypatch.context() as patched:
        patched.setattr(dist, "is_initialized", lambda: True)
        patched.setattr(dist, "get_world_size", lambda: len(ranks))
        patched.setattr(dist, "all_gather_object", all_gather)
        return ranks[0].gathered()


@pytest.mark.parametrize("world", [2, 3, 9])
@pytest.mark.parametrize("sections", [MASKS, {"training": {"batch_size": 4}}], ids=["masks", "labels"])
def test_the_figures_of_val_are_those_of_one_rank(
    built: Callable[..., Parts], sections: dict[str, Any], world: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An overlap pools over a batch, and so does its floor: which images share one must not depend on who evaluates them."""
    task, batches = built(**sections)
    alone = evaluated(task, batches(0, 1)).gathered()
    shares = [batches(rank, world) for rank in range(world)]
    assert sum(len(share.val) for share in shares) == len(batches(0, 1).val)
    assert world < 9 or not len(shares[-1].val), "more ranks than batches: the last has none"
    gathered = together([evaluated(task, share) for share in shares], monkeypatch)
    assert gathered["rows"].tolist() == alone["rows"].tolist()
    assert (gathered["values"] == alone["values"]).all()
    expected, found = task.figures(alone), task.figures(gathered)
    for name in ("loss", "floor", "skill", "macro"):
        assert found[name] == expected[name], name


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
