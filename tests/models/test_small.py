from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from osler.models.small import PreactivationBlock, SmallNetwork


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 28, 28), (3, 32, 32), (1, 63, 63), (1, 8, 9)])
def test_any_side_from_eight_pixels_gives_the_same_width(channels: int, height: int, width: int) -> None:
    features = SmallNetwork(channels).eval()(torch.randn(2, channels, height, width))
    assert features.shape == (2, 256)
    assert torch.isfinite(features).all()


def test_its_size_is_what_the_docstring_says() -> None:
    assert sum(parameter.numel() for parameter in SmallNetwork(1).parameters()) == pytest.approx(0.7e6, rel=0.05)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_without_its_convolutions_is_the_way_around(stride: int) -> None:
    block = PreactivationBlock(4, 4 * stride, stride).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    maps = torch.randn(2, 4, 6, 6)
    if stride == 1:
        expected = maps
    else:
        averages = functional.avg_pool2d(torch.relu(maps / (1 + block.norm1.eps) ** 0.5), 2)
        assert block.around is not None
        expected = torch.einsum("bihw,oi->bohw", averages, block.around.weight[:, :, 0, 0])
    torch.testing.assert_close(block(maps), expected)


def test_features_are_means_then_maxima_of_the_same_maps() -> None:
    network = SmallNetwork(1).eval()
    features = network(torch.randn(3, 1, 28, 28))
    mean, largest = features.chunk(2, dim=1)
    assert (mean <= largest + 1e-6).all()
    assert (mean < largest).any()


def test_it_learns_a_faint_spot_in_noise_within_a_few_steps() -> None:
    torch.manual_seed(0)
    network = SmallNetwork(1, widths=(8, 16, 32), depth=1)
    output = torch.nn.Linear(network.num_features, 1)
    optimiser = torch.optim.AdamW([*network.parameters(), *output.parameters()], lr=3e-3)
    images, targets = torch.randn(96, 1, 28, 28) * 0.3, torch.arange(96) % 2
    images[targets == 1, :, 10:14, 12:16] += 1.0
    for _ in range(25):
        optimiser.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(output(network(images)).squeeze(1), targets.float())
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.35, "half of ln 2, what a constant reaches"
