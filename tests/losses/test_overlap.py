from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from osler.losses import build_mask_loss
from osler.metrics.mask_loss import MaskLossSpec


def loss(name: str, logits: Tensor, masks: Tensor, **options: object) -> Tensor:
    return build_mask_loss(MaskLossSpec(name, {name: 1.0}, **options))(logits, masks).values  # type: ignore[arg-type]


@pytest.fixture
def scene() -> tuple[Tensor, Tensor]:
    """Three images of two classes, logits ±100: hard predictions."""
    random = torch.Generator().manual_seed(1)
    masks = (torch.rand(3, 2, 12, 12, generator=random) < 0.2).to(torch.uint8)
    called = torch.rand(3, 2, 12, 12, generator=random) < torch.where(masks == 1, 0.8, 0.1)
    return torch.where(called, 100.0, -100.0), masks


def table(logits: Tensor, masks: Tensor, over: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    called, true = logits > 0, masks == 1
    return (called & true).sum(over).float(), (called & ~true).sum(over).float(), (~called & true).sum(over).float()


@pytest.mark.parametrize("smooth", [0.0, 1.0, 7.0])
@pytest.mark.parametrize("pooled", [True, False])
def test_hard_predictions_give_the_textbooks_figures(scene: tuple[Tensor, Tensor], pooled: bool, smooth: float) -> None:
    tp, fp, fn = table(*scene, (0, 2, 3) if pooled else (2, 3))
    options = {"pooled": pooled, "smooth": smooth, "exclusive": False, "tversky_alpha": 0.2, "tversky_beta": 0.8}
    expected = {
        "dice": (2 * tp + smooth) / (2 * tp + fp + fn + smooth),
        "iou": (tp + smooth) / (tp + fp + fn + smooth),
        "tversky": (tp + smooth) / (tp + 0.2 * fp + 0.8 * fn + smooth),
    }
    for name, index in expected.items():
        torch.testing.assert_close(loss(name, *scene, **options), (1 - index).mean(-1).expand(3))
    focal = loss("focal_tversky", *scene, **options, tversky_gamma=0.75)
    torch.testing.assert_close(focal, ((1 - expected["tversky"]) ** 0.75).mean(-1).expand(3))


def test_pooling_gives_every_image_the_value_of_the_batch(scene: tuple[Tensor, Tensor]) -> None:
    values = loss("dice", *scene, exclusive=False)
    assert values.unique().numel() == 1
    one_by_one = torch.cat([loss("dice", *(part[row : row + 1] for part in scene), exclusive=False) for row in range(3)])
    torch.testing.assert_close(loss("dice", *scene, exclusive=False, pooled=False), one_by_one)


@pytest.mark.parametrize("name", ["dice", "iou", "tversky", "focal_tversky"])
def test_an_image_without_foreground_counts_by_smoothing_alone(name: str) -> None:
    masks = torch.zeros(1, 1, 10, 10, dtype=torch.uint8)
    empty, full = torch.full((1, 1, 10, 10), -100.0), torch.full((1, 1, 10, 10), 100.0)
    assert loss(name, empty, masks, pooled=False).item() == pytest.approx(0, abs=1e-6)
    assert loss(name, full, masks, pooled=False).item() > 0.95
    assert loss(name, empty, masks, pooled=False, smooth=0.0).item() == pytest.approx(0, abs=1e-6)
    assert loss(name, full, masks, pooled=False, smooth=0.0).item() == pytest.approx(1)


def test_dice_falls_steadily_as_a_mask_fills() -> None:
    masks = torch.zeros(1, 1, 1, 100, dtype=torch.uint8)
    masks[..., :20] = 1
    losses = [
        loss("dice", torch.where(torch.arange(100) < width, 50.0, -50.0)[None, None, None], masks).item() for width in range(21)
    ]
    assert all(after < before for before, after in itertools.pairwise(losses))
    assert losses[0] == pytest.approx(1 - 1 / 21)
    assert losses[-1] == pytest.approx(0, abs=1e-6)


def test_a_perfect_focal_tversky_has_a_finite_gradient_below_one() -> None:
    masks = torch.ones(1, 1, 4, 4, dtype=torch.uint8)
    logits = torch.full((1, 1, 4, 4), 200.0, requires_grad=True)
    loss("focal_tversky", logits, masks, tversky_gamma=0.3).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
