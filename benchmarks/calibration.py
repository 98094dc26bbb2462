"""The calibration loop: a fixed piece of work whose time stands beside every absolute figure, so that machines can be compared.

    python benchmarks/calibration.py

Prints the seconds of 20 forward and backward passes of a fixed convolution stack on 32 images of 56², the least of three runs.
"""

from __future__ import annotations

import time

import torch
from torch import nn

__all__ = ["calibration_seconds"]


def calibration_seconds() -> float:
    """Seconds of the fixed work on this machine, now."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(64, 64, 3, padding=1) for _ in range(4)]
    network = nn.Sequential(*(part for layer in layers for part in (layer, nn.BatchNorm2d(64), nn.ReLU())))
    images = torch.rand(32, 64, 56, 56)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(20):
            network(images).mean().backward()
        best = min(best, time.perf_counter() - start)
    return best


if __name__ == "__main__":
    print(f"calibration: {calibration_seconds():.2f} s on {torch.get_num_threads()} threads")
