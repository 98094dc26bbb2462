"""Device, precision, threads and ranks."""

from __future__ import annotations

import pytest
import torch

from osler.errors import ModelError
from osler.train.machine import Ranks, pick_device, pick_precision, ranks

CPU = torch.device("cpu")


def test_alone_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert ranks() == Ranks(0, 1, 0)


def test_torchrun_says_which_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert ranks() == Ranks(3, 4, 1)
    assert not ranks().first


def test_each_rank_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto", Ranks(3, 4, 3)) == torch.device("cuda", 1)
    assert pick_device("cuda", Ranks(0, 4, 0)) == torch.device("cuda", 0)
    with pytest.raises(ModelError, match="this machine has 2 GPU"):
        pick_device("cuda:5", Ranks())


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(ModelError, match="fp16 needs a GPU"):
        pick_precision("fp16", CPU)


def test_what_was_asked_for_is_taken() -> None:
    assert pick_precision("bf16", CPU) == "bf16"
    assert pick_precision("fp32", CPU) == "fp32"


@pytest.mark.parametrize(("race", "precision"), [(3.0, "bf16"), (1.0, "fp32")])
def test_a_race_decides_on_a_cpu_with_matrix_units(monkeypatch: pytest.MonkeyPatch, race: float, precision: str) -> None:
    import osler.train.machine as machine

    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.setattr(machine, "_bf16_race", lambda device: race)
    assert machine.pick_precision("auto", CPU) == precision
