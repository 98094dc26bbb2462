"""What the doctor costs beside a loop: a plain torch loop under `osler.watch`, and Osler's own with its doctor.

    python benchmarks/watch.py [--samples 768] [--size 96] [--batch 32] [--epochs 6] [--threads 1]

Foreign loops: the same network from the same weights on the same tensors, an epoch bare and an epoch watched in turn (A B A B
…). Two figures say what the watch costs: the ratio of the two epochs, pair by pair, which carries the machine's noise; and the
seconds spent within the watch and its optimiser hooks over the seconds of that same epoch, which carries less. Osler's own loop:
the seconds of its doctor (diagnosis, findings.json) over those of the epoch, both of one run. Target: at most 1 % of an epoch, or
50 ms.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from calibration import calibration_seconds
from torch import Tensor, nn

import osler
from osler.adapters.watch import Watch
from osler.config import load_config
from osler.train.fit import train_run
from osler.train.watch import DoctorWatch

SHARE, SECONDS = 0.01, 0.05


@dataclass
class Loop:
    """A loop as a careful person writes it.

    Attributes:
        model: to train.
        loss: of logits and targets.
        images, targets: of all samples, the last quarter for validation.
        batch: samples a batch.
    """

    model: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    images: Tensor
    targets: Tensor
    batch: int

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)

    def epoch(self, doctor: Watch | None) -> float:
        """Trains and validates once; the seconds that took."""
        begun, cut = time.perf_counter(), 3 * len(self.images) // 4
        self.model.train()
        for rows in self._batches(torch.randperm(cut)):
            logits = self.model(self.images[rows])
            loss = self.loss(logits, self.targets[rows])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            if doctor is not None:
                doctor.step(loss, logits, self.targets[rows])
        self.model.eval()
        with torch.no_grad():
            for rows in self._batches(torch.arange(cut, len(self.images))):
                logits = self.model(self.images[rows])
                loss = self.loss(logits, self.targets[rows])
                if doctor is not None:
                    doctor.validate(logits, self.targets[rows], loss=loss)
        if doctor is not None:
            doctor.epoch()
        return time.perf_counter() - begun

    def _batches(self, order: Tensor) -> Iterator[Tensor]:
        return (order[start : start + self.batch] for start in range(0, len(order), self.batch))


def classifier(options: argparse.Namespace, classes: int) -> Loop:
    from torchvision.models import resnet18

    model = resnet18(num_classes=classes)
    images = torch.randn(options.samples, 3, options.size, options.size)
    targets = (torch.rand(options.samples, classes) < 0.1).float()
    return Loop(model, nn.functional.binary_cross_entropy_with_logits, images, targets, options.batch)


def segmenter(options: argparse.Namespace) -> Loop:
    layers: list[nn.Module] = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()]
    for _ in range(4):
        layers += [nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Conv2d(16, 1, 1))
    images = torch.randn(options.samples // 2, 1, options.size, options.size)
    targets = torch.zeros_like(images)
    targets[:, :, 10:25, 10:30] = 1
    return Loop(model, nn.functional.binary_cross_entropy_with_logits, images, targets, options.batch // 2)


def race(
    name: str, task: str, make: Callable[[], Loop], epochs: int, folder: Path
) -> tuple[str, list[float], list[float], list[float]]:
    """Seconds of bare epochs, of watched ones, and of the watch within these; the first pair warms up and is left out."""
    loops = []
    for _ in range(2):
        torch.manual_seed(0)
        loops.append(make())
    plain, beside = loops
    doctor = osler.watch(folder, task, loss={"type": "bce"}, training={"epochs": epochs + 1}, optimizer=beside.optimizer)
    bare: list[float] = []
    watched: list[float] = []
    within: list[float] = []
    for _ in range(epochs + 1):
        bare.append(plain.epoch(None))
        watched.append(beside.epoch(_Counted(doctor, within)))  # type: ignore[arg-type]
    return name, bare[1:], watched[1:], within[1:]


class _Counted:
    """A watch that tells the seconds spent in it by the clock outside."""

    def __init__(self, doctor: Watch, totals: list[float]) -> None:
        self.doctor, self.totals, self.seconds = doctor, totals, 0.0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.doctor, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            meter = self.doctor._meter
            hooks = meter.cost if meter is not None and name == "epoch" else 0.0
            begun = time.perf_counter()
            found = method(*args, **kwargs)
            self.seconds += time.perf_counter() - begun + hooks
            if name == "epoch":
                self.totals.append(self.seconds)
            return found

        return timed


def own_loop(options: argparse.Namespace, folder: Path) -> tuple[list[float], list[float]]:
    """Seconds of Osler's own epochs, and of its doctor after each."""
    seconds: list[float] = []
    epoch_done = DoctorWatch.epoch_done

    def timed(self: DoctorWatch, *args: Any) -> None:
        begun = time.perf_counter()
        epoch_done(self, *args)
        seconds.append(time.perf_counter() - begun)

    config = load_config(
        {
            "data": {"phantom": {"samples": options.samples, "size": options.size}, "cache": str(folder / "cache")},
            "model": {"architecture": "efficientnet_lite0"},
            "training": {
                "epochs": options.epochs + 1, "batch_size": options.batch, "threads": options.threads, "device": "cpu",
                "early_stopping": None,
            },
        }
    )  # fmt: skip
    DoctorWatch.epoch_done = timed  # type: ignore[method-assign, assignment]
    try:
        run = train_run(config, folder / "own")
    finally:
        DoctorWatch.epoch_done = epoch_done  # type: ignore[method-assign]
    epochs = [line["seconds"]["epoch"] for line in osler.read_vitals(run.vitals_file)]
    return epochs[1:], seconds[1:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=768)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"calibration: {calibration_seconds():.2f} s · {options.threads} threads", flush=True)
    print("| loop | epoch, s | the watch, ms | of the epoch | watched / bare epoch, least · median · most |\n|--|--:|--:|--:|--|")
    kept = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        foreign = [
            race("foreign, 1 label, resnet18", "binary", lambda: classifier(options, 1), options.epochs, folder / "1"),
            race("foreign, 14 labels, resnet18", "multilabel", lambda: classifier(options, 14), options.epochs, folder / "14"),
            race("foreign, masks", "segmentation", lambda: segmenter(options), options.epochs, folder / "masks"),
        ]
        for title, bare, watched, within in foreign:
            pairs = sorted(one / other for one, other in zip(watched, bare, strict=True))
            kept &= row(title, watched, within, f"{pairs[0]:.3f} · {statistics.median(pairs):.3f} · {pairs[-1]:.3f}")
        kept &= row("Osler's own, efficientnet_lite0", *own_loop(options, folder), "")
    print("target kept" if kept else f"missed: more than {SHARE:.0%} of an epoch and more than {1000 * SECONDS:.0f} ms")
    return 0 if kept else 1


def row(title: str, epochs: list[float], within: list[float], pairs: str) -> bool:
    """Prints a loop's figures; whether they keep the target."""
    epoch, cost = statistics.median(epochs), statistics.median(within)
    print(f"| {title} | {epoch:.2f} | {1000 * cost:.0f} | {cost / epoch:.2%} | {pairs} |", flush=True)
    return cost <= max(SECONDS, SHARE * epoch)


if __name__ == "__main__":
    sys.exit(main())
