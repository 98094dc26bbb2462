from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from osler.config import ModelConfig
from osler.errors import ModelError
from osler.models.classifier import ModelSpec, build_model
from osler.models.segmenters import Segmenter, SegmenterSpec, build_segmenter, resolve_encoder, resolve_segmenter
from osler.models.weights import embedded_weights


def build(channels: int = 1, classes: int = 1, **options: Any) -> Segmenter:
    torch.manual_seed(0)
    return build_segmenter(ModelConfig(**options), SegmenterSpec(classes, channels, 64))


def parameters(model: Segmenter) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("options", "architecture", "encoder"),
    [
        ({}, "compact", None),
        ({"encoder": "densenet121"}, "unet", "densenet121"),
        ({"pretrained": "embedded"}, "unet", "efficientnet_lite0"),
        ({"pretrained": True}, "unet", "efficientnet_lite0"),
        ({"architecture": "fpn"}, "fpn", "efficientnet_lite0"),
        ({"architecture": "compact", "encoder": None}, "compact", None),
        ({"encoder": None}, "compact", None),
    ],
)
def test_what_auto_means(options: dict[str, Any], architecture: str, encoder: str | None) -> None:
    config = ModelConfig(**options)
    assert (resolve_segmenter(config), resolve_encoder(config)) == (architecture, encoder)
    again = config.model_copy(update={"architecture": architecture, "encoder": encoder})
    assert (resolve_segmenter(again), resolve_encoder(again)) == (architecture, encoder)


def test_a_classifiers_name_says_how_to_use_it_as_an_encoder() -> None:
    with pytest.raises(ModelError, match=r"segmentation.*architecture: unet, encoder: densenet121"):
        build(architecture="densenet121")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"head": (8,)}, "model.head"),
        ({"attention": True}, "model.attention"),
        ({"architecture": "compact", "encoder": "resnet50"}, "model.encoder: compact"),
        ({"architecture": "compact", "pretrained": True}, "no published weights"),
        ({"architecture": "unet", "encoder": "resnet50", "pretrained": "embedded"}, "those of efficientnet_lite0"),
        ({"architecture": "fpn", "deep_supervision": True}, "compact, unet, unetplusplus, manet"),
        ({"architecture": "unet", "encoder": "timm:resnet_18"}, "model.encoder: timm .* has no model"),
        ({"architecture": "unet", "encoder": "timm:vit_tiny_patch16_224"}, "model.encoder: vit_tiny_patch16_224 cannot be used"),
        ({"architecture": "deeplabv3plus", "encoder": "densenet121"}, "under deeplabv3plus"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ModelError, match=told):
        build(**options)


def test_faults_are_reported_together() -> None:
    with pytest.raises(ModelError) as told:
        build(architecture="compact", encoder="resnet50", pretrained="embedded", head=(4,))
    assert str(told.value).count("\n") == 2


@pytest.mark.parametrize("channels", [1, 3])
def test_embedded_weights_stand_in_the_encoder(channels: int) -> None:
    model = build(channels, architecture="unet", pretrained="embedded")
    stem = model.state_dict()["backbone.model.conv_stem.weight"]
    theirs = next(iter(embedded_weights().values()))
    torch.testing.assert_close(stem, theirs if channels == 3 else theirs.sum(1, keepdim=True))
    assert "288 tensors of the embedded" in model.notes[0]
    assert model.mean.flatten().tolist() == pytest.approx([127.5] * channels)


