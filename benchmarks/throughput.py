"""Training throughput: Osler's own loop, vitals and all, against a bare PyTorch loop on the same tensors in memory.

    python benchmarks/throughput.py [--architecture efficientnet_lite0] [--size 128] [--samples 512] [--batch 32] [--rounds 5]

Both sides train the same network from the same weights with the same optimiser on the same 8-bit images, one epoch a round, in
turn (A B A B …), so that a machine whose speed drifts slows both. The bare loop indexes one tensor and does forward, loss,
backward, clip, step. Osler's side is `train_epoch`: batches gathered from the cache one ahead, per-batch seeds, loss terms kept
for the vitals, gradient norms, update ratios, the check for a loss that is not finite. Target: at least 0.95 of the bare loop.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from calibration import calibration_seconds
from torch import Tensor, nn

from osler.config import Config, load_config
from osler.data.cache import open_cache
from osler.data.load import load_data
from osler.imaging.preparation import Preparation
from osler.tasks.classification import build_classification
from osler.train.loop import train_epoch
from osler.train.machine import Machine, Ranks
from osler.train.plan import build_optimizer, build_plan
from osler.train.resolve import resolve
from osler.train.setup import build_batches
from osler.train.state import EpochRecord, TrainingState


def configuration(options: argparse.Namespace, cache: str) -> Config:
    phantom = {"samples": options.samples, "size": options.size, "findings": ["cardiomegaly"], "prevalence": 0.5}
    return load_config(
        {
            "data": {"phantom": phantom, "split": {"ratio": [0.9, 0.1, 0.0]}, "cache": cache},
            "augmentation": None,
            "model": {"architecture": options.architecture},
            "training": {"batch_size": options.batch, "schedule": "constant", "learning_rate": 1e-4, "device": options.device},
        }
    )


def bare_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, targets: Tensor, batch: int) -> None:
    """What a careful person writes by hand."""
    model.train()
    order = torch.randperm(len(images), device=images.device)
    for start in range(0, len(order) - 1, batch):
        rows = order[start : start + batch]
        loss = nn.functional.binary_cross_entropy_with_logits(model(images[rows]), targets[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="efficientnet_lite0")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wanted = configuration(options, folder)
        data = load_data(wanted.data)
        config = resolve(wanted, data)
        cache = open_cache(data.source, Preparation(config.preparation), Path(folder))
        cache.ensure(data.rows["train"], 2)
        cache.ensure(data.rows["val"], 2)
        machine = Machine(torch.device(config.training.device), "fp32", Ranks())
        print(f"calibration: {calibration_seconds():.2f} s · {machine.device} · {torch.get_num_threads()} threads")
        rates = race(config, data, cache, machine, options)
    ratios = [osler / bare for osler, bare in rates]
    bare, osler = (statistics.median(side[number] for side in rates) for number in (1, 0))
    print("| side | images/s (median) |\n|--|--|")
    print(f"| bare loop | {bare:.1f} |\n| Osler | {osler:.1f} |")
    ends = f"{min(ratios):.3f} · {statistics.median(ratios):.3f} · {max(ratios):.3f}"
    print(f"| ratio, pair by pair: least, median, most | {ends} |")


def race(config: Config, data: Any, cache: Any, machine: Machine, options: argparse.Namespace) -> list[tuple[float, float]]:
    """Images a second of Osler and of the bare loop, a pair a round; the first, uncounted round warms both up."""
    torch.manual_seed(0)
    task, other = build_classification(config, data), build_classification(config, data)
    for each in (task, other):
        each.model.to(machine.device)
        each.loss.to(machine.device)
    batches = build_batches(config, data, cache, machine)
    state = TrainingState(config, task, build_plan(config.training, len(batches.train)), machine)
    optimizer = build_optimizer(config.training, other.model)
    images = torch.from_numpy(cache.gather(data.rows["train"])).to(machine.device)
    targets = torch.from_numpy(data.targets("train")).to(machine.device)
    rates = []
    for number in range(options.rounds + 1):
        start = time.perf_counter()
        train_epoch(task, task.model, batches.train, state, ())
        machine.synchronise()
        between = time.perf_counter()
        bare_epoch(other.model, optimizer, images, targets, options.batch)
        machine.synchronise()
        end = time.perf_counter()
        state.position.batch, state.record = 0, EpochRecord(task.outputs(training=True))
        if number:
            rates.append((len(images) / (between - start), len(images) / (end - between)))
    return rates


if __name__ == "__main__":
    main()
