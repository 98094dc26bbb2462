from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

from osler.config import ModelConfig
from osler.errors import ModelError
from osler.models.backbones import build_backbone, resolve_architecture


@pytest.mark.parametrize(
    ("config", "size", "expected"),
    [
        (ModelConfig(), 28, "small"),
        (ModelConfig(), 63, "small"),
        (ModelConfig(), 64, "efficientnet_lite0"),
        (ModelConfig(pretrained="embedded"), 28, "efficientnet_lite0"),
        (ModelConfig(architecture="resnet50"), 28, "resnet50"),
    ],
)
def test_auto_is_small_below_64_pixels(config: ModelConfig, size: int, expected: str) -> None:
    assert resolve_architecture(config, size) == expected


def test_any_timm_model_can_be_named() -> None:
    backbone = build_backbone("timm:resnet18", channels=1, size=32)
    assert backbone.features == 512
    assert backbone.network(torch.zeros(2, 1, 32, 32)).shape == (2, 512)


def test_a_transformer_is_built_for_the_size_asked() -> None:
    backbone = build_backbone("timm:vit_tiny_patch16_224", channels=3, size=64)
    assert backbone.network(torch.zeros(1, 3, 64, 64)).shape == (1, backbone.features)


def test_an_unknown_timm_model_lists_near_names() -> None:
    with pytest.raises(ModelError, match=r"no model 'resnet51'.*Near names: .*resnet50"):
        build_backbone("timm:resnet51", channels=3, size=64)


def test_an_unknown_name_lists_the_table() -> None:
    with pytest.raises(ModelError, match=r"'densnet121' is not known. Did you mean 'densenet121'\?.*timm:NAME"):
        build_backbone("densnet121", channels=3, size=64)


@pytest.mark.parametrize(("architecture", "size"), [("densenet121", 16), ("timm:vit_tiny_patch16_224", 8)])
def test_a_size_that_the_network_cannot_take_is_refused(architecture: str, size: int) -> None:
    with pytest.raises(ModelError, match=rf"{size} × {size}.*preparation.size"):
        build_backbone(architecture, channels=3, size=size)


def test_measuring_the_features_changes_no_statistics() -> None:
    backbone = build_backbone("timm:resnet18", channels=3, size=32)
    assert backbone.network.training
    assert all(int(count) == 0 for name, count in backbone.network.named_buffers() if name.endswith("num_batches_tracked"))


def test_normalisation_is_that_of_the_weights_card_and_its_average_for_one_channel() -> None:
    colour = build_backbone("timm:resnet18", channels=3, size=32)
    gray = build_backbone("timm:resnet18", channels=1, size=32)
    assert colour.mean == (0.485, 0.456, 0.406)
    assert gray.mean == pytest.approx([sum(colour.mean) / 3])
    assert gray.std == pytest.approx([sum(colour.std) / 3])
    assert build_backbone("efficientnet_lite0", channels=3, size=32).std == (0.5, 0.5, 0.5)


def test_a_hub_that_cannot_be_reached_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, pretrained: bool, **options: Any) -> None:
        assert pretrained
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(ModelError, match=r"(?s)'resnet50'.*ConnectionError: Name or service.*\"embedded\".*path.*null"):
        build_backbone("resnet50", channels=3, size=64, from_hub=True)


def test_the_small_network_has_no_published_weights() -> None:
    with pytest.raises(ModelError, match=r"no published weights of the small network"):
        build_backbone("small", channels=1, size=28, from_hub=True)
