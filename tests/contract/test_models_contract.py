"""What every architecture of the table promises, new entries included."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from osler.config import ARCHITECTURES, ModelConfig
from osler.models.backbones import BACKBONES
from osler.models.classifier import Classifier, ModelSpec, build_model

SIZE = 64
CLASSES = 3


@cache
def built(name: str, channels: int) -> Classifier:
    torch.manual_seed(0)
    config = ModelConfig(architecture=name, head=(8,), attention=True)
    return build_model(config, ModelSpec("multilabel", CLASSES, channels, SIZE))


def images(channels: int, count: int = 2, size: int = SIZE) -> torch.Tensor:
    return torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_the_table_and_the_configuration_name_the_same_architectures() -> None:
    assert set(BACKBONES) == set(ARCHITECTURES)
    assert all(recipe.about.endswith(".") for recipe in BACKBONES.values())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_bytes_become_finite_logits(name: str, channels: int) -> None:
    model = built(name, channels).eval()
    with torch.no_grad():
        logits = model(images(channels))
    assert logits.shape == (2, CLASSES)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_backward_reaches_every_parameter_by_the_second_step(name: str) -> None:
    """Not by the first: timm starts the last norm of a residual block at zero, which shuts its branch for one step."""
    model = built(name, 3).train()
    model.train_part("all")
    optimiser = torch.optim.Adam(model.parameter_groups(0.0), lr=1e-3)
    for _ in range(2):
        optimiser.zero_grad()
        model(images(3, count=4)).square().sum().backward()
        optimiser.step()
    missed = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert not missed


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_weights_survive_a_file_of_plain_tensors(name: str, tmp_path: Path) -> None:
    model = built(name, 1).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    saved = load_file(tmp_path / "w.safetensors")
    assert saved.keys() == model.state_dict().keys()
    assert all(torch.equal(saved[key], tensor) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_normalisation_travels_with_the_weights(name: str) -> None:
    state = built(name, 3).state_dict()
    assert state["mean"].shape == state["std"].shape == (1, 3, 1, 1)
    assert (state["mean"] > 50).all()
    assert (state["mean"] < 205).all()
    assert (state["std"] > 25).all()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_any_part_can_be_trained(name: str) -> None:
    model = built(name, 3)
    blocks = model.blocks()
    middle = len(blocks) // 2
    for part, first in [
        ("head", len(blocks)),
        (f"from:{middle}", middle),
        (f"from:{blocks[-1][0]}", len(blocks) - 1),
        ("all", 0),
    ]:
        model.train_part(part)
        model.train()
        for number, (_, module) in enumerate(blocks):
            assert all(parameter.requires_grad == (number >= first) for parameter in module.parameters(recurse=False))
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                assert module.training == (number >= first)
        assert all(parameter.requires_grad for parameter in model.head.parameters())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_smallest_sizes_are_taken(name: str) -> None:
    size = 28 if name == "small" else 32
    model = build_model(ModelConfig(architecture=name), ModelSpec("binary", 1, 1, size)).eval()
    with torch.no_grad():
        assert model(images(1, size=size)).shape == (2, 1)
