"""The machine a run trains on: device, precision, threads, and the ranks of `torchrun`."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import cv2
import torch
import torch.distributed as dist
from torch import nn

from osler.config import TrainingConfig
from osler.errors import ModelError

__all__ = ["Machine", "Ranks", "environment", "peak_memory_mb", "ranks", "start_machine"]

Precision = Literal["fp32", "bf16", "fp16"]
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is; `torchrun` says so in the environment."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes the run."""
        return self.rank == 0


def ranks() -> Ranks:
    """This process's place among those that `torchrun` started; alone without it."""
    environ = os.environ
    return Ranks(int(environ.get("RANK", 0)), int(environ.get("WORLD_SIZE", 1)), int(environ.get("LOCAL_RANK", 0)))


@dataclass(frozen=True)
class Machine:
    """Where and how tensors are computed.

    Attributes:
        device: the device of this rank.
        precision: fp32, or the type that autocast uses. Loss and weights stay in fp32.
        ranks: this process among its fellows.
    """

    device: torch.device
    precision: Precision
    ranks: Ranks

    def autocast(self) -> Any:
        """A context in which the forward pass runs in the machine's precision."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=DTYPES[self.precision])

    def synchronise(self) -> None:
        """Waits until the device has done what it was given, so that a clock tells the truth."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def pick_device(name: str, place: Ranks) -> torch.device:
    """The device of a configuration's name; "auto" is this rank's GPU where there is one.

    Raises:
        ModelError: the device is not there.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda", place.local % count) if count else torch.device("cpu")
    device = torch.device(name)
    if device.type == "cuda":
        if count == 0:
            raise ModelError(
                f"training.device: {name} was asked for, and this machine has no usable GPU. Use device: auto or cpu."
            )
        if ":" not in name:
            return torch.device("cuda", place.local % count)
        if device.index >= count:
            raise ModelError(
                f"training.device: {name} was asked for, and this machine has {count} GPU(s): cuda:0 to cuda:{count - 1}."
            )
    return device


def pick_precision(wanted: Precision | Literal["auto"], device: torch.device, alone: bool = True) -> Precision:
    """The precision of "auto": bf16 where the hardware multiplies it fast and it measures so, else fp32.

    On a CPU bf16 pays with AMX units alone, and there not for every network; a quick race of one convolution decides. Several
    ranks hold no race, since its winner might differ between them.
    """
    if wanted == "fp16" and device.type == "cpu":
        raise ModelError("training.precision: fp16 needs a GPU; on a CPU use fp32, bf16 or auto.")
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if alone and torch.cpu._is_amx_tile_supported() and _bf16_race(device) > 1.3 else "fp32"


def _bf16_race(device: torch.device) -> float:
    """How many times faster a convolution's forward and backward pass is in bf16 than in fp32."""
    layer = nn.Conv2d(64, 64, 3, padding=1).to(device).to(memory_format=torch.channels_last)
    images = torch.zeros(16, 64, 28, 28, device=device).to(memory_format=torch.channels_last)
    seconds: dict[bool, float] = {}
    for enabled in (False, True):
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled):
                torch.autograd.backward(layer(images).sum())
            best = min(best, time.perf_counter() - start)
        seconds[enabled] = best
    return seconds[False] / seconds[True]


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_memory() -> bool:
    """Asks glibc to keep freed memory instead of giving it back to the kernel at once; whether it listened.

    Activations of a training step are large and short-lived; by default each is mapped, faulted in page by page, and unmapped
    again. Kept, a step of EfficientNet-Lite0 at 128 pixels took 15 to 25 % less time on two cores, at the same peak memory.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        return bool(libc.mallopt(_M_MMAP_THRESHOLD, 2**30) and libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
    except (OSError, AttributeError):  # another C library
        return False


@contextmanager
def start_machine(config: TrainingConfig) -> Iterator[Machine]:
    """Sets threads, determinism and ranks for a run whose configuration is resolved, and takes ranks down at its end."""
    place = ranks()
    device = pick_device(config.device, place)
    assert config.threads != "auto", "the configuration is resolved before the machine starts"
    keep_memory()
    torch.set_num_threads(config.threads)
    cv2.setNumThreads(config.threads)
    # A collapsed network's activations fall into denormals, which some CPUs compute ten times slower.
    torch.set_flush_denormal(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    joined = place.world > 1 and not dist.is_initialized()
    if joined:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        # The others wait while the first rank prepares images, which may take hours.
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(days=1))
    try:
        yield Machine(device, pick_precision(config.precision, device), place)
    finally:
        if joined:
            dist.destroy_process_group()


def peak_memory_mb(device: torch.device) -> float:
    """Largest memory so far in MiB: of the GPU's allocator, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def environment(machine: Machine, versions: dict[str, str]) -> dict[str, Any]:
    """What `env.json` says of where a run trained."""
    name = (
        torch.cuda.get_device_name(machine.device)
        if machine.device.type == "cuda"
        else platform.processor() or platform.machine()
    )
    return {
        "versions": {"python": platform.python_version(), "torch": torch.__version__, **versions},
        "platform": platform.platform(terse=True),
        "device": str(machine.device),
        "device_name": name,
        "precision": machine.precision,
        "threads": torch.get_num_threads(),
        "ranks": machine.ranks.world,
        "git_commit": git_commit(),
    }


def git_commit() -> str | None:
    """The commit of the working directory, with "+changes" where files differ; None outside a repository."""
    try:
        commit = _git("rev-parse", "HEAD")
        return f"{commit}+changes" if _git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=Path.cwd(), capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
