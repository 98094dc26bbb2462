"""Losses of masks against MONAI's, values and gradients, and where the two define them differently, the exact relation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from osler.config import LossConfig
from osler.imaging.masks import IGNORED
from osler.losses import build_mask_loss
from osler.metrics.mask_loss import MaskCounts, MaskLossSpec, resolve_mask_loss

monai = pytest.importorskip("monai.losses", reason="MONAI, an oracle of these losses, is not installed")
asymmetric = pytest.importorskip("monai.losses.unified_focal_loss")

SMOOTH = [0.01, 1.0, 25.0]


@pytest.fixture
def logits() -> Tensor:
    return (torch.randn(4, 3, 11, 8, generator=torch.Generator().manual_seed(1)) * 3).double().requires_grad_()


@pytest.fixture
def apart() -> Tensor:
    """(4, 3, 11, 8) masks whose classes do not exclude each other; one image without any foreground, one plane full."""
    masks = (torch.rand(4, 3, 11, 8, generator=torch.Generator().manual_seed(2)) < 0.3).to(torch.uint8)
    masks[1], masks[2, 0] = 0, 1
    return masks


@pytest.fixture
def labels() -> Tensor:
    """(4, 1, 11, 8) a class a pixel, 0 being the background; one image without any foreground."""
    found = torch.randint(0, 4, (4, 1, 11, 8), generator=torch.Generator().manual_seed(3))
    found[1] = 0
    return found


def planes(labels: Tensor) -> Tensor:
    return torch.cat([labels == number for number in (1, 2, 3)], dim=1).to(torch.uint8)


def with_background(logits: Tensor) -> Tensor:
    """Osler's background has no output of its own: its logit is 0."""
    return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)


def osler(logits: Tensor, masks: Tensor, parts: dict[str, float], **options: Any) -> Tensor:
    return build_mask_loss(MaskLossSpec(next(iter(parts)), parts, **options))(logits, masks).mean()


def hold(ours: Tensor, theirs: Tensor, logits: Tensor) -> None:
    """One value, and one gradient."""
    torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=1e-5, atol=1e-7)
    slopes = [torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (ours, theirs)]
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-7)
    assert slopes[0].abs().max() > 0


# --- overlaps ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smooth", SMOOTH)
@pytest.mark.parametrize("pooled", [True, False])
def test_dice(logits: Tensor, apart: Tensor, pooled: bool, smooth: float) -> None:
    ours = osler(logits, apart, {"dice": 1.0}, exclusive=False, pooled=pooled, smooth=smooth)
    hold(ours, monai.DiceLoss(sigmoid=True, batch=pooled, smooth_nr=smooth, smooth_dr=smooth)(logits, apart.double()), logits)


@pytest.mark.parametrize("pooled", [True, False])
def test_dice_of_classes_that_exclude_each_other(logits: Tensor, labels: Tensor, pooled: bool) -> None:
    ours = osler(logits, planes(labels), {"dice": 1.0}, pooled=pooled)
    theirs = monai.DiceLoss(softmax=True, to_onehot_y=True, include_background=False, batch=pooled, smooth_nr=1.0, smooth_dr=1.0)
    hold(ours, theirs(with_background(logits), labels), logits)


@pytest.mark.parametrize("smooth", SMOOTH)
@pytest.mark.parametrize("pooled", [True, False])
def test_iou_smooths_by_half_of_what_monais_jaccard_is_told(logits: Tensor, apart: Tensor, pooled: bool, smooth: float) -> None:
    # MONAI: (2 both + s) / (2 either + s); Osler, as in the textbooks' fraction: (both + s) / (either + s).
    ours = osler(logits, apart, {"iou": 1.0}, exclusive=False, pooled=pooled, smooth=smooth)
    theirs = monai.DiceLoss(sigmoid=True, jaccard=True, batch=pooled, smooth_nr=2 * smooth, smooth_dr=2 * smooth)
    hold(ours, theirs(logits, apart.double()), logits)


@pytest.mark.parametrize("smooth", SMOOTH)
@pytest.mark.parametrize("beta", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("pooled", [True, False])
def test_tversky_weighs_the_same_mistakes(logits: Tensor, apart: Tensor, pooled: bool, beta: float, smooth: float) -> None:
    options: dict[str, Any] = {"pooled": pooled, "smooth": smooth, "tversky_alpha": 1 - beta, "tversky_beta": beta}
    ours = osler(logits, apart, {"tversky": 1.0}, exclusive=False, **options)
    theirs = monai.TverskyLoss(sigmoid=True, alpha=1 - beta, beta=beta, batch=pooled, smooth_nr=smooth, smooth_dr=smooth)
    hold(ours, theirs(logits, apart.double()), logits)


@pytest.mark.parametrize("gamma", [0.25, 0.6])
def test_focal_tverskys_exponent_is_one_minus_monais_gamma(logits: Tensor, apart: Tensor, gamma: float) -> None:
    """MONAI's asymmetric loss is the mean of the background's plain Tversky and the foreground's, to the power 1 − gamma."""
    delta, smooth = 0.7, 0.01
    # It also clips probabilities to [epsilon, 1 − epsilon], with the epsilon that smooths: kept clear of here.
    one, mask = logits[:, :1].clamp(-4.5, 4.5), apart[:, :1]
    options: dict[str, Any] = {"pooled": False, "smooth": smooth, "tversky_alpha": 1 - delta, "tversky_beta": delta}
    background = osler(-one, 1 - mask, {"tversky": 1.0}, **options)
    foreground = osler(one, mask, {"focal_tversky": 1.0}, tversky_gamma=1 - gamma, **options)
    theirs = asymmetric.AsymmetricFocalTverskyLoss(delta=delta, gamma=gamma, epsilon=smooth)
    p = torch.sigmoid(one)
    hold((background + foreground) / 2, theirs(torch.cat([1 - p, p], dim=1), torch.cat([1 - mask, mask], dim=1)), logits)


def test_without_smoothing_nothing_there_and_nothing_called_costs_nothing_where_monai_has_nan() -> None:
    masks, silent = torch.zeros(1, 1, 5, 5, dtype=torch.uint8), torch.full((1, 1, 5, 5), -2000.0)
    theirs = monai.DiceLoss(sigmoid=True, smooth_nr=0.0, smooth_dr=0.0)(silent, masks.float())
    assert theirs.isnan()
    for name in ("dice", "iou", "tversky", "focal_tversky"):
        assert osler(silent, masks, {name: 1.0}, smooth=0.0, pooled=False) == 0.0


# --- pixels -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("alpha", [None, 0.25, 0.8])
def test_focal(logits: Tensor, apart: Tensor, alpha: float | None, gamma: float) -> None:
    options: dict[str, Any] = {"alpha": None if alpha is None else np.full(3, alpha), "gamma": gamma}
    ours = osler(logits, apart, {"focal": 1.0}, exclusive=False, **options)
    theirs = monai.FocalLoss(gamma=gamma, alpha=alpha)(logits, apart.double())
    hold(ours, theirs, logits)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.8])
