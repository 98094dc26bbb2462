"""What every segmenter of the table promises, new entries included."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from osler.config import SEGMENTERS, ModelConfig
from osler.models.decoders import DECODERS
from osler.models.segmenters import Segmenter, SegmenterSpec, build_segmenter

CLASSES = 2
LOCAL = ("compact", "unet", "unetplusplus", "segformer")
DEEP = ("compact", *(name for name, recipe in DECODERS.items() if recipe.coarser))


@cache
def built(name: str, channels: int = 1, deep: bool = False) -> Segmenter:
    torch.manual_seed(0)
    config = ModelConfig(architecture=name, width=4, deep_supervision=deep)
    return build_segmenter(config, SegmenterSpec(CLASSES, channels, 64))


def images(height: int = 64, width: int = 64, channels: int = 1, count: int = 2) -> Tensor:
    size = (count, channels, height, width)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_the_table_and_the_configuration_name_the_same_segmenters() -> None:
    assert set(SEGMENTERS) == {"compact", *DECODERS}
    assert all(recipe.about.endswith(".") for recipe in DECODERS.values())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", SEGMENTERS)
def test_any_size_of_bytes_becomes_finite_logits_of_that_size(name: str, channels: int) -> None:
    model = built(name, channels).eval()
    for height, width in ((33, 70), (7, 100), (1, 1)) if channels == 1 else ((64, 64),):
        with torch.no_grad():
            logits = model(images(height, width, channels))
        assert logits.shape == (2, CLASSES, height, width)
        assert logits.dtype == torch.float32
        assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", SEGMENTERS)
def test_bytes_equal_floats_and_the_padding_is_no_part_of_the_image(name: str) -> None:
    model = built(name).eval()
    small, stride = images(43, 50), model.features_stride
    with torch.no_grad():
        torch.testing.assert_close(model(small), model(small.float()))
        continued = nn.functional.pad(small.float(), (0, -50 % stride, 0, -43 % stride), mode="replicate")
        torch.testing.assert_close(model(small), model(continued)[..., :43, :50], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_backward_reaches_every_parameter_by_the_second_step(name: str) -> None:
    model = built(name, 3).train()
    model.train_part("all")
    optimiser = torch.optim.Adam(model.parameter_groups(0.0), lr=1e-3)
    for _ in range(2):
        optimiser.zero_grad()
        model(images(channels=3)).square().sum().backward()
        optimiser.step()
    missed = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    # MAnet's gates have a hidden layer of one unit or two, whose ReLU may start dead.
    assert not [name for name in missed if ".SE_" not in name]


@pytest.mark.parametrize("name", DEEP)
def test_deep_supervision_gives_coarser_levels_in_training_alone(name: str) -> None:
    model = built(name, deep=True)
    levels = model.train()(images(50, 70))
    assert [tuple(level.shape) for level in levels] == [
        (2, CLASSES, -(-50 // f), -(-70 // f)) for f in (1, 2, 4, 8)[: len(levels)]
    ]
    assert len(levels) >= 3
    sum(level.square().sum() for level in levels).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    with torch.no_grad():
        assert model.eval()(images(50, 70)).shape == (2, CLASSES, 50, 70)
        every = model.forward_levels(images(50, 70))
        assert len(every) == len(levels)
        torch.testing.assert_close(every[0], model(images(50, 70)))


@pytest.mark.parametrize("name", SEGMENTERS)
def test_the_output_starts_at_its_bias(name: str) -> None:
    torch.manual_seed(0)
    deep = name in DEEP
    model = build_segmenter(ModelConfig(architecture=name, width=4, deep_supervision=deep), SegmenterSpec(CLASSES, 1, 64))
    model.set_output_bias([-4.0, 1.5])
    with torch.no_grad():
        levels = model.train().forward_levels(images())
    for logits in levels:
        assert (logits - torch.tensor([-4.0, 1.5])[:, None, None]).abs().mean() < 0.05
        assert logits.std((0, 2, 3)).gt(0).all()


@pytest.mark.parametrize("name", SEGMENTERS)
def test_tiles_equal_the_whole_image_where_nothing_is_global(name: str) -> None:
    model = built(name).eval()
    assert model.has_global_operation == (name not in LOCAL)
    if name not in LOCAL:
        return
    with torch.no_grad():
        # So wide that the middle of the tile sees neither its edges nor those of the image.
        whole = images(32, 2048, count=1)
        tile = model(whole[..., 512:1536])
        middle = model(whole)[..., 1008:1040]
    torch.testing.assert_close(tile[..., 496:528], middle, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_weights_survive_a_file_of_plain_tensors(name: str, tmp_path: Path) -> None:
    model = built(name).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    config = ModelConfig(architecture=name, width=4, pretrained=tmp_path / "w.safetensors")
    again = build_segmenter(config, SegmenterSpec(CLASSES, 1, 64)).eval()
    assert again.output_loaded
    assert "tensors from" in again.notes[0]
    with torch.no_grad():
        assert torch.equal(again(images()), model(images()))


@pytest.mark.parametrize("name", SEGMENTERS)
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
