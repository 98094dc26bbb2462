from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from osler.errors import ConfigError
from osler.imaging.masks import IGNORED
from osler.losses import DeepSupervision, build_mask_loss
from osler.losses.masks import coarse_masks
from osler.metrics.mask_loss import MaskLossSpec


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(4, 3, 9, 8, generator=torch.Generator().manual_seed(1)) * 3


@pytest.fixture
def apart() -> Tensor:
    """(4, 3, 9, 8) masks whose classes do not exclude each other."""
    return (torch.rand(4, 3, 9, 8, generator=torch.Generator().manual_seed(2)) < 0.3).to(torch.uint8)


@pytest.fixture
def labels() -> Tensor:
    """(4, 9, 8) a class a pixel, 0 being the background."""
    return torch.randint(0, 4, (4, 9, 8), generator=torch.Generator().manual_seed(3))


def planes(labels: Tensor) -> Tensor:
    return torch.stack([labels == number for number in (1, 2, 3)], dim=1).to(torch.uint8)


def with_background(logits: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)


def spec(name: str, **options: object) -> MaskLossSpec:
    return MaskLossSpec(name, {name: 1.0}, **options)  # type: ignore[arg-type]


def mean(loss: MaskLossSpec, logits: Tensor, masks: Tensor) -> Tensor:
    return build_mask_loss(loss)(logits, masks).mean()


@pytest.mark.parametrize("weight", [None, [0.5, 1.0, 4.4]])
def test_bce_is_torchs(logits: Tensor, apart: Tensor, weight: list[float] | None) -> None:
    found = mean(spec("bce", exclusive=False, pos_weight=None if weight is None else np.array(weight)), logits, apart)
    weights = None if weight is None else torch.tensor(weight)[:, None, None]
    torch.testing.assert_close(found, functional.binary_cross_entropy_with_logits(logits, apart.float(), pos_weight=weights))


def test_bce_of_classes_that_exclude_each_other_is_torchs_cross_entropy(logits: Tensor, labels: Tensor) -> None:
    found = mean(spec("bce"), logits, planes(labels))
    torch.testing.assert_close(found, functional.cross_entropy(with_background(logits), labels))
    labels = labels.clone()
    labels[:, :2] = -100
    masks = planes(labels)
    masks[:, :, :2] = IGNORED
    torch.testing.assert_close(mean(spec("bce"), logits, masks), functional.cross_entropy(with_background(logits), labels))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_focal_is_torchvisions(logits: Tensor, apart: Tensor, alpha: float | None, gamma: float) -> None:
    found = mean(spec("focal", exclusive=False, alpha=None if alpha is None else np.full(3, alpha), gamma=gamma), logits, apart)
    expected = sigmoid_focal_loss(logits, apart.float(), alpha=-1 if alpha is None else alpha, gamma=gamma, reduction="mean")
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_by_softmax(logits: Tensor, labels: Tensor, gamma: float) -> None:
    own = functional.softmax(with_background(logits), 1).gather(1, labels[:, None])
    alpha = torch.tensor([1 - 0.5, 0.2, 0.5, 0.8])[labels][:, None]
    expected = (alpha * (1 - own) ** gamma * -own.log()).mean()
    torch.testing.assert_close(
        mean(spec("focal", alpha=np.array([0.2, 0.5, 0.8]), gamma=gamma), logits, planes(labels)), expected
    )


def test_one_class_is_the_same_exclusive_or_not(logits: Tensor, apart: Tensor) -> None:
    for name in ("bce", "focal", "dice", "tversky", "boundary"):
        both = [mean(spec(name, exclusive=exclusive), logits[:, :1], apart[:, :1]) for exclusive in (True, False)]
        assert both[0] == both[1]


def test_an_unknown_part_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"dise.*dice"):
        build_mask_loss(spec("dise"))


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 1, 4, 5), (2, 1, 4)])
def test_shapes_that_disagree_are_our_own_bug(shape: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError, match="must"):
        mean(spec("dice"), torch.zeros(shape), torch.zeros(2, 1, 4, 4, dtype=torch.uint8))


# --- coarser levels -----------------------------------------------------------------------------------------------------------


def test_a_single_pixel_is_there_at_every_level() -> None:
    masks = torch.zeros(1, 1, 37, 41, dtype=torch.uint8)
    masks[0, 0, 36, 17] = 1
    for factor in (2, 4, 8, 16):
        coarse = coarse_masks(masks, (-(-37 // factor), -(-41 // factor)), True)
        assert coarse.dtype == torch.uint8
        assert coarse.sum() == 1
        assert coarse[0, 0, 36 // factor, 17 // factor] == 1


def test_ignored_pixels_are_outvoted_by_known_ones_and_stay_where_they_are_alone() -> None:
    masks = torch.full((1, 1, 4, 4), IGNORED, dtype=torch.uint8)
    masks[0, 0, 0, 0] = 0
    masks[0, 0, 3, 3] = 1
    assert coarse_masks(masks, (2, 2), True)[0, 0].tolist() == [[0, IGNORED], [IGNORED, 1]]


def test_classes_that_exclude_each_other_do_so_when_coarse() -> None:
    masks = torch.zeros(1, 2, 2, 2, dtype=torch.uint8)
    masks[0, 0, 0, 0] = 1
    masks[0, 1, 1, :] = 1
    assert coarse_masks(masks, (1, 1), True).flatten().tolist() == [0, 1], "the one with more pixels"
    assert coarse_masks(masks, (1, 1), False).flatten().tolist() == [1, 1]


@pytest.mark.parametrize("side", [1, 2, 5, 9, 33, 40, 63])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_the_factor_is_found_from_the_sizes(side: int, factor: int) -> None:
    masks = torch.randint(0, 2, (1, 1, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(side))
    small = -(-side // factor)
    filled = functional.pad(masks, (0, small * factor - side, 0, small * factor - side))
    expected = functional.max_pool2d(filled.float(), factor).to(torch.uint8)
    assert torch.equal(coarse_masks(masks, (small, small), True), expected)


def test_deep_supervision_weighs_levels_by_halves(apart: Tensor) -> None:
    loss = build_mask_loss(spec("bce", exclusive=False))
    random = torch.Generator().manual_seed(5)
    levels = [torch.randn(4, 3, *size, generator=random, requires_grad=True) for size in ((9, 8), (5, 4), (3, 2))]
    apart[1] = IGNORED
    terms, parts = DeepSupervision(loss).with_parts(levels, apart)
    each = [loss(level, coarse_masks(apart, (level.shape[2], level.shape[3]), False)) for level in levels]
    expected = (each[0].mean() + each[1].mean() / 2 + each[2].mean() / 4) / 1.75
    torch.testing.assert_close(terms.mean(), expected)
    torch.testing.assert_close(parts["bce"], each[0].mean())
    assert terms.weights.tolist() == [1, 0, 1, 1]
    terms.mean().backward()
    assert all(level.grad is not None and level.grad.any() for level in levels)