def test_focal_by_softmax_is_a_mean_over_pixels_and_monais_over_planes(
    logits: Tensor, labels: Tensor, alpha: float | None, gamma: float
) -> None:
    # Each pixel has one plane that costs; MONAI divides by the four planes too.
    options: dict[str, Any] = {"alpha": None if alpha is None else np.full(3, alpha), "gamma": gamma}
    ours = osler(logits, planes(labels), {"focal": 1.0}, **options)
    theirs = monai.FocalLoss(gamma=gamma, alpha=alpha, use_softmax=True, to_onehot_y=True)
    hold(ours, 4 * theirs(with_background(logits), labels), logits)


# --- sums -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [None, 4.4])
@pytest.mark.parametrize("pooled", [True, False])
def test_bce_and_dice_of_one_class(logits: Tensor, apart: Tensor, pooled: bool, weight: float | None) -> None:
    one, mask = logits[:, :1], apart[:, :1]
    pos_weight = None if weight is None else np.array([weight])
    ours = osler(one, mask, {"bce": 0.3, "dice": 0.7}, pooled=pooled, pos_weight=pos_weight)
    theirs = monai.DiceCELoss(
        sigmoid=True,
        batch=pooled,
        smooth_nr=1.0,
        smooth_dr=1.0,
        lambda_ce=0.3,
        lambda_dice=0.7,
        weight=None if weight is None else torch.tensor([weight]),
    )
    hold(ours, theirs(one, mask.double()), logits)


@pytest.mark.parametrize("pooled", [True, False])
def test_cross_entropy_and_dice_of_classes_that_exclude_each_other(logits: Tensor, labels: Tensor, pooled: bool) -> None:
    ours = osler(logits, planes(labels), {"bce": 0.3, "dice": 0.7}, pooled=pooled)
    theirs = monai.DiceCELoss(
        softmax=True,
        to_onehot_y=True,
        include_background=False,  # of the Dice alone: the cross-entropy has all four classes
        batch=pooled,
        smooth_nr=1.0,
        smooth_dr=1.0,
        lambda_ce=0.3,
        lambda_dice=0.7,
    )
    hold(ours, theirs(with_background(logits), labels), logits)


@pytest.mark.parametrize("name", ["combined", "enhanced"])
def test_the_sums_that_have_names(logits: Tensor, apart: Tensor, name: str) -> None:
    """One class, as most sets have, and Osler's own defaults."""
    one, mask = logits[:, :1], apart[:, :1]
    counts = MaskCounts.of(True, mask.sum((2, 3)).numpy(), np.full((4, 1), 88))
    spec = resolve_mask_loss(LossConfig(type=name), counts)  # type: ignore[arg-type]
    ours = build_mask_loss(spec)(one, mask).mean()
    smooth: dict[str, Any] = {"sigmoid": True, "batch": True, "smooth_nr": 1.0, "smooth_dr": 1.0}
    dice_bce, focal = monai.DiceCELoss(**smooth)(one, mask.double()), monai.FocalLoss(gamma=2.0)(one, mask.double())
    tversky = monai.TverskyLoss(alpha=0.3, beta=0.7, **smooth)(one, mask.double())
    theirs = {"combined": 0.4 * dice_bce + 0.2 * focal, "enhanced": 0.25 * (dice_bce + focal + tversky)}[name]
    hold(ours, theirs, logits)


def test_ignored_pixels_cost_what_they_cost_when_cut_off(logits: Tensor, apart: Tensor) -> None:
    partly = apart.clone()
    partly[..., 6:] = IGNORED
    ours = osler(logits, partly, {"dice": 0.5, "focal": 0.5}, exclusive=False)
    left, truth = logits[..., :6], apart[..., :6].double()
    dice = monai.DiceLoss(sigmoid=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)(left, truth)
    hold(ours, 0.5 * dice + 0.5 * monai.FocalLoss(gamma=2.0)(left, truth), logits)
    assert functional.l1_loss(torch.autograd.grad(ours, logits)[0][..., 6:], torch.zeros(4, 3, 11, 2, dtype=torch.double)) == 0