def test_a_gray_image_is_seen_alike_through_one_channel_or_three() -> None:
    gray, colour = (build(channels, architecture="unet", pretrained="embedded").eval() for channels in (1, 3))
    image = torch.randint(0, 256, (1, 1, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        for one, three in zip(
            gray.backbone(gray.normalised(image))[1:],
            colour.backbone(colour.normalised(image.expand(-1, 3, -1, -1)))[1:],
            strict=True,
        ):
            torch.testing.assert_close(one, three, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("encoder", "name"), [("timm:resnet18", "resnet18"), ("timm:convnext_atto", "convnext_atto")])
def test_a_file_of_timm_fills_the_encoder(encoder: str, name: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    whole = timm.create_model(name)
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    model = build(3, architecture="unet", encoder=encoder, pretrained=tmp_path / "w.safetensors")
    ours = model.backbone.state_dict()
    theirs = {key.replace("_", ".").removeprefix("model."): tensor for key, tensor in whole.state_dict().items()}
    assert all(torch.equal(tensor, theirs[key.replace("_", ".").removeprefix("model.")]) for key, tensor in ours.items())
    assert not model.output_loaded
    assert any("at random: head.decoder" in note for note in model.notes)
    assert any("no part of the encoder" in note for note in model.notes)


def test_our_own_classifier_fills_the_encoder(tmp_path: Path) -> None:
    classifier = build_model(ModelConfig(architecture="timm:resnet18"), ModelSpec("binary", 1, 1, 64))
    save_file(classifier.state_dict(), tmp_path / "w.safetensors")
    model = build(1, architecture="fpn", encoder="timm:resnet18", pretrained=tmp_path / "w.safetensors")
    assert torch.equal(
        model.state_dict()["backbone.model.layer4.1.bn2.weight"], classifier.state_dict()["backbone.layer4.1.bn2.weight"]
    )
    assert torch.equal(model.mean, classifier.mean)
    assert not model.output_loaded


def test_another_decoder_takes_the_encoder_and_leaves_the_rest(tmp_path: Path) -> None:
    save_file(build(1, architecture="fpn", encoder="timm:resnet18").state_dict(), tmp_path / "w.safetensors")
    model = build(1, architecture="unet", encoder="timm:resnet18", pretrained=tmp_path / "w.safetensors")
    assert not model.output_loaded
    assert any("left out" in note for note in model.notes)


def test_a_file_of_another_encoder_is_refused(tmp_path: Path) -> None:
    save_file(timm.create_model("resnet18").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="does not fit"):
        build(3, architecture="unet", encoder="timm:resnet26", pretrained=tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="does not fit"):
        build(3, architecture="compact", pretrained=tmp_path / "w.safetensors")


def test_deep_supervision_may_be_added_to_loaded_weights(tmp_path: Path) -> None:
    save_file(build(width=4).state_dict(), tmp_path / "w.safetensors")
    model = build(width=4, deep_supervision=True, pretrained=tmp_path / "w.safetensors")
    assert model.output_loaded
    assert any("at random: head.levels" in note for note in model.notes)


def test_a_copy_is_independent_of_what_it_was_copied_from() -> None:
    model = build(architecture="unet", encoder="timm:resnet18", deep_supervision=True).train()
    twin = copy.deepcopy(model)
    images = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    for first, second in zip(model(images), twin(images), strict=True):
        torch.testing.assert_close(first, second)


def test_the_compact_network_spans_the_sizes_it_is_meant_for() -> None:
    assert parameters(build(width=6)) == pytest.approx(67_000, rel=0.01)
    assert parameters(build(width=16)) == pytest.approx(474_000, rel=0.01)
    assert parameters(build(width=32)) == pytest.approx(1_890_000, rel=0.01)
    assert [build(levels=levels).features_stride for levels in (2, 4, 6)] == [2, 8, 32]


def test_asking_for_a_global_operation_changes_nothing() -> None:
    model = build(width=4).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert not model.has_global_operation
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_squeeze_and_excitation_is_found_out() -> None:
    assert build(architecture="segformer", encoder="timm:mobilenetv3_small_050").has_global_operation
    assert not build(architecture="segformer", encoder="timm:resnet18").has_global_operation


def test_an_encoder_built_for_one_size_says_so_before_training() -> None:
    model = build(channels=3, architecture="unet", encoder="timm:swin_tiny_patch4_window7_224").train()
    with pytest.raises(ModelError, match=r"cannot take images of 64 x 64 pixels.*resnet50"):
        model.check_sizes(64)
    assert model.training
    build(width=4).check_sizes(64, 80)


def test_the_compact_network_learns_a_line_of_one_pixel() -> None:
    """Bright lines that are one pixel wide, among noise and dark ones."""
    random = torch.Generator().manual_seed(0)
    images = 100 + 10 * torch.randn(8, 1, 32, 32, generator=random)
    masks = torch.zeros(8, 1, 32, 32)
    for number in range(8):
        masks[number, 0, :, 3 + 3 * number] = 1
        images[number, 0, :, 3 + 3 * number] += 40
        images[number, 0, :, (15 + 3 * number) % 32] -= 40
    model = build(width=4, levels=3).train()
    model.set_output_bias([-3.4])
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(model(images), masks).backward()
        optimiser.step()
    with torch.no_grad():
        found = (model.eval()(images) > 0).float()
    assert (2 * (found * masks).sum() / (found.sum() + masks.sum())).item() > 0.9
