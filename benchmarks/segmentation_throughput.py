"""Training throughput of segmentation: Osler's own loop, vitals and all, against a bare PyTorch loop on tensors in memory.

    python benchmarks/segmentation_throughput.py [--size 96] [--samples 400] [--batch 8] [--rounds 5] [--augment] [--patch P]

Both sides train the compact network from the same weights with the same optimiser on the same 8-bit images and masks, one epoch
a round, in turn (A B A B …), so that a machine whose speed drifts slows both. The bare loop indexes two tensors and does
forward, the combined loss written by hand (0.4 BCE + 0.4 Dice + 0.2 focal), backward, clip, step; it never augments. Osler's
side is `train_epoch`: images and masks gathered from the cache one ahead, loss terms and counts of pixels kept for the vitals,
gradient norms, update ratios, the check for a loss that is not finite. Target: at least 0.95 of the bare loop.

"CPU" is processor time, all threads together, of the bare loop's epoch over that of Osler's; it holds on a busy machine, where
the rates do not, and counts what is hidden behind the network too. An epoch should have a few dozen batches: eight steps of
each are compared with the weights they changed, however long it is.

With --augment Osler's side also moves every image and its mask, which the bare loop does not. With --patch both see squares of
P pixels: Osler cuts them out of larger images, the bare loop has them in memory.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from calibration import calibration_seconds
from torch import Tensor, nn

from osler.config import Config, load_config
from osler.data.cache import PackedCache, open_cache
from osler.data.load import Data, load_data
from osler.imaging.preparation import Preparation
from osler.tasks.build import build_task
from osler.train.loop import train_epoch
from osler.train.machine import Machine, Ranks
from osler.train.plan import build_optimizer, build_plan
from osler.train.resolve import resolve
from osler.train.setup import build_batches, survey_masks
from osler.train.state import EpochRecord, TrainingState


def configuration(options: argparse.Namespace, cache: str) -> Config:
    phantom = {
        "samples": options.samples,
        "size": options.size,
        "findings": ["nodule"],
        "prevalence": 0.7,
        "lesion_area": [0.002, 0.02],
    }
    patches = None if options.patch is None else {"size": options.patch, "per_image": 1}
    split = {"ratio": [0.9, 0.1, 0.0]}
    config = {
        "data": {"phantom": phantom, "task": "segmentation", "split": split, "cache": cache, "patches": patches},
        "preparation": {"size": options.size},
        "model": {"architecture": "compact", "width": options.width},
        "training": {
            "batch_size": options.batch,
            "schedule": "constant",
            "learning_rate": 1e-4,
            "device": options.device,
            "precision": "fp32",
        },
    }
    return load_config(config if options.augment else {**config, "augmentation": None})


def combined(logits: Tensor, masks: Tensor) -> Tensor:
    """0.4 BCE + 0.4 Dice of the batch + 0.2 focal, as one writes it in a notebook."""
    targets = masks.float()
    entropy = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    predicted = logits.sigmoid()
    dice = 1 - (2 * (predicted * targets).sum() + 1) / (predicted.sum() + targets.sum() + 1)
    missing = predicted + targets - 2 * predicted * targets
    return 0.4 * entropy.mean() + 0.4 * dice + 0.2 * (missing**2 * entropy).mean()


def bare_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, masks: Tensor, batch: int) -> None:
    """What a careful person writes by hand."""
    model.train()
    order = torch.randperm(len(images), device=images.device)
    for start in range(0, len(order) - 1, batch):
        rows = order[start : start + batch]
        loss = combined(model(images[rows]), masks[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()


def race(
    config: Config, data: Data, cache: PackedCache, machine: Machine, options: argparse.Namespace
) -> list[tuple[float, float, float]]:
    """Images a second of Osler and of the bare loop, and the ratio of their processor times, bare over Osler, of each round.

    The first, uncounted round warms both up.
    """
    torch.manual_seed(0)
    masks_of = survey_masks(data, cache, None)
    task, other = build_task(config, data, cache, masks_of), build_task(config, data, cache, masks_of)
    for each in (task, other):
        each.model.to(machine.device)
    task.loss.to(machine.device)
    batches = build_batches(config, data, cache, machine)
    state = TrainingState(config, task, build_plan(config.training, len(batches.train)), machine)
    optimizer = build_optimizer(config.training, other.model)
    planes = torch.from_numpy(cache.gather(data.rows["train"])).to(machine.device)
    side = options.patch or options.size
    images, masks = (part[..., :side, :side].contiguous() for part in (planes[:, : cache.channels], planes[:, cache.channels :]))
    rates = []
    for number in range(options.rounds + 1):
        start, work = time.perf_counter(), time.process_time()
        train_epoch(task, task.model, batches.train, state, ())
        machine.synchronise()
        between, work_between = time.perf_counter(), time.process_time()
        bare_epoch(other.model, optimizer, images, masks, options.batch)
        machine.synchronise()
        end, work_end = time.perf_counter(), time.process_time()
        state.position.batch, state.record = 0, EpochRecord(task.outputs(training=True))
        if number:
            work_ratio = (work_end - work_between) / (work_between - work)
            rates.append((len(images) / (between - start), len(images) / (end - between), work_ratio))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96, help="side of the images")
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--width", type=int, default=16, help="of the compact network")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--augment", action="store_true", help="Osler moves images and masks; the bare loop does not")
    parser.add_argument("--patch", type=int, default=None, help="side of the patches that Osler cuts")
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
    osler, bare, works = zip(*rates, strict=True)
    print("| side | images/s (median) |\n|--|--|")
    print(f"| bare loop | {statistics.median(bare):.1f} |\n| Osler | {statistics.median(osler):.1f} |")
    for what, ratios in (("ratio", [ours / theirs for ours, theirs, _ in rates]), ("CPU", works)):
        ends = f"{min(ratios):.3f} · {statistics.median(ratios):.3f} · {max(ratios):.3f}"
        print(f"| {what}, pair by pair: least, median, most | {ends} |")


if __name__ == "__main__":
    main()
