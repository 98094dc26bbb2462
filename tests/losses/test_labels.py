from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from osler.losses import LossTerms, build_loss
from osler.metrics.weights import LossSpec

NAN = float("nan")


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(64, 4, generator=torch.Generator().manual_seed(1)) * 3


@pytest.fixture
def targets() -> Tensor:
    return (torch.rand(64, 4, generator=torch.Generator().manual_seed(2)) < 0.3).float()


@pytest.fixture
def one_hot() -> Tensor:
    return torch.eye(4)[torch.randint(0, 4, (64,), generator=torch.Generator().manual_seed(3))]


def mean(spec: LossSpec, logits: Tensor, targets: Tensor) -> Tensor:
    return build_loss(spec)(logits, targets).mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, [0.5, 1.0, 4.4, 9.0]])
def test_bce_is_torchs(logits: Tensor, targets: Tensor, weight: list[float] | None, smoothing: float) -> None:
    spec = LossSpec("bce", pos_weight=None if weight is None else np.array(weight), label_smoothing=smoothing)
    soft = targets * (1 - smoothing) + smoothing / 2
    expected = functional.binary_cross_entropy_with_logits(
        logits, soft, pos_weight=None if weight is None else torch.tensor(weight)
    )
    torch.testing.assert_close(mean(spec, logits, targets), expected)


@pytest.mark.parametrize(("weights", "smoothing"), [(None, 0.0), (None, 0.2), ([0.5, 1.0, 2.0, 7.0], 0.0)])
def test_cross_entropy_is_torchs(logits: Tensor, one_hot: Tensor, weights: list[float] | None, smoothing: float) -> None:
    spec = LossSpec("cross_entropy", class_weights=None if weights is None else np.array(weights), label_smoothing=smoothing)
    expected = functional.cross_entropy(
        logits, one_hot.argmax(1), weight=None if weights is None else torch.tensor(weights), label_smoothing=smoothing
    )
    torch.testing.assert_close(mean(spec, logits, one_hot), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_focal_is_torchvisions(logits: Tensor, targets: Tensor, alpha: float | None, gamma: float) -> None:
    spec = LossSpec("focal", alpha=None if alpha is None else np.full(4, alpha), gamma=gamma)
    expected = sigmoid_focal_loss(logits, targets, alpha=-1 if alpha is None else alpha, gamma=gamma, reduction="mean")
    torch.testing.assert_close(mean(spec, logits, targets), expected)


def test_weights_count_known_classes_or_weigh_the_true_class() -> None:
    targets = torch.tensor([[1.0, 0.0, NAN], [NAN, NAN, NAN], [0.0, 0.0, 1.0]])
    logits = torch.zeros(3, 3)
    assert build_loss(LossSpec("bce"))(logits, targets).weights.tolist() == [2.0, 0.0, 3.0]
    spec = LossSpec("cross_entropy", class_weights=np.array([1.0, 2.0, 5.0]))
    terms = build_loss(spec)(logits, targets)
    assert terms.weights.tolist() == [0.0, 0.0, 5.0]
    assert terms.values.tolist() == pytest.approx([0.0, 0.0, 5 * np.log(3)])


def test_any_batching_gives_the_same_mean(logits: Tensor, targets: Tensor) -> None:
    targets[::5, 1] = NAN
    targets[3] = NAN
    loss = build_loss(LossSpec("bce", pos_weight=np.array([2.0, 1.0, 1.0, 3.0])))
    parts = [loss(some, those) for some, those in zip(logits.split(7), targets.split(7), strict=True)]
    joined = LossTerms(torch.cat([part.values for part in parts]), torch.cat([part.weights for part in parts]))
    torch.testing.assert_close(joined.mean(), loss(logits, targets).mean())


@pytest.mark.parametrize(
    "spec", [LossSpec("bce"), LossSpec("focal", gamma=0.5, alpha=np.full(4, 0.3)), LossSpec("cross_entropy")]
)
def test_huge_logits_stay_finite_with_their_gradients(spec: LossSpec) -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0, 80.0], [-1e4, 1e4, -80.0, 0.0]], requires_grad=True)
    loss = build_loss(spec)(logits, torch.tensor([[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])).mean()
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().max() > 0


@pytest.mark.parametrize("kind", ["bce", "focal", "cross_entropy"])
def test_half_precision_is_left_before_the_loss(kind: Any, logits: Tensor, one_hot: Tensor) -> None:
    exact = mean(LossSpec(kind), logits.bfloat16().float(), one_hot)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = build_loss(LossSpec(kind))(logits.bfloat16(), one_hot)
    assert terms.values.dtype == terms.weights.dtype == torch.float32
    torch.testing.assert_close(terms.mean(), exact)


@pytest.mark.parametrize("name", ["pos_weight", "alpha", "class_weights"])
def test_parameters_are_no_part_of_a_checkpoint(name: str) -> None:
    kinds: dict[str, Any] = {"pos_weight": "bce", "alpha": "focal", "class_weights": "cross_entropy"}
    loss = build_loss(LossSpec(kinds[name], **{name: np.ones(2)}))
    assert name in dict(loss.named_buffers())
    assert not loss.state_dict()


@pytest.mark.parametrize("targets", [torch.zeros(2, 3), torch.zeros(2)])
def test_shapes_that_disagree_are_our_own_bug(targets: Tensor) -> None:
    with pytest.raises(AssertionError, match="must agree"):
        build_loss(LossSpec("bce"))(torch.zeros(2, 1), targets)
