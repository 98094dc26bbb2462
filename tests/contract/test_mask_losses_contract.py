"""What every loss of masks promises, new entries of its tables included."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from osler.config import OVERLAP_LOSSES, LossConfig
from osler.config.model import LossName, PartName
from osler.imaging.masks import IGNORED
from osler.losses import MASK_PARTS, DeepSupervision, LossTerms, build_mask_loss
from osler.metrics.mask_floors import mask_floor
from osler.metrics.mask_loss import COMBINATIONS, OVERLAP_PARTS, PART_SETTINGS, MaskCounts, MaskLossSpec, resolve_mask_loss
from osler.metrics.mask_twins import MASK_TWINS, mask_constant_loss

IMAGES, SIDE = 12, 16
SHARES = (0.2, 0.05, 0.01)
GRIDS: dict[str, dict[str, list[Any]]] = {
    "bce": {"pos_weight": [None, 4.4, "auto"]},
    "cross_entropy": {"pos_weight": [None, 4.4, "auto"]},
    "focal": {"alpha": [None, 0.25, "auto"], "gamma": [0.0, 0.5, 2.0]},
    "dice": {"smooth": [0.0, 1.0, 50.0], "pooled": ["batch", "case"]},
    "iou": {"smooth": [0.0, 1.0], "pooled": ["batch", "case"]},
    "tversky": {"tversky_beta": [0.3, 0.7], "tversky_alpha": [None, 0.5], "pooled": ["batch", "case"]},
    "focal_tversky": {
        "tversky_beta": [0.7],
        "tversky_gamma": [0.75, 1.0, 2.0],
        "smooth": [0.0, 1.0],
        "pooled": ["batch", "case"],
    },
    "boundary": {},
    "combined": {"pooled": ["batch", "case"], "weights": [None, {"bce": 0.1, "iou": 1.5}]},
    "enhanced": {"pooled": ["batch", "case"], "tversky_beta": [0.6], "pos_weight": [None, 3.0]},
}
"""Values of the parameters of each loss; a loss without an entry here fails."""
KINDS = {"one": (1, True), "several": (3, False), "exclusive": (3, True)}


def masks_of(classes: int, exclusive: bool, unknown: float = 0.1, images: int = IMAGES) -> NDArray[np.uint8]:
    """(N, K, H, W): images of many shares of foreground, some empty, some with ignored pixels, one wholly ignored."""
    random = np.random.default_rng(7)
    scale = random.choice([0.0, 0.5, 2.0], size=(images, 1, 1, 1))
    chance = np.array(SHARES[:classes])[:, None, None] * scale
    masks = (random.random((images, classes, SIDE, SIDE)) < chance).astype(np.uint8)
    if exclusive:
        masks[np.cumsum(masks, axis=1) > 1] = 0
    if unknown:
        ignored = random.random((images, 1, SIDE, SIDE)) < unknown * (np.arange(images) % 2)[:, None, None, None]
        ignored[images // 2] = True
        masks[np.broadcast_to(ignored, masks.shape)] = IGNORED
    return masks


def counts_of(masks: NDArray[np.uint8], exclusive: bool, batch: int | None = None) -> MaskCounts:
    known = (masks[:, 0] != IGNORED).sum((1, 2)).astype(np.float64)
    shares = np.full(masks.shape[:2], np.nan)
    np.divide((masks == 1).sum((2, 3)), known[:, None], out=shares, where=known[:, None] > 0)
    return MaskCounts(exclusive, shares, known, batch, shuffled=False)


def configurations(name: str) -> list[LossConfig]:
    grid: list[dict[str, Any]] = [{}]
    for key, values in GRIDS[name].items():
        grid = [{**settings, key: value} for settings in grid for value in values]
    return [LossConfig(type=typing.cast(Any, name), **settings) for settings in grid]


def fits(name: str, kind: str) -> bool:
    return not (name == "bce" and kind == "exclusive") and not (name == "cross_entropy" and kind == "several")


EVERY = [
    pytest.param(config, kind, id=f"{name}-{kind}-{'-'.join(str(getattr(config, key)) for key in GRIDS[name])}")
    for name in GRIDS
    for kind in KINDS
    if fits(name, kind)
    for config in configurations(name)
]
WITH_FLOOR = [case for case in EVERY if typing.cast(LossConfig, case.values[0]).type != "boundary"]


def terms_of(spec: MaskLossSpec, logits: Tensor, masks: Tensor, batch: int) -> LossTerms:
    """Over batches in order, joined."""
    loss = build_mask_loss(spec)
    parts = [loss(some, those) for some, those in zip(logits.split(batch), masks.split(batch), strict=True)]
    return LossTerms(torch.cat([part.values for part in parts]), torch.cat([part.weights for part in parts]))


def test_the_tables_and_the_configuration_name_the_same_losses() -> None:
    parts = set(typing.get_args(PartName))
    assert parts == set(MASK_PARTS) == set(PART_SETTINGS) == set(MASK_TWINS) | {"boundary"}
    assert set(OVERLAP_PARTS) < parts
    assert all(set(weights) <= parts for weights in COMBINATIONS.values())
    assert set(typing.get_args(LossName)) == parts | set(COMBINATIONS) | {"cross_entropy"} == set(GRIDS)
    assert set(OVERLAP_LOSSES) == (set(GRIDS) - {"bce", "cross_entropy", "focal"})


@pytest.mark.parametrize("batch", [5, IMAGES])
@pytest.mark.parametrize(("config", "kind"), WITH_FLOOR)
def test_a_constant_prediction_costs_what_the_numpy_twin_says(config: LossConfig, kind: str, batch: int) -> None:
    classes, exclusive = KINDS[kind]
    masks = masks_of(classes, exclusive)
    counts = counts_of(masks, exclusive, batch)
    spec = resolve_mask_loss(config, counts)
    for logits in (np.zeros(classes), np.array([-3.0, 0.5, 4.0])[:classes], np.array([8.0, -9.0, 0.0])[:classes]):
        every = torch.tensor(logits)[:, None, None].expand(masks.shape)
        expected = mask_constant_loss(spec, counts, logits)
        assert terms_of(spec, every, torch.tensor(masks), batch).mean().item() == pytest.approx(expected, abs=1e-6, rel=1e-6)
        in_float32 = terms_of(spec, every.float(), torch.tensor(masks), batch).mean().item()
        assert in_float32 == pytest.approx(expected, abs=2e-6, rel=5e-6)


@pytest.mark.parametrize(("config", "kind"), WITH_FLOOR)
def test_no_other_constant_is_cheaper_than_the_floor(config: LossConfig, kind: str) -> None:
    classes, exclusive = KINDS[kind]
    counts = counts_of(masks_of(classes, exclusive), exclusive, 5)
    spec = resolve_mask_loss(config, counts)
    best = mask_floor(spec, counts)
    random = np.random.default_rng(1)
    tried = [random.normal(0, scale, classes) - shift for scale in (0.1, 1, 5, 20) for shift in (0, 3) for _ in range(7)]
    tried += [best.logits, np.full(classes, 30.0), np.full(classes, -30.0)]
    assert best.loss <= min(mask_constant_loss(spec, counts, logits) for logits in tried) + 1e-6
    rest = 1 - (best.probabilities.sum() if exclusive else best.probabilities)
    reached = np.log(np.maximum(best.probabilities, 1e-26)) - np.log(np.maximum(rest, 1e-26))
    assert mask_constant_loss(spec, counts, reached) == pytest.approx(best.loss, abs=1e-6)


@pytest.mark.parametrize(("config", "kind"), EVERY)
def test_ignored_pixels_leave_loss_and_gradients_alone(config: LossConfig, kind: str) -> None:
    classes, exclusive = KINDS[kind]
    masks = masks_of(classes, exclusive)
    spec = resolve_mask_loss(config, counts_of(masks, exclusive))
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(masks.shape, dtype=torch.float64, generator=random)
    unknown = torch.tensor(masks == IGNORED).any(1, keepdim=True).expand(logits.shape)
    poisoned = torch.where(unknown, torch.nan, logits).requires_grad_()
    terms = build_mask_loss(spec)(poisoned, torch.tensor(masks))
    assert terms.mean().item() == build_mask_loss(spec)(logits, torch.tensor(masks)).mean().item()
    terms.mean().backward()
    assert poisoned.grad is not None
    assert torch.isfinite(poisoned.grad).all()
    assert not poisoned.grad[unknown].any()
    assert poisoned.grad[~unknown].any()
    assert terms.weights.tolist() == [0.0 if image == IMAGES // 2 else 1.0 for image in range(IMAGES)]
    assert terms.values[IMAGES // 2] == 0


@pytest.mark.parametrize("name", GRIDS)
def test_a_batch_without_any_known_pixel_costs_nothing_and_moves_nothing(name: str) -> None:
    logits = torch.randn(2, 1, 4, 4, requires_grad=True)
    spec = resolve_mask_loss(LossConfig(type=typing.cast(Any, name)), counts_of(masks_of(1, True), True))
    loss = build_mask_loss(spec)(logits, torch.full((2, 1, 4, 4), IGNORED, dtype=torch.uint8)).mean()
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", GRIDS)
def test_a_perfect_prediction_costs_nothing_and_huge_logits_stay_finite(name: str, kind: str) -> None:
    if not fits(name, kind):
        return
    classes, exclusive = KINDS[kind]
    masks = torch.tensor(masks_of(classes, exclusive, unknown=0.0))
    for smooth, pooled in ((1.0, "batch"), (0.0, "batch"), (1.0, "case")):
        config = LossConfig(type=typing.cast(Any, name), smooth=smooth, pooled=typing.cast(Any, pooled))
        loss = build_mask_loss(resolve_mask_loss(config, counts_of(masks.numpy(), exclusive)))
        right = ((masks == 1).float() * 2 - 1) * 200
        assert loss(right, masks).mean().item() == pytest.approx(0, abs=1e-6)
        wrong = (-right).requires_grad_()
        cost = loss(wrong, masks).mean()
        cost.backward()
        assert cost.item() > 0.2
        assert wrong.grad is not None
        assert torch.isfinite(wrong.grad).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", GRIDS)
def test_half_precision_is_left_before_the_loss(name: str, kind: str) -> None:
    if not fits(name, kind):
        return
    classes, exclusive = KINDS[kind]
    masks = torch.tensor(masks_of(classes, exclusive))
    loss = build_mask_loss(resolve_mask_loss(LossConfig(type=typing.cast(Any, name)), counts_of(masks.numpy(), exclusive)))
    logits = torch.randn(masks.shape, generator=torch.Generator().manual_seed(3)).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = loss(logits, masks)
    assert terms.values.dtype == terms.weights.dtype == torch.float32
    torch.testing.assert_close(terms.mean(), loss(logits.float(), masks).mean())


@pytest.mark.parametrize("name", GRIDS)
def test_parts_add_up_and_parameters_are_no_part_of_a_checkpoint(name: str) -> None:
    masks = torch.tensor(masks_of(1, True))
    config = LossConfig(type=typing.cast(Any, name), pos_weight="auto", alpha="auto")
    spec = resolve_mask_loss(config, counts_of(masks.numpy(), True))
    loss = build_mask_loss(spec)
    logits = torch.randn(masks.shape, generator=torch.Generator().manual_seed(3), requires_grad=True)
    terms, parts = loss.with_parts(logits, masks)
    assert parts.keys() == spec.parts.keys()
    assert not any(part.requires_grad for part in parts.values())
    assert sum(spec.parts[part] * value.item() for part, value in parts.items()) == pytest.approx(terms.mean().item(), rel=1e-5)
    assert loss.parts(logits, masks) == parts
    assert not loss.state_dict()


@pytest.mark.parametrize("name", GRIDS)
def test_deep_supervision_of_one_level_is_the_loss_itself(name: str) -> None:
    masks = torch.tensor(masks_of(1, True))
    loss = build_mask_loss(resolve_mask_loss(LossConfig(type=typing.cast(Any, name)), counts_of(masks.numpy(), True)))
    logits = torch.randn(masks.shape, generator=torch.Generator().manual_seed(3))
    assert DeepSupervision(loss)(logits, masks).values.tolist() == loss(logits, masks).values.tolist()
    assert DeepSupervision(loss)([logits], masks).values.tolist() == loss(logits, masks).values.tolist()


# --- which way each parameter moves -------------------------------------------------------------------------------------------


def spec_of(name: str, **parameters: Any) -> MaskLossSpec:
    for key in ("pos_weight", "alpha"):
        if parameters.get(key) is not None:
            parameters[key] = np.asarray(parameters[key], dtype=np.float64)
    return MaskLossSpec(name, parameters.pop("parts", {name: 1.0}), **parameters)


def cost(spec: MaskLossSpec, logits: list[float], truth: list[int]) -> float:
    """The loss of one image of a few pixels."""
    row, mask = torch.tensor(logits)[None, None, None], torch.tensor(truth, dtype=torch.uint8)[None, None, None]
    return build_mask_loss(spec)(row, mask).mean().item()


def one_miss(spec: MaskLossSpec) -> float:
    """What a missed pixel costs, of 10 foreground pixels among 100, the others being right."""
    return cost(spec, [-30.0] + [30.0] * 9 + [-30.0] * 90, [1] * 10 + [0] * 90)


def one_alarm(spec: MaskLossSpec) -> float:
    """What a falsely called pixel costs, likewise."""
    return cost(spec, [30.0] * 10 + [30.0] + [-30.0] * 89, [1] * 10 + [0] * 90)


def best_foreground(spec: MaskLossSpec) -> float:
    """Share of foreground in the best prediction of a scene of 20 zones, each true by its own chance between 0 and 1."""
    chances = (np.arange(20) + 0.5) / 20
    random = np.random.default_rng(0)
    masks = torch.tensor((random.random((12, 1, 20, 20)) < chances[:, None]).astype(np.uint8))
    zones = torch.zeros(20, dtype=torch.float64, requires_grad=True)
    loss, optimiser = build_mask_loss(spec), torch.optim.Adam([zones], lr=0.4)
    for _ in range(80):
        optimiser.zero_grad()
        loss(zones[:, None].expand(12, 1, 20, 20), masks).mean().backward()
        optimiser.step()
    return torch.sigmoid(zones).mean().item()


def probe_tversky_beta() -> None:
    for name in ("tversky", "focal_tversky"):
        low, even, high = (
            spec_of(name, tversky_alpha=1 - beta, tversky_beta=beta, tversky_gamma=1.0, smooth=0.0) for beta in (0.3, 0.5, 0.8)
        )
        assert one_miss(low) < one_miss(even) < one_miss(high)
        assert one_miss(low) < one_alarm(low)
        assert one_miss(high) > one_alarm(high)
        assert best_foreground(low) < best_foreground(even) - 0.05 < best_foreground(high) - 0.1


def probe_tversky_alpha() -> None:
    low, high = (spec_of("tversky", tversky_alpha=alpha, tversky_beta=0.5) for alpha in (0.2, 0.9))
    assert one_alarm(high) > 3 * one_alarm(low)
    assert one_miss(high) == pytest.approx(one_miss(low))
    assert best_foreground(high) < best_foreground(low) - 0.1


def probe_tversky_gamma() -> None:
    def slopes(gamma: float) -> tuple[float, float]:
        """How much the loss falls from one mistake to none, and from ten to nine, of 100 foreground pixels."""
        spec = spec_of("focal_tversky", tversky_alpha=0.5, tversky_beta=0.5, tversky_gamma=gamma, smooth=0.0)
        missed = [cost(spec, [-30.0] * count + [30.0] * (100 - count), [1] * 100) for count in (0, 1, 90, 91)]
        return missed[1] - missed[0], missed[3] - missed[2]

    near, far = zip(*(slopes(gamma) for gamma in (0.5, 1.0, 2.0)), strict=True)
    assert near[0] > near[1] > near[2], "below 1 steep near a perfect overlap, above 1 flat"
    assert far[0] < far[1] < far[2], "above 1 steep where overlap is poor"
    exact = spec_of("focal_tversky", tversky_alpha=0.5, tversky_beta=0.5, tversky_gamma=2.0, smooth=0.0)
    assert one_miss(exact) == pytest.approx((1 - 9 / 9.5) ** 2, rel=1e-5)


def probe_pos_weight() -> None:
    assert one_miss(spec_of("bce", pos_weight=[4.4])) == pytest.approx(4.4 * one_alarm(spec_of("bce")))
    assert best_foreground(spec_of("bce", pos_weight=[4.0])) > best_foreground(spec_of("bce")) + 0.1
    exclusive = spec_of("bce", pos_weight=[5.0, 1.0])
    masks, logits = torch.tensor([[[[1, 0]], [[0, 1]]]], dtype=torch.uint8), torch.zeros(1, 2, 1, 2)
    assert build_mask_loss(exclusive)(logits, masks).mean().item() == pytest.approx((5 + 1) / 2 * np.log(3))


def probe_alpha() -> None:
    for share, ratio in ((0.25, 1 / 3), (0.9, 9.0)):
        spec = spec_of("focal", alpha=[share], gamma=2.0)
        assert one_miss(spec) / one_alarm(spec) == pytest.approx(ratio)
    assert best_foreground(spec_of("focal", alpha=[0.9])) > best_foreground(spec_of("focal", alpha=[0.25])) + 0.2


def probe_gamma() -> None:
    shares = [cost(spec_of("focal", gamma=2.0), [z], [1]) / cost(spec_of("focal", gamma=0.0), [z], [1]) for z in (-4.0, 0.0, 4.0)]
    assert shares == pytest.approx([0.964, 0.25, 0.000324], rel=2e-2)


def probe_smooth() -> None:
    for name in OVERLAP_PARTS:
        missed = [cost(spec_of(name, smooth=s), [-30.0] * 100, [1] * 5 + [0] * 95) for s in (0.0, 1.0, 100.0)]
        assert missed[0] == pytest.approx(1)
        assert missed[0] > missed[1] > missed[2]
        assert missed[2] < 0.15, "much smoothing hides a lesion of five pixels"


def probe_pooled() -> None:
    masks = torch.zeros(2, 1, 10, 10, dtype=torch.uint8)
    masks[0, 0, :5] = 1
    logits = torch.full((2, 1, 10, 10), -30.0)
    logits[0, 0, :5] = 30.0
    logits[1, 0, 0, :2] = 30.0  # two false pixels in the image without foreground
    for name in ("dice", "iou", "tversky"):
        batch, case = (build_mask_loss(spec_of(name, pooled=pooled))(logits, masks).values for pooled in (True, False))
        assert batch[0] == batch[1]
        assert batch[0] < 0.05
        assert case[0] == pytest.approx(0, abs=1e-6)
        assert case[1] > 0.3
    assert build_mask_loss(spec_of("dice", pooled=False))(logits, masks).values[1].item() == pytest.approx(1 - 1 / (2 + 1))
    assert build_mask_loss(spec_of("dice", pooled=False))(logits * 0 - 30, masks).values[1].item() == pytest.approx(0, abs=1e-6)


def probe_parts() -> None:
    half = spec_of("combined", parts={"bce": 1.0, "dice": 0.5})
    assert one_miss(half) == pytest.approx(one_miss(spec_of("bce")) + 0.5 * one_miss(spec_of("dice")))


def probe_exclusive() -> None:
    masks = torch.tensor([[[[1, 0]], [[0, 0]]]], dtype=torch.uint8)
    logits = torch.zeros(1, 2, 1, 2)
    joint, apart = (
        build_mask_loss(spec_of("bce", exclusive=exclusive))(logits, masks).mean().item() for exclusive in (True, False)
    )
    assert joint == pytest.approx(np.log(3)), "two classes and the background"
    assert apart == pytest.approx(np.log(2))


PROBES: dict[str, Callable[[], None]] = {
    "parts": probe_parts,
    "exclusive": probe_exclusive,
    "pos_weight": probe_pos_weight,
    "alpha": probe_alpha,
    "gamma": probe_gamma,
    "tversky_alpha": probe_tversky_alpha,
    "tversky_beta": probe_tversky_beta,
    "tversky_gamma": probe_tversky_gamma,
    "smooth": probe_smooth,
    "pooled": probe_pooled,
}


def test_every_parameter_of_a_loss_has_its_probe() -> None:
    assert set(PROBES) == set(MaskLossSpec.__dataclass_fields__) - {"type"}


@pytest.mark.parametrize("parameter", PROBES)
def test_a_parameter_moves_the_way_its_name_says(parameter: str) -> None:
    PROBES[parameter]()
