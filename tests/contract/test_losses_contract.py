"""What every loss of the table promises, new entries included."""

from __future__ import annotations

import typing
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from osler.config import OVERLAP_LOSSES, LossConfig, ModelConfig
from osler.config.model import LossName
from osler.losses import LOSSES, build_loss
from osler.metrics.floors import BEST_CONSTANTS, LOSS_TWINS, constant_loss, floor
from osler.metrics.weights import Kind, LossSpec, LossType, count_labels, resolve_loss
from osler.models.classifier import ModelSpec, build_model

CLASSES = 3
GRIDS: dict[str, dict[str, list[Any]]] = {
    "bce": {"pos_weight": [None, 4.4, (0.5, 1.0, 9.0), "auto"], "label_smoothing": [0.0, 0.1]},
    "cross_entropy": {"class_weights": [None, (0.5, 1.0, 9.0), "auto"], "label_smoothing": [0.0, 0.2]},
    "focal": {"alpha": [None, 0.25, (0.1, 0.5, 0.9), "auto"], "gamma": [0.0, 0.5, 2.0], "label_smoothing": [0.0, 0.1]},
}
"""Values of every parameter of each loss; a loss without an entry here fails."""


def kind_of(name: str) -> Kind:
    return "multiclass" if name == "cross_entropy" else "multilabel"


def labels(name: str, count: int = 400, unknown: float = 0.0) -> NDArray[np.float64]:
    """(count, 3) imbalanced targets of the kind that the loss takes, some of them NaN."""
    random = np.random.default_rng(5)
    if kind_of(name) == "multiclass":
        targets = np.eye(CLASSES)[random.choice(CLASSES, size=count, p=[0.7, 0.25, 0.05])]
    else:
        targets = (random.random((count, CLASSES)) < [0.5, 0.1, 0.03]).astype(np.float64)
    targets[random.random(targets.shape) < unknown] = np.nan
    return targets


def configurations(name: str) -> list[LossConfig]:
    grid = [{}]
    for key, values in GRIDS[name].items():
        grid = [{**settings, key: value} for settings in grid for value in values]
    return [LossConfig(type=typing.cast(Any, name), **settings) for settings in grid]


EVERY = [
    pytest.param(name, config, id=f"{name}-{'-'.join(str(getattr(config, key)) for key in GRIDS[name])}")
    for name in LOSSES
    for config in configurations(name)
]


def spec_of(name: str, **parameters: Any) -> LossSpec:
    for key in ("pos_weight", "class_weights", "alpha"):
        if parameters.get(key) is not None:
            parameters[key] = np.asarray(parameters[key], dtype=np.float64)
    return LossSpec(typing.cast(LossType, name), **parameters)


def test_the_tables_and_the_configuration_name_the_same_losses() -> None:
    choices = set(typing.get_args(LossName)) - set(OVERLAP_LOSSES)
    assert choices == set(LOSSES) == set(LOSS_TWINS) == set(BEST_CONSTANTS) == set(typing.get_args(LossType)) == set(GRIDS)


@pytest.mark.parametrize(("name", "config"), EVERY)
def test_a_constant_prediction_costs_what_the_numpy_twin_says(name: str, config: LossConfig) -> None:
    targets = labels(name, unknown=0.15)
    counts = count_labels(targets, kind_of(name))
    spec = resolve_loss(config, counts)
    loss = build_loss(spec)
    for logits in (np.zeros(CLASSES), np.array([-3.0, 0.5, 4.0]), np.array([30.0, -30.0, 0.0]), floor(spec, counts).logits):
        every = torch.tensor(logits).expand(len(targets), -1)
        assert loss(every, torch.tensor(targets)).mean().item() == pytest.approx(constant_loss(spec, counts, logits), abs=1e-6)
        in_float32 = loss(every.float(), torch.tensor(targets).float()).mean().item()
        assert in_float32 == pytest.approx(constant_loss(spec, counts, logits), abs=1e-6, rel=2e-6)


@pytest.mark.parametrize(("name", "config"), EVERY)
def test_no_step_away_from_the_floor_is_cheaper(name: str, config: LossConfig) -> None:
    targets = torch.tensor(labels(name, unknown=0.15))
    counts = count_labels(targets.numpy(), kind_of(name))
    spec = resolve_loss(config, counts)
    best = floor(spec, counts)
    bias = torch.tensor(best.logits, requires_grad=True)
    loss = build_loss(spec)(bias.expand(len(targets), -1), targets).mean()
    (gradient,) = torch.autograd.grad(loss, bias)
    assert loss.item() == pytest.approx(best.loss, abs=1e-9)
    assert gradient.abs().max() < 1e-9


@pytest.mark.parametrize(("name", "config"), EVERY)
def test_unknown_targets_leave_loss_and_gradients_alone(name: str, config: LossConfig) -> None:
    targets = torch.tensor(labels(name, count=40))
    spec = resolve_loss(config, count_labels(labels(name), kind_of(name)))
    logits = torch.randn(40, CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    unknown = targets.clone()
    unknown[::4] = torch.nan
    known = ~torch.isnan(unknown).any(1)
    through = logits.clone().requires_grad_()
    terms = build_loss(spec)(through, unknown)
    terms.mean().backward()
    expected = build_loss(spec)(logits[known], targets[known])
    assert terms.mean().item() == pytest.approx(expected.mean().item(), abs=1e-12)
    assert not terms.weights[~known].any()
    assert not terms.values[~known].any()
    assert through.grad is not None
    assert torch.isfinite(through.grad).all()
    assert not through.grad[~known].any()
    assert through.grad[known].any(1).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_any_known_target_costs_nothing_and_moves_nothing(name: str) -> None:
    logits = torch.randn(4, CLASSES, requires_grad=True)
    loss = build_loss(spec_of(name))(logits, torch.full((4, CLASSES), torch.nan)).mean()
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


# --- which way each parameter moves, by one false negative against one false positive -------------------------------------


def cost(spec: LossSpec, logit: float, target: float) -> float:
    """The mean loss of one sample of one class."""
    return build_loss(spec)(torch.tensor([[logit]]), torch.tensor([[target]])).mean().item()


def miss_to_alarm(spec: LossSpec) -> float:
    """How many times dearer a false negative is than an equally sure false positive."""
    return cost(spec, -2.0, 1.0) / cost(spec, 2.0, 0.0)


def probe_pos_weight() -> None:
    assert miss_to_alarm(spec_of("bce")) == pytest.approx(1)
    assert miss_to_alarm(spec_of("bce", pos_weight=[4.4])) == pytest.approx(4.4)
    assert miss_to_alarm(spec_of("bce", pos_weight=[0.5])) == pytest.approx(0.5)


def probe_alpha() -> None:
    assert miss_to_alarm(spec_of("focal", gamma=2.0)) == pytest.approx(1)
    assert miss_to_alarm(spec_of("focal", gamma=2.0, alpha=[0.25])) == pytest.approx(1 / 3)
    assert miss_to_alarm(spec_of("focal", gamma=2.0, alpha=[0.9])) == pytest.approx(9)


def probe_gamma() -> None:
    # The easier a sample, the more of its loss a larger gamma takes away; a hard one keeps nearly all.
    shares = [cost(spec_of("focal", gamma=2.0), z, 1.0) / cost(spec_of("focal", gamma=0.0), z, 1.0) for z in (-4.0, 0.0, 4.0)]
    assert shares == pytest.approx([0.964, 0.25, 0.000324], rel=2e-2)
    assert cost(spec_of("focal", gamma=5.0), 1.0, 1.0) < cost(spec_of("focal", gamma=2.0), 1.0, 1.0)


def probe_class_weights() -> None:
    spec = spec_of("cross_entropy", class_weights=[1.0, 5.0])
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])  # the first sample takes class 1 for 0, the second class 0 for 1
    values = build_loss(spec)(logits, torch.tensor([[0.0, 1.0], [1.0, 0.0]])).values
    assert (values[0] / values[1]).item() == pytest.approx(5)


def probe_label_smoothing() -> None:
    for name in LOSSES:
        classes = 2 if name == "cross_entropy" else 1
        sure, right = torch.full((1, classes), -8.0), torch.zeros(1, classes)
        sure[0, 0], right[0, 0] = 8.0, 1.0
        plain, smooth = (build_loss(spec_of(name, label_smoothing=s))(sure, right).mean().item() for s in (0.0, 0.1))
        assert smooth > 10 * plain, f"{name}: smoothing makes certainty dear"


PROBES = {
    "pos_weight": probe_pos_weight,
    "alpha": probe_alpha,
    "gamma": probe_gamma,
    "class_weights": probe_class_weights,
    "label_smoothing": probe_label_smoothing,
}


def test_every_parameter_of_a_loss_has_its_probe() -> None:
    assert set(PROBES) == set(LossSpec.__dataclass_fields__) - {"type"}


@pytest.mark.parametrize("parameter", PROBES)
def test_a_parameter_moves_the_way_its_name_says(parameter: str) -> None:
    PROBES[parameter]()


# --- the start of training ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(0, 256, (128, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("head", [(), (32, 16)], ids=["plain", "hidden"])
@pytest.mark.parametrize("name", LOSSES)
def test_the_first_batch_costs_the_floor(name: str, head: tuple[int, ...], images: Tensor) -> None:
    targets = labels(name)
    counts = count_labels(targets, kind_of(name))
    spec = resolve_loss(LossConfig(type=typing.cast(Any, name), pos_weight="auto", class_weights="auto", alpha="auto"), counts)
    best = floor(spec, counts)
    torch.manual_seed(0)
    config = ModelConfig(architecture="small", head=head, attention=bool(head), dropout=0.3)
    model = build_model(config, ModelSpec("multilabel", CLASSES, 1, 28))
    model.set_output_bias(best.logits)
    with torch.no_grad():
        terms = build_loss(spec)(model.train()(images), torch.tensor(targets[: len(images)]))
    # Standard error of a ratio of sums (delta method), from the batch alone, as the vitals give it.
    residuals = (terms.values - terms.mean() * terms.weights) / terms.weights.mean()
    error = residuals.std().item() / len(images) ** 0.5
    assert terms.mean().item() == pytest.approx(best.loss, abs=3 * error)
    constant = build_loss(spec)(torch.tensor(best.logits).expand(len(images), -1), torch.tensor(targets[: len(images)])).mean()
    assert terms.mean().item() == pytest.approx(constant.item(), abs=max(0.25 * error, 2e-3))
